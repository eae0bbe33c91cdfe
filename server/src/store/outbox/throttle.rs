//! Throttling of senders. A sender is what the mail server counts: one mailbox, over all send queues that use it (the person's, and
//! the institution's notifications) and over all replicas.

use crate::config::Throttle;
use crate::store::sql::{changed, execute, fetch_all, fetch_one, fetch_optional, insert_rows};
use app::model::{DeliveryId, InstitutionId, Timestamp};
use uuid::Uuid;

use super::SendQueue;
use crate::store::{Result, Store, Tx};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// How far ahead of the current claim a counted submission may lie, in milliseconds: another connection or replica read its clock
/// later and got the lock first. Submissions further ahead stem from before a clock was set back, and do not count.
const AHEAD_MS: i64 = 60_000;

/// A sender, and upper bounds of what it submitted. Counting costs time in proportion to the limits, so submissions are counted only
/// when a bound reaches its limit; a bound that is not reached proves that the count is not.
pub(super) struct Sender {
    pub(super) name: String,
    minute_bound: i64,
    day_bound: i64,
    /// Until when the claiming connection is counted already.
    connection_until: Option<Timestamp>,
}

/// Locks a queue until the transaction ends, unless it pauses. Returns the name of its sender.
pub(super) async fn lock_queue(tx: &mut Tx, queue: &SendQueue, now: Timestamp) -> Result<Option<String>> {
    fetch_optional!(&mut **tx,
        "UPDATE send_queues SET served_at = $1 WHERE id = $2 AND institution_id = $3 AND paused_until <= $1
         RETURNING COALESCE(
           (SELECT LOWER(m.tenant_id || ' ' || m.sign_in_name) FROM mailboxes m
             WHERE m.institution_id = send_queues.institution_id AND m.id = send_queues.mailbox_id),
           (SELECT LOWER(m.tenant_id || ' ' || m.sign_in_name)
             FROM mailboxes m JOIN email_settings s ON s.notification_mailbox_id = m.id
             WHERE s.institution_id = send_queues.institution_id AND send_queues.mailbox_id IS NULL
               AND s.custom_from = 1 AND m.state <> 'needs_reconnect'),
           send_queues.id)";
        now, queue.id, queue.institution
    )
}

/// Locks a sender's row until the transaction ends, so that replicas count together.
pub(super) async fn lock_sender(tx: &mut Tx, name: String, now: Timestamp) -> Result<Sender> {
    let (minute_bound, day_bound): (i64, i64) = fetch_one!(&mut **tx,
        "INSERT INTO senders (id, counted_at) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET counted_at = $2
         RETURNING minute_bound, day_bound";
        name, now
    )?;
    Ok(Sender { name, minute_bound, day_bound, connection_until: None })
}

pub(super) enum Permit {
    /// The first deliveries, as many as this.
    Take(usize),
    Later(Timestamp),
    NoConnection,
    /// The first delivery exceeds the daily limit; a smaller one may fit.
    Full,
}

/// How many deliveries a sender may submit now, through its own connection. `recipients`: of each delivery in order.
pub(super) async fn permit(
    tx: &mut Tx,
    sender: &mut Sender,
    connection: Uuid,
    recipients: &[i64],
    throttle: Throttle,
    now: Timestamp,
) -> Result<Permit> {
    let (open, own): (i64, Option<Timestamp>) = fetch_one!(&mut **tx,
        "SELECT COUNT(*) - COUNT(CASE WHEN id = $3 THEN 1 END), MAX(CASE WHEN id = $3 THEN until END)
         FROM smtp_connections WHERE sender = $1 AND until >= $2";
        sender.name, now, connection
    )?;
    sender.connection_until = own;
    if open >= throttle.connections {
        return Ok(Permit::NoConnection);
    }
    let wanted = i64::try_from(recipients.len()).unwrap_or(i64::MAX);
    if sender.minute_bound.saturating_add(wanted) > throttle.messages_per_minute {
        let (sent, oldest): (i64, Option<i64>) = fetch_one!(&mut **tx,
            "SELECT COUNT(*), MIN(at) FROM submissions WHERE sender = $1 AND at > $2 AND at <= $3";
            sender.name, now.0 - MINUTE_MS, now.0 + AHEAD_MS
        )?;
        sender.minute_bound = sent;
        if sent >= throttle.messages_per_minute {
            return Ok(Permit::Later(Timestamp(oldest.unwrap_or(now.0) + MINUTE_MS + 1)));
        }
    }
    let room = usize::try_from(throttle.messages_per_minute - sender.minute_bound).unwrap_or_default();
    let recipients = &recipients[..recipients.len().min(room)];
    if sender.day_bound.saturating_add(recipients.iter().sum()) > throttle.recipients_per_day {
        sender.day_bound = fetch_one!(&mut **tx,
            "SELECT CAST(COALESCE(SUM(recipients), 0) AS BIGINT) FROM submissions
             WHERE sender = $1 AND at > $2 AND at <= $3 AND recipients > 0";
            sender.name, now.0 - DAY_MS, now.0 + AHEAD_MS
        )?;
    }
    let mut taken = sender.day_bound;
    let fits = recipients.iter().take_while(|recipients| {
        let full = taken > 0 && taken.saturating_add(**recipients) > throttle.recipients_per_day;
        taken = taken.saturating_add(**recipients);
        !full
    });
    Ok(match fits.count() {
        0 if !recipients.is_empty() => Permit::Full,
        fit => Permit::Take(fit),
    })
}

/// A delivery whose attempt begins, and the number of its recipients.
pub(super) struct Submission {
    pub(super) delivery: DeliveryId,
    pub(super) recipients: i64,
}

/// Counts attempts that begin now, and their connection.
pub(super) async fn record_submissions(
    tx: &mut Tx,
    sender: &mut Sender,
    submissions: &[Submission],
    connection: Uuid,
    until: Timestamp,
    now: Timestamp,
) -> Result<()> {
    // It is renewed while it lives; another row is written when little of its time is left.
    if sender.connection_until.is_none_or(|counted| until.since_ms(counted) > until.since_ms(now) / 2) {
        execute!(&mut **tx,
            "INSERT INTO smtp_connections (id, sender, until)
             VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET sender = $2, until = $3";
            connection, sender.name, until
        )?;
    }
    insert_rows!(&mut **tx,
        "INSERT INTO submissions (delivery_id, at, sender, recipients) VALUES {} ON CONFLICT DO NOTHING";
        submissions, |submission| submission.delivery, now, sender.name, submission.recipients
    )?;
    let count = i64::try_from(submissions.len()).unwrap_or(i64::MAX);
    sender.minute_bound = sender.minute_bound.saturating_add(count);
    sender.day_bound =
        submissions.iter().fold(sender.day_bound, |bound, submission| bound.saturating_add(submission.recipients));
    execute!(&mut **tx,
        "UPDATE senders SET minute_bound = $1, day_bound = $2 WHERE id = $3";
        sender.minute_bound, sender.day_bound, sender.name
    )
}

/// An attempt whose DATA never began addressed no recipients.
pub(super) async fn release_recipients(tx: &mut Tx, institution: InstitutionId, delivery_id: DeliveryId) -> Result<()> {
    execute!(&mut **tx,
        "UPDATE submissions SET recipients = 0 WHERE delivery_id = $1
         AND at = (SELECT started_at FROM deliveries WHERE institution_id = $2 AND id = $1 AND data_started = 0)";
        delivery_id, institution
    )?;
    Ok(())
}

impl Store {
    /// The mailboxes of an institution that addressed this many recipients within a day, the most first.
    pub async fn most_recipients(
        &self,
        institution: InstitutionId,
        from: i64,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<(String, i64)>> {
        // The bound spares counting what cannot be near.
        fetch_all!(&self.reads,
            "SELECT m.address, CAST(SUM(s.recipients) AS BIGINT) AS recipients
             FROM (SELECT MIN(address) AS address, LOWER(tenant_id || ' ' || sign_in_name) AS sender FROM mailboxes
                    WHERE institution_id = $1 GROUP BY 2) m
             JOIN senders b ON b.id = m.sender AND b.day_bound >= $2
             JOIN submissions s ON s.sender = m.sender AND s.at > $3
             GROUP BY m.address HAVING SUM(s.recipients) >= $2 ORDER BY 2 DESC, 1 LIMIT $4";
            institution, from, now.0 - DAY_MS, limit
        )
    }

    /// Renews the lease of an open connection. `false`: it expired, and another one may have taken its place.
    pub async fn keep_connection(&self, connection: Uuid, now: Timestamp, until: Timestamp) -> Result<bool> {
        let kept = changed!(&self.writes,
            "UPDATE smtp_connections SET until = $1 WHERE id = $2 AND until >= $3";
            until, connection, now
        )?;
        Ok(kept > 0)
    }

    pub async fn end_connection(&self, connection: Uuid) -> Result<()> {
        execute!(&self.writes, "DELETE FROM smtp_connections WHERE id = $1"; connection)
    }

    /// Deletes counts outside all windows.
    pub async fn sweep_submissions(&self, now: Timestamp) -> Result<()> {
        execute!(&self.writes, "DELETE FROM submissions WHERE at < $1"; now.0 - DAY_MS)?;
        execute!(&self.writes, "DELETE FROM smtp_connections WHERE until < $1"; now.0 - DAY_MS)?;
        execute!(&self.writes,
            "DELETE FROM senders WHERE counted_at < $1 AND NOT EXISTS (SELECT 1 FROM submissions WHERE sender = senders.id)";
            now.0 - DAY_MS
        )
    }
}
