//! An opened message.

use leptos::prelude::*;
use leptos_router::hooks::use_query_map;

use super::{inbox, signed_in_page};
use crate::components::{Layout, MailNav, MailPlace, Section, Submit, Time};
use crate::error::AppError;
use crate::model::{BodyView, FolderRole, MessagePlace, MessageView, escaped, size_in_words};

/// `/mail/message`
#[component]
pub fn Message() -> impl IntoView {
    let asked = use_query_map().get_untracked();
    let number = |name: &str| asked.get(name).and_then(|text| text.parse().ok());
    let place = (|| {
        Some(MessagePlace {
            mailbox: asked.get("mailbox")?.parse().ok()?,
            folder: asked.get("folder").filter(|name| !name.is_empty())?,
            validity: number("validity")?,
            uid: number("uid")?,
        })
    })();
    let remote_images = asked.get("images").as_deref() == Some("shown");
    let as_text = asked.get("view").as_deref() == Some("text");
    signed_in_page(move |page, me| async move {
        let flash = page.flash(&["inbox"]).await;
        let view = page.backend.inbox.message(&me, &place.ok_or(AppError::NotFound)?).await?;
        if view.body.is_none() && view.problem.is_none() {
            let name = http::HeaderName::from_static("refresh");
            page.response.insert_header(name, http::HeaderValue::from_static(inbox::RELOAD));
        }
        let subject = if view.subject.is_empty() { "(no subject)".to_owned() } else { view.subject.clone() };
        let back = format!("/mail/inbox?mailbox={}&folder={}", view.place.mailbox, escaped(&view.place.folder));
        let folder = view.folder_title.clone();
        let problem = view.problem.as_ref().map(|problem| inbox::trouble(problem, view.address.clone(), None));
        Ok(view! {
            <Layout me title=subject trail="Mail" section=Section::Mail flash=flash.clone()>
                <MailNav place=MailPlace::Message/>
                {problem}
                <article class="sheet opened">
                    {head(&view)}
                    {actions(&view)}
                    {body(&view, remote_images, as_text)}
                </article>
                <p class="back"><a href=back>"Back to " {folder}</a></p>
            </Layout>
        }
        .into_any())
    })
}

fn head(view: &MessageView) -> AnyView {
    let (name, address) = view.from.clone();
    let (to, cc) = (view.to.clone(), view.cc.clone());
    let both = !name.is_empty() && name != address;
    view! {
        <dl class="opened-head">
            <div>
                <dt>"From"</dt>
                <dd>
                    {if name.is_empty() { address.clone() } else { name }}
                    {both.then(|| view! { " " <span class="quiet address">"<" {address} ">"</span> })}
                </dd>
            </div>
            {(!to.is_empty()).then(|| view! { <div><dt>"To"</dt><dd>{to}</dd></div> })}
            {(!cc.is_empty()).then(|| view! { <div><dt>"Cc"</dt><dd>{cc}</dd></div> })}
            {view.received_at.map(|at| view! { <div><dt>"Received"</dt><dd><Time at/></dd></div> })}
        </dl>
    }
    .into_any()
}

fn actions(view: &MessageView) -> AnyView {
    let place = &view.place;
    let named = |more: &[(&'static str, &str)]| {
        let mut values = vec![
            ("mailbox", place.mailbox.to_string()),
            ("folder", place.folder.clone()),
            ("validity", place.validity.to_string()),
        ];
        values.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        values
    };
    let uid = place.uid.to_string();
    let answer = |how: &str| named(&[("uid", &uid), ("how", how)]);
    let act = |action: &str| named(&[("uids[]", &uid), ("action", action)]);
    let stay = |action: &str| named(&[("uids[]", &uid), ("action", action), ("stay", &uid)]);
    let (flag, label) = if view.flagged { ("unflag", "Unflag") } else { ("flag", "Flag") };
    // From here there is no way back: one more press.
    let delete = if view.role == FolderRole::Trash {
        view! {
            <details class="confirm">
                <summary class="danger">"Delete for good"</summary>
                <p>"It cannot be brought back."</p>
                <Submit action="/api/act_on_mail" values=act("delete") label="Yes, delete for good" class="button danger"/>
            </details>
        }
        .into_any()
    } else {
        view! { <Submit action="/api/act_on_mail" values=act("delete") label="Delete" class="button danger"/> }
            .into_any()
    };
    view! {
        <div class="actions opened-actions">
            <Submit action="/api/answer_message" values=answer("reply") label="Reply" class="button primary" busy="Opening…"/>
            <Submit action="/api/answer_message" values=answer("reply_all") label="Reply all" busy="Opening…"/>
            <Submit action="/api/answer_message" values=answer("forward") label="Forward" busy="Opening…"/>
            <Submit action="/api/act_on_mail" values=act("unread") label="Mark unread"/>
            <Submit action="/api/act_on_mail" values=stay(flag) label=label/>
            {delete}
        </div>
    }
    .into_any()
}

fn body(view: &MessageView, remote_images: bool, as_text: bool) -> AnyView {
    let Some(body) = &view.body else {
        let text =
            if view.problem.is_some() { "The message cannot be fetched now." } else { "Fetching the message…" };
        return view! { <p class="quiet" role="status">{text}</p> }.into_any();
    };
    let query = view.place.query();
    let shown = match (&body.text, body.html && !(as_text && body.text.is_some())) {
        (_, true) => frame(body, &query, remote_images),
        (Some(text), false) => view! { <pre class="mail-text">{text.clone()}</pre> }.into_any(),
        (None, false) => view! { <p class="quiet">"This message has no text."</p> }.into_any(),
    };
    let other = (body.html && body.text.is_some()).then(|| {
        let (href, label) = if as_text {
            (format!("/mail/message?{query}"), "Show as designed")
        } else {
            (format!("/mail/message?{query}&view=text"), "Show as plain text")
        };
        view! { <a href=href>{label}</a> }
    });
    let truncated = body.truncated.then(|| {
        view! { <p class="quiet">"This message is too large to be shown whole. Download it to see all of it."</p> }
    });
    view! {
        {shown}
        {truncated}
        {parts(body, &query)}
        <p class="opened-foot quiet">
            {other}
            <a href=format!("/mail/message/raw?{query}") download="">"Download the whole message"</a>
        </p>
    }
    .into_any()
}

fn frame(body: &BodyView, query: &str, remote_images: bool) -> AnyView {
    let blocked = (body.remote_images && !remote_images).then(|| {
        let href = format!("/mail/message?{query}&images=shown");
        view! {
            <p class="images-blocked">
                <span>"Pictures from elsewhere are not loaded: whoever serves them would learn that you read this."</span>
                <a class="button small" href=href>"Load pictures"</a>
            </p>
        }
    });
    let images = if remote_images { "&images=shown" } else { "" };
    let source = format!("/mail/message/document?{query}{images}");
    view! {
        {blocked}
        <iframe
            class="mail-frame"
            title="The message"
            sandbox="allow-popups allow-popups-to-escape-sandbox"
            referrerpolicy="no-referrer"
            src=source
        ></iframe>
    }
    .into_any()
}

fn parts(body: &BodyView, query: &str) -> Option<AnyView> {
    (!body.parts.is_empty()).then(|| {
        let links = body
            .parts
            .iter()
            .map(|part| {
                let href = format!("/mail/message/attachment?{query}&number={}", part.number);
                let (name, size) = (part.name.clone(), size_in_words(part.size));
                view! { <li><a href=href download="">{name}</a> <span class="quiet">{size}</span></li> }
            })
            .collect_view();
        view! {
            <section class="opened-parts" aria-labelledby="attachments-title">
                <h2 id="attachments-title">"Attachments"</h2>
                <ul class="attachments">{links}</ul>
            </section>
        }
        .into_any()
    })
}
