//! States as badges.

use leptos::prelude::*;

use crate::model::MailboxState;

pub fn state_badge(state: MailboxState) -> AnyView {
    let (class, sign, word) = match state {
        MailboxState::Connected => ("badge ok", "●", "Connected"),
        MailboxState::Blocked => ("badge warning", "!", "Blocked"),
        MailboxState::NeedsReconnect => ("badge bad", "✕", "Needs reconnect"),
    };
    view! {
        <span class=class>
            <span aria-hidden="true">{sign} " "</span>
            {word}
        </span>
    }
    .into_any()
}
