//! Layout of every page.

use crate::api::accounts::SignOut;
use crate::model::{
    ACCOUNT_PATH, AUDIT_PATH, EMAIL_CONFIG_PATH, INBOX_PATH, MAIL_HEALTH_PATH, PROGRAMS_PATH, SIGN_IN_SETTINGS_PATH,
    USERS_PATH,
};
use leptos::prelude::*;
use leptos::server_fn::ServerFn;
use leptos_meta::Title;

use crate::backend::{SignedIn, Visitor};
use crate::model::{Flash, Role, Timestamp};

use super::Banner;
use crate::islands::CopyButton;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    Home,
    Institution,
    Users,
    Audit,
    Health,
    Mail,
    Account,
    Other,
}

fn brand(institution: &str) -> impl IntoView + use<> {
    view! {
        <a class="brand" href="/">
            <svg viewBox="0 0 26 20" width="26" height="20" aria-hidden="true">
                <rect x="1" y="1" width="24" height="18" rx="3" fill="none" stroke="currentColor" stroke-width="2" />
                <path d="M2.5 3.5 13 12 23.5 3.5" fill="none" stroke="currentColor" stroke-width="2" stroke-linejoin="round" />
            </svg>
            <strong>"Entrepost"</strong>
            <span class="brand-institution">{institution.to_owned()}</span>
        </a>
    }
}

fn prompt(flash: &Flash) -> Option<impl IntoView + use<>> {
    flash.notice.clone().map(|notice| {
        let copy = notice.copy.map(|(value, label)| {
            view! {
                <div class="copyable">
                    <code>{value.clone()}</code>
                    <CopyButton text=value label />
                </div>
            }
        });
        let undo = notice.undo.map(|undo| {
            let values =
                undo.values.into_iter().map(|(name, value)| view! { <input type="hidden" name=name value=value /> });
            view! {
                <form method="post" action=undo.action class="undo">
                    {values.collect_view()}
                    <button class="button small">"Undo"</button>
                </form>
            }
        });
        // The result of the pressed button gets the focus.
        view! {
            <Banner focused=true tone=notice.tone title=notice.title text=notice.text>
                {copy}
                {undo}
            </Banner>
        }
    })
}

/// The title begins with a form's result: screen readers read it first.
fn window_title(result: Option<String>, title: &str, trail: &str) -> String {
    let parts = [result.as_deref().unwrap_or_default(), title, trail, "Entrepost"];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ")
}

#[component]
pub fn Layout(
    user: SignedIn,
    #[prop(into)] title: String,
    /// Breadcrumb: `User Account`, `Institution Config › General`.
    #[prop(into, optional)]
    trail: String,
    #[prop(into, optional)] lead: String,
    section: Section,
    #[prop(optional)] flash: Option<Flash>,
    #[prop(optional_no_strip)] result: Option<String>,
    /// Id and name of the page's list, for a skip link.
    #[prop(optional_no_strip)]
    list: Option<(&'static str, &'static str)>,
    children: Children,
) -> impl IntoView {
    let result = flash.as_ref().and_then(Flash::result).or(result);
    let admin = user.role() == Role::Administrator;
    let address = user.address().to_owned();
    let name = address.split('@').next().unwrap_or_default().to_owned();
    let initial = name.chars().next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    let current = move |this: Section| (section == this).then_some("page");
    let institution = user.institution().name.clone();
    view! {
        <Title text=window_title(result, &title, &trail) />
        <a class="skip" href="#content">
            "Skip to content"
        </a>
        {list
            .map(|(id, name)| {
                view! {
                    <a class="skip" href=format!("#{id}")>
                        "Skip to "
                        {name}
                    </a>
                }
            })}
        <header class="top">
            <div class="band" aria-hidden="true"></div>
            <div class="top-row">
                {brand(&institution)} <nav aria-label="Main">
                    <a href="/" aria-current=current(Section::Home)>
                        "Home"
                    </a>
                    <a href=INBOX_PATH aria-current=current(Section::Mail)>
                        "Mail"
                    </a>
                    {admin
                        .then(|| {
                            view! {
                                <a href=MAIL_HEALTH_PATH aria-current=current(Section::Health)>
                                    "Mail health"
                                </a>
                                <a href=EMAIL_CONFIG_PATH aria-current=current(Section::Institution)>
                                    "Institution"
                                </a>
                                <a href=USERS_PATH aria-current=current(Section::Users)>
                                    "Users"
                                </a>
                            }
                        })}
                </nav> <div class="user">
                    <button type="button" class="user-button" popovertarget="user-menu">
                        <span class="visually-hidden">"Account menu: "</span>
                        <span class="avatar" aria-hidden="true">
                            {initial}
                        </span>
                        <span class="user-name">{name}</span>
                        <span aria-hidden="true">"▾"</span>
                    </button>
                    <div id="user-menu" class="menu" popover="auto">
                        <p class="quiet menu-who">{address}</p>
                        <a href=ACCOUNT_PATH>"User Account › Email"</a>
                        {admin
                            .then(|| {
                                view! {
                                    <a href=EMAIL_CONFIG_PATH>"Institution Config › General › Email"</a>
                                    <a href=SIGN_IN_SETTINGS_PATH>"Institution Config › General › Sign-in"</a>
                                    <a href=USERS_PATH>"Institution › Users"</a>
                                    <a href=MAIL_HEALTH_PATH>"Institution › Mail health"</a>
                                    <a href=PROGRAMS_PATH>"Institution › Programs and devices"</a>
                                    <a href=AUDIT_PATH>"Institution › Audit log"</a>
                                }
                            })}
                        <form method="post" action=SignOut::PATH>
                            <button>"Sign out"</button>
                        </form>
                    </div>
                </div>
            </div>
        </header>
        <main id="content" tabindex="-1">
            {(!trail.is_empty()).then(|| view! { <p class="trail">{trail}</p> })}
            <h1 dir="auto">{title}</h1>
            {(!lead.is_empty()).then(|| view! { <p class="lead">{lead}</p> })}
            {flash.as_ref().map(prompt)}
            {children()}
        </main>
    }
}

/// Layout of pages without a session: sign-in, invitation.
#[component]
pub fn GuestLayout(
    visitor: Visitor,
    #[prop(into)] title: String,
    #[prop(optional)] flash: Option<Flash>,
    children: Children,
) -> impl IntoView {
    view! {
        <Title text=window_title(flash.as_ref().and_then(Flash::result), &title, "") />
        <div class="band" aria-hidden="true"></div>
        <main id="content" class="entrance">
            {brand(&visitor.institution.name)}
            {flash.as_ref().map(prompt)}
            <section class="sheet">
                <h1>{title}</h1>
                {children()}
            </section>
        </main>
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum TimeFormat {
    /// `26 November 2026, 21:17 UTC`
    #[default]
    Full,
    Short,
    Hour,
}

/// A time. Rendered in UTC; the browser converts it to its zone, named on hover.
#[component]
pub fn Time(at: Timestamp, #[prop(optional)] format: TimeFormat) -> impl IntoView {
    let moment =
        time::OffsetDateTime::from_unix_timestamp(at.0.div_euclid(1000)).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    let words = time::macros::format_description!("[day padding:none] [month repr:long] [year], [hour]:[minute] UTC");
    let day = time::macros::format_description!("[day padding:none] [month repr:short] [year]");
    let hour = time::macros::format_description!("[hour]:[minute] UTC, [day padding:none] [month repr:short]");
    let (text, name) = match format {
        TimeFormat::Full => (moment.format(words), None),
        TimeFormat::Short => (moment.format(day), Some("short")),
        TimeFormat::Hour => (moment.format(hour), Some("hour")),
    };
    view! {
        <time datetime=at.iso() data-format=name>
            {text.unwrap_or_default()}
        </time>
    }
}
