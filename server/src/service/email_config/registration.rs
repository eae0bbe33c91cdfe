//! The app registration: verified with Microsoft, sealed, and put into use or stored beside the verified one.

use app::backend::Result;
use std::collections::BTreeMap;
use std::time::Duration;

use app::backend::Administrator;
use app::error::AppError;
use app::model::{AuditAction, CredentialKind, Flash, GuideStep, InstitutionId, MailboxState, Notice, Tenant, Tone};

use super::candidate::{Candidate, Verdict};
use super::form::{Parsed, Values, field};
use crate::diagnosis::Fault;
use crate::identity::Credentials;
use crate::service::{Happened, Services, Who};
use crate::store::{EmailSettings, Mailbox, Registration, Slot};

/// How long Save waits for a renewal, which goes on by then.
const PROVED_WITHIN: Duration = Duration::from_secs(10);
/// Causes that concern the registration itself.
const REFUSES_ALL: [&str; 5] = ["secret_wrong", "secret_expired", "client_unknown", "tenant_unknown", "app_disabled"];

impl Services {
    /// Puts a verified registration into use. `ends`: with other IDs, every connection ends.
    async fn use_registration(
        &self,
        admin: &Administrator,
        settings: Option<&EmailSettings>,
        new: &Registration,
        ends: bool,
    ) -> Result<Renewal> {
        let (institution, now) = (admin.institution().id, self.clock.now());
        let theirs = self.store.mailboxes(institution).await?;
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        let old = self.store.registration_within(&mut tx, institution, Slot::Current).await?;
        // A certificate may have been removed while Microsoft was asked.
        if new.credential == CredentialKind::Certificate
            && !self.store.has_signing_key(&mut tx, institution, new.credential_id).await?
        {
            return Err(AppError::refused("The certificate was removed meanwhile. Nothing was saved.").into());
        }
        if let Some(settings) = settings {
            self.store.put_email_settings(&mut tx, institution, settings, now).await?;
        }
        let same = old.as_ref().is_some_and(|old| old.is_same_app(new));
        match &old {
            Some(old)
                if same && (old.verified_at.is_some() || old.renewed_at.is_some()) && is_other_credential(old, new) =>
            {
                self.store.keep_as_previous(&mut tx, institution, old).await?;
            }
            Some(_) if same => {}
            _ => self.store.drop_registration(&mut tx, institution, Slot::Previous).await?,
        }
        self.store.put_registration(&mut tx, institution, Slot::Current, new, now).await?;
        self.store.drop_registration(&mut tx, institution, Slot::Waiting).await?;
        if ends {
            let problem = Fault::new("registration_changed", now, &[]);
            self.store.end_connections(&mut tx, institution, &problem, now).await?;
            self.store.drop_guide_proofs(&mut tx, institution).await?;
        } else {
            self.store.test_blocked_now(&mut tx, institution, now).await?;
            self.store.resume_queues(&mut tx, institution, now).await?;
        }
        if let Some(settings) = settings {
            self.audit(&mut tx, institution, Who::Person(admin), saved(settings)).await?;
        }
        let action = match new.credential {
            _ if !same => Some(AuditAction::RegistrationChanged),
            // Saved again without a new one.
            _ if old.as_ref().is_some_and(|old| !is_other_credential(old, new)) => {
                let same_dates = old.as_ref().is_some_and(|old| {
                    old.secret_expires_on == new.secret_expires_on && old.secret_id == new.secret_id
                });
                (!same_dates).then_some(AuditAction::RegistrationChanged)
            }
            CredentialKind::Secret => Some(AuditAction::SecretReplaced),
            _ => Some(AuditAction::CredentialChanged),
        };
        if let Some(action) = action {
            self.audit(&mut tx, institution, Who::Person(admin), of_registration(action, new)).await?;
        }
        tx.commit().await?;
        self.outbox.wake();
        if ends {
            theirs.iter().for_each(|mailbox| self.tokens.forget(mailbox.id));
        }
        let is_renewed = same && old.as_ref().is_some_and(|old| is_other_credential(old, new));
        let renewal = match new.verified_at {
            Some(_) if is_renewed => self.prove_renewal(institution, &theirs).await?,
            _ => Renewal::Untried,
        };
        if new.verified_at.is_some() {
            self.prove_steps(institution, &[GuideStep::Register, GuideStep::Ids]).await?;
            if new.credential == CredentialKind::Secret {
                self.prove_steps(institution, &[GuideStep::Secret]).await?;
            }
        }
        Ok(renewal)
    }

    /// Renews one mailbox with a new credential: that Microsoft takes it for the app alone proves nothing for people's grants.
    async fn prove_renewal(&self, institution: InstitutionId, mailboxes: &[Mailbox]) -> Result<Renewal> {
        // After an expiry all are blocked, and their grants still hold.
        let with_grant = [MailboxState::Connected, MailboxState::Blocked];
        let found = with_grant.iter().find_map(|state| mailboxes.iter().find(|mailbox| mailbox.state == *state));
        let Some(mailbox) = found else { return Ok(Renewal::Untried) };
        match tokio::time::timeout(PROVED_WITHIN, self.tokens.prove(mailbox)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!("a new credential has not renewed a mailbox yet: {error}"),
            Err(_) => tracing::warn!("a new credential renews a mailbox, which takes long"),
        }
        // The credential before may have renewed it instead.
        let current = self.store.registration(institution, Slot::Current).await?;
        Ok(if current.is_some_and(|current| current.renewed_at.is_some()) { Renewal::Proved } else { Renewal::NotYet })
    }

    async fn put_waiting(
        &self,
        admin: &Administrator,
        settings: Option<&EmailSettings>,
        new: &Registration,
    ) -> Result<()> {
        let (institution, now) = (admin.institution().id, self.clock.now());
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        if let Some(settings) = settings {
            self.store.put_email_settings(&mut tx, institution, settings, now).await?;
        }
        self.store.put_registration(&mut tx, institution, Slot::Waiting, new, now).await?;
        if let Some(settings) = settings {
            self.audit(&mut tx, institution, Who::Person(admin), saved(settings)).await?;
        }
        let happened = of_registration(AuditAction::RegistrationChanged, new).with("In use", "not yet");
        self.audit(&mut tx, institution, Who::Person(admin), happened).await?;
        Ok(tx.commit().await?)
    }

    /// Uses verified values at once, unless that ends connections without confirmation.
    async fn take_accepted(
        &self,
        admin: &Administrator,
        settings: Option<&EmailSettings>,
        current: Option<&Registration>,
        mut new: Registration,
        confirmed: bool,
        renewed: bool,
    ) -> Result<Flash> {
        new.verified_at = Some(self.clock.now());
        let ends = current.is_some_and(|current| !current.is_same_app(&new));
        let people = self.store.people_connected(admin.institution().id).await?;
        if ends && people > 0 && !confirmed {
            self.put_waiting(admin, settings, &new).await?;
            return Ok(Flash::notice(question(people)));
        }
        let renewal = self.use_registration(admin, settings, &new, ends).await?;
        Ok(Flash::notice(accepted((renewed && !ends).then_some(renewal), new.credential)))
    }

    fn refused(&self, admin: &Administrator, fault: &Fault) -> Flash {
        // No account signs in here: causes about accounts concern the tenant.
        let fault = match fault.cause.as_str() {
            "foreign_account" => &Fault { cause: "tenant_unfit".into(), ..fault.clone() },
            _ => fault,
        };
        let diagnosis = fault.explain(&self.reader(admin, ""));
        let blamed = match fault.cause.as_str() {
            "client_unknown" | "ids_swapped" => Some(("client_id", "Client ID")),
            "tenant_unknown" | "tenant_unfit" | "single_tenant" | "other_cloud" => Some(("tenant_id", "Tenant ID")),
            "secret_wrong" | "secret_expired" => Some(("client_secret", "Client Secret")),
            _ => None,
        };
        if fault.cause == "other_cloud" && self.config.clouds.all().len() > 1 {
            let answer = fault.facts.iter().find(|(name, _)| name == "Answer").map_or("", |(_, text)| text);
            let right: Vec<&str> =
                self.config.clouds.named_by(answer).into_iter().map(|cloud| cloud.label.as_str()).collect();
            let text = match right.as_slice() {
                [] => format!("{} {}", diagnosis.title, diagnosis.steps[0].text),
                some => format!("{} Choose {}.", diagnosis.title, some.join(" or ")),
            };
            return Flash {
                errors: vec![field("cloud", "Cloud", text)],
                diagnosis: Some(diagnosis),
                ..Flash::default()
            };
        }
        let (errors, notice) = match blamed {
            Some((name, label)) => {
                let more = diagnosis.summary.strip_prefix(&diagnosis.title).unwrap_or(&diagnosis.summary).trim_start();
                (vec![field(name, label, format!("{} {more}", diagnosis.title))], None)
            }
            // Any other refusal concerns no field.
            None => {
                let text = format!("{} Nothing was saved.", diagnosis.summary);
                (Vec::new(), Some(Notice::new(Tone::Problem, diagnosis.title.clone(), text)))
            }
        };
        Flash { errors, notice, diagnosis: Some(diagnosis), ..Flash::default() }
    }

    fn not_yet(&self, admin: &Administrator, fault: &Fault) -> Flash {
        let mut flash = Flash::notice(Notice::new(
            Tone::Warning,
            "Microsoft doesn't know the federated credential yet.",
            "The values are saved. If you added it just now, wait a few minutes and press Check again. Otherwise compare issuer, subject and audience: each must match exactly.",
        ));
        flash.diagnosis = Some(fault.explain(&self.reader(admin, "")));
        flash
    }

    fn silent(&self, admin: &Administrator, fault: &Fault, beside: bool) -> Flash {
        let text = if beside {
            "The current values stay in use. Press Check again in a few minutes."
        } else {
            "The values are saved, but Microsoft hasn't checked them yet. Press Check again in a few minutes."
        };
        let mut flash = Flash::notice(Notice::new(Tone::Warning, "Microsoft didn't answer.", text));
        flash.diagnosis = Some(fault.explain(&self.reader(admin, "")));
        flash
    }

    pub(super) async fn save_registration(
        &self,
        admin: &Administrator,
        parsed: &Parsed,
        values: &Values,
        confirmed: bool,
    ) -> Result<Flash> {
        let institution = admin.institution().id;
        let current = self.store.registration(institution, Slot::Current).await?;
        let waiting = self.store.registration(institution, Slot::Waiting).await?;
        let now = self.clock.now();
        let from_waiting = waiting.as_ref().is_some_and(|waiting| waiting.client_id == values.client_id);
        // An empty secret keeps the stored one: of the waiting values if they match, otherwise of those in use.
        let kept = waiting.as_ref().filter(|waiting| waiting.client_id == values.client_id).or(current.as_ref());
        let Candidate { registration, secret, proof, cloud, is_new } = match self.candidate(admin, values, kept).await?
        {
            Ok(candidate) => candidate,
            Err(error) => return Ok(Flash { errors: vec![error], ..Flash::default() }),
        };
        let (fault, is_unknown) = match self.ask_microsoft(&cloud, values.client_id, &values.tenant, &proof).await {
            Verdict::Refused(fault) => {
                // The unchanged values in use are refused: no one can sign in.
                let in_use = current.as_ref().filter(|current| {
                    current.client_id == values.client_id
                        && current.cloud == values.cloud
                        && matches!(&values.tenant, Tenant::Id(tenant) if *tenant == current.tenant_id)
                });
                if let Some(in_use) = in_use
                    && !is_new
                    && !from_waiting
                    && REFUSES_ALL.contains(&fault.cause.as_str())
                {
                    self.store.set_registration_problem(institution, in_use.id, Some(&fault), now).await?;
                }
                return Ok(self.refused(admin, &fault));
            }
            Verdict::Accepted(tenant_id) => {
                let new = self.sealed(&registration, tenant_id, secret.as_ref())?;
                let renewed = is_new && current.is_some();
                return self
                    .take_accepted(admin, Some(&parsed.settings), current.as_ref(), new, confirmed, renewed)
                    .await;
            }
            Verdict::Silent(fault) => (fault, false),
            Verdict::NotYet(fault) => (fault, true),
        };
        let Tenant::Id(tenant_id) = values.tenant else {
            let text = "Microsoft didn't answer which tenant has this domain. Paste the Directory (tenant) ID instead, or try again in a few minutes.";
            let mut flash = Flash { errors: vec![field("tenant_id", "Tenant ID", text)], ..Flash::default() };
            flash.diagnosis = Some(fault.explain(&self.reader(admin, "")));
            return Ok(flash);
        };
        let same = current.as_ref().filter(|current| {
            current.client_id == values.client_id
                && current.tenant_id == tenant_id
                && current.cloud == values.cloud
                && !is_new
                && !from_waiting
        });
        if let (Some(same), false) = (same, is_unknown) {
            // Nothing that Microsoft verifies has changed: the values stay verified.
            let (secret_expires_on, secret_id) = (registration.secret_expires_on, registration.secret_id);
            let kept = Registration { secret_expires_on, secret_id, ..same.clone() };
            self.use_registration(admin, Some(&parsed.settings), &kept, false).await?;
            return Ok(Flash::notice(Notice::new(
                Tone::Warning,
                "Saved, but not checked: Microsoft didn't answer.",
                "Client ID, Tenant ID and secret are unchanged.",
            )));
        }
        let new = self.sealed(&registration, tenant_id, secret.as_ref())?;
        let people = self.store.people_connected(institution).await?;
        // Replaces unverified values at once, unless mailboxes are connected with them.
        let beside = current.as_ref().is_some_and(|current| current.verified_at.is_some() || people > 0);
        if beside {
            self.put_waiting(admin, Some(&parsed.settings), &new).await?;
        } else {
            self.use_registration(admin, Some(&parsed.settings), &new, false).await?;
        }
        Ok(if is_unknown { self.not_yet(admin, &fault) } else { self.silent(admin, &fault, beside) })
    }

    /// Verifies values stored while Microsoft was unreachable.
    pub(super) async fn verify_registration(&self, admin: &Administrator, confirmed: bool) -> Result<Flash> {
        let institution = admin.institution().id;
        let current = self.store.registration(institution, Slot::Current).await?;
        let waiting = self.store.registration(institution, Slot::Waiting).await?;
        let beside = waiting.is_some();
        let Some(candidate) = waiting.or_else(|| current.clone()) else {
            return Err(AppError::refused("There is nothing to check yet. Fill in the form and save.").into());
        };
        let secret = self.opened_secret(&candidate)?;
        let Credentials { proof, cloud, .. } = self.app_credentials.credentials(institution, &candidate).await?;
        match self.ask_microsoft(&cloud, candidate.client_id, &Tenant::Id(candidate.tenant_id), &proof).await {
            Verdict::Refused(fault) => {
                if !beside {
                    self.store
                        .set_registration_problem(institution, candidate.id, Some(&fault), self.clock.now())
                        .await?;
                }
                let mut flash = self.refused(admin, &fault);
                // The diagnosis next to it gives the reason.
                flash.notice = Some(Notice::new(
                    Tone::Problem,
                    "Microsoft rejected these values.",
                    "They stay saved. Correct them below and save.",
                ));
                Ok(flash)
            }
            Verdict::Silent(fault) => Ok(self.silent(admin, &fault, beside)),
            Verdict::NotYet(fault) => Ok(self.not_yet(admin, &fault)),
            Verdict::Accepted(tenant_id) => {
                let new = self.sealed(&candidate, tenant_id, secret.as_ref())?;
                self.take_accepted(admin, None, current.as_ref(), new, confirmed, beside).await
            }
        }
    }

    /// Asks for confirmation before connections end, if there are any.
    async fn asks_first(
        &self,
        admin: &Administrator,
        title: &str,
        condition: &str,
        typed: BTreeMap<String, String>,
    ) -> Result<Option<Flash>> {
        let people = self.store.people_connected(admin.institution().id).await?;
        if people == 0 {
            return Ok(None);
        }
        let concerned = app::model::people(people);
        let text = format!(
            "{condition} every connection ends: {concerned} must sign in again later. Tick “Yes, end the connections” and save again."
        );
        let mut flash = Flash::notice(Notice::new(Tone::Warning, title, text));
        flash.question = Some(("Yes, end the connections".into(), "confirm_disconnect".into()));
        flash.typed = typed;
        Ok(Some(flash))
    }

    /// Switches to the system default after confirmation, which ends every connection. Keeps the registration.
    pub(super) async fn use_system_default(
        &self,
        admin: &Administrator,
        settings: &EmailSettings,
        confirmed: bool,
        typed: BTreeMap<String, String>,
    ) -> Result<Flash> {
        let title = "Stop using MS Exchange Online?";
        if !confirmed && let Some(flash) = self.asks_first(admin, title, "With the system default", typed).await? {
            return Ok(flash);
        }
        self.end_connections(admin, settings, "provider_changed").await?;
        Ok(Flash::notice(Notice::new(Tone::Success, "Saved.", "Your institution uses the system default.")))
    }

    /// Deletes the registration and its secret after confirmation, which ends every connection.
    pub(super) async fn forget_secret(
        &self,
        admin: &Administrator,
        settings: &EmailSettings,
        confirmed: bool,
        typed: BTreeMap<String, String>,
    ) -> Result<Flash> {
        if !confirmed
            && let Some(flash) =
                self.asks_first(admin, "Remove the Client Secret?", "Without the secret", typed).await?
        {
            return Ok(flash);
        }
        self.end_connections(admin, settings, "registration_changed").await?;
        Ok(Flash::notice(Notice::new(
            Tone::Success,
            "Client Secret removed.",
            "The app registration was removed, too.",
        )))
    }

    /// Saves the settings and ends every connection. If the registration changes, deletes it and its secret.
    async fn end_connections(&self, admin: &Administrator, settings: &EmailSettings, cause: &str) -> Result<()> {
        let institution = admin.institution().id;
        let (mailboxes, now) = (self.store.mailboxes(institution).await?, self.clock.now());
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        self.store.put_email_settings(&mut tx, institution, settings, now).await?;
        if cause == "registration_changed" {
            self.store.drop_registration(&mut tx, institution, Slot::Current).await?;
            self.store.drop_registration(&mut tx, institution, Slot::Waiting).await?;
            self.store.drop_registration(&mut tx, institution, Slot::Previous).await?;
            self.store.drop_guide_proofs(&mut tx, institution).await?;
        }
        self.store.end_connections(&mut tx, institution, &Fault::new(cause, now, &[]), now).await?;
        self.audit(&mut tx, institution, Who::Person(admin), saved(settings)).await?;
        if cause == "registration_changed" {
            let happened = Happened::new(AuditAction::RegistrationRemoved, "");
            self.audit(&mut tx, institution, Who::Person(admin), happened).await?;
        }
        tx.commit().await?;
        mailboxes.iter().for_each(|mailbox| self.tokens.forget(mailbox.id));
        Ok(())
    }
}

/// For the log: what of the settings is no secret.
fn saved(settings: &EmailSettings) -> Happened<'_> {
    let provider = settings.provider.as_str();
    let happened = Happened::new(AuditAction::ConfigurationSaved, "").with("Email Provider", provider);
    let from = if settings.custom_from { settings.custom_from_address.as_str() } else { "no" };
    let other = if settings.allow_other_address { "yes" } else { "no" };
    let reminders =
        if settings.reminder_address.is_empty() { "administrators only" } else { &settings.reminder_address };
    happened.with("Custom Email From", from).with("Other addresses allowed", other).with("Reminders also to", reminders)
}

/// Whether Microsoft gets another proof than before.
fn is_other_credential(old: &Registration, new: &Registration) -> bool {
    old.credential != new.credential || old.credential_id != new.credential_id
}

fn of_registration(action: AuditAction, new: &Registration) -> Happened<'static> {
    let happened = Happened::new(action, "")
        .with("Client ID", new.client_id.to_string())
        .with("Tenant ID", new.tenant_id.to_string())
        .with("Credential", new.credential.label())
        .with("Cloud", if new.cloud.is_empty() { "this server's own" } else { new.cloud.as_str() });
    match new.secret_expires_on.clone() {
        Some(expires) => happened.with("Expires", expires),
        None => happened,
    }
}

/// Whether a new credential has renewed a mailbox.
enum Renewal {
    /// No mailbox has a grant, or the credential is not new.
    Untried,
    Proved,
    NotYet,
}

/// The notice after a successful Save. `renewal`: of a new credential for the registration in use.
fn accepted(renewal: Option<Renewal>, credential: CredentialKind) -> Notice {
    let is_secret = credential == CredentialKind::Secret;
    let new = if is_secret { "new secret".to_owned() } else { credential.name().to_owned() };
    let text = match renewal {
        Some(Renewal::Proved) => format!("The {new} is already in use for every connected mailbox."),
        Some(Renewal::NotYet) => {
            format!(
                "The {new} is in use, but has not renewed a mailbox yet: Microsoft may need some minutes to know it everywhere."
            )
        }
        Some(Renewal::Untried) => format!("The {new} is in use."),
        None if is_secret => "Microsoft accepts Client ID, Tenant ID and secret.".to_owned(),
        None => format!("Microsoft accepts Client ID, Tenant ID and {new}."),
    };
    Notice { in_status: true, ..Notice::new(Tone::Success, "Microsoft accepted the credentials.", text) }
}

fn question(people: i64) -> Notice {
    let concerned = app::model::people(people);
    let text = format!(
        "But connections are bound to Client ID and Tenant ID: with the new ones, {concerned} must sign in again. The current values stay in use until you choose below."
    );
    Notice::new(Tone::Warning, "Microsoft accepts the new values.", text)
}
