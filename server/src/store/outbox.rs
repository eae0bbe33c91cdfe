//! The outbox: deliveries, their recipients, and the lanes they wait in.

mod claims;
mod outcomes;
mod throttle;

use outcomes::{forget_sent, settle_returned};

use app::model::{
    DeliveryId, DeliveryState, InstitutionId, MailboxId, RecipientKind, RecipientState, RecipientView, Timestamp,
    UserId,
};
use sqlx::Row;
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::{Result, Store, Tx, at, flag, id, named, time};

/// Where a delivery waits: everything of one sender goes through one lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendQueue {
    /// The mailbox's id, or the institution's for notifications.
    pub id: Uuid,
    /// Whose it is.
    pub institution: InstitutionId,
    /// The mailbox it leaves through; none for notifications.
    pub mailbox: Option<MailboxId>,
}

impl SendQueue {
    /// The lane of a mailbox.
    #[must_use]
    pub fn of_mailbox(institution: InstitutionId, mailbox: MailboxId) -> Self {
        Self { id: mailbox.0, institution, mailbox: Some(mailbox) }
    }

    /// The lane of an institution's notifications.
    #[must_use]
    pub fn of_notifications(institution: InstitutionId) -> Self {
        Self { id: institution.0, institution, mailbox: None }
    }
}

/// A message to be queued.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// Who wrote it.
    pub user: Option<UserId>,
    /// Makes a repeated request one message.
    pub idempotency_key: String,
    /// With angle brackets; fixed from here on.
    pub message_id: String,
    /// From.
    pub from: String,
    /// Subject.
    pub subject: String,
    /// The sealed message.
    pub body_sealed: String,
    /// A sealed digest of the form it came from; empty where there was none.
    pub form_sealed: String,
    /// Everybody who gets it.
    pub recipients: Vec<(RecipientKind, String)>,
}

/// A message and its fate.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// Whose it is.
    pub institution: InstitutionId,
    /// Who wrote it.
    pub user: Option<UserId>,
    /// Its lane.
    pub queue: Uuid,
    /// Names the claim, where this came from one: a later claim of the same process is another one.
    pub lease: Uuid,
    /// With angle brackets.
    pub message_id: String,
    /// From.
    pub from: String,
    /// Subject.
    pub subject: String,
    /// The sealed message.
    pub body_sealed: String,
    /// Its fate.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: i64,
    /// When it is tried next.
    pub next_attempt_at: Timestamp,
    /// Until when nothing leaves through its lane.
    pub paused_until: Timestamp,
    /// Whether its octets began to leave.
    pub data_started: bool,
    /// The server's last words.
    pub answer: String,
    /// The fault, as JSON.
    pub fault: Option<String>,
    /// When it was queued.
    pub created_at: Timestamp,
    /// From when its age counts, if that is later.
    pub aging_since: Timestamp,
    /// When nothing more happened.
    pub finished_at: Option<Timestamp>,
}

/// What a sender may do at most.
#[derive(Debug, Clone, Copy)]
pub struct Throttle {
    /// Submissions at one time.
    pub connections: i64,
    /// Messages within a minute.
    pub messages_per_minute: i64,
    /// Recipients within 24 hours.
    pub recipients_per_day: i64,
}

/// What a claim found.
#[derive(Debug)]
pub enum Claim {
    /// A delivery, leased.
    Delivery(Box<Delivery>),
    /// Nothing is due.
    Nothing,
    /// Something is due, but not before this time.
    Throttled(Timestamp),
    /// What is due has more recipients than the day has room for: its turn comes later, and that of others may be now.
    Postponed(Option<UserId>),
}

/// How an attempt ended.
#[derive(Debug, Clone)]
pub struct Record {
    /// The new state.
    pub state: DeliveryState,
    /// When it is tried again.
    pub next_attempt_at: Timestamp,
    /// The server's words.
    pub answer: String,
    /// The fault, as JSON.
    pub fault: Option<String>,
    /// Recipients of whom something was said.
    pub recipients: Vec<(String, RecipientState, String)>,
    /// Whether this attempt counts (handing back does not).
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
        fault: row.try_get("fault")?,
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
    /// Queues a message in the transaction of whatever caused it. `false`: the same key is there already.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub async fn enqueue(&self, tx: &mut Tx, queue: &SendQueue, new: &NewDelivery, now: Timestamp) -> Result<bool> {
        put_queue(tx, queue).await?;
        let done = sqlx::query(
            "INSERT INTO deliveries (id, institution_id, user_id, send_queue_id, idempotency_key, message_id, from_address, subject,
               body_sealed, form_sealed, state, next_attempt_at, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $11, 'queued', $10, $10)
             ON CONFLICT DO NOTHING",
        )
        .bind(new.id.to_string())
        .bind(queue.institution.to_string())
        .bind(new.user.map(|user| user.to_string()))
        .bind(queue.id.to_string())
        .bind(&new.idempotency_key)
        .bind(&new.message_id)
        .bind(&new.from)
        .bind(&new.subject)
        .bind(&new.body_sealed)
        .bind(now.0)
        .bind(&new.form_sealed)
        .execute(&mut **tx)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        for (position, (kind, address)) in new.recipients.iter().enumerate() {
            sqlx::query("INSERT INTO recipients (delivery_id, position, kind, address) VALUES ($1, $2, $3, $4)")
                .bind(new.id.to_string())
                .bind(i64::try_from(position).unwrap_or(i64::MAX))
                .bind(kind.as_str())
                .bind(address)
                .execute(&mut **tx)
                .await?;
        }
        Ok(true)
    }

    /// Stands for what a person sees of their mail: outbox and known headers. Another one means that something changed.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub async fn mail_mark(&self, institution: InstitutionId, user_id: UserId) -> Result<String> {
        let row = sqlx::query(
            "SELECT COUNT(*), CAST(COALESCE(SUM(attempts), 0) AS BIGINT), COALESCE(MAX(created_at), 0), COALESCE(MAX(started_at), 0),
               COALESCE(MAX(finished_at), 0), CAST(COALESCE(SUM(LENGTH(state)), 0) AS BIGINT),
               CAST(COALESCE(SUM(next_attempt_at), 0) AS BIGINT) FROM deliveries WHERE institution_id = $1 AND user_id = $2
               AND (state IN ('queued', 'sending', 'deferred') OR id IN (SELECT id FROM deliveries WHERE institution_id = $1 AND user_id = $2
                 ORDER BY created_at DESC LIMIT 100))",
        )
        .bind(institution.to_string())
        .bind(user_id.to_string())
        .fetch_one(&self.pool)
        .await?;
        let mut mark: Vec<i64> = (0..7).map(|at| row.try_get(at)).collect::<std::result::Result<_, _>>()?;
        let row = sqlx::query(
            "SELECT COUNT(*), CAST(COALESCE(SUM(h.uid), 0) AS BIGINT), CAST(COALESCE(SUM(h.seen + 2 * h.flagged + 4 * h.answered), 0) AS BIGINT)
             FROM headers h JOIN mailboxes m ON m.id = h.mailbox_id WHERE m.institution_id = $1 AND m.user_id = $2",
        )
        .bind(institution.to_string())
        .bind(user_id.to_string())
        .fetch_one(&self.pool)
        .await?;
        for at in 0..3 {
            mark.push(row.try_get(at)?);
        }
        let row = sqlx::query(
            "SELECT COUNT(*), CAST(COALESCE(SUM(updated_at), 0) AS BIGINT), (SELECT COUNT(*) FROM folders f JOIN mailboxes m ON m.id = f.mailbox_id
               WHERE m.institution_id = $1 AND m.user_id = $2 AND f.synced_at IS NOT NULL)
             FROM mailboxes WHERE institution_id = $1 AND user_id = $2",
        )
        .bind(institution.to_string())
        .bind(user_id.to_string())
        .fetch_one(&self.pool)
        .await?;
        for at in 0..3 {
            mark.push(row.try_get(at)?);
        }
        Ok(mark.iter().map(ToString::to_string).collect::<Vec<_>>().join("."))
    }

    /// A delivery.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub async fn delivery(&self, institution: InstitutionId, delivery_id: DeliveryId) -> Result<Option<Delivery>> {
        let row = sqlx::query(select("WHERE institution_id = $1 AND id = $2"))
            .bind(institution.to_string())
            .bind(delivery_id.to_string())
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(delivery).transpose()
    }

    /// What a person wrote, newest first, from what was written before a time.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub async fn deliveries_of(
        &self,
        institution: InstitutionId,
        user_id: UserId,
        (before, limit): (Timestamp, i64),
    ) -> Result<Vec<Delivery>> {
        // Messages may be large, and lists do not show them.
        let listed = COLUMNS.replace("body_sealed", "CASE WHEN body_sealed = '' THEN '' ELSE '-' END AS body_sealed");
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {listed} FROM deliveries WHERE institution_id = $1 AND user_id = $2 AND created_at < $3 ORDER BY created_at DESC, id LIMIT $4",
        )))
        .bind(institution.to_string())
        .bind(user_id.to_string())
        .bind(before.0)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(delivery).collect()
    }

    /// Everybody who gets a delivery.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub async fn recipients(&self, institution: InstitutionId, delivery_id: DeliveryId) -> Result<Vec<RecipientView>> {
        let rows = sqlx::query(
            "SELECT r.kind, r.address, r.state, r.answer FROM recipients r JOIN deliveries d ON d.id = r.delivery_id
             WHERE d.institution_id = $1 AND r.delivery_id = $2 ORDER BY r.position",
        )
        .bind(institution.to_string())
        .bind(delivery_id.to_string())
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
    sqlx::query(
        "INSERT INTO send_queues (id, institution_id, mailbox_id) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING",
    )
    .bind(queue.id.to_string())
    .bind(queue.institution.to_string())
    .bind(queue.mailbox.map(|mailbox| mailbox.to_string()))
    .execute(&mut **tx)
    .await?;
    Ok(())
}
