//! Limits that operators can set: quotas, disk space, throttling, retries. Limits of a single module are defined there.

use std::time::Duration;

use super::{ConfigError, Source};

/// Limits of sending. Defaults are those of Exchange Online.
#[derive(Debug, Clone, Copy)]
pub struct SendLimits {
    /// Limits of one mailbox.
    pub throttle: Throttle,
    /// How long sending a message is attempted.
    pub max_age: Duration,
    /// First pause after a temporary failure; each further one is twice as long.
    pub first_pause: Duration,
    /// How long a session with the mail server is kept while there is nothing to send.
    pub keep: Duration,
}

/// Limits of one sender.
#[derive(Debug, Clone, Copy)]
pub struct Throttle {
    /// SMTP connections at one time.
    pub connections: i64,
    pub messages_per_minute: i64,
    pub recipients_per_day: i64,
}

#[derive(Debug, Clone, Copy)]
pub struct Quotas {
    /// Bytes of a user's drafts and attachments.
    pub draft_bytes: u64,
    pub draft_bytes_of_institution: u64,
    pub queued_messages: i64,
    pub queued_bytes: u64,
    pub queued_messages_of_institution: i64,
    pub queued_bytes_of_institution: u64,
    /// Runs of Configure & Test by a user within an hour.
    pub attempts_per_hour: i64,
    pub attempts_per_hour_of_institution: i64,
    /// Invitations and new links of an institution within a day.
    pub invitations_per_day: i64,
    pub streams: usize,
}

#[derive(Debug, Clone, Copy)]
pub struct DiskSpace {
    /// Bytes reserved for deleting, sessions and work under way: nothing new is stored in them.
    pub reserve: u64,
    /// Largest size of the database, in bytes.
    pub limit: Option<u64>,
}

impl SendLimits {
    pub(super) fn read(source: &Source) -> Result<Self, ConfigError> {
        Ok(Self {
            throttle: Throttle {
                connections: source.count("ENTREPOST_SMTP_CONNECTIONS", "3")?,
                messages_per_minute: source.count("ENTREPOST_MESSAGES_PER_MINUTE", "30")?,
                recipients_per_day: source.count("ENTREPOST_RECIPIENTS_PER_DAY", "10000")?,
            },
            max_age: source.seconds("ENTREPOST_MESSAGE_SECONDS", "259200")?,
            first_pause: source.seconds("ENTREPOST_RETRY_SECONDS", "60")?,
            keep: source.seconds("ENTREPOST_SMTP_IDLE_SECONDS", "10")?,
        })
    }
}

impl Quotas {
    pub(super) fn read(source: &Source) -> Result<Self, ConfigError> {
        Ok(Self {
            draft_bytes: source.bytes("ENTREPOST_DRAFT_BYTES", "250000000")?,
            draft_bytes_of_institution: source.bytes("ENTREPOST_DRAFT_BYTES_OF_INSTITUTION", "20000000000")?,
            queued_messages: source.count("ENTREPOST_QUEUED_MESSAGES", "1000")?,
            queued_bytes: source.bytes("ENTREPOST_QUEUED_BYTES", "500000000")?,
            queued_messages_of_institution: source.count("ENTREPOST_QUEUED_MESSAGES_OF_INSTITUTION", "50000")?,
            queued_bytes_of_institution: source.bytes("ENTREPOST_QUEUED_BYTES_OF_INSTITUTION", "20000000000")?,
            attempts_per_hour: source.count("ENTREPOST_ATTEMPTS_PER_HOUR", "60")?,
            attempts_per_hour_of_institution: source.count("ENTREPOST_ATTEMPTS_PER_HOUR_OF_INSTITUTION", "3000")?,
            invitations_per_day: source.count("ENTREPOST_INVITATIONS_PER_DAY", "2000")?,
            streams: source.count("ENTREPOST_OPEN_PAGES", "30")?,
        })
    }
}

impl DiskSpace {
    pub(super) fn read(source: &Source) -> Result<Self, ConfigError> {
        Ok(Self {
            reserve: source.bytes("ENTREPOST_DISK_RESERVE_BYTES", "134217728")?,
            limit: source
                .optional("ENTREPOST_DATABASE_BYTES", |source| source.bytes("ENTREPOST_DATABASE_BYTES", ""))?,
        })
    }
}
