//! Errors of SMTP and IMAP sessions, with the step that failed.

use super::status::Statuses;
use base64::prelude::{BASE64_STANDARD, Engine};

use crate::vault::Secret;

/// The steps of a session, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Connect,
    Tls,
    Auth,
    From,
    Recipient,
    /// DATA, before the whole message was sent.
    Data,
    /// After the final dot: without a reply it is unknown whether the message was accepted.
    AfterData,
    Select,
    Search,
    Fetch,
    Store,
    Idle,
}

impl Step {
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

/// Why a message does not go through Microsoft Graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GraphRefusal {
    /// The status of HTTP, and `error.code` of the body.
    Answered { status: u16, code: String },
    /// Large messages need Mail.ReadWrite, which the app has no consent for.
    ReadWriteMissing,
    /// What cannot be uploaded apart is larger than one request takes.
    TextTooLarge,
}

#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", self.told())]
pub struct MailError {
    pub step: Step,
    pub code: Option<u16>,
    /// The server's reply, or what happened to the connection.
    pub text: String,
    /// The server replied; otherwise the network failed.
    pub answered: bool,
    /// The server asked to try again later, without a code of SMTP.
    later: bool,
    /// Set for what Microsoft Graph refused.
    pub graph: Option<GraphRefusal>,
}

/// Codes of limits that count the last 24 hours: of the mailbox, and of the tenant.
const QUOTAS: [&str; 3] = ["5.1.90", "5.7.232", "5.7.233"];

impl MailError {
    /// The network failed, or a deadline passed.
    pub fn network(step: Step, text: impl Into<String>) -> Self {
        Self { step, code: None, text: text.into(), answered: false, later: false, graph: None }
    }

    pub fn refused(step: Step, code: Option<u16>, text: impl Into<String>) -> Self {
        // PostgreSQL stores no NUL.
        let text = text.into().replace(|c: char| c.is_control() && c != '\n', " ");
        Self { step, code, text, answered: true, later: false, graph: None }
    }

    /// A refusal for now, of a server that does not speak SMTP.
    pub fn later(step: Step, text: impl Into<String>) -> Self {
        Self { later: true, ..Self::refused(step, None, text) }
    }

    pub fn of_graph(self, refusal: GraphRefusal) -> Self {
        Self { graph: Some(refusal), ..self }
    }

    /// Removes a token that a server might echo, plain and as encoded in the sign-in.
    pub fn without(mut self, token: &Secret, user: &str) -> Self {
        let sasl = BASE64_STANDARD.encode(format!("user={user}\x01auth=Bearer {}\x01\x01", token.expose()));
        for secret in [token.expose(), sasl.as_str()] {
            if secret.len() > 3 && self.text.contains(secret) {
                self.text = self.text.replace(secret, "[removed]");
            }
        }
        self
    }

    fn told(&self) -> String {
        // Not SMTP: its steps would mislead.
        if self.graph.is_some() {
            return format!("Microsoft Graph: {}", self.text);
        }
        let code = self.code.map(|code| format!("{code} ")).unwrap_or_default();
        format!("{}: {code}{}", self.step.name(), self.text)
    }

    pub fn code(&self) -> Option<u16> {
        self.code
    }

    #[cfg(test)]
    pub(crate) fn with_text(self, text: &str) -> Self {
        Self { text: text.to_owned(), ..self }
    }

    pub fn is_transient(&self) -> bool {
        !self.answered || self.later || self.code.is_some_and(|code| (400..500).contains(&code)) || self.is_quota()
    }

    /// Whether a daily limit of the mailbox or tenant is exhausted: permanent by its code, yet it passes.
    pub fn is_quota(&self) -> bool {
        let is_one = |code: &str| QUOTAS.contains(&code).then_some(());
        self.answered
            && (self.text.contains("SubmissionQuotaExceeded") || Statuses::of(&self.text).find(is_one).is_some())
    }

    /// Whether the throttling concerns the sender rather than one recipient.
    pub fn is_the_senders(&self) -> bool {
        self.later || matches!(self.code, Some(421 | 432)) || self.text.contains("Suggested Backoff Time")
    }

    /// Milliseconds to wait, if the server names them (Exchange: `Suggested Backoff Time: N milliseconds`).
    pub fn backoff_ms(&self) -> Option<i64> {
        let (_, rest) = self.text.split_once("Suggested Backoff Time:")?;
        rest.trim_start().split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }

    /// Whether an IMAP session ended with its token (Exchange: `BYE Session invalidated - AccessTokenExpired`).
    pub fn is_token_expired(&self) -> bool {
        self.text.contains("AccessTokenExpired")
    }

    pub fn is_throttled(&self) -> bool {
        self.answered
            && (self.later && self.step == Step::From
                || matches!(self.code, Some(421 | 432 | 450..=452))
                || self.text.contains("Suggested Backoff Time"))
    }
}
