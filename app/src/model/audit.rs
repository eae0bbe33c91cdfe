//! The audit log of an institution.

use super::{AUDIT_PATH, Timestamp, escaped};

/// What happened. The names are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum AuditAction {
    SignIn,
    SignInFailed,
    SignOut,
    Invitation,
    InvitationList,
    PasswordLink,
    PasswordSet,
    /// A link set a password: mail is hidden until the person's Microsoft account signs in.
    MailHidden,
    MailShown,
    RoleChanged,
    NameChanged,
    PersonDisabled,
    PersonEnabled,
    /// Microsoft says that their account ended.
    PersonLeft,
    /// Got an account at their first sign-in with Microsoft.
    PersonJoined,
    MicrosoftUnlinked,
    PersonStays,
    PersonExported,
    PersonErased,
    MailboxConnected,
    MailboxDisconnected,
    ConfigurationSaved,
    RegistrationChanged,
    SecretReplaced,
    /// Certificate or federated credential.
    CredentialChanged,
    CertificateMade,
    CertificateRemoved,
    IssuerKeyMade,
    IssuerKeyRemoved,
    RegistrationRemoved,
    ConsentGranted,
    /// Another mailbox, or none, sends notifications.
    NotificationSenderChanged,
    DeviceAdded,
    DeviceChanged,
    DevicePassword,
    DeviceRemoved,
    LinksExported,
    LogExported,
    InstitutionAdded,
    /// The first entry of a log.
    LogBegun,
    /// The sealed end of the log was missing or was not ours.
    LogBroken,
}

impl AuditAction {
    pub fn label(self) -> &'static str {
        match self {
            Self::SignIn => "Signed in",
            Self::SignInFailed => "Sign-in failed",
            Self::SignOut => "Signed out",
            Self::Invitation => "Invited",
            Self::InvitationList => "List of invitations confirmed",
            Self::PasswordLink => "New link",
            Self::PasswordSet => "Password set",
            Self::MailHidden => "Mail hidden",
            Self::MailShown => "Mail shown again",
            Self::RoleChanged => "Role changed",
            Self::NameChanged => "Name changed",
            Self::PersonDisabled => "Account disabled",
            Self::PersonEnabled => "Account enabled",
            Self::PersonJoined => "Account made at a sign-in",
            Self::MicrosoftUnlinked => "Microsoft account removed",
            Self::PersonLeft => "Has left, says Microsoft",
            Self::PersonStays => "Has not left",
            Self::PersonExported => "Data of a person downloaded",
            Self::PersonErased => "Person erased",
            Self::MailboxConnected => "Mailbox connected",
            Self::MailboxDisconnected => "Mailbox disconnected",
            Self::ConfigurationSaved => "Email configuration saved",
            Self::RegistrationChanged => "App registration changed",
            Self::SecretReplaced => "Client Secret replaced",
            Self::CredentialChanged => "Credential changed",
            Self::CertificateMade => "Certificate made",
            Self::CertificateRemoved => "Certificate removed",
            Self::IssuerKeyMade => "Key of the federated credential made",
            Self::IssuerKeyRemoved => "Key of the federated credential removed",
            Self::RegistrationRemoved => "App registration removed",
            Self::ConsentGranted => "Admin consent granted",
            Self::NotificationSenderChanged => "Sender of notifications changed",
            Self::DeviceAdded => "Program or device added",
            Self::DeviceChanged => "Program or device changed",
            Self::DevicePassword => "Password of a program or device made",
            Self::DeviceRemoved => "Program or device removed",
            Self::LinksExported => "Links downloaded",
            Self::LogExported => "Log downloaded",
            Self::InstitutionAdded => "Institution added",
            Self::LogBegun => "The log begins",
            Self::LogBroken => "The log was changed from outside",
        }
    }

    pub fn group(self) -> AuditGroup {
        match self {
            Self::SignIn | Self::SignInFailed | Self::SignOut => AuditGroup::SignIns,
            Self::Invitation
            | Self::InvitationList
            | Self::PasswordLink
            | Self::PasswordSet
            | Self::MailHidden
            | Self::MailShown
            | Self::RoleChanged
            | Self::NameChanged
            | Self::PersonDisabled
            | Self::PersonEnabled
            | Self::PersonLeft
            | Self::PersonJoined
            | Self::MicrosoftUnlinked
            | Self::PersonStays
            | Self::PersonExported
            | Self::PersonErased => AuditGroup::People,
            Self::MailboxConnected | Self::MailboxDisconnected => AuditGroup::Mailboxes,
            Self::ConfigurationSaved
            | Self::RegistrationChanged
            | Self::SecretReplaced
            | Self::CredentialChanged
            | Self::CertificateMade
            | Self::CertificateRemoved
            | Self::IssuerKeyMade
            | Self::IssuerKeyRemoved
            | Self::RegistrationRemoved
            | Self::ConsentGranted
            | Self::NotificationSenderChanged
            | Self::DeviceAdded
            | Self::DeviceChanged
            | Self::DevicePassword
            | Self::DeviceRemoved
            | Self::InstitutionAdded => AuditGroup::Configuration,
            Self::LinksExported | Self::LogExported | Self::LogBegun | Self::LogBroken => AuditGroup::Log,
        }
    }
}

/// A filter of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum AuditGroup {
    SignIns,
    People,
    Mailboxes,
    Configuration,
    Log,
}

impl AuditGroup {
    pub fn label(self) -> &'static str {
        match self {
            Self::SignIns => "Sign-ins",
            Self::People => "People",
            Self::Mailboxes => "Mailboxes",
            Self::Configuration => "Configuration",
            Self::Log => "Downloads and log",
        }
    }

    pub fn actions(self) -> impl Iterator<Item = AuditAction> {
        let all: &[AuditAction] = strum::VariantArray::VARIANTS;
        all.iter().copied().filter(move |action| action.group() == self)
    }
}

/// What of the log is shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditQuery {
    pub group: Option<AuditGroup>,
    /// Part of an address.
    pub person: String,
    /// First and last day, in UTC.
    pub from: Option<time::Date>,
    pub to: Option<time::Date>,
    /// The last entry of the page before.
    pub before: Option<i64>,
}

impl AuditQuery {
    /// The query of a URL or a form. What cannot be read is left out.
    pub fn parse(get: impl Fn(&str) -> Option<String>) -> Self {
        // PostgreSQL stores no NUL.
        let person = get("person").unwrap_or_default().replace(char::is_control, " ");
        let day = time::macros::format_description!("[year]-[month]-[day]");
        let date = |name: &str| get(name).and_then(|text| time::Date::parse(text.trim(), day).ok());
        Self {
            group: get("what").and_then(|text| AuditGroup::parse(&text)),
            person: person.trim().chars().take(100).collect(),
            from: date("from"),
            to: date("to"),
            before: get("before").and_then(|text| text.parse().ok()),
        }
    }

    /// Its values, as in a form.
    pub fn values(&self) -> Vec<(&'static str, String)> {
        let date = |date: Option<time::Date>| date.map(|date| date.to_string());
        let parts = [
            ("what", self.group.map(|group| group.as_str().to_owned())),
            ("person", Some(self.person.clone()).filter(|text| !text.is_empty())),
            ("from", date(self.from)),
            ("to", date(self.to)),
            ("before", self.before.map(|number| number.to_string())),
        ];
        parts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    pub fn path(&self) -> String {
        let parts: Vec<String> =
            self.values().iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let question = if parts.is_empty() { "" } else { "?" };
        format!("{AUDIT_PATH}{question}{}", parts.join("&"))
    }

    /// From the first day's beginning to before the last day's end, in milliseconds.
    pub fn times(&self) -> (Timestamp, Timestamp) {
        let begin = |date: time::Date| date.midnight().assume_utc().unix_timestamp() * 1000;
        let from = self.from.map_or(i64::MIN, begin);
        let to = self.to.and_then(time::Date::next_day).map_or(i64::MAX, begin);
        (Timestamp(from), Timestamp(to))
    }
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    pub number: i64,
    pub at: Timestamp,
    /// Their address at that time; the program's name if it acted by itself.
    pub actor: String,
    /// Network address; empty for the program.
    pub origin: String,
    pub action: AuditAction,
    /// Whom or what it concerns.
    pub subject: String,
    pub details: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditPage {
    pub rows: Vec<AuditRow>,
    pub more: bool,
    /// How many days entries are kept.
    pub kept_days: i64,
}
