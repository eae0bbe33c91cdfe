//! Parses the form of Institution Config > General > Email.

use app::model::{
    ClientId, ClientSecret, CredentialKind, EmailAddress, EmailConfigForm, FieldError, Provider, RegistrationError,
    SecretExpiry, Tenant,
};

use app::model::OWN_CLOUD;

use crate::clock::Clock;
use crate::config::Clouds;
use crate::store::{EmailSettings, Registration};
use crate::vault::Secret;

pub(super) struct Parsed {
    pub(super) settings: EmailSettings,
    pub(super) registration: Option<Values>,
    pub(super) forget_secret: bool,
}

pub(super) struct Values {
    pub(super) client_id: ClientId,
    pub(super) tenant: Tenant,
    /// One of the list.
    pub(super) cloud: String,
    pub(super) credential: CredentialKind,
    pub(super) secret: Option<Secret>,
    pub(super) expires_on: Option<SecretExpiry>,
    /// A lifetime from today was chosen, and no date typed.
    pub(super) is_lifetime: bool,
    /// Output of `az ad app credential list`, pasted; may be empty.
    pub(super) secret_list: String,
}

pub(super) fn field(field: &str, label: &str, text: impl ToString) -> FieldError {
    FieldError { field: field.into(), label: label.into(), text: text.to_string() }
}

/// Parses the form.
pub(super) fn parse(
    form: EmailConfigForm,
    old: &EmailSettings,
    stored: Option<&Registration>,
    clouds: &Clouds,
    clock: &Clock,
) -> Result<Parsed, Vec<FieldError>> {
    let mut errors = Vec::new();
    let provider = Provider::parse(&form.provider);
    if provider.is_none() {
        errors.push(field("provider", "Email Provider", "Choose a provider."));
    }
    let custom_from = form.custom_from == "yes";
    let typed = form.custom_from_address.trim().to_owned();
    let custom_from_address = match EmailAddress::parse(&typed) {
        Ok(address) => address.to_string(),
        Err(error) if custom_from => {
            errors.push(field("custom_from_address", "Custom From address", error));
            String::new()
        }
        // With No the field is hidden: its value does not matter.
        Err(_) => String::new(),
    };
    let typed = form.reminder_address.trim().to_owned();
    let reminder_address = if typed.is_empty() {
        String::new()
    } else {
        let parsed = EmailAddress::parse(&typed).map(|address| address.to_string());
        parsed
            .map_err(|error| errors.push(field("reminder_address", "Also send reminders to", error)))
            .unwrap_or_default()
    };
    // A page that does not ask keeps what is stored.
    let credential = CredentialKind::parse(&form.credential)
        .unwrap_or_else(|| stored.map_or(CredentialKind::Secret, |stored| stored.credential));
    let forget_secret = form.secret_change == "remove";
    if forget_secret && !form.client_secret.trim().is_empty() {
        let text = "You chose to remove the Client Secret and entered a new one. Choose one of the two.";
        errors.push(FieldError { field: "client_secret".into(), label: "Client Secret".into(), text: text.into() });
    }
    let mut registration = None;
    if provider == Some(Provider::ExchangeOnline) && !forget_secret {
        let client_id =
            ClientId::parse(&form.client_id).map_err(|error| errors.push(field("client_id", "Client ID", error)));
        let tenant =
            Tenant::parse(&form.tenant_id).map_err(|error| errors.push(field("tenant_id", "Tenant ID", error)));
        let secret = ClientSecret::parse(&form.client_secret)
            .and_then(|secret| match secret {
                _ if credential != CredentialKind::Secret => Ok(None),
                None if stored.is_none_or(|stored| stored.secret_sealed.is_empty()) => {
                    Err(RegistrationError::SecretMissing)
                }
                other => Ok(other),
            })
            .map_err(|error| errors.push(field("client_secret", "Client Secret", error)));
        let stored_expiry = stored.and_then(|stored| stored.secret_expires_on.as_deref());
        // A page that does not ask keeps what is stored.
        let cloud = match form.cloud.as_str() {
            "" => stored.map_or("", |stored| &stored.cloud),
            OWN_CLOUD => "",
            name => name,
        };
        if clouds.find(cloud).is_none() {
            errors.push(field(
                "cloud",
                "Cloud",
                "Choose one of the clouds in the list. Only this server's operator can add others.",
            ));
        }
        // A lifetime that was chosen counts from today; the date field is for any other.
        let chosen = SecretExpiry::choices(clock.now()).into_iter().find(|(days, ..)| *days == form.secret_lifetime);
        let is_lifetime = chosen.is_some();
        let date = chosen.map_or(form.secret_expires_on, |(_, date, _)| date);
        let expires_on = SecretExpiry::parse(&date)
            .and_then(|date| match date {
                // A stored date is accepted even if it is past by now.
                Some(date) if date.days_left(clock.now()) < 0 && stored_expiry != Some(date.to_string().as_str()) => {
                    Err(RegistrationError::Expiry)
                }
                other => Ok(other),
            })
            .map_err(|error| errors.push(field("secret_expires_on", "Secret expires on", error)));
        if let (Ok(client_id), Ok(tenant), Ok(secret), Ok(expires_on)) = (client_id, tenant, secret, expires_on) {
            registration = Some(Values {
                client_id,
                tenant,
                cloud: cloud.to_owned(),
                credential,
                secret: secret.map(|secret| Secret::new(secret.reveal())),
                expires_on,
                is_lifetime,
                secret_list: form.secret_list,
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
            // A changed sender must be tested again.
            notification_mailbox: old.notification_mailbox.filter(|_| same_sender),
            notification_problem: old.notification_problem.clone().filter(|_| same_sender),
            allow_other_address: form.allow_other_address == "yes",
            reminder_address,
        },
        registration,
        forget_secret,
    })
}
