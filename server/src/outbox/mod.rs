//! The outbox: every message that was accepted here leaves, or says why not.
//!
//! A worker claims a delivery (a lease, committed), sends it outside of any transaction, and records what became of it. Who dies
//! in between leaves a lease that ends: the delivery is queued again if no octet of the message had left, else it is `unknown`.

mod delivery;
mod notification;
mod retry_policy;
mod worker;

pub use retry_policy::{Outcome, SendAttempt, Transition, transition};
pub use worker::{Dependencies, Outbox};

use std::time::Duration;

use app::model::DeliveryId;
use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Serialize};

use crate::store::Throttle;
use crate::vault::Place;

/// Limits of sending. Defaults are Exchange Online's.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// What one mailbox may do.
    pub throttle: Throttle,
    /// How long a message is tried.
    pub max_age: Duration,
    /// How long the first pause after a temporary failure is; each one after it is twice as long.
    pub first_pause: Duration,
}

/// A message as it waits, sealed.
#[derive(Serialize, Deserialize)]
pub enum Body {
    /// Written by a person: ready for the wire, in base64.
    Message(String),
    /// The same, where it is text as it stands (which a message nearly always is: a third shorter).
    Text(String),
    /// A notification: composed when it leaves, since its sender is chosen then.
    Notification {
        /// Who gets it.
        to: String,
        /// Plain text.
        text: String,
    },
}

impl Body {
    /// A message that is ready for the wire.
    #[must_use]
    pub fn of(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(error) => Self::Message(BASE64_STANDARD.encode(error.as_bytes())),
        }
    }
}

/// Where the message of a delivery is sealed.
#[must_use]
pub fn body_place(delivery: DeliveryId) -> Place {
    Place::new("deliveries", "body_sealed", delivery)
}
