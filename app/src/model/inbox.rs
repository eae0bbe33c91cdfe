//! Folders and messages of a mailbox, as pages show them.

use serde::{Deserialize, Serialize};

/// Headers that are kept of a folder, newest first, and searched where the server knows ASCII only.
pub const SEARCHED_HEADERS: u32 = 300;
/// Messages whose text is fetched and searched there.
pub const SEARCHED_TEXTS: usize = 50;

use super::{Diagnosis, MailboxId, Timestamp};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FolderRole {
    /// What came in.
    Inbox,
    /// Drafts of other programs.
    Drafts,
    /// What was sent.
    Sent,
    /// What is kept away.
    Archive,
    Junk,
    /// What was deleted.
    Trash,
    /// A folder of the person's own.
    Other,
}

impl FolderRole {
    /// All of them, in the order in which lists show them.
    pub const ALL: [Self; 7] =
        [Self::Inbox, Self::Drafts, Self::Sent, Self::Archive, Self::Junk, Self::Trash, Self::Other];

    /// The name in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::Drafts => "drafts",
            Self::Sent => "sent",
            Self::Archive => "archive",
            Self::Junk => "junk",
            Self::Trash => "trash",
            Self::Other => "other",
        }
    }

    /// The role of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// A folder in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderView {
    /// Its name, as the server writes it.
    pub name: String,
    /// Its name, as people read it.
    pub title: String,
    pub role: FolderRole,
}

/// A message in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderView {
    pub uid: u32,
    /// Who wrote it: the name, or else the address.
    pub from: String,
    pub from_address: String,
    /// To whom, as written.
    pub recipients: String,
    /// Subject; empty if it has none.
    pub subject: String,
    /// When it came in.
    pub received_at: Timestamp,
    /// Its octets.
    pub size: i64,
    /// It was read.
    pub seen: bool,
    /// It is marked.
    pub flagged: bool,
    /// It was answered.
    pub answered: bool,
    /// It seems to have attachments.
    pub attachments: bool,
}

/// What of a mailbox is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InboxQuery {
    /// The mailbox; the person's first, if none is named.
    pub mailbox: Option<MailboxId>,
    /// The folder; INBOX, if none is named.
    pub folder: Option<String>,
    /// The page, from 1.
    pub page: u32,
    /// What is searched for; empty: everything is listed.
    pub search: String,
}

/// The inbox page.
#[derive(Debug, Clone)]
pub struct InboxView {
    /// The person's mailboxes: id and address.
    pub mailboxes: Vec<(MailboxId, String)>,
    /// The one that is shown.
    pub mailbox: MailboxId,
    pub address: String,
    pub folders: Vec<FolderView>,
    /// None of them is known to be for deleted messages.
    pub without_trash: bool,
    /// The folder that is shown.
    pub folder: FolderView,
    /// UIDVALIDITY of the folder.
    pub uid_validity: u32,
    /// A page of its messages, newest first.
    pub headers: Vec<HeaderView>,
    /// The page, from 1.
    pub page: u32,
    /// How many pages there are.
    pub pages: u32,
    /// How many messages the folder holds, or were found.
    pub total: u32,
    /// How many of those known are unread.
    pub unread: u32,
    /// What was searched for.
    pub search: String,
    /// The mail server could not search for that: only some messages were looked through.
    pub looked_through: bool,
    /// Nothing was ever seen of this folder: it is being fetched.
    pub fetching: bool,
    /// When the folder was last looked into.
    pub as_of: Option<Timestamp>,
    /// What stands in the way.
    pub problem: Option<Diagnosis>,
}

/// Where a message lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MessageRef {
    pub mailbox: MailboxId,
    /// The folder, as the server writes it.
    pub folder: String,
    /// UIDVALIDITY: a message of another one is another message.
    pub uid_validity: u32,
    pub uid: u32,
}

impl MessageRef {
    /// As the query of an address.
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

/// A text as a value of an address's query.
pub fn escaped(text: &str) -> String {
    use std::fmt::Write;
    let mut query = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            query.push(char::from(byte));
        } else {
            let _ = write!(query, "%{byte:02X}");
        }
    }
    query
}

/// What people do with messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailAction {
    /// Mark as read.
    Read,
    /// Mark as unread.
    Unread,
    /// Mark.
    Flag,
    /// Take the mark away.
    Unflag,
    /// Move to the trash; from there, delete for good.
    Delete,
    /// Move back to where they lay.
    Restore,
}

impl MailAction {
    /// The action of that name.
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

/// How somebody answers a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyKind {
    /// To its writer.
    Reply,
    /// To everybody it went to.
    ReplyAll,
    /// To somebody else, with its attachments.
    Forward,
}

impl ReplyKind {
    /// The answer of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "reply" => Self::Reply,
            "reply_all" => Self::ReplyAll,
            "forward" => Self::Forward,
            _ => return None,
        })
    }
}
