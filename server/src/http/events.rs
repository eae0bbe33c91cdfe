//! Server-sent events: a running attempt, and a user's mail.

use std::convert::Infallible;
use std::time::Duration;

use app::backend::{OpenFolder, Result, Visitor};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::{BoxError, Extension};
use futures::{Stream, StreamExt};

use super::AppState;

/// Sends the events of a stream, which holds its place among the user's streams.
fn live<T, E: Into<BoxError>>(
    state: &AppState,
    place: impl Send + 'static,
    stream: Result<impl Stream<Item = T> + Send + 'static>,
    event: impl Fn(T) -> std::result::Result<Event, E> + Send + 'static,
) -> Response {
    match stream {
        Ok(stream) => {
            let events = stream.map(move |item| {
                let _ = &place;
                event(item)
            });
            let events = Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)));
            // Proxies must not buffer events; nginx does by default.
            ([("x-accel-buffering", "no")], events).into_response()
        }
        Err(error) => {
            let status = state.backend.told(error).status();
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response()
        }
    }
}

/// Streams an attempt until it ends.
pub(super) async fn attempt(
    State(state): State<AppState>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
) -> Response {
    let Ok(user) = visitor.signed_in() else { return StatusCode::UNAUTHORIZED.into_response() };
    let Ok(id) = id.parse() else { return StatusCode::NOT_FOUND.into_response() };
    let Ok(place) = state.services.follow_more(&user) else { return StatusCode::TOO_MANY_REQUESTS.into_response() };
    let stream = state.backend.mailboxes.follow(&user, id).await;
    live(&state, place, stream, |view| Event::default().json_data(&view))
}

#[derive(serde::Deserialize)]
pub(super) struct Follow {
    mailbox: Option<String>,
    folder: Option<String>,
    #[serde(default)]
    version: String,
}

/// Sends an event at each change of a user's mail; ends with the session.
pub(super) async fn mail(
    State(state): State<AppState>,
    Extension(visitor): Extension<Visitor>,
    Query(follow): Query<Follow>,
) -> Response {
    let Ok(user) = visitor.signed_in() else { return StatusCode::UNAUTHORIZED.into_response() };
    let Ok(user) = user.mail() else { return StatusCode::FORBIDDEN.into_response() };
    let open = match (follow.mailbox.as_deref().map(str::parse), follow.folder) {
        (Some(Ok(mailbox)), Some(folder)) => Some(OpenFolder { mailbox, folder }),
        (Some(Err(_)), _) => return StatusCode::NOT_FOUND.into_response(),
        _ => None,
    };
    let Ok(place) = state.services.follow_more(&user) else { return StatusCode::TOO_MANY_REQUESTS.into_response() };
    let stream = state.backend.inbox.watch(&user, open, follow.version).await;
    live(&state, place, stream, |()| Ok::<_, Infallible>(Event::default().data("changed")))
}

/// Sends an event at each change of a device's log or messages; ends with the session.
pub(super) async fn device(
    State(state): State<AppState>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Query(follow): Query<Follow>,
) -> Response {
    let Ok(user) = visitor.signed_in() else { return StatusCode::UNAUTHORIZED.into_response() };
    let Ok(admin) = user.administrator() else { return StatusCode::FORBIDDEN.into_response() };
    let Ok(id) = id.parse() else { return StatusCode::NOT_FOUND.into_response() };
    let Ok(place) = state.services.follow_more(&user) else { return StatusCode::TOO_MANY_REQUESTS.into_response() };
    let stream = state.backend.devices.watch_device(&admin, id, follow.version).await;
    live(&state, place, stream, |()| Ok::<_, Infallible>(Event::default().data("changed")))
}
