//! Addresses inside the application that a person may be sent back to.

/// A path of this application, without a query: what a sign-in may return to. Anything else becomes the home page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppPath(String);

impl AppPath {
    /// Takes `next` of a sign-in form, which anybody can forge.
    #[must_use]
    pub fn parse(text: Option<&str>) -> Self {
        let text = text.unwrap_or("/");
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_');
        let local = text.starts_with('/') && !text.starts_with("//") && text.chars().all(plain);
        let returnable = local && !text.starts_with("/login") && !text.starts_with("/api") && !text.starts_with("/web");
        Self(if returnable { text.to_owned() } else { "/".to_owned() })
    }

    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The sign-in page that returns here.
    #[must_use]
    pub fn login(&self) -> String {
        if self.0 == "/" { "/login".to_owned() } else { format!("/login?next={}", self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_leaves_the_application() {
        for forged in [
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "/account/email?x=1",
            "/web/home/emails/msexchangeonlineoauth",
            "/a\r\nb",
        ] {
            assert_eq!(AppPath::parse(Some(forged)).as_str(), "/", "{forged}");
        }
        assert_eq!(AppPath::parse(Some("/account/email")).login(), "/login?next=/account/email");
    }
}
