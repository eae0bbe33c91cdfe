//! User Account › Programs.

use leptos::prelude::*;

#[cfg(feature = "ssr")]
use super::request::{Request, id};
use crate::error::AppError;
#[cfg(feature = "ssr")]
use crate::model::{Flash, FormName, OWN_PROGRAMS_PATH, PROGRAMS_PATH};

#[server(name = AddOwnProgram, prefix = "/api", endpoint = "add_own_program")]
pub async fn add_own_program(
    #[server(default)] name: String,
    #[server(default)] mailbox: String,
    #[server(default)] recipients: String,
) -> Result<(), AppError> {
    let request = Request::current().await?;
    let typed = [("name", name.as_str()), ("mailbox", mailbox.as_str()), ("recipients", recipients.as_str())];
    let work = async {
        let owner = request.mail_owner()?;
        let mailbox =
            mailbox.parse().map_err(|_| AppError::field("mailbox", "Mailbox", "Choose a mailbox of yours."))?;
        let own = &request.backend.own_programs;
        own.add(&owner, mailbox, name.clone(), recipients == "anywhere").await.map(Flash::notice)
    };
    request.form(OWN_PROGRAMS_PATH, FormName::Device, &typed, work).await
}

#[server(name = RenewOwnProgram, prefix = "/api", endpoint = "renew_own_program")]
pub async fn renew_own_program(device: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.own_programs.renew_password(&request.mail_owner()?, id(&device)?).await };
    request.notice(OWN_PROGRAMS_PATH, FormName::Any, work).await
}

#[server(name = RemoveOwnProgram, prefix = "/api", endpoint = "remove_own_program")]
pub async fn remove_own_program(device: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.own_programs.remove(&request.mail_owner()?, id(&device)?).await };
    request.notice(OWN_PROGRAMS_PATH, FormName::Any, work).await
}

#[server(name = AllowOwnPrograms, prefix = "/api", endpoint = "allow_own_programs")]
pub async fn allow_own_programs(#[server(default)] allowed: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.own_programs.allow(&request.administrator()?, allowed == "yes").await };
    request.notice(PROGRAMS_PATH, FormName::Any, work).await
}
