//! Certificates and the federated credential of an institution's app, and their renewal.

use app::backend::{Administrator, Result};
use app::error::AppError;
use app::model::{
    AuditAction, CertificateView, CredentialsView, FederationView, Notice, RegistrationId, SecretExpiry, SigningKeyId,
    Tone,
};

use crate::app_credentials::{AppCredentials, IssuerKeysDue, Successor, fingerprint};
use crate::identity::Credentials;
use crate::service::email_config::candidate::is_reachable_issuer;
use crate::service::{Happened, Services, Who};
use crate::store::{InstitutionRow, KeyPurpose, Registration, SigningKey, Slot};

/// Who rolls keys over, for the log.
const ROLLING: Who<'static> = Who::Program("Entrepost");
/// Certificates that an institution keeps.
const MOST_CERTIFICATES: usize = 5;

fn name(key: &SigningKey, slug: &str) -> String {
    format!("entrepost-{slug}-{}", SecretExpiry::of(key.created_at))
}

impl Services {
    pub(super) async fn credentials_view(&self, admin: &Administrator) -> Result<CredentialsView> {
        let institution = admin.institution();
        let current = self.store.registration(institution.id, Slot::Current).await?;
        let cloud = current.as_ref().map_or("", |current| current.cloud.as_str());
        let (is_global, audience) =
            (self.in_global_cloud(cloud), self.config.clouds.hosts_of(cloud).federation_audience.clone());
        let used = current.as_ref().and_then(|current| current.credential_id);
        let certificates = self.app_credentials.certificates(institution.id).await?;
        let certificates = certificates.into_iter().filter_map(|key| {
            let fingerprint = fingerprint(&key.public_part)?;
            Some(CertificateView {
                id: key.id,
                name: name(&key, &institution.slug),
                fingerprint: fingerprint.iter().map(|byte| format!("{byte:02X}")).collect(),
                created_at: key.created_at,
                expires_at: key.expires_at?,
                in_use: Some(key.id) == used,
            })
        });
        Ok(CredentialsView {
            in_use: current.as_ref().map(|current| current.credential),
            uses: current.as_ref().map(Registration::uses).unwrap_or_default(),
            certificates: certificates.collect(),
            federation: FederationView {
                issuer: self.app_credentials.issuer(&institution.slug),
                subject: AppCredentials::subject(&institution.slug),
                audience,
                is_reachable: is_reachable_issuer(self.config.clouds.hosts_of(cloud), &institution.public_url),
            },
            client_id: current.filter(|_| is_global).map(|current| current.client_id.to_string()),
        })
    }

    pub(super) async fn add_certificate(&self, admin: &Administrator) -> Result<Notice> {
        let institution = admin.institution();
        let known = self.app_credentials.certificates(institution.id).await?;
        if known.len() >= MOST_CERTIFICATES {
            let text =
                format!("There are {MOST_CERTIFICATES} certificates already. Remove one that isn't in use first.");
            return Err(AppError::refused(text).into());
        }
        let key = self.app_credentials.new_certificate(&institution.slug).await?;
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        self.app_credentials.add_certificate(&mut tx, institution.id, &key).await?;
        let name = name(&key, &institution.slug);
        let happened = Happened::new(AuditAction::CertificateMade, &name);
        self.audit(&mut tx, institution.id, Who::Person(admin), happened).await?;
        tx.commit().await?;
        Ok(Notice::new(
            Tone::Success,
            "The certificate is ready.",
            "Download it below and upload it at Microsoft. Its private key stays here, encrypted.",
        ))
    }

    pub(super) async fn certificate_file(&self, admin: &Administrator, id: SigningKeyId) -> Result<(String, String)> {
        let institution = admin.institution();
        let keys = self.app_credentials.certificates(institution.id).await?;
        let key = keys.into_iter().find(|key| key.id == id).ok_or(AppError::NotFound)?;
        Ok((format!("{}.cer", name(&key, &institution.slug)), key.public_part))
    }

    pub(super) async fn remove_certificate(&self, admin: &Administrator, id: SigningKeyId) -> Result<Notice> {
        let institution = admin.institution();
        let keys = self.app_credentials.certificates(institution.id).await?;
        let key = keys.into_iter().find(|key| key.id == id).ok_or(AppError::NotFound)?;
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        if !self.store.drop_signing_key(&mut tx, institution.id, id).await? {
            return Err(AppError::refused("This certificate is in use. Choose another credential first.").into());
        }
        let name = name(&key, &institution.slug);
        let happened = Happened::new(AuditAction::CertificateRemoved, &name);
        self.audit(&mut tx, institution.id, Who::Person(admin), happened).await?;
        tx.commit().await?;
        Ok(Notice::new(
            Tone::Success,
            "Certificate removed.",
            "Delete it at Microsoft, too, under Certificates & secrets.",
        ))
    }

    /// Rolls keys over, and uses the next certificate of each institution as soon as Microsoft knows it.
    pub(in crate::service) async fn roll_credentials(&self) -> Result<()> {
        for row in self.store.institutions().await? {
            // One institution's trouble is not the others'.
            if let Err(error) = self.roll_credentials_of(&row).await {
                let _ = error.told(self);
                tracing::error!(institution = row.slug, "cannot roll over keys");
            }
        }
        Ok(())
    }

    async fn roll_credentials_of(&self, row: &InstitutionRow) -> Result<()> {
        self.roll_issuer_keys(row).await?;
        let before = self.app_credentials.certificates(row.id).await?.len();
        let Some(next) = self.app_credentials.successor(row.id, &row.slug).await? else { return Ok(()) };
        let Successor { registration, keys, is_new } = next;
        if is_new {
            let mut tx = self.store.begin().await?;
            self.store.lock_institution(&mut tx, row.id).await?;
            // Another replica may have made one meanwhile.
            if self.app_credentials.certificates(row.id).await?.len() != before {
                return Ok(());
            }
            for key in &keys {
                self.app_credentials.add_certificate(&mut tx, row.id, key).await?;
                let name = name(key, &row.slug);
                self.audit(&mut tx, row.id, ROLLING, Happened::new(AuditAction::CertificateMade, &name)).await?;
            }
            tx.commit().await?;
        }
        for key in keys {
            if self.use_next_certificate(row, &registration, &key).await? {
                break;
            }
        }
        Ok(())
    }

    async fn roll_issuer_keys(&self, row: &InstitutionRow) -> Result<()> {
        let keys = async || -> Result<Vec<SigningKeyId>> {
            let keys = self.store.signing_keys(row.id, KeyPurpose::Issuer).await?;
            Ok(keys.into_iter().map(|key| key.id).collect())
        };
        let before = keys().await?;
        let due = self.app_credentials.issuer_keys_due(row.id).await?;
        if matches!(due, IssuerKeysDue::Nothing) {
            return Ok(());
        }
        let mut tx = self.store.begin().await?;
        self.store.lock_institution(&mut tx, row.id).await?;
        // Another replica may have made or removed one meanwhile.
        if keys().await? != before {
            return Ok(());
        }
        match due {
            IssuerKeysDue::Nothing => {}
            IssuerKeysDue::Next(key) => {
                self.app_credentials.add_issuer_key(&mut tx, row.id, &key).await?;
                let id = key.id.to_string();
                self.audit(&mut tx, row.id, ROLLING, Happened::new(AuditAction::IssuerKeyMade, &id)).await?;
            }
            IssuerKeysDue::Old(keys) => {
                for id in keys {
                    self.store.drop_signing_key(&mut tx, row.id, id).await?;
                    let id = id.to_string();
                    self.audit(&mut tx, row.id, ROLLING, Happened::new(AuditAction::IssuerKeyRemoved, &id)).await?;
                }
            }
        }
        tx.commit().await?;
        Ok(())
    }

    /// Uses a certificate if Microsoft knows it.
    async fn use_next_certificate(
        &self,
        row: &InstitutionRow,
        registration: &Registration,
        key: &SigningKey,
    ) -> Result<bool> {
        let credentials = Credentials {
            client_id: registration.client_id,
            tenant: registration.tenant_id.to_string(),
            cloud: self.app_credentials.cloud(&registration.cloud)?,
            proof: self.app_credentials.certificate(key)?,
        };
        // Refused until an administrator has uploaded it.
        if self.entra.probe(&credentials).await.is_err() {
            return Ok(false);
        }
        let now = self.clock.now();
        let new = Registration {
            id: RegistrationId(self.clock.uuid()),
            credential_id: Some(key.id),
            secret_stored_at: key.created_at,
            secret_expires_on: key.expires_at.map(|at| SecretExpiry::of(at).to_string()),
            verified_at: Some(now),
            signed_in_at: None,
            renewed_at: None,
            superseded: None,
            secret_sealed: String::new(),
            ..registration.clone()
        };
        let mut tx = self.store.begin().await?;
        self.store.lock_institution(&mut tx, row.id).await?;
        let current = self.store.registration_within(&mut tx, row.id, Slot::Current).await?;
        let is_there = self.store.has_signing_key(&mut tx, row.id, Some(key.id)).await?;
        if !is_there || current.is_none_or(|current| current.id != registration.id) {
            return Ok(false);
        }
        self.store.keep_as_previous(&mut tx, row.id, registration).await?;
        self.store.put_registration(&mut tx, row.id, Slot::Current, &new, now).await?;
        let happened = Happened::new(AuditAction::CredentialChanged, "")
            .with("Credential", new.credential.label())
            .with("Expires", new.secret_expires_on.clone().unwrap_or_default());
        self.audit(&mut tx, row.id, Who::Program("Entrepost"), happened).await?;
        tx.commit().await?;
        tracing::info!(institution = row.slug, "the next certificate is in use");
        Ok(true)
    }
}
