//! One send attempt through Microsoft Graph, and the change to it where SMTP is switched off.
//!
//! A message changes its way only between attempts, and only before anything of it was handed over: SMTP refuses the sign-in.

use std::sync::Arc;

use app::model::{GraphUse, MailboxState, SendWay};
use lettre::address::Envelope;

use super::Outbox;
use super::delivery::{AttemptResult, Recording, no_token};
use super::retry_policy::SendOutcome;
use crate::access_tokens::{AccessToken, Resource, TokenError};
use crate::diagnosis::Fault;
use crate::mail::graph::{Draft, GraphLogin, ONE_REQUEST};
use crate::mail::{GraphRefusal, MailError, Step};
use crate::message::detach::detached;
use crate::message::recipients::addressed_to;
use crate::store::{Claimed, Mailbox, Result};

/// How a message leaves.
enum Prepared {
    Whole(Arc<Vec<u8>>),
    Draft(Draft),
}

impl Outbox {
    /// Whether a refused mailbox sends through Graph from now on.
    pub(super) async fn switches_to_graph(&self, mailbox: &Mailbox, result: &AttemptResult) -> Result<bool> {
        if !result.fault.as_ref().is_some_and(Fault::is_smtp_switched_off) {
            return Ok(false);
        }
        if self.store.graph_use(mailbox.institution).await? == GraphUse::Off {
            return Ok(false);
        }
        match self.tokens.access_to(mailbox, Resource::Graph).await {
            Ok(_) => {}
            Err(TokenError::Store(error)) => return Err(error),
            Err(error) => {
                tracing::warn!(mailbox = %mailbox.id, "SMTP is switched off, and Microsoft Graph gives no token: {error}");
                return Ok(false);
            }
        }
        self.store.set_sends_by(mailbox.key(), SendWay::Graph).await?;
        tracing::info!(mailbox = %mailbox.id, "SMTP is switched off: the mailbox sends through Microsoft Graph");
        Ok(true)
    }

    /// Attempts a delivery. `None`: the lease was lost, so another claim decides.
    pub(super) async fn attempt_by_graph(
        &self,
        mailbox: &Mailbox,
        claimed: &Claimed,
        envelope: &Envelope,
        bytes: Vec<u8>,
        recording: &mut Option<Recording<'_>>,
    ) -> Result<Option<AttemptResult>> {
        if mailbox.state == MailboxState::NeedsReconnect {
            let answer = "the mailbox needs to be reconnected".to_owned();
            return Ok(Some(AttemptResult::of(SendOutcome::Held { answer }, mailbox.problem.clone())));
        }
        let recipients: Vec<String> = envelope.to().iter().map(ToString::to_string).collect();
        let message = Arc::new(addressed_to(&bytes, &recipients));
        drop(bytes);
        let mut token = match self.tokens.access_to(mailbox, Resource::Graph).await {
            Ok(token) => token,
            Err(TokenError::Store(error)) => return Err(error),
            Err(error) => return Ok(Some(self.no_graph_token(&error))),
        };
        if message.len() > ONE_REQUEST && !self.may_write(mailbox, &token) {
            // Perhaps an administrator has consented since it was issued.
            match self.tokens.prove_for(mailbox, Resource::Graph).await {
                Ok(other) => token = other,
                Err(TokenError::Store(error)) => return Err(error),
                Err(error) => return Ok(Some(self.no_graph_token(&error))),
            }
        }
        let mut prepared = self.prepare(mailbox, &token, &message).await;
        if let Err(error) = &prepared
            && let Some(other) = self.other_token(mailbox, &token, error).await?
        {
            token = other;
            prepared = self.prepare(mailbox, &token, &message).await;
        }
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return Ok(Some(self.graph_failed(mailbox, error))),
        };
        if self.stop.is_cancelled() || !self.start_data(claimed, Vec::new(), recording).await? {
            let stopped = self.stop.is_cancelled();
            self.abandon(mailbox, &token, &prepared).await;
            return Ok(stopped.then(|| AttemptResult::plain(SendOutcome::Released)));
        }
        let mut sent = self.hand_over(mailbox, &token, &prepared).await;
        if let Err(error) = &sent
            && let Some(other) = self.other_token(mailbox, &token, error).await?
        {
            token = other;
            sent = self.hand_over(mailbox, &token, &prepared).await;
        }
        Ok(Some(match sent {
            Ok(reply) => {
                AttemptResult::plain(SendOutcome::Accepted { reply, accepted: recipients, refused: Vec::new() })
            }
            Err(error) => {
                if error.answered {
                    self.abandon(mailbox, &token, &prepared).await;
                }
                self.graph_failed(mailbox, error)
            }
        }))
    }

    /// Whether a token is for large messages, too.
    fn may_write(&self, mailbox: &Mailbox, token: &AccessToken) -> bool {
        let write = self.clouds.hosts_of(&mailbox.app.cloud).graph_scopes().map(|[_, write]| write).unwrap_or_default();
        // Microsoft may leave out the host.
        let name = |scope: &str| scope.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        token.scopes.as_ref().is_none_or(|scopes| scopes.iter().any(|scope| name(scope) == name(&write)))
    }

    /// What comes before a message is handed over: a large one becomes a draft with its files.
    async fn prepare(
        &self,
        mailbox: &Mailbox,
        token: &AccessToken,
        message: &Arc<Vec<u8>>,
    ) -> std::result::Result<Prepared, MailError> {
        if message.len() <= ONE_REQUEST {
            return Ok(Prepared::Whole(Arc::clone(message)));
        }
        if !self.may_write(mailbox, token) {
            let text = "Mail.ReadWrite is missing: without it Microsoft Graph takes messages of 3 MB at most";
            return Err(MailError::refused(Step::Data, None, text).of_graph(GraphRefusal::ReadWriteMissing));
        }
        // Decoding many megabytes takes time.
        let whole = Arc::clone(message);
        let parts = tokio::task::spawn_blocking(move || detached(&whole, ONE_REQUEST)).await;
        let Some((text, files)) = parts.map_err(|error| MailError::later(Step::Data, error.to_string()))? else {
            let text = "the text is too large for Microsoft Graph, or the message is signed";
            return Err(MailError::refused(Step::Data, None, text).of_graph(GraphRefusal::TextTooLarge));
        };
        let login = self.graph_login(mailbox, token)?;
        let draft = self.graph.draft(login, &text).await?;
        for file in &files {
            if let Err(error) = self.graph.attach(login, &draft, file).await {
                self.graph.give_up(login, &draft).await;
                return Err(error);
            }
        }
        Ok(Prepared::Draft(draft))
    }

    async fn hand_over(
        &self,
        mailbox: &Mailbox,
        token: &AccessToken,
        prepared: &Prepared,
    ) -> std::result::Result<String, MailError> {
        let login = self.graph_login(mailbox, token)?;
        let draft = match prepared {
            Prepared::Whole(message) => return self.graph.send(login, message).await,
            Prepared::Draft(draft) => draft,
        };
        match self.graph.send_draft(login, draft).await {
            // The draft itself says whether it has left.
            Err(error) if !error.answered && self.graph.has_left(login, draft).await == Some(true) => {
                Ok("accepted by Microsoft Graph".to_owned())
            }
            other => other,
        }
    }

    async fn abandon(&self, mailbox: &Mailbox, token: &AccessToken, prepared: &Prepared) {
        if let (Prepared::Draft(draft), Ok(login)) = (prepared, self.graph_login(mailbox, token)) {
            self.graph.give_up(login, draft).await;
        }
    }

    /// Another token, if this one was refused for its age.
    async fn other_token(
        &self,
        mailbox: &Mailbox,
        token: &AccessToken,
        error: &MailError,
    ) -> Result<Option<AccessToken>> {
        if !matches!(error.graph, Some(GraphRefusal::Answered { status: 401, .. })) {
            return Ok(None);
        }
        match self.tokens.instead_of(mailbox, Resource::Graph, token).await {
            Ok(other) => Ok(other),
            Err(TokenError::Store(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    fn graph_login<'a>(
        &'a self,
        mailbox: &Mailbox,
        token: &'a AccessToken,
    ) -> std::result::Result<GraphLogin<'a>, MailError> {
        match &self.clouds.hosts_of(&mailbox.app.cloud).graph {
            Some(graph) => Ok(GraphLogin { graph, token: &token.secret }),
            None => Err(MailError::refused(Step::Auth, None, "Microsoft Graph is not known for this cloud")),
        }
    }

    fn graph_failed(&self, mailbox: &Mailbox, error: MailError) -> AttemptResult {
        let host = self.clouds.hosts_of(&mailbox.app.cloud).graph.as_ref();
        let host = host.and_then(url::Url::host_str).unwrap_or_default();
        let fault = Fault::graph(&error, host, self.clock.now()).signed_in_as(&mailbox.sign_in_name);
        AttemptResult::of(SendOutcome::Failed { error, refused: Vec::new() }, Some(fault))
    }

    /// A refusal for Graph alone blocks the mailbox, as a refused sign-in does: its test finds out which way is open.
    fn no_graph_token(&self, error: &TokenError) -> AttemptResult {
        let now = self.clock.now();
        match error {
            // What concerns the app is no one mailbox's fault: its messages wait without limit, as with SMTP.
            TokenError::Identity(identity)
                if !identity.is_transient() && !identity.is_wrong_client() && identity.oauth_error().is_some() =>
            {
                let error = MailError::refused(Step::Auth, None, identity.to_string());
                let outcome = SendOutcome::Failed { error, refused: Vec::new() };
                AttemptResult::of(outcome, Some(Fault::identity(identity, now).of_graph()))
            }
            TokenError::NoGraph => {
                let error = MailError::refused(Step::Auth, None, error.to_string());
                let fault = Fault::graph(&error, "", now);
                AttemptResult::of(SendOutcome::Failed { error, refused: Vec::new() }, Some(fault))
            }
            other => no_token(other, now),
        }
    }
}
