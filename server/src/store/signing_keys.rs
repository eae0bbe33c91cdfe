//! Private keys of certificates, and those by which Entrepost signs as an issuer.

use app::model::{InstitutionId, SigningKeyId, Timestamp};

use super::sql::{changed, columns, execute, fetch_all, fetch_optional, select};
use super::{Result, Store, Tx};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPurpose {
    Certificate,
    /// Signs for the issuer of a federated credential.
    Issuer,
}

impl KeyPurpose {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Issuer => "issuer",
        }
    }
}

#[derive(Debug, Clone)]
pub struct SigningKey {
    pub id: SigningKeyId,
    pub key_sealed: String,
    /// The certificate (PEM), or the key as JWK.
    pub public_part: String,
    pub created_at: Timestamp,
    /// End of a certificate.
    pub expires_at: Option<Timestamp>,
}

columns!(SigningKey: id, key_sealed, public_part, created_at, expires_at);

impl Store {
    /// Newest first.
    pub async fn signing_keys(&self, institution: InstitutionId, purpose: KeyPurpose) -> Result<Vec<SigningKey>> {
        fetch_all!(&self.reads,
            select::<SigningKey>("FROM signing_keys WHERE institution_id = $1 AND purpose = $2 ORDER BY created_at DESC, id DESC");
            institution, purpose
        )
    }

    pub async fn signing_key(&self, institution: InstitutionId, id: SigningKeyId) -> Result<Option<SigningKey>> {
        fetch_optional!(&self.reads,
            select::<SigningKey>("FROM signing_keys WHERE institution_id = $1 AND id = $2"); institution, id
        )
    }

    /// Whether a key is there, as a transaction sees it.
    pub async fn has_signing_key(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        id: Option<SigningKeyId>,
    ) -> Result<bool> {
        let found: Option<i64> = fetch_optional!(&mut **tx,
            "SELECT 1 FROM signing_keys WHERE institution_id = $1 AND id = $2"; institution, id
        )?;
        Ok(found.is_some())
    }

    pub async fn add_signing_key(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        purpose: KeyPurpose,
        key: &SigningKey,
    ) -> Result<()> {
        execute!(&mut **tx,
            "INSERT INTO signing_keys (id, institution_id, purpose, key_sealed, public_part, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)";
            key.id, institution, purpose, key.key_sealed, key.public_part, key.created_at, key.expires_at
        )
    }

    /// Deletes a key; `false`: a registration uses it.
    pub async fn drop_signing_key(&self, tx: &mut Tx, institution: InstitutionId, id: SigningKeyId) -> Result<bool> {
        let dropped = changed!(&mut **tx,
            "DELETE FROM signing_keys WHERE institution_id = $1 AND id = $2
             AND NOT EXISTS (SELECT 1 FROM app_registrations r WHERE r.institution_id = $1 AND r.credential_id = $2)";
            institution, id
        )?;
        Ok(dropped > 0)
    }
}
