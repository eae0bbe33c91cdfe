//! The task of one mailbox: it owns the one connection, and answers one question after the other.

use std::sync::Arc;
use std::time::Duration;

use app::model::{InstitutionId, MailboxId};
use tokio::sync::mpsc;
use tokio::time::Instant;

mod connection;
mod questions;

use super::right::Right;
use super::{Answer, Ask, Inbox, InboxError, Note, Request};
use crate::mail::imap::Session;
use crate::mail::{MailError, Step};

/// How long a connection that nobody uses is kept.
const LINGER: Duration = Duration::from_secs(20);
/// How long one IDLE lasts: afterwards it is looked whether the mailbox is still the same person's.
const IDLE: Duration = Duration::from_secs(25);
/// How often folders that are looked at are looked into, whatever the server tells.
const RESYNC: Duration = Duration::from_secs(90);
/// How often a folder is looked into that is looked at beside the one that the connection waits in.
const BESIDE: Duration = Duration::from_secs(10);
/// Pause before a broken connection is made anew: the first one, and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// How often a folder is looked into again before the connection waits, because more came meanwhile.
const SETTLE: usize = 3;
/// How long a server that cannot be reached is not asked again.
const UNREACHABLE: Duration = Duration::from_secs(2);
/// How long a connection is kept that another replica wants back.
const BORROWED: Duration = Duration::from_secs(1);
/// How often whoever looks without having the connection asks for it, and says what is looked at.
const ELSEWHERE: Duration = Duration::from_secs(15);
/// How long a connection that was handed over is not taken back just to look.
const STAND_BACK: Duration = Duration::from_secs(2);
/// A server that asks for more patience than this is asked again all the same.
const LONGEST_REST: Duration = Duration::from_secs(600);
/// Octets fetched with one command.
const CHUNK: u32 = 512 * 1024;
/// Octets of a message that are fetched to be shown.
const MOST: u32 = 40 * 1024 * 1024;

struct Open {
    session: Session,
    /// Whose it is: another sign-in name, or another app, means another connection.
    user: String,
    client: String,
}

pub(super) struct Line {
    inbox: Arc<Inbox>,
    institution: InstitutionId,
    id: MailboxId,
    notes: mpsc::Receiver<Note>,
    /// Came while the connection waited.
    waiting: Option<Note>,
    open: Option<Open>,
    /// Without it there is no connection.
    right: Option<Right>,
    /// Another replica has a question: until then its connection is not taken just to look.
    stands_back: Option<Instant>,
    /// When each folder was looked into.
    synced: Vec<(String, Instant)>,
    listed: Option<Instant>,
    failures: u32,
    /// The server asked for patience: until then nobody asks it anything.
    resting: Option<(Instant, MailError)>,
}

impl Line {
    pub(super) fn new(
        inbox: Arc<Inbox>,
        institution: InstitutionId,
        id: MailboxId,
        notes: mpsc::Receiver<Note>,
    ) -> Self {
        Self {
            inbox,
            institution,
            id,
            notes,
            waiting: None,
            open: None,
            right: None,
            stands_back: None,
            synced: Vec::new(),
            listed: None,
            failures: 0,
            resting: None,
        }
    }

    pub(super) async fn run(mut self) {
        let stop = self.inbox.stop.clone();
        loop {
            let mut looked = self.inbox.looked_at(self.id);
            // Whoever has the connection watches for those who look elsewhere, too.
            if self.right.is_some() {
                let elsewhere = self.inbox.looked_at_elsewhere(self.id);
                looked.extend(elsewhere.into_iter().filter(|folder| !looked.contains(folder)).collect::<Vec<_>>());
                // New mail is what people wait for.
                looked.sort_by_key(|folder| !folder.eq_ignore_ascii_case("INBOX"));
            }
            let note = tokio::select! {
                () = stop.cancelled() => break,
                note = self.next(&looked) => note,
            };
            match note {
                Some(Note::Request(request)) => {
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = self.answer(request) => {}
                    }
                }
                Some(Note::Hold(hung_up, given_back)) => {
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
                Some(Note::HandOver) => {
                    if self.right.is_some() {
                        self.hang_up().await;
                    } else {
                        // A renewal that was under way when it was given back may have taken it again, for nobody.
                        self.inbox.let_go(self.id).await;
                    }
                    self.stands_back = Some(Instant::now() + STAND_BACK);
                }
                Some(Note::Look) => {}
                None if !looked.is_empty() => {}
                // Nothing to do for long.
                None if self.open.is_some() || self.right.is_some() => self.hang_up().await,
                None => {
                    if self.inbox.retire(self.id, &mut self.notes) {
                        return;
                    }
                }
            }
        }
        self.hang_up().await;
    }

    /// What is to be done next. While somebody looks, the connection waits with IDLE.
    async fn next(&mut self, looked: &[String]) -> Option<Note> {
        if let Some(note) = self.waiting.take().or_else(|| self.notes.try_recv().ok()) {
            return Some(note);
        }
        if looked.is_empty() {
            let borrowed = self.right.as_ref().is_some_and(|right| right.borrowed);
            let linger = if borrowed { BORROWED } else { LINGER };
            return tokio::time::timeout(linger, self.notes.recv()).await.ok().flatten();
        }
        match self.may_watch().await {
            Ok(true) => {}
            Ok(false) => {
                for folder in looked {
                    self.inbox.say_looking(self.institution, self.id, folder).await;
                }
                let patience = self.stands_back.map_or(ELSEWHERE, |until| {
                    until.saturating_duration_since(Instant::now()) + Duration::from_millis(50)
                });
                return tokio::time::timeout(patience.min(ELSEWHERE), self.notes.recv()).await.ok().flatten();
            }
            Err(error) => tracing::debug!("a mailbox cannot be watched for now: {error}"),
        }
        match self.watch(looked).await {
            Ok(note) => {
                self.failures = 0;
                note
            }
            Err(error) => {
                let pause = self.pause(&error);
                tracing::debug!("a mailbox cannot be watched for now: {error}");
                self.lose(&error).await;
                // A session ends every hour, with its token: only what goes on is trouble.
                match looked.first() {
                    Some(folder) if is_of_folder(folder, &error) => self.tell_folder_trouble(folder, &error).await,
                    _ if self.failures > 1 => self.tell_trouble(&error).await,
                    _ => {}
                }
                match self.waiting.take() {
                    Some(note) => Some(note),
                    None => tokio::time::timeout(pause, self.notes.recv()).await.ok().flatten(),
                }
            }
        }
    }

    /// Doubles with every failure, spread over a fifth; never shorter than what the server asks for.
    fn pause(&mut self, error: &InboxError) -> Duration {
        let doubled = AGAIN.0.saturating_mul(1 << self.failures.min(7)).min(AGAIN.1);
        self.failures = self.failures.saturating_add(1);
        let asked = match error {
            InboxError::Mail(error) => error.backoff_ms().and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0),
            _ => 0,
        };
        let least = match error {
            // Somebody has to do something first: looking again is cheap, asking is not.
            InboxError::NeedsReconnect(_) | InboxError::Gone => AGAIN.1 / 4,
            _ => Duration::ZERO,
        };
        let pause = doubled.mul_f64(1.0 + self.inbox.clock.jitter() / 5.0);
        pause.max(least).max(Duration::from_millis(asked))
    }

    async fn watch(&mut self, looked: &[String]) -> Result<Option<Note>, InboxError> {
        let (first, beside) = looked.split_first().ok_or(InboxError::Gone)?;
        for folder in beside {
            match self.sync_if_older(folder, BESIDE).await {
                // A folder that is gone, or cannot be opened, keeps nobody from the others.
                Err(error) if is_of_folder(folder, &error) => self.tell_folder_trouble(folder, &error).await,
                other => other?,
            }
        }
        self.sync_if_older(first, RESYNC).await?;
        for _ in 0..SETTLE {
            let session = self.session().await?;
            session.ensure(first).await?;
            // What came while another folder was open, or was told during a command, IDLE does not tell any more.
            if !session.has_news() {
                break;
            }
            self.sync(first).await?;
        }
        let Some(open) = &mut self.open else { return Ok(None) };
        let notes = &mut self.notes;
        let mut note = None;
        let limit = if beside.is_empty() { IDLE } else { BESIDE };
        let waited = open.session.idle(limit, async { note = notes.recv().await }).await;
        // Whatever becomes of the connection, what was asked meanwhile is answered.
        self.waiting = note;
        if waited? {
            self.sync(first).await?;
        }
        Ok(self.waiting.take())
    }

    async fn sync_if_older(&mut self, folder: &str, age: Duration) -> Result<(), InboxError> {
        let synced = self.synced.iter().find(|(name, _)| name == folder).map(|(_, at)| *at);
        match synced {
            Some(at) if at.elapsed() < age && self.open.is_some() => Ok(()),
            _ => self.sync(folder).await,
        }
    }

    async fn answer(&mut self, request: Request) {
        let Request { ask, at, done } = request;
        if let Ask::Sync { folder } = &ask {
            // Others asked for the same meanwhile.
            if self.open.is_some() && self.synced.iter().any(|(name, synced)| name == folder && *synced > at) {
                let _ = done.send(Ok(Answer::Done));
                return;
            }
        } else if done.is_closed() {
            // Whoever asked has gone, and was told that it took too long.
            return;
        }
        let mut again = true;
        let answer = loop {
            match self.perform(&ask).await {
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
            match &ask {
                Ask::Sync { folder } if is_of_folder(folder, error) => self.tell_folder_trouble(folder, error).await,
                Ask::Sync { .. } => self.tell_trouble(error).await,
                _ => {}
            }
        }
        let _ = done.send(answer);
    }
}

/// Whether a failure is of one folder, and not of the mailbox: the server answers, and refuses just that. INBOX is the mailbox.
fn is_of_folder(folder: &str, error: &InboxError) -> bool {
    !folder.eq_ignore_ascii_case("INBOX")
        && matches!(error, InboxError::Mail(error) if error.answered && !error.is_throttled() && !error.is_token_expired()
            && matches!(error.step, Step::Select | Step::Fetch | Step::Search)
            && !error.text.contains("authenticated but not connected"))
}
