//! SMTP submission like Exchange Online's: STARTTLS, AUTH XOAUTH2, limits, replies.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use smtp_proto::request::receiver::{BdatReceiver, DataReceiver};
use smtp_proto::{AUTH_XOAUTH2, Error as ParseError, Request};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Shared;
use crate::faults::{Delivery, SmtpAuthSwitch};
use crate::token::access_upn;
use crate::world::now;

/// Exchange Online's SIZE, in bytes.
const MAX_SIZE: usize = 157_286_400;
/// Limit of concurrent submissions per mailbox.
const MAX_SESSIONS: usize = 3;
const MAX_RECIPIENTS: usize = 500;
/// Limit of recipients per mailbox and day.
const MAX_PER_DAY: usize = 10_000;
/// Seconds per day.
const DAY: i64 = 86_400;
const MAX_LINE: usize = 64 * 1024;

/// One connection, from the banner to QUIT.
pub(crate) async fn serve(shared: Arc<Shared>, stream: TcpStream) -> io::Result<()> {
    let mut plain = Session::new(Arc::clone(&shared), stream, false);
    plain.reply("220 localhost Microsoft ESMTP MAIL Service ready (sandbox)").await?;
    if plain.run().await? == End::StartTls {
        if shared.faults().tls_broken == "smtp" {
            return plain.reply("this is no TLS").await;
        }
        let stream = shared.acceptor.accept(plain.stream).await?;
        let mut secure = Session::new(Arc::clone(&shared), stream, true);
        secure.run().await?;
        let _ = secure.stream.shutdown().await;
    }
    Ok(())
}

/// The relay: accepts any mail without authentication, without faults.
pub(crate) async fn serve_relay(shared: Arc<Shared>, stream: TcpStream) -> io::Result<()> {
    let mut session = Session::new(shared, stream, true);
    session.relay = true;
    session.reply("220 localhost relay ready (sandbox)").await?;
    session.run().await?;
    session.stream.shutdown().await
}

#[derive(PartialEq, Eq)]
enum End {
    Quit,
    StartTls,
}

struct Session<S> {
    shared: Arc<Shared>,
    stream: S,
    buffer: Vec<u8>,
    secure: bool,
    /// Accepts mail without authentication.
    relay: bool,
    upn: Option<String>,
    /// Counts against the limit of concurrent submissions of this mailbox.
    counted: Option<Counted>,
    from: Option<String>,
    to: Vec<String>,
    /// Chunks of a message so far (RFC 3030).
    chunks: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    fn new(shared: Arc<Shared>, stream: S, secure: bool) -> Self {
        Self {
            shared,
            stream,
            buffer: Vec::new(),
            secure,
            relay: false,
            upn: None,
            counted: None,
            from: None,
            to: Vec::new(),
            chunks: Vec::new(),
        }
    }

    async fn reply(&mut self, line: &str) -> io::Result<()> {
        let slow = self.shared.faults().slow_ms;
        if slow > 0 {
            tokio::time::sleep(Duration::from_millis(slow)).await;
        }
        self.stream.write_all(format!("{line}\r\n").as_bytes()).await?;
        self.stream.flush().await
    }

    async fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0; 4096];
        let idle = match self.shared.world().smtp_idle_ms {
            0 => Duration::MAX,
            idle => Duration::from_millis(idle),
        };
        let read = tokio::time::timeout(idle, self.stream.read(&mut chunk)).await??;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend_from_slice(&chunk[..read]);
        Ok(())
    }

    async fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                return Ok(self.buffer.drain(..end + 2).collect());
            }
            if self.buffer.len() > MAX_LINE {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.fill().await?;
        }
    }

    async fn run(&mut self) -> io::Result<End> {
        loop {
            let line = self.line().await?;
            let request = Request::parse(&mut line.iter()).map(Request::into_owned);
            match request {
                Ok(Request::Quit) => {
                    // Freed before the reply: the client may reconnect at once.
                    self.counted = None;
                    self.reply("221 2.0.0 Service closing transmission channel").await?;
                    return Ok(End::Quit);
                }
                Ok(Request::StartTls) if !self.secure => {
                    self.reply("220 2.0.0 SMTP server ready").await?;
                    return Ok(End::StartTls);
                }
                Ok(request) => self.request(request).await?,
                Err(ParseError::NeedsMoreData { .. } | ParseError::ResponseTooLong) => {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                Err(_) => self.reply("500 5.3.3 Unrecognized command").await?,
            }
        }
    }

    async fn request(&mut self, request: Request<String>) -> io::Result<()> {
        match request {
            Request::Ehlo { .. } => {
                let security = if self.secure { "250-AUTH LOGIN XOAUTH2" } else { "250-STARTTLS" };
                let international = if self.shared.faults().no_smtputf8 { "" } else { "250-SMTPUTF8\r\n" };
                let seen = self.shared.world().seen_from.map(|seen| format!(" [{seen}]")).unwrap_or_default();
                let lines = format!(
                    "250-localhost Hello{seen}\r\n250-SIZE {MAX_SIZE}\r\n250-PIPELINING\r\n250-DSN\r\n250-ENHANCEDSTATUSCODES\r\n{security}\r\n250-8BITMIME\r\n{international}250 CHUNKING"
                );
                self.reply(&lines).await
            }
            Request::Helo { .. } => self.reply("250 localhost Hello").await,
            Request::Auth { mechanism, initial_response } => self.auth(mechanism, initial_response).await,
            Request::Mail { from } => self.mail(&from.address, from.size).await,
            Request::Rcpt { to } => self.rcpt(to.address).await,
            Request::Data if self.shared.faults().cut_at_data => Err(io::ErrorKind::ConnectionAborted.into()),
            Request::Data => self.data().await,
            Request::Bdat { chunk_size, is_last } => self.chunk(chunk_size, is_last).await,
            Request::Rset => {
                self.from = None;
                self.to.clear();
                self.chunks.clear();
                self.reply("250 2.0.0 Resetting").await
            }
            Request::Noop { .. } => self.reply("250 2.0.0 OK").await,
            _ => self.reply("502 5.3.3 Command not implemented").await,
        }
    }

    async fn auth(&mut self, mechanism: u64, initial: String) -> io::Result<()> {
        if !self.secure {
            return self.reply("530 5.7.0 Must issue a STARTTLS command first").await;
        }
        if mechanism != AUTH_XOAUTH2 {
            return self.reply("550 5.7.30 Basic authentication is not supported for Client Submission.").await;
        }
        let response = if initial.is_empty() {
            self.reply("334 ").await?;
            String::from_utf8_lossy(&self.line().await?).trim().to_owned()
        } else {
            initial
        };
        let faults = self.shared.faults();
        if faults.auth_echo {
            let token = sasl(&response).map(|(_, token)| token).unwrap_or_default();
            return self.reply(&format!("535 5.7.3 Authentication unsuccessful: {response} {token}")).await;
        }
        let upn = sasl(&response).and_then(|(user, token)| {
            let world = self.shared.world();
            let upn = access_upn(&world, &token, "SMTP.Send")?;
            // Exchange compares the name with the token's UPN, not with the address.
            upn.eq_ignore_ascii_case(&user).then_some(upn)
        });
        let Some(upn) = upn else {
            let challenge = BASE64_STANDARD
                .encode(r#"{"status":"401","schemes":"Bearer","scope":"https://outlook.office.com/SMTP.Send"}"#);
            self.reply(&format!("334 {challenge}")).await?;
            self.line().await?;
            return self.reply("535 5.7.3 Authentication unsuccessful [SANDBOX0001.localhost 2026-01-01T00:00:00.000Z 08DE000000000000]").await;
        };
        let is_off = {
            let world = self.shared.world();
            world.account_by_sign_in(&upn).is_some_and(|account| world.smtp_auth_off.contains(&account.address))
        };
        match faults.smtp_auth {
            SmtpAuthSwitch::On if !is_off => {}
            SmtpAuthSwitch::On | SmtpAuthSwitch::Mailbox => {
                return self.reply("535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox. Visit https://aka.ms/smtp_auth_disabled for more information. [SANDBOX0001.localhost]").await;
            }
            SmtpAuthSwitch::Tenant => {
                return self.reply("535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit https://aka.ms/smtp_auth_disabled for more information. [SANDBOX0001.localhost]").await;
            }
            SmtpAuthSwitch::SecurityDefaults => {
                return self.reply("535 5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults policy. Contact your administrator. [SANDBOX0001.localhost]").await;
            }
        }
        let open = {
            let mut world = self.shared.world();
            let (open, most, all) = world.smtp_sessions.entry(upn.clone()).or_default();
            (*open, *all) = (*open + 1, *all + 1);
            *most = (*most).max(*open);
            *open
        };
        self.counted = Some(Counted { shared: Arc::clone(&self.shared), upn: upn.clone() });
        if open > MAX_SESSIONS {
            return self
                .reply("432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded [Hostname=localhost]")
                .await;
        }
        self.upn = Some(upn);
        self.reply("235 2.7.0 Authentication successful").await
    }

    async fn mail(&mut self, from: &str, size: usize) -> io::Result<()> {
        if self.relay {
            self.from = Some(from.to_owned());
            return self.reply("250 2.1.0 Sender OK").await;
        }
        let Some(upn) = self.upn.clone() else {
            return self.reply("530 5.7.57 Client not authenticated to send mail.").await;
        };
        if self.shared.faults().cut_before_data {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let told = self.shared.faults().smtp_reply;
        if !told.is_empty() {
            return self.reply(&told).await;
        }
        if self.shared.faults().throttled {
            return self
                .reply("432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded [Hostname=localhost]")
                .await;
        }
        if size > MAX_SIZE {
            return self.reply("552 5.3.4 Message size exceeds fixed maximum message size").await;
        }
        let (submitted, most, today, allowed) = {
            let mut world = self.shared.world();
            let most = world.messages_per_minute;
            let minute = world.submissions.entry(upn.clone()).or_default();
            minute.retain(|at| now() - at < 60);
            let submitted = minute.len();
            let allowed = world.account_by_sign_in(&upn).is_some_and(|account| account.may_send_as(from));
            let today =
                world.sent_today.get(&upn).map_or(0, |(day, count)| if *day == now() / DAY { *count } else { 0 });
            (submitted, most, today, allowed)
        };
        if today >= MAX_PER_DAY {
            return self
                .reply("554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; sender exceeded the daily limit of recipients")
                .await;
        }
        if submitted >= most {
            return self
                .reply("432 4.3.2 STOREDRV.ClientSubmit; sender rate limit exceeded [Hostname=localhost]")
                .await;
        }
        self.from = Some(from.to_owned());
        self.to.clear();
        if !allowed || self.shared.faults().send_as_denied {
            // Exchange accepts MAIL FROM and refuses after DATA.
            self.from = Some(String::new());
        }
        self.reply("250 2.1.0 Sender OK").await
    }

    async fn rcpt(&mut self, to: String) -> io::Result<()> {
        if self.from.is_none() {
            return self.reply("503 5.5.2 Need mail command").await;
        }
        if self.to.len() >= MAX_RECIPIENTS {
            return self.reply("452 4.5.3 Too many recipients").await;
        }
        if self.shared.faults().greylisted.eq_ignore_ascii_case(&to) {
            return self.reply("451 4.7.1 Greylisted, please try again later").await;
        }
        let unknown = {
            let world = self.shared.world();
            world.is_local(&to) && world.account_by_address(&to).is_none()
        };
        if unknown {
            return self
                .reply("550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup")
                .await;
        }
        self.to.push(to);
        self.reply("250 2.1.5 Recipient OK").await
    }

    async fn data(&mut self) -> io::Result<()> {
        let Some(from) = self.from.take() else {
            return self.reply("503 5.5.2 Need mail command").await;
        };
        let recipients = std::mem::take(&mut self.to);
        if recipients.is_empty() {
            return self.reply("503 5.5.2 Need rcpt command").await;
        }
        let gate = self.shared.world().data_gate.clone();
        if let Some(gate) = gate {
            gate.pass().await;
        }
        self.reply("354 Start mail input; end with <CRLF>.<CRLF>").await?;
        if self.shared.faults().cut_in_data && !self.relay {
            self.fill().await?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let (mut receiver, mut body) = (DataReceiver::new(), Vec::new());
        loop {
            let mut bytes = self.buffer.iter();
            let done = receiver.ingest(&mut bytes, &mut body);
            let rest = bytes.as_slice().to_vec();
            self.buffer = rest;
            if done {
                break;
            }
            if body.len() > MAX_SIZE {
                return self.reply("552 5.3.4 Message size exceeds fixed maximum message size").await;
            }
            self.fill().await?;
        }
        self.take(&from, &recipients, &body).await
    }

    /// A chunk of given length (BDAT): used by clients that see CHUNKING.
    async fn chunk(&mut self, size: usize, is_last: bool) -> io::Result<()> {
        if size > MAX_SIZE.saturating_sub(self.chunks.len()) {
            // The rest would be read as commands.
            self.reply("552 5.3.4 Message size exceeds fixed maximum message size").await?;
            return Err(io::ErrorKind::InvalidData.into());
        }
        if self.shared.faults().cut_in_data && !self.relay {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let mut receiver = BdatReceiver::new(size, is_last);
        loop {
            let mut bytes = self.buffer.iter();
            let done = receiver.ingest(&mut bytes, &mut self.chunks);
            self.buffer = bytes.as_slice().to_vec();
            if done {
                break;
            }
            self.fill().await?;
        }
        if self.from.is_none() || self.to.is_empty() {
            self.chunks.clear();
            return self.reply("503 5.5.2 Need mail and rcpt commands").await;
        }
        if !is_last {
            return self.reply(&format!("250 2.6.0 CHUNK received OK, {size} octets")).await;
        }
        let (body, to) = (std::mem::take(&mut self.chunks), std::mem::take(&mut self.to));
        let from = self.from.take().unwrap_or_default();
        self.take(&from, &to, &body).await
    }

    /// Delivers a complete message, or refuses it as Exchange does after DATA.
    async fn take(&mut self, from: &str, recipients: &[String], body: &[u8]) -> io::Result<()> {
        let Some(upn) = self.upn.clone() else {
            for recipient in recipients {
                self.shared.world().deliver(recipient, "INBOX", body);
            }
            self.shared.changed.notify_waiters();
            return self.reply("250 2.0.0 OK").await;
        };
        let header_from = mail_parser::MessageParser::default()
            .parse(body)
            .and_then(|message| message.from()?.first()?.address().map(ToOwned::to_owned));
        let refused = {
            let world = self.shared.world();
            let account = world.account_by_sign_in(&upn);
            from.is_empty()
                || !account.zip(header_from.as_deref()).is_some_and(|(account, from)| account.may_send_as(from))
        };
        if refused {
            return self.reply("554 5.2.252 SendAsDenied; the sender is not allowed to send as this address; STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied").await;
        }
        submit(&self.shared, &upn, recipients, body);
        self.shared.changed.notify_waiters();
        if self.shared.faults().cut_after_data {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        self.reply(&format!("250 2.0.0 OK <{}@localhost> [Hostname=localhost]", uuid::Uuid::new_v4())).await
    }
}

/// Delivers a message of a mailbox, and keeps its copy.
pub(crate) fn submit(shared: &Shared, upn: &str, recipients: &[String], body: &[u8]) {
    let mut world = shared.world();
    world.submissions.entry(upn.to_owned()).or_default().push(now());
    let today = world.sent_today.entry(upn.to_owned()).or_default();
    let count = if today.0 == now() / DAY { today.1 } else { 0 };
    *today = (now() / DAY, count + recipients.len());
    let folder = match world.faults.delivery {
        Delivery::Inbox => Some("INBOX"),
        Delivery::Junk => Some("Junk Email"),
        Delivery::Folder => Some("Projects"),
        Delivery::Nowhere => None,
    };
    if world.faults.bounced {
        let reply = world.faults.bounce_reply.clone();
        world.deliver(upn, "INBOX", &report(upn, recipients, body, &reply));
    } else if let Some(folder) = folder {
        let replaced = world.faults.message_id_replaced.then(|| with_another_message_id(body));
        for recipient in recipients {
            world.deliver(recipient, folder, replaced.as_deref().unwrap_or(body));
        }
    }
    // Exchange stores the copy in Sent Items, unless that is switched off.
    if !world.faults.no_sent_copy {
        world.deliver(upn, "Sent Items", body);
    }
}

/// A delivery status notification (RFC 3464) of a remote server, with its reply.
fn report(sender: &str, recipients: &[String], body: &[u8], reply: &str) -> Vec<u8> {
    let end = body.windows(4).position(|four| four == b"\r\n\r\n").map_or(body.len(), |at| at + 2);
    let headers = String::from_utf8_lossy(&body[..end]);
    let each: String = recipients
        .iter()
        .map(|to| {
            let unknown = format!("550 5.1.1 <{to}>: nobody has this address");
            let reply = if reply.is_empty() { unknown.as_str() } else { reply };
            let status = reply.split(' ').nth(1).unwrap_or("5.0.0");
            format!("\r\nFinal-Recipient: rfc822;{to}\r\nAction: failed\r\nStatus: {status}\r\nDiagnostic-Code: smtp;{reply}\r\n")
        })
        .collect();
    let id = uuid::Uuid::new_v4();
    format!(
        "From: Mail Delivery System <postmaster@far.example>\r\nTo: {sender}\r\nSubject: Undeliverable\r\nMessage-ID: <{id}@far.example>\r\n\
         Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=\"{id}\"\r\n\r\n\
         --{id}\r\nContent-Type: text/plain\r\n\r\nYour message could not be delivered.\r\n\
         --{id}\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns;far.example\r\n{each}\r\n\
         --{id}\r\nContent-Type: text/rfc822-headers\r\n\r\n{headers}\r\n--{id}--\r\n"
    )
    .into_bytes()
}

/// The message with a replaced Message-ID.
fn with_another_message_id(body: &[u8]) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = body.split_inclusive(|octet| *octet == b'\n').collect();
    let own = format!("Message-ID: <{}@gateway.example>\r\n", uuid::Uuid::new_v4());
    let headers = lines.iter().position(|line| *line == b"\r\n").unwrap_or(lines.len());
    for line in &mut lines[..headers] {
        if line.to_ascii_lowercase().starts_with(b"message-id:") {
            *line = own.as_bytes();
        }
    }
    lines.concat()
}

/// An open submission of a mailbox; ends on drop.
struct Counted {
    shared: Arc<Shared>,
    upn: String,
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some((open, _, _)) = self.shared.world().smtp_sessions.get_mut(&self.upn) {
            *open = open.saturating_sub(1);
        }
    }
}

/// `user=NAME ^A auth=Bearer TOKEN ^A ^A`, base64.
pub(crate) fn sasl(response: &str) -> Option<(String, String)> {
    let text = String::from_utf8(BASE64_STANDARD.decode(response.trim()).ok()?).ok()?;
    parse_sasl(&text)
}

/// The same, already decoded.
pub(crate) fn parse_sasl(text: &str) -> Option<(String, String)> {
    let (user, rest) = text.strip_prefix("user=")?.split_once('\x01')?;
    let token = rest.strip_prefix("auth=Bearer ")?.strip_suffix("\x01\x01")?;
    Some((user.to_owned(), token.to_owned()))
}
