//! Email settings, app registrations, the guide.

use crate::diagnosis::Fault;
use crate::store::sql::{changed, columns, execute, fetch_all, fetch_optional, select};
use app::model::{ClientId, GuideStep, InstitutionId, MailboxId, Provider, RegistrationId, TenantId, Timestamp};

use super::{Result, Store, Tx};

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

columns!(EmailSettings: provider, custom_from, custom_from_address, notification_mailbox = "notification_mailbox_id",
    notification_problem, allow_other_address);
columns!(Registration: id, client_id, tenant_id, secret_sealed, secret_stored_at, secret_expires_on, verified_at);
columns!(GuideRow: step, done, proven);

impl Store {
    /// The settings; the defaults if none were saved.
    pub async fn email_settings(&self, institution: InstitutionId) -> Result<EmailSettings> {
        let found: Option<EmailSettings> = fetch_optional!(&self.reads,
            select::<EmailSettings>("FROM email_settings WHERE institution_id = $1");
            institution
        )?;
        Ok(found.unwrap_or_default())
    }

    pub async fn put_email_settings(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        new: &EmailSettings,
        now: Timestamp,
    ) -> Result<()> {
        execute!(&mut **tx,
            "INSERT INTO email_settings (institution_id, provider, custom_from, custom_from_address, notification_mailbox_id,
               notification_problem, allow_other_address, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (institution_id) DO UPDATE SET provider = $2, custom_from = $3, custom_from_address = $4,
               notification_mailbox_id = $5, notification_problem = $6, allow_other_address = $7, updated_at = $8";
            institution, new.provider, new.custom_from, new.custom_from_address, new.notification_mailbox,
            new.notification_problem, new.allow_other_address, now
        )
    }

    pub async fn set_notification_mailbox(&self, institution: InstitutionId, mailbox: Option<MailboxId>) -> Result<()> {
        execute!(&self.writes,
            "UPDATE email_settings SET notification_mailbox_id = $1, notification_problem = NULL WHERE institution_id = $2";
            mailbox, institution
        )
    }

    /// Sets or clears the failure of the notification mailbox.
    pub async fn set_notification_problem(&self, institution: InstitutionId, problem: Option<&str>) -> Result<()> {
        execute!(&self.writes,
            "UPDATE email_settings SET notification_problem = $1 WHERE institution_id = $2";
            problem, institution
        )
    }

    pub async fn registration(&self, institution: InstitutionId, slot: Slot) -> Result<Option<Registration>> {
        fetch_optional!(&self.reads,
            select::<Registration>("FROM app_registrations WHERE institution_id = $1 AND slot = $2");
            institution, slot
        )
    }

    /// The last refusal of the registration in use, with its id.
    pub async fn registration_problem(&self, institution: InstitutionId) -> Result<Option<(String, Fault)>> {
        fetch_optional!(&self.reads,
            "SELECT id, problem FROM app_registrations WHERE institution_id = $1 AND slot = 'current' AND problem IS NOT NULL";
            institution
        )
    }

    /// Microsoft accepted the registration in use.
    pub async fn set_registration_accepted(
        &self,
        institution: InstitutionId,
        registration: RegistrationId,
        now: Timestamp,
    ) -> Result<()> {
        execute!(&self.writes,
            "UPDATE app_registrations SET verified_at = $1, problem = NULL WHERE institution_id = $2 AND id = $3";
            now, institution, registration
        )
    }

    /// The newest refusal for lack of consent, if it concerns everyone: two mailboxes have it or no other is left, and no grant was
    /// renewed afterwards.
    pub async fn consent_withdrawn(&self, institution: InstitutionId) -> Result<Option<Fault>> {
        fetch_optional!(&self.reads,
            "SELECT problem FROM mailboxes WHERE institution_id = $1 AND problem_cause = 'consent_missing'
             AND state = 'needs_reconnect' AND NOT EXISTS (SELECT 1 FROM mailboxes others WHERE others.institution_id = $1
              AND others.state <> 'needs_reconnect' AND others.refreshed_at > mailboxes.problem_since)
             AND (NOT EXISTS (SELECT 1 FROM mailboxes left_over WHERE left_over.institution_id = $1
               AND left_over.state <> 'needs_reconnect')
              OR (SELECT COUNT(*) FROM mailboxes same WHERE same.institution_id = $1
               AND same.problem_cause = 'consent_missing' AND same.state = 'needs_reconnect') > 1)
             ORDER BY problem_since DESC LIMIT 1";
            institution
        )
    }

    /// A working mailbox whose grant was last renewed before another one lacked consent.
    pub async fn mailbox_to_prove_consent(&self, institution: InstitutionId) -> Result<Option<MailboxId>> {
        fetch_optional!(&self.reads,
            "SELECT id FROM mailboxes WHERE institution_id = $1 AND state = 'connected' AND refreshed_at <= (SELECT MAX(problem_since)
              FROM mailboxes lacking WHERE lacking.institution_id = $1 AND lacking.problem_cause = 'consent_missing'
              AND lacking.state = 'needs_reconnect') ORDER BY refreshed_at LIMIT 1";
            institution
        )
    }

    /// Forgets reported incidents that are over, unless they come and go.
    pub async fn end_incidents(&self, institution: InstitutionId, now: Timestamp) -> Result<()> {
        execute!(&self.writes,
            "DELETE FROM alerts WHERE institution_id = $1 AND incident LIKE 'stopped %' AND created_at < $2";
            institution, now.plus_ms(-INCIDENT_MS)
        )
    }

    /// Sets or clears the refusal of a registration, if it is still in use.
    pub async fn set_registration_problem(
        &self,
        institution: InstitutionId,
        registration: RegistrationId,
        problem: Option<&Fault>,
        now: Timestamp,
    ) -> Result<()> {
        let json = problem.map(Fault::to_json);
        let changed = changed!(&self.writes,
            "UPDATE app_registrations SET problem = $1 WHERE institution_id = $2 AND slot = 'current'
             AND id = $3 AND (problem IS NULL) <> ($1 IS NULL)";
            json, institution, registration
        )?;
        if problem.is_some() && changed == 0 {
            // Refused before: the newest refusal counts.
            execute!(&self.writes,
                "UPDATE app_registrations SET problem = $1 WHERE institution_id = $2 AND slot = 'current' AND id = $3";
                json, institution, registration
            )?;
        }
        if changed > 0 && problem.is_some() {
            // A new incident, unless the same one comes and goes.
            execute!(&self.writes,
                "DELETE FROM alerts WHERE institution_id = $1 AND incident LIKE 'stopped %' AND created_at < $2";
                institution, now.plus_ms(-INCIDENT_MS)
            )?;
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
        execute!(&mut **tx,
            "INSERT INTO app_registrations (id, institution_id, slot, client_id, tenant_id, secret_sealed, secret_stored_at,
               secret_expires_on, verified_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
            new.id, institution, slot, new.client_id, new.tenant_id, new.secret_sealed, new.secret_stored_at,
            new.secret_expires_on, new.verified_at, now
        )
    }

    /// Deletes a registration and its secret.
    pub async fn drop_registration(&self, tx: &mut Tx, institution: InstitutionId, slot: Slot) -> Result<()> {
        execute!(&mut **tx, "DELETE FROM app_registrations WHERE institution_id = $1 AND slot = $2"; institution, slot)
    }

    pub async fn guide(&self, institution: InstitutionId) -> Result<Vec<GuideRow>> {
        fetch_all!(&self.reads, select::<GuideRow>("FROM guide_steps WHERE institution_id = $1"); institution)
    }

    pub async fn drop_guide_proofs(&self, tx: &mut Tx, institution: InstitutionId) -> Result<()> {
        execute!(&mut **tx, "DELETE FROM guide_steps WHERE institution_id = $1 AND proven = 1"; institution)
    }

    pub async fn put_guide_step(&self, institution: InstitutionId, row: GuideRow, now: Timestamp) -> Result<()> {
        execute!(&self.writes,
            "INSERT INTO guide_steps (institution_id, step, done, proven, updated_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (institution_id, step) DO UPDATE SET done = $3, updated_at = $5,
               proven = CASE WHEN $4 = 1 THEN 1 ELSE guide_steps.proven END";
            institution, row.step, row.done, row.proven, now
        )
    }
}
