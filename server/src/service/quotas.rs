//! Quotas of users and institutions, with texts for each limit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use app::backend::{Administrator, Result, SignedIn};
use app::error::AppError;
use app::model::{InstitutionId, UserId, size_in_words};
use tokio::time::Instant;

use super::Services;
use crate::store::{Queued, StoreError};

/// How long a count of an institution's waiting messages is used: another replica may have added some meanwhile.
const QUEUED_AGE: Duration = Duration::from_secs(10);
/// How often it is counted while there is no room.
const COUNTED_AGAIN: Duration = Duration::from_secs(1);
const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;

#[derive(Default)]
pub struct Streams(Mutex<HashMap<UserId, usize>>);

/// An open event stream; counts until it is dropped.
pub struct Following {
    streams: Arc<Streams>,
    user: UserId,
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut all = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.user);
            }
        }
    }
}

/// Waiting messages of institutions: what was counted, and what this process added since. Counting takes time in proportion to
/// them, so it is done when the count is old, or when it says that there is no room.
#[derive(Default)]
pub struct QueuedCounts(Mutex<HashMap<InstitutionId, (Instant, Queued)>>);

impl QueuedCounts {
    /// Adds one if there is room. `None`: it must be counted.
    fn add(&self, institution: InstitutionId, bytes: u64, has_room: impl Fn(Queued) -> bool) -> Option<()> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, queued) = all.get_mut(&institution)?;
        if at.elapsed() > QUEUED_AGE || !has_room(*queued) {
            return None;
        }
        *queued = Queued { count: queued.count + 1, bytes: queued.bytes.saturating_add(bytes) };
        Some(())
    }

    /// Whether it was counted a moment ago.
    fn is_fresh(&self, institution: InstitutionId) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&institution).is_some_and(|(at, _)| at.elapsed() < COUNTED_AGAIN)
    }

    fn counted(&self, institution: InstitutionId, queued: Queued) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (at, _)| at.elapsed() <= QUEUED_AGE);
        all.insert(institution, (Instant::now(), queued));
    }
}

impl Services {
    pub fn follow_more(&self, user: &SignedIn) -> Result<Following> {
        let mut all = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(user.user_id()).or_default();
        if *count >= self.config.quotas.streams {
            return Err(AppError::TooMany { minutes: 1 }.into());
        }
        *count += 1;
        drop(all);
        Ok(Following { streams: Arc::clone(&self.streams), user: user.user_id() })
    }

    /// Checks the quota for more draft bytes, up to `beyond` bytes above the limit.
    pub(super) async fn check_drafts(&self, user: &SignedIn, more: u64, beyond: u64) -> Result<()> {
        let (limit, of_institution) = (self.config.quotas.draft_bytes, self.config.quotas.draft_bytes_of_institution);
        let usage = self.store.draft_usage(user.institution().id, user.user_id()).await?;
        if usage.bytes_of_institution.saturating_add(more) > of_institution.saturating_add(beyond) {
            return Err(AppError::refused(format!(
                "All drafts of your institution would exceed {}. Discard drafts you don't need, and tell an administrator.",
                size_in_words(of_institution)
            )).into());
        }
        if usage.bytes.saturating_add(more) > limit.saturating_add(beyond) {
            return Err(AppError::refused(format!(
                "Your drafts and their files would exceed {}. Send or discard some first.",
                size_in_words(limit)
            ))
            .into());
        }
        Ok(self.store.room_for(more)?)
    }

    /// Whether an institution may queue one more message of a size in bytes.
    pub(super) async fn queue_has_room(&self, institution: InstitutionId, bytes: u64) -> Result<bool, StoreError> {
        let quotas = self.config.quotas;
        let has_room = |all: Queued| {
            all.count < quotas.queued_messages_of_institution
                && all.bytes.saturating_add(bytes) <= quotas.queued_bytes_of_institution
        };
        if self.queued_counts.add(institution, bytes, has_room).is_none() {
            // At the limit not every request counts again.
            if self.queued_counts.is_fresh(institution) {
                return Ok(false);
            }
            let all = self.store.queued_at(institution, quotas.queued_messages_of_institution).await?;
            self.queued_counts.counted(institution, all);
            if self.queued_counts.add(institution, bytes, has_room).is_none() {
                return Ok(false);
            }
        }
        self.store.room_for(bytes)?;
        Ok(true)
    }

    pub(super) async fn check_queue(&self, user: &SignedIn, bytes: u64) -> Result<()> {
        let (quotas, institution) = (self.config.quotas, user.institution().id);
        let own = self.store.queued_of(institution, user.user_id(), quotas.queued_messages).await?;
        if own.count >= quotas.queued_messages {
            return Err(AppError::refused(format!(
                "You already have {} messages waiting to be sent. Wait until some are sent, or cancel some under Sent & delivery.",
                own.count
            )).into());
        }
        if own.bytes.saturating_add(bytes) > quotas.queued_bytes {
            return Err(AppError::refused(format!(
                "Your waiting messages would exceed {}. Wait until some are sent.",
                size_in_words(quotas.queued_bytes)
            ))
            .into());
        }
        if !self.queue_has_room(institution, bytes).await? {
            return Err(AppError::refused(
                "Your institution has too many messages waiting to be sent. Try again later, and tell an administrator.",
            )
            .into());
        }
        Ok(())
    }

    /// Checks the quota for one more run of Configure & Test.
    pub(super) async fn check_attempts(&self, user: &SignedIn) -> Result<()> {
        let since = self.clock.now().plus_ms(-HOUR_MS);
        let (count, of_institution) = self.store.attempts_since(user.institution().id, user.user_id(), since).await?;
        if of_institution >= self.config.quotas.attempts_per_hour_of_institution {
            return Err(AppError::refused(
                "Configure & Test was started too often at your institution in the last hour. Wait some minutes, then try again.",
            ).into());
        }
        if count >= self.config.quotas.attempts_per_hour {
            return Err(AppError::refused(format!(
                "You started Configure & Test {count} times in the last hour. Wait some minutes, then try again."
            ))
            .into());
        }
        Ok(())
    }

    /// Takes back what `check_invitations` counted.
    pub(super) async fn uncount_invitations(&self, admin: &Administrator, count: i64) -> Result<()> {
        let (now, subject) = (self.clock.now(), format!("links:{}", admin.institution().id));
        self.store.count_within(&subject, -count, now, now.plus_ms(-DAY_MS)).await?;
        Ok(())
    }

    /// Checks the quota for more invitations or links, and counts them.
    pub(super) async fn check_invitations(&self, admin: &Administrator, more: i64) -> Result<()> {
        let (now, subject) = (self.clock.now(), format!("links:{}", admin.institution().id));
        // Counts creations: a new link replaces the one before.
        let limit = self.config.quotas.invitations_per_day;
        if more > limit {
            return Err(AppError::refused(format!(
                "This server allows {limit} invitations and links a day, and these are {more}. Split the list, or ask your Entrepost host to raise the limit."
            ))
            .into());
        }
        let (count, _) = self.store.count_within(&subject, more, now, now.plus_ms(-DAY_MS)).await?;
        if count > limit {
            self.uncount_invitations(admin, more).await?;
            let made = count - more;
            return Err(AppError::refused(format!(
                "{made} invitations and links were made in the last day, and this server allows {limit} a day. Try again tomorrow, or ask your Entrepost host to raise the limit."
            ))
            .into());
        }
        Ok(())
    }
}
