//! States as badges.

use leptos::prelude::*;

use crate::model::{DeliveryState, MailboxState};

/// A sign and a word; screen readers read the word alone.
pub fn badge(class: &'static str, sign: &'static str, word: impl IntoView + 'static) -> AnyView {
    view! {
        <span class=class>
            <span aria-hidden="true">{sign} " "</span>
            {word}
        </span>
    }
    .into_any()
}

pub fn state_badge(state: MailboxState) -> AnyView {
    let (class, sign, word) = match state {
        MailboxState::Connected => ("badge ok", "●", "Connected"),
        MailboxState::Blocked => ("badge warning", "!", "Blocked"),
        MailboxState::NeedsReconnect => ("badge bad", "✕", "Needs reconnect"),
    };
    badge(class, sign, word)
}

pub fn delivery_badge(state: DeliveryState) -> AnyView {
    let (class, sign, word) = match state {
        DeliveryState::Queued => ("badge", "…", "Queued"),
        DeliveryState::Sending => ("badge", "…", "Sending"),
        DeliveryState::Sent => ("badge ok", "✓", "Sent"),
        DeliveryState::Deferred => ("badge warning", "!", "Will retry"),
        DeliveryState::Failed => ("badge bad", "✕", "Failed"),
        DeliveryState::Bounced => ("badge bad", "✕", "Bounced"),
        DeliveryState::Unknown => ("badge warning", "?", "Not confirmed"),
        DeliveryState::Cancelled => ("badge", "–", "Cancelled"),
    };
    badge(class, sign, word)
}
