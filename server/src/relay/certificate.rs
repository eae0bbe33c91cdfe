//! The relay's certificate: from files, read again when they change, or made here and kept in the database.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio::time::{Duration, Instant};
use tokio_rustls::TlsAcceptor;

use crate::service::Services;
use crate::store::StoreError;
use crate::vault::{Place, Secret, VaultError};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Old devices know no other keys.
const BITS: usize = 2048;
/// Lifetime of a certificate that is made here, in days: devices have it imported by hand.
const DAYS: i64 = 3_650;

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("{0}: {1}")]
    File(PathBuf, String),
    #[error("the relay's certificate cannot be used: {0}")]
    Unusable(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// What a client is shown.
pub struct Certificate {
    source: Source,
    current: Mutex<Current>,
}

enum Source {
    Files { certificate: PathBuf, key: PathBuf },
    Made,
}

struct Current {
    acceptor: TlsAcceptor,
    /// SHA-256 of the first certificate.
    fingerprint: String,
    changed: Option<(SystemTime, SystemTime)>,
    looked: Instant,
}

fn place() -> Place {
    Place::new("relay_certificates", "key_sealed", ID)
}

/// The only row.
const ID: &str = "relay";

impl Certificate {
    pub async fn load(services: &Services) -> Result<Self, CertificateError> {
        let (source, pem, key) = match &services.config.relay.certificate {
            Some((certificate, key)) => {
                let source = Source::Files { certificate: certificate.clone(), key: key.clone() };
                (source, read(certificate)?, read(key)?)
            }
            None => {
                let (pem, key) = made(services).await?;
                (Source::Made, pem.into_bytes(), key.expose().as_bytes().to_vec())
            }
        };
        let (acceptor, fingerprint) = acceptor(&pem, &key)?;
        let current = Current { acceptor, fingerprint, changed: None, looked: Instant::now() };
        let loaded = Self { source, current: Mutex::new(current) };
        let changed = loaded.changed();
        loaded.lock().changed = changed;
        Ok(loaded)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// SHA-256 of a certificate that was made here: devices compare it.
    pub fn fingerprint(&self) -> Option<String> {
        matches!(self.source, Source::Made).then(|| self.lock().fingerprint.clone())
    }

    /// When the files were changed.
    fn changed(&self) -> Option<(SystemTime, SystemTime)> {
        let Source::Files { certificate, key } = &self.source else { return None };
        let at = |path: &PathBuf| std::fs::metadata(path).and_then(|file| file.modified()).ok();
        Some((at(certificate)?, at(key)?))
    }

    /// The acceptor for the next connection. Files that cannot be used leave the certificate as it was.
    pub fn acceptor(&self) -> TlsAcceptor {
        let Source::Files { certificate, key } = &self.source else { return self.lock().acceptor.clone() };
        {
            let mut current = self.lock();
            if current.looked.elapsed() < LOOK {
                return current.acceptor.clone();
            }
            current.looked = Instant::now();
        }
        let changed = self.changed();
        if changed.is_some() && changed != self.lock().changed {
            let loaded = read(certificate).and_then(|pem| acceptor(&pem, &read(key)?));
            let mut current = self.lock();
            match loaded {
                Ok((acceptor, fingerprint)) => {
                    tracing::info!(fingerprint, "the relay's certificate was read again");
                    (current.acceptor, current.fingerprint, current.changed) = (acceptor, fingerprint, changed);
                }
                // Both files are seldom replaced at once: the next connection tries again.
                Err(error) => tracing::error!("the relay keeps its certificate: {error}"),
            }
        }
        self.lock().acceptor.clone()
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|error| CertificateError::File(path.clone(), error.to_string()))
}

fn acceptor(pem: &[u8], key: &[u8]) -> Result<(TlsAcceptor, String), CertificateError> {
    let unusable = |error: &dyn std::fmt::Display| CertificateError::Unusable(error.to_string());
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| unusable(&error))?;
    let first = chain.first().ok_or_else(|| unusable(&"the file has no certificate"))?;
    let digest: Vec<String> = Sha256::digest(first).iter().map(|byte| format!("{byte:02X}")).collect();
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| unusable(&error))?;
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| unusable(&error))?;
    Ok((TlsAcceptor::from(Arc::new(config)), digest.join(":")))
}

/// The certificate that was made before, or a new one; replicas share it.
async fn made(services: &Services) -> Result<(String, Secret), CertificateError> {
    if let Some((certificate, sealed)) = services.store.relay_certificate().await? {
        return Ok((certificate, services.vault.open(&place(), &sealed)?));
    }
    let name = services.relay_name();
    let now = services.clock.now();
    let new = tokio::task::spawn_blocking(move || new_certificate(&name, now.0));
    let (certificate, key) = new
        .await
        .map_err(|error| CertificateError::Unusable(error.to_string()))?
        .map_err(CertificateError::Unusable)?;
    let sealed = services.vault.seal(&place(), &key)?;
    services.store.add_relay_certificate(&certificate, &sealed, now).await?;
    // Another replica may have been first.
    match services.store.relay_certificate().await? {
        Some((certificate, sealed)) => Ok((certificate, services.vault.open(&place(), &sealed)?)),
        None => Ok((certificate, key)),
    }
}

fn new_certificate(name: &str, now: i64) -> Result<(String, Secret), String> {
    use rsa::pkcs8::{EncodePrivateKey, LineEnding};
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, BITS).map_err(|error| failed(&error))?;
    let pem = Secret::new(key.to_pkcs8_pem(LineEnding::LF).map_err(|error| failed(&error))?.to_string());
    let pair = rcgen::KeyPair::from_pkcs8_pem_and_sign_algo(pem.expose(), &rcgen::PKCS_RSA_SHA256)
        .map_err(|error| failed(&error))?;
    // Institutions have hosts below the name.
    let names = vec![name.to_owned(), format!("*.{name}")];
    let mut parameters = rcgen::CertificateParams::new(names).map_err(|error| failed(&error))?;
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
    parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let day = |days: i64| time::OffsetDateTime::from_unix_timestamp(now.div_euclid(1000) + days * 86_400);
    parameters.not_before = day(-1).map_err(|error| failed(&error))?;
    parameters.not_after = day(DAYS).map_err(|error| failed(&error))?;
    let certificate = parameters.self_signed(&pair).map_err(|error| failed(&error))?;
    Ok((certificate.pem(), pem))
}
