//! Drafts.

use crate::api::drafts::DiscardDraft;
use crate::model::{COMPOSE_PATH, FormName};
use leptos::prelude::*;
use leptos::server_fn::ServerFn;

use super::mail_page;
use crate::components::{Layout, MailNav, MailTab, Section, Submit, Time};
use crate::model::DraftView;

/// `/mail/drafts`
#[component]
pub fn Drafts() -> impl IntoView {
    mail_page(|page, user| async move {
        let flash = page.flash(&[FormName::Drafts]).await;
        let drafts = page.backend.drafts.list(&user).await?;
        let empty = drafts.is_empty();
        Ok(view! {
            <Layout
                user=user.signed_in()
                title="Drafts"
                trail="Mail"
                lead="Unsent messages. Drafts save automatically."
                section=Section::Mail
                flash=flash.clone()
            >
                <MailNav place=MailTab::Drafts />
                {empty
                    .then(|| {
                        view! {
                            <section class="sheet empty">
                                <p class="empty-title">"No drafts"</p>
                                <p class="quiet">"Messages you start writing are saved here."</p>
                            </section>
                        }
                    })}
                <ul class="deliveries">{drafts.into_iter().map(draft).collect_view()}</ul>
            </Layout>
        }
        .into_any())
    })
}

fn draft(draft: DraftView) -> AnyView {
    let id = draft.id.to_string();
    let subject = if draft.subject.trim().is_empty() { "(no subject)".to_owned() } else { draft.subject };
    let href = format!("{COMPOSE_PATH}?draft={id}");
    let to = (!draft.to.trim().is_empty()).then(|| {
        view! {
            <p>
                <span class="quiet">"To "</span>
                <span class="address">{draft.to}</span>
            </p>
        }
    });
    let attachments = match draft.attachments {
        0 => None,
        1 => Some("1 attachment".to_owned()),
        count => Some(format!("{count} attachments")),
    };
    view! {
        <li class="sheet delivery">
            <div class="sheet-head">
                <h2>
                    <a href=href.clone()>
                        <bdi>{subject}</bdi>
                    </a>
                </h2>
            </div>
            {to}
            <p class="quiet">"Saved " <Time at=draft.updated_at /> {attachments.map(|text| format!(" · {text}"))}</p>
            <div class="actions">
                <a class="button" href=href>
                    "Continue editing"
                </a>
                <Submit action=DiscardDraft::PATH values=vec![("draft", id)] label="Discard" class="button danger" />
            </div>
        </li>
    }
    .into_any()
}
