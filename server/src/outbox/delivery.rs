//! One send attempt, outside any transaction.

use app::model::{MailboxState, RecipientState, SendWay, Timestamp};
use base64::prelude::{BASE64_STANDARD, Engine};
use lettre::Address;
use lettre::address::Envelope;

use super::Outbox;
use super::retry_policy::SendOutcome;
use super::{QueuedBody, body_place};
use crate::access_tokens::{AccessToken, Resource, TokenError};
use crate::config::ServerAddress;
use crate::diagnosis::Fault;
use crate::mail::smtp::{self, NotBegun, Refused};
use crate::mail::{Login, MailError, RecipientReply, Step};
use crate::store::{AppKey, Claimed, DataStart, Mailbox, Result, SendQueue};
use std::pin::Pin;

/// Pause before checking whether a disconnected mailbox is connected again, in seconds.
const DISCONNECTED_RETRY_SECONDS: u64 = 600;

/// Outcome of a send attempt, and the fault that the writer's diagnosis is built from.
pub(super) struct AttemptResult {
    pub outcome: SendOutcome,
    pub fault: Option<Fault>,
    /// The mailbox sends another way from now on: what was claimed is claimed again.
    pub other_way: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Peer<'a> {
    pub server: &'a ServerAddress,
    pub signed_in_as: Option<&'a str>,
}

impl AttemptResult {
    pub(super) fn plain(outcome: SendOutcome) -> Self {
        Self { outcome, fault: None, other_way: false }
    }

    pub(super) fn of(outcome: SendOutcome, fault: Option<Fault>) -> Self {
        Self { outcome, fault, other_way: false }
    }

    pub(super) fn smtp(error: MailError, refused: Vec<Refused>, peer: Peer<'_>, now: Timestamp) -> Self {
        let fault = Fault::smtp(&error, peer.server, now);
        let fault = match peer.signed_in_as {
            Some(name) => fault.signed_in_as(name),
            None => fault,
        };
        let fault = match refused.first().filter(|_| error.step == Step::Recipient) {
            Some(refused) => fault.of_recipient(&refused.recipient),
            None => fault,
        };
        Self::of(SendOutcome::Failed { error, refused }, Some(fault))
    }
}

/// An SMTP session reused for several messages, as long as its token is valid.
pub(super) struct OpenSession {
    pub(super) session: smtp::Session,
    pub(super) until: Timestamp,
    /// What the mailbox signed in with.
    sign_in_name: String,
    app: AppKey,
}

/// An outcome that is being recorded. It is awaited before the next message of its session is handed over.
pub(super) type Recording<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

pub(super) enum Opened {
    Session(OpenSession),
    /// The result of an attempt that got no session.
    Failed(AttemptResult),
}

pub(super) struct Submitted {
    /// `None` if the claim was lost.
    pub(super) result: Option<AttemptResult>,
    /// Whether the session can carry another message.
    reusable: bool,
}

impl OpenSession {
    pub(super) async fn quit(self) {
        self.session.quit().await;
    }

    /// Whether a mailbox would sign in as this session did.
    fn is_of(&self, mailbox: &Mailbox) -> bool {
        mailbox.state != MailboxState::NeedsReconnect
            && self.sign_in_name == mailbox.sign_in_name
            && self.app == mailbox.app
    }
}

impl Outbox {
    /// Attempts a delivery. `None`: the lease was lost, so another claim decides.
    pub(super) async fn attempt(
        &self,
        queue: &SendQueue,
        mailbox: Option<&Mailbox>,
        claimed: &Claimed,
        open_session: &mut Option<OpenSession>,
        recording: &mut Option<Recording<'_>>,
    ) -> Result<Option<AttemptResult>> {
        let Claimed { delivery, recipients } = claimed;
        let pending = recipients.iter().filter(|recipient| recipient.state == RecipientState::Pending);
        let pending: Vec<String> = pending.map(|recipient| recipient.address.clone()).collect();
        // Every recipient has bounced: none is left.
        if pending.is_empty() {
            return Ok(Some(AttemptResult::plain(SendOutcome::Released)));
        }
        let opened = self.vault.open(&body_place(delivery.id), &delivery.body_sealed).ok();
        let body = opened.and_then(|text| serde_json::from_str::<QueuedBody>(text.expose()).ok());
        let bytes = match body {
            Some(QueuedBody::Message(text)) => BASE64_STANDARD.decode(text).ok(),
            Some(QueuedBody::Text(text)) => Some(text.into_bytes()),
            Some(QueuedBody::Notification { to, text }) if queue.mailbox.is_none() => {
                return Box::pin(self.notification(claimed, &to, &text)).await;
            }
            _ => None,
        };
        let (Some(bytes), Some(_)) = (bytes, queue.mailbox) else { return Ok(Some(unreadable())) };
        let Some(mailbox) = mailbox else {
            if let Some(old) = open_session.take() {
                old.quit().await;
            }
            // The mailbox may be connected again; waiting deliveries are sent through it then.
            return Ok(Some(AttemptResult::plain(SendOutcome::NoToken {
                answer: format!("{} was disconnected; the message is sent when it's connected again", delivery.from),
                retry_after: Some(DISCONNECTED_RETRY_SECONDS),
            })));
        };
        let Some(envelope) = envelope(&delivery.from, &pending) else { return Ok(Some(unreadable())) };
        if mailbox.sends_by == SendWay::Graph && self.clouds.hosts_of(&mailbox.app.cloud).graph.is_some() {
            if let Some(old) = open_session.take() {
                old.quit().await;
            }
            return Box::pin(self.attempt_by_graph(mailbox, claimed, &envelope, bytes, recording)).await;
        }
        let usable = |open: &OpenSession| open.until > self.clock.now() && open.is_of(mailbox);
        if !open_session.as_ref().is_some_and(usable) {
            if let Some(old) = open_session.take() {
                old.quit().await;
            }
            match self.open(mailbox).await? {
                Opened::Session(session) => *open_session = Some(session),
                Opened::Failed(result) if Box::pin(self.switches_to_graph(mailbox, &result)).await? => {
                    return Ok(Some(AttemptResult { other_way: true, ..AttemptResult::plain(SendOutcome::Released) }));
                }
                Opened::Failed(result) => return Ok(Some(result)),
            }
        }
        let Some(mut open) = open_session.take() else { return Ok(None) };
        let peer = self.microsoft(mailbox);
        let submitted = self.submit(claimed, &envelope, &bytes, &mut open.session, peer, recording).await?;
        if submitted.reusable {
            *open_session = Some(open);
        }
        Ok(submitted.result)
    }

    /// MAIL, RCPT and DATA, the record that DATA begins (together with the outcome before), the message.
    pub(super) async fn submit(
        &self,
        claimed: &Claimed,
        envelope: &Envelope,
        bytes: &[u8],
        session: &mut smtp::Session,
        peer: Peer<'_>,
        recording: &mut Option<Recording<'_>>,
    ) -> Result<Submitted> {
        let failed = |error, refused| Some(AttemptResult::smtp(error, refused, peer, self.clock.now()));
        let refused = match session.begin(envelope, bytes).await {
            Ok(refused) => refused,
            Err(NotBegun { error, refused, reusable }) => {
                return Ok(Submitted { result: failed(error, refused), reusable });
            }
        };
        // From here on the server waits for the message. A session that does not send it must be closed.
        if self.stop.is_cancelled() {
            return Ok(Submitted { result: Some(AttemptResult::plain(SendOutcome::Released)), reusable: false });
        }
        let noted = refused
            .iter()
            .map(|Refused { recipient, error }| RecipientReply {
                address: recipient.clone(),
                state: if error.is_transient() { RecipientState::Pending } else { RecipientState::Refused },
                answer: error.to_string(),
            })
            .collect();
        if !self.start_data(claimed, noted, recording).await? {
            return Ok(Submitted { result: None, reusable: false });
        }
        match session.message(bytes).await {
            Ok(reply) => {
                let accepted = envelope.to().iter().map(ToString::to_string);
                let accepted = accepted.filter(|to| !refused.iter().any(|refused| refused.recipient == *to)).collect();
                let result = Some(AttemptResult::plain(SendOutcome::Accepted { reply, accepted, refused }));
                Ok(Submitted { result, reusable: true })
            }
            Err(error) => {
                let reusable = error.answered && error.code() != Some(421);
                Ok(Submitted { result: failed(error, refused), reusable })
            }
        }
    }

    /// Commits that the message is being handed over, together with the outcome before. `false`: the lease was lost.
    pub(super) async fn start_data(
        &self,
        claimed: &Claimed,
        refused: Vec<RecipientReply>,
        recording: &mut Option<Recording<'_>>,
    ) -> Result<bool> {
        let Claimed { delivery, recipients } = claimed;
        let start = DataStart {
            institution: delivery.institution,
            delivery: delivery.id,
            owner: delivery.lease,
            refused,
            again: recipients.iter().any(|recipient| !recipient.answer.is_empty()),
        };
        let before = async {
            if let Some(before) = recording.take() {
                before.await;
            }
        };
        let (started, ()) = tokio::join!(self.store.start_data(start), before);
        started
    }

    /// Opens an authenticated session of a mailbox.
    pub(super) async fn open(&self, mailbox: &Mailbox) -> Result<Opened> {
        let now = self.clock.now();
        if mailbox.state == MailboxState::NeedsReconnect {
            let fault = mailbox.problem.clone();
            let answer = "the mailbox needs to be reconnected".to_owned();
            return Ok(Opened::Failed(AttemptResult::of(SendOutcome::Held { answer }, fault)));
        }
        let token = match self.tokens.access(mailbox).await {
            Ok(token) => token,
            Err(TokenError::Store(error)) => return Err(error),
            Err(error) => return Ok(Opened::Failed(no_token(&error, now))),
        };
        let opened = self.sign_in(mailbox, &token).await;
        let (token, opened) = match opened {
            Err(error) if error.step == Step::Auth && error.answered => {
                match self.tokens.instead_of(mailbox, Resource::Outlook, &token).await {
                    Ok(Some(other)) => {
                        let opened = self.sign_in(mailbox, &other).await;
                        (other, opened)
                    }
                    Ok(None) => (token, Err(error)),
                    Err(TokenError::Store(error)) => return Err(error),
                    Err(error) => return Ok(Opened::Failed(no_token(&error, now))),
                }
            }
            other => (token, other),
        };
        match opened {
            Ok(session) => Ok(Opened::Session(OpenSession {
                session,
                until: token.expires_at.plus_ms(-60_000),
                sign_in_name: mailbox.sign_in_name.clone(),
                app: mailbox.app.clone(),
            })),
            Err(error) => {
                if error.step == Step::Auth && error.answered {
                    // Only the token may be revoked: the next attempt gets a new one.
                    self.tokens.forget(mailbox.id);
                }
                Ok(Opened::Failed(AttemptResult::smtp(error, Vec::new(), self.microsoft(mailbox), now)))
            }
        }
    }

    pub(super) fn microsoft<'a>(&'a self, mailbox: &'a Mailbox) -> Peer<'a> {
        Peer { server: &self.clouds.hosts_of(&mailbox.app.cloud).smtp, signed_in_as: Some(&mailbox.sign_in_name) }
    }

    async fn sign_in(&self, mailbox: &Mailbox, token: &AccessToken) -> Result<smtp::Session, MailError> {
        let server = &self.clouds.hosts_of(&mailbox.app.cloud).smtp;
        let login = Login { server, user: &mailbox.sign_in_name, token: &token.secret };
        smtp::Session::open(&login, &self.trust).await
    }
}

pub(super) fn envelope(from: &str, to: &[String]) -> Option<Envelope> {
    let from: Address = from.parse().ok()?;
    let to: Vec<Address> = to.iter().map(|address| address.parse().ok()).collect::<Option<_>>()?;
    Envelope::new(Some(from), to).ok()
}

fn unreadable() -> AttemptResult {
    AttemptResult::plain(SendOutcome::Permanent { answer: "the stored message cannot be read".into() })
}

pub(super) fn no_token(error: &TokenError, now: Timestamp) -> AttemptResult {
    let fault = Some(error.fault(now));
    let answer = error.to_string();
    let outcome = match error {
        _ if error.needs_reconnect() => SendOutcome::Held { answer },
        TokenError::Identity(error) if error.is_of_registration() => SendOutcome::Held { answer },
        TokenError::Identity(error) => SendOutcome::NoToken { answer, retry_after: error.retry_after() },
        TokenError::Gone => SendOutcome::Permanent { answer },
        _ => SendOutcome::NoToken { answer, retry_after: None },
    };
    AttemptResult::of(outcome, fault)
}
