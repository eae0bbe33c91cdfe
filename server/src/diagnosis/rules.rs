//! Which answer means which cause. Rows are tried from the top; the first that fits names the cause.

use crate::identity::OAuthError;
use crate::mail::status::Statuses;
use crate::mail::{GraphRefusal, MailError, Step};

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
    (50107, "federated_sign_in"),
    (50008, "federated_sign_in"),
    (500_081, "federated_sign_in"),
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
    (70021, "federated_credential"),
    (70_022_204, "federated_credential"),
    (700_211, "federated_credential"),
    (700_212, "federated_credential"),
    (700_213, "federated_credential"),
    (7_002_137, "federated_credential"),
    (7_002_138, "federated_credential"),
    (50166, "issuer_unreachable"),
    (501_661, "issuer_unreachable"),
    (90061, "issuer_unreachable"),
    (700_027, "client_assertion"),
    (700_024, "client_assertion"),
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

/// Part of the description → cause: policies of a tenant
/// (<https://learn.microsoft.com/graph/api/resources/applicationauthenticationmethodpolicy>), and the reason within AADSTS700027.
const OAUTH_TEXTS: &[(&str, &str)] = &[
    ("CredentialTypeNotAllowedAsPerAppPolicy", "credential_forbidden"),
    ("CredentialInvalidLifetimeAsPerAppPolicy", "credential_forbidden"),
    ("The key used is expired", "certificate_expired"),
];

pub fn oauth_cause(error: &OAuthError) -> &'static str {
    let text = error.error_description.as_deref().unwrap_or_default();
    if let Some((_, cause)) = OAUTH_TEXTS.iter().find(|(part, _)| text.contains(part)) {
        return cause;
    }
    let by_number = error
        .codes()
        .into_iter()
        .find_map(|code| AADSTS.iter().find(|(known, _)| *known == code).map(|(_, cause)| *cause));
    let by_error = || OAUTH.iter().find(|(known, _)| *known == error.error).map(|(_, cause)| *cause);
    by_number.or_else(by_error).unwrap_or("authority_refused")
}

/// Part of an SMTP server's text → cause (MICROSOFT: "SMTP submission"), where one code has several.
const SMTP_TEXTS: &[(&str, &str)] = &[
    ("SmtpClientAuthentication is disabled for the Tenant", "smtp_auth_tenant"),
    ("SmtpClientAuthentication is disabled", "smtp_auth_mailbox"),
    ("security defaults", "smtp_auth_security_defaults"),
    ("did not meet the criteria", "smtp_auth_policy"),
    ("SendAsDenied", "send_as_denied"),
    ("SubmissionQuotaExceeded", "smtp_daily_limit"),
];

/// Enhanced status code → cause, where it means the same in a session and in a report: what Exchange Online thinks of the sender
/// (MICROSOFT: "SMTP submission", "NDR reference").
const SENDER_CODES: &[(&str, &str)] = &[
    ("5.1.90", "smtp_daily_limit"),
    ("5.7.233", "smtp_tenant_limit"),
    ("5.7.232", "smtp_tenant_limit"),
    ("5.7.236", "smtp_onmicrosoft"),
    ("5.7.705", "smtp_tenant_blocked"),
    ("5.7.708", "smtp_tenant_blocked"),
    ("5.7.501", "smtp_sender_blocked"),
    ("5.7.502", "smtp_sender_blocked"),
    ("5.7.503", "smtp_sender_blocked"),
    ("5.1.8", "smtp_sender_blocked"),
    ("5.7.68", "direct_send"),
    ("5.7.515", "bounce_domain_records"),
];

/// Any other enhanced status code of a session → cause (MICROSOFT: "SMTP submission", "NDR reference").
const SMTP_CODES: &[(&str, &str)] = &[
    ("5.7.139", "smtp_auth_policy"),
    ("5.7.30", "our_bug"),
    ("5.7.57", "smtp_token_refused"),
    ("5.7.3", "smtp_token_refused"),
    ("5.2.252", "send_as_denied"),
    ("5.7.60", "send_as_denied"),
    ("5.1.10", "recipient_unknown"),
    ("5.1.1", "recipient_unknown"),
    ("5.2.2", "mailbox_full"),
    ("5.3.4", "message_too_large"),
    ("5.2.3", "message_too_large"),
];

/// SMTP reply code → cause, where neither text nor enhanced code says more.
const SMTP_REPLIES: &[(u16, &str)] = &[
    (432, "smtp_throttled"),
    (421, "smtp_throttled"),
    (535, "smtp_token_refused"),
    (530, "smtp_token_refused"),
    (552, "message_too_large"),
];

/// Parts of a report's text, in lower case → cause, for codes with many meanings.
const BOUNCE_TEXTS: &[(&str, &str)] = &[
    ("spam", "bounce_spam"),
    ("blocklist", "bounce_spam"),
    ("block list", "bounce_spam"),
    ("blacklist", "bounce_spam"),
    ("blocked using", "bounce_spam"),
    ("reputation", "bounce_spam"),
    ("user unknown", "recipient_unknown"),
    ("no such user", "recipient_unknown"),
    ("recipient address rejected: access denied", "recipient_unknown"),
];
/// Codes with several causes.
const VAGUE: &[&str] = &["5.7.1", "5.7.0", "5.4.1", "5.0.0", "5.5.0"];

/// Other report codes: the recipient's side; no new sign-in helps.
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
    ("5.7.26", "bounce_domain_records"),
    ("5.7.509", "bounce_domain_records"),
    ("5.7.23", "bounce_domain_records"),
    ("5.7.350", "bounce_spam"),
    ("5.7.511", "bounce_spam"),
    ("5.7.606", "bounce_spam"),
    ("5.7.1", "bounce_not_accepted"),
    ("5.7.124", "bounce_not_accepted"),
    ("5.7.133", "bounce_not_accepted"),
    ("5.7.134", "bounce_not_accepted"),
];

fn of_code(table: &[(&str, &'static str)], code: &str) -> Option<&'static str> {
    SENDER_CODES.iter().chain(table).find(|(known, _)| *known == code).map(|(_, cause)| *cause)
}

pub fn bounce_cause(reason: &str) -> &'static str {
    let (statuses, lower) = (Statuses::of(reason), reason.to_lowercase());
    let by_text = || BOUNCE_TEXTS.iter().find(|(part, _)| lower.contains(part)).map(|(_, cause)| *cause);
    let vague = statuses.own.is_none_or(|own| VAGUE.contains(&own));
    let first = if vague { by_text() } else { None };
    first.or_else(|| statuses.find(|code| of_code(BOUNCES, code))).unwrap_or("bounced")
}

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
    let by_text = SMTP_TEXTS.iter().find(|(part, _)| error.text.contains(part)).map(|(_, cause)| *cause);
    // The address in the text decides whose mailbox is full.
    if error.step == Step::Recipient && Statuses::of(&error.text).find(|code| (code == "5.2.2").then_some(())).is_some()
    {
        return "bounce_full";
    }
    let by_code = || Statuses::of(&error.text).find(|code| of_code(SMTP_CODES, code));
    let by_reply = || SMTP_REPLIES.iter().find(|(code, _)| Some(*code) == error.code()).map(|(_, cause)| *cause);
    match by_text.or_else(by_code).or_else(by_reply) {
        Some(cause) => cause,
        None if error.step == Step::Tls => "smtp_tls",
        // Any server may run short of something briefly; that is throttling only if it says so.
        None if error.is_transient() && (error.backoff_ms().is_some() || error.text.contains("throttl")) => {
            "smtp_throttled"
        }
        None if error.is_transient() => "smtp_later",
        None if error.step == Step::Auth => "smtp_token_refused",
        None => "smtp_refused",
    }
}

/// Microsoft Graph's `code` → cause (<https://learn.microsoft.com/graph/errors>).
const GRAPH_CODES: &[(&str, &str)] = &[
    ("ErrorSendAsDenied", "send_as_denied"),
    ("ErrorMessageSizeExceeded", "message_too_large"),
    ("ErrorInvalidRecipients", "recipient_unknown"),
    ("MailboxNotEnabledForRESTAPI", "graph_no_mailbox"),
    ("ResourceNotFound", "graph_no_mailbox"),
    ("ErrorAccessDenied", "graph_denied"),
    ("ErrorQuotaExceeded", "mailbox_full"),
    ("ErrorSubmissionQuotaExceeded", "smtp_daily_limit"),
];

pub fn graph_cause(error: &MailError) -> &'static str {
    if !error.answered {
        return if error.step == Step::AfterData { "smtp_cut_unknown" } else { "graph_unreachable" };
    }
    let (status, code) = match &error.graph {
        Some(GraphRefusal::ReadWriteMissing) => return "graph_large",
        Some(GraphRefusal::TextTooLarge) => return "message_too_large",
        Some(GraphRefusal::Answered { status, code }) => (*status, code.as_str()),
        None => (0, ""),
    };
    match (GRAPH_CODES.iter().find(|(known, _)| *known == code), status) {
        (Some((_, cause)), _) => cause,
        _ if error.is_quota() => "smtp_daily_limit",
        (_, 401 | 403) => "graph_denied",
        (_, 404) => "graph_no_mailbox",
        (_, 413) => "message_too_large",
        _ if error.is_transient() => "graph_throttled",
        _ => "graph_refused",
    }
}

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
            .chain(OAUTH.iter().chain(OAUTH_TEXTS).map(|(_, cause)| cause))
            .chain(
                [SMTP_TEXTS, SMTP_CODES, BOUNCE_TEXTS, SENDER_CODES, GRAPH_CODES]
                    .into_iter()
                    .flatten()
                    .map(|(_, cause)| cause),
            )
            .chain(SMTP_REPLIES.iter().map(|(_, cause)| cause))
            .chain(BOUNCES.iter().map(|(_, cause)| cause));
        for cause in named {
            assert_eq!(causes::find(cause).name, *cause);
        }
    }

    #[test]
    fn whose_mailbox_is_full_depends_on_the_step() {
        let cause = |step| smtp_cause(&MailError::refused(step, Some(552), "5.2.2 mailbox full"));
        assert_eq!((cause(Step::Recipient), cause(Step::AfterData)), ("bounce_full", "mailbox_full"));
    }

    #[test]
    fn codes_are_matched_whole() {
        let cause = |text: &str| smtp_cause(&MailError::refused(Step::AfterData, Some(550), text));
        for (text, known) in [
            ("5.7.321 something else", "smtp_refused"),
            ("host 10.5.7.3 said no", "smtp_refused"),
            ("5.7.1 rejected by rule 5.7.3", "smtp_refused"),
            ("5.7.1 <x5.7.233@far.example> is not wanted", "smtp_refused"),
            ("rejected: 5.7.3", "smtp_token_refused"),
            ("5.3.4 Message size exceeds fixed limit", "message_too_large"),
            ("5.7.68 Direct Send not allowed for this organization", "direct_send"),
            ("5.1.90 Your message can't be sent because you've reached your daily limit", "smtp_daily_limit"),
        ] {
            assert_eq!(cause(text), known, "{text}");
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
            ("550 5.4.1 Recipient address rejected: Access denied. AS(201806281)", "recipient_unknown"),
            ("550 5.4.1 no mail exchanger", "bounce_domain_unknown"),
            ("550 5.7.1 Service unavailable; client host [192.0.2.1] blocked using Spamhaus", "bounce_spam"),
            ("550 5.7.1 message refused as spam", "bounce_spam"),
            ("550 5.7.1 only members may write to this list", "bounce_not_accepted"),
            ("550-5.7.26 This mail has been blocked because the sender is unauthenticated.", "bounce_domain_records"),
            ("550 5.0.350 Remote server returned an error -> 550 5.1.1 User unknown", "recipient_unknown"),
            ("550 5.7.1 not accepted, see our rule 5.1.1", "bounce_not_accepted"),
            ("550 5.1.1 unknown user (this is no spam filter)", "recipient_unknown"),
            ("5.7.3@x.example: something", "bounced"),
        ] {
            assert_eq!(bounce_cause(reason), cause, "{reason}");
        }
    }

    #[test]
    fn every_number_worth_a_text_has_its_own() {
        for (numbers, cause) in [
            (&[7_000_215][..], "secret_wrong"),
            (&[7_000_222], "secret_expired"),
            (&[700_016], "client_unknown"),
            (&[90002, 900_023, 50059], "tenant_unknown"),
            (&[50011, 900_971, 500_113], "redirect_uri"),
            (&[65001, 90094, 90095], "consent_missing"),
            (&[50076, 50079, 50072, 50074, 50158], "mfa"),
            (&[53000, 53001, 53002], "device_policy"),
            (&[53004, 53011], "risk_policy"),
            (&[53003, 50131, 530_035], "conditional_access"),
            (&[70043], "sign_in_frequency"),
            (&[50053], "account_locked"),
            (&[50055], "password_expired"),
            (&[500_011, 650_052], "exchange_missing"),
            (&[7_000_112], "app_disabled"),
            (&[7_000_218], "public_client"),
            (&[50107, 50008, 500_081], "federated_sign_in"),
            (&[50173, 70008, 700_082], "grant_revoked"),
            (&[54005, 501_481, 700_005], "start_over"),
            (&[50196, 90055], "authority_throttled"),
            (&[70021, 70_022_204, 700_211, 700_212, 700_213, 7_002_137, 7_002_138], "federated_credential"),
            (&[50166, 501_661, 90061], "issuer_unreachable"),
            (&[700_027, 700_024], "client_assertion"),
        ] {
            for number in numbers {
                // Numbers of the error's fields, and those only in its text.
                for error in [
                    OAuthError {
                        error: "invalid_grant".into(),
                        error_codes: Some(vec![*number]),
                        ..OAuthError::default()
                    },
                    OAuthError {
                        error: "invalid_grant".into(),
                        error_description: Some(format!("AADSTS{number}: Something. Trace ID: 1")),
                        ..OAuthError::default()
                    },
                ] {
                    assert_eq!(oauth_cause(&error), cause, "{number}");
                }
            }
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
