//! Discovery (OpenID Connect Discovery 1.0) and the signing keys.

use std::sync::{Arc, PoisonError};

use jsonwebtoken::jwk::JwkSet;
use serde::Deserialize;
use url::Url;
use uuid::Uuid;

use super::error::{IdentityError, OAuthError, describe};
use super::{Entra, MAX_ANSWER, at};
use crate::config::Microsoft;

/// Milliseconds for which discovery and keys are kept.
const KEPT_MS: i64 = 60 * 60 * 1000;

#[derive(Debug, Clone, Deserialize)]
pub struct Discovery {
    /// The issuer that id_tokens must name.
    pub issuer: String,
    pub authorization_endpoint: Url,
    pub token_endpoint: Url,
    pub jwks_uri: Url,
}

impl Discovery {
    /// The tenant's GUID, where the issuer names it as Microsoft's does.
    pub fn tenant_id(&self) -> Option<Uuid> {
        Url::parse(&self.issuer).ok()?.path_segments()?.find_map(|segment| Uuid::parse_str(segment).ok())
    }

    /// The issuer must be the authority's, and the tenant's that was asked for (OpenID Connect Discovery, 4.3; Microsoft's issuer
    /// names the tenant by its GUID where a domain was asked for).
    fn check(&self, authority: &Url, tenant: &str) -> Result<(), IdentityError> {
        let issuer = Url::parse(&self.issuer).ok();
        let same_host = issuer.as_ref().is_some_and(|issuer| {
            (issuer.scheme(), issuer.host_str(), issuer.port_or_known_default())
                == (authority.scheme(), authority.host_str(), authority.port_or_known_default())
        });
        let same_tenant = Uuid::parse_str(tenant).map_or(true, |tenant| self.tenant_id() == Some(tenant));
        // The global authority answers for tenants of national clouds too, with their hosts.
        let foreign = [&self.authorization_endpoint, &self.token_endpoint, &self.jwks_uri]
            .into_iter()
            .find(|url| url.origin() != authority.origin())
            .or(issuer.as_ref().filter(|_| !same_host));
        if let Some(host) = foreign.and_then(Url::host_str) {
            let domain = host.strip_prefix("login.").unwrap_or(host);
            return Err(IdentityError::protocol(
                "discovery",
                &format!("it names another host than the one that was asked: '{domain}'"),
            ));
        }
        if !same_host || !same_tenant {
            return Err(IdentityError::protocol("discovery", "it names another issuer than the one that was asked"));
        }
        for url in [&self.authorization_endpoint, &self.token_endpoint, &self.jwks_uri] {
            // Plain http is for an authority on loopback only (config checked that), and stays there.
            let plain_allowed = authority.scheme() == "http" && url.host_str() == authority.host_str();
            if url.scheme() != "https" && !(url.scheme() == "http" && plain_allowed) {
                return Err(IdentityError::protocol("discovery", "an endpoint is not https"));
            }
        }
        Ok(())
    }
}

/// The address of a tenant's configuration, which also names it in the cache.
fn address(cloud: &Microsoft, tenant: &str) -> Result<Url, IdentityError> {
    at(cloud, &[tenant, "v2.0", ".well-known", "openid-configuration"])
}

/// Reads an answer up to a limit.
pub(super) async fn limited(mut answer: reqwest::Response, limit: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| describe(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > limit {
            return Err("the answer is too long".into());
        }
    }
    Ok(body)
}

impl Entra {
    /// What discovery says of a tenant; asked at most once an hour.
    pub(super) async fn discover(&self, cloud: &Microsoft, tenant: &str) -> Result<Arc<Discovery>, IdentityError> {
        let url = address(cloud, tenant)?;
        let known = self.discovered.lock().unwrap_or_else(PoisonError::into_inner).get(url.as_str()).cloned();
        match known {
            Some((at, discovery)) if self.clock.now().since_ms(at) < KEPT_MS => Ok(discovery),
            _ => self.discover_fresh(cloud, tenant).await,
        }
    }

    pub(super) async fn discover_fresh(
        &self,
        cloud: &Microsoft,
        tenant: &str,
    ) -> Result<Arc<Discovery>, IdentityError> {
        let url = address(cloud, tenant)?;
        let body = self.get(url.clone(), "discovery").await?;
        let discovery: Discovery = serde_json::from_slice(&body)
            .map_err(|_| IdentityError::protocol("discovery", "the answer is not an OpenID configuration"))?;
        discovery.check(&cloud.authority, tenant)?;
        let discovery = Arc::new(discovery);
        let mut cache = self.discovered.lock().unwrap_or_else(PoisonError::into_inner);
        // Caches verified tenants only, bounded against mistyped names.
        if cache.len() > 10_000 {
            cache.clear();
        }
        cache.insert(url.into(), (self.clock.now(), Arc::clone(&discovery)));
        Ok(discovery)
    }

    /// The signing keys. `fresh` asks again: an unknown key id may be a new one.
    pub(super) async fn keys(&self, discovery: &Discovery, fresh: bool) -> Result<Arc<JwkSet>, IdentityError> {
        let uri = discovery.jwks_uri.as_str();
        let known = self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(uri).cloned();
        if let Some((at, keys)) = known {
            let age = self.clock.now().since_ms(at);
            // A forged key id must not make us ask all the time: at most once a minute.
            if age < if fresh { 60_000 } else { KEPT_MS } {
                return Ok(keys);
            }
        }
        let body = self.get(discovery.jwks_uri.clone(), "signing keys").await?;
        let keys: JwkSet = serde_json::from_slice(&body)
            .map_err(|_| IdentityError::protocol("signing keys", "the answer is not a key set"))?;
        let keys = Arc::new(keys);
        self.keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(uri.to_owned(), (self.clock.now(), Arc::clone(&keys)));
        Ok(keys)
    }

    async fn get(&self, url: Url, what: &'static str) -> Result<Vec<u8>, IdentityError> {
        let unreachable = |detail| IdentityError::Unreachable { what: what.into(), detail };
        let answer = self.http.get(url).send().await.map_err(|error| unreachable(describe(&error)))?;
        let status = answer.status();
        let retry_after = super::error::retry_after(answer.headers());
        let body = limited(answer, MAX_ANSWER).await.map_err(unreachable)?;
        if status.is_success() {
            return Ok(body);
        }
        if status.is_server_error() || status.as_u16() == 429 {
            return Err(IdentityError::Unavailable { what: what.into(), status: status.as_u16(), retry_after });
        }
        match serde_json::from_slice::<OAuthError>(&body) {
            Ok(mut answer) => {
                answer.redact(&[]);
                Err(IdentityError::OAuth { answer: Box::new(answer), status: status.as_u16(), retry_after })
            }
            Err(_) => Err(IdentityError::protocol(what, &format!("HTTP {}", status.as_u16()))),
        }
    }
}
