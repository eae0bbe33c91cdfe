//! On whose behalf checks run.

use std::sync::Arc;

use app::backend::{Institution, Result, SignedIn};
use app::error::AppError;

/// A signed-in person, or the server itself for the owner of a mailbox. The server has no session, so it can test what is
/// stored but store no new grant.
#[derive(Clone)]
pub(super) enum Actor {
    SignedIn(SignedIn),
    Automatic { institution: Arc<Institution>, owner_address: String },
}

impl Actor {
    pub(super) fn institution(&self) -> &Institution {
        match self {
            Self::SignedIn(user) => user.institution(),
            Self::Automatic { institution, .. } => institution,
        }
    }

    pub(super) fn address(&self) -> &str {
        match self {
            Self::SignedIn(user) => user.address(),
            Self::Automatic { owner_address, .. } => owner_address,
        }
    }

    pub(super) fn signed_in(&self) -> Result<&SignedIn> {
        match self {
            Self::SignedIn(user) => Ok(user),
            Self::Automatic { .. } => Err(AppError::NotSignedIn.into()),
        }
    }
}

impl From<SignedIn> for Actor {
    fn from(user: SignedIn) -> Self {
        Self::SignedIn(user)
    }
}
