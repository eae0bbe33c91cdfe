//! Keys, id tokens and the token endpoint.

use std::sync::Arc;

use axum::Form;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::Shared;
use crate::assertion;
use crate::faults::Faults;
use crate::world::{Access, Grant, World, now, random};

const KEY_ID: &str = "sandbox-1";
/// Lifetime of an access token, in seconds; Microsoft's is 60 to 90 minutes.
const ACCESS_LIFETIME: i64 = 3600;

pub(crate) fn keys(world: &World) -> Result<JwkSet, jsonwebtoken::errors::Error> {
    let key = EncodingKey::from_rsa_pem(world.key_pem.as_bytes())?;
    let mut jwk = Jwk::from_encoding_key(&key, Algorithm::RS256)?;
    jwk.common.key_id = Some(KEY_ID.into());
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    // Like Microsoft's keys, without `alg`.
    jwk.common.key_algorithm = None;
    Ok(JwkSet { keys: vec![jwk] })
}

/// An error in Microsoft's format, or another OpenID provider's.
pub(crate) fn error(shared: &Shared, status: StatusCode, error: &str, aadsts: u32, text: &str) -> Response {
    let stamp = time::OffsetDateTime::now_utc();
    let body = if shared.faults().plain_errors {
        json!({ "error": error, "error_description": text })
    } else {
        let (trace, correlation) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        json!({
            "error": error,
            "error_description": format!("AADSTS{aadsts}: {text} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {} {}Z", stamp.date(), stamp.time()),
            "error_codes": [aadsts],
            "timestamp": format!("{} {}Z", stamp.date(), stamp.time()),
            "trace_id": trace,
            "correlation_id": correlation,
        })
    };
    (status, [(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response()
}

#[derive(Deserialize)]
pub(crate) struct TokenRequest {
    grant_type: String,
    #[serde(default)]
    client_id: String,
    #[serde(default)]
    client_secret: String,
    #[serde(default)]
    client_assertion: String,
    #[serde(default)]
    client_assertion_type: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    redirect_uri: String,
    #[serde(default)]
    code_verifier: String,
    #[serde(default)]
    refresh_token: String,
}

pub(crate) async fn endpoint(
    State(shared): State<Arc<Shared>>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    Form(request): Form<TokenRequest>,
) -> Response {
    let faults = shared.faults();
    // Decided now, sent later: a lost response has still rotated the token.
    // Keys of issuers are fetched before the state is locked.
    let asserted = if request.client_assertion.is_empty() {
        None
    } else {
        let kind = &request.client_assertion_type;
        Some(assertion::check(&shared, &request.client_id, kind, &request.client_assertion).await)
    };
    let answer = answered(&shared, &tenant, &headers, request, asserted);
    let slow = faults.slow_ms + faults.token_slow_ms;
    if slow > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(slow)).await;
    }
    if faults.token_page {
        return axum::response::Html("<h1>This page is blocked.</h1>").into_response();
    }
    if faults.token_dropped {
        let broken = Err::<String, _>(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        return axum::body::Body::from_stream(futures::stream::once(async { broken })).into_response();
    }
    if faults.token_withheld {
        std::future::pending::<()>().await;
    }
    answer
}

fn answered(
    shared: &Arc<Shared>,
    tenant: &str,
    headers: &HeaderMap,
    mut request: TokenRequest,
    asserted: Option<Result<(), assertion::Refusal>>,
) -> Response {
    let faults = shared.faults();
    let refuse = |status: u16, kind: &str, aadsts: u32, text: &str| {
        error(shared, StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), kind, aadsts, text)
    };
    if let Some((id, secret)) = basic(headers) {
        request.client_id = id;
        request.client_secret = secret;
    }
    let mut guard = shared.world();
    let world = &mut *guard;
    *world.token_requests.entry(request.grant_type.clone()).or_default() += 1;
    world.dirty = true;

    if faults.unavailable {
        drop(guard);
        return refuse(503, "temporarily_unavailable", 90033, "A transient error has occurred. Please try again.");
    }
    if faults.token_busy {
        drop(guard);
        let mut answer = refuse(429, "temporarily_unavailable", 90055, "The server is too busy. Please try again.");
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("120"));
        return answer;
    }
    let known_tenant = tenant == world.tenant_id.to_string() || tenant.eq_ignore_ascii_case(&world.tenant_domain);
    let refusal = if !known_tenant {
        Some((400, "invalid_request", 90002, format!("Tenant '{tenant}' not found.")))
    } else if request.client_id != world.app.client_id.to_string() {
        let text = format!("Application with identifier '{}' was not found in the directory.", request.client_id);
        Some((400, "unauthorized_client", 700_016, text))
    } else if let Some(asserted) = asserted {
        asserted.err().or_else(|| told_to_refuse(&faults, &request.grant_type))
    } else if faults.secrets_forbidden {
        let text = "Credential type not allowed as per assigned policy 'CredentialTypeNotAllowedAsPerAppPolicy'.";
        Some((401, "invalid_client", 7_000_215, text.into()))
    } else if faults.secret_expired {
        Some((401, "invalid_client", 7_000_222, "The provided client secret keys for app are expired.".into()))
    } else if request.client_secret != world.app.secret_value
        && !(request.grant_type == "client_credentials" && world.app.spreading_secrets.contains(&request.client_secret))
    {
        let text = "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID.";
        Some((401, "invalid_client", 7_000_215, text.into()))
    } else {
        told_to_refuse(&faults, &request.grant_type)
    };
    if let Some((status, kind, aadsts, text)) = refusal {
        drop(guard);
        return refuse(status, kind, aadsts, &text);
    }
    let answer = match request.grant_type.as_str() {
        "client_credentials" => client_credentials(world, &request),
        "authorization_code" => authorization_code(&shared.authority, world, &request),
        "refresh_token" => refresh(&shared.authority, world, &request),
        _ => Err((400, "unsupported_grant_type", 70003, "The app requested an unsupported grant type.".into())),
    };
    drop(guard);
    match answer {
        Ok(body) => ([(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response(),
        Err((status, kind, aadsts, text)) => refuse(status, kind, aadsts, &text),
    }
}

/// The refusal that a fault asks for.
fn told_to_refuse(faults: &Faults, grant_type: &str) -> Option<assertion::Refusal> {
    let is_app = grant_type == "client_credentials";
    let told = ["interaction_required", "invalid_request"].into_iter().find(|kind| *kind == faults.token_error_kind);
    let (kind, code) = match (is_app, faults.app_error, faults.token_error) {
        (true, 7_000_229, _) => ("unauthorized_client", faults.app_error),
        (true, 1.., _) => ("told_to_refuse", faults.app_error),
        (false, _, code @ 1..) if told.is_some() => (told.unwrap_or_default(), code),
        (false, _, code @ (50076 | 50079 | 53000 | 53003 | 65001)) => ("interaction_required", code),
        (false, _, code @ (50196 | 90055)) => ("temporarily_unavailable", code),
        (false, _, code @ (700_016 | 7_000_112 | 7_000_229)) => ("unauthorized_client", code),
        (false, _, code @ 1..) => ("invalid_grant", code),
        _ => return None,
    };
    let text = match (code, faults.other_cloud.as_str()) {
        (90038, other) => {
            let cloud = if other.is_empty() { "microsoftonline.us" } else { other };
            format!("Tenant 'demo.example' request is being redirected to the National Cloud '{cloud}'.")
        }
        _ => "The sandbox was told to refuse.".to_owned(),
    };
    Some((400, kind, code, text))
}

#[derive(Deserialize)]
pub(crate) struct Introspection {
    token: String,
}

/// Introspection (RFC 7662), for third-party mail servers.
pub(crate) async fn introspect(State(shared): State<Arc<Shared>>, Form(asked): Form<Introspection>) -> Response {
    let world = shared.world();
    let found = world.access.get(&asked.token).filter(|access| access.expires_at > now() && !access.upn.is_empty());
    let body = match found {
        Some(access) => json!({
            "active": true, "scope": access.scopes.join(" "), "username": access.upn, "sub": access.upn,
            "exp": access.expires_at, "token_type": "Bearer",
        }),
        None => json!({ "active": false }),
    };
    ([(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response()
}

type Answer = Result<serde_json::Value, (u16, &'static str, u32, String)>;

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(BASE64_STANDARD.decode(value).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    let decode = |part: &str| url::form_urlencoded::parse(part.as_bytes()).map(|(key, _)| key.into_owned()).next();
    Some((decode(id)?, decode(secret)?))
}

fn client_credentials(world: &mut World, request: &TokenRequest) -> Answer {
    if !request.scope.ends_with("/.default") {
        return Err((
            400,
            "invalid_scope",
            70011,
            "The provided value for the input parameter 'scope' is not valid.".into(),
        ));
    }
    let token = random("app.");
    let access = Access { upn: String::new(), scopes: Vec::new(), expires_at: now() + ACCESS_LIFETIME };
    world.access.insert(token.clone(), access);
    Ok(
        json!({ "token_type": "Bearer", "expires_in": ACCESS_LIFETIME, "ext_expires_in": ACCESS_LIFETIME, "access_token": token }),
    )
}

fn authorization_code(authority: &str, world: &mut World, request: &TokenRequest) -> Answer {
    let invalid = |aadsts, text: &str| Err((400, "invalid_grant", aadsts, text.to_owned()));
    let Some(code) = world.codes.get_mut(&request.code) else {
        return invalid(70008, "The provided authorization code is unknown or expired.");
    };
    if code.used {
        return invalid(54005, "OAuth2 Authorization code was already redeemed, please retry with a new valid code.");
    }
    if code.expires_at < now() {
        return invalid(70008, "The provided authorization code has expired.");
    }
    if code.authorization.redirect_uri != request.redirect_uri {
        return invalid(50011, "The redirect URI specified in the request does not match.");
    }
    if BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&request.code_verifier)) != code.authorization.challenge {
        return invalid(
            501_481,
            "The Code_Verifier does not match the code_challenge supplied in the authorization request.",
        );
    }
    code.used = true;
    code.verifier.clone_from(&request.code_verifier);
    let (upn, authorization) = (code.upn.clone(), code.authorization.clone());
    issue(authority, world, &upn, &authorization.scopes, Some(&authorization.nonce))
}

fn refresh(authority: &str, world: &mut World, request: &TokenRequest) -> Answer {
    let revoked = world.faults.grants_revoked;
    match world.grants.get(&request.refresh_token) {
        Some(grant) if !grant.revoked && !revoked => {
            let grant = grant.clone();
            if world.faults.strict_rotation
                && let Some(used) = world.grants.get_mut(&request.refresh_token)
            {
                used.revoked = true;
            }
            let graph: Vec<String> = request
                .scope
                .split_whitespace()
                .filter(|scope| scope.contains("/Mail."))
                .map(ToOwned::to_owned)
                .collect();
            if graph.is_empty() {
                return issue(authority, world, &grant.upn, &grant.scopes, None);
            }
            let is_consented = |scope: &String| {
                !(world.faults.graph_send_only && scope.ends_with("/Mail.ReadWrite"))
                    && scope.rsplit('/').next().is_some_and(|name| world.app.graph_scopes.iter().any(|one| one == name))
            };
            if !graph.iter().all(is_consented) {
                let text = "The user or administrator has not consented to use the application.";
                return Err((400, "invalid_grant", 65001, text.into()));
            }
            let body = issue(authority, world, &grant.upn, &graph, None)?;
            // The new refresh token is for everything that the grant is for.
            if let Some(renewed) = body["refresh_token"].as_str().and_then(|token| world.grants.get_mut(token)) {
                renewed.scopes.clone_from(&grant.scopes);
            }
            Ok(body)
        }
        Some(_) => Err((
            400,
            "invalid_grant",
            50173,
            "The provided grant has expired due to it being revoked, a fresh auth token is needed.".into(),
        )),
        None => Err((400, "invalid_grant", 70008, "The refresh token has expired or is unknown.".into())),
    }
}

fn issue(authority: &str, world: &mut World, upn: &str, scopes: &[String], nonce: Option<&str>) -> Answer {
    let granted: Vec<String> = scopes
        .iter()
        .filter(|scope| !(world.faults.smtp_scope_missing && scope.ends_with("SMTP.Send")))
        .filter(|scope| !["offline_access", "openid", "profile", "email"].contains(&scope.as_str()))
        .cloned()
        .collect();
    let (mut access, refresh) = (random("access."), random("refresh."));
    access.push_str(&"x".repeat(world.faults.token_padding));
    let lifetime = if world.faults.token_seconds > 0 { world.faults.token_seconds } else { ACCESS_LIFETIME };
    world.access.retain(|_, access| access.expires_at > now());
    world
        .access
        .insert(access.clone(), Access { upn: upn.into(), scopes: granted.clone(), expires_at: now() + lifetime });
    // The old refresh token stays valid, as Microsoft's does.
    world.grants.insert(refresh.clone(), Grant { upn: upn.into(), scopes: scopes.to_vec(), revoked: false });
    let mut body = json!({
        "token_type": "Bearer", "scope": granted.join(" "), "expires_in": lifetime,
        "ext_expires_in": lifetime, "access_token": access, "refresh_token": refresh,
    });
    if world.faults.no_refresh_token {
        body.as_object_mut().map(|body| body.remove("refresh_token"));
    }
    if let (Some(nonce), Some(account)) = (nonce, world.account_by_sign_in(upn)) {
        let time = now() + world.clock_ahead;
        let mut claims = json!({
            "aud": world.app.client_id, "iss": format!("{authority}/{}/v2.0", world.tenant_id),
            "iat": time, "nbf": time, "exp": time + ACCESS_LIFETIME, "nonce": nonce, "name": account.name,
            "oid": account.oid, "sub": BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(account.oid.as_bytes())),
            "preferred_username": account.upn, "tid": world.tenant_id, "ver": "2.0",
        });
        if account.email_claim {
            claims["email"] = json!(account.address);
        }
        if world.faults.id_token_foreign {
            claims["aud"] = json!(uuid::Uuid::new_v4());
        }
        for (name, value) in &world.claims {
            claims[name.as_str()] = json!(value);
        }
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(KEY_ID.into());
        let broken = |error: jsonwebtoken::errors::Error| (500, "server_error", 90033, error.to_string());
        let key = EncodingKey::from_rsa_pem(world.key_pem.as_bytes()).map_err(broken)?;
        body["id_token"] = json!(jsonwebtoken::encode(&header, &claims, &key).map_err(broken)?);
    }
    Ok(body)
}

/// Validates a token for SMTP or IMAP; returns its account.
pub(crate) fn access_upn(world: &World, token: &str, scope_end: &str) -> Option<String> {
    let access = world.access.get(token)?;
    (access.expires_at > now() && access.scopes.iter().any(|scope| scope.ends_with(scope_end)))
        .then(|| access.upn.clone())
}
