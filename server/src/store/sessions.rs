//! Sessions, form answers, failed sign-ins.

use crate::store::sql::{columns, execute, fetch_all, fetch_one, fetch_optional, select};
use app::model::{InstitutionId, SessionId, Timestamp, UserId};

use super::people::User;
use super::{Result, Store, Tx};

/// Microsoft accounts remembered per person.
const MOST_SUBJECTS: usize = 20;
/// Longest window of failure counts, except the daily ones.
const SHORT_WINDOW_MS: i64 = 15 * 60 * 1000;

/// How long reported incidents are remembered, in milliseconds: 400 days.
const ALERT_MS: i64 = 400 * 24 * 60 * 60 * 1000;

#[derive(Debug, Clone)]
pub struct SessionRow {
    pub id: SessionId,
    pub created_at: Timestamp,
    pub seen_at: Timestamp,
    pub user: User,
    /// Mail is hidden until the Microsoft account signs in.
    pub mail_locked: bool,
}

columns!(SessionRow: id = "s.id", created_at = "s.created_at", seen_at, user = "u.id, address, name, role, CAST(NULL AS TEXT), CAST(0 AS BIGINT), disabled_at, last_sign_in_at",
    mail_locked = "CAST(CASE WHEN mail_lock IS NULL THEN 0 ELSE 1 END AS BIGINT)");

impl Store {
    pub async fn add_session(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        user_id: UserId,
        session: SessionId,
        token_sha256: &str,
        now: Timestamp,
    ) -> Result<()> {
        execute!(&mut **tx,
            "INSERT INTO sessions (id, institution_id, user_id, token_sha256, created_at, seen_at)
             VALUES ($1, $2, $3, $4, $5, $5)";
            session, institution, user_id, token_sha256, now
        )
    }

    pub async fn session(&self, institution: InstitutionId, token_sha256: &str) -> Result<Option<SessionRow>> {
        fetch_optional!(&self.reads,
            select::<SessionRow>("FROM sessions s JOIN users u ON u.id = s.user_id AND u.institution_id = s.institution_id
             WHERE s.institution_id = $1 AND s.token_sha256 = $2");
            institution, token_sha256
        )
    }

    pub async fn session_by_id(&self, institution: InstitutionId, session_id: SessionId) -> Result<Option<SessionRow>> {
        fetch_optional!(&self.reads,
            select::<SessionRow>("FROM sessions s JOIN users u ON u.id = s.user_id AND u.institution_id = s.institution_id
             WHERE s.institution_id = $1 AND s.id = $2");
            institution, session_id
        )
    }

    /// The role of a session's user, locked within the acting transaction. `None`: the session ended.
    pub async fn role_of_session(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        session_id: SessionId,
        user: UserId,
    ) -> Result<Option<app::model::Role>> {
        let lock = if self.backend() == super::DatabaseKind::Postgres { " FOR SHARE OF s, u" } else { "" };
        let statement = format!(
            "SELECT u.role FROM sessions s JOIN users u ON u.id = s.user_id AND u.institution_id = s.institution_id
             WHERE s.institution_id = $1 AND s.id = $2 AND u.id = $3 AND u.disabled_at IS NULL{lock}"
        );
        fetch_optional!(&mut **tx, sqlx::AssertSqlSafe(statement); institution, session_id, user)
    }

    /// Hides a person's mail until the Microsoft account of one of their mailboxes signs in. `false`: they never had a mailbox.
    pub async fn lock_mail(&self, tx: &mut Tx, institution: InstitutionId, user_id: UserId) -> Result<bool> {
        let mut subjects: Vec<String> = fetch_all!(&mut **tx,
            "SELECT subject FROM mailboxes WHERE institution_id = $1 AND user_id = $2 ORDER BY id";
            institution, user_id
        )?;
        // Mailboxes disconnected before count too.
        subjects.extend(self.subjects(tx, institution, user_id).await?);
        subjects.retain(|subject| !subject.is_empty());
        subjects.sort();
        subjects.dedup();
        if subjects.is_empty() {
            return Ok(false);
        }
        // An existing lock may name accounts without a mailbox: it stays.
        execute!(&mut **tx,
            "UPDATE users SET mail_lock = COALESCE(mail_lock, $3) WHERE institution_id = $1 AND id = $2";
            institution, user_id, subjects.join("\n")
        )?;
        Ok(true)
    }

    /// Microsoft accounts that signed in to a person's mailboxes.
    async fn subjects(&self, tx: &mut Tx, institution: InstitutionId, user_id: UserId) -> Result<Vec<String>> {
        let all: Option<String> = fetch_optional!(&mut **tx,
            "SELECT subjects FROM users WHERE institution_id = $1 AND id = $2";
            institution, user_id
        )?;
        Ok(all.unwrap_or_default().lines().map(ToOwned::to_owned).collect())
    }

    /// Remembers a Microsoft account that signed in to a person's mailbox.
    pub(super) async fn remember_subject(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        user_id: UserId,
        subject: &str,
    ) -> Result<()> {
        let mut all = self.subjects(tx, institution, user_id).await?;
        all.retain(|known| known != subject);
        all.insert(0, subject.to_owned());
        all.truncate(MOST_SUBJECTS);
        execute!(&mut **tx,
            "UPDATE users SET subjects = $1 WHERE institution_id = $2 AND id = $3";
            all.join("\n"), institution, user_id
        )
    }

    /// Whether the password hash is still current and the account neither disabled nor ended at Microsoft, within the transaction that opens the session.
    pub async fn password_holds(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        user_id: UserId,
        hash: &str,
    ) -> Result<bool> {
        let lock = if self.backend() == super::DatabaseKind::Postgres { " FOR NO KEY UPDATE" } else { "" };
        let statement = format!(
            "SELECT 1 FROM users WHERE institution_id = $1 AND id = $2 AND password_hash = $3 AND disabled_at IS NULL
             AND left_at IS NULL{lock}"
        );
        let row: Option<i64> = fetch_optional!(&mut **tx, sqlx::AssertSqlSafe(statement); institution, user_id, hash)?;
        Ok(row.is_some())
    }

    pub async fn is_mail_locked(&self, tx: &mut Tx, institution: InstitutionId, user_id: UserId) -> Result<bool> {
        let lock: Option<Option<String>> = fetch_optional!(&mut **tx,
            "SELECT mail_lock FROM users WHERE institution_id = $1 AND id = $2";
            institution, user_id
        )?;
        Ok(lock.flatten().is_some())
    }

    /// Unlocks a person's mail if the Microsoft account is one that the lock names.
    pub async fn unlock_mail(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        user_id: UserId,
        subject: &str,
    ) -> Result<bool> {
        let lock: Option<Option<String>> = fetch_optional!(&mut **tx,
            "SELECT mail_lock FROM users WHERE institution_id = $1 AND id = $2";
            institution, user_id
        )?;
        if !lock.flatten().is_some_and(|lock| !subject.is_empty() && lock.lines().any(|known| known == subject)) {
            return Ok(false);
        }
        execute!(&mut **tx,
            "UPDATE users SET mail_lock = NULL WHERE institution_id = $1 AND id = $2";
            institution, user_id
        )?;
        Ok(true)
    }

    /// Failures of a subject in a window that began after a time.
    pub async fn sign_in_failures(&self, subject: &str, since: Timestamp) -> Result<i64> {
        let failures: Option<i64> = fetch_optional!(&self.reads,
            "SELECT failures FROM sign_in_failures WHERE subject = $1 AND window_started_at >= $2";
            subject, since
        )?;
        Ok(failures.unwrap_or_default())
    }

    pub async fn sessions_of(&self, institution: InstitutionId, user_id: UserId) -> Result<Vec<SessionId>> {
        fetch_all!(&self.reads,
            "SELECT id FROM sessions WHERE institution_id = $1 AND user_id = $2 ORDER BY created_at";
            institution, user_id
        )
    }

    /// Whether a session is valid, without counting as a use.
    pub async fn session_lives(
        &self,
        institution: InstitutionId,
        session: SessionId,
        created_after: Timestamp,
        seen_after: Timestamp,
    ) -> Result<bool> {
        let row: Option<i64> = fetch_optional!(&self.reads,
            "SELECT 1 FROM sessions s JOIN users u ON u.id = s.user_id
             WHERE s.institution_id = $1 AND s.id = $2 AND s.created_at > $3 AND s.seen_at > $4 AND u.disabled_at IS NULL";
            institution, session, created_after, seen_after
        )?;
        Ok(row.is_some())
    }

    pub async fn touch_session(&self, institution: InstitutionId, session: SessionId, now: Timestamp) -> Result<()> {
        execute!(&self.writes,
            "UPDATE sessions SET seen_at = $1 WHERE institution_id = $2 AND id = $3";
            now, institution, session
        )
    }

    pub async fn end_session(&self, tx: &mut Tx, institution: InstitutionId, session: SessionId) -> Result<()> {
        execute!(&mut **tx, "DELETE FROM sessions WHERE institution_id = $1 AND id = $2"; institution, session)
    }

    pub async fn end_sessions_of(&self, tx: &mut Tx, institution: InstitutionId, user_id: UserId) -> Result<()> {
        execute!(&mut **tx, "DELETE FROM sessions WHERE institution_id = $1 AND user_id = $2"; institution, user_id)
    }

    /// Deletes expired sessions, flashes, failure counts and invitations.
    pub async fn sweep(
        &self,
        now: Timestamp,
        session_created_before: Timestamp,
        session_seen_before: Timestamp,
        failures_before: Timestamp,
    ) -> Result<()> {
        execute!(&self.writes,
            "DELETE FROM sessions WHERE created_at < $1 OR seen_at < $2";
            session_created_before, session_seen_before
        )?;
        execute!(&self.writes, "DELETE FROM flashes WHERE expires_at < $1"; now)?;
        // Most windows are short, which bounds this table.
        execute!(&self.writes,
            "DELETE FROM sign_in_failures WHERE window_started_at < $1
                OR window_started_at < $2 AND subject NOT LIKE 'day:%' AND subject NOT LIKE 'links:%' AND subject NOT LIKE 'audit:%'";
            failures_before, now.plus_ms(-SHORT_WINDOW_MS)
        )?;
        execute!(&self.writes, "DELETE FROM invitations WHERE expires_at < $1"; now)?;
        execute!(&self.writes, "DELETE FROM alerts WHERE created_at < $1"; now.0 - ALERT_MS)
    }

    pub async fn put_flash(
        &self,
        institution: InstitutionId,
        user_id: Option<UserId>,
        token_sha256: &str,
        body: &str,
        expires_at: Timestamp,
    ) -> Result<()> {
        execute!(&self.writes,
            "INSERT INTO flashes (token_sha256, institution_id, user_id, body, expires_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (token_sha256) DO UPDATE SET body = $4, expires_at = $5";
            token_sha256, institution, user_id, body, expires_at
        )?;
        if let Some(user_id) = user_id {
            // Unread flashes: a person has a few tabs.
            execute!(&self.writes,
                "DELETE FROM flashes WHERE institution_id = $1 AND user_id = $2 AND token_sha256 NOT IN (
                   SELECT token_sha256 FROM flashes
                    WHERE institution_id = $1 AND user_id = $2 ORDER BY expires_at DESC LIMIT 20)";
                institution, user_id
            )?;
        }
        Ok(())
    }

    /// Takes a flash: shown once, to its user only.
    pub async fn take_flash(
        &self,
        institution: InstitutionId,
        user_id: Option<UserId>,
        token_sha256: &str,
        now: Timestamp,
    ) -> Result<Option<String>> {
        let taken: Option<(String, Option<UserId>, Timestamp)> = fetch_optional!(&self.writes,
            "DELETE FROM flashes WHERE token_sha256 = $1 AND institution_id = $2 RETURNING body, user_id, expires_at";
            token_sha256, institution
        )?;
        // Stored before signing in, or by the same user.
        let fits = |owner: Option<UserId>| owner.is_none() || owner == user_id;
        Ok(taken.filter(|(_, owner, expires_at)| fits(*owner) && *expires_at >= now).map(|(body, ..)| body))
    }

    /// Counts a sign-in attempt of a subject. Counting before checking closes the race of concurrent attempts.
    pub async fn count_sign_in(
        &self,
        subject: &str,
        now: Timestamp,
        window_before: Timestamp,
    ) -> Result<(i64, Timestamp)> {
        self.count_within(subject, 1, now, window_before).await
    }

    /// Counts events of a subject. Returns the count of the current window, these included, and its start. A window older than
    /// `window_before` restarts.
    pub async fn count_within(
        &self,
        subject: &str,
        more: i64,
        now: Timestamp,
        window_before: Timestamp,
    ) -> Result<(i64, Timestamp)> {
        fetch_one!(&self.writes,
            "INSERT INTO sign_in_failures (subject, window_started_at, failures) VALUES ($1, $2, $4)
             ON CONFLICT (subject) DO UPDATE SET
               failures = CASE WHEN sign_in_failures.window_started_at < $3 THEN $4 ELSE sign_in_failures.failures + $4 END,
               window_started_at = CASE WHEN sign_in_failures.window_started_at < $3 THEN $2 ELSE sign_in_failures.window_started_at END
             RETURNING failures, window_started_at";
            subject, now, window_before, more
        )
    }

    pub async fn uncount_sign_in(&self, subject: &str) -> Result<()> {
        execute!(&self.writes,
            "UPDATE sign_in_failures SET failures = failures - 1 WHERE subject = $1 AND failures > 0";
            subject
        )
    }

    /// Clears the failures of a subject after a success.
    pub async fn clear_sign_in(&self, subject: &str) -> Result<()> {
        execute!(&self.writes, "DELETE FROM sign_in_failures WHERE subject = $1"; subject)
    }
}
