//! The three values, redirect URI, permissions, consent.

use super::{Cause, cause, link, say, value};
use app::model::FixedBy::Administrator;
use app::model::Remedy::{SignInAgain, TestAgain};

pub(super) static CAUSES: &[Cause] = &[
    // --- The three values
    cause(
        "secret_wrong",
        "The Client Secret is wrong.",
        "Microsoft doesn't accept the way in which your institution's app proves itself. Your sign-in isn't the problem.",
        "Microsoft doesn't accept this Client Secret. Often the Secret ID was pasted instead of the Value.",
        Administrator,
        TestAgain,
        &[
            say(
                "In the Entra portal open the app registration, Certificates & secrets, and create a new client secret.",
            ),
            link("That page of your app:", "{portal_secrets}"),
            say(
                "Copy its Value immediately (not the Secret ID beside it), paste it under Client Secret in Entrepost, then Save.",
            ),
        ],
    ),
    cause(
        "secret_expired",
        "The Client Secret has expired.",
        "Your institution's access to Microsoft has expired. No one can connect until it's renewed; your sign-in isn't the problem.",
        "A new one takes effect immediately for every connected mailbox. No one has to sign in again.",
        Administrator,
        TestAgain,
        &[
            say(
                "In the Entra portal open the app registration, Certificates & secrets, and create a new client secret.",
            ),
            link("That page of your app:", "{portal_secrets}"),
            say("Copy its Value, paste it under Client Secret in Entrepost, enter its expiry, then Save."),
        ],
    ),
    cause(
        "certificate_expired",
        "The certificate has expired.",
        "Your institution's access to Microsoft has expired. No one can connect until it's renewed; your sign-in isn't the problem.",
        "A new one takes effect as soon as Microsoft knows it. No one has to sign in again.",
        Administrator,
        TestAgain,
        &[
            say(
                "In Entrepost open Credentials, make a new certificate if there is none that is newer, and download it.",
            ),
            link("Upload it on that page of your app:", "{portal_secrets}"),
            say("Then press Check again, or Save."),
        ],
    ),
    cause(
        "credential_forbidden",
        "A policy of the tenant forbids this credential.",
        "A policy of your institution at Microsoft forbids the way in which Entrepost proves itself.",
        "An app management policy forbids client secrets, or secrets that live this long.",
        Administrator,
        TestAgain,
        &[
            say("Use a certificate or a federated credential instead: both are under Credentials, and need no secret."),
            say("Or have the policy changed: Entra ID › Enterprise apps › Application policies."),
        ],
    ),
    cause(
        "issuer_unreachable",
        "Microsoft can't fetch this server's keys.",
        "Microsoft can't reach this server to check its signature.",
        "For a federated credential Microsoft fetches /.well-known/openid-configuration and the key set from this server's public address. It got no usable answer.",
        Administrator,
        TestAgain,
        &[
            say(
                "Open both addresses from outside your network: they must answer with JSON, by https, without a redirect, a sign-in page of a firewall or a country block in between.",
            ),
            say("Until that works, choose the certificate or the Client Secret in Entrepost and save."),
        ],
    ),
    cause(
        "client_unknown",
        "The Client ID is not known in this tenant.",
        "Microsoft can't find the app that your institution registered.",
        "Microsoft finds no app with this Client ID in this tenant: one of Client ID and Tenant ID is wrong, or they belong to different tenants.",
        Administrator,
        TestAgain,
        &[
            say("In the Entra portal open App registrations, your app, Overview."),
            link("That page of your app:", "{portal_overview}"),
            say("Copy Application (client) ID and Directory (tenant) ID from that one page into Entrepost, then Save."),
        ],
    ),
    cause(
        "tenant_unknown",
        "The Tenant ID is wrong.",
        "Microsoft knows no institution by what was entered here.",
        "Microsoft knows no tenant of this ID or domain.",
        Administrator,
        TestAgain,
        &[say("In the Entra portal open the app's Overview and copy Directory (tenant) ID into Entrepost, then Save.")],
    ),
    cause(
        "ids_swapped",
        "Client ID and Tenant ID are swapped.",
        "Two values of your institution were entered in each other's place.",
        "The value under Client ID is a tenant, and the value under Tenant ID isn't.",
        Administrator,
        TestAgain,
        &[say("Put Application (client) ID under Client ID, Directory (tenant) ID under Tenant ID, then Save.")],
    ),
    cause(
        "other_cloud",
        "This tenant lives in another Microsoft cloud.",
        "Your institution belongs to another Microsoft cloud than the one that is set.",
        "The tenant belongs to another Microsoft cloud than the one that is set.",
        Administrator,
        TestAgain,
        &[say(
            "Choose {cloud} under Cloud, then Save. If it isn't in the list, your Entrepost host can add it with ENTREPOST_MICROSOFT_CLOUDS_FILE.",
        )],
    ),
    cause(
        "single_tenant",
        "The app accepts only its own tenant.",
        "The app that your institution registered accepts only people of its own.",
        "A single-tenant app works only with its own tenant's ID.",
        Administrator,
        TestAgain,
        &[say("Enter the Directory (tenant) ID of the tenant in which the app is registered, then Save.")],
    ),
    cause(
        "federated_credential",
        "The federated credential doesn't match.",
        "The app that your institution registered doesn't trust this server yet.",
        "Microsoft finds no matching federated credential of the app: its issuer, subject or audience differs, or it was saved only minutes ago.",
        Administrator,
        TestAgain,
        &[
            say("Wait some minutes after saving it: Microsoft needs that long."),
            say(
                "Then compare issuer, subject and audience under Entra ID › App registrations › the app › Certificates & secrets › Federated credentials.",
            ),
        ],
    ),
    cause(
        "client_assertion",
        "Microsoft does not accept this server's signature.",
        "The app that your institution registered doesn't know this server's key, or this server's clock is wrong.",
        "The certificate isn't the one registered for the app, or this server's clock is wrong.",
        Administrator,
        TestAgain,
        &[
            say(
                "Entra ID › App registrations › the app › Certificates & secrets › Certificates: the thumbprint must be that of this server's certificate.",
            ),
            say("Ask your Entrepost host to check the clock of this server."),
        ],
    ),
    cause(
        "tenant_unfit",
        "This tenant isn't for work or school accounts.",
        "What your institution entered doesn't accept work or school accounts.",
        "The domain, or the tenant it belongs to, doesn't accept sign-ins of work or school accounts.",
        Administrator,
        TestAgain,
        &[say("In the Entra portal open the app's Overview and copy Directory (tenant) ID into Entrepost, then Save.")],
    ),
    // --- Redirect URI, permissions, consent
    cause(
        "redirect_uri",
        "The redirect URI is not registered.",
        "Microsoft doesn't know the address to send you back to.",
        "Microsoft compares the redirect URI character by character, and this one is not registered for the app.",
        Administrator,
        SignInAgain,
        &[value(
            "In the Entra portal open the app, Authentication, platform Web, and add exactly this redirect URI:",
            "{redirect_uri}",
        )],
    ),
    cause(
        "redirect_spa",
        "The redirect URI is registered for the wrong platform.",
        "The address to send you back to is registered for another kind of app.",
        "The redirect URI is listed under “Single-page application”. Tokens of that platform end after a day.",
        Administrator,
        SignInAgain,
        &[
            say("In the Entra portal open the app, Authentication, and remove the URI under Single-page application."),
            value("Add it under the platform Web:", "{redirect_uri}"),
        ],
    ),
    cause(
        "service_principal",
        "The app is not yet present in the tenant.",
        "An administrator has to add the app to your institution at Microsoft once.",
        "The app has no service principal in the tenant. Granting consent creates it.",
        Administrator,
        SignInAgain,
        &[
            say(
                "In the Entra portal open App registrations › your app › API permissions and press Grant admin consent: that creates the service principal.",
            ),
            say(
                "If the values are already saved, Grant admin consent on Institution Config › General › Email does the same.",
            ),
        ],
    ),
    cause(
        "consent_missing",
        "An administrator must allow the app first.",
        "An administrator has to approve the permissions to read and send mail. You can't do that yourself.",
        "Under Microsoft's default policy people can't consent to IMAP themselves: admin consent is needed, once for everyone.",
        Administrator,
        SignInAgain,
        &[
            say("Press Grant admin consent under Institution Config › General › Email in Entrepost: {config_page}"),
            link("Or open this link to Microsoft; no account in Entrepost is needed for it:", "{consent_link}"),
            say("Sign in as Application Administrator, Cloud Application Administrator or higher, and accept."),
        ],
    ),
    cause(
        "permissions_missing",
        "The app lacks a permission.",
        "The app that your institution registered isn't allowed to send or receive mail yet.",
        "The token doesn't allow sending and receiving: the app lacks a delegated permission.",
        Administrator,
        SignInAgain,
        &[
            say(
                "In the Entra portal open the app, API permissions, Add a permission, Microsoft Graph, Delegated permissions.",
            ),
            say("Tick SMTP.Send, IMAP.AccessAsUser.All and offline_access, then Add permissions."),
            say("Press Grant admin consent in Entrepost, then sign in again."),
        ],
    ),
    cause(
        "not_assigned",
        "You aren't assigned to the app.",
        "Only people assigned to the app can use it.",
        "The enterprise app requires assignment, and {address} isn't assigned.",
        Administrator,
        SignInAgain,
        &[say("In the Entra portal open Enterprise applications, the app, Users and groups, and add {address}.")],
    ),
];
