//! Institution Config > General > Email, for administrators.

use crate::api::email_config::{DiscardWaiting, ForgetSuperseded, SaveEmailConfig, StartConsent, VerifyAgain};
use crate::model::{ACCOUNT_PATH, CREDENTIALS_PATH, CredentialKind, FormName, Superseded};
use leptos::prelude::*;
use leptos::server_fn::ServerFn;

use super::administrator_page;
use super::notifications::notifications;
use super::setup::setup_steps;
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
        let superseded =
            config.registration.as_ref().and_then(|registration| registration.superseded.as_ref()).map(superseded);
        let diagnosis = flash.diagnosis.clone().map(|diagnosis| view! { <DiagnosisSheet diagnosis /> });
        let form = form(&config, &flash);
        let exchange = config.provider == Provider::ExchangeOnline;
        let sender = notifications(&config.notifications, exchange && config.registration.is_some());
        let is_answer = !flash.errors.is_empty() || !flash.typed.is_empty() || flash.question.is_some();
        let steps = setup_steps(&config, form);
        let steps = if is_set_up(&config) {
            let summary = summary(&config);
            view! {
                {summary}
                <details class="edit-setup" open=is_answer>
                    <summary class="button">"Edit"</summary>
                    {steps}
                </details>
            }
            .into_any()
        } else {
            steps
        };
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
                <div class="stack after-state">{superseded} {waiting} {steps} {sender}</div>
            </Layout>
        }
        .into_any())
    })
}

/// Nothing is left to do: somebody is connected.
fn is_set_up(config: &EmailConfigView) -> bool {
    matches!(config.state, EmailState::Works { .. })
        && (config.own_mailbox_connected || config.people_connected > 0)
        && config.waiting.is_none()
}

/// What is set up, without a form.
fn summary(config: &EmailConfigView) -> AnyView {
    let row = |name: &'static str, value: AnyView| {
        view! {
            <div>
                <dt>{name}</dt>
                <dd>{value}</dd>
            </div>
        }
    };
    let mono = |text: &str| view! { <span class="mono">{text.to_owned()}</span> }.into_any();
    let registration = config.registration.as_ref().map(|registration| {
        let expires = match (&registration.secret_expires_on, registration.credential) {
            (Some(date), _) => format!("{}, expires on {date}", registration.credential.label()),
            (None, CredentialKind::Federated) => format!("{}: nothing expires", registration.credential.label()),
            (None, _) => format!("{}, no expiry date entered", registration.credential.label()),
        };
        view! {
            {row("Client ID", mono(&registration.client_id))}
            {row("Tenant ID", mono(&registration.tenant_id))}
            {row("Proof of the app", expires.into_any())}
        }
    });
    let connected = crate::model::people(config.people_connected);
    let reminded = if config.reminder_address.is_empty() {
        "administrators".to_owned()
    } else {
        format!("administrators and {}", config.reminder_address)
    };
    view! {
        <section class="sheet">
            <h2>"How email is set up"</h2>
            <dl class="evidence">
                {row("Email Provider", config.provider.label().into_any())} {registration} {row("Redirect URI", mono(&config.redirect_uri))}
                {row("Connected", connected.into_any())} {row("Reminded of the expiry", reminded.into_any())}
            </dl>
            <p>
                <a href=CREDENTIALS_PATH>"Certificates and the federated credential"</a>
            </p>
        </section>
    }
    .into_any()
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
        EmailState::Works { accepted_at, days_left, credential } => {
            let at = *accepted_at;
            let undated = (days_left.is_none() && *credential == CredentialKind::Secret).then(|| {
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
                {uses(config)}
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

/// Which uses of the credential Microsoft has accepted, where Save can prove only one of them.
fn uses(config: &EmailConfigView) -> Option<AnyView> {
    let registration = config.registration.as_ref()?;
    let missing = match (registration.uses.sign_in, registration.uses.renewal) {
        (Some(_), Some(_)) => return None,
        (None, None) => "signing people in and renewing their mailboxes",
        (Some(_), None) => "renewing mailboxes",
        (None, Some(_)) => "signing people in",
    };
    let kind = registration.credential.name();
    let previous = if config.has_previous { " The one before is kept until then." } else { "" };
    let is_plain = registration.credential == CredentialKind::Secret && !config.has_previous;
    (!is_plain).then(|| {
        view! { <p class="quiet">{format!("Save proved the {kind} for the app itself. Not proved yet: {missing}.{previous}")}</p> }
            .into_any()
    })
}

fn superseded(old: &Superseded) -> AnyView {
    let kind = old.credential.name();
    let which = match (&old.secret_id, &old.expires_on) {
        (Some(id), _) => view! { <p>"Secret ID " <code class="mono">{id.clone()}</code></p> }.into_any(),
        (None, Some(date)) => view! { <p>{format!("It is the one that expires on {date}.")}</p> }.into_any(),
        (None, None) => {
            let at = old.stored_at;
            view! { <p>"It is the one that was saved here " <Time at /> "."</p> }.into_any()
        }
    };
    view! {
        <section class="sheet">
            <h2>{format!("Delete the old {kind} at Microsoft")}</h2>
            <p>
                {format!(
                    "Mail is renewed with the new credential now, and the old {kind} is no longer stored here. It still works for anyone who has it: delete it in Entra under Certificates & secrets.",
                )}
            </p>
            {which}
            <Submit action=ForgetSuperseded::PATH values=vec![] label="I deleted it" />
        </section>
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
        <form class="email-config" method="post" action=SaveEmailConfig::PATH autocomplete="off" novalidate>
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
    let with_secret = stored.filter(|stored| stored.has_secret);
    let expires = with_secret.and_then(|stored| stored.secret_expires_on.clone()).unwrap_or_default();
    let since = with_secret.map(|stored| stored.secret_stored_at);
    let credential = stored.map_or(CredentialKind::Secret, |stored| stored.credential);
    let allow = flash.typed("allow_other_address").map_or(config.allow_other_address, |typed| typed == "yes");
    let invalid = flash.error("client_secret").is_some();
    let chosen_lifetime = flash.typed("secret_lifetime").filter(|typed| !typed.is_empty()).unwrap_or("date").to_owned();
    let list_command =
        format!("az ad app credential list --id {}", stored.map_or("CLIENT", |stored| stored.client_id.as_str()));
    let after_expiry = if config.has_relay {
        "Once it has expired, emails about it leave through this server's own mail relay."
    } else {
        "Once it has expired no email about it can leave: this server has no mail relay of its own, and only the pages say so."
    };
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
        <RadioGroup
            name="credential"
            legend="How the app proves itself"
            options=vec![
                ("secret", "A secret: simple, but it expires"),
                ("certificate", "A certificate: made here, renewed in time"),
                ("federated", "A federated credential: nothing expires"),
            ]
            chosen=credential.as_str()
            flash=fields.clone()
        />
        {["credential-certificate", "credential-federated"]
            .into_iter()
            .filter_map(|name| flash.error(name))
            .map(|error| view! { <p class="error">{error.to_owned()}</p> })
            .collect_view()}
        <p class="hint">
            <a href=CREDENTIALS_PATH>"Certificates and the federated credential"</a>
        </p>
        <div class="secret-only">
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
            <fieldset class="field">
                <legend>"Lifetime"</legend>
                <div class="radios">
                    {config
                        .secret_lifetimes
                        .iter()
                        .map(|(days, date, name)| {
                            let checked = chosen_lifetime == *days;
                            view! {
                                <label class="radio">
                                    <input type="radio" name="secret_lifetime" value=days.clone() checked=checked />
                                    <span>{format!("{name}: {date}")}</span>
                                </label>
                            }
                        })
                        .collect_view()} <label class="radio">
                        <input type="radio" name="secret_lifetime" value="date" checked=chosen_lifetime == "date" />
                        <span>"The date below"</span>
                    </label>
                </div>
            </fieldset>
            <TextInput
                name="secret_expires_on"
                label="Secret expires on"
                kind="date"
                optional=true
                value=expires
                hint=format!(
                    "Entra suggests 180 days: check yours. Administrators are reminded by email 60, 30, 14, 7, 3 and 1 days before and on the day; the home page says so from 30 days before. {after_expiry}",
                )
                flash=fields.clone()
            />
            <details class="field">
                <summary>"Or take it from the command line"</summary>
                <Field
                    name="secret_list"
                    label="Output of the command"
                    hint="With Azure CLI. It needs no consent, and prints no secret: the date and the Secret ID are found by the secret's first characters."
                    flash=fields.clone()
                >
                    <div class="copyable">
                        <code>{list_command.clone()}</code>
                        <CopyButton text=list_command label="Copy command to list secrets".to_owned() />
                    </div>
                    <textarea id="secret_list" name="secret_list" rows="3" spellcheck="false" class="mono"></textarea>
                </Field>
            </details>
        </div>
        <TextInput
            name="reminder_address"
            label="Also remind"
            kind="email"
            optional=true
            value=config.reminder_address.clone()
            hint="An address besides the administrators, for example of your IT office."
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
