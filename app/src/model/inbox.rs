//! Folders and messages of a mailbox.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

/// Newest headers stored per folder; searched if the server supports ASCII only.
pub const SEARCHED_HEADERS: u32 = 300;
/// Newest messages whose text is searched then.
pub const SEARCHED_TEXTS: usize = 50;

use super::{Diagnosis, MailboxId, Timestamp};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum FolderRole {
    Inbox,
    Drafts,
    Sent,
    Archive,
    Junk,
    Trash,
    Other,
}

impl FolderRole {
    /// In display order.
    pub const ALL: [Self; 7] =
        [Self::Inbox, Self::Drafts, Self::Sent, Self::Archive, Self::Junk, Self::Trash, Self::Other];
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderView {
    pub name: String,
    pub title: String,
    pub role: FolderRole,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderView {
    pub uid: u32,
    pub from: String,
    pub from_address: String,
    pub recipients: String,
    pub subject: String,
    pub received_at: Timestamp,
    pub size: i64,
    pub seen: bool,
    pub flagged: bool,
    pub answered: bool,
    pub attachments: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InboxQuery {
    /// By default the user's first.
    pub mailbox: Option<MailboxId>,
    /// By default INBOX.
    pub folder: Option<String>,
    /// From 1.
    pub page: u32,
    /// Search text; empty lists everything.
    pub search: String,
}

#[derive(Debug, Clone)]
pub struct InboxView {
    pub mailboxes: Vec<(MailboxId, String)>,
    pub mailbox: MailboxId,
    pub address: String,
    pub folders: Vec<FolderView>,
    /// Whether no folder for deleted messages is known.
    pub without_trash: bool,
    pub folder: FolderView,
    pub uid_validity: u32,
    /// Newest first.
    pub headers: Vec<HeaderView>,
    /// From 1.
    pub page: u32,
    pub pages: u32,
    pub total: u32,
    pub unread: u32,
    pub search: String,
    /// Whether only some messages were searched, since the server couldn't.
    pub looked_through: bool,
    pub fetching: bool,
    pub as_of: Option<Timestamp>,
    pub problem: Option<Diagnosis>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MessageRef {
    pub mailbox: MailboxId,
    pub folder: String,
    /// UIDVALIDITY: with another value the UID means another message.
    pub uid_validity: u32,
    pub uid: u32,
}

impl MessageRef {
    pub fn query(&self) -> String {
        format!(
            "mailbox={}&folder={}&validity={}&uid={}",
            self.mailbox,
            escaped(&self.folder),
            self.uid_validity,
            self.uid
        )
    }
}

pub fn escaped(text: &str) -> String {
    // RFC 3986, 2.3: unreserved characters stay.
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, RESERVED).to_string()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailAction {
    Read,
    Unread,
    Flag,
    Unflag,
    Delete,
    Restore,
}

impl MailAction {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "read" => Self::Read,
            "unread" => Self::Unread,
            "flag" => Self::Flag,
            "unflag" => Self::Unflag,
            "delete" => Self::Delete,
            "restore" => Self::Restore,
            _ => return None,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyKind {
    Reply,
    ReplyAll,
    Forward,
}

impl ReplyKind {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "reply" => Self::Reply,
            "reply_all" => Self::ReplyAll,
            "forward" => Self::Forward,
            _ => return None,
        })
    }
}
