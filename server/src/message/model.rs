//! A message, parsed.

use std::sync::Arc;

use app::model::{Invitation, Protection, Timestamp};

/// How the bytes of a part were written (RFC 2045, 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    /// Base64.
    Base64,
    QuotedPrintable,
}

impl Encoding {
    /// By the value of Content-Transfer-Encoding.
    pub fn of(name: &str) -> Self {
        match name.trim().to_ascii_lowercase().as_str() {
            "base64" => Self::Base64,
            "quoted-printable" => Self::QuotedPrintable,
            _ => Self::Identity,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Party {
    /// Display name; may be empty.
    pub name: String,
    /// Address; empty where only a name was written.
    pub address: String,
}

/// An attachment: where its bytes are within the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub name: String,
    pub content_type: String,
    /// First byte.
    pub from: u32,
    /// Bytes, as they were sent.
    pub length: u32,
    pub encoding: Encoding,
    /// Bytes were lost on the way: it cannot be decoded to its end.
    pub damaged: bool,
    /// The bytes themselves, if they have no place in the raw message: within a signature.
    pub bytes: Option<Arc<Vec<u8>>>,
    /// A picture shown in the text. It is listed as an attachment only when forwarding.
    pub shown: bool,
}

impl Part {
    /// Bytes after decoding, about.
    pub fn size(&self) -> u64 {
        if let Some(bytes) = &self.bytes {
            return bytes.len() as u64;
        }
        match self.encoding {
            // Four characters are three bytes, and a line of 76 has two more.
            Encoding::Base64 => u64::from(self.length) * 76 / 78 * 3 / 4,
            _ => u64::from(self.length),
        }
    }
}

/// A picture that the HTML names by its Content-ID, or that is the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    pub(crate) id: String,
    /// By its first bytes, whatever the sender calls it.
    pub(crate) content_type: &'static str,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParsedMessage {
    pub from: Vec<Party>,
    pub reply_to: Vec<Party>,
    pub to: Vec<Party>,
    pub cc: Vec<Party>,
    pub subject: String,
    /// Date, by its author's clock.
    pub date: Option<Timestamp>,
    pub message_id: Option<String>,
    /// Messages it answers, with angle brackets, oldest first.
    pub references: Vec<String>,
    /// Plain text. Flowed text (RFC 3676) has its soft line breaks removed.
    pub text: Option<String>,
    /// HTML with its style sheets, not sanitised.
    pub html: Option<String>,
    pub pictures: Vec<Picture>,
    pub parts: Vec<Part>,
    pub invitation: Option<Invitation>,
    /// Whether it is signed with its text inside, or encrypted.
    pub protection: Option<Protection>,
    /// Messages within it, in their order.
    pub nested: Vec<ParsedMessage>,
    /// Part of the text could not be decoded.
    pub damaged: bool,
    /// Only its beginning was parsed.
    pub truncated: bool,
}

impl ParsedMessage {
    /// About how much memory it takes, in bytes.
    pub fn size_in_memory(&self) -> usize {
        let text = self.text.as_ref().map_or(0, String::len) + self.html.as_ref().map_or(0, String::len);
        let pictures: usize = self.pictures.iter().map(|picture| picture.bytes.len()).sum();
        let parts: usize = self.parts.iter().filter_map(|part| part.bytes.as_ref()).map(|bytes| bytes.len()).sum();
        let nested: usize = self.nested.iter().map(Self::size_in_memory).sum();
        text + pictures + parts + nested + 4096 + (self.to.len() + self.cc.len() + self.parts.len()) * 100
    }
}
