//! Builds messages: written by people, notifications, test messages.

use std::time::{Duration, SystemTime};

use app::model::{EmailAddress, Timestamp};
use lettre::address::Envelope;
use lettre::message::header::{
    ContentDisposition, ContentTransferEncoding, ContentType, Header, HeaderName, HeaderValue,
};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message};

use super::addresses::Named;
use crate::message::escape::escaped;

pub struct Composed {
    pub envelope: Envelope,
    pub bytes: Vec<u8>,
}

/// The message cannot be built, for example because SMTP cannot carry an address.
#[derive(Debug, thiserror::Error)]
#[error("the message cannot be built: {0}")]
pub struct ComposeError(String);

#[derive(Clone)]
struct AttemptHeader(String);

impl Header for AttemptHeader {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("X-Entrepost-Attempt")
    }
    fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self(text.to_owned()))
    }
    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), self.0.clone())
    }
}

#[derive(Clone)]
struct AutoSubmitted;

/// RFC 3834: prevents automatic replies.
impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }
    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }
    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// The length in bytes at which a header line is folded, and the length of the folded lines.
const LONG_LINE: usize = 900;
const FOLDED_LINE: usize = 76;

pub struct TestMessage<'a> {
    pub from: &'a EmailAddress,
    pub to: &'a EmailAddress,
    pub institution: &'a str,
    pub person: &'a str,
    pub at: Timestamp,
    pub attempt: &'a str,
    pub message_id: &'a str,
}

impl TestMessage<'_> {
    pub fn build(&self) -> Result<Composed, ComposeError> {
        let when = self.at.utc_text();
        let plain = format!(
            "This message confirms that Entrepost can send and receive as {}.\n\nInstitution: {}\nTested by: {}\nTime: {when}\n\nNo action needed. You can delete this message.\n",
            self.from, self.institution, self.person
        );
        let html = format!(
            "<p>This message confirms that Entrepost can send and receive as <strong>{}</strong>.</p><table><tr><td>Institution</td><td>{}</td></tr><tr><td>Tested by</td><td>{}</td></tr><tr><td>Time</td><td>{when}</td></tr></table><p>No action needed. You can delete this message.</p>",
            escaped(self.from.as_str()),
            escaped(self.institution),
            escaped(self.person)
        );
        let subject = format!("Entrepost test for {}", self.institution);
        let message = builder(self.from.as_str(), self.to.as_str(), &subject, self.at)?
            .message_id(Some(self.message_id.to_owned()))
            .header(AttemptHeader(self.attempt.to_owned()));
        finish(message.multipart(MultiPart::alternative_plain_html(plain, html)))
    }
}

pub fn notification(
    from: &str,
    to: &str,
    subject: &str,
    message_id: &str,
    text: &str,
    at: Timestamp,
) -> Result<Composed, ComposeError> {
    finish(builder(from, to, subject, at)?.message_id(Some(message_id.to_owned())).body(text.to_owned()))
}

fn builder(
    from: &str,
    to: &str,
    subject: &str,
    at: Timestamp,
) -> Result<lettre::message::MessageBuilder, ComposeError> {
    let mailbox = |text: &str| {
        text.parse::<Address>()
            .map(|address| Mailbox::new(None, address))
            .map_err(|error| ComposeError(error.to_string()))
    };
    let subject: String = subject.chars().filter(|c| !c.is_control()).take(200).collect();
    let date = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at.0).unwrap_or_default());
    Ok(Message::builder().from(mailbox(from)?).to(mailbox(to)?).subject(subject).date(date).header(AutoSubmitted))
}

fn finish(message: Result<Message, lettre::error::Error>) -> Result<Composed, ComposeError> {
    let message = message.map_err(|error| ComposeError(error.to_string()))?;
    Ok(Composed { envelope: message.envelope().clone(), bytes: message.formatted() })
}

pub struct Written<'a> {
    pub from: &'a EmailAddress,
    pub to: &'a [Named],
    pub cc: &'a [Named],
    pub subject: &'a str,
    pub text: &'a str,
    pub at: Timestamp,
    pub message_id: &'a str,
    /// Message-IDs for References, oldest first, with angle brackets.
    pub references: &'a [String],
    pub files: Vec<File>,
}

#[derive(Clone)]
pub struct File {
    pub name: String,
    pub content_type: String,
    pub bytes: Vec<u8>,
}

impl Written<'_> {
    /// Builds it. Bcc recipients are in no header.
    pub fn build(self) -> Result<Vec<u8>, ComposeError> {
        let wrong = |error: &dyn std::fmt::Display| ComposeError(error.to_string());
        let mailbox = |named: &Named| {
            let address = named.address.as_str().parse::<Address>().map_err(|error| wrong(&error))?;
            Ok::<_, ComposeError>(Mailbox::new(named.name.as_deref().map(one_line), address))
        };
        let from = Named { name: None, address: self.from.clone() };
        let date = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(self.at.0).unwrap_or_default());
        let mut builder = Message::builder()
            .from(mailbox(&from)?)
            .subject(one_line(self.subject))
            .date(date)
            .message_id(Some(self.message_id.to_owned()));
        for to in self.to {
            builder = builder.to(mailbox(to)?);
        }
        for cc in self.cc {
            builder = builder.cc(mailbox(cc)?);
        }
        // lettre requires a recipient, but a message may have only Bcc recipients, which the envelope has.
        let envelope = lettre::address::Envelope::new(
            Some(self.from.as_str().parse().map_err(|error| wrong(&error))?),
            vec![self.from.as_str().parse().map_err(|error| wrong(&error))?],
        );
        builder = builder.envelope(envelope.map_err(|error| wrong(&error))?);
        // RFC 5322, 3.6.4: the parent, and its references.
        if let Some(answered) = self.references.last() {
            builder = builder.in_reply_to(answered.clone()).references(self.references.join(" "));
        }
        let text = SinglePart::plain(self.text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n"));
        if self.files.is_empty() {
            return Ok(folded(finish(builder.singlepart(text))?.bytes));
        }
        let mut parts = MultiPart::mixed().singlepart(text);
        for file in self.files {
            let bytes = ContentType::parse("application/octet-stream").map_err(|error| wrong(&error))?;
            let kind = match ContentType::parse(&file.content_type) {
                // These types must not be encoded in base64 (RFC 2046, 5.1 and 5.2.1), as attachments are.
                Ok(kind)
                    if !file.content_type.starts_with("multipart/") && !file.content_type.starts_with("message/") =>
                {
                    kind
                }
                _ => bytes,
            };
            let part = SinglePart::builder()
                .header(kind)
                .header(ContentDisposition::attachment(&one_line(&file.name)))
                .header(ContentTransferEncoding::Base64)
                .body(file.bytes);
            parts = parts.singlepart(part);
        }
        Ok(folded(finish(builder.multipart(parts))?.bytes))
    }
}

/// Folds long header lines at spaces: lettre writes all recipients into one, and a line has at most 998 bytes
/// (RFC 5322, 2.1.1).
fn folded(message: Vec<u8>) -> Vec<u8> {
    let end = memchr::memmem::find(&message, b"\r\n\r\n").unwrap_or(message.len());
    if message[..end].split(|byte| *byte == b'\n').all(|line| line.len() < LONG_LINE) {
        return message;
    }
    let mut out = Vec::with_capacity(message.len() + end / 32);
    for line in message[..end].split_inclusive(|byte| *byte == b'\n') {
        let mut length = 0;
        for (at, word) in line.split(|byte| *byte == b' ').enumerate() {
            if at > 0 {
                let folds = line.len() >= LONG_LINE && length + word.len() >= FOLDED_LINE;
                out.extend_from_slice(if folds { b"\r\n " } else { b" " });
                length = if folds { 1 } else { length + 1 };
            }
            out.extend_from_slice(word);
            length += word.len();
        }
    }
    out.extend_from_slice(&message[end..]);
    out
}

/// Control characters could end a header early.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_recipients_are_folded_and_stay_who_they_are() {
        let address = |text: &str| EmailAddress::parse(text).unwrap();
        let to: Vec<Named> = (0..300)
            .map(|n| Named {
                name: Some(format!("Zoë, person {n}")),
                address: address(&format!("p{n}@long.school.example")),
            })
            .collect();
        let written = Written {
            from: &address("me@school.example"),
            to: &to,
            cc: &[],
            subject: "To many",
            text: "Text",
            at: Timestamp(0),
            message_id: "<1@school.example>",
            references: &[],
            files: Vec::new(),
        };
        let bytes = written.build().unwrap();
        assert!(bytes.split(|byte| *byte == b'\n').all(|line| line.len() <= 998));
        let parsed = mail_parser::MessageParser::default().parse(&bytes[..]).unwrap();
        let Some(mail_parser::Address::List(list)) = parsed.to() else { panic!("{parsed:?}") };
        assert_eq!(list.len(), 300);
        for (at, one) in list.iter().enumerate() {
            assert_eq!(one.name.as_deref(), Some(format!("Zoë, person {at}").as_str()));
            assert_eq!(one.address.as_deref(), Some(format!("p{at}@long.school.example").as_str()));
        }
    }
}
