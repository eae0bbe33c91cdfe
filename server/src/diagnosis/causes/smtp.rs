//! Sending.

use super::{Cause, HowTo, NDR_LIST, PROPAGATION, cause, link, say, shell};
use app::model::FixedBy::{Administrator, Operator, Time, You};
use app::model::Remedy::{SignInAgain, TestAgain};

const FOR_THIS_MAILBOX: HowTo = shell(
    "Microsoft 365 admin center › Users › Active users › {address} › Mail › Manage email apps: tick Authenticated SMTP and IMAP. Or:",
    "Set-CASMailbox -Identity {address} -SmtpClientAuthenticationDisabled $false -ImapEnabled $true",
);
const SEE_SWITCHES: HowTo = shell(
    "To see the current settings:",
    "Get-CASMailbox -Identity {address} | Format-List SmtpClientAuthenticationDisabled,ImapEnabled",
);
const BY_GRAPH: HowTo = say(
    "Or leave SMTP switched off, and let these mailboxes send through Microsoft Graph: Institution Config › General › Email › Sending without SMTP.",
)
.option();
const RESELLER: HowTo = say("Bought through a reseller? Some of these switches are in its dashboard.");

pub(super) static CAUSES: &[Cause] = &[
    cause(
        "smtp_auth_mailbox",
        "Sending is switched off for this mailbox.",
        "Your sign-in is fine. An administrator of Microsoft 365 must switch on “Authenticated SMTP”.",
        "Authenticated SMTP is switched off for {address}. OAuth does not bypass that switch.",
        Administrator,
        TestAgain,
        &[FOR_THIS_MAILBOX, SEE_SWITCHES, BY_GRAPH, RESELLER, PROPAGATION],
    ),
    cause(
        "smtp_auth_tenant",
        "Sending is switched off for the whole institution.",
        "Your sign-in is fine. An administrator of Microsoft 365 must switch on “Authenticated SMTP”.",
        "Authenticated SMTP is switched off in the tenant, as it is by default since 2020. A mailbox's own switch overrides the tenant's.",
        Administrator,
        TestAgain,
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
            BY_GRAPH,
            say("Institution Config › General › Email in Entrepost has the command for everyone who uses Entrepost."),
            RESELLER,
            PROPAGATION,
        ],
    ),
    cause(
        "smtp_auth_security_defaults",
        "Your institution's security defaults block sending.",
        "Your sign-in is fine. An administrator of Microsoft 365 has to decide about the security defaults.",
        "Security defaults block SMTP sign-ins. Sources disagree whether that includes OAuth: switch on Authenticated SMTP for the mailbox first, and check security defaults only if that doesn't help.",
        Administrator,
        TestAgain,
        &[
            shell("For the mailbox:", "Set-CASMailbox -Identity {address} -SmtpClientAuthenticationDisabled $false"),
            say("If that doesn't help, leave security defaults on: they protect every account. Ask Microsoft's support whether they block OAuth submission in your tenant."),
            BY_GRAPH,
            PROPAGATION,
        ],
    ),
    cause(
        "smtp_auth_policy",
        "A policy of your institution blocks sending.",
        "Your sign-in is fine. An administrator of Microsoft 365 has to check the policy.",
        "An authentication policy or Conditional Access blocks this SMTP sign-in.",
        Administrator,
        TestAgain,
        &[
            shell("Switch on Authenticated SMTP for the mailbox:", "Set-CASMailbox -Identity {address} -SmtpClientAuthenticationDisabled $false"),
            say("Find the sign-in in the Entra sign-in logs: they name the policy that refused it."),
            BY_GRAPH,
            PROPAGATION,
        ],
    ),
    cause(
        "smtp_token_refused",
        "Microsoft's mail server didn't accept the sign-in.",
        "Sign-in name, mailbox and permission don't match. Sign in again; if that doesn't help, an administrator has to check.",
        "The sign-in name isn't the mailbox's (its UPN differs from the address, or the mailbox is shared), or SMTP.Send is missing.",
        You,
        SignInAgain,
        &[
            say("Sign in again with the account that owns the mailbox."),
            shell(
                "An administrator compares the sign-in name (“Signed in as” in the technical details) with the mailbox's: in many schools it differs from the address. A shared mailbox has no sign-in of its own.",
                "Get-Mailbox -Identity {address} | Format-List UserPrincipalName,PrimarySmtpAddress,RecipientTypeDetails",
            )
            .by_administrator(),
            say("Then they check the app's permission SMTP.Send and admin consent.").by_administrator(),
        ],
    ),
    cause(
        "send_as_denied",
        "This mailbox isn't allowed to send as {address}.",
        "Your sign-in is fine, but it isn't allowed to send from this address.",
        "{sign_in_name} signed in, but isn't allowed to send as {address}.",
        Administrator,
        TestAgain,
        &[
            shell("If {address} is another mailbox and {sign_in_name} should send as it, allow it:", "Add-RecipientPermission -Identity {address} -Trustee {sign_in_name} -AccessRights SendAs"),
            shell("If {address} is an alias of that same mailbox: Exchange admin center › Settings › Mail flow › Turn on sending from aliases. Or:", "Set-OrganizationConfig -SendFromAliasEnabled $true"),
            shell("If {address} is the mailbox of {sign_in_name} itself, no permission is missing: check its addresses, and whether another recipient has this one.", "Get-Mailbox -Identity {sign_in_name} | Format-List PrimarySmtpAddress,EmailAddresses"),
            say("Wait until it takes effect (minutes, sometimes an hour), then test again."),
        ],
    ),
    cause(
        "send_as_itself",
        "This mailbox isn't allowed to send as {address}.",
        "Your sign-in is fine, but for Exchange {address} isn't an address of your mailbox.",
        "{address} signed in, but for Exchange that isn't an address of its mailbox. No permission is missing.",
        Administrator,
        TestAgain,
        &[
            shell("Check the mailbox's addresses:", "Get-Mailbox -Identity {address} | Format-List PrimarySmtpAddress,EmailAddresses"),
            say("If another recipient has the address (a contact, a deleted mailbox), remove it there. If it's missing, add it to the mailbox."),
        ],
    ),
    cause(
        "smtp_throttled",
        "Microsoft is slowing this mailbox down.",
        "Too many messages or connections in a short time. Nothing is lost. We'll retest automatically.",
        "Exchange Online throttles this mailbox. This clears up automatically.",
        Time,
        TestAgain,
        &[],
    ),
    cause(
        "smtp_later",
        "Microsoft's mail server asks to try again later.",
        "It couldn't accept the message right now. No action needed: this usually clears up automatically. The technical details below show its reply.",
        "Exchange Online answered with a temporary error; the technical details show it. If it lasts for hours, check the service health in the Microsoft 365 admin center.",
        Time,
        TestAgain,
        &[],
    ),
    cause(
        "smtp_daily_limit",
        "The mailbox has reached its daily limit.",
        "Exchange Online limits the recipients per day. This clears up automatically.",
        "The mailbox's recipient rate limit is reached (10,000 recipients, unless it was lowered). It counts the last 24 hours, so room returns gradually.",
        Time,
        TestAgain,
        &[],
    ),
    cause(
        "smtp_tenant_limit",
        "The institution has reached its daily limit.",
        "Exchange Online limits the external recipients per day for the whole institution. This clears up automatically.",
        "The tenant's external recipient limit is reached. It counts the last 24 hours, so room returns gradually.",
        Time,
        TestAgain,
        &[say("Exchange admin center › Reports › Mail flow › Tenant outbound external recipients shows the limit and who used it.")],
    ),
    cause(
        "smtp_onmicrosoft",
        "The address belongs to an onmicrosoft.com domain.",
        "Such addresses can write to few external recipients a day.",
        "Senders in an onmicrosoft.com domain can write to 100 external recipients a day.",
        Administrator,
        TestAgain,
        &[say("Give the mailbox an address in your own domain and make it the primary one.")],
    ),
    cause(
        "smtp_sender_blocked",
        "Microsoft has blocked this sender.",
        "The mailbox was blocked because it sent what looked like spam.",
        "Exchange Online has restricted this sender for spam.",
        Administrator,
        TestAgain,
        &[say("Secure the account. Then in the Microsoft Defender portal open Email & collaboration › Review › Restricted entities and release {address}.")],
    ),
    cause(
        "smtp_tenant_blocked",
        "Microsoft has blocked the institution from sending.",
        "Exchange Online isn't accepting mail from your institution right now.",
        "Exchange Online has blocked the tenant (5.7.705, 5.7.708).",
        Administrator,
        TestAgain,
        &[say("Open a support request in the Microsoft 365 admin center and quote the code from the technical details.")],
    ),
    cause(
        "recipient_unknown",
        "No mailbox has this address.",
        "Microsoft's mail server doesn't know {address}.",
        "Exchange Online doesn't know {address}: it's misspelled, or has no licence with a mailbox.",
        You,
        TestAgain,
        &[
            say("Check the spelling of {address}."),
            say("If it belongs to the institution: an administrator checks in the Microsoft 365 admin center that it exists and has a licence with Exchange Online."),
        ],
    ),
    cause(
        "mailbox_full",
        "The sending mailbox is full.",
        "Your mailbox {mailbox} has no room for the copy in Sent Items. Delete something in it, then try again.",
        "The mailbox {mailbox} has reached its quota: there is no room for the copy in Sent Items.",
        You,
        TestAgain,
        &[
            say("Empty Deleted Items and Junk Email of {mailbox}."),
            say("If that is not enough, an administrator gives it more space, or a retention policy that archives old mail."),
        ],
    ),
    cause(
        "message_too_large",
        "The message is too large.",
        "Microsoft's mail server doesn't accept messages of this size from your mailbox.",
        "The message is larger than the mailbox's or the tenant's limit.",
        You,
        TestAgain,
        &[
            say("Send the files as a link, or in several messages."),
            shell("An administrator can see the limit:", "Get-Mailbox -Identity {mailbox} | Format-List MaxSendSize")
                .by_administrator(),
        ],
    ),
    cause(
        "direct_send",
        "Your institution refuses Direct Send.",
        "A device or program sent this without signing in. Your institution no longer accepts that.",
        "A device or program outside Entrepost sent this without signing in (Direct Send), which the tenant refuses.",
        Administrator,
        TestAgain,
        &[say("Set the device to send through Entrepost, or through a mailbox with its own sign-in.")],
    ),
    cause(
        "smtp_refused",
        "Microsoft's mail server refused the message.",
        "The technical details below say why.", "The technical details below say why.",
        Administrator,
        TestAgain,
        &[link("Find the code from the technical details in Microsoft's list:", NDR_LIST)],
    ),
    cause(
        "smtp_cut",
        "The connection dropped while the message was being sent.",
        "The message wasn't accepted. The network between Entrepost and Microsoft may be the reason.",
        "The SMTP connection was cut during DATA. A firewall or proxy on the way may be the reason.",
        Operator,
        TestAgain,
        &[say("Check the network between this server and Microsoft: firewalls that inspect connections can cut them.")],
    ),
    cause(
        "smtp_cut_unknown",
        "The connection dropped before Microsoft confirmed the message.",
        "We don't know whether it was accepted. The network between Entrepost and Microsoft may be the reason.",
        "The connection was cut before the message was confirmed. A firewall or proxy on the way may be the reason.",
        Operator,
        TestAgain,
        &[say("Check the network between this server and Microsoft: firewalls that inspect connections can cut them.")],
    ),
    cause(
        "smtp_unreachable",
        "Can't reach Microsoft's mail server.",
        "The connection from this server failed. Tell your administrator.",
        "The connection from this server to the SMTP host failed.",
        Operator,
        TestAgain,
        &[say("Check that this server may connect to the host and port in the technical details (usually 587), and its DNS.")],
    ),
    cause(
        "smtp_tls",
        "No secure connection to the mail server.",
        "Encryption couldn't be set up, so nothing was sent. Tell your administrator.",
        "TLS with the SMTP host failed, so nothing was sent.",
        Operator,
        TestAgain,
        &[say("Behind a TLS-inspecting proxy, put its CA into ENTREPOST_EXTRA_CA_FILE. Otherwise check the host in ENTREPOST_MICROSOFT_SMTP.")],
    ),
    cause(
        "smtp_silent",
        "The connection to Microsoft's mail server dropped.",
        "Microsoft's mail server answered, then the connection dropped. Try again in a few minutes. If it happens again, tell your administrator.",
        "The SMTP host accepted the connection, then dropped it. If it happens again, look for a firewall or an inspecting proxy on the way.",
        Time,
        TestAgain,
        &[],
    ),
];
