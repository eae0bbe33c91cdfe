//! Errors of the layers below become [`BackendError`]s: nearly all are for the log, and say nothing to people.

use app::backend::{BackendError, ErrorLog};
use app::error::AppError;

use super::{Handle, Services};
use crate::access_tokens::TokenError;
use crate::app_credentials::CredentialError;
use crate::store::StoreError;
use crate::vault::VaultError;

impl From<StoreError> for BackendError {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::NoRoom) || error.is_full() {
            tracing::error!("refusing new data: {error}");
            return AppError::refused(
                "Nothing was saved: this server's disk is nearly full. Deleting drafts and files frees space. Contact your Entrepost host.",
            )
            .into();
        }
        Self::internal(error)
    }
}

impl From<VaultError> for BackendError {
    fn from(error: VaultError) -> Self {
        Self::internal(error)
    }
}

impl From<CredentialError> for BackendError {
    fn from(error: CredentialError) -> Self {
        match error {
            CredentialError::Store(error) => error.into(),
            CredentialError::Vault(error) => error.into(),
            other => Self::internal(other),
        }
    }
}

impl From<TokenError> for BackendError {
    fn from(error: TokenError) -> Self {
        Self::internal(error)
    }
}

impl ErrorLog for Services {
    fn record(&self, error: &(dyn std::error::Error + Send + Sync)) -> String {
        let reference = self.clock.uuid().to_string().split('-').next().unwrap_or_default().to_owned();
        eprintln!("ERR {error:?}");
        tracing::error!(reference, "{error}");
        reference
    }
}

impl ErrorLog for Handle {
    fn record(&self, error: &(dyn std::error::Error + Send + Sync)) -> String {
        self.0.record(error)
    }
}
