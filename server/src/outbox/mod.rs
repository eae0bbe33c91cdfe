//! The outbox: every accepted message is sent, or its fate is known.
//!
//! A worker claims a delivery (a committed lease), sends it outside of any transaction, and records the outcome. The lease of a
//! process that dies expires: its delivery is queued again if DATA had not begun, and is `unknown` otherwise.

mod delivery;
mod notification;
mod retry_policy;
mod worker;

pub use retry_policy::{Outcome, SendAttempt, Transition, transition};
pub use worker::{Dependencies, Outbox};

use app::model::DeliveryId;
use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Serialize};

use crate::vault::Place;

/// A waiting message, as it is sealed.
#[derive(Serialize, Deserialize)]
pub enum Body {
    /// Written by a person: RFC 5322 bytes, in base64.
    Message(String),
    /// The same as text, where the bytes are UTF-8: a third shorter.
    Text(String),
    /// A notification: built when it is sent, because its sender is chosen then.
    Notification { to: String, text: String },
}

impl Body {
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
