//! The compose page.

use crate::api::drafts::SendMessage;
use crate::model::{ACCOUNT_PATH, FormName};
use leptos::prelude::*;
use leptos::server_fn::ServerFn;
use leptos_router::hooks::use_query_map;

use super::{inbox, mail_page};
use crate::components::{Banner, ErrorSummary, Field, Layout, MailNav, MailTab, Section, TextInput};
use crate::islands::{Attachments, DraftKeeper, SubmitButton};
use crate::model::{ComposeView, DraftId, Flash, MailboxState, MailboxView, Tone, UserId};

/// `/mail/compose`
#[component]
pub fn Compose() -> impl IntoView {
    let draft: Option<DraftId> = use_query_map().get_untracked().get("draft").and_then(|text| text.parse().ok());
    mail_page(move |page, user| async move {
        let flash = page.flash(&[FormName::Compose]).await;
        let view = page.backend.drafts.compose(&user, draft).await?;
        let title =
            if view.form.subject.trim().is_empty() { "New message".to_owned() } else { view.form.subject.clone() };
        let body = if view.senders.is_empty() { inbox::not_connected() } else { form(view, user.user_id(), &flash) };
        Ok(view! {
            <Layout user=user.signed_in() title trail="Mail" section=Section::Mail flash=flash.clone()>
                <MailNav place=MailTab::Compose />
                <ErrorSummary flash title="Your message wasn't sent." after="We saved it as a draft." />
                {body}
            </Layout>
        }
        .into_any())
    })
}

fn form(view: ComposeView, writer_id: UserId, flash: &Flash) -> AnyView {
    let ComposeView { senders, form, sent_keys, writer, attachments, attachment_limit } = view;
    let invalid = flash.error("text").is_some();
    // Replies start in the text.
    let writing = !form.to.is_empty() && flash.errors.is_empty();
    // Cc and Bcc are rare: their fields are open only if filled in.
    let copies = [&form.cc, &form.bcc].iter().any(|text| !text.is_empty())
        || flash.error("cc").is_some()
        || flash.error("bcc").is_some();
    // The tab restores text kept from an ended session into a blank form.
    let blank = [&form.to, &form.cc, &form.bcc, &form.subject, &form.text].iter().all(|text| text.trim().is_empty());
    view! {
        {waits(&senders)}
        <section class="sheet compose">
            <form
                method="post"
                action=SendMessage::PATH
                enctype="multipart/form-data"
                data-blank=blank
                data-owner=writer_id.to_string()
                data-sent=sent_keys.join(" ")
            >
                <input type="hidden" name="key" value=form.key.clone() />
                <input type="hidden" name="writer" value=writer />
                <input type="hidden" name="revision" value="0" />
                // The draft keeper shows it when the session ended.
                <div class="signed-out" id="signed-out" role="alert" hidden=true>
                    <span>"You've been signed out. Your message is still here. "</span>
                    <a href=format!("/login?next=/mail/compose%3Fdraft%3D{}", form.key) target="_blank">
                        "Sign in again"
                    </a>
                    <span>" (opens a new tab), then press Send."</span>
                </div>
                // Enter presses the form's first button: it saves instead of sending by mistake.
                <button class="visually-hidden" name="action" value="save" tabindex="-1" aria-hidden="true">
                    "Save draft"
                </button>
                {sender(senders, &form.mailbox, flash)}
                <TextInput name="to" addresses=true label="To" value=form.to hint="Separate addresses with commas or new lines." flash=flash.clone() />
                <details class="copies" open=copies>
                    <summary>"Cc and Bcc"</summary>
                    <TextInput name="cc" addresses=true label="Cc" value=form.cc optional=true flash=flash.clone() />
                    <TextInput
                        name="bcc"
                        addresses=true
                        label="Bcc"
                        value=form.bcc
                        optional=true
                        hint="Other recipients won't see these addresses."
                        flash=flash.clone()
                    />
                </details>
                <TextInput name="subject" label="Subject" value=form.subject optional=true flash=flash.clone() />
                <Field name="text" label="Message" flash=flash.clone()>
                    <textarea id="text" name="text" rows="14" dir="auto" autofocus=writing aria-invalid=invalid.then_some("true")>
                        {form.text}
                    </textarea>
                </Field>
                <Field name="files" label="Attachments" optional=true flash=flash.clone()>
                    <Attachments initial=attachments limit=attachment_limit />
                </Field>
                <div class="actions">
                    <SubmitButton label="Send".to_owned() busy="Sending…".to_owned() />
                    <button class="button" name="action" value="save">
                        "Save draft"
                    </button>
                    <button class="button danger" name="action" value="discard">
                        "Discard"
                    </button>
                    <DraftKeeper />
                </div>
            </form>
        </section>
    }
    .into_any()
}

/// Warns, before writing, about mailboxes that cannot send now.
fn waits(senders: &[MailboxView]) -> AnyView {
    senders
        .iter()
        .filter_map(|mailbox| {
            let problem = mailbox.problem.as_ref().filter(|_| mailbox.state != MailboxState::Connected)?;
            // A blocked mailbox may still be able to send.
            let wait = if mailbox.state == MailboxState::Blocked { "may have to wait" } else { "will wait" };
            let text = format!("Messages from {} {wait} in the outbox until this is fixed.", mailbox.address);
            Some(view! {
                <Banner tone=Tone::Warning title=problem.title.clone() text>
                    <p>
                        <a href=ACCOUNT_PATH>"What to do"</a>
                    </p>
                </Banner>
            })
        })
        .collect_view()
        .into_any()
}

fn sender(senders: Vec<MailboxView>, chosen: &str, flash: &Flash) -> AnyView {
    if let [only] = senders.as_slice() {
        let (id, address) = (only.id.to_string(), only.address.clone());
        return view! {
            <input type="hidden" name="mailbox" value=id />
            <p class="from">
                <span class="quiet">"From "</span>
                <span class="address">{address}</span>
            </p>
        }
        .into_any();
    }
    let chosen = chosen.to_owned();
    view! {
        <Field name="mailbox" label="From" flash=flash.clone()>
            <select id="mailbox" name="mailbox">
                {senders
                    .into_iter()
                    .map(|MailboxView { id, address, .. }| {
                        let value = id.to_string();
                        let selected = value == chosen;
                        view! {
                            <option value=value selected=selected>
                                {address}
                            </option>
                        }
                    })
                    .collect_view()}
            </select>
        </Field>
    }
    .into_any()
}
