//! The audit log as a file, for administrators.

use app::backend::Visitor;
use app::model::AuditQuery;
use axum::body::Body;
use axum::extract::{Form, State};
use axum::response::Response;
use axum::{Extension, extract::rejection::FormRejection};
use futures::TryStreamExt;
use std::collections::HashMap;

use super::AppState;
use super::responses::{file, refused};

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
            let backend = state.backend.clone();
            let parts = parts.map_err(move |error| std::io::Error::other(backend.told(error).to_string()));
            file("text/csv; charset=utf-8", "audit.csv", Body::from_stream(parts))
        }
        Err(error) => refused("The log was not downloaded", &state.backend.told(error)),
    }
}
