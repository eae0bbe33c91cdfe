//! What the relay asks: who signs in, whom they may write to, and what becomes of a message.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use app::backend::Administrator;
use app::model::{
    AttemptKind, DeliveryId, DeliveryState, DeviceSettings, EmailAddress, InstitutionId, RecipientKind, RecipientRule,
    RelayEvent, Repair, Timestamp, masked,
};

use super::super::Services;
use super::log::Origin;
use crate::clock::sha256;
use crate::config::is_within;
use crate::message::repair::{Refusal, Repaired, Rules, repair};
use crate::outbox::{QueuedBody, body_place};
use crate::store::{Author, Device, DevicePassword, Mailbox, NewDelivery, SendQueue, StoreError, Tx};
use crate::vault::{Secret, VaultError};

/// How long a client may send a message again whose answer it did not receive, in milliseconds.
const SENT_AGAIN_MS: i64 = 10 * 60 * 1000;
/// A use of a device is noted this often, in milliseconds.
const NOTED_MS: i64 = 60 * 1000;
const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// How long an answer waits for Microsoft's; devices give up after 30 to 60 seconds.
const ASKED: Duration = Duration::from_secs(20);
const ASKED_ROUND: Duration = Duration::from_millis(100);
/// Wrong passwords from one address within 15 minutes.
const MOST_TRIES: i64 = 20;
const TRIES_MS: i64 = 15 * 60 * 1000;

/// Proof that a device signed in, or was recognised by its address.
#[derive(Debug, Clone)]
pub struct Submitter {
    device: Device,
    /// Hash of its password; none for one that is recognised by its address.
    password: Option<String>,
    /// Lower case.
    own_domains: Vec<String>,
    /// An administrator acts on its page: its networks do not matter.
    from_page: bool,
}

/// Why a device is not let in, and whom the log tells.
#[derive(Debug)]
pub struct SignInRefused {
    pub origin: Origin,
    pub event: RelayEvent,
}

/// Where the relay listens.
#[derive(Debug, Clone, Copy, Default)]
pub struct RelayBound {
    pub starttls: Option<SocketAddr>,
    pub tls: Option<SocketAddr>,
    pub plain: Option<SocketAddr>,
}

#[derive(Debug, Clone, Default)]
pub struct Submission {
    /// As it was said; empty for `<>`.
    pub mail_from: String,
    pub recipients: Vec<EmailAddress>,
    pub content: Vec<u8>,
}

/// A message that is stored; to be confirmed once the client has received the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    pub delivery: DeliveryId,
    fingerprint: String,
}

/// Why a message is not taken.
#[derive(Debug)]
pub enum NotTaken {
    /// What the device or its settings caused.
    Refused(RelayEvent),
    Store(StoreError),
    Vault(VaultError),
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl From<StoreError> for NotTaken {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::NoRoom) || error.is_full() {
            return Self::Refused(RelayEvent::QueueFull);
        }
        Self::Store(error)
    }
}

impl Submitter {
    /// For an administrator, on the device's page.
    pub(super) fn from_page(device: Device, _: &Administrator) -> Self {
        Self { device, password: None, own_domains: Vec::new(), from_page: true }
    }

    pub fn settings(&self) -> &DeviceSettings {
        &self.device.settings
    }

    pub fn origin(&self) -> Origin {
        Origin::Device(self.device.institution, self.device.id)
    }

    /// Whether it may write to an address.
    pub fn may_write_to(&self, address: &EmailAddress) -> bool {
        let key = address.key();
        let domain = key.rsplit_once('@').map_or("", |(_, domain)| domain);
        let is_own = || self.own_domains.iter().any(|own| own == domain);
        let is_listed = || self.device.settings.recipient_list.iter().any(|listed| *listed == key || listed == domain);
        match self.device.settings.recipients {
            RecipientRule::Own => is_own(),
            RecipientRule::Listed => is_own() || is_listed(),
            RecipientRule::Anywhere => true,
        }
    }
}

impl Services {
    /// Whether an address guessed too often.
    pub fn relay_tries_are_used_up(&self, from: IpAddr) -> bool {
        let since = self.clock.now().plus_ms(-TRIES_MS);
        self.guesses.get(&relay_subject(from), since) > MOST_TRIES
    }

    pub async fn sign_device_in(
        &self,
        user_name: &str,
        password: &Secret,
        from: IpAddr,
    ) -> Result<Result<Submitter, SignInRefused>, StoreError> {
        let now = self.clock.now();
        self.guesses.count(&relay_subject(from), now, now.plus_ms(-TRIES_MS));
        // Typed with blanks, or in capitals, it is still the password.
        let typed: String = password.expose().chars().filter(|c| !c.is_whitespace()).collect();
        let hash = sha256(&typed.to_ascii_lowercase());
        let found = match self.store.device_by_password(&hash).await? {
            Some(found) if self.has_name(&found.0, user_name).await? => Some(found),
            _ => None,
        };
        let Some((device, DevicePassword { expires_at, .. })) = found else {
            // The user name is logged for a device that has it, and nowhere else: what was typed may be a password.
            let named = self.store.devices_named(user_name.trim(), 2).await?;
            let origin = match named.as_slice() {
                [] => Origin::Address,
                [one] => Origin::Device(one.institution, one.id),
                [first, ..] => Origin::Institution(first.institution),
            };
            return Ok(Err(SignInRefused { origin, event: RelayEvent::WrongPassword }));
        };
        if expires_at.is_some_and(|ends| ends <= now) {
            let origin = Origin::Device(device.institution, device.id);
            return Ok(Err(SignInRefused { origin, event: RelayEvent::PasswordEnded }));
        }
        self.guesses.uncount(&relay_subject(from));
        self.let_in(device, Some(hash), from).await
    }

    /// Whether a user name means a device: its login with the slug of its institution, or the address of its mailbox.
    async fn has_name(&self, device: &Device, user_name: &str) -> Result<bool, StoreError> {
        let name = user_name.trim().to_lowercase();
        if name == device.settings.mailbox.to_lowercase() {
            return Ok(true);
        }
        let institution = self.store.institution(device.institution).await?;
        Ok(institution.is_some_and(|row| name == format!("{}@{}", device.login, row.slug)))
    }

    /// The device that has an address, for a listener without sign-in.
    pub async fn recognise_device(&self, from: IpAddr) -> Result<Result<Submitter, SignInRefused>, StoreError> {
        let refused = |event| Ok(Err(SignInRefused { origin: Origin::Address, event }));
        let mut fitting = Vec::new();
        for device in self.store.devices_by_address().await? {
            if !is_within(&device.settings.networks, from) {
                continue;
            }
            let Some(institution) = self.store.institution(device.institution).await? else { continue };
            if self.config.relay.allows_plain(from, Some(&institution.slug)) {
                fitting.push(device);
            }
        }
        match fitting.len() {
            0 => refused(RelayEvent::UnknownAddress),
            1 => self.let_in(fitting.remove(0), None, from).await,
            _ => refused(RelayEvent::AmbiguousAddress),
        }
    }

    async fn let_in(
        &self,
        device: Device,
        password: Option<String>,
        from: IpAddr,
    ) -> Result<Result<Submitter, SignInRefused>, StoreError> {
        let now = self.clock.now();
        if let Some(event) = objection(&device, Some(from), now) {
            let origin = Origin::Device(device.institution, device.id);
            return Ok(Err(SignInRefused { origin, event }));
        }
        let address = from.to_string();
        let is_noted =
            device.last_used_from == address && device.last_used_at.is_some_and(|at| now.since_ms(at) < NOTED_MS);
        if !is_noted {
            self.store.note_device_used(device.institution, device.id, &address, now).await?;
        }
        let own_domains = self.own_domains(&device).await?;
        Ok(Ok(Submitter { device, password, own_domains, from_page: false }))
    }

    /// The domains of its institution, if they decide whom it may write to.
    async fn own_domains(&self, device: &Device) -> Result<Vec<String>, StoreError> {
        match device.settings.recipients {
            RecipientRule::Anywhere => Ok(Vec::new()),
            RecipientRule::Own | RecipientRule::Listed => self.store.mailbox_domains(device.institution).await,
        }
    }

    /// Whether a device may send as an address.
    pub async fn may_send_as(&self, who: &Submitter, address: &str) -> Result<bool, StoreError> {
        let mailbox = self.sending_mailbox(&who.device).await?;
        let aliases = mailbox.map(|mailbox| mailbox.aliases).unwrap_or_default();
        let own = std::iter::once(&who.device.settings.mailbox).chain(&aliases);
        Ok(own.into_iter().any(|own| own.eq_ignore_ascii_case(address)))
    }

    /// The relay listens, and with which certificate of its own.
    pub fn note_relay(&self, bound: RelayBound, fingerprint: Option<String>) {
        let _ = self.relay_bound.set((bound, fingerprint));
    }

    /// What the relay calls itself.
    pub fn relay_name(&self) -> String {
        self.config.relay.hostname.clone().unwrap_or_else(|| self.config.public_url.common_host())
    }

    /// Stores a message. What is accepted is committed when this returns.
    pub async fn submit(&self, who: &Submitter, from: IpAddr, submission: Submission) -> Result<Accepted, NotTaken> {
        let refused = |event| Err(NotTaken::Refused(event));
        let institution = who.device.institution;
        // As it is now: it may have been changed since it signed in.
        let Some(device) = self.store.device(institution, who.device.id).await? else {
            return refused(RelayEvent::PasswordEnded);
        };
        let (id, now) = (DeliveryId(self.clock.uuid()), self.clock.now());
        let own_domains = self.own_domains(&device).await?;
        let now_may = Submitter { device, own_domains, ..who.clone() };
        let device = &now_may.device;
        if !who.from_page
            && let Some(to) = submission.recipients.iter().find(|to| !now_may.may_write_to(to))
        {
            return refused(RelayEvent::RecipientRefused { address: masked(to.as_str()) });
        }
        let Some(mailbox) = self.sending_mailbox(device).await? else { return refused(RelayEvent::NoMailbox) };
        let fingerprint = fingerprint(device, &submission);
        let Submission { mail_from, recipients, content } = submission;
        let repaired = self.repaired(device, &mailbox, &mail_from, &content, id).await?;
        drop(content);
        if !self.queue_has_room(institution, repaired.bytes.len() as u64).await? {
            return refused(RelayEvent::QueueFull);
        }
        let body =
            serde_json::to_string(&QueuedBody::of(repaired.bytes)).map_err(|error| NotTaken::Other(error.into()))?;
        let body_sealed = self.vault.seal(&body_place(id), &Secret::new(body)).map_err(NotTaken::Vault)?;
        let new = NewDelivery {
            id,
            author: Author::Device(device.id),
            idempotency_key: id.to_string(),
            message_id: repaired.message_id,
            from: mailbox.address.clone(),
            // Neither subjects nor names of files: scans are pupils' records.
            subject: String::new(),
            body_sealed,
            form_sealed: String::new(),
            recipients: recipients.iter().map(|to| (RecipientKind::Bcc, to.to_string())).collect(),
        };
        let mut tx = self.store.begin().await?;
        if let Some(event) = self.objection_now(&mut tx, who, from, now).await? {
            return refused(event);
        }
        let since = now.plus_ms(-SENT_AGAIN_MS);
        let mut before = self.store.put_receipt(&mut tx, &fingerprint, id, since, now).await?;
        if before.is_some_and(|before| self.relay_log.was_received(&(fingerprint.clone(), before))) {
            before = self.store.put_receipt(&mut tx, &fingerprint, id, Timestamp(i64::MAX), now).await?;
        }
        if let Some(before) = before {
            self.relay_log.write(who.origin(), from, RelayEvent::SentBefore { delivery: before.to_string() });
            return Ok(Accepted { delivery: before, fingerprint });
        }
        let limit = device.settings.messages_per_hour;
        let queued = self.store.device_messages_since(&mut tx, institution, device.id, now.plus_ms(-HOUR_MS)).await?;
        if queued >= limit {
            return refused(RelayEvent::TooManyMessages { limit });
        }
        let queue = SendQueue::of_mailbox(mailbox.key());
        if !self.store.enqueue(&mut tx, &queue, &new, now).await? {
            return refused(RelayEvent::NotStored);
        }
        tx.commit().await?;
        self.outbox.wake();
        if !repaired.repairs.is_empty() {
            self.relay_log.write(who.origin(), from, RelayEvent::Repaired { repairs: repaired.repairs });
        }
        self.relay_log.write(who.origin(), from, RelayEvent::Queued { delivery: id.to_string() });
        Ok(Accepted { delivery: id, fingerprint })
    }

    /// Why a device may not send now, as a transaction sees it: it may have been changed, or its password withdrawn.
    async fn objection_now(
        &self,
        tx: &mut Tx,
        who: &Submitter,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<Option<RelayEvent>, StoreError> {
        let current = self.store.device_within(tx, who.device.institution, who.device.id).await?;
        let Some(current) = current else { return Ok(Some(RelayEvent::PasswordEnded)) };
        if let Some(event) = objection(&current, Some(from).filter(|_| !who.from_page), now) {
            return Ok(Some(event));
        }
        let is_valid = match &who.password {
            Some(hash) => self.store.password_is_valid(tx, hash, now).await?,
            None => who.from_page || current.settings.by_address,
        };
        Ok((!is_valid).then_some(RelayEvent::PasswordEnded))
    }

    async fn repaired(
        &self,
        device: &Device,
        mailbox: &Mailbox,
        mail_from: &str,
        content: &[u8],
        id: DeliveryId,
    ) -> Result<Repaired, NotTaken> {
        let settings = &device.settings;
        let own_id = format!("<{}@{}>", self.clock.uuid(), mailbox.address.rsplit('@').next().unwrap_or_default());
        let (host, name) = (self.relay_name(), id.to_string());
        let rules = Rules {
            mailbox: &mailbox.address,
            aliases: &mailbox.aliases,
            rule: settings.sender_rule,
            display_name: &settings.display_name,
            mail_from,
            now: self.clock.now(),
            message_id: &own_id,
            keep_message_id: true,
            host: &host,
            id: &name,
        };
        let refused = |refusal| {
            NotTaken::Refused(match refusal {
                Refusal::Sender(address) => RelayEvent::SenderRefused { address },
                Refusal::Loop => RelayEvent::Loop,
                Refusal::HeaderTooLarge => RelayEvent::HeaderTooLarge,
            })
        };
        let repaired = repair(content, &rules).map_err(refused)?;
        // Devices repeat it, and Exchange drops the second message with the same.
        if !self.store.message_id_is_used(&repaired.message_id).await? {
            return Ok(repaired);
        }
        let mut renamed = repair(content, &Rules { keep_message_id: false, ..rules }).map_err(refused)?;
        renamed.repairs.push(Repair::MessageIdRepeated);
        Ok(renamed)
    }

    /// What Microsoft says of a message within some seconds, for a device that asks first: a permanent refusal, or none.
    pub async fn ask_first(&self, who: &Submitter, from: IpAddr, accepted: &Accepted) -> Option<String> {
        if !who.device.settings.ask_first {
            return None;
        }
        // The message is stored, whatever becomes of this.
        let asked = self.asked(who.device.institution, accepted.delivery).await.unwrap_or_else(|error| {
            tracing::warn!("cannot tell a device what Microsoft says: {error}");
            None
        });
        if let Some(answer) = &asked {
            self.relay_log.write(who.origin(), from, RelayEvent::Asked { answer: without_addresses(answer) });
        }
        asked
    }

    /// The client has received the answer: a message like it is another one.
    pub fn confirm_received(&self, accepted: Accepted) {
        self.relay_log.note_received((accepted.fingerprint, accepted.delivery));
    }

    /// The mailbox that a device sends through; none if it isn't connected.
    pub(super) async fn sending_mailbox(&self, device: &Device) -> Result<Option<Mailbox>, StoreError> {
        let (institution, address) = (device.institution, &device.settings.mailbox);
        let found = self.store.mailbox_by_address(institution, AttemptKind::Personal, address).await?;
        // Another person may have connected it since.
        Ok(found.filter(|mailbox| device.owner.is_none_or(|owner| owner == mailbox.user)))
    }

    /// What Microsoft says within some seconds: a permanent refusal, or none.
    async fn asked(&self, institution: InstitutionId, delivery: DeliveryId) -> Result<Option<String>, StoreError> {
        let until = tokio::time::Instant::now() + ASKED;
        while tokio::time::Instant::now() < until {
            tokio::time::sleep(ASKED_ROUND).await;
            let Some(found) = self.store.delivery(institution, delivery).await? else { return Ok(None) };
            match found.state {
                DeliveryState::Failed => return Ok(Some(found.answer)),
                DeliveryState::Queued | DeliveryState::Sending => {}
                _ => return Ok(None),
            }
        }
        Ok(None)
    }
}

fn relay_subject(from: IpAddr) -> String {
    format!("relay:{}", crate::network::shared(from))
}

/// Why a device may not send now.
fn objection(device: &Device, from: Option<IpAddr>, now: Timestamp) -> Option<RelayEvent> {
    if device.paused {
        return Some(RelayEvent::Paused);
    }
    if has_expired(device, now) {
        return Some(RelayEvent::Expired);
    }
    let from = from.filter(|_| !device.settings.networks.is_empty())?;
    (!is_within(&device.settings.networks, from)).then_some(RelayEvent::WrongNetwork)
}

/// Its last day is over.
pub(super) fn has_expired(device: &Device, now: Timestamp) -> bool {
    let day = time::macros::format_description!("[year]-[month]-[day]");
    let last = device.settings.expires_on.as_deref().and_then(|date| time::Date::parse(date, day).ok());
    last.is_some_and(|last| last.midnight().assume_utc().unix_timestamp() * 1000 + DAY_MS <= now.0)
}

/// Of a message, for a client that sends it again.
fn fingerprint(device: &Device, submission: &Submission) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    hash.update(device.id.0.as_bytes());
    for recipient in &submission.recipients {
        hash.update(recipient.key().as_bytes());
        hash.update([0]);
    }
    hash.update([0]);
    hash.update(&submission.content);
    base16(&hash.finalize())
}

fn base16(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A server's answer, with addresses masked.
pub(super) fn without_addresses(answer: &str) -> String {
    let word = |word: &str| {
        let bare = word.trim_matches(|c: char| "<>()[]\"',;:.".contains(c));
        if bare.contains('@') { word.replace(bare, &masked(bare)) } else { word.to_owned() }
    };
    answer.split(' ').map(word).collect::<Vec<_>>().join(" ")
}
