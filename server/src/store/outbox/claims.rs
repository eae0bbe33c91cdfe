//! Leases of claimed deliveries: which queues are due, renewing, giving back, reaping what expired; pausing and resuming queues.

use std::collections::HashMap;

use crate::store::sql::{Columns, Cursor, FromRow, execute, fetch_all, fetch_one, fetch_optional, fetch_rows};
use app::model::{DeliveryId, InstitutionId, RecipientView, Timestamp, UserId};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{Claim, ClaimRequest, Claimed, ClaimedIds, Delivery, SendQueue, settle_returned, throttle};
use crate::store::{DatabaseKind, Mailbox, Result, Store, Tx};

/// Goes from one queue with waiting deliveries to the next: neither idle queues nor the length of a queue cost time.
pub(super) fn due_queues() -> String {
    format!(
        "WITH RECURSIVE waiting (queue) AS (
           SELECT MIN(send_queue_id) FROM deliveries WHERE state IN ('queued', 'deferred')
           UNION ALL
           SELECT (SELECT MIN(send_queue_id) FROM deliveries
                    WHERE state IN ('queued', 'deferred') AND send_queue_id > waiting.queue)
             FROM waiting WHERE waiting.queue IS NOT NULL)
         SELECT {} FROM send_queues JOIN waiting ON waiting.queue = send_queues.id
          WHERE paused_until <= $1 AND EXISTS (
           SELECT 1 FROM deliveries d
            WHERE d.send_queue_id = send_queues.id AND d.state IN ('queued', 'deferred') AND d.next_attempt_at <= $1)
         ORDER BY served_at, id LIMIT $2",
        SendQueue::COLUMNS
    )
}

pub(super) const IS_DUE: &str =
    "SELECT 1 FROM send_queues WHERE id = $1 AND institution_id = $2 AND paused_until <= $3 AND EXISTS (
    SELECT 1 FROM deliveries d
     WHERE d.send_queue_id = send_queues.id AND d.state IN ('queued', 'deferred') AND d.next_attempt_at <= $3)";

pub(super) const CLAIMED: &str =
    "SELECT id FROM deliveries WHERE institution_id = $1 AND lease_owner = $2 AND state = 'sending'";

struct RecipientOf {
    delivery: DeliveryId,
    recipient: RecipientView,
}

impl Columns for RecipientOf {
    const COLUMNS: &'static str = "r.delivery_id, kind, address, r.state, r.answer";
}

impl FromRow for RecipientOf {
    fn from_row(row: &mut Cursor<'_>) -> Result<Self> {
        Ok(Self { delivery: row.next()?, recipient: row.next()? })
    }
}

impl Store {
    /// Claims the oldest due deliveries of a queue.
    pub async fn claim_deliveries(&self, request: ClaimRequest) -> Result<Claim> {
        let (queue, owner, connection) = (request.queue.clone(), request.owner, request.connection);
        Ok(match self.writer.claim(request).await? {
            ClaimedIds::Deliveries(ids, sender) => match self.claimed(&queue, owner, &ids).await {
                // It waited so long that the lease ended.
                Ok((deliveries, _)) if deliveries.is_empty() => Claim::Nothing,
                Ok((deliveries, mailbox)) => Claim::Deliveries { deliveries, mailbox: mailbox.map(Box::new), sender },
                Err(error) => {
                    self.release_claim(queue.institution, owner, &ids).await?;
                    self.end_connection(connection).await?;
                    return Err(error);
                }
            },
            ClaimedIds::Nothing => Claim::Nothing,
            ClaimedIds::NoConnection(sender) => Claim::NoConnection(sender),
            ClaimedIds::Throttled(until) => Claim::Throttled(until),
            ClaimedIds::Postponed => Claim::Postponed,
        })
    }

    async fn claimed(
        &self,
        queue: &SendQueue,
        owner: Uuid,
        ids: &[DeliveryId],
    ) -> Result<(Vec<Claimed>, Option<Mailbox>)> {
        let mut deliveries: Vec<Delivery> = fetch_rows!(&self.reads,
            format!(
                "SELECT {} FROM deliveries WHERE (id, institution_id) IN (VALUES {{}})",
                Delivery::COLUMNS
            );
            ids, |id| id, queue.institution
        )?;
        deliveries.retain(|delivery| delivery.lease == owner);
        // In the order of the claim.
        deliveries.sort_by_key(|delivery| ids.iter().position(|id| *id == delivery.id));
        let recipients: Vec<RecipientOf> = fetch_rows!(&self.reads,
            format!(
                "SELECT {} FROM recipients r JOIN deliveries d ON d.id = r.delivery_id
                 WHERE (d.id, d.institution_id) IN (VALUES {{}}) ORDER BY r.delivery_id, r.position",
                RecipientOf::COLUMNS
            );
            ids, |id| id, queue.institution
        )?;
        let mut of: HashMap<DeliveryId, Vec<RecipientView>> = HashMap::new();
        for RecipientOf { delivery, recipient } in recipients {
            of.entry(delivery).or_default().push(recipient);
        }
        let claimed = deliveries
            .into_iter()
            .map(|delivery| Claimed { recipients: of.remove(&delivery.id).unwrap_or_default(), delivery });
        let mailbox = match queue.mailbox_key() {
            Some(mailbox) => self.mailbox(mailbox).await?,
            None => None,
        };
        Ok((claimed.collect(), mailbox))
    }

    /// Send queues with due deliveries, the longest-waiting first.
    pub async fn due_queues(&self, now: Timestamp, limit: i64) -> Result<Vec<SendQueue>> {
        fetch_all!(&self.reads, AssertSqlSafe(due_queues()); now, limit)
    }

    /// Whether a delivery of a queue is due.
    pub async fn is_due(&self, queue: &SendQueue, now: Timestamp) -> Result<bool> {
        let due: Option<i64> = fetch_optional!(&self.reads, IS_DUE; queue.id, queue.institution, now)?;
        Ok(due.is_some())
    }

    /// Renews the leases of a claim.
    pub async fn renew_claim(&self, institution: InstitutionId, owner: Uuid, until: Timestamp) -> Result<()> {
        let ids: Vec<DeliveryId> = fetch_all!(&self.reads, CLAIMED; institution, owner)?;
        // One by one: a transaction must lock several in the order of their ids.
        for id in ids {
            execute!(&self.writes,
                "UPDATE deliveries SET lease_until = $1 WHERE institution_id = $2 AND id = $3 AND lease_owner = $4 AND state = 'sending'";
                until, institution, id, owner
            )?;
        }
        Ok(())
    }

    /// Gives back what was claimed and not attempted: it waits as before, and counts as no submission.
    pub async fn release_claim(
        &self,
        institution: InstitutionId,
        owner: Uuid,
        deliveries: &[DeliveryId],
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        let mut sorted = deliveries.to_vec();
        sorted.sort_unstable();
        for delivery_id in sorted {
            let released: Option<Option<UserId>> = fetch_optional!(&mut *tx,
                "UPDATE deliveries SET state = CASE WHEN attempts = 0 THEN 'queued' ELSE 'deferred' END, lease_owner = NULL, lease_until = NULL
                 WHERE institution_id = $1 AND id = $2 AND state = 'sending' AND lease_owner = $3 AND data_started = 0 RETURNING user_id";
                institution, delivery_id, owner
            )?;
            let Some(writer) = released else { continue };
            execute!(&mut *tx,
                "DELETE FROM submissions WHERE delivery_id = $1
                 AND at = (SELECT started_at FROM deliveries WHERE institution_id = $2 AND id = $1)";
                delivery_id, institution
            )?;
            tx.mail_changed(institution, writer);
        }
        tx.commit().await
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
        for (delivery_id, institution, _) in &reaped {
            throttle::release_recipients(&mut tx, *institution, *delivery_id).await?;
        }
        reaped.extend(unknown);
        reaped.sort_unstable();
        for (delivery_id, institution, writer) in &reaped {
            settle_returned(&mut tx, *delivery_id, now).await?;
            tx.mail_changed(*institution, *writer);
        }
        self.commit_and_tell(tx).await?;
        Ok(reaped.len())
    }

    /// Time of the newest claim. A time in the future means that the clock was set back.
    pub async fn last_claimed_at(&self) -> Result<Timestamp> {
        fetch_one!(&self.reads, "SELECT COALESCE(MAX(served_at), 0) FROM send_queues")
    }

    /// After the clock was set back: pulls every waiting time that is now far ahead back to the present. Leases, which their owners
    /// renew, expire at `leased` at the latest.
    pub async fn set_times_back(&self, now: Timestamp, leased: Timestamp) -> Result<()> {
        let mut tx = self.begin().await?;
        // Queues first, in the order of their ids: every transaction locks in this order.
        if self.backend() == DatabaseKind::Postgres {
            let _: Vec<Uuid> = fetch_all!(&mut *tx, "SELECT id FROM send_queues ORDER BY id FOR UPDATE")?;
        }
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
             WHERE institution_id = $3 AND (user_id = $4 OR device_id IS NOT NULL)
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
             WHERE send_queue_id = $2 AND institution_id = $3 AND state IN ('queued', 'deferred') AND state = 'deferred'";
            now, queue.id, queue.institution
        )?;
        tx.mail_changed_of_queue(queue).await?;
        tx.commit().await
    }

    /// Makes the waiting deliveries of an institution due now: its registration works again.
    pub async fn resume_queues(&self, tx: &mut Tx, institution: InstitutionId, now: Timestamp) -> Result<()> {
        // Queues first, in the order of their ids: every transaction locks in this order.
        if self.backend() == DatabaseKind::Postgres {
            let _: Vec<Uuid> = fetch_all!(&mut **tx,
                "SELECT id FROM send_queues WHERE institution_id = $1 ORDER BY id FOR UPDATE";
                institution
            )?;
        }
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
