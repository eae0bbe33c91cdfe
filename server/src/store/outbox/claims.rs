//! Claims: taking a due delivery, renewing its lease, recording the outcome, reaping expired leases.

use crate::config::Throttle;
use crate::mail::RecipientReply;
use crate::store::sql::{changed, execute, fetch_all, fetch_one, fetch_optional, select};
use app::model::{DeliveryId, DeliveryState, InstitutionId, Timestamp, UserId};
use uuid::Uuid;

use super::{Claim, Delivery, Record, SendQueue, forget_sent, settle_returned, throttle};
use crate::store::{Result, Store, Tx};

/// Pause before checking the daily limit again for a postponed delivery, in milliseconds.
const FULL_MS: i64 = 10 * 60 * 1000;
/// How long smaller deliveries may overtake it: six hours.
const PATIENT_MS: i64 = 6 * 60 * 60 * 1000;

impl Store {
    /// Send queues with due deliveries, the longest-waiting first.
    pub async fn due_queues(&self, now: Timestamp, limit: i64) -> Result<Vec<SendQueue>> {
        fetch_all!(&self.pool,
            select::<SendQueue>("FROM send_queues WHERE paused_until <= $1 AND EXISTS (
               SELECT 1 FROM deliveries d
                WHERE d.send_queue_id = send_queues.id AND d.state IN ('queued', 'deferred') AND d.next_attempt_at <= $1)
             ORDER BY served_at LIMIT $2");
            now, limit
        )
    }

    /// Claims the oldest due delivery of a queue for one connection. Both leases last until their renewal stops.
    /// Returns nothing while its sender uses all its connections.
    pub async fn claim_delivery(
        &self,
        queue: &SendQueue,
        owner: Uuid,
        connection: Uuid,
        until: Timestamp,
        limits: Throttle,
        now: Timestamp,
    ) -> Result<Claim> {
        let mut tx = self.begin().await?;
        let locked: Option<Uuid> = fetch_optional!(&mut *tx,
            "UPDATE send_queues SET served_at = $1 WHERE id = $2 AND paused_until <= $1 RETURNING id";
            now, queue.id
        )?;
        if locked.is_none() {
            return Ok(Claim::Nothing);
        }
        let due: Option<Delivery> = fetch_optional!(&mut *tx,
            select::<Delivery>("FROM deliveries
             WHERE send_queue_id = $1 AND state IN ('queued', 'deferred') AND next_attempt_at <= $2
             ORDER BY created_at, id LIMIT 1");
            queue.id, now
        )?;
        let Some(mut found) = due else { return Ok(Claim::Nothing) };
        let recipients: i64 = fetch_one!(&mut *tx,
            "SELECT COUNT(*) FROM recipients WHERE delivery_id = $1 AND state = 'pending'";
            found.id
        )?;
        let sender = throttle::lock_sender(&mut tx, queue, now).await?;
        match throttle::permit(&mut tx, &sender, connection, recipients, limits, now).await? {
            throttle::Permit::Now => {}
            throttle::Permit::Later(later) => return Ok(Claim::Throttled(later)),
            throttle::Permit::NoConnection => return Ok(Claim::Nothing),
            // It was overtaken for long enough: the others wait now until there is room for it.
            throttle::Permit::Full if now.since_ms(found.created_at) > PATIENT_MS => {
                return Ok(Claim::Throttled(now.plus_ms(FULL_MS)));
            }
            throttle::Permit::Full => {
                postpone(&mut tx, found.id, limits, now).await?;
                tx.mail_changed(found.institution, found.user);
                tx.commit().await?;
                return Ok(Claim::Postponed(found.user));
            }
        }
        throttle::record_submission(&mut tx, &sender, found.id, connection, until, recipients, now).await?;
        let claimed = changed!(&mut *tx,
            // Its age counts from the first attempt, however long it waited before.
            "UPDATE deliveries SET state = 'sending', lease_owner = $1, lease_until = $2, data_started = 0, started_at = $3,
               answer = CASE WHEN attempts = 0 THEN '' ELSE answer END,
               aging_since = CASE WHEN attempts = 0 THEN $3 ELSE aging_since END
             WHERE id = $4 AND state IN ('queued', 'deferred')";
            owner, until, now, found.id
        )?;
        // Its writer cancelled it a moment ago.
        if claimed == 0 {
            return Ok(Claim::Nothing);
        }
        tx.mail_changed(found.institution, found.user);
        tx.commit().await?;
        found.state = DeliveryState::Sending;
        found.lease = owner;
        if found.attempts == 0 {
            found.aging_since = now;
        }
        Ok(Claim::Delivery(Box::new(found)))
    }

    /// Records that DATA begins, and which recipients were refused before: whatever happens to this process, they do not get the
    /// message from this session. `false`: the lease is lost.
    pub async fn start_data(
        &self,
        institution: InstitutionId,
        delivery_id: DeliveryId,
        owner: Uuid,
        refused: &[RecipientReply],
    ) -> Result<bool> {
        let mut tx = self.begin().await?;
        let rows = changed!(&mut *tx,
            "UPDATE deliveries SET data_started = 1
             WHERE institution_id = $3 AND id = $1 AND state = 'sending' AND lease_owner = $2";
            delivery_id, owner, institution
        )?;
        if rows == 0 {
            return Ok(false);
        }
        execute!(&mut *tx,
            "UPDATE recipients SET answer = '' WHERE delivery_id = $1 AND state = 'pending'";
            delivery_id
        )?;
        put_recipients(&mut tx, delivery_id, refused).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Renews the lease of a delivery that is being sent.
    pub async fn renew_lease(
        &self,
        institution: InstitutionId,
        delivery_id: DeliveryId,
        owner: Uuid,
        until: Timestamp,
    ) -> Result<()> {
        execute!(&self.pool,
            "UPDATE deliveries SET lease_until = $1
             WHERE institution_id = $4 AND id = $2 AND state = 'sending' AND lease_owner = $3";
            until, delivery_id, owner, institution
        )
    }

    /// Records the outcome of an attempt. A delivery that bounced meanwhile is recorded as bounced. `false`: the lease was lost and
    /// nothing changed.
    pub async fn record_delivery(
        &self,
        institution: InstitutionId,
        delivery_id: DeliveryId,
        owner: Uuid,
        record: &Record,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.begin().await?;
        let finished = record.state.is_final().then_some(now.0);
        // Held: it could not be sent until now.
        let held = record.state == DeliveryState::Queued && !record.counts;
        let recorded: Option<Option<UserId>> = fetch_optional!(&mut *tx,
            "UPDATE deliveries SET state = $1, next_attempt_at = $2, answer = $3, fault = $4, attempts = attempts + $5,
               finished_at = $6, lease_owner = NULL, lease_until = NULL,
               aging_since = CASE WHEN $10 = 1 THEN $11 ELSE aging_since END
             WHERE id = $7 AND state = 'sending' AND lease_owner = $8 AND institution_id = $9 RETURNING user_id";
            record.state, record.next_attempt_at, record.answer, record.fault, record.counts, finished, delivery_id,
            owner, institution, held, now
        )?;
        let Some(writer) = recorded else { return Ok(false) };
        throttle::release_recipients(&mut tx, institution, delivery_id).await?;
        put_recipients(&mut tx, delivery_id, &record.recipients).await?;
        if record.state == DeliveryState::Sent {
            forget_sent(&mut tx, delivery_id, &record.answer).await?;
        }
        settle_returned(&mut tx, delivery_id, now).await?;
        tx.mail_changed(institution, writer);
        tx.commit().await?;
        Ok(true)
    }

    /// Reaps deliveries whose lease expired before a time because their process died: queued again if DATA had not begun,
    /// unknown otherwise.
    pub async fn reap_deliveries(&self, ended_before: Timestamp, now: Timestamp) -> Result<usize> {
        let mut tx = self.begin().await?;
        let mut reaped: Vec<(DeliveryId, InstitutionId, Option<UserId>)> = fetch_all!(&mut *tx,
            "UPDATE deliveries SET state = 'queued', next_attempt_at = $1, lease_owner = NULL, lease_until = NULL
             WHERE state = 'sending' AND lease_until < $2 AND data_started = 0 RETURNING id, institution_id, user_id";
            now, ended_before
        )?;
        let unknown: Vec<(DeliveryId, InstitutionId, Option<UserId>)> = fetch_all!(&mut *tx,
            "UPDATE deliveries SET state = 'unknown', attempts = attempts + 1, finished_at = $1, lease_owner = NULL, lease_until = NULL
             WHERE state = 'sending' AND lease_until < $2 AND data_started = 1 RETURNING id, institution_id, user_id";
            now, ended_before
        )?;
        reaped.extend(unknown);
        reaped.sort_unstable();
        for (delivery_id, institution, writer) in &reaped {
            settle_returned(&mut tx, *delivery_id, now).await?;
            tx.mail_changed(*institution, *writer);
        }
        tx.commit().await?;
        Ok(reaped.len())
    }

    /// Time of the newest claim. A time in the future means that the clock was set back.
    pub async fn last_claimed_at(&self) -> Result<Timestamp> {
        fetch_one!(&self.pool, "SELECT COALESCE(MAX(served_at), 0) FROM send_queues")
    }

    /// After the clock was set back: pulls every waiting time that is now far ahead back to the present. Leases, which their owners
    /// renew, expire at `leased` at the latest.
    pub async fn set_times_back(&self, now: Timestamp, leased: Timestamp) -> Result<()> {
        let mut tx = self.begin().await?;
        for (statement, until) in [
            ("UPDATE send_queues SET served_at = $1, paused_until = 0 WHERE served_at > $1 OR paused_until > $1", now),
            (
                "UPDATE deliveries SET next_attempt_at = $1 WHERE state IN ('queued', 'deferred') AND next_attempt_at > $1",
                now,
            ),
            ("UPDATE deliveries SET lease_until = $1 WHERE state = 'sending' AND lease_until > $1", leased),
            ("UPDATE smtp_connections SET until = $1 WHERE until > $1", leased),
            ("UPDATE mailboxes SET refresh_lease_until = $1 WHERE refresh_lease_until > $1", leased),
            ("UPDATE mailboxes SET connection_lease_until = $1 WHERE connection_lease_until > $1", leased),
            ("UPDATE mailboxes SET next_poll_at = $1 WHERE next_poll_at > $1", now),
            ("UPDATE mailboxes SET next_test_at = $1 WHERE state = 'blocked' AND next_test_at > $1", now),
        ] {
            execute!(&mut *tx, statement; until)?;
        }
        tx.mail_changed_of_all().await?;
        tx.commit().await
    }

    /// After a person connected an address again: deliveries that they wrote from it meanwhile are sent through it.
    pub async fn adopt_waiting(
        &self,
        tx: &mut Tx,
        queue: &SendQueue,
        user_id: UserId,
        from: &str,
        now: Timestamp,
    ) -> Result<()> {
        super::put_queue(tx, queue).await?;
        execute!(&mut **tx,
            // Including one that is being sent: if that fails, it is retried where it can be sent.
            "UPDATE deliveries SET send_queue_id = $1, next_attempt_at = $2, aging_since = $2
             WHERE institution_id = $3 AND user_id = $4
             AND LOWER(from_address) = LOWER($5) AND state IN ('queued', 'deferred', 'sending')
             AND NOT EXISTS (SELECT 1 FROM send_queues l JOIN mailboxes m ON m.id = l.mailbox_id
              WHERE l.id = deliveries.send_queue_id)";
            queue.id, now, queue.institution, user_id, from
        )?;
        tx.mail_changed(queue.institution, user_id);
        Ok(())
    }

    /// Pauses a send queue until a time.
    pub async fn pause_queue(&self, queue: &SendQueue, until: Timestamp) -> Result<()> {
        let mut tx = self.begin().await?;
        execute!(&mut *tx,
            "UPDATE send_queues SET paused_until = $1 WHERE id = $2 AND institution_id = $3 AND paused_until < $1";
            until, queue.id, queue.institution
        )?;
        tx.mail_changed_of_queue(queue).await?;
        tx.commit().await
    }

    /// Makes the waiting deliveries of a queue due now.
    pub async fn resume_queue(&self, queue: &SendQueue, now: Timestamp) -> Result<()> {
        let mut tx = self.begin().await?;
        execute!(&mut *tx,
            "UPDATE send_queues SET paused_until = 0 WHERE id = $1 AND institution_id = $2";
            queue.id, queue.institution
        )?;
        // Its age does not count the time in which it could not be sent.
        execute!(&mut *tx,
            "UPDATE deliveries SET next_attempt_at = $1, aging_since = $1
             WHERE send_queue_id = $2 AND institution_id = $3 AND state = 'deferred'";
            now, queue.id, queue.institution
        )?;
        tx.mail_changed_of_queue(queue).await?;
        tx.commit().await
    }

    /// Makes the waiting deliveries of an institution due now: its registration works again.
    pub async fn resume_queues(&self, tx: &mut Tx, institution: InstitutionId, now: Timestamp) -> Result<()> {
        // Queues first: every transaction locks in this order.
        execute!(&mut **tx, "UPDATE send_queues SET paused_until = 0 WHERE institution_id = $1"; institution)?;
        execute!(&mut **tx,
            "UPDATE deliveries SET next_attempt_at = $1, aging_since = $1 WHERE institution_id = $2 AND state = 'deferred'";
            now, institution
        )?;
        tx.mail_changed_of_institution(institution).await?;
        Ok(())
    }

    /// Deletes deliveries that finished long ago: notifications, and messages of people.
    pub async fn sweep_deliveries(&self, notifications: Timestamp, written: Timestamp) -> Result<()> {
        let mut tx = self.begin().await?;
        let writers: Vec<(InstitutionId, UserId)> = fetch_all!(&mut *tx,
            "SELECT DISTINCT institution_id, user_id FROM deliveries WHERE user_id IS NOT NULL AND finished_at < $1";
            written
        )?;
        for (institution, writer) in writers {
            tx.mail_changed(institution, writer);
        }
        for statement in [
            "DELETE FROM recipients WHERE delivery_id IN (SELECT id FROM deliveries
               WHERE (user_id IS NULL AND finished_at < $1) OR (user_id IS NOT NULL AND finished_at < $2))",
            "DELETE FROM deliveries WHERE (user_id IS NULL AND finished_at < $1) OR (user_id IS NOT NULL AND finished_at < $2)",
        ] {
            execute!(&mut *tx, statement; notifications, written)?;
        }
        tx.commit().await
    }
}

/// Postpones a delivery that exceeds the daily limit. It is checked before there can be room: the limit may be raised.
async fn postpone(tx: &mut Tx, delivery_id: DeliveryId, limits: Throttle, now: Timestamp) -> Result<()> {
    let most = limits.recipients_per_day;
    execute!(&mut **tx,
        "UPDATE deliveries SET next_attempt_at = $1, answer = CASE WHEN attempts = 0 THEN $2 ELSE answer END
         WHERE id = $3 AND state IN ('queued', 'deferred')";
        now.plus_ms(FULL_MS), format!("Waiting: this mailbox can write to {most} recipients in 24 hours."), delivery_id
    )?;
    Ok(())
}

/// Replies about recipients that are still pending.
async fn put_recipients(tx: &mut Tx, delivery_id: DeliveryId, replies: &[RecipientReply]) -> Result<()> {
    for RecipientReply { address, state, answer } in replies {
        execute!(&mut **tx,
            "UPDATE recipients SET state = $1, answer = $2 WHERE delivery_id = $3 AND address = $4 AND state = 'pending'";
            state, answer, delivery_id, address
        )?;
    }
    Ok(())
}
