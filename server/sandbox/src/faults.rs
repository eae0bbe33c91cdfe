//! Faults on demand. The portal's switches and `/sandbox/faults` set the same values.

use serde::{Deserialize, Serialize};

/// Which switch turns authenticated SMTP off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmtpAuthSwitch {
    /// None: it is on.
    #[default]
    On,
    /// Off for the mailbox.
    Mailbox,
    /// Off for the tenant.
    Tenant,
    /// Off by security defaults.
    SecurityDefaults,
}

/// Where accepted mail goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    #[default]
    Inbox,
    /// Junk Email.
    Junk,
    /// A folder of the person's own.
    Folder,
    /// Nowhere: it waits in a queue for ever.
    Nowhere,
}

/// Every switch. All off is a healthy tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// The client secret has expired (AADSTS7000222).
    pub secret_expired: bool,
    /// Authenticated SMTP is switched off (535 5.7.139).
    pub smtp_auth: SmtpAuthSwitch,
    /// IMAP is switched off: `BAD User is authenticated but not connected` at SELECT.
    pub imap_disabled: bool,
    /// Consent is missing and only an administrator may grant it (AADSTS90094).
    pub consent_missing: bool,
    /// Whoever signs in, `other@demo.example` comes out.
    pub wrong_account: bool,
    /// SMTP answers 432 4.3.2.
    pub throttled: bool,
    /// This recipient is refused for now (451), as servers do that do not know a sender yet.
    pub greylisted: String,
    /// Every SMTP and IMAP answer takes this many milliseconds.
    pub slow_ms: u64,
    /// The SMTP connection is cut in the middle of DATA.
    pub cut_in_data: bool,
    /// The SMTP connection is cut after the message was taken, before the answer.
    pub cut_after_data: bool,
    /// The SMTP connection is cut at MAIL FROM.
    pub cut_before_data: bool,
    /// Every refresh token is revoked (AADSTS50173).
    pub grants_revoked: bool,
    /// Entra answers 503.
    pub unavailable: bool,
    /// From is refused (554 5.2.252).
    pub send_as_denied: bool,
    /// The token comes without SMTP.Send.
    pub smtp_scope_missing: bool,
    /// The token endpoint refuses codes and refresh tokens with this AADSTS number, where it is not 0.
    pub token_error: u32,
    /// The token endpoint refuses client credentials with this AADSTS number, where it is not 0.
    pub app_error: u32,
    /// MAIL FROM is answered with this reply, where it is not empty: `550 5.7.708 …`.
    pub smtp_reply: String,
    /// Errors carry no AADSTS number and none of Microsoft's fields, as other OpenID providers answer.
    pub plain_errors: bool,
    /// A gateway gives every message a Message-ID of its own on the way to its recipients.
    pub message_id_replaced: bool,
    /// SMTP does not offer SMTPUTF8: addresses with other letters than ASCII are not taken.
    pub no_smtputf8: bool,
    /// Where accepted mail goes.
    pub delivery: Delivery,
    /// What was accepted comes back to its sender as a delivery status notification.
    pub bounced: bool,
    /// SELECT is answered with `Suggested Backoff Time: 1500 milliseconds`.
    pub imap_throttled: bool,
    /// Sent messages leave no copy in Sent Items.
    pub no_sent_copy: bool,
    /// The token endpoint gives a new refresh token, but its answer never comes.
    pub token_withheld: bool,
    /// The next time that this IMAP command comes, the connection is cut without a word.
    pub imap_dropped: String,
    /// This IMAP command (`FETCH`, say) is refused with NO.
    pub imap_refused: String,
    /// Discovery names another issuer.
    pub foreign_issuer: bool,
    /// SELECT of this folder is refused with NO.
    pub imap_folder_refused: String,
    /// FETCH of the header fields of the message with this UID is refused with NO, where it is not 0.
    pub imap_broken_uid: u32,
    /// The next time that this IMAP command comes, the session ends as when its token does.
    pub imap_cut: String,
    /// The token endpoint answers after this many milliseconds.
    pub token_slow_ms: u64,
    /// The token endpoint answers 429 and asks for two minutes of patience.
    pub token_busy: bool,
    /// Access tokens are longer by so many characters, as those of accounts in many groups are.
    pub token_padding: usize,
    /// A refresh token that was used is revoked, as strict providers do (Microsoft does not).
    pub strict_rotation: bool,
    /// SMTP refuses every sign-in, and its answer echoes what it was sent.
    pub auth_echo: bool,
    /// Access tokens live for so many seconds, where it is not 0.
    pub token_seconds: i64,
}
