//! Client assertions (RFC 7523): with a certificate of the app, or of an issuer that the app trusts.

use std::net::SocketAddr;
use std::time::Duration;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use url::Url;

use crate::Shared;
use crate::world::now;

/// HTTP status, OAuth error, AADSTS number, text.
pub(crate) type Refusal = (u16, &'static str, u32, String);

/// Longest lifetime of an assertion, in seconds.
const LONGEST: i64 = 600;
/// Clocks may differ by so many seconds.
const SKEW: i64 = 300;

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    exp: i64,
    #[serde(default)]
    nbf: i64,
    #[serde(default)]
    iat: i64,
    jti: Option<String>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

fn refused(code: u32, text: impl Into<String>) -> Refusal {
    (401, "invalid_client", code, text.into())
}

pub(crate) fn fingerprint(pem: &str) -> Option<String> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    Some(BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(der.as_ref())))
}

/// The claims of a token whose signature holds.
fn signed(token: &str, key: &DecodingKey, algorithm: Algorithm) -> Option<Claims> {
    let mut validation = Validation::new(algorithm);
    // Checked below, each with its own number.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    jsonwebtoken::decode(token, key, &validation).ok().map(|token| token.claims)
}

/// What the token says without proof: only to find the key.
fn unproven(token: &str) -> Option<Claims> {
    let payload = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}

pub(crate) async fn check(shared: &Shared, client_id: &str, kind: &str, token: &str) -> Result<(), Refusal> {
    if kind != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
        return Err((400, "invalid_request", 50027, "The client assertion type is not supported.".into()));
    }
    let malformed = || refused(50027, "JWT token is invalid or malformed.");
    let header = jsonwebtoken::decode_header(token).map_err(|_| malformed())?;
    let claims = match &header.x5t_s256 {
        Some(thumbprint) => with_certificate(shared, client_id, token, &header, thumbprint)?,
        None => of_issuer(shared, token, &header).await?,
    };
    if header.x5t_s256.is_some() && shared.faults().certificate_expired {
        let text = "Client assertion contains an invalid signature. [Reason - The key used is expired.]";
        return Err(refused(700_027, text));
    }
    if claims.jti.is_none() {
        return Err(malformed());
    }
    let (now, begins) = (now() + shared.world().clock_ahead, claims.nbf.max(claims.iat - SKEW));
    if claims.exp <= now || begins > now + SKEW || claims.exp - now > LONGEST + SKEW {
        return Err(refused(700_024, "Client assertion is not within its valid time range."));
    }
    Ok(())
}

fn with_certificate(
    shared: &Shared,
    client_id: &str,
    token: &str,
    header: &Header,
    thumbprint: &str,
) -> Result<Claims, Refusal> {
    let text = "The certificate with identifier used to sign the client assertion is not registered on application.";
    let unknown = || refused(700_027, text);
    if header.alg != Algorithm::PS256 {
        return Err(refused(700_027, "The signature algorithm of the client assertion is not supported."));
    }
    let (pem, audience) = {
        let world = shared.world();
        let known = world.app.certificates.iter().find(|pem| fingerprint(pem).as_deref() == Some(thumbprint)).cloned();
        (known.ok_or_else(unknown)?, format!("{}/{}/oauth2/v2.0/token", shared.authority, world.tenant_id))
    };
    let key = DecodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| unknown())?;
    let claims = signed(token, &key, Algorithm::PS256)
        .ok_or_else(|| refused(700_027, "Client assertion failed signature validation."))?;
    if claims.iss != client_id || claims.sub != client_id {
        return Err(refused(700_021, "Client assertion application identifier doesn't match 'client_id' parameter."));
    }
    if claims.aud != audience {
        return Err(refused(700_023, "Client assertion audience claim does not match Realm issuer."));
    }
    Ok(claims)
}

async fn of_issuer(shared: &Shared, token: &str, header: &Header) -> Result<Claims, Refusal> {
    let malformed = || refused(50027, "JWT token is invalid or malformed.");
    let said = unproven(token).ok_or_else(malformed)?;
    let federated = shared.world().app.federated.clone();
    let of_issuer: Vec<_> = federated.iter().filter(|known| known.issuer == said.iss).collect();
    if of_issuer.is_empty() {
        let text =
            format!("No matching federated identity record found for presented assertion issuer '{}'.", said.iss);
        return Err(refused(700_211, text));
    }
    let of_subject: Vec<_> = of_issuer.iter().filter(|known| known.subject == said.sub).collect();
    if of_subject.is_empty() {
        let text =
            format!("No matching federated identity record found for presented assertion subject '{}'.", said.sub);
        return Err(refused(700_213, text));
    }
    if !of_subject.iter().any(|known| known.audience == said.aud) {
        let text =
            format!("No matching federated identity record found for presented assertion audience '{}'.", said.aud);
        return Err(refused(700_212, text));
    }
    if header.alg != Algorithm::RS256 {
        return Err(refused(700_027, "The signature algorithm of the client assertion is not supported."));
    }
    let keys = fetched(&said.iss)
        .await
        .map_err(|why| (400, "invalid_request", 50166, format!("Request to External OIDC endpoint failed. {why}")))?;
    let key = header.kid.as_deref().and_then(|id| keys.find(id));
    let key = key.and_then(|jwk| DecodingKey::from_jwk(jwk).ok());
    let key = key.ok_or_else(|| refused(700_027, "The key used to sign the client assertion was not found."))?;
    signed(token, &key, Algorithm::RS256)
        .ok_or_else(|| refused(700_027, "Client assertion failed signature validation."))
}

/// The keys of an issuer. Redirects are not followed.
async fn fetched(issuer: &str) -> Result<JwkSet, String> {
    let url = Url::parse(issuer).map_err(|error| error.to_string())?;
    let mut client =
        reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(Duration::from_secs(5));
    let host = url.host_str().unwrap_or_default().to_owned();
    if host == "localhost" || host.ends_with(".localhost") {
        let port = url.port_or_known_default().unwrap_or(80);
        client = client.resolve(&host, SocketAddr::from(([127, 0, 0, 1], port)));
    } else {
        // The sandbox asks this machine only.
        return Err(format!("{host} is not on this machine."));
    }
    let client = client.build().map_err(|error| error.to_string())?;
    let get = async |address: String| {
        let answer = client.get(address).send().await.map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            return Err(format!("HTTP {}", answer.status().as_u16()));
        }
        answer.bytes().await.map_err(|error| error.to_string())
    };
    let discovery = get(format!("{issuer}/.well-known/openid-configuration")).await?;
    let discovery: Discovery = serde_json::from_slice(&discovery).map_err(|error| error.to_string())?;
    if discovery.issuer != issuer {
        return Err("It names another issuer.".into());
    }
    let keys = get(discovery.jwks_uri).await?;
    serde_json::from_slice(&keys).map_err(|error| error.to_string())
}
