//! The task of one mailbox: it owns the one connection, and answers one question after the other.

use std::sync::Arc;
use std::time::Duration;

use app::model::{FolderRole, HeaderView, InstitutionId, MailboxId, MailboxState};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::right::Right;
use super::{Answer, Ask, Inbox, InboxError, Note, Opened, Request, message};
use crate::mail::imap::Session;
use crate::mail::{Login, MailError, Step};
use crate::store::{Mailbox, News};
use crate::tokens::{AccessToken, TokenError};

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
            let looked = self.inbox.looked_at(self.id);
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
                    self.hang_up().await;
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
                self.tell_trouble(&error).await;
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
        let mut all = looked.to_vec();
        all.extend(self.inbox.looked_at_elsewhere(self.id).into_iter().filter(|folder| !looked.contains(folder)));
        // New mail is what people wait for.
        all.sort_by_key(|folder| !folder.eq_ignore_ascii_case("INBOX"));
        let (first, beside) = all.split_first().ok_or(InboxError::Gone)?;
        for folder in beside {
            match self.sync_if_older(folder, BESIDE).await {
                // A folder that is gone, or cannot be opened, keeps nobody from the others.
                Err(InboxError::Mail(error)) if error.answered && !error.is_token_expired() => {
                    tracing::debug!("a folder cannot be looked into: {error}");
                }
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
            if matches!(ask, Ask::Sync { .. }) {
                self.tell_trouble(error).await;
            }
        }
        let _ = done.send(answer);
    }

    /// What a failure means for connection, token and mailbox.
    async fn lose(&mut self, error: &InboxError) {
        let InboxError::Mail(failure) = error else { return };
        if let Some(asked) = failure.backoff_ms().and_then(|ms| u64::try_from(ms).ok())
            && self.resting.is_none()
        {
            let asked = Duration::from_millis(asked).min(LONGEST_REST);
            self.resting = Some((Instant::now() + asked, failure.clone()));
        }
        // What waits need not find out one by one that nobody answers.
        if !failure.answered && matches!(failure.step, Step::Connect | Step::Tls) && self.resting.is_none() {
            self.resting = Some((Instant::now() + UNREACHABLE, failure.clone()));
        }
        if !failure.answered || failure.is_token_expired() || failure.step == Step::Auth {
            self.open = None;
        }
        if failure.is_token_expired() || (failure.step == Step::Auth && failure.answered) {
            self.inbox.tokens.forget(self.id);
        }
        let refused = failure.answered && !failure.is_throttled() && failure.step == Step::Auth;
        let shut = failure.answered && failure.text.contains("authenticated but not connected");
        if refused || shut {
            self.open = None;
            if let Err(error) = self.block(error).await {
                tracing::error!("{error}");
            }
        }
    }

    /// Why the mailbox cannot be looked into is shown beside what is known of it.
    async fn tell_trouble(&self, error: &InboxError) {
        let told = async {
            let mailbox = self.inbox.store.mailbox(self.institution, self.id).await?;
            let Some(mailbox) = mailbox.filter(|mailbox| mailbox.look_problem.is_none()) else { return Ok(()) };
            // What is wrong with the mailbox itself is said with its state.
            if matches!(error, InboxError::Mail(_) | InboxError::Token(TokenError::Identity(_))) {
                let problem = error.fault(&self.inbox.server, self.inbox.clock.now()).to_json();
                self.note_trouble(&mailbox, Some(&problem)).await?;
            }
            Ok::<_, InboxError>(())
        };
        if let Err(error) = told.await {
            tracing::warn!("{error}");
        }
    }

    async fn note_trouble(&self, mailbox: &Mailbox, problem: Option<&str>) -> Result<(), InboxError> {
        let now = self.inbox.clock.now();
        self.inbox.store.set_look_problem(mailbox.institution, mailbox.id, problem, now).await?;
        self.inbox.store.publish(News::Mail(mailbox.user)).await;
        Ok(())
    }

    /// A mailbox that the server does not let in no longer works: its owner sees that, and it is tested again by itself.
    async fn block(&self, error: &InboxError) -> Result<(), InboxError> {
        let (inbox, now) = (&self.inbox, self.inbox.clock.now());
        let mailbox = inbox.store.mailbox(self.institution, self.id).await?;
        if let Some(mailbox) = mailbox.filter(|mailbox| mailbox.state == MailboxState::Connected) {
            let problem = error.fault(&inbox.server, now).to_json();
            let state = (MailboxState::Blocked, Some(problem.as_str()), Some(now.plus_ms(60_000)));
            inbox.store.set_mailbox_state(self.institution, self.id, state, now).await?;
            inbox.store.publish(News::Mail(mailbox.user)).await;
        }
        Ok(())
    }

    async fn log_out(&mut self) {
        if let Some(open) = self.open.take() {
            open.session.logout().await;
        }
    }

    async fn hang_up(&mut self) {
        self.log_out().await;
        if let Some(right) = self.right.take() {
            self.inbox.give_back(self.id, right).await;
        }
    }

    /// Drops a connection to which the right was lost.
    async fn mind_the_right(&mut self) {
        if self.right.as_ref().is_some_and(Right::is_lost) {
            self.right = None;
            self.log_out().await;
        }
    }

    /// Whether the connection may be used to look: it is here, or nobody's.
    async fn may_watch(&mut self) -> Result<bool, InboxError> {
        self.mind_the_right().await;
        if self.right.is_some() {
            return Ok(true);
        }
        if self.stands_back.is_some_and(|until| Instant::now() < until) {
            return Ok(false);
        }
        self.stands_back = None;
        self.right = self.inbox.right(self.institution, self.id).await?;
        Ok(self.right.is_some())
    }

    /// The right, asked of another replica if it has it.
    async fn claim(&mut self) -> Result<(), InboxError> {
        self.mind_the_right().await;
        if self.right.is_none() {
            self.right = Some(self.inbox.demand_right(self.institution, self.id).await?);
        }
        Ok(())
    }

    async fn mailbox(&self) -> Result<Mailbox, InboxError> {
        let found = self.inbox.store.mailbox(self.institution, self.id).await?;
        let mailbox = found.ok_or(InboxError::Gone)?;
        if mailbox.state == MailboxState::NeedsReconnect {
            return Err(InboxError::NeedsReconnect(mailbox.problem));
        }
        Ok(mailbox)
    }

    /// The connection, made if there is none, or if the mailbox is another person's by now.
    async fn session(&mut self) -> Result<&mut Session, InboxError> {
        if let Some((until, error)) = &self.resting {
            if Instant::now() < *until {
                return Err(error.clone().into());
            }
            self.resting = None;
        }
        let mailbox = self.mailbox().await.inspect_err(|_| self.open = None)?;
        self.claim().await?;
        if let Some(open) = &self.open
            && (open.user != mailbox.sign_in_name || open.client != mailbox.client_id)
        {
            self.log_out().await;
        }
        if self.open.is_none() {
            self.synced.clear();
            self.listed = None;
            let token = self.inbox.tokens.access(&mailbox).await?;
            let inbox = Arc::clone(&self.inbox);
            let open = async |token: &AccessToken| {
                let login = Login { server: &inbox.server, user: &mailbox.sign_in_name, token: &token.secret };
                Session::open(&login, &inbox.trust).await
            };
            let session = match open(&token).await {
                Err(error) if error.step == Step::Auth && error.answered => {
                    match inbox.tokens.instead_of(&mailbox, &token).await? {
                        Some(other) => open(&other).await?,
                        None => return Err(error.into()),
                    }
                }
                other => other?,
            };
            self.open = Some(Open { session, user: mailbox.sign_in_name, client: mailbox.client_id });
        }
        self.open.as_mut().map(|open| &mut open.session).ok_or(InboxError::Gone)
    }

    async fn perform(&mut self, ask: &Ask) -> Result<Answer, InboxError> {
        match ask {
            // Another replica has the connection: it looks, and what it finds is news here, too.
            Ask::Sync { folder } if !self.may_watch().await? => {
                self.inbox.say_looking(self.institution, self.id, folder).await;
                Ok(Answer::Done)
            }
            Ask::Sync { folder } => self.sync(folder).await.map(|()| Answer::Done),
            Ask::Open { folder, validity, uid } => self.opened(folder, *validity, *uid).await.map(Answer::Opened),
            Ask::Octets { folder, validity, uid, from, length } => {
                let session = self.at(folder, *validity).await?;
                let octets = session.octets(*uid, *from, (*length).min(CHUNK)).await?;
                octets.map(Answer::Octets).ok_or(InboxError::NoMessage)
            }
            Ask::Flag { folder, validity, uids, flag, set } => {
                self.at(folder, *validity).await?.flag(uids, *flag, *set).await?;
                Ok(Answer::Done)
            }
            Ask::Delete { folder, validity, uids } => self.delete(folder, *validity, uids).await,
            Ask::Search { folder, text, most } => {
                let session = self.session().await?;
                let selected = session.select(folder).await?;
                let found = session.search(text).await?;
                let total = u32::try_from(found.len()).unwrap_or(u32::MAX);
                let newest: Vec<u32> = found.into_iter().take(*most).collect();
                Ok(Answer::Headers(listed(session, &newest).await?, total, selected.validity))
            }
            Ask::Page { folder, offset, limit } => {
                let session = self.session().await?;
                let selected = session.select(folder).await?;
                let to = selected.exists.saturating_sub(*offset);
                let headers = if to == 0 {
                    Vec::new()
                } else {
                    let uids = session.stretch(to.saturating_sub(limit.saturating_sub(1)).max(1), to).await?;
                    listed(session, &uids).await?
                };
                Ok(Answer::Headers(headers, selected.exists, selected.validity))
            }
            Ask::Arrived { message_id, attempt, round } => {
                let session = self.session().await?;
                let mark = crate::mail::imap::Mark { message_id, attempt: attempt.as_deref() };
                Ok(Answer::Found(super::arrived(session, &mark, *round).await?))
            }
            Ask::FindSent { message_id } => {
                let session = self.session().await?;
                let mark = crate::mail::imap::Mark { message_id, attempt: None };
                for folder in session.folders().await? {
                    if folder.role == FolderRole::Sent
                        && folder.selectable
                        && session.contains(&folder.name, &mark).await?
                    {
                        return Ok(Answer::Found(Some(folder.name)));
                    }
                }
                Ok(Answer::Found(None))
            }
        }
    }

    /// The connection with a folder open, unless that was made anew meanwhile: then UIDs mean other messages.
    async fn at(&mut self, folder: &str, validity: u32) -> Result<&mut Session, InboxError> {
        let session = self.session().await?;
        if session.ensure(folder).await?.validity != validity {
            return Err(InboxError::NoMessage);
        }
        Ok(session)
    }

    async fn opened(&mut self, folder: &str, validity: u32, uid: u32) -> Result<Arc<Opened>, InboxError> {
        // Whose it is belongs to its name: another account's message must never be found under it.
        let mailbox = self.mailbox().await?;
        let key = format!("{}\0{}\0{validity}\0{uid}\0{folder}", self.id, mailbox.sign_in_name);
        if let Some(opened) = self.inbox.kept(&key) {
            return Ok(opened);
        }
        let session = self.at(folder, validity).await?;
        let size = session.size(uid).await?.ok_or(InboxError::NoMessage)?;
        // Raw and taken apart it takes its size some three times.
        let room = (size.min(MOST) / (1024 * 1024) + 1) * 3;
        let inbox = Arc::clone(&self.inbox);
        let _room = inbox.opening.acquire_many(room).await.map_err(|_| InboxError::Busy)?;
        let session = self.at(folder, validity).await?;
        // To its end, wherever the server says that is: its size is that of what it stores, not of what it sends.
        let mut raw = Vec::with_capacity(size.min(MOST) as usize);
        loop {
            let from = u32::try_from(raw.len()).unwrap_or(u32::MAX);
            let wanted = CHUNK.min(MOST.saturating_sub(from));
            if wanted == 0 {
                break;
            }
            let octets = session.octets(uid, from, wanted).await?.ok_or(InboxError::NoMessage)?;
            raw.extend_from_slice(&octets);
            if octets.len() < wanted as usize {
                break;
            }
        }
        let truncated = raw.len() >= MOST as usize;
        // Taking a large or hostile message apart takes a while: others go on meanwhile.
        let opened = tokio::task::spawn_blocking(move || message::open(&raw, truncated)).await;
        let opened = Arc::new(opened.map_err(|_| InboxError::NoMessage)?);
        self.inbox.keep(key, &opened);
        Ok(opened)
    }

    async fn delete(&mut self, folder: &str, validity: u32, uids: &[u32]) -> Result<Answer, InboxError> {
        // Asked of the server, not of what was known: nothing is deleted for good by mistake.
        let session = self.session().await?;
        let folders = session.folders().await?;
        let trash = folders.into_iter().find(|one| one.role == FolderRole::Trash).map(|one| one.name);
        let trash = trash.ok_or(InboxError::NoTrash)?;
        let session = self.at(folder, validity).await?;
        if trash == folder {
            session.erase(uids).await?;
        } else {
            session.move_to(uids, &trash).await?;
        }
        self.sync(folder).await?;
        Ok(Answer::Done)
    }

    async fn sync(&mut self, folder: &str) -> Result<(), InboxError> {
        let mailbox = self.mailbox().await?;
        let list = self.listed.is_none_or(|at| at.elapsed() > Duration::from_secs(600));
        let inbox = Arc::clone(&self.inbox);
        let session = self.session().await?;
        if list {
            super::sync::folders(&inbox, &mailbox, session).await?;
        }
        super::sync::folder(&inbox, &mailbox, session, folder).await?;
        if list {
            self.listed = Some(Instant::now());
        }
        self.synced.retain(|(name, _)| name != folder);
        self.synced.push((folder.to_owned(), Instant::now()));
        if mailbox.look_problem.is_some() {
            self.note_trouble(&mailbox, None).await?;
        }
        Ok(())
    }
}

/// Headers of messages of the open folder, newest first.
async fn listed(session: &mut Session, uids: &[u32]) -> Result<Vec<HeaderView>, InboxError> {
    let mut headers = Vec::with_capacity(uids.len());
    for some in uids.chunks(100) {
        headers.extend(session.list(some).await?.iter().map(message::header));
    }
    headers.sort_unstable_by_key(|header| std::cmp::Reverse(header.uid));
    Ok(headers)
}
