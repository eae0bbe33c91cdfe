//! The outbox: every accepted message is sent, or its writer learns what happened to it.
//!
//! A worker claims deliveries (a committed lease), sends them outside of any transaction, and records the outcomes. The lease of a
//! process that dies expires: its deliveries are queued again if DATA had not begun, and are `unknown` otherwise.

mod delivery;
mod graph;
mod notification;
mod retry_policy;
mod sessions;
mod worker;

pub use retry_policy::{SendAttempt, SendOutcome, Transition, transition};

use std::sync::Arc;

use app::model::DeliveryId;
use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::access_tokens::Tokens;
use crate::clock::Clock;
use crate::config::{Clouds, SendLimits, SystemSmtp};
use crate::mail::graph::Graph;
use crate::store::{Event, Store, subscribe};
use crate::trust::Trust;
use crate::vault::{Place, Vault};
use sessions::Sessions;

pub struct Outbox {
    dependencies: Dependencies,
    wake: Notify,
    sessions: Arc<Sessions>,
}

impl std::ops::Deref for Outbox {
    type Target = Dependencies;
    fn deref(&self) -> &Dependencies {
        &self.dependencies
    }
}

pub struct Dependencies {
    /// The database.
    pub store: Store,
    pub vault: Arc<Vault>,
    pub tokens: Arc<Tokens>,
    pub trust: Trust,
    pub graph: Graph,
    /// Time.
    pub clock: Clock,
    pub clouds: Clouds,
    pub system_smtp: Option<SystemSmtp>,
    pub notifications_domain: String,
    pub limits: SendLimits,
    pub stop: CancellationToken,
}

impl Outbox {
    pub fn new(dependencies: Dependencies) -> Self {
        Self { wake: Notify::new(), sessions: Arc::new(Sessions::new()), dependencies }
    }

    /// Ends idle sessions whose sender has a message waiting on another replica, while the server runs.
    pub async fn listen(self: Arc<Self>) {
        let (events, outbox) = (self.store.events(), Arc::downgrade(&self));
        drop(self);
        subscribe(events, outbox, |outbox, event| {
            if let Event::SenderWaits(sender, queue) = event {
                outbox.sessions.ask_for_connection(sender, queue);
            }
        })
        .await;
    }

    /// Wakes the worker: a delivery was queued or is due now.
    pub fn wake(&self) {
        self.wake.notify_one();
    }
}

/// A waiting message, as it is sealed.
#[derive(Serialize, Deserialize)]
pub enum QueuedBody {
    /// Written by a person: RFC 5322 bytes, in base64.
    Message(String),
    /// The same as text, where the bytes are UTF-8: a third shorter.
    Text(String),
    /// A notification: built when it is sent, because its sender is chosen then.
    Notification { to: String, text: String },
}

impl QueuedBody {
    pub fn of(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(error) => Self::Message(BASE64_STANDARD.encode(error.as_bytes())),
        }
    }
}

pub fn body_place(delivery: DeliveryId) -> Place {
    Place::new("deliveries", "body_sealed", delivery)
}
