//! id_token validation (OpenID Connect Core 1.0, 3.1.3.7): signature, issuer, audience, times, nonce, tenant.

use app::model::{ClientId, TenantId, Timestamp};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use uuid::Uuid;

use super::{Credentials, Entra, IdentityError};
use crate::vault::Secret;

/// Seconds that clocks may differ.
const LEEWAY: i64 = 300;

/// Why an id_token proves nothing. The texts hold no part of the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenError {
    /// There is none.
    #[error("the answer has no id_token")]
    Missing,
    /// Its header cannot be read, or it is signed in a way that proves nothing.
    #[error("the id_token is signed with {0}, which is not accepted")]
    Algorithm(String),
    #[error("the id_token cannot be read")]
    Malformed,
    #[error("the id_token is signed with a key that the authority does not publish")]
    UnknownKey,
    /// Invalid signature, issuer or audience, or a missing claim.
    #[error("the id_token is not valid: {0}")]
    Claim(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The sign-in name: `user=` of SMTP and IMAP.
    pub sign_in_name: String,
    /// The names that the tenant's administrators give: `preferred_username`, `upn`.
    pub names: Vec<String>,
    /// The `email` claim. Some tenants let people set it to anything: it is proven by a message before it counts.
    pub email: Option<String>,
    /// The stable key: `oid@tid`, else `sub@iss`.
    pub subject: String,
    /// The display name.
    pub name: Option<String>,
    /// The account belongs to another organization
    /// (<https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference>).
    pub is_guest: bool,
}

/// What the token must say.
pub struct Expected<'a> {
    pub issuer: &'a str,
    pub client_id: ClientId,
    pub tenant_id: TenantId,
    /// The nonce of the attempt.
    pub nonce: &'a str,
    pub now: Timestamp,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    exp: i64,
    nbf: Option<i64>,
    iat: Option<i64>,
    nonce: Option<String>,
    tid: Option<String>,
    oid: Option<String>,
    preferred_username: Option<String>,
    upn: Option<String>,
    email: Option<String>,
    azp: Option<String>,
    name: Option<String>,
    /// Who authenticated the person; absent, or the issuer, where that is the tenant itself.
    idp: Option<String>,
    /// 0: member, 1: guest. An optional claim.
    acct: Option<serde_json::Value>,
    aud: Audience,
}

/// `aud`: one, or several (RFC 7519, 4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn has_others(&self, own: &str) -> bool {
        match self {
            Self::One(one) => one != own,
            Self::Several(all) => all.iter().any(|one| one != own),
        }
    }
}

/// Validates an id_token. Pure: the time is a parameter.
/// [`IdTokenError::UnknownKey`] may mean that the keys are old.
pub fn validate(token: &str, keys: &JwkSet, expected: &Expected<'_>) -> Result<Identity, IdTokenError> {
    let header = decode_header(token).map_err(|_| IdTokenError::Malformed)?;
    let asymmetric = [
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ];
    if !asymmetric.contains(&header.alg) {
        return Err(IdTokenError::Algorithm(format!("{:?}", header.alg)));
    }
    let jwk = match &header.kid {
        Some(kid) => keys.find(kid),
        None => keys.keys.first().filter(|_| keys.keys.len() == 1),
    };
    let key = DecodingKey::from_jwk(jwk.ok_or(IdTokenError::UnknownKey)?).map_err(|_| IdTokenError::UnknownKey)?;

    let mut validation = Validation::new(header.alg);
    // The times are checked below, against the clock that is passed in.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
    validation.set_issuer(&[expected.issuer]);
    validation.set_audience(&[expected.client_id.to_string()]);
    let claims = decode::<Claims>(token, &key, &validation).map_err(|error| claim_error(error.kind()))?.claims;

    let now = expected.now.0 / 1000;
    if claims.exp < now - LEEWAY {
        return Err(IdTokenError::Claim("it has expired (exp)"));
    }
    if claims.nbf.is_some_and(|from| from > now + LEEWAY) || claims.iat.is_some_and(|at| at > now + LEEWAY) {
        return Err(IdTokenError::Claim("it is not valid yet (nbf, iat)"));
    }
    if claims.nonce.as_deref() != Some(expected.nonce) {
        return Err(IdTokenError::Claim("it belongs to another sign-in (nonce)"));
    }
    if claims.azp.as_ref().is_some_and(|azp| *azp != expected.client_id.to_string()) {
        return Err(IdTokenError::Claim("it was issued for another application (azp)"));
    }
    // OpenID Connect Core, 3.1.3.7: with several audiences, `azp` names the client.
    if claims.aud.has_others(&expected.client_id.to_string()) && claims.azp.is_none() {
        return Err(IdTokenError::Claim("it was issued for further applications (aud)"));
    }
    if let Some(tid) = &claims.tid
        && Uuid::parse_str(tid).ok() != Some(expected.tenant_id.0)
    {
        return Err(IdTokenError::Claim("it comes from another tenant (tid)"));
    }
    let given = |name: &String| !name.trim().is_empty();
    let names: Vec<String> = [claims.preferred_username, claims.upn].into_iter().flatten().filter(given).collect();
    let email = claims.email.filter(given);
    let sign_in_name = names.first().or(email.as_ref()).cloned();
    let sign_in_name = sign_in_name.ok_or(IdTokenError::Claim("it has no user name (preferred_username)"))?;
    if names.iter().chain(&email).any(|name| name.chars().any(char::is_control)) {
        return Err(IdTokenError::Claim("a name has control characters"));
    }
    let claims_issuer = claims.iss.clone();
    let subject = match (claims.oid, claims.tid) {
        (Some(oid), Some(tid)) => format!("{oid}@{tid}"),
        _ => format!("{}@{}", claims.sub, claims.iss),
    };
    let is_foreign = claims.idp.is_some_and(|idp| idp != claims_issuer);
    let is_marked = claims.acct.is_some_and(|acct| acct.as_i64() == Some(1) || acct.as_str() == Some("1"));
    let is_guest = is_foreign || is_marked || names.iter().any(|name| name.to_uppercase().contains("#EXT#"));
    let name = claims.name.filter(|name| !name.chars().any(char::is_control));
    Ok(Identity { sign_in_name, names, email, subject, name, is_guest })
}

fn claim_error(kind: &jsonwebtoken::errors::ErrorKind) -> IdTokenError {
    use jsonwebtoken::errors::ErrorKind as Kind;
    match kind {
        Kind::InvalidSignature => IdTokenError::Claim("the signature is wrong"),
        Kind::InvalidIssuer => IdTokenError::Claim("it comes from another issuer (iss)"),
        Kind::InvalidAudience => IdTokenError::Claim("it was issued for another application (aud)"),
        Kind::MissingRequiredClaim(_) | Kind::Json(_) => IdTokenError::Claim("a claim is missing or malformed"),
        _ => IdTokenError::Malformed,
    }
}

/// Errors of [`Entra::identify`].
#[derive(Debug, thiserror::Error)]
pub enum IdentifyError {
    #[error(transparent)]
    Token(#[from] IdTokenError),
    #[error(transparent)]
    Entra(#[from] IdentityError),
}

impl Entra {
    /// Validates an id_token against the tenant's published keys.
    pub async fn identify(
        &self,
        credentials: &Credentials,
        tenant_id: TenantId,
        token: Option<&Secret>,
        nonce: &Secret,
    ) -> Result<Identity, IdentifyError> {
        let Some(token) = token else { return Err(IdTokenError::Missing.into()) };
        let discovery = self.discover(&credentials.cloud, &credentials.tenant).await?;
        let expected = Expected {
            issuer: &discovery.issuer,
            client_id: credentials.client_id,
            tenant_id,
            nonce: nonce.expose(),
            now: self.clock.now(),
        };
        let first = validate(token.expose(), &*self.keys(&discovery, false).await?, &expected);
        if first != Err(IdTokenError::UnknownKey) {
            return Ok(first?);
        }
        Ok(validate(token.expose(), &*self.keys(&discovery, true).await?, &expected)?)
    }

    /// Whether an `iss` that came with the callback is the tenant's (RFC 9207).
    pub async fn issuer_matches(&self, credentials: &Credentials, iss: &str) -> Result<bool, IdentityError> {
        Ok(self.discover(&credentials.cloud, &credentials.tenant).await?.issuer == iss)
    }
}
