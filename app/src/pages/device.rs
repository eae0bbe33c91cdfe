//! One program or device: its settings, what happens on its connections, its messages.

use leptos::prelude::*;
use leptos::server_fn::ServerFn;
use leptos_router::hooks::use_params_map;

use super::administrator_page;
use super::programs::{device_form, log_place, log_turn, relay_line, settings_to_type, state_badge};
use crate::api::devices::{PauseDevice, RemoveDevice, RenewDevicePassword, SendDeviceTest};
use crate::components::{ErrorSummary, Layout, PlainDiagnosis, Section, Submit, Time, TimeFormat, day, delivery_badge};
use crate::error::AppError;
use crate::islands::LiveMail;
use crate::model::{
    DEVICE_EVENTS_PATH, DeviceMessage, DeviceState, DeviceView, FormName, LogPlace, PROGRAMS_PATH, device_path, escaped,
};

/// `/institution/programs/{id}`
#[component]
pub fn Device() -> impl IntoView {
    let id = use_params_map().get_untracked().get("id").and_then(|text| text.parse().ok());
    let before = log_place();
    administrator_page(move |page, admin| async move {
        let id = id.ok_or(AppError::NotFound)?;
        let flash = page.flash(&[FormName::Device]).await;
        // Read before the page, so that changes in between are followed, too.
        let version = page.backend.devices.device_version(&admin, id).await?;
        let events = format!("{DEVICE_EVENTS_PATH}/{id}?version={}", escaped(&version));
        let view = page.backend.devices.device(&admin, id, before).await?;
        let name = view.settings.name.clone();
        let summary = summary(&view);
        let to_type = settings_to_type(&view.relay, &view.login, &view.settings);
        let form = device_form(Some(&view.settings), &id.to_string(), &view.mailboxes, &flash);
        let change_open = !flash.errors.is_empty();
        let danger = danger(&view);
        let days = view.log_days;
        let log = log(&view, before);
        let messages = messages(view.messages);
        Ok(view! {
            <Layout user=(*admin).clone() title=name trail="Institution › Programs and devices" section=Section::Institution flash=flash.clone()>
                <ErrorSummary flash after="Nothing was saved." />
                <div class="stack">
                    {summary} {to_type} <section class="sheet" aria-labelledby="log-title">
                        <h2 id="log-title">"What happens"</h2>
                        <p class="quiet">
                            {format!(
                                "Each connection from its first byte on, kept {days} days. Never content, subjects, passwords or whole addresses of recipients.",
                            )}
                        </p>
                        <LiveMail events />
                        <div id="live" tabindex="-1">
                            {log}
                            {messages}
                        </div>
                    </section> <details class="sheet invite" open=change_open>
                        <summary>"Change its settings"</summary>
                        {form}
                    </details> {danger} <p class="back">
                        <a class="button" href=PROGRAMS_PATH>
                            "Back to programs and devices"
                        </a>
                    </p>
                </div>
            </Layout>
        }
        .into_any())
    })
}

fn summary(view: &DeviceView) -> AnyView {
    let device = view.id.to_string();
    let used = match &view.last_used {
        Some((at, from)) => {
            let (at, from) = (*at, from.clone());
            view! {
                <Time at />
                " from "
                <span class="mono">{from}</span>
            }
            .into_any()
        }
        None => "never".into_any(),
    };
    let passwords = view.passwords.iter().map(|password| {
        let ends = password.expires_at.map(|at| {
            view! {
                " (ends "
                <Time at format=TimeFormat::Hour />
                ")"
            }
        });
        view! {
            <div>
                <span class="mono">{format!("{}…", password.prefix)}</span>
                {format!(" made on {}", day(password.created_at.0))}
                {ends}
            </div>
        }
    });
    let passwords: Vec<_> = passwords.collect();
    let advice = match view.state {
        DeviceState::NoMailbox => Some(
            "Nothing can be sent: its mailbox isn't connected. Its owner opens User Account › Email and presses Configure & Test. Until then each message is refused for now, and devices try again.",
        ),
        DeviceState::MailboxFails => {
            Some("Its mailbox doesn't pass its checks: what it sends waits. Mail health says what to do.")
        }
        DeviceState::Expired => Some("Enter a later date below, or none."),
        DeviceState::Ready | DeviceState::Paused => None,
    };
    let personal = view.is_personal.then(|| {
        view! { <p class="quiet">"Its mailbox is a person's: when they leave, it stops; and its messages are in their Sent Items. A mailbox of its own is better."</p> }
    });
    let paused = view.is_paused;
    view! {
        <section class="sheet">
            <p>{state_badge(view.state)} " " {view.settings.kind.label()} " that sends as " <strong class="address">{view.settings.mailbox.clone()}</strong></p>
            {advice.map(|advice| view! { <p>{advice}</p> })}
            {personal}
            <dl class="facts">
                <dt>"Last used"</dt>
                <dd>{used}</dd>
                {(!view.settings.by_address)
                    .then(|| {
                        view! {
                            <dt>"Password"</dt>
                            <dd>{passwords}</dd>
                        }
                    })}
            </dl>
            <div class="actions">
                <Submit action=SendDeviceTest::PATH values=vec![("device", device.clone())] label="Send a test" class="button primary" busy="Sending…" />
                <Submit
                    action=PauseDevice::PATH
                    values=vec![("device", device), ("paused", (!paused).to_string())]
                    label=if paused { "Resume" } else { "Pause" }
                />
            </div>
        </section>
    }
    .into_any()
}

/// Nothing here needs JavaScript: live updates replace it.
fn log(view: &DeviceView, before: LogPlace) -> AnyView {
    if view.log.lines.is_empty() && before == LogPlace::NEWEST {
        return view! { <p class="quiet empty">"It has not connected yet."</p> }.into_any();
    }
    // The advice of the newest problem is open; older lines say what happened.
    let newest = view.log.lines.iter().position(|line| line.event.is_problem());
    let lines = view.log.lines.iter().cloned().enumerate().map(|(at, line)| relay_line(line, Some(at) == newest));
    let lines = lines.collect_view();
    let turn = log_turn(&device_path(view.id), "log-title", before, view.log.older);
    view! {
        <ol class="relay-log">{lines}</ol>
        {turn}
    }
    .into_any()
}

fn messages(messages: Vec<DeviceMessage>) -> Option<AnyView> {
    if messages.is_empty() {
        return None;
    }
    let rows = messages.into_iter().map(|message| {
        let to = message.recipients.join(", ");
        view! {
            <li>
                <p>{delivery_badge(message.state)} " " <Time at=message.at format=TimeFormat::Hour /> " to " <span class="address">{to}</span></p>
                <p class="quiet">{message.answer}</p>
                {message.diagnosis.map(|diagnosis| view! { <PlainDiagnosis diagnosis /> })}
            </li>
        }
    });
    let rows = rows.collect_view();
    Some(
        view! {
            <h3>"Its last messages"</h3>
            <ol class="plain device-messages">{rows}</ol>
        }
        .into_any(),
    )
}

fn danger(view: &DeviceView) -> AnyView {
    let device = view.id.to_string();
    let password = (!view.settings.by_address).then(|| {
        view! {
            <Submit
                action=RenewDevicePassword::PATH
                values=vec![("device", device.clone()), ("ends", "day".to_owned())]
                label="New password, the old one works for a day"
            />
            <Submit
                action=RenewDevicePassword::PATH
                values=vec![("device", device.clone()), ("ends", "now".to_owned())]
                label="New password, the old one ends now"
            />
        }
    });
    view! {
        <section class="sheet" aria-labelledby="danger-title">
            <h2 id="danger-title">"Password and removal"</h2>
            <div class="actions">
                {password} <details class="confirm">
                    <summary class="danger">"Remove it"</summary>
                    <p>"Its passwords and its log are deleted. What it had queued is still sent."</p>
                    <Submit action=RemoveDevice::PATH values=vec![("device", device)] label="Remove for good" class="button danger" />
                </details>
            </div>
        </section>
    }
    .into_any()
}
