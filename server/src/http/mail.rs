//! Message content served outside pages: HTML body, attachments, raw source.

use app::backend::{MailOwner, Visitor};
use app::error::AppError;
use app::model::MessageRef;
use axum::body::Body;
use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::AppState;
use super::responses::refused;

/// Characters that RFC 8187 does not encode in a file name.
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

#[derive(serde::Deserialize)]
pub(super) struct MessageQuery {
    mailbox: String,
    folder: String,
    validity: u32,
    uid: u32,
    number: Option<usize>,
    #[serde(default)]
    nested: String,
    images: Option<String>,
}

impl MessageQuery {
    fn place(&self) -> Option<MessageRef> {
        let mailbox = self.mailbox.parse().ok()?;
        Some(MessageRef { mailbox, folder: self.folder.clone(), uid_validity: self.validity, uid: self.uid })
    }
}

fn trouble(error: &AppError) -> Response {
    refused("This can't be shown", error)
}

/// A message that the signed-in user requests. The session is checked before the query: requests without one learn nothing.
pub(super) struct RequestedMessage {
    user: MailOwner,
    place: MessageRef,
    query: MessageQuery,
}

impl FromRequestParts<AppState> for RequestedMessage {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Response> {
        let visitor = parts.extensions.get::<Visitor>().ok_or(AppError::NotSignedIn);
        let user =
            visitor.and_then(Visitor::signed_in).and_then(|user| user.mail()).map_err(|error| trouble(&error))?;
        let query = Query::<MessageQuery>::try_from_uri(&parts.uri).ok().map(|Query(query)| query);
        let found = query.and_then(|query| Some((query.place()?, query)));
        let (place, query) = found.ok_or_else(|| trouble(&AppError::NotFound))?;
        Ok(Self { user, place, query })
    }
}

/// The HTML body of a message. Its policy allows no scripts, no loading, and no access to pages or cookies of this site.
pub(super) async fn document(
    State(state): State<AppState>,
    RequestedMessage { user, place, query }: RequestedMessage,
) -> Response {
    let remote_images = query.images.as_deref() == Some("shown");
    match state.backend.inbox.document(&user, &place, &query.nested, remote_images).await {
        Ok(document) => {
            let images = if remote_images { "data: https: http:" } else { "data:" };
            let policy = format!(
                "default-src 'none'; img-src {images}; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox"
            );
            let mut headers = HeaderMap::new();
            if let Ok(policy) = HeaderValue::from_str(&policy) {
                headers.insert(header::CONTENT_SECURITY_POLICY, policy);
            }
            headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
            headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            (headers, axum::response::Html(document)).into_response()
        }
        Err(error) => trouble(&state.backend.told(error)),
    }
}

/// Content type of a download: the sender's, unless browsers could execute or apply that type.
fn harmless_type(content_type: &str) -> HeaderValue {
    let (main, sub) = content_type.split_once('/').unwrap_or_default();
    let harmless = match main {
        "audio" | "video" => true,
        "image" => !sub.starts_with("svg"),
        "application" => {
            matches!(sub, "pdf" | "zip" | "x-zip-compressed" | "gzip" | "rtf" | "msword" | "octet-stream")
                || sub.starts_with("vnd.")
        }
        "text" => matches!(sub, "plain" | "csv" | "calendar"),
        "message" => sub == "rfc822",
        _ => false,
    };
    let kind = Some(content_type).filter(|_| harmless).and_then(|kind| HeaderValue::from_str(kind).ok());
    kind.unwrap_or_else(|| HeaderValue::from_static("application/octet-stream"))
}

/// An attachment, or without a number the whole message: always a download, never displayed by the browser.
pub(super) async fn download(
    State(state): State<AppState>,
    RequestedMessage { user, place, query }: RequestedMessage,
) -> Response {
    match state.backend.inbox.download(&user, &place, &query.nested, query.number).await {
        Ok(file) => {
            let name = utf8_percent_encode(&file.name, NAME);
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename*=UTF-8''{name}")) {
                headers.insert(header::CONTENT_DISPOSITION, value);
            }
            // Never the sender's type: a script type could be loaded as a script of this site.
            headers.insert(header::CONTENT_TYPE, harmless_type(&file.content_type));
            headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
            // Streamed: a compressor would buffer it.
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("identity"));
            headers.insert(HeaderName::from_static("x-download-options"), HeaderValue::from_static("noopen"));
            (headers, Body::from_stream(file.bytes)).into_response()
        }
        Err(error) => trouble(&state.backend.told(error)),
    }
}
