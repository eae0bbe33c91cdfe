//! A mail transaction: sender, recipients, content.

use std::sync::Arc;
use std::time::Duration;

use app::model::{EmailAddress, RelayEvent, SenderRule};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::data::Content;
use super::session::{Ended, Envelope, READ, Session};
use super::{Listener, PIECE};
use crate::service::{NotTaken, Submission};

/// Longest pause within a message, and its deadline.
const PAUSE: Duration = Duration::from_secs(3 * 60);
const MESSAGE: Duration = Duration::from_secs(30 * 60);
/// Recipients of a message. Exchange Online takes 500 unless it was raised.
const MOST_RECIPIENTS: usize = 500;
const READ_MESSAGE: usize = 64 * 1024;

impl Session {
    pub(super) async fn mail(&mut self, from: String, size: u64) -> Result<(), Ended> {
        if self.envelope.is_some() {
            return self.mistake("503 5.5.1 One sender for each message").await;
        }
        let services = Arc::clone(&self.shared.services);
        if self.submitter.is_none() && self.listener == Listener::Plain {
            match services.recognise_device(self.peer).await {
                Ok(Ok(submitter)) => {
                    self.submitter = Some(submitter);
                    self.log_known(RelayEvent::Recognised { hello: self.hello.clone() });
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

    pub(super) async fn recipient(&mut self, to: &str) -> Result<(), Ended> {
        let (Some(submitter), Some(envelope)) = (&self.submitter, &mut self.envelope) else {
            return self.mistake("503 5.5.1 MAIL first").await;
        };
        let domain = submitter.settings().mailbox.rsplit('@').next().unwrap_or_default();
        let whole = if to.contains('@') { to.to_owned() } else { format!("{to}@{domain}") };
        // What lettre cannot write is no address for the mail server behind either.
        let address =
            EmailAddress::parse(&whole).ok().filter(|address| address.as_str().parse::<lettre::Address>().is_ok());
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

    pub(super) async fn data(&mut self) -> Result<(), Ended> {
        let Some(Envelope { from, recipients, .. }) = self.envelope.take() else {
            return self.mistake("503 5.5.1 MAIL first").await;
        };
        if recipients.is_empty() {
            return self.mistake("554 5.5.1 No valid recipients").await;
        }
        self.say("354 End with a dot on a line of its own").await?;
        let received = self.content().await;
        let (content, memory) = match received {
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
        let taken = services.submit(submitter, self.peer, submission).await;
        drop(memory);
        match taken {
            Ok(accepted) => {
                let refused = services.ask_first(submitter, self.peer, &accepted).await;
                // What came before the answer proves nothing: a client that gave up meanwhile sends the message again.
                if self.is_gone() {
                    return Err(Ended::Broken);
                }
                let text = match refused {
                    Some(answer) => refusal(&answer),
                    None => format!("250 2.0.0 Queued as {}", accepted.delivery),
                };
                let read = self.bytes_read;
                self.idle_commands = 0;
                self.say(&text).await?;
                self.unconfirmed.push((accepted, read));
                Ok(())
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
            if content.too_large {
                held = None;
            }
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
                        held = None;
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
