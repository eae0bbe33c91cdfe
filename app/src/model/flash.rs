//! Results of forms, shown after the redirect.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::Diagnosis;

/// Kind of a notice, shown by sign, word and colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    Success,
    Warning,
    Problem,
    Progress,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    pub tone: Tone,
    pub title: String,
    pub text: String,
    /// A value to copy (an invitation link), and the copy button's name for it.
    pub copy: Option<(String, String)>,
    #[serde(default)]
    pub undo: Option<Undo>,
    /// Shown in the page's status banner instead of at the top.
    #[serde(default)]
    pub in_status: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    pub action: String,
    pub values: Vec<(String, String)>,
}

impl Notice {
    pub fn new(tone: Tone, title: impl Into<String>, text: impl Into<String>) -> Self {
        Self { tone, title: title.into(), text: text.into(), copy: None, undo: None, in_status: false }
    }

    /// An error: its first sentence is the title.
    pub fn problem(text: &str) -> Self {
        match text.split_once(". ") {
            Some((title, rest)) => Self::new(Tone::Problem, format!("{title}."), rest),
            None => Self::new(Tone::Problem, text, ""),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    pub field: String,
    pub label: String,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FormName {
    #[default]
    #[serde(rename = "")]
    Any,
    SignIn,
    Invitation,
    Invite,
    InviteList,
    Users,
    Connect,
    Aliases,
    EmailConfig,
    SignInSettings,
    Guide,
    Device,
    Compose,
    Drafts,
    Outbox,
    Inbox,
}

/// A form's result: stored in a short-lived row, shown once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Flash {
    pub form: FormName,
    pub notice: Option<Notice>,
    pub errors: Vec<FieldError>,
    /// Typed values by field name, never secrets or passwords.
    pub typed: BTreeMap<String, String>,
    pub diagnosis: Option<Diagnosis>,
    /// A question to confirm first: the text, and the name of the confirming field.
    pub question: Option<(String, String)>,
}

impl Flash {
    pub fn notice(notice: Notice) -> Self {
        Self { notice: Some(notice), ..Self::default() }
    }

    pub fn error(&self, field: &str) -> Option<&str> {
        self.errors.iter().find(|error| error.field == field).map(|error| error.text.as_str())
    }

    /// Prefix of the page title.
    pub fn result(&self) -> Option<String> {
        if self.errors.is_empty() {
            self.notice.as_ref().map(|notice| notice.title.trim_end_matches('.').to_owned())
        } else {
            Some("Error".to_owned())
        }
    }

    /// A field's typed value, if the form is shown again.
    pub fn typed(&self, field: &str) -> Option<&str> {
        self.typed.get(field).map(String::as_str)
    }
}
