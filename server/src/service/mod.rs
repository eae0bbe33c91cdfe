//! Implements the traits of `app`.

mod accounts;
mod actor;
mod attempts;
mod audit;
mod background;
mod checks;
mod common_passwords;
mod devices;
mod drafts;
mod email_config;
mod email_state;
mod error;
mod flashes;
mod home;
mod inbox;
mod invitation_lists;
mod invitations;
mod leavers;
mod mail_health;
mod mailboxes;
mod notifications;
mod outbox;
mod password_policy;
mod passwords;
mod people;
pub mod quotas;
mod replies;
mod send;
mod sender_domains;
pub mod sessions;
mod sign_in;
mod sign_in_settings;
mod sign_in_throttle;

use std::sync::Arc;

use app::backend::{Administrator, Backend, Institution, Result, SignedIn};
use app::error::AppError;
use app::model::{DraftId, EmailAddress, FieldError, REDIRECT_PATH, Role};

use crate::access_tokens::Tokens;
use crate::app_credentials::AppCredentials;
use crate::clock::Clock;
use crate::concurrency::keyed_lock::KeyedLock;
use crate::concurrency::window_counters::WindowCounters;
use crate::config::Config;
use crate::diagnosis::Reader;
use crate::identity::Entra;
use crate::mail::graph::Graph;
use crate::mailbox_sync::MailboxSync;
use crate::outbox::Outbox;
use crate::store::{InstitutionRow, Store};
use crate::trust::Trust;
use crate::vault::Vault;

pub use attempts::Watchers;
pub use audit::{AuditReport, Happened, Who};
pub use background::housekeeping::run_background;
pub use devices::{Accepted, NotTaken, Origin, RelayBound, RelayLog, Submission, Submitter};
pub use invitations::{AddPerson, AddPersonError, invitation_link};
pub use passwords::Passwords;

/// Everything that services need. Built once, in `wiring`.
pub struct Services {
    pub config: Config,
    /// The database.
    pub store: Store,
    /// Seals secrets.
    pub vault: Arc<Vault>,
    /// Time and randomness.
    pub clock: Clock,
    pub entra: Arc<Entra>,
    pub app_credentials: Arc<AppCredentials>,
    pub tokens: Arc<Tokens>,
    pub outbox: Arc<Outbox>,
    pub mailbox_sync: Arc<MailboxSync>,
    pub trust: Trust,
    pub graph: Graph,
    pub watchers: Watchers,
    /// One request at a time for each draft.
    pub draft_locks: KeyedLock<DraftId>,
    /// Failed sign-ins by network, and at accounts that do not exist.
    pub guesses: WindowCounters,
    pub streams: Arc<quotas::Streams>,
    /// Notified when a mailbox is connected: its domain may be new.
    pub new_mailbox: tokio::sync::Notify,
    pub queued_counts: quotas::QueuedCounts,
    pub relay_log: RelayLog,
    /// Where the relay listens, once it does.
    pub relay_bound: std::sync::OnceLock<(RelayBound, Option<String>)>,
    /// This server's address, as a mail server last saw it.
    pub seen_from: std::sync::Mutex<Option<std::net::IpAddr>>,
    pub passwords: Passwords,
    pub tasks: tokio_util::task::TaskTracker,
    pub stop: tokio_util::sync::CancellationToken,
}

impl Services {
    /// The trait objects for pages and server functions.
    pub fn backend(self: &Arc<Self>) -> Backend {
        let handle = Handle(Arc::clone(self));
        Backend {
            audit: Arc::new(handle.clone()),
            accounts: Arc::new(handle.clone()),
            email_config: Arc::new(handle.clone()),
            mailboxes: Arc::new(handle.clone()),
            drafts: Arc::new(handle.clone()),
            outbox: Arc::new(handle.clone()),
            health: Arc::new(handle.clone()),
            devices: Arc::new(handle.clone()),
            own_programs: Arc::new(handle.clone()),
            inbox: Arc::new(handle.clone()),
            flashes: Arc::new(handle.clone()),
            errors: Arc::new(handle),
        }
    }

    /// The redirect URI of an institution, built from its public URL, never from a Host header.
    pub fn redirect_uri(&self, public_url: &str) -> String {
        format!("{public_url}{REDIRECT_PATH}")
    }

    pub fn institution(&self, row: InstitutionRow) -> Institution {
        Institution { public_url: self.config.public_url.of(&row.slug), id: row.id, slug: row.slug, name: row.name }
    }

    /// The address that Conditional Access checks: as the operator set it, otherwise as a mail server saw it.
    fn outbound_address(&self) -> Option<String> {
        let seen = || *self.seen_from.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let hint = |seen| format!("{seen}, as the mail server saw it; the sign-in log shows the one that counts");
        self.config.outbound_address.clone().or_else(|| seen().map(hint))
    }

    fn reader(&self, user: &SignedIn, address: &str) -> Reader {
        Reader {
            administrator: user.administrator().is_ok(),
            colleague: false,
            address: address.to_owned(),
            institution: user.institution().name.clone(),
            redirect_uri: self.redirect_uri(&user.institution().public_url),
            support_contact: self.config.support_contact.clone(),
            public_url: user.institution().public_url.clone(),
            consent_link: None,
            client_id: None,
            outbound_address: self.outbound_address(),
            clouds: Some(self.config.clouds.clone()),
        }
    }
}

#[derive(Clone)]
struct Handle(Arc<Services>);

impl std::ops::Deref for Handle {
    type Target = Arc<Services>;
    fn deref(&self) -> &Arc<Services> {
        &self.0
    }
}

impl Services {
    /// Checks inside a transaction that the session is still valid.
    pub(crate) async fn still_signed_in(&self, tx: &mut crate::store::Tx, user: &SignedIn) -> Result<Role> {
        let role = self.store.role_of_session(tx, user.institution().id, user.session(), user.user_id()).await;
        role?.ok_or_else(|| AppError::NotSignedIn.into())
    }

    /// Checks inside a transaction that the user is still an administrator: the body, or Microsoft, may have taken long.
    pub(crate) async fn still_administrator(&self, tx: &mut crate::store::Tx, admin: &Administrator) -> Result<()> {
        self.store.lock_institution(tx, admin.institution().id).await?;
        match self.still_signed_in(tx, admin).await? {
            Role::Administrator => Ok(()),
            Role::User => Err(AppError::Forbidden.into()),
        }
    }
}

fn address_field(text: &str, field: &str, label: &str) -> Result<EmailAddress, FieldError> {
    EmailAddress::parse(text).map_err(|error| FieldError {
        field: field.into(),
        label: label.into(),
        text: error.to_string(),
    })
}
