//! Connection attempts and their checks.

use serde::{Deserialize, Serialize};

use super::{AttemptId, Diagnosis, MailboxId, MailboxState, Timestamp};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptKind {
    /// A person's mailbox.
    Personal,
    /// The institution's notification mailbox.
    Notifications,
    /// A connected mailbox that sends as the custom From address.
    Pair,
    /// Admin consent at Microsoft; it has no checks.
    Consent,
}

impl AttemptKind {
    /// The name in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Personal => "personal",
            Self::Notifications => "notifications",
            Self::Pair => "pair",
            Self::Consent => "consent",
        }
    }

    /// The kind of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Personal, Self::Notifications, Self::Pair, Self::Consent].into_iter().find(|kind| kind.as_str() == text)
    }

    /// The page on which such an attempt is shown.
    pub fn path(self, id: AttemptId) -> String {
        match self {
            Self::Personal => format!("/account/email/attempts/{id}"),
            _ => format!("/institution/config/general/email/attempts/{id}"),
        }
    }
}

/// How far an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The person is at Microsoft.
    SigningIn,
    /// Another account than expected signed in: the person decides.
    Deciding,
    /// Signed in; the checks may run.
    Ready,
    /// The checks run.
    Running,
    /// It has an outcome.
    Finished,
}

impl Stage {
    /// The name in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SigningIn => "signing_in",
            Self::Deciding => "deciding",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Finished => "finished",
        }
    }

    /// The stage of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::SigningIn, Self::Deciding, Self::Ready, Self::Running, Self::Finished]
            .into_iter()
            .find(|stage| stage.as_str() == text)
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It has not ended.
    Pending,
    /// Every check passed.
    Passed,
    /// Sent and accepted, but not seen in the mailbox within two minutes: no failure.
    NotSeen,
    /// A check failed.
    Failed,
    /// The person did not come back from Microsoft, or the run was interrupted.
    Abandoned,
}

impl Outcome {
    /// The name in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Passed => "passed",
            Self::NotSeen => "not_seen",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }

    /// The outcome of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Passed, Self::NotSeen, Self::Failed, Self::Abandoned]
            .into_iter()
            .find(|outcome| outcome.as_str() == text)
    }
}

/// The stops of the route, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// The person signed in at Microsoft.
    SignIn,
    /// The account that signed in is the one that was typed.
    Identity,
    /// An access token with the permissions to send and receive.
    Token,
    /// SMTP accepts the token.
    Smtp,
    /// The test message was accepted.
    TestMessage,
    /// IMAP accepts the token and opens INBOX.
    Imap,
    /// The test message is in the mailbox.
    Arrival,
}

impl CheckKind {
    /// All stops in order.
    pub const ALL: [Self; 7] =
        [Self::SignIn, Self::Identity, Self::Token, Self::Smtp, Self::TestMessage, Self::Imap, Self::Arrival];

    /// The name in the store and in markup.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::Identity => "identity",
            Self::Token => "token",
            Self::Smtp => "smtp",
            Self::TestMessage => "test_message",
            Self::Imap => "imap",
            Self::Arrival => "arrival",
        }
    }

    /// The check of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// What the stop is called, by how it went.
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

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// Its turn has not come.
    Waiting,
    /// It runs now.
    Running,
    Passed,
    Failed,
    /// It depends on one that failed.
    NotRun,
    /// The test message was not seen in time, which is no failure.
    Unseen,
}

impl CheckStatus {
    /// The name in the store and in markup.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotRun => "not_run",
            Self::Unseen => "unseen",
        }
    }

    /// The status of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Waiting, Self::Running, Self::Passed, Self::Failed, Self::NotRun, Self::Unseen]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

/// One stop as the page shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckView {
    /// Which stop.
    pub kind: CheckKind,
    /// How it went.
    pub status: CheckStatus,
    /// What was found, in a few words.
    pub detail: String,
    /// How long it took, in milliseconds.
    pub duration_ms: Option<i64>,
}

/// What the person may do when another account than expected signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    pub signed_in_as: String,
    /// Whether **Use this address instead** is allowed.
    pub may_use_instead: bool,
    /// Until when the sign-in waits.
    pub expires_at: Timestamp,
}

/// An attempt as its page shows it. A whole snapshot is sent at each change, so that a reader can start anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptView {
    pub id: AttemptId,
    pub kind: AttemptKind,
    /// How far it is.
    pub stage: Stage,
    /// How it ended.
    pub outcome: Outcome,
    /// The address that was typed.
    pub address: String,
    /// The stops, in order.
    pub checks: Vec<CheckView>,
    /// The diagnoses of failed checks, in their order.
    pub diagnoses: Vec<Diagnosis>,
    /// Another account signed in.
    pub choice: Option<Choice>,
    /// Whether Try again needs no new sign-in.
    pub grant_kept: bool,
    /// The mailbox it is about.
    pub mailbox: Option<MailboxId>,
    pub mailbox_state: Option<MailboxState>,
    /// When it was started.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Whether the reader is an administrator: the steps come first.
    pub for_administrator: bool,
}

impl AttemptView {
    /// How long the test message took from sending to the mailbox, in milliseconds.
    pub fn arrival_ms(&self) -> Option<i64> {
        self.checks
            .iter()
            .find(|check| check.kind == CheckKind::Arrival && check.status == CheckStatus::Passed)
            .and_then(|check| check.duration_ms)
    }
}

/// A line in the list of earlier attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptSummary {
    pub id: AttemptId,
    pub kind: AttemptKind,
    /// The address it was about.
    pub address: String,
    /// When it was started.
    pub created_at: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    /// How far it is.
    pub stage: Stage,
    /// Whether Entrepost started it by itself.
    pub automatic: bool,
    /// The check that failed, as its stop is called.
    pub failed_at: Option<String>,
}
