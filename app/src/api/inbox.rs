//! Actions on messages.

use leptos::prelude::*;

#[cfg(feature = "ssr")]
use super::request::{Request, id};
#[cfg(feature = "ssr")]
use crate::backend::Acted;
use crate::error::AppError;
#[cfg(feature = "ssr")]
use crate::model::{Flash, FormName, INBOX_PATH, MESSAGE_PATH, MailAction, MailboxId, MessageRef, escaped};

#[cfg(feature = "ssr")]
fn list(mailbox: &str, folder: &str, number: u32, search: &str) -> String {
    let Ok(mailbox) = mailbox.parse::<MailboxId>() else { return INBOX_PATH.to_owned() };
    let number = if number > 1 { format!("&page={number}") } else { String::new() };
    let search = if search.is_empty() { String::new() } else { format!("&search={}", escaped(search)) };
    format!("{INBOX_PATH}?mailbox={mailbox}&folder={}{number}{search}", escaped(folder))
}

#[server(name = ActOnMail, prefix = "/api", endpoint = "act_on_mail")]
pub async fn act_on_mail(
    #[server(default)] mailbox: String,
    #[server(default)] folder: String,
    #[server(default)] validity: u32,
    #[server(default)] uids: Vec<u32>,
    #[server(default)] action: String,
    #[server(default)] stay: u32,
    #[server(default)] page: u32,
    #[server(default)] search: String,
    #[server(default)] to: String,
) -> Result<(), AppError> {
    let request = Request::current().await?;
    // Returns to the open message, or to the list.
    let (back, stays) = match mailbox.parse() {
        Ok(mailbox) if stay > 0 => {
            let place = MessageRef { mailbox, folder: folder.clone(), uid_validity: validity, uid: stay };
            (format!("{MESSAGE_PATH}?{}", place.query()), true)
        }
        _ if to.is_empty() => (list(&mailbox, &folder, page, &search), false),
        _ => (list(&mailbox, &to, 1, ""), false),
    };
    let work = async {
        let (user, mailbox) = (request.mail_owner()?, id(&mailbox)?);
        let action = MailAction::parse(&action).ok_or(AppError::Malformed)?;
        let place = MessageRef { mailbox, folder, uid_validity: validity, uid: 0 };
        request.backend.inbox.act(&user, &place, &uids, action, &to).await
    };
    let acted = work.await;
    let back = match &acted {
        // Returns to the same row of the list.
        Ok(Acted { row: Some((validity, uid)), .. }) if !stays => format!("{back}#open-{validity}-{uid}"),
        _ => back,
    };
    request.notice(&back, FormName::Inbox, async { acted.map(|acted| acted.notice) }).await
}

#[server(name = RefreshMail, prefix = "/api", endpoint = "refresh_mail")]
pub async fn refresh_mail(
    #[server(default)] mailbox: String,
    #[server(default)] folder: String,
) -> Result<(), AppError> {
    let request = Request::current().await?;
    let back = list(&mailbox, &folder, 1, "");
    let work = async {
        let (user, mailbox) = (request.mail_owner()?, id(&mailbox)?);
        request.backend.inbox.refresh(&user, mailbox, &folder).await.map(|()| Flash::default())
    };
    request.form(&back, FormName::Inbox, &[], work).await
}

#[server(name = ChooseDeletedFolder, prefix = "/api", endpoint = "choose_deleted_folder")]
pub async fn choose_deleted_folder(
    #[server(default)] mailbox: String,
    #[server(default)] folder: String,
) -> Result<(), AppError> {
    let request = Request::current().await?;
    let back = list(&mailbox, "INBOX", 1, "");
    let work = async {
        let (user, mailbox) = (request.mail_owner()?, id(&mailbox)?);
        request.backend.inbox.choose_trash(&user, mailbox, &folder).await
    };
    request.notice(&back, FormName::Inbox, work).await
}
