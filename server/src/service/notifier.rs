//! General notifications: through the notification mailbox, else the system SMTP relay.

use std::time::Duration;

use app::backend::Institution;

use super::Services;
use crate::mail::{Login, Step, compose, smtp};

/// How long a whole notification may take.
const LIMIT: Duration = Duration::from_secs(20);

impl Services {
    /// The default sender of an institution.
    #[must_use]
    pub fn default_sender(&self, slug: &str) -> String {
        format!("notifications@{slug}.{}", self.config.notifications_domain)
    }

    /// Sends a notification now. `Ok(Some(from))`: handed over. `Ok(None)`: there is no way to send.
    pub(super) async fn notify(
        &self,
        institution: &Institution,
        to: &str,
        subject: &str,
        text: &str,
    ) -> Result<Option<String>, String> {
        let settings =
            self.store.email_settings(institution.id).await.map_err(|_| "the database did not answer".to_owned())?;
        if settings.custom_from && settings.notification_mailbox.is_some() {
            let sent =
                tokio::time::timeout(LIMIT, self.through_mailbox(institution, &settings, to, subject, text)).await;
            let problem = match sent {
                Ok(Ok(())) => None,
                // The mailbox is fine: nobody could send to this address.
                Ok(Err(Failure::Recipient(reason))) => return Err(reason),
                Ok(Err(Failure::Mailbox(reason))) => Some(reason),
                Err(_) => Some("it took too long".to_owned()),
            };
            if settings.notification_problem != problem
                && let Err(error) = self.store.set_notification_problem(institution.id, problem.as_deref()).await
            {
                tracing::error!("{error}");
            }
            if problem.is_none() {
                return Ok(Some(settings.custom_from_address));
            }
        }
        let Some(system) = &self.config.system_smtp else { return Ok(None) };
        let from = self.default_sender(&institution.slug);
        let message_id = format!("<{}@{}>", self.clock.uuid(), from.rsplit('@').next().unwrap_or_default());
        let message = compose::notification(&from, to, (subject, &message_id), text, self.clock.now())
            .map_err(|error| error.to_string())?;
        let work = async {
            let mut session = smtp::Session::open_relay(system, &self.trust).await?;
            let sent = session.send(&message.envelope, &message.bytes).await;
            session.quit().await;
            sent
        };
        match tokio::time::timeout(LIMIT, work).await {
            Ok(Ok(_)) => Ok(Some(from)),
            Ok(Err(error)) => Err(format!("the system SMTP relay: {error}")),
            Err(_) => Err("the system SMTP relay did not answer in time".into()),
        }
    }

    async fn through_mailbox(
        &self,
        institution: &Institution,
        settings: &crate::store::EmailSettings,
        to: &str,
        subject: &str,
        text: &str,
    ) -> Result<(), Failure> {
        let broken = |reason: &dyn std::fmt::Display| Failure::Mailbox(reason.to_string());
        let id = settings.notification_mailbox.ok_or_else(|| broken(&"no mailbox is chosen"))?;
        let mailbox =
            self.store.mailbox(institution.id, id).await.map_err(|_| broken(&"the database did not answer"))?;
        let mailbox = mailbox.ok_or_else(|| broken(&"the mailbox was disconnected"))?;
        let token = self.tokens.access(&mailbox).await.map_err(|error| broken(&error))?;
        let message_id = format!("<{}@{}>", self.clock.uuid(), institution.slug);
        let message =
            compose::notification(&settings.custom_from_address, to, (subject, &message_id), text, self.clock.now())
                .map_err(|error| Failure::Recipient(error.to_string()))?;
        let login = Login { server: &self.config.microsoft.smtp, user: &mailbox.sign_in_name, token: &token.secret };
        let mut session = smtp::Session::open(&login, &self.trust).await.map_err(|error| broken(&error))?;
        session.send(&message.envelope, &message.bytes).await.map_err(|error| {
            if error.step == Step::Recipient && error.answered {
                Failure::Recipient(error.to_string())
            } else {
                broken(&error)
            }
        })?;
        session.quit().await;
        Ok(())
    }
}

/// Why a notification did not go through the mailbox.
enum Failure {
    /// This recipient is refused.
    Recipient(String),
    /// The mailbox cannot send.
    Mailbox(String),
}
