//! Marks and records of a group in one statement of PostgreSQL: one round trip instead of seven.
//!
//! It takes what happens to nearly every message: DATA begins with no recipient refused, and the message is accepted for all that are
//! left. Whatever else a row turns out to be (another claim's, bounced meanwhile, not begun) it leaves alone.

use std::collections::HashSet;

use app::model::{DeliveryId, DeliveryState, RecipientState, UserId};
use serde_json::json;
use sqlx::AnyPool;

use super::{DataStart, OutcomeRecord};
use crate::store::Result;
use crate::store::mail_hours::HOUR_MS;
use crate::store::sql::fetch_all;

/// Parameters are JSON: the text, and with it the plan, is the same for every number of rows.
///
/// Locks are taken in the order of every other transaction: deliveries by id, recipients, counts of hours, versions. PostgreSQL would run
/// parts that nothing reads in the opposite order, so each waits for the count of the one before.
const STATEMENT: &str = "
    WITH starting AS (SELECT * FROM json_to_recordset(CAST($1 AS json)) AS s (id text, owner text, institution text)),
     ending AS (
       SELECT * FROM json_to_recordset(CAST($2 AS json))
         AS e (id text, owner text, institution text, answer text, next_attempt_at bigint, now bigint, hour bigint)),
     replies AS (SELECT * FROM json_to_recordset(CAST($3 AS json)) AS r (id text, address text, answer text)),
     held AS (
       SELECT id, lease_owner, institution_id, data_started FROM deliveries
        WHERE id = ANY (ARRAY(SELECT id FROM starting UNION ALL SELECT id FROM ending))
          AND CASE WHEN state = 'sending' AND bounce_fault IS NULL THEN 1 ELSE 0 END = 1
        ORDER BY id FOR UPDATE),
     started AS (
       UPDATE deliveries SET data_started = 1
         FROM starting JOIN held ON held.id = starting.id AND held.lease_owner = starting.owner
           AND held.institution_id = starting.institution
        WHERE deliveries.id = held.id RETURNING deliveries.id),
     mine AS (
       SELECT ending.* FROM ending JOIN held ON held.id = ending.id AND held.lease_owner = ending.owner
           AND held.institution_id = ending.institution AND held.data_started = 1),
     answered AS (
       UPDATE recipients SET state = 'accepted', answer = replies.answer FROM replies JOIN mine ON mine.id = replies.id
        WHERE recipients.delivery_id = mine.id AND recipients.address = replies.address AND recipients.state = 'pending'
        RETURNING 1),
     ended AS (
       UPDATE deliveries SET state = 'sent', next_attempt_at = mine.next_attempt_at, answer = mine.answer, fault = NULL,
         attempts = attempts + 1, finished_at = mine.now, lease_owner = NULL, lease_until = NULL,
         body_sealed = CASE WHEN deliveries.user_id IS NULL OR NOT EXISTS (
           SELECT 1 FROM recipients WHERE delivery_id = deliveries.id AND state = 'refused') THEN '' ELSE body_sealed END
         FROM mine WHERE deliveries.id = mine.id
         RETURNING deliveries.id, deliveries.user_id, deliveries.institution_id, mine.hour),
     counted AS (
       INSERT INTO mail_hours (institution_id, hour, sent, recipients, deferred, failed, bounced)
       SELECT ended.institution_id, ended.hour, COUNT(*), SUM((SELECT COUNT(*) FROM replies WHERE replies.id = ended.id)), 0, 0, 0
         FROM ended WHERE (SELECT COUNT(*) FROM answered) >= 0
        GROUP BY ended.institution_id, ended.hour ORDER BY ended.institution_id, ended.hour
       ON CONFLICT (institution_id, hour) DO UPDATE SET sent = mail_hours.sent + excluded.sent,
         recipients = mail_hours.recipients + excluded.recipients RETURNING 1),
     versions AS (
       INSERT INTO mail_versions (user_id, institution_id, version)
       SELECT DISTINCT user_id, institution_id, 1 FROM ended
        WHERE user_id IS NOT NULL AND (SELECT COUNT(*) FROM counted) >= 0 ORDER BY user_id
       ON CONFLICT (user_id) DO UPDATE SET version = mail_versions.version + 1 RETURNING 1)
    SELECT id, CAST(NULL AS text) FROM started
    UNION ALL SELECT id, user_id FROM ended WHERE (SELECT COUNT(*) FROM versions) >= 0";

/// What it did: the deliveries, and the users whose mail changed.
#[derive(Debug, Default)]
pub(in crate::store) struct Settled {
    pub(in crate::store) deliveries: HashSet<DeliveryId>,
    pub(in crate::store) users: Vec<UserId>,
}

/// Whether it takes all of these.
pub(in crate::store) fn is_taken(starts: &[DataStart], outcomes: &[OutcomeRecord]) -> bool {
    let start = |start: &DataStart| start.refused.is_empty() && !start.again;
    let outcome = |OutcomeRecord { record, pending, .. }: &OutcomeRecord| {
        let is_accepted = |reply: &crate::mail::RecipientReply| reply.state == RecipientState::Accepted;
        record.state == DeliveryState::Sent
            && record.counts
            && record.fault.is_none()
            && record.recipients.len() >= *pending
            && record.recipients.iter().all(is_accepted)
    };
    starts.iter().all(start) && outcomes.iter().all(outcome)
}

/// Commits marks and records, each delivery once.
pub(in crate::store) async fn commit(
    pool: &AnyPool,
    starts: &[DataStart],
    outcomes: &[OutcomeRecord],
) -> Result<Settled> {
    let list = |values: Vec<serde_json::Value>| serde_json::Value::Array(values).to_string();
    let starting = starts.iter().map(|start| {
        json!({ "id": start.delivery.to_string(), "owner": start.owner.to_string(), "institution": start.institution.to_string() })
    });
    let ending = outcomes.iter().map(|OutcomeRecord { institution, delivery, owner, record, now, .. }| {
        json!({
            "id": delivery.to_string(), "owner": owner.to_string(), "institution": institution.to_string(),
            "answer": record.answer, "next_attempt_at": record.next_attempt_at.0, "now": now.0,
            "hour": now.0.div_euclid(HOUR_MS),
        })
    });
    let replies = outcomes.iter().flat_map(|outcome| {
        let id = outcome.delivery.to_string();
        outcome
            .record
            .recipients
            .iter()
            .map(move |reply| json!({ "id": id, "address": reply.address, "answer": reply.answer }))
    });
    let rows: Vec<(DeliveryId, Option<UserId>)> = fetch_all!(pool, STATEMENT;
        list(starting.collect()), list(ending.collect()), list(replies.collect())
    )?;
    let mut settled = Settled::default();
    for (delivery, user) in rows {
        settled.deliveries.insert(delivery);
        settled.users.extend(user);
    }
    settled.users.sort_unstable();
    settled.users.dedup();
    Ok(settled)
}
