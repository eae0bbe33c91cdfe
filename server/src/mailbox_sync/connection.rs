//! Opening the connection of a worker, and what its failures mean.

use crate::diagnosis::Fault;
use std::sync::Arc;
use std::time::Duration;

use app::model::MailboxState;
use tokio::time::Instant;

use super::worker::{MAX_BACKOFF, MailboxWorker, OpenConnection, UNREACHABLE_PAUSE};
use crate::access_tokens::{AccessToken, Resource, TokenError};
use crate::mail::imap::Session;
use crate::mail::{Login, Step};
use crate::mailbox_sync::SyncError;
use crate::mailbox_sync::lease::ConnectionLease;
use crate::store::{Event, Mailbox};

impl MailboxWorker {
    /// Applies a failure to the connection, the token and the mailbox.
    pub(super) async fn lose(&mut self, error: &SyncError) {
        let SyncError::Mail(failure) = error else { return };
        if let Some(asked) = failure.backoff_ms().and_then(|ms| u64::try_from(ms).ok())
            && self.backoff.is_none()
        {
            let asked = Duration::from_millis(asked).min(MAX_BACKOFF);
            self.backoff = Some((Instant::now() + asked, failure.clone()));
        }
        // Waiting commands need not each find out that the server is unreachable.
        if !failure.answered && matches!(failure.step, Step::Connect | Step::Tls) && self.backoff.is_none() {
            self.backoff = Some((Instant::now() + UNREACHABLE_PAUSE, failure.clone()));
        }
        if !failure.answered || failure.is_token_expired() || failure.step == Step::Auth {
            self.open = None;
        }
        if failure.is_token_expired() || (failure.step == Step::Auth && failure.answered) {
            self.sync.tokens.forget(self.key.id);
        }
        let refused = failure.answered && !failure.is_throttled() && failure.step == Step::Auth;
        let shut = failure.answered && failure.text.contains("authenticated but not connected");
        if refused || shut {
            self.open = None;
            if let Err(error) = self.block(error).await {
                tracing::error!("cannot block a mailbox: {error}");
            }
        }
    }

    /// Stores why the mailbox cannot be synced, for the page that lists it.
    pub(super) async fn record_problem(&self, error: &SyncError) {
        let told = async {
            let mailbox = self.sync.store.mailbox(self.key).await?;
            let Some(mailbox) = mailbox.filter(|mailbox| mailbox.sync_problem.is_none()) else { return Ok(()) };
            // Faults of the mailbox itself are part of its state.
            if matches!(error, SyncError::Mail(_) | SyncError::Token(TokenError::Identity(_))) {
                let problem = error.fault(self.sync.imap(&mailbox), self.sync.clock.now());
                self.store_problem(&mailbox, Some(&problem)).await?;
            }
            Ok::<_, SyncError>(())
        };
        if let Err(error) = told.await {
            tracing::warn!("cannot store why a mailbox fails: {error}");
        }
    }

    /// Stores why one folder cannot be opened, for that folder only.
    pub(super) async fn tell_folder_trouble(&self, folder: &str, error: &SyncError) {
        let told = async {
            let Some(mailbox) = self.sync.store.mailbox(self.key).await? else { return Ok(()) };
            let problem = error.fault(self.sync.imap(&mailbox), self.sync.clock.now()).of_folder();
            if self.sync.store.set_folder_problem(self.key, folder, &problem).await? {
                self.sync.store.publish(Event::Mail(mailbox.user));
            }
            Ok::<_, SyncError>(())
        };
        if let Err(error) = told.await {
            tracing::warn!("cannot store why a folder fails: {error}");
        }
    }

    pub(super) async fn store_problem(&self, mailbox: &Mailbox, problem: Option<&Fault>) -> Result<(), SyncError> {
        let now = self.sync.clock.now();
        self.sync.store.set_sync_problem(mailbox.key(), problem, now).await?;
        self.sync.store.publish(Event::Mail(mailbox.user));
        Ok(())
    }

    /// Blocks a mailbox whose sign-in the server refuses. Its owner sees that, and it is tested again automatically.
    pub(super) async fn block(&self, error: &SyncError) -> Result<(), SyncError> {
        let (sync, now) = (&self.sync, self.sync.clock.now());
        let mailbox = sync.store.mailbox(self.key).await?;
        if let Some(mailbox) = mailbox.filter(|mailbox| mailbox.state == MailboxState::Connected) {
            let (state, problem, next) =
                (MailboxState::Blocked, error.fault(sync.imap(&mailbox), now), now.plus_ms(60_000));
            sync.store.set_mailbox_state(self.key, state, Some(&problem), Some(next), now).await?;
            sync.store.publish(Event::Mail(mailbox.user));
        }
        Ok(())
    }

    pub(super) async fn log_out(&mut self) {
        if let Some(open) = self.open.take() {
            open.session.logout().await;
        }
    }

    pub(super) async fn hang_up(&mut self) {
        self.log_out().await;
        if let Some(lease) = self.lease.take() {
            self.sync.release_lease(self.key.id, lease).await;
        }
    }

    /// Drops the connection if its lease was lost.
    pub(super) async fn drop_if_lease_lost(&mut self) {
        if self.lease.as_ref().is_some_and(ConnectionLease::is_lost) {
            self.lease = None;
            self.log_out().await;
        }
    }

    /// Whether this replica may watch: it holds the lease, or the lease is free.
    pub(super) async fn may_watch(&mut self) -> Result<bool, SyncError> {
        self.drop_if_lease_lost().await;
        if self.lease.is_some() {
            return Ok(true);
        }
        if self.stands_back.is_some_and(|until| Instant::now() < until) {
            return Ok(false);
        }
        self.stands_back = None;
        self.lease = self.sync.lease(self.key).await?;
        Ok(self.lease.is_some())
    }

    /// The lease, requested from another replica if necessary.
    pub(super) async fn claim(&mut self) -> Result<(), SyncError> {
        self.drop_if_lease_lost().await;
        if self.lease.is_none() {
            self.lease = Some(self.sync.demand_lease(self.key).await?);
        }
        Ok(())
    }

    pub(super) async fn mailbox(&self) -> Result<Mailbox, SyncError> {
        let found = self.sync.store.mailbox(self.key).await?;
        let mailbox = found.ok_or(SyncError::Gone)?;
        if mailbox.state == MailboxState::NeedsReconnect {
            return Err(SyncError::NeedsReconnect(mailbox.problem));
        }
        Ok(mailbox)
    }

    /// The connection. Opened if there is none, or if the mailbox belongs to another account now.
    pub(super) async fn session(&mut self) -> Result<&mut Session, SyncError> {
        if let Some((until, error)) = &self.backoff {
            if Instant::now() < *until {
                return Err(error.clone().into());
            }
            self.backoff = None;
        }
        let mailbox = self.mailbox().await.inspect_err(|_| self.open = None)?;
        self.claim().await?;
        if let Some(open) = &self.open
            && (open.user != mailbox.sign_in_name || open.app != mailbox.app)
        {
            self.log_out().await;
        }
        if self.open.is_none() {
            self.synced.clear();
            self.listed = None;
            let token = self.sync.tokens.access(&mailbox).await?;
            let sync = Arc::clone(&self.sync);
            let open = async |token: &AccessToken| {
                let login = Login { server: sync.imap(&mailbox), user: &mailbox.sign_in_name, token: &token.secret };
                Session::open(&login, &sync.trust).await
            };
            let session = match open(&token).await {
                Err(error) if error.step == Step::Auth && error.answered => {
                    match sync.tokens.instead_of(&mailbox, Resource::Outlook, &token).await? {
                        Some(other) => open(&other).await?,
                        None => return Err(error.into()),
                    }
                }
                other => other?,
            };
            self.open = Some(OpenConnection { session, user: mailbox.sign_in_name, app: mailbox.app });
        }
        self.open.as_mut().map(|open| &mut open.session).ok_or(SyncError::Gone)
    }
}
