//! Files about people, for administrators.

use app::backend::Visitor;
use app::error::AppError;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;

use super::AppState;
use super::responses::{file, refused};

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
        Ok(text) => file("text/csv; charset=utf-8", "invitation-links.csv", text),
        Err(error) => refused("No links were made", &state.backend.told(error)),
    }
}

/// What is stored about a person. By POST: the download is logged.
pub(super) async fn export(
    State(state): State<AppState>,
    Extension(visitor): Extension<Visitor>,
    Path(user): Path<String>,
) -> Response {
    let made = async {
        let admin = visitor.administrator()?;
        let user = user.parse().map_err(|_| AppError::NotFound)?;
        state.backend.accounts.export_person(&admin, user).await
    };
    match made.await {
        Ok(text) => file("application/json", "person.json", text),
        Err(error) => refused("Nothing was downloaded", &state.backend.told(error)),
    }
}
