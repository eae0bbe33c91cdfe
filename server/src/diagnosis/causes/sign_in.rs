//! The person at Microsoft, and the authority.

use super::{Cause, cause, link, say};
use app::model::FixedBy::{Administrator, Operator, Time, You};
use app::model::Remedy::{SignInAgain, TestAgain};

pub(super) static CAUSES: &[Cause] = &[
    // --- The person at Microsoft
    cause(
        "declined",
        "The permissions were declined.",
        (
            "Microsoft asked whether Entrepost may send and receive for you, and you declined.",
            "The permissions were declined at Microsoft.",
        ),
        (You, SignInAgain),
        &[say("Press Configure & Test again and choose Accept when Microsoft asks.")],
    ),
    cause(
        "foreign_account",
        "This account doesn't belong to your institution.",
        (
            "The account that signed in isn't in your institution's tenant.",
            "The account that signed in isn't in the tenant.",
        ),
        (You, SignInAgain),
        &[say("Press Configure & Test again and pick the account of your institution.")],
    ),
    cause(
        "wrong_password",
        "Microsoft rejected the sign-in.",
        ("The user name or password was wrong.", "The user name or password was wrong."),
        (You, SignInAgain),
        &[say("Press Configure & Test again and sign in with your institution's password.")],
    ),
    cause(
        "account_disabled",
        "This account is disabled at Microsoft.",
        ("An administrator of Microsoft 365 has to enable it.", "The account {address} is disabled in Entra ID."),
        (Administrator, SignInAgain),
        &[say("In the Microsoft 365 admin center open Users, Active users, {address}, and unblock the sign-in.")],
    ),
    cause(
        "mfa",
        "Microsoft asks for a second factor.",
        (
            "Sign in again and complete the second step, or set it up when Microsoft asks.",
            "They have to sign in again and complete the second step.",
        ),
        (You, SignInAgain),
        &[say("Press Sign in again and follow Microsoft's steps to the end.")],
    ),
    cause(
        "conditional_access",
        "A security policy of your institution blocked the sign-in.",
        (
            "A Conditional Access policy blocked this sign-in.",
            "A Conditional Access policy blocked it. If the policy checks the network, it checks this server's address.",
        ),
        (Administrator, SignInAgain),
        &[
            say(
                "Entra ID › Monitoring & health › Sign-in logs, filter by the correlation ID in the technical details: find the policy that blocked {address}. Sign-ins of people are under User sign-ins (interactive); renewals by this server are under User sign-ins (non-interactive), which that page doesn't show first.",
            ),
            say(
                "Add the outbound address of this server ({outbound_address}) to the trusted locations, or exclude the app from the policy.",
            ),
            say("Then sign in again."),
        ],
    ),
    cause(
        "sign_in_frequency",
        "Microsoft wants you to sign in again.",
        (
            "Your institution asks for a new sign-in from time to time. Just sign in again.",
            "A policy asks for a new sign-in from time to time. They just have to sign in again.",
        ),
        (You, SignInAgain),
        &[say("Press Sign in again.")],
    ),
    cause(
        "device_policy",
        "Your institution allows this only from its own devices.",
        (
            "Sign in from a device that your institution manages.",
            "A policy requires a compliant or joined device. The sign-in log names the policy.",
        ),
        (You, SignInAgain),
        &[
            say("On a device of your institution, press Sign in again."),
            say(
                "If you have none, ask an administrator to check the policy: Entra ID › Monitoring & health › Sign-in logs names it.",
            ),
        ],
    ),
    cause(
        "risk_policy",
        "Microsoft considers this sign-in risky.",
        (
            "An administrator of Microsoft 365 has to check your account.",
            "A risk policy, or missing security information, blocks {address}.",
        ),
        (Administrator, SignInAgain),
        &[say(
            "Entra ID › Protection › Identity Protection › Risky users: review {address}, and dismiss the risk when the account is safe. Then sign in again.",
        )],
    ),
    cause(
        "account_locked",
        "Microsoft has temporarily locked this account.",
        (
            "Too many failed sign-ins, or sign-ins from an unusual place. Wait some minutes, then sign in at Microsoft.",
            "The account is locked after failed sign-ins. It unlocks automatically, or an administrator resets the password.",
        ),
        (You, SignInAgain),
        &[say("Wait some minutes, sign in once at Microsoft's own page, then press Sign in again.")],
    ),
    cause(
        "password_expired",
        "Your Microsoft password has expired.",
        ("Set a new one at Microsoft, then sign in again.", "Their Microsoft password has expired."),
        (You, SignInAgain),
        &[say("Sign in at Microsoft's own page, set a new password, then press Sign in again.")],
    ),
    cause(
        "exchange_missing",
        "The institution's tenant has no Exchange Online.",
        (
            "An administrator of Microsoft 365 has to check the licences.",
            "This tenant doesn't have the service that the app needs: there is no licence with Exchange Online, or the service was disabled.",
        ),
        (Administrator, SignInAgain),
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
        (Administrator, SignInAgain),
        &[say("Entra ID › Enterprise applications › the app › Properties: set Enabled for users to sign-in to Yes.")],
    ),
    cause(
        "public_client",
        "Microsoft did not get the client secret.",
        (
            "An administrator has to check the app registration.",
            "Microsoft requires a client secret or assertion and got none it accepts. The platform must be Web, and Client Secret must be the Value.",
        ),
        (Administrator, SignInAgain),
        &[
            say("Entra ID › App registrations › the app › Authentication: the redirect URI must be listed under Web."),
            say("Paste the Value of a current client secret in Institution Config › General › Email, and save."),
        ],
    ),
    cause(
        "interaction_required",
        "Microsoft wants you to sign in again.",
        ("Something changed at Microsoft, so you have to sign in yourself.", "They have to sign in again."),
        (You, SignInAgain),
        &[say("Press Sign in again.")],
    ),
    cause(
        "grant_revoked",
        "Microsoft ended the connection.",
        (
            "The permission expired or was withdrawn, for example because an administrator reset your password. Sign in again; no waiting message is lost.",
            "The grant expired or was withdrawn (reset password, revoked sessions). They have to sign in again.",
        ),
        (You, SignInAgain),
        &[say("Press Sign in again.")],
    ),
    cause(
        "start_over",
        "This sign-in is no longer valid.",
        (
            "Its code was already used, or belongs to another sign-in. Start again. If it happens again, tell support.",
            "The code was already used, or belongs to another sign-in. If it happens again, it's a bug of Entrepost.",
        ),
        (You, SignInAgain),
        &[say("Press Configure & Test again.")],
    ),
    cause(
        "id_token_invalid",
        "Microsoft's answer couldn't be verified.",
        (
            "Entrepost couldn't verify who signed in, so nothing was connected. Start again. If it happens again, tell support.",
            "The id_token isn't valid, so nothing was connected.",
        ),
        (Operator, SignInAgain),
        &[say("Check the clock of this server and ENTREPOST_MICROSOFT_AUTHORITY.")],
    ),
    cause(
        "issuer_mismatch",
        "The answer came from another authority.",
        (
            "The answer names an issuer other than your institution's tenant, so it wasn't used.",
            "The callback's `iss` isn't the tenant's issuer.",
        ),
        (You, SignInAgain),
        &[say("Press Configure & Test again.")],
    ),
    cause(
        "no_refresh_token",
        "Microsoft gave no lasting permission.",
        (
            "Without it mail would stop after an hour, so nothing was connected.",
            "The answer had no refresh token: the permission offline_access is missing.",
        ),
        (Administrator, SignInAgain),
        &[say(
            "In the Entra portal open the app, API permissions, and add Microsoft Graph, Delegated, offline_access; then grant admin consent.",
        )],
    ),
    cause(
        "address_taken",
        "Another person has connected this mailbox.",
        (
            "Only one person can connect a mailbox, and {address} is taken.",
            "Only one person can connect a mailbox, and {address} is taken. It can be disconnected under Users.",
        ),
        (Administrator, SignInAgain),
        &[say("Open Users in Entrepost and disconnect {address} from the person who connected it.")],
    ),
    cause(
        "address_unproven",
        "The address couldn't be confirmed.",
        (
            "The test message from {address} didn't arrive in the mailbox that signed in, so nothing was connected.",
            "The test message from {address} didn't arrive in the mailbox that signed in, so nothing was connected.",
        ),
        (You, SignInAgain),
        &[
            say("Sign in with the account whose mailbox has the address {address}."),
            say("If it's an alias, ask an administrator to add it to that mailbox."),
        ],
    ),
    cause(
        "registration_changed",
        "The institution's app registration changed.",
        (
            "Microsoft binds connections to the registration, so yours ended. Sign in again; it takes a minute.",
            "Connections are bound to Client ID and Tenant ID, so this one ended. They have to sign in again.",
        ),
        (You, SignInAgain),
        &[say("Press Sign in again.")],
    ),
    cause(
        "provider_changed",
        "Your institution has stopped using MS Exchange Online.",
        (
            "An administrator chose the system default, so your mailbox was disconnected.",
            "The system default was chosen, which ended every connection.",
        ),
        (Administrator, SignInAgain),
        &[
            say("In Institution Config, General, Email choose MS Exchange Online, and save."),
            say("Then everyone presses Sign in again."),
        ],
    ),
    cause(
        "exchange_refused",
        "Microsoft didn't complete the sign-in.",
        (
            "Its answer is unknown to Entrepost. Sign in again. If it happens again, send the technical details below to support.",
            "Its answer is unknown to Entrepost. They have to sign in again; the technical details are below.",
        ),
        (You, SignInAgain),
        &[say("Press Configure & Test and sign in again.")],
    ),
    // --- The authority
    cause(
        "authority_unreachable",
        "This server can't reach Microsoft.",
        (
            "The connection to Microsoft's sign-in failed. Try again in a few minutes.",
            "The connection from this server to the authority failed: network, DNS, proxy or a certificate.",
        ),
        (Operator, TestAgain),
        &[
            say("Check that this server may open https connections to the authority, and its DNS."),
            say("Behind a TLS-inspecting proxy, put its CA into ENTREPOST_EXTRA_CA_FILE."),
        ],
    ),
    cause(
        "authority_unavailable",
        "Microsoft is not available right now.",
        (
            "Microsoft reported this. Nothing is lost; try again in a few minutes.",
            "Microsoft reported this. Nothing is lost; try again in a few minutes.",
        ),
        (Time, TestAgain),
        &[],
    ),
    cause(
        "authority_throttled",
        "Microsoft asks to slow down.",
        (
            "Too many sign-ins in a short time. Try again in a few minutes.",
            "Too many token requests in a short time. Try again in a few minutes.",
        ),
        (Time, TestAgain),
        &[],
    ),
    cause(
        "authority_protocol",
        "The authority's answer can't be read.",
        (
            "The answer didn't come from Microsoft's sign-in. Tell your administrator.",
            "The server at the authority's address doesn't speak OpenID Connect.",
        ),
        (Operator, TestAgain),
        &[say("Check ENTREPOST_MICROSOFT_AUTHORITY and whether a proxy answers in its place.")],
    ),
    cause(
        "authority_refused",
        "Microsoft refused.",
        (
            "The technical details below say why. Try again. If it's refused again, send them to your administrator.",
            "The technical details below say why.",
        ),
        (Administrator, SignInAgain),
        &[link("Find the error on Microsoft's page of sign-in errors:", "{error_page}")],
    ),
];
