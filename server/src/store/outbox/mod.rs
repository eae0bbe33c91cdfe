//! Deliveries, their recipients and their send queues.

mod claims;
mod outcomes;
mod throttle;

use crate::diagnosis::Fault;
use crate::mail::RecipientReply;
use crate::store::sql::{Columns, changed, columns, execute, fetch_all, fetch_optional, select};
use outcomes::{forget_sent, settle_returned};

use app::model::{
    DeliveryId, DeliveryState, InstitutionId, MailboxId, RecipientKind, RecipientView, Timestamp, UserId,
};
use uuid::Uuid;

use super::{MailboxKey, Page, Result, Store, Tx};

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

#[derive(Debug)]
pub enum Claim {
    Delivery(Box<Delivery>),
    Nothing,
    /// Something is due, but the sender is throttled until this time.
    Throttled(Timestamp),
    /// The due delivery has more recipients than the daily limit leaves room for. It waits; smaller ones may go first.
    Postponed(Option<UserId>),
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

impl Store {
    /// Queues a delivery in the given transaction. `false`: its idempotency key exists already.
    pub async fn enqueue(&self, tx: &mut Tx, queue: &SendQueue, new: &NewDelivery, now: Timestamp) -> Result<bool> {
        put_queue(tx, queue).await?;
        let rows = changed!(&mut **tx,
            "INSERT INTO deliveries (id, institution_id, user_id, send_queue_id, idempotency_key, message_id, from_address, subject,
               body_sealed, form_sealed, state, next_attempt_at, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $11, 'queued', $10, $10)
             ON CONFLICT DO NOTHING";
            new.id, queue.institution, new.user, queue.id, new.idempotency_key, new.message_id, new.from, new.subject,
            new.body_sealed, now, new.form_sealed
        )?;
        if rows == 0 {
            return Ok(false);
        }
        for (position, (kind, address)) in new.recipients.iter().enumerate() {
            execute!(&mut **tx,
                "INSERT INTO recipients (delivery_id, position, kind, address) VALUES ($1, $2, $3, $4)";
                new.id, i64::try_from(position).unwrap_or(i64::MAX), kind, address
            )?;
        }
        tx.mail_changed(queue.institution, new.user);
        Ok(true)
    }

    pub async fn delivery(&self, institution: InstitutionId, delivery_id: DeliveryId) -> Result<Option<Delivery>> {
        fetch_optional!(&self.pool,
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
        // Lists do not show message bodies, which may be large.
        let listed = Delivery::COLUMNS.replace("body_sealed", "CASE WHEN body_sealed = '' THEN '' ELSE '-' END");
        let statement = format!(
            "SELECT {listed} FROM deliveries
             WHERE institution_id = $1 AND user_id = $2 AND created_at < $3 ORDER BY created_at DESC, id LIMIT $4"
        );
        fetch_all!(&self.pool, sqlx::AssertSqlSafe(statement); institution, user_id, page.before, page.limit)
    }

    pub async fn recipients(&self, institution: InstitutionId, delivery_id: DeliveryId) -> Result<Vec<RecipientView>> {
        fetch_all!(&self.pool,
            select::<RecipientView>("FROM recipients r JOIN deliveries d ON d.id = r.delivery_id
             WHERE d.institution_id = $1 AND r.delivery_id = $2 ORDER BY r.position");
            institution, delivery_id
        )
    }
}

async fn put_queue(tx: &mut Tx, queue: &SendQueue) -> Result<()> {
    execute!(&mut **tx,
        "INSERT INTO send_queues (id, institution_id, mailbox_id) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING";
        queue.id, queue.institution, queue.mailbox
    )?;
    Ok(())
}
