//! The request of a server function.

use std::future::Future;

use http::{HeaderName, HeaderValue, StatusCode, header};
use leptos::prelude::{expect_context, use_context};
use leptos_axum::ResponseOptions;

use crate::backend::{
    Administrator, Backend, BackendError, Cookie, MailOwner, ProviderRedirect, Result, SignedIn, Visitor,
};
use crate::error::AppError;
use crate::model::{AppPath, Flash, FormName, LOGIN_PATH, Notice, Tone};

/// Marks responses with our status; others come from unreadable bodies.
pub const HANDLED: HeaderName = HeaderName::from_static("x-entrepost-handled");
/// Marks a failed form whose result couldn't be stored; the router shows it.
pub const NOT_STORED: HeaderName = HeaderName::from_static("x-entrepost-not-stored");
/// Target of a forwarding page, which the router renders.
pub const PROVIDER_REDIRECT: HeaderName = HeaderName::from_static("x-entrepost-provider-redirect");

pub struct Request {
    pub visitor: Visitor,
    pub backend: Backend,
    response: ResponseOptions,
}

pub(super) fn id<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| AppError::NotFound.into())
}

impl Request {
    pub async fn current() -> Result<Self, AppError> {
        let response = expect_context::<ResponseOptions>();
        response.insert_header(HANDLED, HeaderValue::from_static("1"));
        let visitor = use_context::<Visitor>().ok_or(AppError::NotFound)?;
        let mut request = Self { visitor, backend: expect_context(), response };
        request.check_session_again().await;
        Ok(request)
    }

    /// Reloads the session after a slow body.
    pub async fn check_session_again(&mut self) {
        if let Some(person) = self.visitor.person.take() {
            self.visitor.person = self.backend.accounts.again(&person).await;
        }
    }

    pub fn user(&self) -> Result<SignedIn> {
        Ok(self.visitor.signed_in()?)
    }

    pub fn mail_owner(&self) -> Result<MailOwner> {
        Ok(self.visitor.signed_in()?.mail()?)
    }

    pub fn administrator(&self) -> Result<Administrator> {
        Ok(self.visitor.administrator()?)
    }

    /// Makes the browser delete stored pages and typed text.
    pub fn clear_site_data(&self) {
        let name = HeaderName::from_static("clear-site-data");
        self.response.insert_header(name, HeaderValue::from_static("\"cache\", \"storage\""));
    }

    pub fn set_cookie(&self, cookie: &Cookie) {
        if let Ok(value) = HeaderValue::from_str(&cookie.0) {
            self.response.append_header(header::SET_COOKIE, value);
        }
    }

    /// The page of a form, with its query if it has this one; browsers say it to pages of the same origin.
    pub fn page_with(&self, path: &str, query: &str) -> String {
        let came_from = || {
            let parts = use_context::<http::request::Parts>()?;
            let page: http::Uri = parts.headers.get(header::REFERER)?.to_str().ok()?.parse().ok()?;
            let value = page.query()?.strip_prefix(query)?.strip_prefix('=')?;
            let is_plain = value.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            (page.path() == path && is_plain).then(|| format!("{path}?{query}={value}"))
        };
        came_from().unwrap_or_else(|| path.to_owned())
    }

    /// Redirects to `path`.
    pub fn go(&self, path: &str) {
        let path = if HeaderValue::from_str(path).is_ok() { path } else { "/" };
        leptos_axum::redirect(path);
    }

    /// Forwards by a refresh page: form-action would block redirects to unknown hosts.
    pub(super) fn redirect_to_provider(&self, redirect: &ProviderRedirect) {
        self.set_cookie(&redirect.cookie);
        if let Ok(url) = HeaderValue::from_str(&redirect.url) {
            self.response.insert_header(PROVIDER_REDIRECT, url);
        }
    }

    /// Stores a form's result for the next page. `false` if storing failed.
    pub async fn leave(&self, form: FormName, mut flash: Flash) -> bool {
        flash.form = form;
        match self.backend.flashes.put(&self.visitor, flash).await {
            Ok(cookie) => {
                self.set_cookie(&cookie);
                true
            }
            Err(error) => {
                self.backend.told(error);
                false
            }
        }
    }

    /// Answers a plain form: stores the result under the form's name and redirects to `path`. `typed` is shown
    /// again after an error; never a secret.
    pub async fn form(
        &self,
        path: &str,
        form: FormName,
        typed: &[(&str, &str)],
        work: impl Future<Output = Result<Flash>>,
    ) -> Result<(), AppError> {
        match work.await {
            Ok(flash) => {
                self.leave(form, flash).await;
                self.go(path);
            }
            Err(error) => self.refuse(path, form, typed, error).await,
        }
        Ok(())
    }

    /// [`Request::form`] for work that returns a notice.
    pub async fn notice(
        &self,
        path: &str,
        form: FormName,
        work: impl Future<Output = Result<Notice>>,
    ) -> Result<(), AppError> {
        self.form(path, form, &[], async { work.await.map(Flash::notice) }).await
    }

    /// [`Request::form`] for work that returns the next page.
    pub async fn next(
        &self,
        path: &str,
        form: FormName,
        work: impl Future<Output = Result<String>>,
    ) -> Result<(), AppError> {
        match work.await {
            Ok(next) => self.go(&next),
            Err(error) => self.refuse(path, form, &[], error).await,
        }
        Ok(())
    }

    /// [`Request::form`] for work that leads to Microsoft.
    pub async fn provider(
        &self,
        path: &str,
        form: FormName,
        typed: &[(&str, &str)],
        work: impl Future<Output = Result<ProviderRedirect>>,
    ) -> Result<(), AppError> {
        match work.await {
            Ok(redirect) => self.redirect_to_provider(&redirect),
            Err(error) => self.refuse(path, form, typed, error).await,
        }
        Ok(())
    }

    /// Stores a form's error and typed values.
    pub async fn refuse(&self, path: &str, form: FormName, typed: &[(&str, &str)], error: BackendError) {
        let error = self.backend.told(error);
        if error == AppError::NotSignedIn {
            self.leave(FormName::SignIn, problem(&error)).await;
            return self.go(&AppPath::parse(Some(path)).login());
        }
        let mut flash = problem(&error);
        flash.typed = typed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        // Without a message the page would look successful; the router answers.
        if !self.leave(form, flash).await {
            self.response.insert_header(NOT_STORED, HeaderValue::from_static("1"));
        }
        self.go(path);
    }

    /// Answers an island: the status is the error's.
    pub fn answer<T>(&self, result: Result<T>) -> Result<T, AppError> {
        result.map_err(|error| {
            let error = self.backend.told(error);
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            self.response.set_status(status);
            error
        })
    }

    /// Signs out; the notice is for the next user of this browser.
    pub async fn go_to_login(&mut self, notice: Notice) {
        self.visitor.person = None;
        self.leave(FormName::SignIn, Flash::notice(notice)).await;
        self.go(LOGIN_PATH);
    }
}

fn problem(error: &AppError) -> Flash {
    match error {
        AppError::Invalid { fields } => Flash { errors: fields.clone(), ..Flash::default() },
        AppError::Diagnosed { diagnosis } => Flash {
            diagnosis: Some((**diagnosis).clone()),
            ..Flash::notice(Notice::new(Tone::Problem, diagnosis.title.clone(), diagnosis.summary.clone()))
        },
        other => Flash::notice(Notice::problem(&other.to_string())),
    }
}
