//! Institution › Users, for administrators.

use crate::api::accounts::{
    DisconnectPersonsMailbox, DismissUndelivered, Invite, RenewInvitation, SetDisabled, SetRole,
};
use crate::model::FormName;
use leptos::prelude::*;
use leptos::server_fn::ServerFn;

use super::administrator_page;
use crate::components::{
    DiagnosisSheet, ErrorSummary, Layout, RadioGroup, Section, Submit, TextInput, Time, state_badge,
};
use crate::islands::SubmitButton;
use crate::model::{MailboxState, MailboxView, Role, UserId, UserRow};

/// `/institution/users`
#[component]
pub fn Users() -> impl IntoView {
    administrator_page(|page, admin| async move {
        let flash = page.flash(&[FormName::Invite, FormName::Users]).await;
        let people = page.backend.accounts.people(&admin).await?;
        let viewer = admin.user_id();
        let count = people.len();
        let rows = people.into_iter().map(|person| row(person, viewer)).collect_view();
        let fields = flash.clone();
        Ok(view! {
            <Layout
                user=(*admin).clone()
                title="Users"
                trail="Institution"
                lead="Who can sign in, and whose mailbox works."
                section=Section::Users
                flash=flash.clone()
            >
                <ErrorSummary flash title="No invitation sent. Check the email address." />
                <div class="columns">
                    <div class="main-column">
                        <section class="sheet">
                            <h2>{format!("People ({count})")}</h2>
                            <ul class="people">{rows}</ul>
                        </section>
                    </div>
                    <div class="side-column">
                        <section class="sheet">
                            <h2>"Invite people"</h2>
                            <form method="post" action=Invite::PATH>
                                <TextInput name="email" label="Email" kind="email" hint="They get a link to set a password." flash=fields.clone() />
                                <RadioGroup
                                    name="role"
                                    legend="Role"
                                    options=vec![("user", "User"), ("administrator", "Administrator")]
                                    chosen="user"
                                    flash=fields
                                />
                                <SubmitButton label="Invite".to_owned() busy="Inviting…".to_owned() />
                            </form>
                        </section>
                    </div>
                </div>
            </Layout>
        }.into_any())
    })
}

fn row(person: UserRow, viewer: UserId) -> AnyView {
    let UserRow { id, address, role, has_password, invited_until, disabled_at, mailboxes, undelivered } = person;
    let user = id.to_string();
    let state = match (disabled_at, has_password, invited_until) {
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
    let (role_label, other_role, change) = match role {
        Role::Administrator => ("Administrator", "user", "Change to user"),
        Role::User => ("User", "administrator", "Change to administrator"),
    };
    let disabled = disabled_at.is_some();
    let boxes = if mailboxes.is_empty() {
        view! { <p class="quiet">"No mailbox connected."</p> }.into_any()
    } else {
        mailboxes
            .into_iter()
            .map(|MailboxView { id, address, state, problem, .. }| {
                let problem = problem.filter(|_| state != MailboxState::Connected).map(|problem| {
                    view! {
                        <details class="more">
                            <summary>{problem.title.clone()}</summary>
                            <p>{problem.summary.clone()}</p>
                            <DiagnosisSheet diagnosis=problem />
                        </details>
                    }
                });
                view! {
                    <div class="person-mailbox">
                        <span class="address">{address.clone()}</span>
                        {state_badge(state)}
                        {problem}
                        <details class="confirm">
                            <summary class="danger">"Disconnect " {address}</summary>
                            <p>"Entrepost deletes its tokens. Its owner can connect it again."</p>
                            <Submit
                                action=DisconnectPersonsMailbox::PATH
                                values=vec![("mailbox", id.to_string())]
                                label="Yes, disconnect"
                                class="button danger"
                            />
                        </details>
                    </div>
                }
            })
            .collect_view()
            .into_any()
    };
    let (label, person) = (address.clone(), address.clone());
    view! {
        <li class="person" data-person=person>
            <div class="sheet-head">
                <div>
                    <h3 class="address">{address} {(id == viewer).then_some(" (you)")}</h3>
                    <p class="quiet">{role_label}</p>
                </div>
                <div>{state}</div>
            </div>
            {undelivered
                .map(|why| {
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
                })}
            {boxes}
            <details class="more">
                <summary>"Change " {label}</summary>
                <div class="actions">
                    {(!disabled)
                        .then(|| {
                            view! {
                                <Submit action=RenewInvitation::PATH values=vec![("user", user.clone())] label="New password link" />
                                <Submit action=SetRole::PATH values=vec![("user", user.clone()), ("role", other_role.to_owned())] label=change />
                            }
                        })}
                    {if disabled {
                        view! { <Submit action=SetDisabled::PATH values=vec![("user", user.clone()), ("disabled", "false".to_owned())] label="Enable" /> }
                            .into_any()
                    } else {
                        view! {
                            <Submit
                                action=SetDisabled::PATH
                                values=vec![("user", user.clone()), ("disabled", "true".to_owned())]
                                label="Disable"
                                class="button danger"
                            />
                        }
                            .into_any()
                    }}
                </div>
                <p class="quiet">"Disabling signs them out and deletes the tokens of their mailboxes."</p>
            </details>
        </li>
    }
    .into_any()
}
