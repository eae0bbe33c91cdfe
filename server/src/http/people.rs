//! Files about people, for administrators.

use app::backend::Visitor;
use app::error::AppError;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::AppState;
use super::responses::refused;

/// New links for the people of a list, as a CSV file. By POST: it ends their earlier links.
pub(super) async fn links(
    State(state): State<AppState>,
    Extension(visitor): Extension<Visitor>,
    Path(list): Path<String>,
) -> Response {
    let made = async {
        let admin = visitor.administrator()?;
        let list = list.parse().map_err(|_| AppError::NotFound)?;
        state.backend.accounts.invitation_links(&admin, list).await
    };
    match made.await {
        Ok(text) => {
            let headers = [
                (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
                (header::CONTENT_DISPOSITION, "attachment; filename=\"invitation-links.csv\""),
                (header::CACHE_CONTROL, "no-store"),
            ];
            (headers, text).into_response()
        }
        Err(error) => refused("No links were made", &state.backend.told(error)),
    }
}
