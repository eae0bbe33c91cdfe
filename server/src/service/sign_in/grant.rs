//! The grant of a sign-in: compares the account with the expected one, and stores the grant.

use app::backend::{BackendError, Result, SignedIn};
use app::error::AppError;
use app::model::{
    AttemptKind, AuditAction, CheckKind, CheckStatus, EmailAddress, GuideStep, MailboxId, Outcome, Stage,
};

use super::person::subject_of;
use super::{MicrosoftSignIn, attempt_place};
use crate::access_tokens::{AccessToken, grant_place};
use crate::diagnosis::Fault;
use crate::identity::Identity;
use crate::service::{Happened, Services, Who};
use crate::store::{Attempt, Check, MailboxKey, NewMailbox, Registration, Resting, SendQueue};
use crate::vault::Secret;

impl Services {
    /// Compares the account with the expected one and stores the grant. `true`: the checks may run.
    pub(super) async fn signed_in(
        &self,
        user: &SignedIn,
        attempt: &Attempt,
        signed_in: MicrosoftSignIn,
    ) -> Result<bool> {
        let MicrosoftSignIn { granted, identity, registration } = signed_in;
        let now = self.clock.now();
        let passed = |kind, detail: String, duration_ms| Check {
            kind,
            status: CheckStatus::Passed,
            detail,
            duration_ms,
            fault: None,
        };
        let sign_in = passed(CheckKind::SignIn, identity.sign_in_name.clone(), Some(now.since_ms(attempt.created_at)));
        self.put_check(attempt, sign_in).await?;
        self.prove_steps(attempt.institution, &[GuideStep::RedirectUri]).await?;
        let Some(refresh) = granted.refresh.clone() else {
            let fault = Fault::new("no_refresh_token", now, &[("Answer", "no refresh_token".into())]);
            let check = Check {
                kind: CheckKind::Token,
                status: CheckStatus::Failed,
                detail: String::new(),
                duration_ms: None,
                fault: Some(fault),
            };
            self.end_with(attempt, check).await?;
            return Ok(false);
        };
        // The expected account, whatever address was typed.
        let mut tx = self.store.begin().await?;
        let shown = self.store.unlock_mail(&mut tx, attempt.institution, user.user_id(), &identity.subject).await?;
        if shown {
            let happened = Happened::new(AuditAction::MailShown, user.address());
            self.audit(&mut tx, attempt.institution, Who::Person(user), happened).await?;
        }
        tx.commit().await?;
        if shown {
            tracing::info!(user = %user.user_id(), "mail is shown again: the Microsoft account signed in");
        }
        let expected = EmailAddress::parse(&attempt.address).map_err(BackendError::internal)?;
        if !identity.names.iter().any(|name| expected.same_as(name)) {
            // Only the `email` claim names the address: the test message must prove it. Until then no mailbox is stored, so that a claim
            // takes no address.
            if identity.email.as_deref().is_some_and(|email| expected.same_as(email)) {
                self.rest(attempt, &identity, &refresh, Stage::Ready).await?;
                let detail =
                    format!("{} signed in; the test message has to confirm {}", identity.sign_in_name, attempt.address);
                let check = Check {
                    kind: CheckKind::Identity,
                    status: CheckStatus::Running,
                    detail,
                    duration_ms: None,
                    fault: None,
                };
                self.put_check(attempt, check).await?;
                return Ok(true);
            }
            return self.let_decide(attempt, &identity, &refresh).await.map(|()| false);
        }
        let detail = if expected.same_as(&identity.sign_in_name) {
            "the address you typed".to_owned()
        } else {
            format!("{} signs in as {}", attempt.address, identity.sign_in_name)
        };
        let Some(mailbox) = self.keep_grant(user, attempt, &identity, &refresh, &registration).await? else {
            self.end_as_taken(attempt).await?;
            return Ok(false);
        };
        self.tokens.remember(mailbox, &identity.sign_in_name, &registration.app(), AccessToken::from(&granted));
        self.put_check(attempt, passed(CheckKind::Identity, detail, Some(self.clock.now().since_ms(now)))).await?;
        Ok(true)
    }

    /// Another account signed in: keeps its grant sealed on the attempt until the user decides.
    async fn let_decide(&self, attempt: &Attempt, identity: &Identity, refresh: &Secret) -> Result<()> {
        self.rest(attempt, identity, refresh, Stage::Deciding).await?;
        let detail = format!("{} signed in, {} was expected", identity.sign_in_name, attempt.address);
        self.put_check(
            attempt,
            Check { kind: CheckKind::Identity, status: CheckStatus::Failed, detail, duration_ms: None, fault: None },
        )
        .await
    }

    /// Keeps a grant sealed on its attempt until the user decides or the address is proven.
    async fn rest(&self, attempt: &Attempt, identity: &Identity, refresh: &Secret, stage: Stage) -> Result<()> {
        let lifetime = self.sign_in_ms();
        let rest = Resting {
            stage,
            address: attempt.address.clone(),
            prove_address: stage == Stage::Ready || identity.names.is_empty(),
            sign_in_name: identity.sign_in_name.clone(),
            subject: identity.subject.clone(),
            grant_sealed: Some(self.vault.seal(&attempt_place("grant_sealed", attempt.id), refresh)?),
            grant_expires_at: Some(self.clock.now().plus_ms(lifetime)),
            mailbox: None,
        };
        let mut tx = self.store.begin().await?;
        if !self.store.rest_attempt(&mut tx, attempt.institution, attempt.id, &rest).await? {
            return Err(AppError::NotSignedIn.into());
        }
        Ok(tx.commit().await?)
    }

    /// Stores the mailbox with its sealed refresh token. `None`: it belongs to another person.
    pub(in crate::service) async fn keep_grant(
        &self,
        user: &SignedIn,
        attempt: &Attempt,
        identity: &Identity,
        refresh: &Secret,
        registration: &Registration,
    ) -> Result<Option<MailboxId>> {
        let (institution, now) = (attempt.institution, self.clock.now());
        let mut tx = self.store.begin().await?;
        self.still_signed_in(&mut tx, user).await?;
        let new = NewMailbox {
            id: MailboxId(self.clock.uuid()),
            user: user.user_id(),
            kind: attempt.kind,
            address: attempt.address.clone(),
            sign_in_name: identity.sign_in_name.clone(),
            subject: identity.subject.clone(),
            app: registration.app(),
            refresh_token_sealed: String::new(),
            next_test_at: now.plus_ms(i64::try_from(self.config.retest_interval.as_millis()).unwrap_or(3_600_000)),
        };
        let Some(id) = self.store.put_mailbox(&mut tx, institution, &new, now).await? else {
            return Ok(None);
        };
        let sealed = self.vault.seal(&grant_place(id), refresh)?;
        self.store.replace_grant(&mut tx, MailboxKey { institution, id }, &sealed).await?;
        // Their own mailbox, whose sign-in name is proven: from now on they can sign in with this account. Before their queue is locked.
        let own = EmailAddress::parse(user.address())
            .is_ok_and(|own| own.same_as(&attempt.address) && identity.names.iter().any(|name| own.same_as(name)));
        let subject = subject_of(identity, registration).filter(|_| own && attempt.kind == AttemptKind::Personal);
        let linked = match &subject {
            Some(subject) => self.store.link_microsoft(&mut tx, institution, user.user_id(), subject).await?,
            None => false,
        };
        if attempt.kind == AttemptKind::Personal {
            let queue = SendQueue::of_mailbox(MailboxKey { institution, id });
            self.store.adopt_waiting(&mut tx, &queue, user.user_id(), &attempt.address, now).await?;
        }
        let rest = Resting {
            // A proof continues; a sign-in waits for its checks.
            stage: if attempt.prove_address { Stage::Running } else { Stage::Ready },
            address: attempt.address.clone(),
            prove_address: attempt.prove_address,
            sign_in_name: identity.sign_in_name.clone(),
            subject: identity.subject.clone(),
            grant_sealed: None,
            grant_expires_at: None,
            mailbox: Some(id),
        };
        // If the user was disabled, the attempt has ended: nothing is stored.
        if !self.store.rest_attempt(&mut tx, institution, attempt.id, &rest).await? {
            return Err(AppError::NotSignedIn.into());
        }
        let happened = Happened::new(AuditAction::MailboxConnected, &attempt.address)
            .with("Signed in as", &*identity.sign_in_name)
            .with("For", if attempt.kind == AttemptKind::Notifications { "notifications" } else { "the person" })
            .with("Can sign in with it", if linked { "yes" } else { "no" });
        self.audit(&mut tx, institution, Who::Person(user), happened).await?;
        tx.commit().await?;
        self.tokens.forget(id);
        self.new_mailbox.notify_one();
        Ok(Some(id))
    }

    /// Ends an attempt whose address belongs to another person.
    pub(super) async fn end_as_taken(&self, attempt: &Attempt) -> Result<()> {
        let fault = Fault::new("address_taken", self.clock.now(), &[("Address", attempt.address.clone())]);
        let check = Check {
            kind: CheckKind::Identity,
            status: CheckStatus::Failed,
            detail: "connected by another person".into(),
            duration_ms: None,
            fault: Some(fault),
        };
        self.end_with(attempt, check).await
    }

    pub(super) async fn end_with(&self, attempt: &Attempt, check: Check) -> Result<()> {
        self.put_check(attempt, check).await?;
        for kind in CheckKind::ALL {
            let checks = self.store.checks(attempt.institution, attempt.id).await?;
            if checks
                .iter()
                .any(|check| check.kind == kind && matches!(check.status, CheckStatus::Waiting | CheckStatus::Running))
            {
                let not_run =
                    Check { kind, status: CheckStatus::NotRun, detail: String::new(), duration_ms: None, fault: None };
                self.put_check(attempt, not_run).await?;
            }
        }
        self.store.finish_attempt(attempt.institution, attempt.id, Outcome::Failed, self.clock.now()).await?;
        self.watchers.changed(attempt.id);
        Ok(())
    }

    /// Stores the result of a check, wakes the streams, and logs a failure.
    pub(in crate::service) async fn put_check(&self, attempt: &Attempt, check: Check) -> Result<()> {
        if let Some(fault) = &check.fault {
            fault.log(attempt.id, check.kind.as_str());
        }
        self.store.put_check(attempt.institution, attempt.id, &check).await?;
        self.watchers.changed(attempt.id);
        Ok(())
    }
}
