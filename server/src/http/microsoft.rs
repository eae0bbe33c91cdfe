//! Begins a sign-in with Microsoft, by a link of the sign-in page.

use std::collections::HashMap;

use app::backend::Visitor;
use app::model::{AppPath, Flash, FormName, Notice};
use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect, Response};

use super::AppState;

/// Only a cookie changes: it waits for Microsoft's answer. `mail=no` asks for no mailbox.
pub(super) async fn begin(
    State(state): State<AppState>,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
    query: Result<Query<HashMap<String, String>>, QueryRejection>,
) -> Response {
    let query = query.map(|Query(query)| query).unwrap_or_default();
    let next = AppPath::parse(query.get("next").map(String::as_str));
    // Another site must not begin sign-ins here.
    let is_elsewhere = headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    if visitor.person.is_some() {
        return Redirect::to(next.as_str()).into_response();
    }
    if is_elsewhere {
        return Redirect::to(&next.login()).into_response();
    }
    let mail = query.get("mail").is_none_or(|mail| mail != "no");
    let no_store = (header::CACHE_CONTROL, "no-store");
    match state.backend.accounts.start_microsoft(&visitor, &next, None, mail).await {
        Ok(redirect) => {
            let cookie = (header::SET_COOKIE, redirect.cookie.0);
            ([cookie], [no_store], Redirect::to(&redirect.url)).into_response()
        }
        Err(error) => {
            let notice = Notice::problem(&state.backend.told(error).to_string());
            let flash = Flash { form: FormName::SignIn, ..Flash::notice(notice) };
            let cookie =
                state.backend.flashes.put(&visitor, flash).await.ok().map(|cookie| [(header::SET_COOKIE, cookie.0)]);
            (cookie, [no_store], Redirect::to(&next.login())).into_response()
        }
    }
}
