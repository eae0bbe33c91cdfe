//! Messages that wait, and what a worker does with them.

use app::model::{DeliveryId, EmailAddress, InstitutionId, Provider, RecipientKind, Timestamp};
use server::clock::Clock;
use server::config::Throttle;
use server::message::addresses::Named;
use server::message::build::Written;
use server::outbox::{QueuedBody, body_place};
use server::store::{
    Author, Claim, ClaimRequest, Delivery, EmailSettings, NewDelivery, OutcomeRecord, Record, SendQueue, Store, Tx,
};
use server::vault::Secret;

use super::{Seat, World};

/// Claims the oldest due delivery of a queue.
pub async fn claim_one(
    store: &Store,
    queue: &SendQueue,
    owner: uuid::Uuid,
    until: Timestamp,
    limits: Throttle,
    now: Timestamp,
) -> Claim {
    let connection = Clock::system().uuid();
    let request = ClaimRequest { queue: queue.clone(), owner, connection, until, limits, now, most: 1 };
    store.claim_deliveries(request).await.unwrap()
}

/// Records the outcome of a delivery to one recipient. `false`: the lease was lost.
pub async fn record_of_one(
    store: &Store,
    institution: InstitutionId,
    delivery: DeliveryId,
    owner: uuid::Uuid,
    record: &Record,
    now: Timestamp,
) -> bool {
    let outcome = OutcomeRecord { institution, delivery, owner, record: record.clone(), pending: 1, now };
    store.record_outcome(outcome).await.unwrap()
}

/// The delivery of a claim of one.
pub fn delivery_of(claim: Claim) -> Delivery {
    let Claim::Deliveries { mut deliveries, .. } = claim else { panic!("nothing was due: {claim:?}") };
    assert_eq!(deliveries.len(), 1);
    deliveries.remove(0).delivery
}

impl World {
    /// Queues messages as the seat's user.
    pub async fn queue(&self, seat: &Seat, count: usize, to: &str, at: Timestamp) {
        let mut tx = self.services.store.begin().await.unwrap();
        for number in 0..count {
            let to = [(RecipientKind::To, to.to_owned())];
            self.queue_one(&mut tx, seat, &format!("Message {number}"), &to, at).await;
        }
        tx.commit().await.unwrap();
    }

    /// Queues one message.
    pub async fn queue_one(
        &self,
        tx: &mut Tx,
        seat: &Seat,
        subject: &str,
        recipients: &[(RecipientKind, String)],
        at: Timestamp,
    ) -> DeliveryId {
        let clock = &self.clock;
        let from = self.services.store.mailbox(seat.key()).await.unwrap().unwrap().address;
        let from = EmailAddress::parse(&from).unwrap();
        let to: Vec<Named> = recipients
            .iter()
            .map(|(_, address)| Named { name: None, address: EmailAddress::parse(address).unwrap() })
            .collect();
        let message_id = format!("<{}@demo.example>", clock.uuid());
        let written = Written {
            from: &from,
            to: &to,
            cc: &[],
            subject,
            text: "Text",
            at,
            message_id: &message_id,
            references: &[],
            files: Vec::new(),
        };
        let body = QueuedBody::of(written.build().unwrap());
        let new = NewDelivery {
            author: Author::Person(seat.user),
            message_id,
            from: from.to_string(),
            subject: subject.to_owned(),
            recipients: recipients.to_vec(),
            ..self.sealed(&body)
        };
        let queue = SendQueue::of_mailbox(seat.key());
        assert!(self.services.store.enqueue(tx, &queue, &new, at).await.unwrap());
        new.id
    }

    /// Queues a notification of the seat's institution to `admin@demo.example`.
    pub async fn queue_notification(&self, seat: &Seat) {
        self.queue_notification_at(seat, self.clock.now()).await;
    }

    /// One that is due later.
    pub async fn queue_notification_at(&self, seat: &Seat, at: Timestamp) {
        let to = "admin@demo.example".to_owned();
        let new = NewDelivery {
            subject: "News".into(),
            recipients: vec![(RecipientKind::To, to.clone())],
            ..self.sealed(&QueuedBody::Notification { to, text: "Something happened.".into() })
        };
        let mut tx = self.services.store.begin().await.unwrap();
        let queue = SendQueue::of_notifications(seat.institution);
        assert!(self.services.store.enqueue(&mut tx, &queue, &new, at).await.unwrap());
        tx.commit().await.unwrap();
    }

    /// Makes the seat's mailbox the notification mailbox too.
    pub async fn notifications_leave_through(&self, seat: &Seat) {
        let (store, now) = (&self.services.store, self.clock.now());
        let settings = EmailSettings {
            provider: Provider::ExchangeOnline,
            custom_from: true,
            custom_from_address: "user@demo.example".into(),
            ..EmailSettings::default()
        };
        let mut tx = store.begin().await.unwrap();
        store.put_email_settings(&mut tx, seat.institution, &settings, now).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = store.begin().await.unwrap();
        store.set_notification_mailbox(&mut tx, seat.institution, Some(seat.mailbox)).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// A delivery with a body only.
    fn sealed(&self, body: &QueuedBody) -> NewDelivery {
        let id = DeliveryId(self.clock.uuid());
        let body = Secret::new(serde_json::to_string(body).unwrap());
        NewDelivery {
            id,
            author: Author::Entrepost,
            idempotency_key: id.to_string(),
            message_id: format!("<{id}@demo.example>"),
            from: String::new(),
            subject: String::new(),
            body_sealed: self.services.vault.seal(&body_place(id), &body).unwrap(),
            form_sealed: String::new(),
            recipients: Vec::new(),
        }
    }
}
