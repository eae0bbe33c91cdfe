//! One person, for administrators: account, mailboxes, and what can be done.

use crate::api::accounts::{
    DisconnectPersonsMailbox, DismissUndelivered, ErasePerson, PersonStays, RenewInvitation, SetDisabled, SetName,
    SetRole, UnlinkMicrosoft,
};
use leptos::prelude::*;
use leptos::server_fn::ServerFn;
use leptos_router::hooks::use_params_map;

use super::administrator_page;
use crate::components::{DiagnosisSheet, Layout, Section, Submit, TextInput, Time, day, state_badge};
use crate::error::AppError;
use crate::islands::{CopyButton, SubmitButton};
use crate::model::{Flash, FormName, MailboxState, MailboxView, Role, USERS_PATH, UserRow};

/// `/institution/users/{id}`
#[component]
pub fn Person() -> impl IntoView {
    let id = use_params_map().get_untracked().get("id");
    administrator_page(move |page, admin| async move {
        let flash = page.flash(&[FormName::Users]).await;
        let id = id.and_then(|id| id.parse().ok()).ok_or(AppError::NotFound)?;
        let person = page.backend.accounts.person(&admin, id).await?;
        let title = if person.name.is_empty() { person.address.clone() } else { person.name.clone() };
        let fields = flash.clone();
        let person_of_export = (person.id.to_string(), person.hand_over.clone(), person.disabled_at.is_some());
        let (user, name) = (person.id.to_string(), person.name.clone());
        Ok(view! {
            <Layout user=(*admin).clone() title trail="Institution › Users" section=Section::Users flash>
                <div class="stack" data-person=person.address.clone()>
                    {has_left(&person)}
                    {account(&person)}
                    {mailboxes(person.mailboxes)}
                    {leaving(&person_of_export, &fields)}
                    <section class="sheet">
                        <h2>"Name"</h2>
                        <form method="post" action=SetName::PATH>
                            <input type="hidden" name="user" value=user />
                            <TextInput name="name" label="Name" value=name optional=true flash=fields />
                            <SubmitButton label="Save name".to_owned() busy="Saving…".to_owned() class="button".to_owned() />
                        </form>
                    </section>
                    <p>
                        <a class="button" href=USERS_PATH>
                            "All users"
                        </a>
                    </p>
                </div>
            </Layout>
        }
        .into_any())
    })
}

/// Microsoft says that the account ended: an administrator decides.
fn has_left(person: &UserRow) -> Option<AnyView> {
    let at = person.left_at.filter(|_| person.disabled_at.is_none())?;
    let user = person.id.to_string();
    Some(
        view! {
            <section class="sheet">
                <h2>"Has this person left?"</h2>
                <p>
                    "Microsoft says since " <Time at />
                    " that their account is disabled or deleted. Here they were signed out, their password and links don't work, and their messages wait."
                </p>
                <div class="actions">
                    <Submit
                        action=SetDisabled::PATH
                        values=vec![("user", user.clone()), ("disabled", "true".to_owned())]
                        label="Yes, they have left"
                        class="button danger"
                    />
                    <Submit action=PersonStays::PATH values=vec![("user", user)] label="No, they stay" />
                </div>
            </section>
        }
        .into_any(),
    )
}

/// Handing over, export, erasure.
fn leaving((user, hand_over, disabled): &(String, String, bool), flash: &Flash) -> AnyView {
    let export = format!("{USERS_PATH}/{user}/export");
    let erase = disabled.then(|| {
        view! {
            <h3>"Erase"</h3>
            <p>
                "Deletes the person here with drafts, messages and mailboxes. The mailbox at Microsoft is untouched, and the audit log keeps its entries. This can't be undone."
            </p>
            <form method="post" action=ErasePerson::PATH>
                <input type="hidden" name="user" value=user.clone() />
                <TextInput name="address" label="Their address, to confirm" kind="email" flash=flash.clone() />
                <SubmitButton label="Erase".to_owned() busy="Erasing…".to_owned() class="button danger".to_owned() />
            </form>
        }
    });
    let (shown, copied) = (hand_over.clone(), hand_over.clone());
    view! {
        <section class="sheet spaced">
            <h2>"When they leave"</h2>
            <h3>"Hand over"</h3>
            <p>
                "Their mail stays in the mailbox at Microsoft. Before the licence is removed or the account deleted, an Exchange Administrator makes it a shared mailbox and gives a colleague access; put the colleague's address for COLLEAGUE:"
            </p>
            <div class="copyable">
                <code class="long-command" tabindex="0">
                    {shown}
                </code>
                <CopyButton text=copied label="Copy commands".to_owned() />
            </div>
            <h3>"Export"</h3>
            <p>"Account, mailboxes and dates, without subjects, recipients or text of their mail. The download is logged."</p>
            <form method="post" action=export>
                <button class="button">"Download as JSON"</button>
            </form>
            {erase}
        </section>
    }
    .into_any()
}

fn account(person: &UserRow) -> AnyView {
    let user = person.id.to_string();
    let state = match (person.disabled_at.or(person.left_at), person.has_password, person.invited_until) {
        (Some(at), _, _) if person.disabled_at.is_none() => view! {
            <span class="badge bad">"✕ Has left, says Microsoft"</span>
            <span class="quiet">" since " <Time at /></span>
        }
        .into_any(),
        (Some(at), _, _) => view! {
            <span class="badge bad">"✕ Disabled"</span>
            <span class="quiet">" since " <Time at /></span>
        }
        .into_any(),
        (None, true, Some(at)) => view! {
            <span class="badge ok">"✓ Active"</span>
            <span class="quiet">" new password link works until " <Time at /></span>
        }
        .into_any(),
        (None, false, Some(at)) => view! {
            <span class="badge warning">"! Invited"</span>
            <span class="quiet">" link works until " <Time at /></span>
        }
        .into_any(),
        (None, true, None) => view! { <span class="badge ok">"✓ Active"</span> }.into_any(),
        (None, false, None) => view! { <span class="badge warning">"! The invitation has expired"</span> }.into_any(),
    };
    let (role, other_role, change) = match person.role {
        Role::Administrator => ("Administrator", "user", "Change to user"),
        Role::User => ("User", "administrator", "Change to administrator"),
    };
    let last = person.last_sign_in_at.map(|at| view! { <p class="quiet">{format!("Last sign-in: {}", day(at.0))}</p> });
    let undelivered = person.undelivered.clone().map(|why| {
        view! {
            <p>
                <span class="badge bad">"✕ Not delivered"</span>
                " Our last email wasn't delivered. Check the address, or copy a link and send it yourself."
            </p>
            <p class="quiet">"Reason: " {why}</p>
            <div class="actions">
                <Submit action=DismissUndelivered::PATH values=vec![("user", user.clone())] label="Dismiss" class="button small" />
            </div>
        }
    });
    let actions = if person.disabled_at.is_some() {
        view! { <Submit action=SetDisabled::PATH values=vec![("user", user.clone()), ("disabled", "false".to_owned())] label="Enable" /> }
            .into_any()
    } else {
        view! {
            {person
                .linked
                .then(|| view! { <Submit action=UnlinkMicrosoft::PATH values=vec![("user", user.clone())] label="Forget which Microsoft account they use" /> })}
            <Submit action=RenewInvitation::PATH values=vec![("user", user.clone())] label="New password link" />
            <Submit action=SetRole::PATH values=vec![("user", user.clone()), ("role", other_role.to_owned())] label=change />
            <Submit action=SetDisabled::PATH values=vec![("user", user.clone()), ("disabled", "true".to_owned())] label="Disable" class="button danger" />
        }
        .into_any()
    };
    view! {
        <section class="sheet">
            <h2>"Account"</h2>
            <p class="address">{person.address.clone()}</p>
            <p>{role} " " {state}</p>
            {last}
            {undelivered}
            <div class="actions">{actions}</div>
            <p class="quiet">"Disabling signs them out and disconnects their mailboxes. A disabled person can be erased below."</p>
        </section>
    }
    .into_any()
}

fn mailboxes(mailboxes: Vec<MailboxView>) -> AnyView {
    let empty = mailboxes.is_empty();
    let all = mailboxes
        .into_iter()
        .map(|MailboxView { id, address, state, problem, .. }| {
            let problem = problem.filter(|_| state != MailboxState::Connected).map(|problem| {
                view! {
                    <p>
                        <strong>{problem.title.clone()}</strong>
                        " "
                        {problem.summary.clone()}
                    </p>
                    <DiagnosisSheet diagnosis=problem />
                }
            });
            view! {
                <div class="person-mailbox">
                    <span class="address">{address.clone()}</span>
                    {state_badge(state)}
                    <details class="confirm">
                        <summary class="danger">"Disconnect " {address}</summary>
                        <p>"Entrepost deletes its tokens. Its owner can connect it again."</p>
                        <Submit action=DisconnectPersonsMailbox::PATH values=vec![("mailbox", id.to_string())] label="Yes, disconnect" class="button danger" />
                    </details>
                </div>
                {problem}
            }
        })
        .collect_view();
    view! {
        <section class="sheet">
            <h2>"Mailboxes"</h2>
            {empty.then(|| view! { <p class="quiet">"No mailbox connected."</p> })}
            {all}
        </section>
    }
    .into_any()
}
