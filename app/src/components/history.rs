//! Attempts as lists.

use leptos::prelude::*;

use super::Time;
use crate::model::{AttemptSummary, Outcome, Stage};

/// Attempts shown beside a form.
const SHOWN: usize = 10;

/// The newest attempts with their outcomes, and a link to all.
pub fn history(attempts: &[AttemptSummary], all: &'static str) -> AnyView {
    view! {
        <section class="sheet">
            <h2>"Attempts"</h2>
            {if attempts.is_empty() { view! { <p class="quiet">"None yet."</p> }.into_any() } else { attempt_lines(&attempts[..attempts.len().min(SHOWN)]) }}
            {(attempts.len() > SHOWN)
                .then(|| {
                    view! {
                        <p>
                            <a href=all>"All attempts"</a>
                        </p>
                    }
                })}
        </section>
    }
    .into_any()
}

pub fn attempt_lines(attempts: &[AttemptSummary]) -> AnyView {
    let lines = attempts
        .iter()
        .map(|attempt| {
            let outcome = match (attempt.stage, attempt.outcome) {
                (Stage::Finished, Outcome::Passed) => "all checks passed".to_owned(),
                (Stage::Finished, Outcome::NotSeen) => "sent; test message not arrived yet".to_owned(),
                (Stage::Finished, Outcome::Failed) => {
                    attempt.failed_at.as_ref().map_or_else(|| "failed".to_owned(), |at| format!("stopped: {at}"))
                }
                (Stage::Finished, _) => "not finished".to_owned(),
                (Stage::Deciding, _) => "needs your choice".to_owned(),
                (Stage::SigningIn, _) => "at Microsoft".to_owned(),
                _ => "running".to_owned(),
            };
            let path = attempt.kind.path(attempt.id);
            let automatic = attempt.automatic.then_some(" (automatic)");
            let (at, address) = (attempt.created_at, attempt.address.clone());
            view! {
                <li>
                    <a href=path>
                        <Time at />
                    </a>
                    <span>{address} ": " {outcome} {automatic}</span>
                </li>
            }
        })
        .collect_view();
    view! { <ul class="history">{lines}</ul> }.into_any()
}
