//! Deliveries, their recipients and their send queues.

mod claims;
mod outcomes;
mod throttle;

use crate::diagnosis::Fault;
use crate::store::sql::sql;
use outcomes::{forget_sent, settle_returned};

use app::model::{
    DeliveryId, DeliveryState, InstitutionId, MailboxId, RecipientKind, RecipientState, RecipientView, Timestamp,
    UserId,
};
use sqlx::Row;
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::{Page, Result, Store, Tx, at, fault, flag, id, named, time};

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
    pub fn of_mailbox(institution: InstitutionId, mailbox: MailboxId) -> Self {
        Self { id: mailbox.0, institution, mailbox: Some(mailbox) }
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
    /// Id of the claim, if it was claimed; each claim has its own.
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
    pub recipients: Vec<(String, RecipientState, String)>,
    /// Whether it counts as an attempt; a release does not.
    pub counts: bool,
}

const COLUMNS: &str =
    "id, institution_id, user_id, send_queue_id, message_id, from_address, subject, body_sealed, state, attempts,
    next_attempt_at, data_started, answer, fault, created_at, aging_since, finished_at,
    COALESCE((SELECT paused_until FROM send_queues WHERE send_queues.id = deliveries.send_queue_id), 0) AS paused_until";
fn delivery(row: &AnyRow) -> Result<Delivery> {
    let user: Option<String> = row.try_get("user_id")?;
    Ok(Delivery {
        id: id(row, "id")?,
        institution: id(row, "institution_id")?,
        user: user.and_then(|text| text.parse().ok()),
        queue: id(row, "send_queue_id")?,
        lease: Uuid::nil(),
        message_id: row.try_get("message_id")?,
        from: row.try_get("from_address")?,
        subject: row.try_get("subject")?,
        body_sealed: row.try_get("body_sealed")?,
        state: named(row, "state", DeliveryState::parse)?,
        attempts: row.try_get("attempts")?,
        next_attempt_at: at(row, "next_attempt_at")?,
        paused_until: at(row, "paused_until")?,
        data_started: flag(row, "data_started")?,
        answer: row.try_get("answer")?,
        fault: fault(row, "fault")?,
        created_at: at(row, "created_at")?,
        aging_since: at(row, "aging_since")?,
        finished_at: time(row, "finished_at")?,
    })
}

fn select(condition: &'static str) -> sqlx::AssertSqlSafe<String> {
    // Both parts are constants of this file.
    sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM deliveries {condition}"))
}

impl Store {
    /// Queues a delivery in the given transaction. `false`: its idempotency key exists already.
    pub async fn enqueue(&self, tx: &mut Tx, queue: &SendQueue, new: &NewDelivery, now: Timestamp) -> Result<bool> {
        put_queue(tx, queue).await?;
        let done = sql!(
            "INSERT INTO deliveries (id, institution_id, user_id, send_queue_id, idempotency_key, message_id, from_address, subject,
               body_sealed, form_sealed, state, next_attempt_at, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $11, 'queued', $10, $10)
             ON CONFLICT DO NOTHING";
            new.id, queue.institution, new.user, queue.id, new.idempotency_key, new.message_id, new.from, new.subject,
            new.body_sealed, now, new.form_sealed
        )
        .execute(&mut **tx)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        for (position, (kind, address)) in new.recipients.iter().enumerate() {
            sql!(
                "INSERT INTO recipients (delivery_id, position, kind, address) VALUES ($1, $2, $3, $4)";
                new.id, i64::try_from(position).unwrap_or(i64::MAX), kind, address
            )
            .execute(&mut **tx)
            .await?;
        }
        Ok(true)
    }

    /// A mark of what a person sees of their mail: outbox and kept headers. It changes whenever they do.
    pub async fn mail_version(&self, institution: InstitutionId, user_id: UserId) -> Result<String> {
        let row = sql!(
            "SELECT COUNT(*), CAST(COALESCE(SUM(attempts), 0) AS BIGINT), COALESCE(MAX(created_at), 0), COALESCE(MAX(started_at), 0),
               COALESCE(MAX(finished_at), 0), CAST(COALESCE(SUM(LENGTH(state)), 0) AS BIGINT),
               CAST(COALESCE(SUM(next_attempt_at), 0) AS BIGINT) FROM deliveries WHERE institution_id = $1 AND user_id = $2
               AND (state IN ('queued', 'sending', 'deferred') OR id IN (SELECT id FROM deliveries WHERE institution_id = $1 AND user_id = $2
                 ORDER BY created_at DESC LIMIT 100))";
            institution, user_id
        )
        .fetch_one(&self.pool)
        .await?;
        let mut mark: Vec<i64> = (0..7).map(|at| row.try_get(at)).collect::<std::result::Result<_, _>>()?;
        let row = sql!(
            "SELECT COUNT(*), CAST(COALESCE(SUM(h.uid), 0) AS BIGINT), CAST(COALESCE(SUM(h.seen + 2 * h.flagged + 4 * h.answered), 0) AS BIGINT)
             FROM headers h JOIN mailboxes m ON m.id = h.mailbox_id WHERE m.institution_id = $1 AND m.user_id = $2";
            institution, user_id
        )
        .fetch_one(&self.pool)
        .await?;
        for at in 0..3 {
            mark.push(row.try_get(at)?);
        }
        let row = sql!(
            "SELECT COUNT(*), CAST(COALESCE(SUM(updated_at), 0) AS BIGINT), (SELECT COUNT(*) FROM folders f JOIN mailboxes m ON m.id = f.mailbox_id
               WHERE m.institution_id = $1 AND m.user_id = $2 AND f.synced_at IS NOT NULL)
             FROM mailboxes WHERE institution_id = $1 AND user_id = $2";
            institution, user_id
        )
        .fetch_one(&self.pool)
        .await?;
        for at in 0..3 {
            mark.push(row.try_get(at)?);
        }
        Ok(mark.iter().map(ToString::to_string).collect::<Vec<_>>().join("."))
    }

    pub async fn delivery(&self, institution: InstitutionId, delivery_id: DeliveryId) -> Result<Option<Delivery>> {
        let row = sql!(select("WHERE institution_id = $1 AND id = $2"); institution, delivery_id)
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(delivery).transpose()
    }

    /// A person's deliveries written before a time, newest first.
    pub async fn deliveries_of(
        &self,
        institution: InstitutionId,
        user_id: UserId,
        page: Page,
    ) -> Result<Vec<Delivery>> {
        // Lists do not show message bodies, which may be large.
        let listed = COLUMNS.replace("body_sealed", "CASE WHEN body_sealed = '' THEN '' ELSE '-' END AS body_sealed");
        let rows = sql!(
            sqlx::AssertSqlSafe(format!(
            "SELECT {listed} FROM deliveries WHERE institution_id = $1 AND user_id = $2 AND created_at < $3 ORDER BY created_at DESC, id LIMIT $4",
        ));
            institution, user_id, page.before, page.limit
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(delivery).collect()
    }

    pub async fn recipients(&self, institution: InstitutionId, delivery_id: DeliveryId) -> Result<Vec<RecipientView>> {
        let rows = sql!(
            "SELECT r.kind, r.address, r.state, r.answer FROM recipients r JOIN deliveries d ON d.id = r.delivery_id
             WHERE d.institution_id = $1 AND r.delivery_id = $2 ORDER BY r.position";
            institution, delivery_id
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(RecipientView {
                    kind: named(row, "kind", RecipientKind::parse)?,
                    address: row.try_get("address")?,
                    state: named(row, "state", RecipientState::parse)?,
                    answer: row.try_get("answer")?,
                })
            })
            .collect()
    }
}

async fn put_queue(tx: &mut Tx, queue: &SendQueue) -> Result<()> {
    sql!(
        "INSERT INTO send_queues (id, institution_id, mailbox_id) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING";
        queue.id, queue.institution, queue.mailbox
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
