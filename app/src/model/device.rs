//! Programs and devices that send through the relay.

use super::{
    DeliveryState, DeviceId, Diagnosis, EmailAddress, FieldError, MailboxId, PROGRAMS_PATH, RelayEvent, Timestamp,
    pasted,
};

/// What signs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum DeviceKind {
    #[default]
    Device,
    Program,
}

impl DeviceKind {
    pub fn label(self) -> &'static str {
        match self {
            Self::Device => "Device",
            Self::Program => "Program",
        }
    }
}

/// What becomes of a message whose From the mailbox may not send as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum SenderRule {
    /// From becomes the mailbox; the address it had goes to Reply-To.
    #[default]
    Rewrite,
    Refuse,
}

/// Whom a device may write to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum RecipientRule {
    /// The domains of the institution's mailboxes.
    #[default]
    Own,
    /// Those, and named domains and addresses.
    Listed,
    Anywhere,
}

/// The form of a device, as typed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceForm {
    /// Empty for a new one.
    pub id: String,
    pub name: String,
    pub kind: String,
    pub mailbox: String,
    pub sender_rule: String,
    pub display_name: String,
    pub recipients: String,
    pub recipient_list: String,
    pub messages_per_hour: String,
    pub contact: String,
    pub networks: String,
    pub by_address: String,
    pub ask_first: String,
    pub expires_on: String,
}

impl DeviceForm {
    pub fn typed(&self) -> Vec<(&'static str, &str)> {
        vec![
            ("name", &self.name),
            ("kind", &self.kind),
            ("mailbox", &self.mailbox),
            ("sender_rule", &self.sender_rule),
            ("display_name", &self.display_name),
            ("recipients", &self.recipients),
            ("recipient_list", &self.recipient_list),
            ("messages_per_hour", &self.messages_per_hour),
            ("contact", &self.contact),
            ("networks", &self.networks),
            ("by_address", &self.by_address),
            ("ask_first", &self.ask_first),
            ("expires_on", &self.expires_on),
        ]
    }
}

/// What a device may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSettings {
    pub name: String,
    pub kind: DeviceKind,
    /// Address of the mailbox that it sends through.
    pub mailbox: String,
    pub sender_rule: SenderRule,
    /// Empty: the sender's own.
    pub display_name: String,
    pub recipients: RecipientRule,
    /// Domains and addresses, lower case.
    pub recipient_list: Vec<String>,
    pub messages_per_hour: i64,
    /// Who is told of failures; empty for no one.
    pub contact: String,
    /// Networks that it may connect from; empty for any.
    pub networks: Vec<String>,
    /// It doesn't sign in: its address tells.
    pub by_address: bool,
    /// The answer to a message waits for Microsoft's.
    pub ask_first: bool,
    /// `2027-06-30`; the day is included.
    pub expires_on: Option<String>,
}

/// Bounds of what is typed.
const MOST_NAME: usize = 60;
const MOST_LIST: usize = 200;
const MOST_PER_HOUR: i64 = 100_000;
pub const PER_HOUR: i64 = 500;

impl DeviceSettings {
    /// `is_network` tells whether a text is an IP address or a network.
    pub fn parse(form: &DeviceForm, is_network: impl Fn(&str) -> bool) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut wrong = |field: &str, label: &str, text: &str| {
            errors.push(FieldError { field: field.into(), label: label.into(), text: text.into() });
        };
        let line = |text: &str| text.trim().chars().filter(|c| !c.is_control()).collect::<String>();
        let list = |text: &str| -> Vec<String> {
            let separated = text.split(|c: char| c.is_whitespace() || c == ',' || c == ';');
            separated.map(|part| part.trim_start_matches('@').to_lowercase()).filter(|part| !part.is_empty()).collect()
        };
        let name = line(&form.name);
        if !name.chars().any(char::is_alphanumeric) {
            wrong("name", "Name", "Enter a name, such as Copier north.");
        } else if name.chars().count() > MOST_NAME {
            wrong("name", "Name", "Use at most 60 characters.");
        }
        let display_name = line(&form.display_name);
        if display_name.chars().count() > MOST_NAME {
            wrong("display_name", "Display name", "Use at most 60 characters.");
        }
        let mailbox = EmailAddress::parse(&form.mailbox).map(|address| address.to_string()).unwrap_or_default();
        if mailbox.is_empty() {
            wrong("mailbox", "Mailbox", "Choose the mailbox that it sends through.");
        }
        let recipients = RecipientRule::parse(&form.recipients).unwrap_or_default();
        let recipient_list = list(&form.recipient_list);
        if recipients == RecipientRule::Listed {
            let is_known = |part: &String| {
                EmailAddress::parse(part).is_ok() || super::read_domains(part).is_ok_and(|domains| domains.len() == 1)
            };
            match recipient_list.iter().find(|part| !is_known(part)) {
                Some(part) => {
                    wrong("recipient_list", "Further recipients", &format!("“{part}” is no domain and no address."));
                }
                None if recipient_list.is_empty() => {
                    wrong("recipient_list", "Further recipients", "Enter a domain or an address.");
                }
                None if recipient_list.len() > MOST_LIST => {
                    wrong("recipient_list", "Further recipients", "Use at most 200 entries.");
                }
                None => {}
            }
        }
        let typed = form.messages_per_hour.trim();
        let per_hour = if typed.is_empty() { Some(PER_HOUR) } else { typed.parse().ok() };
        let per_hour = per_hour.filter(|count| (1..=MOST_PER_HOUR).contains(count));
        if per_hour.is_none() {
            wrong("messages_per_hour", "Messages an hour", "Enter a number from 1 to 100,000.");
        }
        let contact = pasted::identifier(&form.contact);
        let contact = match contact.as_str() {
            "" => String::new(),
            typed => match EmailAddress::parse(typed) {
                Ok(address) => address.to_string(),
                Err(error) => {
                    wrong("contact", "Contact", &error.to_string());
                    String::new()
                }
            },
        };
        let networks = list(&form.networks);
        if let Some(part) = networks.iter().find(|part| !is_network(part)) {
            let text = format!("“{part}” is no IP address and no network, such as 10.1.2.3 or 10.1.0.0/16.");
            wrong("networks", "Allowed networks", &text);
        } else if networks.len() > MOST_LIST {
            wrong("networks", "Allowed networks", "Use at most 200 entries.");
        }
        let by_address = form.by_address == "yes";
        if by_address && networks.is_empty() {
            wrong("networks", "Allowed networks", "Enter the address that it is recognised by.");
        }
        let expires_on = match form.expires_on.trim() {
            "" => None,
            typed => {
                let day = time::macros::format_description!("[year]-[month]-[day]");
                match time::Date::parse(typed, day) {
                    Ok(date) => Some(date.to_string()),
                    Err(_) => {
                        wrong("expires_on", "Expires on", "Enter a date, such as 2027-06-30.");
                        None
                    }
                }
            }
        };
        let kind = DeviceKind::parse(&form.kind).unwrap_or_default();
        let settings = Self {
            name,
            kind,
            mailbox,
            // A program can be corrected, a device hardly.
            sender_rule: SenderRule::parse(&form.sender_rule).unwrap_or(match kind {
                DeviceKind::Device => SenderRule::Rewrite,
                DeviceKind::Program => SenderRule::Refuse,
            }),
            display_name,
            recipients,
            recipient_list: if recipients == RecipientRule::Listed { recipient_list } else { Vec::new() },
            messages_per_hour: per_hour.unwrap_or(PER_HOUR),
            contact,
            networks,
            by_address,
            ask_first: form.ask_first == "yes",
            expires_on,
        };
        if errors.is_empty() { Ok(settings) } else { Err(errors) }
    }
}

/// Short form of a device's name, for its user name: ASCII letters and digits.
pub fn login_of(name: &str) -> String {
    let mut login = String::new();
    for c in name.to_lowercase().chars() {
        match c {
            'ä' | 'à' | 'á' | 'â' | 'å' => login.push('a'),
            'ö' | 'ò' | 'ó' | 'ô' => login.push('o'),
            'ü' | 'ù' | 'ú' | 'û' => login.push('u'),
            'é' | 'è' | 'ê' => login.push('e'),
            c if c.is_ascii_alphanumeric() => login.push(c),
            _ if !login.is_empty() && !login.ends_with('-') => login.push('-'),
            _ => {}
        }
    }
    let login: String = login.chars().take(20).collect();
    let login = login.trim_matches('-');
    if login.is_empty() { "device".to_owned() } else { login.to_owned() }
}

/// Whether a device can send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceState {
    Ready,
    Paused,
    Expired,
    /// Its mailbox is not connected.
    NoMailbox,
    /// Its mailbox is connected and doesn't work.
    MailboxFails,
}

impl DeviceState {
    pub fn label(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Paused => "Paused",
            Self::Expired => "Expired",
            Self::NoMailbox => "Mailbox not connected",
            Self::MailboxFails => "Mailbox doesn't work",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRow {
    pub id: DeviceId,
    pub name: String,
    pub kind: DeviceKind,
    pub mailbox: String,
    pub state: DeviceState,
    pub last_used_at: Option<Timestamp>,
    /// The last thing that went wrong, if it is the last that happened.
    pub problem: Option<String>,
}

impl DeviceRow {
    pub fn path(&self) -> String {
        device_path(self.id)
    }
}

pub fn device_path(id: DeviceId) -> String {
    format!("{PROGRAMS_PATH}/{id}")
}

/// A program that a person added for a mailbox of theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnProgram {
    pub id: DeviceId,
    pub name: String,
    pub login: String,
    pub mailbox: String,
    pub state: DeviceState,
    pub last_used_at: Option<Timestamp>,
    /// The last thing that went wrong, if it is the last that happened, and what to do.
    pub problem: Option<String>,
    pub advice: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnProgramsView {
    pub is_allowed: bool,
    pub programs: Vec<OwnProgram>,
    /// Connected mailboxes of the person.
    pub mailboxes: Vec<(MailboxId, String)>,
    pub relay: RelayAddress,
}

/// Where devices connect to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RelayAddress {
    pub host: String,
    /// Ports of the listeners that are on.
    pub starttls: Option<u16>,
    pub tls: Option<u16>,
    pub plain: Option<u16>,
    /// SHA-256 of the certificate, if it was made here.
    pub fingerprint: Option<String>,
    pub most_bytes: u64,
}

impl RelayAddress {
    pub fn is_on(&self) -> bool {
        self.starttls.is_some() || self.tls.is_some() || self.plain.is_some()
    }
}

/// A place in the log, newest first: lines before it are older.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPlace {
    pub at: Timestamp,
    /// Tells lines of one millisecond apart.
    pub id: uuid::Uuid,
}

impl LogPlace {
    /// Query of a page that begins at a place.
    pub const QUERY: &'static str = "before";
    /// Before every line.
    pub const NEWEST: Self = Self { at: Timestamp(i64::MAX), id: uuid::Uuid::max() };
}

impl std::fmt::Display for LogPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.at.0, self.id.simple())
    }
}

impl std::str::FromStr for LogPlace {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (at, id) = text.split_once('.').ok_or(())?;
        Ok(Self { at: Timestamp(at.parse().map_err(|_| ())?), id: id.parse().map_err(|_| ())? })
    }
}

/// A part of the log, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogPage {
    pub lines: Vec<RelayLine>,
    /// Where older lines begin.
    pub older: Option<LogPlace>,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayLine {
    pub at: Timestamp,
    pub address: String,
    pub event: RelayEvent,
    /// What became of the message.
    pub fate: Option<String>,
}

/// A message of a device. Neither subject nor whole addresses of recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceMessage {
    pub at: Timestamp,
    pub state: DeliveryState,
    /// Masked.
    pub recipients: Vec<String>,
    pub diagnosis: Option<Diagnosis>,
    pub answer: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordView {
    /// Its first characters.
    pub prefix: String,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceView {
    pub id: DeviceId,
    pub settings: DeviceSettings,
    /// `copier-north@school`
    pub login: String,
    pub state: DeviceState,
    pub is_paused: bool,
    /// The mailbox belongs to a person, who may leave.
    pub is_personal: bool,
    pub passwords: Vec<PasswordView>,
    pub last_used: Option<(Timestamp, String)>,
    pub relay: RelayAddress,
    pub log: LogPage,
    pub log_days: i64,
    pub messages: Vec<DeviceMessage>,
    pub mailboxes: Vec<(MailboxId, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramsView {
    pub relay: RelayAddress,
    pub devices: Vec<DeviceRow>,
    /// Connections that belong to no device.
    pub strangers: LogPage,
    /// Whether people may add programs for their own mailboxes.
    pub own_programs: bool,
    pub mailboxes: Vec<(MailboxId, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_user_names_that_panels_take() {
        for (name, login) in
            [("Copier north", "copier-north"), ("Kopierer Süd (2. OG)", "kopierer-sud-2-og"), ("扫描仪", "device")]
        {
            assert_eq!(login_of(name), login);
        }
        assert!(login_of(&"x".repeat(100)).len() == 20);
    }

    #[test]
    fn each_wrong_value_is_named() {
        let good = DeviceForm { name: "Copier".into(), mailbox: "scan@school.example".into(), ..DeviceForm::default() };
        let is_network = |text: &str| text.parse::<std::net::IpAddr>().is_ok();
        let read = DeviceSettings::parse(&good, is_network).unwrap();
        assert_eq!(
            (read.sender_rule, read.recipients, read.messages_per_hour),
            (SenderRule::Rewrite, RecipientRule::Own, 500)
        );
        let program = DeviceForm { kind: "program".into(), ..good.clone() };
        assert_eq!(DeviceSettings::parse(&program, is_network).unwrap().sender_rule, SenderRule::Refuse);
        for (field, form) in [
            ("name", DeviceForm { name: " !! ".into(), ..good.clone() }),
            ("mailbox", DeviceForm { mailbox: "scan".into(), ..good.clone() }),
            ("recipient_list", DeviceForm { recipients: "listed".into(), ..good.clone() }),
            (
                "recipient_list",
                DeviceForm { recipients: "listed".into(), recipient_list: "a b".into(), ..good.clone() },
            ),
            ("messages_per_hour", DeviceForm { messages_per_hour: "0".into(), ..good.clone() }),
            ("contact", DeviceForm { contact: "nobody".into(), ..good.clone() }),
            ("networks", DeviceForm { networks: "10.1.2".into(), ..good.clone() }),
            ("networks", DeviceForm { by_address: "yes".into(), ..good.clone() }),
            ("expires_on", DeviceForm { expires_on: "tomorrow".into(), ..good.clone() }),
        ] {
            let errors = DeviceSettings::parse(&form, is_network).unwrap_err();
            assert_eq!(errors[0].field, field);
        }
    }
}
