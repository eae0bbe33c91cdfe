//! The identity platform: discovery, authorize URL, grants, id_token validation. Any OpenID provider will do;
//! Microsoft's error numbers and trace ids are kept as details and decide nothing.

mod discovery;
mod error;
mod id_token;
mod proof;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use app::model::{ClientId, Timestamp};
use oauth2::basic::{BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, Client, CsrfToken, EndpointNotSet, EndpointSet, ExtraTokenFields,
    HttpRequest, HttpResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken, Scope,
    StandardRevocableToken, StandardTokenResponse, TokenResponse, TokenUrl,
};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::clock::Clock;
use crate::config::Microsoft;
use crate::trust::Trust;
use crate::vault::Secret;

pub use discovery::Discovery;
pub use error::{IdentityError, OAuthError, describe};
pub use id_token::{Expected, IdTokenError, IdentifyError, Identity, validate};
pub use proof::Proof;

/// Response limit in bytes.
const MAX_ANSWER: usize = 512 * 1024;
const TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Extra {
    id_token: Option<String>,
}
impl ExtraTokenFields for Extra {}

type TokenAnswer = StandardTokenResponse<Extra, BasicTokenType>;
type OAuthClient<A, T> = Client<
    OAuthError,
    TokenAnswer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    A,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    T,
>;

#[derive(Clone)]
pub struct Credentials {
    pub client_id: ClientId,
    /// Tenant ID, or a domain while it is being resolved.
    pub tenant: String,
    /// Where the app and its tenant are.
    pub cloud: Arc<Microsoft>,
    pub proof: Proof,
}

pub struct Granted {
    pub access: Secret,
    pub expires_at: Timestamp,
    pub refresh: Option<Secret>,
    /// Granted scopes; `None` where the answer named none, which means those asked for (RFC 6749, 5.1).
    pub scopes: Option<Vec<String>>,
    pub id_token: Option<Secret>,
}

/// What a sign-in asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scopes {
    /// Who signs in, and their mailbox.
    Mail,
    /// Only who signs in.
    Identity,
}

const IDENTITY: &str = "openid profile email";

/// The page that Microsoft shows even where a session would do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prompt {
    SelectAccount,
    /// Asks for the password again.
    Login,
}

impl Prompt {
    fn name(self) -> &'static str {
        match self {
            Self::SelectAccount => "select_account",
            Self::Login => "login",
        }
    }
}

pub struct SignIn<'a> {
    pub redirect_uri: &'a str,
    pub state: &'a str,
    pub nonce: &'a str,
    pub verifier: &'a Secret,
    pub login_hint: &'a str,
    /// Without: the account of `login_hint` signs in without a page, if its session and its consent allow it.
    pub prompt: Option<Prompt>,
    pub scopes: Scopes,
}

pub struct Entra {
    http: reqwest::Client,
    clock: Clock,
    discovered: Mutex<HashMap<String, (Timestamp, Arc<Discovery>)>>,
    keys: Mutex<HashMap<String, (Timestamp, Arc<jsonwebtoken::jwk::JwkSet>)>>,
}

impl Entra {
    pub fn new(trust: &Trust, clock: Clock) -> Result<Self, reqwest::Error> {
        let http = trust.http().timeout(TIMEOUT).build()?;
        Ok(Self { http, clock, discovered: Mutex::default(), keys: Mutex::default() })
    }

    /// Asks with client credentials whether the app, its tenant and its proof are right. It needs no user, and tests neither redirect URI nor permissions.
    pub async fn probe(&self, credentials: &Credentials) -> Result<Arc<Discovery>, IdentityError> {
        let discovery = self.discover_fresh(&credentials.cloud, &credentials.tenant).await?;
        let client = Self::client(credentials, &discovery)?;
        let mut request =
            client.exchange_client_credentials().add_scope(Scope::new(credentials.cloud.app_scope.clone()));
        let proof = Proof::parameters(credentials, &discovery, &self.clock)?;
        for (name, value) in &proof {
            request = request.add_extra_param(*name, value.expose());
        }
        let exchange = Exchange::new(&self.http);
        request.request_async(&exchange).await.map_err(|error| exchange.explain(error, &secrets(&proof, &[])))?;
        Ok(discovery)
    }

    /// The address at the authority that begins a sign-in.
    pub async fn authorize_url(&self, credentials: &Credentials, sign_in: &SignIn<'_>) -> Result<Url, IdentityError> {
        let discovery = self.discover(&credentials.cloud, &credentials.tenant).await?;
        let client = Self::client(credentials, &discovery)?.set_redirect_uri(redirect(sign_in.redirect_uri)?);
        let challenge =
            PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(sign_in.verifier.expose().to_owned()));
        let state = sign_in.state.to_owned();
        let (mut url, _) = client
            .authorize_url(|| CsrfToken::new(state))
            .add_scopes(
                scopes(&credentials.cloud, sign_in.scopes).split_whitespace().map(|scope| Scope::new(scope.to_owned())),
            )
            .add_extra_param("nonce", sign_in.nonce)
            .add_extra_param("response_mode", "query")
            .set_pkce_challenge(challenge)
            .url();
        if let Some(prompt) = sign_in.prompt {
            url.query_pairs_mut().append_pair("prompt", prompt.name());
        }
        if !sign_in.login_hint.is_empty() {
            url.query_pairs_mut().append_pair("login_hint", sign_in.login_hint);
        }
        Ok(url)
    }

    /// The address of admin consent for the delegated scopes. `graph`: also those for Microsoft Graph.
    pub fn admin_consent_url(
        &self,
        cloud: &Microsoft,
        client_id: ClientId,
        tenant: &str,
        redirect_uri: &str,
        state: &str,
        graph: bool,
    ) -> Result<Url, IdentityError> {
        let graph = cloud.graph_scopes().filter(|_| graph).map_or_else(String::new, |scopes| scopes.join(" "));
        let mut url = at(cloud, &[tenant, "v2.0", "adminconsent"])?;
        url.query_pairs_mut()
            .append_pair("client_id", &client_id.to_string())
            .append_pair("scope", format!("{} {graph}", cloud.scopes).trim_end())
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("state", state);
        Ok(url)
    }

    pub async fn exchange(
        &self,
        credentials: &Credentials,
        code: &Secret,
        verifier: &Secret,
        redirect_uri: &str,
        scopes: Scopes,
    ) -> Result<Granted, IdentityError> {
        let discovery = self.discover(&credentials.cloud, &credentials.tenant).await?;
        let client = Self::client(credentials, &discovery)?.set_redirect_uri(redirect(redirect_uri)?);
        let mut request = client
            .exchange_code(AuthorizationCode::new(code.expose().to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(verifier.expose().to_owned()))
            .add_extra_param("scope", self::scopes(&credentials.cloud, scopes));
        let proof = Proof::parameters(credentials, &discovery, &self.clock)?;
        for (name, value) in &proof {
            request = request.add_extra_param(*name, value.expose());
        }
        let exchange = Exchange::new(&self.http);
        let answer = request
            .request_async(&exchange)
            .await
            .map_err(|error| exchange.explain(error, &secrets(&proof, &[code, verifier])))?;
        Ok(self.tokens(&answer))
    }

    /// Renews an access token. The refresh token that comes with it must be stored before the access token is used.
    pub async fn refresh(
        &self,
        credentials: &Credentials,
        scopes: &str,
        refresh: &Secret,
    ) -> Result<Granted, IdentityError> {
        let discovery = self.discover(&credentials.cloud, &credentials.tenant).await?;
        let client = Self::client(credentials, &discovery)?;
        let token = RefreshToken::new(refresh.expose().to_owned());
        let mut request = client
            .exchange_refresh_token(&token)
            .add_scopes(scopes.split_whitespace().map(|scope| Scope::new(scope.to_owned())));
        let proof = Proof::parameters(credentials, &discovery, &self.clock)?;
        for (name, value) in &proof {
            request = request.add_extra_param(*name, value.expose());
        }
        let exchange = Exchange::new(&self.http);
        let answer = request
            .request_async(&exchange)
            .await
            .map_err(|error| exchange.explain(error, &secrets(&proof, &[refresh])))?;
        Ok(self.tokens(&answer))
    }

    /// Scopes of a resource that are missing in a grant: those for sending and receiving, not `openid` and similar.
    pub fn missing_scopes(cloud: &Microsoft, granted: Option<&[String]>) -> Vec<String> {
        let Some(granted) = granted else { return Vec::new() };
        cloud
            .scopes
            .split_whitespace()
            .filter(|wanted| wanted.contains("://"))
            .filter(|wanted| !granted.iter().any(|scope| scope.eq_ignore_ascii_case(wanted)))
            .map(ToOwned::to_owned)
            .collect()
    }

    fn client(
        credentials: &Credentials,
        discovery: &Discovery,
    ) -> Result<OAuthClient<EndpointSet, EndpointSet>, IdentityError> {
        let broken = |_| IdentityError::protocol("discovery", "an endpoint is no URL");
        Ok(OAuthClient::<EndpointNotSet, EndpointNotSet>::new(oauth2::ClientId::new(credentials.client_id.to_string()))
            .set_auth_type(AuthType::RequestBody)
            .set_auth_uri(AuthUrl::new(discovery.authorization_endpoint.to_string()).map_err(broken)?)
            .set_token_uri(TokenUrl::new(discovery.token_endpoint.to_string()).map_err(broken)?))
    }

    fn tokens(&self, answer: &TokenAnswer) -> Granted {
        let lifetime = answer.expires_in().unwrap_or(Duration::from_secs(3600));
        Granted {
            access: Secret::new(answer.access_token().secret().clone()),
            expires_at: self.clock.now().plus_ms(i64::try_from(lifetime.as_millis()).unwrap_or(0)),
            refresh: answer.refresh_token().map(|token| Secret::new(token.secret().clone())),
            scopes: answer.scopes().map(|scopes| scopes.iter().map(|scope| scope.as_str().to_owned()).collect()),
            id_token: answer.extra_fields().id_token.clone().map(Secret::new),
        }
    }
}

fn scopes(cloud: &Microsoft, scopes: Scopes) -> &str {
    match scopes {
        Scopes::Mail => &cloud.scopes,
        Scopes::Identity => IDENTITY,
    }
}

fn at(cloud: &Microsoft, segments: &[&str]) -> Result<Url, IdentityError> {
    let mut url = cloud.authority.clone();
    url.path_segments_mut()
        .map_err(|()| IdentityError::protocol("authority", "the address cannot have a path"))?
        .pop_if_empty()
        .extend(segments);
    Ok(url)
}

/// What an answer must not echo.
fn secrets<'a>(proof: &'a [(&'static str, Secret)], more: &[&'a Secret]) -> Vec<&'a Secret> {
    let of_proof = proof.iter().filter(|(name, _)| *name != "client_assertion_type").map(|(_, value)| value);
    of_proof.chain(more.iter().copied()).collect()
}

fn redirect(uri: &str) -> Result<RedirectUrl, IdentityError> {
    RedirectUrl::new(uri.to_owned()).map_err(|_| IdentityError::protocol("redirect URI", "it is no URL"))
}

/// One token request: sends it, and remembers what the oauth2 crate drops (status, Retry-After).
struct Exchange<'a> {
    http: &'a reqwest::Client,
    seen: Mutex<Option<(u16, Option<u64>)>>,
}

type Sending<'s> = std::pin::Pin<Box<dyn Future<Output = Result<HttpResponse, SendError>> + Send + 's>>;

/// The request got no response.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct SendError(String);

impl<'c> oauth2::AsyncHttpClient<'c> for Exchange<'_> {
    type Error = SendError;
    type Future = Sending<'c>;

    fn call(&'c self, request: HttpRequest) -> Sending<'c> {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let answer = self
                .http
                .request(parts.method, parts.uri.to_string())
                .headers(parts.headers)
                .body(body)
                .send()
                .await
                .map_err(|error| SendError(error::describe(&error)))?;
            let status = answer.status();
            let retry_after = error::retry_after(answer.headers());
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((status.as_u16(), retry_after));
            let mut response = http::Response::builder().status(status);
            if let Some(kind) = answer.headers().get(http::header::CONTENT_TYPE) {
                response = response.header(http::header::CONTENT_TYPE, kind);
            }
            let body = discovery::limited(answer, MAX_ANSWER).await.map_err(SendError)?;
            response.body(body).map_err(|error| SendError(error.to_string()))
        })
    }
}

impl<'a> Exchange<'a> {
    fn new(http: &'a reqwest::Client) -> Self {
        Self { http, seen: Mutex::new(None) }
    }

    fn explain(&self, error: oauth2::RequestTokenError<SendError, OAuthError>, secrets: &[&Secret]) -> IdentityError {
        let (status, retry_after) = self.seen.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or((0, None));
        match error {
            oauth2::RequestTokenError::ServerResponse(mut answer) => {
                answer.redact(secrets);
                IdentityError::OAuth { answer: Box::new(answer), status, retry_after }
            }
            oauth2::RequestTokenError::Request(SendError(detail)) => {
                IdentityError::Unreachable { what: "token endpoint".into(), detail }
            }
            // Parse holds the raw body, tokens included: it is never formatted.
            _ if status >= 500 || status == 429 => {
                IdentityError::Unavailable { what: "token endpoint".into(), status, retry_after }
            }
            _ => IdentityError::protocol(
                "token endpoint",
                &format!("the answer (HTTP {status}) is not one of OAuth 2.0"),
            ),
        }
    }
}
