//! Server-sent events: a running attempt, and a user's mail.

use std::convert::Infallible;
use std::time::Duration;

use app::backend::Visitor;
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;

use super::AppState;

/// Proxies must not buffer events; nginx does by default.
fn live(events: impl IntoResponse) -> Response {
    ([("x-accel-buffering", "no")], events).into_response()
}

/// Streams an attempt until it ends.
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
            let events = stream.map(|view| Event::default().json_data(&view));
            live(Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
        }
        Err(error) => {
            let status = state.backend.told(error).status();
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response()
        }
    }
}

#[derive(serde::Deserialize)]
pub(super) struct Follow {
    mailbox: Option<String>,
    folder: Option<String>,
    #[serde(default)]
    mark: String,
}

/// Sends an event at each change of a user's mail; ends with the session.
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
        Err(error) => {
            let status = state.backend.told(error).status();
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response()
        }
    }
}
