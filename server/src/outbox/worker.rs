//! The worker: serves due send queues in parallel, each delivery under a lease that is renewed while it is sent.

use crate::concurrency::lease;
use crate::diagnosis::Fault;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tracing::Instrument;

use app::model::{DeliveryState, MailboxState, RecipientState, Timestamp};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::Outbox;
use super::delivery::{AttemptResult, OpenSession, Recording};
use super::retry_policy::{SendAttempt, SendOutcome, transition};
use super::sessions::{Entered, IdleOwner, Slot, Wake};
use crate::mail::{MailError, Step};
use crate::store::{
    Claim, ClaimRequest, Claimed, DatabaseKind, Event, Mailbox, OutcomeRecord, Record, Result, SendQueue,
};

/// A lease expires this long after its last renewal, in milliseconds.
const LEASE_MS: i64 = 30_000;
const LEASE_RENEWAL: Duration = Duration::from_secs(8);
/// How often the worker polls; a message queued in this process wakes it at once.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Pause between two rounds at least.
const DISPATCH_PAUSE: Duration = Duration::from_millis(5);
/// How often it looks for expired leases.
const REAP_INTERVAL: Duration = Duration::from_secs(10);
/// Clocks of replicas agree within this time; a clock further behind was set back.
const CLOCK_SET_BACK_MS: i64 = 5 * 60 * 1000;
/// How long recording an outcome is retried.
const RECORD_RETRY_LIMIT: Duration = Duration::from_secs(60);
/// Messages of one claim, at most.
const MESSAGES_PER_CLAIM: i64 = 20;
/// A session claims as many messages as it sends within this time, in milliseconds: the others can still be cancelled, or be sent
/// through another session.
const CLAIM_MS: i64 = 1_000;
/// A claim that takes longer is given back: its messages were counted a while ago, and its mailbox may have changed.
const CLAIM_LIMIT: Duration = Duration::from_secs(2);
/// Queues that one round looks at.
const QUEUES_PER_ROUND: i64 = 128;

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
        let (mut reaped, mut checked): (Option<Instant>, Option<Instant>) = (None, None);
        loop {
            if reaped.is_none_or(|at| at.elapsed() >= REAP_INTERVAL) {
                self.reap(self.clock.now()).await;
                if let Err(error) = self.handle_clock_set_back().await {
                    tracing::error!("cannot handle a clock set back: {error}");
                }
                reaped = Some(Instant::now());
            }
            if checked.is_none_or(|at| at.elapsed() >= POLL_INTERVAL) {
                if let Err(error) = self.close_ended_sessions().await {
                    tracing::error!("cannot check which sessions may stay open: {error}");
                }
                checked = Some(Instant::now());
            }
            if let Err(error) = self.dispatch(&tasks).await {
                tracing::error!("cannot dispatch deliveries, retrying: {error}");
            }
            let dispatched = Instant::now();
            tokio::select! {
                () = self.wake.notified() => {
                    // Many wake it at once while many messages are queued.
                    tokio::time::sleep(DISPATCH_PAUSE.saturating_sub(dispatched.elapsed())).await;
                }
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// Sends what is due now, queue by queue, and returns the number of attempts. For tests.
    pub async fn run_once(&self) -> Result<usize> {
        let mut attempts = 0;
        for queue in self.store.due_queues(self.clock.now(), i64::MAX).await? {
            attempts += self.serve(&queue, None).await?;
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

    /// Ends idle sessions of mailboxes that may not send any more: disconnected, blocked, of a disabled person.
    async fn close_ended_sessions(&self) -> Result<()> {
        let idle = self.sessions.idle_mailboxes();
        if idle.is_empty() {
            return Ok(());
        }
        let sending = self.store.sending_mailboxes(&idle).await?;
        self.sessions.close_idle(|owner| !sending.contains(&owner.mailbox.id));
        Ok(())
    }

    async fn dispatch(self: &Arc<Self>, tasks: &TaskTracker) -> Result<()> {
        let mut due = self.store.due_queues(self.clock.now(), QUEUES_PER_ROUND).await?;
        // First those without a session. The sort is stable: among them, the longest-waiting first.
        due.sort_by_key(|queue| self.sessions.has_one(queue.id));
        let (mut crowded, mut without_room) = (false, 0);
        for queue in due {
            if self.sessions.wake_idle(queue.id) {
                continue;
            }
            match self.sessions.enter(queue.id, self.limits.throttle.connections) {
                Entered::Slot(slot) => {
                    let outbox = Arc::clone(self);
                    tasks.spawn(async move {
                        match outbox.serve(&queue, Some(&slot)).await {
                            // More may be due, or another queue may wait for this session.
                            Ok(1..) => {}
                            Ok(0) => return,
                            // The next poll tries again: at once it would fail again.
                            Err(error) => {
                                tracing::error!("cannot serve a send queue, retrying: {error}");
                                return;
                            }
                        }
                        drop(slot);
                        outbox.wake();
                    });
                }
                Entered::Busy | Entered::NoMore => {}
                Entered::NoRoom => {
                    without_room += 1;
                    crowded |= !self.sessions.make_room(without_room);
                }
            }
        }
        self.sessions.set_crowded(crowded);
        Ok(())
    }

    /// Sends the due deliveries of a queue one by one through one session. `slot`: its place; with one, the session is kept while
    /// idle.
    async fn serve(&self, queue: &SendQueue, slot: Option<&Slot>) -> Result<usize> {
        let mut open_session: Option<OpenSession> = None;
        let mut attempts = 0;
        let connection = self.clock.uuid();
        let served = self.serve_through(queue, slot, connection, &mut open_session, &mut attempts).await;
        if let Some(open_session) = open_session {
            open_session.quit().await;
        }
        if attempts > 0 {
            self.store.end_connection(connection).await?;
        }
        served.map(|()| attempts)
    }

    async fn serve_through(
        &self,
        queue: &SendQueue,
        slot: Option<&Slot>,
        connection: Uuid,
        open_session: &mut Option<OpenSession>,
        attempts: &mut usize,
    ) -> Result<()> {
        let mut size = 1;
        let mut idle_owner: Option<IdleOwner> = None;
        // Nobody else was woken for what is due.
        let mut woken = true;
        while !self.stop.is_cancelled() && (std::mem::take(&mut woken) || !self.sessions.is_crowded()) {
            let now = self.clock.now();
            let request = ClaimRequest {
                queue: queue.clone(),
                owner: self.clock.uuid(),
                connection,
                until: now.plus_ms(LEASE_MS),
                limits: self.limits.throttle,
                now,
                most: size,
            };
            let owner = request.owner;
            match self.store.claim_deliveries(request).await? {
                Claim::Nothing => match (slot, &idle_owner, &mut *open_session) {
                    (Some(slot), Some(owner), Some(open)) => {
                        if !self.keep(queue, slot, owner, connection, open).await? {
                            return Ok(());
                        }
                        woken = true;
                        if !open.session.is_alive().await {
                            *open_session = None;
                        }
                    }
                    _ => return Ok(()),
                },
                Claim::NoConnection(sender) => {
                    self.store.publish(Event::SenderWaits(sender, queue.id));
                    return Ok(());
                }
                Claim::Throttled(until) => return self.store.pause_queue(queue, until).await,
                Claim::Postponed => {}
                Claim::Deliveries { deliveries, mailbox, sender } => {
                    *attempts += deliveries.len();
                    let began = Instant::now();
                    let count = i64::try_from(deliveries.len()).unwrap_or(i64::MAX);
                    if slot.is_some()
                        && count == size
                        && self.sessions.may_enter(queue.id, self.limits.throttle.connections)
                    {
                        // More may be due than this session sends at once.
                        self.wake();
                    }
                    idle_owner = mailbox
                        .as_deref()
                        .filter(|mailbox| mailbox.state == MailboxState::Connected)
                        .map(|mailbox| IdleOwner { mailbox: mailbox.key(), sender: sender.clone() });
                    let renew = || async {
                        let until = self.clock.now().plus_ms(LEASE_MS);
                        if let Err(error) = self.store.renew_claim(queue.institution, owner, until).await {
                            tracing::error!("cannot renew the lease of a delivery: {error}");
                        }
                        // One that expired while it sends is counted anew at its next claim, if there is room for it.
                        self.renew_connection(connection).await;
                    };
                    let sending = self.send_claimed(queue, mailbox.as_deref(), &deliveries, open_session);
                    let Some(attempted) = lease::renewing(Box::pin(sending), LEASE_RENEWAL, renew).await? else {
                        return Ok(());
                    };
                    if self.sessions.gives_connection_up(&sender, queue.id) {
                        return Ok(());
                    }
                    let each = began.elapsed().as_millis() / attempted.max(1) as u128;
                    size = (CLAIM_MS / i64::try_from(each.max(1)).unwrap_or(i64::MAX)).clamp(1, MESSAGES_PER_CLAIM);
                }
            }
        }
        Ok(())
    }

    /// `false`: the place of the connection expired, for example because this process was suspended.
    async fn renew_connection(&self, connection: Uuid) -> bool {
        let now = self.clock.now();
        self.store.keep_connection(connection, now, now.plus_ms(LEASE_MS)).await.unwrap_or_else(|error| {
            tracing::error!("cannot keep the place of a connection: {error}");
            true
        })
    }

    /// Keeps an idle session until there is work. `false`: it must end.
    async fn keep(
        &self,
        queue: &SendQueue,
        slot: &Slot,
        owner: &IdleOwner,
        connection: Uuid,
        open: &OpenSession,
    ) -> Result<bool> {
        let mut woken = slot.idle(owner.clone());
        // What was queued before this session was known to be idle woke nobody.
        if self.store.is_due(queue, self.clock.now()).await? {
            return Ok(true);
        }
        let token = Duration::from_millis(open.until.since_ms(self.clock.now()).try_into().unwrap_or_default());
        let expired = Notify::new();
        let waiting = async {
            tokio::select! {
                wake = &mut woken => return wake == Ok(Wake::Work),
                () = tokio::time::sleep(self.limits.keep.min(token)) => {}
                () = expired.notified() => {}
                () = self.stop.cancelled() => {}
            }
            // Woken at the same moment: nobody else was.
            woken.close();
            woken.try_recv() == Ok(Wake::Work)
        };
        let renew = || async {
            if !self.renew_connection(connection).await {
                expired.notify_one();
            }
        };
        Ok(lease::renewing(Box::pin(waiting), LEASE_RENEWAL, renew).await)
    }

    /// Sends claimed deliveries, and gives back those that it does not reach. Returns how many it attempted; `None`: the queue pauses.
    async fn send_claimed(
        &self,
        queue: &SendQueue,
        mailbox: Option<&Mailbox>,
        deliveries: &[Claimed],
        open_session: &mut Option<OpenSession>,
    ) -> Result<Option<usize>> {
        let mut recording: Option<Recording<'_>> = None;
        let (sending, began) = (self.store.sending(), Instant::now());
        let mut waiting = deliveries.iter();
        let mut goes_on = Ok(true);
        // The others wait as they did before: they are claimed again, by this session or another, or are cancelled.
        let gives_back = || self.sessions.is_crowded() || began.elapsed() > CLAIM_LIMIT;
        while let (Ok(true), Some(claimed)) = (&goes_on, waiting.as_slice().first()) {
            if self.stop.is_cancelled() || waiting.len() < deliveries.len() && gives_back() {
                break;
            }
            waiting.next();
            let span = tracing::info_span!(
                "send", institution = %queue.institution, queue = %queue.id, delivery = %claimed.delivery.id
            );
            goes_on = self.deliver(queue, mailbox, claimed, open_session, &mut recording).instrument(span).await;
        }
        drop(sending);
        if let Some(recording) = recording {
            recording.await;
        }
        // After an error also the one whose DATA had not begun.
        let rest = if goes_on.is_ok() { waiting.as_slice() } else { deliveries };
        if let [first, ..] = rest {
            let rest: Vec<_> = rest.iter().map(|claimed| claimed.delivery.id).collect();
            let released = self.store.release_claim(queue.institution, first.delivery.lease, &rest).await;
            goes_on = goes_on.and_then(|goes_on| released.map(|()| goes_on));
        }
        Ok(goes_on?.then_some(deliveries.len() - waiting.len()))
    }

    /// Sends one claimed delivery and begins to record the outcome. `false`: the queue pauses.
    async fn deliver<'a>(
        &'a self,
        queue: &SendQueue,
        mailbox: Option<&Mailbox>,
        claimed: &Claimed,
        open_session: &mut Option<OpenSession>,
        recording: &mut Option<Recording<'a>>,
    ) -> Result<bool> {
        let Claimed { delivery, recipients } = claimed;
        let others_have_it = recipients.iter().any(|recipient| recipient.state == RecipientState::Accepted);
        let pending = recipients.iter().filter(|recipient| recipient.state == RecipientState::Pending).count();
        let attempted = Box::pin(self.attempt(queue, mailbox, claimed, open_session, recording)).await?;
        if let Some(before) = recording.take() {
            before.await;
        }
        let Some(AttemptResult { outcome, fault, other_way }) = attempted else { return Ok(true) };
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
        let (institution, delivery, owner) = (delivery.institution, delivery.id, delivery.lease);
        let mut recorded = self.record(OutcomeRecord { institution, delivery, owner, record, pending, now });
        if let (SendOutcome::Accepted { .. }, None) = (&outcome, next.pause_queue)
            && mailbox.is_none_or(|mailbox| mailbox.state == MailboxState::Connected)
        {
            *recording = Some(recorded);
            return Ok(true);
        }
        recorded.as_mut().await;
        if other_way {
            return Ok(false);
        }
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

    /// Records an outcome, beginning at once. Retries while the database is away: without a record the message would be unknown.
    fn record(&self, outcome: OutcomeRecord) -> Recording<'_> {
        let until = Instant::now() + RECORD_RETRY_LIMIT;
        let mut recording: Pin<Box<dyn Future<Output = Result<bool>> + Send>> =
            Box::pin(self.store.record_outcome(outcome.clone()));
        Box::pin(async move {
            loop {
                let recorded = match recording.await {
                    Err(error) if Instant::now() < until => {
                        tracing::error!("cannot record the outcome of a delivery yet, retrying: {error}");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        recording = Box::pin(self.store.record_outcome(outcome.clone()));
                        continue;
                    }
                    recorded => recorded,
                };
                let OutcomeRecord { institution, delivery, record, now, .. } = &outcome;
                let done = match recorded {
                    // The lease had expired and the delivery became unknown; its outcome is known now.
                    Ok(false) if record.state == DeliveryState::Sent => {
                        self.store.prove_sent(*institution, *delivery, &record.answer, *now).await.map(|_| ())
                    }
                    recorded => recorded.map(|_| ()),
                };
                if let Err(error) = done {
                    tracing::error!("cannot record the outcome of a delivery: {error}");
                }
                return;
            }
        })
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
