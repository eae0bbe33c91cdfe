//! The inbox: one IMAP connection for each mailbox at most, shared by everybody who needs it.
//!
//! Each mailbox in use has a task (a [`worker::MailboxWorker`]) that owns its connection: it answers questions one after the other, waits
//! with IDLE while somebody looks, hangs up when nobody does. Among replicas the connection is a lease (see [`lease`]). What it sees of folders is kept in the store; bodies are not.

mod command;
mod connection;
mod download;
mod folders;
mod headers;
mod lease;
mod operations;
mod search;
mod worker;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use app::model::{InstitutionId, MailboxId};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::access_tokens::Tokens;
use crate::clock::Clock;
use crate::mail::Trust;
use crate::message::ParsedMessage;
use crate::store::Store;

pub use command::{Command, Listing, Reply, SyncError};
pub use download::PartDownload;
pub use operations::find_test_message;

/// Newest messages of a folder whose headers are kept.
pub const KEPT_HEADERS: u32 = 300;
/// Questions that may wait for one mailbox.
const MAX_WAITING: usize = 64;
/// Mebibytes of messages that are being opened at one time, all mailboxes together.
const OPENING_MIB: usize = 256;
/// Octets of opened messages kept in memory, all mailboxes together.
const OPENED_BYTES: usize = 32 * 1024 * 1024;

/// What the inbox is made of.
pub struct Dependencies {
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
    command: Command,
    /// When it was asked.
    at: Instant,
    done: oneshot::Sender<Result<Reply, SyncError>>,
}

enum Signal {
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
struct OpenedMessages {
    order: std::collections::VecDeque<(String, Arc<ParsedMessage>)>,
    bytes: usize,
}

/// Everybody's inboxes.
pub struct MailboxSync {
    dependencies: Dependencies,
    workers: Mutex<HashMap<MailboxId, mpsc::Sender<Signal>>>,
    watches: Mutex<HashMap<MailboxId, HashMap<String, usize>>>,
    opened_messages: Mutex<OpenedMessages>,
    /// Room for messages that are being opened.
    opening: Semaphore,
    /// Names this process in leases.
    owner: Uuid,
    /// Mailboxes whose one connection is this process's.
    leased: Mutex<HashSet<MailboxId>>,
    /// What is looked at on other replicas, and when that was last said.
    elsewhere: Mutex<HashMap<(MailboxId, String), Instant>>,
}

impl std::ops::Deref for MailboxSync {
    type Target = Dependencies;
    fn deref(&self) -> &Dependencies {
        &self.dependencies
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Somebody looks at a folder for as long as this lives.
pub struct FolderWatch {
    sync: Arc<MailboxSync>,
    institution: InstitutionId,
    mailbox: MailboxId,
    folder: String,
}

impl Drop for FolderWatch {
    fn drop(&mut self) {
        {
            let mut watches = locked(&self.sync.watches);
            if let Some(folders) = watches.get_mut(&self.mailbox) {
                if let Some(count) = folders.get_mut(&self.folder) {
                    *count -= 1;
                }
                folders.retain(|_, count| *count > 0);
                if folders.is_empty() {
                    watches.remove(&self.mailbox);
                }
            }
        }
        let _ = self.sync.send_signal(self.institution, self.mailbox, Signal::Look);
    }
}

/// The mailbox's connection is somebody else's for as long as this lives.
pub struct HeldConnection(#[expect(dead_code, reason = "its end is the message")] oneshot::Sender<()>);

impl MailboxSync {
    /// Nobody looks yet.
    #[must_use]
    pub fn new(dependencies: Dependencies) -> Self {
        Self {
            owner: dependencies.clock.uuid(),
            dependencies,
            workers: Mutex::default(),
            watches: Mutex::default(),
            opened_messages: Mutex::default(),
            opening: Semaphore::new(OPENING_MIB),
            leased: Mutex::default(),
            elsewhere: Mutex::default(),
        }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`SyncError`].
    pub async fn execute(
        self: &Arc<Self>,
        institution: InstitutionId,
        mailbox: MailboxId,
        command: Command,
    ) -> Result<Reply, SyncError> {
        let (done, answer) = oneshot::channel();
        if !self.send_signal(institution, mailbox, Signal::Request(Request { command, at: Instant::now(), done })) {
            return Err(SyncError::Busy);
        }
        answer.await.unwrap_or(Err(SyncError::Busy))
    }

    /// Somebody looks at a folder: what comes in is seen at once.
    #[must_use]
    pub fn watch_folder(self: &Arc<Self>, institution: InstitutionId, mailbox: MailboxId, folder: &str) -> FolderWatch {
        *locked(&self.watches).entry(mailbox).or_default().entry(folder.to_owned()).or_default() += 1;
        let _ = self.send_signal(institution, mailbox, Signal::Look);
        FolderWatch { sync: Arc::clone(self), institution, mailbox, folder: folder.to_owned() }
    }

    /// Takes the mailbox's one connection over.
    pub async fn hold_connection(self: &Arc<Self>, institution: InstitutionId, mailbox: MailboxId) -> HeldConnection {
        let (hung_up, waits) = oneshot::channel();
        let (held, given_back) = oneshot::channel();
        let mut signal = Signal::Hold(hung_up, given_back);
        // However much is asked of the mailbox: never two connections.
        while let Err(back) = self.try_send_signal(institution, mailbox, signal) {
            let Some(back) = back.filter(|_| !self.stop.is_cancelled()) else { return HeldConnection(held) };
            signal = back;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        let _ = waits.await;
        HeldConnection(held)
    }

    /// Folders of a mailbox that somebody looks at, INBOX first.
    fn watched_folders(&self, mailbox: MailboxId) -> Vec<String> {
        let watches = locked(&self.watches);
        let mut folders: Vec<String> = watches.get(&mailbox).into_iter().flat_map(HashMap::keys).cloned().collect();
        folders.sort_by_key(|name| (!name.eq_ignore_ascii_case("INBOX"), name.clone()));
        folders
    }

    /// Tells the mailbox's task, which is started if there is none. `false`: it is too busy, or the server stops.
    fn send_signal(self: &Arc<Self>, institution: InstitutionId, mailbox: MailboxId, signal: Signal) -> bool {
        self.try_send_signal(institution, mailbox, signal).is_ok()
    }

    /// The same; what could not be told comes back, unless it went with a task that ended.
    fn try_send_signal(
        self: &Arc<Self>,
        institution: InstitutionId,
        mailbox: MailboxId,
        signal: Signal,
    ) -> Result<(), Option<Signal>> {
        if self.stop.is_cancelled() {
            return Err(Some(signal));
        }
        let mut workers = locked(&self.workers);
        let start = || {
            let (sender, signals) = mpsc::channel(MAX_WAITING);
            self.tasks.spawn(worker::MailboxWorker::new(Arc::clone(self), institution, mailbox, signals).run());
            sender
        };
        let worker = workers.entry(mailbox).or_insert_with(start);
        // A task that panicked left its sender behind.
        if worker.is_closed() {
            *worker = start();
        }
        worker.try_send(signal).map_err(|error| match error {
            mpsc::error::TrySendError::Full(signal) => Some(signal),
            mpsc::error::TrySendError::Closed(_) => None,
        })
    }

    /// Ends a task that has nothing to do, unless something came meanwhile.
    fn retire(&self, mailbox: MailboxId, signals: &mut mpsc::Receiver<Signal>) -> bool {
        let mut workers = locked(&self.workers);
        if !signals.is_empty() {
            return false;
        }
        workers.remove(&mailbox);
        true
    }

    fn opened_messages(&self, key: &str) -> Option<Arc<ParsedMessage>> {
        let opened_messages = locked(&self.opened_messages);
        opened_messages.order.iter().find(|(known, _)| known == key).map(|(_, opened)| Arc::clone(opened))
    }

    fn keep(&self, key: String, opened: &Arc<ParsedMessage>) {
        let mut opened_messages = locked(&self.opened_messages);
        opened_messages.bytes += opened.size_in_memory();
        opened_messages.order.push_back((key, Arc::clone(opened)));
        while opened_messages.bytes > OPENED_BYTES {
            let Some((_, oldest)) = opened_messages.order.pop_front() else { break };
            opened_messages.bytes = opened_messages.bytes.saturating_sub(oldest.size_in_memory());
        }
    }
}
