//! User Account > Email.

use std::pin::Pin;

use async_trait::async_trait;
use futures::Stream;

use super::{Cookie, ListPage, ProviderRedirect, Result, SignedIn, Visitor};
use crate::model::{AccountView, AttemptId, AttemptKind, AttemptSummary, AttemptView, MailboxId, Notice, Timestamp};

/// Parameters of the redirect from Microsoft. Untrusted until the state is checked.
#[derive(Clone, Default)]
pub struct Callback {
    pub state: String,
    pub code: Option<String>,
    pub error: Option<String>,
    pub error_description: Option<String>,
    /// Issuer, if the authority sends it (RFC 9207).
    pub iss: Option<String>,
    /// `True` after admin consent.
    pub admin_consent: Option<String>,
}

/// The user's decision when a different account signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Sign in again, with a password prompt.
    SignInAgain,
    /// Continue with the typed address, saved only if a test message proves it.
    ContinueWithTyped,
    UseSignedIn,
}

/// Snapshots of an attempt, one per change, ending with the finished one.
pub type AttemptStream = Pin<Box<dyn Stream<Item = AttemptView> + Send>>;

/// An uncompleted sign-in: the notice, and the page for it.
pub struct TurnedAway {
    pub notice: Notice,
    pub path: String,
}

/// A completed sign-in: the next page, and cookies of a new session.
pub struct Completed {
    pub next: NextPage,
    pub cookies: Vec<Cookie>,
    /// Why nobody was signed in.
    pub notice: Option<Notice>,
}

pub enum NextPage {
    Path(String),
    Provider(ProviderRedirect),
}

#[async_trait]
pub trait Mailboxes: Send + Sync {
    async fn account(&self, user: &SignedIn) -> Result<AccountView>;
    /// Attempts for the user's mailbox, or (for administrators) for notifications, before a time.
    async fn attempts(
        &self,
        user: &SignedIn,
        kind: AttemptKind,
        before: Option<Timestamp>,
    ) -> Result<ListPage<AttemptSummary>>;
    async fn start(&self, user: &SignedIn, visitor: &Visitor, address: &str) -> Result<ProviderRedirect>;
    /// Completes the sign-in; returns the next page.
    async fn complete(&self, visitor: &Visitor, callback: Callback, run: bool) -> Result<Completed, TurnedAway>;
    /// Explains an error at the redirect URI: title, steps, ids. It may be forged, so its text is not shown.
    /// `None`: the error is unknown.
    fn returned(&self, visitor: &Visitor, error: &str, description: &str) -> Option<(Notice, Vec<String>)>;
    async fn attempt(&self, user: &SignedIn, id: AttemptId) -> Result<AttemptView>;
    /// Starts the checks of a ready attempt.
    async fn run(&self, user: &SignedIn, id: AttemptId) -> Result<()>;
    async fn follow(&self, user: &SignedIn, id: AttemptId) -> Result<AttemptStream>;
    async fn decide(&self, user: &SignedIn, visitor: &Visitor, id: AttemptId, decision: Decision) -> Result<NextPage>;
    /// Runs the checks again with the stored grant; returns the attempt's path.
    async fn try_again(&self, user: &SignedIn, mailbox: MailboxId) -> Result<String>;
    /// Stores a mailbox's aliases, as typed.
    async fn set_aliases(&self, user: &SignedIn, mailbox: MailboxId, text: &str) -> Result<Notice>;
    async fn disconnect(&self, user: &SignedIn, mailbox: MailboxId) -> Result<Notice>;
}
