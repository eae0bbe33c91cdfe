//! Every message that was written here, and what became of it.

use leptos::prelude::*;
use leptos_router::hooks::use_query_map;

use super::signed_in_page;
use crate::components::{DiagnosisSheet, Layout, MailNav, MailPlace, Section, Submit, Time};
use crate::islands::LiveMail;
use crate::model::{DeliveryState, DeliveryView, RecipientKind, RecipientState, RecipientView, Timestamp, escaped};

/// Seconds after which a page with something under way is loaded again.
const RELOAD: &str = "4";

/// `/mail/outbox`
#[component]
pub fn Outbox() -> impl IntoView {
    let before = use_query_map().get_untracked().get("before").and_then(|text| text.parse().ok()).map(Timestamp);
    signed_in_page(move |page, me| async move {
        let flash = page.flash(&["outbox"]).await;
        // Before the list: what changes in between is followed, too.
        let events = format!("/events/mail?mark={}", escaped(&page.backend.inbox.mark(&me).await));
        let (messages, more) = page.backend.mail.outbox(&me, before).await?;
        let moving = messages.iter().any(|message| {
            matches!(message.state, DeliveryState::Sending) || (message.state == DeliveryState::Queued && !message.held)
        });
        if moving {
            page.reload_without_scripts(RELOAD);
        }
        let earlier = messages.last().filter(|_| more).map(|last| format!("/mail/outbox?before={}", last.created_at.0));
        let empty = messages.is_empty();
        Ok(view! {
            <Layout me title="Outbox" trail="Mail" lead="Every message you wrote here, and what became of it." section=Section::Mail flash=flash.clone()>
                <MailNav place=MailPlace::Outbox/>
                <LiveMail events/>
                <div id="live">
                    {empty.then(|| view! {
                        <section class="sheet empty">
                            <p class="empty-title">"Nothing yet."</p>
                            <p class="quiet">"Write a message: here you see whether it left, and when."</p>
                        </section>
                    })}
                    <ul class="deliveries">{messages.into_iter().map(message).collect_view()}</ul>
                    <nav class="actions" aria-label="Pages">
                        {earlier.map(|href| view! { <a class="button" href=href>"Earlier messages"</a> })}
                        {before.map(|_| view! { <a class="button" href="/mail/outbox">"Newest messages"</a> })}
                    </nav>
                </div>
            </Layout>
        }
        .into_any())
    })
}

fn badge(message: &DeliveryView) -> AnyView {
    let (class, sign, word) = match message.state {
        DeliveryState::Queued if message.held => ("badge warning", "!", "Waits for your mailbox"),
        DeliveryState::Queued => ("badge", "…", "Queued"),
        DeliveryState::Sending => ("badge", "…", "Sending"),
        DeliveryState::Sent if message.recipients.iter().any(|one| one.state == RecipientState::Refused) => {
            ("badge warning", "!", "Sent, not to everybody")
        }
        DeliveryState::Sent => ("badge ok", "✓", "Sent"),
        DeliveryState::Deferred => ("badge warning", "!", "Tried again later"),
        DeliveryState::Failed => ("badge bad", "✕", "Failed"),
        DeliveryState::Bounced => ("badge bad", "✕", "Came back"),
        DeliveryState::Unknown => ("badge warning", "?", "Sent or not?"),
        DeliveryState::Cancelled => ("badge", "–", "Stopped"),
    };
    view! { <span class=class><span aria-hidden="true">{sign} " "</span>{word}</span> }.into_any()
}

fn explanation(message: &DeliveryView) -> Option<&'static str> {
    match message.state {
        DeliveryState::Unknown => Some(
            "The connection broke while the message was handed over. It may have arrived: Entrepost does not send it twice by itself.",
        ),
        DeliveryState::Queued if message.held => Some("It leaves by itself as soon as the mailbox is connected again."),
        _ => None,
    }
}

fn people(recipients: &[RecipientView], kind: RecipientKind) -> String {
    let named: Vec<&str> = recipients.iter().filter(|one| one.kind == kind).map(|one| one.address.as_str()).collect();
    named.join(", ")
}

fn message(message: DeliveryView) -> AnyView {
    let id = message.id.to_string();
    let (state, badge, why) = (message.state, badge(&message), explanation(&message));
    let lines = [(RecipientKind::To, "To "), (RecipientKind::Cc, "Cc "), (RecipientKind::Bcc, "Bcc ")]
        .into_iter()
        .filter_map(|(kind, label)| {
            let names = people(&message.recipients, kind);
            (!names.is_empty())
                .then(|| view! { <p><span class="quiet">{label}</span><span class="address">{names}</span></p> })
        })
        .collect_view();
    let refused = message
        .recipients
        .iter()
        .filter(|one| one.state == RecipientState::Refused)
        .map(|one| {
            let (address, answer) = (one.address.clone(), one.answer.clone());
            view! { <li><span class="address">{address}</span> " was refused: " {answer}</li> }
        })
        .collect::<Vec<_>>();
    let subject = if message.subject.is_empty() { "(no subject)".to_owned() } else { message.subject };
    let tried = match (message.next_attempt_at, message.attempts) {
        (Some(at), 1) => view! { <p class="quiet">"Tried once; next attempt " <Time at/></p> }.into_any(),
        (Some(at), count) => {
            view! { <p class="quiet">"Tried " {count} " times; next attempt " <Time at/></p> }.into_any()
        }
        (None, _) => ().into_any(),
    };
    let told =
        message.recipients.iter().any(|one| one.state == RecipientState::Refused && one.answer == message.answer);
    let answer = (!message.answer.is_empty() && state != DeliveryState::Sent && !told)
        .then(|| view! { <p class="answer"><span class="quiet">"Last answer: "</span>{message.answer}</p> });
    let values = move || vec![("delivery", id.clone())];
    view! {
        <li class="sheet delivery" data-state=state.as_str()>
            <div class="sheet-head">
                <div>
                    <h2>{subject}</h2>
                    {lines}
                    <p class="quiet">"From " {message.from} ", written " <Time at=message.created_at/></p>
                </div>
                <div>{badge}</div>
            </div>
            {why.map(|why| view! { <p>{why}</p> })}
            {(!refused.is_empty()).then(|| view! { <ul>{refused}</ul> })}
            {tried}
            {answer}
            {message.problem.map(|problem| view! {
                <details>
                    <summary>{problem.title.clone()}</summary>
                    <p>{problem.summary.clone()}</p>
                    <DiagnosisSheet diagnosis=problem/>
                </details>
            })}
            <div class="actions">
                {(state == DeliveryState::Unknown).then(|| view! { <Submit action="/api/look_for_message" values=values() label="Sent or not?" busy="Looking…"/> })}
                {state.can_cancel().then(|| view! { <Submit action="/api/cancel_message" values=values() label="Stop"/> })}
                {state.can_retry().then(|| view! { <Submit action="/api/retry_message" values=values() label="Try again"/> })}
            </div>
        </li>
    }
    .into_any()
}
