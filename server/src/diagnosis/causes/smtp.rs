//! Sending.

use super::{Cause, HowTo, NDR_LIST, PROPAGATION, cause, link, say, shell};
use app::model::FixedBy::{Administrator, Operator, Time, You};
use app::model::Remedy::{ConnectAgain, TryAgain};

const FOR_THIS_MAILBOX: HowTo = shell(
    "Microsoft 365 admin center › Users › Active users › {address} › Mail › Manage email apps: tick Authenticated SMTP and IMAP. Or:",
    "Set-CASMailbox -Identity {address} -SmtpClientAuthenticationDisabled $false -ImapEnabled $true",
);
const SEE_SWITCHES: HowTo = shell(
    "To see what is set:",
    "Get-CASMailbox -Identity {address} | Format-List SmtpClientAuthenticationDisabled,ImapEnabled",
);
const RESELLER: HowTo = say("Bought through a reseller? Some of these switches are in its dashboard.");

pub(super) static CAUSES: &[Cause] = &[
    cause(
        "smtp_auth_mailbox",
        "Sending is switched off for this mailbox.",
        (
            "Your sign-in is fine. An administrator of Microsoft 365 must switch on “Authenticated SMTP”.",
            "Authenticated SMTP is switched off for {address}. OAuth does not bypass that switch.",
        ),
        (Administrator, TryAgain),
        &[FOR_THIS_MAILBOX, SEE_SWITCHES, RESELLER, PROPAGATION],
    ),
    cause(
        "smtp_auth_tenant",
        "Sending is switched off for the whole institution.",
        (
            "Your sign-in is fine. An administrator of Microsoft 365 must switch on “Authenticated SMTP”.",
            "Authenticated SMTP is switched off in the tenant, as it is by default since 2020. A mailbox's own switch overrides the tenant's.",
        ),
        (Administrator, TryAgain),
        &[
            shell(
                "Option A, for this mailbox only. Microsoft recommends it: the tenant stays off. Microsoft 365 admin center › Users › Active users › {address} › Mail › Manage email apps: tick Authenticated SMTP. Or:",
                "Set-CASMailbox -Identity {address} -SmtpClientAuthenticationDisabled $false",
            )
            .option(),
            shell(
                "Option B, for every mailbox of the tenant. Exchange admin center › Settings › Mail flow: untick “Turn off SMTP AUTH protocol for your organization”. Or:",
                "Set-TransportConfig -SmtpClientAuthenticationDisabled $false",
            )
            .option(),
            say("Institution Config › General › Email in Entrepost has the command for everybody who uses Entrepost."),
            RESELLER,
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
            shell("For the mailbox:", "Set-CASMailbox -Identity {address} -SmtpClientAuthenticationDisabled $false"),
            say("If that does not help, security defaults stay on: they protect every account. Ask Microsoft's support whether they block OAuth submission in your tenant."),
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
            shell("Switch on Authenticated SMTP for the mailbox:", "Set-CASMailbox -Identity {address} -SmtpClientAuthenticationDisabled $false"),
            say("Look at the sign-in in the Entra sign-in logs: the policy that refused it is named there."),
            PROPAGATION,
        ],
    ),
    cause(
        "smtp_token_refused",
        "Microsoft's mail server did not accept the sign-in.",
        (
            "Sign-in name, mailbox and permission do not fit. Connect again; if that does not help, an administrator must look.",
            "The sign-in name is not the name of the mailbox (its UPN differs from the address, or the mailbox is a shared one), or SMTP.Send is missing.",
        ),
        (You, ConnectAgain),
        &[
            say("Press Connect again and sign in with the account that owns the mailbox."),
            shell(
                "An administrator compares the sign-in name (“Signed in as” in the evidence) with the mailbox's: in many schools it differs from the address. A shared mailbox has no sign-in of its own.",
                "Get-Mailbox -Identity {address} | Format-List UserPrincipalName,PrimarySmtpAddress,RecipientTypeDetails",
            ),
            say("Then they check the app's permission SMTP.Send and admin consent."),
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
            shell("If {address} is another mailbox and {sign_in_name} should send as it, allow it:", "Add-RecipientPermission -Identity {address} -Trustee {sign_in_name} -AccessRights SendAs"),
            shell("If {address} is an alias of that same mailbox: Exchange admin center › Settings › Mail flow › Turn on sending from aliases. Or:", "Set-OrganizationConfig -SendFromAliasEnabled $true"),
            shell("If {address} is the mailbox of {sign_in_name} itself, no permission is missing: look at its addresses, and whether another recipient has this one.", "Get-Mailbox -Identity {sign_in_name} | Format-List PrimarySmtpAddress,EmailAddresses"),
            say("Allow some time for it to take effect (minutes, sometimes an hour), then test again."),
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
            shell("Look at the mailbox's addresses:", "Get-Mailbox -Identity {address} | Format-List PrimarySmtpAddress,EmailAddresses"),
            say("If another recipient has the address (a contact, a deleted mailbox), take it away there; if it is missing, add it to the mailbox."),
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
            "The mailbox's recipient rate limit is reached (10,000 recipients, unless it was lowered). It counts the last 24 hours: room comes back as they pass.",
        ),
        (Time, TryAgain),
        &[],
    ),
    cause(
        "smtp_tenant_limit",
        "The institution has reached its limit for today.",
        (
            "Exchange Online allows a number of external recipients a day for the whole institution. It passes by itself.",
            "The tenant's external recipient limit is reached. It counts the last 24 hours: room comes back as they pass.",
        ),
        (Time, TryAgain),
        &[say("Exchange admin center › Reports › Mail flow › Tenant outbound external recipients shows the limit and who used it.")],
    ),
    cause(
        "smtp_onmicrosoft",
        "The address belongs to an onmicrosoft.com domain.",
        (
            "Such addresses may write to few external recipients a day.",
            "Senders in an onmicrosoft.com domain may write to 100 external recipients a day.",
        ),
        (Administrator, TryAgain),
        &[say("Give the mailbox an address in a domain of your own and make it the primary one.")],
    ),
    cause(
        "smtp_sender_blocked",
        "Microsoft has blocked this sender.",
        (
            "The mailbox was blocked because it sent what looked like spam.",
            "Exchange Online has restricted this sender for spam.",
        ),
        (Administrator, TryAgain),
        &[say("In the Microsoft Defender portal open Email & collaboration › Review › Restricted entities and release {address}, after the account was secured.")],
    ),
    cause(
        "smtp_tenant_blocked",
        "Microsoft has blocked the institution from sending.",
        (
            "Exchange Online does not accept mail from your institution at the moment.",
            "Exchange Online has blocked the tenant (5.7.705, 5.7.708).",
        ),
        (Administrator, TryAgain),
        &[say("Open a support request in the Microsoft 365 admin center and name the code in the evidence.")],
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
            say("Check how {address} is spelt."),
            say("If it belongs to the institution: an administrator checks in the Microsoft 365 admin center that it exists and has a licence with Exchange Online."),
        ],
    ),
    cause(
        "mailbox_full",
        "The mailbox that sends is full.",
        (
            "Your mailbox {mailbox} has no room for the copy that goes to Sent Items. Delete something in it, then try again.",
            "The mailbox {mailbox} has reached its quota: there is no room for the copy in Sent Items.",
        ),
        (You, TryAgain),
        &[
            say("Empty Deleted Items and Junk Email of {mailbox}."),
            say("If that is not enough, an administrator gives it more space, or a retention policy that archives old mail."),
        ],
    ),
    cause(
        "message_too_large",
        "The message is too large.",
        (
            "Microsoft's mail server takes no message of this size from your mailbox.",
            "The message is larger than the mailbox's or the tenant's limit.",
        ),
        (You, TryAgain),
        &[
            say("Send the files as a link, or in several messages."),
            shell("An administrator can see the limit:", "Get-Mailbox -Identity {mailbox} | Format-List MaxSendSize"),
        ],
    ),
    cause(
        "direct_send",
        "The institution refuses Direct Send.",
        (
            "A device or program sent this without signing in, and the institution does not take that any more.",
            "A device or program that does not go through Entrepost sent this without signing in (Direct Send), which the tenant refuses.",
        ),
        (Administrator, TryAgain),
        &[say("Have the device send through Entrepost, or through a mailbox with a sign-in of its own.")],
    ),
    cause(
        "smtp_refused",
        "Microsoft's mail server refused the message.",
        ("The evidence below says why.", "The evidence below says why."),
        (Administrator, TryAgain),
        &[link("Look the code in the evidence up in Microsoft's list:", NDR_LIST)],
    ),
    cause(
        "smtp_cut",
        "The connection broke while the message was sent.",
        (
            "The message was not accepted. Try again; if it happens again, your administrator can have the network looked at.",
            "The SMTP connection was cut during DATA. A firewall or proxy between may be the reason.",
        ),
        (Operator, TryAgain),
        &[say("Check what stands between this server and the SMTP host: firewalls that inspect SMTP break it.")],
    ),
    cause(
        "smtp_cut_unknown",
        "The connection broke before Microsoft confirmed the message.",
        (
            "Whether it was accepted is not known. Try again; if it happens again, your administrator can have the network looked at.",
            "The SMTP connection was cut before the message was confirmed. A firewall or proxy between may be the reason.",
        ),
        (Operator, TryAgain),
        &[say("Check what stands between this server and the SMTP host: firewalls that inspect SMTP break it.")],
    ),
    cause(
        "smtp_unreachable",
        "Microsoft's mail server cannot be reached.",
        (
            "The connection from this server failed. Your administrator can have it looked at.",
            "The connection from this server to the SMTP host failed.",
        ),
        (Operator, TryAgain),
        &[say("Check that this server may connect to the host and port in the evidence (usually 587), and its DNS.")],
    ),
    cause(
        "smtp_tls",
        "No secure connection to the mail server.",
        (
            "Encryption could not be set up, so nothing was sent. Your administrator can have it looked at.",
            "TLS with the SMTP host failed, so nothing was sent.",
        ),
        (Operator, TryAgain),
        &[say("Behind a TLS-inspecting proxy, put its CA into ENTREPOST_EXTRA_CA_FILE. Otherwise check the host in ENTREPOST_MICROSOFT_SMTP.")],
    ),
    cause(
        "smtp_silent",
        "The connection to Microsoft's mail server broke.",
        (
            "It was there, then it was gone. Try again in a few minutes; if it happens again, tell your administrator.",
            "The SMTP host accepted the connection, then it broke. If it happens again, look for a firewall or an inspecting proxy on the way.",
        ),
        (Time, TryAgain),
        &[],
    ),
];
