//! Writing messages, and the outbox.

use leptos::prelude::*;

#[cfg(feature = "ssr")]
use super::Request;
use crate::error::AppError;
#[cfg(feature = "ssr")]
use crate::model::{ComposeForm, DeliveryId, Flash};

#[cfg(feature = "ssr")]
const OUTBOX: &str = "/mail/outbox";

/// Queues a message.
#[server(name = SendMessage, prefix = "/api", endpoint = "send_message")]
pub async fn send_message(
    #[server(default)] mailbox: String,
    #[server(default)] to: String,
    #[server(default)] cc: String,
    #[server(default)] bcc: String,
    #[server(default)] subject: String,
    #[server(default)] text: String,
    key: String,
) -> Result<(), AppError> {
    let request = Request::current()?;
    let form = ComposeForm { mailbox, to, cc, bcc, subject, text, key };
    let typed = form.clone();
    let work = async {
        let me = request.visitor.signed_in()?;
        request.backend.mail.send(&me, form).await
    };
    match work.await {
        Ok(notice) => request.form(OUTBOX, "outbox", &[], async { Ok(Flash::notice(notice)) }).await,
        Err(error) => {
            let ComposeForm { mailbox, to, cc, bcc, subject, text, key } = &typed;
            let typed = [
                ("mailbox", mailbox.as_str()),
                ("to", to),
                ("cc", cc),
                ("bcc", bcc),
                ("subject", subject),
                ("text", text),
                ("key", key),
            ];
            request.form("/mail/compose", "compose", &typed, async { Err(error) }).await;
        }
    }
    Ok(())
}

/// Stops a message that waits.
#[server(name = CancelMessage, prefix = "/api", endpoint = "cancel_message")]
pub async fn cancel_message(delivery: String) -> Result<(), AppError> {
    let request = Request::current()?;
    let work = async {
        let me = request.visitor.signed_in()?;
        let id: DeliveryId = delivery.parse().map_err(|_| AppError::NotFound)?;
        request.backend.mail.cancel(&me, id).await
    };
    request.notice(OUTBOX, "outbox", work).await;
    Ok(())
}

/// Queues a message again.
#[server(name = RetryMessage, prefix = "/api", endpoint = "retry_message")]
pub async fn retry_message(delivery: String) -> Result<(), AppError> {
    let request = Request::current()?;
    let work = async {
        let me = request.visitor.signed_in()?;
        let id: DeliveryId = delivery.parse().map_err(|_| AppError::NotFound)?;
        request.backend.mail.retry(&me, id).await
    };
    request.notice(OUTBOX, "outbox", work).await;
    Ok(())
}

/// Looks whether an unknown message was sent.
#[server(name = LookForMessage, prefix = "/api", endpoint = "look_for_message")]
pub async fn look_for_message(delivery: String) -> Result<(), AppError> {
    let request = Request::current()?;
    let work = async {
        let me = request.visitor.signed_in()?;
        let id: DeliveryId = delivery.parse().map_err(|_| AppError::NotFound)?;
        request.backend.mail.look_for(&me, id).await
    };
    request.notice(OUTBOX, "outbox", work).await;
    Ok(())
}
