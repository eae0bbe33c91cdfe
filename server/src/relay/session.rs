//! One connection: greeting, commands, messages.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use app::model::{EmailAddress, RelayEvent, SenderRule};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::command::{Command, MOST_COMMAND, parse};
use super::data::Content;
use super::sasl::{self, Credentials, SaslError};
use super::tls::{HANDSHAKE, handshake};
use super::{Listener, PIECE, Shared};
use crate::service::{Accepted, NotTaken, Origin, Submission, Submitter};

/// Longest silence (RFC 5321, 4.5.3.2.7).
const IDLE: Duration = Duration::from_secs(5 * 60);
/// Longest pause within a message, and its deadline.
const PAUSE: Duration = Duration::from_secs(3 * 60);
const MESSAGE: Duration = Duration::from_secs(30 * 60);
/// Deadline for an answer to be taken.
const WRITE: Duration = Duration::from_secs(60);
/// Recipients of a message. Exchange Online takes 500 unless it was raised.
const MOST_RECIPIENTS: usize = 500;
/// Wrong commands, and wrong passwords, of one connection.
const MOST_ERRORS: u32 = 20;
const MOST_TRIES: u32 = 3;
const READ: usize = 4 * 1024;
const READ_MESSAGE: usize = 64 * 1024;

type Stream = Either<TcpStream, TlsStream<TcpStream>>;

/// Why a session ends.
enum Ended {
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
struct Envelope {
    from: String,
    recipients: Vec<EmailAddress>,
    /// A recipient beyond the limit was refused: it is logged once.
    over: bool,
}

pub(super) struct Session {
    shared: Arc<Shared>,
    listener: Listener,
    peer: IpAddr,
    stream: Stream,
    /// What was read and not used yet.
    buffer: Vec<u8>,
    secured: bool,
    hello: String,
    /// For the greeting and the answer to EHLO.
    host: String,
    submitter: Option<Submitter>,
    envelope: Option<Envelope>,
    errors: u32,
    tries: u32,
    /// Messages whose answers the client has perhaps not received.
    unconfirmed: Vec<Accepted>,
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
        let (mut stream, mut secured) = (Either::Left(tcp), false);
        if listener == Listener::Tls {
            match Self::secure(&shared, peer, stream).await {
                Some(tls) => (stream, secured) = (tls, true),
                None => return,
            }
        }
        loop {
            let mut session = Self::new(Arc::clone(&shared), listener, peer, stream, secured);
            match session.talk().await {
                // Answers that were on their way have arrived, or nobody waits for them.
                Ok(()) | Err(Ended::Cleanly) => session.confirm(),
                Err(Ended::StartTls) => match Self::secure(&shared, peer, session.stream).await {
                    Some(tls) => {
                        (stream, secured) = (tls, true);
                        continue;
                    }
                    None => return,
                },
                Err(Ended::TimedOut) => session.log(RelayEvent::TimedOut { in_message: false }),
                Err(Ended::Broken | Ended::Refused) => {}
            }
            let _ = timeout(Duration::from_secs(1), session.stream.shutdown()).await;
            return;
        }
    }

    fn new(shared: Arc<Shared>, listener: Listener, peer: IpAddr, stream: Stream, secured: bool) -> Self {
        let host = shared.services.relay_name();
        Self {
            shared,
            listener,
            peer,
            stream,
            buffer: Vec::new(),
            secured,
            hello: String::new(),
            host,
            submitter: None,
            envelope: None,
            errors: 0,
            tries: 0,
            unconfirmed: Vec::new(),
        }
    }

    /// Begins TLS; tells the log why that fails.
    async fn secure(shared: &Shared, peer: IpAddr, stream: Stream) -> Option<Stream> {
        let Either::Left(tcp) = stream else { return None };
        match handshake(tcp, &shared.certificate.acceptor()).await {
            Ok((tls, version)) => {
                shared.services.relay_log.write(Origin::Address, peer, RelayEvent::Secured { version });
                Some(Either::Right(tls))
            }
            Err(event) => {
                shared.services.relay_log.write(Origin::Address, peer, event);
                None
            }
        }
    }

    fn origin(&self) -> Origin {
        self.submitter.as_ref().map_or(Origin::Address, Submitter::origin)
    }

    fn log(&self, event: RelayEvent) {
        self.shared.services.relay_log.write(self.origin(), self.peer, event);
    }

    /// The client went on after an answer: it has received it.
    fn confirm(&mut self) {
        for accepted in self.unconfirmed.drain(..) {
            self.shared.services.confirm_received(accepted);
        }
    }

    async fn say(&mut self, text: &str) -> Result<(), Ended> {
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
    async fn read(&mut self, most: usize, until: Instant) -> Result<bool, Ended> {
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
            Ok(Ok(count)) => Ok(count > 0),
            Ok(Err(_)) => Err(Ended::Broken),
            Err(_) => Err(Ended::TimedOut),
        }
    }

    /// A line without its end.
    async fn line(&mut self, most: usize) -> Result<Vec<u8>, Ended> {
        let (until, mut searched, mut too_long) = (Instant::now() + IDLE, 0, false);
        loop {
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
            // No command begins so.
            if !self.secured && self.buffer.first() == Some(&HANDSHAKE) {
                self.log(RelayEvent::SpokeTls);
                return Err(Ended::Refused);
            }
            if !self.read(READ, until).await? {
                return Err(if self.buffer.is_empty() { Ended::Cleanly } else { Ended::Broken });
            }
        }
    }

    /// An answer to a wrong command. Too many of them end the session.
    async fn mistake(&mut self, text: &str) -> Result<(), Ended> {
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
            self.confirm();
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
        let mut lines = vec![self.host.clone(), "PIPELINING".into(), format!("SIZE {size}"), "8BITMIME".into()];
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

    async fn auth(&mut self, mechanism: &str, initial: Option<String>) -> Result<(), Ended> {
        if !self.secured {
            self.log(RelayEvent::NoTls);
            return self.mistake("538 5.7.11 Encryption required: use STARTTLS").await;
        }
        if self.submitter.is_some() || self.envelope.is_some() || self.listener == Listener::Plain {
            return self.mistake("503 5.5.1 Not now").await;
        }
        let read = match mechanism {
            "PLAIN" => self.plain(initial).await?,
            "LOGIN" => self.login(initial).await?,
            _ => return self.mistake("504 5.5.4 Use AUTH PLAIN or AUTH LOGIN").await,
        };
        match read {
            Ok(credentials) => self.sign_in(credentials).await,
            Err(SaslError::Cancelled) => self.mistake("501 5.7.0 Cancelled").await,
            Err(SaslError::Malformed) => self.mistake("501 5.5.2 Not what the mechanism says").await,
        }
    }

    async fn plain(&mut self, initial: Option<String>) -> Result<Result<Credentials, SaslError>, Ended> {
        let line = match initial {
            Some(line) => line,
            None => self.asked("334 ").await?,
        };
        Ok(sasl::decoded(&line).and_then(|message| sasl::plain(&message)))
    }

    async fn login(&mut self, initial: Option<String>) -> Result<Result<Credentials, SaslError>, Ended> {
        let line = match initial {
            Some(line) => line,
            None => self.asked("334 VXNlcm5hbWU6").await?,
        };
        let name = match sasl::decoded(&line) {
            Ok(name) => name,
            Err(error) => return Ok(Err(error)),
        };
        let line = self.asked("334 UGFzc3dvcmQ6").await?;
        Ok(sasl::decoded(&line).and_then(|password| sasl::login(name.expose(), password)))
    }

    async fn asked(&mut self, question: &str) -> Result<String, Ended> {
        self.say(question).await?;
        let line = self.line(sasl::MOST_LINE).await?;
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    async fn sign_in(&mut self, credentials: Credentials) -> Result<(), Ended> {
        let services = Arc::clone(&self.shared.services);
        if self.tries >= MOST_TRIES || services.relay_tries_are_used_up(self.peer) {
            self.log(RelayEvent::TooManyTries);
            self.say("421 4.7.0 Too many wrong passwords, try again later").await?;
            return Err(Ended::Refused);
        }
        let signed_in = services.sign_device_in(&credentials.user_name, &credentials.password, self.peer).await;
        match signed_in {
            Ok(Ok(submitter)) => {
                self.submitter = Some(submitter);
                self.log(RelayEvent::SignedIn { hello: self.hello.clone() });
                self.say("235 2.7.0 Signed in").await
            }
            Ok(Err(refused)) => {
                services.relay_log.write(refused.origin, self.peer, refused.event.clone());
                self.tries += 1;
                let text = match refused.event {
                    // The password was right.
                    RelayEvent::Paused | RelayEvent::Expired | RelayEvent::WrongNetwork => {
                        "535 5.7.8 Not allowed now: see its page in Entrepost"
                    }
                    _ => "535 5.7.8 Wrong user name or password",
                };
                self.say(text).await
            }
            Err(error) => {
                tracing::error!("the relay cannot check a password: {error}");
                self.say("454 4.7.0 Not now, try again").await
            }
        }
    }

    async fn mail(&mut self, from: String, size: u64) -> Result<(), Ended> {
        if self.envelope.is_some() {
            return self.mistake("503 5.5.1 One sender for each message").await;
        }
        let services = Arc::clone(&self.shared.services);
        if self.submitter.is_none() && self.listener == Listener::Plain {
            match services.recognise_device(self.peer).await {
                Ok(Ok(submitter)) => {
                    self.submitter = Some(submitter);
                    self.log(RelayEvent::Recognised { hello: self.hello.clone() });
                }
                Ok(Err(refused)) => {
                    services.relay_log.write(refused.origin, self.peer, refused.event);
                    return self.mistake("550 5.7.1 No device of Entrepost has this address").await;
                }
                Err(error) => {
                    tracing::error!("the relay cannot look an address up: {error}");
                    return self.say("451 4.3.0 Not now, try again").await;
                }
            }
        }
        let Some(submitter) = &self.submitter else {
            if self.secured {
                self.log(RelayEvent::NotSignedIn);
                return self.mistake("530 5.7.0 Sign in first").await;
            }
            self.log(RelayEvent::NotSignedIn);
            return self.mistake("530 5.7.0 Use STARTTLS and sign in first").await;
        };
        let limit = services.config.relay.message_bytes;
        if size > limit {
            self.log(RelayEvent::TooLarge { limit });
            return self.mistake("552 5.3.4 The message is too large").await;
        }
        if submitter.settings().sender_rule == SenderRule::Refuse && !from.is_empty() {
            match services.may_send_as(submitter, &from).await {
                Ok(true) => {}
                Ok(false) => {
                    self.log(RelayEvent::SenderRefused { address: from });
                    return self.mistake("550 5.7.1 It may not send as this address").await;
                }
                Err(error) => {
                    tracing::error!("the relay cannot check a sender: {error}");
                    return self.say("451 4.3.0 Not now, try again").await;
                }
            }
        }
        self.envelope = Some(Envelope { from, ..Envelope::default() });
        self.say("250 2.1.0 OK").await
    }

    async fn recipient(&mut self, to: &str) -> Result<(), Ended> {
        let (Some(submitter), Some(envelope)) = (&self.submitter, &mut self.envelope) else {
            return self.mistake("503 5.5.1 MAIL first").await;
        };
        let domain = submitter.settings().mailbox.rsplit('@').next().unwrap_or_default();
        let whole = if to.contains('@') { to.to_owned() } else { format!("{to}@{domain}") };
        // What lettre cannot write is no address for the mail server behind either.
        let address = EmailAddress::parse(&whole)
            .ok()
            .filter(|address| address.as_str().is_ascii() && address.as_str().parse::<lettre::Address>().is_ok());
        let Some(address) = address else {
            self.log(RelayEvent::RecipientMalformed);
            return self.mistake("553 5.1.3 This is no email address").await;
        };
        if !submitter.may_write_to(&address) {
            let masked = app::model::masked(address.as_str());
            self.log(RelayEvent::RecipientRefused { address: masked });
            return self.mistake("550 5.7.1 It may not write to this address").await;
        }
        if envelope.recipients.iter().any(|known| known.same_as(address.as_str())) {
            return self.say("250 2.1.5 OK").await;
        }
        if envelope.recipients.len() >= MOST_RECIPIENTS {
            if !std::mem::replace(&mut envelope.over, true) {
                self.log(RelayEvent::TooManyRecipients { limit: MOST_RECIPIENTS });
            }
            return self.say("452 4.5.3 Too many recipients").await;
        }
        envelope.recipients.push(address);
        self.say("250 2.1.5 OK").await
    }

    async fn data(&mut self) -> Result<(), Ended> {
        let Some(Envelope { from, recipients, .. }) = self.envelope.take() else {
            return self.mistake("503 5.5.1 MAIL first").await;
        };
        if recipients.is_empty() {
            return self.mistake("554 5.5.1 No valid recipients").await;
        }
        self.say("354 End with a dot on a line of its own").await?;
        let received = self.content().await;
        let (content, _memory) = match received {
            Ok(Some(received)) => received,
            // Told already.
            Ok(None) => return Ok(()),
            Err(ended) => {
                match ended {
                    Ended::TimedOut => self.log(RelayEvent::TimedOut { in_message: true }),
                    Ended::Broken | Ended::Cleanly => self.log(RelayEvent::Broken { in_message: true }),
                    Ended::Refused | Ended::StartTls => {}
                }
                return Err(Ended::Refused);
            }
        };
        let Some(submitter) = &self.submitter else { return self.mistake("530 5.7.0 Sign in first").await };
        let submission = Submission { mail_from: from, recipients, content };
        let services = Arc::clone(&self.shared.services);
        match services.submit(submitter, self.peer, submission).await {
            Ok(accepted) => {
                let text = match &accepted.refused {
                    Some(answer) => refusal(answer),
                    None => format!("250 2.0.0 Queued as {}", accepted.delivery),
                };
                self.unconfirmed.push(accepted);
                self.say(&text).await
            }
            Err(NotTaken::Refused(event)) => {
                let text = answer(&event);
                self.log(event);
                self.say(text).await
            }
            Err(error) => {
                tracing::error!("the relay cannot store a message: {error:?}");
                self.log(RelayEvent::NotStored);
                self.say("451 4.3.0 It couldn't be stored, try again").await
            }
        }
    }

    /// The content of a message, and the memory that it holds. `None`: it was too large, or there was no memory for it.
    async fn content(&mut self) -> Result<Option<(Vec<u8>, OwnedSemaphorePermit)>, Ended> {
        let limit = self.shared.services.config.relay.message_bytes;
        let mut content = Content::new(usize::try_from(limit).unwrap_or(usize::MAX));
        let mut held: Option<OwnedSemaphorePermit> = None;
        let (deadline, mut is_full) = (Instant::now() + MESSAGE, false);
        loop {
            let more = std::mem::take(&mut self.buffer);
            let ended = content.push(&more);
            let pieces = content.len().div_ceil(PIECE).max(1);
            let has = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            if pieces > has && !content.too_large {
                let wanted = u32::try_from(pieces - has).unwrap_or(u32::MAX);
                match Arc::clone(&self.shared.memory).try_acquire_many_owned(wanted) {
                    Ok(permit) => match &mut held {
                        Some(held) => held.merge(permit),
                        None => held = Some(permit),
                    },
                    Err(_) => {
                        is_full = true;
                        content.discard();
                    }
                }
            }
            if let Some(behind) = ended {
                self.buffer = behind;
                break;
            }
            let until = deadline.min(Instant::now() + PAUSE);
            if !self.read(READ_MESSAGE, until).await? {
                return Err(Ended::Broken);
            }
        }
        self.buffer.shrink_to(READ);
        if is_full {
            self.log(RelayEvent::QueueFull);
            self.say("452 4.3.1 No room for it now, try again").await?;
            return Ok(None);
        }
        if content.too_large {
            self.log(RelayEvent::TooLarge { limit });
            self.say("552 5.3.4 The message is too large").await?;
            return Ok(None);
        }
        Ok(held.map(|held| (content.finish(), held)))
    }
}

/// The answer to a message that is not taken.
fn answer(event: &RelayEvent) -> &'static str {
    match event {
        RelayEvent::SenderRefused { .. } => "550 5.7.1 It may not send as this address",
        RelayEvent::Loop => "554 5.4.6 The message goes in a circle",
        RelayEvent::HeaderTooLarge => "552 5.3.4 The header is too large",
        RelayEvent::PasswordEnded | RelayEvent::Paused | RelayEvent::Expired | RelayEvent::WrongNetwork => {
            "550 5.7.1 Not allowed now: see its page in Entrepost"
        }
        RelayEvent::NoMailbox => "451 4.7.0 Its mailbox isn't connected: see its page in Entrepost",
        RelayEvent::TooManyMessages { .. } => "451 4.7.1 Too many messages within an hour, try again later",
        RelayEvent::QueueFull => "452 4.3.1 No room for it now, try again",
        _ => "451 4.3.0 It couldn't be stored, try again",
    }
}

/// What Microsoft said, as an answer of one line. The outbox keeps `CODE text`.
fn refusal(answer: &str) -> String {
    let line: String = answer.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect();
    let line: String = line.chars().filter(char::is_ascii).collect();
    let code = line.get(..3).filter(|code| code.starts_with('5') && code.bytes().all(|byte| byte.is_ascii_digit()));
    match code {
        Some(_) => line,
        None => format!("554 5.0.0 {line}"),
    }
}
