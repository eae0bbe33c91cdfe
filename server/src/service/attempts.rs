//! Attempts as pages show them, and their live updates.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use app::backend::{AttemptStream, Result, SignedIn};
use app::error::AppError;
use app::model::{
    AccountChoice, AttemptId, AttemptKind, AttemptSummary, AttemptView, CheckKind, CheckStatus, CheckView,
    MailboxState, Outcome, Stage,
};
use futures::stream;
use tokio::sync::Notify;

use super::Services;
use crate::diagnosis::Fault;
use crate::store::{Attempt, MailboxKey, Page};

/// Newest attempts of a person that are loaded.
pub(super) const NEWEST: Page = Page::newest(100);
/// Attempts on one page of their list.
pub(super) const PAGE: usize = 50;

/// Poll interval for an attempt that runs on another replica.
const POLL: Duration = Duration::from_secs(1);

/// Wakes the streams that follow an attempt in this process.
#[derive(Default)]
pub struct Watchers(Mutex<HashMap<AttemptId, Arc<Notify>>>);

impl Watchers {
    fn of(&self, id: AttemptId) -> Arc<Notify> {
        Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default())
    }

    pub(super) fn changed(&self, id: AttemptId) {
        if let Some(notify) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            notify.notify_waiters();
        }
    }

    pub(super) fn forget(&self, id: AttemptId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

impl Services {
    /// An attempt that the user may see: their own, or one of the institution's notifications for an administrator.
    pub(super) async fn attempt_for(&self, user: &SignedIn, id: AttemptId) -> Result<Attempt> {
        let attempt = self.store.attempt(user.institution().id, id).await?.ok_or(AppError::NotFound)?;
        let allowed = match attempt.kind {
            AttemptKind::Personal => attempt.user == user.user_id(),
            AttemptKind::Notifications | AttemptKind::Pair => user.administrator().is_ok(),
            AttemptKind::Consent => false,
        };
        if allowed { Ok(attempt) } else { Err(AppError::NotFound.into()) }
    }

    pub(super) async fn attempt_view(&self, user: &SignedIn, attempt: &Attempt) -> Result<AttemptView> {
        let institution = user.institution().id;
        let checks = self.store.checks(institution, attempt.id).await?;
        let now = self.clock.now();
        let died = attempt.stage == Stage::Running && attempt.lease_until.is_some_and(|until| until < now);
        let too_late = attempt.stage == Stage::SigningIn && attempt.callback_expires_at < now
            || attempt.stage == Stage::Deciding && attempt.grant_expires_at.is_some_and(|until| until < now);
        let (stage, outcome) =
            if died || too_late { (Stage::Finished, Outcome::Abandoned) } else { (attempt.stage, attempt.outcome) };
        let mut reader = self.reader(user, &attempt.address);
        if checks.iter().any(|check| check.fault.is_some()) {
            reader.consent_link = self.consent_link(user.institution()).await?;
        }
        let mut diagnoses: Vec<_> =
            checks.iter().filter_map(|check| check.fault.as_ref()).map(|fault| fault.explain(&reader)).collect();
        // While an address is being proven, a failure needs no action: the address is not the person's.
        if diagnoses.iter().any(|diagnosis| diagnosis.cause == "address_unproven") {
            diagnoses.retain(|diagnosis| diagnosis.cause == "address_unproven");
        }
        let ran = checks.iter().any(|check| check.kind == CheckKind::Token && check.status != CheckStatus::Waiting);
        if outcome == Outcome::Abandoned && ran && diagnoses.is_empty() {
            diagnoses.push(Fault::new("interrupted", attempt.finished_at.unwrap_or(now), &[]).explain(&reader));
        }
        let mailbox = match attempt.mailbox {
            Some(id) => self.store.mailbox(MailboxKey { institution, id }).await?,
            None => None,
        };
        let choice = (stage == Stage::Deciding).then_some(attempt.grant_expires_at).flatten().map(|expires_at| {
            AccountChoice { signed_in_as: attempt.sign_in_name.clone(), may_use_instead: false, expires_at }
        });
        let choice = match choice {
            Some(choice) => {
                let allowed = self.store.email_settings(institution).await?.allow_other_address;
                Some(AccountChoice { may_use_instead: allowed && attempt.kind == AttemptKind::Personal, ..choice })
            }
            None => None,
        };
        let checks = checks
            .into_iter()
            .map(|check| CheckView {
                kind: check.kind,
                status: if stage == Stage::Finished
                    && matches!(check.status, CheckStatus::Waiting | CheckStatus::Running)
                {
                    CheckStatus::NotRun
                } else {
                    check.status
                },
                detail: check.detail,
                duration_ms: check.duration_ms,
            })
            .collect();
        Ok(AttemptView {
            id: attempt.id,
            kind: attempt.kind,
            stage,
            outcome,
            address: attempt.address.clone(),
            checks,
            diagnoses,
            choice,
            grant_kept: mailbox.as_ref().is_some_and(|mailbox| mailbox.state != MailboxState::NeedsReconnect),
            mailbox: mailbox.as_ref().map(|mailbox| mailbox.id),
            mailbox_state: mailbox.map(|mailbox| mailbox.state),
            created_at: attempt.created_at,
            finished_at: attempt.finished_at,
            for_administrator: reader.administrator,
        })
    }

    pub(super) async fn summaries(&self, attempts: Vec<Attempt>) -> Result<Vec<AttemptSummary>> {
        let mut summaries = Vec::with_capacity(attempts.len());
        for attempt in attempts {
            let checks = self.store.checks(attempt.institution, attempt.id).await?;
            let failed = checks.iter().find(|check| check.status == CheckStatus::Failed);
            summaries.push(AttemptSummary {
                id: attempt.id,
                kind: attempt.kind,
                address: attempt.address,
                created_at: attempt.created_at,
                outcome: attempt.outcome,
                stage: attempt.stage,
                automatic: attempt.automatic,
                failed_at: failed.map(|check| check.kind.label(check.status).to_owned()),
            });
        }
        Ok(summaries)
    }

    /// A snapshot at each change, until the attempt finishes or needs a decision, or the server stops.
    pub(super) fn follow_attempt(self: &Arc<Self>, user: SignedIn, id: AttemptId) -> AttemptStream {
        struct Following {
            services: Arc<Services>,
            user: SignedIn,
            id: AttemptId,
            last: Option<AttemptView>,
        }
        let start = Following { services: Arc::clone(self), user, id, last: None };
        Box::pin(stream::unfold(start, |mut following| async move {
            if following.last.as_ref().is_some_and(|view| matches!(view.stage, Stage::Finished | Stage::Deciding)) {
                following.services.watchers.forget(following.id);
                return None;
            }
            let notify = following.services.watchers.of(following.id);
            loop {
                // Registers before reading, so that no change is missed.
                let changed = notify.notified();
                if !following.services.lives(&following.user).await {
                    return None;
                }
                let attempt = following.services.attempt_for(&following.user, following.id).await.ok()?;
                let view = following.services.attempt_view(&following.user, &attempt).await.ok()?;
                if following.last.as_ref() != Some(&view) {
                    following.last = Some(view.clone());
                    return Some((view, following));
                }
                tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep(POLL) => {}
                    () = following.services.stop.cancelled() => return None,
                }
            }
        }))
    }
}
