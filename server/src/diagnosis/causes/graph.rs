//! Sending through Microsoft Graph.

use super::{Cause, PROPAGATION, cause, link, say, shell};
use app::model::FixedBy::{Administrator, Operator, Time};
use app::model::Remedy::TestAgain;

pub(super) static CAUSES: &[Cause] = &[
    cause(
        "graph_consent",
        "The app may not use Microsoft Graph yet.",
        "Your mailbox is to send in a new way, and an administrator of Microsoft 365 has to allow that first.",
        "Mailboxes are to send through Microsoft Graph, and Microsoft gives no token for it: a permission or the consent is missing, or a policy refuses it. SMTP and IMAP are not concerned.",
        Administrator,
        TestAgain,
        &[
            say("Entra ID › App registrations › the app › API permissions › Add a permission › Microsoft Graph › Delegated permissions: add Mail.Send (to send) and Mail.ReadWrite (for messages above 3 MB and to look into Sent Items)."),
            link("Consent for everyone, as a Cloud Application Administrator:", "{consent_link}"),
            say("If the answer names Conditional Access, the policy has to let this app reach Microsoft Graph as it does Office 365 Exchange Online."),
            say("Or do without: Institution Config › General › Email › Sending without SMTP, and switch on Authenticated SMTP for the mailboxes.").option(),
        ],
    ),
    cause(
        "graph_denied",
        "Microsoft Graph refused to send.",
        "Your sign-in is fine, but Microsoft doesn't let the app send for your mailbox.",
        "Microsoft Graph refuses the app for {mailbox}. Permissions that were just granted take up to two hours; a policy may exclude the app or the mailbox.",
        Administrator,
        TestAgain,
        &[
            say("Granted less than two hours ago? Wait: blocked mailboxes are tested again automatically."),
            link("Consent again, if a permission is missing:", "{consent_link}"),
        ],
    ),
    cause(
        "graph_no_mailbox",
        "Microsoft Graph finds no mailbox.",
        "Your account has no mailbox at Exchange Online, or it has just been made. An administrator has to check.",
        "Microsoft Graph finds no mailbox for {mailbox}: it has no licence with Exchange Online, was made minutes ago, or is still on a server of your own.",
        Administrator,
        TestAgain,
        &[
            shell("See where the mailbox is:", "Get-Recipient -Identity {mailbox} | Format-List RecipientTypeDetails,PrimarySmtpAddress"),
            say("Microsoft 365 admin center › Users › Active users › the account › Licenses and apps: Exchange Online must be ticked."),
            PROPAGATION,
        ],
    ),
    cause(
        "graph_large",
        "This message is too large for the app's permissions.",
        "Messages above 3 MB need one more permission. An administrator has to add it; then send the message again.",
        "Through Microsoft Graph, messages above 3 MB are sent as drafts, which needs Mail.ReadWrite.",
        Administrator,
        TestAgain,
        &[
            say("Entra ID › App registrations › the app › API permissions › Add a permission › Microsoft Graph › Delegated permissions: add Mail.ReadWrite."),
            say("Then press Grant admin consent under Institution Config › General › Email in Entrepost, and send the message again."),
        ],
    ),
    cause(
        "graph_throttled",
        "Microsoft Graph asks to wait.",
        "Microsoft is busy, or too much was sent in a short time. The message is sent later.",
        "Microsoft Graph throttles this mailbox or is busy. Entrepost waits as long as it asks.",
        Time,
        TestAgain,
        &[say("Wait. If it lasts for hours, look at the service health in the Microsoft 365 admin center.")],
    ),
    cause(
        "graph_unreachable",
        "Can't reach Microsoft Graph.",
        "The connection from this server failed. Tell your administrator.",
        "The connection from this server to Microsoft Graph failed.",
        Operator,
        TestAgain,
        &[say("Allow outgoing connections to the host of ENTREPOST_MICROSOFT_GRAPH, port 443, and, for large files, to outlook.office.com. Behind a TLS-inspecting proxy, put its CA into ENTREPOST_EXTRA_CA_FILE.")],
    ),
    cause(
        "graph_refused",
        "Microsoft Graph refused this message.",
        "Microsoft didn't take the message. Its answer is in the technical details.",
        "Microsoft Graph didn't take the message. Its answer is in the technical details.",
        Administrator,
        TestAgain,
        &[say("Read Microsoft's answer in the technical details: it concerns this message alone. Other messages are sent as ever.")],
    ),
];
