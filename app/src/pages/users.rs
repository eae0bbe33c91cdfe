//! Institution › Users, for administrators: the list of people.

use crate::api::accounts::{Invite, PeopleActionForm};
use leptos::prelude::*;
use leptos::server_fn::ServerFn;
use leptos_router::hooks::use_query_map;

use super::administrator_page;
use crate::components::{ErrorSummary, Layout, RadioGroup, Section, TextInput, badge, day};
use crate::islands::SubmitButton;
use crate::model::{
    FormName, INVITE_PATH, PeopleOrder, PeoplePage, PeopleQuery, PersonRow, PersonState, Role, USERS_PATH, UserId,
};

/// Institutions of up to so many people see the form for one person without asking for it.
const FEW: i64 = 12;

/// `/institution/users`
#[component]
pub fn Users() -> impl IntoView {
    let map = use_query_map().get_untracked();
    let query = PeopleQuery::parse(|name| map.get(name));
    administrator_page(move |page, admin| async move {
        let flash = page.flash(&[FormName::Invite, FormName::Users]).await;
        let list = page.backend.accounts.people(&admin, &query).await?;
        let invite_open = list.all() <= FEW || !flash.errors.is_empty();
        let fields = flash.clone();
        let inviting = list.inviting.first().map(|id| {
            view! {
                <p>
                    <a href=format!("{INVITE_PATH}/{id}")>"People are being invited: see how far it is"</a>
                </p>
            }
        });
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
                <div class="stack">
                    <details class="sheet invite" open=invite_open>
                        <summary>"Invite people"</summary>
                        <div class="invite-ways">
                            <form method="post" action=Invite::PATH>
                                <TextInput
                                    name="email"
                                    label="Email"
                                    kind="email"
                                    hint="They get a link with which they sign in the first time."
                                    flash=fields.clone()
                                />
                                <TextInput name="name" label="Name" optional=true flash=fields.clone() />
                                <RadioGroup
                                    name="role"
                                    legend="Role"
                                    options=vec![("user", "User"), ("administrator", "Administrator")]
                                    chosen="user"
                                    flash=fields
                                />
                                <SubmitButton label="Invite".to_owned() busy="Inviting…".to_owned() />
                            </form>
                            <div>
                                <p>"For many people, paste their addresses or a CSV file with names, addresses and roles."</p>
                                <a class="button" href=INVITE_PATH>
                                    "Invite many people"
                                </a>
                            </div>
                        </div>
                    </details>
                    {inviting}
                    {table(list, &query, admin.user_id())}
                </div>
            </Layout>
        }
        .into_any())
    })
}

fn table(list: PeoplePage, query: &PeopleQuery, viewer: UserId) -> AnyView {
    let all = list.all();
    let first = PeopleQuery { after: None, ..query.clone() };
    let chip = |state: Option<PersonState>, label: String, count: i64| {
        let path = PeopleQuery { state, cause: None, ..first.clone() }.path();
        let current = (first.state == state && first.cause.is_none()).then_some("true");
        view! {
            <li>
                <a class="chip" href=path aria-current=current data-state=state.map_or("all", PersonState::as_str)>
                    {label}
                    " "
                    <strong>{count}</strong>
                </a>
            </li>
        }
    };
    let chips: Vec<_> = std::iter::once(chip(None, "All".to_owned(), all))
        .chain(PersonState::ALL.into_iter().map(|state| chip(Some(state), state.label().to_owned(), list.count(state))))
        .collect();
    let orders = PeopleOrder::ALL
        .into_iter()
        .map(|order| {
            view! {
                <option value=order.as_str() selected=order == query.order>
                    {order.label()}
                </option>
            }
        })
        .collect_view();
    let next = list.rows.last().filter(|_| list.more).map(|last| {
        let path = PeopleQuery { after: Some(last.id), ..query.clone() }.path();
        view! {
            <a class="button" href=path>
                "Next page"
            </a>
        }
    });
    let back = query.after.map(|_| {
        view! {
            <a class="button" href=first.path()>
                "First page"
            </a>
        }
    });
    let only = query.cause.is_some().then(|| {
        let title = list.rows.iter().find_map(|person| person.problem.clone()).unwrap_or_default();
        view! { <p>"Only people whose mailbox has this problem: " <strong>{title}</strong> " " <a href=USERS_PATH>"Show everyone"</a></p> }
    });
    let empty = list.rows.is_empty();
    let to_remind = list.to_remind;
    let rows = list.rows.into_iter().map(|person| row(person, viewer)).collect_view();
    let here = query.path();
    view! {
        <section class="sheet" aria-labelledby="people-title">
            <h2 id="people-title">{format!("People ({all})")}</h2>
            <ul class="chips" aria-label="Filter by state">
                {chips}
            </ul>
            {only}
            <search>
                <form method="get" action=USERS_PATH class="search">
                    {query.state.map(|state| view! { <input type="hidden" name="state" value=state.as_str() /> })}
                    {query.cause.clone().map(|cause| view! { <input type="hidden" name="cause" value=cause /> })}
                    <label class="visually-hidden" for="q">
                        "Search name or address"
                    </label>
                    <input id="q" name="q" type="search" value=query.search.clone() placeholder="Search name or address" />
                    <label class="visually-hidden" for="order">
                        "Order"
                    </label>
                    <select id="order" name="order">
                        {orders}
                    </select>
                    <button class="button">"Show"</button>
                </form>
            </search>
            <form id="people" method="post" action=PeopleActionForm::PATH>
                <input type="hidden" name="list" value=here />
                <div class="actions bulk">
                    <button class="button" name="action" value="remind">
                        "Remind selected"
                    </button>
                    <button class="button" name="action" value="new_link">
                        "Send new link"
                    </button>
                    <details class="confirm">
                        <summary class="danger">"Disconnect or disable"</summary>
                        <p>"Disconnecting deletes the tokens of their mailboxes. Disabling also signs them out and ends their links."</p>
                        <button class="button danger" name="action" value="disconnect">
                            "Disconnect selected"
                        </button>
                        <button class="button danger" name="action" value="disable">
                            "Disable selected"
                        </button>
                    </details>
                    {(to_remind > 0)
                        .then(|| {
                            view! {
                                <button class="button" name="action" value="remind_all">
                                    {format!("Remind everyone who is not connected ({to_remind})")}
                                </button>
                            }
                        })}
                </div>
                {if empty {
                    view! { <p class="quiet empty">"No one matches."</p> }.into_any()
                } else {
                    view! {
                        <table class="people-table" role="table">
                            <thead role="rowgroup">
                                <tr role="row">
                                    <th role="columnheader" scope="col">
                                        <span class="visually-hidden">"Select"</span>
                                    </th>
                                    <th role="columnheader" scope="col">
                                        "Person"
                                    </th>
                                    <th role="columnheader" scope="col">
                                        "Account"
                                    </th>
                                    <th role="columnheader" scope="col">
                                        "Mailbox"
                                    </th>
                                    <th role="columnheader" scope="col">
                                        "Last sign-in"
                                    </th>
                                    <th role="columnheader" scope="col">
                                        <span class="visually-hidden">"Actions"</span>
                                    </th>
                                </tr>
                            </thead>
                            <tbody role="rowgroup">{rows}</tbody>
                        </table>
                    }
                        .into_any()
                }}
            </form>
            <div class="actions">{back} {next}</div>
        </section>
    }
    .into_any()
}

fn person_badge(state: PersonState) -> AnyView {
    let (class, sign) = match state {
        PersonState::Connected => ("badge ok", "●"),
        PersonState::Blocked => ("badge warning", "!"),
        PersonState::NeedsReconnect | PersonState::Disabled | PersonState::Left => ("badge bad", "✕"),
        PersonState::NotConnected => ("badge", "○"),
    };
    badge(class, sign, state.label())
}

fn row(person: PersonRow, viewer: UserId) -> AnyView {
    let PersonRow {
        id,
        address,
        name,
        role,
        has_password,
        state,
        problem,
        invited_until,
        last_sign_in_at,
        undelivered,
    } = person;
    let path = format!("{USERS_PATH}/{id}");
    let account = match invited_until {
        _ if has_password || matches!(state, PersonState::Disabled | PersonState::Left) => "",
        Some(_) => "Invited",
        None => "The invitation has expired",
    };
    let role = match role {
        Role::Administrator => "Administrator",
        Role::User => "User",
    };
    let (select, actions) = (format!("Select {address}"), format!("Actions for {address}"));
    let who = if name.is_empty() { address.clone() } else { name.clone() };
    let below = (!name.is_empty()).then(|| view! { <span class="address quiet">{address.clone()}</span> });
    view! {
        <tr role="row" data-person=address.clone()>
            <td role="cell" class="tick">
                <input type="checkbox" name="users[]" value=id.to_string() aria-label=select />
            </td>
            <td role="cell" class="who">
                <a class="address" href=path.clone()>
                    {who}
                </a>
                {(id == viewer).then_some(" (you)")}
                {below}
            </td>
            <td role="cell">
                {role} " " {(!account.is_empty()).then(|| view! { <span class="badge warning">{account}</span> })}
                {undelivered.then(|| view! { <span class="badge bad">"✕ Not delivered"</span> })}
            </td>
            <td role="cell">
                {person_badge(state)}
                {problem
                    .filter(|_| state != PersonState::Connected)
                    .map(|problem| {
                        view! {
                            <a class="cause" href=path.clone()>
                                {problem}
                            </a>
                        }
                    })}
            </td>
            <td role="cell" class="quiet" data-label="Last sign-in">
                {match last_sign_in_at {
                    Some(at) => day(at.0),
                    None => "never".to_owned(),
                }}
            </td>
            <td role="cell" class="row-menu">
                <details>
                    <summary aria-label=actions>"⋯"</summary>
                    <div class="menu">
                        <a class="button" href=path>
                            "Change "
                            {address.clone()}
                        </a>
                        <button class="button" name="action" value=format!("remind {id}")>
                            "Remind"
                        </button>
                        <button class="button" name="action" value=format!("new_link {id}")>
                            "Send new link"
                        </button>
                    </div>
                </details>
            </td>
        </tr>
    }
    .into_any()
}
