//! The notification mailbox section.

use crate::api::email_config::{DisconnectNotifications, StartNotifications, TestPair};
use crate::model::EMAIL_CONFIG_ATTEMPTS_PATH;
use leptos::prelude::*;
use leptos::server_fn::ServerFn;

use crate::components::{Banner, Submit, history, state_badge};
use crate::islands::SubmitButton;
use crate::model::{NotificationView, Tone};

/// Sender, test, and a banner if nothing can be sent.
pub(super) fn notifications(view: &NotificationView, exchange_ready: bool) -> AnyView {
    let works = view.ready && view.custom_from;
    let nothing = !view.system_smtp && !works;
    let banner = if nothing {
        Some(view! {
            <Banner
                tone=Tone::Warning
                title="Notifications can't be sent."
                text="This server has no system SMTP and no tested notification mailbox. Copy invitation links and send them yourself."
            />
        }.into_any())
    } else {
        view.problem.clone().filter(|_| view.custom_from).map(|problem| {
            let text = format!(
                "{problem}. {}",
                if view.system_smtp {
                    "The system's sender is used instead."
                } else {
                    "Without a system SMTP none are sent."
                }
            );
            view! { <Banner tone=Tone::Problem title="The notification mailbox doesn't work." text /> }.into_any()
        })
    };
    let custom = view.custom_from.then(|| custom(view, exchange_ready));
    let sender = if works { view.custom_from_address.clone() } else { view.default_sender.clone() };
    let line = if nothing { "None are sent right now.".to_owned() } else { format!("Sent from {sender}.") };
    view! {
        <section class="sheet notifications" id="notifications">
            <h2>"General notifications"</h2>
            <p>"Invitations and alerts. " {line}</p>
            {banner}
            {custom}
        </section>
        {(!view.attempts.is_empty()).then(|| history(&view.attempts, EMAIL_CONFIG_ATTEMPTS_PATH))}
    }
    .into_any()
}

fn custom(view: &NotificationView, exchange_ready: bool) -> AnyView {
    let address = view.custom_from_address.clone();
    if !exchange_ready {
        return view! { <p class="quiet">"To send from " {address} ", save MS Exchange Online first."</p> }.into_any();
    }
    let sender = view.sender.clone().map(|mailbox| {
        view! {
            <div class="person-mailbox">
                <span class="address">{mailbox.address.clone()}</span>
                {state_badge(mailbox.state)}
                <details class="confirm">
                    <summary class="danger">"Stop using this mailbox"</summary>
                    <Submit action=DisconnectNotifications::PATH values=vec![] label="Yes, stop" class="button danger" />
                </details>
            </div>
        }
    });
    let pair = (!view.candidates.is_empty()).then(|| {
        let options = view.candidates.iter().map(|(id, address)| view! { <option value=id.to_string()>{address.clone()}</option> }).collect_view();
        view! {
            <form method="post" action=TestPair::PATH>
                <div class="field">
                    <label for="mailbox">"Send through a connected mailbox"</label>
                    <p class="hint">"For a shared address, which can't sign in. The mailbox needs the Send As permission."</p>
                    <select id="mailbox" name="mailbox">
                        {options}
                    </select>
                </div>
                <SubmitButton label="Send a test".to_owned() busy="Starting…".to_owned() class="button".to_owned() />
            </form>
        }
    });
    view! {
        {sender}
        <form method="post" action=StartNotifications::PATH>
            <p>"If " <strong>{address.clone()}</strong> " is a mailbox, connect it: sign in at Microsoft as that mailbox."</p>
            <SubmitButton label="Configure & Test".to_owned() busy="Going to Microsoft…".to_owned() class="button".to_owned() />
        </form>
        {pair}
    }
    .into_any()
}
