//! Server functions, one file per area: they parse the form, check the session, and call a trait.
//!
//! Forms post to them, with and without JavaScript: such a function ends in a redirect to a fixed path,
//! and its result is stored in a short-lived row ([`crate::model::Flash`]). `__err` in an address is ignored.

#![allow(clippy::too_many_arguments, reason = "one argument is one field of a form")]

pub mod accounts;
pub mod devices;
pub mod drafts;
pub mod email_config;
pub mod health;
pub mod inbox;
pub mod mailboxes;
pub mod outbox;
pub mod own_programs;
#[cfg(feature = "ssr")]
mod request;

#[cfg(feature = "ssr")]
pub use request::{HANDLED, NOT_STORED, PROVIDER_REDIRECT, Request};
