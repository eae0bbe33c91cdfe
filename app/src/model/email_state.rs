//! What email of an institution can do now: one value for the home page, the configuration page and the sheet of each mailbox.

use serde::{Deserialize, Serialize};

use super::{CredentialKind, Diagnosis, GuideStep, Notice, Timestamp, Tone, in_days, people};

/// From so many days before its expiry on, a secret is a warning.
const EXPIRES_SOON_DAYS: i64 = 30;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EmailState {
    NotSetUp,
    /// Saved while Microsoft did not answer.
    Unchecked,
    Works {
        accepted_at: Timestamp,
        /// Until the secret expires. Negative: the date has passed, but Microsoft accepted the secret afterwards.
        days_left: Option<i64>,
        credential: CredentialKind,
    },
    Stopped(Box<Stopped>),
}

/// Nobody can send or receive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    pub why: Diagnosis,
    /// People with a mailbox.
    pub people: i64,
    /// Messages that wait until it is fixed.
    pub waiting: i64,
    pub last_accepted: Option<Timestamp>,
}

impl Stopped {
    /// The field of the configuration page that fixes it.
    pub fn field(&self) -> Option<&'static str> {
        match self.why.cause.as_str() {
            "secret_wrong" | "secret_expired" => Some("client_secret"),
            "client_unknown" | "ids_swapped" => Some("client_id"),
            "tenant_unknown" | "tenant_unfit" | "single_tenant" => Some("tenant_id"),
            "other_cloud" => Some("cloud"),
            _ => None,
        }
    }

    /// The step of the guide that is undone by it.
    pub fn step(&self) -> Option<GuideStep> {
        match self.why.cause.as_str() {
            "consent_missing" | "service_principal" | "app_disabled" | "not_assigned" => Some(GuideStep::Consent),
            "permissions_missing" => Some(GuideStep::Permissions),
            "client_unknown" | "ids_swapped" | "tenant_unknown" | "tenant_unfit" | "single_tenant" | "other_cloud" => {
                Some(GuideStep::Ids)
            }
            cause if EmailState::is_of_app(cause) => Some(GuideStep::Secret),
            _ => None,
        }
    }
}

impl EmailState {
    /// Whether a cause concerns the app itself: then no one can use it.
    pub fn is_of_app(cause: &str) -> bool {
        [
            "secret_wrong",
            "secret_expired",
            "certificate_expired",
            "credential_forbidden",
            "client_assertion",
            "federated_credential",
            "issuer_unreachable",
            "public_client",
            "client_unknown",
            "ids_swapped",
            "tenant_unknown",
            "tenant_unfit",
            "single_tenant",
            "other_cloud",
            "app_disabled",
            "service_principal",
        ]
        .contains(&cause)
    }

    pub fn stopped(&self) -> Option<&Stopped> {
        match self {
            Self::Stopped(stopped) => Some(stopped),
            _ => None,
        }
    }

    /// Whether what proves the app to Microsoft expires soon, or has by its date.
    pub fn expires_soon(&self) -> bool {
        matches!(self, Self::Works { days_left: Some(days), .. } if *days <= EXPIRES_SOON_DAYS)
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::NotSetUp => "not_set_up",
            Self::Unchecked => "unchecked",
            Self::Works { .. } => "works",
            Self::Stopped(_) => "stopped",
        }
    }

    /// The state in words, the same on every page.
    pub fn notice(&self) -> Notice {
        match self {
            Self::NotSetUp => Notice::new(
                Tone::Warning,
                "Set up email first.",
                "Choose MS Exchange Online and paste the three values of your app registration.",
            ),
            Self::Unchecked => {
                Notice::new(Tone::Warning, "Saved, but not checked.", "Microsoft hasn't accepted these values yet.")
            }
            Self::Works { days_left: Some(days), credential: CredentialKind::Secret, .. } if *days < 0 => Notice::new(
                Tone::Warning,
                "Microsoft still accepts the Client Secret.",
                "The date under Secret expires on has passed. Enter the date that Entra shows.",
            ),
            Self::Works { days_left: Some(days), credential: CredentialKind::Certificate, .. } if *days < 0 => {
                Notice::new(
                    Tone::Warning,
                    "The certificate has expired.",
                    "Download the next one and upload it in Entra, before Microsoft refuses this one.",
                )
            }
            Self::Works { days_left: Some(days), credential: CredentialKind::Certificate, .. }
                if *days <= EXPIRES_SOON_DAYS =>
            {
                Notice::new(
                    Tone::Warning,
                    format!("The certificate expires {}.", in_days(*days)),
                    "The next one is ready: download it and upload it in Entra. It is used as soon as Microsoft knows it.",
                )
            }
            Self::Works { days_left: Some(days), .. } if *days <= EXPIRES_SOON_DAYS => Notice::new(
                Tone::Warning,
                format!("The Client Secret expires {}.", in_days(*days)),
                "Create a new one in Entra and paste its Value. It takes effect immediately for everyone.",
            ),
            Self::Works { .. } => Notice::new(Tone::Success, "Microsoft accepted the credentials.", ""),
            Self::Stopped(stopped) => {
                let concerned = match stopped.people {
                    0 => "No one can connect a mailbox until this is fixed.".to_owned(),
                    count => format!("Email is stopped for {}.", people(count)),
                };
                let waiting = match stopped.waiting {
                    0 => String::new(),
                    1 => " 1 message waits and is sent afterwards.".to_owned(),
                    count => format!(" {count} messages wait and are sent afterwards."),
                };
                Notice::new(
                    Tone::Problem,
                    stopped.why.title.clone(),
                    format!("{} {concerned}{waiting}", stopped.why.summary),
                )
            }
        }
    }
}
