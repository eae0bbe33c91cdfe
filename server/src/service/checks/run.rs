//! The checks of a run. Each result is a row.

use crate::service::actor::Actor;
use std::time::{Duration, Instant};

use app::backend::{BackendError, Result};
use app::model::{CheckKind, CheckStatus, EmailAddress, GraphUse, GuideStep, MailboxState, SendWay, Timestamp};

use crate::access_tokens::{AccessToken, Resource, TokenError};
use crate::diagnosis::Fault;
use crate::identity::{Entra, Identity};
use crate::mail::graph::GraphLogin;
use crate::mail::{Login, MailError, Step, imap, smtp};
use crate::mailbox_sync::{Command, Reply, SyncError, find_test_message};
use crate::message::build::TestMessage;
use crate::service::Services;
use crate::service::sign_in::attempt_place;
use crate::store::{Attempt, Check, Mailbox, MailboxKey, Slot};
use crate::vault::Secret;

/// First and longest pause between two searches for the test message.
const LOOK: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(5));

pub(super) struct Route {
    pub(super) sign_in_name: String,
    pub(super) from: EmailAddress,
    pub(super) to: EmailAddress,
}

/// A way by which the test message leaves.
pub(super) enum Sender {
    Smtp(Box<smtp::Session>),
    Graph(AccessToken),
}

impl Sender {
    pub(super) fn way(&self) -> SendWay {
        match self {
            Self::Smtp(_) => SendWay::Smtp,
            Self::Graph(_) => SendWay::Graph,
        }
    }
}

/// What a token for Graph is got with.
#[derive(Clone, Copy)]
pub(super) enum Grant<'a> {
    Mailbox(&'a Mailbox),
    /// The refresh token of an attempt whose mailbox is not stored yet.
    Waiting(&'a Secret),
}

pub(super) struct Sent {
    message_id: String,
    at: Instant,
}

pub(super) enum Through {
    /// A connection of this run, if no mailbox is stored yet.
    Session(Box<imap::Session>),
    /// The mailbox's worker, so that the inbox keeps working.
    Mailbox(MailboxKey),
}

impl Through {
    async fn look(
        &mut self,
        services: &Services,
        message_id: &str,
        attempt: Option<&str>,
        round: u32,
    ) -> Result<Option<String>, SyncError> {
        match self {
            Self::Session(session) => Ok(find_test_message(session, &imap::Mark { message_id, attempt }, round).await?),
            Self::Mailbox(mailbox) => {
                let (message_id, attempt) = (message_id.to_owned(), attempt.map(ToOwned::to_owned));
                match services.mailbox_sync.execute(*mailbox, Command::Arrived { message_id, attempt, round }).await? {
                    Reply::Found(folder) => Ok(folder),
                    _ => Ok(None),
                }
            }
        }
    }

    pub(super) async fn end(self) {
        if let Self::Session(session) = self {
            session.logout().await;
        }
    }
}

/// Detail of a check that a test with the stored grant skips.
const NOT_ASKED: &str = "not asked again";

pub(super) struct Run<'a> {
    services: &'a Services,
    actor: &'a Actor,
    attempt: &'a Attempt,
    pub(super) failed: bool,
    pub(super) unseen: bool,
    pub(super) first_fault: Option<Fault>,
}

impl<'a> Run<'a> {
    pub(super) fn of(services: &'a Services, actor: &'a Actor, attempt: &'a Attempt) -> Self {
        Self { services, actor, attempt, failed: false, unseen: false, first_fault: None }
    }

    fn now(&self) -> Timestamp {
        self.services.clock.now()
    }

    async fn put(&self, kind: CheckKind, status: CheckStatus, detail: &str, took: Option<Duration>) -> Result<()> {
        let duration_ms = took.map(|took| i64::try_from(took.as_millis()).unwrap_or(i64::MAX));
        self.services
            .put_check(self.attempt, Check { kind, status, detail: detail.to_owned(), duration_ms, fault: None })
            .await
    }

    async fn running(&self, kind: CheckKind) -> Result<Instant> {
        self.put(kind, CheckStatus::Running, "", None).await?;
        Ok(Instant::now())
    }

    pub(super) async fn not_run(&self, kind: CheckKind) -> Result<()> {
        self.put(kind, CheckStatus::NotRun, "not run", None).await
    }

    async fn fail(&mut self, kind: CheckKind, fault: Fault, detail: String, since: Instant) -> Result<()> {
        self.failed = true;
        let duration_ms = i64::try_from(since.elapsed().as_millis()).ok();
        let check = Check { kind, status: CheckStatus::Failed, detail, duration_ms, fault: Some(fault.clone()) };
        self.first_fault.get_or_insert(fault);
        self.services.put_check(self.attempt, check).await
    }

    /// The access token, and the refresh token if no mailbox has it yet.
    pub(super) async fn token(&mut self, mailbox: Option<&Mailbox>) -> Result<Option<(AccessToken, Option<Secret>)>> {
        let kept = self.attempt.subject.is_empty();
        let since = self.running(CheckKind::Token).await?;
        let (services, now) = (self.services, self.now());
        let got = match mailbox {
            Some(mailbox) if kept => services.tokens.prove(mailbox).await.map(|token| (token, None)),
            Some(mailbox) => services.tokens.access(mailbox).await.map(|token| (token, None)),
            None => self.waiting_grant().await.map(|(token, refresh)| (token, Some(refresh))),
        };
        let (token, refresh) = match got {
            Ok(got) => got,
            Err(error @ (TokenError::Identity(_) | TokenError::RegistrationChanged)) => {
                let fault = error.fault(now);
                let fault = if kept { fault.of_kept_grant() } else { fault };
                // What the authority refuses is stored by the refresh, with the time of the next try.
                if matches!(error, TokenError::RegistrationChanged)
                    && let Some(mailbox) = mailbox
                {
                    let state = MailboxState::NeedsReconnect;
                    services.store.set_mailbox_state(mailbox.key(), state, Some(&fault), None, now).await?;
                }
                if kept {
                    // This test had no sign-in, and the stored grant may be the cause.
                    self.put(CheckKind::SignIn, CheckStatus::NotRun, NOT_ASKED, None).await?;
                    self.put(CheckKind::Identity, CheckStatus::NotRun, NOT_ASKED, None).await?;
                }
                self.fail(CheckKind::Token, fault, String::new(), since).await?;
                return Ok(None);
            }
            Err(error) => return Err(BackendError::internal(error)),
        };
        if let Some(mailbox) = mailbox.filter(|mailbox| kept && mailbox.state == MailboxState::NeedsReconnect) {
            // The grant works again, for example after consent: the rest of the checks may use the mailbox.
            let (state, problem) = (MailboxState::Blocked, mailbox.problem.as_ref());
            services.store.set_mailbox_state(mailbox.key(), state, problem, Some(now), now).await?;
        }
        if kept {
            self.put(CheckKind::SignIn, CheckStatus::Passed, "you don't need to sign in again", None).await?;
            self.put(CheckKind::Identity, CheckStatus::Passed, &self.attempt.sign_in_name, None).await?;
        }
        let missing =
            Entra::missing_scopes(services.config.clouds.hosts_of(&self.attempt.app.cloud), token.scopes.as_deref());
        if !missing.is_empty() {
            let detail = format!("missing: {}", short_scopes(&missing));
            let fault = Fault::new("permissions_missing", now, &[("Missing scopes", missing.join(" "))]);
            self.fail(CheckKind::Token, fault, detail, since).await?;
            return Ok(None);
        }
        let detail = token.scopes.as_deref().map_or_else(|| "as asked for".to_owned(), short_scopes);
        self.put(CheckKind::Token, CheckStatus::Passed, &detail, Some(since.elapsed())).await?;
        services.prove_steps(self.attempt.institution, &[GuideStep::Permissions, GuideStep::Consent]).await?;
        Ok(Some((token, refresh)))
    }

    /// Uses the sealed grant of the attempt.
    async fn waiting_grant(&self) -> Result<(AccessToken, Secret), TokenError> {
        let (services, attempt) = (self.services, self.attempt);
        let sealed = attempt.grant_sealed.as_deref().ok_or(TokenError::Gone)?;
        let refresh = services.vault.open(&attempt_place("grant_sealed", attempt.id), sealed)?;
        let registration = services
            .store
            .registration(attempt.institution, Slot::Current)
            .await?
            .ok_or(TokenError::RegistrationChanged)?;
        if registration.app() != attempt.app {
            return Err(TokenError::RegistrationChanged);
        }
        let credentials = services.tokens.credentials(attempt.institution, &registration).await?;
        let granted = services.tokens.redeem(&credentials, Resource::Outlook, &refresh).await??;
        let newest = granted.refresh.clone().unwrap_or(refresh);
        Ok((AccessToken::from(&granted), newest))
    }

    /// How the test message leaves. Where the institution allows Graph, both ways are tried.
    pub(super) async fn sender(
        &mut self,
        route: &Route,
        token: &AccessToken,
        grant: Grant<'_>,
        graph: GraphUse,
    ) -> Result<Option<Sender>> {
        if graph == GraphUse::Off {
            return Ok(self.smtp(route, token).await?.map(Box::new).map(Sender::Smtp));
        }
        self.services.store.add_check(self.attempt.id, CheckKind::Graph).await?;
        if graph == GraphUse::Always {
            let detail = "not used: your institution sends through Microsoft Graph";
            self.put(CheckKind::Smtp, CheckStatus::NotRun, detail, None).await?;
            return self.graph(grant).await;
        }
        let before = (self.failed, self.first_fault.clone());
        if let Some(session) = self.smtp(route, token).await? {
            let ready = self.graph_token(grant).await.is_ok();
            let (status, detail) = if ready {
                (CheckStatus::Passed, "not needed: SMTP works")
            } else {
                (CheckStatus::NotRun, "not allowed yet; not needed: SMTP works")
            };
            self.put(CheckKind::Graph, status, detail, None).await?;
            return Ok(Some(Sender::Smtp(Box::new(session))));
        }
        if !self.first_fault.as_ref().is_some_and(Fault::is_smtp_switched_off) {
            self.put(CheckKind::Graph, CheckStatus::NotRun, "only where SMTP is switched off", None).await?;
            return Ok(None);
        }
        let sender = self.graph(grant).await?;
        if sender.is_some() {
            // No one has to fix it.
            (self.failed, self.first_fault) = before;
            let detail = "switched off; Microsoft Graph is used instead";
            self.put(CheckKind::Smtp, CheckStatus::NotRun, detail, None).await?;
        }
        Ok(sender)
    }

    async fn graph(&mut self, grant: Grant<'_>) -> Result<Option<Sender>> {
        let since = self.running(CheckKind::Graph).await?;
        match self.graph_token(grant).await {
            Ok(token) => {
                let detail = token.scopes.as_deref().map_or_else(String::new, short_scopes);
                self.put(CheckKind::Graph, CheckStatus::Passed, &detail, Some(since.elapsed())).await?;
                Ok(Some(Sender::Graph(token)))
            }
            Err(error @ (TokenError::Identity(_) | TokenError::NoGraph)) => {
                let fault = error.fault(self.now()).of_graph();
                self.fail(CheckKind::Graph, fault, "no token".to_owned(), since).await?;
                Ok(None)
            }
            Err(error) => Err(BackendError::internal(error)),
        }
    }

    async fn graph_token(&self, grant: Grant<'_>) -> Result<AccessToken, TokenError> {
        match grant {
            Grant::Mailbox(mailbox) => self.services.tokens.prove_for(mailbox, Resource::Graph).await,
            Grant::Waiting(refresh) => {
                let (services, attempt) = (self.services, self.attempt);
                let registration = services.store.registration(attempt.institution, Slot::Current).await?;
                let registration = registration.ok_or(TokenError::RegistrationChanged)?;
                let credentials = services.tokens.credentials(attempt.institution, &registration).await?;
                let granted = services.tokens.redeem(&credentials, Resource::Graph, refresh).await??;
                Ok(AccessToken::from(&granted))
            }
        }
    }

    pub(super) async fn smtp(&mut self, route: &Route, token: &AccessToken) -> Result<Option<smtp::Session>> {
        let since = self.running(CheckKind::Smtp).await?;
        let server = &self.services.config.clouds.hosts_of(&self.attempt.app.cloud).smtp;
        let login = Login { server, user: &route.sign_in_name, token: &token.secret };
        match smtp::Session::open(&login, &self.services.trust).await {
            Ok(session) => {
                if let Some(seen) = session.seen_from.filter(|seen| !seen.is_loopback()) {
                    *self.services.seen_from.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(seen);
                }
                self.put(
                    CheckKind::Smtp,
                    CheckStatus::Passed,
                    &format!("{}, encrypted", server.host),
                    Some(since.elapsed()),
                )
                .await?;
                Ok(Some(session))
            }
            Err(error) => {
                let fault = Fault::smtp(&error, server, self.now()).signed_in_as(&route.sign_in_name);
                self.fail(CheckKind::Smtp, fault, short(&error), since).await?;
                Ok(None)
            }
        }
    }

    pub(super) async fn test_message(&mut self, sender: Sender, route: &Route) -> Result<Option<Sent>> {
        let since = self.running(CheckKind::TestMessage).await?;
        let services = self.services;
        let host = services.config.public_url.of(&self.actor.institution().slug);
        let host = url::Url::parse(&host)
            .ok()
            .and_then(|url| url.host_str().map(ToOwned::to_owned))
            .unwrap_or_else(|| "entrepost.invalid".into());
        let message_id = format!("<{}.test@{host}>", services.clock.uuid());
        let attempt = self.attempt.id.to_string();
        let message = TestMessage {
            from: &route.from,
            to: &route.to,
            institution: &self.actor.institution().name,
            person: self.actor.address(),
            at: self.now(),
            attempt: &attempt,
            message_id: &message_id,
        };
        let message = message.build().map_err(BackendError::internal)?;
        let hosts = services.config.clouds.hosts_of(&self.attempt.app.cloud);
        let (sent, detail) = match sender {
            Sender::Smtp(mut session) => {
                let sent = session.send(&message.envelope, &message.bytes).await.map(drop);
                if sent.is_ok() {
                    session.quit().await;
                }
                (
                    sent.map_err(|error| (Fault::smtp(&error, &hosts.smtp, self.now()), error)),
                    "accepted by the mail server",
                )
            }
            Sender::Graph(token) => {
                let graph = hosts.graph.as_ref().ok_or_else(|| BackendError::internal(TokenError::NoGraph))?;
                let sent =
                    services.graph.send(GraphLogin { graph, token: &token.secret }, &message.bytes).await.map(drop);
                let host = graph.host_str().unwrap_or_default();
                (sent.map_err(|error| (Fault::graph(&error, host, self.now()), error)), "accepted by Microsoft Graph")
            }
        };
        match sent {
            Ok(()) => {
                let at = Instant::now();
                self.put(CheckKind::TestMessage, CheckStatus::Passed, detail, Some(since.elapsed())).await?;
                Ok(Some(Sent { message_id, at }))
            }
            Err((fault, error)) => {
                let fault = fault.signed_in_as(&route.sign_in_name);
                self.fail(CheckKind::TestMessage, fault, short(&error), since).await?;
                Ok(None)
            }
        }
    }

    pub(super) async fn imap(&mut self, route: &Route, token: &AccessToken) -> Result<Option<imap::Session>> {
        let since = self.running(CheckKind::Imap).await?;
        let server = &self.services.config.clouds.hosts_of(&self.attempt.app.cloud).imap;
        let login = Login { server, user: &route.sign_in_name, token: &token.secret };
        let opened = async {
            let mut session = imap::Session::open(&login, &self.services.trust).await?;
            session.open_inbox().await?;
            Ok::<_, MailError>(session)
        };
        match opened.await {
            Ok(session) => {
                self.put(CheckKind::Imap, CheckStatus::Passed, &server.host, Some(since.elapsed())).await?;
                if !self.failed {
                    self.services.prove_steps(self.attempt.institution, &[GuideStep::Protocols]).await?;
                }
                Ok(Some(session))
            }
            Err(error) => {
                let fault = Fault::imap(&error, server, self.now()).signed_in_as(&route.sign_in_name);
                self.fail(CheckKind::Imap, fault, short(&error), since).await?;
                Ok(None)
            }
        }
    }

    /// Looks for the test message in INBOX, Junk, then other folders, until the limit. Returns whether it is in INBOX.
    pub(super) async fn arrival(&mut self, mut through: Through, sent: &Sent) -> Result<bool> {
        self.running(CheckKind::Arrival).await?;
        let server = &self.services.config.clouds.hosts_of(&self.attempt.app.cloud).imap;
        let attempt = self.attempt.id.to_string();
        // The owner knows the attempt's id from its page address: to prove an address, only the unguessable Message-ID
        // counts.
        let attempt = (!self.attempt.prove_address).then_some(attempt.as_str());
        let mut pause = LOOK.0;
        let mut round = 0_u32;
        let found = loop {
            match through.look(self.services, &sent.message_id, attempt, round).await {
                Ok(Some(folder)) => break Ok(Some(folder)),
                Ok(None) if sent.at.elapsed() + pause > self.services.config.arrival_limit => break Ok(None),
                Ok(None) => tokio::time::sleep(pause).await,
                Err(error) => break Err(error),
            }
            pause = (pause * 2).min(LOOK.1);
            round += 1;
        };
        let took = sent.at.elapsed();
        match found {
            Ok(Some(folder)) => {
                let inbox = folder.eq_ignore_ascii_case("INBOX");
                let place = if inbox { "in your inbox".to_owned() } else { format!("in the folder {folder}") };
                self.put(CheckKind::Arrival, CheckStatus::Passed, &place, Some(took)).await?;
                through.end().await;
                Ok(inbox)
            }
            Ok(None) => {
                self.unseen = true;
                let detail = format!(
                    "hasn't arrived within {} seconds; it may still come",
                    self.services.config.arrival_limit.as_secs()
                );
                self.put(CheckKind::Arrival, CheckStatus::Unseen, &detail, None).await?;
                through.end().await;
                Ok(false)
            }
            Err(error) => {
                let fault = error.fault(server, self.now());
                let detail = match &error {
                    SyncError::Mail(error) => short(error),
                    other => other.to_string(),
                };
                self.fail(CheckKind::Arrival, fault, detail, sent.at).await?;
                Ok(false)
            }
        }
    }

    /// Continue with the typed address: saved only if its message arrived in that INBOX.
    pub(super) async fn settle_proof(&mut self, find_test_message: bool, refresh: Option<&Secret>) -> Result<()> {
        let (services, attempt) = (self.services, self.attempt);
        let now = self.now();
        let fault = if find_test_message && let Some(refresh) = refresh {
            let user = self.actor.signed_in()?;
            let registration = services.ready_registration(user).await?;
            let identity = Identity {
                sign_in_name: attempt.sign_in_name.clone(),
                names: Vec::new(),
                email: None,
                subject: attempt.subject.clone(),
                name: None,
                is_guest: false,
            };
            if services.keep_grant(user, attempt, &identity, refresh, &registration).await?.is_some() {
                let detail =
                    format!("{} signs in as {}, confirmed by the test message", attempt.address, attempt.sign_in_name);
                return self.put(CheckKind::Identity, CheckStatus::Passed, &detail, None).await;
            }
            Fault::new("address_taken", now, &[("Address", attempt.address.clone())])
        } else {
            Fault::new(
                "address_unproven",
                now,
                &[("Address", attempt.address.clone()), ("Signed in as", attempt.sign_in_name.clone())],
            )
        };
        self.unseen = false;
        self.fail(CheckKind::Identity, fault, format!("{} isn't confirmed", attempt.address), Instant::now()).await
    }
}

fn short(error: &MailError) -> String {
    let words: Vec<&str> = error.text.split_whitespace().take(2).collect();
    match error.code() {
        Some(code) => format!("{code} {}", words.first().copied().unwrap_or_default()),
        None if error.answered => error.text.chars().take(60).collect(),
        None => match error.step {
            Step::AfterData => "unknown whether it was accepted".into(),
            Step::Data => "the connection broke".into(),
            _ => "no answer".into(),
        },
    }
}

fn short_scopes(scopes: &[String]) -> String {
    let names: Vec<&str> = scopes.iter().map(|scope| scope.rsplit('/').next().unwrap_or(scope)).collect();
    names.join(", ")
}
