//! Limits that operators can set: quotas, disk space, throttling, retries. Limits of a single module are defined there.

use std::time::Duration;

use super::source::Source;
use super::{BYTES, COUNT, ConfigError, SECONDS, many, positive, seconds};

/// Limits of sending. Defaults are those of Exchange Online.
#[derive(Debug, Clone, Copy)]
pub struct SendLimits {
    /// Limits of one mailbox.
    pub throttle: Throttle,
    /// How long sending a message is attempted.
    pub max_age: Duration,
    /// First pause after a temporary failure; each further one is twice as long.
    pub first_pause: Duration,
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
    /// Bytes of them.
    pub queued_bytes: u64,
    pub queued_messages_of_institution: i64,
    /// Bytes of them.
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
                connections: source.parsed("ENTREPOST_SMTP_CONNECTIONS", "3", COUNT, positive)?,
                messages_per_minute: source.parsed("ENTREPOST_MESSAGES_PER_MINUTE", "30", COUNT, positive)?,
                recipients_per_day: source.parsed("ENTREPOST_RECIPIENTS_PER_DAY", "10000", COUNT, positive)?,
            },
            max_age: source.parsed("ENTREPOST_MESSAGE_SECONDS", "259200", SECONDS, seconds)?,
            first_pause: source.parsed("ENTREPOST_RETRY_SECONDS", "60", SECONDS, seconds)?,
        })
    }
}

impl Quotas {
    pub(super) fn read(source: &Source) -> Result<Self, ConfigError> {
        Ok(Self {
            draft_bytes: source.parsed("ENTREPOST_DRAFT_BYTES", "250000000", BYTES, |text| text.parse().ok())?,
            draft_bytes_of_institution: source.parsed(
                "ENTREPOST_DRAFT_BYTES_OF_INSTITUTION",
                "20000000000",
                BYTES,
                |text| text.parse().ok(),
            )?,
            queued_messages: source.parsed("ENTREPOST_QUEUED_MESSAGES", "1000", COUNT, positive)?,
            queued_bytes: source.parsed("ENTREPOST_QUEUED_BYTES", "500000000", BYTES, |text| text.parse().ok())?,
            queued_messages_of_institution: source.parsed(
                "ENTREPOST_QUEUED_MESSAGES_OF_INSTITUTION",
                "50000",
                COUNT,
                positive,
            )?,
            queued_bytes_of_institution: source.parsed(
                "ENTREPOST_QUEUED_BYTES_OF_INSTITUTION",
                "20000000000",
                BYTES,
                |text| text.parse().ok(),
            )?,
            attempts_per_hour: source.parsed("ENTREPOST_ATTEMPTS_PER_HOUR", "60", COUNT, positive)?,
            attempts_per_hour_of_institution: source.parsed(
                "ENTREPOST_ATTEMPTS_PER_HOUR_OF_INSTITUTION",
                "3000",
                COUNT,
                positive,
            )?,
            invitations_per_day: source.parsed("ENTREPOST_INVITATIONS_PER_DAY", "2000", COUNT, positive)?,
            streams: source.parsed("ENTREPOST_OPEN_PAGES", "30", COUNT, many)?,
        })
    }
}

impl DiskSpace {
    pub(super) fn read(source: &Source) -> Result<Self, ConfigError> {
        Ok(Self {
            reserve: source.parsed("ENTREPOST_DISK_RESERVE_BYTES", "134217728", BYTES, |text| text.parse().ok())?,
            limit: source
                .get("ENTREPOST_DATABASE_BYTES")
                .map(|_| source.parsed("ENTREPOST_DATABASE_BYTES", "", BYTES, |text| text.parse().ok()))
                .transpose()?,
        })
    }
}
