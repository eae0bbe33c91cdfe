//! Polls mailboxes without open pages.

use std::time::Duration;

use app::model::Timestamp;

use crate::service::Services;
use crate::store::StoreError;

/// Interval between rounds.
pub const ROUND: Duration = Duration::from_millis(ROUND_MS.unsigned_abs());
const ROUND_MS: i64 = 2_000;
/// Mailboxes per round beyond what the schedule needs.
const POLLED_MORE: i64 = 5;

impl Services {
    /// Polls due mailboxes, a few at a time, so that bounces are noticed and lists are fresh.
    pub async fn poll_once(&self) -> Result<(), StoreError> {
        let interval = i64::try_from(self.config.poll_interval.as_millis()).unwrap_or(300_000);
        // As many as the schedule needs, plus a few: after a restart, when all are due, they are spread out.
        let steady = self.store.mailbox_count().await?.saturating_mul(ROUND_MS) / interval.max(1);
        for _ in 0..steady.saturating_add(POLLED_MORE) {
            let now = self.clock.now();
            // With 20 % jitter, so that mailboxes due together drift apart.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                reason = "milliseconds of some hours"
            )]
            let spread = (interval as f64 * (self.clock.jitter() - 0.5) / 5.0) as i64;
            let next = Timestamp(now.0.saturating_add(interval).saturating_add(spread));
            let Some(mailbox) = self.store.claim_due_poll(now, next).await? else { break };
            self.start_sync(&mailbox, "INBOX");
        }
        Ok(())
    }
}
