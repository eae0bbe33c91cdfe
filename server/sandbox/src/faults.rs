//! Injected faults, set by the portal and `/sandbox/faults`.

use serde::{Deserialize, Serialize};

/// What disables authenticated SMTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmtpAuthSwitch {
    /// Nothing: it is enabled.
    #[default]
    On,
    /// Off for the mailbox.
    Mailbox,
    /// Off for the tenant.
    Tenant,
    /// Off by security defaults.
    SecurityDefaults,
}

/// Destination of accepted mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    #[default]
    Inbox,
    /// Junk Email.
    Junk,
    /// A folder created by the user.
    Folder,
    /// Nowhere: queued forever.
    Nowhere,
}

/// All faults. The default is a healthy tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// The client secret has expired (AADSTS7000222).
    pub secret_expired: bool,
    /// A policy of the tenant forbids client secrets.
    pub secrets_forbidden: bool,
    /// Authenticated SMTP is switched off (535 5.7.139).
    pub smtp_auth: SmtpAuthSwitch,
    /// IMAP is switched off: `BAD User is authenticated but not connected` at SELECT.
    pub imap_disabled: bool,
    /// Consent is missing and only an administrator may grant it (AADSTS90094).
    pub consent_missing: bool,
    /// Every sign-in returns `other@demo.example`.
    pub wrong_account: bool,
    /// SMTP answers 432 4.3.2.
    pub throttled: bool,
    /// This recipient is deferred (451), as by greylisting.
    pub greylisted: String,
    /// Delay of each SMTP and IMAP response, in milliseconds.
    pub slow_ms: u64,
    /// The SMTP connection is cut in the middle of DATA.
    pub cut_in_data: bool,
    /// The SMTP connection is cut after accepting the message, before the reply.
    pub cut_after_data: bool,
    /// The SMTP connection is cut at MAIL FROM.
    pub cut_before_data: bool,
    /// The SMTP connection is cut at DATA, before its reply.
    pub cut_at_data: bool,
    /// Every refresh token is revoked (AADSTS50173).
    pub grants_revoked: bool,
    /// Entra answers 503.
    pub unavailable: bool,
    /// From is refused (554 5.2.252).
    pub send_as_denied: bool,
    /// The token comes without SMTP.Send.
    pub smtp_scope_missing: bool,
    /// AADSTS number returned for codes and refresh tokens; 0 for none.
    pub token_error: u32,
    /// OAuth error that comes with it; empty for Microsoft's usual one.
    pub token_error_kind: String,
    /// AADSTS number returned for client credentials; 0 for none.
    pub app_error: u32,
    /// Reply to MAIL FROM, such as `550 5.7.708 …`; empty for none.
    pub smtp_reply: String,
    /// Errors have no AADSTS number or Microsoft fields, as with other OpenID providers.
    pub plain_errors: bool,
    /// A gateway replaces each Message-ID.
    pub message_id_replaced: bool,
    /// SMTP doesn't offer SMTPUTF8: non-ASCII addresses are refused.
    pub no_smtputf8: bool,
    /// Destination of accepted mail.
    pub delivery: Delivery,
    /// Accepted messages bounce with a delivery status notification.
    pub bounced: bool,
    /// SELECT is answered with `Suggested Backoff Time: 1500 milliseconds`.
    pub imap_throttled: bool,
    /// Sent messages leave no copy in Sent Items.
    pub no_sent_copy: bool,
    /// The token endpoint rotates the refresh token, and its response is lost.
    pub token_withheld: bool,
    /// The next IMAP command of this name cuts the connection.
    pub imap_dropped: String,
    /// This IMAP command (such as `FETCH`) gets NO.
    pub imap_refused: String,
    /// Discovery has another issuer.
    pub foreign_issuer: bool,
    /// SELECT of this folder gets NO.
    pub imap_folder_refused: String,
    /// FETCH of this UID's header fields gets NO; 0 for none.
    pub imap_broken_uid: u32,
    /// The next IMAP command of this name ends the session as an expired token does.
    pub imap_cut: String,
    /// Delay of the token endpoint, in milliseconds.
    pub token_slow_ms: u64,
    /// The token endpoint returns 429 with Retry-After: 120.
    pub token_busy: bool,
    /// Extra length of access tokens, as for accounts in many groups.
    pub token_padding: usize,
    /// The token endpoint's connection breaks within the answer.
    pub token_dropped: bool,
    /// A page of something on the way answers in place of the token endpoint.
    pub token_page: bool,
    /// The uploaded certificates have expired (AADSTS700027).
    pub certificate_expired: bool,
    /// Grants come without a refresh token.
    pub no_refresh_token: bool,
    /// The id_token is for another app.
    pub id_token_foreign: bool,
    /// Nothing listens for this protocol (`smtp`, `imap` or `graph`).
    pub unplugged: String,
    /// This protocol (`smtp` or `imap`) answers a TLS hello with something else.
    pub tls_broken: String,
    /// IMAP refuses authentication.
    pub imap_auth_refused: bool,
    /// What bounces say, such as `550 5.7.350 …`; empty for an unknown user.
    pub bounce_reply: String,
    /// Used refresh tokens are revoked, as strict providers do (Microsoft doesn't).
    pub strict_rotation: bool,
    /// SMTP refuses authentication and echoes its input.
    pub auth_echo: bool,
    /// Microsoft Graph answers with a status, a code and the seconds to wait, such as `429 ApplicationThrottled 7`; empty for none.
    pub graph_reply: String,
    /// Domain of the cloud that AADSTS90038 names; empty for `microsoftonline.us`.
    pub other_cloud: String,
    /// Consent for `Mail.ReadWrite` is missing.
    pub graph_send_only: bool,
    /// The connection to Microsoft Graph is cut after it took a message.
    pub graph_cut: bool,
    /// Lifetime of access tokens in seconds; 0 for the default.
    pub token_seconds: i64,
}
