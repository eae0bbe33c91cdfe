//! Sessions: opaque cookies, hashed in the store, naming the institution.

use std::net::IpAddr;
use std::sync::Arc;

use app::backend::{Cookie, Institution, Result, SignedIn};
use app::model::{InstitutionId, SessionId, UserId};

use super::Services;
use crate::clock::sha256;
use crate::store::{Result as StoreResult, SessionRow, Tx};

/// Idle lifetime of a session, in milliseconds: 12 hours.
pub const IDLE_MS: i64 = 12 * 60 * 60 * 1000;
/// Total lifetime of a session, in milliseconds: 7 days.
pub const LIFETIME_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// How often the last use is stored, in milliseconds.
const TOUCH_MS: i64 = 60 * 1000;

/// Name of the session's cookie.
pub const SESSION: &str = "entrepost_session";
/// Name of the cookie of a flash.
pub const FLASH: &str = "entrepost_answer";
/// Name of the cookie that binds a sign-in at Microsoft to a browser.
pub const BROWSER: &str = "entrepost_attempt";
/// Name of the cookie of a sign-in with Microsoft that waits for its answer.
pub const MICROSOFT: &str = "entrepost_microsoft";
/// Name of the cookie of a known browser.
pub const KNOWN: &str = "entrepost_known";

/// The full name of a cookie: with `__Host-` under https, which enforces Secure, Path=/ and this host.
pub fn cookie_name(services: &Services, name: &str) -> String {
    if services.config.public_url.is_https() { format!("__Host-{name}") } else { name.to_owned() }
}

/// A cookie for a number of seconds; 0 removes it.
pub fn cookie(services: &Services, name: &str, value: &str, seconds: i64) -> Cookie {
    let cookie = cookie::Cookie::build((cookie_name(services, name), value))
        .http_only(true)
        .same_site(cookie::SameSite::Lax)
        .path("/")
        .max_age(time::Duration::seconds(seconds))
        .secure(services.config.public_url.is_https());
    Cookie(cookie.to_string())
}

pub(super) async fn open(
    services: &Services,
    tx: &mut Tx,
    institution: InstitutionId,
    user: UserId,
) -> StoreResult<Cookie> {
    open_with_token(services, tx, institution, user).await.map(|(cookie, _)| cookie)
}

/// The cookie, and the session's token in it.
pub(super) async fn open_with_token(
    services: &Services,
    tx: &mut Tx,
    institution: InstitutionId,
    user: UserId,
) -> StoreResult<(Cookie, String)> {
    let (id, token) = (SessionId(services.clock.uuid()), services.clock.token());
    let now = services.clock.now();
    services.store.add_session(tx, institution, user, id, &sha256(&token), now).await?;
    services.store.note_sign_in(tx, institution, user, now).await?;
    Ok((cookie(services, SESSION, &token, LIFETIME_MS / 1000), token))
}

/// Looks the user up again: a request may wait long for its body.
pub async fn again(services: &Services, user: &SignedIn) -> Result<Option<SignedIn>> {
    let institution = Arc::new(user.institution().clone());
    let session = services.store.session_by_id(institution.id, user.session()).await?;
    signed_in(services, &institution, session, user.origin()).await
}

/// The user of a session cookie, in this institution.
pub async fn find(
    services: &Services,
    institution: &Arc<Institution>,
    token: &str,
    origin: IpAddr,
) -> Result<Option<SignedIn>> {
    let session = services.store.session(institution.id, &sha256(token)).await?;
    signed_in(services, institution, session, origin).await
}

async fn signed_in(
    services: &Services,
    institution: &Arc<Institution>,
    session: Option<SessionRow>,
    origin: IpAddr,
) -> Result<Option<SignedIn>> {
    let Some(session) = session else { return Ok(None) };
    let now = services.clock.now();
    if now.since_ms(session.seen_at) > IDLE_MS
        || now.since_ms(session.created_at) > LIFETIME_MS
        || session.user.disabled_at.is_some()
    {
        let mut tx = services.store.begin().await?;
        services.store.end_session(&mut tx, institution.id, session.id).await?;
        tx.commit().await?;
        return Ok(None);
    }
    if now.since_ms(session.seen_at) > TOUCH_MS {
        services.store.touch_session(institution.id, session.id, now).await?;
    }
    Ok(Some(SignedIn::from_session(
        session.id,
        session.user.id,
        Arc::clone(institution),
        session.user.address,
        session.user.role,
        session.mail_locked,
        origin,
    )))
}
