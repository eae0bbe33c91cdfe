//! Users and their mailboxes.

use serde::{Deserialize, Serialize};

use super::{AttemptSummary, Diagnosis, MailboxId, SendWay, Timestamp, UserId};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Administrator,
    User,
}

/// State of a mailbox. "Not connected" is the absence of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum MailboxState {
    Connected,
    Blocked,
    /// Microsoft no longer accepts the grant.
    NeedsReconnect,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxView {
    pub id: MailboxId,
    pub address: String,
    pub sign_in_name: String,
    pub state: MailboxState,
    pub aliases: Vec<String>,
    pub connected_at: Option<Timestamp>,
    /// Next automatic test of a blocked mailbox.
    pub next_test_at: Option<Timestamp>,
    pub problem: Option<Diagnosis>,
    pub sends_by: SendWay,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountView {
    pub account_address: String,
    pub provider_ready: bool,
    pub administrators: Vec<String>,
    /// Whether another address than the account's may be connected.
    pub allow_other_address: bool,
    pub mailboxes: Vec<MailboxView>,
    /// Attempts, newest first.
    pub attempts: Vec<AttemptSummary>,
}

pub fn people(count: i64) -> String {
    if count == 1 { "1 person".to_owned() } else { format!("{count} people") }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRow {
    pub id: UserId,
    pub address: String,
    pub name: String,
    pub role: Role,
    pub has_password: bool,
    /// The day of the last sign-in.
    pub last_sign_in_at: Option<Timestamp>,
    /// Expiry of a pending invitation.
    pub invited_until: Option<Timestamp>,
    /// They sign in with a Microsoft account.
    pub linked: bool,
    /// Commands that give a colleague the mailbox at Microsoft.
    pub hand_over: String,
    /// Since when Microsoft says that their account ended.
    pub left_at: Option<Timestamp>,
    pub disabled_at: Option<Timestamp>,
    pub mailboxes: Vec<MailboxView>,
    /// Why Entrepost's last email to them wasn't delivered.
    pub undelivered: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationView {
    pub address: String,
    pub institution: String,
    /// Otherwise the institution signs in with Microsoft only.
    pub may_set_password: bool,
}
