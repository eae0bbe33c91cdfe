//! The local copy of mailboxes: folders, and the newest headers of used folders. Bounded.

use crate::diagnosis::Fault;
use crate::mail::imap::Folder;
use crate::store::sql::{changed, columns, execute, fetch_all, fetch_one, fetch_optional, returning, select};
use std::collections::HashSet;

use app::model::{FolderRole, HeaderView, Timestamp};

use super::{Mailbox, MailboxKey, Result, Store, Tx};

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

columns!(FolderRow: name, role, uid_validity, total, synced_at, problem);
columns!(HeaderView: uid, from = "COALESCE(NULLIF(from_name, ''), from_address)", from_address, recipients, subject, received_at, size,
    seen, flagged, answered, attachments);

/// Flags to set or clear; `None` leaves one as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct FlagChange {
    pub seen: Option<bool>,
    pub flagged: Option<bool>,
    pub answered: Option<bool>,
}

impl FolderChange {
    fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.flags.is_empty() && self.new.is_empty()
    }
}

impl Store {
    pub async fn folders(&self, mailbox: MailboxKey) -> Result<Vec<FolderRow>> {
        fetch_all!(&self.reads,
            select::<FolderRow>("FROM folders WHERE institution_id = $1 AND mailbox_id = $2 ORDER BY position");
            mailbox.institution, mailbox.id
        )
    }

    /// Stores the list of folders; deletes the copies of removed ones.
    pub async fn put_folders(&self, mailbox: MailboxKey, folders: &[Folder]) -> Result<()> {
        let known = self.folders(mailbox).await?;
        let mut tx = self.begin().await?;
        for old in known.iter().filter(|old| !folders.iter().any(|folder| folder.name == old.name)) {
            for statement in [
                "DELETE FROM headers WHERE institution_id = $1 AND mailbox_id = $2 AND folder = $3",
                "DELETE FROM folders WHERE institution_id = $1 AND mailbox_id = $2 AND name = $3",
            ] {
                execute!(&mut *tx, statement; mailbox.institution, mailbox.id, old.name)?;
            }
        }
        for (position, Folder { name, role, .. }) in folders.iter().enumerate() {
            execute!(&mut *tx,
                "INSERT INTO folders (mailbox_id, institution_id, name, position, role) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (mailbox_id, name) DO UPDATE SET position = $4, role = $5";
                mailbox.id, mailbox.institution, name, i64::try_from(position).unwrap_or(i64::MAX), role
            )?;
        }
        if !known.iter().map(|row| (&row.name, row.role)).eq(folders.iter().map(|folder| (&folder.name, folder.role))) {
            tx.mail_changed_of_mailbox(mailbox).await?;
        }
        tx.commit().await
    }

    /// Kept headers of a folder, newest first.
    pub async fn headers(&self, mailbox: MailboxKey, folder: &str, offset: u32, limit: u32) -> Result<Vec<HeaderView>> {
        fetch_all!(&self.reads,
            select::<HeaderView>("FROM headers WHERE institution_id = $1 AND mailbox_id = $2 AND folder = $3
             ORDER BY uid DESC LIMIT $4 OFFSET $5");
            mailbox.institution, mailbox.id, folder, limit, offset
        )
    }

    /// The kept message after these in the list, or before them at its end.
    pub async fn beside(&self, mailbox: MailboxKey, folder: &str, uids: &[u32]) -> Result<Option<u32>> {
        let (Some(lowest), Some(highest)) = (uids.iter().min(), uids.iter().max()) else { return Ok(None) };
        fetch_optional!(&self.reads,
            "SELECT uid FROM headers WHERE institution_id = $1 AND mailbox_id = $2 AND folder = $3 AND (uid < $4 OR uid > $5)
             ORDER BY CASE WHEN uid < $4 THEN 0 ELSE 1 END, CASE WHEN uid < $4 THEN -uid ELSE uid END LIMIT 1";
            mailbox.institution, mailbox.id, folder, lowest, highest
        )
    }

    pub async fn header(&self, mailbox: MailboxKey, folder: &str, uid: u32) -> Result<Option<HeaderView>> {
        fetch_optional!(&self.reads,
            select::<HeaderView>("FROM headers WHERE institution_id = $1 AND mailbox_id = $2 AND folder = $3 AND uid = $4");
            mailbox.institution, mailbox.id, folder, uid
        )
    }

    /// Those of the given messages that already have these flags.
    pub async fn with_flags(
        &self,
        mailbox: MailboxKey,
        folder: &str,
        uids: &[u32],
        flags: FlagChange,
    ) -> Result<HashSet<u32>> {
        let (Some(lowest), Some(highest)) = (uids.iter().min(), uids.iter().max()) else { return Ok(HashSet::new()) };
        let uids: Vec<u32> = fetch_all!(&self.reads,
            "SELECT uid FROM headers WHERE institution_id = $1 AND mailbox_id = $2 AND folder = $3 AND uid BETWEEN $4 AND $5
             AND seen = COALESCE($6, seen) AND flagged = COALESCE($7, flagged)";
            mailbox.institution, mailbox.id, folder, lowest, highest, flags.seen, flags.flagged
        )?;
        Ok(uids.into_iter().collect())
    }

    /// Number of unread messages among the kept ones of a folder.
    pub async fn unread(&self, mailbox: MailboxKey, folder: &str) -> Result<u32> {
        fetch_one!(&self.reads,
            "SELECT COUNT(*) FROM headers WHERE institution_id = $1 AND mailbox_id = $2 AND folder = $3 AND seen = 0";
            mailbox.institution, mailbox.id, folder
        )
    }

    /// Stores the result of a sync. With another UIDVALIDITY, deletes the copy of the folder first.
    pub async fn sync_folder(&self, mailbox: MailboxKey, seen: &FolderRow, change: &FolderChange) -> Result<()> {
        let mut tx = self.begin().await?;
        execute!(&mut *tx,
            "INSERT INTO folders (mailbox_id, institution_id, name, position, role) VALUES ($1, $2, $3, 0, $4)
             ON CONFLICT (mailbox_id, name) DO NOTHING";
            mailbox.id, mailbox.institution, seen.name, seen.role
        )?;
        let before: FolderRow = fetch_one!(&mut *tx,
            select::<FolderRow>("FROM folders WHERE institution_id = $1 AND mailbox_id = $2 AND name = $3");
            mailbox.institution, mailbox.id, seen.name
        )?;
        // A problem that stays has a new time at each sync: only its cause is shown.
        let cause = |problem: &Option<Fault>| problem.as_ref().map(|fault| fault.cause.clone());
        let same = (before.uid_validity, before.total) == (seen.uid_validity, seen.total)
            && cause(&before.problem) == cause(&seen.problem);
        if !same || !change.is_empty() || before.synced_at.is_none() {
            tx.mail_changed_of_mailbox(mailbox).await?;
        }
        if before.uid_validity != seen.uid_validity {
            execute!(&mut *tx,
                "DELETE FROM headers WHERE institution_id = $1 AND mailbox_id = $2 AND folder = $3";
                mailbox.institution, mailbox.id, seen.name
            )?;
        }
        for uid in &change.gone {
            execute!(&mut *tx,
                "DELETE FROM headers WHERE institution_id = $1 AND mailbox_id = $2 AND folder = $3 AND uid = $4";
                mailbox.institution, mailbox.id, seen.name, uid
            )?;
        }
        for (uid, [is_seen, flagged, answered]) in &change.flags {
            execute!(&mut *tx,
                "UPDATE headers SET seen = $5, flagged = $6, answered = $7
                 WHERE institution_id = $1 AND mailbox_id = $2 AND folder = $3 AND uid = $4";
                mailbox.institution, mailbox.id, seen.name, uid, is_seen, flagged, answered
            )?;
        }
        for new in &change.new {
            put_header(&mut tx, mailbox, &seen.name, new).await?;
        }
        execute!(&mut *tx,
            "UPDATE folders SET uid_validity = $4, total = $5, synced_at = $6, problem = $7
             WHERE institution_id = $1 AND mailbox_id = $2 AND name = $3";
            mailbox.institution, mailbox.id, seen.name, seen.uid_validity, seen.total, seen.synced_at, seen.problem
        )?;
        // Bounded: deletes the headers of folders not opened for long.
        execute!(&mut *tx,
            "DELETE FROM headers WHERE institution_id = $1 AND mailbox_id = $2 AND folder NOT IN (
               SELECT name FROM folders WHERE mailbox_id = $2 AND synced_at IS NOT NULL ORDER BY synced_at DESC LIMIT $3)";
            mailbox.institution, mailbox.id, KEPT_FOLDERS
        )?;
        tx.commit().await
    }

    /// Applies flags that a user changed, before the next sync.
    pub async fn note_flags(&self, mailbox: MailboxKey, folder: &str, uids: &[u32], change: FlagChange) -> Result<()> {
        let mut tx = self.begin().await?;
        for uid in uids {
            execute!(&mut *tx,
                "UPDATE headers SET seen = COALESCE($5, seen), flagged = COALESCE($6, flagged), answered = COALESCE($7, answered)
                 WHERE institution_id = $1 AND mailbox_id = $2 AND folder = $3 AND uid = $4";
                mailbox.institution, mailbox.id, folder, uid, change.seen, change.flagged, change.answered
            )?;
        }
        tx.mail_changed_of_mailbox(mailbox).await?;
        tx.commit().await
    }

    pub async fn set_sync_problem(&self, mailbox: MailboxKey, problem: Option<&Fault>, now: Timestamp) -> Result<()> {
        let mut tx = self.begin().await?;
        execute!(&mut *tx,
            "UPDATE mailboxes SET sync_problem = $1, updated_at = $2 WHERE institution_id = $3 AND id = $4";
            problem, now, mailbox.institution, mailbox.id
        )?;
        tx.mail_changed_of_mailbox(mailbox).await?;
        tx.commit().await
    }

    /// Sets the problem of one folder. `false`: it was set already.
    pub async fn set_folder_problem(&self, mailbox: MailboxKey, folder: &str, problem: &Fault) -> Result<bool> {
        let mut tx = self.begin().await?;
        let rows = changed!(&mut *tx,
            "UPDATE folders SET problem = $4 WHERE institution_id = $1 AND mailbox_id = $2 AND name = $3 AND problem IS NULL";
            mailbox.institution, mailbox.id, folder, problem
        )?;
        if rows > 0 {
            tx.mail_changed_of_mailbox(mailbox).await?;
        }
        tx.commit().await?;
        Ok(rows > 0)
    }

    /// Sets the folder for deleted messages. `false`: no such folder.
    pub async fn set_trash_folder(&self, mailbox: MailboxKey, folder: &str, now: Timestamp) -> Result<bool> {
        let mut tx = self.begin().await?;
        let chosen = changed!(&mut *tx,
            "UPDATE mailboxes SET trash_folder = $3, updated_at = $4 WHERE institution_id = $1 AND id = $2
             AND EXISTS (SELECT 1 FROM folders WHERE mailbox_id = $2 AND name = $3 AND role IN ('other', 'trash'))";
            mailbox.institution, mailbox.id, folder, now
        )?;
        if chosen == 0 {
            return Ok(false);
        }
        for statement in [
            "UPDATE folders SET role = 'other' WHERE institution_id = $1 AND mailbox_id = $2 AND role = 'trash' AND name <> $3",
            "UPDATE folders SET role = 'trash' WHERE institution_id = $1 AND mailbox_id = $2 AND name = $3",
        ] {
            execute!(&mut *tx, statement; mailbox.institution, mailbox.id, folder)?;
        }
        tx.mail_changed_of_mailbox(mailbox).await?;
        tx.commit().await?;
        Ok(true)
    }

    pub async fn mailbox_count(&self) -> Result<i64> {
        fetch_one!(&self.reads, "SELECT COUNT(*) FROM mailboxes")
    }

    /// Claims a mailbox that is due for polling, for one replica.
    pub async fn claim_due_poll(&self, now: Timestamp, next: Timestamp) -> Result<Option<Mailbox>> {
        fetch_optional!(&self.writes,
            returning::<Mailbox>(
                "UPDATE mailboxes SET next_poll_at = $1 WHERE id IN (SELECT id FROM mailboxes WHERE state <> 'needs_reconnect'
                 AND connected_at IS NOT NULL AND next_poll_at <= $2 ORDER BY next_poll_at LIMIT 1) AND next_poll_at <= $2"
            );
            next, now
        )
    }
}

/// Deletes the copy of a mailbox: it was removed, or another account signed in.
pub(super) async fn clear(tx: &mut Tx, mailbox: MailboxKey) -> Result<()> {
    for statement in [
        "DELETE FROM headers WHERE institution_id = $1 AND mailbox_id = $2",
        "DELETE FROM folders WHERE institution_id = $1 AND mailbox_id = $2",
    ] {
        execute!(&mut **tx, statement; mailbox.institution, mailbox.id)?;
    }
    Ok(())
}

async fn put_header(tx: &mut Tx, mailbox: MailboxKey, folder: &str, new: &HeaderView) -> Result<()> {
    execute!(&mut **tx,
        "INSERT INTO headers (mailbox_id, institution_id, folder, uid, from_name, from_address, recipients, subject, received_at,
           size, seen, flagged, answered, attachments) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
         ON CONFLICT (mailbox_id, folder, uid) DO UPDATE SET seen = $11, flagged = $12, answered = $13";
        mailbox.id, mailbox.institution, folder, new.uid, if new.from == new.from_address { "" } else { &new.from },
        new.from_address, new.recipients, new.subject, new.received_at, new.size, new.seen, new.flagged, new.answered,
        new.attachments
    )?;
    Ok(())
}
