//! The worker: serves due send queues in parallel, each delivery under a lease that is renewed while it is sent.

use crate::concurrency::lease;
use crate::diagnosis::Fault;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tracing::Instrument;

use app::model::{DeliveryState, MailboxState, RecipientState, Timestamp};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::delivery::{AttemptResult, OpenSession};
use super::retry_policy::{SendAttempt, SendOutcome, transition};
use super::{MAX_SESSIONS, Outbox};
use crate::mail::{MailError, Step};
use crate::store::{Claim, DatabaseKind, Delivery, Event, Record, Result, SendQueue};

/// A lease expires this long after its last renewal, in milliseconds.
const LEASE_MS: i64 = 30_000;
const LEASE_RENEWAL: Duration = Duration::from_secs(8);
/// How often the worker polls; a message queued in this process wakes it at once.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How often it looks for expired leases.
const REAP_INTERVAL: Duration = Duration::from_secs(10);
/// Clocks of replicas agree within this time; a clock further behind was set back.
const CLOCK_SET_BACK_MS: i64 = 5 * 60 * 1000;
/// How long recording an outcome is retried.
const RECORD_RETRY_LIMIT: Duration = Duration::from_secs(60);
/// Messages after which a queue yields its session to others.
const MESSAGES_PER_TURN: usize = 20;

struct QueueSlot<'a> {
    outbox: &'a Outbox,
    queue: Uuid,
}

impl Drop for QueueSlot<'_> {
    fn drop(&mut self) {
        self.outbox.leave(self.queue);
    }
}

impl Outbox {
    /// Sends until the server stops.
    pub async fn run(self: Arc<Self>, tasks: TaskTracker) {
        if self.store.backend() == DatabaseKind::Sqlite {
            // SQLite has one process: no lease holder is alive.
            self.reap(Timestamp(i64::MAX)).await;
            if let Err(error) = self.store.end_leases().await {
                tracing::error!("cannot end the leases of an earlier process: {error}");
            }
        }
        let mut reaped: Option<Instant> = None;
        loop {
            if reaped.is_none_or(|at| at.elapsed() >= REAP_INTERVAL) {
                self.reap(self.clock.now()).await;
                if let Err(error) = self.handle_clock_set_back().await {
                    tracing::error!("cannot handle a clock set back: {error}");
                }
                reaped = Some(Instant::now());
            }
            if let Err(error) = self.dispatch(&tasks).await {
                tracing::error!("cannot dispatch deliveries, retrying: {error}");
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// Sends what is due now, queue by queue, and returns the number of attempts. For tests.
    pub async fn run_once(&self) -> Result<usize> {
        let mut attempts = 0;
        for queue in self.store.due_queues(self.clock.now(), i64::MAX).await? {
            attempts += self.serve(&queue, usize::MAX).await?;
        }
        Ok(attempts)
    }

    async fn reap(&self, ended_before: Timestamp) {
        match self.store.reap_deliveries(ended_before, self.clock.now()).await {
            Ok(0) => {}
            Ok(count) => tracing::warn!("recovered {count} deliveries of a stopped worker"),
            Err(error) => tracing::error!("cannot recover deliveries of a stopped worker: {error}"),
        }
    }

    /// After the clock was set back, deliveries must not wait for times that are far ahead now.
    async fn handle_clock_set_back(&self) -> Result<()> {
        let (now, last) = (self.clock.now(), self.store.last_claimed_at().await?);
        if last.since_ms(now) > CLOCK_SET_BACK_MS {
            let minutes = last.since_ms(now) / 60_000;
            tracing::warn!("the clock was set back by {minutes} minutes or more: waiting deliveries are tried now");
            self.store.set_times_back(now, now.plus_ms(LEASE_MS)).await?;
        }
        Ok(())
    }

    async fn dispatch(self: &Arc<Self>, tasks: &TaskTracker) -> Result<()> {
        let limit = i64::try_from(MAX_SESSIONS * 4).unwrap_or(i64::MAX);
        for queue in self.store.due_queues(self.clock.now(), limit).await? {
            if !self.enter(queue.id) {
                continue;
            }
            let Ok(session) = Arc::clone(&self.sessions).try_acquire_owned() else {
                self.leave(queue.id);
                self.crowded.store(true, Ordering::Relaxed);
                return Ok(());
            };
            self.crowded.store(false, Ordering::Relaxed);
            let outbox = Arc::clone(self);
            tasks.spawn(async move {
                // Released even on a panic: an occupied slot would block the queue for ever.
                let _place = QueueSlot { outbox: &outbox, queue: queue.id };
                match outbox.serve(&queue, MESSAGES_PER_TURN).await {
                    // More may be due, or another queue may wait for this session.
                    Ok(1..) => outbox.wake(),
                    Ok(0) => {}
                    Err(error) => tracing::error!("cannot serve a send queue, retrying: {error}"),
                }
                drop(session);
            });
        }
        Ok(())
    }

    fn enter(&self, queue: Uuid) -> bool {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let count = busy.entry(queue).or_default();
        let room = *count < self.limits.throttle.connections;
        *count += i64::from(room);
        room
    }

    fn leave(&self, queue: Uuid) {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = busy.get_mut(&queue) {
            *count -= 1;
            if *count <= 0 {
                busy.remove(&queue);
            }
        }
    }

    /// Sends the due deliveries of a queue one by one through one session.
    async fn serve(&self, queue: &SendQueue, turn: usize) -> Result<usize> {
        let mut open_session: Option<OpenSession> = None;
        let mut attempts = 0;
        let connection = self.clock.uuid();
        while attempts < turn && !self.stop.is_cancelled() {
            let now = self.clock.now();
            if attempts > 0 && self.crowded.load(Ordering::Relaxed) {
                break;
            }
            let (owner, until) = (self.clock.uuid(), now.plus_ms(LEASE_MS));
            match self.store.claim_delivery(queue, owner, connection, until, self.limits.throttle, now).await? {
                Claim::Nothing => break,
                Claim::Throttled(until) => {
                    self.store.pause_queue(queue, until).await?;
                    break;
                }
                Claim::Postponed(writer) => {
                    if let Some(writer) = writer {
                        self.store.publish(Event::Mail(writer)).await;
                    }
                }
                Claim::Delivery(delivery) => {
                    attempts += 1;
                    let span = tracing::info_span!(
                        "send", institution = %queue.institution, queue = %queue.id, delivery = %delivery.id
                    );
                    if !self.deliver(queue, &delivery, connection, &mut open_session).instrument(span).await? {
                        break;
                    }
                }
            }
        }
        if let Some(open_session) = open_session {
            open_session.quit().await;
        }
        if attempts > 0 {
            self.store.end_connection(connection).await?;
        }
        Ok(attempts)
    }

    /// Sends one claimed delivery and records the outcome. `false`: the queue pauses.
    async fn deliver(
        &self,
        queue: &SendQueue,
        delivery: &Delivery,
        connection: Uuid,
        open_session: &mut Option<OpenSession>,
    ) -> Result<bool> {
        // Loaded before sending: nothing may come between the reply and its record.
        let recipients = self.store.recipients(delivery.institution, delivery.id).await?;
        let others_have_it = recipients.iter().any(|recipient| recipient.state == RecipientState::Accepted);
        let renew = || async {
            let until = self.clock.now().plus_ms(LEASE_MS);
            if let Err(error) = self.store.renew_lease(delivery.institution, delivery.id, delivery.lease, until).await {
                tracing::error!("cannot renew the lease of a delivery: {error}");
            }
            if let Err(error) = self.store.keep_connection(connection, until).await {
                tracing::error!("cannot keep the place of a connection: {error}");
            }
        };
        let attempt = Box::pin(self.attempt(queue, delivery, &recipients, open_session));
        let attempted = lease::renewing(attempt, LEASE_RENEWAL, renew).await?;
        let Some(AttemptResult { outcome, fault }) = attempted else { return Ok(true) };
        let now = self.clock.now();
        let next = transition(
            &outcome,
            SendAttempt {
                number: delivery.attempts + 1,
                created_at: delivery.created_at.max(delivery.aging_since),
                now,
                max_age_ms: i64::try_from(self.limits.max_age.as_millis()).unwrap_or(i64::MAX),
                first_pause_ms: i64::try_from(self.limits.first_pause.as_millis()).unwrap_or(i64::MAX),
                jitter: self.clock.jitter(),
                others_have_it,
            },
        );
        let record = Record {
            state: next.state,
            next_attempt_at: next.at,
            answer: next.answer,
            fault: fault.clone(),
            recipients: next.recipients,
            counts: next.counts,
        };
        self.record(delivery, &record, now).await?;
        if let (SendOutcome::Accepted { .. }, Some(mailbox)) = (&outcome, queue.mailbox_key()) {
            self.store.test_sender_now(mailbox, now).await?;
        }
        if let (SendOutcome::Failed { error, .. }, Some(fault)) = (&outcome, &fault) {
            self.block(queue, error, fault, now).await?;
        }
        match next.pause_queue {
            Some(until) => self.store.pause_queue(queue, until).await.map(|()| false),
            None => Ok(true),
        }
    }

    /// Retries while the database is away: without a record the message would be unknown.
    async fn record(&self, delivery: &Delivery, record: &Record, now: Timestamp) -> Result<()> {
        let until = Instant::now() + RECORD_RETRY_LIMIT;
        loop {
            match self.store.record_delivery(delivery.institution, delivery.id, delivery.lease, record, now).await {
                Err(error) if Instant::now() < until => {
                    tracing::error!("cannot record the outcome of a delivery yet, retrying: {error}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                recorded => {
                    // The lease had expired and the delivery became unknown; its outcome is known now.
                    if !recorded? && record.state == DeliveryState::Sent {
                        self.store.prove_sent(delivery.institution, delivery.id, &record.answer, now).await?;
                    }
                    if let Some(user) = delivery.user {
                        self.store.publish(Event::Mail(user)).await;
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Blocks a mailbox whose sign-in is refused. Its owner sees that, and it is tested again automatically.
    async fn block(&self, queue: &SendQueue, error: &MailError, problem: &Fault, now: Timestamp) -> Result<()> {
        let (Some(key), Step::Auth, true) = (queue.mailbox_key(), error.step, error.answered && !error.is_transient())
        else {
            return Ok(());
        };
        let mailbox = self.store.mailbox(key).await?;
        if mailbox.is_some_and(|mailbox| mailbox.state == MailboxState::Connected) {
            let state = MailboxState::Blocked;
            self.store.set_mailbox_state(key, state, Some(problem), Some(now), now).await?;
        }
        Ok(())
    }
}
