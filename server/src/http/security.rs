//! Security headers of every response. Each page has its own Content-Security-Policy nonce.

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use leptos::nonce::Nonce;

use super::AppState;

pub(super) async fn headers(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let nonce = Nonce::new();
    request.extensions_mut().insert(nonce.clone());
    // The redirect URI has a code in its query: no other page gets that as its referrer. The Origin header stays.
    let is_redirect_uri = request.uri().path() == app::model::REDIRECT_PATH;
    let referrer_policy = if is_redirect_uri { "strict-origin" } else { "same-origin" };
    let mut response = next.run(request).await;
    let connects_to = state.connects_to;
    let policy = format!(
        "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data:; font-src 'self'; frame-src 'self'; \
         connect-src 'self' {connects_to}; manifest-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; form-action 'self'"
    );
    let headers = response.headers_mut();
    // HTML bodies and attachments have stricter policies.
    let own_policy = headers.contains_key(header::CONTENT_SECURITY_POLICY);
    if let Ok(policy) = HeaderValue::from_str(policy.trim_end())
        && !own_policy
    {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, referrer_policy),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
    ] {
        if !(own_policy && headers.contains_key(&name)) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    if state.services.config.public_url.is_https() {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    // Pages belong to a user; static files have their own rule.
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}
