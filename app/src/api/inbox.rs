//! Reading mail: what people do with messages.

use leptos::prelude::*;

#[cfg(feature = "ssr")]
use super::Request;
use crate::error::AppError;
#[cfg(feature = "ssr")]
use crate::model::{Flash, MailAction, MailboxId, MessagePlace, escaped};

/// The page of a folder.
#[cfg(feature = "ssr")]
fn page(mailbox: &str, folder: &str) -> String {
    match mailbox.parse::<MailboxId>() {
        Ok(mailbox) => format!("/mail/inbox?mailbox={mailbox}&folder={}", escaped(folder)),
        Err(_) => "/mail/inbox".to_owned(),
    }
}

/// Marks, flags or deletes messages of a folder.
#[server(name = ActOnMail, prefix = "/api", endpoint = "act_on_mail")]
pub async fn act_on_mail(
    #[server(default)] mailbox: String,
    #[server(default)] folder: String,
    #[server(default)] validity: u32,
    #[server(default)] uids: Vec<u32>,
    #[server(default)] action: String,
    #[server(default)] stay: u32,
) -> Result<(), AppError> {
    let request = Request::current()?;
    // Back to the message that is open, or to the list.
    let back = match mailbox.parse() {
        Ok(mailbox) if stay > 0 => {
            let place = MessagePlace { mailbox, folder: folder.clone(), validity, uid: stay };
            format!("/mail/message?{}", place.query())
        }
        _ => page(&mailbox, &folder),
    };
    let work = async {
        let me = request.visitor.signed_in()?;
        let mailbox = mailbox.parse().map_err(|_| AppError::NotFound)?;
        let action = MailAction::parse(&action).ok_or(AppError::Malformed)?;
        let place = MessagePlace { mailbox, folder, validity, uid: 0 };
        request.backend.inbox.act(&me, &place, &uids, action).await
    };
    request.notice(&back, "inbox", work).await;
    Ok(())
}

/// Looks into a folder now.
#[server(name = RefreshMail, prefix = "/api", endpoint = "refresh_mail")]
pub async fn refresh_mail(
    #[server(default)] mailbox: String,
    #[server(default)] folder: String,
) -> Result<(), AppError> {
    let request = Request::current()?;
    let back = page(&mailbox, &folder);
    let work = async {
        let me = request.visitor.signed_in()?;
        let mailbox = mailbox.parse().map_err(|_| AppError::NotFound)?;
        request.backend.inbox.refresh(&me, mailbox, &folder).await.map(|()| Flash::default())
    };
    request.form(&back, "inbox", &[], work).await;
    Ok(())
}
