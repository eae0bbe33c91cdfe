//! Sent messages and their delivery status.

use leptos::prelude::*;

#[cfg(feature = "ssr")]
use super::request::{Request, id};
use crate::error::AppError;
#[cfg(feature = "ssr")]
use crate::model::{COMPOSE_PATH, FormName, OUTBOX_PATH};

#[server(name = RewriteMessage, prefix = "/api", endpoint = "rewrite_message")]
pub async fn rewrite_message(delivery: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async {
        let draft = request.backend.outbox.rewrite(&request.mail_owner()?, id(&delivery)?).await?;
        Ok(format!("{COMPOSE_PATH}?draft={draft}"))
    };
    request.next(OUTBOX_PATH, FormName::Outbox, work).await
}

#[server(name = CancelMessage, prefix = "/api", endpoint = "cancel_message")]
pub async fn cancel_message(delivery: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.outbox.cancel(&request.mail_owner()?, id(&delivery)?).await };
    request.notice(OUTBOX_PATH, FormName::Outbox, work).await
}

#[server(name = RetryMessage, prefix = "/api", endpoint = "retry_message")]
pub async fn retry_message(delivery: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.outbox.retry(&request.mail_owner()?, id(&delivery)?).await };
    request.notice(OUTBOX_PATH, FormName::Outbox, work).await
}

#[server(name = CheckSent, prefix = "/api", endpoint = "look_for_message")]
pub async fn check_sent(delivery: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.outbox.check_sent(&request.mail_owner()?, id(&delivery)?).await };
    request.notice(OUTBOX_PATH, FormName::Outbox, work).await
}
