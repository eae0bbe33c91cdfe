//! Notifications: sent through the institution's notification mailbox, or the system relay if that fails.

use app::model::{MailboxState, SendWay};
use lettre::address::Envelope;

use super::Outbox;
use super::delivery::{AttemptResult, Opened, Peer, envelope};
use super::retry_policy::SendOutcome;
use crate::mail::{MailError, Step, smtp};
use crate::message::build;
use crate::store::{Claimed, EmailSettings, Mailbox, MailboxKey, Result};

impl Outbox {
    pub fn default_sender(&self, slug: &str) -> String {
        format!("notifications@{slug}.{}", self.notifications_domain)
    }

    /// Sender address of notifications; `None` if they cannot be sent.
    pub async fn sender(&self, institution: app::model::InstitutionId, slug: &str) -> Result<Option<String>> {
        let settings = self.store.email_settings(institution).await?;
        if self.sending_mailbox(institution, &settings).await?.is_some() {
            return Ok(Some(settings.custom_from_address));
        }
        Ok(self.system_smtp.as_ref().map(|_| self.default_sender(slug)))
    }

    async fn sending_mailbox(
        &self,
        institution: app::model::InstitutionId,
        settings: &EmailSettings,
    ) -> Result<Option<Mailbox>> {
        let Some(id) = settings.notification_mailbox.filter(|_| settings.custom_from) else { return Ok(None) };
        let mailbox = self.store.mailbox(MailboxKey { institution, id }).await?;
        Ok(mailbox.filter(|mailbox| mailbox.state != MailboxState::NeedsReconnect))
    }

    pub(super) async fn notification(&self, claimed: &Claimed, to: &str, text: &str) -> Result<Option<AttemptResult>> {
        let institution = claimed.delivery.institution;
        let settings = self.store.email_settings(institution).await?;
        if settings.custom_from && settings.notification_mailbox.is_some() {
            let MailboxAttempt { attempted, problem } =
                self.through_notification_mailbox(claimed, &settings, to, text).await?;
            // The sentence it begins ends with a full stop.
            let problem = problem.map(|problem| problem.trim_end_matches('.').to_owned());
            if settings.notification_problem != problem {
                self.store.set_notification_problem(institution, problem.as_deref()).await?;
            }
            // A fault of the message would recur at the relay, and a message that may have been sent must not be sent twice.
            if problem.is_none() || self.system_smtp.is_none() {
                return Ok(attempted);
            }
        }
        let Some(relay) = &self.system_smtp else {
            let answer = "this server has no way to send notifications".to_owned();
            return Ok(Some(AttemptResult::plain(SendOutcome::Permanent { answer })));
        };
        let slug = self.store.institution(institution).await?.map(|row| row.slug).unwrap_or_default();
        let from = self.default_sender(&slug);
        let peer = Peer { server: relay.server(), signed_in_as: None };
        let (envelope, bytes) = match composed(claimed, &from, to, text) {
            Ok(composed) => composed,
            Err(invalid) => return Ok(Some(*invalid)),
        };
        let mut session = match smtp::Session::open_system(relay, &self.trust).await {
            Ok(session) => session,
            Err(error) => return Ok(Some(AttemptResult::smtp(error, Vec::new(), peer, self.clock.now()))),
        };
        let attempted = self.submit(claimed, &envelope, &bytes, &mut session, peer, &mut None).await?.result;
        session.quit().await;
        Ok(attempted)
    }

    async fn through_notification_mailbox(
        &self,
        claimed: &Claimed,
        settings: &EmailSettings,
        to: &str,
        text: &str,
    ) -> Result<MailboxAttempt> {
        let Some(mailbox) = self.sending_mailbox(claimed.delivery.institution, settings).await? else {
            let answer = "the notification mailbox needs to be reconnected".to_owned();
            let attempted = AttemptResult::plain(SendOutcome::Held { answer: answer.clone() });
            return Ok(MailboxAttempt { attempted: Some(attempted), problem: Some(answer) });
        };
        let (envelope, bytes) = match composed(claimed, &settings.custom_from_address, to, text) {
            Ok(composed) => composed,
            Err(invalid) => return Ok(MailboxAttempt { attempted: Some(*invalid), problem: None }),
        };
        let opened = match mailbox.sends_by {
            SendWay::Smtp => Some(self.open(&mailbox).await?),
            SendWay::Graph => None,
        };
        let attempted = match opened {
            Some(Opened::Session(open)) => {
                let (mut session, peer) = (open.session, self.microsoft(&mailbox));
                let attempted = self.submit(claimed, &envelope, &bytes, &mut session, peer, &mut None).await?.result;
                session.quit().await;
                attempted
            }
            Some(Opened::Failed(attempted)) if !self.switches_to_graph(&mailbox, &attempted).await? => {
                let problem = match &attempted.outcome {
                    SendOutcome::Failed { error, .. } => error.to_string(),
                    SendOutcome::NoToken { answer, .. }
                    | SendOutcome::Held { answer }
                    | SendOutcome::Permanent { answer } => answer.clone(),
                    SendOutcome::Accepted { .. } | SendOutcome::Released => String::new(),
                };
                return Ok(MailboxAttempt { attempted: Some(attempted), problem: Some(problem) });
            }
            Some(Opened::Failed(_)) | None => {
                self.attempt_by_graph(&mailbox, claimed, &envelope, bytes, &mut None).await?
            }
        };
        let problem = attempted.as_ref().and_then(|attempted| match &attempted.outcome {
            SendOutcome::Failed { error, .. } if is_the_mailboxs(error) => Some(error.to_string()),
            // Graph's token may be refused where SMTP has a session by then.
            SendOutcome::NoToken { answer, .. } | SendOutcome::Held { answer } => Some(answer.clone()),
            _ => None,
        });
        Ok(MailboxAttempt { attempted, problem })
    }
}

/// The message, or why there is none.
fn composed(
    claimed: &Claimed,
    from: &str,
    to: &str,
    text: &str,
) -> std::result::Result<(Envelope, Vec<u8>), Box<AttemptResult>> {
    let delivery = &claimed.delivery;
    let built = build::notification(from, to, &delivery.subject, &delivery.message_id, text, delivery.created_at);
    match (built, envelope(from, &[to.to_owned()])) {
        (Ok(message), Some(envelope)) => Ok((envelope, message.bytes)),
        _ => {
            let answer = format!("{from} or {to} is not valid in a message");
            Err(Box::new(AttemptResult::plain(SendOutcome::Permanent { answer })))
        }
    }
}

/// An attempt through the notification mailbox.
struct MailboxAttempt {
    attempted: Option<AttemptResult>,
    /// The fault of the mailbox, as opposed to the message.
    problem: Option<String>,
}

/// A refused recipient, or a connection lost during DATA, is no fault of the mailbox.
fn is_the_mailboxs(error: &MailError) -> bool {
    match error.step {
        Step::Recipient => false,
        Step::AfterData => error.answered,
        _ => true,
    }
}
