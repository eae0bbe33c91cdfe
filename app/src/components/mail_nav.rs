//! Tabs of Mail.

use crate::model::{COMPOSE_PATH, DRAFTS_PATH, INBOX_PATH, OUTBOX_PATH};
use leptos::prelude::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTab {
    Inbox,
    Message,
    Drafts,
    Outbox,
    Compose,
}

#[component]
pub fn MailNav(place: MailTab) -> impl IntoView {
    // An opened message has its own main action.
    let class = if place == MailTab::Message { "button" } else { "button primary" };
    let place = if place == MailTab::Message { MailTab::Inbox } else { place };
    let here = move |this: MailTab| (this == place).then_some("page");
    view! {
        <div class="mail-nav">
            <nav aria-label="Mail">
                <a href=INBOX_PATH aria-current=here(MailTab::Inbox)>
                    "Inbox"
                </a>
                <a href=DRAFTS_PATH aria-current=here(MailTab::Drafts)>
                    "Drafts"
                </a>
                <a href=OUTBOX_PATH aria-current=here(MailTab::Outbox)>
                    "Sent & delivery"
                </a>
            </nav>
            {(place != MailTab::Compose)
                .then(|| {
                    view! {
                        <a class=class href=COMPOSE_PATH>
                            "New message"
                        </a>
                    }
                })}
        </div>
    }
}
