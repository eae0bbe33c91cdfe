//! The connection of a line: when it may be made, what a failure means for it, and what is said of that.

use std::sync::Arc;
use std::time::Duration;

use app::model::MailboxState;
use tokio::time::Instant;

use super::{LONGEST_REST, Line, Open, UNREACHABLE};
use crate::inbox::InboxError;
use crate::inbox::right::Right;
use crate::mail::imap::Session;
use crate::mail::{Login, Step};
use crate::store::{Mailbox, News};
use crate::tokens::{AccessToken, TokenError};

impl Line {
    /// What a failure means for connection, token and mailbox.
    pub(super) async fn lose(&mut self, error: &InboxError) {
        let InboxError::Mail(failure) = error else { return };
        if let Some(asked) = failure.backoff_ms().and_then(|ms| u64::try_from(ms).ok())
            && self.resting.is_none()
        {
            let asked = Duration::from_millis(asked).min(LONGEST_REST);
            self.resting = Some((Instant::now() + asked, failure.clone()));
        }
        // What waits need not find out one by one that nobody answers.
        if !failure.answered && matches!(failure.step, Step::Connect | Step::Tls) && self.resting.is_none() {
            self.resting = Some((Instant::now() + UNREACHABLE, failure.clone()));
        }
        if !failure.answered || failure.is_token_expired() || failure.step == Step::Auth {
            self.open = None;
        }
        if failure.is_token_expired() || (failure.step == Step::Auth && failure.answered) {
            self.inbox.tokens.forget(self.id);
        }
        let refused = failure.answered && !failure.is_throttled() && failure.step == Step::Auth;
        let shut = failure.answered && failure.text.contains("authenticated but not connected");
        if refused || shut {
            self.open = None;
            if let Err(error) = self.block(error).await {
                tracing::error!("{error}");
            }
        }
    }

    /// Why the mailbox cannot be looked into is shown beside what is known of it.
    pub(super) async fn tell_trouble(&self, error: &InboxError) {
        let told = async {
            let mailbox = self.inbox.store.mailbox(self.institution, self.id).await?;
            let Some(mailbox) = mailbox.filter(|mailbox| mailbox.look_problem.is_none()) else { return Ok(()) };
            // What is wrong with the mailbox itself is said with its state.
            if matches!(error, InboxError::Mail(_) | InboxError::Token(TokenError::Identity(_))) {
                let problem = error.fault(&self.inbox.server, self.inbox.clock.now()).to_json();
                self.note_trouble(&mailbox, Some(&problem)).await?;
            }
            Ok::<_, InboxError>(())
        };
        if let Err(error) = told.await {
            tracing::warn!("{error}");
        }
    }

    /// Why one folder cannot be opened is shown with it, and only there.
    pub(super) async fn tell_folder_trouble(&self, folder: &str, error: &InboxError) {
        let told = async {
            let Some(mailbox) = self.inbox.store.mailbox(self.institution, self.id).await? else { return Ok(()) };
            let problem = error.fault(&self.inbox.server, self.inbox.clock.now()).of_folder().to_json();
            if self.inbox.store.set_folder_problem(self.institution, self.id, folder, &problem).await? {
                self.inbox.store.publish(News::Mail(mailbox.user)).await;
            }
            Ok::<_, InboxError>(())
        };
        if let Err(error) = told.await {
            tracing::warn!("{error}");
        }
    }

    pub(super) async fn note_trouble(&self, mailbox: &Mailbox, problem: Option<&str>) -> Result<(), InboxError> {
        let now = self.inbox.clock.now();
        self.inbox.store.set_look_problem(mailbox.institution, mailbox.id, problem, now).await?;
        self.inbox.store.publish(News::Mail(mailbox.user)).await;
        Ok(())
    }

    /// A mailbox that the server does not let in no longer works: its owner sees that, and it is tested again by itself.
    pub(super) async fn block(&self, error: &InboxError) -> Result<(), InboxError> {
        let (inbox, now) = (&self.inbox, self.inbox.clock.now());
        let mailbox = inbox.store.mailbox(self.institution, self.id).await?;
        if let Some(mailbox) = mailbox.filter(|mailbox| mailbox.state == MailboxState::Connected) {
            let problem = error.fault(&inbox.server, now).to_json();
            let state = (MailboxState::Blocked, Some(problem.as_str()), Some(now.plus_ms(60_000)));
            inbox.store.set_mailbox_state(self.institution, self.id, state, now).await?;
            inbox.store.publish(News::Mail(mailbox.user)).await;
        }
        Ok(())
    }

    pub(super) async fn log_out(&mut self) {
        if let Some(open) = self.open.take() {
            open.session.logout().await;
        }
    }

    pub(super) async fn hang_up(&mut self) {
        self.log_out().await;
        if let Some(right) = self.right.take() {
            self.inbox.give_back(self.id, right).await;
        }
    }

    /// Drops a connection to which the right was lost.
    pub(super) async fn mind_the_right(&mut self) {
        if self.right.as_ref().is_some_and(Right::is_lost) {
            self.right = None;
            self.log_out().await;
        }
    }

    /// Whether the connection may be used to look: it is here, or nobody's.
    pub(super) async fn may_watch(&mut self) -> Result<bool, InboxError> {
        self.mind_the_right().await;
        if self.right.is_some() {
            return Ok(true);
        }
        if self.stands_back.is_some_and(|until| Instant::now() < until) {
            return Ok(false);
        }
        self.stands_back = None;
        self.right = self.inbox.right(self.institution, self.id).await?;
        Ok(self.right.is_some())
    }

    /// The right, asked of another replica if it has it.
    pub(super) async fn claim(&mut self) -> Result<(), InboxError> {
        self.mind_the_right().await;
        if self.right.is_none() {
            self.right = Some(self.inbox.demand_right(self.institution, self.id).await?);
        }
        Ok(())
    }

    pub(super) async fn mailbox(&self) -> Result<Mailbox, InboxError> {
        let found = self.inbox.store.mailbox(self.institution, self.id).await?;
        let mailbox = found.ok_or(InboxError::Gone)?;
        if mailbox.state == MailboxState::NeedsReconnect {
            return Err(InboxError::NeedsReconnect(mailbox.problem));
        }
        Ok(mailbox)
    }

    /// The connection, made if there is none, or if the mailbox is another person's by now.
    pub(super) async fn session(&mut self) -> Result<&mut Session, InboxError> {
        if let Some((until, error)) = &self.resting {
            if Instant::now() < *until {
                return Err(error.clone().into());
            }
            self.resting = None;
        }
        let mailbox = self.mailbox().await.inspect_err(|_| self.open = None)?;
        self.claim().await?;
        if let Some(open) = &self.open
            && (open.user != mailbox.sign_in_name || open.client != mailbox.client_id)
        {
            self.log_out().await;
        }
        if self.open.is_none() {
            self.synced.clear();
            self.listed = None;
            let token = self.inbox.tokens.access(&mailbox).await?;
            let inbox = Arc::clone(&self.inbox);
            let open = async |token: &AccessToken| {
                let login = Login { server: &inbox.server, user: &mailbox.sign_in_name, token: &token.secret };
                Session::open(&login, &inbox.trust).await
            };
            let session = match open(&token).await {
                Err(error) if error.step == Step::Auth && error.answered => {
                    match inbox.tokens.instead_of(&mailbox, &token).await? {
                        Some(other) => open(&other).await?,
                        None => return Err(error.into()),
                    }
                }
                other => other?,
            };
            self.open = Some(Open { session, user: mailbox.sign_in_name, client: mailbox.client_id });
        }
        self.open.as_mut().map(|open| &mut open.session).ok_or(InboxError::Gone)
    }
}
