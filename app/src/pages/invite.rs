//! Inviting many people: paste, preview, confirm, progress.

use crate::api::accounts::{ConfirmInvitations, DiscardInvitations, ListInvitations};
use leptos::prelude::*;
use leptos::server_fn::ServerFn;
use leptos_router::hooks::use_params_map;

use super::administrator_page;
use crate::components::{ErrorSummary, Field, Layout, RadioGroup, Section, Submit};
use crate::error::AppError;
use crate::islands::SubmitButton;
use crate::model::{FormName, INVITE_PATH, InvitationList, ListedPerson, ListedState, Role, USERS_PATH, people};

/// Seconds after which the page is loaded again while people are being invited.
const RELOAD: &str = "3";

/// `/institution/users/invite`
#[component]
pub fn InviteMany() -> impl IntoView {
    administrator_page(|page, admin| async move {
        let flash = page.flash(&[FormName::InviteList]).await;
        let typed = flash.typed("people").unwrap_or_default().to_owned();
        let fields = flash.clone();
        Ok(view! {
            <Layout
                user=(*admin).clone()
                title="Invite many people"
                trail="Institution › Users"
                lead="You see who gets an invitation before anything is sent."
                section=Section::Users
                flash=flash.clone()
            >
                <ErrorSummary flash title="No invitation sent." />
                <form class="sheet" method="post" action=ListInvitations::PATH enctype="multipart/form-data">
                    <Field
                        name="people"
                        label="People to invite"
                        hint="One on each line: an address, Name <address>, or name, address and role separated by commas."
                        flash=fields.clone()
                    >
                        <textarea id="people" name="people" rows="12" spellcheck="false" autocapitalize="none" aria-describedby="people-hint">
                            {typed}
                        </textarea>
                    </Field>
                    <div class="field">
                        <label for="files">"Or choose a CSV or text file"</label>
                        <input id="files" name="files" type="file" accept=".csv,.txt,text/csv,text/plain" />
                    </div>
                    <RadioGroup
                        name="role"
                        legend="Role of lines without one"
                        options=vec![("user", "User"), ("administrator", "Administrator")]
                        chosen="user"
                        flash=fields
                    />
                    <SubmitButton label="Preview".to_owned() busy="Reading…".to_owned() />
                </form>
            </Layout>
        }
        .into_any())
    })
}

/// `/institution/users/invite/{list}`
#[component]
pub fn InviteList() -> impl IntoView {
    let id = use_params_map().get_untracked().get("list");
    administrator_page(move |page, admin| async move {
        let flash = page.flash(&[FormName::InviteList]).await;
        let id = id.and_then(|id| id.parse().ok()).ok_or(AppError::NotFound)?;
        let list = page.backend.accounts.invitation_list(&admin, id).await?;
        let left = list.count(ListedState::New);
        if list.confirmed_at.is_some() && left > 0 {
            page.reload(RELOAD);
        }
        let body = if list.confirmed_at.is_some() { progress(&list) } else { preview(&list) };
        let title = if list.confirmed_at.is_some() { "Invitations" } else { "Preview of the invitations" };
        Ok(view! {
            <Layout user=(*admin).clone() title trail="Institution › Users" section=Section::Users flash>
                <div class="stack">
                    {body} {rows(&list)} <p>
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

fn counts(list: &InvitationList) -> AnyView {
    let line = |state: ListedState, words: &'static str| {
        let count = list.count(state);
        (count > 0).then(|| {
            view! {
                <li data-listed=state.as_str()>
                    <strong>{count}</strong>
                    " "
                    {words}
                </li>
            }
        })
    };
    view! {
        <ul class="counts">
            {line(ListedState::New, "new")} {line(ListedState::Invited, "invited")} {line(ListedState::Known, "already here")}
            {line(ListedState::Repeated, "listed twice")} {line(ListedState::NotAnAddress, "without a usable address")}
        </ul>
    }
    .into_any()
}

fn preview(list: &InvitationList) -> AnyView {
    let new = list.count(ListedState::New);
    let minutes = (new + list.messages_per_minute - 1) / list.messages_per_minute.max(1);
    let sends = match &list.from {
        Some(from) => format!(
            "Each gets an email from {from} with a link that works for 72 hours. At most {} a minute are sent, so the last one leaves after about {minutes} min.",
            list.messages_per_minute
        ),
        None => {
            "This server can't send email: after you confirm, download the list of links and hand them out yourself."
                .to_owned()
        }
    };
    let id = list.id.to_string();
    view! {
        <section class="sheet">
            <h2>{format!("{} would be invited", people(new))}</h2>
            {counts(list)}
            {(list.administrators > 0)
                .then(|| {
                    let of = if list.administrators == 1 {
                        "1 of them becomes an administrator".to_owned()
                    } else {
                        format!("{} of them become administrators", list.administrators)
                    };
                    view! { <p class="said-aside">{format!("{of}: check the roles below.")}</p> }
                })}
            <p>{sends}</p>
            <div class="actions">
                {(new > 0)
                    .then(|| {
                        view! {
                            <Submit
                                action=ConfirmInvitations::PATH
                                values=vec![("list", id.clone())]
                                label=format!("Invite {}", people(new))
                                class="button primary"
                                busy="Starting…"
                            />
                        }
                    })} <Submit action=DiscardInvitations::PATH values=vec![("list", id)] label="Discard the list" />
            </div>
        </section>
    }
    .into_any()
}

fn progress(list: &InvitationList) -> AnyView {
    let (left, done) = (list.count(ListedState::New), list.count(ListedState::Invited));
    let title =
        if left > 0 { format!("{done} of {} accounts made", done + left) } else { format!("{} invited", people(done)) };
    let mails = match &list.from {
        Some(_) => format!("Emails: {} sent, {} waiting, {} not delivered.", list.sent, list.waiting, list.failed),
        None => "This server can't send email: download the links and hand them out yourself.".to_owned(),
    };
    let all = done + left;
    // Only when the page does not load itself again any more: that would fold it.
    let text = if list.without_links {
        "Everyone signs in with Microsoft here: the file names the sign-in page, which opens the account of everyone on this list for 72 hours. It ends their earlier links."
    } else {
        "Makes a new link for everyone on this list without a password, and ends their earlier links. Anyone with a link can set the password: keep the file safe, and delete it afterwards."
    };
    let links = (left == 0).then(|| {
        view! {
            <details>
                <summary>"Links to hand out"</summary>
                <p>{text}</p>
                <form method="post" action=format!("{INVITE_PATH}/{}/links", list.id)>
                    <button class="button">"Download links (CSV)"</button>
                </form>
            </details>
        }
    });
    view! {
        <section class="sheet" data-invited=done data-left=left>
            <h2>{title}</h2>
            <progress max=all value=done aria-label="Accounts made">
                {done}
            </progress>
            {counts(list)}
            <p>{mails} " " <a href="">"Show the newest figures"</a></p>
            {links}
        </section>
    }
    .into_any()
}

fn rows(list: &InvitationList) -> AnyView {
    let (problems, fine): (Vec<ListedPerson>, Vec<ListedPerson>) =
        list.rows.iter().cloned().partition(|person| person.state != ListedState::New);
    let line = |person: ListedPerson| {
        let why = match person.state {
            ListedState::Known => "already here",
            ListedState::Repeated => "listed twice",
            ListedState::NotAnAddress => "no usable address",
            ListedState::New | ListedState::Invited => "",
        };
        let role = match person.role {
            Role::Administrator => "Administrator",
            Role::User => "User",
        };
        let usable = person.state != ListedState::NotAnAddress;
        view! {
            <li>
                {if usable {
                    view! {
                        <span class="address">{person.address}</span>
                        " "
                        {person.name}
                        <span class="quiet">" " {role}</span>
                    }
                        .into_any()
                } else {
                    view! { <code>{person.line}</code> }.into_any()
                }} {(!why.is_empty()).then(|| view! { <span class="badge warning">{why}</span> })}
            </li>
        }
    };
    let block = |title: &'static str, people: Vec<ListedPerson>| {
        (!people.is_empty()).then(|| {
            let lines = people.into_iter().map(line).collect_view();
            view! {
                <section class="sheet">
                    <h2>{title}</h2>
                    <ul class="listed">{lines}</ul>
                </section>
            }
        })
    };
    view! {
        {block("Left out", problems)}
        {block("To be invited (the first 200)", fine)}
    }
    .into_any()
}
