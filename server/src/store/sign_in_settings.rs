//! Who may sign in how.

use app::model::{InstitutionId, SignInSettings, Timestamp, UserId};

use super::sql::{columns, execute, fetch_all, fetch_optional, select};
use super::{Result, Store, Tx};

columns!(SignInSettings: passwords, newcomers, domains);

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl Store {
    /// The settings; the defaults if none were saved.
    pub async fn sign_in_settings(&self, institution: InstitutionId) -> Result<SignInSettings> {
        let found: Option<SignInSettings> = fetch_optional!(&self.reads,
            select::<SignInSettings>("FROM sign_in_settings WHERE institution_id = $1"); institution
        )?;
        Ok(found.unwrap_or_default())
    }

    pub async fn put_sign_in_settings(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        new: &SignInSettings,
        now: Timestamp,
    ) -> Result<()> {
        execute!(&mut **tx,
            "INSERT INTO sign_in_settings (institution_id, passwords, newcomers, domains, updated_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (institution_id) DO UPDATE SET passwords = $2, newcomers = $3, domains = $4, updated_at = $5";
            institution, new.passwords, new.newcomers, new.domains.join("\n"), now
        )
    }

    /// Notes the day on which a password worked.
    pub async fn note_password_used(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        user: UserId,
        now: Timestamp,
    ) -> Result<()> {
        execute!(&mut **tx,
            "UPDATE users SET password_used_at = $1 WHERE institution_id = $2 AND id = $3";
            now.0 - now.0.rem_euclid(DAY_MS), institution, user
        )
    }

    /// Administrators whose password has worked since a time, and those who keep theirs already; the latest first.
    pub async fn proven_administrators(
        &self,
        institution: InstitutionId,
        since: Timestamp,
    ) -> Result<Vec<(UserId, String, Timestamp)>> {
        fetch_all!(&self.reads,
            "SELECT id, address, password_used_at FROM users WHERE institution_id = $1 AND role = 'administrator' AND disabled_at IS NULL
             AND left_at IS NULL AND password_hash IS NOT NULL AND password_used_at IS NOT NULL
             AND (password_used_at >= $2 OR keeps_password = 1) ORDER BY password_used_at DESC, address_key";
            institution, since
        )
    }

    /// Administrators whose passwords work where everyone else's don't. Who is disabled, has left, or is no
    /// administrator any longer, is none.
    pub async fn password_keepers(&self, institution: InstitutionId) -> Result<Vec<UserId>> {
        fetch_all!(&self.reads,
            "SELECT id FROM users WHERE institution_id = $1 AND keeps_password = 1 AND role = 'administrator' AND disabled_at IS NULL
             AND left_at IS NULL AND password_hash IS NOT NULL ORDER BY id";
            institution
        )
    }

    /// These keep their passwords, and no one else does.
    pub async fn put_password_keepers(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        keepers: &[UserId],
    ) -> Result<()> {
        execute!(&mut **tx,
            "UPDATE users SET keeps_password = 0 WHERE institution_id = $1 AND keeps_password = 1"; institution
        )?;
        for keeper in keepers {
            self.keep_password(tx, institution, *keeper).await?;
        }
        Ok(())
    }

    pub async fn keep_password(&self, tx: &mut Tx, institution: InstitutionId, user: UserId) -> Result<()> {
        execute!(&mut **tx, "UPDATE users SET keeps_password = 1 WHERE institution_id = $1 AND id = $2"; institution, user)
    }

    /// Forgets which Microsoft account a person signs in with.
    pub async fn unlink_microsoft(&self, tx: &mut Tx, institution: InstitutionId, user: UserId) -> Result<bool> {
        let changed = super::sql::changed!(&mut **tx,
            "UPDATE users SET microsoft_subject = NULL WHERE institution_id = $1 AND id = $2 AND microsoft_subject IS NOT NULL";
            institution, user
        )?;
        Ok(changed == 1)
    }
}
