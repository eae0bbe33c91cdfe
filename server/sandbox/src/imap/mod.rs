//! IMAP like Exchange Online's: implicit TLS, AUTHENTICATE XOAUTH2, the commands of mail clients.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use imap_codec::decode::{CommandDecodeError, Decoder};
use imap_codec::encode::Encoder;
use imap_codec::imap_types::auth::{AuthMechanism, AuthenticateData};
use imap_codec::imap_types::command::{Command, CommandBody};
use imap_codec::imap_types::core::{Atom, Charset, LiteralMode, Tag, Vec1};
use imap_codec::imap_types::mailbox::ListMailbox;
use imap_codec::imap_types::response::{
    Capability, Code, CommandContinuationRequest, Data, Greeting, Response, Status,
};
use imap_codec::imap_types::{IntoStatic, ToStatic};
use imap_codec::{AuthenticateDataCodec, CommandCodec, GreetingCodec, ResponseCodec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::Shared;
use crate::smtp::parse_sasl;
use crate::token::access_upn;

mod fetch;
mod folders;
mod messages;
mod search;

const MAX_BUFFER: usize = 64 * 1024 * 1024;
/// The only charset that SEARCH supports.
const US_ASCII: &str = "US-ASCII";

/// One connection, from the greeting to LOGOUT.
pub(crate) async fn serve(shared: Arc<Shared>, stream: TcpStream) -> io::Result<()> {
    if shared.faults().tls_broken == "imap" {
        let mut stream = stream;
        return stream.write_all(b"* OK this is no TLS\r\n").await;
    }
    let stream = shared.acceptor.accept(stream).await?;
    let generation = shared.world().imap_generation;
    let mut session =
        Session { shared, stream, buffer: Vec::new(), upn: None, selected: None, generation, counted: None };
    let greeting =
        Greeting::ok(None, "The Microsoft Exchange IMAP4 service is ready (sandbox).").map_err(io::Error::other)?;
    session.stream.write_all(&GreetingCodec::default().encode(&greeting).dump()).await?;
    session.run().await
}

fn charset_name<'a>(charset: &'a Charset<'_>) -> &'a str {
    match charset {
        Charset::Atom(name) => name.as_ref(),
        Charset::Quoted(name) => name.as_ref(),
    }
}

struct Selected {
    folder: String,
    /// UIDs by sequence number, as reported to the client.
    uids: Vec<u32>,
}

struct Session {
    shared: Arc<Shared>,
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
    upn: Option<String>,
    selected: Option<Selected>,
    /// Sessions of an older generation are ended.
    generation: u64,
    counted: Option<Counted>,
}

/// An open session of a mailbox; ends on drop.
struct Counted {
    shared: Arc<Shared>,
    upn: String,
}

impl Counted {
    fn new(shared: &Arc<Shared>, upn: &str) -> Self {
        let mut world = shared.world();
        let (open, most) = world.imap_sessions.entry(upn.to_owned()).or_default();
        *open += 1;
        *most = (*most).max(*open);
        Self { shared: Arc::clone(shared), upn: upn.to_owned() }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some((open, _)) = self.shared.world().imap_sessions.get_mut(&self.upn) {
            *open = open.saturating_sub(1);
        }
    }
}

fn capabilities() -> Vec1<Capability<'static>> {
    let mut all = Vec1::from(Capability::Imap4Rev1);
    for capability in [
        Capability::Auth(AuthMechanism::Plain),
        Capability::Auth(AuthMechanism::XOAuth2),
        Capability::SaslIr,
        Capability::UidPlus,
        Capability::Move,
        Capability::Idle,
        Capability::LiteralPlus,
        Capability::Unselect,
    ] {
        let mut list = all.into_inner();
        list.push(capability);
        all = Vec1::unvalidated(list);
    }
    all
}

impl Session {
    async fn send(&mut self, response: Response<'_>) -> io::Result<()> {
        self.stream.write_all(&ResponseCodec::default().encode(&response).dump()).await
    }

    async fn data(&mut self, data: Data<'_>) -> io::Result<()> {
        self.send(Response::Data(data)).await
    }

    async fn ok(&mut self, tag: &Tag<'_>, code: Option<Code<'_>>, text: &str) -> io::Result<()> {
        let status = Status::ok(Some(tag.to_static()), code, text).map_err(io::Error::other)?;
        self.send(Response::Status(status)).await?;
        self.stream.flush().await
    }

    async fn no(&mut self, tag: &Tag<'_>, text: &str) -> io::Result<()> {
        self.no_because(tag, None, text).await
    }

    async fn no_because(&mut self, tag: &Tag<'_>, code: Option<Code<'_>>, text: &str) -> io::Result<()> {
        let status = Status::no(Some(tag.to_static()), code, text).map_err(io::Error::other)?;
        self.send(Response::Status(status)).await?;
        self.stream.flush().await
    }

    async fn bad(&mut self, tag: Option<&Tag<'_>>, text: &str) -> io::Result<()> {
        let status = Status::bad(tag.map(ToStatic::to_static), None, text).map_err(io::Error::other)?;
        self.send(Response::Status(status)).await?;
        self.stream.flush().await
    }

    async fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0; 4096];
        let read = self.stream.read(&mut chunk).await?;
        if read == 0 || self.buffer.len() > MAX_BUFFER {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend_from_slice(&chunk[..read]);
        Ok(())
    }

    async fn command(&mut self) -> io::Result<Command<'static>> {
        let mut answered_literal_at = None;
        loop {
            let decoded = match CommandCodec::default().decode(&self.buffer) {
                Ok((rest, command)) => Ok((self.buffer.len() - rest.len(), command.into_static())),
                Err(error) => Err(match error {
                    CommandDecodeError::LiteralFound { mode, .. } => Some(mode == LiteralMode::Sync),
                    CommandDecodeError::Incomplete => Some(false),
                    CommandDecodeError::Failed => None,
                }),
            };
            match decoded {
                Ok((used, command)) => {
                    self.buffer.drain(..used);
                    return Ok(command);
                }
                Err(Some(wants_continuation)) => {
                    if wants_continuation && answered_literal_at != Some(self.buffer.len()) {
                        answered_literal_at = Some(self.buffer.len());
                        self.stream.write_all(b"+ Ready for additional command text.\r\n").await?;
                        self.stream.flush().await?;
                    }
                    self.fill().await?;
                }
                Err(None) => {
                    let end =
                        self.buffer.windows(2).position(|pair| pair == b"\r\n").map_or(self.buffer.len(), |at| at + 2);
                    self.buffer.drain(..end);
                    self.bad(None, "Command Error. 10").await?;
                }
            }
        }
    }

    async fn run(&mut self) -> io::Result<()> {
        loop {
            let command = self.command().await?;
            let slow = self.shared.faults().slow_ms;
            if slow > 0 {
                tokio::time::sleep(Duration::from_millis(slow)).await;
            }
            if self.is_over() {
                return self.end().await;
            }
            if matches!(command.body, CommandBody::Logout) {
                let bye = Status::bye(None, "Microsoft Exchange Server IMAP4 server signing off.")
                    .map_err(io::Error::other)?;
                self.send(Response::Status(bye)).await?;
                self.ok(&command.tag, None, "LOGOUT completed.").await?;
                return self.stream.shutdown().await;
            }
            self.execute(command).await?;
        }
    }

    /// Whether the session was ended by the sandbox.
    fn is_over(&self) -> bool {
        self.upn.is_some() && self.shared.world().imap_generation != self.generation
    }

    async fn end(&mut self) -> io::Result<()> {
        let bye = Status::bye(None, "Session invalidated - AccessTokenExpired").map_err(io::Error::other)?;
        self.send(Response::Status(bye)).await?;
        self.stream.shutdown().await
    }

    /// Applies faults to a command: NO, or the end of the session. `true` if it did.
    async fn faulty(&mut self, command: &Command<'static>) -> io::Result<bool> {
        let name = command.body.name();
        if self.upn.is_some() && self.shared.faults().imap_cut == name {
            self.shared.world().faults.imap_cut.clear();
            self.end().await?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if self.upn.is_some() && self.shared.faults().imap_dropped == name {
            self.shared.world().faults.imap_dropped.clear();
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let refused = self.upn.is_some() && self.shared.faults().imap_refused == name;
        if refused {
            self.no(&command.tag, "Server Unavailable. 15").await?;
        }
        Ok(refused)
    }

    async fn execute(&mut self, command: Command<'static>) -> io::Result<()> {
        if self.faulty(&command).await? {
            return Ok(());
        }
        let tag = command.tag;
        match command.body {
            CommandBody::Capability => {
                self.data(Data::Capability(capabilities())).await?;
                self.ok(&tag, None, "CAPABILITY completed.").await
            }
            CommandBody::Noop | CommandBody::Check => {
                self.announce().await?;
                self.ok(&tag, None, "NOOP completed.").await
            }
            CommandBody::Authenticate { mechanism: AuthMechanism::XOAuth2, initial_response } => {
                self.authenticate(&tag, initial_response.map(|secret| secret.declassify().to_vec())).await
            }
            CommandBody::Authenticate { .. } | CommandBody::Login { .. } => self.no(&tag, "LOGIN failed.").await,
            _ if self.upn.is_none() => self.bad(Some(&tag), "Command received in Invalid state.").await,
            CommandBody::List { mailbox_wildcard, .. } => {
                let pattern = match &mailbox_wildcard {
                    ListMailbox::Token(token) => String::from_utf8_lossy(token.as_ref()).into_owned(),
                    ListMailbox::String(string) => String::from_utf8_lossy(string.as_ref()).into_owned(),
                };
                self.list(&tag, &pattern).await
            }
            CommandBody::Select { mailbox } => self.select(&tag, &mailbox, true).await,
            CommandBody::Examine { mailbox } => self.select(&tag, &mailbox, false).await,
            CommandBody::Status { mailbox, item_names } => self.status(&tag, &mailbox, &item_names).await,
            _ if self.selected.is_none() => self.bad(Some(&tag), "Command received in Invalid state.").await,
            CommandBody::Unselect | CommandBody::Close => {
                self.selected = None;
                self.ok(&tag, None, "CLOSE completed.").await
            }
            // As Exchange: ASCII only.
            CommandBody::Search { charset: Some(charset), .. }
                if !charset_name(&charset).eq_ignore_ascii_case(US_ASCII) =>
            {
                let allowed = Atom::try_from(US_ASCII).into_iter().map(Charset::Atom).collect();
                let text = "The specified charset is not supported.";
                self.no_because(&tag, Some(Code::BadCharset { allowed }), text).await
            }
            CommandBody::Search { criteria, uid, .. } => self.search(&tag, &criteria, uid).await,
            CommandBody::Fetch { sequence_set, macro_or_item_names, uid } => {
                let names = fetch::names(macro_or_item_names, uid);
                self.fetch(&tag, &sequence_set, &names, uid).await
            }
            CommandBody::Store { sequence_set, kind, response, flags, uid } => {
                self.store(&tag, &sequence_set, kind, response, &flags, uid).await
            }
            CommandBody::Move { sequence_set, mailbox, uid } => self.move_to(&tag, &sequence_set, &mailbox, uid).await,
            CommandBody::ExpungeUid { sequence_set } => {
                let named = self.resolve(&sequence_set, true).into_iter().map(|(_, uid)| uid).collect();
                self.expunge(Some(named)).await?;
                self.ok(&tag, None, "EXPUNGE completed.").await
            }
            CommandBody::Expunge => {
                self.expunge(None).await?;
                self.ok(&tag, None, "EXPUNGE completed.").await
            }
            CommandBody::Idle => self.idle(&tag).await,
            _ => self.bad(Some(&tag), "Command Error. 12").await,
        }
    }

    async fn authenticate(&mut self, tag: &Tag<'_>, initial: Option<Vec<u8>>) -> io::Result<()> {
        let response = if let Some(response) = initial {
            response
        } else {
            self.send(Response::CommandContinuationRequest(CommandContinuationRequest::base64(&b""[..]))).await?;
            self.stream.flush().await?;
            self.auth_line().await?
        };
        let upn = std::str::from_utf8(&response).ok().and_then(parse_sasl).and_then(|(user, token)| {
            let world = self.shared.world();
            let upn = access_upn(&world, &token, "IMAP.AccessAsUser.All")?;
            world.account_by_sign_in(&user).is_some_and(|account| account.upn.eq_ignore_ascii_case(&upn)).then_some(upn)
        });
        let upn = upn.filter(|_| !self.shared.faults().imap_auth_refused);
        if let Some(upn) = upn {
            self.counted = Some(Counted::new(&self.shared, &upn));
            self.upn = Some(upn);
            return self.ok(tag, None, "AUTHENTICATE completed.").await;
        }
        let challenge =
            br#"{"status":"400","schemes":"Bearer","scope":"https://outlook.office.com/IMAP.AccessAsUser.All"}"#;
        self.send(Response::CommandContinuationRequest(CommandContinuationRequest::base64(&challenge[..]))).await?;
        self.stream.flush().await?;
        self.auth_line().await?;
        self.no(tag, "AUTHENTICATE failed.").await
    }

    async fn auth_line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Ok((rest, data)) = AuthenticateDataCodec::default().decode(&self.buffer) {
                let used = self.buffer.len() - rest.len();
                let bytes = match data {
                    AuthenticateData::Continue(secret) => secret.declassify().to_vec(),
                    AuthenticateData::Cancel => Vec::new(),
                };
                self.buffer.drain(..used);
                return Ok(bytes);
            }
            if self.buffer.ends_with(b"\r\n") {
                self.buffer.clear();
                return Ok(Vec::new());
            }
            self.fill().await?;
        }
    }
}

fn has(mail: &crate::world::Mail, flag: &str) -> bool {
    mail.flags.iter().any(|known| known.eq_ignore_ascii_case(flag))
}
