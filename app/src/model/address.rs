//! Email addresses.

use serde::{Deserialize, Serialize};

use super::pasted;

/// A syntactically valid, trimmed address (RFC 5321; RFC 6531 for international ones).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EmailAddress(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("Enter an email address.")]
    Empty,
    #[error("This is not an email address. It looks like name@school.example.")]
    Malformed,
}

impl EmailAddress {
    /// Parses typed or pasted text.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let text = pasted::identifier(text);
        let text = text.as_str();
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        let options =
            email_address::Options::default().with_required_tld().without_display_text().without_domain_literal();
        match email_address::EmailAddress::parse_with_options(text, options) {
            Ok(address) if !text.chars().any(char::is_control) => Ok(Self(address.to_string())),
            _ => Err(AddressError::Malformed),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Key for comparison: Exchange ignores case in both parts.
    pub fn key(&self) -> String {
        self.0.to_lowercase()
    }

    pub fn same_as(&self, other: &str) -> bool {
        self.key() == pasted::identifier(other).to_lowercase()
    }
}

impl std::fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_addresses_as_they_are_pasted() {
        for (typed, parsed) in [
            (" user@demo.example ", "user@demo.example"),
            ("First.Last+tag@Demo.Example", "First.Last+tag@Demo.Example"),
            ("schüler@schule.example", "schüler@schule.example"),
            ("\u{200b}user\u{200b}@demo\u{2011}school.example\u{a0}", "user@demo-school.example"),
        ] {
            assert_eq!(EmailAddress::parse(typed).unwrap().as_str(), parsed);
        }
    }

    #[test]
    fn refuses_what_no_mailbox_can_have() {
        for typed in [
            "user",
            "user@",
            "@demo.example",
            "a b@demo.example",
            "user@demo.example\r\nBcc: x@y.example",
            "User <user@demo.example>",
        ] {
            assert_eq!(EmailAddress::parse(typed), Err(AddressError::Malformed), "{typed}");
        }
        assert_eq!(EmailAddress::parse("  "), Err(AddressError::Empty));
    }

    #[test]
    fn compares_without_case() {
        assert!(EmailAddress::parse("User@Demo.example").unwrap().same_as("user@demo.EXAMPLE"));
    }
}
