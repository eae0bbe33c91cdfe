//! One file per route. A page checks the session, calls a trait, and shows the result.

mod account;
mod attempt;
mod attempts;
mod audit;
mod callback;
mod compose;
mod credentials;
mod device;
mod drafts;
mod email_config;
mod email_form;
mod graph;
mod guide;
mod home;
mod inbox;
mod invitation;
mod invite;
mod login;
mod mail_health;
mod message;
mod not_found;
mod notifications;
mod outbox;
mod own_programs;
mod person;
mod programs;
mod sender_domains;
mod setup;
mod sign_in_settings;
mod users;

pub use account::Account;
pub use attempt::Attempt;
pub use attempts::Attempts;
pub use audit::Audit;
pub use callback::Callback;
pub use compose::Compose;
pub use credentials::Credentials;
pub use device::Device;
pub use drafts::Drafts;
pub use email_config::EmailConfig;
pub use home::Home;
pub use inbox::Inbox;
pub use invitation::Invitation;
pub use invite::{InviteList, InviteMany};
pub use login::Login;
pub use mail_health::MailHealth;
pub use message::Message;
pub use not_found::NotFound;
pub use outbox::{Outbox, SentMessage};
pub use own_programs::OwnPrograms;
pub use person::Person;
pub use programs::Programs;
pub use sign_in_settings::SignInRules;
pub use users::Users;

use crate::model::{ACCOUNT_PATH, FormName};
use http::StatusCode;
use leptos::prelude::*;
use leptos_axum::ResponseOptions;

use crate::backend::{Administrator, Backend, MailOwner, Result, SignedIn, Visitor};
use crate::components::{Banner, Layout, Section};
use crate::error::AppError;
use crate::model::{AppPath, Flash, Tone};

#[derive(Clone)]
struct Page {
    visitor: Visitor,
    backend: Backend,
    response: ResponseOptions,
    uri: http::Uri,
    /// The request refreshes the live part of an open page: it must not take the flash.
    live: bool,
}

impl Page {
    fn current() -> Option<Self> {
        let uri = use_context::<http::request::Parts>().map(|parts| parts.uri).unwrap_or_default();
        let live = uri.query().is_some_and(|query| query.split('&').any(|pair| pair == crate::model::LIVE));
        Some(Self { visitor: use_context()?, backend: use_context()?, response: use_context()?, uri, live })
    }

    /// A form's result, if any; field errors and typed values only for this page's forms.
    async fn flash(&self, forms: &[FormName]) -> Flash {
        if self.live {
            return Flash::default();
        }
        let flash = self.backend.flashes.take(&self.visitor).await.unwrap_or_default();
        if let Some(cookie) = self.backend.flashes.forget(&self.visitor)
            && let Ok(value) = http::HeaderValue::from_str(&cookie.0)
        {
            self.response.append_header(http::header::SET_COOKIE, value);
        }
        if forms.contains(&flash.form) {
            return flash;
        }
        // A flash without a session belongs to its form's page; with a session it may be shown anywhere.
        let is_elsewhere = self.visitor.person.is_none() && flash.form != FormName::Any;
        Flash { notice: flash.notice.filter(|_| !is_elsewhere), ..Flash::default() }
    }

    /// Loads the page again after some seconds, while something goes on without a click.
    fn reload(&self, seconds: &'static str) {
        let name = http::HeaderName::from_static("refresh");
        self.response.insert_header(name, http::HeaderValue::from_static(seconds));
    }

    fn status(&self, status: u16) {
        self.response.set_status(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    }

    fn to_login(&self) {
        let asked = self.uri.path_and_query().map(http::uri::PathAndQuery::as_str);
        leptos_axum::redirect(&AppPath::parse(asked).login());
    }
}

/// A page for signed-in users; others get the sign-in page.
fn signed_in_page<F, Fut>(render: F) -> AnyView
where
    F: FnOnce(Page, SignedIn) -> Fut + Send + 'static,
    Fut: Future<Output = Result<AnyView>> + Send + 'static,
{
    let Some(page) = Page::current() else { return ().into_any() };
    Suspend::new(async move {
        let Ok(user) = page.visitor.signed_in() else {
            page.to_login();
            return ().into_any();
        };
        match render(page.clone(), user.clone()).await {
            Ok(view) => view,
            Err(error) => trouble(&page, user, &page.backend.told(error)),
        }
    })
    .into_any()
}

fn mail_page<F, Fut>(render: F) -> AnyView
where
    F: FnOnce(Page, MailOwner) -> Fut + Send + 'static,
    Fut: Future<Output = Result<AnyView>> + Send + 'static,
{
    signed_in_page(|page, user| async move { render(page, user.mail()?).await })
}

fn administrator_page<F, Fut>(render: F) -> AnyView
where
    F: FnOnce(Page, Administrator) -> Fut + Send + 'static,
    Fut: Future<Output = Result<AnyView>> + Send + 'static,
{
    signed_in_page(|page, user| async move { render(page, user.administrator()?).await })
}

fn open_page<F, Fut>(render: F) -> AnyView
where
    F: FnOnce(Page) -> Fut + Send + 'static,
    Fut: Future<Output = AnyView> + Send + 'static,
{
    match Page::current() {
        Some(page) => Suspend::new(render(page)).into_any(),
        None => ().into_any(),
    }
}

fn trouble(page: &Page, user: SignedIn, error: &AppError) -> AnyView {
    page.status(error.status());
    let title = match error {
        AppError::Forbidden => "Not allowed",
        AppError::MailLocked => "Your mail is hidden",
        AppError::NotFound => "Not found",
        _ => "Something went wrong",
    };
    let text = error.to_string();
    let locked = matches!(error, AppError::MailLocked);
    view! {
        <Layout user title section=Section::Other>
            <Banner tone=Tone::Problem title=text />
            {locked
                .then(|| {
                    view! {
                        <p>
                            <a class="button primary" href=ACCOUNT_PATH>
                                "User Account › Email"
                            </a>
                        </p>
                    }
                })}
            <p>
                <a class="button" href="/">
                    "Go to the home page"
                </a>
            </p>
        </Layout>
    }
    .into_any()
}
