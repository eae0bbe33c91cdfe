//! Delivery status notifications (RFC 3464).

use mail_parser::{MessageParser, MimeHeaders, PartType};

/// Most recipients of one report.
const MOST: usize = 500;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounce {
    /// Message-ID of the sent message, with angle brackets.
    pub message_id: String,
    pub failed: Vec<FailedRecipient>,
}

/// A recipient that did not get the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedRecipient {
    pub address: String,
    pub reason: String,
}

pub(crate) fn is_report(header: &[u8]) -> bool {
    MessageParser::default().parse_headers(header).is_some_and(|message| {
        message.content_type().is_some_and(|kind| {
            kind.ctype().eq_ignore_ascii_case("multipart")
                && kind.subtype().is_some_and(|subtype| subtype.eq_ignore_ascii_case("report"))
                && kind.attribute("report-type").is_none_or(|kind| kind.eq_ignore_ascii_case("delivery-status"))
        })
    })
}

/// The fields of one block (RFC 822 form), unfolded.
fn fields(block: &str) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        match (line.starts_with([' ', '\t']), fields.last_mut(), line.split_once(':')) {
            (true, Some((_, value)), _) => {
                value.push(' ');
                value.push_str(line.trim());
            }
            (_, _, Some((name, value))) => fields.push((name.trim().to_lowercase(), value.trim().to_owned())),
            _ => {}
        }
    }
    fields
}

/// `rfc822; somebody@x.example` without its type.
fn typed(value: &str) -> &str {
    value.split_once(';').map_or(value, |(_, value)| value).trim().trim_matches(['<', '>'])
}

fn is_type(part: &mail_parser::MessagePart<'_>, main: &str, sub: &[&str]) -> bool {
    part.content_type().is_some_and(|kind| {
        kind.ctype().eq_ignore_ascii_case(main)
            && kind.subtype().is_some_and(|subtype| sub.iter().any(|one| subtype.eq_ignore_ascii_case(one)))
    })
}

/// Parses a report. `None`: not a report, no failure, or no message named.
pub(crate) fn parse(raw: &[u8]) -> Option<Bounce> {
    let message = MessageParser::default().parse(raw)?;
    let status =
        message.parts.iter().find(|part| is_type(part, "message", &["delivery-status", "global-delivery-status"]))?;
    let status = String::from_utf8_lossy(status.contents()).replace("\r\n", "\n");
    let mut failed = Vec::new();
    for block in status.split("\n\n").take(MOST) {
        let fields = fields(block);
        let value = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
        let (Some(recipient), Some(action)) =
            (value("final-recipient").or(value("original-recipient")), value("action"))
        else {
            continue;
        };
        // `delayed`, `relayed` and `delivered` are no failures.
        if !action.eq_ignore_ascii_case("failed") {
            continue;
        }
        let (status, said) = (value("status").unwrap_or_default(), value("diagnostic-code").map_or("", typed));
        // The diagnostic code usually contains the status.
        let reason = if said.contains(status) { said.to_owned() } else { format!("{status} {said}").trim().to_owned() };
        let reason: String = reason.chars().filter(|c| !c.is_control()).take(500).collect();
        let address = typed(value("original-recipient").unwrap_or(recipient)).to_owned();
        failed.push(FailedRecipient { address, reason });
    }
    if failed.is_empty() {
        return None;
    }
    let original = message.parts.iter().skip(1).find_map(|part| match &part.body {
        PartType::Message(message) => message.message_id().map(ToOwned::to_owned),
        _ if is_type(part, "text", &["rfc822-headers"]) || is_type(part, "message", &["rfc822", "global"]) => {
            let headers = MessageParser::default().parse_headers(part.contents())?;
            headers.message_id().map(ToOwned::to_owned)
        }
        _ => None,
    });
    // Some servers return no part of the message, but refer to it.
    let original = original.or_else(|| {
        let answered = message.in_reply_to();
        answered.as_text().map(ToOwned::to_owned).or_else(|| answered.as_text_list()?.first().map(ToString::to_string))
    })?;
    Some(Bounce { message_id: format!("<{}>", original.trim_matches(['<', '>'])), failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "From: postmaster@x.example\r\nTo: user@demo.example\r\nSubject: Undeliverable\r\n\
        Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nIt did not work.\r\n\
        --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x.example\r\n\r\n\
        Original-Recipient: rfc822;somebody@x.example\r\nFinal-Recipient: rfc822; someone@y.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\
        Diagnostic-Code: smtp; 550 5.1.1 no such\r\n person here\r\n\r\n\
        Final-Recipient: rfc822; slow@x.example\r\nAction: delayed\r\nStatus: 4.4.1\r\n\r\n\
        --b\r\nContent-Type: KIND\r\n\r\nFrom: user@demo.example\r\nMessage-ID: <one@demo.example>\r\n\r\n--b--\r\n";

    #[test]
    fn a_report_says_of_which_message_who_and_why() {
        for kind in ["message/rfc822", "text/rfc822-headers", "message/rfc822; charset=utf-8"] {
            let raw = REPORT.replace("KIND", kind);
            assert!(is_report(raw.as_bytes()));
            let bounce = parse(raw.as_bytes()).unwrap();
            assert_eq!(bounce.message_id, "<one@demo.example>", "{kind}");
            assert_eq!(
                bounce.failed,
                [FailedRecipient {
                    address: "somebody@x.example".to_owned(),
                    reason: "550 5.1.1 no such person here".to_owned()
                }]
            );
        }
    }

    #[test]
    fn what_is_no_failure_is_none() {
        let delayed = REPORT.replace("KIND", "message/rfc822").replace("Action: failed", "Action: delayed");
        assert_eq!(parse(delayed.as_bytes()), None);
        assert_eq!(parse(b"Subject: Hello\r\n\r\nFinal-Recipient: rfc822; a@b.example\r\nAction: failed\r\n"), None);
        assert!(!is_report(
            b"Content-Type: multipart/report; report-type=disposition-notification; boundary=x\r\n\r\n"
        ));
        assert!(!is_report(b"Content-Type: text/plain\r\n\r\n"));
    }
}
