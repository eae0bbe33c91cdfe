//! SMTP and IMAP with a bearer token. Knows no database.

mod error;
pub mod graph;
pub mod imap;
pub mod smtp;
pub mod status;
mod submission;

pub use error::{GraphRefusal, MailError, Step};

use crate::config::ServerAddress;
use std::time::Duration;

/// Deadline of one step: connecting, a command.
const STEP_LIMIT: Duration = Duration::from_secs(30);

/// Deadline of the reply to a message (RFC 5321, 4.5.3.2.6, recommends ten minutes).
const DATA_LIMIT: Duration = Duration::from_secs(600);

/// What a server replied about one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientReply {
    pub address: String,
    pub state: app::model::RecipientState,
    pub answer: String,
}

#[derive(Clone)]
pub struct Login<'a> {
    pub server: &'a ServerAddress,
    /// Sign-in name (`user=`).
    pub user: &'a str,
    pub token: &'a crate::vault::Secret,
}
