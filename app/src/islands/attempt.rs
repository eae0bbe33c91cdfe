//! The live attempt: starts the checks once and follows them; a reloaded page follows by server-sent events. At the end the
//! server renders what it means.

use leptos::prelude::*;

use super::alive;
use crate::components::RouteStops;
use crate::model::{CheckStatus, CheckView};

/// Shows the stops of an attempt that is ready or running, live until it is finished.
#[island]
pub fn AttemptLive(id: String, ready: bool, initial: Vec<CheckView>) -> impl IntoView {
    let alive = alive();
    let (checks, set_checks) = signal(initial);
    #[cfg(feature = "hydrate")]
    Effect::new(move |_| {
        let id = id.clone();
        leptos::task::spawn_local(async move {
            // The stream may break (a restart, a lost connection): what is left is followed by events.
            let done = ready && follow_stream(&id, set_checks).await;
            if done || follow_events(&id, set_checks).await {
                super::leaving::reload().await;
            }
        });
    });
    #[cfg(not(feature = "hydrate"))]
    let _ = (id, ready, set_checks);
    // Announces the newest result: "SMTP accepts the sign-in, 4 of 7". One region, so that screen readers read it once.
    let said = move || {
        checks.with(|checks| {
            let is_done = |check: &&CheckView| {
                matches!(check.status, CheckStatus::Passed | CheckStatus::Failed | CheckStatus::Unseen)
            };
            let done = checks.iter().filter(is_done).count();
            let last = checks.iter().rev().find(is_done).map_or("", |check| check.kind.label(check.status));
            format!("{last}, {done} of {}", checks.len())
        })
    };
    view! {
        <div data-hydrated=move || alive.get().then_some("true")>
            {move || view! { <RouteStops checks=checks.get()/> }}
            <p class="visually-hidden" role="status">{said}</p>
        </div>
    }
}

#[cfg(feature = "hydrate")]
#[derive(serde::Deserialize)]
struct Snapshot {
    stage: crate::model::Stage,
    checks: Vec<CheckView>,
}

#[cfg(feature = "hydrate")]
fn show(line: &str, set_checks: WriteSignal<Vec<CheckView>>) -> bool {
    use crate::model::Stage;
    let Ok(snapshot) = serde_json::from_str::<Snapshot>(line) else { return false };
    set_checks.set(snapshot.checks);
    !matches!(snapshot.stage, Stage::Ready | Stage::Running)
}

#[cfg(feature = "hydrate")]
async fn follow_stream(id: &str, set_checks: WriteSignal<Vec<CheckView>>) -> bool {
    use futures::StreamExt;
    let Ok(stream) = crate::api::mailboxes::run_checks(id.to_owned()).await else { return false };
    let (mut stream, mut rest) = (stream.into_inner(), String::new());
    while let Some(Ok(chunk)) = stream.next().await {
        rest.push_str(&chunk);
        while let Some(end) = rest.find('\n') {
            let line: String = rest.drain(..=end).collect();
            if show(line.trim_end(), set_checks) {
                return true;
            }
        }
    }
    false
}

#[cfg(feature = "hydrate")]
async fn follow_events(id: &str, set_checks: WriteSignal<Vec<CheckView>>) -> bool {
    use futures::StreamExt;
    use gloo_net::eventsource::futures::EventSource;
    let Ok(mut source) = EventSource::new(&format!("/events/attempts/{id}")) else { return false };
    let Ok(mut messages) = source.subscribe("message") else { return false };
    while let Some(Ok((_, message))) = messages.next().await {
        if message.data().as_string().is_some_and(|line| show(&line, set_checks)) {
            return true;
        }
    }
    false
}
