//! Values of an app registration, as pasted.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::pasted;

/// Errors in pasted values. Each text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    #[error("Client ID is missing. In Entra it is called Application (client) ID.")]
    ClientIdMissing,
    #[error("Tenant ID is missing. In Entra it is called Directory (tenant) ID.")]
    TenantIdMissing,
    #[error(
        "Client ID is a GUID such as 7d1f0a52-3c1b-4b0e-9a55-0c0e7c8a41fd. In Entra it is called Application (client) ID."
    )]
    ClientId,
    #[error(
        "Tenant ID is a GUID, or a domain that is verified in your tenant. In Entra it is called Directory (tenant) ID."
    )]
    TenantId,
    /// `common`, `organizations` or `consumers`.
    #[error(
        "“{0}” means every tenant, so Entrepost couldn't tell your accounts from others. Paste the Directory (tenant) ID."
    )]
    SharedTenant(String),
    #[error(
        "This is the Secret ID, paste the Value. In Entra the Value is left of the Secret ID and is shown only once. If it is masked, create a new secret."
    )]
    SecretId,
    #[error("Client Secret is missing: paste its Value.")]
    SecretMissing,
    #[error("A client secret has no spaces or line breaks. Copy the Value again with the copy button in Entra.")]
    SecretBlanks,
    #[error("Enter a date in the future, as Entra shows it under Expires.")]
    Expiry,
    #[error("This is not the list that the command prints. Paste all of it, from the first [ to the last ].")]
    SecretListUnreadable,
    #[error(
        "The list has no secret that begins like this one. Check that it is the list of this app, or enter the date."
    )]
    SecretNotListed,
}

/// A page of an app in the Entra portal of the global cloud.
pub fn portal_page(client_id: &str, blade: &str) -> String {
    format!(
        "https://entra.microsoft.com/#view/Microsoft_AAD_RegisteredApps/ApplicationMenuBlade/~/{blade}/appId/{client_id}"
    )
}

fn guid(text: &str) -> Option<Uuid> {
    let text = pasted::guid(text);
    (text.len() == 36).then(|| Uuid::parse_str(&text).ok()).flatten()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(pub Uuid);

impl ClientId {
    pub fn parse(text: &str) -> Result<Self, RegistrationError> {
        if pasted::guid(text).is_empty() {
            return Err(RegistrationError::ClientIdMissing);
        }
        guid(text).map(Self).ok_or(RegistrationError::ClientId)
    }
}

impl std::fmt::Display for ClientId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantId(pub Uuid);

impl std::fmt::Display for TenantId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A Tenant ID as pasted. A domain is resolved to its GUID at Save.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tenant {
    Id(TenantId),
    Domain(String),
}

impl Tenant {
    pub fn parse(text: &str) -> Result<Self, RegistrationError> {
        let text = pasted::guid(text).to_lowercase();
        if text.is_empty() {
            return Err(RegistrationError::TenantIdMissing);
        }
        if ["common", "organizations", "consumers"].contains(&text.as_str()) {
            return Err(RegistrationError::SharedTenant(text));
        }
        if let Some(id) = guid(&text) {
            return Ok(Self::Id(TenantId(id)));
        }
        let label = |part: &str| {
            (1..=63).contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !part.starts_with('-')
                && !part.ends_with('-')
        };
        let domain = text.len() <= 253 && text.contains('.') && text.split('.').all(label);
        if domain { Ok(Self::Domain(text)) } else { Err(RegistrationError::TenantId) }
    }
}

/// A posted client secret. Without `Debug`, `Display` and `Serialize`, so that it can't leak.
#[derive(Clone)]
pub struct ClientSecret(String);

impl ClientSecret {
    /// Parses a pasted value; `None` if nothing was typed.
    pub fn parse(text: &str) -> Result<Option<Self>, RegistrationError> {
        let text = pasted::secret(text);
        if text.is_empty() {
            return Ok(None);
        }
        if guid(text).is_some() {
            return Err(RegistrationError::SecretId);
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) || text.len() > 1024 {
            return Err(RegistrationError::SecretBlanks);
        }
        Ok(Some(Self(text.to_owned())))
    }

    pub fn reveal(self) -> String {
        self.0
    }
}

/// A secret's expiry date (`YYYY-MM-DD`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretExpiry(pub time::Date);

impl SecretExpiry {
    const FORMAT: &'static [time::format_description::BorrowedFormatItem<'static>] =
        time::macros::format_description!("[year]-[month]-[day]");

    /// Parses a date field; `None` if empty.
    pub fn parse(text: &str) -> Result<Option<Self>, RegistrationError> {
        let text = pasted::identifier(text);
        if text.is_empty() {
            return Ok(None);
        }
        time::Date::parse(&text, Self::FORMAT).map(|date| Some(Self(date))).map_err(|_| RegistrationError::Expiry)
    }

    /// The day of a time (UTC).
    pub fn of(at: super::Timestamp) -> Self {
        let at = time::OffsetDateTime::from_unix_timestamp(at.0.div_euclid(1000));
        Self(at.unwrap_or(time::OffsetDateTime::UNIX_EPOCH).date())
    }

    /// Lifetimes the portal offers for a new secret: days, the date from today, and a name.
    pub fn choices(now: super::Timestamp) -> Vec<(String, String, String)> {
        let today = Self::of(now).0;
        [(180, "180 days from today"), (365, "12 months from today"), (730, "24 months from today")]
            .into_iter()
            .filter_map(|(days, name)| {
                let date = Self(today.checked_add(time::Duration::days(days))?);
                Some((days.to_string(), date.to_string(), name.to_owned()))
            })
            .collect()
    }

    /// Whole days from the day of `now` (UTC) to the day of expiry; negative when past.
    pub fn days_left(self, now: super::Timestamp) -> i64 {
        (self.0 - Self::of(now).0).whole_days()
    }
}

impl std::fmt::Display for SecretExpiry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.format(Self::FORMAT).map_err(|_| std::fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_the_portal_are_those_of_the_app() {
        let page = portal_page("0f8fad5b-d9cb-469f-a165-70867728950e", "Credentials");
        assert!(page.starts_with(
            "https://entra.microsoft.com/#view/Microsoft_AAD_RegisteredApps/ApplicationMenuBlade/~/Credentials/"
        ));
        assert!(page.ends_with("/appId/0f8fad5b-d9cb-469f-a165-70867728950e"));
    }

    #[test]
    fn a_guid_is_no_secret() {
        let pasted = " 0f8fad5b-d9cb-469f-a165-70867728950e\n";
        assert_eq!(ClientSecret::parse(pasted).err(), Some(RegistrationError::SecretId));
        assert!(ClientSecret::parse(" ab8Q~secret \n").unwrap().unwrap().reveal() == "ab8Q~secret");
        assert!(ClientSecret::parse("\u{200b}ab8Q~secret\u{feff}\u{a0}").unwrap().unwrap().reveal() == "ab8Q~secret");
        assert!(ClientSecret::parse("  ").unwrap().is_none());
        assert_eq!(ClientSecret::parse("a b").err(), Some(RegistrationError::SecretBlanks));
    }

    #[test]
    fn a_tenant_is_a_guid_or_a_domain_but_never_everybody() {
        let id = "c1a5b7de-90f4-4d0f-8f62-2a7be01d7c35";
        assert_eq!(
            Tenant::parse(&format!(" {} ", id.to_uppercase())).unwrap(),
            Tenant::Id(TenantId(id.parse().unwrap()))
        );
        assert_eq!(Tenant::parse("Demo.Example").unwrap(), Tenant::Domain("demo.example".into()));
        for shared in ["common", "Organizations", " consumers "] {
            assert!(matches!(Tenant::parse(shared), Err(RegistrationError::SharedTenant(_))), "{shared}");
        }
        assert_eq!(Tenant::parse(" "), Err(RegistrationError::TenantIdMissing));
        for wrong in ["demo", "demo..example", "-a.example", "a/b.example", "c1a5b7de90f44d0f8f622a7be01d7c35"] {
            assert_eq!(Tenant::parse(wrong), Err(RegistrationError::TenantId), "{wrong}");
        }
    }

    #[test]
    fn a_client_id_is_a_guid() {
        assert!(ClientId::parse(" 7d1f0a52-3c1b-4b0e-9a55-0c0e7c8a41fd ").is_ok());
        for pasted in [
            "{7d1f0a52-3c1b-4b0e-9a55-0c0e7c8a41fd}",
            "\u{feff}7d1f0a52\u{2011}3c1b-4b0e-9a55-0c0e7c8a41fd\u{200b}",
            "\u{a0}7d1f0a52-3c1b-4b0e-9a55-\u{ad}0c0e7c8a41fd",
        ] {
            assert!(ClientId::parse(pasted).is_ok(), "{pasted:?}");
        }
        assert_eq!(ClientId::parse(""), Err(RegistrationError::ClientIdMissing));
    }
}
