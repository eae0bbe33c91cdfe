//! Housekeeping: deletes expired rows, tests blocked mailboxes again, renews unused grants.

use std::sync::Arc;
use std::time::Duration;

use app::backend::BackendError;
use tracing::Instrument;

use super::polling;
use crate::service::actor::Actor;
use crate::service::{Services, sessions};
use crate::store::{Mailbox, StoreError};

const ROUND: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(60 * 60);
/// Grants renewed in one round: bounds the load after a restart.
const AT_ONCE: i64 = 5;
/// Mailboxes tested in one round.
const TESTS: i64 = 20;
/// A grant unused for this long is renewed, in milliseconds: 7 of its 90 days.
const RENEW_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// How long finished notifications are kept, in milliseconds: 30 days.
const NOTIFICATIONS_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// How long the relay remembers an answer that was perhaps not received, in milliseconds: ten minutes.
const RECEIPTS_MS: i64 = 10 * 60 * 1000;
/// How long counts of messages are kept, in milliseconds: 90 days.
const COUNTS_MS: i64 = 90 * 24 * 60 * 60 * 1000;
/// How long untouched reply drafts are kept, in milliseconds: a day.
const UNWRITTEN_MS: i64 = 24 * 60 * 60 * 1000;
/// Pause after a failed renewal, in milliseconds.
const RENEW_AGAIN_MS: i64 = 6 * 60 * 60 * 1000;

/// Runs until the server stops.
pub async fn run_background(services: Arc<Services>) {
    if let Err(error) = services.begin_logs().await {
        tracing::error!("cannot begin the audit logs of institutions: {error}");
    }
    services.tasks.spawn(look_up_domains(Arc::clone(&services)));
    // Also without a relay: the page of a device sends tests.
    services.tasks.spawn(Arc::clone(&services).write_relay_log());
    let (mut swept, mut swept_hourly): (Option<tokio::time::Instant>, Option<tokio::time::Instant>) = (None, None);
    loop {
        if swept_hourly.is_none_or(|at| at.elapsed() >= HOUR) {
            if let Err(error) = services.sweep_hourly().await {
                tracing::error!("hourly housekeeping failed: {error}");
            }
            swept_hourly = Some(tokio::time::Instant::now());
        }
        if swept.is_none_or(|at| at.elapsed() >= ROUND) {
            if let Err(error) = services.sweep_once().instrument(tracing::info_span!("housekeeping")).await {
                tracing::error!("a round of housekeeping failed: {error}");
            }
            swept = Some(tokio::time::Instant::now());
        }
        if let Err(error) = services.poll_once().instrument(tracing::info_span!("polling")).await {
            tracing::error!("a round of polling failed: {error}");
        }
        tokio::select! {
            () = tokio::time::sleep(polling::ROUND) => {}
            () = services.stop.cancelled() => return,
        }
    }
}

/// DNS may be slow, and nothing waits for it. A new mailbox may bring a new domain.
async fn look_up_domains(services: Arc<Services>) {
    loop {
        tokio::select! {
            done = services.look_up_domains() => {
                if let Err(error) = done {
                    tracing::error!("cannot look up the domains of senders: {error}");
                }
            }
            () = services.stop.cancelled() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(HOUR) => {}
            () = services.new_mailbox.notified() => {}
            () = services.stop.cancelled() => return,
        }
    }
}

impl Services {
    /// What is kept for days. Verifying what goes from the log takes time in proportion to it.
    pub async fn sweep_hourly(&self) -> Result<(), BackendError> {
        self.store.sweep_mail_hours(self.clock.now().plus_ms(-COUNTS_MS)).await?;
        let days = |count: i64| self.clock.now().plus_ms(-count * 24 * 60 * 60 * 1000);
        let receipts = self.clock.now().plus_ms(-RECEIPTS_MS);
        self.store.sweep_relay(days(self.config.relay.log_days), receipts, days(1)).await?;
        self.roll_credentials().await?;
        self.sweep_audit().await
    }

    pub async fn sweep_once(self: &Arc<Self>) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.store
            .sweep(
                now,
                now.plus_ms(-sessions::LIFETIME_MS),
                now.plus_ms(-sessions::IDLE_MS),
                now.plus_ms(-24 * 60 * 60 * 1000),
            )
            .await?;
        self.store.sweep_attempts(now).await?;
        let kept = i64::try_from(self.config.outbox_kept.as_millis()).unwrap_or(i64::MAX / 2);
        self.store.sweep_deliveries(now.plus_ms(-NOTIFICATIONS_MS), now.plus_ms(-kept)).await?;
        self.store.sweep_submissions(now).await?;
        self.store.sweep_drafts(now.plus_ms(-UNWRITTEN_MS)).await?;
        let next = now.plus_ms(i64::try_from(self.config.retest_interval.as_millis()).unwrap_or(3_600_000));
        for mailbox in self.store.claim_due_tests(now, next, TESTS).await? {
            self.test_again(&mailbox).await?;
        }
        let (due, note) = (now.plus_ms(-RENEW_MS), now.plus_ms(RENEW_AGAIN_MS - RENEW_MS));
        for mailbox in self.store.claim_due_renewals(due, note, AT_ONCE).await? {
            // A refusal is stored with the mailbox: its owner must sign in again.
            if let Err(error) = self.tokens.prove(&mailbox).await {
                tracing::warn!(mailbox = %mailbox.id, "cannot renew a grant: {error}");
            }
        }
        if let Err(error) = self.note_leavers().await {
            let _ = error.told(&**self);
        }
        if let Err(error) = self.tell_contacts().await {
            tracing::error!("cannot tell the contacts of devices: {error}");
        }
        self.store.drop_device_bodies().await?;
        self.invite_waiting().await?;
        self.alert_once().await
    }

    async fn test_again(self: &Arc<Self>, mailbox: &Mailbox) -> Result<(), StoreError> {
        let institution = self.store.institution(mailbox.institution).await?;
        let owner = self.store.user(mailbox.institution, mailbox.user).await?;
        let (Some(row), Some(owner)) = (institution, owner) else { return Ok(()) };
        let actor = Actor::Automatic { institution: Arc::new(self.institution(row)), owner_address: owner.address };
        let id = self.retest(mailbox, owner.id, mailbox.kind, &mailbox.address, true).await?;
        self.spawn_run(actor, id);
        Ok(())
    }
}
