//! Receiving.

use super::{Cause, PROPAGATION, cause, say, shell};
use app::model::FixedBy::{Administrator, Operator, Time, You};
use app::model::Remedy::{SignInAgain, TestAgain};

pub(super) static CAUSES: &[Cause] = &[
    cause(
        "imap_disabled",
        "Receiving is switched off for this mailbox.",
        "Your sign-in is fine. An administrator of Microsoft 365 must switch on IMAP.",
        "IMAP is switched off for {address}, the sign-in name belongs to another mailbox, or there is no licence.",
        Administrator,
        TestAgain,
        &[
            shell(
                "Microsoft 365 admin center › Users › Active users › {address} › Mail › Manage email apps: tick IMAP. Or:",
                "Set-CASMailbox -Identity {address} -ImapEnabled $true",
            ),
            shell(
                "To see the current settings, and whether the sign-in name (“Signed in as” in the technical details) is the mailbox's:",
                "Get-CASMailbox -Identity {address} | Format-List ImapEnabled,SmtpClientAuthenticationDisabled; Get-Mailbox -Identity {address} | Format-List UserPrincipalName,PrimarySmtpAddress",
            ),
            say(
                "If there is no such mailbox: the account has no licence with Exchange Online. Assign one in the Microsoft 365 admin center.",
            ),
            say("Bought through a reseller? Some of these switches are in its dashboard."),
            PROPAGATION,
        ],
    ),
    cause(
        "imap_token_refused",
        "Microsoft's mail server rejected the sign-in.",
        "Permission to receive is missing. Sign in again; if that doesn't help, an administrator has to check the permissions.",
        "IMAP refused the token: IMAP.AccessAsUser.All or admin consent is missing, or IMAP is switched off.",
        You,
        SignInAgain,
        &[
            say("Sign in again with the account that owns the mailbox."),
            say(
                "If it happens again, an administrator checks the permission IMAP.AccessAsUser.All, admin consent, and IMAP under Manage email apps.",
            )
            .by_administrator(),
        ],
    ),
    cause(
        "imap_throttled",
        "Microsoft is slowing this mailbox down.",
        "Too many connections in a short time. This clears up automatically.",
        "Exchange Online throttles IMAP for this mailbox. This clears up automatically.",
        Time,
        TestAgain,
        &[],
    ),
    cause(
        "imap_refused",
        "Microsoft's mail server refused to open the inbox.",
        "The technical details below say why.",
        "The technical details below say why.",
        Administrator,
        TestAgain,
        &[say(
            "Check in the Microsoft 365 admin center that {address} has a licence with Exchange Online and that IMAP is on.",
        )],
    ),
    cause(
        "imap_folder",
        "Microsoft's mail server can't open this folder.",
        "Your mailbox and its other folders work. The folder may be damaged, or not a mail folder.",
        "The mail server refused this folder. The mailbox and its other folders work.",
        You,
        TestAgain,
        &[say(
            "Open the folder in Outlook. If that works, the technical details show what the mail server replies here.",
        )],
    ),
    cause(
        "imap_command",
        "Microsoft's mail server refused the request.",
        "Nothing was changed. Try again in a minute. If it keeps failing, the technical details say why.",
        "The mail server refused a request of an open session. The technical details say which, and why.",
        Time,
        TestAgain,
        &[],
    ),
    cause(
        "imap_unreachable",
        "Can't reach Microsoft's mail server for receiving.",
        "The connection from this server failed. Tell your administrator.",
        "The connection from this server to the IMAP host failed.",
        Operator,
        TestAgain,
        &[say(
            "Check that this server may connect to the host and port in the technical details (usually 993), and its DNS.",
        )],
    ),
    cause(
        "imap_tls",
        "No secure connection to the mail server for receiving.",
        "Encryption couldn't be set up. Tell your administrator.",
        "TLS with the IMAP host failed.",
        Operator,
        TestAgain,
        &[say(
            "Behind a TLS-inspecting proxy, put its CA into ENTREPOST_EXTRA_CA_FILE. Otherwise check the host in ENTREPOST_MICROSOFT_IMAP.",
        )],
    ),
    cause(
        "imap_silent",
        "Microsoft's mail server for receiving stopped answering.",
        "Try again in a few minutes.",
        "The IMAP host accepted the connection, then stopped answering.",
        Time,
        TestAgain,
        &[],
    ),
];
