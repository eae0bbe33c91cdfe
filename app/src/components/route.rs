//! The list of checks: rendered by pages, and live by the island.

use leptos::prelude::*;

use crate::model::{CheckStatus, CheckView};

pub fn duration(milliseconds: i64) -> String {
    match milliseconds {
        ..1 => "under 1 ms".to_owned(),
        1..1000 => format!("{milliseconds} ms"),
        1000..60_000 => format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100),
        _ => format!("{} min {} s", milliseconds / 60_000, milliseconds % 60_000 / 1000),
    }
}

#[component]
pub fn RouteStops(checks: Vec<CheckView>) -> impl IntoView {
    view! {
        <ol class="route">
            {checks
                .into_iter()
                .enumerate()
                .map(|(at, check)| {
                    let (sign, word) = match check.status {
                        CheckStatus::Passed => ("✓".to_owned(), "passed"),
                        CheckStatus::Failed => ("✕".to_owned(), "failed"),
                        CheckStatus::Unseen => ("?".to_owned(), "not arrived yet"),
                        CheckStatus::Running => (String::new(), "running"),
                        CheckStatus::Waiting | CheckStatus::NotRun => ((at + 1).to_string(), "not run"),
                    };
                    let not_run = check.status == CheckStatus::NotRun && check.detail.is_empty();
                    let detail = if not_run { "not run".to_owned() } else { check.detail };
                    view! {
                        <li class="stop" data-check=check.kind.as_str() data-status=check.status.as_str()>
                            <span class="stop-sign" aria-hidden="true">
                                {sign}
                            </span>
                            <div class="stop-body">
                                <p class="stop-title">{check.kind.label(check.status)} <span class="visually-hidden">" (" {word} ")"</span></p>
                                {(!detail.is_empty()).then(|| view! { <p class="stop-detail">{detail}</p> })}
                            </div>
                            {check.duration_ms.map(|ms| view! { <span class="stop-time">{duration(ms)}</span> })}
                        </li>
                    }
                })
                .collect_view()}
        </ol>
    }
}
