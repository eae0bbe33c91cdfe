//! Institution Config > General > Email.

use leptos::prelude::*;

#[cfg(feature = "ssr")]
use super::request::Request;
use crate::error::AppError;
#[cfg(feature = "ssr")]
use crate::model::{
    CREDENTIALS_PATH, EMAIL_CONFIG_PATH, EmailConfigForm, Flash, FormName, GraphUse, GuideStep, SETUP_STEP,
};

/// The configuration page, or the step of the set-up from which a form came.
#[cfg(feature = "ssr")]
fn page(request: &Request) -> String {
    request.page_with(EMAIL_CONFIG_PATH, SETUP_STEP)
}

#[server(name = SaveEmailConfig, prefix = "/api", endpoint = "save_email_config")]
pub async fn save_email_config(
    provider: String,
    #[server(default)] client_id: String,
    #[server(default)] tenant_id: String,
    #[server(default)] client_secret: String,
    #[server(default)] cloud: String,
    #[server(default)] credential: String,
    #[server(default)] secret_lifetime: String,
    #[server(default)] secret_list: String,
    #[server(default)] reminder_address: String,
    #[server(default)] secret_change: String,
    #[server(default)] secret_expires_on: String,
    #[server(default)] custom_from: String,
    #[server(default)] custom_from_address: String,
    #[server(default)] allow_other_address: String,
    #[server(default)] confirm_disconnect: String,
) -> Result<(), AppError> {
    let request = Request::current().await?;
    let form = EmailConfigForm {
        provider,
        client_id,
        tenant_id,
        client_secret,
        cloud,
        credential,
        secret_lifetime,
        secret_list,
        reminder_address,
        secret_change,
        secret_expires_on,
        custom_from,
        custom_from_address,
        allow_other_address,
        confirm_disconnect,
    };
    let typed = form.clone();
    let work = async { request.backend.email_config.save(&request.administrator()?, form).await };
    request.form(&page(&request), FormName::EmailConfig, &typed.typed(), work).await
}

#[server(name = VerifyAgain, prefix = "/api", endpoint = "verify_again")]
pub async fn verify_again(#[server(default)] confirm_disconnect: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async {
        request.backend.email_config.verify_again(&request.administrator()?, confirm_disconnect == "yes").await
    };
    request.form(&page(&request), FormName::EmailConfig, &[], work).await
}

#[server(name = MakeCertificate, prefix = "/api", endpoint = "make_certificate")]
pub async fn make_certificate() -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.email_config.make_certificate(&request.administrator()?).await };
    request.notice(CREDENTIALS_PATH, FormName::EmailConfig, work).await
}

#[server(name = DropCertificate, prefix = "/api", endpoint = "drop_certificate")]
pub async fn drop_certificate(id: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async {
        let id = id.parse().map_err(|_| AppError::Malformed)?;
        request.backend.email_config.drop_certificate(&request.administrator()?, id).await
    };
    request.notice(CREDENTIALS_PATH, FormName::EmailConfig, work).await
}

#[server(name = SaveGraphUse, prefix = "/api", endpoint = "save_graph_use")]
pub async fn save_graph_use(graph: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async {
        let graph = GraphUse::parse(&graph).ok_or(AppError::Malformed)?;
        request.backend.email_config.save_graph(&request.administrator()?, graph).await
    };
    request.notice(EMAIL_CONFIG_PATH, FormName::EmailConfig, work).await
}

/// The old credential was deleted at Microsoft.
#[server(name = ForgetSuperseded, prefix = "/api", endpoint = "forget_superseded")]
pub async fn forget_superseded() -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.email_config.forget_superseded(&request.administrator()?).await };
    request.notice(&page(&request), FormName::EmailConfig, work).await
}

#[server(name = DiscardWaiting, prefix = "/api", endpoint = "discard_waiting")]
pub async fn discard_waiting() -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.email_config.discard_waiting(&request.administrator()?).await };
    request.notice(&page(&request), FormName::EmailConfig, work).await
}

/// Ticks or unticks one step of the guide (called by the island).
#[server(name = SetGuideStep, prefix = "/api", endpoint = "set_guide_step")]
pub async fn set_guide_step(step: String, done: bool) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async {
        let step = GuideStep::parse(&step).ok_or(AppError::Malformed)?;
        request.backend.email_config.set_guide_step(&request.administrator()?, step, done).await
    };
    request.answer(work.await)
}

#[server(name = SetGuideSteps, prefix = "/api", endpoint = "set_guide_steps")]
pub async fn set_guide_steps(#[server(default)] steps: Vec<String>) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async {
        let steps: Vec<_> = steps.iter().filter_map(|step| GuideStep::parse(step)).collect();
        request.backend.email_config.set_guide_steps(&request.administrator()?, &steps).await.map(|()| Flash::default())
    };
    request.form(&page(&request), FormName::Guide, &[], work).await
}

#[server(name = StartConsent, prefix = "/api", endpoint = "start_consent")]
pub async fn start_consent() -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.email_config.start_consent(&request.administrator()?, &request.visitor).await };
    request.provider(&page(&request), FormName::EmailConfig, &[], work).await
}

#[server(name = StartNotifications, prefix = "/api", endpoint = "start_notifications")]
pub async fn start_notifications() -> Result<(), AppError> {
    let request = Request::current().await?;
    let work =
        async { request.backend.email_config.start_notifications(&request.administrator()?, &request.visitor).await };
    request.provider(EMAIL_CONFIG_PATH, FormName::EmailConfig, &[], work).await
}

#[server(name = TestPair, prefix = "/api", endpoint = "test_pair")]
pub async fn test_pair(mailbox: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async {
        let mailbox =
            mailbox.parse().map_err(|_| AppError::field("mailbox", "Mailbox", "Choose a connected mailbox."))?;
        request.backend.email_config.test_pair(&request.administrator()?, mailbox).await
    };
    request.next(EMAIL_CONFIG_PATH, FormName::EmailConfig, work).await
}

#[server(name = DisconnectNotifications, prefix = "/api", endpoint = "disconnect_notifications")]
pub async fn disconnect_notifications() -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.email_config.disconnect_notifications(&request.administrator()?).await };
    request.notice(EMAIL_CONFIG_PATH, FormName::EmailConfig, work).await
}
