//! What proves to Microsoft who the app is.

use serde::{Deserialize, Serialize};

use super::{RegistrationError, SecretExpiry, SigningKeyId, Timestamp};

#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, strum::EnumString, strum::IntoStaticStr,
)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    #[default]
    Secret,
    /// Entrepost makes the key; the certificate is uploaded at Microsoft.
    Certificate,
    /// Microsoft trusts Entrepost as an issuer of tokens.
    Federated,
}

impl CredentialKind {
    pub fn label(self) -> &'static str {
        match self {
            Self::Secret => "Client Secret",
            Self::Certificate => "Certificate",
            Self::Federated => "Federated credential",
        }
    }

    /// Within a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Secret => "Client Secret",
            Self::Certificate => "certificate",
            Self::Federated => "federated credential",
        }
    }
}

/// A credential that nothing needs any more: to be deleted at Microsoft.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Superseded {
    pub credential: CredentialKind,
    pub stored_at: Timestamp,
    /// `YYYY-MM-DD`.
    pub expires_on: Option<String>,
    /// Secret ID, if known.
    pub secret_id: Option<String>,
}

/// When Microsoft first accepted each use of the credential.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialUses {
    /// The app's own request, which Save makes.
    pub app: Option<Timestamp>,
    pub sign_in: Option<Timestamp>,
    pub renewal: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateView {
    pub id: SigningKeyId,
    pub name: String,
    /// SHA-256 of the certificate, in hexadecimal digits.
    pub fingerprint: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub in_use: bool,
}

/// What is pasted at Microsoft for a federated credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FederationView {
    pub issuer: String,
    pub subject: String,
    pub audience: String,
    /// Microsoft fetches the keys from the public internet, by https.
    pub is_reachable: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialsView {
    /// The credential in use, once there is an app registration.
    pub in_use: Option<CredentialKind>,
    pub uses: CredentialUses,
    /// Newest first.
    pub certificates: Vec<CertificateView>,
    pub federation: FederationView,
    /// Of the app, for the portal's pages.
    pub client_id: Option<String>,
}

/// One secret in the output of `az ad app credential list --id CLIENT`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedSecret {
    key_id: Option<String>,
    /// First characters of the value.
    hint: Option<String>,
    end_date_time: Option<String>,
}

/// Finds a secret in the output of `az ad app credential list`, by its first characters: expiry and Secret ID. If several begin alike,
/// the one that expires first.
pub fn read_secret_list(pasted: &str, secret: &str) -> Result<(SecretExpiry, Option<String>), RegistrationError> {
    let listed: Vec<ListedSecret> =
        serde_json::from_str(pasted.trim()).map_err(|_| RegistrationError::SecretListUnreadable)?;
    let alike = |hint: &str| !hint.is_empty() && secret.starts_with(hint);
    let mut found: Vec<(SecretExpiry, Option<String>)> = listed
        .into_iter()
        .filter(|one| one.hint.as_deref().is_some_and(alike))
        .filter_map(|one| {
            let day = one.end_date_time?.get(..10)?.to_owned();
            let expiry = SecretExpiry::parse(&day).ok().flatten()?;
            let id = one.key_id.filter(|id| uuid::Uuid::parse_str(id).is_ok());
            Some((expiry, id))
        })
        .collect();
    found.sort_by_key(|(expiry, _)| *expiry);
    let mut found = found.into_iter();
    let (first, id) = found.next().ok_or(RegistrationError::SecretNotListed)?;
    // Which of several it is cannot be known.
    let id = if found.next().is_none() { id } else { None };
    Ok((first, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields that `az` 2 prints.
    const LIST: &str = r#"[
      {"customKeyIdentifier": null, "displayName": "old", "endDateTime": "2026-12-24T10:00:00Z", "hint": "ab8",
       "keyId": "0f8fad5b-d9cb-469f-a165-70867728950e", "secretText": null, "startDateTime": "2026-06-27T10:00:00Z"},
      {"displayName": "new", "endDateTime": "2027-11-27T10:00:00Z", "hint": "Zx1", "keyId": "7c9e6679-7425-40de-944b-e07fc1f90ae7"},
      {"displayName": "newer", "endDateTime": "2028-01-01T10:00:00Z", "hint": "Zx1", "keyId": "7c9e6679-7425-40de-944b-e07fc1f90ae8"},
      {"displayName": "certificate", "endDateTime": "2028-01-01T10:00:00Z", "hint": null, "keyId": "x"}
    ]"#;

    #[test]
    fn a_secret_is_found_by_its_first_characters() {
        let (expiry, id) = read_secret_list(LIST, "ab8Q~secret").unwrap();
        assert_eq!(
            (expiry.to_string().as_str(), id.as_deref()),
            ("2026-12-24", Some("0f8fad5b-d9cb-469f-a165-70867728950e"))
        );
        let (expiry, id) = read_secret_list(LIST, "Zx1secret").unwrap();
        assert_eq!((expiry.to_string().as_str(), id), ("2027-11-27", None), "the first to expire, whichever it is");
        assert_eq!(read_secret_list(LIST, "other").err(), Some(RegistrationError::SecretNotListed));
        for wrong in ["", "hello", "{}", "[1]", "[{}", "null"] {
            assert_eq!(read_secret_list(wrong, "ab8Q").err(), Some(RegistrationError::SecretListUnreadable), "{wrong}");
        }
        assert_eq!(read_secret_list("[{}]", "ab8Q").err(), Some(RegistrationError::SecretNotListed));
        let hostile = r#"[{"hint": "ab8", "endDateTime": "2026-1é-0000", "keyId": "<b>"}]"#;
        assert_eq!(read_secret_list(hostile, "ab8Q").err(), Some(RegistrationError::SecretNotListed));
    }
}
