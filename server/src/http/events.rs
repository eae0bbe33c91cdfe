//! Server-sent events: an attempt, for a page that was reloaded while its checks run; and a person's mail.

use std::convert::Infallible;
use std::time::Duration;

use app::api::mailboxes::json_line;
use app::backend::Visitor;
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;

use super::AppState;

/// A proxy in front must not hold events back (nginx does, unless told).
fn live(events: impl IntoResponse) -> Response {
    ([("x-accel-buffering", "no")], events).into_response()
}

/// Follows an attempt; ends with it.
pub(super) async fn attempt(
    State(state): State<AppState>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
) -> Response {
    let Ok(user) = visitor.signed_in() else { return StatusCode::UNAUTHORIZED.into_response() };
    let Ok(id) = id.parse() else { return StatusCode::NOT_FOUND.into_response() };
    let Ok(following) = state.services.follow_more(&user) else { return StatusCode::TOO_MANY_REQUESTS.into_response() };
    match state.backend.mailboxes.follow(&user, id).await {
        Ok(stream) => {
            let stream = stream.inspect(move |_| {
                let _ = &following;
            });
            let events = stream.map(|view| Ok::<_, Infallible>(Event::default().data(json_line(&view).trim_end())));
            live(Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
        }
        Err(error) => StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response(),
    }
}

/// What a browser wants to follow of its mail.
#[derive(serde::Deserialize)]
pub(super) struct Follow {
    mailbox: Option<String>,
    folder: Option<String>,
    #[serde(default)]
    mark: String,
}

/// Tells whenever what a person sees of their mail changed; ends with the session.
pub(super) async fn mail(
    State(state): State<AppState>,
    Extension(visitor): Extension<Visitor>,
    Query(follow): Query<Follow>,
) -> Response {
    let Ok(user) = visitor.signed_in() else { return StatusCode::UNAUTHORIZED.into_response() };
    let Ok(user) = user.mail() else { return StatusCode::FORBIDDEN.into_response() };
    let looking_at = match (follow.mailbox.as_deref().map(str::parse), follow.folder) {
        (Some(Ok(mailbox)), Some(folder)) => Some((mailbox, folder)),
        (Some(Err(_)), _) => return StatusCode::NOT_FOUND.into_response(),
        _ => None,
    };
    let Ok(following) = state.services.follow_more(&user) else { return StatusCode::TOO_MANY_REQUESTS.into_response() };
    match state.backend.inbox.watch(&user, looking_at, follow.mark).await {
        Ok(stream) => {
            let stream = stream.inspect(move |()| {
                let _ = &following;
            });
            let events = stream.map(|()| Ok::<_, Infallible>(Event::default().data("changed")));
            live(Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
        }
        Err(error) => StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response(),
    }
}
