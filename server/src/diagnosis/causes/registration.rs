//! The three values, redirect URI, permissions, consent.

use super::{Cause, cause, link, say, value};
use app::model::FixedBy::{Administrator, Operator};
use app::model::Remedy::{ConnectAgain, TryAgain};

pub(super) static CAUSES: &[Cause] = &[
    // --- The three values
    cause(
        "secret_wrong",
        "The Client Secret is wrong.",
        (
            "Microsoft does not accept the Client Secret that your institution stored.",
            "Microsoft does not accept this Client Secret. Often the Secret ID was pasted instead of the Value.",
        ),
        (Administrator, TryAgain),
        &[
            say(
                "In the Entra portal open the app registration, Certificates & secrets, and create a new client secret.",
            ),
            say(
                "Copy its Value at once (not the Secret ID beside it) and paste it under Client Secret in Entrepost, then Save.",
            ),
        ],
    ),
    cause(
        "secret_expired",
        "The Client Secret has expired.",
        (
            "Your institution's access to Microsoft has expired. Nobody can connect until it is renewed; your sign-in is not the problem.",
            "A new one takes effect at once for every connected mailbox: nobody has to sign in again.",
        ),
        (Administrator, TryAgain),
        &[
            say(
                "In the Entra portal open the app registration, Certificates & secrets, and create a new client secret.",
            ),
            say("Copy its Value, paste it under Client Secret in Entrepost, enter its expiry, then Save."),
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
            say("In the Entra portal open App registrations, your app, Overview."),
            say("Copy Application (client) ID and Directory (tenant) ID from that one page into Entrepost, then Save."),
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
        &[say("In the Entra portal open the app's Overview and copy Directory (tenant) ID into Entrepost, then Save.")],
    ),
    cause(
        "ids_swapped",
        "Client ID and Tenant ID have changed places.",
        (
            "What your institution entered as Client ID is a tenant, and the other way round.",
            "What stands under Client ID is a tenant, and what stands under Tenant ID is none.",
        ),
        (Administrator, TryAgain),
        &[say("Put Application (client) ID under Client ID, Directory (tenant) ID under Tenant ID, then Save.")],
    ),
    cause(
        "other_cloud",
        "This tenant lives in another Microsoft cloud.",
        (
            "Your institution's tenant belongs to a national cloud that this server is not set up for.",
            "The tenant belongs to a national cloud. Whoever runs this server must set its hosts.",
        ),
        (Operator, TryAgain),
        &[say("Set ENTREPOST_MICROSOFT_AUTHORITY, _SMTP, _IMAP and _SCOPES to the hosts of that cloud, and restart.")],
    ),
    cause(
        "single_tenant",
        "The app accepts only its own tenant.",
        (
            "The app that your institution registered must be asked through its own tenant.",
            "A single-tenant app must be asked through its own tenant's ID.",
        ),
        (Administrator, TryAgain),
        &[say("Enter the Directory (tenant) ID of the tenant in which the app is registered, then Save.")],
    ),
    cause(
        "federated_credential",
        "The federated credential does not fit.",
        (
            "The app that your institution registered does not trust this server yet.",
            "Microsoft finds no federated credential of the app that fits: its issuer, subject or audience is another, or it was saved some minutes ago only.",
        ),
        (Administrator, TryAgain),
        &[
            say("Wait some minutes after it was saved: Microsoft takes that long."),
            say(
                "Then compare issuer, subject and audience under Entra ID › App registrations › the app › Certificates & secrets › Federated credentials.",
            ),
        ],
    ),
    cause(
        "client_assertion",
        "Microsoft does not accept this server's signature.",
        (
            "The app that your institution registered does not know this server's key, or this server's clock is wrong.",
            "The certificate is not the one that is registered for the app, or the clock of this server is wrong.",
        ),
        (Administrator, TryAgain),
        &[
            say(
                "Entra ID › App registrations › the app › Certificates & secrets › Certificates: the thumbprint must be that of this server's certificate.",
            ),
            say("Ask the person who runs this server to check its clock."),
        ],
    ),
    cause(
        "tenant_unfit",
        "This tenant is not one for work or school accounts.",
        (
            "The tenant that your institution entered does not take sign-ins of this kind.",
            "The domain, or the tenant it belongs to, does not take sign-ins of work or school accounts.",
        ),
        (Administrator, TryAgain),
        &[say("In the Entra portal open the app's Overview and copy Directory (tenant) ID into Entrepost, then Save.")],
    ),
    // --- Redirect URI, permissions, consent
    cause(
        "redirect_uri",
        "The redirect URI is not registered.",
        (
            "Microsoft does not know the address to send you back to.",
            "Microsoft compares the redirect URI character by character, and this one is not registered for the app.",
        ),
        (Administrator, ConnectAgain),
        &[value(
            "In the Entra portal open the app, Authentication, platform Web, and add exactly this redirect URI:",
            "{redirect_uri}",
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
            say("In the Entra portal open the app, Authentication, and remove the URI under Single-page application."),
            value("Add it under the platform Web:", "{redirect_uri}"),
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
            say(
                "In the Entra portal open App registrations › your app › API permissions and press Grant admin consent: that makes the service principal.",
            ),
            say(
                "Where the values are saved already, Grant admin consent on Institution Config > General > Email does the same.",
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
            say("Press Grant admin consent under Institution Config › General › Email in Entrepost: {config_page}"),
            link("Or open this link to Microsoft; no account in Entrepost is needed for it:", "{consent_link}"),
            say("Sign in as Application Administrator, Cloud Application Administrator or higher, and accept."),
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
            say(
                "In the Entra portal open the app, API permissions, Add a permission, Microsoft Graph, Delegated permissions.",
            ),
            say("Tick SMTP.Send, IMAP.AccessAsUser.All and offline_access, then Add permissions."),
            say("Press Grant admin consent in Entrepost, then connect again."),
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
        &[say("In the Entra portal open Enterprise applications, the app, Users and groups, and add {address}.")],
    ),
];
