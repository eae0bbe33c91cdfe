//! Errors of the identity platform, and predicates for decisions. Only `diagnosis` reads numbers and texts.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::vault::Secret;

/// An OAuth error with everything Microsoft adds (RFC 6749, 5.2; Microsoft: "Handle errors in the token endpoint response").
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OAuthError {
    /// The OAuth error: the only field to branch on.
    pub error: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_codes: Option<Vec<i64>>,
    /// Microsoft's time of the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suberror: Option<String>,
}

impl fmt::Display for OAuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error, self.error_description.as_deref().unwrap_or("no description"))
    }
}

impl oauth2::ErrorResponse for OAuthError {}

impl OAuthError {
    /// AADSTS numbers, from the field or from the description (a redirect carries only that).
    pub fn codes(&self) -> Vec<i64> {
        if let Some(codes) = &self.error_codes {
            return codes.clone();
        }
        let text = self.error_description.as_deref().unwrap_or_default();
        text.split("AADSTS")
            .skip(1)
            .filter_map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok())
            .collect()
    }

    /// Takes secrets out that a provider might echo.
    pub(super) fn redact(&mut self, secrets: &[&Secret]) {
        for text in
            [Some(&mut self.error), self.error_description.as_mut(), self.suberror.as_mut()].into_iter().flatten()
        {
            for secret in secrets.iter().filter(|secret| secret.expose().len() > 3) {
                if text.contains(secret.expose()) {
                    *text = text.replace(secret.expose(), "[removed]");
                }
            }
            if text.len() > 2000 {
                *text = text.chars().take(2000).collect();
            }
        }
    }
}

/// Errors of the identity platform.
#[derive(Debug, Clone, thiserror::Error, Serialize, Deserialize)]
pub enum IdentityError {
    #[error("{answer}")]
    OAuth {
        answer: Box<OAuthError>,
        status: u16,
        /// Seconds it asks to wait.
        retry_after: Option<u64>,
    },
    /// No connection, or no answer in time.
    #[error("{what} cannot be reached: {detail}")]
    Unreachable { what: Cow<'static, str>, detail: String },
    /// It answered that it is unavailable.
    #[error("{what} answered HTTP {status}")]
    Unavailable {
        what: Cow<'static, str>,
        status: u16,
        /// Seconds it asks to wait.
        retry_after: Option<u64>,
    },
    #[error("{what}: {detail}")]
    Protocol { what: Cow<'static, str>, detail: String },
}

impl IdentityError {
    pub(super) fn protocol(what: &'static str, detail: &str) -> Self {
        Self::Protocol { what: what.into(), detail: detail.to_owned() }
    }

    pub fn is_transient(&self) -> bool {
        match self {
            Self::OAuth { answer, status, .. } => {
                *status >= 500
                    || *status == 429
                    || ["temporarily_unavailable", "server_error"].contains(&answer.error.as_str())
            }
            Self::Unreachable { .. } | Self::Unavailable { .. } => true,
            Self::Protocol { .. } => false,
        }
    }

    /// Whether the person must sign in again.
    pub fn needs_reconnect(&self) -> bool {
        self.oauth_error().is_some_and(|error| {
            ["invalid_grant", "interaction_required", "login_required", "consent_required"].contains(&error)
        }) && !self.is_transient()
    }

    /// Whether the registration itself is refused: no one at the institution can get a token.
    pub fn is_wrong_client(&self) -> bool {
        self.oauth_error().is_some_and(|error| ["invalid_client", "unauthorized_client"].contains(&error))
    }

    /// Whether a refused refresh or probe concerns the registration and no single grant: also a tenant that is gone, or a request
    /// that the authority refuses as such.
    pub fn is_of_registration(&self) -> bool {
        matches!(self, Self::OAuth { .. }) && !self.is_transient() && !self.needs_reconnect()
    }

    /// Whether a scope that was asked for may be what was refused.
    pub fn may_lack_consent(&self) -> bool {
        self.oauth_error().is_some_and(|error| {
            ["invalid_grant", "interaction_required", "consent_required", "invalid_scope", "invalid_resource"]
                .contains(&error)
        })
    }

    pub fn oauth_error(&self) -> Option<&str> {
        match self {
            Self::OAuth { answer, .. } => Some(&answer.error),
            _ => None,
        }
    }

    /// Seconds the authority asks to wait.
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::OAuth { retry_after, .. } | Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    pub fn codes(&self) -> Vec<i64> {
        match self {
            Self::OAuth { answer, .. } => answer.codes(),
            _ => Vec::new(),
        }
    }
}

/// Seconds that an answer asks to wait (RFC 9110, 10.2.3): a number, or a date, which counts from the answer's own.
pub(super) fn retry_after(headers: &http::HeaderMap) -> Option<u64> {
    let text = |name| headers.get(name)?.to_str().ok();
    let asked = text(http::header::RETRY_AFTER)?.trim();
    if let Ok(seconds) = asked.parse() {
        return Some(seconds);
    }
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let read = |text: &str| time::PrimitiveDateTime::parse(text, format).ok();
    let wait = read(asked)? - read(text(http::header::DATE)?.trim())?;
    Some(u64::try_from(wait.whole_seconds()).unwrap_or(0))
}

/// A reqwest error with its causes and without its URL (which could carry a query).
pub fn describe(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "no answer in time".to_owned() } else { "connection failed".to_owned() };
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};

    use super::retry_after;

    #[test]
    fn patience_is_asked_for_in_seconds_or_until_a_date() {
        let asked = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::DATE, HeaderValue::from_static("Wed, 21 Oct 2026 07:28:00 GMT"));
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(value));
            retry_after(&headers)
        };
        assert_eq!(asked("120"), Some(120));
        assert_eq!(asked("Wed, 21 Oct 2026 07:30:30 GMT"), Some(150));
        assert_eq!(asked("Wed, 21 Oct 2026 07:00:00 GMT"), Some(0));
        assert_eq!(asked("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
