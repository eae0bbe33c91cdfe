//! An opened message, as pages show it.

use super::{Diagnosis, FolderRole, MessageRef, Timestamp};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartView {
    pub number: usize,
    pub name: String,
    /// Bytes, about: it is measured as it was sent.
    pub size: u64,
    /// Bytes of it were lost on the way.
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
    /// A time whose zone is not known, in words.
    Local(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvitationKind {
    Request,
    /// The event was cancelled.
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
    /// It takes place more than once.
    pub repeats: bool,
    pub links: Vec<String>,
    pub description: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Signed, with the text inside the signature. Nothing is verified.
    Signed,
    /// Encrypted: only Outlook, with the person's key, can open it.
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
    /// Where it is: its number, from 1, behind those of the messages around it (`2.1`).
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
    /// What it says; none while it is being fetched.
    pub body: Option<BodyView>,
    /// Why it cannot be shown.
    pub problem: Option<Diagnosis>,
}
