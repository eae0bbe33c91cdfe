//! Connection attempts and their checks.

use serde::{Deserialize, Serialize};

use super::{AttemptId, Diagnosis, MailboxId, MailboxState, Timestamp};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum AttemptKind {
    Personal,
    Notifications,
    Pair,
    Consent,
}

impl AttemptKind {
    pub fn path(self, id: AttemptId) -> String {
        match self {
            Self::Personal => format!("{}/{id}", super::ACCOUNT_ATTEMPTS_PATH),
            _ => format!("{}/{id}", super::EMAIL_CONFIG_ATTEMPTS_PATH),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    SigningIn,
    /// A different account signed in: the user decides.
    Deciding,
    Ready,
    Running,
    Finished,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Pending,
    Passed,
    /// Sent, but not seen in the mailbox within two minutes: not a failure.
    NotSeen,
    Failed,
    /// The user didn't return from Microsoft, or the run was interrupted.
    Abandoned,
}

/// Checks in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    SignIn,
    Identity,
    Token,
    Smtp,
    /// Only where the institution allows it.
    Graph,
    TestMessage,
    Imap,
    Arrival,
}

impl CheckKind {
    /// In order.
    pub const ALL: [Self; 8] = [
        Self::SignIn,
        Self::Identity,
        Self::Token,
        Self::Smtp,
        Self::Graph,
        Self::TestMessage,
        Self::Imap,
        Self::Arrival,
    ];

    pub fn label(self, status: CheckStatus) -> &'static str {
        use CheckStatus::{Failed, Passed, Unseen};
        match (self, status) {
            (Self::SignIn, Passed) => "Signed in at Microsoft",
            (Self::SignIn, Failed) => "Sign-in did not succeed",
            (Self::SignIn, _) => "Sign-in at Microsoft",
            (Self::Identity, Passed) => "The right account",
            (Self::Identity, Failed) => "Another account signed in",
            (Self::Identity, _) => "Account",
            (Self::Token, Passed) => "Permission to send and receive",
            (Self::Token, Failed) => "Access refused",
            (Self::Token, _) => "Permissions",
            (Self::Smtp, Passed) => "SMTP accepts the sign-in",
            (Self::Smtp, Failed) => "SMTP refuses the sign-in",
            (Self::Smtp, _) => "SMTP sign-in",
            (Self::Graph, Passed) => "Microsoft Graph is ready",
            (Self::Graph, Failed) => "Microsoft Graph refuses",
            (Self::Graph, _) => "Microsoft Graph",
            (Self::TestMessage, Passed) => "Test message sent",
            (Self::TestMessage, Failed) => "Test message not confirmed",
            (Self::TestMessage, _) => "Test message",
            (Self::Imap, Passed) => "Inbox opens",
            (Self::Imap, Failed) => "Inbox does not open",
            (Self::Imap, _) => "Inbox",
            (Self::Arrival, Passed) => "Test message arrived",
            (Self::Arrival, Unseen) => "Test message sent, not arrived yet",
            (Self::Arrival, Failed) => "Cannot look for the test message",
            (Self::Arrival, _) => "Arrival",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    Waiting,
    Running,
    Passed,
    Failed,
    NotRun,
    /// The test message wasn't seen in time: not a failure.
    Unseen,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckView {
    pub kind: CheckKind,
    pub status: CheckStatus,
    pub detail: String,
    pub duration_ms: Option<i64>,
}

/// Options when a different account signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountChoice {
    pub signed_in_as: String,
    pub may_use_instead: bool,
    pub expires_at: Timestamp,
}

/// An attempt as shown. Each change sends a complete snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptView {
    pub id: AttemptId,
    pub kind: AttemptKind,
    pub stage: Stage,
    pub outcome: Outcome,
    pub address: String,
    pub checks: Vec<CheckView>,
    /// Diagnoses of failed checks, in order.
    pub diagnoses: Vec<Diagnosis>,
    pub choice: Option<AccountChoice>,
    /// Whether a test needs no new sign-in.
    pub grant_kept: bool,
    pub mailbox: Option<MailboxId>,
    pub mailbox_state: Option<MailboxState>,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    /// Whether the viewer is an administrator: they see the steps first.
    pub for_administrator: bool,
}

impl AttemptView {
    /// Delivery time of the test message, in milliseconds.
    pub fn arrival_ms(&self) -> Option<i64> {
        self.checks
            .iter()
            .find(|check| check.kind == CheckKind::Arrival && check.status == CheckStatus::Passed)
            .and_then(|check| check.duration_ms)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptSummary {
    pub id: AttemptId,
    pub kind: AttemptKind,
    pub address: String,
    pub created_at: Timestamp,
    pub outcome: Outcome,
    pub stage: Stage,
    pub automatic: bool,
    pub failed_at: Option<String>,
}
