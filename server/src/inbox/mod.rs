//! The inbox: one IMAP connection for each mailbox at most, shared by everybody who needs it.
//!
//! Each mailbox in use has a task (a [`line::Line`]) that owns its connection: it answers questions one after the other, waits
//! with IDLE while somebody looks, hangs up when nobody does. Among replicas the connection is a lease (see [`right`]). What it sees of folders is kept in the store; bodies are not.

mod arrival;
mod ask;
mod headers;
mod line;
mod reader;
mod right;
mod search;
mod sync;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use app::model::{InstitutionId, MailboxId};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::clock::Clock;
use crate::mail::Trust;
use crate::message::ParsedMessage;
use crate::store::Store;
use crate::tokens::Tokens;

pub use arrival::arrived;
pub use ask::{Answer, Ask, InboxError, Listing};
pub use reader::PartReader;

/// Newest messages of a folder whose headers are kept.
pub const WINDOW: u32 = 300;
/// Questions that may wait for one mailbox.
const QUEUE: usize = 64;
/// Mebibytes of messages that are being opened at one time, all mailboxes together.
const OPENING: usize = 256;
/// Octets of opened messages kept in memory, all mailboxes together.
const OPENED: usize = 32 * 1024 * 1024;

/// What the inbox is made of.
pub struct Parts {
    /// The database.
    pub store: Store,
    /// Access tokens.
    pub tokens: Arc<Tokens>,
    /// Trusted CAs.
    pub trust: Trust,
    /// Time.
    pub clock: Clock,
    /// Where mailboxes are read.
    pub server: (String, u16),
    /// Tasks that outlive their request.
    pub tasks: TaskTracker,
    /// Set when the server stops.
    pub stop: CancellationToken,
}

/// A question with the place for its answer.
struct Request {
    ask: Ask,
    /// When it was asked.
    at: Instant,
    done: oneshot::Sender<Result<Answer, InboxError>>,
}

enum Note {
    Request(Request),
    /// Somebody looks, or nobody does any more.
    Look,
    /// Another replica has a question: it gets the connection.
    HandOver,
    /// Somebody else needs the mailbox's one connection: hang up, say so, and wait until it is given back.
    Hold(oneshot::Sender<()>, oneshot::Receiver<()>),
}

/// Opened messages, the oldest first, and their octets.
#[derive(Default)]
struct Kept {
    order: std::collections::VecDeque<(String, Arc<ParsedMessage>)>,
    octets: usize,
}

/// Everybody's inboxes.
pub struct Inbox {
    parts: Parts,
    lines: Mutex<HashMap<MailboxId, mpsc::Sender<Note>>>,
    looks: Mutex<HashMap<MailboxId, HashMap<String, usize>>>,
    kept: Mutex<Kept>,
    /// Room for messages that are being opened.
    opening: Semaphore,
    /// Names this process in leases.
    owner: Uuid,
    /// Mailboxes whose one connection is this process's.
    rights: Mutex<HashSet<MailboxId>>,
    /// What is looked at on other replicas, and when that was last said.
    elsewhere: Mutex<HashMap<(MailboxId, String), Instant>>,
}

impl std::ops::Deref for Inbox {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.parts
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Somebody looks at a folder for as long as this lives.
pub struct Looking {
    inbox: Arc<Inbox>,
    institution: InstitutionId,
    mailbox: MailboxId,
    folder: String,
}

impl Drop for Looking {
    fn drop(&mut self) {
        {
            let mut looks = locked(&self.inbox.looks);
            if let Some(folders) = looks.get_mut(&self.mailbox) {
                if let Some(count) = folders.get_mut(&self.folder) {
                    *count -= 1;
                }
                folders.retain(|_, count| *count > 0);
                if folders.is_empty() {
                    looks.remove(&self.mailbox);
                }
            }
        }
        let _ = self.inbox.tell(self.institution, self.mailbox, Note::Look);
    }
}

/// The mailbox's connection is somebody else's for as long as this lives.
pub struct Held(#[expect(dead_code, reason = "its end is the message")] oneshot::Sender<()>);

impl Inbox {
    /// Nobody looks yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            owner: parts.clock.uuid(),
            parts,
            lines: Mutex::default(),
            looks: Mutex::default(),
            kept: Mutex::default(),
            opening: Semaphore::new(OPENING),
            rights: Mutex::default(),
            elsewhere: Mutex::default(),
        }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`InboxError`].
    pub async fn ask(
        self: &Arc<Self>,
        institution: InstitutionId,
        mailbox: MailboxId,
        ask: Ask,
    ) -> Result<Answer, InboxError> {
        let (done, answer) = oneshot::channel();
        if !self.tell(institution, mailbox, Note::Request(Request { ask, at: Instant::now(), done })) {
            return Err(InboxError::Busy);
        }
        answer.await.unwrap_or(Err(InboxError::Busy))
    }

    /// Somebody looks at a folder: what comes in is seen at once.
    #[must_use]
    pub fn look(self: &Arc<Self>, institution: InstitutionId, mailbox: MailboxId, folder: &str) -> Looking {
        *locked(&self.looks).entry(mailbox).or_default().entry(folder.to_owned()).or_default() += 1;
        let _ = self.tell(institution, mailbox, Note::Look);
        Looking { inbox: Arc::clone(self), institution, mailbox, folder: folder.to_owned() }
    }

    /// Takes the mailbox's one connection over.
    pub async fn hold(self: &Arc<Self>, institution: InstitutionId, mailbox: MailboxId) -> Held {
        let (hung_up, waits) = oneshot::channel();
        let (held, given_back) = oneshot::channel();
        let mut note = Note::Hold(hung_up, given_back);
        // However much is asked of the mailbox: never two connections.
        while let Err(back) = self.try_tell(institution, mailbox, note) {
            let Some(back) = back.filter(|_| !self.stop.is_cancelled()) else { return Held(held) };
            note = back;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        let _ = waits.await;
        Held(held)
    }

    /// Folders of a mailbox that somebody looks at, INBOX first.
    fn looked_at(&self, mailbox: MailboxId) -> Vec<String> {
        let looks = locked(&self.looks);
        let mut folders: Vec<String> = looks.get(&mailbox).into_iter().flat_map(HashMap::keys).cloned().collect();
        folders.sort_by_key(|name| (!name.eq_ignore_ascii_case("INBOX"), name.clone()));
        folders
    }

    /// Tells the mailbox's task, which is started if there is none. `false`: it is too busy, or the server stops.
    fn tell(self: &Arc<Self>, institution: InstitutionId, mailbox: MailboxId, note: Note) -> bool {
        self.try_tell(institution, mailbox, note).is_ok()
    }

    /// The same; what could not be told comes back, unless it went with a task that ended.
    fn try_tell(
        self: &Arc<Self>,
        institution: InstitutionId,
        mailbox: MailboxId,
        note: Note,
    ) -> Result<(), Option<Note>> {
        if self.stop.is_cancelled() {
            return Err(Some(note));
        }
        let mut lines = locked(&self.lines);
        let start = || {
            let (sender, notes) = mpsc::channel(QUEUE);
            self.tasks.spawn(line::Line::new(Arc::clone(self), institution, mailbox, notes).run());
            sender
        };
        let line = lines.entry(mailbox).or_insert_with(start);
        // A task that panicked left its sender behind.
        if line.is_closed() {
            *line = start();
        }
        line.try_send(note).map_err(|error| match error {
            mpsc::error::TrySendError::Full(note) => Some(note),
            mpsc::error::TrySendError::Closed(_) => None,
        })
    }

    /// Ends a task that has nothing to do, unless something came meanwhile.
    fn retire(&self, mailbox: MailboxId, notes: &mut mpsc::Receiver<Note>) -> bool {
        let mut lines = locked(&self.lines);
        if !notes.is_empty() {
            return false;
        }
        lines.remove(&mailbox);
        true
    }

    fn kept(&self, key: &str) -> Option<Arc<ParsedMessage>> {
        let kept = locked(&self.kept);
        kept.order.iter().find(|(known, _)| known == key).map(|(_, opened)| Arc::clone(opened))
    }

    fn keep(&self, key: String, opened: &Arc<ParsedMessage>) {
        let mut kept = locked(&self.kept);
        kept.octets += opened.size_in_memory();
        kept.order.push_back((key, Arc::clone(opened)));
        while kept.octets > OPENED {
            let Some((_, oldest)) = kept.order.pop_front() else { break };
            kept.octets = kept.octets.saturating_sub(oldest.size_in_memory());
        }
    }
}
