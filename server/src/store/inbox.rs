//! The local copy of mailboxes: folders, and the newest headers of used folders. Bounded.

use crate::diagnosis::Fault;
use crate::store::sql::sql;
use std::collections::HashSet;

use app::model::{FolderRole, HeaderView, InstitutionId, MailboxId, Timestamp};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::mailboxes::claimed;
use super::{Mailbox, Result, Store, Tx, at, fault, flag, named, time};

/// Folders of one mailbox whose headers are kept.
const KEPT_FOLDERS: i64 = 12;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderRow {
    /// Name on the server (modified UTF-7).
    pub name: String,
    pub role: FolderRole,
    /// UIDVALIDITY; 0 before the first sync.
    pub uid_validity: u32,
    pub total: u32,
    pub synced_at: Option<Timestamp>,
    /// Why this folder cannot be selected.
    pub problem: Option<Fault>,
}

#[derive(Debug, Clone, Default)]
pub struct FolderChange {
    pub gone: Vec<u32>,
    /// UIDs with changed flags: seen, flagged, answered.
    pub flags: Vec<(u32, [bool; 3])>,
    pub new: Vec<HeaderView>,
}

fn number(row: &AnyRow, column: &'static str) -> Result<u32> {
    Ok(u32::try_from(row.try_get::<i64, _>(column)?).unwrap_or(u32::MAX))
}

fn folder(row: &AnyRow) -> Result<FolderRow> {
    Ok(FolderRow {
        name: row.try_get("name")?,
        role: named(row, "role", FolderRole::parse)?,
        uid_validity: number(row, "uid_validity")?,
        total: number(row, "total")?,
        synced_at: time(row, "synced_at")?,
        problem: fault(row, "problem")?,
    })
}

fn header(row: &AnyRow) -> Result<HeaderView> {
    let (name, address): (String, String) = (row.try_get("from_name")?, row.try_get("from_address")?);
    Ok(HeaderView {
        uid: number(row, "uid")?,
        from: if name.is_empty() { address.clone() } else { name },
        from_address: address,
        recipients: row.try_get("recipients")?,
        subject: row.try_get("subject")?,
        received_at: at(row, "received_at")?,
        size: row.try_get("size")?,
        seen: flag(row, "seen")?,
        flagged: flag(row, "flagged")?,
        answered: flag(row, "answered")?,
        attachments: flag(row, "attachments")?,
    })
}

const HEADER: &str =
    "SELECT uid, from_name, from_address, recipients, subject, received_at, size, seen, flagged, answered,
    attachments FROM headers WHERE institution_id = $1 AND mailbox_id = $2 AND folder = $3";

/// Flags to set or clear; `None` leaves one as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct FlagChange {
    pub seen: Option<bool>,
    pub flagged: Option<bool>,
    pub answered: Option<bool>,
}

impl Store {
    pub async fn folders(&self, institution: InstitutionId, mailbox: MailboxId) -> Result<Vec<FolderRow>> {
        let rows = sql!(
            "SELECT name, role, uid_validity, total, synced_at, problem FROM folders WHERE institution_id = $1 AND mailbox_id = $2 ORDER BY position";
            institution, mailbox
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(folder).collect()
    }

    /// Stores the list of folders; deletes the copies of removed ones.
    pub async fn put_folders(
        &self,
        institution: InstitutionId,
        mailbox: MailboxId,
        names: &[(String, FolderRole)],
    ) -> Result<()> {
        let known = self.folders(institution, mailbox).await?;
        let mut tx = self.begin().await?;
        for old in known.iter().filter(|old| !names.iter().any(|(name, _)| *name == old.name)) {
            for statement in [
                "DELETE FROM headers WHERE institution_id = $1 AND mailbox_id = $2 AND folder = $3",
                "DELETE FROM folders WHERE institution_id = $1 AND mailbox_id = $2 AND name = $3",
            ] {
                sql!(statement; institution, mailbox, old.name).execute(&mut *tx).await?;
            }
        }
        for (position, (name, role)) in names.iter().enumerate() {
            sql!(
                "INSERT INTO folders (mailbox_id, institution_id, name, position, role) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (mailbox_id, name) DO UPDATE SET position = $4, role = $5";
                mailbox, institution, name, i64::try_from(position).unwrap_or(i64::MAX), role
            )
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Kept headers of a folder, newest first.
    pub async fn headers(
        &self,
        institution: InstitutionId,
        mailbox: MailboxId,
        folder: &str,
        offset: u32,
        limit: u32,
    ) -> Result<Vec<HeaderView>> {
        let rows = sql!(
            sqlx::AssertSqlSafe(format!("{HEADER} ORDER BY uid DESC LIMIT $4 OFFSET $5"));
            institution, mailbox, folder, limit, offset
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(header).collect()
    }

    /// The kept message after these in the list, or before them at its end.
    pub async fn beside(
        &self,
        institution: InstitutionId,
        mailbox: MailboxId,
        folder: &str,
        uids: &[u32],
    ) -> Result<Option<u32>> {
        let (Some(lowest), Some(highest)) = (uids.iter().min(), uids.iter().max()) else { return Ok(None) };
        let row = sql!(
            sqlx::AssertSqlSafe(format!(
            "{HEADER} AND (uid < $4 OR uid > $5) ORDER BY CASE WHEN uid < $4 THEN 0 ELSE 1 END, CASE WHEN uid < $4 THEN -uid ELSE uid END LIMIT 1"
        ));
            institution, mailbox, folder, lowest, highest
        )
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(|row| Ok(header(row)?.uid)).transpose()
    }

    pub async fn header(
        &self,
        institution: InstitutionId,
        mailbox: MailboxId,
        folder: &str,
        uid: u32,
    ) -> Result<Option<HeaderView>> {
        let row = sql!(sqlx::AssertSqlSafe(format!("{HEADER} AND uid = $4")); institution, mailbox, folder, uid)
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(header).transpose()
    }

    /// Those of the given messages that already have these flags.
    pub async fn with_flags(
        &self,
        institution: InstitutionId,
        mailbox: MailboxId,
        folder: &str,
        uids: &[u32],
        flags: FlagChange,
    ) -> Result<HashSet<u32>> {
        let (Some(lowest), Some(highest)) = (uids.iter().min(), uids.iter().max()) else { return Ok(HashSet::new()) };
        let rows = sql!(
            "SELECT uid FROM headers WHERE institution_id = $1 AND mailbox_id = $2 AND folder = $3 AND uid BETWEEN $4 AND $5
             AND seen = COALESCE($6, seen) AND flagged = COALESCE($7, flagged)";
            institution, mailbox, folder, lowest, highest, flags.seen, flags.flagged
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| number(row, "uid")).collect()
    }

    /// Number of unread messages among the kept ones of a folder.
    pub async fn unread(&self, institution: InstitutionId, mailbox: MailboxId, folder: &str) -> Result<u32> {
        let row = sql!(
            "SELECT COUNT(*) AS unread FROM headers WHERE institution_id = $1 AND mailbox_id = $2 AND folder = $3 AND seen = 0";
            institution, mailbox, folder
        )
        .fetch_one(&self.pool)
        .await?;
        number(&row, "unread")
    }

    /// Stores the result of a sync. With another UIDVALIDITY, deletes the copy of the folder first.
    pub async fn sync_folder(
        &self,
        institution: InstitutionId,
        mailbox: MailboxId,
        seen: &FolderRow,
        change: &FolderChange,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        let key = |statement| sql!(statement; institution, mailbox, seen.name);
        sql!(
            "INSERT INTO folders (mailbox_id, institution_id, name, position, role) VALUES ($1, $2, $3, 0, $4)
             ON CONFLICT (mailbox_id, name) DO NOTHING";
            mailbox, institution, seen.name, seen.role
        )
        .execute(&mut *tx)
        .await?;
        let before =
            key("SELECT uid_validity FROM folders WHERE institution_id = $1 AND mailbox_id = $2 AND name = $3")
                .fetch_one(&mut *tx)
                .await?;
        if number(&before, "uid_validity")? != seen.uid_validity {
            key("DELETE FROM headers WHERE institution_id = $1 AND mailbox_id = $2 AND folder = $3")
                .execute(&mut *tx)
                .await?;
        }
        for uid in &change.gone {
            key("DELETE FROM headers WHERE institution_id = $1 AND mailbox_id = $2 AND folder = $3 AND uid = $4")
                .bind(i64::from(*uid))
                .execute(&mut *tx)
                .await?;
        }
        for (uid, [seen, flagged, answered]) in &change.flags {
            key("UPDATE headers SET seen = $5, flagged = $6, answered = $7
                 WHERE institution_id = $1 AND mailbox_id = $2 AND folder = $3 AND uid = $4")
            .bind(i64::from(*uid))
            .bind(i64::from(*seen))
            .bind(i64::from(*flagged))
            .bind(i64::from(*answered))
            .execute(&mut *tx)
            .await?;
        }
        for new in &change.new {
            put_header(&mut tx, institution, mailbox, &seen.name, new).await?;
        }
        key("UPDATE folders SET uid_validity = $4, total = $5, synced_at = $6, problem = $7
             WHERE institution_id = $1 AND mailbox_id = $2 AND name = $3")
        .bind(i64::from(seen.uid_validity))
        .bind(i64::from(seen.total))
        .bind(seen.synced_at.map(|at| at.0))
        .bind(seen.problem.as_ref().map(Fault::to_json))
        .execute(&mut *tx)
        .await?;
        // Bounded: deletes the headers of folders not opened for long.
        sql!(
            "DELETE FROM headers WHERE institution_id = $1 AND mailbox_id = $2 AND folder NOT IN (
               SELECT name FROM folders WHERE mailbox_id = $2 AND synced_at IS NOT NULL ORDER BY synced_at DESC LIMIT $3)";
            institution, mailbox, KEPT_FOLDERS
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Applies flags that a user changed, before the next sync.
    pub async fn note_flags(
        &self,
        institution: InstitutionId,
        mailbox: MailboxId,
        folder: &str,
        uids: &[u32],
        change: FlagChange,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        for uid in uids {
            sql!(
                "UPDATE headers SET seen = COALESCE($5, seen), flagged = COALESCE($6, flagged), answered = COALESCE($7, answered)
                 WHERE institution_id = $1 AND mailbox_id = $2 AND folder = $3 AND uid = $4";
                institution, mailbox, folder, uid, change.seen, change.flagged, change.answered
            )
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    pub async fn set_sync_problem(
        &self,
        institution: InstitutionId,
        mailbox: MailboxId,
        problem: Option<&Fault>,
        now: Timestamp,
    ) -> Result<()> {
        sql!(
            "UPDATE mailboxes SET sync_problem = $1, updated_at = $2 WHERE institution_id = $3 AND id = $4";
            problem, now, institution, mailbox
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Sets the problem of one folder. `false`: it was set already.
    pub async fn set_folder_problem(
        &self,
        institution: InstitutionId,
        mailbox: MailboxId,
        folder: &str,
        problem: &Fault,
    ) -> Result<bool> {
        let noted = sql!(
            "UPDATE folders SET problem = $4 WHERE institution_id = $1 AND mailbox_id = $2 AND name = $3 AND problem IS NULL";
            institution, mailbox, folder, problem
        )
        .execute(&self.pool)
        .await?;
        Ok(noted.rows_affected() > 0)
    }

    /// Sets the folder for deleted messages. `false`: no such folder.
    pub async fn set_trash_folder(
        &self,
        institution: InstitutionId,
        mailbox: MailboxId,
        folder: &str,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.begin().await?;
        let chosen = sql!(
            "UPDATE mailboxes SET trash_folder = $3, updated_at = $4 WHERE institution_id = $1 AND id = $2
             AND EXISTS (SELECT 1 FROM folders WHERE mailbox_id = $2 AND name = $3 AND role IN ('other', 'trash'))";
            institution, mailbox, folder, now
        )
        .execute(&mut *tx)
        .await?;
        if chosen.rows_affected() == 0 {
            return Ok(false);
        }
        for statement in [
            "UPDATE folders SET role = 'other' WHERE institution_id = $1 AND mailbox_id = $2 AND role = 'trash' AND name <> $3",
            "UPDATE folders SET role = 'trash' WHERE institution_id = $1 AND mailbox_id = $2 AND name = $3",
        ] {
            sql!(statement; institution, mailbox, folder).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    pub async fn mailbox_count(&self) -> Result<i64> {
        Ok(sqlx::query("SELECT COUNT(*) FROM mailboxes").fetch_one(&self.pool).await?.try_get(0)?)
    }

    /// Claims a mailbox that is due for polling, for one replica.
    pub async fn claim_due_poll(&self, now: Timestamp, next: Timestamp) -> Result<Option<Mailbox>> {
        let row = sql!(
            claimed(
            "UPDATE mailboxes SET next_poll_at = $1 WHERE id IN (SELECT id FROM mailboxes WHERE state <> 'needs_reconnect'
             AND connected_at IS NOT NULL AND next_poll_at <= $2 ORDER BY next_poll_at LIMIT 1)
             AND next_poll_at <= $2",
        );
            next, now
        )
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(super::mailboxes::mailbox).transpose()
    }
}

/// Deletes the copy of a mailbox: it was removed, or another account signed in.
pub(super) async fn clear(tx: &mut Tx, institution: InstitutionId, mailbox: MailboxId) -> Result<()> {
    for statement in [
        "DELETE FROM headers WHERE institution_id = $1 AND mailbox_id = $2",
        "DELETE FROM folders WHERE institution_id = $1 AND mailbox_id = $2",
    ] {
        sql!(statement; institution, mailbox).execute(&mut **tx).await?;
    }
    Ok(())
}

async fn put_header(
    tx: &mut Tx,
    institution: InstitutionId,
    mailbox: MailboxId,
    folder: &str,
    new: &HeaderView,
) -> Result<()> {
    sql!(
        "INSERT INTO headers (mailbox_id, institution_id, folder, uid, from_name, from_address, recipients, subject, received_at,
           size, seen, flagged, answered, attachments) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
         ON CONFLICT (mailbox_id, folder, uid) DO UPDATE SET seen = $11, flagged = $12, answered = $13";
        mailbox, institution, folder, new.uid, if new.from == new.from_address { "" } else { &new.from },
        new.from_address, new.recipients, new.subject, new.received_at, new.size, new.seen, new.flagged, new.answered,
        new.attachments
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
