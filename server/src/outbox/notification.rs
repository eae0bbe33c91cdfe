//! Notifications: sent through the institution's notification mailbox, or the system relay if that fails.

use app::model::MailboxState;

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
            return Ok(Some(AttemptResult { outcome: SendOutcome::Permanent { answer }, fault: None }));
        };
        let slug = self.store.institution(institution).await?.map(|row| row.slug).unwrap_or_default();
        let from = self.default_sender(&slug);
        let peer = Peer { server: relay.server(), signed_in_as: None };
        let mut session = match smtp::Session::open_system(relay, &self.trust).await {
            Ok(session) => session,
            Err(error) => return Ok(Some(AttemptResult::smtp(error, Vec::new(), peer, self.clock.now()))),
        };
        let attempted = self.submit_text(claimed, &from, to, text, &mut session, peer).await?;
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
            let attempted = AttemptResult { outcome: SendOutcome::Held { answer: answer.clone() }, fault: None };
            return Ok(MailboxAttempt { attempted: Some(attempted), problem: Some(answer) });
        };
        let peer = self.microsoft(&mailbox);
        let mut session = match self.open(&mailbox).await? {
            Opened::Session(open) => open.session,
            Opened::Failed(attempted) => {
                let problem = match &attempted.outcome {
                    SendOutcome::Failed { error, .. } => error.to_string(),
                    SendOutcome::NoToken { answer, .. }
                    | SendOutcome::Held { answer }
                    | SendOutcome::Permanent { answer } => answer.clone(),
                    SendOutcome::Accepted { .. } | SendOutcome::Released => String::new(),
                };
                return Ok(MailboxAttempt { attempted: Some(attempted), problem: Some(problem) });
            }
        };
        let attempted = self.submit_text(claimed, &settings.custom_from_address, to, text, &mut session, peer).await?;
        session.quit().await;
        let problem = attempted.as_ref().and_then(|attempted| match &attempted.outcome {
            SendOutcome::Failed { error, .. } if is_the_mailboxs(error) => Some(error.to_string()),
            _ => None,
        });
        Ok(MailboxAttempt { attempted, problem })
    }

    async fn submit_text(
        &self,
        claimed: &Claimed,
        from: &str,
        to: &str,
        text: &str,
        session: &mut smtp::Session,
        peer: Peer<'_>,
    ) -> Result<Option<AttemptResult>> {
        let composed = build::notification(
            from,
            to,
            &claimed.delivery.subject,
            &claimed.delivery.message_id,
            text,
            claimed.delivery.created_at,
        );
        let (Ok(message), Some(envelope)) = (composed, envelope(from, &[to.to_owned()])) else {
            let answer = format!("{from} or {to} is not valid in a message");
            return Ok(Some(AttemptResult { outcome: SendOutcome::Permanent { answer }, fault: None }));
        };
        Ok(self.submit(claimed, &envelope, &message.bytes, session, peer, &mut None).await?.result)
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
