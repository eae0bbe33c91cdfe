//! IMAP with XOAUTH2: sign-in through SELECT INBOX, and the search for a message.

use std::time::Duration;

use futures::StreamExt;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{Login, MailError, STEP_LIMIT, Step, Trust};

/// A signed-in IMAP session.
pub struct Session {
    inner: async_imap::Session<TlsStream<TcpStream>>,
}

/// How a message can be known again.
pub struct Mark<'a> {
    /// Its Message-ID, with angle brackets.
    pub message_id: &'a str,
    /// The value of its `X-Entrepost-Attempt` header, should the server have replaced the Message-ID.
    pub attempt: Option<&'a str>,
}

struct XOAuth2 {
    first: Option<Vec<u8>>,
}

impl async_imap::Authenticator for &mut XOAuth2 {
    type Response = Vec<u8>;
    fn process(&mut self, _challenge: &[u8]) -> Vec<u8> {
        // The first turn sends the token. A second one is the challenge of a failure: an empty answer brings the reply.
        self.first.take().unwrap_or_default()
    }
}

async fn limited<T>(step: Step, work: impl Future<Output = async_imap::error::Result<T>>) -> Result<T, MailError> {
    match tokio::time::timeout(STEP_LIMIT, work).await {
        Ok(result) => result.map_err(|error| explain(step, &error)),
        Err(_) => Err(MailError::network(step, format!("no answer within {} seconds", STEP_LIMIT.as_secs()))),
    }
}

fn explain(step: Step, error: &async_imap::error::Error) -> MailError {
    match error {
        async_imap::error::Error::No(text) => MailError::refused(step, None, format!("NO {}", info(text))),
        async_imap::error::Error::Bad(text) => MailError::refused(step, None, format!("BAD {}", info(text))),
        async_imap::error::Error::ConnectionLost => MailError::network(step, "the connection was lost"),
        other => MailError::network(step, other.to_string()),
    }
}

/// The server's words out of the library's `code: …, info: Some("…")` and `outcome: Outcome { …, information: Some("…") }`.
fn info(text: &str) -> &str {
    let rest = ["info: Some(\"", "information: Some(\""].iter().find_map(|before| text.split_once(before));
    rest.and_then(|(_, rest)| rest.rsplit_once("\")")).map_or(text, |(words, _)| words)
}

impl Session {
    /// Connects with TLS and signs in.
    ///
    /// # Errors
    /// [`MailError`] with the step that failed.
    pub async fn open(login: &Login<'_>, trust: &Trust) -> Result<Self, MailError> {
        let (host, port) = login.server;
        let connect = tokio::time::timeout(STEP_LIMIT, TcpStream::connect((host.clone(), *port))).await;
        let tcp = match connect {
            Ok(Ok(tcp)) => tcp,
            Ok(Err(error)) => return Err(MailError::network(Step::Connect, error.to_string())),
            Err(_) => return Err(MailError::network(Step::Connect, "no answer in time")),
        };
        let _ = tcp.set_nodelay(true);
        let name = rustls::pki_types::ServerName::try_from(host.clone())
            .map_err(|_| MailError::network(Step::Tls, "the host is no name for a certificate"))?;
        let tls = match tokio::time::timeout(STEP_LIMIT, trust.connector().connect(name, tcp)).await {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => return Err(MailError::network(Step::Tls, error.to_string())),
            Err(_) => return Err(MailError::network(Step::Tls, "no answer in time")),
        };
        let mut client = async_imap::Client::new(tls);
        match tokio::time::timeout(STEP_LIMIT, client.read_response()).await {
            Ok(Ok(Some(_))) => {}
            Ok(Ok(None)) => {
                return Err(MailError::network(Step::Connect, "the connection was closed before the greeting"));
            }
            Ok(Err(error)) => return Err(MailError::network(Step::Connect, error.to_string())),
            Err(_) => return Err(MailError::network(Step::Connect, "no greeting in time")),
        }
        let token = format!("user={}\x01auth=Bearer {}\x01\x01", login.user, login.token.expose());
        let mut sasl = XOAuth2 { first: Some(token.into_bytes()) };
        match tokio::time::timeout(STEP_LIMIT, client.authenticate("XOAUTH2", &mut sasl)).await {
            Ok(Ok(inner)) => Ok(Self { inner }),
            Ok(Err((error, _))) => Err(explain(Step::Auth, &error)),
            Err(_) => Err(MailError::network(Step::Auth, "no answer in time")),
        }
    }

    /// Opens INBOX: only this proves access (AUTHENTICATE may succeed without).
    ///
    /// # Errors
    /// [`MailError`].
    pub async fn open_inbox(&mut self) -> Result<u32, MailError> {
        Ok(limited(Step::Select, self.inner.select("INBOX")).await?.exists)
    }

    /// All folders, as the server names them.
    ///
    /// # Errors
    /// [`MailError`].
    pub async fn folders(&mut self) -> Result<Vec<Folder>, MailError> {
        limited(Step::Search, async {
            let mut names = self.inner.list(Some(""), Some("*")).await?;
            let mut folders = Vec::new();
            while let Some(name) = names.next().await {
                let name = name?;
                let attributes = format!("{:?}", name.attributes());
                folders.push(Folder {
                    name: name.name().to_owned(),
                    junk: attributes.contains("Junk")
                        || ["junk email", "junk", "spam"].contains(&name.name().to_lowercase().as_str()),
                    sent: attributes.contains("Sent") || name.name().eq_ignore_ascii_case("sent items"),
                    selectable: !attributes.contains("NoSelect"),
                });
            }
            Ok(folders)
        })
        .await
    }

    /// Whether a message is in a folder.
    ///
    /// # Errors
    /// [`MailError`].
    pub async fn contains(&mut self, folder: &str, mark: &Mark<'_>) -> Result<bool, MailError> {
        limited(Step::Select, self.inner.select(folder)).await?;
        let marks = [("Message-ID", Some(mark.message_id)), ("X-Entrepost-Attempt", mark.attempt)];
        for (header, value) in marks.into_iter().filter_map(|(header, value)| Some((header, value?))) {
            let query = format!("HEADER {header} \"{}\"", value.replace(['"', '\\', '\r', '\n'], ""));
            if !limited(Step::Search, self.inner.uid_search(&query)).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Ends the session politely; a failure of that harms nobody.
    pub async fn logout(mut self) {
        let _ = tokio::time::timeout(Duration::from_secs(3), self.inner.logout()).await;
    }
}

/// A folder.
#[derive(Debug, Clone)]
pub struct Folder {
    /// Its name.
    pub name: String,
    /// Whether it is where junk goes.
    pub junk: bool,
    /// Whether it holds the copies of what was sent.
    pub sent: bool,
    /// Whether it can be opened.
    pub selectable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_the_servers_words_and_not_the_librarys() {
        for text in [
            r#"code: None, info: Some("User is authenticated but not connected.")"#,
            r#"outcome: Outcome { code: None, information: Some("User is authenticated but not connected.") }"#,
        ] {
            assert_eq!(info(text), "User is authenticated but not connected.");
        }
        assert_eq!(info("anything else"), "anything else");
    }
}
