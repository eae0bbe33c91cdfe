//! Institution Config > General > Email, for administrators.

use crate::api::email_config::{DiscardWaiting, ForgetSuperseded, StartConsent, VerifyAgain};
use crate::model::{ACCOUNT_PATH, CREDENTIALS_PATH, CredentialKind, FormName, Superseded};
use leptos::prelude::*;
use leptos::server_fn::ServerFn;
use leptos_router::hooks::use_query_map;

use super::administrator_page;
use super::email_form::{blamed_field, form};
use super::graph::graph;
use super::notifications::notifications;
use super::setup::setup_steps;
use crate::components::{Banner, DiagnosisSheet, ErrorSummary, Layout, Section, Submit, Time};
use crate::islands::SubmitButton;
use crate::model::{EmailConfigView, EmailState, Notice, Provider, RegistrationView, SETUP_STEP};

/// `/institution/config/general/email`
#[component]
pub fn EmailConfig() -> impl IntoView {
    let only = use_query_map().get_untracked().get(SETUP_STEP);
    administrator_page(move |page, admin| async move {
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
        let form = form(&config, &flash, only.is_some());
        let exchange = config.provider == Provider::ExchangeOnline;
        // A page of one step shows nothing else.
        let without_smtp = config.graph.filter(|_| only.is_none()).map(graph);
        let sender =
            only.is_none().then(|| notifications(&config.notifications, exchange && config.registration.is_some()));
        let is_answer = !flash.errors.is_empty() || !flash.typed.is_empty() || flash.question.is_some();
        let only_secret = blamed_field(&config, &flash) == Some("client_secret");
        let (first, form) = if only_secret {
            let above = view! { <p class="quiet">"The form is above."</p> }.into_any();
            let sheet = view! {
                <section class="sheet" aria-labelledby="new-secret">
                    <h2 id="new-secret">"Paste the new secret"</h2>
                    {form}
                </section>
            };
            (Some(sheet.into_any()), above)
        } else {
            (None, form)
        };
        let steps = setup_steps(&config, form, only.as_deref());
        let steps = if only.is_some() {
            steps
        } else if is_set_up(&config) {
            let summary = summary(&config);
            view! {
                {summary}
                <details class="edit-setup" open=is_answer || config.state.expires_soon()>
                    <summary class="button">"Edit"</summary>
                    {steps}
                </details>
            }
            .into_any()
        } else if only_secret {
            view! {
                <details class="edit-setup">
                    <summary class="button">"Show all steps"</summary>
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
                <div class="stack after-state">{first} {superseded} {waiting} {steps} {without_smtp} {sender}</div>
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
        let named = config.clouds.iter().find(|(name, _)| *name == registration.cloud && config.clouds.len() > 1);
        let cloud = named.map(|(_, label)| label.clone());
        let expires = match (&registration.secret_expires_on, registration.credential) {
            (Some(date), _) => format!("{}, expires on {date}", registration.credential.label()),
            (None, CredentialKind::Federated) => format!("{}: nothing expires", registration.credential.label()),
            (None, _) => format!("{}, no expiry date entered", registration.credential.label()),
        };
        view! {
            {row("Client ID", mono(&registration.client_id))}
            {row("Tenant ID", mono(&registration.tenant_id))}
            {cloud.map(|label| row("Cloud", label.into_any()))}
            {row("Credential", expires.into_any())}
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
            let renew = days_left.filter(|_| config.state.expires_soon()).map(|days| {
                let (path, label) = match credential {
                    // Microsoft accepts it after the date that was entered.
                    _ if days < 0 => ("#secret_expires_on", "Enter the date"),
                    CredentialKind::Certificate => (CREDENTIALS_PATH, "Download the next certificate"),
                    _ => ("#client_secret", "Paste a new secret"),
                };
                view! {
                    <p>
                        <a class="button" href=path>
                            {label}
                        </a>
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
                {renew}
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
                <div>
                    <dt>"Credential"</dt>
                    <dd>{values.credential.label()}</dd>
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
