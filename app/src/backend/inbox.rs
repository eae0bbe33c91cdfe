//! Reading mail.

use std::pin::Pin;

use async_trait::async_trait;
use futures::Stream;

use super::{MailOwner, Result};
use crate::model::{InboxQuery, InboxView, MailAction, MailboxId, MessageRef, MessageView, Notice};

pub struct Acted {
    pub notice: Notice,
    /// UIDVALIDITY and UID of the row to focus: the message, or the next one if it was removed.
    pub row: Option<(u32, u32)>,
}

/// A folder that a page shows.
pub struct OpenFolder {
    pub mailbox: MailboxId,
    pub folder: String,
}

pub struct Download {
    pub name: String,
    pub content_type: String,
    pub bytes: Pin<Box<dyn Stream<Item = std::io::Result<Vec<u8>>> + Send>>,
}

/// Yields at each change of the user's mail.
pub type MailStream = Pin<Box<dyn Stream<Item = ()> + Send>>;

#[async_trait]
pub trait Inbox: Send + Sync {
    /// A page of a folder. `None`: no mailbox is connected.
    async fn inbox(&self, user: &MailOwner, query: InboxQuery) -> Result<Option<InboxView>>;
    async fn message(&self, user: &MailOwner, place: &MessageRef) -> Result<MessageView>;
    /// Sanitised HTML of a message (or, by path, of a nested one), as a document for a frame.
    async fn document(&self, user: &MailOwner, place: &MessageRef, nested: &str, remote_images: bool)
    -> Result<String>;
    /// An attachment (by path, of a nested message), or without a number the whole message.
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
    /// Version of the user's mail; changes with each update.
    async fn version(&self, user: &MailOwner) -> String;
    /// Follows the user's mail from a version, and watches a folder for new messages. Ends with the session.
    async fn watch(&self, user: &MailOwner, open: Option<OpenFolder>, version: String) -> Result<MailStream>;
}
