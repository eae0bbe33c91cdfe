//! The router: pages, server functions, static files, events; and the layers around them.

mod audit;
mod body_limit;
pub mod connections;
mod credentials;
mod events;
mod guard;
mod mail;
mod microsoft;
mod people;
mod responses;
mod security;

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use app::backend::{Backend, Visitor};
use app::model::{
    ATTEMPT_EVENTS_PATH, AUDIT_CSV_PATH, CERTIFICATE_PATH, DEVICE_EVENTS_PATH, INVITE_PATH, ISSUER_PATH, KEY_SET_PATH,
    MAIL_EVENTS_PATH, MESSAGE_ATTACHMENT_PATH, MESSAGE_DOCUMENT_PATH, MESSAGE_RAW_PATH, MICROSOFT_SIGN_IN_PATH,
    RELAY_CERTIFICATE_PATH, USERS_PATH,
};
use axum::Router;
use axum::extract::FromRef;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use leptos::config::LeptosOptions;
use leptos::nonce::Nonce;
use leptos::prelude::{provide_context, use_context};
use leptos_axum::{LeptosRoutes, file_and_error_handler_with_context, generate_route_list};
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::compression::{CompressionLayer, CompressionLevel};

use crate::service::Services;

#[derive(Clone)]
pub struct AppState {
    pub services: Arc<Services>,
    /// The trait objects behind pages and server functions.
    pub backend: Backend,
    pub leptos: LeptosOptions,
    /// Additional `connect-src` of the Content-Security-Policy.
    pub connects_to: &'static str,
    room: Arc<body_limit::Room>,
    warned: Arc<guard::Warned>,
}

impl FromRef<AppState> for LeptosOptions {
    fn from_ref(state: &AppState) -> Self {
        state.leptos.clone()
    }
}

/// Directory of the built site: `LEPTOS_SITE_ROOT`, `site` beside the program or above it, or `target/site`.
pub fn site() -> Result<LeptosOptions, String> {
    let program = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned()));
    let candidates = match std::env::var_os("LEPTOS_SITE_ROOT") {
        Some(named) => vec![PathBuf::from(named)],
        // Beside the program when installed; above it when built.
        None => program
            .iter()
            .flat_map(|directory| [Some(directory.join("site")), directory.parent().map(|above| above.join("site"))])
            .flatten()
            .chain([PathBuf::from("target/site")])
            .collect(),
    };
    let has_files = |path: &&PathBuf| path.join("pkg").is_dir();
    let Some(root) = candidates.iter().find(has_files) else {
        let looked: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
        return Err(format!(
            "the site's files are not at {}: copy target/site there, or name their directory in LEPTOS_SITE_ROOT (make build makes them)",
            looked.join(" or ")
        ));
    };
    // cargo-leptos writes the hashes beside the program, one per line (`js: HASH`); without them names have no hash.
    let hashes = program.and_then(|directory| std::fs::read_to_string(directory.join("hash.txt")).ok());
    for kind in ["js", "css"] {
        let hash = hashes
            .as_deref()
            .and_then(|text| text.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(": ")));
        let file = match hash {
            Some(hash) => format!("entrepost.{}.{kind}", hash.trim()),
            None => format!("entrepost.{kind}"),
        };
        let file = root.join("pkg").join(file);
        if !file.is_file() {
            return Err(format!(
                "{} is missing: the program, hash.txt beside it and the site must come from one build",
                file.display()
            ));
        }
    }
    Ok(LeptosOptions::builder()
        .output_name("entrepost")
        .site_root(root.to_string_lossy().into_owned())
        .hash_files(hashes.is_some())
        .build())
}

pub fn router(services: Arc<Services>, leptos: LeptosOptions) -> Router {
    // `make dev` reloads pages over a separate port.
    let connects_to = if std::env::var_os("LEPTOS_WATCH").is_some() { "ws://*:3001" } else { "" };
    let room = Arc::new(body_limit::Room::new(services.config.attachment_limit));
    let state = AppState { backend: services.backend(), services, leptos, connects_to, room, warned: Arc::default() };
    let routes = generate_route_list(app::App);
    let context = {
        let backend = state.backend.clone();
        move || {
            provide_context(backend.clone());
            // Static files need no range requests.
            let Some(parts) = use_context::<http::request::Parts>() else { return };
            if let Some(visitor) = parts.extensions.get::<Visitor>() {
                provide_context(visitor.clone());
            }
            if let Some(nonce) = parts.extensions.get::<Nonce>() {
                provide_context(nonce.clone());
            }
        }
    };
    let shell = {
        let options = state.leptos.clone();
        move || app::shell(options.clone())
    };
    let compressible = SizeAbove::new(512)
        .and(NotForContentType::GRPC)
        .and(NotForContentType::IMAGES)
        .and(NotForContentType::SSE)
        .and(NotForContentType::const_new("application/octet-stream"));
    let pages = Router::new()
        .leptos_routes_with_context(&state, routes, context.clone(), shell)
        .route(&format!("{INVITE_PATH}/{{list}}/links"), post(people::links))
        .route(&format!("{USERS_PATH}/{{id}}/export"), post(people::export))
        .route(MICROSOFT_SIGN_IN_PATH, get(microsoft::begin))
        .route(AUDIT_CSV_PATH, post(audit::csv))
        .route(&format!("{CERTIFICATE_PATH}/{{id}}"), get(credentials::certificate))
        .route(RELAY_CERTIFICATE_PATH, get(credentials::relay_certificate))
        .route(ISSUER_PATH, get(credentials::issuer))
        .route(KEY_SET_PATH, get(credentials::key_set))
        .route(MESSAGE_DOCUMENT_PATH, get(mail::document))
        .route(MESSAGE_ATTACHMENT_PATH, get(mail::download))
        .route(MESSAGE_RAW_PATH, get(mail::download))
        .fallback(file_and_error_handler_with_context::<AppState, _>(context, app::shell))
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(compressible));
    // Not within the compression layer: events must not wait in a buffer, and each stream would have the memory of a compressor.
    let pages = Router::new()
        .route(&format!("{ATTEMPT_EVENTS_PATH}/{{id}}"), get(events::attempt))
        .route(MAIL_EVENTS_PATH, get(events::mail))
        .route(&format!("{DEVICE_EVENTS_PATH}/{{id}}"), get(events::device))
        .merge(pages)
        .layer(from_fn(guard::answers))
        .layer(from_fn_with_state(state.clone(), body_limit::with_room))
        .layer(from_fn_with_state(state.clone(), guard::visitor));
    let files = tower_http::services::ServeDir::new(PathBuf::from(state.leptos.site_root.as_ref()).join("pkg"))
        .precompressed_br()
        .precompressed_gzip();
    let files = Router::new().fallback_service(files).layer(from_fn(immutable));
    Router::new()
        .route("/healthz", get(health))
        .nest("/pkg", files)
        .merge(pages)
        // Bodies are limited by path; the library's single limit is below that of a long message.
        .layer(axum::extract::DefaultBodyLimit::disable())
        .layer(from_fn_with_state(state.clone(), body_limit::bounded))
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(responses::panicked))
        // Outermost, so that responses of the other layers have the headers too.
        .layer(from_fn_with_state(state.clone(), security::headers))
        .layer(from_fn(guard::in_span))
        .with_state(state)
}

/// Serves until the services stop, then finishes running requests for some seconds.
pub async fn serve(listener: tokio::net::TcpListener, router: Router, services: &Arc<Services>) {
    let config = &services.config;
    let limits = connections::Limits {
        connections: config.connections.unwrap_or_else(connections::room_for_connections),
        per_address: config.connections_per_address,
        behind_proxy: config.client_address_header.is_some(),
        ..connections::Limits::default()
    };
    connections::serve(listener, router, limits, &services.stop).await;
}

/// The result of the background probe: no database access, immediate answer.
async fn health(axum::extract::State(state): axum::extract::State<AppState>) -> Response {
    let health = state.services.store.health();
    if health.problem().is_some() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the database accepts no writes").into_response();
    }
    let mut said = "ok".to_owned();
    if state.services.store.is_low() {
        let free = health.free().unwrap_or_default() / (1024 * 1024);
        let _ = write!(said, "\nthe disk is nearly full: {free} MiB are free");
    }
    (StatusCode::OK, said).into_response()
}

/// File names contain a content hash, so browsers may cache them.
async fn immutable(request: Request<axum::body::Body>, next: axum::middleware::Next) -> Response {
    let mut response = next.run(request).await;
    if response.status().is_success() {
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    }
    response
}
