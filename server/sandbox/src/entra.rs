//! Discovery, the authorize endpoint with its pages (account picker, sign-in, consent), admin consent.

use std::sync::Arc;

use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use crate::Shared;
use crate::html::{escape, page};
use crate::token;
use crate::world::{Authorization, Code, now, random};

/// Lifetime of an authorization code, in seconds.
const CODE_LIFETIME: i64 = 600;
const BROWSER_COOKIE: &str = "sandbox_browser";

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/{tenant}/v2.0/.well-known/openid-configuration", get(discovery))
        .route("/{tenant}/discovery/v2.0/keys", get(keys))
        .route("/{tenant}/oauth2/v2.0/authorize", get(authorize))
        .route("/{tenant}/oauth2/v2.0/token", post(token::endpoint))
        .route("/{tenant}/oauth2/introspect", post(token::introspect))
        .route("/{tenant}/login", post(login))
        .route("/{tenant}/pick", post(pick))
        .route("/{tenant}/consent", post(consent))
        .route("/{tenant}/v2.0/adminconsent", get(admin_consent).post(admin_consent_decided))
        .with_state(shared)
}

async fn discovery(State(shared): State<Arc<Shared>>, Path(tenant): Path<String>) -> Response {
    let faults = shared.faults();
    if faults.unavailable {
        return token::error(
            &shared,
            StatusCode::SERVICE_UNAVAILABLE,
            "temporarily_unavailable",
            90033,
            "A transient error has occurred. Please try again.",
        );
    }
    let (id, domain) = {
        let world = shared.world();
        (world.tenant_id.to_string(), world.tenant_domain.clone())
    };
    if tenant != id && !tenant.eq_ignore_ascii_case(&domain) {
        let text = format!("Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID.");
        return token::error(&shared, StatusCode::BAD_REQUEST, "invalid_tenant", 90002, &text);
    }
    let base = format!("{}/{id}", shared.authority);
    let issuer = if shared.faults().foreign_issuer {
        "https://login.evil.example/v2.0".to_owned()
    } else {
        format!("{base}/v2.0")
    };
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
        "token_endpoint": format!("{base}/oauth2/v2.0/token"),
        "jwks_uri": format!("{base}/discovery/v2.0/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic", "private_key_jwt"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
    }))
    .into_response()
}

async fn keys(State(shared): State<Arc<Shared>>) -> Response {
    match token::keys(&shared.world()) {
        Ok(set) => Json(set).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AuthorizeQuery {
    client_id: String,
    redirect_uri: String,
    response_type: String,
    scope: String,
    state: String,
    nonce: String,
    code_challenge: String,
    code_challenge_method: String,
    login_hint: String,
    prompt: String,
}

/// An error page at the authority: the redirect URI isn't trusted.
fn stuck(aadsts: u32, text: &str) -> Response {
    let body = format!(
        "<section><h1>Sign in</h1><p class=\"error\">Sorry, but we’re having trouble signing you in.</p><p>AADSTS{aadsts}: {}</p></section>",
        escape(text)
    );
    (StatusCode::BAD_REQUEST, page("Sign in to your account", true, &body)).into_response()
}

async fn authorize(
    State(shared): State<Arc<Shared>>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    Query(query): Query<AuthorizeQuery>,
) -> Response {
    let faults = shared.faults();
    if faults.unavailable {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            page("Service unavailable", true, "<section><h1>The service is unavailable.</h1></section>"),
        )
            .into_response();
    }
    let mut world = shared.world();
    if tenant != world.tenant_id.to_string() && !tenant.eq_ignore_ascii_case(&world.tenant_domain) {
        return stuck(90002, &format!("Tenant '{tenant}' not found."));
    }
    if query.client_id != world.app.client_id.to_string() {
        return stuck(700_016, "Application was not found in the directory.");
    }
    if !world.app.redirect_uris.contains(&query.redirect_uri) {
        let text = format!(
            "The redirect URI '{}' specified in the request does not match the redirect URIs configured for the application.",
            query.redirect_uri
        );
        return stuck(50011, &text);
    }
    let back = |error: &str, text: &str| {
        redirect_back(&query.redirect_uri, &[("error", error), ("error_description", text), ("state", &query.state)])
    };
    if query.response_type != "code" || query.scope.is_empty() {
        return back(
            "invalid_request",
            "AADSTS900144: The request body must contain the parameters 'response_type' and 'scope'.",
        );
    }
    if query.code_challenge.is_empty() || query.code_challenge_method != "S256" {
        return back(
            "invalid_request",
            "AADSTS9002325: Proof Key for Code Exchange is required for cross-origin authorization code redemption.",
        );
    }
    let id = random("");
    let authorization = Authorization {
        redirect_uri: query.redirect_uri.clone(),
        state: query.state.clone(),
        nonce: query.nonce.clone(),
        scopes: query.scope.split_whitespace().map(ToOwned::to_owned).collect(),
        challenge: query.code_challenge.clone(),
        login_hint: query.login_hint.clone(),
        upn: None,
    };
    if world.authorizations.len() > 1000 {
        world.authorizations.clear();
    }
    world.authorizations.insert(id.clone(), authorization);
    let signed_in = browser(&headers).and_then(|browser| world.browsers.get(&browser).cloned()).unwrap_or_default();
    drop(world);
    if query.prompt.is_empty() && signed_in.contains(&query.login_hint) {
        return signed_in_as(&shared, &tenant, &id, &query.login_hint);
    }
    if query.prompt == "login" || signed_in.is_empty() {
        login_page(&tenant, &id, &query.login_hint, None)
    } else {
        picker_page(&tenant, &id, &signed_in, &query.login_hint)
    }
}

fn redirect_back(uri: &str, parameters: &[(&str, &str)]) -> Response {
    match Url::parse(uri) {
        Ok(mut url) => {
            url.query_pairs_mut().extend_pairs(parameters.iter().filter(|(_, value)| !value.is_empty()));
            Redirect::to(url.as_str()).into_response()
        }
        Err(_) => stuck(50011, "The redirect URI is malformed."),
    }
}

fn browser(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get(header::COOKIE)?.to_str().ok()?;
    let value = cookies.split("; ").find_map(|cookie| cookie.strip_prefix(BROWSER_COOKIE)?.strip_prefix('='))?;
    Some(value.to_owned())
}

fn login_page(tenant: &str, id: &str, hint: &str, error: Option<&str>) -> Response {
    let error = error.map(|text| format!("<p class=\"error\" role=\"alert\">{}</p>", escape(text))).unwrap_or_default();
    let body = format!(
        "<section><p class=\"soft\">Sandbox: no real Microsoft</p><h1>Sign in</h1>{error}\
         <form method=\"post\" action=\"/{}/login\"><input type=\"hidden\" name=\"authorization\" value=\"{}\">\
         <label>Email or sign-in name<input name=\"username\" value=\"{}\" autocomplete=\"username\" required></label>\
         <label>Password<input name=\"password\" type=\"password\" autocomplete=\"current-password\" required></label>\
         <button>Sign in</button></form></section>",
        escape(tenant),
        escape(id),
        escape(hint)
    );
    page("Sign in to your account", true, &body).into_response()
}

fn picker_page(tenant: &str, id: &str, signed_in: &[String], hint: &str) -> Response {
    let button = |value: &str, label: &str| {
        format!(
            "<form method=\"post\" action=\"/{}/pick\"><input type=\"hidden\" name=\"authorization\" value=\"{}\">\
             <button class=\"account\" name=\"upn\" value=\"{}\">{}</button></form>",
            escape(tenant),
            escape(id),
            escape(value),
            escape(label)
        )
    };
    let accounts: String = signed_in.iter().map(|upn| button(upn, upn)).collect();
    let hint =
        if hint.is_empty() { String::new() } else { format!("<p class=\"soft\">Asked for: {}</p>", escape(hint)) };
    let body = format!(
        "<section><p class=\"soft\">Sandbox: no real Microsoft</p><h1>Pick an account</h1>{hint}{accounts}{}</section>",
        button("", "Use another account")
    );
    page("Sign in to your account", true, &body).into_response()
}

#[derive(Deserialize)]
struct Login {
    authorization: String,
    username: String,
    password: String,
}

async fn login(
    State(shared): State<Arc<Shared>>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    Form(form): Form<Login>,
) -> Response {
    let mut world = shared.world();
    let Some(hint) =
        world.authorizations.get(&form.authorization).map(|authorization| authorization.login_hint.clone())
    else {
        return stuck(165_000, "This sign-in is not known any more. Go back and start again.");
    };
    let found = world
        .account_by_sign_in(&form.username)
        .filter(|account| account.password.as_deref() == Some(form.password.as_str()));
    let Some(upn) = found.map(|account| account.upn.clone()) else {
        drop(world);
        let hint = if form.username.is_empty() { hint } else { form.username };
        return login_page(&tenant, &form.authorization, &hint, Some("Your account or password is incorrect."));
    };
    let browser = browser(&headers).unwrap_or_else(|| random(""));
    let signed_in = world.browsers.entry(browser.clone()).or_default();
    if !signed_in.contains(&upn) {
        signed_in.push(upn.clone());
    }
    drop(world);
    let mut response = signed_in_as(&shared, &tenant, &form.authorization, &upn);
    let cookie = format!("{BROWSER_COOKIE}={browser}; HttpOnly; SameSite=Lax; Path=/");
    if let Ok(value) = cookie.parse() {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}

#[derive(Deserialize)]
struct Pick {
    authorization: String,
    upn: String,
}

async fn pick(
    State(shared): State<Arc<Shared>>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    Form(form): Form<Pick>,
) -> Response {
    let signed_in =
        browser(&headers).and_then(|browser| shared.world().browsers.get(&browser).cloned()).unwrap_or_default();
    if signed_in.contains(&form.upn) {
        signed_in_as(&shared, &tenant, &form.authorization, &form.upn)
    } else {
        let hint = shared
            .world()
            .authorizations
            .get(&form.authorization)
            .map(|known| known.login_hint.clone())
            .unwrap_or_default();
        login_page(&tenant, &form.authorization, &hint, None)
    }
}

fn signed_in_as(shared: &Shared, tenant: &str, id: &str, upn: &str) -> Response {
    let mut world = shared.world();
    let upn = if world.faults.wrong_account { "other@demo.example" } else { upn }.to_owned();
    let Some(mut authorization) = world.authorizations.get(id).cloned() else {
        return stuck(165_000, "This sign-in is not known any more. Go back and start again.");
    };
    if world.faults.consent_missing {
        let text = "AADSTS90094: The grant requires administrator permission. You need to have an administrator consent on behalf of your organization.";
        return redirect_back(
            &authorization.redirect_uri,
            &[("error", "consent_required"), ("error_description", text), ("state", &authorization.state)],
        );
    }
    authorization.upn = Some(upn.clone());
    let consented = world.app.admin_consent || world.account_by_sign_in(&upn).is_some_and(|account| account.consented);
    if consented {
        let response = grant_code(&mut world, &authorization, &upn);
        world.authorizations.remove(id);
        return response;
    }
    let scopes: String =
        authorization.scopes.iter().map(|scope| format!("<li><code>{}</code></li>", escape(scope))).collect();
    let name = escape(&world.app.name);
    world.authorizations.insert(id.to_owned(), authorization);
    drop(world);
    let body = format!(
        "<section><p class=\"soft\">{}</p><h1>Permissions requested</h1><p><strong>{name}</strong> would like to:</p><ul>{scopes}</ul>\
         <form method=\"post\" action=\"/{}/consent\"><input type=\"hidden\" name=\"authorization\" value=\"{}\">\
         <button name=\"answer\" value=\"accept\">Accept</button><button class=\"plain\" name=\"answer\" value=\"cancel\">Cancel</button></form></section>",
        escape(&upn),
        escape(tenant),
        escape(id)
    );
    page("Permissions requested", true, &body).into_response()
}

#[derive(Deserialize)]
struct Consent {
    authorization: String,
    answer: String,
}

async fn consent(State(shared): State<Arc<Shared>>, Form(form): Form<Consent>) -> Response {
    let mut world = shared.world();
    let Some(authorization) = world.authorizations.remove(&form.authorization) else {
        return stuck(165_000, "This sign-in is not known any more. Go back and start again.");
    };
    let Some(upn) = authorization.upn.clone() else {
        return stuck(50058, "Nobody is signed in.");
    };
    if form.answer != "accept" {
        let text = "AADSTS65004: User declined to consent to access the app.";
        return redirect_back(
            &authorization.redirect_uri,
            &[("error", "access_denied"), ("error_description", text), ("state", &authorization.state)],
        );
    }
    if let Some(account) = world.account_mut(&upn) {
        account.consented = true;
    }
    grant_code(&mut world, &authorization, &upn)
}

fn grant_code(world: &mut crate::World, authorization: &Authorization, upn: &str) -> Response {
    let code = random("code.");
    let (uri, state) = (authorization.redirect_uri.clone(), authorization.state.clone());
    world.codes.retain(|_, code| code.expires_at > now() - CODE_LIFETIME);
    world.codes.insert(
        code.clone(),
        Code {
            authorization: authorization.clone(),
            upn: upn.to_owned(),
            used: false,
            expires_at: now() + CODE_LIFETIME,
            verifier: String::new(),
        },
    );
    world.touch();
    redirect_back(&uri, &[("code", &code), ("state", &state), ("session_state", "sandbox")])
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AdminConsent {
    client_id: String,
    redirect_uri: String,
    state: String,
    username: String,
    password: String,
    answer: String,
    scope: String,
}

async fn admin_consent(
    State(shared): State<Arc<Shared>>,
    Path(tenant): Path<String>,
    Query(query): Query<AdminConsent>,
) -> Response {
    let world = shared.world();
    if query.client_id != world.app.client_id.to_string() {
        return stuck(700_016, "Application was not found in the directory.");
    }
    if !world.app.redirect_uris.contains(&query.redirect_uri) {
        return stuck(50011, "The redirect URI does not match the redirect URIs configured for the application.");
    }
    drop(world);
    admin_consent_page(&tenant, &query, None)
}

fn admin_consent_page(tenant: &str, query: &AdminConsent, error: Option<&str>) -> Response {
    let hidden =
        |name: &str, value: &str| format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escape(value));
    let body = format!(
        "<section><p class=\"soft\">Sandbox: no real Microsoft</p><h1>Grant for your organization</h1>{}\
         <form method=\"post\" action=\"/{}/v2.0/adminconsent\">{}{}{}{}\
         <label>Email or sign-in name<input name=\"username\" value=\"{}\"></label><label>Password<input type=\"password\" name=\"password\"></label>\
         <button name=\"answer\" value=\"accept\">Accept</button><button class=\"plain\" name=\"answer\" value=\"cancel\">Cancel</button></form></section>",
        error.map(|text| format!("<p class=\"error\" role=\"alert\">{}</p>", escape(text))).unwrap_or_default(),
        escape(tenant),
        hidden("client_id", &query.client_id),
        hidden("redirect_uri", &query.redirect_uri),
        hidden("state", &query.state),
        hidden("scope", &query.scope),
        escape(&query.username)
    );
    page("Permissions requested", true, &body).into_response()
}

async fn admin_consent_decided(
    State(shared): State<Arc<Shared>>,
    Path(tenant): Path<String>,
    Form(form): Form<AdminConsent>,
) -> Response {
    let mut world = shared.world();
    if !world.app.redirect_uris.contains(&form.redirect_uri) {
        return stuck(50011, "The redirect URI does not match the redirect URIs configured for the application.");
    }
    if form.answer != "accept" {
        let text = "AADSTS65004: The admin declined to consent to access the app.";
        return redirect_back(
            &form.redirect_uri,
            &[("error", "access_denied"), ("error_description", text), ("state", &form.state)],
        );
    }
    let admin = world.account_by_sign_in(&form.username).is_some_and(|account| {
        account.upn.starts_with("admin@") && account.password.as_deref() == Some(form.password.as_str())
    });
    if !admin {
        drop(world);
        return admin_consent_page(
            &tenant,
            &form,
            Some("Sign in as an administrator of the tenant (admin@demo.example)."),
        );
    }
    world.app.admin_consent = true;
    // Consent is for what was asked for.
    let asked = form.scope.split_whitespace().filter_map(|scope| scope.rsplit('/').next());
    world.app.graph_scopes = asked.filter(|name| name.starts_with("Mail.")).map(ToOwned::to_owned).collect();
    world.touch();
    let tenant_id = world.tenant_id.to_string();
    redirect_back(&form.redirect_uri, &[("admin_consent", "True"), ("tenant", &tenant_id), ("state", &form.state)])
}
