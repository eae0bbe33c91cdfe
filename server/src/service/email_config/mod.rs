//! Institution Config > General > Email: Save, the guide, notifications.

mod candidate;
mod credentials;
mod form;
mod graph;
mod registration;

use app::backend::{Administrator, EmailConfig, Home, Institution, ProviderRedirect, Result, SignedIn, Visitor};
use app::error::AppError;
use app::model::{
    AttemptKind, AuditAction, CredentialsView, EmailAddress, EmailConfigForm, EmailConfigView, Flash, GraphUse,
    GuideStep, GuideStepView, MOST_ADDRESSES, MailboxId, MailboxState, Notice, NotificationView, PersonState,
    RegistrationView, SecretExpiry, SigningKeyId, Stopped, Tone,
};
use async_trait::async_trait;

use super::attempts::NEWEST;
use super::{Handle, Happened, Services, Who};
use crate::diagnosis::powershell;
use crate::identity::Prompt;
use crate::store::{EmailSettings, GuideRow, MailboxKey, Registration, Slot};
use form::parse;

/// Mailboxes to choose a sender from.
const MOST_CANDIDATES: i64 = 200;

impl Services {
    fn registration_view(registration: &Registration) -> RegistrationView {
        RegistrationView {
            client_id: registration.client_id.to_string(),
            tenant_id: registration.tenant_id.to_string(),
            cloud: registration.cloud.clone(),
            credential: registration.credential,
            has_secret: !registration.secret_sealed.is_empty(),
            secret_stored_at: registration.secret_stored_at,
            secret_expires_on: registration.secret_expires_on.clone(),
            uses: registration.uses(),
            superseded: registration.superseded.clone(),
            verified_at: registration.verified_at,
        }
    }

    async fn notifications(&self, admin: &Administrator, settings: &EmailSettings) -> Result<NotificationView> {
        let institution = admin.institution();
        let sender = match settings.notification_mailbox {
            Some(id) => self.store.mailbox(MailboxKey { institution: institution.id, id }).await?,
            None => None,
        };
        let own = self.store.notification_mailbox(institution.id).await?;
        let attempts = self.store.notification_attempts(institution.id, NEWEST).await?;
        let reader = self.reader_of_mailboxes(admin).await?;
        Ok(NotificationView {
            default_sender: self.outbox.default_sender(&institution.slug),
            custom_from: settings.custom_from,
            custom_from_address: settings.custom_from_address.clone(),
            system_smtp: self.config.system_smtp.is_some(),
            ready: sender.as_ref().is_some_and(|mailbox| mailbox.state != MailboxState::NeedsReconnect),
            sender: sender.or(own).map(|mailbox| Self::mailbox_view(admin, &mailbox, &reader)),
            problem: settings.notification_problem.clone(),
            candidates: self.store.connected_mailboxes(institution.id, MOST_CANDIDATES).await?,
            attempts: self.summaries(attempts).await?,
        })
    }
}

/// The command that switches on Authenticated SMTP and IMAP for addresses.
pub(super) fn switch_on<'a>(addresses: impl Iterator<Item = &'a str>) -> String {
    let addresses: Vec<String> = addresses.map(powershell).collect();
    let set = "-SmtpClientAuthenticationDisabled $false -ImapEnabled $true";
    if let [one] = addresses.as_slice() {
        return format!("Set-CASMailbox -Identity {one} {set}");
    }
    let quoted: Vec<String> = addresses
        .into_iter()
        .map(|address| if address.starts_with('\'') { address } else { format!("'{address}'") })
        .collect();
    format!("{} | ForEach-Object {{ Set-CASMailbox -Identity $_ {set} }}", quoted.join(","))
}

impl Services {
    /// Link for the consent of any administrator of the tenant, once the registration is known.
    pub(super) async fn consent_link(&self, institution: &Institution) -> Result<Option<String>> {
        let current = self.store.registration(institution.id, Slot::Current).await?;
        let graph = self.store.graph_use(institution.id).await? != GraphUse::Off;
        Ok(current.and_then(|current| {
            let back = self.redirect_uri(&institution.public_url);
            let (tenant, state) = (current.tenant_id.to_string(), app::model::SHARED_CONSENT);
            let cloud = self.app_credentials.cloud(&current.cloud).ok()?;
            let url = self.entra.admin_consent_url(&cloud, current.client_id, &tenant, &back, state, graph);
            url.ok().map(String::from)
        }))
    }
}

#[async_trait]
impl EmailConfig for Handle {
    async fn view(&self, admin: &Administrator) -> Result<EmailConfigView> {
        let institution = admin.institution().id;
        let settings = self.store.email_settings(institution).await?;
        let current = self.store.registration(institution, Slot::Current).await?;
        let waiting = self.store.registration(institution, Slot::Waiting).await?;
        let rows = self.store.guide(institution).await?;
        let own = self.store.mailboxes_of(institution, admin.user_id()).await?;
        let (addresses, count) = self.store.addresses_here(institution, MOST_ADDRESSES).await?;
        let state = self.email_state(admin).await?;
        // What stops email undoes its step, whatever was proven before.
        let undone = state.stopped().and_then(Stopped::step);
        let guide = GuideStep::ALL
            .into_iter()
            .map(|step| {
                let row = rows.iter().find(|row| row.step == step && undone != Some(step));
                GuideStepView {
                    step,
                    done: row.is_some_and(|row| row.done),
                    proven: row.is_some_and(|row| row.proven && row.done),
                    since: row.map(|row| row.updated_at),
                }
            })
            .collect();
        Ok(EmailConfigView {
            provider: settings.provider,
            redirect_uri: self.redirect_uri(&admin.institution().public_url),
            consent_link: self.consent_link(admin.institution()).await?,
            registration: current.as_ref().map(Services::registration_view),
            state,
            waiting: waiting.as_ref().map(Services::registration_view),
            allow_other_address: settings.allow_other_address,
            notifications: self.notifications(admin, &settings).await?,
            graph: self.graph_view(institution).await?,
            guide,
            secret_lifetimes: SecretExpiry::choices(self.clock.now()),
            reminder_address: settings.reminder_address.clone(),
            has_relay: self.config.system_smtp.is_some(),
            has_previous: self.store.registration(institution, Slot::Previous).await?.is_some(),
            in_global_cloud: self.in_global_cloud(current.as_ref().map_or("", |current| current.cloud.as_str())),
            clouds: self.config.clouds.all().iter().map(|cloud| (cloud.name.clone(), cloud.label.clone())).collect(),
            switches_here: (count, switch_on(addresses.iter().map(String::as_str))),
            switches_command: switch_on(std::iter::once(admin.address())),
            own_mailbox_connected: own.iter().any(|mailbox| mailbox.state == MailboxState::Connected),
            people_connected: self.store.people_connected(institution).await?,
            people_here: self
                .store
                .count_people(institution)
                .await?
                .into_iter()
                .filter(|(state, _)| *state != PersonState::Disabled)
                .map(|(_, count)| count)
                .sum(),
            now: self.clock.now(),
        })
    }

    async fn save(&self, admin: &Administrator, form: EmailConfigForm) -> Result<Flash> {
        let institution = admin.institution().id;
        let old = self.store.email_settings(institution).await?;
        let confirmed = form.confirm_disconnect == "yes";
        let typed: std::collections::BTreeMap<String, String> =
            form.typed().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let stored = self.store.registration(institution, Slot::Current).await?;
        let parsed = parse(form, &old, stored.as_ref(), &self.config.clouds, &self.clock)
            .map_err(|fields| AppError::Invalid { fields })?;
        if parsed.forget_secret {
            return self.forget_secret(admin, &parsed.settings, confirmed, typed).await;
        }
        let Some(values) = &parsed.registration else {
            return self.use_system_default(admin, &parsed.settings, confirmed, typed).await;
        };
        let mut flash = self.save_registration(admin, &parsed, values, confirmed).await?;
        let refused = flash.notice.as_ref().is_some_and(|notice| notice.tone == Tone::Problem);
        if refused || !flash.errors.is_empty() {
            flash.typed = typed;
        }
        Ok(flash)
    }

    async fn verify_again(&self, admin: &Administrator, confirmed: bool) -> Result<Flash> {
        self.verify_registration(admin, confirmed).await
    }

    async fn credentials(&self, admin: &Administrator) -> Result<CredentialsView> {
        self.credentials_view(admin).await
    }

    async fn key_set(&self, institution: &Institution) -> Result<String> {
        Ok(serde_json::to_string(&self.app_credentials.key_set(institution.id).await?)?)
    }

    async fn make_certificate(&self, admin: &Administrator) -> Result<Notice> {
        self.add_certificate(admin).await
    }

    async fn certificate(&self, admin: &Administrator, id: SigningKeyId) -> Result<(String, String)> {
        self.certificate_file(admin, id).await
    }

    async fn drop_certificate(&self, admin: &Administrator, id: SigningKeyId) -> Result<Notice> {
        self.remove_certificate(admin, id).await
    }

    async fn save_graph(&self, admin: &Administrator, graph: GraphUse) -> Result<Notice> {
        Services::save_graph(self, admin, graph).await
    }

    async fn forget_superseded(&self, admin: &Administrator) -> Result<Notice> {
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        self.store.forget_superseded(&mut tx, admin.institution().id).await?;
        let happened = Happened::new(AuditAction::CredentialChanged, "")
            .with("Old credential", "deleted at Microsoft, says the person");
        self.audit(&mut tx, admin.institution().id, Who::Person(admin), happened).await?;
        tx.commit().await?;
        Ok(Notice::new(Tone::Success, "Thank you.", "The old credential isn't mentioned again."))
    }

    async fn discard_waiting(&self, admin: &Administrator) -> Result<Notice> {
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        self.store.drop_registration(&mut tx, admin.institution().id, Slot::Waiting).await?;
        let happened = Happened::new(AuditAction::ConfigurationSaved, "").with("New values", "discarded");
        self.audit(&mut tx, admin.institution().id, Who::Person(admin), happened).await?;
        tx.commit().await?;
        Ok(Notice::new(Tone::Success, "New values discarded.", "The current values stay in use."))
    }

    async fn set_guide_step(&self, admin: &Administrator, step: GuideStep, done: bool) -> Result<()> {
        let row = GuideRow { step, done, proven: false, updated_at: self.clock.now() };
        let institution = admin.institution().id;
        let rows = self.store.guide(institution).await?;
        // A proven step stays done, whatever an older page submits.
        if !done && rows.iter().any(|known| known.step == step && known.proven && step.is_settled_by_proof()) {
            return Ok(());
        }
        Ok(self.store.put_guide_step(institution, row).await?)
    }

    async fn set_guide_steps(&self, admin: &Administrator, done: &[GuideStep]) -> Result<()> {
        let rows = self.store.guide(admin.institution().id).await?;
        for step in GuideStep::ALL {
            let was = rows.iter().find(|row| row.step == step).is_some_and(|row| row.done);
            if was != done.contains(&step) {
                self.set_guide_step(admin, step, !was).await?;
            }
        }
        Ok(())
    }

    async fn start_consent(&self, admin: &Administrator, visitor: &Visitor) -> Result<ProviderRedirect> {
        self.begin_sign_in(admin, visitor, AttemptKind::Consent, "", None).await
    }

    async fn start_notifications(&self, admin: &Administrator, visitor: &Visitor) -> Result<ProviderRedirect> {
        let settings = self.store.email_settings(admin.institution().id).await?;
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
        self.begin_sign_in(admin, visitor, AttemptKind::Notifications, address.as_str(), Some(Prompt::SelectAccount))
            .await
    }

    async fn test_pair(&self, admin: &Administrator, mailbox: MailboxId) -> Result<String> {
        let institution = admin.institution().id;
        let settings = self.store.email_settings(institution).await?;
        if !settings.custom_from {
            return Err(AppError::field(
                "custom_from_address",
                "Custom From address",
                "Choose Yes, enter the address and save first.",
            )
            .into());
        }
        let found = self.store.mailbox(MailboxKey { institution, id: mailbox }).await?;
        let found = found.filter(|found| found.state == MailboxState::Connected).ok_or(AppError::NotFound)?;
        self.check_attempts(admin).await?;
        let id = self.retest(&found, admin.user_id(), AttemptKind::Pair, &settings.custom_from_address, false).await?;
        self.spawn_run(SignedIn::clone(admin), id);
        Ok(AttemptKind::Pair.path(id))
    }

    async fn disconnect_notifications(&self, admin: &Administrator) -> Result<Notice> {
        let institution = admin.institution().id;
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        tx.commit().await?;
        while let Some(mailbox) = self.store.notification_mailbox(institution).await? {
            self.forget_mailbox(admin, &mailbox).await?;
        }
        let mut tx = self.store.begin().await?;
        self.store.set_notification_mailbox(&mut tx, institution, None).await?;
        let happened = Happened::new(AuditAction::NotificationSenderChanged, "").with("Mailbox", "none");
        self.audit(&mut tx, institution, Who::Person(admin), happened).await?;
        tx.commit().await?;
        Ok(Notice::new(
            Tone::Success,
            "No mailbox sends notifications now.",
            "They are sent from the system's sender, if there is one.",
        ))
    }

    async fn home(&self, user: &SignedIn) -> Result<Home> {
        self.home_page(user).await
    }
}
