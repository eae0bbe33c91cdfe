//! What is done in the Entra portal and the Exchange admin center. Each step names who may do it; what Microsoft proves ticks itself.

use crate::api::email_config::StartConsent;
use leptos::prelude::*;
use leptos::server_fn::ServerFn;

use crate::components::Submit;
use crate::islands::{CopyButton, GuideTick};
use crate::model::{BEFORE_COMMANDS, EmailConfigView, GuideStep, GuideStepView, MOST_ADDRESSES, Provider, portal_page};

fn copyable(text: &str, label: &str) -> AnyView {
    let text = text.to_owned();
    view! {
        <div class="copyable">
            <code>{text.clone()}</code>
            <CopyButton text label=label.to_owned() />
        </div>
    }
    .into_any()
}

/// Long commands are abbreviated; copying copies all.
fn long_command(text: &str, label: &str) -> AnyView {
    let text = text.to_owned();
    view! {
        <div class="copyable">
            <code class="long-command" tabindex="0">
                {text.clone()}
            </code>
            <CopyButton text label=label.to_owned() />
        </div>
    }
    .into_any()
}

/// A link to a page of the app in the Entra portal, once the Client ID is known. Other clouds have portals of their own.
fn blade(config: &EmailConfigView, name: &str, label: &'static str) -> Option<AnyView> {
    let registration = config.registration.as_ref().filter(|_| config.in_global_cloud)?;
    let address = portal_page(&registration.client_id, name);
    Some(
        view! {
            <p>
                <a href=address target="_blank" rel="noreferrer">
                    {label}
                </a>
            </p>
        }
        .into_any(),
    )
}

fn step(step: GuideStep, config: &EmailConfigView) -> (&'static str, &'static str, AnyView) {
    match step {
        GuideStep::Register => (
            "Register the app",
            "Application Developer or higher",
            view! {
                <p>"Entra portal › App registrations › New registration. Name it " <strong>"Entrepost email"</strong> "."</p>
                <p>"Under Redirect URI choose " <strong>"Web"</strong> " and paste the address above. Add the redirect URI is then done, too."</p>
                <p>
                    "Take " <strong>"single tenant"</strong>
                    " (“Accounts in this organizational directory only”): one institution needs nothing else. With multi-tenant, people may have to wait for Microsoft's publisher verification before they can consent."
                </p>
            }.into_any(),
        ),
        GuideStep::Ids => (
            "Copy client ID and tenant ID",
            "anyone who can see the app",
            view! {
                <p>
                    "On the app's Overview copy " <strong>"Application (client) ID"</strong> " and " <strong>"Directory (tenant) ID"</strong> " into the form."
                </p>
                {blade(config, "Overview", "Open the app's Overview")}
            }.into_any(),
        ),
        GuideStep::Secret => (
            "Create a secret, copy its Value",
            "owner of the app, or Application Administrator",
            view! {
                <p>
                    "Certificates & secrets › New client secret. Copy the " <strong>"Value"</strong>
                    " immediately: it is shown only now. Don't copy the Secret ID beside it. Note the expiry date."
                </p>
                {blade(config, "Credentials", "Open Certificates & secrets")}
            }.into_any(),
        ),
        GuideStep::RedirectUri => (
            "Add the redirect URI",
            "owner of the app, or Application Administrator",
            view! {
                <p>
                    "Nothing to do if you entered it when you registered the app. Otherwise: Authentication › Add a platform (some portals show Add Redirect URI) › "
                    <strong>"Web"</strong> " (not Single-page application), and the address above."
                </p>
                <p>
                    "Leave the boxes for access tokens and ID tokens unticked, even if older guides tick them: they are for the implicit grant. Entrepost uses the code flow, where no token passes through the browser."
                </p>
                {blade(config, "Authentication", "Open Authentication")}
            }.into_any(),
        ),
        GuideStep::Permissions => (
            "Add the permissions",
            "owner of the app, or Application Administrator",
            view! {
                <p>
                    "API permissions › Add a permission › Microsoft Graph › Delegated: " <strong>"SMTP.Send"</strong> ", "
                    <strong>"IMAP.AccessAsUser.All"</strong> ", " <strong>"offline_access"</strong> "."
                </p>
                {blade(config, "CallAnAPI", "Open API permissions")}
            }.into_any(),
        ),
        GuideStep::Consent => (
            "Grant admin consent",
            "Cloud Application Administrator or Application Administrator",
            view! {
                <p>"Once, for everyone. Under Microsoft's default policy people can't consent to IMAP themselves."</p>
                {if config.registration.is_some() && config.provider == Provider::ExchangeOnline {
                    let link = config
                        .consent_link
                        .clone()
                        .map(|link| {
                            view! {
                                <details>
                                    <summary>"Does another person have to grant it?"</summary>
                                    <p>"Send them this link. It opens Microsoft, then a page that shows the result. They don't need an Entrepost account."</p>
                                    {copyable(&link, "Copy consent link")}
                                </details>
                            }
                        });
                    view! {
                        <Submit action=StartConsent::PATH values=vec![] label="Grant admin consent" busy="Going to Microsoft…" />
                        {link}
                    }
                        .into_any()
                } else {
                    view! { <p class="quiet">"The button appears here after you save the values."</p> }.into_any()
                }}
            }.into_any(),
        ),
        GuideStep::Protocols => (
            "Switch on Authenticated SMTP and IMAP",
            "Exchange Administrator",
            view! {
                <p>"Authenticated SMTP is off in tenants made since 2020; OAuth does not bypass that switch."</p>
                <p>
                    <strong>"Option A"</strong>
                    ", recommended by Microsoft: only the people who use Entrepost. Microsoft 365 admin center › Users › Active users › the person › Mail › Manage email apps: tick Authenticated SMTP and IMAP. Or all together with the command below."
                </p>
                <p>
                    <strong>"Option B"</strong>
                    ": the whole tenant. Exchange admin center › Settings › Mail flow: untick “Turn off SMTP AUTH protocol for your organization”."
                </p>
                <details>
                    <summary>"Show the commands"</summary>
                    <p>"Run them in Exchange Online PowerShell (module ExchangeOnlineManagement). Sign in there first:"</p>
                    {copyable(BEFORE_COMMANDS, "Copy command to sign in")}
                    <p>"Your own mailbox:"</p>
                    {copyable(&config.switches_command, "Copy command for one mailbox")}
                    {(config.switches_here.0 > 1)
                        .then(|| {
                            let (which, copy) = match config.switches_here.0 {
                                count if count > MOST_ADDRESSES => {
                                    (format!("The first {MOST_ADDRESSES} of the {count} mailboxes that use Entrepost:"), format!("Copy for {MOST_ADDRESSES}"))
                                }
                                count => (format!("Exactly the {count} mailboxes that use Entrepost:"), format!("Copy for all {count}")),
                            };
                            view! {
                                <p>{which}</p>
                                {long_command(&config.switches_here.1, &copy)}
                            }
                        })}
                    <p>"Authenticated SMTP for every mailbox of the tenant:"</p>
                    {copyable("Set-TransportConfig -SmtpClientAuthenticationDisabled $false", "Copy command for the tenant")}
                    <p>"IMAP for every existing mailbox, and for new ones:"</p>
                    {copyable("Get-CASMailbox -ResultSize Unlimited | Set-CASMailbox -ImapEnabled $true", "Copy command for IMAP everywhere")}
                    {copyable("Get-CASMailboxPlan | Set-CASMailboxPlan -ImapEnabled $true", "Copy command for new mailboxes")}
                    <p>"To see the current settings:"</p>
                    {copyable(
                        "Get-CASMailbox -ResultSize Unlimited | Format-Table Name,SmtpClientAuthenticationDisabled,ImapEnabled",
                        "Copy command to see the switches",
                    )}
                    <p>"Bought through a reseller? Some of these switches are in its dashboard."</p>
                </details>
            }.into_any(),
        ),
    }
}

/// One step with its tick. `open`: its text is shown at once.
pub(super) fn guide_step(config: &EmailConfigView, row: &GuideStepView, open: bool) -> AnyView {
    let GuideStepView { step: guide_step, done, proven, .. } = row;
    let (title, who, body) = step(*guide_step, config);
    let by = match (*proven, *guide_step) {
        (false, _) => format!("Who: {who}"),
        // One person's own consent proves no more than that.
        (true, GuideStep::Consent) => format!("Checked ✓ for at least one mailbox · Who: {who}"),
        (true, _) => format!("Checked ✓ · Who: {who}"),
    };
    view! {
        <li class="guide-step" class:done=*done data-step=guide_step.as_str()>
            <div class="guide-tick">
                <GuideTick step=guide_step.as_str().to_owned() done=*done settled=*proven && guide_step.is_settled_by_proof() label=format!("Done: {title}") />
            </div>
            <details class="guide-body" open=open>
                <summary>
                    <h3>{title}</h3>
                    <span class="quiet">{by}</span>
                </summary>
                {body}
            </details>
        </li>
    }
    .into_any()
}
