//! The outbox: every accepted message is sent, or its writer learns what happened to it.
//!
//! A worker claims a delivery (a committed lease), sends it outside of any transaction, and records the outcome. The lease of a
//! process that dies expires: its delivery is queued again if DATA had not begun, and is `unknown` otherwise.

mod delivery;
mod notification;
mod retry_policy;
mod worker;

pub use retry_policy::{SendAttempt, SendOutcome, Transition, transition};

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use app::model::DeliveryId;
use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::access_tokens::Tokens;
use crate::clock::Clock;
use crate::config::{Relay, SendLimits, ServerAddress};
use crate::mail::Trust;
use crate::store::Store;
use crate::vault::{Place, Vault};

/// SMTP sessions of this process at one time.
const MAX_SESSIONS: usize = 32;

pub struct Outbox {
    dependencies: Dependencies,
    wake: Notify,
    busy: Mutex<HashMap<Uuid, i64>>,
    sessions: Arc<Semaphore>,
    /// A queue found no free session: the others yield sooner.
    crowded: AtomicBool,
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
    /// Time.
    pub clock: Clock,
    pub microsoft_smtp: ServerAddress,
    pub system_smtp: Option<Relay>,
    pub notifications_domain: String,
    pub limits: SendLimits,
    pub stop: CancellationToken,
}

impl Outbox {
    pub fn new(dependencies: Dependencies) -> Self {
        Self {
            wake: Notify::new(),
            busy: Mutex::default(),
            sessions: Arc::new(Semaphore::new(MAX_SESSIONS)),
            crowded: AtomicBool::new(false),
            dependencies,
        }
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
