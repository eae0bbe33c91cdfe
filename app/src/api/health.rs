//! Institution › Mail health.

use leptos::prelude::*;

#[cfg(feature = "ssr")]
use super::request::Request;
use crate::error::AppError;
#[cfg(feature = "ssr")]
use crate::model::{FormName, MAIL_HEALTH_PATH};

#[server(name = LookUpDomains, prefix = "/api", endpoint = "look_up_domains")]
pub async fn look_up_domains() -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.health.look_up_domains(&request.administrator()?).await };
    request.notice(MAIL_HEALTH_PATH, FormName::Any, work).await
}

#[server(name = TestCause, prefix = "/api", endpoint = "test_cause")]
pub async fn test_cause(cause: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.health.test_cause(&request.administrator()?, &cause).await };
    request.notice(MAIL_HEALTH_PATH, FormName::Any, work).await
}
