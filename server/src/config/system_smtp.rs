//! The SMTP server of the system default provider.

use super::ServerAddress;
use url::Url;

use crate::vault::Secret;

/// The SMTP server of the system default provider: an address with its credentials.
#[derive(Debug, Clone)]
pub struct SystemSmtp {
    server: ServerAddress,
    encryption: Encryption,
    credentials: Option<(String, Secret)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    None,
    Opportunistic,
    Required,
    /// TLS from the first byte.
    Wrapped,
}

impl SystemSmtp {
    /// `smtps://`, or `smtp://` with `?tls=required` for STARTTLS (`tls=opportunistic`, `tls=none`: in the clear).
    pub fn parse(text: &Secret) -> Option<Self> {
        let url = Url::parse(text.expose()).ok()?;
        let (encryption, port) = match (url.scheme(), url.query()) {
            ("smtps", None) => (Encryption::Wrapped, 465),
            // Plain text can be read on the way, so it must be requested, except for a relay on this machine.
            ("smtp", None) if super::is_loopback(&url) => (Encryption::None, 25),
            ("smtp", Some("tls=none")) => (Encryption::None, 25),
            ("smtp", Some("tls=opportunistic")) => (Encryption::Opportunistic, 587),
            ("smtp", Some("tls=required")) => (Encryption::Required, 587),
            _ => return None,
        };
        let decoded = |text: &str| {
            percent_encoding::percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
        };
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => Some((decoded(user)?, Secret::new(decoded(password.unwrap_or_default())?))),
        };
        let host = url.host_str().filter(|host| !host.is_empty())?.to_owned();
        Some(Self { server: ServerAddress { host, port: url.port().unwrap_or(port) }, encryption, credentials })
    }

    pub fn encryption(&self) -> Encryption {
        self.encryption
    }

    pub fn credentials(&self) -> Option<(String, &Secret)> {
        self.credentials.as_ref().map(|(user, password)| (user.clone(), password))
    }

    pub fn server(&self) -> &ServerAddress {
        &self.server
    }
}
