//! Institution › Audit log, for administrators.

use leptos::prelude::*;
use leptos_router::hooks::use_query_map;
use strum::VariantArray;

use super::administrator_page;
use crate::components::{Layout, Section, Time};
use crate::model::{AUDIT_CSV_PATH, AUDIT_PATH, AuditGroup, AuditPage, AuditQuery, AuditRow, FormName};

/// `/institution/audit`
#[component]
pub fn Audit() -> impl IntoView {
    let map = use_query_map().get_untracked();
    let query = AuditQuery::parse(|name| map.get(name));
    administrator_page(move |page, admin| async move {
        let flash = page.flash(&[FormName::Any]).await;
        let list = page.backend.audit.page(&admin, &query).await?;
        let lead = format!("Who did what, when and from where. Entries are kept for {} days.", list.kept_days);
        Ok(view! {
            <Layout user=(*admin).clone() title="Audit log" trail="Institution" lead section=Section::Audit flash>
                {table(list, &query)}
            </Layout>
        }
        .into_any())
    })
}

fn table(list: AuditPage, query: &AuditQuery) -> AnyView {
    let groups = AuditGroup::VARIANTS.iter().map(|group| {
        view! {
            <option value=group.as_str() selected=query.group == Some(*group)>
                {group.label()}
            </option>
        }
    });
    let groups = groups.collect_view();
    let date = |date: Option<time::Date>| date.map(|date| date.to_string()).unwrap_or_default();
    let hidden = query.values().into_iter().filter(|(name, _)| *name != "before");
    let hidden = hidden.map(|(name, value)| view! { <input type="hidden" name=name value=value /> }).collect_view();
    let next = list.rows.last().filter(|_| list.more).map(|last| {
        let path = AuditQuery { before: Some(last.number), ..query.clone() }.path();
        view! {
            <a class="button" href=path>
                "Older entries"
            </a>
        }
    });
    let back = query.before.map(|_| {
        view! {
            <a
                class="button"
                href=AuditQuery {
                    before: None,
                    ..query.clone()
                }
                    .path()
            >
                "Newest entries"
            </a>
        }
    });
    let empty = list.rows.is_empty();
    let rows = list.rows.into_iter().map(row).collect_view();
    view! {
        <section class="sheet" aria-labelledby="audit-title">
            <h2 id="audit-title">"Entries"</h2>
            <search>
                <form method="get" action=AUDIT_PATH class="audit-search">
                    <label>
                        <span>"What"</span>
                        <select name="what">
                            <option value="">"Everything"</option>
                            {groups}
                        </select>
                    </label>
                    <label>
                        <span>"Address"</span>
                        <input name="person" type="search" value=query.person.clone() />
                    </label>
                    <label>
                        <span>"From day (UTC)"</span>
                        <input name="from" type="date" value=date(query.from) />
                    </label>
                    <label>
                        <span>"To day (UTC)"</span>
                        <input name="to" type="date" value=date(query.to) />
                    </label>
                    <button class="button">"Show"</button>
                </form>
            </search>
            {if empty {
                view! { <p>"No entries fit."</p> }.into_any()
            } else {
                view! {
                    <table class="people-table audit-table">
                        <thead>
                            <tr>
                                <th scope="col">"When"</th>
                                <th scope="col">"Who"</th>
                                <th scope="col">"What"</th>
                                <th scope="col">"Details"</th>
                            </tr>
                        </thead>
                        <tbody>{rows}</tbody>
                    </table>
                }
                    .into_any()
            }}
            <div class="actions">
                {back} {next} <form method="post" action=AUDIT_CSV_PATH>
                    {hidden}
                    <button class="button">"Download as CSV"</button>
                </form>
            </div>
        </section>
    }
    .into_any()
}

fn row(entry: AuditRow) -> AnyView {
    let details = entry.details.into_iter().map(|(name, value)| {
        view! { <li>{format!("{name}: ")} <span class="address">{value}</span></li> }
    });
    let details = details.collect_view();
    let who = if entry.actor.is_empty() { "Not signed in".to_owned() } else { entry.actor };
    let subject = (!entry.subject.is_empty() && entry.subject != who)
        .then(|| view! { <span class="address audit-subject">{entry.subject}</span> });
    view! {
        <tr data-action=entry.action.as_str()>
            <td data-label="When">
                <Time at=entry.at />
            </td>
            <td data-label="Who">
                <span class="address">{who}</span>
                {(!entry.origin.is_empty()).then(|| view! { <span class="quiet">{format!("from {}", entry.origin)}</span> })}
            </td>
            <td data-label="What">
                <strong>{entry.action.label()}</strong>
                {subject}
            </td>
            <td data-label="Details">
                <ul class="plain">{details}</ul>
            </td>
        </tr>
    }
    .into_any()
}
