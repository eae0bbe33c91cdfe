//! The list of people: filters, order, pages of people and counts by state.

use std::collections::HashMap;

use app::model::{InstitutionId, PeopleOrder, PeopleQuery, PersonState, Role, Timestamp, UserId};
use sqlx::AssertSqlSafe;

use super::sql::{Columns, columns, execute, fetch_all, fetch_one, fetch_rows};
use super::{Result, Store, StoreError, Tx};

/// A person as the list shows them.
#[derive(Debug, Clone)]
pub struct ListedUser {
    pub id: UserId,
    pub address: String,
    pub name: String,
    pub role: Role,
    pub has_password: bool,
    pub last_sign_in_at: Option<Timestamp>,
    /// Position in [`PersonState::ALL`].
    state: i64,
}

impl ListedUser {
    pub fn state(&self) -> Result<PersonState> {
        state_at(self.state)
    }
}

fn state_at(position: i64) -> Result<PersonState> {
    let found = usize::try_from(position).ok().and_then(|at| PersonState::ALL.get(at).copied());
    found.ok_or_else(|| StoreError::Value { kind: "PersonState", value: position.to_string() })
}

fn position(state: PersonState) -> i64 {
    PersonState::ALL.iter().position(|known| *known == state).and_then(|at| i64::try_from(at).ok()).unwrap_or(-1)
}

/// The worst state of a person's own mailboxes, as a position in [`PersonState::ALL`].
macro_rules! state {
    () => {
        "CAST(CASE WHEN users.disabled_at IS NOT NULL THEN 4 WHEN users.left_at IS NOT NULL THEN 5 ELSE COALESCE((SELECT MAX(
           CASE m.state WHEN 'needs_reconnect' THEN 3 WHEN 'blocked' THEN 2 ELSE 1 END) FROM mailboxes m
           WHERE m.user_id = users.id AND m.institution_id = users.institution_id AND m.purpose = 'personal'), 0) END AS BIGINT)"
    };
}

columns!(ListedUser: id, address, name, role, has_password, last_sign_in_at, state);

impl Store {
    /// The people of a page, and one more if there are more.
    pub async fn list_people(
        &self,
        institution: InstitutionId,
        query: &PeopleQuery,
        limit: i64,
    ) -> Result<Vec<ListedUser>> {
        let key = match query.order {
            PeopleOrder::Address => "address_key",
            PeopleOrder::Name => "name_key, address_key",
            PeopleOrder::LastSignIn => "signed_in, address_key",
        };
        let of_last = key.replace("signed_in", "COALESCE(last_sign_in_at, 0)");
        let after = match query.after {
            Some(_) => format!("AND ({key}) > (SELECT {of_last} FROM users WHERE institution_id = $1 AND id = $5)"),
            None => "AND $5 = ''".to_owned(),
        };
        let state = state!();
        let columns = ListedUser::COLUMNS;
        // All parts are constants of the store.
        let text = format!(
            "SELECT {columns} FROM (SELECT id, address, address_key, name, name_key, role, last_sign_in_at,
               COALESCE(last_sign_in_at, 0) AS signed_in,
               CAST(CASE WHEN password_hash IS NULL AND microsoft_subject IS NULL THEN 0 ELSE 1 END AS BIGINT) AS has_password, {state} AS state
               FROM users WHERE institution_id = $1
               AND ($2 = '' OR address_key LIKE $2 ESCAPE '!' OR name_key LIKE $2 ESCAPE '!')
               AND ($4 = '' OR EXISTS (SELECT 1 FROM mailboxes c WHERE c.user_id = users.id AND c.institution_id = $1
                AND c.problem_cause = $4 AND c.state <> 'connected' AND c.purpose = 'personal'))) AS listed
             WHERE ($3 < 0 OR state = $3) {after} ORDER BY {key} LIMIT $6"
        );
        let search = if query.search.is_empty() {
            String::new()
        } else {
            let escaped = query.search.to_lowercase().replace('!', "!!").replace('%', "!%").replace('_', "!_");
            format!("%{escaped}%")
        };
        fetch_all!(&self.reads, AssertSqlSafe(text);
            institution, search, query.state.map_or(-1, position), query.cause.clone().unwrap_or_default(),
            query.after.map(|id| id.to_string()).unwrap_or_default(), limit
        )
    }

    /// How many people are in each state.
    pub async fn count_people(&self, institution: InstitutionId) -> Result<Vec<(PersonState, i64)>> {
        let counted: Vec<(i64, i64)> = fetch_all!(&self.reads,
            concat!("SELECT state, COUNT(*) FROM (SELECT ", state!(), " AS state FROM users WHERE institution_id = $1) AS people
             GROUP BY state");
            institution
        )?;
        counted.into_iter().map(|(state, count)| Ok((state_at(state)?, count))).collect()
    }

    /// Addresses of the people who were added from a time on, and before another.
    pub async fn people_added(
        &self,
        institution: InstitutionId,
        from: Timestamp,
        before: Timestamp,
        limit: i64,
    ) -> Result<Vec<String>> {
        fetch_all!(&self.reads,
            "SELECT address FROM users WHERE institution_id = $1 AND created_at >= $2 AND created_at < $3 AND disabled_at IS NULL
             ORDER BY address_key LIMIT $4";
            institution, from, before, limit
        )
    }

    /// Pending links of some people.
    pub async fn invitations_of(
        &self,
        institution: InstitutionId,
        people: &[UserId],
        now: Timestamp,
    ) -> Result<HashMap<UserId, Timestamp>> {
        let found: Vec<(UserId, Timestamp)> = fetch_rows!(&self.reads,
            "SELECT user_id, expires_at FROM invitations WHERE (user_id, institution_id) IN (VALUES {})";
            people, |person| person, institution
        )?;
        Ok(found.into_iter().filter(|(_, until)| *until >= now).collect())
    }

    /// Problems of the mailboxes of some people that do not work.
    pub async fn problems_of(
        &self,
        institution: InstitutionId,
        people: &[UserId],
    ) -> Result<HashMap<UserId, crate::diagnosis::Fault>> {
        let found: Vec<(UserId, crate::diagnosis::Fault)> = fetch_rows!(&self.reads,
            "SELECT user_id, problem FROM mailboxes WHERE (user_id, institution_id) IN (VALUES {})
             AND state <> 'connected' AND problem IS NOT NULL AND purpose = 'personal'";
            people, |person| person, institution
        )?;
        Ok(found.into_iter().collect())
    }

    /// People whose mailbox is not connected, and who were not reminded since a time.
    pub async fn people_to_remind(
        &self,
        institution: InstitutionId,
        since: Timestamp,
        limit: i64,
    ) -> Result<Vec<UserId>> {
        fetch_all!(&self.reads,
            concat!("SELECT id FROM (SELECT id, reminded_at, ", state!(), " AS state FROM users WHERE institution_id = $1) AS people
             WHERE state IN (0, 3) AND (reminded_at IS NULL OR reminded_at <= $2) ORDER BY id LIMIT $3");
            institution, since, limit
        )
    }

    pub async fn count_to_remind(&self, institution: InstitutionId, since: Timestamp) -> Result<i64> {
        fetch_one!(&self.reads,
            concat!("SELECT COUNT(*) FROM (SELECT reminded_at, ", state!(), " AS state FROM users WHERE institution_id = $1) AS people
             WHERE state IN (0, 3) AND (reminded_at IS NULL OR reminded_at <= $2)");
            institution, since
        )
    }

    /// The state of a person, as a transaction sees it.
    pub async fn person_state(&self, tx: &mut Tx, institution: InstitutionId, user: UserId) -> Result<PersonState> {
        let state: i64 = fetch_one!(&mut **tx,
            concat!("SELECT ", state!(), " FROM users WHERE institution_id = $1 AND id = $2");
            institution, user
        )?;
        state_at(state)
    }

    /// Notes that a person is reminded. `false`: that happened since the given time.
    pub async fn note_reminder(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        user: UserId,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<bool> {
        let noted = super::sql::changed!(&mut **tx,
            "UPDATE users SET reminded_at = $1 WHERE institution_id = $2 AND id = $3 AND (reminded_at IS NULL OR reminded_at <= $4)";
            now, institution, user, since
        )?;
        Ok(noted == 1)
    }

    /// Notes the day of a sign-in.
    pub async fn note_sign_in(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        user: UserId,
        now: Timestamp,
    ) -> Result<()> {
        const DAY_MS: i64 = 24 * 60 * 60 * 1000;
        execute!(&mut **tx,
            "UPDATE users SET last_sign_in_at = $1, left_at = NULL,
               stayed_at = CASE WHEN left_at IS NOT NULL THEN $4 ELSE stayed_at END WHERE institution_id = $2 AND id = $3";
            now.0 - now.0.rem_euclid(DAY_MS), institution, user, now
        )
    }
}
