//! Sent messages and drafts.

use serde::{Deserialize, Serialize};

use super::{AttachmentId, DeliveryId, Diagnosis, DraftId, MailboxView, Timestamp};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    Queued,
    Sending,
    Sent,
    /// Failed temporarily; it is retried.
    Deferred,
    /// Failed permanently.
    Failed,
    Bounced,
    /// The connection dropped during DATA: the server may have accepted it.
    Unknown,
    Cancelled,
}

impl DeliveryState {
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

    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Sending | Self::Deferred)
    }

    pub fn can_cancel(self) -> bool {
        matches!(self, Self::Queued | Self::Deferred)
    }

    /// Whether it can be queued again; an unknown one may arrive twice.
    pub fn can_retry(self) -> bool {
        matches!(self, Self::Failed | Self::Cancelled | Self::Unknown)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum RecipientKind {
    To,
    Cc,
    Bcc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum RecipientState {
    Pending,
    Accepted,
    Refused,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientView {
    pub kind: RecipientKind,
    pub address: String,
    pub state: RecipientState,
    pub answer: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryView {
    pub id: DeliveryId,
    pub from: String,
    pub subject: String,
    pub recipients: Vec<RecipientView>,
    pub state: DeliveryState,
    pub attempts: i64,
    pub created_at: Timestamp,
    pub next_attempt_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub answer: String,
    pub problem: Option<Diagnosis>,
    /// Waits for its mailbox to be connected again.
    pub held: bool,
    /// The text is kept and can be read and edited; it is deleted once every recipient has it.
    pub keeps_text: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentView {
    pub id: AttachmentId,
    pub name: String,
    pub size: u64,
}

impl AttachmentView {
    pub fn size_in_words(&self) -> String {
        size_in_words(self.size)
    }
}

pub fn size_in_words(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        _ => match bytes % 1_000_000 / 100_000 {
            0 => format!("{} MB", bytes / 1_000_000),
            tenths => format!("{}.{tenths} MB", bytes / 1_000_000),
        },
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComposeView {
    pub senders: Vec<MailboxView>,
    /// The form. Its key names the draft and makes a repeated submission one message.
    pub form: ComposeForm,
    /// Keys of messages sent lately: the tab's copy of one is not restored.
    pub sent_keys: Vec<String>,
    pub writer: String,
    pub attachments: Vec<AttachmentView>,
    pub attachment_limit: u64,
}

#[derive(Debug, Clone)]
pub struct SentMessageView {
    pub delivery: DeliveryView,
    pub message_id: String,
    pub text: Option<String>,
    pub files: Vec<(String, u64)>,
    pub sent_folder: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DraftView {
    pub id: DraftId,
    pub to: String,
    pub subject: String,
    pub attachments: u32,
    pub updated_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ComposeForm {
    pub mailbox: String,
    pub to: String,
    pub cc: String,
    pub bcc: String,
    pub subject: String,
    pub text: String,
    pub key: String,
}

/// Page and counter of a save: older saves never overwrite newer ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FormVersion {
    /// Id of the page; empty if prefilled.
    pub writer: String,
    /// Grows with each save.
    pub revision: i64,
    /// A submitted form: the text must not be lost.
    pub pressed: bool,
    pub files: Vec<(String, usize)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resubmission {
    /// Not seen before.
    Nothing,
    /// Already queued, unchanged: submitted twice.
    Same,
    /// Already queued, but changed since: another message, under this key.
    Changed(DraftId),
}

impl ComposeForm {
    pub fn is_blank(&self) -> bool {
        [&self.to, &self.cc, &self.bcc, &self.subject, &self.text].iter().all(|text| text.trim().is_empty())
    }
}
