//! The server: every side effect of Entrepost. `server/ARCHITECTURE.md` has the map and the order of the modules.

pub mod access_tokens;
pub mod app_credentials;
pub mod clock;
pub mod concurrency;
pub mod config;
mod csv;
pub mod demo;
pub mod diagnosis;
pub mod dns;
pub mod http;
pub mod identity;
pub mod logging;
pub mod mail;
pub mod mailbox_sync;
pub mod message;
mod microsoft_changes;
mod network;
pub mod outbox;
pub mod panics;
pub mod relay;
pub mod service;
pub mod store;
pub mod trust;
pub mod vault;
pub mod wiring;
