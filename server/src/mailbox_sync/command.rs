//! What can be asked of a mailbox, and what may come of it.

use std::sync::Arc;

use app::model::HeaderView;

use crate::access_tokens::TokenError;
use crate::diagnosis::Fault;
use crate::mail::{MailError, imap};
use crate::message::ParsedMessage;
use crate::store::StoreError;

/// Why the inbox did not do something.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The mail server refused, or is out of reach.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// There is no token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The mailbox must be connected again; the fault, as JSON.
    #[error("the mailbox must be connected again")]
    NeedsReconnect(Option<String>),
    /// The mailbox is gone.
    #[error("the mailbox was disconnected")]
    Gone,
    /// The message is not there any more, or the folder was made anew.
    #[error("the message is not there any more")]
    NoMessage,
    /// There is nowhere to move deleted messages to.
    #[error("the mailbox has no folder for deleted messages")]
    NoTrash,
    /// Too much is asked of this mailbox at once, or the server stops.
    #[error("too much is asked of this mailbox at once")]
    Busy,
}

impl SyncError {
    /// The fault, for a diagnosis.
    #[must_use]
    pub fn fault(&self, server: &(String, u16), now: app::model::Timestamp) -> Fault {
        match self {
            Self::Mail(error) => Fault::imap(error, server, now),
            Self::Token(error) => error.fault(now),
            Self::NeedsReconnect(Some(problem)) => Fault::from_json(problem),
            other => Fault::new("our_bug", now, &[("Error", other.to_string())]),
        }
    }

    /// Whether the connection is of no more use, though another one may be.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Self::Mail(error) if !error.answered || error.is_token_expired())
    }
}

/// What can be asked of a mailbox.
#[derive(Debug, Clone)]
pub enum Command {
    /// Look into a folder.
    Sync {
        /// Which.
        folder: String,
    },
    /// Fetch a message and take it apart.
    Open {
        /// Where it lies.
        folder: String,
        /// UIDVALIDITY.
        uid_validity: u32,
        /// UID.
        uid: u32,
    },
    /// Octets of a message.
    Bytes {
        /// Where it lies.
        folder: String,
        /// UIDVALIDITY.
        uid_validity: u32,
        /// UID.
        uid: u32,
        /// From here.
        from: u32,
        /// So many.
        length: u32,
    },
    /// Set or take away a flag.
    Flag {
        /// Where they lie.
        folder: String,
        /// UIDVALIDITY.
        uid_validity: u32,
        /// UIDs.
        uids: Vec<u32>,
        /// Which flag.
        flag: imap::Flag,
        /// Whether to set it.
        set: bool,
    },
    /// Move to the trash; from there, delete for good.
    Delete {
        /// Where they lie.
        folder: String,
        /// UIDVALIDITY.
        uid_validity: u32,
        /// UIDs.
        uids: Vec<u32>,
    },
    /// Move to another folder.
    Move {
        /// Where they lie.
        folder: String,
        /// UIDVALIDITY.
        uid_validity: u32,
        /// UIDs.
        uids: Vec<u32>,
        /// Where they go.
        to: String,
    },
    /// Search a folder.
    Search {
        /// Which.
        folder: String,
        /// For what.
        text: String,
        /// Headers of so many of those found are wanted, from the newest.
        most: usize,
    },
    /// Headers beyond those that are kept, by position from the newest.
    Page {
        /// Which folder.
        folder: String,
        /// So many newer ones are left out.
        offset: u32,
        /// So many at most.
        limit: u32,
    },
    /// Look for a message that was sent to oneself.
    Arrived {
        /// With angle brackets.
        message_id: String,
        /// The value of its `X-Entrepost-Attempt` header, should the server have replaced the Message-ID.
        attempt: Option<String>,
        /// Which look this is.
        round: u32,
    },
    /// Look for a message among those that were sent.
    FindSent {
        /// With angle brackets.
        message_id: String,
    },
}

/// What came of a question.
#[derive(Debug)]
pub enum Reply {
    /// It was done.
    Done,
    /// Messages were moved; where they are now, if the server said so.
    Moved(Option<imap::Moved>),
    /// The message, taken apart.
    Opened(Arc<ParsedMessage>),
    /// Octets of it.
    Bytes(Vec<u8>),
    /// Headers.
    Headers(Listing),
    /// The folder a message was found in.
    Found(Option<String>),
}

/// Messages of a folder, as lists show them.
#[derive(Debug)]
pub struct Listing {
    /// Some of them, newest first.
    pub headers: Vec<HeaderView>,
    /// How many there are in all.
    pub total: u32,
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// The server could not search for this text: only some messages were looked through.
    pub looked_through: bool,
}
