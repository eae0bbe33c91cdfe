//! Counts by subject within a window of time, in bounded memory.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use app::model::Timestamp;

/// Subjects in one generation. Two generations take about 4 MB.
const GENERATION: usize = 50_000;

/// Counts anonymous subjects in bounded memory, without rows. The oldest subjects are evicted first.
#[derive(Default)]
pub struct WindowCounters {
    /// Keyed hashing, so that clients cannot choose colliding subjects.
    keys: RandomState,
    generations: Mutex<[HashMap<u64, Count>; 2]>,
}

#[derive(Clone, Copy)]
struct Count {
    count: i64,
    began: Timestamp,
}

impl WindowCounters {
    /// Counts one more; returns the count in the current window, and its start.
    pub fn count(&self, subject: &str, now: Timestamp, window_before: Timestamp) -> (i64, Timestamp) {
        self.change(subject, |known| {
            let known = known.filter(|known| known.began >= window_before).unwrap_or(Count { count: 0, began: now });
            Some(Count { count: known.count + 1, ..known })
        })
        .map_or((0, now), |count| (count.count, count.began))
    }

    /// How many there were since a time.
    pub fn get(&self, subject: &str, since: Timestamp) -> i64 {
        self.change(subject, |known| known).filter(|known| known.began >= since).map_or(0, |known| known.count)
    }

    pub fn uncount(&self, subject: &str) {
        self.change(subject, |known| known.map(|known| Count { count: (known.count - 1).max(0), ..known }));
    }

    fn change(&self, subject: &str, to: impl FnOnce(Option<Count>) -> Option<Count>) -> Option<Count> {
        let key = self.keys.hash_one(subject);
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let [young, old] = &mut *generations;
        let known = young.get(&key).or_else(|| old.get(&key)).copied();
        let changed = to(known);
        if let Some(changed) = changed {
            if young.len() >= GENERATION && !young.contains_key(&key) {
                *old = std::mem::take(young);
            }
            young.insert(key, changed);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_end_and_memory_is_bounded() {
        let counters = WindowCounters::default();
        assert_eq!(counters.count("a", Timestamp(10), Timestamp(0)).0, 1);
        assert_eq!(counters.count("a", Timestamp(20), Timestamp(10)), (2, Timestamp(10)));
        assert_eq!((counters.get("a", Timestamp(10)), counters.get("a", Timestamp(11))), (2, 0));
        counters.uncount("a");
        assert_eq!(counters.get("a", Timestamp(0)), 1);
        assert_eq!(counters.count("a", Timestamp(30), Timestamp(15)), (1, Timestamp(30)), "another window");
        for number in 0..GENERATION * 3 {
            counters.count(&format!("{number}"), Timestamp(40), Timestamp(0));
            counters.count("busy", Timestamp(40), Timestamp(0));
        }
        let generations = counters.generations.lock().unwrap();
        assert!(generations.iter().map(HashMap::len).sum::<usize>() <= 2 * GENERATION);
        drop(generations);
        assert_eq!(counters.get("busy", Timestamp(0)), i64::try_from(GENERATION * 3).unwrap(), "who is counted stays");
        assert_eq!(counters.get("a", Timestamp(0)), 0);
    }
}
