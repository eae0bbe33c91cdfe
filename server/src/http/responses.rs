//! Plain pages, for answers that need no institution, and pages that forward.

use app::error::AppError;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::message::escape::escaped;

/// A plain page for answers that precede the institution.
pub(super) fn plain(status: StatusCode, title: &str, text: &str) -> Response {
    let body = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\"><title>{title}</title></head><body><main><h1>{title}</h1><p>{text}</p></main></body></html>"
    );
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], body).into_response()
}

/// The same for an error of the application.
pub(super) fn refused(title: &str, error: &AppError) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    plain(status, title, &escaped(&error.to_string()))
}

/// A file to save. It is not kept by the browser.
pub(super) fn file(kind: &'static str, name: &str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(super) fn unavailable() -> Response {
    plain(
        StatusCode::SERVICE_UNAVAILABLE,
        "Not available",
        "Entrepost can't reach its database. Try again in a minute.",
    )
}

pub(super) fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// A page that refreshes to the authority: a redirect would be subject to `form-action`.
pub(super) fn redirect_page(answer: &Response, url: &HeaderValue) -> Response {
    let address = url.to_str().unwrap_or_default();
    let safe = escaped(address);
    let mut page =
        plain(StatusCode::OK, "Going to Microsoft…", &format!("<a href=\"{safe}\">Continue if nothing happens</a>"));
    if let Ok(refresh) = HeaderValue::from_str(&format!("0;url={address}")) {
        page.headers_mut().insert(HeaderName::from_static("refresh"), refresh);
    }
    for cookie in answer.headers().get_all(header::SET_COOKIE) {
        page.headers_mut().append(header::SET_COOKIE, cookie.clone());
    }
    page
}

/// A panic is answered like any internal error, without its message (see [`crate::panics`]).
pub(super) fn panicked(_: Box<dyn std::any::Any + Send + 'static>) -> http::Response<Body> {
    let mut response = plain(
        StatusCode::INTERNAL_SERVER_ERROR,
        "Something went wrong on our side",
        "Try again. If it happens again, contact your Entrepost host.",
    );
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
