//! Sign-in, invitations, people.

use leptos::prelude::*;

#[cfg(feature = "ssr")]
use super::request::{Request, id};
use crate::error::AppError;
#[cfg(feature = "ssr")]
use crate::model::{AppPath, Flash, FormName, Notice, Role, Tone, USERS_PATH};

/// Longest address shown again, in characters.
#[cfg(feature = "ssr")]
const MAX_ADDRESS: usize = 254;

#[server(name = SignIn, prefix = "/api", endpoint = "sign_in")]
pub async fn sign_in(email: String, password: String, #[server(default)] next: Option<String>) -> Result<(), AppError> {
    let request = Request::current().await?;
    match request.backend.accounts.sign_in(&request.visitor, &email, &password).await {
        Ok(cookies) => {
            cookies.iter().for_each(|cookie| request.set_cookie(cookie));
            request.go(AppPath::parse(next.as_deref()).as_str());
        }
        Err(error) => {
            let path = AppPath::parse(next.as_deref()).login();
            let typed: String = email.chars().take(MAX_ADDRESS).collect();
            request.refuse(&path, FormName::SignIn, &[("email", &typed)], error).await;
        }
    }
    Ok(())
}

#[server(name = SignOut, prefix = "/api", endpoint = "sign_out")]
pub async fn sign_out() -> Result<(), AppError> {
    let mut request = Request::current().await?;
    if let Ok(cookie) = request.backend.accounts.sign_out(&request.visitor).await {
        request.set_cookie(&cookie);
    }
    request.clear_site_data();
    request.go_to_login(Notice::new(Tone::Success, "You are signed out.", "")).await;
    Ok(())
}

#[server(name = AcceptInvitation, prefix = "/api", endpoint = "accept_invitation")]
pub async fn accept_invitation(token: String, password: String, repeated: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let accepted = if password == repeated {
        request.backend.accounts.accept_invitation(&request.visitor, &token, &password).await
    } else {
        Err(AppError::field("repeated", "Confirm password", "The two passwords don't match.").into())
    };
    match accepted {
        Ok(cookies) => {
            cookies.iter().for_each(|cookie| request.set_cookie(cookie));
            request.go("/");
        }
        // Redirects only to a well-formed token.
        Err(error) => {
            let safe: String =
                token.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '_').take(100).collect();
            request.refuse(&format!("/invitation/{safe}"), FormName::Invitation, &[], error).await;
        }
    }
    Ok(())
}

#[server(name = Invite, prefix = "/api", endpoint = "invite")]
pub async fn invite(email: String, role: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work =
        async { request.backend.accounts.invite(&request.administrator()?, &email, &role).await.map(Flash::notice) };
    request.form(USERS_PATH, FormName::Invite, &[("email", &email), ("role", &role)], work).await
}

#[server(name = RenewInvitation, prefix = "/api", endpoint = "renew_invitation")]
pub async fn renew_invitation(user: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.accounts.renew_invitation(&request.administrator()?, id(&user)?).await };
    request.notice(USERS_PATH, FormName::Users, work).await
}

#[server(name = SetRole, prefix = "/api", endpoint = "set_role")]
pub async fn set_role(user: String, role: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async {
        let role = Role::parse(&role).ok_or(AppError::Malformed)?;
        request.backend.accounts.set_role(&request.administrator()?, id(&user)?, role).await
    };
    request.notice(USERS_PATH, FormName::Users, work).await
}

#[server(name = SetDisabled, prefix = "/api", endpoint = "set_disabled")]
pub async fn set_disabled(user: String, disabled: bool) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.accounts.set_disabled(&request.administrator()?, id(&user)?, disabled).await };
    request.notice(USERS_PATH, FormName::Users, work).await
}

#[server(name = DismissUndelivered, prefix = "/api", endpoint = "dismiss_undelivered")]
pub async fn dismiss_undelivered(user: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.accounts.dismiss_undelivered(&request.administrator()?, id(&user)?).await };
    request.notice(USERS_PATH, FormName::Users, work).await
}

#[server(name = DisconnectPersonsMailbox, prefix = "/api", endpoint = "disconnect_persons_mailbox")]
pub async fn disconnect_persons_mailbox(mailbox: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.accounts.disconnect(&request.administrator()?, id(&mailbox)?).await };
    request.notice(USERS_PATH, FormName::Users, work).await
}
