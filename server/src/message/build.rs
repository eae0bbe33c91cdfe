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
            return Ok(finish(builder.singlepart(text))?.bytes);
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
        Ok(finish(builder.multipart(parts))?.bytes)
    }
}

/// Control characters could end a header early.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}
