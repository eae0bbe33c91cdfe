//! An opened message.

use crate::api::drafts::AnswerMessage;
use crate::api::inbox::ActOnMail;
use leptos::prelude::*;
use leptos::server_fn::ServerFn;
use leptos_router::hooks::use_query_map;

use super::{inbox, mail_page};
use crate::components::{Layout, MailNav, MailTab, Section, Submit, Time};
use crate::error::AppError;
use crate::model::{
    BodyView, EventTime, FolderRole, FormName, INBOX_PATH, Invitation, InvitationKind, MESSAGE_ATTACHMENT_PATH,
    MESSAGE_DOCUMENT_PATH, MESSAGE_PATH, MESSAGE_RAW_PATH, MessageRef, MessageView, NestedView, Protection, TextPiece,
    escaped, size_in_words,
};

/// `/mail/message`
#[component]
pub fn Message() -> impl IntoView {
    let asked = use_query_map().get_untracked();
    let number = |name: &str| asked.get(name).and_then(|text| text.parse().ok());
    let place = (|| {
        Some(MessageRef {
            mailbox: asked.get("mailbox")?.parse().ok()?,
            folder: asked.get("folder").filter(|name| !name.is_empty())?,
            uid_validity: number("validity")?,
            uid: number("uid")?,
        })
    })();
    let origin = Origin { page: number("page").unwrap_or(1), search: asked.get("search").unwrap_or_default() };
    let remote_images = asked.get("images").as_deref() == Some("shown");
    let as_text = asked.get("view").as_deref() == Some("text");
    mail_page(move |page, user| async move {
        let flash = page.flash(&[FormName::Inbox]).await;
        let view = page.backend.inbox.message(&user, &place.ok_or(AppError::NotFound)?).await?;
        if view.body.is_none() && view.problem.is_none() {
            let name = http::HeaderName::from_static("refresh");
            page.response.insert_header(name, http::HeaderValue::from_static(inbox::RELOAD));
        }
        let subject = if view.subject.is_empty() { "(no subject)".to_owned() } else { view.subject.clone() };
        // Back to the row of this message.
        let row = format!("#open-{}-{}", view.place.uid_validity, view.place.uid);
        let back = format!(
            "{INBOX_PATH}?mailbox={}&folder={}{}{row}",
            view.place.mailbox,
            escaped(&view.place.folder),
            origin.query()
        );
        let folder = view.folder_title.clone();
        let problem = view.problem.as_ref().map(|problem| inbox::trouble(problem, view.address.clone(), None));
        Ok(view! {
            <Layout user=user.signed_in() title=subject trail="Mail" section=Section::Mail flash=flash.clone()>
                <MailNav place=MailTab::Message />
                {problem}
                <article class="sheet opened">{head(&view)} {actions(&view, &origin)} {body(&view, remote_images, as_text)}</article>
                <p class="back">
                    <a href=back>"Back to " {folder}</a>
                </p>
            </Layout>
        }
        .into_any())
    })
}

struct Origin {
    page: u32,
    search: String,
}

impl Origin {
    fn query(&self) -> String {
        let page = if self.page > 1 { format!("&page={}", self.page) } else { String::new() };
        let search = if self.search.is_empty() { String::new() } else { format!("&search={}", escaped(&self.search)) };
        format!("{page}{search}")
    }
}

fn people(all: &[String]) -> AnyView {
    let last = all.len().saturating_sub(1);
    let each = all.iter().enumerate().map(|(at, one)| {
        view! {
            <bdi>{one.clone()}</bdi>
            {(at < last).then_some(", ")}
        }
    });
    each.collect_view().into_any()
}

fn head(view: &MessageView) -> AnyView {
    let last = view.from.len().saturating_sub(1);
    let from = view.from.clone().into_iter().enumerate().map(|(at, (name, address))| {
        let both = !name.is_empty() && !address.is_empty() && name != address;
        view! {
            <bdi>{if name.is_empty() { address.clone() } else { name }}</bdi>
            {both
                .then(|| {
                    view! {
                        " "
                        <span class="quiet address">"<" <bdi>{address}</bdi> ">"</span>
                    }
                })}
            {(at < last).then_some(", ")}
        }
    });
    view! {
        <dl class="opened-head">
            <div>
                <dt>"From"</dt>
                <dd>{from.collect_view()}</dd>
            </div>
            {(!view.to.is_empty())
                .then(|| {
                    view! {
                        <div>
                            <dt>"To"</dt>
                            <dd>{people(&view.to)}</dd>
                        </div>
                    }
                })}
            {(!view.cc.is_empty())
                .then(|| {
                    view! {
                        <div>
                            <dt>"Cc"</dt>
                            <dd>{people(&view.cc)}</dd>
                        </div>
                    }
                })}
            {view
                .received_at
                .map(|at| {
                    view! {
                        <div>
                            <dt>"Received"</dt>
                            <dd>
                                <Time at />
                            </dd>
                        </div>
                    }
                })}
        </dl>
    }
    .into_any()
}

fn actions(view: &MessageView, origin: &Origin) -> AnyView {
    let place = &view.place;
    let named = |more: &[(&'static str, &str)]| {
        let mut values = vec![
            ("mailbox", place.mailbox.to_string()),
            ("folder", place.folder.clone()),
            ("validity", place.uid_validity.to_string()),
        ];
        values.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        values
    };
    let uid = place.uid.to_string();
    let answer = |how: &str| named(&[("uid", &uid), ("how", how)]);
    let page = origin.page.to_string();
    let act =
        |action: &str| named(&[("uids[]", &uid), ("action", action), ("page", &page), ("search", &origin.search)]);
    let stay = |action: &str| named(&[("uids[]", &uid), ("action", action), ("stay", &uid)]);
    let (flag, label) = if view.flagged { ("unflag", "Unflag") } else { ("flag", "Flag") };
    // Deleting from here is final, so it asks.
    let delete = if view.role == FolderRole::Trash {
        view! {
            <details class="confirm">
                <summary class="danger">"Delete permanently"</summary>
                <p>"You can't undo this."</p>
                <Submit action=ActOnMail::PATH values=act("delete") label="Yes, delete permanently" class="button danger" />
            </details>
        }
        .into_any()
    } else {
        view! { <Submit action=ActOnMail::PATH values=act("delete") label="Delete" class="button danger" /> }.into_any()
    };
    view! {
        <div class="actions opened-actions">
            <Submit action=AnswerMessage::PATH values=answer("reply") zone_at=view.received_at label="Reply" class="button primary" busy="Opening…" />
            <Submit action=AnswerMessage::PATH values=answer("reply_all") zone_at=view.received_at label="Reply all" busy="Opening…" />
            <Submit action=AnswerMessage::PATH values=answer("forward") zone_at=view.received_at label="Forward" busy="Opening…" />
            <Submit action=ActOnMail::PATH values=act("unread") label="Mark unread" />
            <Submit action=ActOnMail::PATH values=stay(flag) label=label />
            {delete}
        </div>
    }
    .into_any()
}

fn body(view: &MessageView, remote_images: bool, as_text: bool) -> AnyView {
    let Some(body) = &view.body else {
        let text = if view.problem.is_some() { "Can't load this message right now." } else { "Loading the message…" };
        return view! {
            <p class="quiet" role="status">
                {text}
            </p>
        }
        .into_any();
    };
    let query = view.place.query();
    let other = (body.html && body.text.is_some()).then(|| {
        let (href, label) = if as_text {
            (format!("{MESSAGE_PATH}?{query}"), "HTML")
        } else {
            (format!("{MESSAGE_PATH}?{query}&view=text"), "Plain text")
        };
        view! { <a href=href>{label}</a> }
    });
    let images = Images { shown: remote_images, page: format!("{MESSAGE_PATH}?{query}&images=shown") };
    view! {
        {content(body, &query, &images, as_text)}
        <p class="opened-foot quiet">
            {other} <a href=format!("{MESSAGE_RAW_PATH}?{query}") download="">
                "Download original (.eml)"
            </a>
        </p>
    }
    .into_any()
}

/// Remote images: whether they are shown, and the link that shows them.
struct Images {
    shown: bool,
    page: String,
}

/// Text, attachments and nested messages.
fn content(body: &BodyView, query: &str, images: &Images, as_text: bool) -> AnyView {
    let shown = match (&body.text, body.html && !(as_text && body.text.is_some())) {
        (_, true) => frame(body, query, images),
        (Some(text), false) => plain(text),
        (None, false) => without_text(body),
    };
    let nested = body.nested.iter().map(|one| message_within(one, query, images)).collect_view();
    view! {
        {body.protection.map(protection)}
        {body.invitation.as_ref().map(invitation)}
        {shown}
        {body.damaged.then(|| view! { <p class="quiet">"Part of this text was damaged in transit and can't be read."</p> })}
        {body.truncated.then(|| view! { <p class="quiet">"Message truncated. Download it to see the rest."</p> })}
        {parts(body, query)}
        {nested}
    }
    .into_any()
}

fn plain(text: &[TextPiece]) -> AnyView {
    let pieces = text.iter().cloned().map(|piece| match piece {
        TextPiece::Words(words) => view! { {words} }.into_any(),
        TextPiece::Link { href, words } => view! {
            <a href=href target="_blank" rel="noopener noreferrer nofollow">
                {words}
            </a>
        }
        .into_any(),
    });
    view! {
        <pre class="mail-text" dir="auto">
            {pieces.collect_view()}
        </pre>
    }
    .into_any()
}

fn without_text(body: &BodyView) -> AnyView {
    let text = match (body.protection, body.invitation.is_some(), !body.parts.is_empty()) {
        (Some(Protection::Encrypted), _, _) | (_, true, _) => return ().into_any(),
        (_, _, true) => "This message has attachments and no text.",
        _ => "This message has no text.",
    };
    view! { <p class="quiet">{text}</p> }.into_any()
}

fn protection(kind: Protection) -> AnyView {
    match kind {
        Protection::Encrypted => view! {
            <p class="mail-note">
                <strong>"This message is encrypted."</strong>
                " Open it in Outlook, where your key is."
            </p>
        }
        .into_any(),
        Protection::Signed => view! {
            <p class="mail-note">
                <strong>"Signed, not verified."</strong>
                " Entrepost shows the signed text but doesn't check the signature."
            </p>
        }
        .into_any(),
    }
}

fn event_time(at: &EventTime) -> AnyView {
    match at.clone() {
        EventTime::Instant(at) => view! { <Time at /> }.into_any(),
        EventTime::Day(words) | EventTime::Local(words) => view! { {words} }.into_any(),
    }
}

fn invitation(event: &Invitation) -> AnyView {
    let title = match event.kind {
        InvitationKind::Request => "Invitation",
        InvitationKind::Cancelled => "Cancelled",
        InvitationKind::Reply => "Reply to an invitation",
        InvitationKind::Event => "Event",
    };
    let start = event.start.as_ref().map(event_time);
    let end = event.end.as_ref().filter(|end| event.start.as_ref() != Some(*end)).map(event_time);
    let guests = (!event.guests.is_empty()).then(|| {
        view! {
            <div>
                <dt>"Who"</dt>
                <dd>{people(&event.guests)}</dd>
            </div>
        }
    });
    let links = event.links.iter().cloned().map(|link| {
        let words = link.clone();
        view! {
            <a href=link target="_blank" rel="noopener noreferrer nofollow">
                {words}
            </a>
        }
    });
    let links = (!event.links.is_empty()).then(|| {
        view! {
            <div>
                <dt>"Link"</dt>
                <dd class="mail-links">{links.collect_view()}</dd>
            </div>
        }
    });
    let row = |name: &'static str, value: &str| {
        (!value.is_empty()).then(|| {
            view! {
                <div>
                    <dt>{name}</dt>
                    <dd>
                        <bdi>{value.to_owned()}</bdi>
                    </dd>
                </div>
            }
        })
    };
    view! {
        <section class="invitation" aria-labelledby="invitation-title">
            <h2 id="invitation-title">{title} ": " <bdi>{event.summary.clone()}</bdi></h2>
            <dl class="opened-head">
                {start
                    .map(|start| {
                        view! {
                            <div>
                                <dt>"When"</dt>
                                <dd>
                                    {start}
                                    {end
                                        .map(|end| {
                                            view! {
                                                " – "
                                                {end}
                                            }
                                        })} {event.repeats.then_some(" (repeats)")}
                                </dd>
                            </div>
                        }
                    })} {row("Where", &event.location)} {row("Organizer", &event.organizer)} {guests} {links}
            </dl>
            {(!event.description.trim().is_empty())
                .then(|| {
                    view! {
                        <pre class="mail-text" dir="auto">
                            {event.description.clone()}
                        </pre>
                    }
                })}
            <p class="quiet">"Reply in Outlook or Teams: that adds it to your calendar."</p>
        </section>
    }
    .into_any()
}

fn message_within(nested: &NestedView, query: &str, images: &Images) -> AnyView {
    let subject = if nested.subject.is_empty() { "(no subject)".to_owned() } else { nested.subject.clone() };
    let query = format!("{query}&nested={}", nested.path);
    let row = |name: &'static str, value: &str| {
        (!value.is_empty()).then(|| {
            view! {
                <div>
                    <dt>{name}</dt>
                    <dd>
                        <bdi>{value.to_owned()}</bdi>
                    </dd>
                </div>
            }
        })
    };
    view! {
        <details class="message-within">
            <summary>"Message: " <bdi>{subject}</bdi></summary>
            <dl class="opened-head">
                {row("From", &nested.from)} {row("To", &nested.to)}
                {nested
                    .date
                    .map(|at| {
                        view! {
                            <div>
                                <dt>"Date"</dt>
                                <dd>
                                    <Time at />
                                </dd>
                            </div>
                        }
                    })}
            </dl>
            {content(&nested.body, &query, images, false)}
        </details>
    }
    .into_any()
}

fn frame(body: &BodyView, query: &str, images: &Images) -> AnyView {
    let blocked = (body.remote_images && !images.shown).then(|| {
        view! {
            <p class="images-blocked">
                <span>"Remote images are blocked to protect your privacy."</span>
                <a class="button small" href=images.page.clone()>
                    "Load images"
                </a>
            </p>
        }
    });
    let shown = if images.shown { "&images=shown" } else { "" };
    let source = format!("{MESSAGE_DOCUMENT_PATH}?{query}{shown}");
    view! {
        {blocked}
        <iframe class="mail-frame" title="The message" sandbox="allow-popups allow-popups-to-escape-sandbox" referrerpolicy="no-referrer" src=source></iframe>
    }
    .into_any()
}

fn parts(body: &BodyView, query: &str) -> Option<AnyView> {
    (!body.parts.is_empty()).then(|| {
        let links = body
            .parts
            .iter()
            .map(|part| {
                let href = format!("{MESSAGE_ATTACHMENT_PATH}?{query}&number={}", part.number);
                let (name, size) = (part.name.clone(), size_in_words(part.size));
                let damaged = part.damaged.then(|| {
                    view! { <span class="damaged">" Damaged in transit: part of it is lost."</span> }
                });
                view! {
                    <li>
                        <a href=href download="">
                            <bdi>{name}</bdi>
                        </a>
                        <span class="quiet">{size}</span>
                        {damaged}
                    </li>
                }
            })
            .collect_view();
        view! {
            <section class="opened-parts" aria-label="Attachments">
                <h2>"Attachments"</h2>
                <ul class="attachments">{links}</ul>
            </section>
        }
        .into_any()
    })
}
