//! Identifies a request: institution by host, user by session, origin of unsafe methods. Maps unreadable bodies to 400.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use app::api::drafts::{AttachFiles, SaveDraft, SendMessage};
use app::api::email_config::SetGuideStep;
use app::api::mailboxes::RunChecks;
use app::api::{HANDLED, NOT_STORED, PROVIDER_REDIRECT};
use app::backend::Visitor;
use app::error::AppError;
use app::model::{AppPath, COMPOSE_PATH, Flash, FormName, Notice};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use cookie::Cookie;
use leptos::server_fn::ServerFn;
use leptos::server_fn::error::FromServerFnError;
use tracing::Instrument;

use super::AppState;
use super::responses::{plain, redirect_page, text, unavailable};
use crate::message::escape::escaped;
use crate::network::shared;
use crate::service::sessions;

/// Names the request in the log. A path may contain a token or a folder's name, so only its beginning is logged.
pub(super) async fn in_span(request: Request, next: Next) -> Response {
    let area: String = request.uri().path().split('/').skip(1).take(1).collect();
    let span = tracing::info_span!(
        "request",
        method = %request.method(),
        area = area.get(..20).unwrap_or(&area),
        institution = tracing::field::Empty
    );
    next.run(request).instrument(span).await
}

/// Attaches institution and user to the request. Answers 404 for an unknown host, 403 for a foreign origin, and 401 or the sign-in
/// page for functions that need a session, before reading the body.
pub(super) async fn visitor(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    // A target in authority form (RFC 9112, 3.2.3) has no path; only CONNECT may use it.
    if request.uri().path_and_query().is_none() {
        return plain(StatusCode::BAD_REQUEST, "Something went wrong", "The address of this request has no path.");
    }
    let services = &state.services;
    let host = text(request.headers(), header::HOST).unwrap_or_default().to_owned();
    let row = match services.config.public_url.slug(&host) {
        Some(slug) => services.store.institution_by_slug(&slug).await,
        None => Ok(None),
    };
    let row = match row {
        Ok(Some(row)) => row,
        Ok(None) => {
            let forwarded = FORWARDED.iter().any(|name| request.headers().contains_key(*name));
            // A proxy on this machine without forwarding headers looks like an operator, except for the host it requests.
            let bare = host.rsplit_once(':').map_or(host.as_str(), |(bare, _)| bare).trim_matches(['[', ']']);
            let own = bare.eq_ignore_ascii_case("localhost")
                || bare.to_ascii_lowercase().ends_with(".localhost")
                || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
            let direct = !forwarded && request.version() == axum::http::Version::HTTP_11;
            let at_the_server = own && direct && peer(&request).to_canonical().is_loopback();
            return unknown_host(&state, at_the_server, &host).await;
        }
        Err(error) => {
            tracing::error!("cannot look up an institution: {error}");
            return unavailable();
        }
    };
    let institution = Arc::new(services.institution(row));
    tracing::Span::current().record("institution", &institution.slug);
    if !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
        && !is_own_origin(request.headers(), &institution.public_url)
    {
        return plain(
            StatusCode::FORBIDDEN,
            "Not allowed",
            "This request came from another site. Open Entrepost and try again there.",
        );
    }
    let [session, flash_token, browser_token, known_browser, microsoft_sign_in] =
        [sessions::SESSION, sessions::FLASH, sessions::BROWSER, sessions::KNOWN, sessions::MICROSOFT]
            .map(|name| cookie(request.headers(), &sessions::cookie_name(services, name)));
    // Set by the islands; decides only whether a running attempt refreshes its page.
    let script = cookie(request.headers(), "entrepost_script").is_some();
    let address = client_address(&request, services.config.client_address_header.as_ref(), &state.warned);
    let person = match session {
        None => None,
        Some(token) => match sessions::find(services, &institution, &token, address).await {
            Ok(person) => person,
            Err(_) => return unavailable(),
        },
    };
    let visitor =
        Visitor { institution, person, address, flash_token, script, browser_token, known_browser, microsoft_sign_in };
    let path = request.uri().path();
    if visitor.person.is_none()
        && request.method() == Method::POST
        && path.starts_with("/api/")
        && !super::body_limit::OPEN.contains(&path)
    {
        let html = text(request.headers(), header::ACCEPT).is_some_and(|accept| accept.contains("text/html"));
        if !html || BY_ISLAND.contains(&path) {
            let body = AppError::NotSignedIn.ser();
            return (StatusCode::UNAUTHORIZED, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        }
        let page = text(request.headers(), header::REFERER);
        let page = page.and_then(|page| page.strip_prefix(&visitor.institution.public_url)).map(ToOwned::to_owned);
        // If a proxy removes it: the message waits in the tab, on that page.
        let page = page.or_else(|| (path == SendMessage::PATH).then(|| COMPOSE_PATH.to_owned()));
        return to_login(&state, &visitor, page.as_deref()).await;
    }
    request.extensions_mut().insert(visitor);
    next.run(request).await
}

/// Server functions called by islands: they answer with a status instead of a page.
const BY_ISLAND: [&str; 4] = [SetGuideStep::PATH, RunChecks::PATH, SaveDraft::PATH, AttachFiles::PATH];

/// Redirects a form posted without a session to the sign-in page, and back to its page afterwards.
async fn to_login(state: &AppState, visitor: &Visitor, came_from: Option<&str>) -> Response {
    let mut answer = (StatusCode::FOUND, [(header::LOCATION, AppPath::parse(came_from).login())]).into_response();
    let notice = Notice::problem(&AppError::NotSignedIn.to_string());
    let flash = Flash { form: FormName::SignIn, ..Flash::notice(notice) };
    if let Ok(cookie) = state.backend.flashes.put(visitor, flash).await
        && let Ok(value) = HeaderValue::from_str(&cookie.0)
    {
        answer.headers_mut().append(header::SET_COOKIE, value);
    }
    answer
}

#[derive(Default)]
pub(super) struct Warned {
    unconfigured: AtomicBool,
    unreadable: AtomicBool,
    /// When an unknown host was last logged, in milliseconds since 1970.
    unknown_host: AtomicI64,
}

/// Minimum interval between log lines about unknown hosts.
const UNKNOWN_HOST_MS: i64 = 60_000;

/// Names the requested and the known hosts: on the page for an operator at the server, otherwise in the log.
async fn unknown_host(state: &AppState, at_the_server: bool, host: &str) -> Response {
    let services = &state.services;
    let said: String = host.chars().filter(|c| !c.is_control()).take(200).collect();
    let (now, last) = (services.clock.now().0, state.warned.unknown_host.load(Ordering::Relaxed));
    let warns = now.saturating_sub(last) >= UNKNOWN_HOST_MS
        && state.warned.unknown_host.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    // Queries the database only for an operator.
    if !warns && !at_the_server {
        return plain(StatusCode::NOT_FOUND, "Not found", "There is no institution at this address.");
    }
    let known = match services.store.institutions().await {
        Ok(rows) => {
            rows.iter().take(20).map(|row| services.config.public_url.of(&row.slug)).collect::<Vec<_>>().join(", ")
        }
        Err(_) => String::new(),
    };
    let known = if known.is_empty() { "none yet (entrepost institution add makes one)".to_owned() } else { known };
    if warns {
        tracing::warn!("a request came for the host “{said}”, where there is no institution. Known: {known}");
    }
    let text = if at_the_server {
        format!(
            "There is no institution at this address. Your browser asked for “{}”. Institutions are at: {}.",
            escaped(&said),
            escaped(&known)
        )
    } else {
        "There is no institution at this address.".to_owned()
    };
    plain(StatusCode::NOT_FOUND, "Not found", &text)
}

/// The Origin must be the institution's. If the browser sends none, or `null` (behind a proxy that sets `Referrer-Policy:
/// no-referrer`), Sec-Fetch-Site must be same-origin, a header that no script can set.
fn is_own_origin(headers: &HeaderMap, public_url: &str) -> bool {
    match headers.get(header::ORIGIN) {
        Some(origin) if origin != "null" => origin.as_bytes() == public_url.as_bytes(),
        _ => headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin"),
    }
}

/// Longest cookie value that is read, in bytes.
const MOST_COOKIE: usize = 2_000;

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let found = all.flat_map(Cookie::split_parse).flatten().find(|cookie| cookie.name() == name)?;
    Some(found.value()).filter(|value| !value.is_empty() && value.len() <= MOST_COOKIE).map(ToOwned::to_owned)
}

/// Headers in which proxies forward client addresses.
const FORWARDED: [&str; 3] = ["x-forwarded-for", "forwarded", "x-real-ip"];

fn peer(request: &Request) -> IpAddr {
    request.extensions().get::<ConnectInfo<SocketAddr>>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.ip())
}

/// The last address in the header of a trusted proxy, otherwise the peer's.
fn client_address(request: &Request, configured: Option<&HeaderName>, warned: &Warned) -> IpAddr {
    let Some(name) = configured else {
        if let Some(name) = FORWARDED.iter().find(|name| request.headers().contains_key(**name))
            && !warned.unconfigured.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                "a proxy sends {name}, which is ignored: all people behind it count as one address. Set ENTREPOST_CLIENT_ADDRESS_HEADER to the header that your proxy sets"
            );
        }
        return shared(peer(request));
    };
    // The proxy writes the last line; everything before its last comma comes from the client.
    let value = request.headers().get_all(name).iter().next_back().map(HeaderValue::as_bytes);
    let last = value.and_then(|value| value.rsplit(|byte| *byte == b',').next());
    let address = last.and_then(|last| forwarded_address(std::str::from_utf8(last).ok()?));
    if address.is_none() && !warned.unreadable.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            "{name} (ENTREPOST_CLIENT_ADDRESS_HEADER) is missing or has no address: using the proxy's address"
        );
    }
    shared(address.unwrap_or_else(|| peer(request)))
}

/// An address as proxies write it: with a port, in brackets, in quotes, or as `for=` (RFC 7239).
fn forwarded_address(whole: &str) -> Option<IpAddr> {
    let text = whole.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value)
    });
    let text = text.unwrap_or(whole);
    let text = text.trim().trim_matches('"');
    let bare = text.strip_prefix('[').and_then(|text| text.split(']').next()).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// Server functions whose body could not be read answer 500 or redirect with `__err`: both become 400.
pub(super) async fn answers(request: Request, next: Next) -> Response {
    let wants_html = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    let mut response = next.run(request).await;
    if response.headers_mut().remove(NOT_STORED).is_some() && wants_html {
        return plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "Nothing was saved",
            "Entrepost can't save anything now: it can't reach its database, or its disk is full. Go back: your text is still in the form. Try again in a minute. If it keeps failing, contact your Entrepost host.",
        );
    }
    if let Some(url) = response.headers_mut().remove(PROVIDER_REDIRECT) {
        return redirect_page(&response, &url);
    }
    let handled = response.headers_mut().remove(HANDLED).is_some();
    if handled || !response.headers().contains_key("serverfnerror") {
        return response;
    }
    if wants_html {
        return plain(StatusCode::BAD_REQUEST, "Something went wrong", "Go back, reload the page and try again.");
    }
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().remove(header::LOCATION);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_proxies_write_them() {
        for (text, address) in [
            ("203.0.113.9", "203.0.113.9"),
            (" 203.0.113.9:51234 ", "203.0.113.9"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("for=\"[2001:db8::1]:443\";proto=https", "2001:db8::1"),
            ("For=203.0.113.9", "203.0.113.9"),
        ] {
            assert_eq!(forwarded_address(text), address.parse().ok(), "{text}");
        }
        assert_eq!(forwarded_address("unknown"), None);
    }

    #[test]
    fn an_origin_that_is_hidden_must_be_vouched_for_by_the_browser() {
        let own = "https://school.example";
        let headers = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            headers
        };
        for allowed in [
            &[("origin", "https://school.example")][..],
            &[("origin", "null"), ("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "same-origin")],
        ] {
            assert!(is_own_origin(&headers(allowed), own), "{allowed:?}");
        }
        for refused in [
            &[][..],
            &[("origin", "null")],
            &[("origin", "null"), ("sec-fetch-site", "cross-site")],
            &[("origin", "null"), ("sec-fetch-site", "same-site")],
            &[("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")],
        ] {
            assert!(!is_own_origin(&headers(refused), own), "{refused:?}");
        }
    }
}
