//! SMTP and IMAP with a bearer token, and messages. Given host and token; knows no database.

mod error;
pub mod imap;
pub mod smtp;
pub mod status;
mod submission;
mod tls;

pub use error::{MailError, Step};
pub use tls::Trust;

use std::time::Duration;

/// How long one step (connect, a command) may take.
const STEP_LIMIT: Duration = Duration::from_secs(30);

/// How long the answer to a whole message may take (RFC 5321, 4.5.3.2.6 recommends ten minutes).
const DATA_LIMIT: Duration = Duration::from_secs(600);

/// A server, and whom to be there.
#[derive(Clone)]
pub struct Login<'a> {
    /// Host and port.
    pub server: &'a (String, u16),
    /// Sign-in name (`user=`).
    pub user: &'a str,
    /// The bearer token.
    pub token: &'a crate::vault::Secret,
}
