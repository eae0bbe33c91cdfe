//! The sign-in at Microsoft: begin, complete, decide.

mod decision;
mod grant;
mod person;

use std::sync::Arc;
use std::time::Duration;

use app::backend::{
    BackendError, Callback, Completed, NextPage, ProviderRedirect, Result, SignedIn, TurnedAway, Visitor,
};
use app::error::AppError;
use app::model::{
    ACCOUNT_PATH, AttemptId, AttemptKind, AuditAction, CheckKind, CheckStatus, EMAIL_CONFIG_PATH, GraphUse, GuideStep,
    InstitutionId, LOGIN_PATH, Notice, Outcome, REDIRECT_PATH, Stage, TenantId, Tone,
};

use super::{Happened, Services, Who, sessions};
use crate::clock::sha256;
use crate::diagnosis::Fault;
use crate::identity::{Granted, IdentifyError, Identity, OAuthError, Prompt, Scopes, SignIn};
use crate::store::{Attempt, Check, NewAttempt, NewSignIn, Registration, Slot, StoreError};
use crate::vault::{Place, Secret};

/// Delay after which the checks start without a page.
const START_ANYWAY: Duration = Duration::from_secs(5);

/// How long a new credential may take until Microsoft knows it everywhere, in milliseconds.
const SPREADING_MS: i64 = 60 * 60 * 1000;

pub(super) fn attempt_place(column: &'static str, id: AttemptId) -> Place {
    Place::new("attempts", column, id)
}

pub(super) struct MicrosoftSignIn {
    pub(super) granted: Granted,
    pub(super) identity: Identity,
    pub(super) registration: Registration,
}

/// What an answer of Microsoft is redeemed with.
struct Answer {
    registration: Registration,
    verifier: Secret,
    nonce: Secret,
    redirect_uri: String,
    scopes: Scopes,
}

enum ExchangeError {
    /// Microsoft refused, or its answer is not valid.
    Refused(Fault),
    Backend(BackendError),
}

impl From<Fault> for ExchangeError {
    fn from(fault: Fault) -> Self {
        Self::Refused(fault)
    }
}

impl From<BackendError> for ExchangeError {
    fn from(error: BackendError) -> Self {
        Self::Backend(error)
    }
}

impl From<StoreError> for ExchangeError {
    fn from(error: StoreError) -> Self {
        Self::Backend(error.into())
    }
}

impl Services {
    /// Time limit of a sign-in at Microsoft, in milliseconds.
    fn sign_in_ms(&self) -> i64 {
        i64::try_from(self.config.sign_in_lifetime.as_millis()).unwrap_or(600_000)
    }

    /// The registration in use; required to connect mailboxes.
    pub(super) async fn ready_registration(&self, user: &SignedIn) -> Result<Registration> {
        match self.registration_in_use(user.institution().id).await? {
            Some(registration) => Ok(registration),
            None => Err(AppError::refused(if user.administrator().is_ok() {
                "MS Exchange Online is not set up. Choose it under Email Provider, enter the three values and save."
            } else {
                "Your institution hasn't set up MS Exchange Online yet. Ask an administrator."
            })
            .into()),
        }
    }

    pub(super) async fn begin_sign_in(
        &self,
        user: &SignedIn,
        visitor: &Visitor,
        kind: AttemptKind,
        address: &str,
        prompt: Option<Prompt>,
    ) -> Result<ProviderRedirect> {
        self.begin_sign_in_as(user, visitor, kind, address, address, prompt).await
    }

    /// `hint`: the sign-in name at Microsoft, where it is known.
    async fn begin_sign_in_as(
        &self,
        user: &SignedIn,
        visitor: &Visitor,
        kind: AttemptKind,
        address: &str,
        hint: &str,
        prompt: Option<Prompt>,
    ) -> Result<ProviderRedirect> {
        self.check_attempts(user).await?;
        let registration = self.ready_registration(user).await?;
        let credentials = self.tokens.credentials(user.institution().id, &registration).await?;
        let (id, now) = (AttemptId(self.clock.uuid()), self.clock.now());
        let (state, nonce, verifier) =
            (self.clock.token(), Secret::new(self.clock.token()), Secret::new(self.clock.token()));
        let redirect_uri = self.redirect_uri(&user.institution().public_url);
        let url = if kind == AttemptKind::Consent {
            let graph = self.store.graph_use(user.institution().id).await? != GraphUse::Off;
            self.entra.admin_consent_url(
                &credentials.cloud,
                credentials.client_id,
                &credentials.tenant,
                &redirect_uri,
                &state,
                graph,
            )
        } else {
            let sign_in = SignIn {
                redirect_uri: &redirect_uri,
                state: &state,
                nonce: nonce.expose(),
                verifier: &verifier,
                login_hint: hint,
                prompt,
                scopes: Scopes::Mail,
            };
            self.entra.authorize_url(&credentials, &sign_in).await
        };
        let url = url.map_err(|error| {
            let fault = Fault::identity(&error, now);
            fault.log(address, "start");
            AppError::Diagnosed { diagnosis: Box::new(fault.explain(&self.reader(user, address))) }
        })?;
        let browser = visitor.browser_token.clone().unwrap_or_else(|| self.clock.token());
        let seal = |column, secret: &Secret| self.vault.seal(&attempt_place(column, id), secret);
        let lifetime = self.sign_in_ms();
        let new = NewAttempt {
            id,
            user: user.user_id(),
            kind,
            stage: Stage::SigningIn,
            address: address.to_owned(),
            automatic: false,
            app: registration.app(),
            sign_in: Some(NewSignIn {
                state_sha256: sha256(&state),
                browser_sha256: sha256(&browser),
                verifier_sealed: seal("verifier_sealed", &verifier)?,
                nonce_sealed: seal("nonce_sealed", &nonce)?,
            }),
            mailbox: None,
            callback_expires_at: now.plus_ms(lifetime),
        };
        let mut tx = self.store.begin().await?;
        self.store.add_attempt(&mut tx, user.institution().id, &new, now).await?;
        tx.commit().await?;
        Ok(ProviderRedirect {
            url: url.into(),
            cookie: sessions::cookie(self, sessions::BROWSER, &browser, lifetime / 1000),
        })
    }

    /// Completes a sign-in. Uses up the state first, whatever else arrived.
    pub(super) async fn complete_sign_in(
        self: &Arc<Self>,
        visitor: &Visitor,
        callback: Callback,
        run: bool,
    ) -> Result<Completed, TurnedAway> {
        if let Some(completed) = self.complete_person(visitor, &callback, run).await {
            return Ok(completed);
        }
        let completed = self.complete_attempt(visitor, callback, run).await;
        completed.map(|path| Completed { next: NextPage::Path(path), cookies: Vec::new(), notice: None })
    }

    async fn complete_attempt(
        self: &Arc<Self>,
        visitor: &Visitor,
        callback: Callback,
        run: bool,
    ) -> Result<String, TurnedAway> {
        let Some(user) = visitor.person.clone() else {
            let text = "Sign in, then press Configure & Test again. Nothing was connected.";
            let notice = Notice::new(Tone::Warning, "You've been signed out of Entrepost.", text);
            return Err(TurnedAway { notice, path: LOGIN_PATH.to_owned() });
        };
        let failed = |error: BackendError| TurnedAway {
            notice: Notice::problem(&error.told(&**self).to_string()),
            path: ACCOUNT_PATH.to_owned(),
        };
        let attempt = match self.claim(visitor, &user, &callback.state).await {
            Ok(attempt) => attempt,
            Err(elsewhere) => {
                // Consent may have begun in the portal, with its own state.
                let consent = callback.admin_consent.as_deref().map(|consent| consent.eq_ignore_ascii_case("true"));
                return match consent {
                    Some(true) => Ok(format!("{REDIRECT_PATH}?admin_consent=True")),
                    Some(false) => Ok(format!("{REDIRECT_PATH}?admin_consent=False")),
                    None => Err(self.with_what_was_said(visitor, &callback, elsewhere)),
                };
            }
        };
        // Institution-wide attempts need an administrator also when the sign-in completes.
        if attempt.kind != AttemptKind::Personal && user.administrator().is_err() {
            if let Err(error) =
                self.store.finish_attempt(attempt.institution, attempt.id, Outcome::Abandoned, self.clock.now()).await
            {
                tracing::error!("cannot end an attempt: {error}");
            }
            return Err(failed(AppError::Forbidden.into()));
        }
        if attempt.kind == AttemptKind::Consent {
            return Err(self.consent_returned(&user, &attempt, &callback).await.map_err(failed)?);
        }
        let path = attempt.kind.path(attempt.id);
        let signed_in = match self.exchange(&user, &attempt, callback).await {
            Ok(signed_in) => signed_in,
            Err(ExchangeError::Backend(error)) => return Err(failed(error)),
            Err(ExchangeError::Refused(fault)) => {
                let check = Check {
                    kind: CheckKind::SignIn,
                    status: CheckStatus::Failed,
                    detail: String::new(),
                    duration_ms: Some(self.clock.now().since_ms(attempt.created_at)),
                    fault: Some(fault),
                };
                self.end_with(&attempt, check).await.map_err(failed)?;
                return Ok(path);
            }
        };
        let ready = self.signed_in(&user, &attempt, signed_in).await.map_err(failed)?;
        if ready {
            self.start_checks(user, attempt.id, run);
        }
        Ok(path)
    }

    /// `run`: now. Otherwise the page starts and streams the checks; if it is closed before, they start automatically.
    fn start_checks(self: &Arc<Self>, user: SignedIn, id: AttemptId, run: bool) {
        if run {
            return self.spawn_run(user, id);
        }
        let services = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(START_ANYWAY) => services.spawn_run(user, id),
                () = services.stop.cancelled() => {}
            }
        });
    }

    /// Explains errors of Microsoft also without a known state; trusts nothing in them.
    fn with_what_was_said(&self, visitor: &Visitor, callback: &Callback, turned_away: TurnedAway) -> TurnedAway {
        let TurnedAway { mut notice, path } = turned_away;
        let described = callback.error_description.as_deref().unwrap_or_default();
        let told = callback.error.as_deref().and_then(|error| self.returned(visitor, error, described));
        if let Some((said, ids)) = told {
            notice.text = format!("{} Reason: {} {} {}", notice.text, said.title, said.text, ids.join(" "));
        }
        TurnedAway { notice, path }
    }

    /// Uses up the state; checks expiry, browser and user.
    async fn claim(&self, visitor: &Visitor, user: &SignedIn, state: &str) -> Result<Attempt, TurnedAway> {
        let to_account = |notice| TurnedAway { notice, path: ACCOUNT_PATH.to_owned() };
        let refuse = |title: &str, text: &str| to_account(Notice::new(Tone::Problem, title, text));
        let found = self.store.take_state(user.institution().id, &sha256(state)).await;
        let found =
            found.map_err(|error| to_account(Notice::problem(&BackendError::from(error).told(self).to_string())))?;
        let Some(attempt) = found else {
            return Err(refuse(
                "This sign-in is no longer valid.",
                "It was already completed, or wasn't started here. Nothing was changed. Press Configure & Test to start again.",
            ));
        };
        let browser = visitor.browser_token.as_deref().map(sha256);
        let problem = if attempt.user != user.user_id() {
            Some((
                "This sign-in belongs to another person.",
                "Nothing was connected. Press Configure & Test to start your own.",
            ))
        } else if browser.is_none() || browser != attempt.browser_sha256 {
            Some((
                "This sign-in was started in another browser.",
                "Nothing was connected. Press Configure & Test here to start again.",
            ))
        } else if attempt.callback_expires_at < self.clock.now() {
            Some(("The sign-in took too long.", "Nothing was connected. Press Configure & Test to start again."))
        } else {
            None
        };
        let Some((title, text)) = problem else { return Ok(attempt) };
        if let Err(error) =
            self.store.finish_attempt(attempt.institution, attempt.id, Outcome::Abandoned, self.clock.now()).await
        {
            tracing::error!("cannot end an attempt: {error}");
        }
        Err(refuse(title, text))
    }

    async fn consent_returned(&self, user: &SignedIn, attempt: &Attempt, callback: &Callback) -> Result<TurnedAway> {
        let to_config = |notice| TurnedAway { notice, path: EMAIL_CONFIG_PATH.to_owned() };
        let granted = callback.error.is_none()
            && callback.admin_consent.as_deref().is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let outcome = if granted { Outcome::Passed } else { Outcome::Failed };
        self.store.finish_attempt(attempt.institution, attempt.id, outcome, self.clock.now()).await?;
        if granted {
            self.prove_steps(attempt.institution, &[GuideStep::Consent]).await?;
            let mut tx = self.store.begin().await?;
            self.store.test_consented_now(&mut tx, user.institution().id, self.clock.now()).await?;
            self.store.test_blocked_now(&mut tx, user.institution().id, self.clock.now()).await?;
            let happened = Happened::new(AuditAction::ConsentGranted, "").with("Source", "as Microsoft's answer says");
            self.audit(&mut tx, attempt.institution, Who::Person(user), happened).await?;
            tx.commit().await?;
            let text = "Microsoft says consent was granted for everyone. Connecting a mailbox confirms it.";
            return Ok(to_config(Notice::new(Tone::Success, "Admin consent granted.", text)));
        }
        let error = oauth_error(callback);
        let diagnosis = Fault::callback(&error, self.clock.now()).explain(&self.reader(user, ""));
        let text = format!("{} {}", diagnosis.summary, error.error_description.unwrap_or_default());
        Ok(to_config(Notice::new(Tone::Problem, "Admin consent was not granted.", text)))
    }

    /// Validates the response, exchanges the code, validates the id_token.
    async fn exchange(
        &self,
        user: &SignedIn,
        attempt: &Attempt,
        callback: Callback,
    ) -> Result<MicrosoftSignIn, ExchangeError> {
        let now = self.clock.now();
        if callback.error.is_some() {
            return Err(Fault::callback(&oauth_error(&callback), now).into());
        }
        let registration = self.ready_registration(user).await?;
        if registration.app() != attempt.app {
            return Err(Fault::new("registration_changed", now, &[]).into());
        }
        let open = |column, sealed: &Option<String>| {
            self.vault
                .open(&attempt_place(column, attempt.id), sealed.as_deref().unwrap_or_default())
                .map_err(BackendError::from)
        };
        let answer = Answer {
            registration,
            verifier: open("verifier_sealed", &attempt.verifier_sealed)?,
            nonce: open("nonce_sealed", &attempt.nonce_sealed)?,
            redirect_uri: self.redirect_uri(&user.institution().public_url),
            scopes: Scopes::Mail,
        };
        self.redeem(attempt.institution, &callback, answer).await
    }

    /// Exchanges the code of a response, and validates the id_token.
    async fn redeem(
        &self,
        institution: InstitutionId,
        callback: &Callback,
        answer: Answer,
    ) -> Result<MicrosoftSignIn, ExchangeError> {
        let now = self.clock.now();
        let Answer { registration, verifier, nonce, redirect_uri, scopes } = answer;
        let credentials = self.tokens.credentials(institution, &registration).await.map_err(BackendError::from)?;
        if let Some(iss) = &callback.iss {
            match self.entra.issuer_matches(&credentials, iss).await {
                Ok(true) => {}
                Ok(false) => {
                    return Err(
                        Fault::new("issuer_mismatch", now, &[("Issuer", iss.chars().take(200).collect())]).into()
                    );
                }
                Err(error) => return Err(Fault::identity(&error, now).into()),
            }
        }
        let Some(code) = callback.code.clone().filter(|code| !code.is_empty()).map(Secret::new) else {
            return Err(Fault::new("start_over", now, &[("Answer", "no code was returned".into())]).into());
        };
        let granted = match self.entra.exchange(&credentials, &code, &verifier, &redirect_uri, scopes).await {
            Ok(granted) => {
                self.store.set_registration_signed_in(institution, registration.id, now).await?;
                granted
            }
            Err(error) => {
                let fault = Fault::identity(&error, now);
                // While the credential before still renews mail, a new one may not be known everywhere yet.
                let is_new = registration.verified_at.is_some_and(|at| now.since_ms(at) < SPREADING_MS);
                let is_spreading = is_new
                    && registration.renewed_at.is_none()
                    && self.store.registration(institution, Slot::Previous).await?.is_some();
                if error.is_wrong_client() && !is_spreading {
                    // It concerns everyone: the pages of administrators say so.
                    self.store.set_registration_problem(institution, registration.id, Some(&fault), now).await?;
                }
                // This sign-in has not connected anything yet.
                let new = fault.cause == "grant_revoked";
                return Err(if new { Fault { cause: "exchange_refused".into(), ..fault } } else { fault }.into());
            }
        };
        let tenant: TenantId = registration.tenant_id;
        let identified = self.entra.identify(&credentials, tenant, granted.id_token.as_ref(), &nonce).await;
        let identity = identified.map_err(|error| match error {
            IdentifyError::Token(error) => Fault::id_token(&error, now),
            IdentifyError::Entra(error) => Fault::identity(&error, now),
        })?;
        Ok(MicrosoftSignIn { granted, identity, registration })
    }
}

fn oauth_error(callback: &Callback) -> OAuthError {
    let cut = |text: &Option<String>| text.as_ref().map(|text| text.chars().take(2000).collect::<String>());
    OAuthError {
        error: cut(&callback.error).unwrap_or_else(|| "no answer".into()),
        error_description: cut(&callback.error_description),
        ..OAuthError::default()
    }
}
