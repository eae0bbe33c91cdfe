//! The credentials of an institution's app: opened from the store, made, and rolled over.
//!
//! A certificate's key is made here, and only its public part leaves. For a federated credential Entrepost is an issuer of its own:
//! Microsoft fetches the public keys of [`AppCredentials::key_set`] and checks what is signed here.

use std::sync::Arc;

use app::model::{CredentialKind, InstitutionId, SigningKeyId, Timestamp};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, EncodingKey};
use rsa::pkcs8::{EncodePrivateKey, LineEnding};
use sha2::{Digest, Sha256};

use crate::clock::Clock;
use crate::config::{Clouds, Microsoft, PublicUrl};
use crate::identity::{Credentials, Proof};
use crate::store::{KeyPurpose, Registration, SigningKey, Slot, Store, StoreError, Tx};
use crate::vault::{Place, Secret, Vault, VaultError};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// How long a certificate is valid. The portal offers 24 months for a secret.
const CERTIFICATE_MS: i64 = 730 * DAY_MS;
/// A certificate that ends sooner gets a successor.
pub const SUCCESSOR_MS: i64 = 60 * DAY_MS;
/// How long an issuer signs with one key.
const ISSUER_KEY_MS: i64 = 90 * DAY_MS;
/// How long a new key of an issuer is published before it signs: Microsoft keeps a key set for up to a day.
const ANNOUNCED_MS: i64 = DAY_MS;
/// How long a key is published after its successor began to sign.
const KEPT_MS: i64 = 2 * DAY_MS;
/// Bits of a key.
const BITS: usize = 2048;

#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("the key of a certificate is missing")]
    NoKey,
    /// The operator took it out of the list: nothing is sent there.
    #[error("the Microsoft cloud {0:?} is no longer in this server's list")]
    Cloud(String),
    #[error("cannot make a key: {0}")]
    Key(String),
}

/// Sealing place of the client secret of a registration.
pub fn secret_place(registration: &Registration) -> Place {
    Place::new("app_registrations", "secret_sealed", registration.id)
}

fn key_place(key: SigningKeyId) -> Place {
    Place::new("signing_keys", "key_sealed", key)
}

/// SHA-256 of a certificate.
pub fn fingerprint(pem: &str) -> Option<[u8; 32]> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    Some(Sha256::digest(der.as_ref()).into())
}

pub struct AppCredentials {
    store: Store,
    vault: Arc<Vault>,
    public_url: PublicUrl,
    clouds: Clouds,
    clock: Clock,
}

impl AppCredentials {
    pub fn new(store: Store, vault: Arc<Vault>, public_url: PublicUrl, clouds: Clouds, clock: Clock) -> Self {
        Self { store, vault, public_url, clouds, clock }
    }

    /// Opens the credential of a registration.
    pub async fn credentials(
        &self,
        institution: InstitutionId,
        registration: &Registration,
    ) -> Result<Credentials, CredentialError> {
        let cloud = self.cloud(&registration.cloud)?;
        let proof = match registration.credential {
            CredentialKind::Secret => {
                Proof::Secret(self.vault.open(&secret_place(registration), &registration.secret_sealed)?)
            }
            CredentialKind::Certificate => {
                let id = registration.credential_id.ok_or(CredentialError::NoKey)?;
                let key = self.store.signing_key(institution, id).await?.ok_or(CredentialError::NoKey)?;
                self.certificate(&key)?
            }
            CredentialKind::Federated => self.federated(institution, &cloud).await?,
        };
        let tenant = registration.tenant_id.to_string();
        Ok(Credentials { client_id: registration.client_id, tenant, cloud, proof })
    }

    /// The hosts of a cloud, if the list still has it.
    pub fn cloud(&self, name: &str) -> Result<Arc<Microsoft>, CredentialError> {
        let cloud = self.clouds.find(name).ok_or_else(|| CredentialError::Cloud(name.to_owned()))?;
        Ok(Arc::clone(&cloud.hosts))
    }

    /// The proof with a certificate.
    pub fn certificate(&self, key: &SigningKey) -> Result<Proof, CredentialError> {
        let fingerprint = fingerprint(&key.public_part).ok_or(CredentialError::NoKey)?;
        Ok(Proof::Certificate {
            key: self.vault.open(&key_place(key.id), &key.key_sealed)?,
            thumbprint: BASE64_URL_SAFE_NO_PAD.encode(fingerprint),
        })
    }

    /// The proof of an institution as an issuer. Its first key is made here.
    pub async fn federated(&self, institution: InstitutionId, cloud: &Microsoft) -> Result<Proof, CredentialError> {
        let row = self.store.institution(institution).await?.ok_or(CredentialError::NoKey)?;
        let mut keys = self.store.signing_keys(institution, KeyPurpose::Issuer).await?;
        if keys.is_empty() {
            let first = self.new_issuer_key().await?;
            let mut tx = self.store.begin().await?;
            self.add_issuer_key(&mut tx, institution, &first).await?;
            tx.commit().await?;
            keys.push(first);
        }
        let key = signing(&keys, self.clock.now()).ok_or(CredentialError::NoKey)?;
        Ok(Proof::Federated {
            key: self.vault.open(&key_place(key.id), &key.key_sealed)?,
            key_id: key.id.to_string(),
            issuer: self.issuer(&row.slug),
            subject: Self::subject(&row.slug),
            audience: cloud.federation_audience.clone(),
        })
    }

    /// The issuer of an institution: its public address.
    pub fn issuer(&self, slug: &str) -> String {
        self.public_url.of(slug)
    }

    pub fn subject(slug: &str) -> String {
        format!("entrepost:{slug}")
    }

    /// The public keys of an institution as an issuer.
    pub async fn key_set(&self, institution: InstitutionId) -> Result<JwkSet, StoreError> {
        let keys = self.store.signing_keys(institution, KeyPurpose::Issuer).await?;
        Ok(JwkSet { keys: keys.iter().filter_map(|key| serde_json::from_str(&key.public_part).ok()).collect() })
    }

    async fn new_issuer_key(&self) -> Result<SigningKey, CredentialError> {
        let (id, now) = (SigningKeyId(self.clock.uuid()), self.clock.now());
        let key = new_key().await?;
        let failed = |error: jsonwebtoken::errors::Error| CredentialError::Key(error.to_string());
        let encoding = EncodingKey::from_rsa_pem(key.expose().as_bytes()).map_err(failed)?;
        let mut jwk = Jwk::from_encoding_key(&encoding, Algorithm::RS256).map_err(failed)?;
        jwk.common.key_id = Some(id.to_string());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        let public_part = serde_json::to_string(&jwk).map_err(|error| CredentialError::Key(error.to_string()))?;
        let key_sealed = self.vault.seal(&key_place(id), &key)?;
        Ok(SigningKey { id, key_sealed, public_part, created_at: now, expires_at: None })
    }

    /// A certificate with a new key, to be stored with [`Store::add_signing_key`].
    pub async fn new_certificate(&self, slug: &str) -> Result<SigningKey, CredentialError> {
        let (id, now) = (SigningKeyId(self.clock.uuid()), self.clock.now());
        let (key, ends) = (new_key().await?, now.plus_ms(CERTIFICATE_MS));
        let failed = |error: rcgen::Error| CredentialError::Key(error.to_string());
        let pair = rcgen::KeyPair::from_pkcs8_pem_and_sign_algo(key.expose(), &rcgen::PKCS_RSA_SHA256);
        let mut parameters = rcgen::CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, format!("Entrepost {slug}"));
        let day = |at: Timestamp| {
            time::OffsetDateTime::from_unix_timestamp(at.0.div_euclid(1000)).unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
        };
        // Another clock may be behind.
        (parameters.not_before, parameters.not_after) = (day(now.plus_ms(-DAY_MS)), day(ends));
        let certificate = parameters.self_signed(&pair.map_err(failed)?).map_err(failed)?;
        let key_sealed = self.vault.seal(&key_place(id), &key)?;
        Ok(SigningKey { id, key_sealed, public_part: certificate.pem(), created_at: now, expires_at: Some(ends) })
    }

    /// What is due for the keys of an institution as an issuer.
    pub async fn issuer_keys_due(&self, institution: InstitutionId) -> Result<IssuerKeysDue, CredentialError> {
        let now = self.clock.now();
        let keys = self.store.signing_keys(institution, KeyPurpose::Issuer).await?;
        let Some(newest) = keys.first() else { return Ok(IssuerKeysDue::Nothing) };
        if now.since_ms(newest.created_at) >= ISSUER_KEY_MS {
            return Ok(IssuerKeysDue::Next(self.new_issuer_key().await?));
        }
        let Some(signing) = signing(&keys, now) else { return Ok(IssuerKeysDue::Nothing) };
        if now.since_ms(signing.created_at) < ANNOUNCED_MS + KEPT_MS {
            return Ok(IssuerKeysDue::Nothing);
        }
        let old = keys.iter().filter(|key| key.created_at < signing.created_at).map(|key| key.id);
        Ok(IssuerKeysDue::Old(old.collect()))
    }

    pub async fn add_issuer_key(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        key: &SigningKey,
    ) -> Result<(), StoreError> {
        self.store.add_signing_key(tx, institution, KeyPurpose::Issuer, key).await
    }

    /// The certificates of an institution, newest first.
    pub async fn certificates(&self, institution: InstitutionId) -> Result<Vec<SigningKey>, StoreError> {
        self.store.signing_keys(institution, KeyPurpose::Certificate).await
    }

    /// Adds a certificate.
    pub async fn add_certificate(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        key: &SigningKey,
    ) -> Result<(), StoreError> {
        self.store.add_signing_key(tx, institution, KeyPurpose::Certificate, key).await
    }

    /// The certificate that follows the one in use, if that ends soon: an existing one, or a new one.
    pub async fn successor(
        &self,
        institution: InstitutionId,
        slug: &str,
    ) -> Result<Option<Successor>, CredentialError> {
        let Some(current) = self.store.registration(institution, Slot::Current).await? else { return Ok(None) };
        if current.credential != CredentialKind::Certificate {
            return Ok(None);
        }
        let keys = self.certificates(institution).await?;
        let Some(used) = keys.iter().find(|key| Some(key.id) == current.credential_id) else { return Ok(None) };
        let ends_soon = used.expires_at.is_some_and(|ends| ends.since_ms(self.clock.now()) < SUCCESSOR_MS);
        let newer: Vec<SigningKey> = keys.iter().filter(|key| key.created_at > used.created_at).cloned().collect();
        if !newer.is_empty() {
            return Ok(Some(Successor { registration: current, keys: newer, is_new: false }));
        }
        if !ends_soon {
            return Ok(None);
        }
        let key = self.new_certificate(slug).await?;
        Ok(Some(Successor { registration: current, keys: vec![key], is_new: true }))
    }
}

/// Newer certificates beside the registration that uses an older one.
pub struct Successor {
    pub registration: Registration,
    /// Newest first.
    pub keys: Vec<SigningKey>,
    /// The key was made just now, and is to be stored.
    pub is_new: bool,
}

/// Keys of an issuer change every 90 days, and are published for a while before and after their use.
pub enum IssuerKeysDue {
    Nothing,
    /// The next key, to be stored.
    Next(SigningKey),
    /// Keys that no one needs any longer.
    Old(Vec<SigningKeyId>),
}

/// The newest key that has been published for long enough, otherwise the oldest.
fn signing(keys: &[SigningKey], now: Timestamp) -> Option<&SigningKey> {
    keys.iter().find(|key| now.since_ms(key.created_at) >= ANNOUNCED_MS).or(keys.last())
}

/// A private RSA key, PKCS #8 in PEM. It takes up to a second of a processor.
async fn new_key() -> Result<Secret, CredentialError> {
    let failed = |error: &dyn std::fmt::Display| CredentialError::Key(error.to_string());
    let made = tokio::task::spawn_blocking(|| {
        let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, BITS).map_err(|error| error.to_string())?;
        let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|error| error.to_string())?;
        Ok::<_, String>(Secret::new(pem.to_string()))
    });
    made.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
}
