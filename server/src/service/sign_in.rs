//! The sign-in at Microsoft: begin, complete, decide.

use std::sync::Arc;
use std::time::Duration;

use app::backend::{Callback, Decision, Departure, SignedIn, Visitor};
use app::error::AppError;
use app::model::{
    AttemptId, AttemptKind, CheckKind, CheckStatus, GuideStep, MailboxId, Notice, Outcome, Provider, Stage, TenantId,
    Tone,
};

use super::{OrInternal, Services, internal, sessions};
use crate::clock::sha256;
use crate::diagnosis::Fault;
use crate::identity::{Identity, OAuthError, SignIn, Tokens as Granted};
use crate::store::{Attempt, Check, NewAttempt, NewMailbox, Registration, Resting, Slot};
use crate::tokens::{AccessToken, Tokens, grant_place};
use crate::vault::{Place, Secret};

/// After which the checks start even if no page asked for them.
const START_ANYWAY: Duration = Duration::from_secs(5);

/// Where a page continues when the sign-in cannot be: notice and path.
type Elsewhere = (Notice, String);

pub(super) fn attempt_place(column: &'static str, id: AttemptId) -> Place {
    Place::new("attempts", column, id)
}

impl Services {
    /// The registration in use; an institution without one cannot connect anything.
    pub(super) async fn ready_registration(&self, me: &SignedIn) -> Result<Registration, AppError> {
        let institution = me.institution().id;
        let settings = self.store.email_settings(institution).await.or_internal(self)?;
        let registration = self.store.registration(institution, Slot::Current).await.or_internal(self)?;
        match registration {
            Some(registration) if settings.provider == Provider::ExchangeOnline => Ok(registration),
            _ => {
                Err(AppError::refused("Your institution has not set up MS Exchange Online yet. Ask an administrator."))
            }
        }
    }

    /// Makes an attempt and the address at Microsoft to send the browser to.
    pub(super) async fn begin_sign_in(
        &self,
        me: &SignedIn,
        visitor: &Visitor,
        (kind, address): (AttemptKind, &str),
        prompt: &'static str,
    ) -> Result<Departure, AppError> {
        let registration = self.ready_registration(me).await?;
        let credentials = self.tokens.credentials(&registration).or_internal(self)?;
        let (id, now) = (AttemptId(self.clock.uuid()), self.clock.now());
        let (state, nonce, verifier) =
            (self.clock.token(), Secret::new(self.clock.token()), Secret::new(self.clock.token()));
        let redirect_uri = self.redirect_uri(&me.institution().public_url);
        let url = if kind == AttemptKind::Consent {
            self.entra.admin_consent_url(credentials.client_id, &credentials.tenant, &redirect_uri, &state)
        } else {
            let sign_in = SignIn {
                redirect_uri: &redirect_uri,
                state: &state,
                nonce: nonce.expose(),
                verifier: &verifier,
                login_hint: address,
                prompt,
            };
            self.entra.authorize_url(&credentials, &sign_in).await
        };
        let url = url.map_err(|error| {
            let diagnosis = Fault::identity(&error, now).explain(&self.reader(me, address));
            AppError::refused(format!("{} {}", diagnosis.title, diagnosis.summary))
        })?;
        let browser = visitor.browser_token.clone().unwrap_or_else(|| self.clock.token());
        let seal = |column, secret: &Secret| self.vault.seal(&attempt_place(column, id), secret);
        let lifetime = i64::try_from(self.config.sign_in_lifetime.as_millis()).unwrap_or(600_000);
        let new = NewAttempt {
            id,
            user: me.user(),
            kind,
            stage: Stage::SigningIn,
            address: address.to_owned(),
            automatic: false,
            client_id: registration.client_id.to_string(),
            tenant_id: registration.tenant_id.to_string(),
            sign_in: Some((
                sha256(&state),
                sha256(&browser),
                seal("verifier_sealed", &verifier).or_internal(self)?,
                seal("nonce_sealed", &nonce).or_internal(self)?,
            )),
            mailbox: None,
            callback_expires_at: now.plus_ms(lifetime),
        };
        let mut tx = self.store.begin().await.or_internal(self)?;
        self.store.add_attempt(&mut tx, me.institution().id, &new, now).await.or_internal(self)?;
        tx.commit().await.or_internal(self)?;
        Ok(Departure { url: url.into(), cookie: sessions::cookie(self, sessions::BROWSER, &browser, lifetime / 1000) })
    }

    /// Completes a sign-in. The state is used up first, whatever else came with it.
    pub(super) async fn complete_sign_in(
        self: &Arc<Self>,
        visitor: &Visitor,
        callback: Callback,
        run: bool,
    ) -> Result<String, Elsewhere> {
        let Some(me) = visitor.person.clone() else {
            let text = "Sign in, then press Configure & Test again. Nothing was connected.";
            return Err((Notice::new(Tone::Warning, "You are signed out of Entrepost.", text), "/login".into()));
        };
        let failed = |error: AppError| {
            (Notice::new(Tone::Problem, "That did not work.", error.to_string()), "/account/email".to_owned())
        };
        let attempt = self.claim(visitor, &me, &callback.state).await?;
        // What belongs to the institution is for administrators, also at the end of a sign-in that began as one.
        if attempt.kind != AttemptKind::Personal && me.administrator().is_err() {
            if let Err(error) =
                self.store.finish_attempt(attempt.institution, attempt.id, Outcome::Abandoned, self.clock.now()).await
            {
                tracing::error!("{error}");
            }
            return Err(failed(AppError::Forbidden));
        }
        if attempt.kind == AttemptKind::Consent {
            return Err(self.consent_returned(&me, &attempt, &callback).await.map_err(failed)?);
        }
        let path = attempt.kind.path(attempt.id);
        let outcome = self.exchange(&me, &attempt, callback).await.map_err(failed)?;
        let signed_in = match outcome {
            Ok(signed_in) => signed_in,
            Err(fault) => {
                let check = Check {
                    kind: CheckKind::SignIn,
                    status: CheckStatus::Failed,
                    detail: String::new(),
                    duration_ms: None,
                    fault: Some(fault.to_json()),
                };
                self.end_with(&attempt, check).await.map_err(failed)?;
                return Ok(path);
            }
        };
        let ready = self.signed_in(&me, &attempt, signed_in).await.map_err(failed)?;
        if ready && run {
            self.spawn_run(me, attempt.id);
        } else if ready {
            // The page starts the checks and streams them. Should its tab be closed before that, they start by themselves.
            let (services, id) = (Arc::clone(self), attempt.id);
            self.tasks.spawn(async move {
                tokio::select! {
                    () = tokio::time::sleep(START_ANYWAY) => services.spawn_run(me, id),
                    () = services.stop.cancelled() => {}
                }
            });
        }
        Ok(path)
    }

    /// Uses up the state and checks time, browser and person.
    async fn claim(&self, visitor: &Visitor, me: &SignedIn, state: &str) -> Result<Attempt, Elsewhere> {
        let page = "/account/email".to_owned();
        let refuse = |title: &str, text: &str| (Notice::new(Tone::Problem, title, text), page.clone());
        let found = self.store.take_state(me.institution().id, &sha256(state)).await;
        let found = found.map_err(|error| refuse("That did not work.", &internal(&self.clock, &error).to_string()))?;
        let Some(attempt) = found else {
            return Err(refuse(
                "This sign-in cannot be used any more.",
                "It was completed before, or it was not started here. Nothing was changed. Press Configure & Test to start again.",
            ));
        };
        let browser = visitor.browser_token.as_deref().map(sha256);
        let problem = if attempt.user != me.user() {
            Some((
                "This sign-in belongs to somebody else.",
                "It was started by another person. Nothing was connected. Press Configure & Test to start your own.",
            ))
        } else if browser.is_none() || browser != attempt.browser_sha256 {
            Some((
                "This sign-in was started in another browser.",
                "Nothing was connected. Press Configure & Test here to start again.",
            ))
        } else if attempt.callback_expires_at < self.clock.now() {
            Some((
                "The sign-in took too long.",
                "It has to be completed within ten minutes. Nothing was connected. Press Configure & Test to start again.",
            ))
        } else {
            None
        };
        let Some((title, text)) = problem else { return Ok(attempt) };
        if let Err(error) =
            self.store.finish_attempt(attempt.institution, attempt.id, Outcome::Abandoned, self.clock.now()).await
        {
            tracing::error!("{error}");
        }
        Err(refuse(title, text))
    }

    async fn consent_returned(
        &self,
        me: &SignedIn,
        attempt: &Attempt,
        callback: &Callback,
    ) -> Result<Elsewhere, AppError> {
        let page = "/institution/config/general/email".to_owned();
        let granted = callback.error.is_none()
            && callback.admin_consent.as_deref().is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let outcome = if granted { Outcome::Passed } else { Outcome::Failed };
        self.store
            .finish_attempt(attempt.institution, attempt.id, outcome, self.clock.now())
            .await
            .or_internal(self)?;
        if granted {
            self.prove_steps(attempt.institution, &[GuideStep::Consent]).await.or_internal(self)?;
            let text = "Microsoft says that consent is given for everybody. Connecting a mailbox proves it.";
            return Ok((Notice::new(Tone::Success, "Admin consent is granted.", text), page));
        }
        let error = oauth_error(callback);
        let diagnosis = Fault::callback(&error, self.clock.now()).explain(&self.reader(me, ""));
        let text = format!("{} {}", diagnosis.summary, error.error_description.unwrap_or_default());
        Ok((Notice::new(Tone::Problem, "Admin consent was not granted.", text), page))
    }

    /// Checks what came back, exchanges the code, validates the id_token. The inner error is a fault of the sign-in.
    async fn exchange(
        &self,
        me: &SignedIn,
        attempt: &Attempt,
        callback: Callback,
    ) -> Result<Result<(Granted, Identity, Registration), Fault>, AppError> {
        let now = self.clock.now();
        if callback.error.is_some() {
            return Ok(Err(Fault::callback(&oauth_error(&callback), now)));
        }
        let registration = self.ready_registration(me).await?;
        if !Tokens::fits(&registration, &attempt.client_id, &attempt.tenant_id) {
            return Ok(Err(Fault::new("registration_changed", now, &[])));
        }
        let credentials = self.tokens.credentials(&registration).or_internal(self)?;
        if let Some(iss) = &callback.iss {
            match self.entra.issuer_matches(&credentials.tenant, iss).await {
                Ok(true) => {}
                Ok(false) => {
                    return Ok(Err(Fault::new("issuer_mismatch", now, &[("Issuer", iss.chars().take(200).collect())])));
                }
                Err(error) => return Ok(Err(Fault::identity(&error, now))),
            }
        }
        let Some(code) = callback.code.filter(|code| !code.is_empty()).map(Secret::new) else {
            return Ok(Err(Fault::new("start_over", now, &[("Answer", "no code came back".into())])));
        };
        let open = |column, sealed: &Option<String>| {
            self.vault.open(&attempt_place(column, attempt.id), sealed.as_deref().unwrap_or_default())
        };
        let verifier = open("verifier_sealed", &attempt.verifier_sealed).or_internal(self)?;
        let nonce = open("nonce_sealed", &attempt.nonce_sealed).or_internal(self)?;
        let redirect_uri = self.redirect_uri(&me.institution().public_url);
        let granted = match self.entra.exchange(&credentials, &code, &verifier, &redirect_uri).await {
            Ok(granted) => granted,
            Err(error) => return Ok(Err(Fault::identity(&error, now))),
        };
        let tenant: TenantId = registration.tenant_id;
        match self.entra.identify(&credentials, tenant, granted.id_token.as_ref(), &nonce).await {
            Ok(Ok(identity)) => Ok(Ok((granted, identity, registration))),
            Ok(Err(error)) => Ok(Err(Fault::id_token(&error, now))),
            Err(error) => Ok(Err(Fault::identity(&error, now))),
        }
    }

    /// Compares who signed in with who was expected, and keeps the grant where it belongs. `true`: the checks may run.
    async fn signed_in(
        &self,
        me: &SignedIn,
        attempt: &Attempt,
        (granted, identity, registration): (Granted, Identity, Registration),
    ) -> Result<bool, AppError> {
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
        self.prove_steps(attempt.institution, &[GuideStep::RedirectUri]).await.or_internal(self)?;
        let Some(refresh) = granted.refresh.clone() else {
            let fault = Fault::new("no_refresh_token", now, &[("Answer", "no refresh_token".into())]);
            let check = Check {
                kind: CheckKind::Token,
                status: CheckStatus::Failed,
                detail: String::new(),
                duration_ms: None,
                fault: Some(fault.to_json()),
            };
            self.end_with(attempt, check).await?;
            return Ok(false);
        };
        let expected =
            app::model::EmailAddress::parse(&attempt.address).map_err(|error| internal(&self.clock, &error))?;
        if !identity.names.iter().any(|name| expected.same_as(name)) {
            return self.let_decide(attempt, &identity, &refresh).await.map(|()| false);
        }
        let detail = if expected.same_as(&identity.sign_in_name) {
            "signed in as the address you typed".to_owned()
        } else {
            format!("{} signs in as {}", attempt.address, identity.sign_in_name)
        };
        let Some(mailbox) = self.keep_grant(me, attempt, &identity, &refresh, &registration).await? else {
            let fault = Fault::new("address_taken", now, &[("Address", attempt.address.clone())]);
            let check = Check {
                kind: CheckKind::Identity,
                status: CheckStatus::Failed,
                detail: "connected by somebody else".into(),
                duration_ms: None,
                fault: Some(fault.to_json()),
            };
            self.end_with(attempt, check).await?;
            return Ok(false);
        };
        self.tokens.remember(mailbox, AccessToken::from(&granted));
        self.put_check(attempt, passed(CheckKind::Identity, detail, Some(self.clock.now().since_ms(now)))).await?;
        Ok(true)
    }

    /// Another account signed in: its grant waits sealed on the attempt until the person decides.
    async fn let_decide(&self, attempt: &Attempt, identity: &Identity, refresh: &Secret) -> Result<(), AppError> {
        let lifetime = i64::try_from(self.config.sign_in_lifetime.as_millis()).unwrap_or(600_000);
        let rest = Resting {
            stage: Stage::Deciding,
            address: attempt.address.clone(),
            prove_address: false,
            sign_in_name: identity.sign_in_name.clone(),
            subject: identity.subject.clone(),
            grant_sealed: Some(self.vault.seal(&attempt_place("grant_sealed", attempt.id), refresh).or_internal(self)?),
            grant_expires_at: Some(self.clock.now().plus_ms(lifetime)),
            mailbox: None,
        };
        let mut tx = self.store.begin().await.or_internal(self)?;
        self.store.rest_attempt(&mut tx, attempt.institution, attempt.id, &rest).await.or_internal(self)?;
        tx.commit().await.or_internal(self)?;
        let detail = format!("{} signed in, {} was expected", identity.sign_in_name, attempt.address);
        self.put_check(
            attempt,
            Check { kind: CheckKind::Identity, status: CheckStatus::Failed, detail, duration_ms: None, fault: None },
        )
        .await
    }

    /// Stores the mailbox with its sealed refresh token. `None`: it belongs to somebody else.
    pub(super) async fn keep_grant(
        &self,
        me: &SignedIn,
        attempt: &Attempt,
        identity: &Identity,
        refresh: &Secret,
        registration: &Registration,
    ) -> Result<Option<MailboxId>, AppError> {
        let (institution, now) = (attempt.institution, self.clock.now());
        // Somebody may have been disabled while the test message was on its way.
        let owner = self.store.user(institution, me.user()).await.or_internal(self)?;
        if owner.is_none_or(|owner| owner.disabled_at.is_some()) {
            return Err(AppError::NotSignedIn);
        }
        let mut tx = self.store.begin().await.or_internal(self)?;
        let new = NewMailbox {
            id: MailboxId(self.clock.uuid()),
            user: me.user(),
            kind: attempt.kind,
            address: attempt.address.clone(),
            sign_in_name: identity.sign_in_name.clone(),
            subject: identity.subject.clone(),
            client_id: registration.client_id.to_string(),
            tenant_id: registration.tenant_id.to_string(),
            refresh_token_sealed: String::new(),
            next_test_at: now.plus_ms(i64::try_from(self.config.retest_interval.as_millis()).unwrap_or(3_600_000)),
        };
        let Some(id) = self.store.put_mailbox(&mut tx, institution, &new, now).await.or_internal(self)? else {
            return Ok(None);
        };
        let sealed = self.vault.seal(&grant_place(id), refresh).or_internal(self)?;
        self.store.replace_grant(&mut tx, institution, id, &sealed).await.or_internal(self)?;
        let rest = Resting {
            // A proof runs on; a sign-in waits for its checks.
            stage: if attempt.prove_address { Stage::Running } else { Stage::Ready },
            address: attempt.address.clone(),
            prove_address: attempt.prove_address,
            sign_in_name: identity.sign_in_name.clone(),
            subject: identity.subject.clone(),
            grant_sealed: None,
            grant_expires_at: None,
            mailbox: Some(id),
        };
        self.store.rest_attempt(&mut tx, institution, attempt.id, &rest).await.or_internal(self)?;
        tx.commit().await.or_internal(self)?;
        self.tokens.forget(id);
        Ok(Some(id))
    }

    /// Records a failed check and ends the attempt.
    async fn end_with(&self, attempt: &Attempt, check: Check) -> Result<(), AppError> {
        self.put_check(attempt, check).await?;
        for kind in CheckKind::ALL {
            let checks = self.store.checks(attempt.institution, attempt.id).await.or_internal(self)?;
            if checks
                .iter()
                .any(|check| check.kind == kind && matches!(check.status, CheckStatus::Waiting | CheckStatus::Running))
            {
                let not_run =
                    Check { kind, status: CheckStatus::NotRun, detail: String::new(), duration_ms: None, fault: None };
                self.put_check(attempt, not_run).await?;
            }
        }
        self.store
            .finish_attempt(attempt.institution, attempt.id, Outcome::Failed, self.clock.now())
            .await
            .or_internal(self)?;
        self.watchers.changed(attempt.id);
        Ok(())
    }

    pub(super) async fn put_check(&self, attempt: &Attempt, check: Check) -> Result<(), AppError> {
        self.store.put_check(attempt.institution, attempt.id, &check).await.or_internal(self)?;
        self.watchers.changed(attempt.id);
        Ok(())
    }

    /// Carries out what the person decided when another account signed in.
    pub(super) async fn decided(
        self: &Arc<Self>,
        me: &SignedIn,
        visitor: &Visitor,
        id: AttemptId,
        decision: Decision,
    ) -> Result<Result<String, Departure>, AppError> {
        let attempt = self.attempt_for(me, id).await?;
        let gone = || {
            AppError::refused(
                "This sign-in waited too long, or was decided already. Press Configure & Test to start again.",
            )
        };
        if decision == Decision::SignInAgain {
            if attempt.stage != Stage::Deciding || attempt.user != me.user() {
                return Err(gone());
            }
            let departure = self.begin_sign_in(me, visitor, (attempt.kind, &attempt.address), "login").await?;
            self.store
                .finish_attempt(attempt.institution, id, Outcome::Abandoned, self.clock.now())
                .await
                .or_internal(self)?;
            return Ok(Err(departure));
        }
        let alive = attempt.user == me.user()
            && attempt.stage == Stage::Deciding
            && attempt.grant_expires_at.is_some_and(|until| until >= self.clock.now());
        let Some(sealed) = attempt.grant_sealed.as_deref().filter(|_| alive) else { return Err(gone()) };
        let mut tx = self.store.begin().await.or_internal(self)?;
        if !self
            .store
            .move_attempt(&mut tx, attempt.institution, id, Stage::Deciding, Stage::Ready)
            .await
            .or_internal(self)?
        {
            return Err(gone());
        }
        if decision == Decision::UseSignedIn {
            let allowed = self.store.email_settings(attempt.institution).await.or_internal(self)?.allow_other_address
                && attempt.kind == AttemptKind::Personal;
            if !allowed {
                return Err(AppError::refused("Your institution does not allow another address than your account's."));
            }
            if app::model::EmailAddress::parse(&attempt.sign_in_name).is_err() {
                return Err(AppError::refused(
                    "The name that signed in is not an email address. Type the mailbox's address and start again.",
                ));
            }
            tx.commit().await.or_internal(self)?;
            let registration = self.ready_registration(me).await?;
            if !Tokens::fits(&registration, &attempt.client_id, &attempt.tenant_id) {
                return Err(gone());
            }
            let refresh = self.vault.open(&attempt_place("grant_sealed", id), sealed).or_internal(self)?;
            let identity = Identity {
                sign_in_name: attempt.sign_in_name.clone(),
                names: Vec::new(),
                subject: attempt.subject.clone(),
            };
            let instead = Attempt { address: attempt.sign_in_name.clone(), ..attempt };
            if self.keep_grant(me, &instead, &identity, &refresh, &registration).await?.is_none() {
                let fault = Fault::new("address_taken", self.clock.now(), &[("Address", instead.address.clone())]);
                let check = Check {
                    kind: CheckKind::Identity,
                    status: CheckStatus::Failed,
                    detail: "connected by somebody else".into(),
                    duration_ms: None,
                    fault: Some(fault.to_json()),
                };
                self.end_with(&instead, check).await?;
                return Ok(Ok(instead.kind.path(id)));
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
            let rest = Resting {
                stage: Stage::Ready,
                address: attempt.address.clone(),
                prove_address: true,
                sign_in_name: attempt.sign_in_name.clone(),
                subject: attempt.subject.clone(),
                grant_sealed: attempt.grant_sealed.clone(),
                grant_expires_at: attempt.grant_expires_at,
                mailbox: None,
            };
            self.store.rest_attempt(&mut tx, attempt.institution, id, &rest).await.or_internal(self)?;
            tx.commit().await.or_internal(self)?;
            let detail =
                format!("{} signed in; the test message has to prove {}", attempt.sign_in_name, attempt.address);
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
        // Without JavaScript nobody else would start the checks; with it, the page finds them running.
        self.spawn_run(me.clone(), id);
        Ok(Ok(attempt_path(self, me, id).await?))
    }
}

async fn attempt_path(services: &Services, me: &SignedIn, id: AttemptId) -> Result<String, AppError> {
    Ok(services.attempt_for(me, id).await?.kind.path(id))
}

fn oauth_error(callback: &Callback) -> OAuthError {
    let cut = |text: &Option<String>| text.as_ref().map(|text| text.chars().take(2000).collect::<String>());
    OAuthError {
        error: cut(&callback.error).unwrap_or_else(|| "no answer".into()),
        error_description: cut(&callback.error_description),
        ..OAuthError::default()
    }
}
