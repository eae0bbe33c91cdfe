//! An error turned into cause, who mends it, the steps, and the evidence to copy.

use serde::{Deserialize, Serialize};

/// Who can mend a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FixedBy {
    /// The person who sees the page.
    You,
    /// Whoever signs in to the mailbox, where somebody else sees the page.
    Owner,
    /// An administrator of the institution (in Entra, Exchange or Entrepost).
    Administrator,
    /// Nobody: it passes by itself.
    Time,
    /// Whoever runs this server.
    Operator,
}

/// What stands below a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Help {
    /// A command of Exchange Online PowerShell.
    Command(String),
    /// A value to paste.
    Value(String),
    /// A page to open.
    Link(String),
}

impl Help {
    /// What is copied, or opened.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Command(text) | Self::Value(text) | Self::Link(text) => text,
        }
    }
}

/// One step of the remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What to do, in one or two sentences.
    pub text: String,
    /// What to copy or to open for it.
    pub help: Option<Help>,
    /// One of several ways to the same end, rather than one step after the other.
    pub is_option: bool,
}

/// What every command needs first.
pub const BEFORE_COMMANDS: &str = "Connect-ExchangeOnline";

/// What the page offers to press.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// Run the checks again with the grant that is kept.
    TestAgain,
    /// Sign in at Microsoft again.
    SignInAgain,
}

/// The raw facts, for support.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// Name and value, in the order in which they are shown.
    pub facts: Vec<(String, String)>,
}

impl Evidence {
    /// The evidence as one text to paste into a ticket.
    pub fn as_text(&self) -> String {
        self.facts.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
    }
}

/// What is wrong, in words for the person who looks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Stable name of the cause, for tests and support.
    pub cause: String,
    /// What it means for the person.
    pub title: String,
    /// One or two sentences more.
    pub summary: String,
    /// Who mends it.
    pub fixed_by: FixedBy,
    pub steps: Vec<Step>,
    /// What to press afterwards.
    pub remedy: Remedy,
    /// Raw answer, codes, ids, time.
    pub evidence: Evidence,
    /// A ready message for the administrator, where one has to act, or may have to.
    pub message_for_administrator: Option<String>,
    /// The same as a link that opens it in the mail program (RFC 6068).
    pub mailto: Option<String>,
    /// A link that shares the problem and the configuration page in Microsoft Teams. The commands are in the message.
    pub teams_share: Option<String>,
    /// Where support is to be had, if the operator said so.
    pub support_contact: Option<String>,
}
