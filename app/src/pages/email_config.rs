//! Institution Config > General > Email, for administrators.

use crate::api::email_config::{DiscardWaiting, SaveEmailConfig, StartConsent, VerifyAgain};
use crate::model::{ACCOUNT_PATH, FormName};
use leptos::prelude::*;
use leptos::server_fn::ServerFn;

use super::administrator_page;
use super::guide::guide;
use super::notifications::notifications;
use crate::components::{
    Banner, DiagnosisSheet, ErrorSummary, Field, Layout, RadioGroup, Section, Submit, TextInput, Time,
};
use crate::islands::{CopyButton, SubmitButton};
use crate::model::{EmailConfigView, EmailState, Flash, Notice, Provider, RegistrationView, Stopped};

/// `/institution/config/general/email`
#[component]
pub fn EmailConfig() -> impl IntoView {
    administrator_page(|page, admin| async move {
        let mut flash = page.flash(&[FormName::EmailConfig, FormName::Guide]).await;
        let config = page.backend.email_config.view(&admin).await?;
        // The prompt of a Save that was accepted and the state of the values are one banner, with the next step in it.
        let result = flash.result();
        let saved = flash.notice.take_if(|notice| notice.in_status && config.registration.is_some());
        let strip = strip(&config, saved.as_ref());
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
                <ErrorSummary flash after="Nothing was saved." />
                {diagnosis}
                {strip}
                <div class="columns">
                    <div class="main-column">{waiting} {form} {sender}</div>
                    <div class="side-column">{guide}</div>
                </div>
            </Layout>
        }
        .into_any())
    })
}

/// The state, and the next step. It claims only what is confirmed.
fn strip(config: &EmailConfigView, saved: Option<&Notice>) -> AnyView {
    let Notice { tone, title, text, .. } = config.state.notice();
    let (next, text) = match &config.state {
        EmailState::NotSetUp => (None, text),
        EmailState::Unchecked => {
            let form = view! {
                <form method="post" action=VerifyAgain::PATH>
                    <SubmitButton label="Check again".to_owned() busy="Asking Microsoft…".to_owned() class="button".to_owned() />
                </form>
            };
            (Some(form.into_any()), text)
        }
        EmailState::Works { accepted_at, days_left } => {
            let at = *accepted_at;
            let undated = days_left.is_none().then(|| {
                view! {
                    <p>
                        <strong>"No expiry date set."</strong>
                        " When the Client Secret expires, mail stops. Enter the date that Entra shows under Secret expires on, and administrators are reminded before."
                    </p>
                }
            });
            let connect = (!config.own_mailbox_connected).then(|| {
                view! {
                    <p>
                        <a class="button" href=ACCOUNT_PATH>
                            "Connect my mailbox"
                        </a>
                    </p>
                }
            });
            let rest = if config.own_mailbox_connected {
                "Your own mailbox is connected."
            } else if config.connection_proven() {
                "A connected mailbox confirms the redirect URI, permissions and consent."
            } else {
                "Next: connect your own mailbox. It's the only way to check the redirect URI, permissions and consent."
            };
            let parts = [saved.map(|notice| notice.text.clone()).unwrap_or_default(), text, rest.to_owned()];
            let text = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
            let next = view! {
                {undated}
                <p class="quiet">"Last accepted " <Time at /></p>
                {connect}
            };
            (Some(next.into_any()), text)
        }
        EmailState::Stopped(stopped) => {
            let accepted =
                stopped.last_accepted.map(|at| view! { <p class="quiet">"Last accepted " <Time at /></p> }.into_any());
            (accepted, text)
        }
    };
    let sheet = config.state.stopped().map(|stopped| {
        let fix = match (stopped.field(), stopped.why.cause.as_str()) {
            (Some(field), _) => {
                let label = if field == "client_secret" { "Paste a new secret" } else { "Go to the field" };
                view! {
                    <a class="button primary" href=format!("#{field}")>
                        {label}
                    </a>
                }.into_any()
            }
            (None, "consent_missing" | "service_principal") => view! { <Submit action=StartConsent::PATH values=vec![] label="Grant admin consent" class="button primary" busy="Going to Microsoft…" /> }
            .into_any(),
            (None, _) => view! { <Submit action=VerifyAgain::PATH values=vec![] label="Check again" class="button primary" busy="Asking Microsoft…" /> }
                .into_any(),
        };
        view! { <DiagnosisSheet diagnosis=stopped.why.clone()>{fix}</DiagnosisSheet> }
    });
    view! {
        <div class="email-state stack" data-email-state=config.state.name()>
            <Banner standing=saved.is_none() focused=saved.is_some() tone title text>
                {next}
            </Banner>
            {sheet}
        </div>
    }
    .into_any()
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
    // What stops email is fixed here, unless the page answers a form.
    let blamed =
        config.state.stopped().filter(|_| flash.notice.is_none() && flash.errors.is_empty()).and_then(Stopped::field);
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
        <TextInput
            name="client_id"
            label="Client ID"
            mono=true
            autofocus=blamed == Some("client_id")
            value=client_id
            hint="In Entra: Application (client) ID"
            flash=fields.clone()
        />
        <TextInput
            name="tenant_id"
            label="Tenant ID"
            mono=true
            autofocus=blamed == Some("tenant_id")
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
                autofocus=blamed == Some("client_secret")
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
            hint="Entra suggests 180 days: check yours. Administrators are reminded 60, 30, 14, 7, 3 and 1 days before and on the day, by email; the home page says so from 30 days before."
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
