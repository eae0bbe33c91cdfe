//! Connected mailboxes.

use crate::diagnosis::Fault;
use crate::store::sql::{
    changed, columns, execute, fetch_all, fetch_one, fetch_optional, fetch_rows, returning, select,
};
use app::model::{AttemptKind, InstitutionId, MailboxId, MailboxState, SendWay, Timestamp, UserId};
use std::collections::{HashMap, HashSet};

use super::{AppKey, Result, Store, Tx};

/// A mailbox, with the institution that every query names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailboxKey {
    pub institution: InstitutionId,
    pub id: MailboxId,
}

/// A mailbox with its sealed grant.
#[derive(Debug, Clone)]
pub struct Mailbox {
    pub id: MailboxId,
    pub institution: InstitutionId,
    pub user: UserId,
    /// Personal, or the institution's for notifications.
    pub kind: AttemptKind,
    pub address: String,
    /// Sign-in name (`user=`).
    pub sign_in_name: String,
    pub app: AppKey,
    pub state: MailboxState,
    pub refresh_token_sealed: String,
    /// Number of rotations: a writer that read an older one must not overwrite.
    pub grant_version: i64,
    /// The last refusal of the token endpoint and when to ask again: JSON of `access_tokens`.
    pub refresh_refusal: Option<String>,
    pub problem: Option<Fault>,
    /// Why the last sync failed.
    pub sync_problem: Option<Fault>,
    pub trash_folder: Option<String>,
    /// Further addresses that the owner entered, in lower case.
    pub aliases: Vec<String>,
    pub next_test_at: Option<Timestamp>,
    pub connected_at: Option<Timestamp>,
    pub sends_by: SendWay,
}

#[derive(Debug, Clone)]
pub struct NewMailbox {
    /// Id for a new mailbox; an existing one keeps its id.
    pub id: MailboxId,
    pub user: UserId,
    pub kind: AttemptKind,
    pub address: String,
    /// Sign-in name (`user=`).
    pub sign_in_name: String,
    /// The Microsoft account: `oid@tid`.
    pub subject: String,
    pub app: AppKey,
    pub refresh_token_sealed: String,
    /// Next automatic test, in case the current run never ends.
    pub next_test_at: Timestamp,
}

columns!(Mailbox: id, institution = "institution_id", user = "user_id", kind = "purpose", address, sign_in_name,
    app = "client_id, tenant_id, cloud", state, refresh_token_sealed, grant_version, refresh_refusal, problem, sync_problem, trash_folder, aliases, next_test_at,
    connected_at, sends_by);

/// A mailbox whose owner is told that it does not work.
#[derive(Debug, Clone)]
pub struct ToTell {
    pub id: MailboxId,
    pub grant_version: i64,
    pub address: String,
    pub problem: Fault,
    /// Address of the owner's account.
    pub owner: String,
}

columns!(ToTell: id = "m.id", grant_version, address = "m.address", problem, owner = "u.address");

impl Mailbox {
    pub fn key(&self) -> MailboxKey {
        MailboxKey { institution: self.institution, id: self.id }
    }
}

impl Store {
    pub async fn mailbox(&self, mailbox: MailboxKey) -> Result<Option<Mailbox>> {
        fetch_optional!(&self.reads,
            select::<Mailbox>("FROM mailboxes WHERE institution_id = $1 AND id = $2");
            mailbox.institution, mailbox.id
        )
    }

    /// Those of the mailboxes that may keep a session with the mail server: connected, and of a person who is not disabled.
    pub async fn sending_mailboxes(&self, mailboxes: &[MailboxKey]) -> Result<HashSet<MailboxId>> {
        let found: Vec<MailboxId> = fetch_rows!(&self.reads,
            "SELECT m.id FROM mailboxes m JOIN users u ON u.id = m.user_id
             WHERE (m.id, m.institution_id) IN (VALUES {}) AND m.state = 'connected' AND u.disabled_at IS NULL";
            mailboxes, |mailbox| mailbox.id, mailbox.institution
        )?;
        Ok(found.into_iter().collect())
    }

    pub async fn mailboxes(&self, institution: InstitutionId) -> Result<Vec<Mailbox>> {
        fetch_all!(&self.reads, select::<Mailbox>("FROM mailboxes WHERE institution_id = $1 ORDER BY address_key"); institution)
    }

    pub async fn mailboxes_of(&self, institution: InstitutionId, user_id: UserId) -> Result<Vec<Mailbox>> {
        fetch_all!(&self.reads,
            select::<Mailbox>("FROM mailboxes
             WHERE institution_id = $1 AND user_id = $2 AND purpose = 'personal' ORDER BY address_key");
            institution, user_id
        )
    }

    pub async fn mailbox_by_address(
        &self,
        institution: InstitutionId,
        kind: AttemptKind,
        address: &str,
    ) -> Result<Option<Mailbox>> {
        fetch_optional!(&self.reads,
            select::<Mailbox>("FROM mailboxes WHERE institution_id = $1 AND purpose = $2 AND address_key = $3");
            institution, kind, address.to_lowercase()
        )
    }

    /// Stores a grant in a new mailbox, or in the same person's existing one. `None`: address or account belong to another person.
    /// The mailbox starts as `blocked`; the checks decide.
    pub async fn put_mailbox(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        new: &NewMailbox,
        now: Timestamp,
    ) -> Result<Option<MailboxId>> {
        // An address belongs to one person, and so does its Microsoft account, which may have several addresses.
        let theirs: Option<i64> = fetch_optional!(&mut **tx,
            "SELECT 1 FROM mailboxes WHERE institution_id = $1 AND subject = $2 AND user_id <> $3 AND purpose = 'personal'";
            institution, new.subject, new.user
        )?;
        if new.kind == AttemptKind::Personal && theirs.is_some() {
            return Ok(None);
        }
        let stored: Option<MailboxId> = fetch_optional!(&mut **tx,
            "INSERT INTO mailboxes (id, institution_id, user_id, purpose, address, address_key, sign_in_name, subject, client_id,
               tenant_id, state, refresh_token_sealed, grant_version, next_test_at, updated_at, refreshed_at,
               cloud, sends_by)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'blocked', $11, 1, $13, $12, $12, $14,
               CASE WHEN EXISTS (SELECT 1 FROM email_settings WHERE institution_id = $2 AND graph = 'always')
                THEN 'graph' ELSE 'smtp' END)
             ON CONFLICT (institution_id, address_key, purpose) DO UPDATE SET address = $5, sign_in_name = $7, subject = $8,
               client_id = $9, tenant_id = $10, cloud = $14, user_id = $3, state = 'blocked', problem = NULL, sync_problem = NULL, next_test_at = $13, updated_at = $12,
               refreshed_at = $12
             WHERE mailboxes.user_id = $3 OR mailboxes.purpose = 'notifications' RETURNING id";
            new.id, institution, new.user, new.kind, new.address, new.address.to_lowercase(), new.sign_in_name,
            new.subject, new.app.client_id, new.app.tenant_id, new.refresh_token_sealed, now, new.next_test_at,
            new.app.cloud
        )?;
        if let Some(stored) = stored {
            // Possibly another account than before: its mail must not be seen.
            super::inbox::clear(tx, MailboxKey { institution, id: stored }).await?;
            tx.mail_changed(institution, new.user);
            if new.kind == AttemptKind::Personal {
                self.remember_subject(tx, institution, new.user, &new.subject).await?;
            }
        }
        Ok(stored)
    }

    /// Stores a rotated refresh token, unless another writer stored one first.
    pub async fn rotate_grant(
        &self,
        tx: &mut Tx,
        mailbox: MailboxKey,
        sealed: &str,
        version: i64,
        now: Timestamp,
    ) -> Result<bool> {
        let rows = changed!(&mut **tx,
            "UPDATE mailboxes SET refresh_token_sealed = $1, grant_version = grant_version + 1, refreshed_at = $5, refresh_refusal = NULL
             WHERE institution_id = $2 AND id = $3 AND grant_version = $4";
            sealed, mailbox.institution, mailbox.id, version, now
        )?;
        Ok(rows == 1)
    }

    /// Replaces the grant of a new mailbox, whose sealing place is known only after it was stored.
    pub async fn replace_grant(&self, tx: &mut Tx, mailbox: MailboxKey, sealed: &str) -> Result<()> {
        execute!(&mut **tx,
            "UPDATE mailboxes SET refresh_token_sealed = $1, grant_version = grant_version + 1, refresh_refusal = NULL
             WHERE institution_id = $2 AND id = $3";
            sealed, mailbox.institution, mailbox.id
        )
    }

    pub async fn set_mailbox_state(
        &self,
        mailbox: MailboxKey,
        state: MailboxState,
        problem: Option<&Fault>,
        next_test_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<()> {
        let connected_at = (state == MailboxState::Connected).then_some(now.0);
        let mut tx = self.begin().await?;
        execute!(&mut *tx,
            "UPDATE mailboxes SET state = $1, problem = $2, next_test_at = $3, connected_at = COALESCE($4, connected_at), updated_at = $5,
               problem_since = CASE WHEN problem_cause = $8 THEN problem_since ELSE $5 END, problem_cause = $8
             WHERE institution_id = $6 AND id = $7";
            state, problem, next_test_at, connected_at, now, mailbox.institution, mailbox.id,
            problem.map(|problem| problem.cause.as_str())
        )?;
        tx.mail_changed_of_mailbox(mailbox).await?;
        tx.commit().await
    }

    /// Ends every connection of an institution: deletes the grants; people must sign in again.
    pub async fn end_connections(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        problem: &Fault,
        now: Timestamp,
    ) -> Result<()> {
        execute!(&mut **tx,
            "UPDATE mailboxes SET state = 'needs_reconnect', refresh_token_sealed = '', problem = $1, next_test_at = NULL, updated_at = $2,
               grant_version = grant_version + 1, problem_cause = $4, problem_since = $2
             WHERE institution_id = $3";
            problem, now, institution, problem.cause
        )?;
        tx.mail_changed_of_institution(institution).await
    }

    /// Schedules tests of the mailboxes that lacked consent: their grants may work again.
    pub async fn test_consented_now(&self, tx: &mut Tx, institution: InstitutionId, now: Timestamp) -> Result<()> {
        execute!(&mut **tx,
            "UPDATE mailboxes SET state = 'blocked', next_test_at = $1, updated_at = $1, refresh_refusal = NULL
             WHERE institution_id = $2 AND state = 'needs_reconnect' AND problem_cause = 'consent_missing'
             AND refresh_token_sealed <> ''";
            now, institution
        )?;
        tx.mail_changed_of_institution(institution).await
    }

    /// How a mailbox sends from now on, unless its institution has decided otherwise meanwhile.
    pub async fn set_sends_by(&self, mailbox: MailboxKey, way: SendWay) -> Result<()> {
        execute!(&self.writes,
            "UPDATE mailboxes SET sends_by = $1 WHERE institution_id = $2 AND id = $3
             AND COALESCE((SELECT graph FROM email_settings WHERE institution_id = $2), 'off') IN ('when_refused', $4)";
            way, mailbox.institution, mailbox.id, if way == SendWay::Graph { "always" } else { "off" }
        )
    }

    /// Schedules tests of the blocked mailboxes of an institution now.
    pub async fn test_blocked_now(&self, tx: &mut Tx, institution: InstitutionId, now: Timestamp) -> Result<()> {
        execute!(&mut **tx,
            "UPDATE mailboxes SET next_test_at = $1 WHERE institution_id = $2 AND state = 'blocked'";
            now, institution
        )
    }

    /// Schedules tests of the mailboxes that a cause blocks; returns how many.
    pub async fn test_cause_now(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        cause: &str,
        now: Timestamp,
    ) -> Result<u64> {
        changed!(&mut **tx,
            "UPDATE mailboxes SET next_test_at = $1 WHERE institution_id = $2 AND state = 'blocked' AND problem_cause = $3";
            now, institution, cause
        )
    }

    /// Schedules a test of a blocked mailbox now, because a message was sent through it.
    pub async fn test_sender_now(&self, mailbox: MailboxKey, now: Timestamp) -> Result<()> {
        execute!(&self.writes,
            "UPDATE mailboxes SET next_test_at = $1 WHERE institution_id = $2 AND id = $3 AND state = 'blocked'
             AND next_test_at > $1 AND (problem LIKE '%\"cause\":\"smtp%' OR problem LIKE '%\"cause\":\"graph%')";
            now, mailbox.institution, mailbox.id
        )
    }

    pub async fn people_connected(&self, institution: InstitutionId) -> Result<i64> {
        fetch_one!(&self.reads,
            "SELECT COUNT(DISTINCT user_id) FROM mailboxes WHERE institution_id = $1 AND state <> 'needs_reconnect'";
            institution
        )
    }

    pub async fn people_with_mailbox(&self, institution: InstitutionId) -> Result<i64> {
        fetch_one!(&self.reads, "SELECT COUNT(DISTINCT user_id) FROM mailboxes WHERE institution_id = $1"; institution)
    }

    /// Addresses that use Entrepost, connected or not, up to a limit; and how many there are.
    pub async fn addresses_here(&self, institution: InstitutionId, limit: i64) -> Result<(Vec<String>, i64)> {
        macro_rules! here {
            () => {
                "(SELECT address FROM mailboxes WHERE institution_id = $1
                  UNION SELECT address FROM users WHERE institution_id = $1 AND disabled_at IS NULL
                   AND NOT EXISTS (SELECT 1 FROM mailboxes m WHERE m.user_id = users.id AND m.institution_id = $1)) AS here"
            };
        }
        let count = fetch_one!(&self.reads, concat!("SELECT COUNT(*) FROM ", here!()); institution)?;
        let some = fetch_all!(&self.reads,
            concat!("SELECT address FROM ", here!(), " ORDER BY address LIMIT $2"); institution, limit
        )?;
        Ok((some, count))
    }

    /// The institution's own mailbox for notifications.
    pub async fn notification_mailbox(&self, institution: InstitutionId) -> Result<Option<Mailbox>> {
        fetch_optional!(&self.reads,
            select::<Mailbox>("FROM mailboxes WHERE institution_id = $1 AND purpose = 'notifications' ORDER BY address_key LIMIT 1");
            institution
        )
    }

    /// Connected mailboxes of people, by address, up to a limit.
    pub async fn connected_mailboxes(
        &self,
        institution: InstitutionId,
        limit: i64,
    ) -> Result<Vec<(MailboxId, String)>> {
        fetch_all!(&self.reads,
            "SELECT id, address FROM mailboxes WHERE institution_id = $1 AND purpose = 'personal' AND state = 'connected'
             ORDER BY address_key LIMIT $2";
            institution, limit
        )
    }

    /// What keeps mailboxes from working: cause, how many, since when. The most first.
    pub async fn problem_causes(
        &self,
        institution: InstitutionId,
        limit: i64,
    ) -> Result<Vec<(String, i64, Timestamp)>> {
        fetch_all!(&self.reads,
            "SELECT problem_cause, COUNT(*), MIN(COALESCE(problem_since, updated_at)) FROM mailboxes
             WHERE institution_id = $1 AND purpose = 'personal' AND state <> 'connected' AND problem_cause IS NOT NULL
             GROUP BY problem_cause ORDER BY COUNT(*) DESC, problem_cause LIMIT $2";
            institution, limit
        )
    }

    /// Mailboxes whose owners must sign in again, or whose mail has not worked since a time; without those whose owners were told.
    pub async fn owners_to_tell(&self, institution: InstitutionId, blocked_before: Timestamp) -> Result<Vec<ToTell>> {
        fetch_all!(&self.reads,
            select::<ToTell>("FROM mailboxes m JOIN users u ON u.id = m.user_id AND u.disabled_at IS NULL
             WHERE m.institution_id = $1 AND m.purpose = 'personal' AND m.problem IS NOT NULL
              AND m.problem_cause NOT IN ('registration_changed', 'provider_changed')
              AND (m.state = 'needs_reconnect' OR m.state = 'blocked' AND m.problem_since <= $2)
              AND NOT EXISTS (SELECT 1 FROM alerts a WHERE a.institution_id = m.institution_id
               AND a.incident = 'owner ' || m.id || ' ' || m.grant_version || ' ' || m.problem_cause)
             ORDER BY m.id LIMIT 500");
            institution, blocked_before
        )
    }

    /// The addresses that each cause stops, up to a limit for each, and one of their faults.
    pub async fn mailboxes_by_cause(
        &self,
        institution: InstitutionId,
        limit: i64,
    ) -> Result<HashMap<String, (Fault, Vec<String>)>> {
        let found: Vec<(String, String, Option<Fault>)> = fetch_all!(&self.reads,
            "SELECT problem_cause, address, CASE WHEN number = 1 THEN problem END FROM (
               SELECT problem_cause, address, problem, ROW_NUMBER() OVER (PARTITION BY problem_cause ORDER BY address) AS number
               FROM mailboxes WHERE institution_id = $1 AND purpose = 'personal' AND state <> 'connected' AND problem_cause IS NOT NULL
                AND problem IS NOT NULL
             ) AS numbered WHERE number <= $2 ORDER BY problem_cause, number";
            institution, limit
        )?;
        let mut causes: HashMap<String, (Fault, Vec<String>)> = HashMap::new();
        for (cause, address, fault) in found {
            match fault {
                Some(fault) => {
                    causes.insert(cause, (fault, vec![address]));
                }
                None => {
                    if let Some((_, addresses)) = causes.get_mut(&cause) {
                        addresses.push(address);
                    }
                }
            }
        }
        Ok(causes)
    }

    pub async fn set_aliases(&self, mailbox: MailboxKey, aliases: &[String], now: Timestamp) -> Result<()> {
        let mut tx = self.begin().await?;
        execute!(&mut *tx,
            "UPDATE mailboxes SET aliases = $1, updated_at = $2 WHERE institution_id = $3 AND id = $4";
            aliases.join("\n"), now, mailbox.institution, mailbox.id
        )?;
        tx.mail_changed_of_mailbox(mailbox).await?;
        tx.commit().await
    }

    pub async fn drop_mailbox(&self, tx: &mut Tx, mailbox: MailboxKey) -> Result<bool> {
        execute!(&mut **tx,
            "UPDATE email_settings SET notification_mailbox_id = NULL, notification_problem = NULL
             WHERE institution_id = $1 AND notification_mailbox_id = $2";
            mailbox.institution, mailbox.id
        )?;
        super::inbox::clear(tx, mailbox).await?;
        tx.mail_changed_of_mailbox(mailbox).await?;
        let rows = changed!(&mut **tx,
            "DELETE FROM mailboxes WHERE institution_id = $1 AND id = $2";
            mailbox.institution, mailbox.id
        )?;
        Ok(rows == 1)
    }

    /// Deletes the mailboxes of a person and returns their ids. `shared`: also the institution's, for notifications, that they
    /// connected.
    pub async fn drop_mailboxes_of(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        user_id: UserId,
        shared: bool,
    ) -> Result<Vec<MailboxId>> {
        let theirs: Vec<MailboxId> = fetch_all!(&mut **tx,
            "SELECT id FROM mailboxes WHERE institution_id = $1 AND user_id = $2 AND ($3 = 1 OR purpose = 'personal')";
            institution, user_id, shared
        )?;
        for mailbox in &theirs {
            self.drop_mailbox(tx, MailboxKey { institution, id: *mailbox }).await?;
        }
        Ok(theirs)
    }

    /// Claims blocked mailboxes that are due for a test; each goes to one replica.
    pub async fn claim_due_tests(&self, now: Timestamp, next: Timestamp, limit: i64) -> Result<Vec<Mailbox>> {
        fetch_all!(&self.writes,
            returning::<Mailbox>(
                "UPDATE mailboxes SET next_test_at = $1 WHERE id IN (SELECT id FROM mailboxes
                 WHERE (state = 'blocked' OR problem_cause = 'consent_missing') AND next_test_at <= $2
             ORDER BY next_test_at LIMIT $3) AND next_test_at <= $2"
            );
            next, now, limit
        )
    }

    /// Claims mailboxes whose grant was last renewed before a time, and sets the renewal to `note`; each goes to one replica. A failed
    /// renewal is due again soon.
    pub async fn claim_due_renewals(&self, before: Timestamp, note: Timestamp, limit: i64) -> Result<Vec<Mailbox>> {
        fetch_all!(&self.writes,
            returning::<Mailbox>(
                "UPDATE mailboxes SET refreshed_at = $1 WHERE id IN (SELECT id FROM mailboxes WHERE state <> 'needs_reconnect'
             AND refreshed_at < $2 ORDER BY refreshed_at LIMIT $3) AND refreshed_at < $2"
            );
            note, before, limit
        )
    }

    /// Incidents already reported to the administrators of an institution.
    pub async fn told_alerts(&self, institution: InstitutionId) -> Result<Vec<String>> {
        fetch_all!(&self.reads, "SELECT incident FROM alerts WHERE institution_id = $1"; institution)
    }

    /// Records a reported incident. `false`: it was reported before.
    pub async fn note_alert(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        incident: &str,
        now: Timestamp,
    ) -> Result<bool> {
        let rows = changed!(&mut **tx,
            "INSERT INTO alerts (institution_id, incident, created_at)
             VALUES ($1, $2, $3) ON CONFLICT (institution_id, incident) DO NOTHING";
            institution, incident, now
        )?;
        Ok(rows == 1)
    }
}

/// Names the causes of problems that were stored before they had a column.
pub(super) async fn name_causes(writes: &sqlx::AnyPool) -> Result<()> {
    let unnamed: Vec<(MailboxId, Fault)> =
        fetch_all!(writes, "SELECT id, problem FROM mailboxes WHERE problem IS NOT NULL AND problem_cause IS NULL")?;
    for (id, problem) in unnamed {
        execute!(writes,
            "UPDATE mailboxes SET problem_cause = $1, problem_since = updated_at WHERE id = $2";
            problem.cause, id
        )?;
    }
    Ok(())
}
