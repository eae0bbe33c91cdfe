//! What a mail server refused, and at which step.

use super::status::Statuses;
use base64::prelude::{BASE64_STANDARD, Engine};

use crate::vault::Secret;

/// The steps of a session, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// TCP and the greeting.
    Connect,
    Tls,
    /// AUTH or AUTHENTICATE.
    Auth,
    /// MAIL FROM.
    From,
    /// RCPT TO.
    Recipient,
    /// DATA, before the message was sent whole.
    Data,
    /// After the final dot: whether it was accepted is unknown unless the server said so.
    AfterData,
    Select,
    /// SEARCH, LIST.
    Search,
    Fetch,
    /// STORE, MOVE, EXPUNGE.
    Store,
    Idle,
}

impl Step {
    /// What it is called in evidence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "TLS",
            Self::Auth => "sign-in",
            Self::From => "MAIL FROM",
            Self::Recipient => "RCPT TO",
            Self::Data => "DATA",
            Self::AfterData => "after DATA",
            Self::Select => "SELECT INBOX",
            Self::Search => "SEARCH",
            Self::Fetch => "FETCH",
            Self::Store => "STORE",
            Self::Idle => "IDLE",
        }
    }
}

/// A mail server refused, or could not be reached.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: {}{text}", step.name(), code.map(|code| format!("{code} ")).unwrap_or_default())]
pub struct MailError {
    /// Where it happened.
    pub step: Step,
    /// The SMTP reply code.
    pub code: Option<u16>,
    /// The server's words, or what happened to the connection.
    pub text: String,
    /// Whether the server said it (and not the network).
    pub answered: bool,
}

/// Codes of limits that count the last 24 hours: of the mailbox, and of the tenant.
const QUOTAS: [&str; 3] = ["5.1.90", "5.7.232", "5.7.233"];

impl MailError {
    /// The network failed, or nothing came in time.
    pub fn network(step: Step, text: impl Into<String>) -> Self {
        Self { step, code: None, text: text.into(), answered: false }
    }

    /// The server refused.
    pub fn refused(step: Step, code: Option<u16>, text: impl Into<String>) -> Self {
        Self { step, code, text: text.into(), answered: true }
    }

    /// Takes a token out that a server might echo, as it is and as the sign-in wrote it.
    pub fn without(mut self, token: &Secret, user: &str) -> Self {
        let sasl = BASE64_STANDARD.encode(format!("user={user}\x01auth=Bearer {}\x01\x01", token.expose()));
        for secret in [token.expose(), sasl.as_str()] {
            if secret.len() > 3 && self.text.contains(secret) {
                self.text = self.text.replace(secret, "[removed]");
            }
        }
        self
    }

    /// The SMTP reply code.
    pub fn code(&self) -> Option<u16> {
        self.code
    }

    /// The same with other words.
    #[cfg(test)]
    pub(crate) fn with_text(self, text: &str) -> Self {
        Self { text: text.to_owned(), ..self }
    }

    /// Whether the same may work later.
    pub fn is_transient(&self) -> bool {
        !self.answered || self.code.is_some_and(|code| (400..500).contains(&code)) || self.is_quota()
    }

    /// Whether what a mailbox or its organisation may send in a day is spent: it is permanent by its code, and passes all the same.
    pub fn is_quota(&self) -> bool {
        let is_one = |code: &str| QUOTAS.contains(&code).then_some(());
        self.answered
            && (self.text.contains("SubmissionQuotaExceeded") || Statuses::of(&self.text).find(is_one).is_some())
    }

    /// Whether it is the sender who shall be patient, whichever recipient it was said of.
    pub fn is_the_senders(&self) -> bool {
        matches!(self.code, Some(421 | 432)) || self.text.contains("Suggested Backoff Time")
    }

    /// Milliseconds the server asks to wait, where it says so (Exchange: `Suggested Backoff Time: N milliseconds`).
    pub fn backoff_ms(&self) -> Option<i64> {
        let (_, rest) = self.text.split_once("Suggested Backoff Time:")?;
        rest.trim_start().split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }

    /// Whether an IMAP session ended because its token did (Exchange: `BYE Session invalidated - AccessTokenExpired`).
    pub fn is_token_expired(&self) -> bool {
        self.text.contains("AccessTokenExpired")
    }

    /// Whether the server asks for patience.
    pub fn is_throttled(&self) -> bool {
        self.answered
            && (matches!(self.code, Some(421 | 432 | 450..=452)) || self.text.contains("Suggested Backoff Time"))
    }
}
