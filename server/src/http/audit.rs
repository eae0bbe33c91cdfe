//! The audit log as a file, for administrators.

use app::backend::Visitor;
use app::model::AuditQuery;
use axum::body::Body;
use axum::extract::{Form, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Extension, extract::rejection::FormRejection};
use futures::TryStreamExt;
use std::collections::HashMap;

use super::AppState;
use super::responses::refused;

/// By POST: the download is noted in the log.
pub(super) async fn csv(
    State(state): State<AppState>,
    Extension(visitor): Extension<Visitor>,
    form: Result<Form<HashMap<String, String>>, FormRejection>,
) -> Response {
    let values = form.map(|Form(values)| values).unwrap_or_default();
    let made = async {
        let admin = visitor.administrator()?;
        state.backend.audit.export(&admin, AuditQuery::parse(|name| values.get(name).cloned())).await
    };
    match made.await {
        Ok(parts) => {
            let headers = [
                (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
                (header::CONTENT_DISPOSITION, "attachment; filename=\"audit.csv\""),
                (header::CACHE_CONTROL, "no-store"),
            ];
            let backend = state.backend.clone();
            let parts = parts.map_err(move |error| std::io::Error::other(backend.told(error).to_string()));
            (headers, Body::from_stream(parts)).into_response()
        }
        Err(error) => refused("The log was not downloaded", &state.backend.told(error)),
    }
}
