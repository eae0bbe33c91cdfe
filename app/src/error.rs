//! Errors shown to users.

use leptos::server_fn::codec::JsonEncoding;
use leptos::server_fn::error::{FromServerFnError, ServerFnErrorErr};
use serde::{Deserialize, Serialize};

use crate::model::{Diagnosis, FieldError};

/// Never contains secrets or internal texts: internal errors are in the log, with the reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum AppError {
    #[error("You've been signed out. Sign in, then start again.")]
    NotSignedIn,
    /// Signed in, but not allowed.
    #[error("Only administrators can do this.")]
    Forbidden,
    /// The password was set by an administrator's link.
    #[error(
        "Your mail is hidden because your password was reset with a link. Open User Account › Email and press Configure & Test to sign in at Microsoft; your mail then shows again."
    )]
    MailLocked,
    #[error("We can't find that. It may have been deleted.")]
    NotFound,
    #[error("{}", fields.first().map_or("Check the form.", |field| field.text.as_str()))]
    Invalid { fields: Vec<FieldError> },
    #[error("{text}")]
    Refused { text: String },
    /// Never returned to islands, which lack the deserializer.
    #[cfg_attr(feature = "hydrate", serde(skip_deserializing))]
    #[error("{} {}", diagnosis.title, diagnosis.summary)]
    Diagnosed { diagnosis: Box<Diagnosis> },
    #[error("Too many attempts. Wait {minutes} {}, then try again.", if *minutes == 1 { "minute" } else { "minutes" })]
    TooMany { minutes: i64 },
    /// An unreadable request.
    #[error("Something went wrong. Reload the page and try again.")]
    Malformed,
    #[error(
        "Something went wrong on our side. Nothing was changed. Try again. If it happens again, give support this reference: {reference}"
    )]
    Internal { reference: String },
    /// A network error in the browser.
    #[error("Can't reach Entrepost. Check your connection and try again.")]
    Unreachable,
}

impl AppError {
    pub fn field(field: &str, label: &str, text: impl Into<String>) -> Self {
        Self::Invalid { fields: vec![FieldError { field: field.into(), label: label.into(), text: text.into() }] }
    }

    pub fn refused(text: impl Into<String>) -> Self {
        Self::Refused { text: text.into() }
    }

    pub fn status(&self) -> u16 {
        match self {
            Self::NotSignedIn => 401,
            Self::Forbidden | Self::MailLocked => 403,
            Self::NotFound => 404,
            Self::Invalid { .. } => 422,
            Self::Refused { .. } | Self::Diagnosed { .. } => 409,
            Self::TooMany { .. } => 429,
            Self::Malformed => 400,
            Self::Internal { .. } => 500,
            Self::Unreachable => 503,
        }
    }
}

impl FromServerFnError for AppError {
    type Encoder = JsonEncoding;

    fn from_server_fn_error(error: ServerFnErrorErr) -> Self {
        match error {
            // Unreadable body on the server; unexpected response in the browser.
            ServerFnErrorErr::Args(_)
            | ServerFnErrorErr::MissingArg(_)
            | ServerFnErrorErr::UnsupportedRequestMethod(_)
            | ServerFnErrorErr::Deserialization(_) => Self::Malformed,
            ServerFnErrorErr::Request(_) | ServerFnErrorErr::Response(_) => Self::Unreachable,
            _ => Self::Internal { reference: "transport".into() },
        }
    }
}
