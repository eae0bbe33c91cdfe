//! Which answer means which cause. Rows are tried from the top; the first that fits names the cause.

use crate::identity::OAuthError;
use crate::mail::{MailError, Step};

/// AADSTS number → cause (Microsoft: "Microsoft Entra authentication and authorization error codes").
const AADSTS: &[(i64, &str)] = &[
    (7_000_215, "secret_wrong"),
    (7_000_222, "secret_expired"),
    (700_016, "client_unknown"),
    (90002, "tenant_unknown"),
    (900_023, "tenant_unknown"),
    (90038, "other_cloud"),
    (50011, "redirect_uri"),
    (900_971, "redirect_uri"),
    (500_113, "redirect_uri"),
    (9_002_327, "redirect_spa"),
    (9_002_325, "our_bug"),
    (7_000_229, "service_principal"),
    (50194, "single_tenant"),
    (50020, "foreign_account"),
    (50034, "foreign_account"),
    (50105, "not_assigned"),
    (65001, "consent_missing"),
    (90094, "consent_missing"),
    (90095, "consent_missing"),
    (65004, "declined"),
    (650_057, "permissions_missing"),
    (70011, "permissions_missing"),
    (700_022, "permissions_missing"),
    (50076, "mfa"),
    (50079, "mfa"),
    (50072, "mfa"),
    (50074, "mfa"),
    (50158, "mfa"),
    (53000, "device_policy"),
    (53001, "device_policy"),
    (53002, "device_policy"),
    (53011, "risk_policy"),
    (53004, "risk_policy"),
    (50131, "conditional_access"),
    (53003, "conditional_access"),
    (530_035, "conditional_access"),
    (70043, "sign_in_frequency"),
    (50053, "account_locked"),
    (50055, "password_expired"),
    (500_011, "exchange_missing"),
    (650_052, "exchange_missing"),
    (7_000_112, "app_disabled"),
    (7_000_218, "public_client"),
    (50059, "tenant_unknown"),
    (500_208, "foreign_account"),
    (50126, "wrong_password"),
    (50057, "account_disabled"),
    (50173, "grant_revoked"),
    (70008, "grant_revoked"),
    (700_082, "grant_revoked"),
    (54005, "start_over"),
    (501_481, "start_over"),
    (700_005, "start_over"),
    (50196, "authority_throttled"),
    (90055, "authority_throttled"),
    (90033, "authority_unavailable"),
];

/// OAuth error → cause, for providers without numbers and for numbers that are not in the table.
const OAUTH: &[(&str, &str)] = &[
    ("invalid_client", "secret_wrong"),
    ("unauthorized_client", "client_unknown"),
    ("invalid_tenant", "tenant_unknown"),
    ("access_denied", "declined"),
    ("consent_required", "consent_missing"),
    ("interaction_required", "interaction_required"),
    ("login_required", "interaction_required"),
    ("invalid_grant", "grant_revoked"),
    ("invalid_scope", "permissions_missing"),
    ("temporarily_unavailable", "authority_unavailable"),
    ("server_error", "authority_unavailable"),
];

/// The cause of an OAuth error.
#[must_use]
pub fn oauth_cause(error: &OAuthError) -> &'static str {
    let by_number = error
        .codes()
        .into_iter()
        .find_map(|code| AADSTS.iter().find(|(known, _)| *known == code).map(|(_, cause)| *cause));
    let by_error = || OAUTH.iter().find(|(known, _)| *known == error.error).map(|(_, cause)| *cause);
    by_number.or_else(by_error).unwrap_or("authority_refused")
}

/// Reply code (or none), a part of the text → cause (MICROSOFT: "SMTP submission", "NDR reference").
const SMTP: &[(Option<u16>, &str, &str)] = &[
    (None, "SmtpClientAuthentication is disabled for the Tenant", "smtp_auth_tenant"),
    (None, "SmtpClientAuthentication is disabled", "smtp_auth_mailbox"),
    (None, "security defaults", "smtp_auth_security_defaults"),
    (None, "did not meet the criteria", "smtp_auth_policy"),
    (None, "5.7.139", "smtp_auth_policy"),
    (None, "5.7.30", "our_bug"),
    (None, "5.7.57", "smtp_token_refused"),
    (None, "5.7.3", "smtp_token_refused"),
    (None, "5.2.252", "send_as_denied"),
    (None, "SendAsDenied", "send_as_denied"),
    (None, "5.7.60", "send_as_denied"),
    (None, "SubmissionQuotaExceeded", "smtp_daily_limit"),
    (None, "5.1.90", "smtp_daily_limit"),
    (None, "5.7.233", "smtp_tenant_limit"),
    (None, "5.7.232", "smtp_tenant_limit"),
    (None, "5.7.236", "smtp_onmicrosoft"),
    (None, "5.7.705", "smtp_tenant_blocked"),
    (None, "5.7.708", "smtp_tenant_blocked"),
    (None, "5.7.501", "smtp_sender_blocked"),
    (None, "5.7.502", "smtp_sender_blocked"),
    (None, "5.7.503", "smtp_sender_blocked"),
    (None, "5.1.8", "smtp_sender_blocked"),
    (None, "5.1.10", "recipient_unknown"),
    (None, "5.1.1", "recipient_unknown"),
    (None, "5.2.2", "mailbox_full"),
    (Some(432), "", "smtp_throttled"),
    (Some(421), "", "smtp_throttled"),
    (Some(535), "", "smtp_token_refused"),
    (Some(530), "", "smtp_token_refused"),
];

/// Whether a text says something. An enhanced status code (RFC 3463) is matched whole: `5.7.3` is not in `5.7.350`, and neither in
/// an address nor in a number of the network.
fn says(text: &str, part: &str) -> bool {
    let is_code =
        part.starts_with(|c: char| c.is_ascii_digit()) && part.chars().all(|c| c.is_ascii_digit() || c == '.');
    if !is_code {
        return text.contains(part);
    }
    text.match_indices(part).any(|(at, _)| {
        let (before, behind) = (&text[..at], &text[at + part.len()..]);
        let joined = |c: char| c.is_alphanumeric() || matches!(c, '@' | '-' | '_' | '.' | '+');
        let goes_on = {
            let mut chars = behind.chars();
            match chars.next() {
                // A full stop behind a code ends a sentence.
                Some('.') => chars.next().is_some_and(joined),
                Some(c) => joined(c),
                None => false,
            }
        };
        !before.ends_with(joined) && !goes_on
    })
}

/// What a report says (RFC 3464) → cause. They are about the recipient's side, and ask nobody to connect a mailbox again.
const BOUNCES: &[(&str, &str)] = &[
    ("5.1.10", "recipient_unknown"),
    ("5.1.1", "recipient_unknown"),
    ("5.1.0", "recipient_unknown"),
    ("5.1.2", "bounce_domain_unknown"),
    ("5.1.3", "recipient_unknown"),
    ("5.4.1", "bounce_domain_unknown"),
    ("5.4.310", "bounce_domain_unknown"),
    ("5.1.6", "recipient_unknown"),
    ("5.2.1", "bounce_not_accepted"),
    ("5.2.2", "bounce_full"),
    ("4.2.2", "bounce_full"),
    ("5.2.3", "bounce_too_large"),
    ("5.3.4", "bounce_too_large"),
    ("4.4.7", "bounce_late"),
    ("5.4.7", "bounce_late"),
    ("5.4.300", "bounce_late"),
    ("5.4.316", "bounce_late"),
    ("5.7.515", "bounce_domain_records"),
    ("5.7.26", "bounce_domain_records"),
    ("5.7.509", "bounce_domain_records"),
    ("5.7.23", "bounce_domain_records"),
    ("5.7.233", "smtp_tenant_limit"),
    ("5.7.232", "smtp_tenant_limit"),
    ("5.7.236", "smtp_onmicrosoft"),
    ("5.7.705", "smtp_tenant_blocked"),
    ("5.7.708", "smtp_tenant_blocked"),
    ("5.7.501", "smtp_sender_blocked"),
    ("5.7.502", "smtp_sender_blocked"),
    ("5.7.503", "smtp_sender_blocked"),
    ("5.1.8", "smtp_sender_blocked"),
    ("5.1.90", "smtp_daily_limit"),
    ("5.7.350", "bounce_spam"),
    ("5.7.511", "bounce_spam"),
    ("5.7.606", "bounce_spam"),
    ("5.7.1", "bounce_not_accepted"),
    ("5.7.124", "bounce_not_accepted"),
    ("5.7.133", "bounce_not_accepted"),
    ("5.7.134", "bounce_not_accepted"),
];

/// The cause of a message that came back.
#[must_use]
pub fn bounce_cause(reason: &str) -> &'static str {
    let known = BOUNCES.iter().find(|(code, _)| says(reason, code)).map(|(_, cause)| *cause);
    let lower = reason.to_lowercase();
    known.unwrap_or(if lower.contains("spam") || lower.contains("blocklist") || lower.contains("blacklist") {
        "bounce_spam"
    } else {
        "bounced"
    })
}

/// The cause of an SMTP failure.
#[must_use]
pub fn smtp_cause(error: &MailError) -> &'static str {
    if !error.answered {
        return match error.step {
            Step::Connect => "smtp_unreachable",
            Step::Tls => "smtp_tls",
            Step::AfterData => "smtp_cut_unknown",
            Step::Data => "smtp_cut",
            _ => "smtp_silent",
        };
    }
    let known =
        SMTP.iter().find(|(code, part, _)| (code.is_none() || *code == error.code()) && says(&error.text, part));
    match known {
        Some((_, _, cause)) => cause,
        None if error.step == Step::Tls => "smtp_tls",
        // Any server may be short of something for a moment: that is no throttling unless it says so.
        None if error.is_transient() && (error.backoff_ms().is_some() || error.text.contains("throttl")) => {
            "smtp_throttled"
        }
        None if error.is_transient() => "smtp_later",
        None if error.step == Step::Auth => "smtp_token_refused",
        None => "smtp_refused",
    }
}

/// The cause of an IMAP failure.
#[must_use]
pub fn imap_cause(error: &MailError) -> &'static str {
    if !error.answered {
        return match error.step {
            Step::Connect => "imap_unreachable",
            Step::Tls => "imap_tls",
            _ => "imap_silent",
        };
    }
    if error.text.contains("authenticated but not connected") {
        "imap_disabled"
    } else if error.text.contains("Suggested Backoff Time") || error.text.contains("throttl") {
        "imap_throttled"
    } else if error.step == Step::Auth {
        "imap_token_refused"
    } else if error.step == Step::Select {
        "imap_refused"
    } else {
        "imap_command"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::causes;

    #[test]
    fn every_rule_names_a_cause_of_the_table() {
        let named = AADSTS
            .iter()
            .map(|(_, cause)| cause)
            .chain(OAUTH.iter().map(|(_, cause)| cause))
            .chain(SMTP.iter().map(|(_, _, cause)| cause))
            .chain(BOUNCES.iter().map(|(_, cause)| cause));
        for cause in named {
            assert_eq!(causes::find(cause).name, *cause);
        }
    }

    #[test]
    fn codes_are_matched_whole() {
        for text in [
            "550 5.7.350 Remote server returned",
            "5.7.321",
            "15.7.3",
            "host 10.5.7.3 said",
            "a5.7.3@x.example",
            "x-5.7.3-y",
            "5.7.3@x.example",
        ] {
            assert!(!says(text, "5.7.3"), "{text}");
        }
        for text in ["5.7.3 Authentication unsuccessful", "535 5.7.3", "(5.7.3)", "#5.7.3#", "5.7.3.", "code=5.7.3;"] {
            assert!(says(text, "5.7.3"), "{text}");
        }
        let spam =
            MailError::refused(Step::AfterData, Some(550), "5.7.350 Remote server returned message detected as spam");
        assert_eq!(smtp_cause(&spam), "smtp_refused");
    }

    #[test]
    fn bounces_have_causes_of_their_own() {
        for (reason, cause) in [
            ("550 5.7.350 Remote server returned message detected as spam", "bounce_spam"),
            ("550 5.1.10 RESOLVER.ADR.RecipientNotFound; not found", "recipient_unknown"),
            ("554 5.2.2 mailbox full", "bounce_full"),
            (
                "550 5.7.515 Access denied, sending domain does not meet the required authentication level",
                "bounce_domain_records",
            ),
            ("550 5.7.3 something that an SMTP session would call a wrong token", "bounced"),
            ("5.3.4 message too large", "bounce_too_large"),
            ("550 4.4.7 queue expired", "bounce_late"),
        ] {
            assert_eq!(bounce_cause(reason), cause, "{reason}");
        }
    }

    #[test]
    fn numbers_come_from_the_description_too() {
        let error = OAuthError {
            error: "access_denied".into(),
            error_description: Some("AADSTS65004: User declined to consent to access the app.".into()),
            ..OAuthError::default()
        };
        assert_eq!(oauth_cause(&error), "declined");
        let plain = OAuthError { error: "invalid_client".into(), ..OAuthError::default() };
        assert_eq!(oauth_cause(&plain), "secret_wrong");
    }

    #[test]
    fn the_texts_of_5_7_139_differ_in_what_to_do() {
        let cause = |text: &str| smtp_cause(&MailError::refused(Step::Auth, Some(535), text));
        assert_eq!(
            cause("5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox."),
            "smtp_auth_mailbox"
        );
        assert_eq!(
            cause("5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant."),
            "smtp_auth_tenant"
        );
        assert_eq!(
            cause(
                "5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults policy."
            ),
            "smtp_auth_security_defaults"
        );
        assert_eq!(
            cause(
                "5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated successfully."
            ),
            "smtp_auth_policy"
        );
        assert_eq!(cause("5.7.3 Authentication unsuccessful"), "smtp_token_refused");
    }
}
