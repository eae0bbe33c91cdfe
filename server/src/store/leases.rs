//! Rights that one task of one replica has at a time: to refresh a mailbox's grant, and to be connected to it.

use app::model::{InstitutionId, MailboxId, Timestamp};
use uuid::Uuid;

use super::{Result, Store};

impl Store {
    /// Takes the right to refresh a mailbox's grant, unless somebody has it whose lease has not ended. `false`: they have, or the
    /// mailbox is gone.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub async fn lease_refresh(
        &self,
        institution: InstitutionId,
        which: MailboxId,
        owner: Uuid,
        (now, until): (Timestamp, Timestamp),
    ) -> Result<bool> {
        let done = sqlx::query(
            "UPDATE mailboxes SET refresh_lease_owner = $1, refresh_lease_until = $2
             WHERE institution_id = $3 AND id = $4 AND (refresh_lease_owner IS NULL OR refresh_lease_until < $5)",
        )
        .bind(owner.to_string())
        .bind(until.0)
        .bind(institution.to_string())
        .bind(which.to_string())
        .bind(now.0)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Gives the right to refresh back.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub async fn end_refresh_lease(&self, which: MailboxId, owner: Uuid) -> Result<()> {
        sqlx::query("UPDATE mailboxes SET refresh_lease_owner = NULL WHERE id = $1 AND refresh_lease_owner = $2")
            .bind(which.to_string())
            .bind(owner.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Ends every lease: with one process, whoever held them is dead.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub async fn end_leases(&self) -> Result<()> {
        sqlx::query("UPDATE mailboxes SET refresh_lease_owner = NULL, line_owner = NULL WHERE refresh_lease_owner IS NOT NULL OR line_owner IS NOT NULL")
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Notes what the token endpoint refused, for whoever would ask next.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub async fn set_refresh_refusal(
        &self,
        institution: InstitutionId,
        which: MailboxId,
        refusal: Option<&str>,
    ) -> Result<()> {
        sqlx::query("UPDATE mailboxes SET refresh_refusal = $1 WHERE institution_id = $2 AND id = $3")
            .bind(refusal)
            .bind(institution.to_string())
            .bind(which.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Takes, or keeps, the right to be connected to a mailbox. `false`: somebody else has it, or the mailbox is gone.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub async fn lease_line(
        &self,
        institution: InstitutionId,
        which: MailboxId,
        owner: Uuid,
        (now, until): (Timestamp, Timestamp),
    ) -> Result<bool> {
        let done = sqlx::query(
            "UPDATE mailboxes SET line_owner = $1, line_until = $2
             WHERE institution_id = $3 AND id = $4 AND (line_owner IS NULL OR line_owner = $1 OR line_until < $5)",
        )
        .bind(owner.to_string())
        .bind(until.0)
        .bind(institution.to_string())
        .bind(which.to_string())
        .bind(now.0)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Gives the right to be connected back.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub async fn end_line(&self, which: MailboxId, owner: Uuid) -> Result<()> {
        sqlx::query("UPDATE mailboxes SET line_owner = NULL WHERE id = $1 AND line_owner = $2")
            .bind(which.to_string())
            .bind(owner.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
