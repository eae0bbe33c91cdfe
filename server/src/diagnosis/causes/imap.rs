//! Receiving.

use super::{Cause, PROPAGATION, cause, say, shell};
use app::model::FixedBy::{Administrator, Operator, Time, You};
use app::model::Remedy::{ConnectAgain, TryAgain};

pub(super) static CAUSES: &[Cause] = &[
    cause(
        "imap_disabled",
        "Receiving is switched off for this mailbox.",
        (
            "Your sign-in is fine. An administrator of Microsoft 365 must switch on IMAP.",
            "IMAP is switched off for {address}, the name that signed in is not the mailbox's, or there is no licence.",
        ),
        (Administrator, TryAgain),
        &[
            shell(
                "Microsoft 365 admin center › Users › Active users › {address} › Mail › Manage email apps: tick IMAP. Or:",
                "Set-CASMailbox -Identity {address} -ImapEnabled $true",
            ),
            shell(
                "To see what is set, and whether the name that signed in (“Signed in as” in the evidence) is the mailbox's:",
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
        "Microsoft's mail server did not let Entrepost in.",
        (
            "Permission to receive is missing. Connect again; if that does not help, an administrator must look at the permissions.",
            "IMAP refused the token: IMAP.AccessAsUser.All or admin consent is missing, or IMAP is switched off.",
        ),
        (You, ConnectAgain),
        &[
            say("Press Connect again and sign in with the account that owns the mailbox."),
            say(
                "If it happens again, ask an administrator to check the permission IMAP.AccessAsUser.All, admin consent, and IMAP under Manage email apps.",
            ),
        ],
    ),
    cause(
        "imap_throttled",
        "Microsoft is slowing this mailbox down.",
        (
            "Too many connections in a short time. It passes by itself.",
            "Exchange Online throttles IMAP for this mailbox. It passes by itself.",
        ),
        (Time, TryAgain),
        &[],
    ),
    cause(
        "imap_refused",
        "Microsoft's mail server refused to open the inbox.",
        ("The evidence below says why.", "The evidence below says why."),
        (Administrator, TryAgain),
        &[say(
            "Check in the Microsoft 365 admin center that {address} has a licence with Exchange Online and that IMAP is on.",
        )],
    ),
    cause(
        "imap_folder",
        "Microsoft's mail server does not open this folder.",
        (
            "Your other folders and your mailbox work. The folder may be damaged, or of a kind that is not for mail.",
            "The mail server refused this folder. The mailbox and its other folders work.",
        ),
        (You, TryAgain),
        &[say("Open the folder in Outlook. If that works, the evidence says what the mail server answers here.")],
    ),
    cause(
        "imap_command",
        "Microsoft's mail server did not do what it was asked.",
        (
            "Nothing was changed by it. Try again in a minute; if it goes on, the evidence says why.",
            "The mail server refused a request of an open session. The evidence says which, and why.",
        ),
        (Time, TryAgain),
        &[],
    ),
    cause(
        "imap_unreachable",
        "Microsoft's mail server for receiving cannot be reached.",
        (
            "The connection from this server failed. Your administrator can have it looked at.",
            "The connection from this server to the IMAP host failed.",
        ),
        (Operator, TryAgain),
        &[say("Check that this server may connect to the host and port in the evidence (usually 993), and its DNS.")],
    ),
    cause(
        "imap_tls",
        "No secure connection to the mail server for receiving.",
        ("Encryption could not be set up. Your administrator can have it looked at.", "TLS with the IMAP host failed."),
        (Operator, TryAgain),
        &[say(
            "Behind a TLS-inspecting proxy, put its CA into ENTREPOST_EXTRA_CA_FILE. Otherwise check the host in ENTREPOST_MICROSOFT_IMAP.",
        )],
    ),
    cause(
        "imap_silent",
        "Microsoft's mail server for receiving stopped answering.",
        ("Try again in a few minutes.", "The IMAP host accepted the connection, then stopped answering."),
        (Time, TryAgain),
        &[],
    ),
];
