//! Email settings, app registrations, the guide.

use crate::diagnosis::Fault;
use crate::store::sql::sql;
use app::model::{ClientId, GuideStep, InstitutionId, MailboxId, Provider, RegistrationId, TenantId, Timestamp};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Result, Store, StoreError, Tx, at, fault, flag, id, named, time};

/// A registration refused again within this time after the alert is the same incident, in milliseconds: a day.
const INCIDENT_MS: i64 = 24 * 60 * 60 * 1000;

#[derive(Debug, Clone)]
pub struct EmailSettings {
    pub provider: Provider,
    pub custom_from: bool,
    pub custom_from_address: String,
    pub notification_mailbox: Option<MailboxId>,
    pub notification_problem: Option<String>,
    /// Users may connect an address other than their account's.
    pub allow_other_address: bool,
}

impl Default for EmailSettings {
    fn default() -> Self {
        Self {
            provider: Provider::SystemDefault,
            custom_from: false,
            custom_from_address: String::new(),
            notification_mailbox: None,
            notification_problem: None,
            allow_other_address: false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    Current,
    /// Waits until Microsoft accepts it.
    Waiting,
}

impl Slot {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Waiting => "waiting",
        }
    }
}

/// An app registration with its sealed secret.
#[derive(Debug, Clone)]
pub struct Registration {
    pub id: RegistrationId,
    pub client_id: ClientId,
    pub tenant_id: TenantId,
    pub secret_sealed: String,
    pub secret_stored_at: Timestamp,
    /// `YYYY-MM-DD`.
    pub secret_expires_on: Option<String>,
    pub verified_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy)]
pub struct GuideRow {
    pub step: GuideStep,
    pub done: bool,
    pub proven: bool,
}

fn registration(row: &AnyRow) -> Result<Registration> {
    let uuid = |column: &'static str| -> Result<uuid::Uuid> {
        let text: String = row.try_get(column)?;
        text.parse().map_err(|_| StoreError::Row { table: "app_registrations", row: text })
    };
    Ok(Registration {
        id: id(row, "id")?,
        client_id: ClientId(uuid("client_id")?),
        tenant_id: TenantId(uuid("tenant_id")?),
        secret_sealed: row.try_get("secret_sealed")?,
        secret_stored_at: at(row, "secret_stored_at")?,
        secret_expires_on: row.try_get("secret_expires_on")?,
        verified_at: time(row, "verified_at")?,
    })
}

impl Store {
    /// The settings; the defaults if none were saved.
    pub async fn email_settings(&self, institution: InstitutionId) -> Result<EmailSettings> {
        let row = sql!(
            "SELECT provider, custom_from, custom_from_address, notification_mailbox_id, notification_problem, allow_other_address
             FROM email_settings WHERE institution_id = $1";
            institution
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(EmailSettings::default()) };
        let mailbox: Option<String> = row.try_get("notification_mailbox_id")?;
        Ok(EmailSettings {
            provider: named(&row, "provider", Provider::parse)?,
            custom_from: flag(&row, "custom_from")?,
            custom_from_address: row.try_get("custom_from_address")?,
            notification_mailbox: mailbox.and_then(|text| text.parse().ok()),
            notification_problem: row.try_get("notification_problem")?,
            allow_other_address: flag(&row, "allow_other_address")?,
        })
    }

    pub async fn put_email_settings(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        new: &EmailSettings,
        now: Timestamp,
    ) -> Result<()> {
        sql!(
            "INSERT INTO email_settings (institution_id, provider, custom_from, custom_from_address, notification_mailbox_id,
               notification_problem, allow_other_address, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (institution_id) DO UPDATE SET provider = $2, custom_from = $3, custom_from_address = $4,
               notification_mailbox_id = $5, notification_problem = $6, allow_other_address = $7, updated_at = $8";
            institution, new.provider, new.custom_from, new.custom_from_address, new.notification_mailbox,
            new.notification_problem, new.allow_other_address, now
        )
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    pub async fn set_notification_mailbox(&self, institution: InstitutionId, mailbox: Option<MailboxId>) -> Result<()> {
        sql!(
            "UPDATE email_settings SET notification_mailbox_id = $1, notification_problem = NULL WHERE institution_id = $2";
            mailbox, institution
        )
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Sets or clears the failure of the notification mailbox.
    pub async fn set_notification_problem(&self, institution: InstitutionId, problem: Option<&str>) -> Result<()> {
        sql!("UPDATE email_settings SET notification_problem = $1 WHERE institution_id = $2"; problem, institution)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    pub async fn registration(&self, institution: InstitutionId, slot: Slot) -> Result<Option<Registration>> {
        let row = sql!(
            "SELECT id, client_id, tenant_id, secret_sealed, secret_stored_at, secret_expires_on, verified_at
             FROM app_registrations WHERE institution_id = $1 AND slot = $2";
            institution, slot
        )
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(registration).transpose()
    }

    /// The last refusal of the registration in use, with its id.
    pub async fn registration_problem(&self, institution: InstitutionId) -> Result<Option<(String, Fault)>> {
        let row = sql!(
            "SELECT id, problem FROM app_registrations WHERE institution_id = $1 AND slot = 'current' AND problem IS NOT NULL";
            institution
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(fault(&row, "problem")?
            .map(|problem| (row.try_get(0), problem))
            .map(|(id, problem)| id.map(|id| (id, problem)))
            .transpose()?)
    }

    /// Sets or clears the refusal of the registration in use.
    pub async fn set_registration_problem(
        &self,
        institution: InstitutionId,
        problem: Option<&Fault>,
        now: Timestamp,
    ) -> Result<()> {
        let json = problem.map(Fault::to_json);
        let changed = sql!(
            "UPDATE app_registrations SET problem = $1 WHERE institution_id = $2 AND slot = 'current'
             AND (problem IS NULL) <> ($1 IS NULL)";
            json, institution
        )
        .execute(&self.pool)
        .await?;
        if problem.is_some() && changed.rows_affected() == 0 {
            // Refused before: the newest refusal counts.
            sql!(
                "UPDATE app_registrations SET problem = $1 WHERE institution_id = $2 AND slot = 'current'";
                json, institution
            )
            .execute(&self.pool)
            .await?;
        }
        if changed.rows_affected() > 0 && problem.is_some() {
            // A new incident, unless the same one comes and goes.
            sql!(
                "DELETE FROM alerts WHERE institution_id = $1 AND incident LIKE 'refused %' AND created_at < $2";
                institution, now.plus_ms(-INCIDENT_MS)
            )
            .execute(&self.pool)
            .await?;
        }
        Ok(())
    }

    /// Stores a registration in a slot, replacing the one there.
    pub async fn put_registration(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        slot: Slot,
        new: &Registration,
        now: Timestamp,
    ) -> Result<()> {
        self.drop_registration(tx, institution, slot).await?;
        sql!(
            "INSERT INTO app_registrations (id, institution_id, slot, client_id, tenant_id, secret_sealed, secret_stored_at,
               secret_expires_on, verified_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
            new.id, institution, slot, new.client_id, new.tenant_id, new.secret_sealed, new.secret_stored_at,
            new.secret_expires_on, new.verified_at, now
        )
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    /// Deletes a registration and its secret.
    pub async fn drop_registration(&self, tx: &mut Tx, institution: InstitutionId, slot: Slot) -> Result<()> {
        sql!("DELETE FROM app_registrations WHERE institution_id = $1 AND slot = $2"; institution, slot)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    pub async fn guide(&self, institution: InstitutionId) -> Result<Vec<GuideRow>> {
        let rows = sql!("SELECT step, done, proven FROM guide_steps WHERE institution_id = $1"; institution)
            .fetch_all(&self.pool)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(GuideRow {
                    step: named(row, "step", GuideStep::parse)?,
                    done: flag(row, "done")?,
                    proven: flag(row, "proven")?,
                })
            })
            .collect()
    }

    pub async fn drop_guide_proofs(&self, tx: &mut Tx, institution: InstitutionId) -> Result<()> {
        sql!("DELETE FROM guide_steps WHERE institution_id = $1 AND proven = 1"; institution)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    pub async fn put_guide_step(&self, institution: InstitutionId, row: GuideRow, now: Timestamp) -> Result<()> {
        sql!(
            "INSERT INTO guide_steps (institution_id, step, done, proven, updated_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (institution_id, step) DO UPDATE SET done = $3, updated_at = $5,
               proven = CASE WHEN $4 = 1 THEN 1 ELSE guide_steps.proven END";
            institution, row.step, row.done, row.proven, now
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
