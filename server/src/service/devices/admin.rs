//! What administrators do with programs and devices.

use std::collections::HashMap;

use app::backend::{Administrator, BackendError, Devices, MailStream, Result, SavedDevice};
use app::error::AppError;
use app::model::{
    AttemptKind, AuditAction, DeliveryId, DeliveryState, DeviceForm, DeviceId, DeviceMessage, DeviceRow,
    DeviceSettings, DeviceState, DeviceView, EmailAddress, FieldError, InstitutionId, LogPage, LogPlace, MailboxId,
    MailboxState, Notice, PasswordView, ProgramsView, RelayAddress, RelayLine, Timestamp, Tone, login_of, masked,
};
use async_trait::async_trait;

use super::super::{Handle, Happened, Services, Who};
use super::submit::{NotTaken, Submission, Submitter, has_expired, without_addresses};
use crate::clock::sha256;
use crate::config::network;
use crate::store::{Delivery, Device, DevicePassword, Mailbox};

/// Devices of an institution.
const MOST_DEVICES: i64 = 500;
/// Lines of the log, and messages, that are shown.
const LINES: i64 = 100;
const MESSAGES: i64 = 20;
/// Recipients of a message that are shown.
const RECIPIENTS: i64 = 5;
const STRANGERS: i64 = 50;
/// How long an old password works beside the new one, in milliseconds: a day.
const OVERLAP_MS: i64 = 24 * 60 * 60 * 1000;
/// Crockford's base32 in small letters: without i, l, o and u.
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Panels take no more; 100 bits.
const PASSWORD_LETTERS: usize = 20;
const ROUND: std::time::Duration = std::time::Duration::from_secs(1);

impl Services {
    pub(super) fn new_password(&self) -> (String, DevicePassword) {
        let mut bytes = [0_u8; PASSWORD_LETTERS];
        self.clock.fill(&mut bytes);
        let password: String = bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte & 31)])).collect();
        let stored = DevicePassword {
            id: self.clock.uuid(),
            sha256: sha256(&password),
            prefix: password.chars().take(4).collect(),
            created_at: self.clock.now(),
            expires_at: None,
        };
        (password, stored)
    }

    async fn device_of(&self, admin: &Administrator, device: DeviceId) -> Result<Device> {
        self.store.device(admin.institution().id, device).await?.ok_or_else(|| AppError::NotFound.into())
    }

    /// Mailboxes that a device can send through.
    async fn mailboxes_for_devices(&self, institution: InstitutionId) -> Result<Vec<Mailbox>> {
        let all = self.store.mailboxes(institution).await?;
        Ok(all.into_iter().filter(|mailbox| mailbox.kind == AttemptKind::Personal).collect())
    }

    pub(super) fn relay_address(&self, slug: &str) -> RelayAddress {
        let Some((bound, fingerprint)) = self.relay_bound.get() else { return RelayAddress::default() };
        let host = self.config.relay.hostname.clone().unwrap_or_else(|| self.config.public_url.host(slug));
        RelayAddress {
            host,
            starttls: bound.starttls.map(|address| address.port()),
            tls: bound.tls.map(|address| address.port()),
            plain: bound.plain.map(|address| address.port()),
            fingerprint: fingerprint.clone(),
            most_bytes: self.config.relay.message_bytes,
        }
    }

    /// Contacts are people here, or addresses of the institution's domains: nobody else is written to.
    async fn check_contact(&self, institution: InstitutionId, contact: &str) -> Result<()> {
        let Ok(address) = EmailAddress::parse(contact) else { return Ok(()) };
        let domain = address.key().rsplit('@').next().unwrap_or_default().to_owned();
        let is_own = self.store.mailbox_domains(institution).await?.contains(&domain);
        if is_own || self.store.user_by_address(institution, contact).await?.is_some() {
            return Ok(());
        }
        let text = "Enter an address of your institution: of a person here, or of a mailbox's domain.";
        Err(AppError::field("contact", "Contact", text).into())
    }

    async fn check_mailbox(&self, institution: InstitutionId, address: &str) -> Result<Mailbox> {
        let found = self.store.mailbox_by_address(institution, AttemptKind::Personal, address).await?;
        found.ok_or_else(|| {
            AppError::field("mailbox", "Mailbox", "Choose a mailbox that is connected in Entrepost.").into()
        })
    }

    /// A login for a name that no other device has.
    pub(super) async fn free_login(&self, institution: InstitutionId, name: &str) -> Result<String> {
        let (wanted, known) = (login_of(name), self.store.device_logins(institution).await?);
        let numbered = (2..).map(|number| format!("{wanted}{number}"));
        let mut logins = std::iter::once(wanted.clone()).chain(numbered).take(known.len() + 1);
        Ok(logins.find(|login| !known.contains(login)).unwrap_or(wanted))
    }

    async fn add_device(&self, admin: &Administrator, settings: DeviceSettings) -> Result<SavedDevice> {
        let institution = admin.institution().id;
        let known = self.store.devices(institution, MOST_DEVICES + 1).await?;
        if known.len() >= usize::try_from(MOST_DEVICES).unwrap_or(usize::MAX) {
            return Err(
                AppError::refused(format!("An institution can have {MOST_DEVICES} programs and devices.")).into()
            );
        }
        let login = self.free_login(institution, &settings.name).await?;
        let (password, stored) = self.new_password();
        let device = self.new_device(institution, login, settings);
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        self.store.add_device(&mut tx, &device).await?;
        self.store.add_device_password(&mut tx, device.id, &stored).await?;
        let happened = told(AuditAction::DeviceAdded, &device.settings);
        self.audit(&mut tx, institution, Who::Person(admin), happened).await?;
        tx.commit().await?;
        let mut notice = shown_once(&format!("{} is added.", device.settings.name), &password);
        if device.settings.by_address {
            notice = Notice::new(
                Tone::Success,
                format!("{} is added.", device.settings.name),
                "It is recognised by its address, and needs no password on the port without encryption.",
            );
        }
        Ok(SavedDevice { id: device.id, notice })
    }

    /// Lines of the log from a place on, at most so many, with what became of their messages.
    async fn log_page(
        &self,
        institution: InstitutionId,
        device: Option<DeviceId>,
        (before, most): (LogPlace, i64),
        fates: &HashMap<String, String>,
    ) -> Result<LogPage> {
        let mut entries = self.store.relay_log(institution, device, before, most + 1).await?;
        let has_more = entries.len() > usize::try_from(most).unwrap_or(usize::MAX);
        if has_more {
            entries.pop();
        }
        let older = entries.last().filter(|_| has_more).map(|last| LogPlace { at: last.at, id: last.id });
        let lines = entries.into_iter().map(|entry| {
            let fate = entry.event.delivery().and_then(|delivery| fates.get(delivery)).cloned();
            RelayLine { at: entry.at, address: entry.address, event: entry.event, fate }
        });
        Ok(LogPage { lines: lines.collect(), older })
    }

    async fn device_messages(&self, admin: &Administrator, device: &Device) -> Result<Vec<(Delivery, Vec<String>)>> {
        let institution = admin.institution().id;
        let deliveries = self.store.deliveries_of_device(institution, device.id, MESSAGES).await?;
        let Some(oldest) = deliveries.last() else { return Ok(Vec::new()) };
        let mut recipients: HashMap<DeliveryId, Vec<String>> = HashMap::new();
        for (delivery, address) in
            self.store.device_recipients(institution, device.id, oldest.created_at, RECIPIENTS).await?
        {
            recipients.entry(delivery).or_default().push(masked(&address));
        }
        let with_recipients = deliveries.into_iter().map(|delivery| {
            let recipients = recipients.remove(&delivery.id).unwrap_or_default();
            (delivery, recipients)
        });
        Ok(with_recipients.collect())
    }
}

impl Services {
    /// The demo's device: its login, and a new password.
    pub async fn demo_device(&self, institution: InstitutionId, form: &DeviceForm) -> Result<(String, String)> {
        let (password, stored) = self.new_password();
        let known = self.store.devices(institution, 1).await?.into_iter().next();
        let mut tx = self.store.begin().await?;
        let (id, login) = match known {
            Some(device) => {
                self.store.end_device_passwords(&mut tx, device.id, self.clock.now()).await?;
                (device.id, device.login)
            }
            None => {
                let settings = DeviceSettings::parse(form, |_| false);
                let settings = settings.map_err(|fields| AppError::Invalid { fields })?;
                let device = self.new_device(institution, login_of(&settings.name), settings);
                self.store.add_device(&mut tx, &device).await?;
                (device.id, device.login)
            }
        };
        self.store.add_device_password(&mut tx, id, &stored).await?;
        tx.commit().await?;
        Ok((login, password))
    }

    pub(super) fn new_device(&self, institution: InstitutionId, login: String, settings: DeviceSettings) -> Device {
        Device {
            id: DeviceId(self.clock.uuid()),
            institution,
            login,
            settings,
            paused: false,
            created_at: self.clock.now(),
            last_used_at: None,
            last_used_from: String::new(),
            owner: None,
        }
    }
}

pub(super) fn shown_once(title: &str, password: &str) -> Notice {
    let text = "Its password is shown here once: enter it into the device now.";
    Notice { copy: Some((password.to_owned(), "Copy password".to_owned())), ..Notice::new(Tone::Success, title, text) }
}

/// For the log of the institution.
pub(super) fn told(action: AuditAction, settings: &DeviceSettings) -> Happened<'_> {
    let networks = if settings.networks.is_empty() { "any".to_owned() } else { settings.networks.join(", ") };
    Happened::new(action, &settings.name)
        .with("Mailbox", &settings.mailbox)
        .with("Sender", settings.sender_rule.as_str())
        .with("Recipients", settings.recipients.as_str())
        .with("Networks", networks)
        .with("Messages an hour", settings.messages_per_hour.to_string())
        .with("Sign-in", if settings.by_address { "by its address" } else { "password" })
}

fn choices(mailboxes: &[Mailbox]) -> Vec<(MailboxId, String)> {
    mailboxes.iter().map(|mailbox| (mailbox.id, mailbox.address.clone())).collect()
}

pub(super) fn state(device: &Device, mailbox: Option<&Mailbox>, now: Timestamp) -> DeviceState {
    match mailbox {
        _ if device.paused => DeviceState::Paused,
        _ if has_expired(device, now) => DeviceState::Expired,
        None => DeviceState::NoMailbox,
        Some(mailbox) if mailbox.state != MailboxState::Connected => DeviceState::MailboxFails,
        Some(_) => DeviceState::Ready,
    }
}

/// What became of a message, in a few words.
fn fate(delivery: &Delivery) -> String {
    let seconds = |until: Timestamp| {
        let tenths = until.since_ms(delivery.created_at).max(0) / 100;
        format!("{}.{} s", tenths / 10, tenths % 10)
    };
    let answer = || without_addresses(&delivery.answer);
    match delivery.state {
        DeliveryState::Queued if delivery.answer.is_empty() => "waits".into(),
        DeliveryState::Queued => format!("waits: {}", answer()),
        DeliveryState::Sending => "is being sent".into(),
        DeliveryState::Sent => match delivery.finished_at {
            Some(at) => format!("sent in {}", seconds(at)),
            None => "sent".into(),
        },
        DeliveryState::Deferred => format!("deferred: {}", answer()),
        DeliveryState::Failed => format!("failed: {}", answer()),
        DeliveryState::Bounced => format!("bounced: {}", answer()),
        DeliveryState::Unknown => "perhaps sent: the connection broke off at the end of the message".into(),
        DeliveryState::Cancelled => "cancelled".into(),
    }
}

#[async_trait]
impl Devices for Handle {
    async fn programs(&self, admin: &Administrator, before: LogPlace) -> Result<ProgramsView> {
        let institution = admin.institution();
        let now = self.clock.now();
        let devices = self.store.devices(institution.id, MOST_DEVICES).await?;
        let mailboxes = self.mailboxes_for_devices(institution.id).await?;
        let by_address: HashMap<String, &Mailbox> =
            mailboxes.iter().map(|mailbox| (mailbox.address.to_lowercase(), mailbox)).collect();
        let newest = self.store.newest_relay_lines(institution.id).await?;
        let newest: HashMap<_, _> = newest.iter().filter_map(|line| Some((line.device?, line))).collect();
        let rows = devices.into_iter().map(|device| {
            let mailbox = by_address.get(&device.settings.mailbox.to_lowercase()).copied();
            let last = newest.get(&device.id);
            DeviceRow {
                id: device.id,
                state: state(&device, mailbox, now),
                problem: last.filter(|line| line.event.is_problem()).map(|line| line.event.words()),
                last_used_at: device.last_used_at,
                kind: device.settings.kind,
                mailbox: device.settings.mailbox,
                name: device.settings.name,
            }
        });
        let rows = rows.collect();
        let choices = choices(&mailboxes);
        let strangers = self.log_page(institution.id, None, (before, STRANGERS), &HashMap::new()).await?;
        let own_programs = self.store.own_programs(institution.id).await?;
        let relay = self.relay_address(&institution.slug);
        Ok(ProgramsView { relay, devices: rows, strangers, own_programs, mailboxes: choices })
    }

    async fn relay_certificate(&self, _: &Administrator) -> Result<String> {
        let made = self.relay_bound.get().is_some_and(|(_, fingerprint)| fingerprint.is_some());
        let certificate = self.store.relay_certificate().await?.filter(|_| made);
        Ok(certificate.ok_or(AppError::NotFound)?.0)
    }

    async fn device(&self, admin: &Administrator, device: DeviceId, before: LogPlace) -> Result<DeviceView> {
        let institution = admin.institution();
        let (device, now) = (self.device_of(admin, device).await?, self.clock.now());
        let mailbox = self.sending_mailbox(&device).await?;
        let owner = match &mailbox {
            Some(mailbox) => self.store.user(institution.id, mailbox.user).await?,
            None => None,
        };
        let is_personal = owner.is_some_and(|owner| owner.address.eq_ignore_ascii_case(&device.settings.mailbox));
        let found = self.device_messages(admin, &device).await?;
        let fates: HashMap<String, String> =
            found.iter().map(|(delivery, _)| (delivery.id.to_string(), fate(delivery))).collect();
        let reader = self.reader_of_mailboxes(admin).await?;
        let messages = found.into_iter().map(|(delivery, recipients)| DeviceMessage {
            at: delivery.created_at,
            state: delivery.state,
            recipients,
            diagnosis: delivery.fault.as_ref().map(|fault| {
                // Administrators don't see whom people's scans went to.
                fault
                    .with_facts(without_addresses)
                    .explain(&crate::diagnosis::Reader { address: device.settings.mailbox.clone(), ..reader.clone() })
            }),
            answer: fate(&delivery),
        });
        let messages = messages.collect();
        let log = self.log_page(institution.id, Some(device.id), (before, LINES), &fates).await?;
        let passwords = self.store.device_passwords(device.id).await?;
        Ok(DeviceView {
            id: device.id,
            login: format!("{}@{}", device.login, institution.slug),
            state: state(&device, mailbox.as_ref(), now),
            is_paused: device.paused,
            is_personal,
            passwords: passwords
                .into_iter()
                .filter(|password| password.expires_at.is_none_or(|ends| ends > now))
                .map(|DevicePassword { prefix, created_at, expires_at, .. }| PasswordView {
                    prefix,
                    created_at,
                    expires_at,
                })
                .collect(),
            last_used: device.last_used_at.map(|at| (at, device.last_used_from.clone())),
            relay: self.relay_address(&institution.slug),
            log,
            log_days: self.config.relay.log_days,
            messages,
            mailboxes: choices(&self.mailboxes_for_devices(institution.id).await?),
            settings: device.settings,
        })
    }

    async fn save_device(&self, admin: &Administrator, form: DeviceForm) -> Result<SavedDevice> {
        let institution = admin.institution().id;
        let is_network = |text: &str| network(text).is_some();
        let settings = DeviceSettings::parse(&form, is_network);
        let settings = settings.map_err(|fields: Vec<FieldError>| AppError::Invalid { fields })?;
        self.check_contact(institution, &settings.contact).await?;
        if form.id.is_empty() {
            self.check_mailbox(institution, &settings.mailbox).await?;
            return self.add_device(admin, settings).await;
        }
        let id = form.id.parse().map_err(|_| AppError::NotFound)?;
        let before = self.device_of(admin, id).await?;
        // A mailbox that was disconnected since may stay: the device's page says so.
        if !before.settings.mailbox.eq_ignore_ascii_case(&settings.mailbox) {
            self.check_mailbox(institution, &settings.mailbox).await?;
        }
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        self.store.set_device(&mut tx, institution, id, &settings).await?;
        self.audit(&mut tx, institution, Who::Person(admin), told(AuditAction::DeviceChanged, &settings)).await?;
        tx.commit().await?;
        Ok(SavedDevice { id, notice: Notice::new(Tone::Success, "Saved.", "It holds from the next message on.") })
    }

    async fn pause_device(&self, admin: &Administrator, device: DeviceId, paused: bool) -> Result<Notice> {
        let device = self.device_of(admin, device).await?;
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        self.store.pause_device(&mut tx, device.institution, device.id, paused).await?;
        let happened = Happened::new(AuditAction::DeviceChanged, &device.settings.name);
        let happened = happened.with("Paused", if paused { "yes" } else { "no" });
        self.audit(&mut tx, device.institution, Who::Person(admin), happened).await?;
        tx.commit().await?;
        Ok(if paused {
            Notice::new(Tone::Success, "Paused.", "What is queued is still sent; nothing new is taken.")
        } else {
            Notice::new(Tone::Success, "Resumed.", "It can send again.")
        })
    }

    async fn renew_password(&self, admin: &Administrator, device: DeviceId, ends_now: bool) -> Result<Notice> {
        let device = self.device_of(admin, device).await?;
        let (password, stored) = self.new_password();
        let now = self.clock.now();
        let ends = if ends_now { now } else { now.plus_ms(OVERLAP_MS) };
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        self.store.end_device_passwords(&mut tx, device.id, ends).await?;
        self.store.add_device_password(&mut tx, device.id, &stored).await?;
        let happened = Happened::new(AuditAction::DevicePassword, &device.settings.name)
            .with("The old one", if ends_now { "ended" } else { "works for a day" });
        self.audit(&mut tx, device.institution, Who::Person(admin), happened).await?;
        tx.commit().await?;
        let title = if ends_now {
            "A new password; the old one has ended."
        } else {
            "A new password; the old one works for a day."
        };
        Ok(shown_once(title, &password))
    }

    async fn remove_device(&self, admin: &Administrator, device: DeviceId) -> Result<Notice> {
        let device = self.device_of(admin, device).await?;
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        self.store.drop_device(&mut tx, device.institution, device.id).await?;
        let happened = Happened::new(AuditAction::DeviceRemoved, &device.settings.name);
        self.audit(&mut tx, device.institution, Who::Person(admin), happened).await?;
        tx.commit().await?;
        Ok(Notice::new(
            Tone::Success,
            format!("{} is removed.", device.settings.name),
            "Its passwords and its log are deleted. What it had queued is still sent.",
        ))
    }

    async fn send_device_test(&self, admin: &Administrator, device: DeviceId) -> Result<Notice> {
        let device = self.device_of(admin, device).await?;
        let to = EmailAddress::parse(&device.settings.mailbox).map_err(BackendError::internal)?;
        let content = format!(
            "Subject: Test of {}\r\nTo: {to}\r\n\r\nThis message was sent from the page of {} in Entrepost at {}. It left as a message of the device does.\r\n",
            device.settings.name,
            device.settings.name,
            self.clock.now().utc_text()
        );
        let submission =
            Submission { mail_from: String::new(), recipients: vec![to.clone()], content: content.into_bytes() };
        let who = Submitter::from_page(device, admin);
        match self.submit(&who, admin.origin(), submission).await {
            Ok(accepted) => {
                self.confirm_received(accepted);
                Ok(Notice::new(
                    Tone::Success,
                    "A test message is queued.",
                    format!("It goes to {to}. Its fate appears below."),
                ))
            }
            Err(NotTaken::Refused(event)) => {
                let advice = event.advice().unwrap_or_default();
                Ok(Notice::new(Tone::Problem, format!("Not sent: {}.", event.words()), advice))
            }
            Err(NotTaken::Store(error)) => Err(error.into()),
            Err(NotTaken::Vault(error)) => Err(error.into()),
            Err(NotTaken::Other(error)) => Err(BackendError::Internal(error)),
        }
    }

    async fn device_version(&self, admin: &Administrator, device: DeviceId) -> Result<String> {
        Ok(self.store.device_version(admin.institution().id, device).await?)
    }

    async fn watch_device(&self, admin: &Administrator, device: DeviceId, version: String) -> Result<MailStream> {
        self.device_of(admin, device).await?;
        let (services, admin) = (self.0.clone(), admin.clone());
        Ok(Box::pin(futures::stream::unfold(version, move |before| {
            let (services, admin) = (services.clone(), admin.clone());
            async move {
                loop {
                    let now = services.store.device_version(admin.institution().id, device).await.ok()?;
                    if now != before {
                        return Some(((), now));
                    }
                    tokio::select! {
                        () = tokio::time::sleep(ROUND) => {}
                        () = services.stop.cancelled() => return None,
                    }
                    if !services.lives(&admin).await {
                        return None;
                    }
                }
            }
        })))
    }
}
