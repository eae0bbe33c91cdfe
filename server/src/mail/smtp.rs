//! SMTP submission with XOAUTH2, over lettre's connection: its transport would lose the `535` that follows a `334`.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use lettre::address::Envelope;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Auth, Data, Mail, Noop, Rcpt, Rset};
use lettre::transport::smtp::extension::MailBodyParameter;
use lettre::transport::smtp::extension::{Extension, MailParameter};
use lettre::transport::smtp::response::Response;

use crate::config::{Encryption, SystemSmtp};

use super::submission::{Connected, explain};
use super::{DATA_LIMIT, Login, MailError, STEP_LIMIT, Step, submission};
use crate::trust::Trust;

/// Commands that leave together where the server allows it (RFC 2920). Bounds what the replies take before they are read.
const GROUP: usize = 20;

pub struct Session {
    connection: AsyncSmtpConnection,
    pipelining: bool,
    /// Where the server says that this connection comes from.
    pub seen_from: Option<std::net::IpAddr>,
    /// The server waits for a message.
    waits: bool,
}

/// A recipient whom the server refused.
#[derive(Debug, Clone)]
pub struct Refused {
    pub recipient: String,
    pub error: MailError,
}

/// A submission that ended before its message was sent.
pub struct NotBegun {
    pub error: MailError,
    pub refused: Vec<Refused>,
    /// Whether the session can carry another message.
    pub reusable: bool,
}

pub struct Accepted {
    pub reply: String,
    pub refused: Vec<Refused>,
}

async fn limited<T>(
    step: Step,
    limit: Duration,
    work: impl Future<Output = Result<T, lettre::transport::smtp::Error>>,
) -> Result<T, MailError> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result.map_err(|error| explain(step, &error)),
        Err(_) => Err(MailError::network(step, format!("no answer within {} seconds", limit.as_secs()))),
    }
}

/// A success of the expected class. Another one means that replies and commands are out of step.
fn expected(step: Step, class: u16, reply: Response) -> Result<Response, MailError> {
    if u16::from(reply.code()) / 100 * 100 == class {
        return Ok(reply);
    }
    Err(MailError::network(step, format!("an unexpected reply: {} {}", reply.code(), words(&reply))))
}

/// The text of a reply. PostgreSQL stores no NUL.
fn words(response: &Response) -> String {
    response.message().collect::<Vec<_>>().join(" ").replace(char::is_control, " ")
}

impl Session {
    /// Connects, upgrades to TLS, authenticates.
    pub async fn open(login: &Login<'_>, trust: &Trust) -> Result<Self, MailError> {
        let mut session = Self::of(submission::connect(login.server, Encryption::Required, trust).await?);
        session.sign_in(login).await.map_err(|error| error.without(login.token, login.user))?;
        Ok(session)
    }

    /// A session with the system relay, with TLS and authentication according to its URL.
    pub async fn open_system(relay: &SystemSmtp, trust: &Trust) -> Result<Self, MailError> {
        let mut session = Self::of(submission::connect(relay.server(), relay.encryption(), trust).await?);
        if let Some((user, password)) = relay.credentials() {
            let credentials = Credentials::new(user, password.expose().to_owned());
            let auth = session.connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials);
            limited(Step::Auth, STEP_LIMIT, auth).await?;
        }
        Ok(session)
    }

    fn of(Connected { connection, pipelining, seen_from }: Connected) -> Self {
        Self { connection, pipelining, seen_from, waits: false }
    }

    async fn sign_in(&mut self, login: &Login<'_>) -> Result<(), MailError> {
        let credentials = Credentials::new(login.user.to_owned(), login.token.expose().to_owned());
        let auth = Auth::new(Mechanism::Xoauth2, credentials, None).map_err(|error| explain(Step::Auth, &error))?;
        let answer = limited(Step::Auth, STEP_LIMIT, self.connection.command(auth)).await?;
        if !answer.has_code(334) {
            return Ok(());
        }
        // A failure may come as a challenge: an empty line brings the actual reply.
        let challenge = answer.first_word().and_then(|word| BASE64_STANDARD.decode(word).ok());
        let challenge = challenge.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        match limited(Step::Auth, STEP_LIMIT, self.connection.command("\r\n")).await {
            Ok(reply) => Err(MailError::refused(Step::Auth, Some(u16::from(reply.code())), words(&reply))),
            Err(mut error) => {
                if !challenge.is_empty() && error.answered {
                    error.text = format!("{} (challenge: {challenge})", error.text);
                }
                Err(error)
            }
        }
    }

    /// After an error at [`Step::AfterData`] without a reply it is unknown whether the message was accepted.
    pub async fn send(&mut self, envelope: &Envelope, message: &[u8]) -> Result<Accepted, MailError> {
        let refused = self.begin(envelope, message).await.map_err(|not_begun| not_begun.error)?;
        let reply = self.message(message).await?;
        Ok(Accepted { reply, refused })
    }

    /// First half of a submission: MAIL, every RCPT, and DATA. Returns the refused recipients. The server waits for the message
    /// then; if it must not be sent, drop the session: a final dot would send an empty message.
    pub async fn begin(&mut self, envelope: &Envelope, message: &[u8]) -> Result<Vec<Refused>, NotBegun> {
        let from =
            self.mail(envelope, message).map_err(|error| NotBegun { error, refused: Vec::new(), reusable: true })?;
        let recipients = envelope.to().len();
        let mut commands = vec![(Step::From, from.to_string())];
        commands
            .extend(envelope.to().iter().map(|to| (Step::Recipient, Rcpt::new(to.clone(), Vec::new()).to_string())));
        commands.push((Step::Data, Data.to_string()));
        let mut replies: Vec<Result<Response, MailError>> = Vec::with_capacity(commands.len());
        for group in commands.chunks(if self.pipelining { GROUP } else { 1 }) {
            let sent = replies.len();
            let refused_all = sent > recipients && replies[1..].iter().all(Result::is_err);
            if replies.first().is_some_and(Result::is_err) || refused_all {
                break;
            }
            self.exchange(group, &mut replies).await;
            if replies.last().is_some_and(|reply| reply.as_ref().is_err_and(|error| !error.answered)) {
                break;
            }
        }
        self.begun(envelope, replies).await
    }

    fn mail(&self, envelope: &Envelope, message: &[u8]) -> Result<Mail, MailError> {
        let mut parameters = Vec::new();
        if !message.is_ascii() && self.connection.server_info().supports_feature(Extension::EightBitMime) {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        let international =
            envelope.from().into_iter().chain(envelope.to()).any(|address| !AsRef::<str>::as_ref(address).is_ascii());
        if international {
            if !self.connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                return Err(MailError::refused(
                    Step::From,
                    Some(553),
                    "this mail server doesn't accept international addresses (no SMTPUTF8)",
                ));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        Ok(Mail::new(envelope.from().cloned(), parameters))
    }

    /// Sends commands together and reads a reply to each, up to the first that does not come.
    async fn exchange(&mut self, commands: &[(Step, String)], replies: &mut Vec<Result<Response, MailError>>) {
        let together: String = commands.iter().map(|(_, command)| command.as_str()).collect();
        for (number, (step, _)) in commands.iter().enumerate() {
            let reply = match number {
                0 => limited(*step, STEP_LIMIT, self.connection.command(&together)).await,
                _ => limited(*step, STEP_LIMIT, self.connection.read_response()).await,
            };
            let first_digit = if *step == Step::Data { 300 } else { 200 };
            let reply = reply.and_then(|reply| expected(*step, first_digit, reply));
            let lost = reply.as_ref().is_err_and(|error| !error.answered);
            replies.push(reply);
            if lost {
                return;
            }
        }
    }

    /// What the replies to MAIL, RCPT and DATA mean together.
    async fn begun(
        &mut self,
        envelope: &Envelope,
        replies: Vec<Result<Response, MailError>>,
    ) -> Result<Vec<Refused>, NotBegun> {
        // After a lost reply the next one could be taken for that of another command.
        let is_lost = |reply: &Result<Response, MailError>| reply.as_ref().is_err_and(|error| !error.answered);
        let in_step = !replies.iter().any(is_lost);
        let mut replies = replies.into_iter();
        let mail = replies.next();
        let (mut refused, mut lost) = (Vec::new(), None);
        for (to, reply) in envelope.to().iter().zip(replies.by_ref()) {
            match reply {
                Ok(_) => {}
                Err(error) if error.answered => refused.push(Refused { recipient: to.to_string(), error }),
                Err(error) => lost = Some(error),
            }
        }
        let data = replies.next();
        let waits = matches!(data, Some(Ok(_)));
        // Behind a refused MAIL the other replies say nothing (RFC 2920, 3.1).
        if let Some(Err(error)) = mail {
            let reusable = in_step && error.code() != Some(421) && !waits && self.reset().await.is_ok();
            return Err(NotBegun { error, refused: Vec::new(), reusable });
        }
        if let Some(error) = lost {
            // The server may have said why it ends the connection.
            let closing = refused.into_iter().map(|refused| refused.error).find(|error| error.code() == Some(421));
            let error = closing.unwrap_or(error);
            return Err(NotBegun { error, refused: Vec::new(), reusable: false });
        }
        if refused.len() == envelope.to().len() {
            let error = refused.first().map(|refused| refused.error.clone());
            let error = error.unwrap_or_else(|| MailError::refused(Step::Recipient, Some(550), "no recipient"));
            // A server that waits for a message to nobody gets none: a lone dot (RFC 2920, 3.1).
            let reusable = in_step && if waits { self.lone_dot().await } else { self.reset().await.is_ok() };
            return Err(NotBegun { error, refused, reusable });
        }
        match data {
            Some(Ok(_)) => {
                self.waits = true;
                Ok(refused)
            }
            Some(Err(error)) => {
                let reusable = error.answered && error.code() != Some(421) && self.reset().await.is_ok();
                Err(NotBegun { error, refused, reusable })
            }
            None => {
                let error = MailError::network(Step::Data, "the connection was lost");
                Err(NotBegun { error, refused, reusable: false })
            }
        }
    }

    async fn lone_dot(&mut self) -> bool {
        match limited(Step::Data, STEP_LIMIT, self.connection.command(".\r\n")).await {
            Ok(_) => true,
            Err(error) => error.answered && error.code() != Some(421),
        }
    }

    /// Second half: the message. Returns the server's reply.
    /// After an error without a reply it is unknown whether the message was accepted.
    pub async fn message(&mut self, message: &[u8]) -> Result<String, MailError> {
        self.waits = false;
        let reply = limited(Step::AfterData, DATA_LIMIT, self.connection.message(message)).await?;
        Ok(words(&expected(Step::AfterData, 200, reply)?))
    }

    /// Aborts a begun submission (RSET), so that the session can be reused.
    /// After an error the session is unusable.
    async fn reset(&mut self) -> Result<(), MailError> {
        limited(Step::From, STEP_LIMIT, self.connection.command(Rset)).await.map(|_| ())
    }

    /// Whether the server still answers (NOOP).
    pub async fn is_alive(&mut self) -> bool {
        let limit = Duration::from_secs(5);
        limited(Step::Connect, limit, self.connection.command(Noop)).await.is_ok()
    }

    /// Ends the session. One whose server waits for a message is dropped: it would take QUIT for the message's text.
    pub async fn quit(mut self) {
        if self.waits {
            return;
        }
        let _ = tokio::time::timeout(Duration::from_secs(3), self.connection.quit()).await;
    }
}
