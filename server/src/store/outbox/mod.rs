//! Deliveries, their recipients and their send queues.

mod batch;
mod claims;
mod outcomes;
pub(in crate::store) mod single_statement;
mod throttle;

use crate::diagnosis::Fault;
use crate::mail::RecipientReply;
use crate::store::sql::{Columns, changed, columns, execute, fetch_all, fetch_optional, insert_rows, select};
use outcomes::settle_returned;

use app::model::{
    DeliveryId, DeliveryState, DeviceId, InstitutionId, MailboxId, RecipientKind, RecipientView, Timestamp, UserId,
};
use uuid::Uuid;

use super::quotas::{QUEUED_AT, QUEUED_OF};
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

/// Whom a delivery is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    Person(UserId),
    /// A program or device, through the relay.
    Device(DeviceId),
    /// Entrepost: a notification.
    Entrepost,
}

impl Author {
    fn person(self) -> Option<UserId> {
        match self {
            Self::Person(user) => Some(user),
            Self::Device(_) | Self::Entrepost => None,
        }
    }

    fn device(self) -> Option<DeviceId> {
        match self {
            Self::Device(device) => Some(device),
            Self::Person(_) | Self::Entrepost => None,
        }
    }

    /// In the order of sending: devices wait for people.
    fn priority(self) -> i64 {
        i64::from(self.device().is_some())
    }
}

#[derive(Debug, Clone)]
pub struct NewDelivery {
    pub id: DeliveryId,
    pub author: Author,
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
    let all: [(String, &[&str], &str); 7] = [
        (claims::due_queues(), &["9", "100"], "deliveries_due"),
        (claims::IS_DUE.to_owned(), &["'a'", "'a'", "9"], "deliveries_due"),
        (claims::CLAIMED.to_owned(), &["'a'", "'a'"], "deliveries_lease"),
        (batch::due(), &["'a'", "9", "20"], "deliveries_waiting"),
        (page_statement(), &["'a'", "'a'", "9", "50"], "deliveries_user"),
        (format!("SELECT COUNT(*) {QUEUED_OF}"), &["'a'", "'a'", "9"], "deliveries_queued"),
        (format!("SELECT COUNT(*) {QUEUED_AT}"), &["'a'", "9"], "deliveries_queued"),
    ];
    all.into_iter().map(|(statement, values, index)| ConstantTime { statement, values, index }).collect()
}

impl Store {
    /// Queues a delivery in the given transaction. `false`: its idempotency key exists already.
    pub async fn enqueue(&self, tx: &mut Tx, queue: &SendQueue, new: &NewDelivery, now: Timestamp) -> Result<bool> {
        put_queue(tx, queue).await?;
        let inserted = changed!(&mut **tx,
            "INSERT INTO deliveries (id, institution_id, user_id, send_queue_id, idempotency_key, message_id, from_address, subject,
               body_sealed, form_sealed, next_attempt_at, created_at, state, device_id, priority)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $12, $13, $14) ON CONFLICT DO NOTHING";
            new.id, queue.institution, new.author.person(), queue.id, new.idempotency_key, new.message_id, new.from, new.subject,
            new.body_sealed, new.form_sealed, now, DeliveryState::Queued, new.author.device(), new.author.priority()
        )?;
        if inserted == 0 {
            return Ok(false);
        }
        let recipients: Vec<NewRecipient<'_>> = new
            .recipients
            .iter()
            .zip(0_i64..)
            .map(|((kind, address), position)| NewRecipient { position, kind: *kind, address })
            .collect();
        insert_rows!(&mut **tx,
            "INSERT INTO recipients (delivery_id, position, kind, address) VALUES {}";
            recipients.as_slice(), |recipient| new.id, recipient.position, recipient.kind, recipient.address
        )?;
        tx.mail_changed(queue.institution, new.author.person());
        Ok(true)
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

    /// A device's messages, newest first.
    pub async fn deliveries_of_device(
        &self,
        institution: InstitutionId,
        device: DeviceId,
        limit: i64,
    ) -> Result<Vec<Delivery>> {
        let listed = Delivery::COLUMNS.replace("body_sealed", "CASE WHEN body_sealed = '' THEN '' ELSE '-' END");
        let statement = format!(
            "SELECT {listed} FROM deliveries WHERE institution_id = $1 AND device_id = $2 ORDER BY created_at DESC, id LIMIT $3"
        );
        fetch_all!(&self.reads, sqlx::AssertSqlSafe(statement); institution, device, limit)
    }

    pub async fn recipients(&self, institution: InstitutionId, delivery_id: DeliveryId) -> Result<Vec<RecipientView>> {
        fetch_all!(&self.reads,
            select::<RecipientView>("FROM recipients r JOIN deliveries d ON d.id = r.delivery_id
             WHERE d.institution_id = $1 AND r.delivery_id = $2 ORDER BY r.position");
            institution, delivery_id
        )
    }
}

/// Adds a queue that does not exist yet. It is read first: an insertion waits for a transaction that changes the existing row.
async fn put_queue(tx: &mut Tx, queue: &SendQueue) -> Result<()> {
    let known: Option<i64> = fetch_optional!(&mut **tx, "SELECT 1 FROM send_queues WHERE id = $1"; queue.id)?;
    if known.is_some() {
        return Ok(());
    }
    execute!(&mut **tx,
        "INSERT INTO send_queues (id, institution_id, mailbox_id) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING";
        queue.id, queue.institution, queue.mailbox
    )
}

struct NewRecipient<'a> {
    position: i64,
    kind: RecipientKind,
    address: &'a String,
}
