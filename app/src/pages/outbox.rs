//! Messages sent from Entrepost with their delivery status: the list, and one message.

use crate::api::mailboxes::ConfigureAndTest;
use crate::api::outbox::{CancelMessage, CheckSent, RetryMessage, RewriteMessage};
use crate::model::{FormName, MAIL_EVENTS_PATH, OUTBOX_PATH};
use leptos::prelude::*;
use leptos::server_fn::ServerFn;
use leptos_router::hooks::{use_params_map, use_query_map};

use super::mail_page;
use crate::backend::ListPage;
use crate::components::{
    Banner, DiagnosisSheet, Layout, MailNav, MailTab, Remedies, Section, Submit, Time, TimeFormat, badge,
};
use crate::error::AppError;
use crate::islands::LiveMail;
use crate::model::{
    DeliveryId, DeliveryState, DeliveryView, RecipientKind, RecipientState, RecipientView, SentMessageView, Timestamp,
    Tone, escaped, size_in_words,
};

/// Reload interval in seconds while something is in progress.
const RELOAD: &str = "4";

/// `/mail/outbox`
#[component]
pub fn Outbox() -> impl IntoView {
    let before = use_query_map().get_untracked().get("before").and_then(|text| text.parse().ok()).map(Timestamp);
    mail_page(move |page, user| async move {
        let flash = page.flash(&[FormName::Outbox]).await;
        // Read before the list, so that changes in between are followed, too.
        let events = format!("{MAIL_EVENTS_PATH}?version={}", escaped(&page.backend.inbox.version(&user).await));
        let ListPage { rows: messages, more } = page.backend.outbox.list(&user, before).await?;
        if messages.iter().any(is_moving) {
            page.reload_without_scripts(RELOAD);
        }
        let earlier =
            messages.last().filter(|_| more).map(|last| format!("{OUTBOX_PATH}?before={}", last.created_at.0));
        let empty = messages.is_empty();
        Ok(view! {
            <Layout
                user=user.signed_in()
                title="Sent & delivery"
                trail="Mail"
                lead="Messages you sent from Entrepost, with delivery status."
                section=Section::Mail
                flash=flash.clone()
            >
                <MailNav place=MailTab::Outbox />
                <LiveMail events />
                <div id="live" tabindex="-1">
                    {empty
                        .then(|| {
                            view! {
                                <section class="sheet empty">
                                    <p class="empty-title">"No messages yet."</p>
                                    <p class="quiet">"Messages you send appear here with their delivery status."</p>
                                </section>
                            }
                        })}
                    <ul class="deliveries">{messages.into_iter().map(entry).collect_view()}</ul>
                    <nav class="actions" aria-label="Pages">
                        {earlier
                            .map(|href| {
                                view! {
                                    <a class="button" href=href>
                                        "Earlier messages"
                                    </a>
                                }
                            })}
                        {before
                            .map(|_| {
                                view! {
                                    <a class="button" href=OUTBOX_PATH>
                                        "Newest messages"
                                    </a>
                                }
                            })}
                    </nav>
                </div>
            </Layout>
        }
        .into_any())
    })
}

/// `/mail/outbox/:id`
#[component]
pub fn SentMessage() -> impl IntoView {
    let id = use_params_map().get_untracked().get("id").and_then(|text| text.parse::<DeliveryId>().ok());
    mail_page(move |page, user| async move {
        let flash = page.flash(&[FormName::Outbox]).await;
        let events = format!("{MAIL_EVENTS_PATH}?version={}", escaped(&page.backend.inbox.version(&user).await));
        let sent = page.backend.outbox.message(&user, id.ok_or(AppError::NotFound)?).await?;
        let moving = !sent.delivery.state.is_final();
        if is_moving(&sent.delivery) {
            page.reload_without_scripts(RELOAD);
        }
        let title = subject(&sent.delivery);
        Ok(view! {
            <Layout user=user.signed_in() title trail="Mail" section=Section::Mail flash=flash.clone()>
                <MailNav place=MailTab::Outbox />
                // A final state does not change: nothing to follow.
                {moving.then(|| view! { <LiveMail events /> })}
                <div id="live" tabindex="-1">
                    {opened(sent)}
                </div>
                <p class="back">
                    <a href=OUTBOX_PATH>"Back to Sent & delivery"</a>
                </p>
            </Layout>
        }
        .into_any())
    })
}

fn is_moving(message: &DeliveryView) -> bool {
    matches!(message.state, DeliveryState::Sending) || (message.state == DeliveryState::Queued && !message.held)
}

fn subject(message: &DeliveryView) -> String {
    if message.subject.is_empty() { "(no subject)".to_owned() } else { message.subject.clone() }
}

fn message_badge(message: &DeliveryView) -> AnyView {
    let refused = message.recipients.iter().filter(|one| one.state == RecipientState::Refused).count();
    let text = |text: &str| text.to_owned().into_any();
    let (class, sign, word) = match (message.state, message.next_attempt_at) {
        (DeliveryState::Queued, _) if message.held => ("badge warning", "!", text("Waiting for you to reconnect")),
        (DeliveryState::Queued, _) => ("badge", "…", text("Queued")),
        (DeliveryState::Sending, _) => ("badge", "…", text("Sending")),
        (DeliveryState::Sent, _) if refused > 0 => {
            let all = message.recipients.len();
            ("badge warning", "!", format!("Sent to {} of {all}", all - refused).into_any())
        }
        (DeliveryState::Sent, _) => ("badge ok", "✓", text("Sent")),
        (DeliveryState::Deferred, Some(at)) => (
            "badge warning",
            "!",
            view! {
                "Will retry at "
                <Time at format=TimeFormat::Hour />
            }
            .into_any(),
        ),
        (DeliveryState::Deferred, None) => ("badge warning", "!", text("Will retry")),
        (DeliveryState::Failed, _) => ("badge bad", "✕", text("Failed")),
        (DeliveryState::Bounced, _) => ("badge bad", "✕", text("Bounced")),
        (DeliveryState::Unknown, _) => ("badge warning", "?", text("Not confirmed")),
        (DeliveryState::Cancelled, _) => ("badge", "–", text("Cancelled")),
    };
    badge(class, sign, word)
}

fn end(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Sent => "Sent",
        DeliveryState::Bounced => "Bounced",
        DeliveryState::Unknown => "Connection lost",
        DeliveryState::Cancelled => "Cancelled",
        DeliveryState::Failed | DeliveryState::Queued | DeliveryState::Sending | DeliveryState::Deferred => {
            "Stopped trying"
        }
    }
}

fn explanation(message: &DeliveryView) -> Option<&'static str> {
    match message.state {
        DeliveryState::Unknown => Some(
            "The connection dropped while we were sending. The message may have arrived, so we won't resend it automatically.",
        ),
        DeliveryState::Queued if message.held => Some("We'll send it as soon as you reconnect your mailbox."),
        DeliveryState::Sent if message.keeps_text => Some(
            "The other recipients have it and won't get it again. The text is kept so you can send it to the rest.",
        ),
        _ => None,
    }
}

fn people(recipients: &[RecipientView], kind: RecipientKind) -> String {
    let named: Vec<&str> = recipients.iter().filter(|one| one.kind == kind).map(|one| one.address.as_str()).collect();
    named.join(", ")
}

fn refusals(message: &DeliveryView) -> Option<AnyView> {
    let refused: Vec<_> = message
        .recipients
        .iter()
        .filter(|one| one.state == RecipientState::Refused)
        .map(|one| {
            let (address, answer) = (one.address.clone(), one.answer.clone());
            // RFC 3463, 3.2: X.1.1 is an unknown mailbox; Exchange also uses X.1.10.
            let is_unknown = answer.split([' ', ':']).any(|word| matches!(word, "5.1.1" | "5.1.10"));
            let reason = if is_unknown {
                view! {
                    "no such address."
                    <details>
                        <summary>"Technical details"</summary>
                        {answer}
                    </details>
                }
                .into_any()
            } else {
                answer.into_any()
            };
            view! { <li>"Not delivered to " <span class="address">{address}</span> ": " {reason}</li> }
        })
        .collect();
    (!refused.is_empty()).then(|| view! { <ul>{refused}</ul> }.into_any())
}

/// Attempts so far, the next one, and the last reply.
fn attempts(message: &DeliveryView) -> AnyView {
    let tried = match (message.next_attempt_at, message.attempts) {
        (Some(at), 0) => Some(view! { <p class="quiet">"Next attempt " <Time at /></p> }.into_any()),
        (Some(at), 1) => Some(view! { <p class="quiet">"Tried once; next attempt " <Time at /></p> }.into_any()),
        (Some(at), count) => {
            Some(view! { <p class="quiet">"Tried " {count} " times; next attempt " <Time at /></p> }.into_any())
        }
        (None, _) => None,
    };
    let told =
        message.recipients.iter().any(|one| one.state == RecipientState::Refused && one.answer == message.answer);
    let answer = (!message.answer.is_empty() && message.state != DeliveryState::Sent && !told).then(|| {
        let answer = message.answer.clone();
        // Before the first attempt the text is the reason why it waits.
        let label =
            (message.attempts > 0 || message.held).then(|| view! { <span class="quiet">"Last result: "</span> });
        view! { <p class="answer">{label}{answer}</p> }
    });
    view! {
        {tried}
        {answer}
    }
    .into_any()
}

fn buttons(message: &DeliveryView) -> AnyView {
    let (state, id) = (message.state, message.id.to_string());
    let values = move || vec![("delivery", id.clone())];
    let some_have_it = message.recipients.iter().any(|one| one.state == RecipientState::Accepted);
    let rewrite = (state.is_final() && message.keeps_text).then(|| {
        let label = if some_have_it { "Correct and send to the rest" } else { "Edit and resend" };
        view! { <Submit action=RewriteMessage::PATH values=values() label /> }
    });
    let connect = message.held.then(|| {
        let values = vec![("email", message.from.clone())];
        view! { <Submit action=ConfigureAndTest::PATH values label="Sign in again" class="button primary" /> }
    });
    view! {
        {connect}
        {(state == DeliveryState::Unknown).then(|| view! { <Submit action=CheckSent::PATH values=values() label="Check Sent Items" /> })}
        {state.can_cancel().then(|| view! { <Submit action=CancelMessage::PATH values=values() label="Cancel sending" /> })}
        {state.can_retry().then(|| retry(state == DeliveryState::Unknown, values(), format!("again-{}", message.id)))}
        {rewrite}
    }
    .into_any()
}

/// If the message may have arrived, sending a second copy asks first.
fn retry(may_have_arrived: bool, values: Vec<(&'static str, String)>, id: String) -> AnyView {
    if !may_have_arrived {
        return view! { <Submit action=RetryMessage::PATH values label="Try again" /> }.into_any();
    }
    view! {
        <details class="confirm" id=id>
            <summary>"Send again anyway"</summary>
            <p>"The recipient may get it twice."</p>
            <Submit action=RetryMessage::PATH values label="Yes, send it again" class="button danger" />
        </details>
    }
    .into_any()
}

fn entry(message: DeliveryView) -> AnyView {
    let href = format!("{OUTBOX_PATH}/{}", message.id);
    let lines = [(RecipientKind::To, "To "), (RecipientKind::Cc, "Cc "), (RecipientKind::Bcc, "Bcc ")]
        .into_iter()
        .filter_map(|(kind, label)| {
            let names = people(&message.recipients, kind);
            (!names.is_empty()).then(|| {
                view! {
                    <p>
                        <span class="quiet">{label}</span>
                        <span class="address">{names}</span>
                    </p>
                }
            })
        })
        .collect_view();
    // The list shows the problem in one line; the opened message has the steps. Plain markup: live updates replace it.
    let problem = message.problem.as_ref().map(|problem| {
        let (title, href) = (problem.title.clone(), href.clone());
        view! { <p>{title} " " <a href=href>"What to do"</a></p> }
    });
    view! {
        <li class="sheet delivery" data-state=message.state.as_str()>
            <div class="sheet-head">
                <div>
                    <h2>
                        <a href=href>
                            <bdi>{subject(&message)}</bdi>
                        </a>
                    </h2>
                    {lines}
                    <p class="quiet">"From " {message.from.clone()} ", written " <Time at=message.created_at /></p>
                </div>
                <div>{message_badge(&message)}</div>
            </div>
            {explanation(&message).map(|why| view! { <p>{why}</p> })}
            {refusals(&message)}
            {attempts(&message)}
            {problem}
            <div class="actions">{buttons(&message)}</div>
        </li>
    }
    .into_any()
}

fn opened(sent: SentMessageView) -> AnyView {
    let SentMessageView { delivery: message, message_id, text, files, sent_folder } = sent;
    let lines = [(RecipientKind::To, "To"), (RecipientKind::Cc, "Cc"), (RecipientKind::Bcc, "Bcc")]
        .into_iter()
        .filter_map(|(kind, label)| {
            let names = people(&message.recipients, kind);
            (!names.is_empty()).then(|| {
                view! {
                    <div>
                        <dt>{label}</dt>
                        <dd class="address">{names}</dd>
                    </div>
                }
            })
        })
        .collect_view();
    let kept = match text {
        Some(text) => view! {
            <pre class="mail-text" dir="auto">
                {text}
            </pre>
        }
        .into_any(),
        None => {
            let open = sent_folder.map(|href| {
                view! {
                    " "
                    <a href=href>"Open it"</a>
                }
            });
            view! { <p class="quiet">"The sent copy is in Sent Items." {open}</p> }.into_any()
        }
    };
    let files: Vec<_> = files
        .into_iter()
        .map(|(name, size)| view! { <li>{name} " " <span class="quiet">{size_in_words(size)}</span></li> })
        .collect();
    let about = view! {
        <article class="sheet opened delivery" data-state=message.state.as_str()>
            <p>{message_badge(&message)}</p>
            {explanation(&message).map(|why| view! { <p>{why}</p> })}
            <dl class="opened-head">
                <div>
                    <dt>"From"</dt>
                    <dd class="address">{message.from.clone()}</dd>
                </div>
                {lines}
                <div>
                    <dt>"Written"</dt>
                    <dd>
                        <Time at=message.created_at />
                    </dd>
                </div>
                {message
                    .finished_at
                    .map(|at| {
                        view! {
                            <div>
                                <dt>{end(message.state)}</dt>
                                <dd>
                                    <Time at />
                                </dd>
                            </div>
                        }
                    })}
                <div>
                    <dt>"Message-ID"</dt>
                    <dd class="address">{message_id}</dd>
                </div>
            </dl>
            {refusals(&message)}
            {attempts(&message)}
            <div class="actions">{buttons(&message)}</div>
        </article>
    };
    view! {
        <div class="stack">
            {about}
            {message
                .problem
                .map(|problem| {
                    view! {
                        <Banner tone=Tone::Problem title=problem.title.clone() text=problem.summary.clone() />
                        <DiagnosisSheet diagnosis=problem.clone()>
                            <Remedies remedy=problem.remedy address=message.from.clone() />
                        </DiagnosisSheet>
                    }
                })} <section class="sheet opened" aria-labelledby="text-title">
                <h2 id="text-title">"The message"</h2>
                {kept}
                {(!files.is_empty())
                    .then(|| {
                        view! {
                            <section class="opened-parts" aria-labelledby="attachments-title">
                                <h2 id="attachments-title">"Attachments"</h2>
                                <ul class="attachments">{files}</ul>
                            </section>
                        }
                    })}
            </section>
        </div>
    }
    .into_any()
}
