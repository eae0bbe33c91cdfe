//! A lock for each key: a second request for the same draft waits for the first one.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

/// Locks by key. A lock exists only while it is held or waited for.
pub struct KeyedLock<K>(Mutex<HashMap<K, Weak<tokio::sync::Mutex<()>>>>);

impl<K> Default for KeyedLock<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> KeyedLock<K> {
    /// Waits for the lock of a key, and holds it until the guard is dropped.
    pub async fn lock(&self, key: K) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| lock.strong_count() > 0);
            let held = locks.get(&key).and_then(Weak::upgrade);
            held.unwrap_or_else(|| {
                let new = Arc::default();
                locks.insert(key, Arc::downgrade(&new));
                new
            })
        };
        lock.lock_owned().await
    }
}
