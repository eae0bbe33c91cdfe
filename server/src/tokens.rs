//! Mailbox → access token. Access tokens live in memory only; one refresh at a time per mailbox; the rotated refresh token is
//! stored before the new access token is handed out (losing it is what makes mail stop after 90 days).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use app::model::{ClientId, MailboxId, MailboxState, Timestamp};

use crate::clock::Clock;
use crate::diagnosis::Fault;
use crate::identity::{Credentials, Entra, IdentityError, Tokens as Granted};
use crate::store::{Mailbox, Registration, Slot, Store, StoreError};
use crate::vault::{Place, Secret, Vault, VaultError};

/// Milliseconds before its end from which a token counts as old.
const EARLY_MS: i64 = 5 * 60 * 1000;

/// An access token for SMTP and IMAP.
#[derive(Clone)]
pub struct AccessToken {
    /// The bearer token.
    pub secret: Secret,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Granted scopes, if the answer named them.
    pub scopes: Option<Vec<String>>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The authority refused or is out of reach.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The mailbox belongs to a registration that is no longer in use.
    #[error("the institution's app registration changed since this mailbox was connected")]
    RegistrationChanged,
    /// The mailbox is gone.
    #[error("the mailbox was disconnected")]
    Gone,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A secret cannot be opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl TokenError {
    /// Whether the person must connect again.
    #[must_use]
    pub fn needs_reconnect(&self) -> bool {
        match self {
            Self::Identity(error) => error.needs_reconnect(),
            Self::RegistrationChanged => true,
            _ => false,
        }
    }

    /// The fault, for a diagnosis.
    #[must_use]
    pub fn fault(&self, now: Timestamp) -> Fault {
        match self {
            Self::Identity(error) => Fault::identity(error, now),
            Self::RegistrationChanged => Fault::new("registration_changed", now, &[]),
            other => Fault::new("our_bug", now, &[("Error", other.to_string())]),
        }
    }
}

/// Where the refresh token of a mailbox is sealed.
#[must_use]
pub fn grant_place(mailbox: MailboxId) -> Place {
    Place::new("mailboxes", "refresh_token_sealed", mailbox)
}

/// Where the secret of a registration is sealed.
#[must_use]
pub fn secret_place(registration: &Registration) -> Place {
    Place::new("app_registrations", "secret_sealed", registration.id)
}

/// Hands out access tokens.
pub struct Tokens {
    store: Store,
    vault: Arc<Vault>,
    entra: Arc<Entra>,
    clock: Clock,
    cache: Mutex<HashMap<MailboxId, AccessToken>>,
    turns: Mutex<HashMap<MailboxId, Arc<tokio::sync::Mutex<()>>>>,
}

impl Tokens {
    /// Nothing cached yet.
    #[must_use]
    pub fn new(store: Store, vault: Arc<Vault>, entra: Arc<Entra>, clock: Clock) -> Self {
        Self { store, vault, entra, clock, cache: Mutex::default(), turns: Mutex::default() }
    }

    /// The credentials of a registration, its secret opened.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn credentials(&self, registration: &Registration) -> Result<Credentials, VaultError> {
        Ok(Credentials {
            client_id: registration.client_id,
            tenant: registration.tenant_id.to_string(),
            secret: self.vault.open(&secret_place(registration), &registration.secret_sealed)?,
        })
    }

    /// Keeps the access token that came with a sign-in.
    pub fn remember(&self, mailbox: MailboxId, token: AccessToken) {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).insert(mailbox, token);
    }

    /// Forgets a mailbox's token: it was disconnected or refused.
    pub fn forget(&self, mailbox: MailboxId) {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).remove(&mailbox);
        // A refresh under way keeps its turn: whoever comes next must wait for it.
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.get(&mailbox).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(&mailbox);
        }
    }

    fn cached(&self, mailbox: MailboxId) -> Option<AccessToken> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.get(&mailbox).filter(|token| token.expires_at.0 - EARLY_MS > self.clock.now().0).cloned()
    }

    /// A token that is good for some minutes at least.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn access(&self, mailbox: &Mailbox) -> Result<AccessToken, TokenError> {
        match self.cached(mailbox.id) {
            Some(token) => Ok(token),
            None => self.renew(mailbox, false).await,
        }
    }

    /// A token fresh from the authority: proves that the stored grant still works.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn prove(&self, mailbox: &Mailbox) -> Result<AccessToken, TokenError> {
        self.renew(mailbox, true).await
    }

    async fn renew(&self, mailbox: &Mailbox, always: bool) -> Result<AccessToken, TokenError> {
        let turn = Arc::clone(self.turns.lock().unwrap_or_else(PoisonError::into_inner).entry(mailbox.id).or_default());
        let _turn = turn.lock().await;
        if !always && let Some(token) = self.cached(mailbox.id) {
            return Ok(token);
        }
        // Read again: whoever had the turn before may have rotated the grant.
        let mailbox = self.store.mailbox(mailbox.institution, mailbox.id).await?.ok_or(TokenError::Gone)?;
        let registration = self
            .store
            .registration(mailbox.institution, Slot::Current)
            .await?
            .ok_or(TokenError::RegistrationChanged)?;
        if registration.client_id.to_string() != mailbox.client_id
            || registration.tenant_id.to_string() != mailbox.tenant_id
        {
            return Err(TokenError::RegistrationChanged);
        }
        let credentials = self.credentials(&registration)?;
        let refresh = self.vault.open(&grant_place(mailbox.id), &mailbox.refresh_token_sealed)?;
        let granted = match self.entra.refresh(&credentials, &refresh).await {
            Ok(granted) => granted,
            Err(error) => {
                // The person may have connected again meanwhile: the refused grant is not theirs any more.
                let newest = self.store.mailbox(mailbox.institution, mailbox.id).await?;
                if error.needs_reconnect() && newest.is_some_and(|newest| newest.grant_version == mailbox.grant_version)
                {
                    let now = self.clock.now();
                    let problem = Fault::identity(&error, now).to_json();
                    let state = (MailboxState::NeedsReconnect, Some(problem.as_str()), None);
                    self.store.set_mailbox_state(mailbox.institution, mailbox.id, state, now).await?;
                    self.cache.lock().unwrap_or_else(PoisonError::into_inner).remove(&mailbox.id);
                }
                return Err(error.into());
            }
        };
        if let Some(rotated) = &granted.refresh {
            let sealed = self.vault.seal(&grant_place(mailbox.id), rotated)?;
            let mut tx = self.store.begin().await?;
            // If another replica rotated meanwhile, its token is as good as ours: Microsoft does not revoke the older ones.
            let (institution, version) = (mailbox.institution, mailbox.grant_version);
            let stored =
                self.store.rotate_grant(&mut tx, institution, mailbox.id, (&sealed, version), self.clock.now()).await?;
            tx.commit().await.map_err(StoreError::from)?;
            if !stored {
                // Or the person connected again, perhaps as somebody else: then this token must not be kept.
                return Ok(AccessToken::from(&granted));
            }
        }
        let token = AccessToken::from(&granted);
        self.remember(mailbox.id, token.clone());
        Ok(token)
    }

    /// Whether a client ID is that of the registration in use.
    #[must_use]
    pub fn fits(registration: &Registration, client_id: &str, tenant_id: &str) -> bool {
        registration.client_id == ClientId::parse(client_id).unwrap_or(ClientId(uuid::Uuid::nil()))
            && registration.tenant_id.to_string() == tenant_id
    }
}

impl From<&Granted> for AccessToken {
    fn from(granted: &Granted) -> Self {
        Self { secret: granted.access.clone(), expires_at: granted.expires_at, scopes: granted.scopes.clone() }
    }
}
