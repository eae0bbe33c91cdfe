//! The audit log: rows are added, and deleted when they are old; none is changed.

use std::fmt::Write;

use app::model::{AuditAction, AuditGroup, AuditQuery, InstitutionId, Timestamp, UserId};

use super::sql::{Columns, changed, columns, execute, fetch_all, fetch_one, fetch_optional, select};
use super::{Result, Store, Tx};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    pub number: i64,
    pub at: Timestamp,
    pub actor_id: Option<UserId>,
    pub actor: String,
    pub origin: String,
    pub action: AuditAction,
    pub subject: String,
    /// A JSON list of names and values.
    pub details: String,
    pub hash: String,
}

columns!(AuditEntry: number, at, actor_id, actor, origin, action, subject, details, hash);

/// The first and the last entry, by number.
#[derive(Debug, Clone, Copy)]
pub struct AuditBounds {
    pub first: i64,
    pub last: i64,
}

impl Store {
    /// The sealed ends of a log; empty for a new one. Locks the log until the transaction ends.
    pub async fn lock_audit(&self, tx: &mut Tx, institution: InstitutionId) -> Result<String> {
        fetch_one!(&mut **tx,
            "INSERT INTO audit_ends (id, sealed) VALUES ($1, '')
             ON CONFLICT (id) DO UPDATE SET sealed = audit_ends.sealed RETURNING sealed";
            institution
        )
    }

    pub async fn put_audit_ends(&self, tx: &mut Tx, institution: InstitutionId, sealed: &str) -> Result<()> {
        execute!(&mut **tx, "UPDATE audit_ends SET sealed = $1 WHERE id = $2"; sealed, institution)
    }

    pub async fn add_audit_entry(&self, tx: &mut Tx, institution: InstitutionId, entry: &AuditEntry) -> Result<()> {
        execute!(&mut **tx,
            "INSERT INTO audit_entries (institution_id, number, at, actor_id, actor, origin, action, subject, details, hash)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
            institution, entry.number, entry.at, entry.actor_id, entry.actor, entry.origin, entry.action, entry.subject,
            entry.details, entry.hash
        )
    }

    pub async fn audit_bounds(&self, tx: &mut Tx, institution: InstitutionId) -> Result<Option<AuditBounds>> {
        let bounds: (Option<i64>, Option<i64>) = fetch_one!(&mut **tx,
            "SELECT MIN(number), MAX(number) FROM audit_entries WHERE institution_id = $1";
            institution
        )?;
        Ok(bounds.0.zip(bounds.1).map(|(first, last)| AuditBounds { first, last }))
    }

    pub async fn audit_entry(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        number: i64,
    ) -> Result<Option<AuditEntry>> {
        fetch_optional!(&mut **tx,
            select::<AuditEntry>("FROM audit_entries WHERE institution_id = $1 AND number = $2");
            institution, number
        )
    }

    /// Entries of a query, newest first.
    pub async fn audit_entries(
        &self,
        institution: InstitutionId,
        query: &AuditQuery,
        limit: i64,
    ) -> Result<Vec<AuditEntry>> {
        let (from, to) = query.times();
        let mut text = format!(
            "SELECT {} FROM audit_entries WHERE institution_id = $1 AND number < $2 AND at >= $3 AND at < $4",
            AuditEntry::COLUMNS
        );
        let person = query.person.to_lowercase();
        if !person.is_empty() {
            // Without LIKE, whose signs an address may contain.
            text += if self.backend() == super::DatabaseKind::Sqlite {
                " AND (INSTR(LOWER(actor), $6) > 0 OR INSTR(LOWER(subject), $6) > 0)"
            } else {
                " AND (STRPOS(LOWER(actor), $6) > 0 OR STRPOS(LOWER(subject), $6) > 0)"
            };
        }
        if let Some(group) = query.group {
            let names: Vec<String> =
                AuditGroup::actions(group).map(|action| format!("'{}'", action.as_str())).collect();
            let _ = write!(text, " AND action IN ({})", names.join(", "));
        }
        text += " ORDER BY number DESC LIMIT $5";
        // Its parts are constants.
        let text = sqlx::AssertSqlSafe(text);
        let before = query.before.unwrap_or(i64::MAX);
        if person.is_empty() {
            fetch_all!(&self.reads, text; institution, before, from, to, limit)
        } else {
            fetch_all!(&self.reads, text; institution, before, from, to, limit, person)
        }
    }

    /// Entries from a number on, oldest first.
    pub async fn audit_entries_from(
        &self,
        institution: InstitutionId,
        number: i64,
        limit: i64,
    ) -> Result<Vec<AuditEntry>> {
        fetch_all!(&self.reads,
            select::<AuditEntry>("FROM audit_entries WHERE institution_id = $1 AND number >= $2 ORDER BY number LIMIT $3");
            institution, number, limit
        )
    }

    /// The sealed ends of a log; `None` if it has none.
    pub async fn audit_ends(&self, institution: InstitutionId) -> Result<Option<String>> {
        let sealed: Option<String> =
            fetch_optional!(&self.reads, "SELECT sealed FROM audit_ends WHERE id = $1"; institution)?;
        Ok(sealed.filter(|sealed| !sealed.is_empty()))
    }

    /// The newest entry of those before a time that no later entry precedes.
    pub async fn last_old_audit_entry(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        before: Timestamp,
    ) -> Result<Option<i64>> {
        fetch_one!(&mut **tx,
            "SELECT MAX(number) FROM audit_entries WHERE institution_id = $1
             AND number < COALESCE((SELECT MIN(number) FROM audit_entries WHERE institution_id = $1 AND at >= $2), $3)";
            institution, before, i64::MAX
        )
    }

    pub async fn drop_audit_entries(&self, tx: &mut Tx, institution: InstitutionId, up_to: i64) -> Result<u64> {
        changed!(&mut **tx,
            "DELETE FROM audit_entries WHERE institution_id = $1 AND number <= $2";
            institution, up_to
        )
    }

    pub async fn institutions_without_log(&self) -> Result<Vec<InstitutionId>> {
        fetch_all!(
            &self.reads,
            "SELECT id FROM institutions WHERE NOT EXISTS (SELECT 1 FROM audit_ends WHERE audit_ends.id = institutions.id AND sealed <> '')"
        )
    }

    /// Institutions with entries before a time.
    pub async fn institutions_with_audit_before(&self, before: Timestamp) -> Result<Vec<InstitutionId>> {
        fetch_all!(&self.reads,
            "SELECT id FROM institutions WHERE EXISTS (
               SELECT 1 FROM audit_entries WHERE institution_id = institutions.id AND at < $1)";
            before
        )
    }
}
