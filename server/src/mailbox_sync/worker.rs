//! The task of one mailbox. It owns the connection and executes one command at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::lease::ConnectionLease;
use super::{Command, MailboxSync, Reply, Request, Signal, SyncError};
use crate::concurrency::backoff::Backoff;
use crate::mail::imap::Session;
use crate::mail::{MailError, Step};
use crate::store::{AppKey, MailboxKey};

/// How long an unused connection is kept.
pub(super) const KEEP_UNUSED: Duration = Duration::from_secs(20);
/// Length of one IDLE; afterwards the worker checks that the mailbox still belongs to the same account.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(25);
/// Interval for a full check of watched folders, whatever the server reports.
pub(super) const RESYNC_INTERVAL: Duration = Duration::from_secs(90);
/// Poll interval for open folders other than the one IDLE watches.
pub(super) const OTHER_FOLDERS_POLL: Duration = Duration::from_secs(10);
/// Pauses before reconnecting.
const RECONNECT: Backoff = Backoff { first_ms: 500, longest_ms: 60_000 };
/// Syncs of one folder in a row, when more arrived meanwhile, before the connection goes into IDLE.
pub(super) const SYNC_ROUNDS: usize = 3;
/// Pause after a server could not be reached.
pub(super) const UNREACHABLE_PAUSE: Duration = Duration::from_secs(2);
/// How long a connection is kept once another replica waits for it.
pub(super) const WANTED_BACK: Duration = Duration::from_secs(1);
/// How often a replica without the connection asks for it and announces its watched folders.
pub(super) const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(15);
/// After a handover, how long this replica does not take the connection back merely to watch.
pub(super) const YIELD_AFTER_HANDOVER: Duration = Duration::from_secs(2);
/// Longest pause that a server can impose.
pub(super) const MAX_BACKOFF: Duration = Duration::from_secs(600);
/// Bytes fetched with one command.
pub(super) const FETCH_CHUNK: u32 = 512 * 1024;
/// Largest part of a message that is fetched for display, in bytes.
pub(super) const MAX_SHOWN: u32 = 40 * 1024 * 1024;

pub(super) struct OpenConnection {
    pub(super) session: Session,
    /// Sign-in name and app: a change of either needs a new connection.
    pub(super) user: String,
    pub(super) app: AppKey,
}

pub(super) struct MailboxWorker {
    pub(super) sync: Arc<MailboxSync>,
    pub(super) key: MailboxKey,
    pub(super) signals: mpsc::Receiver<Signal>,
    pub(super) waiting: Option<Signal>,
    pub(super) open: Option<OpenConnection>,
    pub(super) lease: Option<ConnectionLease>,
    /// Until then the connection stays with the replica that asked for it.
    pub(super) stands_back: Option<Instant>,
    pub(super) synced: Vec<(String, Instant)>,
    pub(super) listed: Option<Instant>,
    pub(super) failures: u32,
    /// Until then nothing is sent: the server asked for a pause.
    pub(super) backoff: Option<(Instant, MailError)>,
}

impl MailboxWorker {
    pub(super) fn new(sync: Arc<MailboxSync>, key: MailboxKey, signals: mpsc::Receiver<Signal>) -> Self {
        Self {
            sync,
            key,
            signals,
            waiting: None,
            open: None,
            lease: None,
            stands_back: None,
            synced: Vec::new(),
            listed: None,
            failures: 0,
            backoff: None,
        }
    }

    /// What happens now and then is boxed: thousands of workers wait in IDLE, and each is as large as its largest step.
    pub(super) async fn run(mut self) {
        let stop = self.sync.stop.clone();
        loop {
            let mut looked = self.sync.watched_folders(self.key.id);
            // The holder of the connection also watches for other replicas.
            if self.lease.is_some() {
                let elsewhere = self.sync.watched_elsewhere(self.key.id);
                looked.extend(elsewhere.into_iter().filter(|folder| !looked.contains(folder)).collect::<Vec<_>>());
                looked.sort_by_key(|folder| !folder.eq_ignore_ascii_case("INBOX"));
            }
            let signal = tokio::select! {
                () = stop.cancelled() => break,
                signal = self.next(&looked) => signal,
            };
            match signal {
                Some(Signal::Request(request)) => {
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = Box::pin(self.answer(*request)) => {}
                    }
                }
                Some(Signal::Hold(hung_up, given_back)) => {
                    Box::pin(self.log_out()).await;
                    // A test of the mailbox continues even if another replica doesn't respond.
                    if let Err(error) = Box::pin(self.claim()).await {
                        tracing::warn!("cannot take over a mailbox's connection: {error}");
                    }
                    let _ = hung_up.send(());
                    tokio::select! {
                        () = stop.cancelled() => break,
                        _ = given_back => {}
                    }
                }
                Some(Signal::HandOver) => {
                    if self.lease.is_some() {
                        Box::pin(self.hang_up()).await;
                    } else {
                        // A renewal that was under way at the release may have taken the lease again.
                        Box::pin(self.sync.release_connection(self.key.id)).await;
                    }
                    self.stands_back = Some(Instant::now() + YIELD_AFTER_HANDOVER);
                }
                Some(Signal::Look) => {}
                None if !looked.is_empty() => {}
                // Idle for long enough.
                None if self.open.is_some() || self.lease.is_some() => Box::pin(self.hang_up()).await,
                None => {
                    if self.sync.retire(self.key.id, &mut self.signals) {
                        return;
                    }
                }
            }
        }
        Box::pin(self.hang_up()).await;
    }

    /// The next signal. While a folder is watched, the connection waits in IDLE.
    pub(super) async fn next(&mut self, looked: &[String]) -> Option<Signal> {
        if let Some(signal) = self.waiting.take().or_else(|| self.signals.try_recv().ok()) {
            return Some(signal);
        }
        if looked.is_empty() {
            let wanted_back = self.lease.as_ref().is_some_and(|lease| lease.wanted_back);
            let linger = if wanted_back { WANTED_BACK } else { KEEP_UNUSED };
            return tokio::time::timeout(linger, self.signals.recv()).await.ok().flatten();
        }
        match Box::pin(self.may_watch()).await {
            Ok(true) => {}
            Ok(false) => {
                for folder in looked {
                    self.sync.announce_watch(self.key, folder);
                }
                let patience = self.stands_back.map_or(ANNOUNCE_INTERVAL, |until| {
                    until.saturating_duration_since(Instant::now()) + Duration::from_millis(50)
                });
                return tokio::time::timeout(patience.min(ANNOUNCE_INTERVAL), self.signals.recv()).await.ok().flatten();
            }
            Err(error) => tracing::debug!("cannot watch a mailbox, retrying later: {error}"),
        }
        match self.watch(looked).await {
            Ok(signal) => {
                self.failures = 0;
                signal
            }
            Err(error) => {
                let pause = self.pause(&error);
                tracing::debug!("cannot watch a mailbox, retrying later: {error}");
                Box::pin(self.lose(&error)).await;
                // A session ends every hour, with its token; only repeated failures are recorded.
                match looked.first() {
                    Some(folder) if is_of_folder(folder, &error) => {
                        Box::pin(self.tell_folder_trouble(folder, &error)).await;
                    }
                    _ if self.failures > 1 => Box::pin(self.record_problem(&error)).await,
                    _ => {}
                }
                match self.waiting.take() {
                    Some(signal) => Some(signal),
                    None => tokio::time::timeout(pause, self.signals.recv()).await.ok().flatten(),
                }
            }
        }
    }

    pub(super) fn pause(&mut self, error: &SyncError) -> Duration {
        let least_ms = match error {
            SyncError::Mail(error) => error.backoff_ms().unwrap_or(0),
            // The user must act first: reading the store is cheap, asking the server isn't.
            SyncError::NeedsReconnect(_) | SyncError::Gone => RECONNECT.longest_ms / 4,
            _ => 0,
        };
        let pause = RECONNECT.pause_ms(self.failures, least_ms, self.sync.clock.jitter());
        self.failures = self.failures.saturating_add(1);
        Duration::from_millis(u64::try_from(pause).unwrap_or_default())
    }

    pub(super) async fn watch(&mut self, looked: &[String]) -> Result<Option<Signal>, SyncError> {
        let (first, beside) = looked.split_first().ok_or(SyncError::Gone)?;
        for folder in beside {
            match Box::pin(self.sync_if_older(folder, OTHER_FOLDERS_POLL)).await {
                // A folder that is gone or cannot be opened does not affect the others.
                Err(error) if is_of_folder(folder, &error) => Box::pin(self.tell_folder_trouble(folder, &error)).await,
                other => other?,
            }
        }
        Box::pin(self.sync_if_older(first, RESYNC_INTERVAL)).await?;
        for _ in 0..SYNC_ROUNDS {
            let session = Box::pin(self.session()).await?;
            Box::pin(session.ensure(first)).await?;
            // IDLE does not report what arrived while another folder was open or during a command.
            if !session.has_event() {
                break;
            }
            Box::pin(self.sync(first)).await?;
        }
        let Some(open) = &mut self.open else { return Ok(None) };
        let signals = &mut self.signals;
        let mut signal = None;
        let limit = if beside.is_empty() { IDLE_TIMEOUT } else { OTHER_FOLDERS_POLL };
        let waited = open.session.idle(limit, async { signal = signals.recv().await }).await;
        // Commands that arrived meanwhile get a reply in any case.
        self.waiting = signal;
        if waited? {
            Box::pin(self.sync(first)).await?;
        }
        Ok(self.waiting.take())
    }

    pub(super) async fn sync_if_older(&mut self, folder: &str, age: Duration) -> Result<(), SyncError> {
        let synced = self.synced.iter().find(|(name, _)| name == folder).map(|(_, at)| *at);
        match synced {
            Some(at) if at.elapsed() < age && self.open.is_some() => Ok(()),
            _ => self.sync(folder).await,
        }
    }

    pub(super) async fn answer(&mut self, request: Request) {
        let Request { command, at, done } = request;
        if let Command::Sync { folder } = &command {
            // Other commands may have asked for the same.
            if self.open.is_some() && self.synced.iter().any(|(name, synced)| name == folder && *synced > at) {
                let _ = done.send(Ok(Reply::Done));
                return;
            }
        } else if done.is_closed() {
            // The request timed out and its caller is gone.
            return;
        }
        let mut again = true;
        let answer = loop {
            match self.perform(&command).await {
                Err(error) if error.is_lost() && again => {
                    // An idle connection may be dead; a new one may work.
                    again = false;
                    self.lose(&error).await;
                }
                other => break other,
            }
        };
        if let Err(error) = &answer {
            self.lose(error).await;
            match &command {
                Command::Sync { folder } if is_of_folder(folder, error) => {
                    self.tell_folder_trouble(folder, error).await;
                }
                Command::Sync { .. } => self.record_problem(error).await,
                _ => {}
            }
        }
        let _ = done.send(answer);
    }
}

/// Whether a failure concerns one folder only: the server answers and refuses just that folder. INBOX counts as the mailbox.
fn is_of_folder(folder: &str, error: &SyncError) -> bool {
    !folder.eq_ignore_ascii_case("INBOX")
        && matches!(error, SyncError::Mail(error) if error.answered && !error.is_throttled() && !error.is_token_expired()
            && matches!(error.step, Step::Select | Step::Fetch | Step::Search)
            && !error.text.contains("authenticated but not connected"))
}
