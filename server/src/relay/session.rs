//! One connection: greeting, commands, messages.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use app::model::{EmailAddress, RelayEvent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::command::{Command, MOST_COMMAND, parse};
use super::tls::{HANDSHAKE, handshake};
use super::{Listener, Shared};
use crate::service::{Accepted, Origin, Submitter};

/// Longest silence (RFC 5321, 4.5.3.2.7), and before the client is known.
const IDLE: Duration = Duration::from_secs(5 * 60);
const IDLE_UNKNOWN: Duration = Duration::from_secs(2 * 60);
/// Deadline for an answer to be taken.
const WRITE: Duration = Duration::from_secs(60);
/// Wrong commands of one connection.
const MOST_ERRORS: u32 = 20;
/// Commands of one connection since its last message. A message to every recipient that is allowed takes no more.
const MOST_IDLE_COMMANDS: u32 = 1_000;
pub(super) const READ: usize = 4 * 1024;

type Stream = Either<TcpStream, TlsStream<TcpStream>>;

/// Why a session ends.
pub(super) enum Ended {
    /// By QUIT, or by closing between messages.
    Cleanly,
    /// TLS begins, and nothing that came before it is believed.
    StartTls,
    Broken,
    TimedOut,
    /// The client was told why.
    Refused,
}

#[derive(Default)]
pub(super) struct Envelope {
    pub(super) from: String,
    pub(super) recipients: Vec<EmailAddress>,
    /// A recipient beyond the limit was refused: it is logged once.
    pub(super) over: bool,
}

pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) listener: Listener,
    pub(super) peer: IpAddr,
    pub(super) stream: Stream,
    /// What was read and not used yet.
    pub(super) buffer: Vec<u8>,
    pub(super) secured: bool,
    pub(super) hello: String,
    /// For the greeting and the answer to EHLO.
    pub(super) host: String,
    pub(super) submitter: Option<Submitter>,
    pub(super) envelope: Option<Envelope>,
    /// How many were received.
    pub(super) commands: u64,
    pub(super) errors: u32,
    /// Commands since a message was taken.
    pub(super) idle_commands: u32,
    pub(super) tries: u32,
    /// Messages whose answers the client has perhaps not received, with the number of bytes that had come before the answer.
    pub(super) unconfirmed: Vec<(Accepted, u64)>,
    pub(super) bytes_read: u64,
    /// Version of TLS, until it is logged.
    pub(super) version: Option<String>,
}

impl Session {
    pub(super) async fn serve(shared: Arc<Shared>, listener: Listener, tcp: TcpStream, peer: IpAddr) {
        let peer = peer.to_canonical();
        let _ = tcp.set_nodelay(true);
        let log = |event| shared.services.relay_log.write(Origin::Address, peer, event);
        if listener == Listener::Plain && !shared.services.config.relay.allows_plain(peer, None) {
            log(RelayEvent::UnknownAddress);
            let mut tcp = tcp;
            let said = tcp.write_all(b"554 5.7.1 This address may not send here\r\n");
            let _ = timeout(Duration::from_secs(1), said).await;
            return;
        }
        let (mut stream, mut version) = (Either::Left(tcp), None);
        if listener == Listener::Tls {
            match Self::secure(&shared, peer, stream).await {
                Some((tls, found)) => (stream, version) = (tls, Some(found)),
                None => return,
            }
        }
        loop {
            let mut session = Self::new(Arc::clone(&shared), listener, peer, stream, version);
            match session.talk().await {
                Err(Ended::Cleanly) if session.secured && session.commands == 0 => {
                    session.log(RelayEvent::LeftAfterTls);
                }
                // By QUIT, or by closing after the answer: it has received what was said.
                Ok(()) | Err(Ended::Cleanly) => session.confirm(u64::MAX),
                Err(Ended::StartTls) => match Self::secure(&shared, peer, session.stream).await {
                    Some((tls, found)) => {
                        (stream, version) = (tls, Some(found));
                        continue;
                    }
                    None => return,
                },
                Err(Ended::TimedOut) => {
                    session.log(RelayEvent::TimedOut { in_message: false });
                    let said = session.say("421 4.4.2 Nothing came for too long");
                    let _ = timeout(Duration::from_secs(1), said).await;
                }
                Err(Ended::Broken) if session.secured && session.commands == 0 => session.log(RelayEvent::LeftAfterTls),
                Err(Ended::Broken | Ended::Refused) => {}
            }
            let _ = timeout(Duration::from_secs(1), session.stream.shutdown()).await;
            return;
        }
    }

    fn new(shared: Arc<Shared>, listener: Listener, peer: IpAddr, stream: Stream, version: Option<String>) -> Self {
        let host = shared.services.relay_name();
        Self {
            shared,
            listener,
            peer,
            stream,
            buffer: Vec::new(),
            secured: version.is_some(),
            hello: String::new(),
            host,
            submitter: None,
            envelope: None,
            commands: 0,
            errors: 0,
            idle_commands: 0,
            tries: 0,
            unconfirmed: Vec::new(),
            bytes_read: 0,
            version,
        }
    }

    /// Begins TLS; tells the log why that fails.
    async fn secure(shared: &Shared, peer: IpAddr, stream: Stream) -> Option<(Stream, String)> {
        let Either::Left(tcp) = stream else { return None };
        match handshake(tcp, &shared.certificate.acceptor()).await {
            Ok((tls, version)) => Some((Either::Right(tls), version)),
            Err(event) => {
                // A probe that connects and leaves is nobody's problem.
                if !matches!(event, RelayEvent::Broken { .. }) {
                    shared.services.relay_log.write(Origin::Address, peer, event);
                }
                None
            }
        }
    }

    fn origin(&self) -> Origin {
        self.submitter.as_ref().map_or(Origin::Address, Submitter::origin)
    }

    pub(super) fn log(&self, event: RelayEvent) {
        self.shared.services.relay_log.write(self.origin(), self.peer, event);
    }

    /// The device is known: what came before is its own.
    pub(super) fn log_known(&mut self, event: RelayEvent) {
        if let Some(version) = self.version.take() {
            self.log(RelayEvent::Secured { version });
        }
        self.log(event);
    }

    /// A client that sent more after an answer has received it. `read`: bytes it sent so far.
    fn confirm(&mut self, read: u64) {
        for (accepted, before) in std::mem::take(&mut self.unconfirmed) {
            if read > before {
                self.shared.services.confirm_received(accepted);
            } else {
                self.unconfirmed.push((accepted, before));
            }
        }
    }

    /// Whether the client has closed already. Bytes that are there are kept.
    pub(super) fn is_gone(&mut self) -> bool {
        let read = futures::FutureExt::now_or_never(self.stream.read_buf(&mut self.buffer));
        match read {
            Some(Ok(0) | Err(_)) => true,
            Some(Ok(count)) => {
                self.bytes_read += count as u64;
                false
            }
            None => false,
        }
    }

    pub(super) async fn say(&mut self, text: &str) -> Result<(), Ended> {
        let line = format!("{text}\r\n");
        let written = async {
            self.stream.write_all(line.as_bytes()).await?;
            self.stream.flush().await
        };
        match timeout(WRITE, written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ended::Broken),
            Err(_) => Err(Ended::TimedOut),
        }
    }

    /// Reads more bytes into the buffer. `false`: the client closed.
    pub(super) async fn read(&mut self, most: usize, until: Instant) -> Result<bool, Ended> {
        let stop = self.shared.services.stop.clone();
        self.buffer.reserve(most);
        let read = tokio::select! {
            read = timeout_at(until, self.stream.read_buf(&mut self.buffer)) => read,
            () = stop.cancelled() => {
                let _ = self.say("421 4.3.2 The server is restarting, try again").await;
                return Err(Ended::Refused);
            }
        };
        match read {
            Ok(Ok(count)) => {
                self.bytes_read += count as u64;
                Ok(count > 0)
            }
            Ok(Err(_)) => Err(Ended::Broken),
            Err(_) => Err(Ended::TimedOut),
        }
    }

    /// A line without its end.
    pub(super) async fn line(&mut self, most: usize) -> Result<Vec<u8>, Ended> {
        let idle = if self.submitter.is_some() { IDLE } else { IDLE_UNKNOWN };
        let (until, mut searched, mut too_long) = (Instant::now() + idle, 0, false);
        loop {
            // No command begins so.
            if !self.secured && self.buffer.first() == Some(&HANDSHAKE) {
                self.log(RelayEvent::SpokeTls);
                return Err(Ended::Refused);
            }
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[searched..]) {
                let mut line: Vec<u8> = self.buffer.drain(..=searched + at).collect();
                line.truncate(line.trim_ascii_end().len());
                if too_long {
                    self.mistake("500 5.5.6 Line too long").await?;
                    (searched, too_long) = (0, false);
                    continue;
                }
                return Ok(line);
            }
            searched = self.buffer.len();
            if searched > most {
                // Dropped up to its end: what follows must not be taken for a command.
                too_long = true;
                self.buffer.clear();
                searched = 0;
            }
            if !self.read(READ, until).await? {
                return Err(if self.buffer.is_empty() { Ended::Cleanly } else { Ended::Broken });
            }
        }
    }

    /// An answer to a wrong command. Too many of them end the session.
    pub(super) async fn mistake(&mut self, text: &str) -> Result<(), Ended> {
        self.errors += 1;
        if self.errors >= MOST_ERRORS {
            self.log(RelayEvent::TooManyErrors);
            self.say("421 4.7.0 Too many errors").await?;
            return Err(Ended::Refused);
        }
        self.say(text).await
    }

    async fn talk(&mut self) -> Result<(), Ended> {
        // After STARTTLS there is no greeting.
        let is_greeted = self.secured && self.listener != Listener::Tls;
        if !is_greeted {
            let greeting = format!("220 {} ESMTP Entrepost", self.host);
            self.say(&greeting).await?;
        }
        loop {
            let line = self.line(MOST_COMMAND).await?;
            self.confirm(self.bytes_read);
            self.commands += 1;
            self.idle_commands += 1;
            if self.idle_commands > MOST_IDLE_COMMANDS {
                self.log(RelayEvent::TooManyErrors);
                self.say("421 4.7.0 Too many commands without a message").await?;
                return Err(Ended::Refused);
            }
            match parse(&line) {
                Command::Hello { extended, name } => self.hello(extended, name).await?,
                Command::StartTls => self.start_tls().await?,
                Command::Auth { mechanism, initial } => self.auth(&mechanism, initial).await?,
                Command::Mail { from, size } => self.mail(from, size).await?,
                Command::Recipient { to } => self.recipient(&to).await?,
                Command::Data => self.data().await?,
                Command::Reset => {
                    self.envelope = None;
                    self.say("250 2.0.0 OK").await?;
                }
                Command::Noop => self.say("250 2.0.0 OK").await?,
                Command::Verify => self.say("252 2.1.5 Send a message, and see").await?,
                Command::Help => self.say("214 2.0.0 See RFC 5321").await?,
                Command::Quit => {
                    self.say("221 2.0.0 Bye").await?;
                    return Ok(());
                }
                Command::NotImplemented => self.mistake("502 5.5.1 Command not implemented").await?,
                Command::Malformed => {
                    self.log(RelayEvent::NotUnderstood);
                    self.mistake("501 5.5.4 Syntax error in parameters").await?;
                }
                Command::Unknown => {
                    self.log(RelayEvent::NotUnderstood);
                    self.mistake("500 5.5.2 Command not recognized").await?;
                }
            }
        }
    }

    async fn hello(&mut self, extended: bool, name: String) -> Result<(), Ended> {
        self.envelope = None;
        self.hello = name;
        if !extended {
            let text = format!("250 {}", self.host);
            return self.say(&text).await;
        }
        let size = self.shared.services.config.relay.message_bytes;
        let mut lines =
            vec![self.host.clone(), "PIPELINING".into(), format!("SIZE {size}"), "8BITMIME".into(), "SMTPUTF8".into()];
        if !self.secured {
            lines.push("STARTTLS".into());
        } else if self.listener != Listener::Plain {
            lines.push("AUTH PLAIN LOGIN".into());
            // What a few old clients look for.
            lines.push("AUTH=PLAIN LOGIN".into());
        }
        lines.push("ENHANCEDSTATUSCODES".into());
        let last = lines.len() - 1;
        let text: Vec<String> = lines
            .iter()
            .enumerate()
            .map(|(at, line)| format!("250{}{line}", if at == last { ' ' } else { '-' }))
            .collect();
        self.say(&text.join("\r\n")).await
    }

    async fn start_tls(&mut self) -> Result<(), Ended> {
        if self.secured {
            return self.mistake("503 5.5.1 TLS is on already").await;
        }
        // Before the answer nothing of TLS can be here: an attacker on the way, or a client that does not wait (CVE-2011-0411).
        if !self.buffer.is_empty() {
            self.log(RelayEvent::NotUnderstood);
            self.say("501 5.5.4 Nothing may follow STARTTLS").await?;
            return Err(Ended::Refused);
        }
        self.say("220 2.0.0 Ready to start TLS").await?;
        Err(Ended::StartTls)
    }
}
