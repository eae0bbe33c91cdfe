//! Runs the checks of an attempt: token, SMTP, test message, IMAP, arrival. A run outlives its page and has a deadline.

mod run;

use super::actor::Actor;
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument;

use app::backend::{BackendError, Result};
use app::error::AppError;
use app::model::{
    AttemptId, AttemptKind, AuditAction, CheckKind, EmailAddress, GraphUse, GuideStep, MailboxState, Outcome, Role,
    SendWay,
};

use super::{Happened, Services, Who};
use crate::access_tokens::AccessToken;
use crate::diagnosis::Fault;
use crate::store::{Attempt, Mailbox, MailboxKey, SendQueue};
use run::{Grant, Route, Run, Sender, Through};

/// Deadline of a run without the search for the test message.
const SLACK: Duration = Duration::from_secs(180);
impl Services {
    /// Starts the checks of a ready attempt once. They run to their end even if the page is closed.
    pub(super) fn spawn_run(self: &Arc<Self>, actor: impl Into<Actor>, id: AttemptId) {
        let actor = actor.into();
        let services = Arc::clone(self);
        let span = tracing::info_span!("checks", institution = %actor.institution().slug, attempt = %id);
        let run = async move {
            let deadline = services.config.arrival_limit + SLACK;
            let institution = actor.institution().id;
            let until = services.clock.now().plus_ms(i64::try_from(deadline.as_millis()).unwrap_or(i64::MAX));
            match services.store.lease_attempt(institution, id, until).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return tracing::error!("cannot start a test run: {error}"),
            }
            services.watchers.changed(id);
            let run = tokio::select! {
                run = tokio::time::timeout(deadline, services.run_checks(&actor, id)) => run.unwrap_or(Ok(Outcome::Abandoned)),
                () = services.stop.cancelled() => Ok(Outcome::Abandoned),
            };
            let outcome = run.unwrap_or_else(|error| {
                tracing::error!("a test run failed: {error}");
                Outcome::Abandoned
            });
            if let Err(error) = services.store.finish_attempt(institution, id, outcome, services.clock.now()).await {
                tracing::error!("cannot finish a test run: {error}");
            }
            services.watchers.changed(id);
            services.watchers.forget(id);
        };
        self.tasks.spawn(run.instrument(span));
    }

    async fn run_checks(&self, actor: &Actor, id: AttemptId) -> Result<Outcome> {
        let institution = actor.institution().id;
        let attempt = self.store.attempt(institution, id).await?.ok_or(AppError::NotFound)?;
        let mailbox = match attempt.mailbox {
            Some(mailbox) => self.store.mailbox(MailboxKey { institution, id: mailbox }).await?,
            None => None,
        };
        let mut run = Run::of(self, actor, &attempt);
        let (mut sent, mut arrived, mut way) = (None, false, None);

        let token = run.token(mailbox.as_ref()).await?;
        if let Some((token, refresh)) = token {
            let route = Self::route(&attempt, mailbox.as_ref())?;
            let grant = match (&mailbox, &refresh) {
                (Some(mailbox), _) => Grant::Mailbox(mailbox),
                (None, Some(refresh)) => Grant::Waiting(refresh),
                (None, None) => return Err(AppError::NotFound.into()),
            };
            let sender = run.sender(&route, &token, grant, self.graph_use_of(&attempt).await?).await?;
            way = sender.as_ref().map(Sender::way);
            // An automatic test sends its message only if everything else works.
            let mut inbox =
                if attempt.automatic { self.inbox_of(&mut run, &attempt, &route, &token).await? } else { None };
            match sender {
                Some(sender) if !attempt.automatic || inbox.is_some() => {
                    sent = run.test_message(sender, &route).await?;
                }
                _ => run.not_run(CheckKind::TestMessage).await?,
            }
            if !attempt.automatic {
                inbox = self.inbox_of(&mut run, &attempt, &route, &token).await?;
            }
            match (inbox, &sent) {
                (Some(inbox), Some(sent)) => arrived = run.arrival(inbox, sent).await?,
                (inbox, _) => {
                    run.not_run(CheckKind::Arrival).await?;
                    if let Some(inbox) = inbox {
                        inbox.end().await;
                    }
                }
            }
            if attempt.prove_address {
                run.settle_proof(arrived, refresh.as_ref()).await?;
            }
        } else {
            for kind in [CheckKind::Smtp, CheckKind::TestMessage, CheckKind::Imap, CheckKind::Arrival] {
                run.not_run(kind).await?;
            }
            if attempt.prove_address {
                run.settle_proof(false, None).await?;
            }
        }
        let outcome = match (run.failed, run.unseen) {
            (true, _) => Outcome::Failed,
            (false, true) => Outcome::NotSeen,
            (false, false) => Outcome::Passed,
        };
        let fault = run.first_fault.take();
        self.settle_mailbox(&attempt, outcome, fault.as_ref(), way.filter(|_| sent.is_some())).await?;
        Ok(outcome)
    }

    /// The IMAP check, on the mailbox's one connection.
    async fn inbox_of(
        &self,
        run: &mut Run<'_>,
        attempt: &Attempt,
        route: &Route,
        token: &AccessToken,
    ) -> Result<Option<Through>> {
        let Some(mailbox) = attempt.mailbox else {
            return Ok(run.imap(route, token).await?.map(|session| Through::Session(Box::new(session))));
        };
        let key = MailboxKey { institution: attempt.institution, id: mailbox };
        let _held = self.mailbox_sync.hold_connection(key).await;
        let Some(session) = run.imap(route, token).await? else { return Ok(None) };
        session.logout().await;
        Ok(Some(Through::Mailbox(key)))
    }

    /// Where the cloud's Graph is not known there is none.
    async fn graph_use_of(&self, attempt: &Attempt) -> Result<GraphUse> {
        if self.config.clouds.hosts_of(&attempt.app.cloud).graph.is_none() {
            return Ok(GraphUse::Off);
        }
        Ok(self.store.graph_use(attempt.institution).await?)
    }

    fn route(attempt: &Attempt, mailbox: Option<&Mailbox>) -> Result<Route> {
        let parse = |text: &str| EmailAddress::parse(text).map_err(BackendError::internal);
        let from = parse(&attempt.address)?;
        Ok(match mailbox {
            // For the custom sender address, a connected mailbox sends as that address to itself.
            Some(mailbox) => Route { sign_in_name: mailbox.sign_in_name.clone(), from, to: parse(&mailbox.address)? },
            None => Route { sign_in_name: attempt.sign_in_name.clone(), to: from.clone(), from },
        })
    }

    /// `way`: by which the test message left.
    async fn settle_mailbox(
        &self,
        attempt: &Attempt,
        outcome: Outcome,
        fault: Option<&Fault>,
        way: Option<SendWay>,
    ) -> Result<()> {
        let institution = attempt.institution;
        let attempt = self.store.attempt(institution, attempt.id).await?.ok_or(AppError::NotFound)?;
        let Some(id) = attempt.mailbox else { return Ok(()) };
        let works = matches!(outcome, Outcome::Passed | Outcome::NotSeen);
        if let Some(way) = way {
            self.store.set_sends_by(MailboxKey { institution, id }, way).await?;
        }
        if works && attempt.kind != AttemptKind::Personal {
            // Only for the tested address: it may have been changed.
            let settings = self.store.email_settings(institution).await?;
            // The test takes time: the user must still be an administrator.
            let by = self.store.user(institution, attempt.user).await?;
            let by = by.filter(|by| by.role == Role::Administrator && by.disabled_at.is_none());
            let same = settings.custom_from && settings.custom_from_address.eq_ignore_ascii_case(&attempt.address);
            if let Some(by) = by.filter(|_| same) {
                let mut tx = self.store.begin().await?;
                self.store.set_notification_mailbox(&mut tx, institution, Some(id)).await?;
                if settings.notification_mailbox != Some(id) {
                    let happened = Happened::new(AuditAction::NotificationSenderChanged, &attempt.address)
                        .with("Chosen by", by.address)
                        .with("Signs in as", &attempt.sign_in_name);
                    self.audit(&mut tx, institution, Who::Program("Entrepost"), happened).await?;
                }
                tx.commit().await?;
            }
        }
        if !works && attempt.kind != AttemptKind::Personal {
            // The custom sender no longer works: its page says so, and the relay takes over.
            let settings = self.store.email_settings(institution).await?;
            let in_use = settings.notification_mailbox == Some(id)
                && settings.custom_from_address.eq_ignore_ascii_case(&attempt.address);
            if in_use {
                let title = fault.map_or_else(
                    || "the last test didn't finish".to_owned(),
                    |fault| {
                        fault
                            .explain(&crate::diagnosis::Reader {
                                address: attempt.address.clone(),
                                ..Default::default()
                            })
                            .title
                    },
                );
                self.store.set_notification_problem(institution, Some(title.trim_end_matches('.'))).await?;
            }
        }
        let now = self.clock.now();
        if works && attempt.kind != AttemptKind::Personal {
            // Waiting notifications are sent now.
            self.store.resume_queue(&SendQueue::of_notifications(institution), now).await?;
            self.outbox.wake();
        }
        if attempt.kind == AttemptKind::Pair {
            return Ok(());
        }
        let Some(mailbox) = self.store.mailbox(MailboxKey { institution, id }).await? else { return Ok(()) };
        if works {
            self.store
                .set_mailbox_state(MailboxKey { institution, id }, MailboxState::Connected, None, None, now)
                .await?;
            // Waiting deliveries are sent now.
            self.store.resume_queue(&SendQueue::of_mailbox(MailboxKey { institution, id }), now).await?;
            self.outbox.wake();
            return Ok(());
        }
        if mailbox.state == MailboxState::NeedsReconnect {
            return Ok(());
        }
        let next = now.plus_ms(i64::try_from(self.config.retest_interval.as_millis()).unwrap_or(3_600_000));
        Ok(self
            .store
            .set_mailbox_state(MailboxKey { institution, id }, MailboxState::Blocked, fault, Some(next), now)
            .await?)
    }

    pub(super) async fn prove_steps(
        &self,
        institution: app::model::InstitutionId,
        steps: &[GuideStep],
    ) -> crate::store::Result<()> {
        for step in steps {
            let row = crate::store::GuideRow { step: *step, done: true, proven: true, updated_at: self.clock.now() };
            self.store.put_guide_step(institution, row).await?;
        }
        Ok(())
    }
}
