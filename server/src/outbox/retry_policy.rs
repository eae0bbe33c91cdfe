//! Decides what follows a send attempt: a pure function of its outcome, so that every rule is readable and testable here.

use app::model::{DeliveryState, RecipientState, Timestamp};

use crate::concurrency::backoff::Backoff;
use crate::mail::smtp::Refused;
use crate::mail::{MailError, RecipientReply, Step};

const LONGEST_PAUSE_MS: i64 = 60 * 60 * 1000;
/// Longest pause that a server can impose; it may ask again.
const LONGEST_WAIT_MS: i64 = 24 * 60 * 60 * 1000;
/// How long the queue of a mailbox that needs a new sign-in pauses; connecting it resumes the queue at once.
const HELD_MS: i64 = 10 * 60 * 1000;

/// Outcome of a send attempt.
#[derive(Debug)]
pub enum SendOutcome {
    /// The server accepted the message for at least one recipient.
    Accepted {
        reply: String,
        accepted: Vec<String>,
        refused: Vec<Refused>,
    },
    Failed {
        error: MailError,
        refused: Vec<Refused>,
    },
    /// No token for now: the authority is unreachable or asks to wait.
    NoToken {
        answer: String,
        /// Seconds to wait, if the authority named them.
        retry_after: Option<u64>,
    },
    /// No token until a person acts: signs in again, or stores a new secret.
    Held {
        answer: String,
    },
    /// It can never be sent: the stored message is unreadable, or its mailbox is gone.
    Permanent {
        answer: String,
    },
    /// Entrepost stops, and DATA had not begun.
    Released,
}

#[derive(Debug, Clone, Copy)]
pub struct SendAttempt {
    /// Counted from 1.
    pub number: i64,
    pub created_at: Timestamp,
    pub now: Timestamp,
    pub max_age_ms: i64,
    /// Pause after the first temporary failure.
    pub first_pause_ms: i64,
    /// 0 to 1: spreads retries over time.
    pub jitter: f64,
    /// An earlier attempt was accepted for some recipients.
    pub others_have_it: bool,
}

#[derive(Debug, PartialEq)]
pub struct Transition {
    pub state: DeliveryState,
    /// Time of the next attempt, if there is one.
    pub at: Timestamp,
    /// The send queue pauses until then.
    pub pause_queue: Option<Timestamp>,
    pub answer: String,
    pub recipients: Vec<RecipientReply>,
    pub counts: bool,
}

pub fn transition(outcome: &SendOutcome, attempt: SendAttempt) -> Transition {
    let next = next(outcome, attempt);
    // A message that some recipients have is sent; the recipients say who does not have it.
    match next.state {
        DeliveryState::Failed if attempt.others_have_it => Transition { state: DeliveryState::Sent, ..next },
        _ => next,
    }
}

fn next(outcome: &SendOutcome, attempt: SendAttempt) -> Transition {
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
        SendOutcome::Accepted { reply, accepted, refused } => {
            let accepted = accepted.iter().map(|address| RecipientReply {
                address: address.clone(),
                state: RecipientState::Accepted,
                answer: reply.clone(),
            });
            let mut recipients: Vec<_> = accepted.collect();
            recipients.extend(refused_for_good(refused));
            let later: Vec<_> = refused.iter().filter(|refused| refused.error.is_transient()).collect();
            match later.first() {
                // Recipients refused for now get it later; the others have it.
                Some(first) if !is_too_old(attempt) => Transition {
                    recipients,
                    at: now.plus_ms(pause(attempt, None)),
                    ..plain(DeliveryState::Deferred, first.error.to_string())
                },
                Some(_) => {
                    recipients.extend(later.into_iter().map(refusal));
                    Transition { recipients, ..plain(DeliveryState::Sent, reply.clone()) }
                }
                None => Transition { recipients, ..plain(DeliveryState::Sent, reply.clone()) },
            }
        }
        SendOutcome::Failed { error, refused } => failed(error, refused, attempt),
        SendOutcome::NoToken { answer, retry_after } => {
            let wait =
                retry_after.and_then(|seconds| i64::try_from(seconds).ok()).map(|seconds| seconds.saturating_mul(1000));
            retry(attempt, answer.clone(), wait, true)
        }
        // It stays queued without limit: its age counts only while it can be sent.
        SendOutcome::Held { answer } => Transition {
            at: now,
            pause_queue: Some(now.plus_ms(HELD_MS)),
            counts: false,
            ..plain(DeliveryState::Queued, answer.clone())
        },
        SendOutcome::Permanent { answer } => plain(DeliveryState::Failed, answer.clone()),
        SendOutcome::Released => Transition { counts: false, ..plain(DeliveryState::Queued, String::new()) },
    }
}

fn failed(error: &MailError, refused: &[Refused], attempt: SendAttempt) -> Transition {
    let answer = error.to_string();
    let stop = |state| Transition {
        state,
        at: attempt.now,
        pause_queue: None,
        answer: answer.clone(),
        recipients: refused_for_good(refused),
        counts: true,
    };
    // The server may have the whole message: sending again could deliver it twice.
    if error.step == Step::AfterData && !error.answered {
        // Refused recipients, temporarily or for good, did not get it from that session.
        return Transition { recipients: refused.iter().map(refusal).collect(), ..stop(DeliveryState::Unknown) };
    }
    // Before MAIL FROM the failure concerns the mailbox or the connection: every delivery of the queue waits.
    let mailbox = matches!(error.step, Step::Connect | Step::Tls | Step::Auth);
    // Recipients refused for now count only if nothing else failed: a reply to the whole message outweighs them.
    let some_later = error.step == Step::Recipient && refused.iter().any(|refused| refused.error.is_transient());
    if mailbox || error.is_transient() || some_later {
        // Greylisting by one recipient's server does not delay the other deliveries.
        let throttled = error.is_throttled() && (error.step != Step::Recipient || error.is_the_senders());
        let wait = if error.is_quota() { Some(LONGEST_PAUSE_MS) } else { error.backoff_ms() };
        let next = retry(attempt, answer.clone(), wait, mailbox || throttled || error.is_quota());
        return Transition { recipients: refused_for_good(refused), ..next };
    }
    stop(DeliveryState::Failed)
}

fn refused_for_good(refused: &[Refused]) -> Vec<RecipientReply> {
    refused.iter().filter(|refused| !refused.error.is_transient()).map(refusal).collect()
}

fn refusal(Refused { recipient, error }: &Refused) -> RecipientReply {
    RecipientReply { address: recipient.clone(), state: RecipientState::Refused, answer: error.to_string() }
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
        answer: if old { format!("stopped trying: {answer}") } else { answer },
        recipients: Vec::new(),
        counts: true,
    }
}

fn pause(attempt: SendAttempt, wait_ms: Option<i64>) -> i64 {
    let failures = u32::try_from((attempt.number - 1).max(0)).unwrap_or(u32::MAX);
    let asked = wait_ms.unwrap_or(0).min(LONGEST_WAIT_MS);
    let backoff = Backoff { first_ms: attempt.first_pause_ms, longest_ms: LONGEST_PAUSE_MS };
    backoff.pause_ms(failures, asked, attempt.jitter)
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
        transition(&SendOutcome::Failed { error, refused: Vec::new() }, attempt)
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
            &SendOutcome::Failed { error: smtp(Step::From, 451), refused: Vec::new() },
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
        // 535 is permanent for the attempt, but an administrator can fix it, and it concerns every message of the mailbox.
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
            let refused = vec![Refused { recipient: "b@x.example".into(), error: smtp(Step::Recipient, code) }];
            transition(&SendOutcome::Failed { error: smtp(Step::Recipient, code), refused }, attempt(1, 0))
        };
        assert_eq!((grey(451).state, grey(451).pause_queue), (DeliveryState::Deferred, None));
        assert!(grey(432).pause_queue.is_some(), "the mailbox itself is too fast");
    }

    #[test]
    fn a_partly_refused_message_is_sent_and_says_to_whom_not() {
        let outcome = SendOutcome::Accepted {
            reply: "ok".into(),
            accepted: vec!["a@x.example".into()],
            refused: vec![Refused { recipient: "b@x.example".into(), error: smtp(Step::Recipient, 550) }],
        };
        let next = transition(&outcome, attempt(1, 0));
        assert_eq!(next.state, DeliveryState::Sent);
        assert_eq!(next.recipients[0].state, RecipientState::Accepted);
        let second = &next.recipients[1];
        assert_eq!((second.state, second.answer.contains("550")), (RecipientState::Refused, true));
        let outcome = SendOutcome::Accepted {
            reply: "ok".into(),
            accepted: vec!["a@x.example".into()],
            refused: vec![Refused { recipient: "b@x.example".into(), error: smtp(Step::Recipient, 450) }],
        };
        let next = transition(&outcome, attempt(1, 0));
        assert_eq!((next.state, next.recipients.len()), (DeliveryState::Deferred, 1), "b gets it later, a has it");
        let refused = SendOutcome::Failed {
            error: smtp(Step::Recipient, 550),
            refused: vec![Refused { recipient: "b@x.example".into(), error: smtp(Step::Recipient, 550) }],
        };
        let next = transition(&refused, SendAttempt { others_have_it: true, ..attempt(2, 0) });
        assert_eq!((next.state, next.recipients[0].state), (DeliveryState::Sent, RecipientState::Refused));
    }

    #[test]
    fn waiting_for_a_person_costs_neither_attempts_nor_age() {
        let next = transition(&SendOutcome::Held { answer: "connect again".into() }, attempt(1, 30 * DAYS));
        assert_eq!((next.state, next.counts), (DeliveryState::Queued, false));
        assert!(next.pause_queue.is_some());
    }
}
