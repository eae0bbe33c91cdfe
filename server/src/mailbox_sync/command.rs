//! Commands to a mailbox worker, and their replies.

use std::sync::Arc;

use app::model::{HeaderView, MessageRef};

use crate::access_tokens::TokenError;
use crate::config::ServerAddress;
use crate::diagnosis::Fault;
use crate::mail::{MailError, imap};
use crate::message::ParsedMessage;
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The mail server refused the command or cannot be reached.
    #[error(transparent)]
    Mail(#[from] MailError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The owner must sign in again; carries the fault.
    #[error("the mailbox needs to be reconnected")]
    NeedsReconnect(Option<Fault>),
    #[error("the mailbox was disconnected")]
    Gone,
    /// The message is gone, or the folder has a new UIDVALIDITY.
    #[error("the message no longer exists")]
    NoMessage,
    #[error("the mailbox has no folder for deleted messages")]
    NoTrash,
    /// The queue of this mailbox is full, or the server stops.
    #[error("this mailbox is busy")]
    Busy,
}

impl SyncError {
    pub fn fault(&self, server: &ServerAddress, now: app::model::Timestamp) -> Fault {
        match self {
            Self::Mail(error) => Fault::imap(error, server, now),
            Self::Token(error) => error.fault(now),
            Self::NeedsReconnect(Some(problem)) => problem.clone(),
            other => Fault::new("our_bug", now, &[("Error", other.to_string())]),
        }
    }

    /// Whether the connection is unusable while a new one may work.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Self::Mail(error) if !error.answered || error.is_token_expired())
    }
}

/// Messages of one folder.
#[derive(Debug, Clone)]
pub struct MessageSet {
    pub folder: String,
    pub uid_validity: u32,
    pub uids: Vec<u32>,
}

#[derive(Debug, Clone)]
pub enum Command {
    Sync {
        folder: String,
    },
    Open(MessageRef),
    Bytes {
        message: MessageRef,
        from: u32,
        length: u32,
    },
    Flag {
        messages: MessageSet,
        flag: imap::Flag,
        set: bool,
    },
    /// Move to the folder for deleted messages; from there, expunge.
    Delete(MessageSet),
    Move {
        messages: MessageSet,
        to: String,
    },
    Search {
        folder: String,
        text: String,
        /// Maximum number of headers returned, newest first.
        most: usize,
    },
    /// Headers beyond the kept ones, by position from the newest.
    Page {
        folder: String,
        offset: u32,
        limit: u32,
    },
    Arrived {
        message_id: String,
        /// Value of `X-Entrepost-Attempt`, in case the server replaced the Message-ID.
        attempt: Option<String>,
        /// Number of this look, from 0.
        round: u32,
    },
    FindSent {
        message_id: String,
    },
}

#[derive(Debug)]
pub enum Reply {
    Done,
    /// Messages were moved; their new place if the server reported it (COPYUID, RFC 4315).
    Moved(Option<imap::Moved>),
    Opened(Arc<ParsedMessage>),
    Bytes(Vec<u8>),
    Headers(Listing),
    Found(Option<String>),
}

#[derive(Debug)]
pub struct Listing {
    /// A page of headers, newest first.
    pub headers: Vec<HeaderView>,
    pub total: u32,
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// The server cannot search for this text, so only the newest messages were searched (see [`super::search`]).
    pub looked_through: bool,
}
