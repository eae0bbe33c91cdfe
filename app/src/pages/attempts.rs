//! All attempts, paged.

use crate::model::{ACCOUNT_PATH, EMAIL_CONFIG_PATH};
use leptos::prelude::*;
use leptos_router::hooks::{use_location, use_query_map};

use super::signed_in_page;
use crate::backend::ListPage;
use crate::components::{Layout, Section, attempt_lines};
use crate::model::{AttemptKind, Timestamp};

/// `/account/email/attempts`, `/institution/config/general/email/attempts`
#[component]
pub fn Attempts() -> impl IntoView {
    let path = use_location().pathname.get_untracked();
    let before = use_query_map().get_untracked().get("before").and_then(|text| text.parse().ok()).map(Timestamp);
    let kind = if path.starts_with("/institution/") { AttemptKind::Notifications } else { AttemptKind::Personal };
    signed_in_page(move |page, user| async move {
        let ListPage { rows: attempts, more } = page.backend.mailboxes.attempts(&user, kind, before).await?;
        let (trail, section, back) = match kind {
            AttemptKind::Personal => ("User Account › Email", Section::Account, ACCOUNT_PATH),
            _ => ("Institution Config › General › Email", Section::Institution, EMAIL_CONFIG_PATH),
        };
        let earlier = attempts.last().filter(|_| more).map(|last| format!("{path}?before={}", last.created_at.0));
        Ok(view! {
            <Layout user title="Attempts" trail section lead="All tests of this mailbox, newest first.">
                <section class="sheet">
                    {if attempts.is_empty() { view! { <p class="quiet">"No tests yet."</p> }.into_any() } else { attempt_lines(&attempts) }}
                    <nav class="actions" aria-label="Pages">
                        {earlier
                            .map(|href| {
                                view! {
                                    <a class="button" href=href>
                                        "Earlier attempts"
                                    </a>
                                }
                            })}
                        {before
                            .map(|_| {
                                view! {
                                    <a class="button" href=path.clone()>
                                        "Newest attempts"
                                    </a>
                                }
                            })}
                        <a href=back>"Back"</a>
                    </nav>
                </section>
            </Layout>
        }
        .into_any())
    })
}
