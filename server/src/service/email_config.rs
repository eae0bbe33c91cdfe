//! Institution Config > General > Email: Save, the guide, notifications.

use app::backend::{Administrator, Departure, EmailConfig, Home, SignedIn, Visitor};
use app::error::AppError;
use app::model::{
    AttemptKind, ClientId, ClientSecret, EmailAddress, EmailConfigForm, EmailConfigView, FieldError, Flash, GuideStep,
    GuideStepView, MailboxId, MailboxState, Notice, NotificationView, Provider, RegistrationId, RegistrationView,
    SecretExpiry, Tenant, TenantId, Tone,
};
use async_trait::async_trait;

use super::{Handle, OrInternal, Services};
use crate::clock::Clock;
use crate::diagnosis::Fault;
use crate::identity::{Credentials, IdentityError};
use crate::store::{EmailSettings, GuideRow, Registration, Slot};
use crate::tokens::secret_place;
use crate::vault::Secret;

/// The form, parsed.
struct Parsed {
    settings: EmailSettings,
    registration: Option<Values>,
    forget_secret: bool,
}

/// The three values, parsed.
struct Values {
    client_id: ClientId,
    tenant: Tenant,
    secret: Option<Secret>,
    expires_on: Option<SecretExpiry>,
}

/// What Microsoft said of three values.
enum Verdict {
    Accepted { tenant_id: TenantId, authorize_origin: String },
    Refused(Fault),
    Silent(Fault),
}

fn field(field: &str, label: &str, text: impl ToString) -> FieldError {
    FieldError { field: field.into(), label: label.into(), text: text.to_string() }
}

fn parse(
    form: EmailConfigForm,
    old: &EmailSettings,
    stored_expiry: Option<&str>,
    clock: &Clock,
) -> Result<Parsed, Vec<FieldError>> {
    let mut errors = Vec::new();
    let provider = Provider::parse(&form.provider);
    if provider.is_none() {
        errors.push(field("provider", "Email Provider", "Choose a provider."));
    }
    let custom_from = form.custom_from == "yes";
    let typed = form.custom_from_address.trim().to_owned();
    let custom_from_address = if custom_from || !typed.is_empty() {
        match EmailAddress::parse(&typed) {
            Ok(address) => address.to_string(),
            Err(error) => {
                errors.push(field("custom_from_address", "Custom From address", error));
                String::new()
            }
        }
    } else {
        String::new()
    };
    let forget_secret = form.secret_change == "remove";
    let mut registration = None;
    if provider == Some(Provider::ExchangeOnline) && !forget_secret {
        let client_id =
            ClientId::parse(&form.client_id).map_err(|error| errors.push(field("client_id", "Client ID", error)));
        let tenant =
            Tenant::parse(&form.tenant_id).map_err(|error| errors.push(field("tenant_id", "Tenant ID", error)));
        let secret = ClientSecret::parse(&form.client_secret)
            .map_err(|error| errors.push(field("client_secret", "Client Secret", error)));
        let expires_on = SecretExpiry::parse(&form.secret_expires_on)
            .and_then(|date| match date {
                // A date that is stored already is no mistake of this Save, even if it is past by now.
                Some(date) if date.days_left(clock.now()) < 0 && stored_expiry != Some(date.to_string().as_str()) => {
                    Err(app::model::RegistrationError::Expiry)
                }
                other => Ok(other),
            })
            .map_err(|error| errors.push(field("secret_expires_on", "Secret expires on", error)));
        if let (Ok(client_id), Ok(tenant), Ok(secret), Ok(expires_on)) = (client_id, tenant, secret, expires_on) {
            registration = Some(Values {
                client_id,
                tenant,
                secret: secret.map(|secret| Secret::new(secret.reveal())),
                expires_on,
            });
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let same_sender = custom_from
        && EmailAddress::parse(&custom_from_address).is_ok_and(|address| address.same_as(&old.custom_from_address));
    Ok(Parsed {
        settings: EmailSettings {
            provider: provider.unwrap_or(Provider::SystemDefault),
            custom_from,
            custom_from_address,
            // Another sender has to be tested anew.
            notification_mailbox: old.notification_mailbox.filter(|_| same_sender),
            notification_problem: old.notification_problem.clone().filter(|_| same_sender),
            allow_other_address: form.allow_other_address == "yes",
        },
        registration,
        forget_secret,
    })
}

impl Services {
    async fn ask_microsoft(&self, client_id: ClientId, tenant: &Tenant, secret: &Secret) -> Verdict {
        let now = self.clock.now();
        let named = match tenant {
            Tenant::Id(id) => id.to_string(),
            Tenant::Domain(domain) => domain.clone(),
        };
        let credentials = Credentials { client_id, tenant: named, secret: secret.clone() };
        match self.entra.probe(&credentials).await {
            Ok(discovery) => {
                let found = match tenant {
                    Tenant::Id(id) => Some(*id),
                    Tenant::Domain(_) => discovery.tenant_id().map(TenantId),
                };
                match found {
                    Some(tenant_id) => Verdict::Accepted { tenant_id, authorize_origin: discovery.authorize_origin() },
                    None => {
                        Verdict::Refused(Fault::new("tenant_unknown", now, &[("Issuer", discovery.issuer.clone())]))
                    }
                }
            }
            Err(error) if error.is_transient() || matches!(error, IdentityError::Protocol { .. }) => {
                Verdict::Silent(Fault::identity(&error, now))
            }
            Err(error) => Verdict::Refused(Fault::identity(&error, now)),
        }
    }

    /// A registration with its secret sealed for a new row.
    fn sealed(
        &self,
        values: (ClientId, TenantId),
        secret: &Secret,
        like: &Registration,
    ) -> Result<Registration, AppError> {
        let mut new = Registration {
            id: RegistrationId(self.clock.uuid()),
            client_id: values.0,
            tenant_id: values.1,
            ..like.clone()
        };
        new.secret_sealed = self.vault.seal(&secret_place(&new), secret).or_internal(self)?;
        Ok(new)
    }

    async fn store_settings(&self, admin: &Administrator, settings: &EmailSettings) -> Result<(), AppError> {
        let mut tx = self.store.begin().await.or_internal(self)?;
        self.store
            .put_email_settings(&mut tx, admin.institution().id, settings, self.clock.now())
            .await
            .or_internal(self)?;
        tx.commit().await.or_internal(self)
    }

    /// Puts an accepted registration into use. `ends`: other IDs, so every connection ends.
    async fn use_registration(
        &self,
        admin: &Administrator,
        settings: Option<&EmailSettings>,
        new: &Registration,
        ends: bool,
    ) -> Result<(), AppError> {
        let (institution, now) = (admin.institution().id, self.clock.now());
        let theirs = self.store.mailboxes(institution).await.or_internal(self)?;
        let mut tx = self.store.begin().await.or_internal(self)?;
        if let Some(settings) = settings {
            self.store.put_email_settings(&mut tx, institution, settings, now).await.or_internal(self)?;
        }
        self.store.put_registration(&mut tx, institution, Slot::Current, new, now).await.or_internal(self)?;
        self.store.drop_registration(&mut tx, institution, Slot::Waiting).await.or_internal(self)?;
        if ends {
            let problem = Fault::new("registration_changed", now, &[]).to_json();
            self.store.end_connections(&mut tx, institution, &problem, now).await.or_internal(self)?;
            self.store.drop_guide_proofs(&mut tx, institution).await.or_internal(self)?;
        } else {
            self.store.test_blocked_now(&mut tx, institution, now).await.or_internal(self)?;
        }
        tx.commit().await.or_internal(self)?;
        if ends {
            theirs.iter().for_each(|mailbox| self.tokens.forget(mailbox.id));
        }
        if new.verified_at.is_some() {
            let proven = [GuideStep::Register, GuideStep::Ids, GuideStep::Secret];
            self.prove_steps(institution, &proven).await.or_internal(self)?;
        }
        Ok(())
    }

    async fn put_waiting(
        &self,
        admin: &Administrator,
        settings: Option<&EmailSettings>,
        new: &Registration,
    ) -> Result<(), AppError> {
        let (institution, now) = (admin.institution().id, self.clock.now());
        let mut tx = self.store.begin().await.or_internal(self)?;
        if let Some(settings) = settings {
            self.store.put_email_settings(&mut tx, institution, settings, now).await.or_internal(self)?;
        }
        self.store.put_registration(&mut tx, institution, Slot::Waiting, new, now).await.or_internal(self)?;
        tx.commit().await.or_internal(self)
    }

    fn refused(&self, admin: &Administrator, fault: &Fault) -> Flash {
        let diagnosis = fault.explain(&self.reader(admin, ""));
        let (name, label) = match fault.cause.as_str() {
            "client_unknown" => ("client_id", "Client ID"),
            "tenant_unknown" | "single_tenant" | "other_cloud" => ("tenant_id", "Tenant ID"),
            _ => ("client_secret", "Client Secret"),
        };
        Flash {
            errors: vec![field(name, label, format!("{} {}", diagnosis.title, diagnosis.summary))],
            diagnosis: Some(diagnosis),
            ..Flash::default()
        }
    }

    fn silent(&self, admin: &Administrator, fault: &Fault, beside: bool) -> Flash {
        let text = if beside {
            "The new values wait, unused, beside the verified ones. Press Verify again in a few minutes."
        } else {
            "The values are stored, but nobody has verified them yet. Press Verify again in a few minutes."
        };
        let mut flash = Flash::notice(Notice::new(Tone::Warning, "Microsoft could not be asked.", text));
        flash.diagnosis = Some(fault.explain(&self.reader(admin, "")));
        flash
    }

    async fn save_registration(
        &self,
        admin: &Administrator,
        parsed: &Parsed,
        values: &Values,
        confirmed: bool,
    ) -> Result<Flash, AppError> {
        let institution = admin.institution().id;
        let current = self.store.registration(institution, Slot::Current).await.or_internal(self)?;
        let waiting = self.store.registration(institution, Slot::Waiting).await.or_internal(self)?;
        let now = self.clock.now();
        let from_waiting = waiting.as_ref().is_some_and(|waiting| waiting.client_id == values.client_id);
        // An empty secret keeps the stored one: of the waiting values if these are they, else of those in use.
        let kept = waiting.as_ref().filter(|waiting| waiting.client_id == values.client_id).or(current.as_ref());
        let (secret, stored_at, is_new) = match (&values.secret, kept) {
            (Some(secret), _) => (secret.clone(), now, true),
            (None, Some(kept)) => (
                self.vault.open(&secret_place(kept), &kept.secret_sealed).or_internal(self)?,
                kept.secret_stored_at,
                false,
            ),
            (None, None) => {
                return Err(AppError::field(
                    "client_secret",
                    "Client Secret",
                    app::model::RegistrationError::SecretMissing.to_string(),
                ));
            }
        };
        let like = Registration {
            id: RegistrationId(uuid::Uuid::nil()),
            client_id: values.client_id,
            tenant_id: TenantId(uuid::Uuid::nil()),
            secret_sealed: String::new(),
            secret_stored_at: stored_at,
            secret_expires_on: values.expires_on.map(|date| date.to_string()),
            authorize_origin: current.as_ref().and_then(|current| current.authorize_origin.clone()),
            verified_at: None,
        };
        match self.ask_microsoft(values.client_id, &values.tenant, &secret).await {
            Verdict::Refused(fault) => Ok(self.refused(admin, &fault)),
            Verdict::Accepted { tenant_id, authorize_origin } => {
                let mut new = self.sealed((values.client_id, tenant_id), &secret, &like)?;
                new.verified_at = Some(now);
                new.authorize_origin = Some(authorize_origin);
                let ends = current
                    .as_ref()
                    .is_some_and(|current| current.client_id != new.client_id || current.tenant_id != new.tenant_id);
                let people = self.store.people_connected(institution).await.or_internal(self)?;
                if ends && people > 0 && !confirmed {
                    self.put_waiting(admin, Some(&parsed.settings), &new).await?;
                    return Ok(Flash::notice(question(people)));
                }
                self.use_registration(admin, Some(&parsed.settings), &new, ends).await?;
                Ok(Flash::notice(accepted(is_new && current.is_some() && !ends)))
            }
            Verdict::Silent(fault) => {
                let Tenant::Id(tenant_id) = values.tenant else {
                    let text = "Microsoft could not be asked which tenant has this domain. Paste the Directory (tenant) ID instead, or try again in a few minutes.";
                    let mut flash = Flash { errors: vec![field("tenant_id", "Tenant ID", text)], ..Flash::default() };
                    flash.diagnosis = Some(fault.explain(&self.reader(admin, "")));
                    return Ok(flash);
                };
                let same = current.as_ref().filter(|current| {
                    current.client_id == values.client_id && current.tenant_id == tenant_id && !is_new && !from_waiting
                });
                if let Some(same) = same {
                    // Nothing that Microsoft judges has changed: what was verified stays so.
                    let kept = Registration { secret_expires_on: like.secret_expires_on, ..same.clone() };
                    self.use_registration(admin, Some(&parsed.settings), &kept, false).await?;
                    return Ok(Flash::notice(Notice::new(
                        Tone::Warning,
                        "Saved, but Microsoft could not be asked.",
                        "Client ID, Tenant ID and secret are unchanged.",
                    )));
                }
                let new = self.sealed((values.client_id, tenant_id), &secret, &like)?;
                let people = self.store.people_connected(institution).await.or_internal(self)?;
                // Unverified values are replaced at once, unless somebody is connected with them.
                let beside = current.as_ref().is_some_and(|current| current.verified_at.is_some() || people > 0);
                if beside {
                    self.put_waiting(admin, Some(&parsed.settings), &new).await?;
                } else {
                    self.use_registration(admin, Some(&parsed.settings), &new, false).await?;
                }
                Ok(self.silent(admin, &fault, beside))
            }
        }
    }

    pub(super) fn registration_view(&self, registration: &Registration) -> RegistrationView {
        let expiry =
            registration.secret_expires_on.as_deref().and_then(|text| SecretExpiry::parse(text).ok().flatten());
        RegistrationView {
            client_id: registration.client_id.to_string(),
            tenant_id: registration.tenant_id.to_string(),
            secret_stored_at: registration.secret_stored_at,
            secret_expires_on: registration.secret_expires_on.clone(),
            secret_days_left: expiry.map(|date| date.days_left(self.clock.now())),
            verified_at: registration.verified_at,
        }
    }

    async fn notifications(
        &self,
        admin: &Administrator,
        settings: &EmailSettings,
    ) -> Result<NotificationView, AppError> {
        let institution = admin.institution();
        let mailboxes = self.store.mailboxes(institution.id).await.or_internal(self)?;
        let sender = settings.notification_mailbox.and_then(|id| mailboxes.iter().find(|mailbox| mailbox.id == id));
        let own = mailboxes.iter().find(|mailbox| mailbox.kind == AttemptKind::Notifications);
        let attempts = self.store.notification_attempts(institution.id).await.or_internal(self)?;
        Ok(NotificationView {
            default_sender: self.default_sender(&institution.slug),
            custom_from: settings.custom_from,
            custom_from_address: settings.custom_from_address.clone(),
            system_smtp: self.config.system_smtp.is_some(),
            sender: sender.or(own).map(|mailbox| self.mailbox_view(admin, mailbox)),
            ready: sender.is_some_and(|mailbox| mailbox.state == MailboxState::Connected),
            problem: settings.notification_problem.clone(),
            candidates: mailboxes
                .iter()
                .filter(|mailbox| mailbox.kind == AttemptKind::Personal && mailbox.state == MailboxState::Connected)
                .map(|mailbox| (mailbox.id, mailbox.address.clone()))
                .collect(),
            attempts: self.summaries(attempts).await?,
        })
    }
}

fn accepted(renewed: bool) -> Notice {
    let text = if renewed {
        "The new secret is used at once, for every mailbox connected before. Redirect URI, permissions and consent are proven by connecting a mailbox."
    } else {
        "Microsoft accepts Client ID, Tenant ID and secret. Redirect URI, permissions and consent are proven by connecting a mailbox: start with yours."
    };
    Notice::new(Tone::Success, "IDs and secret are right.", text)
}

fn question(people: i64) -> Notice {
    let who = if people == 1 { "1 person".to_owned() } else { format!("{people} people") };
    let text = format!(
        "But connections are bound to Client ID and Tenant ID: with the new ones, {who} must connect again. The old ones stay in use until you decide below."
    );
    Notice::new(Tone::Warning, "Microsoft accepts the new values.", text)
}

#[async_trait]
impl EmailConfig for Handle {
    async fn view(&self, admin: &Administrator) -> Result<EmailConfigView, AppError> {
        let institution = admin.institution().id;
        let settings = self.store.email_settings(institution).await.or_internal(self)?;
        let current = self.store.registration(institution, Slot::Current).await.or_internal(self)?;
        let waiting = self.store.registration(institution, Slot::Waiting).await.or_internal(self)?;
        let rows = self.store.guide(institution).await.or_internal(self)?;
        let own = self.store.mailboxes_of(institution, admin.user()).await.or_internal(self)?;
        let guide = GuideStep::ALL
            .into_iter()
            .map(|step| {
                let row = rows.iter().find(|row| row.step == step);
                GuideStepView {
                    step,
                    done: row.is_some_and(|row| row.done),
                    proven: row.is_some_and(|row| row.proven && row.done),
                }
            })
            .collect();
        Ok(EmailConfigView {
            provider: settings.provider,
            redirect_uri: self.redirect_uri(&admin.institution().public_url),
            registration: current.as_ref().map(|current| self.registration_view(current)),
            waiting: waiting.as_ref().map(|waiting| self.registration_view(waiting)),
            allow_other_address: settings.allow_other_address,
            notifications: self.notifications(admin, &settings).await?,
            guide,
            example_address: admin.address().to_owned(),
            own_mailbox_connected: own.iter().any(|mailbox| mailbox.state == MailboxState::Connected),
            people_connected: self.store.people_connected(institution).await.or_internal(self)?,
        })
    }

    async fn save(&self, admin: &Administrator, form: EmailConfigForm) -> Result<Flash, AppError> {
        let institution = admin.institution().id;
        let old = self.store.email_settings(institution).await.or_internal(self)?;
        let confirmed = form.confirm_disconnect == "yes";
        let typed: std::collections::BTreeMap<String, String> =
            form.typed().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let stored = self.store.registration(institution, Slot::Current).await.or_internal(self)?;
        let stored_expiry = stored.and_then(|stored| stored.secret_expires_on);
        let parsed =
            parse(form, &old, stored_expiry.as_deref(), &self.clock).map_err(|fields| AppError::Invalid { fields })?;
        if parsed.forget_secret {
            let people = self.store.people_connected(institution).await.or_internal(self)?;
            if people > 0 && !confirmed {
                let text = format!(
                    "Without the secret {people} connected people must connect again later. Tick “Yes, end the connections” and save again."
                );
                let mut flash = Flash::notice(Notice::new(Tone::Warning, "Remove the secret?", text));
                flash.question = Some(("Yes, end the connections".into(), "confirm_disconnect".into()));
                flash.typed = typed;
                return Ok(flash);
            }
            let (theirs, now) = (self.store.mailboxes(institution).await.or_internal(self)?, self.clock.now());
            let mut tx = self.store.begin().await.or_internal(self)?;
            self.store.put_email_settings(&mut tx, institution, &parsed.settings, now).await.or_internal(self)?;
            self.store.drop_registration(&mut tx, institution, Slot::Current).await.or_internal(self)?;
            self.store.drop_registration(&mut tx, institution, Slot::Waiting).await.or_internal(self)?;
            let problem = Fault::new("registration_changed", now, &[]).to_json();
            self.store.end_connections(&mut tx, institution, &problem, now).await.or_internal(self)?;
            self.store.drop_guide_proofs(&mut tx, institution).await.or_internal(self)?;
            tx.commit().await.or_internal(self)?;
            theirs.iter().for_each(|mailbox| self.tokens.forget(mailbox.id));
            return Ok(Flash::notice(Notice::new(
                Tone::Success,
                "The secret is removed.",
                "Nothing of the registration is stored any more.",
            )));
        }
        let Some(values) = &parsed.registration else {
            self.store_settings(admin, &parsed.settings).await?;
            return Ok(Flash::notice(Notice::new(Tone::Success, "Saved.", "The institution uses the system default.")));
        };
        let mut flash = self.save_registration(admin, &parsed, values, confirmed).await?;
        if !flash.errors.is_empty() {
            flash.typed = typed;
        }
        Ok(flash)
    }

    async fn verify_again(&self, admin: &Administrator, confirmed: bool) -> Result<Flash, AppError> {
        let institution = admin.institution().id;
        let current = self.store.registration(institution, Slot::Current).await.or_internal(self)?;
        let waiting = self.store.registration(institution, Slot::Waiting).await.or_internal(self)?;
        let beside = waiting.is_some();
        let Some(candidate) = waiting.or_else(|| current.clone()) else {
            return Err(AppError::refused("There is nothing to verify yet. Fill in the form and save."));
        };
        let secret = self.vault.open(&secret_place(&candidate), &candidate.secret_sealed).or_internal(self)?;
        match self.ask_microsoft(candidate.client_id, &Tenant::Id(candidate.tenant_id), &secret).await {
            Verdict::Refused(fault) => {
                let mut flash = self.refused(admin, &fault);
                flash.notice = Some(Notice::new(
                    Tone::Problem,
                    "Microsoft refuses these values.",
                    "They stay stored, unverified. Correct them below and save.",
                ));
                Ok(flash)
            }
            Verdict::Silent(fault) => Ok(self.silent(admin, &fault, beside)),
            Verdict::Accepted { tenant_id, authorize_origin } => {
                let mut new = self.sealed((candidate.client_id, tenant_id), &secret, &candidate)?;
                new.verified_at = Some(self.clock.now());
                new.authorize_origin = Some(authorize_origin);
                let ends = current
                    .as_ref()
                    .is_some_and(|current| current.client_id != new.client_id || current.tenant_id != new.tenant_id);
                let people = self.store.people_connected(institution).await.or_internal(self)?;
                if ends && people > 0 && !confirmed {
                    self.put_waiting(admin, None, &new).await?;
                    return Ok(Flash::notice(question(people)));
                }
                self.use_registration(admin, None, &new, ends).await?;
                Ok(Flash::notice(accepted(beside && !ends)))
            }
        }
    }

    async fn discard_waiting(&self, admin: &Administrator) -> Result<Notice, AppError> {
        let mut tx = self.store.begin().await.or_internal(self)?;
        self.store.drop_registration(&mut tx, admin.institution().id, Slot::Waiting).await.or_internal(self)?;
        tx.commit().await.or_internal(self)?;
        Ok(Notice::new(Tone::Success, "The new values are discarded.", "The verified ones stay in use."))
    }

    async fn set_guide_step(&self, admin: &Administrator, step: GuideStep, done: bool) -> Result<(), AppError> {
        let row = GuideRow { step, done, proven: false };
        self.store.put_guide_step(admin.institution().id, row, self.clock.now()).await.or_internal(self)
    }

    async fn set_guide_steps(&self, admin: &Administrator, done: &[GuideStep]) -> Result<(), AppError> {
        let rows = self.store.guide(admin.institution().id).await.or_internal(self)?;
        for step in GuideStep::ALL {
            let was = rows.iter().find(|row| row.step == step).is_some_and(|row| row.done);
            if was != done.contains(&step) {
                self.set_guide_step(admin, step, !was).await?;
            }
        }
        Ok(())
    }

    async fn start_consent(&self, admin: &Administrator, visitor: &Visitor) -> Result<Departure, AppError> {
        self.begin_sign_in(admin, visitor, (AttemptKind::Consent, ""), "consent").await
    }

    async fn start_notifications(&self, admin: &Administrator, visitor: &Visitor) -> Result<Departure, AppError> {
        let settings = self.store.email_settings(admin.institution().id).await.or_internal(self)?;
        let address = EmailAddress::parse(&settings.custom_from_address)
            .ok()
            .filter(|_| settings.custom_from)
            .ok_or_else(|| {
                AppError::field(
                    "custom_from_address",
                    "Custom From address",
                    "Choose Yes, enter the address and save first.",
                )
            })?;
        self.begin_sign_in(admin, visitor, (AttemptKind::Notifications, address.as_str()), "select_account").await
    }

    async fn test_pair(&self, admin: &Administrator, mailbox: MailboxId) -> Result<String, AppError> {
        let institution = admin.institution().id;
        let settings = self.store.email_settings(institution).await.or_internal(self)?;
        if !settings.custom_from {
            return Err(AppError::field(
                "custom_from_address",
                "Custom From address",
                "Choose Yes, enter the address and save first.",
            ));
        }
        let found = self.store.mailbox(institution, mailbox).await.or_internal(self)?;
        let found = found.filter(|found| found.state == MailboxState::Connected).ok_or(AppError::NotFound)?;
        let id = self
            .retest(&found, admin.user(), (AttemptKind::Pair, &settings.custom_from_address), false)
            .await
            .or_internal(self)?;
        self.spawn_run(SignedIn::clone(admin), id);
        Ok(AttemptKind::Pair.path(id))
    }

    async fn disconnect_notifications(&self, admin: &Administrator) -> Result<Notice, AppError> {
        let institution = admin.institution().id;
        let mailboxes = self.store.mailboxes(institution).await.or_internal(self)?;
        for mailbox in mailboxes.iter().filter(|mailbox| mailbox.kind == AttemptKind::Notifications) {
            self.forget_mailbox(institution, mailbox.id).await?;
        }
        self.store.set_notification_mailbox(institution, None).await.or_internal(self)?;
        Ok(Notice::new(
            Tone::Success,
            "No mailbox sends notifications any more.",
            "They come from the system's sender, where there is one.",
        ))
    }

    async fn home(&self, me: &SignedIn) -> Result<Home, AppError> {
        self.home_page(me).await
    }
}
