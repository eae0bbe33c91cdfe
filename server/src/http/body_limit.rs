//! Limits on request bodies: size of each, and total memory at one time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use app::api::accounts::{AcceptInvitation, ListInvitations, SignIn, SignInWithMicrosoft, SignOut};
use app::api::drafts::{AttachFiles, SaveDraft, SendMessage};
use app::api::mailboxes::CompleteSignIn;
use app::backend::Visitor;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use leptos::server_fn::ServerFn;
use tokio::sync::Semaphore;

use super::AppState;
use super::responses::{plain, text};

/// Server functions that take files.
const WITH_FILES: [&str; 3] = [SendMessage::PATH, AttachFiles::PATH, ListInvitations::PATH];
/// Server functions that need no session.
pub(super) const OPEN: [&str; 5] =
    [SignIn::PATH, SignInWithMicrosoft::PATH, SignOut::PATH, AcceptInvitation::PATH, CompleteSignIn::PATH];
/// Largest other body, in bytes.
const FORM: u64 = 256 * 1024;
/// Largest body without a session: an address and a password, or the answer of Microsoft, whose code has some kilobytes.
const OPEN_FORM: u64 = 16 * 1024;
/// Allowance of a multipart form beside its files: text fields and boundaries.
const BESIDE_FILES: u64 = 4 * 1024 * 1024;
/// KiB of form bodies in memory at one time. Parsing takes about four times the size.
const FORMS_ROOM: usize = 32 * 1024;
/// The same for requests without a session.
const STRANGERS_ROOM: usize = 64 * 1024;
/// Concurrent bodies of one user, with and without files.
const UPLOADS_EACH: usize = 2;
const FORMS_EACH: usize = 12;
/// How long a request waits for memory.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a waiting request checks for a free share.
const AGAIN: Duration = Duration::from_millis(100);

fn limit(path: &str, attachments: u64) -> u64 {
    match path {
        // A message as typed: form encoding multiplies its characters.
        SaveDraft::PATH | ListInvitations::PATH => BESIDE_FILES,
        path if WITH_FILES.contains(&path) => attachments + BESIDE_FILES,
        path if OPEN.contains(&path) => OPEN_FORM,
        _ => FORM,
    }
}

/// Memory for bodies, in KiB. Small bodies have a pool of their own, and so have requests without a session: uploads do not block
/// signing in. Each user has a share.
pub(super) struct Room {
    strangers: Arc<Semaphore>,
    forms: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    shares: Arc<Shares>,
}

#[derive(Default)]
struct Shares(Mutex<HashMap<String, usize>>);

struct Share {
    shares: Arc<Shares>,
    whose: String,
}

impl Share {
    async fn wait(shares: &Arc<Shares>, whose: &str, most: usize) -> Self {
        loop {
            if let Some(share) = Self::take(shares, whose, most) {
                return share;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn take(shares: &Arc<Shares>, whose: &str, most: usize) -> Option<Self> {
        let mut all = shares.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(whose.to_owned()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(all);
        Some(Self { shares: Arc::clone(shares), whose: whose.to_owned() })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut all = self.shares.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.whose) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.whose);
            }
        }
    }
}

impl Room {
    pub(super) fn new(attachments: u64) -> Self {
        let uploads = usize::try_from((attachments + BESIDE_FILES).div_ceil(1024) * 6).unwrap_or(usize::MAX >> 4);
        Self {
            strangers: Arc::new(Semaphore::new(STRANGERS_ROOM)),
            shares: Arc::default(),
            forms: Arc::new(Semaphore::new(FORMS_ROOM)),
            uploads: Arc::new(Semaphore::new(uploads.min(Semaphore::MAX_PERMITS))),
        }
    }
}

/// Bounds the body by path. Files must come as multipart/form-data.
pub(super) async fn bounded(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let with_files = WITH_FILES.contains(&path);
    let limit = limit(path, state.services.config.attachment_limit);
    let announced = text(request.headers(), header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit) {
        return plain(
            StatusCode::PAYLOAD_TOO_LARGE,
            "Too large",
            "This is more than Entrepost accepts. Go back and send less, or send large files as a link.",
        );
    }
    let given = text(request.headers(), header::CONTENT_TYPE).unwrap_or_default();
    let kind = given.trim_start().to_lowercase();
    let unreadable = kind.starts_with("multipart/") && !has_boundary(given);
    let without_parts = with_files && request.method() == Method::POST && !kind.starts_with("multipart/form-data");
    if unreadable || without_parts {
        return plain(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Something went wrong",
            "Go back, reload the page and try again.",
        );
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    next.run(request.map(|body| Body::new(http_body_util::Limited::new(body, limit)))).await
}

/// Whether a multipart type has a valid boundary (RFC 2046, 5.1.1). `server_fn` uses the same parser, and panics without one.
fn has_boundary(kind: &str) -> bool {
    multer::parse_boundary(kind).is_ok_and(|value| {
        (1..=70).contains(&value.len())
            && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte))
    })
}

/// Waits for memory for a body. Requests that may not send one were refused before.
pub(super) async fn with_room(State(state): State<AppState>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let most = limit(request.uri().path(), state.services.config.attachment_limit);
    // Without a length, assumes the limit. Takes all permits at once: partial ones could deadlock.
    let bytes = request.body().size_hint().exact().unwrap_or(most).min(most);
    let visitor = request.extensions().get::<Visitor>();
    let person = visitor.and_then(|visitor| visitor.person.as_ref()).map(|person| person.user_id().to_string());
    let (pool, share) = match (person, bytes <= FORM) {
        (Some(person), true) => (&state.room.forms, Some((format!("forms {person}"), FORMS_EACH))),
        (Some(person), false) => (&state.room.uploads, Some((format!("uploads {person}"), UPLOADS_EACH))),
        // Their bodies are small, and connections are limited.
        (None, _) => (&state.room.strangers, None),
    };
    let _share = match share {
        None => None,
        Some((whose, most)) => {
            match tokio::time::timeout(PATIENCE, Share::wait(&state.room.shares, &whose, most)).await {
                Ok(share) => Some(share),
                Err(_) => return busy(),
            }
        }
    };
    let permits = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
    let room = tokio::time::timeout(PATIENCE, Arc::clone(pool).acquire_many_owned(permits)).await;
    let Ok(Ok(_room)) = room else { return busy() };
    next.run(request).await
}

fn busy() -> Response {
    plain(
        StatusCode::SERVICE_UNAVAILABLE,
        "Busy",
        "Entrepost is busy. Go back: your text is still in the form. Try again in a minute.",
    )
}

#[cfg(test)]
mod tests {
    use super::has_boundary;

    #[test]
    fn boundaries_are_checked() {
        for good in ["multipart/form-data; boundary=----x123", "multipart/form-data; boundary=\"a b\"; charset=utf-8"] {
            assert!(has_boundary(good), "{good}");
        }
        let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
        for bad in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=\"\"",
            "multipart/form-data; boundary=\u{e4}",
            "multipart/form-data; boundary=\"x",
            "multipart/form-data; boundary=x; boundary=\"",
            "multipart/form-data; charset=\"boundary=x",
            "multipart/form-data; boundary=\u{1}",
            "multipart/mixed; boundary=x",
            &long,
        ] {
            assert!(!has_boundary(bad), "{bad}");
        }
    }
}
