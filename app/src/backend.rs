//! The traits the server implements, one per area, and the proofs that their methods demand.
//!
//! **Architecture invariant:** a method that acts for a person takes [`SignedIn`] or [`Administrator`]. Only the
//! session layer makes a [`SignedIn`], only [`SignedIn::administrator`] makes an [`Administrator`]; so a server
//! function that forgot to ask who is there does not compile.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures::Stream;

use crate::error::AppError;
use crate::model::{
    AccountView, AttachmentId, AttachmentView, AttemptId, AttemptKind, AttemptSummary, AttemptView, ComposeForm,
    ComposeView, DeliveryId, DeliveryView, DraftId, DraftView, EmailConfigForm, EmailConfigView, Flash, FormVersion,
    GuideStep, InboxQuery, InboxView, InstitutionId, InvitationView, LetterView, MailAction, MailboxId, MessageRef,
    MessageView, Notice, ReplyKind, Resubmission, Role, SessionId, Timestamp, UserId, UserRow, UtcOffset,
};

/// The institution that the host name named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Institution {
    pub id: InstitutionId,
    /// Its slug, the first label of its host.
    pub slug: String,
    pub name: String,
    /// Its public address, without a trailing slash.
    pub public_url: String,
}

/// Whoever sent the request.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// The institution whose host was asked.
    pub institution: Arc<Institution>,
    pub person: Option<SignedIn>,
    /// The network address the request came from.
    pub address: IpAddr,
    /// Value of the cookie that fetches a form's answer.
    pub flash_token: Option<String>,
    /// Whether JavaScript was seen to run in this browser.
    pub script: bool,
    /// Value of the cookie that binds a sign-in at Microsoft to this browser.
    pub browser_token: Option<String>,
    /// Value of the cookie of a browser in which somebody signed in before.
    pub known_browser: Option<String>,
}

impl Visitor {
    /// The signed-in person.
    pub fn signed_in(&self) -> Result<SignedIn, AppError> {
        self.person.clone().ok_or(AppError::NotSignedIn)
    }

    /// The signed-in administrator.
    pub fn administrator(&self) -> Result<Administrator, AppError> {
        self.signed_in()?.administrator()
    }
}

/// Proof that a person of this institution is signed in.
#[derive(Debug, Clone)]
pub struct SignedIn {
    session: SessionId,
    user: UserId,
    institution: Arc<Institution>,
    address: String,
    role: Role,
    mail_locked: bool,
}

impl SignedIn {
    /// Made by the session layer, from a session that the store found valid, and by nobody else.
    pub fn from_session(
        session: SessionId,
        user: UserId,
        institution: Arc<Institution>,
        address: String,
        role: Role,
        mail_locked: bool,
    ) -> Self {
        Self { session, user, institution, address, role, mail_locked }
    }

    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Who they are.
    pub fn user_id(&self) -> UserId {
        self.user
    }

    /// Where they belong.
    pub fn institution(&self) -> &Institution {
        &self.institution
    }

    /// The account's address.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether their mail is hidden until their Microsoft account signs in.
    pub fn mail_is_locked(&self) -> bool {
        self.mail_locked
    }

    /// The proof that they may see their mail.
    pub fn mail(&self) -> Result<MailOwner, AppError> {
        if self.mail_locked { Err(AppError::MailLocked) } else { Ok(MailOwner(self.clone())) }
    }

    /// The stronger proof, if they are an administrator.
    pub fn administrator(&self) -> Result<Administrator, AppError> {
        match self.role {
            Role::Administrator => Ok(Administrator(self.clone())),
            Role::User => Err(AppError::Forbidden),
        }
    }
}

/// Proof that an administrator of this institution is signed in.
#[derive(Debug, Clone)]
pub struct Administrator(SignedIn);

impl std::ops::Deref for Administrator {
    type Target = SignedIn;
    fn deref(&self) -> &SignedIn {
        &self.0
    }
}

/// Proof that somebody is signed in whose mail may be shown: nobody else made them a password since their Microsoft account was seen.
#[derive(Debug, Clone)]
pub struct MailOwner(SignedIn);

impl MailOwner {
    /// The weaker proof.
    pub fn signed_in(&self) -> SignedIn {
        self.0.clone()
    }
}

impl std::ops::Deref for MailOwner {
    type Target = SignedIn;
    fn deref(&self) -> &SignedIn {
        &self.0
    }
}

/// A `Set-Cookie` header value.
pub struct Cookie(pub String);

/// Where to send the browser, and what to leave in it.
pub struct ProviderRedirect {
    /// An address at the authority.
    pub url: String,
    /// The cookie that binds the attempt to this browser.
    pub cookie: Cookie,
}

/// What Microsoft sent back with the browser. All of it is untrusted until the state was checked.
#[derive(Clone, Default)]
pub struct Callback {
    /// The `state` that came back.
    pub state: String,
    /// The authorization code.
    pub code: Option<String>,
    /// The OAuth error.
    pub error: Option<String>,
    pub error_description: Option<String>,
    /// The issuer, where the authority sends it (RFC 9207).
    pub iss: Option<String>,
    /// `True` after admin consent.
    pub admin_consent: Option<String>,
}

/// What a person decides when another account than expected signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Sign in again, with the password asked for.
    SignInAgain,
    /// Continue with the typed address, saved only if a test message proves it.
    ContinueWithTyped,
    /// Connect the address that signed in.
    UseSignedIn,
}

/// Snapshots of an attempt, one at each change, ending with the finished one.
pub type AttemptStream = Pin<Box<dyn Stream<Item = AttemptView> + Send>>;

/// What the home page and the banners say.
#[derive(Debug, Clone, Default)]
pub struct Home {
    /// Notices, most urgent first, with the address of the page that mends each.
    pub notices: Vec<(Notice, String, String)>,
}

/// Sign-in, people, invitations.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// Checks address and password and opens a session.
    async fn sign_in(&self, visitor: &Visitor, address: &str, password: &str) -> Result<Vec<Cookie>, AppError>;
    /// The same person, as they are known now; none if their session ended.
    async fn again(&self, user: &SignedIn) -> Option<SignedIn>;
    /// Ends the visitor's session.
    async fn sign_out(&self, visitor: &Visitor) -> Result<Cookie, AppError>;
    /// Whose invitation this is.
    async fn invitation(&self, visitor: &Visitor, token: &str) -> Result<InvitationView, AppError>;
    /// Sets the password and opens a session.
    async fn accept_invitation(&self, visitor: &Visitor, token: &str, password: &str) -> Result<Vec<Cookie>, AppError>;
    /// Everybody in the institution.
    async fn people(&self, admin: &Administrator) -> Result<Vec<UserRow>, AppError>;
    /// Makes an account and its invitation link.
    async fn invite(&self, admin: &Administrator, address: &str, role: &str) -> Result<Notice, AppError>;
    /// Makes a new invitation link for an existing account.
    async fn renew_invitation(&self, admin: &Administrator, user: UserId) -> Result<Notice, AppError>;
    /// Changes a role.
    async fn set_role(&self, admin: &Administrator, user: UserId, role: Role) -> Result<Notice, AppError>;
    /// Disables an account (and forgets its tokens), or enables it again.
    async fn set_disabled(&self, admin: &Administrator, user: UserId, disabled: bool) -> Result<Notice, AppError>;
    /// Says no more that emails of Entrepost did not reach somebody.
    async fn dismiss_undelivered(&self, admin: &Administrator, user: UserId) -> Result<Notice, AppError>;
    /// Forgets the tokens of somebody's mailbox.
    async fn disconnect(&self, admin: &Administrator, mailbox: MailboxId) -> Result<Notice, AppError>;
}

/// What was done with messages of a folder.
pub struct Acted {
    /// What to say.
    pub notice: Notice,
    /// UIDVALIDITY and UID of the row where one goes on: the message, or the one behind those that are gone.
    pub row: Option<(u32, u32)>,
}

/// Institution Config > General > Email.
#[async_trait]
pub trait EmailConfig: Send + Sync {
    /// Everything the page shows.
    async fn view(&self, admin: &Administrator) -> Result<EmailConfigView, AppError>;
    /// Checks the form, then asks Microsoft, then stores.
    async fn save(&self, admin: &Administrator, form: EmailConfigForm) -> Result<Flash, AppError>;
    /// Asks Microsoft again about values stored as unverified or waiting. `confirmed`: the administrator agreed that using
    /// the waiting ones ends every connection.
    async fn verify_again(&self, admin: &Administrator, confirmed: bool) -> Result<Flash, AppError>;
    /// Forgets the waiting values.
    async fn discard_waiting(&self, admin: &Administrator) -> Result<Notice, AppError>;
    /// Ticks or unticks one step of the guide.
    async fn set_guide_step(&self, admin: &Administrator, step: GuideStep, done: bool) -> Result<(), AppError>;
    /// Ticks exactly these steps.
    async fn set_guide_steps(&self, admin: &Administrator, done: &[GuideStep]) -> Result<(), AppError>;
    /// Begins admin consent at Microsoft.
    async fn start_consent(&self, admin: &Administrator, visitor: &Visitor) -> Result<ProviderRedirect, AppError>;
    /// Begins Configure & Test of the custom From address's own mailbox.
    async fn start_notifications(&self, admin: &Administrator, visitor: &Visitor)
    -> Result<ProviderRedirect, AppError>;
    /// Tests a connected mailbox that sends as the custom From address; answers where to watch.
    async fn test_pair(&self, admin: &Administrator, mailbox: MailboxId) -> Result<String, AppError>;
    /// No mailbox sends notifications any more.
    async fn disconnect_notifications(&self, admin: &Administrator) -> Result<Notice, AppError>;
    /// What the home page says.
    async fn home(&self, user: &SignedIn) -> Result<Home, AppError>;
}

/// User Account > Email.
#[async_trait]
pub trait Mailboxes: Send + Sync {
    /// Everything the page shows.
    async fn account(&self, user: &SignedIn) -> Result<AccountView, AppError>;
    /// Attempts for a person's own mailbox, or (for administrators) for notifications: a page of those made before a time,
    /// newest first, and whether there are more.
    async fn attempts(
        &self,
        user: &SignedIn,
        kind: AttemptKind,
        before: Option<Timestamp>,
    ) -> Result<(Vec<AttemptSummary>, bool), AppError>;
    /// Begins Configure & Test.
    async fn start(&self, user: &SignedIn, visitor: &Visitor, address: &str) -> Result<ProviderRedirect, AppError>;
    /// Completes the sign-in with what Microsoft sent; answers the page that goes on, or a notice for the account page.
    async fn complete(&self, visitor: &Visitor, callback: Callback, run: bool) -> Result<String, (Notice, String)>;
    /// What an error that came to the redirect URI means: its title, what to do, and the ids in it. It may be anybody's word, so
    /// nothing of its own text is in the answer. None: it says nothing that is known.
    fn returned(&self, visitor: &Visitor, error: &str, description: &str) -> Option<(Notice, Vec<String>)>;
    async fn attempt(&self, user: &SignedIn, id: AttemptId) -> Result<AttemptView, AppError>;
    /// Starts the checks, if nobody did, and follows them.
    async fn run(&self, user: &SignedIn, id: AttemptId) -> Result<AttemptStream, AppError>;
    /// Follows the checks.
    async fn follow(&self, user: &SignedIn, id: AttemptId) -> Result<AttemptStream, AppError>;
    /// Carries out a decision; answers where to go.
    async fn decide(
        &self,
        user: &SignedIn,
        visitor: &Visitor,
        id: AttemptId,
        decision: Decision,
    ) -> Result<Result<String, ProviderRedirect>, AppError>;
    /// Runs the checks again with the grant that is kept; answers where to watch.
    async fn try_again(&self, user: &SignedIn, mailbox: MailboxId) -> Result<String, AppError>;
    /// Stores the further addresses of a mailbox, as they were typed.
    async fn set_aliases(&self, user: &SignedIn, mailbox: MailboxId, text: &str) -> Result<Notice, AppError>;
    /// Forgets the tokens.
    async fn disconnect(&self, user: &SignedIn, mailbox: MailboxId) -> Result<Notice, AppError>;
}

/// A file that is to be attached.
pub struct NewFile {
    /// Its name, as the browser says.
    pub name: String,
    /// Its type, as the browser says.
    pub content_type: String,
    pub bytes: Vec<u8>,
}

/// Others who are at work on the same wait as long as this lives.
pub type DraftLock = Box<dyn Send + Sync>;

/// Writing messages, and the outbox.
#[async_trait]
pub trait Mail: Send + Sync {
    /// What the compose page needs: of a draft, or of a new message.
    async fn compose(&self, user: &MailOwner, draft: Option<DraftId>) -> Result<ComposeView, AppError>;
    /// Octets that the attachments of one message may have together.
    fn attachment_limit(&self) -> u64;
    /// Waits until no other request is at work on a draft.
    async fn lock_draft(&self, draft: DraftId) -> DraftLock;
    /// Keeps what is written so far.
    async fn save_draft(&self, user: &MailOwner, form: ComposeForm, edit: FormVersion) -> Result<(), AppError>;
    /// Whether a message was queued from the same page already.
    async fn earlier(&self, user: &MailOwner, form: &ComposeForm, edit: &FormVersion)
    -> Result<Resubmission, AppError>;
    /// Attaches files to what is written; answers all attachments.
    async fn attach(
        &self,
        user: &MailOwner,
        draft: DraftId,
        files: Vec<NewFile>,
        edit: &FormVersion,
    ) -> Result<Vec<AttachmentView>, AppError>;
    /// Takes an attachment away.
    async fn detach(&self, user: &MailOwner, draft: DraftId, attachment_id: AttachmentId) -> Result<Notice, AppError>;
    /// Throws away what was written.
    async fn discard_draft(&self, user: &MailOwner, draft: DraftId) -> Result<Notice, AppError>;
    /// What was written and not sent, newest first.
    async fn drafts(&self, user: &MailOwner) -> Result<Vec<DraftView>, AppError>;
    /// Begins an answer to a message; answers its draft.
    async fn answer(
        &self,
        user: &MailOwner,
        message: &MessageRef,
        kind: ReplyKind,
        zone: Option<UtcOffset>,
    ) -> Result<DraftId, AppError>;
    /// Queues a message.
    async fn send(&self, user: &MailOwner, form: ComposeForm, edit: &FormVersion) -> Result<Notice, AppError>;
    /// A page of what was written before a time, newest first, and whether there is more.
    async fn outbox(&self, user: &MailOwner, before: Option<Timestamp>) -> Result<(Vec<DeliveryView>, bool), AppError>;
    /// A message of the outbox, opened.
    async fn letter(&self, user: &MailOwner, id: DeliveryId) -> Result<LetterView, AppError>;
    /// Begins a message from one that did not leave; answers its draft.
    async fn rewrite(&self, user: &MailOwner, id: DeliveryId) -> Result<DraftId, AppError>;
    /// Stops a message that waits.
    async fn cancel(&self, user: &MailOwner, id: DeliveryId) -> Result<Notice, AppError>;
    /// Queues a message again.
    async fn retry(&self, user: &MailOwner, id: DeliveryId) -> Result<Notice, AppError>;
    /// Looks for an unknown message among the sent ones.
    async fn look_for(&self, user: &MailOwner, id: DeliveryId) -> Result<Notice, AppError>;
}

/// A file that is downloaded as it comes.
pub struct Download {
    pub name: String,
    pub content_type: String,
    pub bytes: Pin<Box<dyn Stream<Item = std::io::Result<Vec<u8>>> + Send>>,
}

/// Wakes whenever what a person sees of their mail changed.
pub type MailStream = Pin<Box<dyn Stream<Item = ()> + Send>>;

/// Reading mail.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// A page of a folder. None: no mailbox is connected.
    async fn inbox(&self, user: &MailOwner, query: InboxQuery) -> Result<Option<InboxView>, AppError>;
    async fn message(&self, user: &MailOwner, place: &MessageRef) -> Result<MessageView, AppError>;
    /// The HTML of a message (or of one within it: its path), sanitised, as a document for a frame of its own.
    async fn document(
        &self,
        user: &MailOwner,
        place: &MessageRef,
        nested: &str,
        remote_images: bool,
    ) -> Result<String, AppError>;
    /// An attachment (also of a message within it: its path), or (without a number) the whole message.
    async fn download(
        &self,
        user: &MailOwner,
        place: &MessageRef,
        nested: &str,
        number: Option<usize>,
    ) -> Result<Download, AppError>;
    /// Does something with messages of a folder. `to` is where [`MailAction::Restore`] moves them.
    async fn act(
        &self,
        user: &MailOwner,
        place: &MessageRef,
        uids: &[u32],
        action: MailAction,
        to: &str,
    ) -> Result<Acted, AppError>;
    /// Chooses the folder that deleted messages go to.
    async fn choose_trash(&self, user: &MailOwner, mailbox: MailboxId, folder: &str) -> Result<Notice, AppError>;
    /// Looks into a folder now.
    async fn refresh(&self, user: &MailOwner, mailbox: MailboxId, folder: &str) -> Result<(), AppError>;
    /// Stands for what a person sees of their mail now: another one means that something changed.
    async fn mark(&self, user: &MailOwner) -> String;
    /// Follows a person's mail from a mark on; while it is followed, what comes into that folder is seen at once. It ends with the session.
    async fn watch(
        &self,
        user: &MailOwner,
        looking_at: Option<(MailboxId, String)>,
        mark: String,
    ) -> Result<MailStream, AppError>;
}

/// Answers of plain forms, kept for the redirect that follows.
#[async_trait]
pub trait Flashes: Send + Sync {
    /// Keeps an answer; the cookie fetches it.
    async fn put(&self, visitor: &Visitor, flash: Flash) -> Result<Cookie, AppError>;
    /// The cookie that ends an answer which the browser itself holds, so that it is shown once.
    fn forget(&self, visitor: &Visitor) -> Option<Cookie>;
    /// Takes the answer, if there is one.
    async fn take(&self, visitor: &Visitor) -> Option<Flash>;
}

/// Everything the pages and server functions can ask for.
#[derive(Clone)]
pub struct Backend {
    /// Sign-in, people, invitations.
    pub accounts: Arc<dyn Accounts>,
    /// Institution Config > General > Email.
    pub email_config: Arc<dyn EmailConfig>,
    /// User Account > Email.
    pub mailboxes: Arc<dyn Mailboxes>,
    /// Writing messages, and the outbox.
    pub mail: Arc<dyn Mail>,
    /// Reading mail.
    pub inbox: Arc<dyn Inbox>,
    /// Answers of plain forms.
    pub flashes: Arc<dyn Flashes>,
}
