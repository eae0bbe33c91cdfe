//! Leases held by one task of one replica at a time: on the token refresh of a mailbox, and on its IMAP connection.

use crate::store::sql::{changed, execute};
use app::model::{MailboxId, Timestamp};
use uuid::Uuid;

use super::{MailboxKey, Result, Store};

/// What a lease is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    Refresh,
    Connection,
}

impl Lease {
    fn columns(self) -> (&'static str, &'static str) {
        match self {
            Self::Refresh => ("refresh_lease_owner", "refresh_lease_until"),
            Self::Connection => ("connection_lease_owner", "connection_lease_until"),
        }
    }
}

impl Store {
    /// Takes or renews a lease. `false`: another owner holds it, or the mailbox is gone.
    pub async fn lease(
        &self,
        lease: Lease,
        mailbox: MailboxKey,
        owner: Uuid,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool> {
        let (by, end) = lease.columns();
        // Both names are constants of this file.
        let statement = format!(
            "UPDATE mailboxes SET {by} = $1, {end} = $2
             WHERE institution_id = $3 AND id = $4 AND ({by} IS NULL OR {by} = $1 OR {end} < $5)"
        );
        Ok(changed!(&self.writes, sqlx::AssertSqlSafe(statement); owner, until, mailbox.institution, mailbox.id, now)?
            == 1)
    }

    /// Releases a lease.
    pub async fn end_lease(&self, lease: Lease, mailbox_id: MailboxId, owner: Uuid) -> Result<()> {
        let (by, _) = lease.columns();
        // The name is a constant of this file.
        let statement = format!("UPDATE mailboxes SET {by} = NULL WHERE id = $1 AND {by} = $2");
        execute!(&self.writes, sqlx::AssertSqlSafe(statement); mailbox_id, owner)
    }

    /// Ends every lease at start, and frees the places of connections: with one process, no holder is alive.
    pub async fn end_leases(&self) -> Result<()> {
        execute!(&self.writes, "DELETE FROM smtp_connections")?;
        // Tests of mailboxes that ran then were interrupted.
        execute!(&self.writes, "UPDATE attempts SET lease_until = 0 WHERE stage = 'running'")?;
        execute!(
            &self.writes,
            "UPDATE mailboxes SET refresh_lease_owner = NULL, connection_lease_owner = NULL
             WHERE refresh_lease_owner IS NOT NULL OR connection_lease_owner IS NOT NULL"
        )
    }

    /// Records a refusal of the token endpoint, so that it is not asked again.
    pub async fn set_refresh_refusal(&self, mailbox: MailboxKey, refusal: Option<&str>) -> Result<()> {
        execute!(&self.writes,
            "UPDATE mailboxes SET refresh_refusal = $1 WHERE institution_id = $2 AND id = $3";
            refusal, mailbox.institution, mailbox.id
        )
    }
}
