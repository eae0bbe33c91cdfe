//! What the domains that people send from publish about who may send in their name.

use super::Timestamp;

/// What a receiver would think.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Good,
    /// Said for information only.
    Information,
    /// The look-up failed.
    Unknown,
    Warning,
    Problem,
}

impl Verdict {
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Information => "information",
            Self::Unknown => "not known",
            Self::Warning => "could be better",
            Self::Problem => "problem",
        }
    }
}

/// SPF, DKIM, DMARC or MX of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainRecord {
    pub name: &'static str,
    pub verdict: Verdict,
    pub text: String,
    /// Records as found.
    pub found: Vec<String>,
    /// The TXT record to publish instead, as name and value.
    pub publish: Option<(String, String)>,
    /// A command that shows more.
    pub command: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderDomain {
    pub domain: String,
    /// `None` before the first look-up.
    pub checked_at: Option<Timestamp>,
    pub records: Vec<DomainRecord>,
}

impl SenderDomain {
    pub fn worst(&self) -> Option<Verdict> {
        self.records.iter().map(|record| record.verdict).max()
    }
}
