//! Lists of people to invite.

use std::collections::HashSet;

use app::model::{InstitutionId, InvitationListId, ListedPerson, ListedState, Role, Timestamp, UserId};

use super::sql::{changed, columns, execute, fetch_all, fetch_optional, fetch_rows, insert_rows, select};
use super::{Result, Store, Tx};

#[derive(Debug, Clone)]
pub struct InvitationListRow {
    pub id: InvitationListId,
    pub institution: InstitutionId,
    pub user: UserId,
    pub confirmed_at: Option<Timestamp>,
    /// When its links were downloaded first.
    pub links_at: Option<Timestamp>,
}

/// A line that is to be invited.
#[derive(Debug, Clone)]
pub struct ToInvite {
    pub position: i64,
    pub name: String,
    pub address: String,
    pub role: Role,
}

columns!(InvitationListRow: id, institution = "institution_id", user = "user_id", confirmed_at, links_at);
columns!(ToInvite: position, name, address, role);

struct Line<'a> {
    position: i64,
    person: &'a ListedPerson,
    state: ListedState,
}

impl Store {
    /// The addresses among these that have an account, in lower case.
    pub async fn known_addresses(&self, institution: InstitutionId, addresses: &[String]) -> Result<HashSet<String>> {
        let found: Vec<String> = fetch_rows!(&self.reads,
            "SELECT address_key FROM users WHERE (address_key, institution_id) IN (VALUES {})";
            addresses, |address| address.to_lowercase(), institution
        )?;
        Ok(found.into_iter().collect())
    }

    /// Stores a list that waits for confirmation, in place of the person's earlier unconfirmed ones.
    pub async fn add_invitation_list(
        &self,
        tx: &mut Tx,
        list: &InvitationListRow,
        people: &[ListedPerson],
        now: Timestamp,
    ) -> Result<()> {
        for delete in [
            "DELETE FROM invitation_list_rows WHERE list_id IN (SELECT id FROM invitation_lists
             WHERE institution_id = $1 AND user_id = $2 AND confirmed_at IS NULL)",
            "DELETE FROM invitation_lists WHERE institution_id = $1 AND user_id = $2 AND confirmed_at IS NULL",
        ] {
            execute!(&mut **tx, delete; list.institution, list.user)?;
        }
        execute!(&mut **tx,
            "INSERT INTO invitation_lists (id, institution_id, user_id, created_at) VALUES ($1, $2, $3, $4)";
            list.id, list.institution, list.user, now
        )?;
        let lines: Vec<Line<'_>> =
            (0..).zip(people).map(|(position, person)| Line { position, person, state: person.state }).collect();
        insert_rows!(&mut **tx,
            "INSERT INTO invitation_list_rows (list_id, position, line, name, address, role, state) VALUES {}";
            &lines, |line| list.id, line.position, line.person.line, line.person.name, line.person.address, line.person.role, line.state
        )
    }

    pub async fn invitation_list(
        &self,
        institution: InstitutionId,
        id: InvitationListId,
    ) -> Result<Option<InvitationListRow>> {
        fetch_optional!(&self.reads,
            select::<InvitationListRow>("FROM invitation_lists WHERE institution_id = $1 AND id = $2");
            institution, id
        )
    }

    /// How many lines are in each state.
    pub async fn count_listed(&self, id: InvitationListId) -> Result<Vec<(ListedState, i64)>> {
        fetch_all!(&self.reads,
            "SELECT state, COUNT(*) FROM invitation_list_rows WHERE list_id = $1 GROUP BY state";
            id
        )
    }

    /// Notes a download of a list's links. `true`: the first.
    pub async fn note_links(&self, tx: &mut Tx, id: InvitationListId, now: Timestamp) -> Result<bool> {
        let noted = super::sql::changed!(&mut **tx,
            "UPDATE invitation_lists SET links_at = $2 WHERE id = $1 AND links_at IS NULL"; id, now
        )?;
        Ok(noted == 1)
    }

    /// New administrators of a list.
    pub async fn count_listed_administrators(&self, id: InvitationListId) -> Result<i64> {
        super::sql::fetch_one!(&self.reads,
            "SELECT COUNT(*) FROM invitation_list_rows WHERE list_id = $1 AND state = 'new' AND role = 'administrator'"; id
        )
    }

    /// The first lines in a state.
    pub async fn listed(&self, id: InvitationListId, state: ListedState, limit: i64) -> Result<Vec<ListedPerson>> {
        let found: Vec<(String, String, String, Role, ListedState)> = fetch_all!(&self.reads,
            "SELECT line, name, address, role, state FROM invitation_list_rows WHERE list_id = $1 AND state = $2
             ORDER BY position LIMIT $3";
            id, state, limit
        )?;
        Ok(found
            .into_iter()
            .map(|(line, name, address, role, state)| ListedPerson { line, name, address, role, state })
            .collect())
    }

    /// Confirms a list. `false`: it was confirmed before.
    pub async fn confirm_invitation_list(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        id: InvitationListId,
        now: Timestamp,
    ) -> Result<bool> {
        let rows = changed!(&mut **tx,
            "UPDATE invitation_lists SET confirmed_at = $1 WHERE institution_id = $2 AND id = $3 AND confirmed_at IS NULL";
            now, institution, id
        )?;
        Ok(rows == 1)
    }

    /// Deletes a list. `false`: it was confirmed, or is gone.
    pub async fn drop_invitation_list(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        id: InvitationListId,
    ) -> Result<bool> {
        execute!(&mut **tx,
            "DELETE FROM invitation_list_rows WHERE list_id IN (SELECT id FROM invitation_lists
             WHERE institution_id = $1 AND id = $2 AND confirmed_at IS NULL)";
            institution, id
        )?;
        let rows = changed!(&mut **tx,
            "DELETE FROM invitation_lists WHERE institution_id = $1 AND id = $2 AND confirmed_at IS NULL";
            institution, id
        )?;
        Ok(rows == 1)
    }

    /// Confirmed lists with lines to invite.
    pub async fn lists_to_invite(&self, institution: Option<InstitutionId>) -> Result<Vec<InvitationListRow>> {
        fetch_all!(&self.reads,
            select::<InvitationListRow>("FROM invitation_lists WHERE confirmed_at IS NOT NULL AND ($1 = '' OR institution_id = $1)
             AND EXISTS (SELECT 1 FROM invitation_list_rows r WHERE r.list_id = invitation_lists.id AND r.state = 'new')
             ORDER BY confirmed_at");
            institution.map(|id| id.to_string()).unwrap_or_default()
        )
    }

    /// The next lines to invite. Locks the list, so that each goes to one replica.
    pub async fn claim_listed(&self, tx: &mut Tx, id: InvitationListId, limit: i64) -> Result<Vec<ToInvite>> {
        execute!(&mut **tx, "UPDATE invitation_lists SET created_at = created_at WHERE id = $1"; id)?;
        fetch_all!(&mut **tx,
            select::<ToInvite>("FROM invitation_list_rows WHERE list_id = $1 AND state = 'new' ORDER BY position LIMIT $2");
            id, limit
        )
    }

    /// Records what became of a line.
    pub async fn settle_listed(
        &self,
        tx: &mut Tx,
        id: InvitationListId,
        position: i64,
        state: ListedState,
        user: Option<UserId>,
    ) -> Result<()> {
        execute!(&mut **tx,
            "UPDATE invitation_list_rows SET state = $1, user_id = $2 WHERE list_id = $3 AND position = $4";
            state, user, id, position
        )
    }

    /// People of a list who have not set a password, to make new links for.
    pub async fn listed_without_password(&self, id: InvitationListId) -> Result<Vec<(UserId, String, String)>> {
        fetch_all!(&self.reads,
            "SELECT u.id, u.name, u.address FROM invitation_list_rows r JOIN users u ON u.id = r.user_id
             WHERE r.list_id = $1 AND u.password_hash IS NULL AND u.microsoft_subject IS NULL AND u.disabled_at IS NULL
             ORDER BY r.position";
            id
        )
    }

    /// Invitation emails of a list: waiting, sent, failed. Counted by the newest notification to each person.
    pub async fn count_listed_mails(
        &self,
        institution: InstitutionId,
        id: InvitationListId,
    ) -> Result<(i64, i64, i64)> {
        super::sql::fetch_one!(&self.reads,
            "SELECT CAST(COALESCE(SUM(CASE WHEN d.state IN ('queued', 'deferred', 'sending') THEN 1 ELSE 0 END), 0) AS BIGINT),
               CAST(COALESCE(SUM(CASE WHEN d.state IN ('sent', 'unknown') THEN 1 ELSE 0 END), 0) AS BIGINT),
               CAST(COALESCE(SUM(CASE WHEN d.state IN ('failed', 'bounced') THEN 1 ELSE 0 END), 0) AS BIGINT)
             FROM deliveries d WHERE d.institution_id = $1 AND d.user_id IS NULL AND d.idempotency_key LIKE $2";
            institution, format!("list:{id}:%")
        )
    }

    /// Deletes lists that were not confirmed, and finished ones, after a while.
    pub async fn sweep_invitation_lists(&self, unconfirmed: Timestamp, finished: Timestamp) -> Result<()> {
        let mut tx = self.begin().await?;
        let old = "SELECT id FROM invitation_lists WHERE confirmed_at IS NULL AND created_at < $1
             OR confirmed_at < $2 AND NOT EXISTS (SELECT 1 FROM invitation_list_rows n WHERE n.list_id = invitation_lists.id AND n.state = 'new')";
        let ids: Vec<InvitationListId> = fetch_all!(&mut *tx, old; unconfirmed, finished)?;
        for id in ids {
            execute!(&mut *tx, "DELETE FROM invitation_list_rows WHERE list_id = $1"; id)?;
            execute!(&mut *tx, "DELETE FROM invitation_lists WHERE id = $1"; id)?;
        }
        tx.commit().await
    }
}
