//! IMAP with XOAUTH2: sign-in up to SELECT INBOX, folders, messages, flags, IDLE.

use std::time::Duration;

use async_imap::extensions::idle::IdleResponse;
use async_imap::imap_proto::{Outcome, Response, Status};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

mod bounded;
mod commands;
mod folder_names;
mod wire;

pub use wire::{Folder, readable};

use crate::config::ServerAddress;

use super::{Login, MailError, STEP_LIMIT, Step};
use crate::trust::Trust;

use bounded::{Allow, Bounded};

type Inner = async_imap::Session<Bounded<TlsStream<TcpStream>>>;

pub struct Session {
    /// `None` during IDLE, and after an IDLE that broke.
    inner: Option<Inner>,
    selected: Option<(String, Selected)>,
    /// The folder was selected, or the server reported a change in it, after its last sync.
    event: bool,
    /// SEARCH supports only ASCII.
    ascii_only: bool,
    /// Whether messages can be moved in one command (RFC 6851), and expunged by UID (RFC 4315).
    can_move: bool,
    can_expunge_by_uid: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selected {
    pub exists: u32,
    /// With another UIDVALIDITY, every UID names another message.
    pub uid_validity: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    pub seen: bool,
    pub flagged: bool,
    pub answered: bool,
}

#[derive(Debug, Clone)]
pub struct Listed {
    pub uid: u32,
    pub flags: Flags,
    /// INTERNALDATE, in milliseconds since 1970.
    pub received_ms: i64,
    pub size: u32,
    pub header: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    pub folder: String,
    /// Its UIDVALIDITY.
    pub uid_validity: u32,
    pub uids: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    Seen,
    Flagged,
    Answered,
}

impl Flag {
    fn name(self) -> &'static str {
        match self {
            Self::Seen => "\\Seen",
            Self::Flagged => "\\Flagged",
            Self::Answered => "\\Answered",
        }
    }
}

/// How to find a message again.
pub struct Mark<'a> {
    pub message_id: &'a str,
    /// Value of `X-Entrepost-Attempt`, in case the server replaced the Message-ID.
    pub attempt: Option<&'a str>,
}

struct XOAuth2 {
    first: Option<Vec<u8>>,
}

impl async_imap::Authenticator for &mut XOAuth2 {
    type Response = Vec<u8>;
    fn process(&mut self, _challenge: &[u8]) -> Vec<u8> {
        // The first response is the token. A second challenge is a failure: an empty response brings the reply.
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
        async_imap::error::Error::Parse(_) => MailError::network(step, NOT_UNDERSTOOD),
        other => MailError::network(step, without_quote(&other.to_string())),
    }
}

/// BYE: the server ends the session (RFC 3501, 7.1.5).
fn ended(step: Step, outcome: &Outcome<'_>) -> MailError {
    let words = outcome.information.as_deref().unwrap_or_default();
    MailError::network(step, format!("the server ended the session: {words}"))
}

const NOT_UNDERSTOOD: &str = "its answer could not be understood";

/// The text of an error, without quoted input that could not be parsed: it may be mail.
fn without_quote(text: &str) -> String {
    if text.contains("during parsing of") { NOT_UNDERSTOOD.into() } else { text.chars().take(300).collect() }
}

/// The server's text. The library gives refusals of AUTHENTICATE and IDLE, which only it can send, as text of its own structs:
/// `code: …, info: Some("…")` and `outcome: Outcome { …, information: Some("…") }`, with quotes escaped.
fn info(text: &str) -> String {
    let rest = ["info: Some(\"", "information: Some(\""].iter().find_map(|before| text.split_once(before));
    let words = rest.and_then(|(_, rest)| rest.rsplit_once("\")")).map_or(text, |(words, _)| words);
    words.replace("\\\"", "\"").replace("\\\\", "\\")
}

impl Session {
    /// Connects with TLS and signs in.
    pub async fn open(login: &Login<'_>, trust: &Trust) -> Result<Self, MailError> {
        let ServerAddress { host, port } = login.server;
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
        let mut client = async_imap::Client::new(Bounded::new(tls));
        match tokio::time::timeout(STEP_LIMIT, client.read_response()).await {
            Ok(Ok(Some(_))) => {}
            Ok(Ok(None)) => {
                return Err(MailError::network(Step::Connect, "the connection was closed before the greeting"));
            }
            Ok(Err(error)) => return Err(MailError::network(Step::Connect, without_quote(&error.to_string()))),
            Err(_) => return Err(MailError::network(Step::Connect, "no greeting in time")),
        }
        let token = format!("user={}\x01auth=Bearer {}\x01\x01", login.user, login.token.expose());
        let mut sasl = XOAuth2 { first: Some(token.into_bytes()) };
        match tokio::time::timeout(STEP_LIMIT, client.authenticate("XOAUTH2", &mut sasl)).await {
            Ok(Ok(inner)) => {
                let mut session = Self {
                    inner: Some(inner),
                    selected: None,
                    ascii_only: false,
                    event: false,
                    can_move: false,
                    can_expunge_by_uid: false,
                };
                session.read_capabilities().await.map_err(|error| error.without(login.token, login.user))?;
                Ok(session)
            }
            Ok(Err((error, _))) => Err(explain(Step::Auth, &error).without(login.token, login.user)),
            Err(_) => Err(MailError::network(Step::Auth, "no answer in time")),
        }
    }

    fn inner(&mut self, allow: Allow) -> Result<&mut Inner, MailError> {
        let inner = self.inner.as_mut().ok_or_else(|| MailError::network(Step::Select, "the connection was lost"))?;
        inner.as_mut().allow(allow);
        Ok(inner)
    }

    /// Waits in IDLE until the server reports a change (`true`), the time limit, or `interrupted`.
    /// After an error the session is unusable.
    pub async fn idle(&mut self, limit: Duration, interrupted: impl Future<Output = ()>) -> Result<bool, MailError> {
        let mut inner = self.inner.take().ok_or_else(|| MailError::network(Step::Idle, "the connection was lost"))?;
        inner.as_mut().allow(Allow::LITTLE);
        let mut handle = inner.idle();
        Box::pin(limited(Step::Idle, handle.init())).await?;
        let told = {
            let (waiting, _stop) = handle.wait_with_timeout(limit);
            tokio::select! {
                told = waiting => told.map_err(|error| explain(Step::Idle, &error))?,
                () = interrupted => IdleResponse::ManualInterrupt,
                () = tokio::time::sleep(limit) => IdleResponse::Timeout,
            }
        };
        if let IdleResponse::NewData(data) = &told
            && let Response::Data { status: Status::Bye, outcome } = data.parsed()
        {
            return Err(ended(Step::Idle, outcome));
        }
        self.inner = Some(Box::pin(limited(Step::Idle, handle.done())).await?);
        Ok(matches!(told, IdleResponse::NewData(_)))
    }

    pub async fn logout(mut self) {
        if let Ok(inner) = self.inner(Allow::LITTLE) {
            let _ = tokio::time::timeout(Duration::from_secs(3), inner.logout()).await;
        }
    }
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
        assert_eq!(info(r#"code: None, info: Some("say \"AUTHENTICATE\" first")"#), r#"say "AUTHENTICATE" first"#);
    }
}
