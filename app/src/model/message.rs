//! An opened message.

use super::{Diagnosis, FolderRole, MessageRef, Timestamp};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartView {
    pub number: usize,
    pub name: String,
    /// Approximate size in bytes, from the encoded size.
    pub size: u64,
    /// Whether bytes were lost in transit.
    pub damaged: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextPiece {
    Words(String),
    /// A link: `http`, `https` or `mailto`.
    Link {
        href: String,
        words: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventTime {
    Instant(Timestamp),
    Day(String),
    /// A time in an unknown zone, in words.
    Local(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvitationKind {
    Request,
    Cancelled,
    Reply,
    Event,
}

/// An invitation (RFC 5546) or event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    pub kind: InvitationKind,
    pub summary: String,
    pub start: Option<EventTime>,
    pub end: Option<EventTime>,
    pub location: String,
    pub organizer: String,
    pub guests: Vec<String>,
    pub repeats: bool,
    pub links: Vec<String>,
    pub description: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Signed, with the text inside the signature, which isn't verified.
    Signed,
    /// Encrypted: needs a mail program with the recipient's key.
    Encrypted,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BodyView {
    pub text: Option<Vec<TextPiece>>,
    pub html: bool,
    pub remote_images: bool,
    pub invitation: Option<Invitation>,
    pub protection: Option<Protection>,
    pub parts: Vec<PartView>,
    pub nested: Vec<NestedView>,
    /// Part of the text could not be decoded.
    pub damaged: bool,
    /// Only its beginning was parsed.
    pub truncated: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NestedView {
    /// Path: numbers from 1, outer messages first (`2.1`).
    pub path: String,
    pub from: String,
    pub to: String,
    pub subject: String,
    pub date: Option<Timestamp>,
    /// Its content; attachments of a nested message are in its own body.
    pub body: BodyView,
}

#[derive(Debug, Clone)]
pub struct MessageView {
    pub place: MessageRef,
    pub address: String,
    pub role: FolderRole,
    pub folder_title: String,
    pub from: Vec<(String, String)>,
    pub to: Vec<String>,
    pub cc: Vec<String>,
    pub subject: String,
    pub received_at: Option<Timestamp>,
    pub flagged: bool,
    /// `None` while it is being fetched.
    pub body: Option<BodyView>,
    /// The error if it can't be shown.
    pub problem: Option<Diagnosis>,
}
