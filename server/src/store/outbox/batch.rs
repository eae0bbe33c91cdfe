//! Writes of the outbox that are committed together: a commit waits for the disk, so what is ready at the same time shares one.
//!
//! Each write keeps its own outcome: a stale lease fails only its own item. On PostgreSQL a batch locks queues, then senders,
//! each in the order of ids, then the deliveries that it claims, which wait and belong to a locked queue, then those that are being sent,
//! in the order of ids.

use std::collections::HashMap;

use crate::config::Throttle;
use crate::mail::RecipientReply;
use crate::store::sql::{Columns, columns, execute, execute_rows, fetch_all, fetch_rows, filled_up, read_all};
use crate::store::{DatabaseKind, Result, Tx};
use app::model::{DeliveryId, DeliveryState, InstitutionId, MailCounts, RecipientState, Timestamp, UserId};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::throttle::{self, Permit, Sender, Submission};
use super::{Record, SendQueue, settle_returned};

/// Pause before checking the daily limit again for a postponed delivery, in milliseconds.
const FULL_MS: i64 = 10 * 60 * 1000;
/// How long smaller deliveries may overtake it: six hours.
const PATIENT_MS: i64 = 6 * 60 * 60 * 1000;
/// Size of the messages of one claim; a larger one is claimed alone. They are in memory until they are sent.
const CLAIM_BYTES: i64 = 4 * 1024 * 1024;

/// A request for the oldest due deliveries of a queue, to be sent through one connection. Both leases last until their renewal stops.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    pub queue: SendQueue,
    /// Id of the claim; each claim has its own.
    pub owner: Uuid,
    pub connection: Uuid,
    pub until: Timestamp,
    pub limits: Throttle,
    pub now: Timestamp,
    /// Deliveries, at most.
    pub most: i64,
}

/// DATA begins: whatever happens to this process, the refused recipients do not get the message from this session.
#[derive(Debug, Clone)]
pub struct DataStart {
    pub institution: InstitutionId,
    pub delivery: DeliveryId,
    pub owner: Uuid,
    /// Recipients refused before DATA.
    pub refused: Vec<RecipientReply>,
    /// Recipients have replies of an attempt before, which no longer count.
    pub again: bool,
}

/// The outcome of an attempt. A delivery that bounced meanwhile is recorded as bounced.
#[derive(Debug, Clone)]
pub struct OutcomeRecord {
    pub institution: InstitutionId,
    pub delivery: DeliveryId,
    pub owner: Uuid,
    pub record: Record,
    /// Recipients that were pending when it was claimed.
    pub pending: usize,
    pub now: Timestamp,
}

/// A reply about a recipient of a delivery.
struct Reply<'a> {
    delivery: DeliveryId,
    reply: &'a RecipientReply,
}

/// A delivery that its claim still holds.
struct Held {
    owner: Uuid,
    delivery: DeliveryId,
    institution: InstitutionId,
    writer: Option<UserId>,
    data_started: bool,
    bounced: bool,
}
columns!(Held: owner = "lease_owner", delivery = "id", institution = "institution_id", writer = "user_id", data_started,
    bounced = "CASE WHEN bounce_fault IS NULL THEN 0 ELSE 1 END");

/// Claims for several queues. Returns a claim for each request.
pub(in crate::store) async fn claim(tx: &mut Tx, requests: &[ClaimRequest]) -> Result<Vec<ClaimedIds>> {
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|at| requests[*at].queue.id);
    let mut names: HashMap<usize, String> = HashMap::new();
    for at in &order {
        let ClaimRequest { queue, now, .. } = &requests[*at];
        if let Some(name) = throttle::lock_queue(tx, queue, *now).await? {
            names.insert(*at, name);
        }
    }
    let mut senders: HashMap<String, Sender> = HashMap::new();
    let mut sorted: Vec<(&String, Timestamp)> = names.iter().map(|(at, name)| (name, requests[*at].now)).collect();
    sorted.sort_unstable();
    for (name, now) in sorted {
        if !senders.contains_key(name) {
            senders.insert(name.clone(), throttle::lock_sender(tx, name.clone(), now).await?);
        }
    }
    let mut claims: Vec<ClaimedIds> = requests.iter().map(|_| ClaimedIds::Nothing).collect();
    for at in order {
        if let Some(sender) = names.get(&at).and_then(|name| senders.get_mut(name)) {
            claims[at] = claim_one(tx, &requests[at], sender).await?;
        }
    }
    Ok(claims)
}

/// A claim before what it claimed is read, which no other write waits for.
#[derive(Debug)]
pub(in crate::store) enum ClaimedIds {
    /// Oldest first, and whom the mail server counts.
    Deliveries(Vec<DeliveryId>, String),
    Nothing,
    NoConnection(String),
    Throttled(Timestamp),
    Postponed,
}

impl ClaimedIds {
    pub(in crate::store) fn changes_nothing(&self) -> bool {
        matches!(self, Self::Nothing | Self::NoConnection(_) | Self::Throttled(_))
    }
}

/// A delivery that may be claimed.
struct Due {
    id: DeliveryId,
    institution: InstitutionId,
    writer: Option<UserId>,
    created_at: Timestamp,
    bytes: i64,
    recipients: i64,
}
columns!(Due: id, institution = "institution_id", writer = "user_id", created_at, bytes = "CAST(OCTET_LENGTH(body_sealed) AS BIGINT)",
    recipients = "(SELECT COUNT(*) FROM recipients r WHERE r.delivery_id = deliveries.id AND r.state = 'pending')");

/// The plus keeps the planner to the index that has the order.
pub(super) fn due() -> String {
    format!(
        "SELECT {} FROM deliveries WHERE send_queue_id = $1 AND state IN ('queued', 'deferred') AND +next_attempt_at <= $2
         ORDER BY priority, created_at, id LIMIT $3",
        Due::COLUMNS
    )
}

async fn claim_one(tx: &mut Tx, request: &ClaimRequest, sender: &mut Sender) -> Result<ClaimedIds> {
    let ClaimRequest { queue, owner, connection, until, limits, now, most } = request;
    let (now, limits) = (*now, *limits);
    let mut due: Vec<Due> = fetch_all!(&mut **tx, AssertSqlSafe(due()); queue.id, now, most)?;
    let mut bytes = 0;
    let together = due.iter().take_while(|due| {
        let first = bytes == 0;
        bytes += due.bytes.max(1);
        first || bytes <= CLAIM_BYTES
    });
    let together = together.count();
    due.truncate(together);
    let Some(oldest) = due.first() else { return Ok(ClaimedIds::Nothing) };
    let recipients: Vec<i64> = due.iter().map(|due| due.recipients).collect();
    let take = match throttle::permit(tx, sender, *connection, &recipients, limits, now).await? {
        Permit::Take(take) => take,
        Permit::Later(later) => return Ok(ClaimedIds::Throttled(later)),
        Permit::NoConnection => return Ok(ClaimedIds::NoConnection(sender.name.clone())),
        // It was overtaken for long enough: the others wait now until there is room for it.
        Permit::Full if now.since_ms(oldest.created_at) > PATIENT_MS => {
            return Ok(ClaimedIds::Throttled(now.plus_ms(FULL_MS)));
        }
        Permit::Full => {
            postpone(tx, oldest.id, limits, now).await?;
            tx.mail_changed(oldest.institution, oldest.writer);
            return Ok(ClaimedIds::Postponed);
        }
    };
    due.truncate(take);
    let claimed = {
        let ids: Vec<DeliveryId> = due.iter().map(|due| due.id).collect();
        let statement = format!(
            // Its age counts from the first attempt, however long it waited before. The CASE keeps the planner to the primary key.
            "UPDATE deliveries SET state = 'sending', lease_owner = $1, lease_until = $2, data_started = 0, started_at = $3,
               answer = CASE WHEN attempts = 0 THEN '' ELSE answer END,
               aging_since = CASE WHEN attempts = 0 THEN $3 ELSE aging_since END
             WHERE id IN ({}) AND CASE WHEN state IN ('queued', 'deferred') THEN 1 ELSE 0 END = 1 RETURNING id",
            (4..4 + ids.len().next_power_of_two()).map(|at| format!("${at}")).collect::<Vec<_>>().join(", ")
        );
        let query = sqlx::query(AssertSqlSafe(statement)).bind(owner.to_string()).bind(until.0).bind(now.0);
        let query = filled_up(&ids).fold(query, |query, id| query.bind(id.to_string()));
        read_all::<DeliveryId>(query.fetch_all(&mut **tx).await)?
    };
    // Some were cancelled a moment ago.
    due.retain(|due| claimed.contains(&due.id));
    if due.is_empty() {
        return Ok(ClaimedIds::Nothing);
    }
    let submissions: Vec<Submission> =
        due.iter().map(|due| Submission { delivery: due.id, recipients: due.recipients }).collect();
    throttle::record_submissions(tx, sender, &submissions, *connection, *until, now).await?;
    for due in &due {
        tx.mail_changed(due.institution, due.writer);
    }
    Ok(ClaimedIds::Deliveries(due.into_iter().map(|due| due.id).collect(), sender.name.clone()))
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

/// Being sent. The CASE keeps the planner to the primary key.
const BY_ID: &str = "CASE WHEN state = 'sending' THEN 1 ELSE 0 END = 1";

/// Deliveries of claims, locked until the transaction ends, as far as their claims still hold them.
pub(in crate::store) struct HeldDeliveries(HashMap<DeliveryId, Held>);

impl HeldDeliveries {
    pub(in crate::store) async fn lock(
        tx: &mut Tx,
        backend: DatabaseKind,
        starts: &[DataStart],
        outcomes: &[OutcomeRecord],
    ) -> Result<Self> {
        let starts = starts.iter().map(|start| start.delivery);
        let ids: Vec<DeliveryId> = starts.chain(outcomes.iter().map(|outcome| outcome.delivery)).collect();
        let lock = match backend {
            DatabaseKind::Sqlite => "",
            DatabaseKind::Postgres => "ORDER BY id FOR UPDATE",
        };
        let held: Vec<Held> = fetch_rows!(&mut **tx,
            format!("SELECT {} FROM deliveries WHERE id IN (VALUES {{}}) AND {BY_ID} {lock}", Held::COLUMNS);
            ids.as_slice(), |id| id
        )?;
        Ok(Self(held.into_iter().map(|held| (held.delivery, held)).collect()))
    }

    fn of(&self, institution: InstitutionId, delivery: DeliveryId, owner: Uuid) -> Option<&Held> {
        self.0.get(&delivery).filter(|held| held.owner == owner && held.institution == institution)
    }
}

/// Records that DATA begins. `false`: the lease is lost.
pub(in crate::store) async fn start_data(
    tx: &mut Tx,
    held: &HeldDeliveries,
    starts: &[DataStart],
) -> Result<Vec<bool>> {
    let is_held = |start: &DataStart| held.of(start.institution, start.delivery, start.owner).is_some();
    let mine: Vec<&DataStart> = starts.iter().filter(|start| is_held(start)).collect();
    execute_rows!(&mut **tx,
        "UPDATE deliveries SET data_started = 1 WHERE id IN (VALUES {})";
        mine.as_slice(), |start| start.delivery
    )?;
    let again: Vec<&DataStart> = mine.iter().copied().filter(|start| start.again).collect();
    execute_rows!(&mut **tx,
        "UPDATE recipients SET answer = '' WHERE delivery_id IN (VALUES {}) AND state = 'pending' AND answer <> ''";
        again.as_slice(), |start| start.delivery
    )?;
    put_recipients(tx, mine.iter().map(|start| (start.delivery, start.refused.as_slice()))).await?;
    Ok(starts.iter().map(is_held).collect())
}

/// Records outcomes of attempts. `false`: the lease was lost, and nothing changed.
pub(in crate::store) async fn record(
    tx: &mut Tx,
    held: &HeldDeliveries,
    outcomes: &[OutcomeRecord],
) -> Result<Vec<bool>> {
    let is_held = |outcome: &OutcomeRecord| held.of(outcome.institution, outcome.delivery, outcome.owner).is_some();
    let mine: Vec<&OutcomeRecord> = outcomes.iter().filter(|outcome| is_held(outcome)).collect();
    put_recipients(tx, mine.iter().map(|outcome| (outcome.delivery, outcome.record.recipients.as_slice()))).await?;
    // Who is still pending when a message is sent does not get it.
    let unanswered: Vec<&OutcomeRecord> = mine.iter().copied().filter(|outcome| outcome.leaves_pending()).collect();
    execute_rows!(&mut **tx,
        "UPDATE recipients SET state = 'refused', answer = CASE WHEN recipients.answer = '' THEN new.column2 ELSE recipients.answer END
         FROM (VALUES {}) AS new WHERE recipients.delivery_id = new.column1 AND recipients.state = 'pending'";
        unanswered.as_slice(), |outcome| outcome.delivery, outcome.record.answer
    )?;
    execute_rows!(&mut **tx,
        // The text is kept only for those who did not get it.
        "UPDATE deliveries SET state = new.column2, next_attempt_at = new.column3, answer = new.column4, fault = new.column5,
           attempts = attempts + new.column6, finished_at = new.column7, lease_owner = NULL, lease_until = NULL,
           aging_since = CASE WHEN new.column8 = 1 THEN new.column9 ELSE aging_since END,
           body_sealed = CASE WHEN new.column2 = 'sent' AND (user_id IS NULL OR NOT EXISTS (
               SELECT 1 FROM recipients WHERE delivery_id = deliveries.id AND state = 'refused')) THEN '' ELSE body_sealed END
         FROM (VALUES {}) AS new WHERE deliveries.id = new.column1";
        mine.as_slice(), |outcome| outcome.delivery, outcome.record.state, outcome.record.next_attempt_at,
        outcome.record.answer, outcome.record.fault, outcome.record.counts, outcome.finished_at(), outcome.held(),
        outcome.now
    )?;
    for outcome in &mine {
        let Some(row) = held.of(outcome.institution, outcome.delivery, outcome.owner) else { continue };
        if !row.data_started {
            throttle::release_recipients(tx, row.institution, row.delivery).await?;
        }
        tx.count_mail(row.institution, outcome.now, outcome.counts());
        if row.bounced {
            settle_returned(tx, row.delivery, outcome.now).await?;
        }
        tx.mail_changed(row.institution, row.writer);
    }
    Ok(outcomes.iter().map(is_held).collect())
}

impl OutcomeRecord {
    fn finished_at(&self) -> Option<i64> {
        self.record.state.is_final().then_some(self.now.0)
    }

    fn counts(&self) -> MailCounts {
        let accepted = |reply: &&RecipientReply| reply.state == RecipientState::Accepted;
        let recipients = i64::try_from(self.record.recipients.iter().filter(accepted).count()).unwrap_or(i64::MAX);
        match self.record.state {
            DeliveryState::Sent => MailCounts { sent: 1, recipients, ..MailCounts::default() },
            DeliveryState::Deferred => MailCounts { deferred: 1, ..MailCounts::default() },
            DeliveryState::Failed => MailCounts { failed: 1, ..MailCounts::default() },
            _ => MailCounts::default(),
        }
    }

    /// It could not be sent until now.
    fn held(&self) -> bool {
        self.record.state == DeliveryState::Queued && !self.record.counts
    }

    fn leaves_pending(&self) -> bool {
        self.record.state == DeliveryState::Sent && self.record.recipients.len() < self.pending
    }
}

/// Replies about recipients of deliveries that are still pending.
async fn put_recipients<'a>(
    tx: &mut Tx,
    deliveries: impl Iterator<Item = (DeliveryId, &'a [RecipientReply])>,
) -> Result<()> {
    let replies: Vec<Reply<'_>> =
        deliveries.flat_map(|(delivery, replies)| replies.iter().map(move |reply| Reply { delivery, reply })).collect();
    execute_rows!(&mut **tx,
        "UPDATE recipients SET state = new.column3, answer = new.column4 FROM (VALUES {}) AS new
         WHERE recipients.delivery_id = new.column1 AND recipients.address = new.column2 AND recipients.state = 'pending'";
        replies.as_slice(), |row| row.delivery, row.reply.address, row.reply.state, row.reply.answer
    )
}
