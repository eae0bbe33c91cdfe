//! Transactions, and the versions of users' mail that they raise.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use app::model::{InstitutionId, MailCounts, UserId};
use sqlx::{Any, AnyConnection, AnyPool, Transaction};

use super::sql::{execute_rows, fetch_all, fetch_optional};
use super::{DatabaseKind, Event, MailboxKey, Result, SendQueue, Store};

/// A transaction. Committing it raises the mail versions of the users whose mail it changed: last of all, and in the order of their
/// ids, so that no two transactions wait for each other.
pub struct Tx {
    inner: Transaction<'static, Any>,
    changed: BTreeMap<UserId, InstitutionId>,
    /// By institution and hour.
    pub(super) counted: BTreeMap<(InstitutionId, i64), MailCounts>,
}

impl Deref for Tx {
    type Target = AnyConnection;
    fn deref(&self) -> &AnyConnection {
        &self.inner
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.inner
    }
}

impl Tx {
    /// Notes that what a user sees of their mail changed. Notifications have no user.
    pub(super) fn mail_changed(&mut self, institution: InstitutionId, user: impl Into<Option<UserId>>) {
        self.changed.extend(user.into().map(|user| (user, institution)));
    }

    pub(super) async fn mail_changed_of_mailbox(&mut self, mailbox: MailboxKey) -> Result<()> {
        let owner: Option<UserId> = fetch_optional!(&mut **self,
            "SELECT user_id FROM mailboxes WHERE institution_id = $1 AND id = $2";
            mailbox.institution, mailbox.id
        )?;
        self.mail_changed(mailbox.institution, owner);
        Ok(())
    }

    pub(super) async fn mail_changed_of_queue(&mut self, queue: &SendQueue) -> Result<()> {
        match queue.mailbox_key() {
            Some(mailbox) => self.mail_changed_of_mailbox(mailbox).await,
            None => Ok(()),
        }
    }

    pub(super) async fn mail_changed_of_all(&mut self) -> Result<()> {
        let users: Vec<(UserId, InstitutionId)> = fetch_all!(&mut **self, "SELECT id, institution_id FROM users")?;
        self.changed.extend(users);
        Ok(())
    }

    pub(super) async fn mail_changed_of_institution(&mut self, institution: InstitutionId) -> Result<()> {
        let users: Vec<UserId> =
            fetch_all!(&mut **self, "SELECT id FROM users WHERE institution_id = $1"; institution)?;
        self.changed.extend(users.into_iter().map(|user| (user, institution)));
        Ok(())
    }

    pub async fn commit(self) -> Result<()> {
        self.commit_naming_users().await.map(|_| ())
    }

    /// Commits, and returns the users whose mail it changed.
    pub(super) async fn commit_naming_users(mut self) -> Result<Vec<UserId>> {
        self.put_counts().await?;
        let changed: Vec<(UserId, InstitutionId)> = std::mem::take(&mut self.changed).into_iter().collect();
        execute_rows!(&mut *self,
            // WHERE tells ON CONFLICT from the ON of a join.
            "INSERT INTO mail_versions (user_id, institution_id, version)
             SELECT DISTINCT column1, column2, 1 FROM (VALUES {}) AS changed
             WHERE EXISTS (SELECT 1 FROM users WHERE users.id = changed.column1) ORDER BY column1
             ON CONFLICT (user_id) DO UPDATE SET version = mail_versions.version + 1";
            changed.as_slice(), |row| row.0, row.1
        )?;
        self.inner.commit().await?;
        Ok(changed.into_iter().map(|(user, _)| user).collect())
    }
}

pub(super) async fn begin(pool: &AnyPool, backend: DatabaseKind) -> Result<Tx> {
    let inner = match backend {
        DatabaseKind::Sqlite => pool.begin_with("BEGIN IMMEDIATE").await?,
        DatabaseKind::Postgres => pool.begin().await?,
    };
    Ok(Tx { inner, changed: BTreeMap::new(), counted: BTreeMap::new() })
}

impl Store {
    pub async fn begin(&self) -> Result<Tx> {
        begin(&self.writes, self.backend).await
    }

    /// Commits, and tells the users whose mail it changed.
    pub(super) async fn commit_and_tell(&self, tx: Tx) -> Result<()> {
        let changed = tx.commit_naming_users().await?;
        self.channel.publish(changed.into_iter().map(Event::Mail));
        Ok(())
    }

    /// The version of what a user sees of their mail: folders, headers, outbox, and the state of their mailboxes.
    pub async fn mail_version(&self, institution: InstitutionId, user_id: UserId) -> Result<String> {
        let version: Option<i64> = fetch_optional!(&self.reads,
            "SELECT version FROM mail_versions WHERE institution_id = $1 AND user_id = $2";
            institution, user_id
        )?;
        Ok(version.unwrap_or_default().to_string())
    }
}
