//! Institution Config > General > Email, for administrators.

use crate::api::email_config::{DiscardWaiting, SaveEmailConfig, VerifyAgain};
use crate::model::{ACCOUNT_PATH, FormName, in_days};
use leptos::prelude::*;
use leptos::server_fn::ServerFn;

use super::administrator_page;
use super::guide::guide;
use super::notifications::notifications;
use crate::components::{
    Banner, DiagnosisSheet, ErrorSummary, Field, Layout, RadioGroup, Section, Submit, TextInput, Time,
};
use crate::islands::{CopyButton, SubmitButton};
use crate::model::{EmailConfigView, Flash, Notice, Provider, RegistrationView, Tone};

/// `/institution/config/general/email`
#[component]
pub fn EmailConfig() -> impl IntoView {
    administrator_page(|page, admin| async move {
        let mut flash = page.flash(&[FormName::EmailConfig, FormName::Guide]).await;
        let config = page.backend.email_config.view(&admin).await?;
        // The prompt of a Save that was accepted and the state of the values are one banner, with the next step in it.
        let result = flash.result();
        let saved = flash.notice.take_if(|notice| notice.in_status && config.registration.is_some());
        let banner = status(&config, saved.as_ref());
        let waiting = config.waiting.as_ref().map(|values| waiting(values, config.people_connected));
        let diagnosis = flash.diagnosis.clone().map(|diagnosis| view! { <DiagnosisSheet diagnosis /> });
        let form = form(&config, &flash);
        let exchange = config.provider == Provider::ExchangeOnline;
        let sender = notifications(&config.notifications, exchange && config.registration.is_some());
        let guide = guide(&config);
        Ok(view! {
            <Layout
                user=(*admin).clone()
                title="Email"
                trail="Institution Config › General"
                lead="How your institution sends and receives email. People then connect their own mailboxes."
                section=Section::Institution
                flash=flash.clone()
                result
            >
                <div class="columns">
                    <div class="main-column">
                        <ErrorSummary flash after="Nothing was saved." />
                        {diagnosis}
                        {banner}
                        {waiting}
                        {form}
                        {sender}
                    </div>
                    <div class="side-column">{guide}</div>
                </div>
            </Layout>
        }
        .into_any())
    })
}

/// The state of the stored values, and the next step. It claims only what is confirmed.
fn status(config: &EmailConfigView, saved: Option<&Notice>) -> Option<AnyView> {
    let registration = config.registration.as_ref().filter(|_| config.provider == Provider::ExchangeOnline)?;
    let days = registration.secret_days_left;
    let expiry = days.filter(|days| *days <= 30).map(|days| {
        let (tone, title) = if days < 0 { (Tone::Problem, "The Client Secret has expired.".to_owned()) } else { (Tone::Warning, format!("The Client Secret expires {}.", in_days(days))) };
        view! { <Banner tone title text="Create a new one in Entra and paste its Value below. It takes effect immediately for everyone." /> }
    });
    // What Microsoft refuses now outranks what it accepted once.
    if let Some(refused) = config.refused.clone() {
        let (title, summary) = (refused.title.clone(), refused.summary.clone());
        let accepted = registration.verified_at.map(|at| view! { <p class="quiet">"Last accepted " <Time at /></p> });
        return Some(
            view! {
                <Banner
                    tone=Tone::Problem
                    title=title
                    text=format!("{summary} No one at your institution can send or receive until this is fixed; waiting messages stay queued.")
                >
                    {accepted}
                </Banner>
                <DiagnosisSheet diagnosis=refused>
                    <a class="button primary" href="#client_secret">
                        "Paste a new secret"
                    </a>
                </DiagnosisSheet>
            }
            .into_any(),
        );
    }
    if days.is_some_and(|days| days < 0) {
        // After its expiry date the secret is invalid, even if Microsoft accepted it before.
        let accepted = registration.verified_at.map(|at| view! { <p class="quiet">"Last accepted " <Time at /></p> });
        return Some(
            view! {
                {expiry}
                {accepted}
            }
            .into_any(),
        );
    }
    let connect = (!config.own_mailbox_connected).then(|| {
        view! {
            <p>
                <a class="button" href=ACCOUNT_PATH>
                    "Connect my mailbox"
                </a>
            </p>
        }
    });
    let undated = (registration.verified_at.is_some() && days.is_none()).then(|| view! {
        <Banner
            tone=Tone::Warning
            title="No expiry date set."
            text="When the Client Secret expires, mail stops. Enter the date that Entra shows under Secret expires on, and administrators are reminded 30, 14, 7 and 1 days before."
        />
    });
    let main = match registration.verified_at {
        Some(at) => {
            let rest = if config.own_mailbox_connected {
                "Your own mailbox is connected."
            } else if config.connection_proven() {
                "A connected mailbox confirms the redirect URI, permissions and consent."
            } else {
                "Next: connect your own mailbox. It's the only way to check the redirect URI, permissions and consent."
            };
            let text = saved.map_or_else(|| rest.to_owned(), |notice| format!("{} {rest}", notice.text));
            view! {
                <Banner focused=saved.is_some() tone=Tone::Success title="Microsoft accepted the credentials." text>
                    <p class="quiet">"Last accepted " <Time at /></p>
                    {connect}
                </Banner>
            }
            .into_any()
        }
        None => view! {
            <Banner tone=Tone::Warning title="Saved, but not checked." text="Microsoft hasn't accepted these values yet.">
                <form method="post" action=VerifyAgain::PATH>
                    <SubmitButton label="Check again".to_owned() busy="Asking Microsoft…".to_owned() class="button".to_owned() />
                </form>
            </Banner>
        }
        .into_any(),
    };
    Some(
        view! {
            {expiry}
            {main}
            {undated}
        }
        .into_any(),
    )
}

fn waiting(values: &RegistrationView, people: i64) -> AnyView {
    let accepted = values.verified_at.is_some();
    let text = if accepted {
        let who = crate::model::people(people);
        format!(
            "Microsoft accepts them. Using them ends the connections of {who}, who must sign in again. The current values stay in use until you choose."
        )
    } else {
        "The current values stay in use until Microsoft accepts these.".to_owned()
    };
    let (label, class, confirm) =
        if accepted { ("Use the new values", "button danger", "yes") } else { ("Check again", "button", "") };
    view! {
        <section class="sheet waiting">
            <h2>"New values not in use yet"</h2>
            <p>{text}</p>
            <dl class="evidence">
                <div>
                    <dt>"Client ID"</dt>
                    <dd class="mono">{values.client_id.clone()}</dd>
                </div>
                <div>
                    <dt>"Tenant ID"</dt>
                    <dd class="mono">{values.tenant_id.clone()}</dd>
                </div>
            </dl>
            <div class="actions">
                <Submit action=VerifyAgain::PATH values=vec![("confirm_disconnect", confirm.to_owned())] label class busy="Asking Microsoft…" />
                <Submit action=DiscardWaiting::PATH values=vec![] label="Discard new values" />
            </div>
        </section>
    }
    .into_any()
}

fn form(config: &EmailConfigView, flash: &Flash) -> AnyView {
    let typed = |name: &str, stored: &str| flash.typed(name).map_or_else(|| stored.to_owned(), ToOwned::to_owned);
    let provider = Provider::parse(&typed("provider", config.provider.as_str())).unwrap_or(config.provider);
    let custom = typed("custom_from", if config.notifications.custom_from { "yes" } else { "no" });
    let fields = flash.clone();
    let sender_hint = format!(
        "General notifications come from {} unless you choose an address.",
        config.notifications.default_sender
    );
    let question = flash.question.clone().map(|(label, name)| {
        view! {
            <label class="check confirm-check">
                <input type="checkbox" name=name value="yes" />
                <span>{label}</span>
            </label>
        }
    });
    view! {
        <form class="sheet email-config" method="post" action=SaveEmailConfig::PATH autocomplete="off" novalidate>
            <Field name="provider" label="Email Provider" flash=fields.clone()>
                <select id="provider" name="provider">
                    {[Provider::SystemDefault, Provider::ExchangeOnline]
                        .into_iter()
                        .map(|option| {
                            view! {
                                <option value=option.as_str() selected=option == provider>
                                    {option.label()}
                                </option>
                            }
                        })
                        .collect_view()}
                </select>
            </Field>
            <div class="exchange-only">{registration_fields(config, flash)}</div>
            <RadioGroup
                name="custom_from"
                legend="Custom Email From"
                hint=sender_hint
                options=vec![("no", "No"), ("yes", "Yes")]
                chosen=custom
                flash=fields.clone()
            />
            <div class="custom-only">
                <TextInput
                    name="custom_from_address"
                    label="Custom From address"
                    kind="email"
                    value=config.notifications.custom_from_address.clone()
                    hint="A mailbox, or an address that a connected mailbox may send as. Test it below after saving."
                    flash=fields
                />
            </div>
            {question}
            <div class="actions save">
                <SubmitButton label="Save".to_owned() busy="Asking Microsoft…".to_owned() />
                <p class="quiet exchange-only">"Save checks these values with Microsoft."</p>
            </div>
        </form>
    }
    .into_any()
}

fn registration_fields(config: &EmailConfigView, flash: &Flash) -> AnyView {
    let fields = flash.clone();
    let stored = config.waiting.as_ref().or(config.registration.as_ref());
    let text = |read: fn(&RegistrationView) -> &String| stored.map(|stored| read(stored).clone()).unwrap_or_default();
    let (client_id, tenant_id) = (text(|stored| &stored.client_id), text(|stored| &stored.tenant_id));
    let expires = stored.and_then(|stored| stored.secret_expires_on.clone()).unwrap_or_default();
    let since = stored.map(|stored| stored.secret_stored_at);
    let allow = flash.typed("allow_other_address").map_or(config.allow_other_address, |typed| typed == "yes");
    let invalid = flash.error("client_secret").is_some();
    let removing = flash.typed("secret_change") == Some("remove");
    let error = flash.error("client_secret").map(ToOwned::to_owned);
    view! {
        <div class="field">
            <p class="label" id="redirect-uri-label">
                "Redirect URI"
            </p>
            <p class="hint">"Register exactly this address under Authentication, platform Web."</p>
            <div class="copyable">
                <code id="redirect-uri" aria-labelledby="redirect-uri-label">
                    {config.redirect_uri.clone()}
                </code>
                <CopyButton text=config.redirect_uri.clone() label="Copy redirect URI".to_owned() />
            </div>
        </div>
        <TextInput name="client_id" label="Client ID" mono=true value=client_id hint="In Entra: Application (client) ID" flash=fields.clone() />
        <TextInput
            name="tenant_id"
            label="Tenant ID"
            mono=true
            value=tenant_id
            hint="In Entra: Directory (tenant) ID, or a domain verified in the tenant"
            flash=fields.clone()
        />
        <div class="field" class:invalid=invalid>
            <label for="client_secret">"Client Secret"</label>
            <p class="hint" id="client_secret-hint">
                {match since {
                    Some(at) => {
                        view! {
                            "Secret saved "
                            <Time at />
                            ". Leave blank to keep it."
                        }
                            .into_any()
                    }
                    None => "The Value, not the Secret ID. Entra shows it only once.".into_any(),
                }}
                {(flash.typed("client_id").is_some() && !removing).then_some(" The secret you just pasted isn't kept on the page: paste it again.")}
            </p>
            {error
                .map(|error| {
                    view! {
                        <p class="error" id="client_secret-error">
                            {error}
                        </p>
                    }
                })}
            <input
                id="client_secret"
                name="client_secret"
                type="password"
                autofocus=config.refused.is_some() && flash.notice.is_none() && flash.errors.is_empty()
                autocomplete="off"
                class="mono"
                placeholder=since.map(|_| "•••••••• stored")
                aria-invalid=invalid.then_some("true")
                aria-describedby=if invalid { "client_secret-hint client_secret-error" } else { "client_secret-hint" }
            />
            {since
                .map(|_| {
                    view! {
                        <label class="check">
                            <input type="checkbox" name="secret_change" value="remove" checked=removing />
                            <span>"Remove the Client Secret and the registration"</span>
                        </label>
                    }
                })}
        </div>
        <TextInput
            name="secret_expires_on"
            label="Secret expires on"
            kind="date"
            optional=true
            value=expires
            hint="Entra suggests 180 days: check yours. Administrators are reminded 30, 14, 7 and 1 days before, on the home page and by email."
            suggestions=config.secret_lifetimes.clone()
            flash=fields
        />
        <div class="field">
            <label class="check">
                <input type="checkbox" name="allow_other_address" value="yes" checked=allow />
                <span>"Let people connect any mailbox they can sign in to (for example a shared address)"</span>
            </label>
        </div>
    }
    .into_any()
}
