//! User Account > Email, and the redirect URI.

use leptos::prelude::*;

#[cfg(feature = "ssr")]
use super::request::{Request, id};
#[cfg(feature = "ssr")]
use crate::backend::{Callback, Completed, Decision, NextPage, TurnedAway};
use crate::error::AppError;
#[cfg(feature = "ssr")]
use crate::model::{ACCOUNT_PATH, Flash, FormName, LOGIN_PATH};

#[server(name = ConfigureAndTest, prefix = "/api", endpoint = "configure_and_test")]
pub async fn configure_and_test(email: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.mailboxes.start(&request.user()?, &request.visitor, &email).await };
    request.provider(ACCOUNT_PATH, FormName::Connect, &[("email", &email)], work).await
}

/// Completes a sign-in (called by the island); returns the next page, here or at Microsoft.
#[server(name = CompleteSignIn, prefix = "/api", endpoint = "complete_sign_in")]
pub async fn complete_sign_in(
    #[server(default)] state: String,
    code: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
    iss: Option<String>,
    admin_consent: Option<String>,
    plain: Option<String>,
) -> Result<String, AppError> {
    let request = Request::current().await?;
    let callback = Callback { state, code, error, error_description, iss, admin_consent };
    // Without JavaScript the checks start here.
    let (next, notice) = match request.backend.mailboxes.complete(&request.visitor, callback, plain.is_some()).await {
        Ok(Completed { next, cookies, notice }) => {
            cookies.iter().for_each(|cookie| request.set_cookie(cookie));
            (next, notice)
        }
        Err(TurnedAway { notice, path }) => (NextPage::Path(path), Some(notice)),
    };
    let path = match next {
        NextPage::Path(path) => path,
        // Signed in; Microsoft is asked for the mailbox next.
        NextPage::Provider(redirect) => {
            if let Some(notice) = notice {
                request.leave(FormName::Connect, Flash::notice(notice)).await;
            }
            if plain.is_some() {
                request.redirect_to_provider(&redirect);
            } else {
                request.set_cookie(&redirect.cookie);
            }
            return Ok(redirect.url);
        }
    };
    if let Some(notice) = notice {
        let form = match path.as_str() {
            path if path.starts_with(LOGIN_PATH) => FormName::SignIn,
            path if path.starts_with("/invitation/") => FormName::Invitation,
            ACCOUNT_PATH => FormName::Connect,
            _ => FormName::EmailConfig,
        };
        request.leave(form, Flash::notice(notice)).await;
    }
    if plain.is_some() {
        request.go(&path);
    }
    Ok(path)
}

/// Starts the checks of an attempt once (called by the island).
#[server(name = RunChecks, prefix = "/api", endpoint = "run_checks")]
pub async fn run_checks(attempt: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.mailboxes.run(&request.user()?, id(&attempt)?).await };
    request.answer(work.await)
}

#[server(name = Decide, prefix = "/api", endpoint = "decide")]
pub async fn decide(attempt: String, decision: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async {
        let decision = match decision.as_str() {
            "again" => Decision::SignInAgain,
            "continue" => Decision::ContinueWithTyped,
            "instead" => Decision::UseSignedIn,
            _ => return Err(AppError::Malformed.into()),
        };
        request.backend.mailboxes.decide(&request.user()?, &request.visitor, id(&attempt)?, decision).await
    };
    match work.await {
        Ok(NextPage::Path(path)) => request.go(&path),
        Ok(NextPage::Provider(redirect)) => request.redirect_to_provider(&redirect),
        Err(error) => request.refuse(ACCOUNT_PATH, FormName::Connect, &[], error).await,
    }
    Ok(())
}

/// Runs the checks again, with the stored grant.
#[server(name = TryAgain, prefix = "/api", endpoint = "try_again")]
pub async fn try_again(mailbox: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.mailboxes.try_again(&request.user()?, id(&mailbox)?).await };
    request.next(ACCOUNT_PATH, FormName::Connect, work).await
}

#[server(name = SetAliases, prefix = "/api", endpoint = "set_aliases")]
pub async fn set_aliases(mailbox: String, #[server(default)] aliases: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async {
        request.backend.mailboxes.set_aliases(&request.user()?, id(&mailbox)?, &aliases).await.map(Flash::notice)
    };
    request.form(ACCOUNT_PATH, FormName::Aliases, &[("aliases", &aliases)], work).await
}

#[server(name = Disconnect, prefix = "/api", endpoint = "disconnect")]
pub async fn disconnect(mailbox: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.mailboxes.disconnect(&request.user()?, id(&mailbox)?).await };
    request.notice(ACCOUNT_PATH, FormName::Connect, work).await
}
