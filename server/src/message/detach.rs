//! Takes the files out of a message that is too large for one request.

use mail_parser::{MessageParser, MessagePart, MimeHeaders, PartType};

use super::fields::end_of_field;

/// A file of a message.
pub struct Detached {
    pub name: String,
    pub content_type: String,
    /// For pictures that the text shows.
    pub content_id: Option<String>,
    pub bytes: Vec<u8>,
}

/// The message with its first part alone, and its other parts as files. `None`: it has another shape, such as a signed one, whose
/// parts belong together.
pub fn detached(raw: &[u8]) -> Option<(Vec<u8>, Vec<Detached>)> {
    let message = MessageParser::default().parse(raw)?;
    let root = message.parts.first()?;
    let kind = root.content_type()?;
    let is_list = kind.ctype().eq_ignore_ascii_case("multipart")
        && kind
            .subtype()
            .is_some_and(|subtype| ["mixed", "related"].iter().any(|one| subtype.eq_ignore_ascii_case(one)));
    let PartType::Multipart(children) = &root.body else { return None };
    let (text, files) = children.split_first().filter(|_| is_list)?;
    let part = |id: &u32| message.parts.get(*id as usize);
    let text = part(text)?;
    let files: Vec<Detached> = files.iter().map(|id| file(raw, part(id)?)).collect::<Option<_>>()?;
    let mut light = header_without_type(raw.get(..root.offset_body as usize)?);
    light.extend_from_slice(raw.get(text.offset_header as usize..text.offset_end as usize)?);
    Some((light, files))
}

fn file(raw: &[u8], part: &MessagePart<'_>) -> Option<Detached> {
    let bytes = match &part.body {
        PartType::Multipart(_) => return None,
        // As it stands: its own encoding is part of it.
        PartType::Message(_) => raw.get(part.offset_body as usize..part.offset_end as usize)?.to_vec(),
        _ => part.contents().to_vec(),
    };
    let kind = part.content_type();
    let content_type = kind.map(|kind| match kind.subtype() {
        Some(subtype) => format!("{}/{subtype}", kind.ctype()),
        None => kind.ctype().to_owned(),
    });
    Some(Detached {
        name: part.attachment_name().unwrap_or("attachment").to_owned(),
        content_type: content_type.unwrap_or_else(|| "application/octet-stream".to_owned()),
        content_id: part.content_id().map(ToOwned::to_owned),
        bytes,
    })
}

/// The fields of the whole message, without those of its first part's type and without the empty line.
fn header_without_type(header: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(header.len()), header);
    while !rest.is_empty() && !rest.starts_with(b"\n") && !rest.starts_with(b"\r\n") {
        let (field, after) = rest.split_at(end_of_field(rest));
        rest = after;
        let name = field.split(|byte| *byte == b':').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        if !name.starts_with(b"content-") {
            out.extend_from_slice(field);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIXED: &str = "From: a@x.example\r\nMIME-Version: 1.0\r\nMessage-ID: <1@x>\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n\
        --b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nH=C3=A9llo\r\n\
        --b\r\nContent-Type: application/pdf; name=\"scan.pdf\"\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"scan.pdf\"\r\n\r\nJVBERi0=\r\n\
        --b--\r\n";

    #[test]
    fn files_leave_a_message_and_its_header_stays() {
        let (light, files) = detached(MIXED.as_bytes()).unwrap();
        let light = String::from_utf8(light).unwrap();
        assert!(
            light
                .starts_with("From: a@x.example\r\nMIME-Version: 1.0\r\nMessage-ID: <1@x>\r\nContent-Type: text/plain"),
            "{light}"
        );
        assert!(light.contains("\r\n\r\nH=C3=A9llo") && !light.contains("--b"), "{light}");
        assert_eq!(files.len(), 1);
        assert_eq!((files[0].name.as_str(), files[0].content_type.as_str()), ("scan.pdf", "application/pdf"));
        assert_eq!(files[0].bytes, b"%PDF-");
    }

    #[test]
    fn what_belongs_together_stays_together() {
        let signed = MIXED.replace("multipart/mixed", "multipart/signed; protocol=\"application/pkcs7-signature\"");
        assert!(detached(signed.as_bytes()).is_none());
        assert!(detached(b"From: a@x.example\r\n\r\nJust text.\r\n").is_none());
    }
}
