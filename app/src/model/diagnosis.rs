//! An error's cause, who can fix it, the steps, and details to copy.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FixedBy {
    You,
    /// The mailbox's user, as seen by others.
    Owner,
    /// An administrator of the institution (in Entra, Exchange or Entrepost).
    Administrator,
    Time,
    Operator,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Help {
    Command(String),
    Value(String),
    Link(String),
}

impl Help {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Command(text) | Self::Value(text) | Self::Link(text) => text,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instruction {
    pub text: String,
    pub help: Option<Help>,
    /// An alternative to the other steps, instead of a sequence.
    pub is_option: bool,
    /// For an administrator, and the reader is none.
    #[serde(default)]
    pub by_administrator: bool,
}

/// Commands that must run first.
pub const BEFORE_COMMANDS: &str = "Connect-ExchangeOnline";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// Run the checks again with the stored grant.
    #[serde(rename = "try_again")]
    TestAgain,
    /// Sign in at Microsoft again.
    #[serde(rename = "connect_again")]
    SignInAgain,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// Name and value, in display order.
    pub facts: Vec<(String, String)>,
}

impl Evidence {
    pub fn as_text(&self) -> String {
        self.facts.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    pub cause: String,
    pub title: String,
    pub summary: String,
    #[serde(rename = "mender")]
    pub fixed_by: FixedBy,
    pub steps: Vec<Instruction>,
    pub remedy: Remedy,
    /// Raw answer, codes, ids, time.
    pub evidence: Evidence,
    /// A ready message for the administrator; `None` for administrators.
    pub message_for_administrator: Option<String>,
    /// The same as a link that opens it in the mail program (RFC 6068).
    pub mailto: Option<String>,
    /// A link that shares the problem and the configuration page in Microsoft Teams. The commands are in the message.
    pub teams_share: Option<String>,
    pub support_contact: Option<String>,
}
