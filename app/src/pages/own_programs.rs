//! Programs that send as the person, with a password of their own.

use leptos::prelude::*;
use leptos::server_fn::ServerFn;

use super::programs::{ports_to_type, state_badge};
use super::signed_in_page;
use crate::api::own_programs::{AddOwnProgram, RemoveOwnProgram, RenewOwnProgram};
use crate::components::{ErrorSummary, Field, Layout, RadioGroup, Section, Submit, TextInput, Time, TimeFormat};
use crate::islands::SubmitButton;
use crate::model::{ACCOUNT_PATH, Flash, FormName, OwnProgram, OwnProgramsView};

/// `/account/programs`
#[component]
pub fn OwnPrograms() -> impl IntoView {
    signed_in_page(|page, user| async move {
        let flash = page.flash(&[FormName::Device]).await;
        let view = page.backend.own_programs.programs(&user.mail()?).await?;
        let ports = ports_to_type(&view.relay);
        let add = add(&view, &flash);
        let list = if view.programs.is_empty() {
            view! { <p class="quiet empty">"None yet."</p> }.into_any()
        } else {
            let programs = view.programs.into_iter().map(program).collect_view();
            view! { <ul class="plain device-messages">{programs}</ul> }.into_any()
        };
        Ok(view! {
            <Layout
                user
                title="Programs"
                trail="User Account"
                lead="Programs that know only a user name and a password send as you through Entrepost, without your Microsoft password."
                section=Section::Account
                flash=flash.clone()
            >
                <ErrorSummary flash after="Nothing was added." />
                <div class="stack">
                    <section class="sheet" aria-labelledby="own-programs-title">
                        <h2 id="own-programs-title">"Programs that send as you"</h2>
                        {list}
                    </section>
                    {add}
                    <section class="sheet" aria-labelledby="type-title">
                        <h2 id="type-title">"What to type into it"</h2>
                        <dl class="facts">{ports}</dl>
                        <p class="quiet">"User name and password are those of the program, and the sender is your own address."</p>
                    </section>
                    <p class="back">
                        <a class="button" href=ACCOUNT_PATH>
                            "Back to Email"
                        </a>
                    </p>
                </div>
            </Layout>
        }
        .into_any())
    })
}

fn program(program: OwnProgram) -> AnyView {
    let OwnProgram { id, name, login, mailbox, state, last_used_at, problem, advice } = program;
    let device = || vec![("device", id.to_string())];
    let used = match last_used_at {
        Some(at) => view! { <Time at format=TimeFormat::Hour /> }.into_any(),
        None => "never".into_any(),
    };
    view! {
        <li>
            <p>
                <strong>{name}</strong>
                " "
                {state_badge(state)}
            </p>
            <p class="quiet">"User name " <code>{login}</code> ", sends as " <span class="address">{mailbox}</span> ", last used " {used}</p>
            {problem.map(|problem| view! { <p class="error">{problem}</p> })}
            {advice.map(|advice| view! { <p>{advice}</p> })}
            <div class="actions">
                <Submit action=RenewOwnProgram::PATH values=device() label="New password" />
                <Submit action=RemoveOwnProgram::PATH values=device() label="Remove" class="button danger" />
            </div>
        </li>
    }
    .into_any()
}

fn add(view: &OwnProgramsView, flash: &Flash) -> AnyView {
    if !view.is_allowed {
        return view! { <p class="quiet">"Your institution doesn't allow new programs of your own. Ask an administrator."</p> }.into_any();
    }
    if view.mailboxes.is_empty() {
        return view! { <p>"Connect your mailbox first: " <a href=ACCOUNT_PATH>"User Account › Email"</a></p> }
            .into_any();
    }
    let chosen = flash.typed("mailbox").unwrap_or_default().to_owned();
    let options = view.mailboxes.iter().map(|(id, address)| {
        let (id, address) = (id.to_string(), address.clone());
        let selected = id == chosen;
        view! {
            <option value=id selected=selected>
                {address}
            </option>
        }
    });
    let options = options.collect_view();
    view! {
        <section class="sheet" aria-labelledby="add-title">
            <h2 id="add-title">"Add a program"</h2>
            <form method="post" action=AddOwnProgram::PATH>
                <TextInput name="name" label="Name" hint="Such as Timetable on my laptop." flash=flash.clone() />
                <Field name="mailbox" label="Mailbox" flash=flash.clone()>
                    <select id="mailbox" name="mailbox">
                        {options}
                    </select>
                </Field>
                <RadioGroup
                    name="recipients"
                    legend="It may write to"
                    options=vec![("own", "People of your institution"), ("anywhere", "Anyone")]
                    chosen=flash.typed("recipients").unwrap_or("own").to_owned()
                    flash=flash.clone()
                />
                <div class="actions">
                    <SubmitButton label="Add it".to_owned() busy="Adding…".to_owned() />
                    <p class="quiet">"Its password is shown once."</p>
                </div>
            </form>
        </section>
    }
    .into_any()
}
