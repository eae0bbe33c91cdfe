//! The right to be connected to a mailbox, of which there is one among all replicas: a lease in the database, renewed while it is
//! held, and handed over when another replica has a question.
//!
//! Replicas tell each other by [`Event`]: somebody needs the connection; it was given back; somebody looks at a folder whose
//! connection another one has. With SQLite there is one process, and nobody to ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use app::model::{InstitutionId, MailboxId};
use tokio::time::Instant;

use super::{Command, MailboxSync, Request, Signal, SyncError, locked};
use crate::store::{Backend, Event, Lease, subscribe};

/// A right ends this long after its last renewal.
const LEASE_MS: i64 = 30_000;
/// How often it is renewed.
const RENEW_INTERVAL: Duration = Duration::from_secs(8);
/// How often somebody who needs the connection asks for it.
const REQUEST_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is looked whether it was given back.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Whoever has it ends the question it is at, which may take as long as this.
const WAIT_LIMIT: Duration = Duration::from_secs(35);
/// How long somebody who looks elsewhere is taken into account after they last said so.
const ANNOUNCED_FOR: Duration = Duration::from_secs(45);

/// The right, for as long as this lives. Give it back with [`MailboxSync::release_lease`]; else it ends by itself.
pub(super) struct ConnectionLease {
    renewing: Option<tokio::task::AbortHandle>,
    lost: Arc<AtomicBool>,
    /// Somebody else had it: they want it back soon.
    pub wanted_back: bool,
}

impl ConnectionLease {
    /// Another replica took it, since it could not be renewed in time.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for ConnectionLease {
    fn drop(&mut self) {
        if let Some(renewing) = self.renewing.take() {
            renewing.abort();
        }
    }
}

impl MailboxSync {
    async fn try_lease(&self, institution: InstitutionId, mailbox: MailboxId) -> Result<bool, SyncError> {
        let now = self.clock.now();
        let until = (now, now.plus_ms(LEASE_MS));
        Ok(self.store.lease(Lease::Connection, (institution, mailbox), self.owner, until).await?)
    }

    /// The right, if nobody has it.
    pub(super) async fn lease(
        self: &Arc<Self>,
        institution: InstitutionId,
        mailbox: MailboxId,
    ) -> Result<Option<ConnectionLease>, SyncError> {
        if self.store.backend() == Backend::Sqlite {
            return Ok(Some(ConnectionLease { renewing: None, lost: Arc::default(), wanted_back: false }));
        }
        if !self.try_lease(institution, mailbox).await? {
            return Ok(None);
        }
        locked(&self.leased).insert(mailbox);
        let lost = Arc::new(AtomicBool::new(false));
        let (sync, gone) = (Arc::downgrade(self), Arc::clone(&lost));
        let renewing = tokio::spawn(async move {
            loop {
                tokio::time::sleep(RENEW_INTERVAL).await;
                let Some(sync) = sync.upgrade() else { return };
                match sync.try_lease(institution, mailbox).await {
                    Ok(true) => {}
                    Ok(false) => {
                        locked(&sync.leased).remove(&mailbox);
                        gone.store(true, Ordering::Relaxed);
                        return;
                    }
                    Err(error) => tracing::warn!("{error}"),
                }
            }
        });
        Ok(Some(ConnectionLease { renewing: Some(renewing.abort_handle()), lost, wanted_back: false }))
    }

    /// The right, asked of whoever has it.
    pub(super) async fn demand_lease(
        self: &Arc<Self>,
        institution: InstitutionId,
        mailbox: MailboxId,
    ) -> Result<ConnectionLease, SyncError> {
        let (end, mut asked) = (Instant::now() + WAIT_LIMIT, None::<Instant>);
        loop {
            if let Some(mut lease) = self.lease(institution, mailbox).await? {
                lease.wanted_back = asked.is_some();
                return Ok(lease);
            }
            if Instant::now() >= end {
                return Err(SyncError::Busy);
            }
            if asked.is_none_or(|at| at.elapsed() >= REQUEST_INTERVAL) {
                if self.store.mailbox(institution, mailbox).await?.is_none() {
                    return Err(SyncError::Gone);
                }
                self.store.publish(Event::Wanted(mailbox, self.owner)).await;
                asked = Some(Instant::now());
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    pub(super) async fn release_lease(&self, mailbox: MailboxId, lease: ConnectionLease) {
        drop(lease);
        self.release_connection(mailbox).await;
    }

    /// Nobody here is connected.
    pub(super) async fn release_connection(&self, mailbox: MailboxId) {
        if self.store.backend() == Backend::Sqlite {
            return;
        }
        locked(&self.leased).remove(&mailbox);
        match self.store.end_lease(Lease::Connection, mailbox, self.owner).await {
            Ok(()) => self.store.publish(Event::Free(mailbox, self.owner)).await,
            // It ends by itself.
            Err(error) => tracing::warn!("{error}"),
        }
    }

    /// Folders that somebody looks at on another replica.
    pub(super) fn watched_elsewhere(&self, mailbox: MailboxId) -> Vec<String> {
        let mut elsewhere = locked(&self.elsewhere);
        elsewhere.retain(|_, at| at.elapsed() < ANNOUNCED_FOR);
        elsewhere.keys().filter(|(known, _)| *known == mailbox).map(|(_, folder)| folder.clone()).collect()
    }

    /// Tells whoever has the connection which folders are looked at here.
    pub(super) async fn announce_watch(&self, institution: InstitutionId, mailbox: MailboxId, folder: &str) {
        self.store.publish(Event::Looked(institution, mailbox, self.owner, folder.to_owned())).await;
    }

    /// Hears what other replicas say, until the store is closed.
    pub async fn listen(self: Arc<Self>) {
        let (event, this) = (self.store.events(), Arc::downgrade(&self));
        drop(self);
        subscribe(event, this, |this, event| match event {
            Event::Wanted(mailbox, who) if who != this.owner => this.signal_if_running(mailbox, Signal::HandOver),
            Event::Free(mailbox, who) if who != this.owner => this.signal_if_running(mailbox, Signal::Look),
            Event::Looked(institution, mailbox, who, folder)
                if who != this.owner && locked(&this.leased).contains(&mailbox) =>
            {
                locked(&this.elsewhere).insert((mailbox, folder.clone()), Instant::now());
                let (done, _) = tokio::sync::oneshot::channel();
                let request = Request { command: Command::Sync { folder }, at: Instant::now(), done };
                let _ = this.send_signal(institution, mailbox, Signal::Request(request));
            }
            _ => {}
        })
        .await;
    }

    /// Hands a note to a mailbox's task, if there is one.
    fn signal_if_running(&self, mailbox: MailboxId, signal: Signal) {
        if let Some(worker) = locked(&self.workers).get(&mailbox) {
            // A task that is too busy to take a note is asked again.
            let _ = worker.try_send(signal);
        }
    }
}
