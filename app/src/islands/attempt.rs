//! The live attempt: starts the checks and follows them by server-sent events; a finished attempt is rendered by the server.

use leptos::prelude::*;

use super::alive;
use crate::components::RouteStops;
#[cfg(feature = "hydrate")]
use crate::error::AppError;
use crate::model::{CheckStatus, CheckView};

/// Shows the stops of an attempt that is ready or running, live until it is finished.
#[island]
pub fn AttemptLive(id: String, initial: Vec<CheckView>) -> impl IntoView {
    let alive = alive();
    let (checks, set_checks) = signal(initial);
    #[cfg(feature = "hydrate")]
    Effect::new(move |_| {
        let id = id.clone();
        leptos::task::spawn_local(async move {
            // Repeats until both succeed: the server may restart, or the connection fail.
            let mut reconnect = super::leaving::Reconnect::new();
            loop {
                let followed = match crate::api::mailboxes::run_checks(id.clone()).await {
                    Ok(()) => follow(&id, set_checks).await,
                    // The reloaded page shows the reason.
                    Err(AppError::NotSignedIn | AppError::Forbidden | AppError::NotFound) => Followed::ToTheEnd,
                    Err(_) => Followed::NotAtAll,
                };
                match followed {
                    Followed::ToTheEnd => break,
                    Followed::Partly => reconnect.reset(),
                    Followed::NotAtAll => {}
                }
                reconnect.pause().await;
            }
            super::leaving::reload().await;
        });
    });
    #[cfg(not(feature = "hydrate"))]
    let _ = (id, set_checks);
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
        <div data-hydrated=move || {
            alive.get().then_some("true")
        }>
            {move || view! { <RouteStops checks=checks.get() /> }} <p class="visually-hidden" role="status">
                {said}
            </p>
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
enum Followed {
    ToTheEnd,
    /// The connection ended before the attempt did.
    Partly,
    NotAtAll,
}

/// Shows each snapshot.
#[cfg(feature = "hydrate")]
async fn follow(id: &str, set_checks: WriteSignal<Vec<CheckView>>) -> Followed {
    use crate::model::Stage;
    use futures::StreamExt;
    use gloo_net::eventsource::futures::EventSource;
    let mut followed = Followed::NotAtAll;
    let Ok(mut source) = EventSource::new(&format!("{}/{id}", crate::model::ATTEMPT_EVENTS_PATH)) else {
        return followed;
    };
    let Ok(mut messages) = source.subscribe("message") else { return followed };
    while let Some(Ok((_, message))) = messages.next().await {
        let text = message.data().as_string().unwrap_or_default();
        let Ok(snapshot) = serde_json::from_str::<Snapshot>(&text) else { break };
        set_checks.set(snapshot.checks);
        if !matches!(snapshot.stage, Stage::Ready | Stage::Running) {
            return Followed::ToTheEnd;
        }
        followed = Followed::Partly;
    }
    followed
}
