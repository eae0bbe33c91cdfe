//! Notifications: queued in the transaction of the event they report, and sent by the outbox.

use app::backend::Institution;
use app::model::{DeliveryId, RecipientKind};

use super::Services;
use crate::outbox::{QueuedBody, body_place};
use crate::store::{Author, NewDelivery, SendQueue, StoreError, Tx};
use crate::vault::{Secret, VaultError};

pub(super) struct Notification {
    queue: SendQueue,
    delivery: NewDelivery,
}

impl Services {
    /// Creates a notification. Sealed: it may contain an invitation link.
    pub(super) fn notification(
        &self,
        institution: &Institution,
        to: &str,
        subject: &str,
        text: &str,
    ) -> Result<Notification, VaultError> {
        let id = DeliveryId(self.clock.uuid());
        let from = self.outbox.default_sender(&institution.slug);
        let body = QueuedBody::Notification { to: to.to_owned(), text: text.to_owned() };
        let body = Secret::new(serde_json::to_string(&body).unwrap_or_default());
        let delivery = NewDelivery {
            id,
            author: Author::Entrepost,
            idempotency_key: id.to_string(),
            message_id: format!("<{}@{}>", self.clock.uuid(), from.rsplit('@').next().unwrap_or_default()),
            from,
            subject: subject.to_owned(),
            body_sealed: self.vault.seal(&body_place(id), &body)?,
            form_sealed: String::new(),
            recipients: vec![(RecipientKind::To, to.to_owned())],
        };
        Ok(Notification { queue: SendQueue::of_notifications(institution.id), delivery })
    }

    /// With this key it is queued once.
    pub(super) fn once(mut notification: Notification, key: String) -> Notification {
        notification.delivery.idempotency_key = key;
        notification
    }

    pub(super) async fn enqueue(&self, tx: &mut Tx, notification: &Notification) -> Result<(), StoreError> {
        self.store.enqueue(tx, &notification.queue, &notification.delivery, self.clock.now()).await.map(|_| ())
    }
}
