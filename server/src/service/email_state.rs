//! Whether email of an institution works: one value for every page and alert.

use app::backend::{Result, SignedIn};
use app::model::{CredentialKind, EmailState, InstitutionId, Provider, SecretExpiry, Stopped, Timestamp};

use super::Services;
use crate::diagnosis::{Fault, Reader};
use crate::identity::IdentityError;
use crate::store::{MailboxKey, Registration, Slot, StoreError};

/// What stands in the database, without words.
pub(super) enum Found {
    NotSetUp,
    Unchecked,
    Works {
        accepted_at: Timestamp,
        days_left: Option<i64>,
        registration: Registration,
    },
    /// `asked`: Microsoft refused. Otherwise only the date of the secret has passed.
    Stopped {
        fault: Fault,
        registration: Registration,
        asked: bool,
    },
}

fn expiry(registration: &Registration) -> Option<SecretExpiry> {
    SecretExpiry::parse(registration.secret_expires_on.as_deref()?).ok().flatten()
}

/// Whether the date has passed, and Microsoft has not accepted the secret since.
fn is_past(registration: &Registration, now: Timestamp) -> bool {
    expiry(registration).is_some_and(|date| {
        date.days_left(now) < 0 && registration.verified_at.is_none_or(|accepted| date.days_left(accepted) >= 0)
    })
}

impl Services {
    pub(super) async fn find_email_state(&self, institution: InstitutionId) -> Result<Found, StoreError> {
        let settings = self.store.email_settings(institution).await?;
        let current = self.store.registration(institution, Slot::Current).await?;
        let Some(registration) = current.filter(|_| settings.provider == Provider::ExchangeOnline) else {
            return Ok(Found::NotSetUp);
        };
        // What Microsoft refuses now outranks what it accepted once.
        let refused = self.store.registration_problem(institution).await?.map(|(_, problem)| problem);
        let refused = match refused {
            None => self.store.consent_withdrawn(institution).await?,
            refused => refused,
        };
        if let Some(fault) = refused {
            return Ok(Found::Stopped { fault, registration, asked: true });
        }
        let now = self.clock.now();
        if is_past(&registration, now) {
            let date = registration.secret_expires_on.clone().unwrap_or_default();
            let cause = if registration.credential == CredentialKind::Certificate {
                "certificate_expired"
            } else {
                "secret_expired"
            };
            let fault = Fault::new(cause, now, &[("Expires on", date)]);
            return Ok(Found::Stopped { fault, registration, asked: false });
        }
        Ok(match registration.verified_at {
            None => Found::Unchecked,
            Some(accepted_at) => Found::Works {
                accepted_at,
                days_left: expiry(&registration).map(|date| date.days_left(now)),
                registration,
            },
        })
    }

    /// The state in words for a reader.
    pub(super) async fn email_state(&self, user: &SignedIn) -> Result<EmailState> {
        let institution = user.institution().id;
        Ok(match self.find_email_state(institution).await? {
            Found::NotSetUp => EmailState::NotSetUp,
            Found::Unchecked => EmailState::Unchecked,
            Found::Works { accepted_at, days_left, registration } => {
                EmailState::Works { accepted_at, days_left, credential: registration.credential }
            }
            Found::Stopped { fault, registration, .. } => {
                let reader = self.reader_of_registration(user, &registration).await?;
                EmailState::Stopped(Box::new(Stopped {
                    why: fault.explain(&reader),
                    people: self.store.people_with_mailbox(institution).await?,
                    waiting: self.store.waiting(institution).await?.0,
                    last_accepted: registration.verified_at,
                }))
            }
        })
    }

    async fn reader_of_registration(&self, user: &SignedIn, registration: &Registration) -> Result<Reader> {
        let client_id = self.in_global_cloud(&registration.cloud).then(|| registration.client_id.to_string());
        Ok(Reader { consent_link: self.consent_link(user.institution()).await?, client_id, ..self.reader(user, "") })
    }

    /// Renews one more grant after a mailbox lacked consent: whether it concerns one person or everyone.
    pub(super) async fn check_consent(&self, institution: InstitutionId) -> Result<(), StoreError> {
        let Some(id) = self.store.mailbox_to_prove_consent(institution).await? else { return Ok(()) };
        let Some(mailbox) = self.store.mailbox(MailboxKey { institution, id }).await? else { return Ok(()) };
        // A refusal is stored with the mailbox.
        if let Err(error) = self.tokens.prove(&mailbox).await {
            tracing::warn!(mailbox = %mailbox.id, "cannot renew a grant: {error}");
        }
        Ok(())
    }

    /// Whether a cloud is the global one, whose portal is known.
    pub(super) fn in_global_cloud(&self, cloud: &str) -> bool {
        self.config.clouds.hosts_of(cloud).authority.host_str() == Some("login.microsoftonline.com")
    }

    /// Asks Microsoft once the date of a secret has passed: the date may be wrong, and mail must not stop unseen if it is right.
    pub(super) async fn check_past_secret(
        &self,
        institution: InstitutionId,
        registration: &Registration,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let credentials = match self.tokens.credentials(institution, registration).await {
            Ok(credentials) => credentials,
            Err(error) => {
                tracing::error!("cannot open the secret of a registration: {error}");
                return Ok(());
            }
        };
        match self.entra.probe(&credentials).await {
            Ok(_) => self.store.set_registration_accepted(institution, registration.id, now).await,
            Err(error @ IdentityError::OAuth { .. }) if !error.is_transient() => {
                self.store
                    .set_registration_problem(institution, registration.id, Some(&Fault::identity(&error, now)), now)
                    .await
            }
            Err(error) => {
                tracing::warn!("cannot check a secret whose date has passed: {error}");
                Ok(())
            }
        }
    }
}
