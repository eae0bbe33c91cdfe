//! Mail health: what works, what does not and why, and how much was sent.

use std::iter::Sum;
use std::ops::AddAssign;

use super::{CredentialKind, Diagnosis, EmailState, SenderDomain, Timestamp, people};

/// What became of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MailCounts {
    pub sent: i64,
    /// Recipients of those that were sent.
    pub recipients: i64,
    /// Attempts after which a message waited.
    pub deferred: i64,
    pub failed: i64,
    pub bounced: i64,
}

impl AddAssign for MailCounts {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.recipients += other.recipients;
        self.deferred += other.deferred;
        self.failed += other.failed;
        self.bounced += other.bounced;
    }
}

impl Sum for MailCounts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, counts| {
            sum += counts;
            sum
        })
    }
}

impl MailCounts {
    /// Name and count, in the order of the chart.
    pub fn parts(self) -> [(&'static str, i64); 4] {
        [("Sent", self.sent), ("Deferred", self.deferred), ("Failed", self.failed), ("Bounced", self.bounced)]
    }

    pub fn all(self) -> i64 {
        self.parts().iter().map(|(_, count)| count).sum()
    }
}

/// All mailboxes that one cause keeps from working.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CauseRow {
    pub count: i64,
    /// Since when the first of them does not work.
    pub since: Timestamp,
    /// Its commands are for exactly these mailboxes.
    pub diagnosis: Diagnosis,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueHealth {
    pub waiting: i64,
    /// The time of the oldest message that waits.
    pub oldest: Option<Timestamp>,
}

/// Something that Microsoft changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MicrosoftChange {
    /// `2026-12-31`
    pub date: String,
    pub title: String,
    pub text: String,
    pub source: String,
    /// When the source was read.
    pub as_of: String,
}

/// For how many people email works, and why not for the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthOverview {
    /// People with an account that is not disabled, and those of them whose mailbox works.
    pub people: i64,
    pub works: i64,
    pub causes: Vec<CauseRow>,
    /// Email is stopped for everyone, whatever is known of each mailbox.
    pub is_stopped: bool,
}

impl HealthOverview {
    pub fn sentence(&self) -> String {
        if self.is_stopped {
            return "Email is stopped for everyone.".to_owned();
        }
        match (self.works, self.people) {
            (_, 0) => "No one has an account yet.".to_owned(),
            (1, 1) => "Email works for the only person.".to_owned(),
            (works, all) if works == all => format!("Email works for all {}.", people(all)),
            (works, all) => format!("Email works for {works} of {}.", people(all)),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailHealth {
    pub state: EmailState,
    pub overview: HealthOverview,
    /// What proves the app, once it is registered.
    pub credential: Option<CredentialKind>,
    /// Of the secret or the certificate.
    pub secret_expires_on: Option<String>,
    /// The address that notifications come from.
    pub sender: Option<String>,
    pub queue: QueueHealth,
    /// Of the last 24 hours by the hour, and of the last 30 days, oldest first.
    pub hours: Vec<(Timestamp, MailCounts)>,
    pub days: Vec<(Timestamp, MailCounts)>,
    /// Limits of each mailbox.
    pub recipients_per_day: i64,
    pub messages_per_minute: i64,
    /// Mailboxes near the daily limit, and the recipients they addressed within a day; the most first.
    pub near_limit: Vec<(String, i64)>,
    pub domains: Vec<SenderDomain>,
    pub changes: Vec<MicrosoftChange>,
}
