//! The traits the server implements, one per area, and the proofs their methods require.

mod accounts;
mod audit;
mod devices;
mod drafts;
mod email_config;
mod health;
mod inbox;
mod mailboxes;
mod outbox;
mod proof;

pub use accounts::Accounts;
pub use audit::Audit;
pub use devices::{Devices, OwnPrograms, SavedDevice};
pub use drafts::{ComposeAction, Composed, Drafts, NewFile, PostedDraft};
pub use email_config::{EmailConfig, Home, HomeNotice};
pub use health::Health;
pub use inbox::{Acted, Download, Inbox, MailStream, OpenFolder};
pub use mailboxes::{AttemptStream, Callback, Completed, Decision, Mailboxes, NextPage, TurnedAway};
pub use outbox::Outbox;
pub use proof::{Administrator, Institution, MailOwner, SignedIn, Visitor};

use std::sync::Arc;

use async_trait::async_trait;

use crate::error::AppError;
use crate::model::Flash;

/// Errors of the methods. [`Backend::told`] makes what is shown.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    #[error(transparent)]
    App(#[from] AppError),
    #[error("{0}")]
    Internal(Box<dyn std::error::Error + Send + Sync>),
}

impl BackendError {
    pub fn internal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(error.into())
    }

    /// The error to show. Internal errors are logged here, once, with the reference shown.
    pub fn told(self, log: &dyn ErrorLog) -> AppError {
        match self {
            Self::App(error) => error,
            Self::Internal(error) => AppError::Internal { reference: log.record(&*error) },
        }
    }
}

impl From<serde_json::Error> for BackendError {
    fn from(error: serde_json::Error) -> Self {
        Self::internal(error)
    }
}

pub type Result<T, E = BackendError> = std::result::Result<T, E>;

/// One page of a list, newest first.
pub struct ListPage<T> {
    pub rows: Vec<T>,
    /// Whether older rows follow.
    pub more: bool,
}

impl<T> ListPage<T> {
    /// From the rows found when one more than `limit` was asked for.
    pub fn new(mut rows: Vec<T>, limit: usize) -> Self {
        let more = rows.len() > limit;
        rows.truncate(limit);
        Self { rows, more }
    }
}

/// A `Set-Cookie` header value.
pub struct Cookie(pub String);

pub struct ProviderRedirect {
    pub url: String,
    pub cookie: Cookie,
}

#[async_trait]
pub trait Flashes: Send + Sync {
    async fn put(&self, visitor: &Visitor, flash: Flash) -> Result<Cookie>;
    /// The cookie that deletes a flash stored in the browser, so that it is shown once.
    fn forget(&self, visitor: &Visitor) -> Option<Cookie>;
    async fn take(&self, visitor: &Visitor) -> Option<Flash>;
}

pub trait ErrorLog: Send + Sync {
    /// Logs an error; returns its reference for support.
    fn record(&self, error: &(dyn std::error::Error + Send + Sync)) -> String;
}

#[derive(Clone)]
pub struct Backend {
    pub audit: Arc<dyn Audit>,
    pub accounts: Arc<dyn Accounts>,
    pub email_config: Arc<dyn EmailConfig>,
    pub mailboxes: Arc<dyn Mailboxes>,
    pub drafts: Arc<dyn Drafts>,
    pub outbox: Arc<dyn Outbox>,
    pub health: Arc<dyn Health>,
    pub devices: Arc<dyn Devices>,
    pub own_programs: Arc<dyn OwnPrograms>,
    pub inbox: Arc<dyn Inbox>,
    pub flashes: Arc<dyn Flashes>,
    pub errors: Arc<dyn ErrorLog>,
}

impl Backend {
    /// [`BackendError::told`]
    pub fn told(&self, error: BackendError) -> AppError {
        error.told(&*self.errors)
    }
}
