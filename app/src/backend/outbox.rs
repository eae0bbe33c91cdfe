//! Sent messages and their delivery status.

use async_trait::async_trait;

use super::{ListPage, MailOwner, Result};
use crate::model::{DeliveryId, DeliveryView, DraftId, Notice, SentMessageView, Timestamp};

#[async_trait]
pub trait Outbox: Send + Sync {
    /// Messages written before a time.
    async fn list(&self, user: &MailOwner, before: Option<Timestamp>) -> Result<ListPage<DeliveryView>>;
    async fn message(&self, user: &MailOwner, id: DeliveryId) -> Result<SentMessageView>;
    /// Starts a draft from an undelivered message.
    async fn rewrite(&self, user: &MailOwner, id: DeliveryId) -> Result<DraftId>;
    async fn cancel(&self, user: &MailOwner, id: DeliveryId) -> Result<Notice>;
    /// Queues a message again.
    async fn retry(&self, user: &MailOwner, id: DeliveryId) -> Result<Notice>;
    async fn check_sent(&self, user: &MailOwner, id: DeliveryId) -> Result<Notice>;
}
