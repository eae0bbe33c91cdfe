//! Commits the outbox's writes in groups: one task commits what has gathered while the last commit waited for the disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::events::{Event, EventChannel};
use super::outbox::single_statement;
use super::outbox::{self, ClaimRequest, ClaimedIds, DataStart, HeldDeliveries, OutcomeRecord};
use super::transaction::begin;
use super::{DatabaseKind, Result, Store, StoreError};

/// Writes of one transaction, at most.
const MOST: usize = 128;
/// How long a transaction waits for the writes of sessions that are sending.
const GATHERING: Duration = Duration::from_millis(1);
/// Deadline of a transaction, within the time of a lease.
const COMMIT_LIMIT: Duration = Duration::from_secs(20);

pub(super) enum Write {
    Claim(Asked<ClaimRequest, ClaimedIds>),
    DataStart(Asked<DataStart, bool>),
    Outcome(Asked<OutcomeRecord, bool>),
    /// A session began to send: its next write is worth waiting for.
    Joined,
    Left,
}

/// A write, and where its result goes.
pub(super) struct Asked<T, R> {
    what: T,
    reply: oneshot::Sender<Result<R>>,
}

/// Writes of one kind.
struct Group<T, R> {
    what: Vec<T>,
    replies: Vec<oneshot::Sender<Result<R>>>,
}

impl<T, R> Default for Group<T, R> {
    fn default() -> Self {
        Self { what: Vec::new(), replies: Vec::new() }
    }
}

impl<T, R> Group<T, R> {
    fn push(&mut self, Asked { what, reply }: Asked<T, R>) {
        self.what.push(what);
        self.replies.push(reply);
    }

    fn append(&mut self, other: Self) {
        self.what.extend(other.what);
        self.replies.extend(other.replies);
    }

    fn singles(self, wrap: fn(Asked<T, R>) -> Write) -> impl Iterator<Item = Write> {
        self.what.into_iter().zip(self.replies).map(move |(what, reply)| wrap(Asked { what, reply }))
    }

    fn answer(self, results: Vec<R>) {
        for (reply, result) in self.replies.into_iter().zip(results) {
            // The task that asked may have ended.
            let _ = reply.send(Ok(result));
        }
    }

    fn fail(self, error: &Arc<StoreError>) {
        for reply in self.replies {
            let _ = reply.send(Err(StoreError::Shared(Arc::clone(error))));
        }
    }
}

#[derive(Default)]
struct Batch {
    claims: Group<ClaimRequest, ClaimedIds>,
    starts: Group<DataStart, bool>,
    outcomes: Group<OutcomeRecord, bool>,
}

impl Batch {
    fn push(&mut self, write: Write) {
        match write {
            Write::Claim(asked) => self.claims.push(asked),
            Write::DataStart(asked) => self.starts.push(asked),
            Write::Outcome(asked) => self.outcomes.push(asked),
            Write::Joined | Write::Left => {}
        }
    }

    fn len(&self) -> usize {
        self.claims.what.len() + self.starts.what.len() + self.outcomes.what.len()
    }

    /// Sessions that wait for this transaction before they hand over a message.
    fn sessions(&self) -> usize {
        self.starts.what.len()
    }

    fn singles(self) -> impl Iterator<Item = Self> {
        let writes = self.claims.singles(Write::Claim).chain(self.starts.singles(Write::DataStart));
        let writes = writes.chain(self.outcomes.singles(Write::Outcome));
        writes.map(|write| {
            let mut batch = Self::default();
            batch.push(write);
            batch
        })
    }

    fn append(&mut self, other: Self) {
        self.claims.append(other.claims);
        self.starts.append(other.starts);
        self.outcomes.append(other.outcomes);
    }

    fn fail(self, error: StoreError) {
        self.fail_with(&Arc::new(error));
    }

    fn fail_with(self, error: &Arc<StoreError>) {
        self.claims.fail(error);
        self.starts.fail(error);
        self.outcomes.fail(error);
    }
}

/// The results of a batch, in the order of its writes.
struct Done {
    claims: Vec<ClaimedIds>,
    starts: Vec<bool>,
    outcomes: Vec<bool>,
    news: Vec<Event>,
}

enum Failure {
    /// One of the writes: the others may succeed.
    OneOf(StoreError),
    /// The transaction: the database is busy or away, or it is unknown whether it was committed.
    All(StoreError),
}

impl Failure {
    fn of(error: StoreError) -> Self {
        match error {
            // The connection broke, or there is none.
            StoreError::Database(
                sqlx::Error::Io(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::WorkerCrashed
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed,
            ) => Self::All(error),
            error => Self::OneOf(error),
        }
    }
}

/// Sends writes to the task. It ends with the last of these.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    asked: mpsc::UnboundedSender<Write>,
    pool: sqlx::AnyPool,
    /// Transactions so far.
    transactions: Arc<AtomicU64>,
}

impl Writer {
    pub(super) fn start(pool: sqlx::AnyPool, backend: DatabaseKind, channel: EventChannel) -> Self {
        // As many wait as there are sessions.
        let (asked, waiting) = mpsc::unbounded_channel();
        let transactions = Arc::new(AtomicU64::new(0));
        let committer = Committer { pool: pool.clone(), backend, channel, transactions: Arc::clone(&transactions) };
        tokio::spawn(async move {
            let mut gathering = Gathering { waiting, sessions: 0 };
            while let Some(batch) = gathering.next().await {
                // A panic must not end this task; those who asked see that their reply does not come.
                if let Err(error) = tokio::spawn(committer.clone().commit(batch)).await {
                    tracing::error!("a group of writes failed: {error}");
                }
            }
        });
        Self { asked, pool, transactions }
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    pub(super) async fn claim(&self, request: ClaimRequest) -> Result<ClaimedIds> {
        self.submit(Write::Claim, request).await
    }

    /// Submits a write at once; the future waits for its commit.
    fn submit<T, R>(&self, write: fn(Asked<T, R>) -> Write, what: T) -> impl Future<Output = Result<R>> + use<T, R> {
        let (reply, result) = oneshot::channel();
        let sent = self.asked.send(write(Asked { what, reply }));
        async move {
            let gone = || StoreError::Database(sqlx::Error::WorkerCrashed);
            sent.map_err(|_| gone())?;
            result.await.map_err(|_| gone())?
        }
    }
}

/// A session that is sending, until it is dropped.
#[derive(Debug)]
pub struct Sending(mpsc::UnboundedSender<Write>);

impl Drop for Sending {
    fn drop(&mut self) {
        let _ = self.0.send(Write::Left);
    }
}

/// Collects the writes of the next transaction.
struct Gathering {
    waiting: mpsc::UnboundedReceiver<Write>,
    /// Sessions that are sending.
    sessions: usize,
}

impl Gathering {
    /// The writes that wait. Those of other sessions are waited for a moment: sessions that share a commit stay in step.
    async fn next(&mut self) -> Option<Batch> {
        let mut batch = Batch::default();
        while batch.len() == 0 {
            let first = self.waiting.recv().await?;
            self.add(&mut batch, first);
        }
        let until = Instant::now() + GATHERING;
        while batch.len() < MOST {
            match self.waiting.try_recv() {
                Ok(next) => self.add(&mut batch, next),
                Err(_) if batch.sessions() >= self.sessions => break,
                Err(_) => match timeout_at(until, self.waiting.recv()).await {
                    Ok(Some(next)) => self.add(&mut batch, next),
                    Ok(None) | Err(_) => break,
                },
            }
        }
        Some(batch)
    }

    fn add(&mut self, batch: &mut Batch, write: Write) {
        match write {
            Write::Joined => self.sessions += 1,
            Write::Left => self.sessions -= 1,
            write => batch.push(write),
        }
    }
}

#[derive(Clone)]
struct Committer {
    pool: sqlx::AnyPool,
    backend: DatabaseKind,
    channel: EventChannel,
    transactions: Arc<AtomicU64>,
}

impl Committer {
    async fn commit(self, batch: Batch) {
        let Some(batch) = self.in_one_statement(batch).await else { return };
        let failed = match self.attempt(&batch).await {
            Ok(done) => return self.answer(batch, done),
            Err(Failure::OneOf(_)) if batch.len() > 1 => None,
            Err(Failure::OneOf(error) | Failure::All(error)) => Some(error),
        };
        if let Some(error) = failed {
            return batch.fail(error);
        }
        let mut singles = batch.singles();
        while let Some(single) = singles.next() {
            match self.attempt(&single).await {
                Ok(done) => self.answer(single, done),
                Err(Failure::OneOf(error)) => single.fail(error),
                Err(Failure::All(error)) => {
                    // The database is away: each of the others would wait for it too.
                    let error = Arc::new(error);
                    single.fail_with(&error);
                    return singles.for_each(|single| single.fail_with(&error));
                }
            }
        }
    }

    /// On PostgreSQL marks and records are committed in one statement, as far as it takes them. Returns the rest.
    async fn in_one_statement(&self, batch: Batch) -> Option<Batch> {
        let (starts, outcomes) = (batch.starts.what.as_slice(), batch.outcomes.what.as_slice());
        let eligible = self.backend == DatabaseKind::Postgres
            && batch.claims.what.is_empty()
            && single_statement::is_taken(starts, outcomes)
            && !is_double(starts, outcomes);
        if !eligible {
            return Some(batch);
        }
        self.transactions.fetch_add(1, Ordering::Relaxed);
        let committing = single_statement::commit(&self.pool, starts, outcomes);
        let settled = match tokio::time::timeout(COMMIT_LIMIT, committing).await {
            Ok(Ok(settled)) => settled,
            Ok(Err(error)) => match Failure::of(error) {
                // Perhaps one of them: the others may succeed.
                Failure::OneOf(_) => return Some(batch),
                Failure::All(error) => {
                    batch.fail(error);
                    return None;
                }
            },
            Err(_) => {
                batch.fail(StoreError::Database(sqlx::Error::PoolTimedOut));
                return None;
            }
        };
        self.channel.publish(settled.users.into_iter().map(Event::Mail));
        let mut rest = Batch::default();
        for single in batch.singles() {
            let delivery = single.starts.what.first().map(|start| start.delivery);
            let delivery = delivery.or(single.outcomes.what.first().map(|outcome| outcome.delivery));
            if delivery.is_some_and(|delivery| settled.deliveries.contains(&delivery)) {
                single.starts.answer(vec![true]);
                single.outcomes.answer(vec![true]);
            } else {
                rest.append(single);
            }
        }
        (rest.len() > 0).then_some(rest)
    }

    fn answer(&self, batch: Batch, Done { claims, starts, outcomes, news }: Done) {
        batch.claims.answer(claims);
        batch.starts.answer(starts);
        batch.outcomes.answer(outcomes);
        self.channel.publish(news);
    }

    async fn attempt(&self, batch: &Batch) -> Result<Done, Failure> {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        let attempt = tokio::time::timeout(COMMIT_LIMIT, self.transaction(batch)).await;
        // A server that stopped answering: the next group takes another connection.
        attempt.unwrap_or(Err(Failure::All(StoreError::Database(sqlx::Error::PoolTimedOut))))
    }

    async fn transaction(&self, batch: &Batch) -> Result<Done, Failure> {
        let mut tx = begin(&self.pool, self.backend).await.map_err(Failure::All)?;
        let mut done = self.write(&mut tx, batch).await.map_err(Failure::of)?;
        if batch.len() == done.claims.len() && done.claims.iter().all(ClaimedIds::changes_nothing) {
            // Rolled back: a commit would wait for the disk.
            return Ok(done);
        }
        let changed = tx.commit_naming_users().await.map_err(Failure::All)?;
        done.news = changed.into_iter().map(Event::Mail).collect();
        Ok(done)
    }

    async fn write(&self, tx: &mut super::Tx, batch: &Batch) -> Result<Done> {
        let Batch { claims, starts, outcomes } = batch;
        let (starts, outcomes) = (starts.what.as_slice(), outcomes.what.as_slice());
        let claims = match claims.what.as_slice() {
            [] => Vec::new(),
            requests => outbox::claim(tx, requests).await?,
        };
        if is_double(starts, outcomes) {
            // Two claims of one delivery, of which one is stale: each statement must see a delivery once.
            return Err(StoreError::Database(sqlx::Error::RowNotFound));
        }
        let held = HeldDeliveries::lock(tx, self.backend, starts, outcomes).await?;
        let starts = outbox::start_data(tx, &held, starts).await?;
        let outcomes = outbox::record(tx, &held, outcomes).await?;
        Ok(Done { claims, starts, outcomes, news: Vec::new() })
    }
}

/// Whether a delivery is named twice.
fn is_double(starts: &[DataStart], outcomes: &[OutcomeRecord]) -> bool {
    let mut ids: Vec<_> = starts.iter().map(|start| start.delivery).collect();
    ids.extend(outcomes.iter().map(|outcome| outcome.delivery));
    ids.sort_unstable();
    ids.windows(2).any(|pair| pair[0] == pair[1])
}

impl Store {
    /// Transactions of groups so far: writes that are ready together share one.
    pub fn group_commits(&self) -> u64 {
        self.writer.transactions.load(Ordering::Relaxed)
    }

    /// A session sends claimed deliveries: their writes are committed together with those of others that send.
    pub fn sending(&self) -> Sending {
        let asked = self.writer.asked.clone();
        let _ = asked.send(Write::Joined);
        Sending(asked)
    }

    /// Records that DATA begins. `false`: the lease is lost.
    pub async fn start_data(&self, start: DataStart) -> Result<bool> {
        self.writer.submit(Write::DataStart, start).await
    }

    /// Records the outcome of an attempt, beginning at once. `false`: the lease was lost, and nothing changed.
    pub fn record_outcome(&self, outcome: OutcomeRecord) -> impl Future<Output = Result<bool>> + use<> {
        self.writer.submit(Write::Outcome, outcome)
    }
}
