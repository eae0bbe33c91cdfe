//! A connection attempt: checks, postmark, choice, diagnoses.

use crate::api::email_config::{StartNotifications, TestPair};
use crate::api::mailboxes::{ConfigureAndTest, Decide, TryAgain};
use crate::model::{ACCOUNT_PATH, COMPOSE_PATH, EMAIL_CONFIG_PATH, INBOX_PATH};
use leptos::prelude::*;
use leptos::server_fn::ServerFn;

use super::{Banner, DiagnosisSheet, RouteStops, duration};
use crate::islands::{AttemptLive, SubmitButton};
use crate::model::{AccountChoice, AttemptKind, AttemptView, FixedBy, MailboxState, Outcome, Remedy, Stage, Tone};

#[component]
pub fn Postmark(
    arrival_ms: i64,
    /// The day, as `23 NOV 2026`.
    #[prop(into)]
    day: String,
) -> impl IntoView {
    view! {
        <section class="sheet postmark-sheet">
            <div class="postmark" role="img" aria-label=format!("Postmark: arrived after {}", duration(arrival_ms))>
                <span>"ENTREPOST"</span>
                <strong>{duration(arrival_ms)}</strong>
                <span>{day.to_uppercase()}</span>
                <span>"ARRIVED"</span>
            </div>
            <p class="quiet">"From sending to the mailbox."</p>
        </section>
    }
}

/// A day, in UTC.
pub fn day(milliseconds: i64) -> String {
    let format = time::macros::format_description!("[day padding:none] [month repr:short] [year]");
    time::OffsetDateTime::from_unix_timestamp(milliseconds.div_euclid(1000))
        .ok()
        .and_then(|at| at.format(format).ok())
        .unwrap_or_default()
}

#[component]
pub fn AttemptBody(view: AttemptView) -> impl IntoView {
    let (tone, title, text) = headline(&view);
    let arrival = view.arrival_ms();
    let finished_day = day(view.finished_at.unwrap_or(view.created_at).0);
    let many = view.diagnoses.len() > 1;
    let choice = view.choice.clone().map(|choice| choice_form(&view, &choice));
    let diagnoses = view
        .diagnoses
        .clone()
        .into_iter()
        .enumerate()
        .map(|(at, diagnosis)| {
            let retry = (at == 0).then(|| retry_form(&view, diagnosis.remedy));
            let heading = (many && at > 0).then(|| {
                view! { <Banner tone=Tone::Problem title=diagnosis.title.clone() text=diagnosis.summary.clone() /> }
            });
            view! {
                {heading}
                <DiagnosisSheet diagnosis>{retry}</DiagnosisSheet>
            }
        })
        .collect_view();
    let kept = (!view.diagnoses.is_empty() && view.grant_kept && view.mailbox_state == Some(MailboxState::Blocked))
        .then(|| view! { <p class="quiet">"You don't need to sign in again. We'll retest automatically and show the result here."</p> });
    let nothing_else =
        view.stage == Stage::Finished && view.diagnoses.is_empty() && matches!(view.outcome, Outcome::Abandoned);
    let start_over = nothing_else.then(|| {
        view! {
            <section class="sheet">
                <div class="actions">{retry_form(&view, Remedy::SignInAgain)}</div>
            </section>
        }
    });
    let done = (view.stage == Stage::Finished && matches!(view.outcome, Outcome::Passed | Outcome::NotSeen))
        .then(|| after(&view));
    // While it runs, an island shows the checks; the server renders the result.
    let stops = if matches!(view.stage, Stage::Ready | Stage::Running) {
        view! { <AttemptLive id=view.id.to_string() initial=view.checks.clone() /> }.into_any()
    } else {
        view! { <RouteStops checks=view.checks.clone() /> }.into_any()
    };
    view! {
        <div class="columns attempt" data-stage=view.stage.as_str() data-outcome=view.outcome.as_str()>
            <div class="main-column">
                // The page reloads when the checks end, with the result focused.
                <Banner focused=matches!(view.stage, Stage::Finished | Stage::Deciding) tone title text />
                {choice}
                {diagnoses}
                {kept}
                {start_over}
                {done}
            </div>
            <div class="side-column">
                <section class="sheet">
                    <h2 class="address">{view.address.clone()}</h2>
                    {stops}
                </section>
                {arrival.map(|ms| view! { <Postmark arrival_ms=ms day=finished_day /> })}
            </div>
        </div>
    }
}

fn headline(view: &AttemptView) -> (Tone, String, String) {
    let text = |text: &str| text.to_owned();
    match (view.stage, view.outcome) {
        (Stage::SigningIn, _) => (
            Tone::Progress,
            text("Waiting for Microsoft."),
            text("Complete the sign-in in the window where it was started."),
        ),
        (Stage::Deciding, _) => {
            let account = view.choice.as_ref().map_or("", |choice| choice.signed_in_as.as_str());
            (
                Tone::Warning,
                format!("You signed in as {account}, but this is the mailbox {}.", view.address),
                text("Nothing has changed yet."),
            )
        }
        (Stage::Ready | Stage::Running, _) => (
            Tone::Progress,
            text(if view.kind == AttemptKind::Personal {
                "Testing your mailbox…"
            } else {
                "Testing the notification mailbox…"
            }),
            text("Each check appears as it finishes. You can close this page: the test continues."),
        ),
        (Stage::Finished, Outcome::Passed) => match view.kind {
            AttemptKind::Personal => (
                Tone::Success,
                text("Your mailbox is connected."),
                text("The test message arrived. You can send and receive in Entrepost."),
            ),
            _ => (
                Tone::Success,
                text("Notifications are now sent from this address."),
                text("The test message arrived."),
            ),
        },
        (Stage::Finished, Outcome::NotSeen) => (
            Tone::Success,
            text(match view.kind {
                AttemptKind::Personal => "Your mailbox is connected. The test message hasn't arrived yet.",
                _ => "Notifications are now sent from this address. The test message hasn't arrived yet.",
            }),
            text(
                "Microsoft accepted the test message but it hasn't arrived yet. Your mailbox works; delivery may just be slow.",
            ),
        ),
        (Stage::Finished, Outcome::Failed) => match view.diagnoses.first() {
            Some(diagnosis) => (Tone::Problem, diagnosis.title.clone(), diagnosis.summary.clone()),
            None => (Tone::Problem, text("The test failed."), String::new()),
        },
        (Stage::Finished, _) => match view.diagnoses.first() {
            Some(diagnosis) => (Tone::Warning, diagnosis.title.clone(), diagnosis.summary.clone()),
            None => (
                Tone::Warning,
                text("You didn't finish signing in."),
                text("You closed it, it timed out, or you started another one. Nothing has changed."),
            ),
        },
    }
}

fn sign_in_again(view: &AttemptView, class: &'static str) -> AnyView {
    let label = "Sign in again";
    if view.kind == AttemptKind::Personal {
        view! {
            <form method="post" action=ConfigureAndTest::PATH>
                <input type="hidden" name="email" value=view.address.clone() />
                <SubmitButton label=label.to_owned() busy="Going to Microsoft…".to_owned() class=class.to_owned() />
            </form>
        }
        .into_any()
    } else {
        view! {
            <form method="post" action=StartNotifications::PATH>
                <SubmitButton label=label.to_owned() busy="Going to Microsoft…".to_owned() class=class.to_owned() />
            </form>
        }
        .into_any()
    }
}

fn retry_form(view: &AttemptView, remedy: Remedy) -> AnyView {
    // If someone else has to act first, testing again isn't the main action.
    let others = view
        .diagnoses
        .first()
        .is_some_and(|diagnosis| matches!(diagnosis.fixed_by, FixedBy::Administrator | FixedBy::Operator));
    let primary = if others { "button" } else { "button primary" };
    if view.kind == AttemptKind::Pair {
        let mailbox = view.mailbox.map(|id| id.to_string()).unwrap_or_default();
        return view! {
            <form method="post" action=TestPair::PATH>
                <input type="hidden" name="mailbox" value=mailbox />
                <button class=primary>"Test again"</button>
            </form>
        }
        .into_any();
    }
    let kept = view.mailbox.filter(|_| view.grant_kept);
    match (kept, remedy) {
        (Some(mailbox), Remedy::TestAgain) => view! {
            <form method="post" action=TryAgain::PATH>
                <input type="hidden" name="mailbox" value=mailbox.to_string() />
                <button class=primary>"Test again"</button>
            </form>
        }
        .into_any(),
        (None, _) | (_, Remedy::SignInAgain) => sign_in_again(view, primary),
    }
}

fn choice_form(view: &AttemptView, choice: &AccountChoice) -> AnyView {
    let id = view.id.to_string();
    let typed = view.address.clone();
    let option = |decision: &'static str, class: &'static str, label: String, hint: String| {
        view! {
            <form method="post" action=Decide::PATH class="decision">
                <input type="hidden" name="attempt" value=id.clone() />
                <button class=class name="decision" value=decision>
                    {label}
                </button>
                <p class="quiet">{hint}</p>
            </form>
        }
    };
    view! {
        <section class="sheet choice">
            <h2>"Choose what to do"</h2>
            {option(
                "again",
                "button primary",
                format!("Sign in as {typed}"),
                "Microsoft asks for the password again. Choose this if you picked the wrong account.".to_owned(),
            )}
            {option(
                "continue",
                "button",
                format!("Continue with {typed}"),
                format!(
                    "Choose this if {typed} is another address of {}'s mailbox. Entrepost saves it only after a test message from {typed} has arrived there.",
                    choice.signed_in_as,
                ),
            )}
            {choice.may_use_instead.then(|| option("instead", "button", "Use this address instead".to_owned(), format!("Connects {}.", choice.signed_in_as)))}
        </section>
    }
    .into_any()
}

fn after(view: &AttemptView) -> AnyView {
    let mailbox = view.mailbox.map(|id| id.to_string()).unwrap_or_default();
    if view.kind != AttemptKind::Personal {
        return view! {
            <section class="sheet">
                <div class="actions">
                    <a class="button primary" href=EMAIL_CONFIG_PATH>
                        "Back to the email settings"
                    </a>
                </div>
            </section>
        }
        .into_any();
    }
    view! {
        <section class="sheet">
            <h2>"You're all set"</h2>
            <p>"You can now send and receive as " <strong>{view.address.clone()}</strong> ". Entrepost renews its permission automatically."</p>
            <div class="actions">
                <a class="button primary" href=COMPOSE_PATH>
                    "Write a message"
                </a>
                <a class="button" href=INBOX_PATH>
                    "Open inbox"
                </a>
                <a class="button" href=ACCOUNT_PATH>
                    "Show my mailbox"
                </a>
                <form method="post" action=TryAgain::PATH>
                    <input type="hidden" name="mailbox" value=mailbox />
                    <button class="button">"Test again"</button>
                </form>
            </div>
        </section>
    }
    .into_any()
}
