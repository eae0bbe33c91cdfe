//! Notices and diagnoses, marked by sign, word and colour.

use crate::api::mailboxes::ConfigureAndTest;
use crate::model::ACCOUNT_PATH;
use leptos::prelude::*;
use leptos::server_fn::ServerFn;

use super::Submit;
use crate::islands::CopyButton;
use crate::model::{BEFORE_COMMANDS, Diagnosis, FixedBy, Help, Instruction, Remedy, Tone};

/// A notice: what happened, what it means, what to do.
#[component]
pub fn Banner(
    tone: Tone,
    #[prop(into)] title: String,
    #[prop(into, optional)] text: String,
    /// Present at page load: not announced.
    #[prop(optional)]
    standing: bool,
    #[prop(optional)] focused: bool,
    #[prop(optional)] children: Option<Children>,
) -> impl IntoView {
    let (class, sign, word, role) = match tone {
        Tone::Success => ("banner ok", "✓", "Success", "status"),
        Tone::Warning => ("banner warning", "!", "Note", "status"),
        Tone::Problem => ("banner bad", "✕", "Problem", "alert"),
        Tone::Progress => ("banner progress", "…", "In progress", "status"),
    };
    view! {
        <div class=class class:said=focused role=(!standing).then_some(role) tabindex=focused.then_some("-1") autofocus=focused>
            <span class="banner-sign" aria-hidden="true">
                {sign}
            </span>
            <div class="banner-body">
                <p class="banner-title">
                    <span class="visually-hidden">{word} ": "</span>
                    {title}
                </p>
                {(!text.is_empty()).then(|| view! { <p>{text}</p> })}
                {children.map(|children| children())}
            </div>
        </div>
    }
}

/// Buttons that fix a mailbox's problem. Plain markup: live updates replace it.
#[component]
pub fn Remedies(remedy: Remedy, #[prop(into)] address: String) -> impl IntoView {
    let again = (remedy == Remedy::SignInAgain).then(|| {
        let values = vec![("email", address)];
        view! { <Submit action=ConfigureAndTest::PATH values label="Sign in again" class="button primary" /> }
    });
    view! {
        {again}
        <a class="button" href=ACCOUNT_PATH>
            "User Account › Email"
        </a>
    }
}

fn step_list(steps: Vec<Instruction>, copies: bool) -> impl IntoView {
    let has_command = steps.iter().any(|step| matches!(step.help, Some(Help::Command(_))));
    let help = |help: Help| match help {
        Help::Command(text) | Help::Value(text) if !copies => view! {
            <p>
                <code>{text}</code>
            </p>
        }
        .into_any(),
        Help::Command(command) => copyable(command, "Copy command"),
        Help::Value(value) => copyable(value, "Copy value"),
        Help::Link(address) => view! {
            <div class="copyable">
                <a href=address.clone() target="_blank" rel="noreferrer">
                    {address.clone()}
                </a>
                {copies.then(|| view! { <CopyButton text=address label="Copy link".to_owned() /> })}
            </div>
        }
        .into_any(),
    };
    let items = steps
        .into_iter()
        .map(|step| {
            let class = if step.is_option { "option" } else { "" };
            view! {
                <li class=class>
                    <p>{step.text}</p>
                    {step.help.map(help)}
                </li>
            }
        })
        .collect_view();
    view! {
        <ol class="steps">{items}</ol>
        {has_command
            .then(|| {
                view! {
                    <div class="before-commands">
                        <p class="quiet">"The commands are for Exchange Online PowerShell (module ExchangeOnlineManagement). Sign in there first:"</p>
                        {if copies {
                            copyable(BEFORE_COMMANDS.to_owned(), "Copy command")
                        } else {
                            view! {
                                <p>
                                    <code>{BEFORE_COMMANDS}</code>
                                </p>
                            }
                                .into_any()
                        }}
                    </div>
                }
            })}
    }
}

/// Text with a button that copies it.
pub fn copyable(text: String, label: &str) -> AnyView {
    view! {
        <div class="copyable">
            <code>{text.clone()}</code>
            <CopyButton text label=label.to_owned() />
        </div>
    }
    .into_any()
}

/// Who can fix it, and how, without buttons that need JavaScript: live updates may add it.
#[component]
pub fn PlainDiagnosis(diagnosis: Diagnosis) -> impl IntoView {
    let Diagnosis { cause, fixed_by, steps, message_for_administrator, mailto, .. } = diagnosis;
    let own: Vec<Instruction> = steps.into_iter().filter(|step| !step.by_administrator).collect();
    let (heading, lead) = heading(fixed_by);
    let lead = match fixed_by {
        FixedBy::Administrator => "Only your administrator can fix this. Send them the message below.",
        FixedBy::Operator => "The cause is this server or its network.",
        _ => lead,
    };
    view! {
        <details class="diagnosis" data-cause=cause>
            <summary>{heading}</summary>
            {(!lead.is_empty()).then(|| view! { <p>{lead}</p> })}
            {(!own.is_empty()).then(|| step_list(own, false))}
            {message_for_administrator.map(|message| view! { <pre>{message}</pre> })}
            {mailto
                .map(|mailto| {
                    view! {
                        <p class="actions">
                            <a class="button" href=mailto>
                                "Write to my administrator"
                            </a>
                        </p>
                    }
                })}
        </details>
    }
}

/// Who can fix it.
fn heading(fixed_by: FixedBy) -> (&'static str, &'static str) {
    match fixed_by {
        FixedBy::You => ("What you can do", ""),
        FixedBy::Owner => ("What the mailbox's owner has to do", "Only they can: it's their sign-in at Microsoft."),
        FixedBy::Administrator => (
            "Ask your administrator",
            "Only your administrator can fix this. Copy the message below and send it to them.",
        ),
        FixedBy::Time => ("Wait a few minutes", "No action needed."),
        FixedBy::Operator => (
            "Contact your Entrepost host",
            "The cause is this server or its network. Send the technical details below to your Entrepost host.",
        ),
    }
}

/// What is wrong, who can fix it, how, and details. The viewer's own steps come first.
#[component]
pub fn DiagnosisSheet(diagnosis: Diagnosis, #[prop(optional)] children: Option<Children>) -> impl IntoView {
    let Diagnosis {
        cause,
        fixed_by,
        steps,
        evidence,
        message_for_administrator,
        mailto,
        teams_share,
        support_contact,
        ..
    } = diagnosis;
    let asks_administrator = fixed_by == FixedBy::Administrator && message_for_administrator.is_some();
    let may_ask = !asks_administrator && message_for_administrator.is_some();
    let (heading, lead) = heading(fixed_by);
    // Users see the administrator's steps folded, their own open.
    let (others, own): (Vec<_>, Vec<_>) =
        steps.into_iter().partition(|step| asks_administrator || step.by_administrator);
    let list = |steps: Vec<Instruction>| (!steps.is_empty()).then(|| step_list(steps, true));
    let (own_steps, other_steps) = (list(own), list(others));
    let text = evidence.as_text();
    let contact = support_contact.map(|contact| {
        view! {
            <div class="copyable">
                <span>"Support: " <strong>{contact.clone()}</strong></span>
                <CopyButton text=contact label="Copy support contact".to_owned() />
            </div>
        }
    });
    // If only the operator can fix it, the contact is the next step; otherwise it's in the details.
    let (main_contact, other_contact) = if fixed_by == FixedBy::Operator { (contact, None) } else { (None, contact) };
    view! {
        <section class="sheet diagnosis" data-cause=cause>
            <h2>{heading}</h2>
            {(!lead.is_empty()).then(|| view! { <p>{lead}</p> })}
            {own_steps}
            {main_contact}
            <div class="actions">
                {message_for_administrator
                    .clone()
                    .map(|message| view! { <CopyButton text=message label="Copy message for the administrator".to_owned() primary=asks_administrator /> })}
                {children.map(|children| children())}
                {mailto
                    .map(|mailto| {
                        view! {
                            <a class="button" href=mailto>
                                "Write in your email program"
                            </a>
                        }
                    })}
                {teams_share
                    .map(|share| {
                        view! {
                            <a class="button" href=share target="_blank" rel="noopener noreferrer">
                                "Share in Teams"
                            </a>
                        }
                    })}
            </div>
            {may_ask.then(|| view! { <p class="quiet">"If this does not help, send the message below to your administrator."</p> })}
            {message_for_administrator
                .map(|message| {
                    view! {
                        <details>
                            <summary>"The message"</summary>
                            <pre>{message}</pre>
                        </details>
                    }
                })}
            {other_steps
                .map(|steps| {
                    view! {
                        <details>
                            <summary>"Steps for the administrator"</summary>
                            {steps}
                        </details>
                    }
                })}
            <details>
                <summary>"Technical details"</summary>
                <dl class="evidence" class:technical=true>
                    {evidence
                        .facts
                        .into_iter()
                        .map(|(name, value)| {
                            view! {
                                <div>
                                    <dt>{name}</dt>
                                    <dd>{value}</dd>
                                </div>
                            }
                        })
                        .collect_view()}
                </dl>
                <CopyButton text=text label="Copy technical details".to_owned() />
                {other_contact}
            </details>
        </section>
    }
}
