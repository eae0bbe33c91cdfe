//! The live attempt: starts the checks once and follows them; a reloaded page follows by server-sent events.

use leptos::prelude::*;

use super::alive;
use crate::components::AttemptBody;
use crate::model::AttemptView;
#[cfg(feature = "hydrate")]
use crate::model::Stage;

/// Shows an attempt, live until it is finished.
#[island]
pub fn AttemptLive(
    /// The snapshot that the page was rendered with.
    initial: AttemptView,
) -> impl IntoView {
    let alive = alive();
    let (view, set_view) = signal(initial.clone());
    #[cfg(feature = "hydrate")]
    Effect::new(move |_| {
        let (id, stage) = (initial.id.to_string(), initial.stage);
        leptos::task::spawn_local(async move {
            if stage == Stage::Ready {
                follow_stream(&id, set_view).await;
            }
            // The stream may break (a restart, a lost connection): what is left is followed by events.
            if !matches!(view.get_untracked().stage, Stage::Finished | Stage::Deciding) {
                follow_events(&id, view, set_view).await;
            }
        });
    });
    #[cfg(not(feature = "hydrate"))]
    let _ = set_view;
    view! {
        <div data-hydrated=move || alive.get().then_some("true")>
            {move || view! { <AttemptBody view=view.get()/> }}
        </div>
    }
}

#[cfg(feature = "hydrate")]
fn show(line: &str, set_view: WriteSignal<AttemptView>) {
    if let Ok(view) = serde_json::from_str::<AttemptView>(line) {
        set_view.set(view);
    }
}

#[cfg(feature = "hydrate")]
async fn follow_stream(id: &str, set_view: WriteSignal<AttemptView>) {
    use futures::StreamExt;
    let Ok(stream) = crate::api::mailboxes::run_checks(id.to_owned()).await else { return };
    let (mut stream, mut rest) = (stream.into_inner(), String::new());
    while let Some(Ok(chunk)) = stream.next().await {
        rest.push_str(&chunk);
        while let Some(end) = rest.find('\n') {
            let line: String = rest.drain(..=end).collect();
            show(line.trim_end(), set_view);
        }
    }
}

#[cfg(feature = "hydrate")]
async fn follow_events(id: &str, view: ReadSignal<AttemptView>, set_view: WriteSignal<AttemptView>) {
    use futures::StreamExt;
    use gloo_net::eventsource::futures::EventSource;
    let Ok(mut source) = EventSource::new(&format!("/events/attempts/{id}")) else { return };
    let Ok(mut messages) = source.subscribe("message") else { return };
    while let Some(Ok((_, message))) = messages.next().await {
        if let Some(line) = message.data().as_string() {
            show(&line, set_view);
        }
        if matches!(view.get_untracked().stage, Stage::Finished | Stage::Deciding) {
            break;
        }
    }
}
