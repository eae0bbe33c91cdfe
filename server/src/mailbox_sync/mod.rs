//! Keeps mailboxes in step with their IMAP servers, over at most one connection per mailbox.
//!
//! Each mailbox in use has a task, a [`worker::MailboxWorker`], which owns the connection. It executes commands one at a time, waits
//! in IDLE while a page is open, and disconnects afterwards. Replicas share the connection by a [`lease`]. The store keeps folders and
//! headers, never message bodies.

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
use tracing::Instrument;

use app::model::MailboxId;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::access_tokens::Tokens;
use crate::clock::Clock;
use crate::config::{Clouds, ServerAddress};
use crate::message::ParsedMessage;
use crate::store::{Mailbox, MailboxKey, Store};
use crate::trust::Trust;

pub use command::{Command, Listing, MessageSet, Reply, SyncError};
pub use download::PartDownload;
pub use operations::find_test_message;

/// Headers kept per folder: those of the newest messages.
pub const KEPT_HEADERS: u32 = app::model::SEARCHED_HEADERS;
/// Commands that may wait for one mailbox.
const MAX_WAITING: usize = 64;
/// MiB of messages being parsed at one time, over all mailboxes.
const OPENING_MIB: usize = 256;
/// Bytes of parsed messages kept in memory, over all mailboxes.
const OPENED_BYTES: usize = 32 * 1024 * 1024;

pub struct Dependencies {
    /// The database.
    pub store: Store,
    pub tokens: Arc<Tokens>,
    pub trust: Trust,
    /// Time.
    pub clock: Clock,
    pub clouds: Clouds,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
}

struct Request {
    command: Command,
    at: Instant,
    done: oneshot::Sender<Result<Reply, SyncError>>,
}

enum Signal {
    /// Boxed: each worker has room for many signals.
    Request(Box<Request>),
    Look,
    /// Another replica needs the connection: hand it over.
    HandOver,
    /// Another part of this process needs the connection: disconnect, confirm, and wait until it is released.
    Hold(oneshot::Sender<()>, oneshot::Receiver<()>),
}

/// Parsed messages, oldest first, and their total size in bytes.
#[derive(Default)]
struct OpenedMessages {
    order: std::collections::VecDeque<(String, Arc<ParsedMessage>)>,
    bytes: usize,
}

pub struct MailboxSync {
    dependencies: Dependencies,
    workers: Mutex<HashMap<MailboxId, mpsc::Sender<Signal>>>,
    watches: Mutex<HashMap<MailboxId, HashMap<String, usize>>>,
    opened_messages: Mutex<OpenedMessages>,
    /// Memory for messages being parsed, in MiB.
    opening: Semaphore,
    /// Owner of the leases that this process takes.
    owner: Uuid,
    /// Mailboxes whose connection lease this process holds.
    leased: Mutex<HashSet<MailboxId>>,
    /// Folders watched on other replicas, and when they last announced it.
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

/// A watched folder; the watch ends when this is dropped.
pub struct FolderWatch {
    sync: Arc<MailboxSync>,
    mailbox: MailboxKey,
    folder: String,
}

impl Drop for FolderWatch {
    fn drop(&mut self) {
        {
            let mut watches = locked(&self.sync.watches);
            if let Some(folders) = watches.get_mut(&self.mailbox.id) {
                if let Some(count) = folders.get_mut(&self.folder) {
                    *count -= 1;
                }
                folders.retain(|_, count| *count > 0);
                if folders.is_empty() {
                    watches.remove(&self.mailbox.id);
                }
            }
        }
        let _ = self.sync.send_signal(self.mailbox, Signal::Look);
    }
}

/// The connection of a mailbox, taken from its worker until this is dropped.
pub struct HeldConnection(#[expect(dead_code, reason = "its end is the message")] oneshot::Sender<()>);

impl MailboxSync {
    fn imap(&self, mailbox: &Mailbox) -> &ServerAddress {
        &self.clouds.hosts_of(&mailbox.app.cloud).imap
    }

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

    /// Sends a command to the worker and waits for the reply.
    pub async fn execute(self: &Arc<Self>, mailbox: MailboxKey, command: Command) -> Result<Reply, SyncError> {
        let (done, answer) = oneshot::channel();
        if !self.send_signal(mailbox, Signal::Request(Box::new(Request { command, at: Instant::now(), done }))) {
            return Err(SyncError::Busy);
        }
        answer.await.unwrap_or(Err(SyncError::Busy))
    }

    /// Watches a folder for new messages.
    #[must_use]
    pub fn watch_folder(self: &Arc<Self>, mailbox: MailboxKey, folder: &str) -> FolderWatch {
        *locked(&self.watches).entry(mailbox.id).or_default().entry(folder.to_owned()).or_default() += 1;
        let _ = self.send_signal(mailbox, Signal::Look);
        FolderWatch { sync: Arc::clone(self), mailbox, folder: folder.to_owned() }
    }

    /// Takes the mailbox's one connection from its worker.
    pub async fn hold_connection(self: &Arc<Self>, mailbox: MailboxKey) -> HeldConnection {
        let (hung_up, waits) = oneshot::channel();
        let (held, given_back) = oneshot::channel();
        let mut signal = Signal::Hold(hung_up, given_back);
        // Waits however busy the worker is: a mailbox never has two connections.
        while let Err(back) = self.try_send_signal(mailbox, signal) {
            let Some(back) = back.filter(|_| !self.stop.is_cancelled()) else { return HeldConnection(held) };
            signal = back;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        let _ = waits.await;
        HeldConnection(held)
    }

    /// Watched folders of a mailbox, INBOX first.
    fn watched_folders(&self, mailbox: MailboxId) -> Vec<String> {
        let watches = locked(&self.watches);
        let mut folders: Vec<String> = watches.get(&mailbox).into_iter().flat_map(HashMap::keys).cloned().collect();
        folders.sort_by_key(|name| (!name.eq_ignore_ascii_case("INBOX"), name.clone()));
        folders
    }

    /// Signals the mailbox's worker, starting it if necessary. `false`: its queue is full, or the server stops.
    fn send_signal(self: &Arc<Self>, mailbox: MailboxKey, signal: Signal) -> bool {
        self.try_send_signal(mailbox, signal).is_ok()
    }

    /// As `send_signal`, but returns the signal that was not delivered, unless it was lost with a worker that ended.
    fn try_send_signal(self: &Arc<Self>, mailbox: MailboxKey, signal: Signal) -> Result<(), Option<Signal>> {
        if self.stop.is_cancelled() {
            return Err(Some(signal));
        }
        let mut workers = locked(&self.workers);
        let start = || {
            let (sender, signals) = mpsc::channel(MAX_WAITING);
            let worker = worker::MailboxWorker::new(Arc::clone(self), mailbox, signals).run();
            self.tasks
                .spawn(worker.instrument(
                    tracing::info_span!("sync", institution = %mailbox.institution, mailbox = %mailbox.id),
                ));
            sender
        };
        let worker = workers.entry(mailbox.id).or_insert_with(start);
        // A worker that panicked leaves its sender behind.
        if worker.is_closed() {
            *worker = start();
        }
        worker.try_send(signal).map_err(|error| match error {
            mpsc::error::TrySendError::Full(signal) => Some(signal),
            mpsc::error::TrySendError::Closed(_) => None,
        })
    }

    /// Ends an idle worker, unless a signal arrived meanwhile.
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
