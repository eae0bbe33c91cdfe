//! Sign-in, invitations, people.

use leptos::prelude::*;

#[cfg(feature = "ssr")]
use super::Request;
use crate::error::AppError;
#[cfg(feature = "ssr")]
use crate::model::{AppPath, Flash, Notice, Role, Tone};

/// Longest address that is shown again, in characters.
#[cfg(feature = "ssr")]
const MOST_ADDRESS: usize = 254;

/// Signs in with address and password.
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
            let typed: String = email.chars().take(MOST_ADDRESS).collect();
            request.form(&path, "sign-in", &[("email", &typed)], async { Err(error) }).await;
        }
    }
    Ok(())
}

/// Ends the session.
#[server(name = SignOut, prefix = "/api", endpoint = "sign_out")]
pub async fn sign_out() -> Result<(), AppError> {
    let mut request = Request::current().await?;
    if let Ok(cookie) = request.backend.accounts.sign_out(&request.visitor).await {
        request.set_cookie(&cookie);
    }
    request.forget_what_is_kept();
    // Nobody is signed in any more: the answer is for whoever sits there now.
    request.visitor.person = None;
    let notice = Notice::new(Tone::Success, "You are signed out.", "");
    request.leave("sign-in", Flash::notice(notice)).await;
    request.go("/login");
    Ok(())
}

/// Sets a password with an invitation link.
#[server(name = AcceptInvitation, prefix = "/api", endpoint = "accept_invitation")]
pub async fn accept_invitation(token: String, password: String, repeated: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let accepted = if password == repeated {
        request.backend.accounts.accept_invitation(&request.visitor, &token, &password).await
    } else {
        Err(AppError::field("repeated", "Confirm password", "The two passwords don't match."))
    };
    match accepted {
        Ok(cookies) => {
            cookies.iter().for_each(|cookie| request.set_cookie(cookie));
            request.go("/");
        }
        // A token is the sender's own, but still goes back only if it has the form of one.
        Err(error) => {
            let safe: String =
                token.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '_').take(100).collect();
            request.form(&format!("/invitation/{safe}"), "invitation", &[], async { Err(error) }).await;
        }
    }
    Ok(())
}

/// Invites a person.
#[server(name = Invite, prefix = "/api", endpoint = "invite")]
pub async fn invite(email: String, role: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async {
        let admin = request.visitor.administrator()?;
        request.backend.accounts.invite(&admin, &email, &role).await.map(Flash::notice)
    };
    request.form("/institution/users", "invite", &[("email", &email), ("role", &role)], work).await;
    Ok(())
}

/// Makes a new invitation link.
#[server(name = RenewInvitation, prefix = "/api", endpoint = "renew_invitation")]
pub async fn renew_invitation(user: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async {
        let admin = request.visitor.administrator()?;
        request.backend.accounts.renew_invitation(&admin, user.parse().map_err(|_| AppError::NotFound)?).await
    };
    request.notice("/institution/users", "users", work).await;
    Ok(())
}

/// Changes a person's role.
#[server(name = SetRole, prefix = "/api", endpoint = "set_role")]
pub async fn set_role(user: String, role: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async {
        let admin = request.visitor.administrator()?;
        let role = Role::parse(&role).ok_or(AppError::Malformed)?;
        request.backend.accounts.set_role(&admin, user.parse().map_err(|_| AppError::NotFound)?, role).await
    };
    request.notice("/institution/users", "users", work).await;
    Ok(())
}

/// Disables or enables a person.
#[server(name = SetDisabled, prefix = "/api", endpoint = "set_disabled")]
pub async fn set_disabled(user: String, disabled: bool) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async {
        let admin = request.visitor.administrator()?;
        request.backend.accounts.set_disabled(&admin, user.parse().map_err(|_| AppError::NotFound)?, disabled).await
    };
    request.notice("/institution/users", "users", work).await;
    Ok(())
}

/// Says no more that emails of Entrepost did not reach somebody.
#[server(name = DismissUndelivered, prefix = "/api", endpoint = "dismiss_undelivered")]
pub async fn dismiss_undelivered(user: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async {
        let admin = request.visitor.administrator()?;
        request.backend.accounts.dismiss_undelivered(&admin, user.parse().map_err(|_| AppError::NotFound)?).await
    };
    request.notice("/institution/users", "users", work).await;
    Ok(())
}

/// Forgets the tokens of somebody's mailbox.
#[server(name = DisconnectPersonsMailbox, prefix = "/api", endpoint = "disconnect_persons_mailbox")]
pub async fn disconnect_persons_mailbox(mailbox: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async {
        let admin = request.visitor.administrator()?;
        request.backend.accounts.disconnect(&admin, mailbox.parse().map_err(|_| AppError::NotFound)?).await
    };
    request.notice("/institution/users", "users", work).await;
    Ok(())
}
