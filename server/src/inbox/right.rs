//! The right to be connected to a mailbox, of which there is one among all replicas: a lease in the database, renewed while it is
//! held, and handed over when another replica has a question.
//!
//! Replicas tell each other by [`News`]: somebody needs the connection; it was given back; somebody looks at a folder whose
//! connection another one has. With SQLite there is one process, and nobody to ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use app::model::{InstitutionId, MailboxId};
use tokio::time::Instant;

use super::{Ask, Inbox, InboxError, Note, Request, locked};
use crate::store::{Backend, Lease, News, hear};

/// A right ends this long after its last renewal.
const LEASE_MS: i64 = 30_000;
/// How often it is renewed.
const RENEWAL: Duration = Duration::from_secs(8);
/// How often somebody who needs the connection asks for it.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How often it is looked whether it was given back.
const LOOK: Duration = Duration::from_millis(100);
/// Whoever has it ends the question it is at, which may take as long as this.
const PATIENCE: Duration = Duration::from_secs(35);
/// How long somebody who looks elsewhere is taken into account after they last said so.
const REMEMBERED: Duration = Duration::from_secs(45);

/// The right, for as long as this lives. Give it back with [`Inbox::give_back`]; else it ends by itself.
pub(super) struct Right {
    renewing: Option<tokio::task::AbortHandle>,
    lost: Arc<AtomicBool>,
    /// Somebody else had it: they want it back soon.
    pub borrowed: bool,
}

impl Right {
    /// Another replica took it, since it could not be renewed in time.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Right {
    fn drop(&mut self) {
        if let Some(renewing) = self.renewing.take() {
            renewing.abort();
        }
    }
}

impl Inbox {
    async fn try_lease(&self, institution: InstitutionId, mailbox: MailboxId) -> Result<bool, InboxError> {
        let now = self.clock.now();
        let until = (now, now.plus_ms(LEASE_MS));
        Ok(self.store.lease(Lease::Line, (institution, mailbox), self.owner, until).await?)
    }

    /// The right, if nobody has it.
    pub(super) async fn right(
        self: &Arc<Self>,
        institution: InstitutionId,
        mailbox: MailboxId,
    ) -> Result<Option<Right>, InboxError> {
        if self.store.backend() == Backend::Sqlite {
            return Ok(Some(Right { renewing: None, lost: Arc::default(), borrowed: false }));
        }
        if !self.try_lease(institution, mailbox).await? {
            return Ok(None);
        }
        locked(&self.rights).insert(mailbox);
        let lost = Arc::new(AtomicBool::new(false));
        let (inbox, gone) = (Arc::downgrade(self), Arc::clone(&lost));
        let renewing = tokio::spawn(async move {
            loop {
                tokio::time::sleep(RENEWAL).await;
                let Some(inbox) = inbox.upgrade() else { return };
                match inbox.try_lease(institution, mailbox).await {
                    Ok(true) => {}
                    Ok(false) => {
                        locked(&inbox.rights).remove(&mailbox);
                        gone.store(true, Ordering::Relaxed);
                        return;
                    }
                    Err(error) => tracing::warn!("{error}"),
                }
            }
        });
        Ok(Some(Right { renewing: Some(renewing.abort_handle()), lost, borrowed: false }))
    }

    /// The right, asked of whoever has it.
    pub(super) async fn demand_right(
        self: &Arc<Self>,
        institution: InstitutionId,
        mailbox: MailboxId,
    ) -> Result<Right, InboxError> {
        let (end, mut asked) = (Instant::now() + PATIENCE, None::<Instant>);
        loop {
            if let Some(mut right) = self.right(institution, mailbox).await? {
                right.borrowed = asked.is_some();
                return Ok(right);
            }
            if Instant::now() >= end {
                return Err(InboxError::Busy);
            }
            if asked.is_none_or(|at| at.elapsed() >= ASK_AGAIN) {
                if self.store.mailbox(institution, mailbox).await?.is_none() {
                    return Err(InboxError::Gone);
                }
                self.store.publish(News::Wanted(mailbox, self.owner)).await;
                asked = Some(Instant::now());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(super) async fn give_back(&self, mailbox: MailboxId, right: Right) {
        drop(right);
        self.let_go(mailbox).await;
    }

    /// Nobody here is connected.
    pub(super) async fn let_go(&self, mailbox: MailboxId) {
        if self.store.backend() == Backend::Sqlite {
            return;
        }
        locked(&self.rights).remove(&mailbox);
        match self.store.end_lease(Lease::Line, mailbox, self.owner).await {
            Ok(()) => self.store.publish(News::Free(mailbox, self.owner)).await,
            // It ends by itself.
            Err(error) => tracing::warn!("{error}"),
        }
    }

    /// Folders that somebody looks at on another replica.
    pub(super) fn looked_at_elsewhere(&self, mailbox: MailboxId) -> Vec<String> {
        let mut elsewhere = locked(&self.elsewhere);
        elsewhere.retain(|_, at| at.elapsed() < REMEMBERED);
        elsewhere.keys().filter(|(known, _)| *known == mailbox).map(|(_, folder)| folder.clone()).collect()
    }

    /// Tells whoever has the connection which folders are looked at here.
    pub(super) async fn say_looking(&self, institution: InstitutionId, mailbox: MailboxId, folder: &str) {
        self.store.publish(News::Looked(institution, mailbox, self.owner, folder.to_owned())).await;
    }

    /// Hears what other replicas say, until the store is closed.
    pub async fn listen(self: Arc<Self>) {
        let (news, this) = (self.store.news(), Arc::downgrade(&self));
        drop(self);
        hear(news, this, |this, news| match news {
            News::Wanted(mailbox, who) if who != this.owner => this.hand(mailbox, Note::HandOver),
            News::Free(mailbox, who) if who != this.owner => this.hand(mailbox, Note::Look),
            News::Looked(institution, mailbox, who, folder)
                if who != this.owner && locked(&this.rights).contains(&mailbox) =>
            {
                locked(&this.elsewhere).insert((mailbox, folder.clone()), Instant::now());
                let (done, _) = tokio::sync::oneshot::channel();
                let request = Request { ask: Ask::Sync { folder }, at: Instant::now(), done };
                let _ = this.tell(institution, mailbox, Note::Request(request));
            }
            _ => {}
        })
        .await;
    }

    /// Hands a note to a mailbox's task, if there is one.
    fn hand(&self, mailbox: MailboxId, note: Note) {
        if let Some(line) = locked(&self.lines).get(&mailbox) {
            // A task that is too busy to take a note is asked again.
            let _ = line.try_send(note);
        }
    }
}
