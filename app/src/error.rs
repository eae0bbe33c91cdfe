//! What a person is told when something cannot be done. The server makes it, pages and islands show it.

use leptos::server_fn::codec::JsonEncoding;
use leptos::server_fn::error::{FromServerFnError, ServerFnErrorErr};
use serde::{Deserialize, Serialize};

use crate::model::{Diagnosis, FieldError};

/// An error in words for the person who sees it. It never carries a secret or an internal text:
/// what went wrong inside is in the log, found by the reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AppError {
    #[error("You've been signed out. Sign in, then start again.")]
    NotSignedIn,
    /// Signed in, but not allowed.
    #[error("Only administrators can do this.")]
    Forbidden,
    /// The person's password was set by a link of an administrator's.
    #[error(
        "Your mail is hidden because your password was reset with a link. Open User Account > Email and press Configure & Test to sign in at Microsoft; your mail then shows again."
    )]
    MailLocked,
    #[error("We can't find that. It may have been deleted.")]
    NotFound,
    #[error("{}", fields.first().map_or("Check the form.", |field| field.text.as_str()))]
    Invalid { fields: Vec<FieldError> },
    /// It cannot be done now, for a reason that the text gives.
    #[error("{text}")]
    Refused { text: String },
    /// It cannot be done now; the diagnosis says why, who can fix it, and how.
    ///
    /// What islands ask for never ends so: the browser does not load what would read it.
    #[cfg_attr(feature = "hydrate", serde(skip_deserializing))]
    #[error("{} {}", diagnosis.title, diagnosis.summary)]
    Diagnosed { diagnosis: Box<Diagnosis> },
    #[error("Too many attempts. Wait {minutes} {}, then try again.", if *minutes == 1 { "minute" } else { "minutes" })]
    TooMany {
        /// Minutes until the next attempt.
        minutes: i64,
    },
    /// The request could not be read.
    #[error("Something went wrong. Reload the page and try again.")]
    Malformed,
    #[error(
        "Something went wrong on our side. Nothing was changed. Try again. If it happens again, give support this reference: {reference}"
    )]
    Internal { reference: String },
    /// The browser could not reach Entrepost.
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
