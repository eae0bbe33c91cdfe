//! The task of one mailbox: it owns the one connection, and answers one question after the other.

use std::sync::Arc;
use std::time::Duration;

use app::model::{InstitutionId, MailboxId};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::lease::ConnectionLease;
use super::{Command, MailboxSync, Reply, Request, Signal, SyncError};
use crate::mail::imap::Session;
use crate::mail::{MailError, Step};

/// How long a connection that nobody uses is kept.
pub(super) const KEEP_UNUSED: Duration = Duration::from_secs(20);
/// How long one IDLE lasts: afterwards it is looked whether the mailbox is still the same person's.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(25);
/// How often folders that are looked at are looked into, whatever the server tells.
pub(super) const RESYNC_INTERVAL: Duration = Duration::from_secs(90);
/// How often a folder is looked into that is looked at beside the one that the connection waits in.
pub(super) const OTHER_FOLDERS_POLL: Duration = Duration::from_secs(10);
/// Pause before a broken connection is made anew: the first one, and the longest.
pub(super) const RECONNECT_PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// How often a folder is looked into again before the connection waits, because more came meanwhile.
pub(super) const SYNC_ROUNDS: usize = 3;
/// How long a server that cannot be reached is not asked again.
pub(super) const UNREACHABLE_PAUSE: Duration = Duration::from_secs(2);
/// How long a connection is kept that another replica wants back.
pub(super) const WANTED_BACK: Duration = Duration::from_secs(1);
/// How often whoever looks without having the connection asks for it, and says what is looked at.
pub(super) const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(15);
/// How long a connection that was handed over is not taken back just to look.
pub(super) const YIELD_AFTER_HANDOVER: Duration = Duration::from_secs(2);
/// A server that asks for more patience than this is asked again all the same.
pub(super) const MAX_BACKOFF: Duration = Duration::from_secs(600);
/// Octets fetched with one command.
pub(super) const FETCH_CHUNK: u32 = 512 * 1024;
/// Octets of a message that are fetched to be shown.
pub(super) const MAX_SHOWN: u32 = 40 * 1024 * 1024;

pub(super) struct OpenConnection {
    pub(super) session: Session,
    /// Whose it is: another sign-in name, or another app, means another connection.
    pub(super) user: String,
    pub(super) client: String,
}

pub(super) struct MailboxWorker {
    pub(super) sync: Arc<MailboxSync>,
    pub(super) institution: InstitutionId,
    pub(super) id: MailboxId,
    pub(super) signals: mpsc::Receiver<Signal>,
    /// Came while the connection waited.
    pub(super) waiting: Option<Signal>,
    pub(super) open: Option<OpenConnection>,
    /// Without it there is no connection.
    pub(super) lease: Option<ConnectionLease>,
    /// Another replica has a question: until then its connection is not taken just to look.
    pub(super) stands_back: Option<Instant>,
    /// When each folder was looked into.
    pub(super) synced: Vec<(String, Instant)>,
    pub(super) listed: Option<Instant>,
    pub(super) failures: u32,
    /// The server asked for patience: until then nobody asks it anything.
    pub(super) backoff: Option<(Instant, MailError)>,
}

impl MailboxWorker {
    pub(super) fn new(
        sync: Arc<MailboxSync>,
        institution: InstitutionId,
        id: MailboxId,
        signals: mpsc::Receiver<Signal>,
    ) -> Self {
        Self {
            sync,
            institution,
            id,
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

    pub(super) async fn run(mut self) {
        let stop = self.sync.stop.clone();
        loop {
            let mut looked = self.sync.watched_folders(self.id);
            // Whoever has the connection watches for those who look elsewhere, too.
            if self.lease.is_some() {
                let elsewhere = self.sync.watched_elsewhere(self.id);
                looked.extend(elsewhere.into_iter().filter(|folder| !looked.contains(folder)).collect::<Vec<_>>());
                // New mail is what people wait for.
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
                        () = self.answer(request) => {}
                    }
                }
                Some(Signal::Hold(hung_up, given_back)) => {
                    self.log_out().await;
                    // Whoever tests a mailbox does so even if another replica does not answer.
                    if let Err(error) = self.claim().await {
                        tracing::warn!("{error}");
                    }
                    let _ = hung_up.send(());
                    tokio::select! {
                        () = stop.cancelled() => break,
                        _ = given_back => {}
                    }
                }
                Some(Signal::HandOver) => {
                    if self.lease.is_some() {
                        self.hang_up().await;
                    } else {
                        // A renewal that was under way when it was given back may have taken it again, for nobody.
                        self.sync.release_connection(self.id).await;
                    }
                    self.stands_back = Some(Instant::now() + YIELD_AFTER_HANDOVER);
                }
                Some(Signal::Look) => {}
                None if !looked.is_empty() => {}
                // Nothing to do for long.
                None if self.open.is_some() || self.lease.is_some() => self.hang_up().await,
                None => {
                    if self.sync.retire(self.id, &mut self.signals) {
                        return;
                    }
                }
            }
        }
        self.hang_up().await;
    }

    /// What is to be done next. While somebody looks, the connection waits with IDLE.
    pub(super) async fn next(&mut self, looked: &[String]) -> Option<Signal> {
        if let Some(signal) = self.waiting.take().or_else(|| self.signals.try_recv().ok()) {
            return Some(signal);
        }
        if looked.is_empty() {
            let wanted_back = self.lease.as_ref().is_some_and(|lease| lease.wanted_back);
            let linger = if wanted_back { WANTED_BACK } else { KEEP_UNUSED };
            return tokio::time::timeout(linger, self.signals.recv()).await.ok().flatten();
        }
        match self.may_watch().await {
            Ok(true) => {}
            Ok(false) => {
                for folder in looked {
                    self.sync.announce_watch(self.institution, self.id, folder).await;
                }
                let patience = self.stands_back.map_or(ANNOUNCE_INTERVAL, |until| {
                    until.saturating_duration_since(Instant::now()) + Duration::from_millis(50)
                });
                return tokio::time::timeout(patience.min(ANNOUNCE_INTERVAL), self.signals.recv()).await.ok().flatten();
            }
            Err(error) => tracing::debug!("a mailbox cannot be watched for now: {error}"),
        }
        match self.watch(looked).await {
            Ok(signal) => {
                self.failures = 0;
                signal
            }
            Err(error) => {
                let pause = self.pause(&error);
                tracing::debug!("a mailbox cannot be watched for now: {error}");
                self.lose(&error).await;
                // A session ends every hour, with its token: only what goes on is trouble.
                match looked.first() {
                    Some(folder) if is_of_folder(folder, &error) => self.tell_folder_trouble(folder, &error).await,
                    _ if self.failures > 1 => self.record_problem(&error).await,
                    _ => {}
                }
                match self.waiting.take() {
                    Some(signal) => Some(signal),
                    None => tokio::time::timeout(pause, self.signals.recv()).await.ok().flatten(),
                }
            }
        }
    }

    /// Doubles with every failure, spread over a fifth; never shorter than what the server asks for.
    pub(super) fn pause(&mut self, error: &SyncError) -> Duration {
        let doubled = RECONNECT_PAUSE.0.saturating_mul(1 << self.failures.min(7)).min(RECONNECT_PAUSE.1);
        self.failures = self.failures.saturating_add(1);
        let asked = match error {
            SyncError::Mail(error) => error.backoff_ms().and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0),
            _ => 0,
        };
        let least = match error {
            // Somebody has to do something first: looking again is cheap, asking is not.
            SyncError::NeedsReconnect(_) | SyncError::Gone => RECONNECT_PAUSE.1 / 4,
            _ => Duration::ZERO,
        };
        let pause = doubled.mul_f64(1.0 + self.sync.clock.jitter() / 5.0);
        pause.max(least).max(Duration::from_millis(asked))
    }

    pub(super) async fn watch(&mut self, looked: &[String]) -> Result<Option<Signal>, SyncError> {
        let (first, beside) = looked.split_first().ok_or(SyncError::Gone)?;
        for folder in beside {
            match self.sync_if_older(folder, OTHER_FOLDERS_POLL).await {
                // A folder that is gone, or cannot be opened, keeps nobody from the others.
                Err(error) if is_of_folder(folder, &error) => self.tell_folder_trouble(folder, &error).await,
                other => other?,
            }
        }
        self.sync_if_older(first, RESYNC_INTERVAL).await?;
        for _ in 0..SYNC_ROUNDS {
            let session = self.session().await?;
            session.ensure(first).await?;
            // What came while another folder was open, or was told during a command, IDLE does not tell any more.
            if !session.has_event() {
                break;
            }
            self.sync(first).await?;
        }
        let Some(open) = &mut self.open else { return Ok(None) };
        let signals = &mut self.signals;
        let mut signal = None;
        let limit = if beside.is_empty() { IDLE_TIMEOUT } else { OTHER_FOLDERS_POLL };
        let waited = open.session.idle(limit, async { signal = signals.recv().await }).await;
        // Whatever becomes of the connection, what was asked meanwhile is answered.
        self.waiting = signal;
        if waited? {
            self.sync(first).await?;
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
            // Others asked for the same meanwhile.
            if self.open.is_some() && self.synced.iter().any(|(name, synced)| name == folder && *synced > at) {
                let _ = done.send(Ok(Reply::Done));
                return;
            }
        } else if done.is_closed() {
            // Whoever asked has gone, and was told that it took too long.
            return;
        }
        let mut again = true;
        let answer = loop {
            match self.perform(&command).await {
                Err(error) if error.is_lost() && again => {
                    // A connection that was kept may have died meanwhile; a new one may do.
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

/// Whether a failure is of one folder, and not of the mailbox: the server answers, and refuses just that. INBOX is the mailbox.
fn is_of_folder(folder: &str, error: &SyncError) -> bool {
    !folder.eq_ignore_ascii_case("INBOX")
        && matches!(error, SyncError::Mail(error) if error.answered && !error.is_throttled() && !error.is_token_expired()
            && matches!(error.step, Step::Select | Step::Fetch | Step::Search)
            && !error.text.contains("authenticated but not connected"))
}
