//! One request at a time for a draft: a second press waits for the first, and then finds what became of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use app::model::DraftId;
use tokio::sync::OwnedMutexGuard;

/// Who is at work on which draft.
#[derive(Default)]
pub struct Turns(Mutex<HashMap<DraftId, Weak<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Waits until nobody else is at work on it; others wait as long as the answer lives.
    pub async fn take(&self, draft: DraftId) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| turn.strong_count() > 0);
            let there = turns.get(&draft).and_then(Weak::upgrade);
            there.unwrap_or_else(|| {
                let new = Arc::default();
                turns.insert(draft, Arc::downgrade(&new));
                new
            })
        };
        turn.lock_owned().await
    }
}
