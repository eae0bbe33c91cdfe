//! Certificates to upload at Microsoft, and Entrepost as an issuer that Microsoft trusts.

use app::backend::Visitor;
use app::error::AppError;
use app::model::{KEY_SET_PATH, SigningKeyId};
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::AppState;
use super::responses::{file, refused};

pub(super) async fn certificate(
    State(state): State<AppState>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
) -> Response {
    let made = async {
        let admin = visitor.administrator()?;
        let id: SigningKeyId = id.parse().map_err(|_| AppError::NotFound)?;
        state.backend.email_config.certificate(&admin, id).await
    };
    match made.await {
        Ok((name, pem)) => file("application/x-pem-file", &name, pem),
        Err(error) => refused("The certificate was not downloaded", &state.backend.told(error)),
    }
}

/// The certificate of the relay, to import into devices.
pub(super) async fn relay_certificate(
    State(state): State<AppState>,
    Extension(visitor): Extension<Visitor>,
) -> Response {
    let read = async { state.backend.devices.relay_certificate(&visitor.administrator()?).await };
    match read.await {
        Ok(pem) => file("application/x-pem-file", "entrepost-relay.pem", pem),
        Err(error) => refused("The certificate was not downloaded", &state.backend.told(error)),
    }
}

/// Seconds for which an answer may be kept: a new key is published a day before it signs.
const KEPT: &str = "public, max-age=3600";

/// OpenID Connect Discovery 1.0, 4.
pub(super) async fn issuer(Extension(visitor): Extension<Visitor>) -> Response {
    let issuer = &visitor.institution.public_url;
    let body = serde_json::json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}{KEY_SET_PATH}"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    });
    ([(header::CACHE_CONTROL, KEPT)], axum::Json(body)).into_response()
}

/// A key set (RFC 7517, 5).
pub(super) async fn key_set(State(state): State<AppState>, Extension(visitor): Extension<Visitor>) -> Response {
    match state.backend.email_config.key_set(&visitor.institution).await {
        Ok(keys) => {
            // The first key is made by a Save: until then nothing is worth keeping.
            let kept = if keys.contains("kid") { KEPT } else { "no-store" };
            ([(header::CONTENT_TYPE, "application/jwk-set+json"), (header::CACHE_CONTROL, kept)], keys).into_response()
        }
        Err(error) => refused("The keys can't be read now", &state.backend.told(error)),
    }
}
