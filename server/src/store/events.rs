//! Events between tasks and replicas. With SQLite there is one process; PostgreSQL passes events on by LISTEN and NOTIFY.
//!
//! Events may be lost when a connection breaks, so every subscriber also polls.

use crate::store::sql::{bind_rows, powers_of_two};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use app::model::{InstitutionId, MailboxId, UserId};
use sqlx::AnyPool;
use sqlx::postgres::PgListener;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio::task::{AbortHandle, JoinHandle};
use uuid::Uuid;

use super::{Result, Store};

const CHANNEL: &str = "entrepost";
/// Size of one NOTIFY payload in bytes; PostgreSQL allows 8,000. Longer events, such as large tokens, travel in pieces.
const MOST: usize = 7_800;
/// Pieces of one event, and number of incomplete events kept.
const PIECES: usize = 64;
/// Events that a slow subscriber may lag behind.
const BACKLOG: usize = 1_024;
/// Pause before a broken listener reconnects.
const AGAIN: Duration = Duration::from_secs(2);

/// Something that other tasks or replicas wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Mail(UserId),
    /// A token refresh ended. The sealed access token passes through and is stored nowhere.
    Token(MailboxId, String),
    ConnectionWanted(MailboxId, Uuid),
    /// A replica released it.
    ConnectionReleased(MailboxId, Uuid),
    /// A sender uses all its connections while a message of this queue waits.
    SenderWaits(String, Uuid),
    /// A folder is watched on a replica without the connection: its holder syncs that folder.
    FolderWatched(InstitutionId, MailboxId, Uuid, String),
}

impl Event {
    fn to_text(&self) -> String {
        match self {
            Self::Mail(user) => format!("mail {user}"),
            Self::Token(mailbox, sealed) => format!("token {mailbox} {sealed}"),
            Self::ConnectionWanted(mailbox, owner) => format!("wanted {mailbox} {owner}"),
            Self::ConnectionReleased(mailbox, owner) => format!("free {mailbox} {owner}"),
            Self::SenderWaits(sender, queue) => format!("sender {queue} {sender}"),
            Self::FolderWatched(institution, mailbox, owner, folder) => {
                format!("looked {institution} {mailbox} {owner} {folder}")
            }
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        match (words.next()?, words.next()?, words.next()) {
            ("mail", user, None) => Some(Self::Mail(user.parse().ok()?)),
            ("token", mailbox, Some(sealed)) => Some(Self::Token(mailbox.parse().ok()?, sealed.to_owned())),
            ("wanted", mailbox, Some(owner)) => {
                Some(Self::ConnectionWanted(mailbox.parse().ok()?, owner.parse().ok()?))
            }
            ("free", mailbox, Some(owner)) => {
                Some(Self::ConnectionReleased(mailbox.parse().ok()?, owner.parse().ok()?))
            }
            // A name may contain blanks.
            ("sender", queue, Some(_)) => {
                Some(Self::SenderWaits(text.splitn(3, ' ').nth(2)?.to_owned(), queue.parse().ok()?))
            }
            ("looked", institution, Some(mailbox)) => {
                let (institution, mailbox) = (institution.parse().ok()?, mailbox.parse().ok()?);
                // The rest is the folder name, which may contain blanks.
                let (owner, folder) = text.splitn(4, ' ').nth(3)?.split_once(' ')?;
                Some(Self::FolderWatched(institution, mailbox, owner.parse().ok()?, folder.to_owned()))
            }
            _ => None,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct EventChannel {
    here: broadcast::Sender<Event>,
    /// Other replicas listen.
    replicas: Option<Arc<Replicas>>,
}

#[derive(Debug)]
struct Replicas {
    /// `None` once the store closes.
    notices: Mutex<Option<(mpsc::UnboundedSender<Event>, JoinHandle<()>)>>,
    listening: AbortHandle,
}

impl Replicas {
    fn lock(&self) -> MutexGuard<'_, Option<(mpsc::UnboundedSender<Event>, JoinHandle<()>)>> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl EventChannel {
    /// `postgres`: URL of the shared server. LISTEN is active when this returns.
    pub(super) async fn open(postgres: Option<&str>, pool: &AnyPool) -> Result<Self> {
        let (here, _) = broadcast::channel(BACKLOG);
        let Some(url) = postgres else { return Ok(Self { here, replicas: None }) };
        let first = connect(url).await?;
        let listening = tokio::spawn(listen(url.to_owned(), first, here.clone()));
        let (notices, waiting) = mpsc::unbounded_channel();
        // Ends with the sender.
        let notices = Mutex::new(Some((notices, tokio::spawn(notify(pool.clone(), waiting)))));
        Ok(Self { here, replicas: Some(Arc::new(Replicas { notices, listening: listening.abort_handle() })) })
    }

    /// Passes on what was published, and ends.
    pub(super) async fn close(&self) {
        let notices = self.replicas.as_ref().and_then(|replicas| replicas.lock().take());
        if let Some((notices, notifying)) = notices {
            drop(notices);
            let _ = notifying.await;
        }
    }

    /// Publishes events to this process, and soon to the other replicas. A failure is ignored: subscribers also poll.
    pub(super) fn publish(&self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            if let Some(replicas) = &self.replicas
                && let Some((notices, _)) = &*replicas.lock()
            {
                let _ = notices.send(event.clone());
            }
            // Nobody may listen.
            let _ = self.here.send(event);
        }
    }
}

/// Passes events on to the other replicas: together what gathers meanwhile, each once.
async fn notify(pool: AnyPool, mut waiting: mpsc::UnboundedReceiver<Event>) {
    let mut events = Vec::new();
    while waiting.recv_many(&mut events, BACKLOG).await > 0 {
        let mut seen = HashSet::new();
        let texts = events.drain(..).map(|event| event.to_text()).filter(|text| seen.insert(text.clone()));
        let notices: Vec<String> = texts.flat_map(|text| notices(&text)).collect();
        for notices in powers_of_two(&notices) {
            let query = bind_rows!(
                format!("SELECT COUNT(pg_notify('{CHANNEL}', column1)) FROM (VALUES {{}}) AS notices");
                notices.iter(), |notice| notice
            );
            if let Err(error) = query.execute(&pool).await {
                tracing::warn!("cannot notify other replicas: {error}");
            }
        }
    }
}

fn notices(text: &str) -> Vec<String> {
    if text.len() <= MOST {
        return vec![text.to_owned()];
    }
    let name = crate::clock::sha256(text);
    // A character has at most four bytes.
    let letters: Vec<char> = text.chars().collect();
    let pieces: Vec<String> = letters.chunks((MOST - 100) / 4).map(|piece| piece.iter().collect()).collect();
    let count = pieces.len();
    pieces.into_iter().enumerate().map(|(at, piece)| format!("piece {name} {at} {count} {piece}")).collect()
}

#[derive(Default)]
struct Pieces(std::collections::VecDeque<(String, Vec<Option<String>>)>);

impl Pieces {
    fn take(&mut self, notice: &str) -> Option<Event> {
        let Some(rest) = notice.strip_prefix("piece ") else { return Event::parse(notice) };
        let mut words = rest.splitn(4, ' ');
        let (name, at, count, text) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let (at, count): (usize, usize) = (at.parse().ok()?, count.parse().ok()?);
        if count > PIECES || at >= count {
            return None;
        }
        if !self.0.iter().any(|(known, _)| known == name) {
            if self.0.len() >= PIECES {
                self.0.pop_front();
            }
            self.0.push_back((name.to_owned(), vec![None; count]));
        }
        let (_, parts) = self.0.iter_mut().find(|(known, _)| known == name)?;
        *parts.get_mut(at)? = Some(text.to_owned());
        let whole: String = parts.iter().map(Option::as_deref).collect::<Option<_>>()?;
        self.0.retain(|(known, _)| known != name);
        Event::parse(&whole)
    }
}

/// Calls the handler for each event while its owner lives and the store is open. Events missed by a slow subscriber are lost.
pub async fn subscribe<T>(
    mut event: broadcast::Receiver<Event>,
    subscriber: Weak<T>,
    mut told: impl FnMut(&Arc<T>, Event),
) {
    loop {
        let heard = event.recv().await;
        let Some(subscriber) = subscriber.upgrade() else { return };
        match heard {
            Ok(event) => told(&subscriber, event),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

async fn connect(url: &str) -> Result<PgListener> {
    let mut listener = PgListener::connect(url).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

async fn listen(url: String, first: PgListener, here: broadcast::Sender<Event>) {
    let mut listener = first;
    let mut pieces = Pieces::default();
    loop {
        while let Ok(note) = listener.recv().await {
            if let Some(event) = pieces.take(note.payload()) {
                let _ = here.send(event);
            }
        }
        tracing::warn!("events of other replicas are delayed: LISTEN on the database ended, reconnecting");
        listener = loop {
            tokio::time::sleep(AGAIN).await;
            if let Ok(listener) = connect(&url).await {
                break listener;
            }
        };
    }
}

impl Store {
    /// Publishes an event to this process and to the other replicas. A failure is ignored: subscribers also poll.
    pub fn publish(&self, event: Event) {
        self.channel.publish([event]);
    }

    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.channel.here.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_survive_the_way() {
        for event in [
            Event::Mail(UserId(uuid::Uuid::from_u128(1))),
            Event::Token(MailboxId(uuid::Uuid::from_u128(2)), "v1.key.c2VhbGVk".into()),
            Event::ConnectionWanted(MailboxId(uuid::Uuid::from_u128(2)), Uuid::from_u128(4)),
            Event::ConnectionReleased(MailboxId(uuid::Uuid::from_u128(2)), Uuid::from_u128(4)),
            Event::SenderWaits("tenant user@demo.example".into(), Uuid::from_u128(3)),
            Event::FolderWatched(
                InstitutionId(Uuid::from_u128(1)),
                MailboxId(Uuid::from_u128(2)),
                Uuid::from_u128(4),
                "Über uns/Two  words ".into(),
            ),
        ] {
            assert_eq!(Event::parse(&event.to_text()), Some(event));
        }
        let long = Event::Token(MailboxId(uuid::Uuid::from_u128(3)), "c2Vh".repeat(10_000));
        let mut notices = notices(&long.to_text());
        assert!(notices.len() > 1 && notices.iter().all(|notice| notice.len() <= MOST));
        notices.reverse();
        let mut pieces = Pieces::default();
        let whole: Vec<Event> = notices.iter().filter_map(|notice| pieces.take(notice)).collect();
        assert_eq!((whole, pieces.0.len()), (vec![long], 0));
        for other in ["", "mail", "mail x", "token 1", "other 1"] {
            assert_eq!(Event::parse(other), None, "{other}");
        }
    }
}
