//! Alerts: emails to administrators about what they must fix, once per incident.

use app::backend::Institution;
use app::model::{CREDENTIALS_PATH, CredentialKind, EMAIL_CONFIG_PATH, MailboxState, Role, in_days};

use crate::diagnosis::Reader;
use crate::service::Services;
use crate::service::email_state::Found;
use crate::store::{InstitutionRow, StoreError};

/// Days before the expiry of a secret at which administrators are reminded.
const REMIND_DAYS: [i64; 7] = [60, 30, 14, 7, 3, 1, 0];

struct Alert {
    incident: String,
    subject: String,
    text: String,
    /// Also for the named address.
    concerns_all: bool,
}

impl Services {
    pub(in crate::service) async fn alert_once(&self) -> Result<(), StoreError> {
        for row in self.store.institutions().await? {
            let told = self.store.told_alerts(row.id).await?;
            let mut alerts = self.alerts(&row, &told).await?;
            alerts.retain(|alert| !told.contains(&alert.incident));
            // Without a sender the pages show the alerts; they are sent once there is one.
            if alerts.is_empty() || self.outbox.sender(row.id, &row.slug).await?.is_none() {
                continue;
            }
            let institution = self.institution(row);
            for alert in alerts {
                self.tell(&institution, &alert).await?;
            }
        }
        Ok(())
    }

    async fn alerts(&self, row: &InstitutionRow, told: &[String]) -> Result<Vec<Alert>, StoreError> {
        let mut alerts = Vec::new();
        let url = self.config.public_url.of(&row.slug);
        for mailbox in self.store.mailboxes(row.id).await? {
            // An administrator who changes the registration or provider is asked first, with the number of people concerned.
            let expected = mailbox
                .problem
                .as_ref()
                .is_some_and(|fault| ["registration_changed", "provider_changed"].contains(&fault.cause.as_str()));
            if mailbox.state == MailboxState::NeedsReconnect && !expected {
                alerts.push(Alert {
                    // Each grant is an incident of its own.
                    incident: format!("reconnect {} {}", mailbox.id, mailbox.grant_version),
                    subject: format!("{} needs to be reconnected", mailbox.address),
                    text: format!(
                        "Microsoft ended the connection of {}. Its owner has to press Sign in again: {url}/account/email\n\nIts waiting messages stay queued. All users: {url}/institution/users\n",
                        mailbox.address
                    ),
                    concerns_all: false,
                });
            }
        }
        self.check_consent(row.id).await?;
        let mut found = self.find_email_state(row.id).await?;
        if let Found::Stopped { registration, asked: false, .. } = &found {
            self.check_past_secret(row.id, registration).await?;
            found = self.find_email_state(row.id).await?;
        }
        let is_told = told.iter().any(|incident| incident.starts_with("stopped "));
        if is_told && matches!(found, Found::Works { .. }) {
            self.store.end_incidents(row.id, self.clock.now()).await?;
        }
        match found {
            Found::Stopped { fault, registration, .. } => {
                let reader = Reader { administrator: true, institution: row.name.clone(), ..Reader::default() };
                let diagnosis = fault.explain(&reader);
                alerts.push(Alert {
                    // Each registration and cause is an incident of its own.
                    incident: format!("stopped {} {}", registration.id, fault.cause),
                    subject: format!("Email is stopped: {}", diagnosis.title.trim_end_matches('.')),
                    text: format!(
                        "{} {}\n\nNo one at your institution can send or receive until this is fixed: {url}{EMAIL_CONFIG_PATH}\n\nWaiting messages stay queued and are sent automatically afterwards.\n",
                        diagnosis.title, diagnosis.summary
                    ),
                    concerns_all: true,
                });
            }
            Found::Works { days_left: Some(days), registration, .. } if days >= 0 => {
                let date = registration.secret_expires_on.unwrap_or_default();
                let what = registration.credential.name();
                if let Some(reminder) = REMIND_DAYS.into_iter().filter(|reminder| days <= *reminder).min() {
                    let to_do = match registration.credential {
                        CredentialKind::Certificate => format!(
                            "The next certificate is ready: download it and upload it in the Entra portal. It is used as soon as Microsoft knows it: {url}{CREDENTIALS_PATH}"
                        ),
                        _ => format!(
                            "Create a new one in the Entra portal and paste its Value: {url}{EMAIL_CONFIG_PATH}\n\nIt takes effect immediately for everyone"
                        ),
                    };
                    alerts.push(Alert {
                        incident: format!("expires {date} {reminder}"),
                        subject: format!("The {what} expires {}", in_days(days)),
                        text: format!(
                            "It expires on {date}. When it expires, mail stops. {to_do}. No one has to sign in again.\n"
                        ),
                        concerns_all: true,
                    });
                }
            }
            _ => {}
        }
        Ok(alerts)
    }

    /// Queues an alert for every administrator, and records it.
    async fn tell(&self, institution: &Institution, alert: &Alert) -> Result<(), StoreError> {
        let mut tx = self.store.begin().await?;
        if !self.store.note_alert(&mut tx, institution.id, &alert.incident, self.clock.now()).await? {
            return Ok(());
        }
        let text = format!("Hello,\n\n{}", alert.text);
        let users = self.store.users(institution.id).await?;
        let administrators = users.iter().filter(|user| user.role == Role::Administrator && user.disabled_at.is_none());
        let mut to: Vec<&str> = administrators.map(|user| user.address.as_str()).collect();
        let named = self.store.email_settings(institution.id).await?.reminder_address;
        if alert.concerns_all && !named.is_empty() && !to.iter().any(|known| known.eq_ignore_ascii_case(&named)) {
            to.push(&named);
        }
        for address in to {
            match self.notification(institution, address, &alert.subject, &text) {
                Ok(message) => self.enqueue(&mut tx, &message).await?,
                Err(error) => tracing::error!("cannot seal an alert: {error}"),
            }
        }
        tx.commit().await?;
        self.outbox.wake();
        Ok(())
    }
}
