//! Deliveries, their recipients and their send queues.

mod batch;
mod claims;
mod outcomes;
mod throttle;

use crate::diagnosis::Fault;
use crate::mail::RecipientReply;
use crate::store::sql::{
    Columns, bind_rows, columns, fetch_all, fetch_optional, fetch_rows, insert_rows, powers_of_two, read_all, select,
};
use outcomes::settle_returned;
use std::collections::HashSet;

use app::model::{
    DeliveryId, DeliveryState, InstitutionId, MailboxId, RecipientKind, RecipientView, Timestamp, UserId,
};
use uuid::Uuid;

use super::{Mailbox, MailboxKey, Page, Result, Store, Tx};

pub use batch::{ClaimRequest, DataStart, OutcomeRecord};
pub(in crate::store) use batch::{ClaimedIds, HeldDeliveries, claim, record, start_data};

/// The queue that a delivery waits in: one per mailbox, one for the notifications of an institution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendQueue {
    /// The mailbox's id, or the institution's for notifications.
    pub id: Uuid,
    pub institution: InstitutionId,
    /// The mailbox it is sent through; none for notifications.
    pub mailbox: Option<MailboxId>,
}

impl SendQueue {
    pub fn of_mailbox(mailbox: MailboxKey) -> Self {
        Self { id: mailbox.id.0, institution: mailbox.institution, mailbox: Some(mailbox.id) }
    }

    pub fn mailbox_key(&self) -> Option<MailboxKey> {
        self.mailbox.map(|id| MailboxKey { institution: self.institution, id })
    }

    pub fn of_notifications(institution: InstitutionId) -> Self {
        Self { id: institution.0, institution, mailbox: None }
    }
}

#[derive(Debug, Clone)]
pub struct NewDelivery {
    pub id: DeliveryId,
    /// The writer; none for notifications.
    pub user: Option<UserId>,
    pub idempotency_key: String,
    /// With angle brackets; never changes.
    pub message_id: String,
    pub from: String,
    pub subject: String,
    /// The sealed message.
    pub body_sealed: String,
    /// Sealed digest of the submitted form; empty if there was none.
    pub form_sealed: String,
    pub recipients: Vec<(RecipientKind, String)>,
}

#[derive(Debug, Clone)]
pub struct Delivery {
    pub id: DeliveryId,
    pub institution: InstitutionId,
    /// The writer; none for notifications.
    pub user: Option<UserId>,
    pub queue: Uuid,
    /// Id of the claim; each claim has its own. Nil if it is not claimed.
    pub lease: Uuid,
    pub message_id: String,
    pub from: String,
    pub subject: String,
    /// The sealed message.
    pub body_sealed: String,
    pub state: DeliveryState,
    pub attempts: i64,
    pub next_attempt_at: Timestamp,
    /// Its send queue pauses until then.
    pub paused_until: Timestamp,
    /// DATA has begun.
    pub data_started: bool,
    pub answer: String,
    pub fault: Option<Fault>,
    pub created_at: Timestamp,
    /// Start of its age, if later than `created_at`.
    pub aging_since: Timestamp,
    pub finished_at: Option<Timestamp>,
}

/// A claimed delivery with its recipients.
#[derive(Debug)]
pub struct Claimed {
    pub delivery: Delivery,
    pub recipients: Vec<RecipientView>,
}

#[derive(Debug)]
pub enum Claim {
    Deliveries {
        /// Oldest first; one at least.
        deliveries: Vec<Claimed>,
        /// The mailbox of the queue; none for notifications, or if it was disconnected.
        mailbox: Option<Box<Mailbox>>,
        /// Whom the mail server counts.
        sender: String,
    },
    Nothing,
    /// Something is due, but this sender uses all its connections.
    NoConnection(String),
    /// Something is due, but the sender is throttled until this time.
    Throttled(Timestamp),
    /// The due delivery has more recipients than the daily limit leaves room for. It waits; smaller ones may go first.
    Postponed,
}

#[derive(Debug, Clone)]
pub struct Record {
    pub state: DeliveryState,
    pub next_attempt_at: Timestamp,
    pub answer: String,
    pub fault: Option<Fault>,
    pub recipients: Vec<RecipientReply>,
    /// Whether it counts as an attempt; a release does not.
    pub counts: bool,
}

columns!(SendQueue: id, institution = "institution_id", mailbox = "mailbox_id");
columns!(Delivery: id, institution = "institution_id", user = "user_id", queue = "send_queue_id",
    lease = "COALESCE(lease_owner, '00000000-0000-0000-0000-000000000000')", message_id,
    from = "from_address", subject, body_sealed, state, attempts, next_attempt_at,
    paused_until = "COALESCE((SELECT paused_until FROM send_queues WHERE send_queues.id = deliveries.send_queue_id), 0)",
    data_started, answer, fault, created_at, aging_since, finished_at);
columns!(RecipientView: kind, address, state = "r.state", answer = "r.answer");

/// Lists do not show message bodies, which may be large.
fn page_statement() -> String {
    let listed = Delivery::COLUMNS.replace("body_sealed", "CASE WHEN body_sealed = '' THEN '' ELSE '-' END");
    format!(
        "SELECT {listed} FROM deliveries
         WHERE institution_id = $1 AND user_id = $2 AND created_at < $3 ORDER BY created_at DESC, id LIMIT $4"
    )
}

/// A statement whose time must not grow with the number of messages.
pub struct ConstantTime {
    pub statement: String,
    /// Examples of its values.
    pub values: &'static [&'static str],
    /// The index that it must use.
    pub index: &'static str,
}

/// For EXPLAIN in a test.
pub fn statements_of_constant_time() -> Vec<ConstantTime> {
    let all: [(String, &[&str], &str); 5] = [
        (claims::due_queues(), &["9", "100"], "deliveries_due"),
        (claims::IS_DUE.to_owned(), &["'a'", "'a'", "9"], "deliveries_due"),
        (claims::CLAIMED.to_owned(), &["'a'", "'a'"], "deliveries_lease"),
        (batch::due(), &["'a'", "9", "20"], "deliveries_waiting"),
        (page_statement(), &["'a'", "'a'", "9", "50"], "deliveries_user"),
    ];
    all.into_iter().map(|(statement, values, index)| ConstantTime { statement, values, index }).collect()
}

impl Store {
    /// Queues a delivery in the given transaction. `false`: its idempotency key exists already.
    pub async fn enqueue(&self, tx: &mut Tx, queue: &SendQueue, new: &NewDelivery, now: Timestamp) -> Result<bool> {
        put_queue(tx, queue).await?;
        Ok(enqueue(tx, &[Enqueuing { queue, new, now }]).await?.contains(&true))
    }

    pub async fn delivery(&self, institution: InstitutionId, delivery_id: DeliveryId) -> Result<Option<Delivery>> {
        fetch_optional!(&self.reads,
            select::<Delivery>("FROM deliveries WHERE institution_id = $1 AND id = $2");
            institution, delivery_id
        )
    }

    /// A person's deliveries written before a time, newest first.
    pub async fn deliveries_of(
        &self,
        institution: InstitutionId,
        user_id: UserId,
        page: Page,
    ) -> Result<Vec<Delivery>> {
        fetch_all!(&self.reads, sqlx::AssertSqlSafe(page_statement()); institution, user_id, page.before, page.limit)
    }

    pub async fn recipients(&self, institution: InstitutionId, delivery_id: DeliveryId) -> Result<Vec<RecipientView>> {
        fetch_all!(&self.reads,
            select::<RecipientView>("FROM recipients r JOIN deliveries d ON d.id = r.delivery_id
             WHERE d.institution_id = $1 AND r.delivery_id = $2 ORDER BY r.position");
            institution, delivery_id
        )
    }
}

async fn put_queue(tx: &mut Tx, queue: &SendQueue) -> Result<()> {
    put_queues(tx, &[queue]).await
}

/// Adds the queues that do not exist yet, in the order of ids. An insertion waits for whoever changes an existing queue, so it comes
/// before all other locks of a transaction.
pub(in crate::store) async fn put_queues(tx: &mut Tx, queues: &[&SendQueue]) -> Result<()> {
    let known: Vec<Uuid> =
        fetch_rows!(&mut **tx, "SELECT id FROM send_queues WHERE id IN (VALUES {})"; queues, |queue| queue.id)?;
    let mut missing: Vec<&SendQueue> = queues.iter().copied().filter(|queue| !known.contains(&queue.id)).collect();
    missing.sort_unstable_by_key(|queue| queue.id);
    missing.dedup();
    insert_rows!(&mut **tx,
        "INSERT INTO send_queues (id, institution_id, mailbox_id) VALUES {} ON CONFLICT (id) DO NOTHING";
        missing.as_slice(), |queue| queue.id, queue.institution, queue.mailbox
    )
}

/// A delivery that is being queued.
#[derive(Clone, Copy)]
pub(in crate::store) struct Enqueuing<'a> {
    pub(in crate::store) queue: &'a SendQueue,
    pub(in crate::store) new: &'a NewDelivery,
    pub(in crate::store) now: Timestamp,
}

/// Queues deliveries; their queues exist. `false`: an idempotency key exists already.
pub(in crate::store) async fn enqueue(tx: &mut Tx, enqueues: &[Enqueuing<'_>]) -> Result<Vec<bool>> {
    let mut inserted: HashSet<DeliveryId> = HashSet::new();
    for part in powers_of_two(enqueues) {
        let query = bind_rows!(
            "INSERT INTO deliveries (id, institution_id, user_id, send_queue_id, idempotency_key, message_id, from_address, subject,
               body_sealed, form_sealed, next_attempt_at, created_at, state) VALUES {} ON CONFLICT DO NOTHING RETURNING id";
            part.iter(), |enqueue| enqueue.new.id, enqueue.queue.institution, enqueue.new.user, enqueue.queue.id,
            enqueue.new.idempotency_key, enqueue.new.message_id, enqueue.new.from, enqueue.new.subject,
            enqueue.new.body_sealed, enqueue.new.form_sealed, enqueue.now, enqueue.now, DeliveryState::Queued
        );
        inserted.extend(read_all::<DeliveryId>(query.fetch_all(&mut **tx).await)?);
    }
    let is_queued = |enqueue: &&Enqueuing<'_>| inserted.contains(&enqueue.new.id);
    let recipients: Vec<NewRecipient<'_>> = enqueues
        .iter()
        .filter(is_queued)
        .flat_map(|enqueue| {
            let numbered = enqueue.new.recipients.iter().zip(0_i64..);
            numbered.map(|((kind, address), position)| NewRecipient {
                delivery: enqueue.new.id,
                position,
                kind: *kind,
                address,
            })
        })
        .collect();
    insert_rows!(&mut **tx,
        "INSERT INTO recipients (delivery_id, position, kind, address) VALUES {}";
        recipients.as_slice(), |recipient| recipient.delivery, recipient.position, recipient.kind, recipient.address
    )?;
    for enqueue in enqueues.iter().filter(is_queued) {
        tx.mail_changed(enqueue.queue.institution, enqueue.new.user);
    }
    Ok(enqueues.iter().map(|enqueue| is_queued(&enqueue)).collect())
}

struct NewRecipient<'a> {
    delivery: DeliveryId,
    position: i64,
    kind: RecipientKind,
    address: &'a String,
}
