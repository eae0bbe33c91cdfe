//! The user's decision after another account than the expected one signed in.

use std::sync::Arc;

use app::backend::{BackendError, Decision, NextPage, Result, SignedIn, Visitor};
use app::error::AppError;
use app::model::{AttemptId, AttemptKind, CheckKind, CheckStatus, EmailAddress, Outcome, Stage};

use super::attempt_place;
use crate::identity::{Identity, Prompt};
use crate::service::Services;
use crate::store::{Attempt, Check, Resting};

impl Services {
    pub(in crate::service) async fn decided(
        self: &Arc<Self>,
        user: &SignedIn,
        visitor: &Visitor,
        id: AttemptId,
        decision: Decision,
    ) -> Result<NextPage> {
        let attempt = self.attempt_for(user, id).await?;
        let gone = || {
            let text = "This sign-in timed out, or you already chose. Press Configure & Test to start again.";
            BackendError::from(AppError::refused(text))
        };
        if attempt.user != user.user_id() {
            return Err(AppError::refused(
                "Another administrator started this sign-in and has to choose. Press Configure & Test to start your own.",
            ).into());
        }
        if decision == Decision::SignInAgain {
            if attempt.stage != Stage::Deciding || attempt.user != user.user_id() {
                return Err(gone());
            }
            let redirect =
                self.begin_sign_in(user, visitor, attempt.kind, &attempt.address, Some(Prompt::Login)).await?;
            self.store.finish_attempt(attempt.institution, id, Outcome::Abandoned, self.clock.now()).await?;
            return Ok(NextPage::Provider(redirect));
        }
        let alive = attempt.user == user.user_id()
            && attempt.stage == Stage::Deciding
            && attempt.grant_expires_at.is_some_and(|until| until >= self.clock.now());
        let Some(sealed) = attempt.grant_sealed.as_deref().filter(|_| alive) else { return Err(gone()) };
        let mut tx = self.store.begin().await?;
        if !self.store.move_attempt(&mut tx, attempt.institution, id, Stage::Deciding, Stage::Ready).await? {
            return Err(gone());
        }
        if decision == Decision::UseSignedIn {
            let allowed = self.store.email_settings(attempt.institution).await?.allow_other_address
                && attempt.kind == AttemptKind::Personal;
            if !allowed {
                return Err(AppError::refused("Your institution allows only your Entrepost address.").into());
            }
            if EmailAddress::parse(&attempt.sign_in_name).is_err() {
                return Err(AppError::refused(
                    "The sign-in name isn't an email address. Enter the mailbox's address and start again.",
                )
                .into());
            }
        }
        // The `email` claim alone proves nothing: a message must.
        if decision == Decision::UseSignedIn && !attempt.prove_address {
            tx.commit().await?;
            let registration = self.ready_registration(user).await?;
            if registration.app() != attempt.app {
                return Err(gone());
            }
            let refresh = self.vault.open(&attempt_place("grant_sealed", id), sealed)?;
            let identity = Identity {
                sign_in_name: attempt.sign_in_name.clone(),
                names: Vec::new(),
                email: None,
                subject: attempt.subject.clone(),
                name: None,
                is_guest: false,
            };
            let instead = Attempt { address: attempt.sign_in_name.clone(), ..attempt };
            if self.keep_grant(user, &instead, &identity, &refresh, &registration).await?.is_none() {
                self.end_as_taken(&instead).await?;
                return Ok(NextPage::Path(instead.kind.path(id)));
            }
            let check = Check {
                kind: CheckKind::Identity,
                status: CheckStatus::Passed,
                detail: "the account that signed in, as you chose".into(),
                duration_ms: None,
                fault: None,
            };
            self.put_check(&instead, check).await?;
        } else {
            let uses_signed_in = decision == Decision::UseSignedIn;
            let address = if uses_signed_in { attempt.sign_in_name.clone() } else { attempt.address.clone() };
            let rest = Resting {
                stage: Stage::Ready,
                address: address.clone(),
                prove_address: true,
                sign_in_name: attempt.sign_in_name.clone(),
                subject: attempt.subject.clone(),
                grant_sealed: attempt.grant_sealed.clone(),
                grant_expires_at: attempt.grant_expires_at,
                mailbox: None,
            };
            if !self.store.rest_attempt(&mut tx, attempt.institution, id, &rest).await? {
                return Err(AppError::NotSignedIn.into());
            }
            tx.commit().await?;
            let detail = format!("{} signed in; the test message has to confirm {address}", attempt.sign_in_name);
            self.put_check(
                &attempt,
                Check {
                    kind: CheckKind::Identity,
                    status: CheckStatus::Running,
                    detail,
                    duration_ms: None,
                    fault: None,
                },
            )
            .await?;
        }
        // Without JavaScript nothing else would start the checks; with it, the page finds them running.
        self.spawn_run(user.clone(), id);
        Ok(NextPage::Path(self.attempt_for(user, id).await?.kind.path(id)))
    }
}
