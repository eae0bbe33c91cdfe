//! Who is asking: institution by host, person by session, origin of unsafe requests; and answers that could not be read.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use app::backend::Visitor;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::AppState;
use crate::markup::escaped;
use crate::service::sessions;

const HANDLED: HeaderName = HeaderName::from_static("x-entrepost-handled");
const DEPART: HeaderName = HeaderName::from_static("x-entrepost-depart");
/// Marks a form that failed, and whose answer could not be kept either.
const UNKEPT: HeaderName = HeaderName::from_static("x-entrepost-unkept");

/// A plain page for what is answered before there is an institution.
pub(super) fn plain(status: StatusCode, title: &str, text: &str) -> Response {
    let body = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\"><title>{title}</title></head><body><main><h1>{title}</h1><p>{text}</p></main></body></html>"
    );
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], body).into_response()
}

/// Finds institution and person and hands them on; answers 404 for an unknown host, 403 for a foreign origin.
pub(super) async fn visitor(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let services = &state.services;
    let slug = {
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        services.config.public_url.slug(host)
    };
    let row = match slug {
        Some(slug) => services.store.institution_by_slug(&slug).await,
        None => Ok(None),
    };
    let row = match row {
        Ok(Some(row)) => row,
        Ok(None) => return plain(StatusCode::NOT_FOUND, "Not found", "There is no institution at this address."),
        Err(error) => {
            tracing::error!("{error}");
            return plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "Not available",
                "Entrepost cannot reach its database. Try again in a minute.",
            );
        }
    };
    let institution = Arc::new(services.institution(row));
    if !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
        && !is_own_origin(request.headers(), &institution.public_url)
    {
        return plain(
            StatusCode::FORBIDDEN,
            "Not allowed",
            "This request came from another site. Open Entrepost and try again there.",
        );
    }
    let [session, flash_token, browser_token] = [sessions::SESSION, sessions::FLASH, sessions::BROWSER]
        .map(|name| cookie(request.headers(), &sessions::cookie_name(services, name)));
    // Set by the islands; it only decides whether a running attempt reloads itself.
    let script = cookie(request.headers(), "entrepost_script").is_some();
    let person = match session {
        None => None,
        Some(token) => match sessions::find(services, &institution, &token).await {
            Ok(person) => person,
            Err(_) => {
                return plain(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Not available",
                    "Entrepost cannot reach its database. Try again in a minute.",
                );
            }
        },
    };
    let address = client_address(&request, services.config.client_address_header.as_ref());
    request.extensions_mut().insert(Visitor { institution, person, address, flash_token, script, browser_token });
    next.run(request).await
}

/// Server functions that take files.
const WITH_FILES: [&str; 2] = ["/api/send_message", "/api/attach_files"];
/// Octets of any other request's body that are read.
const MAX_BODY: u64 = 256 * 1024;
/// What a form with files has beside them: text, and the borders between its parts.
const BESIDE_FILES: u64 = 4 * 1024 * 1024;

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Bodies are read up to a limit: more where files are taken. Those must come as a form with parts.
pub(super) async fn body_limit(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let with_files = WITH_FILES.contains(&request.uri().path());
    let limit = match request.uri().path() {
        _ if with_files => state.services.config.attachment_limit + BESIDE_FILES,
        // A letter as it is typed: each of its characters may be many in a form.
        "/api/save_draft" => BESIDE_FILES,
        _ => MAX_BODY,
    };
    let announced = text(request.headers(), header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit) {
        return plain(
            StatusCode::PAYLOAD_TOO_LARGE,
            "Too large",
            "This is more than Entrepost takes at once. Go back and send less, or send large files as a link.",
        );
    }
    let kind = text(request.headers(), header::CONTENT_TYPE).unwrap_or_default().trim_start().to_lowercase();
    let has_parts = kind.starts_with("multipart/form-data") && kind.contains("boundary=");
    if with_files && request.method() == Method::POST && !has_parts {
        return plain(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "The request could not be read",
            "Go back, reload the page and try again.",
        );
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    next.run(request.map(|body| Body::new(http_body_util::Limited::new(body, limit)))).await
}

/// Origin must be the institution's; where a browser sends none, it must say that the request is same-origin.
fn is_own_origin(headers: &HeaderMap, public_url: &str) -> bool {
    match headers.get(header::ORIGIN) {
        Some(origin) => origin.as_bytes() == public_url.as_bytes(),
        None => headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin"),
    }
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('=').map(ToOwned::to_owned))
        .filter(|value| !value.is_empty() && value.len() <= 200)
}

/// The last address of the header that a trusted proxy sets, else the connection's.
fn client_address(request: &Request, header: Option<&http::HeaderName>) -> IpAddr {
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.ip());
    let Some(header) = header else { return network(peer) };
    let value = request.headers().get_all(header).iter().filter_map(|value| value.to_str().ok()).next_back();
    network(value.and_then(|value| value.rsplit(',').next()?.trim().parse().ok()).unwrap_or(peer))
}

/// Somebody with IPv6 has a whole /64 to come from: it counts as one address.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        },
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// A page that forwards to the authority. It is no redirect, which `form-action` would bind.
fn departure(answer: &Response, url: &HeaderValue) -> Response {
    let address = url.to_str().unwrap_or_default();
    let safe = escaped(address);
    let mut page =
        plain(StatusCode::OK, "Going to Microsoft…", &format!("<a href=\"{safe}\">Go on, if nothing happens</a>"));
    if let Ok(refresh) = HeaderValue::from_str(&format!("0;url={address}")) {
        page.headers_mut().insert(HeaderName::from_static("refresh"), refresh);
    }
    for cookie in answer.headers().get_all(header::SET_COOKIE) {
        page.headers_mut().append(header::SET_COOKIE, cookie.clone());
    }
    page
}

/// Server functions that never ran (a body that could not be read) answer 500 or a redirect with `__err`: both become 400.
pub(super) async fn answers(request: Request, next: Next) -> Response {
    let wants_html = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    let mut response = next.run(request).await;
    if response.headers_mut().remove(UNKEPT).is_some() && wants_html {
        return plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "Nothing was stored",
            "Entrepost cannot store anything now: its database is out of reach, or its disk is full. Go back: what you typed is still in the form. Try again in a minute; if it goes on, tell whoever runs this server.",
        );
    }
    if let Some(url) = response.headers_mut().remove(DEPART) {
        return departure(&response, &url);
    }
    let handled = response.headers_mut().remove(HANDLED).is_some();
    if handled || !response.headers().contains_key("serverfnerror") {
        return response;
    }
    if wants_html {
        return plain(
            StatusCode::BAD_REQUEST,
            "The request could not be read",
            "Go back, reload the page and try again.",
        );
    }
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().remove(header::LOCATION);
    response
}

/// A panic is answered like any other internal error; its message goes nowhere (see [`crate::panics`]).
pub(super) fn panicked(_: Box<dyn std::any::Any + Send + 'static>) -> http::Response<Body> {
    let mut response = plain(
        StatusCode::INTERNAL_SERVER_ERROR,
        "Something went wrong on our side",
        "Try again. If it happens again, tell whoever runs this server.",
    );
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
