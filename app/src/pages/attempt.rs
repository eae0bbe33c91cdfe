//! A connection attempt, live.

use crate::model::{ACCOUNT_PATH, EMAIL_CONFIG_PATH};
use http::{HeaderName, HeaderValue};
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;

use super::signed_in_page;
use crate::components::{AttemptBody, Layout, Section};
use crate::error::AppError;
use crate::model::{AttemptKind, AttemptView, Outcome, Stage};

/// The outcome for the window title: the page loads again after the checks, and screen readers read its title.
fn outcome_title(attempt: &AttemptView) -> Option<String> {
    let ended = attempt.stage == Stage::Finished;
    ended.then(|| match attempt.outcome {
        Outcome::Passed | Outcome::NotSeen => "Connected".to_owned(),
        Outcome::Failed => "Failed".to_owned(),
        Outcome::Pending | Outcome::Abandoned => "Not finished".to_owned(),
    })
}

/// `/account/email/attempts/{id}` and `/institution/config/general/email/attempts/{id}`
#[component]
pub fn Attempt() -> impl IntoView {
    let id = use_params_map().with_untracked(|params| params.get("id")).unwrap_or_default();
    signed_in_page(move |page, user| async move {
        let flash = page.flash(&[]).await;
        let attempt = page.backend.mailboxes.attempt(&user, id.parse().map_err(|_| AppError::NotFound)?).await?;
        // Each attempt has one path.
        if attempt.kind.path(attempt.id) != page.uri.path() {
            return Err(AppError::NotFound.into());
        }
        let (trail, section, back) = match attempt.kind {
            AttemptKind::Personal => ("User Account", Section::Account, ACCOUNT_PATH),
            _ => ("Institution Config › General", Section::Institution, EMAIL_CONFIG_PATH),
        };
        let unfinished = matches!(attempt.stage, Stage::Ready | Stage::Running);
        // Without JavaScript the page reloads itself until the attempt is finished.
        if unfinished && !page.visitor.script {
            page.response.insert_header(HeaderName::from_static("refresh"), HeaderValue::from_static("2"));
        }
        let result = outcome_title(&attempt);
        Ok(view! {
            <Layout user title="Configure & Test" trail section flash result>
                <AttemptBody view=attempt />
                <p class="back">
                    <a href=back>"Back to Email"</a>
                </p>
            </Layout>
        }
        .into_any())
    })
}
