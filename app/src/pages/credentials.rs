//! Certificates and the federated credential of the app, for administrators.

use leptos::prelude::*;
use leptos::server_fn::ServerFn;

use super::administrator_page;
use crate::api::email_config::{DropCertificate, MakeCertificate};
use crate::components::{Layout, Section, Submit, Time};
use crate::islands::CopyButton;
use crate::model::{
    CERTIFICATE_PATH, CertificateView, CredentialKind, CredentialsView, EMAIL_CONFIG_PATH, FormName, Timestamp,
    portal_page,
};

/// `/institution/config/general/email/credentials`
#[component]
pub fn Credentials() -> impl IntoView {
    administrator_page(|page, admin| async move {
        let flash = page.flash(&[FormName::EmailConfig]).await;
        let view = page.backend.email_config.credentials(&admin).await?;
        let portal = view.client_id.as_ref().map(|client| portal_page(client, "Credentials"));
        let portal = portal.map(|address| {
            view! {
                <p>
                    <a href=address target="_blank" rel="noreferrer">
                        "Open Certificates & secrets of your app"
                    </a>
                </p>
            }
        });
        let (uses, certificates, federation) = (uses(&view), certificates(&view), federation(&view));
        Ok(view! {
            <Layout
                user=(*admin).clone()
                title="Credentials"
                trail="Institution Config › General › Email"
                lead="What Entrepost shows Microsoft when it acts as your institution's app. A secret has to be replaced before it expires. A certificate's successor is made here in time, and someone uploads it. With a federated credential nothing expires."
                section=Section::Institution
                flash
            >
                <div class="stack">{uses} {portal} {certificates} {federation}</div>
                <p class="back">
                    <a class="button" href=EMAIL_CONFIG_PATH>
                        "Back to Email"
                    </a>
                </p>
            </Layout>
        }
        .into_any())
    })
}

fn uses(view: &CredentialsView) -> Option<AnyView> {
    let kind = view.in_use?;
    let row = |name: &'static str, at: Option<Timestamp>| {
        let when = match at {
            Some(at) => view! {
                "✓ "
                <Time at />
            }
            .into_any(),
            None => "not yet".into_any(),
        };
        view! {
            <div>
                <dt>{name}</dt>
                <dd>{when}</dd>
            </div>
        }
    };
    Some(
        view! {
            <section class="sheet spaced">
                <h2>{format!("In use: {}", kind.label())}</h2>
                <p>"Microsoft has accepted it for:"</p>
                <dl class="evidence">
                    {row("requests of the app itself, which Save makes", view.uses.app)} {row("signing people in", view.uses.sign_in)}
                    {row("renewing mailboxes", view.uses.renewal)}
                </dl>
            </section>
        }
        .into_any(),
    )
}

fn certificate(one: &CertificateView) -> AnyView {
    let (created, ends) = (one.created_at, one.expires_at);
    let remove = (!one.in_use).then(|| {
        view! { <Submit action=DropCertificate::PATH values=vec![("id", one.id.to_string())] label="Remove" class="button" /> }
    });
    let in_use = one.in_use.then(|| view! { <span class="badge ok">"In use"</span> });
    view! {
        <li class="stack">
            <p>
                <strong>{one.name.clone()}</strong>
                " "
                {in_use}
            </p>
            <dl class="evidence">
                <div>
                    <dt>"Made"</dt>
                    <dd>
                        <Time at=created />
                    </dd>
                </div>
                <div>
                    <dt>"Expires"</dt>
                    <dd>
                        <Time at=ends />
                    </dd>
                </div>
                <div>
                    <dt>"SHA-256"</dt>
                    <dd class="mono">{one.fingerprint.clone()}</dd>
                </div>
            </dl>
            <div class="actions">
                <a class="button" href=format!("{CERTIFICATE_PATH}/{}", one.id) download>
                    "Download for Microsoft"
                </a>
                {remove}
            </div>
        </li>
    }
    .into_any()
}

fn certificates(view: &CredentialsView) -> AnyView {
    let list = view.certificates.iter().map(certificate).collect_view();
    let steps = if view.in_use == Some(CredentialKind::Certificate) {
        "Sixty days before it expires the next one is made here, and administrators are asked to upload it. It is used as soon as Microsoft knows it; the old one works until it expires."
    } else {
        "Make it, upload it in Entra under Certificates & secrets › Certificates, then choose the certificate under Institution Config › General › Email and save."
    };
    view! {
        <section class="sheet spaced">
            <h2>"Certificate"</h2>
            <p>"The private key is made here and never leaves this server. Microsoft gets the public part."</p>
            <p>{steps}</p>
            <ul class="plain">{list}</ul>
            <Submit action=MakeCertificate::PATH values=vec![] label="Make a certificate" busy="Making a key…" />
        </section>
    }
    .into_any()
}

fn federation(view: &CredentialsView) -> AnyView {
    let federation = &view.federation;
    let value = |name: &'static str, text: &str| {
        let (text, shown) = (text.to_owned(), text.to_owned());
        view! {
            <div class="field">
                <p class="label">{name}</p>
                <div class="copyable">
                    <code>{shown}</code>
                    <CopyButton text label=format!("Copy {name}") />
                </div>
            </div>
        }
    };
    let unreachable = (!federation.is_reachable).then(|| {
        view! {
            <p>
                <strong>"Not possible at this address."</strong>
                " Microsoft fetches keys from it, by https from the internet. Use a certificate."
            </p>
        }
    });
    view! {
        <section class="sheet spaced">
            <h2>"Federated credential"</h2>
            {unreachable}
            <p>
                "Microsoft trusts what Entrepost signs, so there is nothing to renew. In Entra open Certificates & secrets › Federated credentials › Add credential, choose "
                <strong>"Other issuer"</strong>
                ", paste these three values, and enter any name. Then choose the federated credential under Institution Config › General › Email and save; Microsoft needs some minutes to know it."
            </p>
            {value("Issuer", &federation.issuer)}
            {value("Subject identifier", &federation.subject)}
            {value("Audience", &federation.audience)}
            <h3>"Before you choose it"</h3>
            <ul>
                <li>"A person who controls this host name or its DNS controls the app. Keep both as safe as a secret."</li>
                <li>
                    "Microsoft fetches /.well-known/openid-configuration and the key set from here: no redirect, sign-in page of a firewall or country block may be in between."
                </li>
                <li>"Keep a certificate at Microsoft as a standby: if this server can't be reached from outside, choose it in the form and save."</li>
            </ul>
        </section>
    }
    .into_any()
}
