//! SMTP submission with XOAUTH2, over lettre's connection: its transport would lose the `535` that follows a `334`.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use lettre::address::Envelope;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Auth, Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::MailBodyParameter;
use lettre::transport::smtp::extension::{Extension, MailParameter};
use lettre::transport::smtp::response::Response;

use crate::config::{Encryption, Relay};

use super::{DATA_LIMIT, Login, MailError, STEP_LIMIT, Step, Trust, submission};

pub struct Session {
    connection: AsyncSmtpConnection,
}

pub struct Accepted {
    pub reply: String,
    pub refused: Vec<(String, MailError)>,
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

pub(super) fn explain(step: Step, error: &lettre::transport::smtp::Error) -> MailError {
    use std::error::Error as _;
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(inner) = cause {
        causes.push(inner.to_string());
        cause = inner.source();
    }
    match error.status() {
        Some(code) => MailError::refused(step, Some(u16::from(code)), causes.join(": ")),
        None => {
            let text = if causes.is_empty() { error.to_string() } else { causes.join(": ") };
            // rustls appends a link to its manual, which does not help here.
            let text = text.split(": https://docs.rs").next().unwrap_or_default().to_owned();
            MailError::network(step, text)
        }
    }
}

fn words(response: &Response) -> String {
    response.message().collect::<Vec<_>>().join(" ")
}

impl Session {
    /// Connects, upgrades to TLS, authenticates.
    pub async fn open(login: &Login<'_>, trust: &Trust) -> Result<Self, MailError> {
        let connection = submission::connect(login.server, Encryption::Required, trust).await?;
        let mut session = Self { connection };
        session.sign_in(login).await.map_err(|error| error.without(login.token, login.user))?;
        Ok(session)
    }

    /// A session with the system relay, with TLS and authentication according to its URL.
    pub async fn open_relay(relay: &Relay, trust: &Trust) -> Result<Self, MailError> {
        let mut connection = submission::connect(relay.server(), relay.encryption(), trust).await?;
        if let Some((user, password)) = relay.credentials() {
            let credentials = Credentials::new(user, password.expose().to_owned());
            let auth = connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials);
            limited(Step::Auth, STEP_LIMIT, auth).await?;
        }
        Ok(Self { connection })
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

    /// Submits a message.
    /// [`MailError`]; with [`Step::AfterData`] and no reply it is unknown whether the message was accepted.
    pub async fn send(&mut self, envelope: &Envelope, message: &[u8]) -> Result<Accepted, MailError> {
        let refused = self.address(envelope, message).await?;
        if refused.len() == envelope.to().len() {
            let first = refused.into_iter().next().map(|(_, error)| error);
            return Err(first.unwrap_or_else(|| MailError::refused(Step::Recipient, None, "no recipient")));
        }
        let reply = self.hand_over(message).await?;
        Ok(Accepted { reply, refused })
    }

    /// First half of a submission: MAIL FROM and every RCPT TO. Returns the refused recipients. Nothing is sent yet: if all were
    /// refused, or the message must not be sent, end it with [`Session::reset`].
    pub async fn address(
        &mut self,
        envelope: &Envelope,
        message: &[u8],
    ) -> Result<Vec<(String, MailError)>, MailError> {
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
        let from = Mail::new(envelope.from().cloned(), parameters);
        limited(Step::From, STEP_LIMIT, self.connection.command(from)).await?;
        let mut refused = Vec::new();
        for to in envelope.to() {
            match limited(Step::Recipient, STEP_LIMIT, self.connection.command(Rcpt::new(to.clone(), Vec::new()))).await
            {
                Ok(_) => {}
                Err(error) if error.answered => refused.push((to.to_string(), error)),
                Err(error) => return Err(error),
            }
        }
        Ok(refused)
    }

    /// Second half: DATA and the message. Returns the server's reply.
    /// [`MailError`]; with [`Step::AfterData`] and no reply it is unknown whether the message was accepted.
    pub async fn hand_over(&mut self, message: &[u8]) -> Result<String, MailError> {
        limited(Step::Data, STEP_LIMIT, self.connection.command(Data)).await?;
        let reply = limited(Step::AfterData, DATA_LIMIT, self.connection.message(message)).await?;
        Ok(words(&reply))
    }

    /// Aborts a begun submission (RSET), so that the session can be reused.
    /// [`MailError`]: the session is unusable then.
    pub async fn reset(&mut self) -> Result<(), MailError> {
        limited(Step::From, STEP_LIMIT, self.connection.command(Rset)).await.map(|_| ())
    }

    pub async fn quit(mut self) {
        let _ = tokio::time::timeout(Duration::from_secs(3), self.connection.quit()).await;
    }
}
