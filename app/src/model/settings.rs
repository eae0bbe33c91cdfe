//! Institution Config > General > Email.

use serde::{Deserialize, Serialize};

use super::{
    AttemptSummary, CredentialKind, CredentialUses, EmailState, GraphView, MailboxId, MailboxView, Superseded,
    Timestamp,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    SystemDefault,
    /// Microsoft Exchange Online, with the institution's own app registration.
    ExchangeOnline,
}

impl Provider {
    pub fn label(self) -> &'static str {
        match self {
            Self::SystemDefault => "System default",
            Self::ExchangeOnline => "MS Exchange Online",
        }
    }
}

/// Addresses in one command.
pub const MOST_ADDRESSES: i64 = 1_000;

/// Query of the configuration page that shows one step of the set-up.
pub const SETUP_STEP: &str = "step";

/// What a form posts for the server's own cloud, whose name is empty.
pub const OWN_CLOUD: &str = "own";

/// The posted form, which contains a secret.
/// No `Debug`, so that it cannot be printed.
#[derive(Clone, Default)]
pub struct EmailConfigForm {
    /// `system_default` or `exchange_online`.
    pub provider: String,
    pub client_id: String,
    pub tenant_id: String,
    /// Client Secret as typed.
    pub client_secret: String,
    /// Name of a cloud, or [`OWN_CLOUD`]; empty keeps the stored one.
    pub cloud: String,
    /// `secret`, `certificate` or `federated`; empty keeps what is stored.
    pub credential: String,
    /// Days that a lifetime was chosen for, or `date`.
    pub secret_lifetime: String,
    /// Output of `az ad app credential list`, pasted.
    pub secret_list: String,
    /// Reminded besides administrators.
    pub reminder_address: String,
    /// `remove` forgets the stored secret.
    pub secret_change: String,
    /// `YYYY-MM-DD` or empty.
    pub secret_expires_on: String,
    /// `yes` or `no`.
    pub custom_from: String,
    pub custom_from_address: String,
    /// `yes` if users may connect an address other than their account's.
    pub allow_other_address: String,
    /// `yes` if the administrator agreed that every mailbox must be connected again.
    pub confirm_disconnect: String,
}

/// A stored registration, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationView {
    pub client_id: String,
    pub tenant_id: String,
    /// Name of the cloud.
    pub cloud: String,
    pub credential: CredentialKind,
    /// Whether a secret is stored.
    pub has_secret: bool,
    pub secret_stored_at: Timestamp,
    /// `YYYY-MM-DD`: of the secret or the certificate.
    pub secret_expires_on: Option<String>,
    pub uses: CredentialUses,
    /// The credential before: to be deleted at Microsoft.
    pub superseded: Option<Superseded>,
    /// When Microsoft last accepted the three values; `None` is `unverified`.
    pub verified_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationView {
    pub default_sender: String,
    pub custom_from: bool,
    pub custom_from_address: String,
    pub system_smtp: bool,
    /// The tested mailbox that sends as the custom address.
    pub sender: Option<MailboxView>,
    pub ready: bool,
    pub problem: Option<String>,
    pub candidates: Vec<(MailboxId, String)>,
    /// Attempts, newest first.
    pub attempts: Vec<AttemptSummary>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum GuideStep {
    Register,
    Ids,
    Secret,
    RedirectUri,
    Permissions,
    Consent,
    Protocols,
}

impl GuideStep {
    /// In order.
    pub const ALL: [Self; 7] =
        [Self::Register, Self::Ids, Self::Secret, Self::RedirectUri, Self::Permissions, Self::Consent, Self::Protocols];

    /// Whether one proof is final. Consent and protocols are proven for one mailbox only.
    pub fn is_settled_by_proof(self) -> bool {
        !matches!(self, Self::Consent | Self::Protocols)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuideStepView {
    pub step: GuideStep,
    pub done: bool,
    pub proven: bool,
    /// When it was last ticked.
    pub since: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmailConfigView {
    pub provider: Provider,
    pub redirect_uri: String,
    /// Link for another administrator to grant consent, once a registration is stored.
    pub consent_link: Option<String>,
    pub registration: Option<RegistrationView>,
    /// The same that the home page shows.
    pub state: EmailState,
    /// Unused values until Microsoft accepts them.
    pub waiting: Option<RegistrationView>,
    /// Whether users may connect an address other than their account's.
    pub allow_other_address: bool,
    pub notifications: NotificationView,
    /// `None`: the cloud's Graph is not known, or nothing is set up.
    pub graph: Option<GraphView>,
    pub guide: Vec<GuideStepView>,
    /// Lifetimes the portal offers for a new secret: days, date and name.
    pub secret_lifetimes: Vec<(String, String, String)>,
    pub reminder_address: String,
    /// Whether notifications can leave without this app.
    pub has_relay: bool,
    /// The credential before is kept until mail is renewed with the new one.
    pub has_previous: bool,
    /// Name and label of the clouds to choose from, the server's own first.
    pub clouds: Vec<(String, String)>,
    /// Whether the authority is the global cloud's.
    pub in_global_cloud: bool,
    /// Number of mailboxes here, and the PowerShell command that enables their protocols.
    pub switches_here: (i64, String),
    pub switches_command: String,
    /// Whether the viewing administrator has connected a mailbox.
    pub own_mailbox_connected: bool,
    pub people_connected: i64,
    /// People with an account who are not disabled.
    pub people_here: i64,
    pub now: Timestamp,
}

impl EmailConfigView {
    /// Whether a connection confirmed what Save can't check.
    pub fn connection_proven(&self) -> bool {
        [GuideStep::RedirectUri, GuideStep::Permissions, GuideStep::Consent]
            .iter()
            .all(|step| self.guide.iter().any(|row| row.step == *step && row.proven))
    }
}

impl EmailConfigForm {
    /// Values to show again after an error: all but the secret.
    pub fn typed(&self) -> [(&'static str, &str); 12] {
        [
            ("cloud", &self.cloud),
            ("provider", &self.provider),
            ("client_id", &self.client_id),
            ("tenant_id", &self.tenant_id),
            ("secret_expires_on", &self.secret_expires_on),
            ("custom_from", &self.custom_from),
            ("custom_from_address", &self.custom_from_address),
            ("allow_other_address", &self.allow_other_address),
            ("secret_change", &self.secret_change),
            ("credential", &self.credential),
            ("secret_lifetime", &self.secret_lifetime),
            ("reminder_address", &self.reminder_address),
        ]
    }
}
