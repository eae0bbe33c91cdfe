//! Paths of the pages. The routes in `shell.rs` repeat them, because `path!` takes only literals; a test compares both.

use super::escaped;

pub const HOME_PATH: &str = "/";
pub const LOGIN_PATH: &str = "/login";
pub const ACCOUNT_PATH: &str = "/account/email";
/// Programs that send as the person.
pub const OWN_PROGRAMS_PATH: &str = "/account/programs";
pub const ACCOUNT_ATTEMPTS_PATH: &str = "/account/email/attempts";
pub const EMAIL_CONFIG_PATH: &str = "/institution/config/general/email";
pub const SIGN_IN_SETTINGS_PATH: &str = "/institution/config/general/sign-in";
/// Certificates and the federated credential.
pub const CREDENTIALS_PATH: &str = "/institution/config/general/email/credentials";
/// A certificate to upload at Microsoft: the id follows.
pub const CERTIFICATE_PATH: &str = "/institution/config/general/email/credentials/certificate";
/// Entrepost as an issuer (OpenID Connect Discovery 1.0).
pub const ISSUER_PATH: &str = "/.well-known/openid-configuration";
pub const KEY_SET_PATH: &str = "/.well-known/jwks.json";
pub const EMAIL_CONFIG_ATTEMPTS_PATH: &str = "/institution/config/general/email/attempts";
pub const USERS_PATH: &str = "/institution/users";
/// Leads to Microsoft.
pub const MICROSOFT_SIGN_IN_PATH: &str = "/login/microsoft";
pub const MAIL_HEALTH_PATH: &str = "/institution/mail-health";
/// Programs and devices.
pub const PROGRAMS_PATH: &str = "/institution/programs";
pub const RELAY_CERTIFICATE_PATH: &str = "/institution/programs/certificate.pem";
pub const DEVICE_EVENTS_PATH: &str = "/events/devices";
pub const AUDIT_PATH: &str = "/institution/audit";
/// The log as a file.
pub const AUDIT_CSV_PATH: &str = "/institution/audit/csv";
/// Inviting many people.
pub const INVITE_PATH: &str = "/institution/users/invite";
pub const INBOX_PATH: &str = "/mail/inbox";
pub const MESSAGE_PATH: &str = "/mail/message";
/// HTML of a message, for a frame.
pub const MESSAGE_DOCUMENT_PATH: &str = "/mail/message/document";
pub const MESSAGE_ATTACHMENT_PATH: &str = "/mail/message/attachment";
/// The whole message.
pub const MESSAGE_RAW_PATH: &str = "/mail/message/raw";
pub const COMPOSE_PATH: &str = "/mail/compose";
pub const DRAFTS_PATH: &str = "/mail/drafts";
pub const OUTBOX_PATH: &str = "/mail/outbox";
/// Server-sent events of a user's mail, and of an attempt.
pub const MAIL_EVENTS_PATH: &str = "/events/mail";
pub const ATTEMPT_EVENTS_PATH: &str = "/events/attempts";
/// Path of the redirect URI.
pub const REDIRECT_PATH: &str = "/web/home/emails/msexchangeonlineoauth";

/// A path with optional query that a sign-in may return to. Anything else becomes the home page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppPath(String);

/// Maximum length in bytes; folder names may be long.
const MOST: usize = 1_000;

impl AppPath {
    /// Parses `next` of a sign-in form, which may be forged.
    pub fn parse(text: Option<&str>) -> Self {
        let text = text.unwrap_or("/");
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_');
        let in_query =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '=' | '&' | '%' | '-' | '_' | '.' | '~' | '+');
        let local = path.starts_with('/') && !path.starts_with("//") && path.chars().all(plain);
        let local = local && text.len() <= MOST && query.chars().all(in_query);
        let returnable = local && !text.starts_with("/login") && !text.starts_with("/api") && !text.starts_with("/web");
        Self(if returnable { text.to_owned() } else { "/".to_owned() })
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn login(&self) -> String {
        if self.0 == "/" {
            "/login".to_owned()
        } else {
            format!("/login?next={}", escaped(&self.0).replace("%2F", "/"))
        }
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
            "/account/email?x=1#y",
            "/account/email?next=https://evil.example",
            "/account/email?a=\r\nb",
            "/web/home/emails/msexchangeonlineoauth",
            "/a\r\nb",
        ] {
            assert_eq!(AppPath::parse(Some(forged)).as_str(), "/", "{forged}");
        }
        assert_eq!(AppPath::parse(Some("/account/email")).login(), "/login?next=/account/email");
        let draft = "/mail/compose?draft=0b7e-1&x=a%20b";
        assert_eq!(AppPath::parse(Some(draft)).as_str(), draft);
        assert_eq!(AppPath::parse(Some(draft)).login(), "/login?next=/mail/compose%3Fdraft%3D0b7e-1%26x%3Da%2520b");
    }
}
