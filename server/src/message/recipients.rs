//! The header of a message for a server that takes the recipients from it, as Microsoft Graph does: it knows no envelope.

use lettre::message::header::{Headers, To};
use lettre::message::{Mailbox, Mailboxes};
use mail_parser::{Address, MessageParser};

use super::fields::end_of_field;

/// The message for exactly these recipients: others leave To and Cc, and those whom neither names are in Bcc. Of several fields of
/// a kind, which no message should have, one is made.
pub fn addressed_to(raw: &[u8], recipients: &[String]) -> Vec<u8> {
    let is_one = |address: &str| recipients.iter().any(|recipient| recipient.eq_ignore_ascii_case(address));
    let (fields, rest) = fields_of(raw);
    let mut named: Vec<String> = Vec::new();
    let mut out = Vec::with_capacity(raw.len() + 256);
    let mut written_kinds = Vec::new();
    for (kind, field) in &fields {
        let Some(kind) = *kind else {
            out.extend_from_slice(field);
            continue;
        };
        if kind == "Bcc" || written_kinds.contains(&kind) {
            continue;
        }
        written_kinds.push(kind);
        let same: Vec<&[u8]> =
            fields.iter().filter(|(other, _)| *other == Some(kind)).map(|(_, field)| *field).collect();
        let listed = same.iter().flat_map(|field| addresses(field));
        let (kept, gone): (Vec<_>, Vec<_>) = listed.partition(|(_, address)| is_one(address));
        named.extend(kept.iter().map(|(_, address)| address.to_lowercase()));
        if gone.is_empty() && same.len() == 1 {
            out.extend_from_slice(field);
        } else if let Some(field) = written(kept, kind) {
            out.extend_from_slice(field.as_bytes());
        }
    }
    let unnamed = recipients.iter().filter(|recipient| !named.contains(&recipient.to_lowercase()));
    let unnamed: Vec<_> = unnamed.map(|address| (None, address.clone())).collect();
    if let Some(field) = written(unnamed, "Bcc") {
        out.extend_from_slice(field.as_bytes());
    }
    out.extend_from_slice(rest);
    out
}

/// The fields of a header, those of recipients with their kind; and the rest of the message.
fn fields_of(raw: &[u8]) -> (Vec<(Option<&'static str>, &[u8])>, &[u8]) {
    let (mut fields, mut rest) = (Vec::new(), raw);
    while !rest.is_empty() && !rest.starts_with(b"\n") && !rest.starts_with(b"\r\n") {
        let (field, after) = rest.split_at(end_of_field(rest));
        rest = after;
        let name = field.split(|byte| *byte == b':').next().unwrap_or_default().trim_ascii();
        let kind = ["To", "Cc", "Bcc"].into_iter().find(|kind| name.eq_ignore_ascii_case(kind.as_bytes()));
        fields.push((kind, field));
    }
    (fields, rest)
}

/// Names and addresses of a field, those of groups too.
fn addresses(field: &[u8]) -> Vec<(Option<String>, String)> {
    // Whichever of the two it is.
    let value = field.iter().position(|byte| *byte == b':').map_or(&[][..], |colon| &field[colon..]);
    let header = [b"To", value, b"\r\n"].concat();
    let parsed = MessageParser::default().parse_headers(&header[..]);
    let found: Vec<_> = match parsed.as_ref().and_then(|parsed| parsed.to()) {
        Some(Address::List(list)) => list.iter().collect(),
        Some(Address::Group(groups)) => groups.iter().flat_map(|group| &group.addresses).collect(),
        None => Vec::new(),
    };
    let pairs = found.into_iter().filter_map(|one| {
        let address = one.address.as_deref()?.to_owned();
        Some((one.name.as_deref().map(ToOwned::to_owned), address))
    });
    pairs.collect()
}

/// A field of those that are left, one on each line: all on one would be longer than a line may be.
fn written(kept: Vec<(Option<String>, String)>, name: &str) -> Option<String> {
    let encoded = kept.into_iter().filter_map(|(display_name, address)| {
        let mut headers = Headers::new();
        headers.set(To::from(Mailboxes::from(Mailbox::new(display_name, address.parse().ok()?))));
        let field = headers.to_string();
        Some(field.strip_prefix("To: ")?.trim_end().to_owned())
    });
    let encoded: Vec<String> = encoded.collect();
    (!encoded.is_empty()).then(|| format!("{name}: {}\r\n", encoded.join(",\r\n ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addressed(header: &str, recipients: &[&str]) -> String {
        let recipients: Vec<String> = recipients.iter().map(|one| (*one).to_owned()).collect();
        let raw = format!("From: me@x.example\r\n{header}Subject: s\r\n\r\nTo: nobody@x.example\r\n");
        let text = String::from_utf8(addressed_to(raw.as_bytes(), &recipients)).unwrap();
        let (header, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "To: nobody@x.example\r\n", "the text stays");
        assert!(header.starts_with("From: me@x.example\r\n") && header.contains("Subject: s"));
        header.to_owned()
    }

    #[test]
    fn a_header_that_names_everyone_stays_as_it_is() {
        let fields = "To: \"Ann,\r\n Brook\" <a@x.example>\r\nCc: Team: b@x.example, C@x.example;\r\n";
        let header = addressed(fields, &["a@x.example", "b@x.example", "c@x.example"]);
        assert!(header.contains(fields) && !header.contains("Bcc"), "{header}");
    }

    #[test]
    fn recipients_in_no_field_are_in_bcc() {
        let header = addressed("To: a@x.example\r\nBcc: old@x.example\r\n", &["a@x.example", "h@x.example"]);
        assert!(header.contains("Bcc: h@x.example") && !header.contains("old@"), "{header}");
        let header = addressed("To: undisclosed-recipients:;\r\n", &["h@x.example"]);
        assert!(header.contains("To: undisclosed-recipients:;\r\n") && header.contains("Bcc: h@x.example"), "{header}");
    }

    #[test]
    fn who_has_it_already_leaves_the_header() {
        let fields = "to: Zoë <z@x.example>, a@x.example\r\nCC: b@x.example\r\n";
        let header = addressed(fields, &["z@x.example"]);
        assert!(header.contains("To: ") && header.contains("<z@x.example>"), "{header}");
        assert!(!header.contains("a@x.example") && !header.contains("b@x.example"), "{header}");
        assert!(!header.contains("Bcc"), "{header}");
    }

    #[test]
    fn of_two_fields_one_is_made() {
        let header = addressed("To: a@x.example\r\nTo: b@x.example\r\n", &["a@x.example", "b@x.example"]);
        assert_eq!(header.matches("To: ").count(), 1, "{header}");
        assert!(header.contains("a@x.example,\r\n b@x.example") && !header.contains("Bcc"), "{header}");
    }

    #[test]
    fn many_recipients_are_folded() {
        let many: Vec<String> = (0..300).map(|n| format!("someone{n}@long-name.school.example")).collect();
        let raw = b"From: me@x.example\r\n\r\ntext";
        let text = String::from_utf8(addressed_to(raw, &many)).unwrap();
        assert!(text.lines().all(|line| line.len() < 900), "{text}");
        assert_eq!(text.matches("@long-name").count(), 300);
    }
}
