//! People whose Microsoft account is disabled or gone, and what is left of a person.

use app::model::{InstitutionId, MailboxState, Timestamp, UserId};

use super::sql::{columns, execute, fetch_all, fetch_optional, select};
use super::{Result, Store, Tx};
use crate::diagnosis::Fault;

/// A person whose own mailbox says that they left.
#[derive(Debug, Clone)]
pub struct Leaver {
    pub institution: InstitutionId,
    pub user: UserId,
    pub fault: Fault,
}

columns!(Leaver: institution = "m.institution_id", user = "u.id", fault = "m.problem");

/// A mailbox in the export of a person.
#[derive(Debug, Clone)]
pub struct ExportedMailbox {
    pub address: String,
    pub state: MailboxState,
    pub connected_at: Option<Timestamp>,
}

columns!(ExportedMailbox: address, state, connected_at);

impl Store {
    /// People who are not known yet to have left. Only their own mailbox counts: others may be shared.
    pub async fn leavers(&self, limit: i64) -> Result<Vec<Leaver>> {
        fetch_all!(&self.reads,
            select::<Leaver>("FROM mailboxes m JOIN users u ON u.id = m.user_id AND u.institution_id = m.institution_id
             WHERE m.state = 'needs_reconnect' AND m.problem_cause IN ('account_disabled', 'account_gone')
              AND m.purpose = 'personal' AND u.left_at IS NULL AND u.disabled_at IS NULL
              AND m.problem_since > COALESCE(u.stayed_at, 0)
              AND (m.address_key = u.address_key OR m.subject = u.microsoft_subject)
             ORDER BY u.id LIMIT $1");
            limit
        )
    }

    /// Notes that a person left: their password opens nothing until an administrator or Microsoft says otherwise. `false`: known
    /// already.
    pub async fn set_left(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        user: UserId,
        now: Timestamp,
    ) -> Result<bool> {
        let noted = super::sql::changed!(&mut **tx,
            "UPDATE users SET left_at = $1 WHERE institution_id = $2 AND id = $3 AND left_at IS NULL";
            now, institution, user
        )?;
        Ok(noted == 1)
    }

    /// An administrator says that a person stays.
    pub async fn set_stayed(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        user: UserId,
        now: Timestamp,
    ) -> Result<()> {
        execute!(&mut **tx,
            "UPDATE users SET left_at = NULL, stayed_at = $1 WHERE institution_id = $2 AND id = $3";
            now, institution, user
        )
    }

    /// Since when a person counts as having left, and since when they are known here.
    pub async fn left_and_created(
        &self,
        institution: InstitutionId,
        user: UserId,
    ) -> Result<Option<(Option<Timestamp>, Timestamp)>> {
        fetch_optional!(&self.reads,
            "SELECT left_at, created_at FROM users WHERE institution_id = $1 AND id = $2"; institution, user
        )
    }

    pub async fn exported_mailboxes(&self, institution: InstitutionId, user: UserId) -> Result<Vec<ExportedMailbox>> {
        fetch_all!(&self.reads,
            select::<ExportedMailbox>("FROM mailboxes WHERE institution_id = $1 AND user_id = $2 ORDER BY address_key");
            institution, user
        )
    }

    /// How many drafts and messages of a person are stored.
    pub async fn stored_mail(&self, institution: InstitutionId, user: UserId) -> Result<(i64, i64)> {
        let drafts = super::sql::fetch_one!(&self.reads,
            "SELECT COUNT(*) FROM drafts WHERE institution_id = $1 AND user_id = $2"; institution, user
        )?;
        let messages = super::sql::fetch_one!(&self.reads,
            "SELECT COUNT(*) FROM deliveries WHERE institution_id = $1 AND user_id = $2"; institution, user
        )?;
        Ok((drafts, messages))
    }

    /// Deletes a disabled person with everything that is theirs. The audit log keeps its entries. `false`: not disabled, or gone.
    /// Lists of people to invite pass to `heir`.
    pub async fn erase_person(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        user: UserId,
        heir: UserId,
    ) -> Result<bool> {
        let disabled: Option<i64> = fetch_optional!(&mut **tx,
            "SELECT 1 FROM users WHERE institution_id = $1 AND id = $2 AND disabled_at IS NOT NULL"; institution, user
        )?;
        if disabled.is_none() {
            return Ok(false);
        }
        self.drop_mailboxes_of(tx, institution, user, true).await?;
        for program in self.devices_of(institution, user).await? {
            self.drop_device(tx, institution, program.id).await?;
        }
        execute!(&mut **tx,
            "UPDATE invitation_lists SET user_id = $3 WHERE institution_id = $1 AND user_id = $2"; institution, user, heir
        )?;
        for statement in [
            "DELETE FROM attachments WHERE draft_id IN (SELECT id FROM drafts WHERE institution_id = $1 AND user_id = $2)",
            "DELETE FROM drafts WHERE institution_id = $1 AND user_id = $2",
            "DELETE FROM recipients WHERE delivery_id IN (SELECT id FROM deliveries WHERE institution_id = $1 AND user_id = $2)",
            "DELETE FROM deliveries WHERE institution_id = $1 AND user_id = $2",
            "DELETE FROM checks WHERE attempt_id IN (SELECT id FROM attempts WHERE institution_id = $1 AND user_id = $2)",
            "DELETE FROM attempts WHERE institution_id = $1 AND user_id = $2",
            "DELETE FROM sessions WHERE institution_id = $1 AND user_id = $2",
            "DELETE FROM invitations WHERE institution_id = $1 AND user_id = $2",
            "DELETE FROM flashes WHERE institution_id = $1 AND user_id = $2",
            "DELETE FROM mail_versions WHERE institution_id = $1 AND user_id = $2",
            "DELETE FROM invitation_list_rows WHERE list_id IN (SELECT id FROM invitation_lists WHERE institution_id = $1) AND user_id = $2",
            "DELETE FROM users WHERE institution_id = $1 AND id = $2",
        ] {
            execute!(&mut **tx, statement; institution, user)?;
        }
        Ok(true)
    }
}
