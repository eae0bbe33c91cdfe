//! Reading mail.

use std::pin::Pin;

use async_trait::async_trait;
use futures::Stream;

use super::{MailOwner, Result};
use crate::model::{InboxQuery, InboxView, MailAction, MailboxId, MessageRef, MessageView, Notice};

pub struct Acted {
    pub notice: Notice,
    /// UIDVALIDITY and UID of the row to focus: the message, or the one after those that are gone.
    pub row: Option<(u32, u32)>,
}

pub struct Download {
    pub name: String,
    pub content_type: String,
    pub bytes: Pin<Box<dyn Stream<Item = std::io::Result<Vec<u8>>> + Send>>,
}

/// Yields whenever the person's mail changed.
pub type MailStream = Pin<Box<dyn Stream<Item = ()> + Send>>;

#[async_trait]
pub trait Inbox: Send + Sync {
    /// A page of a folder. `None`: no mailbox is connected.
    async fn inbox(&self, user: &MailOwner, query: InboxQuery) -> Result<Option<InboxView>>;
    async fn message(&self, user: &MailOwner, place: &MessageRef) -> Result<MessageView>;
    /// The HTML of a message (or of one within it: its path), sanitised, as a document for a frame of its own.
    async fn document(&self, user: &MailOwner, place: &MessageRef, nested: &str, remote_images: bool)
    -> Result<String>;
    /// An attachment (also of a message within it: its path), or (without a number) the whole message.
    async fn download(
        &self,
        user: &MailOwner,
        place: &MessageRef,
        nested: &str,
        number: Option<usize>,
    ) -> Result<Download>;
    /// Acts on messages of a folder. [`MailAction::Restore`] moves them to `to`.
    async fn act(
        &self,
        user: &MailOwner,
        place: &MessageRef,
        uids: &[u32],
        action: MailAction,
        to: &str,
    ) -> Result<Acted>;
    async fn choose_trash(&self, user: &MailOwner, mailbox: MailboxId, folder: &str) -> Result<Notice>;
    async fn refresh(&self, user: &MailOwner, mailbox: MailboxId, folder: &str) -> Result<()>;
    /// A version of the person's mail: it differs after each change.
    async fn mark(&self, user: &MailOwner) -> String;
    /// Follows a person's mail from a version on, and watches that folder for new messages. It ends with the session.
    async fn watch(
        &self,
        user: &MailOwner,
        looking_at: Option<(MailboxId, String)>,
        mark: String,
    ) -> Result<MailStream>;
}
