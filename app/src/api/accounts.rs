//! Sign-in, invitations, people.

use leptos::prelude::*;
use leptos::server_fn::codec::{MultipartData, MultipartFormData};

#[cfg(feature = "ssr")]
use super::request::{Request, id};
use crate::error::AppError;
#[cfg(feature = "ssr")]
use crate::model::{
    AppPath, Flash, FormName, HOME_PATH, INVITE_PATH, InvitationListId, Notice, PeopleAction, Role,
    SIGN_IN_SETTINGS_PATH, Tone, USERS_PATH, UserId,
};

/// Longest address shown again, in characters.
#[cfg(feature = "ssr")]
const MAX_ADDRESS: usize = 254;
/// Longest list of people shown again, in characters.
#[cfg(feature = "ssr")]
const MAX_LIST: usize = 20_000;

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

/// From an invitation, leads to Microsoft. `mail`: `no` signs in without connecting the mailbox.
#[server(name = SignInWithMicrosoft, prefix = "/api", endpoint = "sign_in_with_microsoft")]
pub async fn sign_in_with_microsoft(
    #[server(default)] next: Option<String>,
    #[server(default)] invitation: Option<String>,
    #[server(default)] mail: Option<String>,
) -> Result<(), AppError> {
    let request = Request::current().await?;
    let path = AppPath::parse(next.as_deref());
    let invitation = invitation.filter(|token| !token.is_empty());
    let mail = mail.as_deref() != Some("no");
    match request.backend.accounts.start_microsoft(&request.visitor, &path, invitation.as_deref(), mail).await {
        Ok(redirect) => request.redirect_to_provider(&redirect),
        Err(error) => {
            // Redirects only to a well-formed token.
            let token: String = invitation
                .unwrap_or_default()
                .chars()
                .filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c))
                .take(100)
                .collect();
            request.refuse(&format!("/invitation/{token}"), FormName::Invitation, &[], error).await;
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
pub async fn invite(email: String, role: String, #[server(default)] name: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async {
        request.backend.accounts.invite(&request.administrator()?, &email, &name, &role).await.map(Flash::notice)
    };
    request.form(USERS_PATH, FormName::Invite, &[("email", &email), ("name", &name), ("role", &role)], work).await
}

/// Acts on one person (`remind ID`) or on the ticked ones (`remind`), and returns to the list as it was.
#[server(name = PeopleActionForm, prefix = "/api", endpoint = "people_action")]
pub async fn people_action(
    action: String,
    #[server(default)] users: Vec<String>,
    #[server(default)] list: String,
) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async {
        let (name, one) = action.split_once(' ').unwrap_or((&action, ""));
        let action = PeopleAction::parse(name).ok_or(AppError::Malformed)?;
        let chosen = if one.is_empty() { users } else { vec![one.to_owned()] };
        let chosen: Vec<_> = chosen.iter().filter_map(|id| id.parse().ok()).collect();
        request.backend.accounts.act_on_people(&request.administrator()?, action, &chosen).await
    };
    let list = AppPath::parse(Some(&list));
    let back = if list.as_str().starts_with(USERS_PATH) { list.as_str() } else { USERS_PATH };
    request.notice(back, FormName::Users, work).await
}

#[server(name = SetName, prefix = "/api", endpoint = "set_name")]
pub async fn set_name(user: String, #[server(default)] name: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.accounts.set_name(&request.administrator()?, id(&user)?, &name).await };
    request.notice(&person_path(&user), FormName::Users, work).await
}

/// Reads the list: what was pasted, the chosen file, and the role of lines without one.
#[cfg(feature = "ssr")]
async fn read_list(data: MultipartData) -> Result<(String, Vec<u8>, String), AppError> {
    let mut fields = data.into_inner().ok_or(AppError::Malformed)?;
    let (mut pasted, mut file, mut role) = (String::new(), Vec::new(), String::new());
    while let Some(field) = fields.next_field().await.map_err(|_| AppError::Malformed)? {
        let name = field.name().unwrap_or_default().to_owned();
        let bytes = field.bytes().await.map_err(|_| AppError::Malformed)?;
        let text = || String::from_utf8(bytes.to_vec()).map_err(|_| AppError::Malformed);
        match name.as_str() {
            "people" => pasted = text()?,
            "role" => role = text()?,
            "files" => file = bytes.to_vec(),
            _ => {}
        }
    }
    Ok((pasted, file, role))
}

#[server(name = ListInvitations, prefix = "/api", endpoint = "list_invitations", input = MultipartFormData)]
pub async fn list_invitations(data: MultipartData) -> Result<(), AppError> {
    let mut request = Request::current().await?;
    // Refuses strangers before reading; checks the session again after.
    let read = match request.administrator() {
        Ok(_) => read_list(data).await.map_err(Into::into),
        Err(error) => Err(error),
    };
    request.check_session_again().await;
    let mut typed = (String::new(), String::new());
    let work = async {
        let (pasted, file, role) = read?;
        typed = (pasted.chars().take(MAX_LIST).collect(), role.clone());
        request.backend.accounts.list_invitations(&request.administrator()?, &pasted, &file, &role).await
    };
    match work.await {
        Ok(list) => request.go(&format!("{INVITE_PATH}/{list}")),
        Err(error) => {
            let typed = [("people", typed.0.as_str()), ("role", typed.1.as_str())];
            request.refuse(INVITE_PATH, FormName::InviteList, &typed, error).await;
        }
    }
    Ok(())
}

#[server(name = ConfirmInvitations, prefix = "/api", endpoint = "confirm_invitations")]
pub async fn confirm_invitations(list: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let back =
        list.parse::<InvitationListId>().map_or_else(|_| INVITE_PATH.to_owned(), |id| format!("{INVITE_PATH}/{id}"));
    let work = async { request.backend.accounts.confirm_invitations(&request.administrator()?, id(&list)?).await };
    request.notice(&back, FormName::InviteList, work).await
}

#[server(name = DiscardInvitations, prefix = "/api", endpoint = "discard_invitations")]
pub async fn discard_invitations(list: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.accounts.discard_invitations(&request.administrator()?, id(&list)?).await };
    request.notice(INVITE_PATH, FormName::InviteList, work).await
}

/// The page of a person; the list if the id is none.
#[cfg(feature = "ssr")]
fn person_path(user: &str) -> String {
    user.parse::<UserId>().map_or_else(|_| USERS_PATH.to_owned(), |id| format!("{USERS_PATH}/{id}"))
}

#[server(name = RenewInvitation, prefix = "/api", endpoint = "renew_invitation")]
pub async fn renew_invitation(user: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.accounts.renew_invitation(&request.administrator()?, id(&user)?).await };
    request.notice(&person_path(&user), FormName::Users, work).await
}

#[server(name = SetRole, prefix = "/api", endpoint = "set_role")]
pub async fn set_role(user: String, role: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async {
        let role = Role::parse(&role).ok_or(AppError::Malformed)?;
        request.backend.accounts.set_role(&request.administrator()?, id(&user)?, role).await
    };
    request.notice(&person_path(&user), FormName::Users, work).await
}

#[server(name = SetDisabled, prefix = "/api", endpoint = "set_disabled")]
pub async fn set_disabled(user: String, disabled: bool) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.accounts.set_disabled(&request.administrator()?, id(&user)?, disabled).await };
    request.notice(&person_path(&user), FormName::Users, work).await
}

#[server(name = SaveSignInSettings, prefix = "/api", endpoint = "save_sign_in_settings")]
pub async fn save_sign_in_settings(
    passwords: String,
    #[server(default)] keepers: Vec<String>,
    newcomers: String,
    #[server(default)] domains: String,
) -> Result<(), AppError> {
    let request = Request::current().await?;
    let chosen = keepers.join(" ");
    let typed = [
        ("passwords", passwords.as_str()),
        ("keepers", chosen.as_str()),
        ("newcomers", newcomers.as_str()),
        ("domains", domains.as_str()),
    ];
    let work = async {
        let admin = request.administrator()?;
        let accounts = &request.backend.accounts;
        let saved = accounts.save_sign_in_settings(&admin, &passwords, &keepers, &newcomers, &domains).await;
        saved.map(Flash::notice)
    };
    request.form(SIGN_IN_SETTINGS_PATH, FormName::SignInSettings, &typed, work).await
}

#[server(name = UnlinkMicrosoft, prefix = "/api", endpoint = "unlink_microsoft")]
pub async fn unlink_microsoft(user: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.accounts.unlink_microsoft(&request.administrator()?, id(&user)?).await };
    request.notice(&person_path(&user), FormName::Users, work).await
}

#[server(name = PersonStays, prefix = "/api", endpoint = "person_stays")]
pub async fn person_stays(user: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.accounts.person_stays(&request.administrator()?, id(&user)?).await };
    request.notice(&person_path(&user), FormName::Users, work).await
}

#[server(name = ErasePerson, prefix = "/api", endpoint = "erase_person")]
pub async fn erase_person(user: String, #[server(default)] address: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.accounts.erase_person(&request.administrator()?, id(&user)?, &address).await };
    let done = work.await;
    // The person's page is gone with them.
    let path = if done.is_ok() { USERS_PATH.to_owned() } else { person_path(&user) };
    request.notice(&path, FormName::Users, async { done }).await
}

#[server(name = DismissUndelivered, prefix = "/api", endpoint = "dismiss_undelivered")]
pub async fn dismiss_undelivered(#[server(default)] user: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async {
        let person = if user.is_empty() { None } else { Some(id(&user)?) };
        request.backend.accounts.dismiss_undelivered(&request.administrator()?, person).await
    };
    let path = if user.is_empty() { HOME_PATH.to_owned() } else { person_path(&user) };
    request.notice(&path, FormName::Users, work).await
}

#[server(name = DisconnectPersonsMailbox, prefix = "/api", endpoint = "disconnect_persons_mailbox")]
pub async fn disconnect_persons_mailbox(mailbox: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.accounts.disconnect(&request.administrator()?, id(&mailbox)?).await };
    request.notice(USERS_PATH, FormName::Users, work).await
}
