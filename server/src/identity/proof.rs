//! What proves to the authority who the app is: a secret, or a short-lived signed assertion (RFC 7523) in its place.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use uuid::Uuid;

use super::{Credentials, Discovery, IdentityError};
use crate::clock::Clock;
use crate::vault::Secret;

/// Lifetime of an assertion, in seconds: Microsoft takes at most ten minutes.
const LIFETIME: i64 = 300;
/// Clocks may differ by so many seconds.
const SKEW: i64 = 60;
/// RFC 7521, 4.2 and RFC 7523, 2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

#[derive(Clone)]
pub enum Proof {
    Secret(Secret),
    /// PS256 with a certificate that is uploaded at the authority
    /// (<https://learn.microsoft.com/entra/identity-platform/certificate-credentials>).
    Certificate {
        /// PKCS #8, PEM.
        key: Secret,
        /// SHA-256 of the certificate's DER, in base64url.
        thumbprint: String,
    },
    /// RS256 as an issuer that the authority trusts
    /// (<https://learn.microsoft.com/entra/workload-id/workload-identity-federation>).
    Federated {
        /// PKCS #8, PEM.
        key: Secret,
        /// As the published key set names it.
        key_id: String,
        issuer: String,
        subject: String,
        audience: String,
    },
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    jti: Uuid,
    iat: i64,
    nbf: i64,
    exp: i64,
}

impl Proof {
    /// The parameters of a token request, each of which is a secret.
    pub(super) fn parameters(
        credentials: &Credentials,
        discovery: &Discovery,
        clock: &Clock,
    ) -> Result<Vec<(&'static str, Secret)>, IdentityError> {
        let client_id = credentials.client_id.to_string();
        let (header, key, issuer, subject, audience) = match &credentials.proof {
            Self::Secret(secret) => return Ok(vec![("client_secret", secret.clone())]),
            Self::Certificate { key, thumbprint } => {
                let mut header = Header::new(Algorithm::PS256);
                header.x5t_s256 = Some(thumbprint.clone());
                (header, key, client_id.as_str(), client_id.as_str(), discovery.token_endpoint.as_str())
            }
            Self::Federated { key, key_id, issuer, subject, audience } => {
                let mut header = Header::new(Algorithm::RS256);
                header.kid = Some(key_id.clone());
                (header, key, issuer.as_str(), subject.as_str(), audience.as_str())
            }
        };
        let now = clock.now().0.div_euclid(1000);
        let claims = Claims {
            iss: issuer,
            sub: subject,
            aud: audience,
            jti: clock.uuid(),
            iat: now,
            nbf: now - SKEW,
            exp: now + LIFETIME,
        };
        let unusable = |_| IdentityError::protocol("key of the app", "it cannot sign");
        let key = EncodingKey::from_rsa_pem(key.expose().as_bytes()).map_err(unusable)?;
        let signed = jsonwebtoken::encode(&header, &claims, &key).map_err(unusable)?;
        let kind = Secret::new(ASSERTION_TYPE.to_owned());
        Ok(vec![("client_assertion_type", kind), ("client_assertion", Secret::new(signed))])
    }
}
