//! Sending.

use super::{Cause, PROPAGATION, cause};
use app::model::Mender::{Administrator, Operator, Time, You};
use app::model::Remedy::{ConnectAgain, TryAgain};

pub(super) static CAUSES: &[Cause] = &[
    cause(
        "smtp_auth_mailbox",
        "Sending is switched off for this mailbox.",
        (
            "Your sign-in is fine. An administrator of Microsoft 365 must switch on “Authenticated SMTP”.",
            "Authenticated SMTP is switched off for {address}. OAuth does not bypass that switch.",
        ),
        (Administrator, TryAgain),
        &[
            (
                "Microsoft 365 admin center › Users › Active users › {address} › Mail › Manage email apps: tick Authenticated SMTP. Or, in Exchange PowerShell:",
                Some("Set-CASMailbox -Identity {address} -SmtpClientAuthenticationDisabled $false"),
            ),
            ("Bought through a reseller? Some of these switches are in its dashboard.", None),
            PROPAGATION,
        ],
    ),
    cause(
        "smtp_auth_tenant",
        "Sending is switched off for the whole institution.",
        (
            "Your sign-in is fine. An administrator of Microsoft 365 must switch on “Authenticated SMTP”.",
            "Authenticated SMTP is switched off in the tenant, as it is by default since 2020. The mailbox's own switch overrides the tenant's.",
        ),
        (Administrator, TryAgain),
        &[
            (
                "For this mailbox only, in Exchange PowerShell:",
                Some("Set-CASMailbox -Identity {address} -SmtpClientAuthenticationDisabled $false"),
            ),
            (
                "Or for every mailbox of the tenant:",
                Some("Set-TransportConfig -SmtpClientAuthenticationDisabled $false"),
            ),
            ("Bought through a reseller? Some of these switches are in its dashboard.", None),
            PROPAGATION,
        ],
    ),
    cause(
        "smtp_auth_security_defaults",
        "Security defaults of the institution stop sending.",
        (
            "Your sign-in is fine. An administrator of Microsoft 365 must decide about the security defaults.",
            "Security defaults block SMTP sign-ins. Whether that holds for OAuth too is disputed: switch on Authenticated SMTP for the mailbox first, and look at security defaults only if that does not help.",
        ),
        (Administrator, TryAgain),
        &[
            (
                "In Exchange PowerShell:",
                Some("Set-CASMailbox -Identity {address} -SmtpClientAuthenticationDisabled $false"),
            ),
            (
                "If that does not help, security defaults stay on: they protect every account. Ask Microsoft's support whether they block OAuth submission in your tenant.",
                None,
            ),
            PROPAGATION,
        ],
    ),
    cause(
        "smtp_auth_policy",
        "A policy of the institution stops sending.",
        (
            "Your sign-in is fine. An administrator of Microsoft 365 must look at the policy.",
            "An authentication policy or Conditional Access does not allow this SMTP sign-in.",
        ),
        (Administrator, TryAgain),
        &[
            (
                "Switch on Authenticated SMTP for the mailbox, in Exchange PowerShell:",
                Some("Set-CASMailbox -Identity {address} -SmtpClientAuthenticationDisabled $false"),
            ),
            ("Look at the sign-in in the Entra sign-in logs: the policy that refused it is named there.", None),
            PROPAGATION,
        ],
    ),
    cause(
        "smtp_token_refused",
        "Microsoft's mail server did not accept the sign-in.",
        (
            "Sign-in name and permission do not fit. Connect again; if that does not help, an administrator must look at the permissions.",
            "The token and the sign-in name do not fit, or SMTP.Send is missing.",
        ),
        (You, ConnectAgain),
        &[
            ("Press Connect again and sign in with the account that owns the mailbox.", None),
            ("If it happens again, ask an administrator to check the permission SMTP.Send and admin consent.", None),
        ],
    ),
    cause(
        "send_as_denied",
        "This mailbox may not send as {address}.",
        (
            "Your sign-in is fine, but sending from this address is not allowed for it.",
            "{sign_in_name} signed in, and may not send as {address}.",
        ),
        (Administrator, TryAgain),
        &[
            (
                "If {address} is another mailbox and {sign_in_name} should send as it, allow it in Exchange PowerShell (after Connect-ExchangeOnline):",
                Some("Add-RecipientPermission -Identity {address} -Trustee {sign_in_name} -AccessRights SendAs"),
            ),
            (
                "If {address} is an alias of that same mailbox: Exchange admin center › Settings › Mail flow › Turn on sending from aliases. Or:",
                Some("Set-OrganizationConfig -SendFromAliasEnabled $true"),
            ),
            ("Allow some time for it to take effect (minutes, sometimes an hour), then test again.", None),
        ],
    ),
    cause(
        "send_as_itself",
        "This mailbox may not send as {address}.",
        (
            "Your sign-in is fine, but Exchange does not take {address} for an address of your mailbox.",
            "{address} signed in, and Exchange does not take that for an address of its mailbox: no permission is missing.",
        ),
        (Administrator, TryAgain),
        &[
            (
                "Look at the mailbox's addresses in Exchange PowerShell (after Connect-ExchangeOnline):",
                Some("Get-Mailbox -Identity {address} | Format-List PrimarySmtpAddress,EmailAddresses"),
            ),
            (
                "If another recipient has the address (a contact, a deleted mailbox), take it away there; if it is missing, add it to the mailbox.",
                None,
            ),
        ],
    ),
    cause(
        "smtp_throttled",
        "Microsoft is slowing this mailbox down.",
        (
            "Too many messages or connections in a short time. Nothing is lost; Entrepost tests again by itself, or try again in a few minutes.",
            "Exchange Online throttles this mailbox. It passes by itself.",
        ),
        (Time, TryAgain),
        &[],
    ),
    cause(
        "smtp_later",
        "Microsoft's mail server asks to try again later.",
        (
            "It could not take the message just now. Nothing has to be changed; it usually passes by itself. The evidence below has its words.",
            "Exchange Online answered with a temporary error; the evidence has its words. If it lasts for hours, look at the service health in the Microsoft 365 admin center.",
        ),
        (Time, TryAgain),
        &[],
    ),
    cause(
        "smtp_daily_limit",
        "The mailbox has reached its limit for today.",
        (
            "Exchange Online allows a number of recipients a day. It passes by itself.",
            "The mailbox's recipient rate limit is reached. It passes by itself.",
        ),
        (Time, TryAgain),
        &[],
    ),
    cause(
        "smtp_tenant_limit",
        "The institution has reached its limit for today.",
        (
            "Exchange Online allows a number of external recipients a day for the whole institution. It passes by itself.",
            "The tenant's external recipient limit is reached. It passes by itself.",
        ),
        (Time, TryAgain),
        &[],
    ),
    cause(
        "smtp_onmicrosoft",
        "The address belongs to an onmicrosoft.com domain.",
        (
            "Such addresses may write to few external recipients a day.",
            "Senders in an onmicrosoft.com domain may write to 100 external recipients a day.",
        ),
        (Administrator, TryAgain),
        &[("Give the mailbox an address in a domain of your own and make it the primary one.", None)],
    ),
    cause(
        "smtp_sender_blocked",
        "Microsoft has blocked this sender.",
        (
            "The mailbox was blocked because it sent what looked like spam.",
            "Exchange Online has restricted this sender for spam.",
        ),
        (Administrator, TryAgain),
        &[(
            "In the Microsoft Defender portal open Email & collaboration › Review › Restricted entities and release {address}, after the account was secured.",
            None,
        )],
    ),
    cause(
        "smtp_tenant_blocked",
        "Microsoft has blocked the institution from sending.",
        (
            "Exchange Online does not accept mail from your institution at the moment.",
            "Exchange Online has blocked the tenant (5.7.705, 5.7.708).",
        ),
        (Administrator, TryAgain),
        &[("Open a support request in the Microsoft 365 admin center and name the code in the evidence.", None)],
    ),
    cause(
        "recipient_unknown",
        "There is no mailbox of this address.",
        (
            "Microsoft's mail server does not know {address}.",
            "Exchange Online does not know {address}: is it misspelt, or is no licence with a mailbox assigned?",
        ),
        (You, TryAgain),
        &[
            ("Check how {address} is spelt.", None),
            (
                "If it belongs to the institution: an administrator checks in the Microsoft 365 admin center that it exists and has a licence with Exchange Online.",
                None,
            ),
        ],
    ),
    cause(
        "mailbox_full",
        "The mailbox is full.",
        ("Delete something in it, then try again.", "The mailbox {address} has reached its quota."),
        (You, TryAgain),
        &[("Empty Deleted Items and Junk Email, or ask for more space.", None)],
    ),
    cause(
        "smtp_refused",
        "Microsoft's mail server refused the message.",
        ("The evidence below says why.", "The evidence below says why."),
        (Administrator, TryAgain),
        &[("Look the code in the evidence up in Microsoft's list of non-delivery reports.", None)],
    ),
    cause(
        "smtp_cut",
        "The connection broke while the message was sent.",
        (
            "The message was not accepted. Try again; if it happens again, whoever runs this server must look at the network.",
            "The SMTP connection was cut during DATA. A firewall or proxy between may be the reason.",
        ),
        (Operator, TryAgain),
        &[("Check what stands between this server and the SMTP host: firewalls that inspect SMTP break it.", None)],
    ),
    cause(
        "smtp_cut_unknown",
        "The connection broke before Microsoft confirmed the message.",
        (
            "Whether it was accepted is not known. Try again; if it happens again, whoever runs this server must look at the network.",
            "The SMTP connection was cut before the message was confirmed. A firewall or proxy between may be the reason.",
        ),
        (Operator, TryAgain),
        &[("Check what stands between this server and the SMTP host: firewalls that inspect SMTP break it.", None)],
    ),
    cause(
        "smtp_unreachable",
        "Microsoft's mail server cannot be reached.",
        (
            "The connection from this server failed. Whoever runs it must look.",
            "The connection from this server to the SMTP host failed.",
        ),
        (Operator, TryAgain),
        &[(
            "Check that this server may connect to the host and port in the evidence (usually 587), and its DNS.",
            None,
        )],
    ),
    cause(
        "smtp_tls",
        "No secure connection to the mail server.",
        (
            "Encryption could not be set up, so nothing was sent. Whoever runs this server must look.",
            "TLS with the SMTP host failed, so nothing was sent.",
        ),
        (Operator, TryAgain),
        &[(
            "Behind a TLS-inspecting proxy, put its CA into ENTREPOST_EXTRA_CA_FILE. Otherwise check the host in ENTREPOST_MICROSOFT_SMTP.",
            None,
        )],
    ),
    cause(
        "smtp_silent",
        "The connection to Microsoft's mail server broke.",
        (
            "It was there, then it was gone. Try again in a few minutes; if it happens again, tell whoever runs this server.",
            "The SMTP host accepted the connection, then it broke. If it happens again, look for a firewall or an inspecting proxy on the way.",
        ),
        (Time, TryAgain),
        &[],
    ),
];
