//! Institution › Programs and devices, for administrators.

use leptos::prelude::*;
use leptos::server_fn::ServerFn;
use leptos_router::hooks::use_query_map;

use super::administrator_page;
use crate::api::devices::SaveDevice;
use crate::api::own_programs::AllowOwnPrograms;
use crate::components::{
    ErrorSummary, Field, Layout, RadioGroup, Section, Submit, TextInput, Time, TimeFormat, badge, day,
};
use crate::islands::SubmitButton;
use crate::model::{
    ACCOUNT_PATH, DeviceKind, DeviceRow, DeviceSettings, DeviceState, Flash, FormName, LogPage, LogPlace, MailboxId,
    PER_HOUR, PROGRAMS_PATH, RELAY_CERTIFICATE_PATH, RecipientRule, RelayAddress, RelayLine, SenderRule,
};

/// `/institution/programs`
#[component]
pub fn Programs() -> impl IntoView {
    let before = log_place();
    administrator_page(move |page, admin| async move {
        let flash = page.flash(&[FormName::Device]).await;
        let view = page.backend.devices.programs(&admin, before).await?;
        let off = (!view.relay.is_on()).then(|| {
            view! {
                <section class="sheet">
                    <h2>"The relay is off"</h2>
                    <p>
                        "Your Entrepost host switches it on with the setting " <code>"ENTREPOST_RELAY_LISTEN"</code>
                        ". Programs and devices can be entered before; they can send once it is on."
                    </p>
                </section>
            }
        });
        let empty = view.devices.is_empty();
        let rows = view.devices.into_iter().map(row).collect_view();
        let list = if empty {
            view! { <p class="quiet empty">"None yet."</p> }.into_any()
        } else {
            view! {
                <table class="people-table devices-table" role="table">
                    <thead role="rowgroup">
                        <tr role="row">
                            <th role="columnheader" scope="col">
                                "Name"
                            </th>
                            <th role="columnheader" scope="col">
                                "Mailbox"
                            </th>
                            <th role="columnheader" scope="col">
                                "State"
                            </th>
                            <th role="columnheader" scope="col">
                                "Last used"
                            </th>
                        </tr>
                    </thead>
                    <tbody role="rowgroup">{rows}</tbody>
                </table>
            }
            .into_any()
        };
        let open = empty || !flash.errors.is_empty();
        let mailboxes = view.mailboxes;
        let add = if mailboxes.is_empty() {
            view! {
                <section class="sheet">
                    <h2>"Connect a mailbox first"</h2>
                    <p>
                        "Each program or device sends through a mailbox. Sign in as its owner, open User Account › Email, and press Configure & Test. A mailbox of its own, such as scan@your.school, outlasts people and keeps scans out of their Sent Items."
                    </p>
                    <p>
                        <a class="button" href=ACCOUNT_PATH>
                            "User Account › Email"
                        </a>
                    </p>
                </section>
            }
            .into_any()
        } else {
            view! {
                <details class="sheet invite" open=open>
                    <summary>"Add a program or device"</summary>
                    {device_form(None, "", &mailboxes, &flash)}
                </details>
            }
            .into_any()
        };
        let strangers = strangers(view.strangers, before);
        let own = view.relay.is_on().then(|| own_programs(view.own_programs));
        Ok(view! {
            <Layout
                user=(*admin).clone()
                title="Programs and devices"
                trail="Institution"
                lead="Copiers, library systems and other programs that know only a user name and a password send through Entrepost, with OAuth 2.0 towards Microsoft."
                section=Section::Institution
                flash=flash.clone()
            >
                <ErrorSummary flash after="Nothing was saved." />
                <div class="stack">
                    {off} {add} <section class="sheet" aria-labelledby="devices-title">
                        <h2 id="devices-title">"Programs and devices"</h2>
                        {list}
                    </section> {own} {strangers}
                    <p class="quiet">
                        "For bulk mail within your institution Microsoft has High Volume Email. Programs that read mail with a password are not served here."
                    </p>
                </div>
            </Layout>
        }
        .into_any())
    })
}

pub fn state_badge(state: DeviceState) -> AnyView {
    let (class, sign) = match state {
        DeviceState::Ready => ("badge ok", "●"),
        DeviceState::Paused => ("badge", "○"),
        DeviceState::MailboxFails => ("badge warning", "!"),
        DeviceState::Expired | DeviceState::NoMailbox => ("badge bad", "✕"),
    };
    badge(class, sign, state.label())
}

fn row(device: DeviceRow) -> AnyView {
    let (path, name) = (device.path(), device.name.clone());
    view! {
        <tr role="row" data-device=name.clone()>
            <td role="cell" class="who">
                <a href=path.clone()>{name.clone()}</a>
                <span class="quiet">{device.kind.label()}</span>
            </td>
            <td role="cell" class="address">
                {device.mailbox}
            </td>
            <td role="cell">
                {state_badge(device.state)}
                {device
                    .problem
                    .map(|problem| {
                        view! {
                            <a class="cause" href=path>
                                {problem}
                            </a>
                        }
                    })}
            </td>
            <td role="cell" class="quiet" data-label="Last used">
                {device.last_used_at.map_or_else(|| "never".to_owned(), |at| day(at.0))}
            </td>
        </tr>
    }
    .into_any()
}

/// Whether people may add programs for their own mailboxes.
fn own_programs(allowed: bool) -> AnyView {
    let (text, to, label) = if allowed {
        (
            "People may add programs that send as themselves, under User Account › Email. They are in the list above.",
            "no",
            "Stop allowing it",
        )
    } else {
        ("People can't add programs that send as themselves.", "yes", "Allow it")
    };
    view! {
        <section class="sheet" aria-labelledby="own-title">
            <h2 id="own-title">"Programs of people"</h2>
            <p>{text}</p>
            <Submit action=AllowOwnPrograms::PATH values=vec![("allowed", to.to_owned())] label />
        </section>
    }
    .into_any()
}

fn strangers(log: LogPage, before: LogPlace) -> Option<AnyView> {
    if log.lines.is_empty() && before == LogPlace::NEWEST {
        return None;
    }
    let turn = log_turn(PROGRAMS_PATH, "strangers-title", before, log.older);
    let rows = log.lines.into_iter().map(|line| relay_line(line, true)).collect_view();
    Some(
        view! {
            <section class="sheet" aria-labelledby="strangers-title">
                <h2 id="strangers-title">"Connections that belong to no device"</h2>
                <ol class="relay-log">{rows}</ol>
                {turn}
            </section>
        }
        .into_any(),
    )
}

/// Where the log of a page begins.
pub fn log_place() -> LogPlace {
    let given = use_query_map().get_untracked().get(LogPlace::QUERY);
    given.and_then(|text| text.parse().ok()).unwrap_or(LogPlace::NEWEST)
}

/// Links to the other parts of a log.
pub fn log_turn(path: &str, anchor: &str, before: LogPlace, older: Option<LogPlace>) -> Option<AnyView> {
    let link = |query: String, label: &'static str| {
        view! {
            <a class="button" href=format!("{path}{query}#{anchor}")>
                {label}
            </a>
        }
    };
    let newest = (before != LogPlace::NEWEST).then(|| link(String::new(), "Newest lines"));
    let older = older.map(|place| link(format!("?{}={place}", LogPlace::QUERY), "Older lines"));
    (newest.is_some() || older.is_some()).then(|| view! { <p class="actions">{newest} {older}</p> }.into_any())
}

/// A line of the log: when, from where, what, and what to do.
pub fn relay_line(line: RelayLine, with_advice: bool) -> AnyView {
    let RelayLine { at, address, event, fate } = line;
    let is_problem = event.is_problem();
    let words = match fate {
        Some(fate) => format!("{}, {fate}", event.words()),
        None => event.words(),
    };
    let advice = event.advice().filter(|_| with_advice && is_problem);
    view! {
        <li class:bad=is_problem>
            <span class="quiet">
                <Time at format=TimeFormat::Hour />
                " from "
                <span class="mono">{address}</span>
            </span>
            <span class="what">{words}</span>
            {advice.map(|advice| view! { <span class="advice">{advice}</span> })}
        </li>
    }
    .into_any()
}

/// The form of a new device, or of one that is changed.
pub fn device_form(
    settings: Option<&DeviceSettings>,
    id: &str,
    mailboxes: &[(MailboxId, String)],
    flash: &Flash,
) -> AnyView {
    let is_new = settings.is_none();
    let value = |get: fn(&DeviceSettings) -> String| settings.map(get).unwrap_or_default();
    let chosen = flash.typed("mailbox").map_or_else(|| value(|settings| settings.mailbox.clone()), ToOwned::to_owned);
    let mut addresses: Vec<String> = mailboxes.iter().map(|(_, address)| address.clone()).collect();
    if !chosen.is_empty() && !addresses.iter().any(|address| address.eq_ignore_ascii_case(&chosen)) {
        addresses.push(chosen.clone());
    }
    let options = addresses
        .into_iter()
        .map(|address| {
            let selected = address.eq_ignore_ascii_case(&chosen);
            view! {
                <option value=address.clone() selected=selected>
                    {address.clone()}
                </option>
            }
        })
        .collect_view();
    let list = flash
        .typed("recipient_list")
        .map_or_else(|| value(|settings| settings.recipient_list.join("\n")), ToOwned::to_owned);
    let networks =
        flash.typed("networks").map_or_else(|| value(|settings| settings.networks.join("\n")), ToOwned::to_owned);
    let ticked = |name: &str, stored: bool| {
        if flash.errors.is_empty() { stored } else { flash.typed(name) == Some("yes") }
    };
    let by_address = ticked("by_address", settings.is_some_and(|settings| settings.by_address));
    let ask_first = ticked("ask_first", settings.is_some_and(|settings| settings.ask_first));
    let rule = settings.map_or("", |settings| settings.sender_rule.as_str());
    let kind = settings.map_or(DeviceKind::Device, |settings| settings.kind);
    let recipients = settings.map_or(RecipientRule::Own, |settings| settings.recipients);
    let per_hour = settings.map_or(PER_HOUR, |settings| settings.messages_per_hour).to_string();
    let mut rules = vec![
        (SenderRule::Rewrite.as_str(), "Rewrite: From becomes the mailbox, the address it had goes to Reply-To"),
        (SenderRule::Refuse.as_str(), "Refuse the message"),
    ];
    if is_new {
        rules.insert(0, ("", "As usual: rewrite for devices, refuse for programs"));
    }
    let fields = flash.clone();
    view! {
        <form method="post" action=SaveDevice::PATH class="stack" novalidate>
            <input type="hidden" name="id" value=id.to_owned() />
            <TextInput
                name="name"
                label="Name"
                hint="As people know it: Copier north, Library system."
                value=value(|settings| settings.name.clone())
                flash=fields.clone()
            />
            <RadioGroup
                name="kind"
                legend="Kind"
                options=vec![("device", "Device: a copier, scanner or alarm"), ("program", "Program: a library or time-table system, monitoring, backup")]
                chosen=kind.as_str()
                flash=fields.clone()
            />
            <Field
                name="mailbox"
                label="Mailbox"
                hint="It sends as this address. Not a person's: people leave, and scans would be in their Sent Items. Those fill up: give the mailbox a retention policy."
                flash=fields.clone()
            >
                <select id="mailbox" name="mailbox">
                    {options}
                </select>
            </Field>
            <TextInput
                name="contact"
                label="Contact"
                optional=true
                kind="email"
                hint="Gets one email a day for each kind of failure. An address of your institution."
                value=value(|settings| settings.contact.clone())
                flash=fields.clone()
            />
            <details class="more" open=!flash.errors.is_empty() || !is_new>
                <summary>"More settings"</summary>
                <div class="stack">
                    <RadioGroup name="sender_rule" legend="If it sends as another address" options=rules chosen=rule flash=fields.clone() />
                    <TextInput
                        name="display_name"
                        label="Display name"
                        optional=true
                        hint="Shown as the sender when From is rewritten."
                        value=value(|settings| settings.display_name.clone())
                        flash=fields.clone()
                    />
                    <RadioGroup
                        name="recipients"
                        legend="Recipients allowed"
                        options=vec![("own", "Domains of your mailboxes"), ("listed", "Those, and the ones listed below"), ("anywhere", "Anywhere")]
                        chosen=recipients.as_str()
                        flash=fields.clone()
                    />
                    <Field name="recipient_list" label="Further recipients" hint="Domains and addresses, one on each line." optional=true flash=fields.clone()>
                        <textarea id="recipient_list" name="recipient_list" rows="3" spellcheck="false" autocapitalize="none">
                            {list}
                        </textarea>
                    </Field>
                    <TextInput name="messages_per_hour" label="Messages an hour" value=per_hour flash=fields.clone() />
                    <Field
                        name="networks"
                        label="Allowed networks"
                        hint="IP addresses or networks that it may connect from, one on each line. Empty: any."
                        optional=true
                        flash=fields.clone()
                    >
                        <textarea id="networks" name="networks" rows="2" spellcheck="false" autocapitalize="none">
                            {networks}
                        </textarea>
                    </Field>
                    <label class="radio">
                        <input type="checkbox" name="by_address" value="yes" checked=by_address />
                        <span>"Recognise it by its address: it can't sign in or encrypt. Its scans travel unencrypted."</span>
                    </label>
                    <label class="radio">
                        <input type="checkbox" name="ask_first" value="yes" checked=ask_first />
                        <span>"Ask Microsoft first: its panel waits up to 20 seconds, and shows a refusal"</span>
                    </label>
                    <TextInput
                        name="expires_on"
                        label="Expires on"
                        kind="date"
                        optional=true
                        value=value(|settings| settings.expires_on.clone().unwrap_or_default())
                        flash=fields
                    />
                </div>
            </details>
            <div class="actions">
                <SubmitButton label=if is_new { "Add".to_owned() } else { "Save".to_owned() } busy="Saving…".to_owned() />
            </div>
        </form>
    }
    .into_any()
}

/// One value that is typed into a program.
fn row_to_type(name: &'static str, value: String) -> impl IntoView {
    view! {
        <dt>{name}</dt>
        <dd class="mono">{value}</dd>
    }
}

/// Server and ports for programs that sign in.
pub fn ports_to_type(relay: &RelayAddress) -> AnyView {
    let row = row_to_type;
    let port = |name: &'static str, port: Option<u16>| port.map(|port| row(name, port.to_string()));
    view! {
        {row("SMTP server", relay.host.clone())}
        {port("Port, with STARTTLS", relay.starttls)}
        {port("Port, with SSL/TLS", relay.tls)}
    }
    .into_any()
}

/// What to type into a device, as its panel names it.
pub fn settings_to_type(relay: &RelayAddress, login: &str, settings: &DeviceSettings) -> AnyView {
    let row = row_to_type;
    let sign_in = (!settings.by_address).then(|| {
        view! {
            {row("SMTP authentication", "on (LOGIN or PLAIN)".to_owned())}
            {row("User name", settings.mailbox.clone())}
            {row("or shorter", login.to_owned())}
            {row("Password", "the one that was shown when it was made".to_owned())}
        }
    });
    let ports = if settings.by_address {
        view! {
            {row("SMTP server", relay.host.clone())}
            {relay.plain.map(|port| row("Port without encryption", port.to_string()))}
        }
        .into_any()
    } else {
        ports_to_type(relay)
    };
    let fingerprint = relay.fingerprint.clone().filter(|_| !settings.by_address).map(|fingerprint| {
        view! {
            <p class="quiet">
                "The certificate was made by Entrepost. Devices that verify it need it imported, or “verify certificate” switched off. "
                <a href=RELAY_CERTIFICATE_PATH download>
                    "Download the certificate"
                </a> ". SHA-256: " <span class="mono">{fingerprint}</span>
            </p>
        }
    });
    view! {
        <section class="sheet" aria-labelledby="type-title">
            <h2 id="type-title">"What to type into it"</h2>
            <dl class="facts">{ports} {sign_in} {row("Sender address (From)", settings.mailbox.clone())}</dl>
            {fingerprint}
            <p class="quiet">{format!("Messages may have {}, and 500 recipients.", crate::model::size_in_words(relay.most_bytes))}</p>
        </section>
    }
    .into_any()
}
