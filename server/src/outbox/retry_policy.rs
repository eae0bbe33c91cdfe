//! What becomes of a delivery after an attempt: a pure function of the outcome, so that every rule can be read and tested here.

use app::model::{DeliveryState, RecipientState, Timestamp};

use crate::mail::{MailError, Step};

/// Longest pause.
const LONGEST_PAUSE_MS: i64 = 60 * 60 * 1000;
/// The longest patience that a server is granted: it may ask again.
const LONGEST_WAIT_MS: i64 = 24 * 60 * 60 * 1000;
/// How long a lane rests whose mailbox must be connected again; connecting ends the rest at once.
const HELD_MS: i64 = 10 * 60 * 1000;

/// How an attempt ended.
#[derive(Debug)]
pub enum Outcome {
    /// The server accepted the message, but perhaps not for everybody.
    Accepted {
        /// Its words.
        reply: String,
        /// Recipients for whom it was accepted.
        accepted: Vec<String>,
        /// Recipients that were refused, with the server's words.
        refused: Vec<(String, MailError)>,
    },
    /// It failed at a step of the session.
    Failed {
        /// What failed.
        error: MailError,
        /// Recipients that were refused, where that is what failed.
        refused: Vec<(String, MailError)>,
    },
    /// No token for now: the authority is out of reach, or asks for patience.
    NoToken {
        /// What it said.
        answer: String,
        /// Seconds it asks to wait.
        retry_after: Option<u64>,
    },
    /// No token until somebody does something: connects again, or pastes a new secret.
    Held {
        /// What is missing.
        answer: String,
    },
    /// It can never leave: it cannot be read, or its mailbox is gone.
    Permanent {
        /// Why.
        answer: String,
    },
    /// The server stops; no octet of the message left.
    Released,
}

/// The attempt that ended.
#[derive(Debug, Clone, Copy)]
pub struct SendAttempt {
    /// Its number, from 1.
    pub number: i64,
    /// When the message was written.
    pub created_at: Timestamp,
    /// Now.
    pub now: Timestamp,
    /// Milliseconds for which a message is tried.
    pub max_age_ms: i64,
    /// Milliseconds of the first pause after a temporary failure.
    pub first_pause_ms: i64,
    /// 0 to 1, so that many do not come back at the same moment.
    pub jitter: f64,
    /// Whether an earlier attempt was accepted for some recipients.
    pub others_have_it: bool,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub struct Transition {
    /// The new state.
    pub state: DeliveryState,
    /// When it is tried again, where it is.
    pub at: Timestamp,
    /// Until when nothing else leaves through its lane.
    pub pause_queue: Option<Timestamp>,
    /// The server's words.
    pub answer: String,
    /// What became of recipients.
    pub recipients: Vec<(String, RecipientState, String)>,
    /// Whether the attempt counts.
    pub counts: bool,
}

/// Decides.
#[must_use]
pub fn transition(outcome: &Outcome, attempt: SendAttempt) -> Transition {
    let next = next(outcome, attempt);
    // What some have was sent, whoever did not get it: the recipients say who.
    match next.state {
        DeliveryState::Failed if attempt.others_have_it => Transition { state: DeliveryState::Sent, ..next },
        _ => next,
    }
}

fn next(outcome: &Outcome, attempt: SendAttempt) -> Transition {
    let now = attempt.now;
    let plain = |state, answer: String| Transition {
        state,
        at: now,
        pause_queue: None,
        answer,
        recipients: Vec::new(),
        counts: true,
    };
    match outcome {
        Outcome::Accepted { reply, accepted, refused } => {
            let mut recipients: Vec<_> =
                accepted.iter().map(|address| (address.clone(), RecipientState::Accepted, reply.clone())).collect();
            recipients.extend(refused_for_good(refused));
            let later: Vec<_> = refused.iter().filter(|(_, error)| error.is_transient()).collect();
            match later.first() {
                // Those who were refused for now get it later: the others have it.
                Some((_, error)) if !is_too_old(attempt) => Transition {
                    recipients,
                    at: now.plus_ms(pause(attempt, None)),
                    ..plain(DeliveryState::Deferred, error.to_string())
                },
                Some(_) => {
                    let given_up = later
                        .iter()
                        .map(|(address, error)| (address.clone(), RecipientState::Refused, error.to_string()));
                    recipients.extend(given_up);
                    Transition { recipients, ..plain(DeliveryState::Sent, reply.clone()) }
                }
                None => Transition { recipients, ..plain(DeliveryState::Sent, reply.clone()) },
            }
        }
        Outcome::Failed { error, refused } => failed(error, refused, attempt),
        Outcome::NoToken { answer, retry_after } => {
            let wait =
                retry_after.and_then(|seconds| i64::try_from(seconds).ok()).map(|seconds| seconds.saturating_mul(1000));
            retry(attempt, answer.clone(), wait, true)
        }
        // It stays queued as long as it takes: its age counts only while it could leave.
        Outcome::Held { answer } => Transition {
            at: now,
            pause_queue: Some(now.plus_ms(HELD_MS)),
            counts: false,
            ..plain(DeliveryState::Queued, answer.clone())
        },
        Outcome::Permanent { answer } => plain(DeliveryState::Failed, answer.clone()),
        Outcome::Released => Transition { counts: false, ..plain(DeliveryState::Queued, String::new()) },
    }
}

fn failed(error: &MailError, refused: &[(String, MailError)], attempt: SendAttempt) -> Transition {
    let answer = error.to_string();
    let stop = |state| Transition {
        state,
        at: attempt.now,
        pause_queue: None,
        answer: answer.clone(),
        recipients: refused_for_good(refused),
        counts: true,
    };
    // The whole message may have been taken: sending again could send twice.
    if error.step == Step::AfterData && !error.answered {
        // Whoever was refused, for now or for good, did not get it from that session.
        let said =
            |(address, error): &(String, MailError)| (address.clone(), RecipientState::Refused, error.to_string());
        return Transition { recipients: refused.iter().map(said).collect(), ..stop(DeliveryState::Unknown) };
    }
    // Before MAIL FROM nothing of this message was said: it is the mailbox or the way to the server, and waits for all.
    let mailbox = matches!(error.step, Step::Connect | Step::Tls | Step::Auth);
    // Of recipients that were refused for now only if that is all: what is said of the whole message counts more.
    let some_later = error.step == Step::Recipient && refused.iter().any(|(_, error)| error.is_transient());
    if mailbox || error.is_transient() || some_later {
        // A recipient's server that asks for patience (greylisting) is no reason to let all others wait.
        let throttled = error.is_throttled() && (error.step != Step::Recipient || error.is_the_senders());
        let wait = if error.is_quota() { Some(LONGEST_PAUSE_MS) } else { error.backoff_ms() };
        let next = retry(attempt, answer.clone(), wait, mailbox || throttled || error.is_quota());
        return Transition { recipients: refused_for_good(refused), ..next };
    }
    stop(DeliveryState::Failed)
}

fn refused_for_good(refused: &[(String, MailError)]) -> Vec<(String, RecipientState, String)> {
    let permanent = refused.iter().filter(|(_, error)| !error.is_transient());
    permanent.map(|(address, error)| (address.clone(), RecipientState::Refused, error.to_string())).collect()
}

fn is_too_old(attempt: SendAttempt) -> bool {
    attempt.now.since_ms(attempt.created_at) >= attempt.max_age_ms
}

fn retry(attempt: SendAttempt, answer: String, wait_ms: Option<i64>, queue: bool) -> Transition {
    let at = attempt.now.plus_ms(pause(attempt, wait_ms));
    let old = is_too_old(attempt);
    Transition {
        state: if old { DeliveryState::Failed } else { DeliveryState::Deferred },
        at,
        pause_queue: queue.then_some(at),
        answer: if old { format!("given up: {answer}") } else { answer },
        recipients: Vec::new(),
        counts: true,
    }
}

/// Doubles with every attempt, spread over a fifth; never shorter than what the server asks for.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "milliseconds of an hour")]
fn pause(attempt: SendAttempt, wait_ms: Option<i64>) -> i64 {
    let doublings = u32::try_from((attempt.number - 1).clamp(0, 16)).unwrap_or(16);
    let asked = wait_ms.unwrap_or(0).min(LONGEST_WAIT_MS);
    let pause = attempt.first_pause_ms.saturating_mul(1_i64 << doublings).min(LONGEST_PAUSE_MS).max(asked);
    pause + (pause as f64 * attempt.jitter.clamp(0.0, 1.0) / 5.0) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAYS: i64 = 24 * 60 * 60 * 1000;

    fn attempt(number: i64, age_ms: i64) -> SendAttempt {
        let now = Timestamp(1_000_000_000);
        SendAttempt {
            number,
            created_at: now.plus_ms(-age_ms),
            now,
            max_age_ms: 3 * DAYS,
            first_pause_ms: 60_000,
            jitter: 0.0,
            others_have_it: false,
        }
    }

    fn smtp(step: Step, code: u16) -> MailError {
        MailError::refused(step, Some(code), "words")
    }

    fn fails(error: MailError, attempt: SendAttempt) -> Transition {
        transition(&Outcome::Failed { error, refused: Vec::new() }, attempt)
    }

    #[test]
    fn a_connection_that_breaks_after_data_is_never_sent_again() {
        let next = fails(MailError::network(Step::AfterData, "reset"), attempt(1, 0));
        assert_eq!((next.state, next.pause_queue), (DeliveryState::Unknown, None));
        let answered = fails(smtp(Step::AfterData, 451), attempt(1, 0));
        assert_eq!(answered.state, DeliveryState::Deferred, "the server said that it did not take it");
    }

    #[test]
    fn temporary_failures_come_back_later_and_later_up_to_an_age() {
        let now = attempt(1, 0).now;
        for (number, minutes) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (40, 60)] {
            let next = fails(smtp(Step::From, 451), attempt(number, 0));
            assert_eq!((next.state, next.at.since_ms(now)), (DeliveryState::Deferred, minutes * 60_000));
        }
        let late = fails(smtp(Step::From, 451), attempt(80, 3 * DAYS));
        assert_eq!(late.state, DeliveryState::Failed);
        let spread = transition(
            &Outcome::Failed { error: smtp(Step::From, 451), refused: Vec::new() },
            SendAttempt { jitter: 1.0, ..attempt(1, 0) },
        );
        assert_eq!(spread.at.since_ms(now), 72_000);
    }

    #[test]
    fn permanent_failures_stop_at_once_and_keep_the_words() {
        let next = fails(smtp(Step::AfterData, 552), attempt(1, 0));
        assert_eq!(next.state, DeliveryState::Failed);
        assert!(next.answer.contains("552 words"));
    }

    #[test]
    fn throttling_and_refused_sign_ins_rest_the_whole_mailbox() {
        assert!(fails(smtp(Step::From, 432), attempt(1, 0)).pause_queue.is_some());
        // 535 is permanent for the attempt, but an administrator can mend it, and no other message would fare better.
        let refused = fails(smtp(Step::Auth, 535), attempt(1, 0));
        assert_eq!(refused.state, DeliveryState::Deferred);
        assert!(refused.pause_queue.is_some());
        let asked = MailError::refused(Step::From, Some(432), "Suggested Backoff Time: 300000 milliseconds");
        assert_eq!(fails(asked, attempt(1, 0)).at.since_ms(attempt(1, 0).now), 300_000);
        let asked = MailError::refused(Step::From, Some(432), "Suggested Backoff Time: 99999999999 milliseconds");
        assert_eq!(fails(asked, attempt(1, 0)).at.since_ms(attempt(1, 0).now), DAYS, "not for years");
    }

    #[test]
    fn a_spent_quota_is_waited_for_and_a_greylisted_recipient_holds_nobody_up() {
        let quota =
            fails(smtp(Step::AfterData, 554).with_text("5.2.0 SubmissionQuotaExceededException"), attempt(1, 0));
        assert_eq!(
            (quota.state, quota.pause_queue),
            (DeliveryState::Deferred, Some(attempt(1, 0).now.plus_ms(3_600_000)))
        );
        let grey = |code| {
            let refused = vec![("b@x.example".into(), smtp(Step::Recipient, code))];
            transition(&Outcome::Failed { error: smtp(Step::Recipient, code), refused }, attempt(1, 0))
        };
        assert_eq!((grey(451).state, grey(451).pause_queue), (DeliveryState::Deferred, None));
        assert!(grey(432).pause_queue.is_some(), "the mailbox itself is too fast");
    }

    #[test]
    fn a_partly_refused_message_is_sent_and_says_to_whom_not() {
        let outcome = Outcome::Accepted {
            reply: "ok".into(),
            accepted: vec!["a@x.example".into()],
            refused: vec![("b@x.example".into(), smtp(Step::Recipient, 550))],
        };
        let next = transition(&outcome, attempt(1, 0));
        assert_eq!(next.state, DeliveryState::Sent);
        assert_eq!(next.recipients[0].1, RecipientState::Accepted);
        assert_eq!((next.recipients[1].1, next.recipients[1].2.contains("550")), (RecipientState::Refused, true));
        let outcome = Outcome::Accepted {
            reply: "ok".into(),
            accepted: vec!["a@x.example".into()],
            refused: vec![("b@x.example".into(), smtp(Step::Recipient, 450))],
        };
        let next = transition(&outcome, attempt(1, 0));
        assert_eq!((next.state, next.recipients.len()), (DeliveryState::Deferred, 1), "b gets it later, a has it");
        let refused = Outcome::Failed {
            error: smtp(Step::Recipient, 550),
            refused: vec![("b@x.example".into(), smtp(Step::Recipient, 550))],
        };
        let next = transition(&refused, SendAttempt { others_have_it: true, ..attempt(2, 0) });
        assert_eq!((next.state, next.recipients[0].1), (DeliveryState::Sent, RecipientState::Refused));
    }

    #[test]
    fn waiting_for_a_person_costs_neither_attempts_nor_age() {
        let next = transition(&Outcome::Held { answer: "connect again".into() }, attempt(1, 30 * DAYS));
        assert_eq!((next.state, next.counts), (DeliveryState::Queued, false));
        assert!(next.pause_queue.is_some());
    }
}
