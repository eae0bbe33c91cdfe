//! An opened message, as pages show it.

use super::{Diagnosis, FolderRole, MessageRef, Timestamp};

/// An attachment of a message that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartView {
    /// Its number within the message.
    pub number: usize,
    /// Its file name.
    pub name: String,
    /// Bytes, about: it is measured as it was sent.
    pub size: u64,
    /// Bytes of it were lost on the way.
    pub damaged: bool,
}

/// A piece of plain text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextPiece {
    Words(String),
    /// A link: `http`, `https` or `mailto`.
    Link {
        /// Where it leads.
        href: String,
        /// What it says.
        words: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventTime {
    Instant(Timestamp),
    /// A whole day, in words.
    Day(String),
    /// A time whose zone is not known, in words.
    Local(String),
}

/// What an invitation wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvitationKind {
    /// An answer.
    Request,
    /// Nothing any more: the event does not take place.
    Cancelled,
    /// It is an answer.
    Reply,
    /// An event for one's own calendar.
    Event,
}

/// An invitation (RFC 5546) or event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// What it wants.
    pub kind: InvitationKind,
    /// Title.
    pub summary: String,
    /// Beginning.
    pub start: Option<EventTime>,
    pub end: Option<EventTime>,
    /// Place.
    pub location: String,
    /// Who invites.
    pub organizer: String,
    /// Who is invited.
    pub guests: Vec<String>,
    /// It takes place more than once.
    pub repeats: bool,
    /// Links, to join for example.
    pub links: Vec<String>,
    pub description: String,
}

/// What protects a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Signed, with the text inside the signature. Nothing is verified.
    Signed,
    /// Encrypted: only Outlook, with the person's key, can open it.
    Encrypted,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BodyView {
    /// Plain text.
    pub text: Option<Vec<TextPiece>>,
    /// Whether there is HTML (shown in a frame of its own).
    pub html: bool,
    /// Whether the HTML names pictures elsewhere.
    pub remote_images: bool,
    pub invitation: Option<Invitation>,
    /// What protects it.
    pub protection: Option<Protection>,
    /// Attachments.
    pub parts: Vec<PartView>,
    /// Messages within it.
    pub nested: Vec<NestedView>,
    /// Part of the text could not be decoded.
    pub damaged: bool,
    /// Only its beginning was parsed.
    pub truncated: bool,
}

/// A message within a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NestedView {
    /// Where it is: its number, from 1, behind those of the messages around it (`2.1`).
    pub path: String,
    pub from: String,
    pub to: String,
    pub subject: String,
    pub date: Option<Timestamp>,
    /// What it says. Its attachments are within the one that it is.
    pub body: BodyView,
}

/// An opened message.
#[derive(Debug, Clone)]
pub struct MessageView {
    /// Where it lies.
    pub place: MessageRef,
    /// The mailbox's address.
    pub address: String,
    pub role: FolderRole,
    /// The folder's name, as people read it.
    pub folder_title: String,
    /// Authors: name and address of each.
    pub from: Vec<(String, String)>,
    pub to: Vec<String>,
    pub cc: Vec<String>,
    pub subject: String,
    /// When it came in.
    pub received_at: Option<Timestamp>,
    /// It is marked.
    pub flagged: bool,
    /// What it says; none while it is being fetched.
    pub body: Option<BodyView>,
    /// Why it cannot be shown.
    pub problem: Option<Diagnosis>,
}
