//! IMAP with XOAUTH2: sign-in through SELECT INBOX, folders, messages, flags, and waiting for news.

use std::time::Duration;

use async_imap::extensions::idle::IdleResponse;
use async_imap::types::{NameAttribute, UnsolicitedResponse};
use futures::StreamExt;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

mod wire;

pub use wire::{Folder, readable};

use wire::{quoted, role, set_of};

use super::{Login, MailError, STEP_LIMIT, Step, Trust};

type Inner = async_imap::Session<TlsStream<TcpStream>>;

/// A signed-in IMAP session.
pub struct Session {
    /// Away while it idles, and after an idle that broke.
    inner: Option<Inner>,
    selected: Option<(String, Selected)>,
    /// The open folder was opened, or the server told of something in it, after it was last looked into.
    news: bool,
    /// Whether messages can be moved in one command (RFC 6851), and expunged by UID (RFC 4315).
    can_move: bool,
    can_expunge_by_uid: bool,
}

/// A folder as it was when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selected {
    /// How many messages it holds.
    pub exists: u32,
    /// UIDVALIDITY: with another one, every UID names another message.
    pub validity: u32,
}

/// Flags of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// It was read.
    pub seen: bool,
    /// It is marked.
    pub flagged: bool,
    /// It was answered.
    pub answered: bool,
}

/// What a list shows of a message.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its UID.
    pub uid: u32,
    /// Its flags.
    pub flags: Flags,
    /// When it came in, in milliseconds since the epoch.
    pub received_ms: i64,
    /// Its octets.
    pub size: u32,
    /// Some of its header fields, raw.
    pub header: Vec<u8>,
}

/// A flag that people set and take away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    /// Read.
    Seen,
    /// Marked.
    Flagged,
    /// Answered.
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

/// Header fields that a list needs, and octets of them at most: a hostile message may have any number.
const LIST_FIELDS: &str = "BODY.PEEK[HEADER.FIELDS (FROM TO CC SUBJECT CONTENT-TYPE)]<0.16384>";

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
            Ok(Ok(inner)) => {
                let mut session = Self {
                    inner: Some(inner),
                    selected: None,
                    news: false,
                    can_move: false,
                    can_expunge_by_uid: false,
                };
                let capabilities = limited(Step::Auth, session.inner()?.capabilities()).await?;
                session.can_move = capabilities.has_str("MOVE");
                session.can_expunge_by_uid = capabilities.has_str("UIDPLUS");
                Ok(session)
            }
            Ok(Err((error, _))) => Err(explain(Step::Auth, &error).without(login.token, login.user)),
            Err(_) => Err(MailError::network(Step::Auth, "no answer in time")),
        }
    }

    fn inner(&mut self) -> Result<&mut Inner, MailError> {
        self.inner.as_mut().ok_or_else(|| MailError::network(Step::Select, "the connection was lost"))
    }

    /// Opens INBOX: only this proves access (AUTHENTICATE may succeed without).
    ///
    /// # Errors
    /// [`MailError`].
    pub async fn open_inbox(&mut self) -> Result<u32, MailError> {
        Ok(self.select("INBOX").await?.exists)
    }

    /// Opens a folder, and says how it is now.
    ///
    /// # Errors
    /// [`MailError`].
    pub async fn select(&mut self, folder: &str) -> Result<Selected, MailError> {
        self.selected = None;
        self.news = true;
        let opened = limited(Step::Select, self.inner()?.select(folder)).await?;
        let selected = Selected { exists: opened.exists, validity: opened.uid_validity.unwrap_or(0) };
        self.selected = Some((folder.to_owned(), selected));
        Ok(selected)
    }

    /// Opens a folder unless it is open.
    ///
    /// # Errors
    /// [`MailError`].
    pub async fn ensure(&mut self, folder: &str) -> Result<Selected, MailError> {
        match &self.selected {
            Some((open, selected)) if open == folder => Ok(*selected),
            _ => self.select(folder).await,
        }
    }

    /// Whether the open folder may hold what [`Session::newest`] has not seen: it was opened since, or the server told of
    /// something beside the answer of a command. IDLE tells of neither again.
    pub fn has_news(&mut self) -> bool {
        while let Some(told) = self.inner.as_mut().and_then(|inner| inner.unsolicited_responses.try_recv().ok()) {
            self.news |= matches!(told, UnsolicitedResponse::Exists(_) | UnsolicitedResponse::Expunge(_));
        }
        self.news
    }

    /// All folders, as the server names them.
    ///
    /// # Errors
    /// [`MailError`].
    pub async fn folders(&mut self) -> Result<Vec<Folder>, MailError> {
        let inner = self.inner()?;
        limited(Step::Search, async {
            let mut names = inner.list(Some(""), Some("*")).await?;
            let mut folders = Vec::new();
            while let Some(name) = names.next().await {
                let name = name?;
                let has = |wanted: &[NameAttribute<'static>]| name.attributes().iter().any(|one| wanted.contains(one));
                folders.push(Folder {
                    name: name.name().to_owned(),
                    role: role(name.name(), name.attributes()),
                    selectable: !has(&[NameAttribute::NoSelect]),
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
        self.select(folder).await?;
        let marks = [("Message-ID", Some(mark.message_id)), ("X-Entrepost-Attempt", mark.attempt)];
        for (header, value) in marks.into_iter().filter_map(|(header, value)| Some((header, value?))) {
            let query = format!("HEADER {header} {}", quoted(value));
            if !limited(Step::Search, self.inner()?.uid_search(&query)).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// UIDs of the messages of the open folder that hold a text anywhere, newest first.
    ///
    /// # Errors
    /// [`MailError`].
    pub async fn search(&mut self, text: &str) -> Result<Vec<u32>, MailError> {
        let query = if text.is_ascii() {
            format!("TEXT {}", quoted(text))
        } else {
            // Octets beyond ASCII stand in a literal; `+`: without waiting to be asked for it (RFC 7888).
            let clean: String = text.chars().filter(|c| !c.is_control()).collect();
            format!("CHARSET UTF-8 TEXT {{{}+}}\r\n{clean}", clean.len())
        };
        let found = limited(Step::Search, self.inner()?.uid_search(&query)).await?;
        let mut found: Vec<u32> = found.into_iter().collect();
        found.sort_unstable_by_key(|uid| std::cmp::Reverse(*uid));
        Ok(found)
    }

    /// UIDs and flags of the newest messages of the open folder.
    ///
    /// # Errors
    /// [`MailError`].
    pub async fn newest(&mut self, exists: u32, count: u32) -> Result<Vec<(u32, Flags)>, MailError> {
        // What was told until now is in the answer.
        self.has_news();
        self.news = false;
        if exists == 0 {
            return Ok(Vec::new());
        }
        let set = format!("{}:*", exists.saturating_sub(count.saturating_sub(1)).max(1));
        let inner = self.inner()?;
        limited(Step::Fetch, async {
            let mut answers = inner.fetch(set, "(UID FLAGS)").await?;
            let mut found = Vec::new();
            while let Some(one) = answers.next().await {
                let one = one?;
                found.extend(one.uid.map(|uid| (uid, flags(&one))));
            }
            Ok(found)
        })
        .await
    }

    /// UIDs of a stretch of the open folder, by position: `from` is the oldest position, from 1.
    ///
    /// # Errors
    /// [`MailError`].
    pub async fn stretch(&mut self, from: u32, to: u32) -> Result<Vec<u32>, MailError> {
        let inner = self.inner()?;
        limited(Step::Fetch, async {
            let mut answers = inner.fetch(format!("{from}:{to}"), "(UID)").await?;
            let mut found = Vec::new();
            while let Some(one) = answers.next().await {
                found.extend(one?.uid);
            }
            Ok(found)
        })
        .await
    }

    /// What a list shows of some messages of the open folder.
    ///
    /// # Errors
    /// [`MailError`].
    pub async fn list(&mut self, uids: &[u32]) -> Result<Vec<Listed>, MailError> {
        if uids.is_empty() {
            return Ok(Vec::new());
        }
        let set = set_of(uids);
        let inner = self.inner()?;
        limited(Step::Fetch, async {
            let asked = format!("(UID FLAGS INTERNALDATE RFC822.SIZE {LIST_FIELDS})");
            let mut answers = inner.uid_fetch(set, asked).await?;
            let mut found = Vec::new();
            while let Some(one) = answers.next().await {
                let one = one?;
                // Changes of other messages may stand between the answers.
                let (Some(uid), Some(header)) = (one.uid, one.header()) else { continue };
                found.push(Listed {
                    uid,
                    flags: flags(&one),
                    received_ms: one.internal_date().map_or(0, |at| at.timestamp_millis()),
                    size: one.size.unwrap_or(0),
                    header: header.to_vec(),
                });
            }
            Ok(found)
        })
        .await
    }

    /// The size of a message of the open folder; none if it is gone.
    ///
    /// # Errors
    /// [`MailError`].
    pub async fn size(&mut self, uid: u32) -> Result<Option<u32>, MailError> {
        let inner = self.inner()?;
        limited(Step::Fetch, async {
            let mut answers = inner.uid_fetch(uid.to_string(), "(UID RFC822.SIZE)").await?;
            let mut size = None;
            while let Some(one) = answers.next().await {
                let one = one?;
                size = size.or(one.size.filter(|_| one.uid == Some(uid)));
            }
            Ok(size)
        })
        .await
    }

    /// Octets of a message of the open folder, without marking it as read. Shorter than asked for at its end.
    ///
    /// # Errors
    /// [`MailError`].
    pub async fn octets(&mut self, uid: u32, from: u32, length: u32) -> Result<Vec<u8>, MailError> {
        let inner = self.inner()?;
        limited(Step::Fetch, async {
            let mut answers = inner.uid_fetch(uid.to_string(), format!("(UID BODY.PEEK[]<{from}.{length}>)")).await?;
            let mut octets = Vec::new();
            while let Some(one) = answers.next().await {
                let one = one?;
                if let Some(body) = one.body().filter(|_| one.uid == Some(uid)) {
                    octets = body.to_vec();
                }
            }
            Ok(octets)
        })
        .await
    }

    /// Sets or takes away a flag of messages of the open folder.
    ///
    /// # Errors
    /// [`MailError`].
    pub async fn flag(&mut self, uids: &[u32], flag: Flag, set: bool) -> Result<(), MailError> {
        let inner = self.inner()?;
        let (which, change) = (set_of(uids), format!("{}FLAGS.SILENT ({})", if set { '+' } else { '-' }, flag.name()));
        limited(Step::Store, async {
            let mut answers = inner.uid_store(which, change).await?;
            while let Some(one) = answers.next().await {
                one?;
            }
            Ok(())
        })
        .await
    }

    /// Moves messages of the open folder to another one.
    ///
    /// # Errors
    /// [`MailError`].
    pub async fn move_to(&mut self, uids: &[u32], folder: &str) -> Result<(), MailError> {
        let which = set_of(uids);
        if self.can_move {
            return limited(Step::Store, self.inner()?.uid_mv(which, folder)).await;
        }
        limited(Step::Store, self.inner()?.uid_copy(&which, folder)).await?;
        self.erase(uids).await
    }

    /// Deletes messages of the open folder for good.
    ///
    /// # Errors
    /// [`MailError`].
    pub async fn erase(&mut self, uids: &[u32]) -> Result<(), MailError> {
        let (which, by_uid) = (set_of(uids), self.can_expunge_by_uid);
        let inner = self.inner()?;
        limited(Step::Store, async {
            {
                let mut answers = inner.uid_store(&which, "+FLAGS.SILENT (\\Deleted)").await?;
                while let Some(one) = answers.next().await {
                    one?;
                }
            }
            if by_uid {
                let gone = inner.uid_expunge(&which).await?;
                futures::pin_mut!(gone);
                while let Some(one) = gone.next().await {
                    one?;
                }
            } else {
                let gone = inner.expunge().await?;
                futures::pin_mut!(gone);
                while let Some(one) = gone.next().await {
                    one?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Waits in the open folder until the server tells of something (`true`), the time is over, or `interrupted` is ready.
    ///
    /// # Errors
    /// [`MailError`]: then the session is of no more use.
    pub async fn idle(&mut self, limit: Duration, interrupted: impl Future<Output = ()>) -> Result<bool, MailError> {
        let inner = self.inner.take().ok_or_else(|| MailError::network(Step::Idle, "the connection was lost"))?;
        let mut handle = inner.idle();
        limited(Step::Idle, handle.init()).await?;
        let told = {
            let (waiting, _stop) = handle.wait_with_timeout(limit);
            tokio::select! {
                told = waiting => told.map_err(|error| explain(Step::Idle, &error))?,
                () = interrupted => IdleResponse::ManualInterrupt,
                () = tokio::time::sleep(limit) => IdleResponse::Timeout,
            }
        };
        if let IdleResponse::NewData(data) = &told {
            let said = format!("{:?}", data.parsed());
            if said.contains("Bye") {
                return Err(MailError::network(Step::Idle, format!("the server ended the session: {said}")));
            }
        }
        self.inner = Some(limited(Step::Idle, handle.done()).await?);
        Ok(matches!(told, IdleResponse::NewData(_)))
    }

    /// Ends the session politely; a failure of that harms nobody.
    pub async fn logout(mut self) {
        if let Some(inner) = &mut self.inner {
            let _ = tokio::time::timeout(Duration::from_secs(3), inner.logout()).await;
        }
    }
}

fn flags(fetched: &async_imap::types::Fetch) -> Flags {
    let mut flags = Flags::default();
    for flag in fetched.flags() {
        match flag {
            async_imap::types::Flag::Seen => flags.seen = true,
            async_imap::types::Flag::Flagged => flags.flagged = true,
            async_imap::types::Flag::Answered => flags.answered = true,
            _ => {}
        }
    }
    flags
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
