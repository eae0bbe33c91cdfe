//! The form of Institution Config > General > Email.

use leptos::prelude::*;
use leptos::server_fn::ServerFn;

use crate::api::email_config::SaveEmailConfig;
use crate::components::{Field, RadioGroup, TextInput, Time};
use crate::islands::{CopyButton, SubmitButton};
use crate::model::{
    CREDENTIALS_PATH, CredentialKind, EmailConfigView, Flash, OWN_CLOUD, Provider, RegistrationView, Stopped,
};

/// Parts of the form, in their usual order.
struct RegistrationFields {
    app: AnyView,
    secret: AnyView,
    other: AnyView,
}

/// The field that fixes what stops email, unless the page answers a form.
pub(super) fn blamed_field(config: &EmailConfigView, flash: &Flash) -> Option<&'static str> {
    let is_answer = flash.notice.is_some() || !flash.errors.is_empty() || !flash.typed.is_empty();
    config.state.stopped().filter(|_| !is_answer).and_then(Stopped::field)
}

/// `setting_up`: on the page of the step that pastes the values, whose fields belong to MS Exchange Online.
pub(super) fn form(config: &EmailConfigView, flash: &Flash, setting_up: bool) -> AnyView {
    let typed = |name: &str, stored: &str| flash.typed(name).map_or_else(|| stored.to_owned(), ToOwned::to_owned);
    let provider = if setting_up && config.registration.is_none() { Provider::ExchangeOnline } else { config.provider };
    let provider = Provider::parse(&typed("provider", provider.as_str())).unwrap_or(provider);
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
    let provider = view! {
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
    };
    let sender = view! {
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
    };
    let RegistrationFields { app, secret, other } = registration_fields(config, flash);
    // Where a new secret is all that is missing, nothing else is in the way.
    let fields = if blamed_field(config, flash) == Some("client_secret") {
        view! {
            {secret}
            <details class="other-values">
                <summary class="button">"Edit the other values"</summary>
                <div class="stack">{provider} {app} {other} {sender}</div>
            </details>
        }
        .into_any()
    } else {
        view! {
            {provider}
            <div class="exchange-only">{app} {secret} {other}</div>
            {sender}
        }
        .into_any()
    };
    view! {
        <form class="email-config" method="post" action=SaveEmailConfig::PATH autocomplete="off" novalidate>
            {fields}
            {question}
            <div class="actions save">
                <SubmitButton label="Save".to_owned() busy="Asking Microsoft…".to_owned() />
                <p class="quiet exchange-only">"Save checks these values with Microsoft."</p>
            </div>
        </form>
    }
    .into_any()
}

fn cloud_field(config: &EmailConfigView, chosen: &str, autofocus: bool, flash: &Flash) -> AnyView {
    let options: Vec<AnyView> = config
        .clouds
        .iter()
        .map(|(name, label)| {
            let (is_chosen, label) = (name == chosen, label.clone());
            let value = if name.is_empty() { OWN_CLOUD } else { name.as_str() }.to_owned();
            view! {
                <option value=value selected=is_chosen>
                    {label}
                </option>
            }
            .into_any()
        })
        .collect();
    view! {
        <Field name="cloud" label="Cloud" hint="Where your tenant is. National clouds have portals, hosts and tokens of their own." flash=flash.clone()>
            <select id="cloud" name="cloud" autofocus=autofocus>
                {options}
            </select>
        </Field>
    }
    .into_any()
}

fn typed_cloud(flash: &Flash, stored: Option<&RegistrationView>) -> String {
    match flash.typed("cloud") {
        Some(OWN_CLOUD) => String::new(),
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => stored.map(|stored| stored.cloud.clone()).unwrap_or_default(),
    }
}

fn registration_fields(config: &EmailConfigView, flash: &Flash) -> RegistrationFields {
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
    // Reminders leave by the relay, or from the mailbox of notifications.
    let reminded = if config.has_relay || config.notifications.ready {
        "Administrators are reminded by email 60, 30, 14, 7, 3 and 1 days before and on the day; the home page says so from 30 days before."
    } else {
        "No reminder can leave by email yet: choose a Custom Email From and connect its mailbox, or ask for a mail relay. The home page says so from 30 days before."
    };
    let removing = flash.typed("secret_change") == Some("remove");
    let blamed = blamed_field(config, flash);
    let clouds = (config.clouds.len() > 1)
        .then(|| cloud_field(config, &typed_cloud(flash, stored), blamed == Some("cloud"), flash));
    let error = flash.error("client_secret").map(ToOwned::to_owned);
    let app = view! {
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
        {clouds}
        <RadioGroup
            name="credential"
            legend="How the app proves itself"
            options=vec![
                ("secret", "A secret: simple, but it expires"),
                ("certificate", "A certificate: made here, and its successor too"),
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
        <p class="field hint">
            <a href=CREDENTIALS_PATH>"Certificates and the federated credential"</a>
        </p>
    }
    .into_any();
    let secret = view! {
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
                <legend>"How long the secret is valid"</legend>
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
                hint=format!("Entra suggests 180 days: check yours. {reminded} {after_expiry}")
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
    }
    .into_any();
    let other = view! {
        {(stored.is_some() && with_secret.is_none())
            .then(|| {
                view! {
                    <div class="field">
                        <label class="check">
                            <input type="checkbox" name="secret_change" value="remove" checked=removing />
                            <span>"Remove the app registration"</span>
                        </label>
                    </div>
                }
            })}
        <TextInput
            name="reminder_address"
            label="Also send reminders to"
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
    .into_any();
    RegistrationFields { app, secret, other }
}
