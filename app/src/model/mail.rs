//! Messages and their fate, as pages show them.

use serde::{Deserialize, Serialize};

use super::{AttachmentId, DeliveryId, Diagnosis, DraftId, MailboxView, Timestamp};

/// The fate of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Waits for its turn.
    Queued,
    /// On its way to the mail server.
    Sending,
    /// The mail server accepted it.
    Sent,
    /// It did not work for now; it is tried again.
    Deferred,
    /// It will not be tried again.
    Failed,
    /// It came back.
    Bounced,
    /// The connection broke while the message was handed over: it may or may not have been accepted.
    Unknown,
    /// Its writer stopped it.
    Cancelled,
}

impl DeliveryState {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Sending,
        Self::Sent,
        Self::Deferred,
        Self::Failed,
        Self::Bounced,
        Self::Unknown,
        Self::Cancelled,
    ];

    /// The name in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Deferred => "deferred",
            Self::Failed => "failed",
            Self::Bounced => "bounced",
            Self::Unknown => "unknown",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether nothing more happens by itself.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Sending | Self::Deferred)
    }

    /// Whether it can be stopped.
    pub fn can_cancel(self) -> bool {
        matches!(self, Self::Queued | Self::Deferred)
    }

    /// Whether it can be queued again. Of an unknown one its writer decides: it may arrive twice.
    pub fn can_retry(self) -> bool {
        matches!(self, Self::Failed | Self::Cancelled | Self::Unknown)
    }
}

/// How a recipient is addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecipientKind {
    To,
    /// Carbon copy.
    Cc,
    /// Blind copy: on no header.
    Bcc,
}

impl RecipientKind {
    /// The name in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::To => "to",
            Self::Cc => "cc",
            Self::Bcc => "bcc",
        }
    }

    /// The kind of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::To, Self::Cc, Self::Bcc].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What the mail server said of one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecipientState {
    /// Nothing yet.
    Pending,
    Accepted,
    /// Refused for good.
    Refused,
}

impl RecipientState {
    /// The name in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Refused => "refused",
        }
    }

    /// The state of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Accepted, Self::Refused].into_iter().find(|state| state.as_str() == text)
    }
}

/// A recipient of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientView {
    /// To, Cc or Bcc.
    pub kind: RecipientKind,
    pub address: String,
    /// What became of it.
    pub state: RecipientState,
    /// The server's words.
    pub answer: String,
}

/// A message of the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryView {
    pub id: DeliveryId,
    pub from: String,
    pub subject: String,
    /// Everybody who gets it.
    pub recipients: Vec<RecipientView>,
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: i64,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it is tried next, if it is.
    pub next_attempt_at: Option<Timestamp>,
    /// When nothing more happened.
    pub finished_at: Option<Timestamp>,
    /// The server's last words.
    pub answer: String,
    /// What is wrong, and who mends it.
    pub problem: Option<Diagnosis>,
    /// Waits because its mailbox must be connected again.
    pub held: bool,
    /// What it says is kept, so that it can be read and changed: what everybody got is not.
    pub keeps_text: bool,
}

/// An attachment of a message that is being written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentView {
    pub id: AttachmentId,
    /// Its file name.
    pub name: String,
    /// Octets.
    pub size: u64,
}

impl AttachmentView {
    /// The size in words, for people.
    pub fn size_in_words(&self) -> String {
        size_in_words(self.size)
    }
}

/// A number of octets in words, for people.
pub fn size_in_words(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
    }
}

/// The compose page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComposeView {
    /// Mailboxes of the writer.
    pub senders: Vec<MailboxView>,
    /// What is written so far. Its key makes a form that is sent twice one message, and names the draft.
    pub form: ComposeForm,
    /// Names this page among those that write the same draft.
    pub writer: String,
    /// Attachments so far.
    pub attachments: Vec<AttachmentView>,
    /// Octets that the attachments may have together.
    pub attachment_limit: u64,
}

/// A message of the outbox, opened.
#[derive(Debug, Clone)]
pub struct SentMessageView {
    /// Its fate.
    pub delivery: DeliveryView,
    /// With angle brackets.
    pub message_id: String,
    /// What it says, while that is kept.
    pub text: Option<String>,
    /// Name and octets of each attachment.
    pub files: Vec<(String, u64)>,
    /// Where the copy of what was sent lies.
    pub sent_folder: Option<String>,
}

/// A message that is being written, in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DraftView {
    pub id: DraftId,
    /// To whom.
    pub to: String,
    pub subject: String,
    /// How many attachments it has.
    pub attachments: usize,
    /// When it was kept.
    pub updated_at: Timestamp,
}

/// The compose form, as it was typed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ComposeForm {
    /// Id of the mailbox it leaves through.
    pub mailbox: String,
    pub to: String,
    pub cc: String,
    pub bcc: String,
    pub subject: String,
    /// The message.
    pub text: String,
    /// The key of the form: the id of its draft.
    pub key: String,
}

/// Which page sent what is typed, and how often it did: what it sent earlier does not overwrite what it sent later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FormVersion {
    /// Names the page; empty for what nobody typed.
    pub writer: String,
    /// Grows with each time.
    pub revision: i64,
    /// A button was pressed, by somebody who must not lose what they wrote.
    pub pressed: bool,
    /// Names and octets of the files that came with the form.
    pub files: Vec<(String, usize)>,
}

/// What became earlier of a form that is posted now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resubmission {
    /// Nothing: it is posted for the first time.
    Nothing,
    /// It was queued as it is: a second press.
    Same,
    /// It was queued and changed since: another message, under this key.
    Changed(DraftId),
}

impl ComposeForm {
    /// Whether nothing was written.
    pub fn is_blank(&self) -> bool {
        [&self.to, &self.cc, &self.bcc, &self.subject, &self.text].iter().all(|text| text.trim().is_empty())
    }
}
