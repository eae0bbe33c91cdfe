//! The composition root: builds everything once.

use std::sync::Arc;

use crate::access_tokens::Tokens;
use crate::app_credentials::AppCredentials;
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::identity::Entra;
use crate::mail::graph::Graph;
use crate::mailbox_sync::{self, MailboxSync};
use crate::outbox::{Dependencies, Outbox};
use crate::service::{Services, Watchers};
use crate::store::{DatabaseKind, Store, StoreError};
use crate::trust::Trust;
use crate::vault::{Place, Secret, Vault, VaultError};

/// Why Entrepost does not start, with what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database cannot be used.
    #[error("{0}\nCheck ENTREPOST_DATABASE_URL.")]
    Store(#[from] StoreError),
    /// The master key cannot be used.
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("{0}")]
    Other(String),
}

/// Content of the sealed check row.
const CHECK: &str = "entrepost";

fn check_place(key_id: &str) -> Place {
    Place::new("vault_checks", "sealed", key_id)
}

/// Opens the vault and checks that its key fits the database.
async fn open_vault(config: &Config, store: &Store, clock: &Clock) -> Result<Vault, StartError> {
    let checks = store.vault_checks().await?;
    let vault = match &config.master_key {
        Some(key) => Vault::from_text(key.expose(), clock.clone())?,
        None => {
            // Replicas must share one key: on PostgreSQL it is created only for an empty database.
            let may_create = checks.is_empty();
            if store.backend() == DatabaseKind::Postgres
                && !config.master_key_given
                && !may_create
                && !config.master_key_file.exists()
            {
                return Err(StartError::Other(
                    "this PostgreSQL database already holds encrypted secrets: set ENTREPOST_MASTER_KEY or ENTREPOST_MASTER_KEY_FILE to its key".into(),
                ));
            }
            Vault::from_file(&config.master_key_file, may_create, clock.clone())?
        }
    };
    for (key_id, sealed) in &checks {
        if vault.open(&check_place(key_id), sealed).is_err() {
            return Err(StartError::Other(format!(
                "the master key (id {}) does not decrypt this database, which uses the key {key_id}. Nothing was changed. Set the right key with ENTREPOST_MASTER_KEY_FILE or ENTREPOST_MASTER_KEY.",
                vault.key_id()
            )));
        }
    }
    let sealed = vault.seal(&check_place(vault.key_id()), &Secret::new(CHECK.into()))?;
    store.add_vault_check(vault.key_id(), &sealed, clock.now().0).await?;
    Ok(vault)
}

pub async fn build(config: Config, clock: Clock) -> Result<Arc<Services>, StartError> {
    let trust = Trust::new(config.extra_ca.clone())
        .map_err(|error| StartError::Other(format!("ENTREPOST_EXTRA_CA_FILE: {error}")))?;
    let entra = Entra::new(&trust, clock.clone()).map_err(|error| StartError::Other(format!("HTTP: {error}")))?;
    let store = Store::open(config.database_url.expose(), config.space).await?;
    let vault = Arc::new(open_vault(&config, &store, &clock).await?);
    let entra = Arc::new(entra);
    let tasks = tokio_util::task::TaskTracker::new();
    let app_credentials = Arc::new(AppCredentials::new(
        store.clone(),
        Arc::clone(&vault),
        config.public_url.clone(),
        config.clouds.clone(),
        clock.clone(),
    ));
    let tokens = Arc::new(Tokens::new(
        store.clone(),
        Arc::clone(&vault),
        Arc::clone(&entra),
        Arc::clone(&app_credentials),
        clock.clone(),
        tasks.clone(),
    ));
    tokio::spawn(Arc::clone(&tokens).listen());
    let stop = tokio_util::sync::CancellationToken::new();
    let mailbox_sync = Arc::new(MailboxSync::new(mailbox_sync::Dependencies {
        store: store.clone(),
        tokens: Arc::clone(&tokens),
        trust: trust.clone(),
        clock: clock.clone(),
        clouds: config.clouds.clone(),
        tasks: tasks.clone(),
        stop: stop.clone(),
    }));
    tokio::spawn(Arc::clone(&mailbox_sync).listen());
    let graph = Graph::new(&trust).map_err(|error| StartError::Other(format!("Microsoft Graph: {error}")))?;
    let outbox = Arc::new(Outbox::new(Dependencies {
        store: store.clone(),
        vault: Arc::clone(&vault),
        tokens: Arc::clone(&tokens),
        trust: trust.clone(),
        graph: graph.clone(),
        clock: clock.clone(),
        clouds: config.clouds.clone(),
        system_smtp: config.system_smtp.clone(),
        notifications_domain: config.notifications_domain.clone(),
        limits: config.limits,
        stop: stop.clone(),
    }));
    tokio::spawn(Arc::clone(&outbox).listen());
    Ok(Arc::new(Services {
        passwords: crate::service::Passwords::new(clock.clone()),
        streams: Arc::default(),
        new_mailbox: tokio::sync::Notify::new(),
        relay_log: crate::service::RelayLog::new(clock.clone()),
        relay_bound: std::sync::OnceLock::new(),
        queued_counts: crate::service::quotas::QueuedCounts::default(),
        seen_from: std::sync::Mutex::default(),
        config,
        store,
        vault,
        clock,
        entra,
        app_credentials,
        tokens,
        outbox,
        mailbox_sync,
        trust,
        graph,
        watchers: Watchers::default(),
        guesses: crate::concurrency::window_counters::WindowCounters::default(),
        draft_locks: crate::concurrency::keyed_lock::KeyedLock::default(),
        tasks,
        stop,
    }))
}
