//! Signing in: AUTH PLAIN and AUTH LOGIN.

use std::sync::Arc;

use app::model::RelayEvent;

use super::Listener;
use super::sasl::{self, Credentials, SaslError};
use super::session::{Ended, Session};

/// Wrong passwords of one connection.
const MOST_TRIES: u32 = 3;

impl Session {
    pub(super) async fn auth(&mut self, mechanism: &str, initial: Option<String>) -> Result<(), Ended> {
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
        let signed_in = services.sign_device_in(&credentials.user_name, &credentials.password, self.peer).await;
        match signed_in {
            Ok(Ok(submitter)) => {
                self.submitter = Some(submitter);
                self.log_known(RelayEvent::SignedIn { hello: self.hello.clone() });
                self.say("235 2.7.0 Signed in").await
            }
            Ok(Err(refused)) => {
                services.relay_log.write(refused.origin, self.peer, refused.event.clone());
                self.tries += 1;
                // The right password is let in however many wrong ones came from its address: a school has one, and a scanner with an
                // old password must not lock the others out. Guessing 100 bits needs no other limit.
                let is_guess = refused.event == RelayEvent::WrongPassword;
                if self.tries > MOST_TRIES || is_guess && services.relay_tries_are_used_up(self.peer) {
                    if is_guess {
                        services.relay_log.write(refused.origin, self.peer, RelayEvent::TooManyTries);
                    }
                    self.say("421 4.7.0 Too many sign-ins that failed, try again later").await?;
                    return Err(Ended::Refused);
                }
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
}
