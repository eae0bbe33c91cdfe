//! People and their mailboxes, as pages show them.

use serde::{Deserialize, Serialize};

use super::{AttemptSummary, Diagnosis, MailboxId, Timestamp, UserId};

/// What a person may do in their institution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Configures the institution and manages people.
    Administrator,
    /// Connects an own mailbox.
    User,
}

impl Role {
    /// The name in forms and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::User => "user",
        }
    }

    /// The role of that name.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "administrator" => Some(Self::Administrator),
            "user" => Some(Self::User),
            _ => None,
        }
    }
}

/// State of a mailbox. "Not connected" is the absence of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailboxState {
    /// Every check passed.
    Connected,
    /// The grant is kept, a check fails.
    Blocked,
    /// Microsoft no longer accepts the grant.
    NeedsReconnect,
}

impl MailboxState {
    /// The name in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Blocked => "blocked",
            Self::NeedsReconnect => "needs_reconnect",
        }
    }

    /// The state of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Connected, Self::Blocked, Self::NeedsReconnect].into_iter().find(|state| state.as_str() == text)
    }
}

/// A mailbox as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxView {
    pub id: MailboxId,
    /// The address (From).
    pub address: String,
    /// The name it signs in with, which may differ.
    pub sign_in_name: String,
    pub state: MailboxState,
    /// Its further addresses, as its owner named them.
    pub aliases: Vec<String>,
    /// When every check last passed.
    pub connected_at: Option<Timestamp>,
    /// When Entrepost tests it again by itself (a blocked one).
    pub next_test_at: Option<Timestamp>,
    /// What is wrong with it.
    pub problem: Option<Diagnosis>,
}

/// User Account > Email.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountView {
    /// The account's own address, which prefills the form.
    pub account_address: String,
    /// Whether the institution can connect mailboxes now.
    pub provider_ready: bool,
    /// Administrators to ask, if it cannot.
    pub ask: Vec<String>,
    /// Whether another address than the account's may be connected.
    pub allow_other_address: bool,
    /// The connected mailboxes.
    pub mailboxes: Vec<MailboxView>,
    /// Attempts, newest first.
    pub attempts: Vec<AttemptSummary>,
}

/// A number of people in words.
pub fn people(count: i64) -> String {
    if count == 1 { "1 person".to_owned() } else { format!("{count} people") }
}

/// A row of /institution/users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRow {
    pub id: UserId,
    pub address: String,
    pub role: Role,
    /// Whether they set a password.
    pub has_password: bool,
    /// Whether an invitation waits, and until when.
    pub invited_until: Option<Timestamp>,
    /// Since when they are disabled.
    pub disabled_at: Option<Timestamp>,
    pub mailboxes: Vec<MailboxView>,
    /// Why the last email of Entrepost did not get to them.
    pub undelivered: Option<String>,
}

/// What an invitation link opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationView {
    /// Whose account it is.
    pub address: String,
    /// The institution's name.
    pub institution: String,
}
