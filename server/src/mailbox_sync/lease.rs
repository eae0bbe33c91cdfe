//! The lease on the one IMAP connection of a mailbox: a row in the database, renewed while it is held, and handed over when another
//! replica has a command to execute.
//!
//! Replicas notify each other by [`Event`]: a replica needs the connection, the connection was released, a folder is watched on a
//! replica without it. With SQLite there is only one process.

use std::sync::Arc;
use std::time::Duration;

use app::model::MailboxId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Command, MailboxSync, Request, Signal, SyncError, locked};
use crate::concurrency::lease::renewing;
use crate::store::{DatabaseKind, Event, Lease, MailboxKey, subscribe};

/// A lease ends this long after its last renewal, in milliseconds.
const LEASE_MS: i64 = 30_000;
const RENEW_INTERVAL: Duration = Duration::from_secs(8);
/// How often a replica that needs the connection asks for it.
const REQUEST_INTERVAL: Duration = Duration::from_secs(1);
/// How often a waiting replica checks whether the lease is free.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Longest wait for the lease: its holder first finishes the command it is executing.
const WAIT_LIMIT: Duration = Duration::from_secs(35);
/// How long a watch announced by another replica counts.
const ANNOUNCED_FOR: Duration = Duration::from_secs(45);

/// A held lease. Release it with [`MailboxSync::release_lease`]; otherwise it expires.
pub(super) struct ConnectionLease {
    renewing: Option<tokio::task::AbortHandle>,
    lost: CancellationToken,
    /// It was requested from another replica, which wants it back soon.
    pub wanted_back: bool,
}

impl ConnectionLease {
    /// Whether another replica took it because it was not renewed in time.
    pub fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
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
    async fn try_lease(&self, mailbox: MailboxKey) -> Result<bool, SyncError> {
        let now = self.clock.now();
        let until = now.plus_ms(LEASE_MS);
        Ok(self.store.lease(Lease::Connection, mailbox, self.owner, now, until).await?)
    }

    /// Takes the lease if it is free.
    pub(super) async fn lease(self: &Arc<Self>, mailbox: MailboxKey) -> Result<Option<ConnectionLease>, SyncError> {
        if self.store.backend() == DatabaseKind::Sqlite {
            return Ok(Some(ConnectionLease { renewing: None, lost: CancellationToken::new(), wanted_back: false }));
        }
        if !self.try_lease(mailbox).await? {
            return Ok(None);
        }
        locked(&self.leased).insert(mailbox.id);
        let lost = CancellationToken::new();
        let (sync, gone) = (Arc::downgrade(self), lost.clone());
        let renew = move || {
            let (sync, gone) = (sync.upgrade(), gone.clone());
            async move {
                let Some(sync) = sync else { return gone.cancel() };
                match sync.try_lease(mailbox).await {
                    Ok(true) => {}
                    Ok(false) => {
                        locked(&sync.leased).remove(&mailbox.id);
                        gone.cancel();
                    }
                    Err(error) => tracing::warn!("cannot renew the lease of a connection: {error}"),
                }
            }
        };
        let renewing = tokio::spawn(renewing(lost.clone().cancelled_owned(), RENEW_INTERVAL, renew));
        Ok(Some(ConnectionLease { renewing: Some(renewing.abort_handle()), lost, wanted_back: false }))
    }

    /// Takes the lease, asking its holder for it.
    pub(super) async fn demand_lease(self: &Arc<Self>, mailbox: MailboxKey) -> Result<ConnectionLease, SyncError> {
        let (end, mut asked) = (Instant::now() + WAIT_LIMIT, None::<Instant>);
        loop {
            if let Some(mut lease) = self.lease(mailbox).await? {
                lease.wanted_back = asked.is_some();
                return Ok(lease);
            }
            if Instant::now() >= end {
                return Err(SyncError::Busy);
            }
            if asked.is_none_or(|at| at.elapsed() >= REQUEST_INTERVAL) {
                if self.store.mailbox(mailbox).await?.is_none() {
                    return Err(SyncError::Gone);
                }
                self.store.publish(Event::ConnectionWanted(mailbox.id, self.owner));
                asked = Some(Instant::now());
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    pub(super) async fn release_lease(&self, mailbox: MailboxId, lease: ConnectionLease) {
        drop(lease);
        self.release_connection(mailbox).await;
    }

    /// Releases the lease of a mailbox to which this process is not connected.
    pub(super) async fn release_connection(&self, mailbox: MailboxId) {
        if self.store.backend() == DatabaseKind::Sqlite {
            return;
        }
        locked(&self.leased).remove(&mailbox);
        match self.store.end_lease(Lease::Connection, mailbox, self.owner).await {
            Ok(()) => self.store.publish(Event::ConnectionReleased(mailbox, self.owner)),
            // It expires.
            Err(error) => tracing::warn!("cannot release the lease of a connection: {error}"),
        }
    }

    pub(super) fn watched_elsewhere(&self, mailbox: MailboxId) -> Vec<String> {
        let mut elsewhere = locked(&self.elsewhere);
        elsewhere.retain(|_, at| at.elapsed() < ANNOUNCED_FOR);
        elsewhere.keys().filter(|(known, _)| *known == mailbox).map(|(_, folder)| folder.clone()).collect()
    }

    /// Announces a watched folder to the holder of the connection.
    pub(super) fn announce_watch(&self, mailbox: MailboxKey, folder: &str) {
        self.store.publish(Event::FolderWatched(mailbox.institution, mailbox.id, self.owner, folder.to_owned()));
    }

    /// Handles events of other replicas until the store is closed.
    pub async fn listen(self: Arc<Self>) {
        let (event, this) = (self.store.events(), Arc::downgrade(&self));
        drop(self);
        subscribe(event, this, |this, event| match event {
            Event::ConnectionWanted(mailbox, owner) if owner != this.owner => {
                this.signal_if_running(mailbox, Signal::HandOver);
            }
            Event::ConnectionReleased(mailbox, owner) if owner != this.owner => {
                this.signal_if_running(mailbox, Signal::Look);
            }
            Event::FolderWatched(institution, id, owner, folder)
                if owner != this.owner && locked(&this.leased).contains(&id) =>
            {
                locked(&this.elsewhere).insert((id, folder.clone()), Instant::now());
                let (done, _) = tokio::sync::oneshot::channel();
                let request = Request { command: Command::Sync { folder }, at: Instant::now(), done };
                let _ = this.send_signal(MailboxKey { institution, id }, Signal::Request(Box::new(request)));
            }
            _ => {}
        })
        .await;
    }

    fn signal_if_running(&self, mailbox: MailboxId, signal: Signal) {
        if let Some(worker) = locked(&self.workers).get(&mailbox) {
            // A worker whose queue is full is asked again.
            let _ = worker.try_send(signal);
        }
    }
}
