//! Writing messages.

use async_trait::async_trait;

use super::{MailOwner, Result};
use crate::error::AppError;
use crate::model::{
    AttachmentId, AttachmentView, ComposeForm, ComposeView, DraftId, DraftView, Flash, FormVersion, MessageRef, Notice,
    ReplyKind, UtcOffset,
};

pub struct NewFile {
    pub name: String,
    pub content_type: String,
    pub bytes: Vec<u8>,
}

pub struct PostedDraft {
    pub form: ComposeForm,
    pub version: FormVersion,
    pub files: Vec<NewFile>,
    /// Whether files beyond the limit were left out.
    pub left_out: bool,
}

impl PostedDraft {
    pub fn draft(&self) -> Result<DraftId> {
        self.form.key.parse().map_err(|_| AppError::Malformed.into())
    }
}

pub enum ComposeAction {
    Send,
    Save,
    Discard,
    Detach(AttachmentId),
}

pub enum Composed {
    Outbox(Flash),
    Drafts(Flash),
    /// Shows the form again: the message is stored as this draft.
    Draft(DraftId, Result<Flash>),
}

#[async_trait]
pub trait Drafts: Send + Sync {
    /// Data of the compose page, for a draft or a new message.
    async fn compose(&self, user: &MailOwner, draft: Option<DraftId>) -> Result<ComposeView>;
    /// Total size of a message's attachments, in bytes.
    fn attachment_limit(&self) -> u64;
    /// Executes the compose form. Text and files are saved first.
    async fn submit(&self, user: &MailOwner, posted: PostedDraft, action: ComposeAction) -> Result<Composed>;
    async fn autosave(&self, user: &MailOwner, form: ComposeForm, version: FormVersion) -> Result<()>;
    async fn attach(&self, user: &MailOwner, posted: PostedDraft) -> Result<Vec<AttachmentView>>;
    async fn discard(&self, user: &MailOwner, draft: DraftId) -> Result<Notice>;
    /// Unsent messages, newest first.
    async fn list(&self, user: &MailOwner) -> Result<Vec<DraftView>>;
    /// Starts the draft of a reply or forward. Times in the quote are in the writer's zone.
    async fn reply(
        &self,
        user: &MailOwner,
        message: &MessageRef,
        kind: ReplyKind,
        zone: Option<UtcOffset>,
    ) -> Result<DraftId>;
}
