//! The table of causes and fixes: data rather than code. `{address}`, `{redirect_uri}` and `{institution}` are filled in.

use Mender::{Administrator, Operator, Time, You};
use Remedy::{ConnectAgain, TryAgain};
use app::model::{Mender, Remedy};

/// A cause.
pub(super) struct Cause {
    /// Its stable name.
    pub name: &'static str,
    /// What it means for the person.
    pub title: &'static str,
    /// More, for a user.
    pub summary: &'static str,
    /// More, for an administrator.
    pub administrator_summary: &'static str,
    /// Who mends it.
    pub mender: Mender,
    /// What to press afterwards.
    pub remedy: Remedy,
    /// How, with commands to copy.
    pub steps: &'static [(&'static str, Option<&'static str>)],
}

const fn cause(
    name: &'static str,
    title: &'static str,
    (summary, administrator_summary): (&'static str, &'static str),
    (mender, remedy): (Mender, Remedy),
    steps: &'static [(&'static str, Option<&'static str>)],
) -> Cause {
    Cause { name, title, summary, administrator_summary, mender, remedy, steps }
}

/// The cause of that name; `unknown` for any other.
pub(super) fn find(name: &str) -> &'static Cause {
    CAUSES.iter().find(|cause| cause.name == name).unwrap_or(&UNKNOWN)
}

const PROPAGATION: (&str, Option<&str>) =
    ("Allow some time for it to take effect (minutes, sometimes an hour), then press Try again.", None);

static UNKNOWN: Cause = cause(
    "unknown",
    "The check failed for a reason that Entrepost does not know.",
    (
        "Try again. If it fails again, give the evidence below to support.",
        "Try again. If it fails again, give the evidence below to support.",
    ),
    (Operator, TryAgain),
    &[],
);

static CAUSES: &[Cause] = &[
    // --- The three values -------------------------------------------------------------------------------------------
    cause(
        "secret_wrong",
        "The Client Secret is wrong.",
        (
            "Microsoft does not accept the Client Secret that your institution stored.",
            "Microsoft does not accept this Client Secret. Often the Secret ID was pasted instead of the Value.",
        ),
        (Administrator, TryAgain),
        &[
            (
                "In the Entra portal open the app registration, Certificates & secrets, and create a new client secret.",
                None,
            ),
            (
                "Copy its Value at once (not the Secret ID beside it) and paste it under Client Secret in Entrepost, then Save.",
                None,
            ),
        ],
    ),
    cause(
        "secret_expired",
        "The Client Secret has expired.",
        (
            "Your institution's access to Microsoft has expired. Nobody can connect until it is renewed; your sign-in is not the problem.",
            "The Client Secret has expired. A new one takes effect at once for every connected mailbox: nobody has to sign in again.",
        ),
        (Administrator, TryAgain),
        &[
            (
                "In the Entra portal open the app registration, Certificates & secrets, and create a new client secret.",
                None,
            ),
            ("Copy its Value, paste it under Client Secret in Entrepost, enter its expiry, then Save.", None),
        ],
    ),
    cause(
        "client_unknown",
        "The Client ID is not known in this tenant.",
        (
            "The app that your institution registered is not found at Microsoft.",
            "Microsoft finds no app with this Client ID in this tenant: one of Client ID and Tenant ID is wrong, or they belong to different tenants.",
        ),
        (Administrator, TryAgain),
        &[
            ("In the Entra portal open App registrations, your app, Overview.", None),
            (
                "Copy Application (client) ID and Directory (tenant) ID from that one page into Entrepost, then Save.",
                None,
            ),
        ],
    ),
    cause(
        "tenant_unknown",
        "The Tenant ID is wrong.",
        (
            "The tenant that your institution entered is not found at Microsoft.",
            "Microsoft knows no tenant of this ID or domain.",
        ),
        (Administrator, TryAgain),
        &[(
            "In the Entra portal open the app's Overview and copy Directory (tenant) ID into Entrepost, then Save.",
            None,
        )],
    ),
    cause(
        "ids_swapped",
        "Client ID and Tenant ID have changed places.",
        (
            "What your institution entered as Client ID is a tenant, and the other way round.",
            "What stands under Client ID is a tenant, and what stands under Tenant ID is none.",
        ),
        (Administrator, TryAgain),
        &[("Put Application (client) ID under Client ID, Directory (tenant) ID under Tenant ID, then Save.", None)],
    ),
    cause(
        "other_cloud",
        "This tenant lives in another Microsoft cloud.",
        (
            "Your institution's tenant belongs to a national cloud that this server is not set up for.",
            "The tenant belongs to a national cloud. Whoever runs this server must set its hosts.",
        ),
        (Operator, TryAgain),
        &[(
            "Set ENTREPOST_MICROSOFT_AUTHORITY, _SMTP, _IMAP and _SCOPES to the hosts of that cloud, and restart.",
            None,
        )],
    ),
    cause(
        "single_tenant",
        "The app accepts only its own tenant.",
        (
            "The app that your institution registered must be asked through its own tenant.",
            "A single-tenant app must be asked through its own tenant's ID.",
        ),
        (Administrator, TryAgain),
        &[("Enter the Directory (tenant) ID of the tenant in which the app is registered, then Save.", None)],
    ),
    // --- Redirect URI, permissions, consent --------------------------------------------------------------------------
    cause(
        "redirect_uri",
        "The redirect URI is not registered.",
        (
            "Microsoft does not know the address to send you back to.",
            "Microsoft compares the redirect URI character by character, and this one is not registered for the app.",
        ),
        (Administrator, ConnectAgain),
        &[(
            "In the Entra portal open the app, Authentication, platform Web, and add exactly this redirect URI:",
            Some("{redirect_uri}"),
        )],
    ),
    cause(
        "redirect_spa",
        "The redirect URI is registered for the wrong platform.",
        (
            "The address to send you back to is registered for another kind of app.",
            "The redirect URI stands under “Single-page application”. Tokens of that platform end after a day.",
        ),
        (Administrator, ConnectAgain),
        &[
            (
                "In the Entra portal open the app, Authentication, and remove the URI under Single-page application.",
                None,
            ),
            ("Add it under the platform Web:", Some("{redirect_uri}")),
        ],
    ),
    cause(
        "service_principal",
        "The app is not yet present in the tenant.",
        (
            "An administrator has to let the app into the tenant once.",
            "The app has no service principal in the tenant. Granting consent once makes it.",
        ),
        (Administrator, ConnectAgain),
        &[
            (
                "In the Entra portal open App registrations › your app › API permissions and press Grant admin consent: that makes the service principal.",
                None,
            ),
            (
                "Where the values are saved already, Grant admin consent on Institution Config > General > Email does the same.",
                None,
            ),
        ],
    ),
    cause(
        "consent_missing",
        "An administrator must allow the app first.",
        (
            "Microsoft asks an administrator to approve the permissions to read and send mail. You cannot do that yourself.",
            "Under Microsoft's default policy people cannot consent to IMAP by themselves: admin consent is needed, once for everybody.",
        ),
        (Administrator, ConnectAgain),
        &[
            ("Open Institution Config > General > Email in Entrepost and press Grant admin consent.", None),
            ("Sign in as Application Administrator, Cloud Application Administrator or higher, and accept.", None),
        ],
    ),
    cause(
        "permissions_missing",
        "The app lacks a permission.",
        (
            "The app that your institution registered may not send or receive mail yet.",
            "The token does not allow sending and receiving: a delegated permission is missing on the app.",
        ),
        (Administrator, ConnectAgain),
        &[
            (
                "In the Entra portal open the app, API permissions, Add a permission, Microsoft Graph, Delegated permissions.",
                None,
            ),
            ("Tick SMTP.Send, IMAP.AccessAsUser.All and offline_access, then Add permissions.", None),
            ("Press Grant admin consent in Entrepost, then connect again.", None),
        ],
    ),
    cause(
        "not_assigned",
        "You are not assigned to the app.",
        (
            "Your institution lets only assigned people use the app.",
            "The enterprise app requires assignment, and {address} is not assigned.",
        ),
        (Administrator, ConnectAgain),
        &[("In the Entra portal open Enterprise applications, the app, Users and groups, and add {address}.", None)],
    ),
    // --- The person at Microsoft -------------------------------------------------------------------------------------
    cause(
        "declined",
        "The permissions were declined.",
        (
            "Microsoft asked whether Entrepost may send and receive for you, and the answer was no.",
            "The permissions were declined at Microsoft.",
        ),
        (You, ConnectAgain),
        &[("Press Configure & Test again and choose Accept when Microsoft asks.", None)],
    ),
    cause(
        "foreign_account",
        "This account does not belong to the institution.",
        (
            "The account that signed in is not one of your institution's tenant.",
            "The account that signed in is not in the tenant.",
        ),
        (You, ConnectAgain),
        &[("Press Configure & Test again and pick the account of your institution.", None)],
    ),
    cause(
        "wrong_password",
        "Microsoft did not accept the sign-in.",
        ("User name or password was wrong.", "User name or password was wrong."),
        (You, ConnectAgain),
        &[("Press Configure & Test again and sign in with your institution's password.", None)],
    ),
    cause(
        "account_disabled",
        "This account is disabled at Microsoft.",
        ("An administrator of Microsoft 365 has to enable it.", "The account {address} is disabled in Entra ID."),
        (Administrator, ConnectAgain),
        &[("In the Microsoft 365 admin center open Users, Active users, {address}, and unblock the sign-in.", None)],
    ),
    cause(
        "mfa",
        "Microsoft asks for a second factor.",
        (
            "Sign in again and complete the second step, or set it up when Microsoft asks.",
            "The person must sign in again and complete the second step.",
        ),
        (You, ConnectAgain),
        &[("Press Connect again and follow Microsoft's steps to the end.", None)],
    ),
    cause(
        "conditional_access",
        "A security policy of the institution stops the sign-in.",
        (
            "A Conditional Access policy does not allow this sign-in.",
            "A Conditional Access policy judges the address of this server, or asks for a fresh sign-in.",
        ),
        (Administrator, ConnectAgain),
        &[
            (
                "In the Entra portal open Protection, Conditional Access, Sign-in logs, and find the policy that blocked {address}.",
                None,
            ),
            (
                "Add the outbound address of this server to the trusted locations, or exclude the app from the policy.",
                None,
            ),
            ("Then connect again.", None),
        ],
    ),
    cause(
        "interaction_required",
        "Microsoft wants you to sign in again.",
        ("Something changed at Microsoft that needs you in person.", "The person has to sign in again."),
        (You, ConnectAgain),
        &[("Press Connect again and sign in.", None)],
    ),
    cause(
        "grant_revoked",
        "Microsoft has ended the connection.",
        (
            "The permission expired or was withdrawn, for example because an administrator reset your password. Connect again; nothing that waits is lost.",
            "The grant expired or was withdrawn (reset password, revoked sessions). The person connects again.",
        ),
        (You, ConnectAgain),
        &[("Press Connect again and sign in at Microsoft.", None)],
    ),
    cause(
        "start_over",
        "This sign-in cannot be used any more.",
        (
            "Its code was used before, or belongs to another sign-in. Start again; if it repeats, tell support.",
            "The code was used before, or belongs to another sign-in. If it repeats it is a bug of Entrepost.",
        ),
        (You, ConnectAgain),
        &[("Press Configure & Test again.", None)],
    ),
    cause(
        "id_token_invalid",
        "Microsoft's answer could not be trusted.",
        (
            "The proof of who signed in does not hold, so nothing was connected. Start again; if it repeats, tell support.",
            "The id_token does not hold, so nothing was connected.",
        ),
        (Operator, ConnectAgain),
        &[("Check the clock of this server and ENTREPOST_MICROSOFT_AUTHORITY.", None)],
    ),
    cause(
        "issuer_mismatch",
        "The answer came from another authority.",
        (
            "The answer names another issuer than your institution's tenant, so it was not used.",
            "The callback's `iss` is not the tenant's issuer.",
        ),
        (You, ConnectAgain),
        &[("Press Configure & Test again.", None)],
    ),
    cause(
        "no_refresh_token",
        "Microsoft gave no lasting permission.",
        (
            "Without it mail would stop after an hour, so nothing was connected.",
            "The answer had no refresh token: the permission offline_access is missing.",
        ),
        (Administrator, ConnectAgain),
        &[(
            "In the Entra portal open the app, API permissions, and add Microsoft Graph, Delegated, offline_access; then grant admin consent.",
            None,
        )],
    ),
    cause(
        "address_taken",
        "This mailbox is connected by somebody else.",
        (
            "A mailbox belongs to one person in Entrepost, and {address} is taken.",
            "A mailbox belongs to one person in Entrepost, and {address} is taken. It can be disconnected under Users.",
        ),
        (Administrator, ConnectAgain),
        &[("Open Users in Entrepost and disconnect {address} from whoever holds it.", None)],
    ),
    cause(
        "address_unproven",
        "The address could not be proven.",
        (
            "The test message from {address} did not arrive in the mailbox that signed in, so nothing was connected.",
            "The test message from {address} did not arrive in the mailbox that signed in, so nothing was connected.",
        ),
        (You, ConnectAgain),
        &[
            ("Sign in with the account whose mailbox has the address {address}.", None),
            ("If it is an alias, ask an administrator to make it an address of that mailbox.", None),
        ],
    ),
    cause(
        "registration_changed",
        "The institution's app registration changed.",
        (
            "Microsoft binds connections to the registration, so yours ended. Connect again; it takes a minute.",
            "Connections are bound to Client ID and Tenant ID, so this one ended. The person connects again.",
        ),
        (You, ConnectAgain),
        &[("Press Connect again and sign in at Microsoft.", None)],
    ),
    // --- The authority -------------------------------------------------------------------------------------------------
    cause(
        "authority_unreachable",
        "Microsoft cannot be reached from this server.",
        (
            "The connection to Microsoft's sign-in failed. Try again in a few minutes.",
            "The connection from this server to the authority failed: network, DNS, proxy or a certificate.",
        ),
        (Operator, TryAgain),
        &[
            ("Check that this server may open https connections to the authority, and its DNS.", None),
            ("Behind a TLS-inspecting proxy, put its CA into ENTREPOST_EXTRA_CA_FILE.", None),
        ],
    ),
    cause(
        "authority_unavailable",
        "Microsoft is not available at the moment.",
        (
            "It said so itself. Nothing is lost; try again in a few minutes.",
            "It said so itself. Nothing is lost; try again in a few minutes.",
        ),
        (Time, TryAgain),
        &[],
    ),
    cause(
        "authority_throttled",
        "Microsoft asks to slow down.",
        (
            "Too many sign-ins in a short time. Try again in a few minutes.",
            "Too many token requests in a short time. Try again in a few minutes.",
        ),
        (Time, TryAgain),
        &[],
    ),
    cause(
        "authority_protocol",
        "The authority's answer cannot be understood.",
        (
            "What answered does not speak OpenID Connect. Whoever runs this server must look.",
            "What answers at the authority's address does not speak OpenID Connect.",
        ),
        (Operator, TryAgain),
        &[("Check ENTREPOST_MICROSOFT_AUTHORITY and whether a proxy answers in its place.", None)],
    ),
    cause(
        "authority_refused",
        "Microsoft refused.",
        (
            "The evidence below says why. Try again; if it is refused again, send the evidence to your administrator.",
            "The evidence below says why.",
        ),
        (Administrator, ConnectAgain),
        &[("Look the error up in Microsoft's list of authentication error codes.", None)],
    ),
    // --- SMTP ------------------------------------------------------------------------------------------------------------
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
                "If that does not help: Entra portal › Overview › Properties › Manage security defaults. Replace them by Conditional Access policies before switching them off.",
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
            "The account that signed in has no Send As permission for {address}.",
        ),
        (Administrator, TryAgain),
        &[
            (
                "In Exchange PowerShell, with the account that signs in as TRUSTEE:",
                Some("Add-RecipientPermission -Identity {address} -Trustee TRUSTEE -AccessRights SendAs"),
            ),
            PROPAGATION,
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
            "Exchange Online does not know {address}: is a licence with a mailbox assigned?",
        ),
        (Administrator, TryAgain),
        &[(
            "In the Microsoft 365 admin center check that {address} exists and has a licence with Exchange Online.",
            None,
        )],
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
        "Microsoft's mail server refused the test message.",
        ("The evidence below says why.", "The evidence below says why."),
        (Administrator, TryAgain),
        &[("Look the code in the evidence up in Microsoft's list of non-delivery reports.", None)],
    ),
    cause(
        "smtp_cut",
        "The connection broke while the test message was sent.",
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
        "Microsoft's mail server stopped answering.",
        ("Try again in a few minutes.", "The SMTP host accepted the connection, then stopped answering."),
        (Time, TryAgain),
        &[],
    ),
    // --- IMAP ------------------------------------------------------------------------------------------------------------
    cause(
        "imap_disabled",
        "Receiving is switched off for this mailbox.",
        (
            "Your sign-in is fine. An administrator of Microsoft 365 must switch on IMAP.",
            "IMAP is switched off for {address}, or the sign-in name is not the mailbox's.",
        ),
        (Administrator, TryAgain),
        &[
            (
                "Microsoft 365 admin center › Users › Active users › {address} › Mail › Manage email apps: tick IMAP. Or, in Exchange PowerShell:",
                Some("Set-CASMailbox -Identity {address} -ImapEnabled $true"),
            ),
            ("Bought through a reseller? Some of these switches are in its dashboard.", None),
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
            ("Press Connect again and sign in with the account that owns the mailbox.", None),
            (
                "If it happens again, ask an administrator to check the permission IMAP.AccessAsUser.All, admin consent, and IMAP under Manage email apps.",
                None,
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
        &[(
            "Check in the Microsoft 365 admin center that {address} has a licence with Exchange Online and that IMAP is on.",
            None,
        )],
    ),
    cause(
        "imap_unreachable",
        "Microsoft's mail server for receiving cannot be reached.",
        (
            "The connection from this server failed. Whoever runs it must look.",
            "The connection from this server to the IMAP host failed.",
        ),
        (Operator, TryAgain),
        &[(
            "Check that this server may connect to the host and port in the evidence (usually 993), and its DNS.",
            None,
        )],
    ),
    cause(
        "imap_tls",
        "No secure connection to the mail server for receiving.",
        ("Encryption could not be set up. Whoever runs this server must look.", "TLS with the IMAP host failed."),
        (Operator, TryAgain),
        &[(
            "Behind a TLS-inspecting proxy, put its CA into ENTREPOST_EXTRA_CA_FILE. Otherwise check the host in ENTREPOST_MICROSOFT_IMAP.",
            None,
        )],
    ),
    cause(
        "imap_silent",
        "Microsoft's mail server for receiving stopped answering.",
        ("Try again in a few minutes.", "The IMAP host accepted the connection, then stopped answering."),
        (Time, TryAgain),
        &[],
    ),
    // --- Ours ------------------------------------------------------------------------------------------------------------
    cause(
        "interrupted",
        "The test was interrupted.",
        (
            "The server was restarted or took too long. Your sign-in is kept; try again.",
            "The server was restarted or took too long. The sign-in is kept.",
        ),
        (You, TryAgain),
        &[("Press Try again.", None)],
    ),
    cause(
        "our_bug",
        "Entrepost made a mistake.",
        (
            "This should not happen. Please give the evidence below to support.",
            "This should not happen. Please give the evidence below to support.",
        ),
        (Operator, TryAgain),
        &[],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_text_is_there() {
        let mut names: Vec<_> = CAUSES.iter().map(|cause| cause.name).collect();
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
        for cause in CAUSES {
            assert!(
                cause.title.ends_with('.') && !cause.summary.is_empty() && !cause.administrator_summary.is_empty(),
                "{}",
                cause.name
            );
            assert!(
                cause.mender == Time || cause.name == "our_bug" || !cause.steps.is_empty(),
                "{} says what to do",
                cause.name
            );
        }
    }
}
