//! Writing a message.

use leptos::prelude::*;

use super::signed_in_page;
use crate::components::{Banner, ErrorSummary, Field, Layout, Section, TextInput};
use crate::islands::SubmitButton;
use crate::model::{ComposeView, Flash, MailboxState, MailboxView, Tone};

/// `/mail/compose`
#[component]
pub fn Compose() -> impl IntoView {
    signed_in_page(|page, me| async move {
        let flash = page.flash(&["compose"]).await;
        let view = page.backend.mail.compose(&me).await?;
        let body = if view.senders.is_empty() { not_connected() } else { form(view, &flash) };
        Ok(view! {
            <Layout me title="New message" trail="Mail" section=Section::Mail flash=flash.clone()>
                <ErrorSummary flash title="Not sent: something needs another look."/>
                {body}
            </Layout>
        }
        .into_any())
    })
}

fn not_connected() -> AnyView {
    view! {
        <Banner tone=Tone::Warning title="No mailbox is connected yet." text="Connect yours first: it takes a minute, and then you write as yourself.">
            <p><a class="button primary" href="/account/email">"Connect my mailbox"</a></p>
        </Banner>
    }
    .into_any()
}

fn form(view: ComposeView, flash: &Flash) -> AnyView {
    // After an error the same form is shown again: with its key, so that it still is one message.
    let key = flash.typed("key").map_or(view.key, ToOwned::to_owned);
    let text = flash.typed("text").unwrap_or_default().to_owned();
    let invalid = flash.error("text").is_some();
    view! {
        {waits(&view.senders)}
        <section class="sheet letter">
            <form method="post" action="/api/send_message">
                <input type="hidden" name="key" value=key/>
                {sender(view.senders, flash)}
                <TextInput name="to" label="To" hint="Several addresses: separate them with commas." flash=flash.clone()/>
                <TextInput name="cc" label="Cc" optional=true flash=flash.clone()/>
                <TextInput name="bcc" label="Bcc" optional=true hint="Nobody else sees who is named here." flash=flash.clone()/>
                <TextInput name="subject" label="Subject" optional=true flash=flash.clone()/>
                <Field name="text" label="Message" flash=flash.clone()>
                    <textarea id="text" name="text" rows="14" aria-invalid=invalid.then_some("true")>{text}</textarea>
                </Field>
                <div class="actions">
                    <SubmitButton label="Send".to_owned() busy="Sending…".to_owned()/>
                    <a href="/mail/outbox">"Outbox"</a>
                </div>
            </form>
        </section>
    }
    .into_any()
}

/// What waits in the outbox when it is sent now, said before it is written.
fn waits(senders: &[MailboxView]) -> AnyView {
    senders
        .iter()
        .filter_map(|mailbox| {
            let problem = mailbox.problem.as_ref().filter(|_| mailbox.state != MailboxState::Connected)?;
            let text = format!(
                "What you send as {} waits in the outbox, and leaves by itself once this is mended.",
                mailbox.address
            );
            Some(view! {
                <Banner tone=Tone::Warning title=problem.title.clone() text>
                    <p><a href="/account/email">"What to do"</a></p>
                </Banner>
            })
        })
        .collect_view()
        .into_any()
}

fn sender(senders: Vec<MailboxView>, flash: &Flash) -> AnyView {
    if let [only] = senders.as_slice() {
        let (id, address) = (only.id.to_string(), only.address.clone());
        return view! {
            <input type="hidden" name="mailbox" value=id/>
            <p class="from"><span class="quiet">"From "</span><span class="address">{address}</span></p>
        }
        .into_any();
    }
    let chosen = flash.typed("mailbox").unwrap_or_default().to_owned();
    view! {
        <Field name="mailbox" label="From" flash=flash.clone()>
            <select id="mailbox" name="mailbox">
                {senders
                    .into_iter()
                    .map(|MailboxView { id, address, .. }| {
                        let value = id.to_string();
                        let selected = value == chosen;
                        view! { <option value=value selected=selected>{address}</option> }
                    })
                    .collect_view()}
            </select>
        </Field>
    }
    .into_any()
}
