//! Access tokens of mailboxes, kept in memory only. Each mailbox has one refresh at a time, over tasks and replicas. The rotated
//! refresh token is stored before the new access token is used: losing it would stop mail after 90 days.
//!
//! One grant serves two resources: Outlook (SMTP, IMAP) and Microsoft Graph. What Microsoft refuses for Graph alone ends no grant.
//!
//! Replicas pass tokens to each other sealed, by NOTIFY of the database; tokens are never stored.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use app::model::{InstitutionId, MailboxId, MailboxState, RegistrationId, Timestamp};
use serde::{Deserialize, Serialize};

use tokio_util::task::TaskTracker;

use crate::app_credentials::{AppCredentials, CredentialError};
use crate::clock::Clock;
use crate::concurrency::backoff::Backoff;
use crate::concurrency::keyed_lock::KeyedLock;
use crate::diagnosis::Fault;
use crate::identity::{Credentials, Entra, Granted, IdentityError};
use crate::store::{
    AppKey, DatabaseKind, Event, Lease, Mailbox, MailboxKey, Registration, Slot, Store, StoreError, subscribe,
};
use crate::vault::{Place, Secret, Vault, VaultError};

/// A token is refreshed this long before it expires, in milliseconds.
const EARLY_MS: i64 = 5 * 60 * 1000;
/// Lease of a refresh, in milliseconds: longer than the authority may take to answer.
const LEASE_MS: i64 = 30_000;
/// A token refused this soon after it was issued is not refused because of its age.
const FRESH_MS: i64 = 2_000;
/// How long to wait for another replica's token before trying for the lease again.
const LOOK: Duration = Duration::from_millis(250);
/// How long a published token may take to arrive.
const HANDED_ON: Duration = Duration::from_secs(1);
/// Pauses after refusals.
const BACKOFF: Backoff = Backoff { first_ms: 500, longest_ms: 60_000 };
/// How soon a grant is tried again that lacked consent, in milliseconds.
const CONSENT_AGAIN_MS: i64 = 15 * 60 * 1000;
/// Longest Retry-After that is obeyed.
const MOST_REST_MS: i64 = 24 * 60 * 60 * 1000;

/// What an access token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Resource {
    /// SMTP and IMAP.
    #[default]
    Outlook,
    Graph,
}

#[derive(Clone)]
pub struct AccessToken {
    pub secret: Secret,
    pub expires_at: Timestamp,
    pub scopes: Option<Vec<String>>,
}

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The authority refused or cannot be reached.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The mailbox belongs to a registration that is no longer in use.
    #[error("the app registration changed since this mailbox was connected")]
    RegistrationChanged,
    #[error("the mailbox needs to be reconnected")]
    NeedsReconnect(Option<Fault>),
    #[error("the mailbox was disconnected")]
    Gone,
    #[error("Microsoft Graph is not known for this cloud")]
    NoGraph,
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A sealed value cannot be opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Credential(#[from] CredentialError),
}

impl TokenError {
    /// Whether the person must sign in again.
    pub fn needs_reconnect(&self) -> bool {
        match self {
            Self::Identity(error) => error.needs_reconnect(),
            Self::RegistrationChanged | Self::NeedsReconnect(_) => true,
            _ => false,
        }
    }

    pub fn fault(&self, now: Timestamp) -> Fault {
        match self {
            Self::Identity(error) => Fault::identity(error, now),
            Self::RegistrationChanged => Fault::new("registration_changed", now, &[]),
            Self::NeedsReconnect(Some(problem)) => problem.clone(),
            other => Fault::new("our_bug", now, &[("Error", other.to_string())]),
        }
    }
}

/// Sealing place of the refresh token of a mailbox.
pub fn grant_place(mailbox: MailboxId) -> Place {
    Place::new("mailboxes", "refresh_token_sealed", mailbox)
}

/// Sealing place of a token in transit between replicas: binds it to its mailbox.
fn travel_place(mailbox: MailboxId) -> Place {
    Place::new("mailboxes", "access_token", mailbox)
}

/// A cached token and its account: never used for a mailbox since connected with another account.
struct Cached {
    user: String,
    app: AppKey,
    token: AccessToken,
    since: Timestamp,
}

/// A recent refusal, stored with the mailbox. Requests on every replica get this answer instead of asking the authority again.
/// A new grant clears it.
#[derive(Serialize, Deserialize)]
struct Refused {
    error: IdentityError,
    count: u32,
    until: Timestamp,
}

impl Refused {
    fn of(mailbox: &Mailbox) -> Option<Self> {
        serde_json::from_str(mailbox.refresh_refusal.as_deref()?).ok()
    }
}

#[derive(Serialize, Deserialize)]
struct Travelling {
    #[serde(default)]
    resource: Resource,
    user: String,
    app: AppKey,
    secret: String,
    expires_at: Timestamp,
    scopes: Option<Vec<String>>,
}

impl Drop for Travelling {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.secret);
    }
}

pub struct Tokens {
    store: Store,
    vault: Arc<Vault>,
    entra: Arc<Entra>,
    app: Arc<AppCredentials>,
    clock: Clock,
    cache: Mutex<HashMap<(MailboxId, Resource), Cached>>,
    /// Recent refusals for Graph. Those for Outlook are stored with the mailbox.
    graph_refusals: Mutex<HashMap<MailboxId, Refused>>,
    refreshes: KeyedLock<MailboxId>,
    tasks: TaskTracker,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tokens {
    pub fn new(
        store: Store,
        vault: Arc<Vault>,
        entra: Arc<Entra>,
        app: Arc<AppCredentials>,
        clock: Clock,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            store,
            vault,
            entra,
            app,
            clock,
            cache: Mutex::default(),
            graph_refusals: Mutex::default(),
            refreshes: KeyedLock::default(),
            tasks,
        }
    }

    /// The credentials of a registration, ready to be sent.
    pub async fn credentials(
        &self,
        institution: InstitutionId,
        registration: &Registration,
    ) -> Result<Credentials, CredentialError> {
        self.app.credentials(institution, registration).await
    }

    /// Caches the access token from a sign-in of `user`, the sign-in name.
    pub fn remember(&self, mailbox: MailboxId, user: &str, app: &AppKey, token: AccessToken) {
        self.keep(mailbox, Resource::Outlook, user, app, token);
    }

    fn keep(&self, mailbox: MailboxId, resource: Resource, user: &str, app: &AppKey, token: AccessToken) {
        let cached = Cached { user: user.to_owned(), app: app.clone(), token, since: self.clock.now() };
        locked(&self.cache).insert((mailbox, resource), cached);
    }

    /// Drops a mailbox's cached tokens after a disconnect or refusal.
    pub fn forget(&self, mailbox: MailboxId) {
        locked(&self.cache).retain(|(of, _), _| *of != mailbox);
        locked(&self.graph_refusals).remove(&mailbox);
    }

    fn cached(&self, mailbox: &Mailbox, resource: Resource) -> Option<AccessToken> {
        self.cached_if(mailbox, resource, &|_| true)
    }

    fn cached_if(
        &self,
        mailbox: &Mailbox,
        resource: Resource,
        wanted: &impl Fn(&Cached) -> bool,
    ) -> Option<AccessToken> {
        let cache = locked(&self.cache);
        let is_theirs = |found: &Cached| found.user == mailbox.sign_in_name && found.app == mailbox.app;
        let found = cache.get(&(mailbox.id, resource)).filter(|found| is_theirs(found) && wanted(found))?;
        (found.token.expires_at.0 - EARLY_MS > self.clock.now().0).then(|| found.token.clone())
    }

    /// A refusal that still holds. One that ends later than any could was written before the clock was set back, and does not count.
    fn refused(&self, mailbox: &Mailbox, resource: Resource) -> Option<IdentityError> {
        let holds = |found: &Refused| {
            let ahead = found.until.since_ms(self.clock.now());
            ahead > 0 && ahead <= MOST_REST_MS
        };
        match resource {
            Resource::Outlook => Refused::of(mailbox).filter(holds).map(|found| found.error),
            Resource::Graph => {
                let refusals = locked(&self.graph_refusals);
                refusals.get(&mailbox.id).filter(|found| holds(found)).map(|found| found.error.clone())
            }
        }
    }

    /// A token for SMTP and IMAP, valid for at least some minutes.
    pub async fn access(self: &Arc<Self>, mailbox: &Mailbox) -> Result<AccessToken, TokenError> {
        self.access_to(mailbox, Resource::Outlook).await
    }

    /// A token valid for at least some minutes.
    pub async fn access_to(self: &Arc<Self>, mailbox: &Mailbox, resource: Resource) -> Result<AccessToken, TokenError> {
        match self.cached(mailbox, resource) {
            Some(token) => Ok(token),
            None => self.renew(mailbox, resource, false).await,
        }
    }

    /// A newly issued token: proves that the stored grant works.
    pub async fn prove(self: &Arc<Self>, mailbox: &Mailbox) -> Result<AccessToken, TokenError> {
        self.prove_for(mailbox, Resource::Outlook).await
    }

    pub async fn prove_for(self: &Arc<Self>, mailbox: &Mailbox, resource: Resource) -> Result<AccessToken, TokenError> {
        self.renew(mailbox, resource, true).await
    }

    /// A new token after a mail server refused this one, which may have been revoked. `None`: the token was just issued, so a new one
    /// would not help.
    pub async fn instead_of(
        self: &Arc<Self>,
        mailbox: &Mailbox,
        resource: Resource,
        refused: &AccessToken,
    ) -> Result<Option<AccessToken>, TokenError> {
        {
            let mut cache = locked(&self.cache);
            let key = (mailbox.id, resource);
            if let Some(found) = cache.get(&key)
                && found.token.secret == refused.secret
            {
                if self.clock.now().since_ms(found.since) < FRESH_MS {
                    return Ok(None);
                }
                cache.remove(&key);
            }
        }
        let other = self.access_to(mailbox, resource).await?;
        Ok((other.secret != refused.secret).then_some(other))
    }

    /// Receives tokens from other replicas until the store is closed.
    pub async fn listen(self: Arc<Self>) {
        let (event, this) = (self.store.events(), Arc::downgrade(&self));
        drop(self);
        subscribe(event, this, |this, event| {
            if let Event::Token(mailbox, sealed) = event {
                this.take_in(mailbox, &sealed);
            }
        })
        .await;
    }

    fn take_in(&self, mailbox: MailboxId, sealed: &str) {
        let opened = self.vault.open(&travel_place(mailbox), sealed).ok();
        let Some(text) = opened else { return };
        if let Ok(travelling) = serde_json::from_str::<Travelling>(text.expose()) {
            let token = AccessToken {
                secret: Secret::new(travelling.secret.clone()),
                expires_at: travelling.expires_at,
                scopes: travelling.scopes.clone(),
            };
            self.keep(mailbox, travelling.resource, &travelling.user, &travelling.app, token);
        }
    }

    /// Publishes a token to waiting replicas, which also keep it in memory only.
    fn hand_on(&self, mailbox: &Mailbox, resource: Resource, token: &AccessToken) {
        if self.store.backend() != DatabaseKind::Postgres {
            return;
        }
        let travelling = Travelling {
            resource,
            user: mailbox.sign_in_name.clone(),
            app: mailbox.app.clone(),
            secret: token.secret.expose().to_owned(),
            expires_at: token.expires_at,
            scopes: token.scopes.clone(),
        };
        let text = serde_json::to_string(&travelling).map(Secret::new);
        if let Some(sealed) = text.ok().and_then(|text| self.vault.seal(&travel_place(mailbox.id), &text).ok()) {
            self.store.publish(Event::Token(mailbox.id, sealed));
        }
    }

    /// Finishes a refresh even if its caller is gone: dropping the answer of the authority could lose the grant, since the one before
    /// may be revoked.
    async fn renew(
        self: &Arc<Self>,
        mailbox: &Mailbox,
        resource: Resource,
        always: bool,
    ) -> Result<AccessToken, TokenError> {
        let (this, mailbox) = (Arc::clone(self), mailbox.clone());
        let renewing = self.tasks.spawn(async move { this.renew_in_turn(&mailbox, resource, always).await });
        match renewing.await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(renewed) => renewed,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // The runtime is shutting down.
            Err(Err(_)) => std::future::pending().await,
        }
    }

    /// One refresh at a time: by a lock within this process, by a lease among replicas. Waiting callers get its result.
    async fn renew_in_turn(
        &self,
        mailbox: &Mailbox,
        resource: Resource,
        always: bool,
    ) -> Result<AccessToken, TokenError> {
        let began = self.clock.now();
        let fresh = |token: &Cached| !always || token.since >= began;
        let _one_at_a_time = self.refreshes.lock(mailbox.id).await;
        if !always {
            if let Some(token) = self.cached(mailbox, resource) {
                return Ok(token);
            }
            let newest = self.store.mailbox(mailbox.key()).await?.ok_or(TokenError::Gone)?;
            if let Some(error) = self.refused(&newest, resource) {
                return Err(error.into());
            }
        }
        let owner = self.clock.uuid();
        let mut waited = false;
        loop {
            let now = self.clock.now();
            if self.store.lease(Lease::Refresh, mailbox.key(), owner, now, now.plus_ms(LEASE_MS)).await? {
                break;
            }
            waited = true;
            if let Some(token) = self.awaited(mailbox, resource, LOOK, fresh).await {
                return Ok(token);
            }
            let newest = self.store.mailbox(mailbox.key()).await?.ok_or(TokenError::Gone)?;
            if let Some(error) = self.refused(&newest, resource).filter(|_| !always) {
                return Err(error.into());
            }
        }
        // The other replica's token may still arrive.
        let other = if waited { self.awaited(mailbox, resource, HANDED_ON, fresh).await } else { None };
        let result = match other {
            Some(token) => Ok(token),
            None => self.refresh(mailbox.key(), resource, always).await,
        };
        // A lease that cannot be released expires.
        if let Err(error) = self.store.end_lease(Lease::Refresh, mailbox.id, owner).await {
            tracing::warn!("cannot release the lease of a refresh: {error}");
        }
        result
    }

    async fn awaited(
        &self,
        mailbox: &Mailbox,
        resource: Resource,
        patience: Duration,
        wanted: impl Fn(&Cached) -> bool,
    ) -> Option<AccessToken> {
        let end = tokio::time::Instant::now() + patience;
        loop {
            if let Some(token) = self.cached_if(mailbox, resource, &wanted) {
                return Some(token);
            }
            if tokio::time::Instant::now() >= end {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn refresh(&self, key: MailboxKey, resource: Resource, always: bool) -> Result<AccessToken, TokenError> {
        // Read again: the previous refresh may have rotated the grant, or learned that it ended.
        let mailbox = self.store.mailbox(key).await?.ok_or(TokenError::Gone)?;
        if let Some(error) = self.refused(&mailbox, resource).filter(|_| !always) {
            return Err(error.into());
        }
        if mailbox.state == MailboxState::NeedsReconnect && !always {
            return Err(TokenError::NeedsReconnect(mailbox.problem));
        }
        let registration =
            self.store.registration(key.institution, Slot::Current).await?.ok_or(TokenError::RegistrationChanged)?;
        if registration.app() != mailbox.app {
            return Err(TokenError::RegistrationChanged);
        }
        let refresh = self.vault.open(&grant_place(key.id), &mailbox.refresh_token_sealed)?;
        let (granted, with_newest) = match self.renew_grant(key.institution, &registration, resource, &refresh).await? {
            Ok(granted) => granted,
            Err(error) => return Err(self.note_refusal(&mailbox, registration.id, resource, error).await?),
        };
        // First: nothing may come between the answer and storing it.
        if let Some(rotated) = &granted.refresh {
            let sealed = self.vault.seal(&grant_place(key.id), rotated)?;
            let mut tx = self.store.begin().await?;
            // If another writer rotated meanwhile, its token is as good: Microsoft does not revoke older refresh tokens.
            let version = mailbox.grant_version;
            let stored = self.store.rotate_grant(&mut tx, key, &sealed, version, self.clock.now()).await?;
            tx.commit().await?;
            if !stored {
                self.note_accepted(key.institution, &registration, with_newest).await?;
                // The person may have connected again with another account: then this token must not be cached.
                return Ok(AccessToken::from(&granted));
            }
        }
        self.note_accepted(key.institution, &registration, with_newest).await?;
        if with_newest && registration.renewed_at.is_none() {
            self.forget_previous(key.institution, registration.id).await?;
        }
        match resource {
            Resource::Outlook if mailbox.refresh_refusal.is_some() => {
                self.store.set_refresh_refusal(key, None).await?;
            }
            Resource::Outlook => {}
            Resource::Graph => drop(locked(&self.graph_refusals).remove(&key.id)),
        }
        let token = AccessToken::from(&granted);
        self.keep(key.id, resource, &mailbox.sign_in_name, &mailbox.app, token.clone());
        self.hand_on(&mailbox, resource, &token);
        Ok(token)
    }

    /// Renews a grant with the credential in use; where Microsoft refuses that, with the one before: a new one takes minutes to be
    /// known everywhere. Says whether the one in use was accepted.
    async fn renew_grant(
        &self,
        institution: InstitutionId,
        registration: &Registration,
        resource: Resource,
        refresh: &Secret,
    ) -> Result<Result<(Granted, bool), IdentityError>, TokenError> {
        let credentials = self.credentials(institution, registration).await?;
        let refused = match self.redeem(&credentials, resource, refresh).await? {
            Ok(granted) => return Ok(Ok((granted, true))),
            Err(error) if !error.is_of_registration() || registration.renewed_at.is_some() => return Ok(Err(error)),
            Err(error) => error,
        };
        let previous = self.store.registration(institution, Slot::Previous).await?;
        let Some(previous) = previous.filter(|previous| previous.is_same_app(registration)) else {
            return Ok(Err(refused));
        };
        let credentials = self.credentials(institution, &previous).await?;
        match self.redeem(&credentials, resource, refresh).await? {
            Ok(granted) => {
                tracing::warn!("the new credential of an app was refused ({refused}); the one before still works");
                Ok(Ok((granted, false)))
            }
            // What concerns the grant or the authority says more than the refusal of a credential.
            Err(error) if !error.is_of_registration() => Ok(Err(error)),
            Err(_) => Ok(Err(refused)),
        }
    }

    /// Redeems a refresh token for a resource.
    pub async fn redeem(
        &self,
        credentials: &Credentials,
        resource: Resource,
        refresh: &Secret,
    ) -> Result<Result<Granted, IdentityError>, TokenError> {
        let [send, write] = match resource {
            Resource::Outlook => {
                return Ok(self.entra.refresh(credentials, &credentials.cloud.scopes, refresh).await);
            }
            Resource::Graph => credentials.cloud.graph_scopes().ok_or(TokenError::NoGraph)?,
        };
        let both = format!("{send} {write} offline_access");
        match self.entra.refresh(credentials, &both, refresh).await {
            // Sending alone is enough for all but large messages.
            Err(error) if error.may_lack_consent() => {
                Ok(self.entra.refresh(credentials, &format!("{send} offline_access"), refresh).await)
            }
            other => Ok(other),
        }
    }

    /// What was wrong with the credential in use is over, unless only the one before was accepted.
    async fn note_accepted(
        &self,
        institution: InstitutionId,
        registration: &Registration,
        with_newest: bool,
    ) -> Result<(), StoreError> {
        if !with_newest {
            return Ok(());
        }
        self.store.set_registration_problem(institution, registration.id, None, self.clock.now()).await
    }

    async fn forget_previous(
        &self,
        institution: InstitutionId,
        registration: RegistrationId,
    ) -> Result<(), StoreError> {
        let mut tx = self.store.begin().await?;
        if self.store.set_registration_renewed(&mut tx, institution, registration, self.clock.now()).await? {
            tracing::info!("mail is renewed with the new credential of an app; the one before is deleted");
        }
        tx.commit().await
    }

    /// Applies a refusal to the mailbox, and to the next callers.
    async fn note_refusal(
        &self,
        mailbox: &Mailbox,
        registration: RegistrationId,
        resource: Resource,
        error: IdentityError,
    ) -> Result<TokenError, StoreError> {
        let now = self.clock.now();
        if resource == Resource::Graph {
            return Ok(self.note_graph_refusal(mailbox, error));
        }
        // The person may have connected again meanwhile: the refused grant is outdated then.
        let newest = self.store.mailbox(mailbox.key()).await?;
        if error.needs_reconnect()
            && newest.as_ref().is_some_and(|newest| newest.grant_version == mailbox.grant_version)
        {
            let problem = Fault::identity(&error, now).of_kept_grant();
            let state = MailboxState::NeedsReconnect;
            // Once an administrator consents, the same grant works again.
            let next = (problem.cause == "consent_missing").then(|| now.plus_ms(CONSENT_AGAIN_MS));
            self.store.set_mailbox_state(mailbox.key(), state, Some(&problem), next, now).await?;
            self.store.publish(Event::Mail(mailbox.user));
            self.forget(mailbox.id);
        }
        if error.is_of_registration() {
            let problem = Fault::identity(&error, now);
            self.store.set_registration_problem(mailbox.institution, registration, Some(&problem), now).await?;
        }
        let count = Refused::of(mailbox).map_or(0, |before| before.count.saturating_add(1));
        let refused = serde_json::to_string(&self.refusal(&error, count)).ok();
        if newest.is_some_and(|newest| newest.grant_version == mailbox.grant_version) {
            self.store.set_refresh_refusal(mailbox.key(), refused.as_deref()).await?;
        }
        Ok(error.into())
    }

    /// A refusal for Graph alone says nothing about SMTP and IMAP: mailbox and registration stay as they are. What concerns them as
    /// well is learned when the token for Outlook is renewed.
    fn note_graph_refusal(&self, mailbox: &Mailbox, error: IdentityError) -> TokenError {
        let (mut refusals, now) = (locked(&self.graph_refusals), self.clock.now());
        refusals.retain(|_, found| found.until.plus_ms(MOST_REST_MS) > now);
        let count = refusals.get(&mailbox.id).map_or(0, |before| before.count.saturating_add(1));
        refusals.insert(mailbox.id, self.refusal(&error, count));
        error.into()
    }

    fn refusal(&self, error: &IdentityError, count: u32) -> Refused {
        let asked = error.retry_after().and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or(0);
        let rest =
            if error.is_transient() { BACKOFF.pause_ms(count, 0, self.clock.jitter()) } else { BACKOFF.first_ms };
        let until = self.clock.now().plus_ms(rest.max(asked.saturating_mul(1000)).min(MOST_REST_MS));
        Refused { error: error.clone(), count, until }
    }
}

impl From<&Granted> for AccessToken {
    fn from(granted: &Granted) -> Self {
        Self { secret: granted.access.clone(), expires_at: granted.expires_at, scopes: granted.scopes.clone() }
    }
}
