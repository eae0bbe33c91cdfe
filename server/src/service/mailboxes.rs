//! User Account > Email.

use app::backend::{
    AttemptStream, Callback, Completed, Decision, ListPage, Mailboxes, NextPage, ProviderRedirect, Result, SignedIn,
    TurnedAway, Visitor,
};
use app::error::AppError;
use app::model::{
    AccountView, AttemptId, AttemptKind, AttemptSummary, AttemptView, AuditAction, MailboxId, MailboxState,
    MailboxView, Notice, Provider, Stage, Timestamp, Tone,
};
use async_trait::async_trait;

use super::attempts::{NEWEST, PAGE};
use super::{Handle, Happened, Services, Who, address_field};
use crate::diagnosis::{Fault, Reader};
use crate::identity::{OAuthError, Prompt};
use crate::store::{Mailbox, MailboxKey, NewAttempt, Page, Slot};

/// Further addresses of one mailbox.
const MOST_ALIASES: usize = 50;

impl Services {
    pub(super) fn returned(&self, visitor: &Visitor, error: &str, description: &str) -> Option<(Notice, Vec<String>)> {
        let cut = |text: &str, most: usize| text.chars().take(most).collect::<String>();
        let description = cut(description, 2_000);
        let told = OAuthError {
            error: cut(error, 100),
            error_description: Some(description.clone()),
            ..OAuthError::default()
        };
        let fault = Fault::callback(&told, self.clock.now());
        let reader = Reader {
            institution: visitor.institution.name.clone(),
            redirect_uri: self.redirect_uri(&visitor.institution.public_url),
            public_url: visitor.institution.public_url.clone(),
            ..crate::diagnosis::Reader::default()
        };
        let diagnosis = fault.explain(&reader);
        let steps: Vec<&str> = diagnosis.steps.iter().map(|step| step.text.as_str()).collect();
        let codes = told.codes().iter().map(|code| format!("AADSTS{code}")).collect::<Vec<_>>();
        let ids = description
            .split(|c: char| !(c.is_ascii_hexdigit() || c == '-'))
            .filter(|word| word.len() == 36)
            .filter_map(|word| uuid::Uuid::parse_str(word).ok())
            .map(|id| id.to_string());
        let ids: Vec<String> = codes.into_iter().chain(ids).take(6).collect();
        if fault.cause == "authority_refused" {
            // An unknown code, perhaps not even from Microsoft.
            let text = "Look up the numbers below at Microsoft.";
            return (!ids.is_empty()).then(|| (Notice::new(Tone::Problem, diagnosis.title.clone(), text), ids));
        }
        let text = format!("{} {}", diagnosis.summary, steps.join(" "));
        Some((Notice::new(Tone::Problem, diagnosis.title.clone(), text), ids))
    }

    async fn personal_mailbox(&self, user: &SignedIn, mailbox_id: MailboxId) -> Result<Mailbox> {
        let found = self.store.mailbox(MailboxKey { institution: user.institution().id, id: mailbox_id }).await?;
        found
            .filter(|found| found.user == user.user_id() && found.kind == AttemptKind::Personal)
            .ok_or_else(|| AppError::NotFound.into())
    }

    /// Facts about the user that diagnoses are written for.
    pub(super) async fn reader_of_mailboxes(&self, user: &SignedIn) -> Result<Reader> {
        Ok(Reader { consent_link: self.consent_link(user.institution()).await?, ..self.reader(user, "") })
    }

    pub(super) fn mailbox_view(user: &SignedIn, mailbox: &Mailbox, reader: &Reader) -> MailboxView {
        let (colleague, address) = (mailbox.user != user.user_id(), mailbox.address.clone());
        let reader = Reader { colleague, address, ..reader.clone() };
        MailboxView {
            id: mailbox.id,
            address: mailbox.address.clone(),
            sign_in_name: mailbox.sign_in_name.clone(),
            aliases: mailbox.aliases.clone(),
            state: mailbox.state,
            connected_at: mailbox.connected_at,
            next_test_at: mailbox.next_test_at,
            problem: mailbox.problem.as_ref().map(|problem| problem.explain(&reader)),
            sends_by: mailbox.sends_by,
        }
    }

    /// Deletes a mailbox, its sealed grant and its access token.
    pub(super) async fn forget_mailbox(&self, user: &SignedIn, mailbox: &Mailbox) -> Result<()> {
        let mut tx = self.store.begin().await?;
        if self.store.drop_mailbox(&mut tx, mailbox.key()).await? {
            let happened = Happened::new(AuditAction::MailboxDisconnected, &mailbox.address);
            self.audit(&mut tx, mailbox.institution, Who::Person(user), happened).await?;
        }
        tx.commit().await?;
        self.tokens.forget(mailbox.id);
        Ok(())
    }

    /// Creates an attempt that uses the grant of a mailbox, without starting its checks.
    pub(super) async fn retest(
        &self,
        mailbox: &Mailbox,
        user: app::model::UserId,
        kind: AttemptKind,
        address: &str,
        automatic: bool,
    ) -> crate::store::Result<AttemptId> {
        let (id, now) = (AttemptId(self.clock.uuid()), self.clock.now());
        let new = NewAttempt {
            id,
            user,
            kind,
            stage: Stage::Ready,
            address: address.to_owned(),
            automatic,
            app: mailbox.app.clone(),
            sign_in: None,
            mailbox: Some((mailbox.id, mailbox.sign_in_name.clone())),
            callback_expires_at: now,
        };
        let mut tx = self.store.begin().await?;
        self.store.add_attempt(&mut tx, mailbox.institution, &new, now).await?;
        tx.commit().await?;
        Ok(id)
    }
}

#[async_trait]
impl Mailboxes for Handle {
    async fn account(&self, user: &SignedIn) -> Result<AccountView> {
        let institution = user.institution().id;
        let settings = self.store.email_settings(institution).await?;
        let registration = self.store.registration(institution, Slot::Current).await?;
        let mailboxes = self.store.mailboxes_of(institution, user.user_id()).await?;
        let attempts = self.store.attempts_of(institution, user.user_id(), NEWEST).await?;
        let administrators = self.store.administrators(institution).await?;
        let administrators = administrators
            .into_iter()
            .filter(|person| person.id != user.user_id())
            .map(|person| person.address)
            .collect();
        let provider_ready = registration.is_some() && settings.provider == Provider::ExchangeOnline;
        let reader = self.reader_of_mailboxes(user).await?;
        Ok(AccountView {
            account_address: user.address().to_owned(),
            provider_ready,
            administrators,
            allow_other_address: settings.allow_other_address,
            mailboxes: mailboxes.iter().map(|mailbox| Services::mailbox_view(user, mailbox, &reader)).collect(),
            attempts: self.summaries(attempts).await?,
        })
    }

    async fn attempts(
        &self,
        user: &SignedIn,
        kind: AttemptKind,
        before: Option<Timestamp>,
    ) -> Result<ListPage<AttemptSummary>> {
        let institution = user.institution().id;
        let page = Page::before(before, PAGE + 1);
        let found = if kind == AttemptKind::Personal {
            self.store.attempts_of(institution, user.user_id(), page).await
        } else {
            self.store.notification_attempts(user.administrator()?.institution().id, page).await
        };
        Ok(ListPage::new(self.summaries(found?).await?, PAGE))
    }

    async fn start(&self, user: &SignedIn, visitor: &Visitor, address: &str) -> Result<ProviderRedirect> {
        let address = address_field(address, "email", "Email address")
            .map_err(|error| AppError::Invalid { fields: vec![error] })?;
        let institution = user.institution().id;
        let settings = self.store.email_settings(institution).await?;
        if !settings.allow_other_address && !address.same_as(user.address()) {
            let text = format!(
                "Your institution allows only your Entrepost address, {}. Ask an administrator to allow others.",
                user.address()
            );
            return Err(AppError::field("email", "Email address", text).into());
        }
        let taken = self.store.mailbox_by_address(institution, AttemptKind::Personal, address.as_str()).await?;
        if taken.is_some_and(|mailbox| mailbox.user != user.user_id()) {
            return Err(AppError::field(
                "email",
                "Email address",
                format!("Another person has connected {address}. Ask an administrator to disconnect it."),
            )
            .into());
        }
        self.begin_sign_in(user, visitor, AttemptKind::Personal, address.as_str(), Some(Prompt::SelectAccount)).await
    }

    async fn complete(&self, visitor: &Visitor, callback: Callback, run: bool) -> Result<Completed, TurnedAway> {
        self.complete_sign_in(visitor, callback, run).await
    }

    fn returned(&self, visitor: &Visitor, error: &str, description: &str) -> Option<(Notice, Vec<String>)> {
        Services::returned(self, visitor, error, description)
    }

    async fn attempt(&self, user: &SignedIn, id: AttemptId) -> Result<AttemptView> {
        let attempt = self.attempt_for(user, id).await?;
        self.attempt_view(user, &attempt).await
    }

    async fn run(&self, user: &SignedIn, id: AttemptId) -> Result<()> {
        if self.attempt_for(user, id).await?.stage == Stage::Ready {
            self.spawn_run(user.clone(), id);
        }
        Ok(())
    }

    async fn follow(&self, user: &SignedIn, id: AttemptId) -> Result<AttemptStream> {
        self.attempt_for(user, id).await?;
        Ok(self.follow_attempt(user.clone(), id))
    }

    async fn decide(&self, user: &SignedIn, visitor: &Visitor, id: AttemptId, decision: Decision) -> Result<NextPage> {
        self.decided(user, visitor, id, decision).await
    }

    async fn try_again(&self, user: &SignedIn, mailbox: MailboxId) -> Result<String> {
        let mailbox = self
            .store
            .mailbox(MailboxKey { institution: user.institution().id, id: mailbox })
            .await?
            .ok_or(AppError::NotFound)?;
        let mine = match mailbox.kind {
            AttemptKind::Personal => mailbox.user == user.user_id(),
            _ => user.administrator().is_ok(),
        };
        if !mine {
            return Err(AppError::NotFound.into());
        }
        if mailbox.state == MailboxState::NeedsReconnect {
            return Err(
                AppError::refused("Microsoft ended this connection. Press Configure & Test to sign in again.").into()
            );
        }
        self.check_attempts(user).await?;
        let id = self.retest(&mailbox, user.user_id(), mailbox.kind, &mailbox.address, false).await?;
        self.spawn_run(user.clone(), id);
        Ok(mailbox.kind.path(id))
    }

    async fn set_aliases(&self, user: &SignedIn, mailbox: MailboxId, text: &str) -> Result<Notice> {
        let found = self.personal_mailbox(user, mailbox).await?;
        let mut aliases = Vec::new();
        for one in text.split([',', ';', ' ', '\t', '\r', '\n']).filter(|one| !one.is_empty()) {
            let address = address_field(one, "aliases", "Other addresses");
            let address = address.map_err(|mut error| {
                error.text = format!("{one}: {}", error.text);
                AppError::Invalid { fields: vec![error] }
            })?;
            aliases.push(address.as_str().to_lowercase());
        }
        aliases.sort();
        aliases.dedup();
        if aliases.len() > MOST_ALIASES {
            let text = format!("Enter at most {MOST_ALIASES} addresses.");
            return Err(AppError::field("aliases", "Other addresses", &text).into());
        }
        self.store
            .set_aliases(MailboxKey { institution: found.institution, id: mailbox }, &aliases, self.clock.now())
            .await?;
        Ok(Notice::new(Tone::Success, "Saved.", "Reply all leaves these addresses out."))
    }

    async fn disconnect(&self, user: &SignedIn, mailbox: MailboxId) -> Result<Notice> {
        let found = self.personal_mailbox(user, mailbox).await?;
        self.forget_mailbox(user, &found).await?;
        Ok(Notice::new(
            Tone::Success,
            format!("{} is disconnected.", found.address),
            "Entrepost deleted its tokens. You can connect it again at any time.",
        ))
    }
}
