//! The SMTP sessions of this process: how many are open, whose they are, and which are idle.
//!
//! A session is kept for a while after its queue is empty. It holds its place until another mailbox needs the room.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use uuid::Uuid;

use crate::store::MailboxKey;

/// SMTP sessions of this process at one time.
const MAX_SESSIONS: usize = 32;
/// How long a session looks out for a sender that waits for its connection.
const WAITING: Duration = Duration::from_secs(60);

pub(super) struct Sessions {
    free: Arc<Semaphore>,
    queues: Mutex<HashMap<Uuid, QueueSessions>>,
    /// A queue without a session found no room: the others yield sooner.
    crowded: AtomicBool,
    /// Senders that use all their connections while another of their queues waits.
    waiting: Mutex<HashMap<String, (Uuid, Instant)>>,
    /// Idle sessions that were told to make room, and have not ended yet.
    ending: AtomicUsize,
}

#[derive(Default)]
struct QueueSessions {
    open: i64,
    idle: Vec<Idle>,
}

struct Idle {
    owner: IdleOwner,
    since: Instant,
    wake: oneshot::Sender<Wake>,
}

/// Whose session is idle.
#[derive(Debug, Clone)]
pub(super) struct IdleOwner {
    pub(super) mailbox: MailboxKey,
    /// Whom the mail server counts.
    pub(super) sender: String,
}

/// Why an idle session wakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    /// Its queue has a due delivery.
    Work,
    /// It must end.
    Close,
}

pub(super) enum Entered {
    Slot(Slot),
    /// The queue has all the sessions it may have.
    Busy,
    /// No session is free, and the queue has others.
    NoMore,
    /// No session is free, and the queue has none.
    NoRoom,
}

/// The place of a session, given back on drop: even on a panic, or it would be lost for ever.
pub(super) struct Slot {
    sessions: Arc<Sessions>,
    queue: Uuid,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut queues = self.sessions.lock();
        // Whichever place is free now serves as well as one of those that are ending.
        let ending = self.sessions.ending.load(Ordering::Relaxed);
        self.sessions.ending.store(ending.saturating_sub(1), Ordering::Relaxed);
        if let Some(queue) = queues.get_mut(&self.queue) {
            queue.open -= 1;
            if queue.open <= 0 {
                queues.remove(&self.queue);
            }
        }
    }
}

impl Slot {
    /// Marks the session as idle. The receiver is told when it is needed, or must end.
    pub(super) fn idle(&self, owner: IdleOwner) -> oneshot::Receiver<Wake> {
        let (wake, woken) = oneshot::channel();
        let mut queues = self.sessions.lock();
        let idle = &mut queues.entry(self.queue).or_default().idle;
        idle.retain(|idle| !idle.wake.is_closed());
        idle.push(Idle { owner, since: Instant::now(), wake });
        woken
    }
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self {
            free: Arc::new(Semaphore::new(MAX_SESSIONS)),
            queues: Mutex::default(),
            crowded: AtomicBool::new(false),
            ending: AtomicUsize::new(0),
            waiting: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, QueueSessions>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_crowded(&self) -> bool {
        self.crowded.load(Ordering::Relaxed)
    }

    pub(super) fn set_crowded(&self, crowded: bool) {
        self.crowded.store(crowded, Ordering::Relaxed);
    }

    pub(super) fn has_one(&self, queue: Uuid) -> bool {
        self.lock().contains_key(&queue)
    }

    pub(super) fn may_enter(&self, queue: Uuid, most: i64) -> bool {
        self.free.available_permits() > 0 && self.lock().get(&queue).map_or(0, |queue| queue.open) < most
    }

    /// A place for one more session of a queue.
    pub(super) fn enter(self: &Arc<Self>, queue: Uuid, most: i64) -> Entered {
        let mut queues = self.lock();
        let open = queues.get(&queue).map_or(0, |queue| queue.open);
        if open >= most {
            return Entered::Busy;
        }
        let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() else {
            return if open == 0 { Entered::NoRoom } else { Entered::NoMore };
        };
        queues.entry(queue).or_default().open += 1;
        Entered::Slot(Slot { sessions: Arc::clone(self), queue, _permit: permit })
    }

    /// Wakes an idle session of a queue.
    pub(super) fn wake_idle(&self, queue: Uuid) -> bool {
        let mut queues = self.lock();
        let Some(queue) = queues.get_mut(&queue) else { return false };
        // The newest first: its connection lives most likely.
        while let Some(idle) = queue.idle.pop() {
            if idle.wake.send(Wake::Work).is_ok() {
                return true;
            }
        }
        false
    }

    /// Ends the session that has been idle for the longest time, unless so many are ending. `false`: none is idle.
    pub(super) fn make_room(&self, needed: usize) -> bool {
        let mut queues = self.lock();
        if self.ending.load(Ordering::Relaxed) >= needed {
            return true;
        }
        queues.values_mut().for_each(|queue| queue.idle.retain(|idle| !idle.wake.is_closed()));
        let longest = |queue: &QueueSessions| queue.idle.iter().map(|idle| idle.since).min();
        let queue = queues.iter().filter_map(|(id, queue)| Some((longest(queue)?, *id))).min();
        let Some(queue) = queue.and_then(|(_, id)| queues.get_mut(&id)) else { return false };
        let first = queue.idle.iter().enumerate().min_by_key(|(_, idle)| idle.since).map(|(at, _)| at);
        let told = first.is_some_and(|first| queue.idle.remove(first).wake.send(Wake::Close).is_ok());
        self.ending.fetch_add(usize::from(told), Ordering::Relaxed);
        told
    }

    /// A queue found all connections of its sender in use: idle ones end, and one that sends for another queue ends after its claim.
    pub(super) fn ask_for_connection(&self, sender: String, queue: Uuid) {
        self.close_idle(|owner| owner.sender == sender);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Where no session here sends for a sender, nothing else removes its entry.
        waiting.retain(|_, (_, since)| since.elapsed() < WAITING);
        waiting.insert(sender, (queue, Instant::now()));
    }

    /// Whether a session of this queue must end for another queue of its sender.
    pub(super) fn gives_connection_up(&self, sender: &str, queue: Uuid) -> bool {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(sender);
        waiting.is_some_and(|(other, since)| other != queue && since.elapsed() < WAITING)
    }

    /// Ends the idle sessions for which the condition holds.
    pub(super) fn close_idle(&self, mut ends: impl FnMut(&IdleOwner) -> bool) {
        for queue in self.lock().values_mut() {
            for idle in queue.idle.extract_if(.., |idle| ends(&idle.owner)) {
                let _ = idle.wake.send(Wake::Close);
            }
        }
    }

    pub(super) fn idle_mailboxes(&self) -> Vec<MailboxKey> {
        let queues = self.lock();
        let idle = queues.values().flat_map(|queue| &queue.idle).filter(|idle| !idle.wake.is_closed());
        idle.map(|idle| idle.owner.mailbox).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use app::model::{InstitutionId, MailboxId};

    fn owner(number: u128) -> IdleOwner {
        let institution = InstitutionId(Uuid::nil());
        IdleOwner {
            mailbox: MailboxKey { institution, id: MailboxId(Uuid::from_u128(number)) },
            sender: number.to_string(),
        }
    }

    fn slot(sessions: &Arc<Sessions>, queue: u128) -> Slot {
        match sessions.enter(Uuid::from_u128(queue), 3) {
            Entered::Slot(slot) => slot,
            _ => panic!("there is room"),
        }
    }

    #[test]
    fn places_are_counted_for_each_queue_and_for_the_process() {
        let sessions = Arc::new(Sessions::new());
        let three: Vec<Slot> = (0..3).map(|_| slot(&sessions, 1)).collect();
        assert!(matches!(sessions.enter(Uuid::from_u128(1), 3), Entered::Busy));
        let others: Vec<Slot> = (2..=30).map(|queue| slot(&sessions, queue)).collect();
        assert!(matches!(sessions.enter(Uuid::from_u128(2), 3), Entered::NoMore));
        assert!(matches!(sessions.enter(Uuid::from_u128(99), 3), Entered::NoRoom));
        drop((three, others));
        assert!(!sessions.has_one(Uuid::from_u128(1)));
        assert!(matches!(sessions.enter(Uuid::from_u128(99), 3), Entered::Slot(_)));
    }

    #[test]
    fn the_session_that_was_idle_longest_makes_room_and_those_that_ended_are_passed_over() {
        let sessions = Arc::new(Sessions::new());
        let (first, second) = (slot(&sessions, 1), slot(&sessions, 2));
        let ended = first.idle(owner(1));
        drop(ended);
        assert!(!sessions.wake_idle(Uuid::from_u128(1)), "nobody waits there any more");
        let (mut older, mut newer) = (first.idle(owner(1)), second.idle(owner(2)));
        assert!(sessions.make_room(1));
        assert!(sessions.make_room(1), "one is ending already");
        assert_eq!((older.try_recv(), newer.try_recv().is_err()), (Ok(Wake::Close), true));
        assert!(sessions.wake_idle(Uuid::from_u128(2)));
        assert_eq!(newer.try_recv(), Ok(Wake::Work));
        let mut again = second.idle(owner(2));
        sessions.close_idle(|owner| owner.sender == "2");
        assert_eq!(again.try_recv(), Ok(Wake::Close));
    }
}
