//! The outbox: deliveries, their recipients, and the lanes they wait in.

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
pub struct Lane {
    /// The mailbox's id, or the institution's for notifications.
    pub id: Uuid,
    /// Whose it is.
    pub institution: InstitutionId,
    /// The mailbox it leaves through; none for notifications.
    pub mailbox: Option<MailboxId>,
}

impl Lane {
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
    pub lane: Uuid,
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
    /// Whether its octets began to leave.
    pub data_started: bool,
    /// The server's last words.
    pub answer: String,
    /// The fault, as JSON.
    pub fault: Option<String>,
    /// When it was queued.
    pub created_at: Timestamp,
    /// When nothing more happened.
    pub finished_at: Option<Timestamp>,
}

/// What a lane may do at most.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
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
    Paced(Timestamp),
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
    "id, institution_id, user_id, lane_id, message_id, from_address, subject, body_sealed, state, attempts,
    next_attempt_at, data_started, answer, fault, created_at, finished_at";
const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn delivery(row: &AnyRow) -> Result<Delivery> {
    let user: Option<String> = row.try_get("user_id")?;
    Ok(Delivery {
        id: id(row, "id")?,
        institution: id(row, "institution_id")?,
        user: user.and_then(|text| text.parse().ok()),
        lane: id(row, "lane_id")?,
        message_id: row.try_get("message_id")?,
        from: row.try_get("from_address")?,
        subject: row.try_get("subject")?,
        body_sealed: row.try_get("body_sealed")?,
        state: named(row, "state", DeliveryState::parse)?,
        attempts: row.try_get("attempts")?,
        next_attempt_at: at(row, "next_attempt_at")?,
        data_started: flag(row, "data_started")?,
        answer: row.try_get("answer")?,
        fault: row.try_get("fault")?,
        created_at: at(row, "created_at")?,
        finished_at: time(row, "finished_at")?,
    })
}

fn lane(row: &AnyRow) -> Result<Lane> {
    let mailbox: Option<String> = row.try_get("mailbox_id")?;
    Ok(Lane {
        id: id(row, "id")?,
        institution: id(row, "institution_id")?,
        mailbox: mailbox.and_then(|text| text.parse().ok()),
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
    pub async fn enqueue(&self, tx: &mut Tx, lane: &Lane, new: &NewDelivery, now: Timestamp) -> Result<bool> {
        put_lane(tx, lane).await?;
        let done = sqlx::query(
            "INSERT INTO deliveries (id, institution_id, user_id, lane_id, idempotency_key, message_id, from_address, subject,
               body_sealed, recipient_count, state, next_attempt_at, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'queued', $11, $11)
             ON CONFLICT (lane_id, idempotency_key) DO NOTHING",
        )
        .bind(new.id.to_string())
        .bind(lane.institution.to_string())
        .bind(new.user.map(|user| user.to_string()))
        .bind(lane.id.to_string())
        .bind(&new.idempotency_key)
        .bind(&new.message_id)
        .bind(&new.from)
        .bind(&new.subject)
        .bind(&new.body_sealed)
        .bind(i64::try_from(new.recipients.len()).unwrap_or(i64::MAX))
        .bind(now.0)
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

    /// Lanes in which something is due, the one that waited longest first.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub async fn due_lanes(&self, now: Timestamp, limit: i64) -> Result<Vec<Lane>> {
        let rows = sqlx::query(
            "SELECT id, institution_id, mailbox_id FROM lanes WHERE paused_until <= $1 AND EXISTS (
               SELECT 1 FROM deliveries d WHERE d.lane_id = lanes.id AND d.state IN ('queued', 'deferred') AND d.next_attempt_at <= $1)
             ORDER BY served_at LIMIT $2",
        )
        .bind(now.0)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(lane).collect()
    }

    /// Takes the oldest due delivery of a lane, for as long as the lease lasts and within the lane's pace. The lane's row is
    /// locked meanwhile, so that replicas count together.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub async fn claim_delivery(
        &self,
        which: &Lane,
        (owner, until): (Uuid, Timestamp),
        pace: Pace,
        now: Timestamp,
    ) -> Result<Claim> {
        let mut tx = self.begin().await?;
        let locked = sqlx::query("UPDATE lanes SET served_at = $1 WHERE id = $2 AND paused_until <= $1 RETURNING id")
            .bind(now.0)
            .bind(which.id.to_string())
            .fetch_optional(&mut *tx)
            .await?;
        if locked.is_none() {
            return Ok(Claim::Nothing);
        }
        let due = sqlx::query(select(
            "WHERE lane_id = $1 AND state IN ('queued', 'deferred') AND next_attempt_at <= $2 ORDER BY created_at, id LIMIT 1",
        ))
        .bind(which.id.to_string())
        .bind(now.0)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(mut found) = due.as_ref().map(delivery).transpose()? else { return Ok(Claim::Nothing) };
        if let Some(later) = paced(&mut tx, which, pace, now).await? {
            return Ok(Claim::Paced(later));
        }
        sqlx::query(
            "UPDATE deliveries SET state = 'sending', lease_owner = $1, lease_until = $2, data_started = 0, started_at = $3 WHERE id = $4",
        )
        .bind(owner.to_string())
        .bind(until.0)
        .bind(now.0)
        .bind(found.id.to_string())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        found.state = DeliveryState::Sending;
        Ok(Claim::Delivery(Box::new(found)))
    }

    /// Notes that the first octet of the message is about to leave. `false`: the lease is no longer ours.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub async fn start_data(&self, which: DeliveryId, owner: Uuid) -> Result<bool> {
        let done = sqlx::query(
            "UPDATE deliveries SET data_started = 1 WHERE id = $1 AND state = 'sending' AND lease_owner = $2",
        )
        .bind(which.to_string())
        .bind(owner.to_string())
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Keeps a lease alive while its delivery is being sent.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub async fn renew_lease(&self, which: DeliveryId, owner: Uuid, until: Timestamp) -> Result<()> {
        sqlx::query("UPDATE deliveries SET lease_until = $1 WHERE id = $2 AND state = 'sending' AND lease_owner = $3")
            .bind(until.0)
            .bind(which.to_string())
            .bind(owner.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Records how an attempt ended. `false`: the lease was no longer ours, and nothing was changed.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub async fn record_delivery(
        &self,
        which: DeliveryId,
        owner: Uuid,
        record: &Record,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.begin().await?;
        let finished = record.state.is_final().then_some(now.0);
        let done = sqlx::query(
            "UPDATE deliveries SET state = $1, next_attempt_at = $2, answer = $3, fault = $4, attempts = attempts + $5,
               finished_at = $6, lease_owner = NULL, lease_until = NULL,
               body_sealed = CASE WHEN $9 = 1 THEN '' ELSE body_sealed END
             WHERE id = $7 AND state = 'sending' AND lease_owner = $8",
        )
        .bind(record.state.as_str())
        .bind(record.next_attempt_at.0)
        .bind(&record.answer)
        .bind(record.fault.as_deref())
        .bind(i64::from(record.counts))
        .bind(finished)
        .bind(which.to_string())
        .bind(owner.to_string())
        .bind(i64::from(record.state == DeliveryState::Sent))
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        for (address, state, answer) in &record.recipients {
            sqlx::query("UPDATE recipients SET state = $1, answer = $2 WHERE delivery_id = $3 AND address = $4 AND state = 'pending'")
                .bind(state.as_str())
                .bind(answer)
                .bind(which.to_string())
                .bind(address)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Settles deliveries whose sender died: queued again if no octet of the message left, unknown otherwise.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub async fn reap_deliveries(&self, now: Timestamp) -> Result<u64> {
        let mut tx = self.begin().await?;
        let again = sqlx::query(
            "UPDATE deliveries SET state = 'queued', next_attempt_at = $1, lease_owner = NULL, lease_until = NULL
             WHERE state = 'sending' AND lease_until < $1 AND data_started = 0",
        )
        .bind(now.0)
        .execute(&mut *tx)
        .await?;
        let unknown = sqlx::query(
            "UPDATE deliveries SET state = 'unknown', attempts = attempts + 1, finished_at = $1, lease_owner = NULL, lease_until = NULL
             WHERE state = 'sending' AND lease_until < $1 AND data_started = 1",
        )
        .bind(now.0)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(again.rows_affected() + unknown.rows_affected())
    }

    /// Nothing leaves through a lane before a time.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub async fn pause_lane(&self, which: Uuid, until: Timestamp) -> Result<()> {
        sqlx::query("UPDATE lanes SET paused_until = $1 WHERE id = $2 AND paused_until < $1")
            .bind(until.0)
            .bind(which.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// What waits in a lane is due now: something changed for the better.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub async fn resume_lane(&self, which: Uuid, now: Timestamp) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE lanes SET paused_until = 0 WHERE id = $1")
            .bind(which.to_string())
            .execute(&mut *tx)
            .await?;
        sqlx::query("UPDATE deliveries SET next_attempt_at = $1 WHERE lane_id = $2 AND state = 'deferred'")
            .bind(now.0)
            .bind(which.to_string())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// A delivery.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub async fn delivery(&self, institution: InstitutionId, which: DeliveryId) -> Result<Option<Delivery>> {
        let row = sqlx::query(select("WHERE institution_id = $1 AND id = $2"))
            .bind(institution.to_string())
            .bind(which.to_string())
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
        who: UserId,
        (before, limit): (Timestamp, i64),
    ) -> Result<Vec<Delivery>> {
        let rows = sqlx::query(select(
            "WHERE institution_id = $1 AND user_id = $2 AND created_at < $3 ORDER BY created_at DESC, id LIMIT $4",
        ))
        .bind(institution.to_string())
        .bind(who.to_string())
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
    pub async fn recipients(&self, institution: InstitutionId, which: DeliveryId) -> Result<Vec<RecipientView>> {
        let rows = sqlx::query(
            "SELECT r.kind, r.address, r.state, r.answer FROM recipients r JOIN deliveries d ON d.id = r.delivery_id
             WHERE d.institution_id = $1 AND r.delivery_id = $2 ORDER BY r.position",
        )
        .bind(institution.to_string())
        .bind(which.to_string())
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

    /// Stops a delivery that waits. `false`: it left already, or is not theirs.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub async fn cancel_delivery(
        &self,
        institution: InstitutionId,
        who: UserId,
        which: DeliveryId,
        now: Timestamp,
    ) -> Result<bool> {
        let done = sqlx::query(
            "UPDATE deliveries SET state = 'cancelled', finished_at = $1
             WHERE institution_id = $2 AND user_id = $3 AND id = $4 AND state IN ('queued', 'deferred')",
        )
        .bind(now.0)
        .bind(institution.to_string())
        .bind(who.to_string())
        .bind(which.to_string())
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Queues a delivery again whose writer wants that, its age counted anew. `false`: it is not theirs, or under way.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub async fn retry_delivery(
        &self,
        institution: InstitutionId,
        who: UserId,
        (which, lane): (DeliveryId, &Lane),
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.begin().await?;
        put_lane(&mut tx, lane).await?;
        let done = sqlx::query(
            "UPDATE deliveries SET state = 'queued', attempts = 0, next_attempt_at = $1, created_at = $1, finished_at = NULL,
               answer = '', fault = NULL, lane_id = $2
             WHERE institution_id = $3 AND user_id = $4 AND id = $5 AND state IN ('failed', 'cancelled', 'unknown')",
        )
        .bind(now.0)
        .bind(lane.id.to_string())
        .bind(institution.to_string())
        .bind(who.to_string())
        .bind(which.to_string())
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query(
            "UPDATE recipients SET state = 'pending', answer = '' WHERE delivery_id = $1 AND state = 'refused'",
        )
        .bind(which.to_string())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// An unknown delivery was found among the sent ones.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub async fn prove_sent(
        &self,
        institution: InstitutionId,
        which: DeliveryId,
        answer: &str,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.begin().await?;
        let done = sqlx::query(
            "UPDATE deliveries SET state = 'sent', answer = $1, fault = NULL, finished_at = $2
             WHERE institution_id = $3 AND id = $4 AND state = 'unknown'",
        )
        .bind(answer)
        .bind(now.0)
        .bind(institution.to_string())
        .bind(which.to_string())
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 1 {
            sqlx::query("UPDATE recipients SET state = 'accepted' WHERE delivery_id = $1 AND state = 'pending'")
                .bind(which.to_string())
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }
}

async fn put_lane(tx: &mut Tx, lane: &Lane) -> Result<()> {
    sqlx::query("INSERT INTO lanes (id, institution_id, mailbox_id) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING")
        .bind(lane.id.to_string())
        .bind(lane.institution.to_string())
        .bind(lane.mailbox.map(|mailbox| mailbox.to_string()))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// When the lane may send again, if it may not now.
async fn paced(tx: &mut Tx, which: &Lane, pace: Pace, now: Timestamp) -> Result<Option<Timestamp>> {
    let lane = which.id.to_string();
    let row = sqlx::query("SELECT COUNT(*), MIN(lease_until) FROM deliveries WHERE lane_id = $1 AND state = 'sending' AND lease_until >= $2")
        .bind(&lane)
        .bind(now.0)
        .fetch_one(&mut **tx)
        .await?;
    if row.try_get::<i64, _>(0)? >= pace.connections {
        // One of them ends long before its lease; whoever ends it comes back.
        return Ok(Some(now.plus_ms(1000)));
    }
    let row = sqlx::query("SELECT COUNT(*), MIN(started_at) FROM deliveries WHERE lane_id = $1 AND started_at > $2")
        .bind(&lane)
        .bind(now.0 - MINUTE_MS)
        .fetch_one(&mut **tx)
        .await?;
    if row.try_get::<i64, _>(0)? >= pace.messages_per_minute {
        let oldest: i64 = row.try_get::<Option<i64>, _>(1)?.unwrap_or(now.0);
        return Ok(Some(Timestamp(oldest + MINUTE_MS + 1)));
    }
    let row = sqlx::query(
        "SELECT CAST(COALESCE(SUM(recipient_count), 0) AS BIGINT), MIN(started_at) FROM deliveries WHERE lane_id = $1 AND started_at > $2",
    )
    .bind(&lane)
    .bind(now.0 - DAY_MS)
    .fetch_one(&mut **tx)
    .await?;
    if row.try_get::<i64, _>(0)? >= pace.recipients_per_day {
        let oldest: i64 = row.try_get::<Option<i64>, _>(1)?.unwrap_or(now.0);
        return Ok(Some(Timestamp(oldest + DAY_MS + 1)));
    }
    Ok(None)
}
