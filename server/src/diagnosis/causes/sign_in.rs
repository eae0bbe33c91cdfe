//! The person at Microsoft, and the authority.

use super::{Cause, cause, link, say};
use app::model::FixedBy::{Administrator, Operator, Time, You};
use app::model::Remedy::{ConnectAgain, TryAgain};

pub(super) static CAUSES: &[Cause] = &[
    // --- The person at Microsoft
    cause(
        "declined",
        "The permissions were declined.",
        (
            "Microsoft asked whether Entrepost may send and receive for you, and the answer was no.",
            "The permissions were declined at Microsoft.",
        ),
        (You, ConnectAgain),
        &[say("Press Configure & Test again and choose Accept when Microsoft asks.")],
    ),
    cause(
        "foreign_account",
        "This account does not belong to the institution.",
        (
            "The account that signed in is not one of your institution's tenant.",
            "The account that signed in is not in the tenant.",
        ),
        (You, ConnectAgain),
        &[say("Press Configure & Test again and pick the account of your institution.")],
    ),
    cause(
        "wrong_password",
        "Microsoft did not accept the sign-in.",
        ("User name or password was wrong.", "User name or password was wrong."),
        (You, ConnectAgain),
        &[say("Press Configure & Test again and sign in with your institution's password.")],
    ),
    cause(
        "account_disabled",
        "This account is disabled at Microsoft.",
        ("An administrator of Microsoft 365 has to enable it.", "The account {address} is disabled in Entra ID."),
        (Administrator, ConnectAgain),
        &[say("In the Microsoft 365 admin center open Users, Active users, {address}, and unblock the sign-in.")],
    ),
    cause(
        "mfa",
        "Microsoft asks for a second factor.",
        (
            "Sign in again and complete the second step, or set it up when Microsoft asks.",
            "The person must sign in again and complete the second step.",
        ),
        (You, ConnectAgain),
        &[say("Press Connect again and follow Microsoft's steps to the end.")],
    ),
    cause(
        "conditional_access",
        "A security policy of the institution stops the sign-in.",
        (
            "A Conditional Access policy does not allow this sign-in.",
            "A Conditional Access policy does not allow it. Where it judges the network, it judges the address of this server.",
        ),
        (Administrator, ConnectAgain),
        &[
            say(
                "Entra ID › Monitoring & health › Sign-in logs, filter by the correlation ID of the evidence: find the policy that blocked {address}. A sign-in by hand stands under User sign-ins (interactive), a renewal by this server under User sign-ins (non-interactive), which that page does not show first.",
            ),
            say(
                "Add the outbound address of this server ({outbound_address}) to the trusted locations, or exclude the app from the policy.",
            ),
            say("Then connect again."),
        ],
    ),
    cause(
        "sign_in_frequency",
        "Microsoft wants you to sign in again.",
        (
            "Your institution asks for a fresh sign-in now and then. Sign in again; that is all.",
            "A policy asks for a fresh sign-in now and then. The person signs in again; that is all.",
        ),
        (You, ConnectAgain),
        &[say("Press Connect again and sign in.")],
    ),
    cause(
        "device_policy",
        "Your institution allows this from its own devices only.",
        (
            "Sign in from a device that your institution manages.",
            "A policy wants a device that is compliant or joined to the institution. It is named in the sign-in log.",
        ),
        (You, ConnectAgain),
        &[
            say("Use a device of your institution, press Connect again and sign in."),
            say(
                "If there is none, ask an administrator to look at the policy: Entra ID › Monitoring & health › Sign-in logs names it.",
            ),
        ],
    ),
    cause(
        "risk_policy",
        "Microsoft holds this sign-in for risky.",
        (
            "An administrator of Microsoft 365 must look at your account.",
            "A risk policy, or a missing registration of security information, stops {address}.",
        ),
        (Administrator, ConnectAgain),
        &[say(
            "Entra ID › Protection › Identity Protection › Risky users: look at {address}, and dismiss the risk once the account is safe. Then connect again.",
        )],
    ),
    cause(
        "account_locked",
        "Microsoft has locked this account for a while.",
        (
            "Too many wrong sign-ins, or ones from a strange place. Wait a while, then sign in at Microsoft.",
            "The account is locked after failed sign-ins. It opens by itself, or an administrator resets the password.",
        ),
        (You, ConnectAgain),
        &[say("Wait some minutes, sign in at Microsoft's own page once, then press Connect again.")],
    ),
    cause(
        "password_expired",
        "Your password at Microsoft has expired.",
        ("Set a new one at Microsoft, then connect again.", "The person's password at Microsoft has expired."),
        (You, ConnectAgain),
        &[say("Sign in at Microsoft's own page, set a new password, then press Connect again.")],
    ),
    cause(
        "exchange_missing",
        "The institution's tenant has no Exchange Online.",
        (
            "An administrator of Microsoft 365 must look at the licences.",
            "The service that the app asks for is not in this tenant: there is no licence with Exchange Online, or its service was disabled.",
        ),
        (Administrator, ConnectAgain),
        &[
            say(
                "Microsoft 365 admin center › Billing › Licenses: a licence with Exchange Online must be there and assigned.",
            ),
            say(
                "Entra ID › Enterprise applications, Application type Microsoft Applications: Office 365 Exchange Online must be there and enabled.",
            ),
        ],
    ),
    cause(
        "app_disabled",
        "The institution's app is disabled at Microsoft.",
        (
            "An administrator of Microsoft 365 must enable it.",
            "The app registration is disabled in the tenant, or Microsoft disabled it.",
        ),
        (Administrator, ConnectAgain),
        &[say("Entra ID › Enterprise applications › the app › Properties: set Enabled for users to sign-in to Yes.")],
    ),
    cause(
        "public_client",
        "Microsoft did not get the client secret.",
        (
            "The app registration must be looked at by an administrator.",
            "Microsoft wants a client secret or assertion and got none it could use. The platform must be Web, and Client Secret its Value.",
        ),
        (Administrator, ConnectAgain),
        &[
            say("Entra ID › App registrations › the app › Authentication: the redirect URI stands under Web."),
            say("Paste the Value of a current client secret in Institution Config › General › Email, and save."),
        ],
    ),
    cause(
        "interaction_required",
        "Microsoft wants you to sign in again.",
        ("Something changed at Microsoft that needs you in person.", "The person has to sign in again."),
        (You, ConnectAgain),
        &[say("Press Connect again and sign in.")],
    ),
    cause(
        "grant_revoked",
        "Microsoft has ended the connection.",
        (
            "The permission expired or was withdrawn, for example because an administrator reset your password. Connect again; nothing that waits is lost.",
            "The grant expired or was withdrawn (reset password, revoked sessions). The person connects again.",
        ),
        (You, ConnectAgain),
        &[say("Press Connect again and sign in at Microsoft.")],
    ),
    cause(
        "start_over",
        "This sign-in cannot be used any more.",
        (
            "Its code was used before, or belongs to another sign-in. Start again; if it repeats, tell support.",
            "The code was used before, or belongs to another sign-in. If it repeats it is a bug of Entrepost.",
        ),
        (You, ConnectAgain),
        &[say("Press Configure & Test again.")],
    ),
    cause(
        "id_token_invalid",
        "Microsoft's answer could not be trusted.",
        (
            "The proof of who signed in does not hold, so nothing was connected. Start again; if it repeats, tell support.",
            "The id_token does not hold, so nothing was connected.",
        ),
        (Operator, ConnectAgain),
        &[say("Check the clock of this server and ENTREPOST_MICROSOFT_AUTHORITY.")],
    ),
    cause(
        "issuer_mismatch",
        "The answer came from another authority.",
        (
            "The answer names another issuer than your institution's tenant, so it was not used.",
            "The callback's `iss` is not the tenant's issuer.",
        ),
        (You, ConnectAgain),
        &[say("Press Configure & Test again.")],
    ),
    cause(
        "no_refresh_token",
        "Microsoft gave no lasting permission.",
        (
            "Without it mail would stop after an hour, so nothing was connected.",
            "The answer had no refresh token: the permission offline_access is missing.",
        ),
        (Administrator, ConnectAgain),
        &[say(
            "In the Entra portal open the app, API permissions, and add Microsoft Graph, Delegated, offline_access; then grant admin consent.",
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
        &[say("Open Users in Entrepost and disconnect {address} from the person who connected it.")],
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
            say("Sign in with the account whose mailbox has the address {address}."),
            say("If it is an alias, ask an administrator to make it an address of that mailbox."),
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
        &[say("Press Connect again and sign in at Microsoft.")],
    ),
    cause(
        "provider_changed",
        "Your institution has stopped using MS Exchange Online.",
        (
            "An administrator chose the system default, so your mailbox is not connected any more.",
            "The system default was chosen, which ended every connection.",
        ),
        (Administrator, ConnectAgain),
        &[
            say("In Institution Config, General, Email choose MS Exchange Online, and save."),
            say("Then everybody presses Connect again."),
        ],
    ),
    cause(
        "exchange_refused",
        "Microsoft did not complete the sign-in.",
        (
            "It gave an answer that Entrepost does not know. Sign in once more; if it happens again, give the evidence below to support.",
            "It gave an answer that Entrepost does not know. The person signs in once more; the evidence is below.",
        ),
        (You, ConnectAgain),
        &[say("Press Configure & Test and sign in once more.")],
    ),
    // --- The authority
    cause(
        "authority_unreachable",
        "Microsoft cannot be reached from this server.",
        (
            "The connection to Microsoft's sign-in failed. Try again in a few minutes.",
            "The connection from this server to the authority failed: network, DNS, proxy or a certificate.",
        ),
        (Operator, TryAgain),
        &[
            say("Check that this server may open https connections to the authority, and its DNS."),
            say("Behind a TLS-inspecting proxy, put its CA into ENTREPOST_EXTRA_CA_FILE."),
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
            "What answered is not Microsoft's sign-in. Your administrator can have it looked at.",
            "What answers at the authority's address does not speak OpenID Connect.",
        ),
        (Operator, TryAgain),
        &[say("Check ENTREPOST_MICROSOFT_AUTHORITY and whether a proxy answers in its place.")],
    ),
    cause(
        "authority_refused",
        "Microsoft refused.",
        (
            "The evidence below says why. Try again; if it is refused again, send the evidence to your administrator.",
            "The evidence below says why.",
        ),
        (Administrator, ConnectAgain),
        &[link("Look the error up on Microsoft's page of sign-in errors:", "{error_page}")],
    ),
];
