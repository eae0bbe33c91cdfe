//! Email settings, app registrations, the guide.

use crate::diagnosis::Fault;
use crate::store::sql::{changed, columns, execute, fetch_all, fetch_one, fetch_optional, select};
use app::model::{
    ClientId, CredentialKind, CredentialUses, GraphUse, GuideStep, InstitutionId, MailboxId, Provider, RegistrationId,
    SendWay, SigningKeyId, Superseded, TenantId, Timestamp,
};

use super::{Result, Store, Tx};
use serde::{Deserialize, Serialize};

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
    /// Reminded besides administrators; may be empty.
    pub reminder_address: String,
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
            reminder_address: String::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    Current,
    /// Waits until Microsoft accepts it.
    Waiting,
    /// The credential before: kept until mail was renewed with the new one.
    Previous,
}

impl Slot {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Waiting => "waiting",
            Self::Previous => "previous",
        }
    }
}

/// The app that a grant or a sign-in belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppKey {
    pub client_id: String,
    pub tenant_id: String,
    /// Name of the cloud.
    #[serde(default)]
    pub cloud: String,
}

columns!(AppKey: client_id, tenant_id, cloud);

/// An app registration with its credential.
#[derive(Debug, Clone)]
pub struct Registration {
    pub id: RegistrationId,
    pub client_id: ClientId,
    pub tenant_id: TenantId,
    /// Name of the cloud.
    pub cloud: String,
    pub credential: CredentialKind,
    /// Empty without a secret.
    pub secret_sealed: String,
    pub secret_stored_at: Timestamp,
    /// `YYYY-MM-DD`: of the secret or the certificate.
    pub secret_expires_on: Option<String>,
    /// Secret ID at Microsoft, if known.
    pub secret_id: Option<String>,
    /// Another one for each credential; of a certificate that of its key.
    pub credential_id: Option<SigningKeyId>,
    /// When Microsoft last accepted the app's own request.
    pub verified_at: Option<Timestamp>,
    /// When a person's sign-in was first completed with this credential.
    pub signed_in_at: Option<Timestamp>,
    /// When a mailbox was first renewed with this credential.
    pub renewed_at: Option<Timestamp>,
    /// The credential before, which nothing needs any more.
    pub superseded: Option<Superseded>,
}

impl Registration {
    /// An unverified registration with the values, without a credential yet.
    pub fn new(id: RegistrationId, client_id: ClientId, tenant_id: TenantId, now: Timestamp) -> Self {
        Self {
            id,
            client_id,
            tenant_id,
            cloud: String::new(),
            credential: CredentialKind::Secret,
            secret_sealed: String::new(),
            secret_stored_at: now,
            secret_expires_on: None,
            secret_id: None,
            credential_id: None,
            verified_at: None,
            signed_in_at: None,
            renewed_at: None,
            superseded: None,
        }
    }

    pub fn app(&self) -> AppKey {
        AppKey {
            client_id: self.client_id.to_string(),
            tenant_id: self.tenant_id.to_string(),
            cloud: self.cloud.clone(),
        }
    }

    pub fn uses(&self) -> CredentialUses {
        CredentialUses { app: self.verified_at, sign_in: self.signed_in_at, renewal: self.renewed_at }
    }

    /// Whether both are the same app in the same tenant and cloud.
    pub fn is_same_app(&self, other: &Self) -> bool {
        self.app() == other.app()
    }
}

#[derive(Debug, Clone, Copy)]
pub struct GuideRow {
    pub step: GuideStep,
    pub done: bool,
    pub proven: bool,
    pub updated_at: Timestamp,
}

columns!(EmailSettings: provider, custom_from, custom_from_address, notification_mailbox = "notification_mailbox_id",
    notification_problem, allow_other_address, reminder_address);
columns!(Registration: id, client_id, tenant_id, cloud, credential, secret_sealed, secret_stored_at, secret_expires_on, secret_id,
    credential_id, verified_at, signed_in_at, renewed_at, superseded);
columns!(GuideRow: step, done, proven, updated_at);

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
               notification_problem, allow_other_address, reminder_address, updated_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             ON CONFLICT (institution_id) DO UPDATE SET provider = $2, custom_from = $3, custom_from_address = $4,
               notification_mailbox_id = $5, notification_problem = $6, allow_other_address = $7, reminder_address = $8,
               updated_at = $9";
            institution, new.provider, new.custom_from, new.custom_from_address, new.notification_mailbox,
            new.notification_problem, new.allow_other_address, new.reminder_address, now
        )
    }

    /// When the institution's mailboxes send through Microsoft Graph.
    pub async fn graph_use(&self, institution: InstitutionId) -> Result<GraphUse> {
        let found: Option<GraphUse> = fetch_optional!(&self.reads,
            "SELECT graph FROM email_settings WHERE institution_id = $1";
            institution
        )?;
        Ok(found.unwrap_or_default())
    }

    /// Mailboxes that send through Microsoft Graph.
    pub async fn count_by_graph(&self, institution: InstitutionId) -> Result<i64> {
        fetch_one!(&self.reads,
            "SELECT COUNT(*) FROM mailboxes WHERE institution_id = $1 AND sends_by = 'graph'";
            institution
        )
    }

    /// Applies to all mailboxes now. Where SMTP comes first, each finds out.
    pub async fn set_graph_use(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        graph: GraphUse,
        now: Timestamp,
    ) -> Result<()> {
        execute!(&mut **tx,
            "UPDATE email_settings SET graph = $1, updated_at = $2 WHERE institution_id = $3";
            graph, now, institution
        )?;
        let way = if graph == GraphUse::Always { SendWay::Graph } else { SendWay::Smtp };
        execute!(&mut **tx,
            "UPDATE mailboxes SET sends_by = $1 WHERE institution_id = $2";
            way, institution
        )
    }

    pub async fn set_notification_mailbox(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        mailbox: Option<MailboxId>,
    ) -> Result<()> {
        execute!(&mut **tx,
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
            "INSERT INTO app_registrations (id, institution_id, slot, client_id, tenant_id, credential, secret_sealed,
               secret_stored_at, secret_expires_on, secret_id, credential_id, verified_at, signed_in_at, renewed_at, superseded,
               cloud, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";
            new.id, institution, slot, new.client_id, new.tenant_id, new.credential, new.secret_sealed,
            new.secret_stored_at, new.secret_expires_on, new.secret_id, new.credential_id, new.verified_at, new.signed_in_at,
            new.renewed_at, new.superseded, new.cloud, now
        )
    }

    pub async fn registration_within(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        slot: Slot,
    ) -> Result<Option<Registration>> {
        fetch_optional!(&mut **tx,
            select::<Registration>("FROM app_registrations WHERE institution_id = $1 AND slot = $2");
            institution, slot
        )
    }

    /// Keeps the registration in use as the one before, unless it has renewed nothing yet and that one has.
    pub async fn keep_as_previous(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        current: &Registration,
    ) -> Result<()> {
        if current.renewed_at.is_none() && self.registration_within(tx, institution, Slot::Previous).await?.is_some() {
            return Ok(());
        }
        self.drop_registration(tx, institution, Slot::Previous).await?;
        execute!(&mut **tx,
            "UPDATE app_registrations SET slot = 'previous', problem = NULL WHERE institution_id = $1 AND slot = 'current'";
            institution
        )
    }

    /// Microsoft completed a person's sign-in with the credential in use.
    pub async fn set_registration_signed_in(
        &self,
        institution: InstitutionId,
        registration: RegistrationId,
        now: Timestamp,
    ) -> Result<()> {
        execute!(&self.writes,
            "UPDATE app_registrations SET problem = NULL, signed_in_at = COALESCE(signed_in_at, $1)
             WHERE institution_id = $2 AND id = $3";
            now, institution, registration
        )
    }

    /// Microsoft renewed a mailbox with the credential in use: forgets the one before. `false`: it had done so already, or is not in
    /// use any more.
    pub async fn set_registration_renewed(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        registration: RegistrationId,
        now: Timestamp,
    ) -> Result<bool> {
        let first = changed!(&mut **tx,
            "UPDATE app_registrations SET renewed_at = $1 WHERE institution_id = $2 AND id = $3 AND slot = 'current'
             AND renewed_at IS NULL";
            now, institution, registration
        )? > 0;
        if !first {
            return Ok(false);
        }
        let previous = self.registration_within(tx, institution, Slot::Previous).await?;
        let Some(previous) = previous else { return Ok(false) };
        let superseded = Superseded {
            credential: previous.credential,
            stored_at: previous.secret_stored_at,
            expires_on: previous.secret_expires_on,
            secret_id: previous.secret_id,
        };
        execute!(&mut **tx,
            "UPDATE app_registrations SET superseded = $1 WHERE institution_id = $2 AND id = $3";
            superseded, institution, registration
        )?;
        self.drop_registration(tx, institution, Slot::Previous).await?;
        Ok(true)
    }

    pub async fn forget_superseded(&self, tx: &mut Tx, institution: InstitutionId) -> Result<()> {
        execute!(&mut **tx,
            "UPDATE app_registrations SET superseded = NULL WHERE institution_id = $1 AND slot = 'current'"; institution
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

    pub async fn put_guide_step(&self, institution: InstitutionId, row: GuideRow) -> Result<()> {
        execute!(&self.writes,
            "INSERT INTO guide_steps (institution_id, step, done, proven, updated_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (institution_id, step) DO UPDATE SET done = $3, updated_at = $5,
               proven = CASE WHEN $4 = 1 THEN 1 ELSE guide_steps.proven END";
            institution, row.step, row.done, row.proven, row.updated_at
        )
    }
}
