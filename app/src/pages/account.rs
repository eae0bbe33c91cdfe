//! User Account > Email.

use crate::api::mailboxes::{ConfigureAndTest, Disconnect, SetAliases, TryAgain};
use crate::model::{ACCOUNT_ATTEMPTS_PATH, COMPOSE_PATH, EMAIL_CONFIG_PATH, FormName, OWN_PROGRAMS_PATH};
use leptos::prelude::*;
use leptos::server_fn::ServerFn;

use super::signed_in_page;
use crate::components::{
    Banner, DiagnosisSheet, ErrorSummary, Layout, Postmark, RouteStops, Section, Submit, TextInput, Time, day, history,
    state_badge,
};
use crate::islands::SubmitButton;
use crate::model::{AttemptSummary, AttemptView, Flash, MailboxState, MailboxView, Outcome, SendWay, Stage, Tone};

/// `/account/email`
#[component]
pub fn Account() -> impl IntoView {
    signed_in_page(|page, user| async move {
        let flash = page.flash(&[FormName::Connect, FormName::Aliases]).await;
        let account = page.backend.mailboxes.account(&user).await?;
        let mut shown = Vec::new();
        for mailbox in &account.mailboxes {
            let attempt = match account.attempts.iter().find(|attempt| concerns(attempt, mailbox)) {
                Some(last) => page.backend.mailboxes.attempt(&user, last.id).await.ok(),
                None => None,
            };
            let attempt = attempt.filter(|attempt| explains(attempt, mailbox));
            shown.push((mailbox.clone(), attempt));
        }
        let connected = !shown.is_empty();
        let ended = shown.iter().any(|(mailbox, _)| mailbox.state == MailboxState::NeedsReconnect);
        let postmark = shown.iter().find_map(|(mailbox, attempt)| {
            let attempt = attempt.as_ref().filter(|_| mailbox.state == MailboxState::Connected)?;
            Some((attempt.arrival_ms()?, attempt.finished_at?))
        });
        let form = if account.provider_ready {
            connect_form(
                &account.account_address,
                connected,
                !connected && !ended,
                (!account.allow_other_address).then_some(user.institution().name.as_str()),
                &flash,
            )
        } else if shown
            .iter()
            .any(|(mailbox, _)| mailbox.problem.as_ref().is_some_and(|problem| problem.cause == "provider_changed"))
        {
            // The mailbox's own diagnosis says why, and who can fix it.
            user.administrator()
                .is_ok()
                .then(|| {
                    view! {
                        <p>
                            <a class="button primary" href=EMAIL_CONFIG_PATH>
                                "Open Institution Config"
                            </a>
                        </p>
                    }
                })
                .into_any()
        } else {
            not_ready(&account.administrators, user.administrator().is_ok())
        };
        let boxes = shown
            .into_iter()
            .map(|(mailbox, attempt)| mailbox_sheet(mailbox, attempt, account.provider_ready, &flash))
            .collect_view();
        let diagnosis = flash.diagnosis.clone().map(|diagnosis| view! { <DiagnosisSheet diagnosis /> });
        let attempts = history(&account.attempts, ACCOUNT_ATTEMPTS_PATH);
        let programs = page.backend.own_programs.may_add(&user).await?.then(|| {
            view! {
                <p>
                    <a href=OWN_PROGRAMS_PATH>"Programs that send as you"</a>
                </p>
            }
        });
        Ok(view! {
            <Layout
                user
                title="Email"
                trail="User Account"
                lead="Connect your mailbox once, then send and receive in Entrepost."
                section=Section::Account
                flash=flash.clone()
            >
                <ErrorSummary
                    title=if flash.form == FormName::Aliases { "Not saved. Check the addresses below." } else { "Not connected. Check the email address." }
                    flash
                />
                {diagnosis}
                <div class="columns">
                    <div class="main-column">{boxes} {form} {programs}</div>
                    <div class="side-column">{postmark.map(|(ms, at)| view! { <Postmark arrival_ms=ms day=day(at.0) /> })} {attempts}</div>
                </div>
            </Layout>
        }.into_any())
    })
}

/// Whether this attempt explains the mailbox's state.
fn concerns(attempt: &AttemptSummary, mailbox: &MailboxView) -> bool {
    let led_here = match mailbox.state {
        MailboxState::Connected => matches!(attempt.outcome, Outcome::Passed | Outcome::NotSeen),
        MailboxState::Blocked | MailboxState::NeedsReconnect => attempt.outcome == Outcome::Failed,
    };
    led_here && attempt.stage == Stage::Finished && attempt.address.eq_ignore_ascii_case(&mailbox.address)
}

/// Whether the diagnoses include the mailbox's problem.
fn explains(attempt: &AttemptView, mailbox: &MailboxView) -> bool {
    mailbox.problem.as_ref().is_none_or(|problem| attempt.diagnoses.iter().any(|found| found.cause == problem.cause))
}

/// `main`: it is the main action of the page.
fn connect_form(
    address: &str,
    connected: bool,
    main: bool,
    only_own_address_at: Option<&str>,
    flash: &Flash,
) -> AnyView {
    let hint = match only_own_address_at {
        None => "The address you want to send and receive as.".to_owned(),
        Some(institution) => format!("Your Entrepost address. {institution} doesn't allow others."),
    };
    let title = match (connected, only_own_address_at) {
        (false, _) => "Connect your mailbox",
        (true, None) => "Sign in again, or connect another mailbox",
        (true, Some(_)) => "Sign in again",
    };
    let class = if main { "button primary" } else { "button" };
    view! {
        <section class="sheet">
            <h2>{title}</h2>
            <form method="post" action=ConfigureAndTest::PATH>
                <TextInput name="email" label="Email address" kind="email" autocomplete="email" value=address.to_owned() hint=hint flash=flash.clone() />
                <div class="actions">
                    <SubmitButton label="Configure & Test".to_owned() busy="Going to Microsoft…".to_owned() class=class.to_owned() />
                    <p class="quiet">"You'll sign in with your Microsoft account. You can stay signed in elsewhere."</p>
                </div>
            </form>
        </section>
    }
    .into_any()
}

fn not_ready(administrators: &[String], administrator: bool) -> AnyView {
    let title = "Your institution hasn't set up MS Exchange Online yet.";
    if administrator {
        return view! {
            <Banner tone=Tone::Warning title text="You are an administrator: three values of an app registration are all it takes.">
                <p>
                    <a class="button primary" href=EMAIL_CONFIG_PATH>
                        "Set it up"
                    </a>
                </p>
            </Banner>
        }
        .into_any();
    }
    let whom = if administrators.is_empty() {
        "Ask an administrator.".to_owned()
    } else {
        format!("Ask {}.", administrators.join(" or "))
    };
    view! { <Banner tone=Tone::Warning title text=whom /> }.into_any()
}

/// `ready`: the institution can connect mailboxes now.
fn mailbox_sheet(mailbox: MailboxView, attempt: Option<AttemptView>, ready: bool, flash: &Flash) -> AnyView {
    let MailboxView { id, address, sign_in_name, aliases, state, connected_at, next_test_at, problem, sends_by } =
        mailbox;
    let id = id.to_string();
    let banner = match (state, &problem) {
        (MailboxState::Connected, _) if attempt.as_ref().is_some_and(|attempt| attempt.outcome == Outcome::NotSeen) => view! {
            <Banner
                tone=Tone::Success
                title="Your mailbox is connected."
                text="The test message was sent but hasn't arrived yet. Entrepost renews its permission automatically."
            />
        }.into_any(),
        (MailboxState::Connected, _) => view! { <Banner tone=Tone::Success title="Your mailbox is connected." text="Every check passed. Entrepost renews its permission automatically." /> }.into_any(),
        (MailboxState::Blocked, None) => view! { <Banner tone=Tone::Warning title="Your mailbox hasn't passed its test yet." text="Press Test again to see whether it works." /> }.into_any(),
        (_, Some(problem)) => view! { <Banner tone=Tone::Problem title=problem.title.clone() text=problem.summary.clone() /> }.into_any(),
        (MailboxState::NeedsReconnect, None) => view! { <Banner tone=Tone::Problem title="Microsoft ended the connection." text="Sign in again; it takes a minute." /> }.into_any(),
    };
    let again = if state == MailboxState::NeedsReconnect {
        view! {
            <Submit
                action=ConfigureAndTest::PATH
                values=vec![("email", address.clone())]
                label="Sign in again"
                busy="Going to Microsoft…"
                class="button primary"
            />
        }
        .into_any()
    } else {
        view! { <Submit action=TryAgain::PATH values=vec![("mailbox", id.clone())] label="Test again" busy="Starting…" /> }
            .into_any()
    };
    // Further failed checks have to be fixed too.
    let others = attempt
        .iter()
        .filter(|_| state == MailboxState::Blocked)
        .flat_map(|attempt| attempt.diagnoses.clone())
        .filter(|other| problem.as_ref().is_some_and(|problem| problem.cause != other.cause))
        .map(|other| {
            view! {
                <Banner tone=Tone::Problem title=other.title.clone() text=other.summary.clone() />
                <DiagnosisSheet diagnosis=other />
            }
        })
        .collect_view();
    let sheet = problem.map(|problem| view! { <DiagnosisSheet diagnosis=problem /> });
    let differs = !sign_in_name.eq_ignore_ascii_case(&address);
    view! {
        <div class="stack" data-mailbox=state.as_str()>
            {banner}
            {sheet}
            {others}
            <section class="sheet">
                <div class="sheet-head">
                    <div>
                        <h2 class="address">{address.clone()}</h2>
                        <p class="quiet">
                            "MS Exchange Online"
                            {connected_at
                                .map(|at| {
                                    view! {
                                        ", connected "
                                        <Time at />
                                    }
                                })}
                            {differs
                                .then(|| {
                                    view! {
                                        ", signs in as "
                                        {sign_in_name}
                                    }
                                })} {(sends_by == SendWay::Graph).then_some(", sends through Microsoft Graph")}
                        </p>
                        {next_test_at.map(|at| view! { <p class="quiet">"You don't need to sign in again. We'll retest automatically: " <Time at /> "."</p> })}
                    </div>
                    {state_badge(state)}
                </div>
                {attempt.map(|attempt| view! { <RouteStops checks=attempt.checks /> })}
                <div class="actions">
                    {(state == MailboxState::Connected)
                        .then(|| {
                            view! {
                                <a class="button primary" href=COMPOSE_PATH>
                                    "Write a message"
                                </a>
                            }
                        })} {ready.then_some(again)} <details class="confirm">
                        <summary class="danger">"Disconnect"</summary>
                        <p>"Entrepost deletes the tokens of " {address} ". You can connect it again at any time."</p>
                        <Submit action=Disconnect::PATH values=vec![("mailbox", id.clone())] label="Yes, disconnect" class="button danger" />
                    </details>
                </div>
                {other_addresses(id, &aliases, flash)}
            </section>
        </div>
    }
    .into_any()
}

/// Aliases, typed by hand: no permission of Entrepost reads them.
fn other_addresses(id: String, aliases: &[String], flash: &Flash) -> AnyView {
    let flash = if flash.form == FormName::Aliases { flash.clone() } else { Flash::default() };
    let open = !flash.errors.is_empty();
    let hint = "Aliases of this mailbox, separated by commas. Reply all leaves them out.";
    view! {
        <details class="more" open=open>
            <summary>"Other addresses of this mailbox"</summary>
            <form method="post" action=SetAliases::PATH>
                <input type="hidden" name="mailbox" value=id />
                <TextInput name="aliases" label="Other addresses" addresses=true optional=true value=aliases.join(", ") hint flash />
                <div class="actions">
                    <button class="button">"Save"</button>
                </div>
            </form>
        </details>
    }
    .into_any()
}
