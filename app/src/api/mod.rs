//! Server functions, one file per area. Each is three lines: who is asking, may they, call the trait.
//!
//! Forms post to them directly, with and without JavaScript: such a function ends in a redirect to a fixed path,
//! and its answer waits in a short-lived row ([`crate::model::Flash`]). `__err` in an address is never read.

#![allow(clippy::too_many_arguments, reason = "one argument is one field of a form")]

pub mod accounts;
pub mod email_config;
pub mod inbox;
pub mod mail;
pub mod mailboxes;

#[cfg(feature = "ssr")]
pub use request::Request;

#[cfg(feature = "ssr")]
mod request {
    use std::future::Future;

    use http::{HeaderName, HeaderValue, StatusCode, header};
    use leptos::prelude::{expect_context, use_context};
    use leptos_axum::ResponseOptions;

    use crate::backend::{Backend, Cookie, ProviderRedirect, Visitor};
    use crate::error::AppError;
    use crate::model::{AppPath, Flash, Notice, Tone};

    /// Marks answers whose status is ours, so that the router can tell them from bodies that could not be read.
    const HANDLED: HeaderName = HeaderName::from_static("x-entrepost-handled");

    /// Marks a form that failed, and whose answer could not be kept either; the router says so.
    const UNKEPT: HeaderName = HeaderName::from_static("x-entrepost-unkept");

    /// Where the answer's page forwards to; the router makes the page.
    const PROVIDER_REDIRECT: HeaderName = HeaderName::from_static("x-entrepost-depart");

    /// Who is asking, and whom to ask.
    pub struct Request {
        pub visitor: Visitor,
        /// Whom.
        pub backend: Backend,
        response: ResponseOptions,
    }

    impl Request {
        /// The request that is being answered.
        ///
        /// # Errors
        /// [`AppError::NotFound`] outside an institution's host; the router answers those before anything gets here.
        pub async fn current() -> Result<Self, AppError> {
            let response = expect_context::<ResponseOptions>();
            response.insert_header(HANDLED, HeaderValue::from_static("1"));
            let visitor = use_context::<Visitor>().ok_or(AppError::NotFound)?;
            let mut request = Self { visitor, backend: expect_context(), response };
            request.ask_again().await;
            Ok(request)
        }

        /// Looks who is asking once more, behind a body that may have taken long: what was true before it decides nothing.
        pub async fn ask_again(&mut self) {
            if let Some(person) = self.visitor.person.take() {
                self.visitor.person = self.backend.accounts.again(&person).await;
            }
        }

        /// Has the browser forget what it keeps of this site: pages, and what was typed.
        pub fn forget_what_is_kept(&self) {
            let name = HeaderName::from_static("clear-site-data");
            self.response.insert_header(name, HeaderValue::from_static("\"cache\", \"storage\""));
        }

        /// Sets a cookie on the answer.
        pub fn set_cookie(&self, cookie: &Cookie) {
            if let Ok(value) = HeaderValue::from_str(&cookie.0) {
                self.response.append_header(header::SET_COOKIE, value);
            }
        }

        /// Sends the browser to `path` (or to the authority).
        pub fn go(&self, path: &str) {
            let path = if HeaderValue::from_str(path).is_ok() { path } else { "/" };
            leptos_axum::redirect(path);
        }

        /// Sends the browser to Microsoft: by a page that forwards. A redirect would be bound by `form-action`, and so would
        /// every further one there (a federated tenant leads on to a host that nobody here knows).
        pub fn redirect_to_provider(&self, departure: &ProviderRedirect) {
            self.set_cookie(&departure.cookie);
            if let Ok(url) = HeaderValue::from_str(&departure.url) {
                self.response.insert_header(PROVIDER_REDIRECT, url);
            }
        }

        /// Keeps the answer of a form for the page that comes next. `false`: nothing can be kept now.
        pub async fn leave(&self, form: &str, mut flash: Flash) -> bool {
            flash.form = form.to_owned();
            match self.backend.flashes.put(&self.visitor, flash).await {
                Ok(cookie) => {
                    self.set_cookie(&cookie);
                    true
                }
                Err(error) => {
                    leptos::logging::error!("cannot store the result of a form: {error}");
                    false
                }
            }
        }

        /// Answers a plain form: the work's answer or error is kept under the form's name, and the browser goes to
        /// `path`. `typed` is what to show again after an error, never a secret.
        pub async fn form(
            &self,
            path: &str,
            form: &str,
            typed: &[(&str, &str)],
            work: impl Future<Output = Result<Flash, AppError>>,
        ) {
            match work.await {
                Ok(flash) => {
                    self.leave(form, flash).await;
                    self.go(path);
                }
                Err(AppError::NotSignedIn) => {
                    self.leave("sign-in", problem(&AppError::NotSignedIn)).await;
                    self.go(&AppPath::parse(Some(path)).login());
                }
                Err(error) => {
                    let mut flash = problem(&error);
                    flash.typed = typed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
                    // A page that says nothing would look as if it had worked: the router answers in its stead.
                    if !self.leave(form, flash).await {
                        self.response.insert_header(UNKEPT, HeaderValue::from_static("1"));
                    }
                    self.go(path);
                }
            }
        }

        /// As [`Request::form`], for work whose answer is one notice.
        pub async fn notice(&self, path: &str, form: &str, work: impl Future<Output = Result<Notice, AppError>>) {
            self.form(path, form, &[], async { work.await.map(Flash::notice) }).await;
        }

        /// The answer of a function that an island calls: its status is the error's.
        ///
        /// # Errors
        /// The error itself.
        pub fn answer<T>(&self, result: Result<T, AppError>) -> Result<T, AppError> {
            if let Err(error) = &result {
                let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                self.response.set_status(status);
            }
            result
        }
    }

    /// An error as the answer of a form.
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
}
