//! Setting email up in six steps, each ticked by proof where there is proof.

use leptos::prelude::*;
use leptos::server_fn::ServerFn;

use super::guide::guide_step;
use crate::api::email_config::SetGuideSteps;
use crate::components::Time;
use crate::islands::CopyButton;
use crate::model::{
    ACCOUNT_PATH, EMAIL_CONFIG_PATH, EmailConfigView, EmailState, GuideStep, GuideStepView, INVITE_PATH, Provider,
    SETUP_STEP, Stopped, USERS_PATH,
};

/// How long Exchange may take until a switch works, in milliseconds.
const SWITCH_MS: i64 = 2 * 60 * 60 * 1000;

struct Step {
    /// Anchor, and value of the query.
    id: &'static str,
    title: &'static str,
    who: &'static str,
    done: bool,
    /// The steps of the portals that it shows.
    portal: &'static [GuideStep],
    body: AnyView,
}

fn is_done(config: &EmailConfigView, steps: &[GuideStep]) -> bool {
    steps.iter().all(|step| config.guide.iter().any(|row| row.step == *step && row.done))
}

/// The steps of the portals within one step here. Those that are done, and those whose turn has not come, show only their title.
fn portal_steps(config: &EmailConfigView, steps: &[GuideStep], open: bool) -> AnyView {
    let rows = config.guide.iter().filter(|row| steps.contains(&row.step));
    let rows = rows.map(|row| {
        let stays_open = row.step == GuideStep::Consent && config.registration.is_some();
        guide_step(config, row, stays_open || (open && !row.done))
    });
    view! { <ul class="guide-steps">{rows.collect_view()}</ul> }.into_any()
}

/// Switched on a while ago, and no mailbox has proved it yet.
fn not_active_yet(config: &EmailConfigView) -> Option<AnyView> {
    let row = config.guide.iter().find(|row| row.step == GuideStep::Protocols)?;
    let since = row.since.filter(|since| row.done && !row.proven && config.now.since_ms(*since) < SWITCH_MS)?;
    Some(
        view! {
            <p class="said-aside">
                <strong>"Switched on, not active yet. "</strong>
                "Ticked "
                <Time at=since />
                ". Exchange takes minutes, sometimes an hour or two. Blocked mailboxes are tested again automatically."
            </p>
        }
        .into_any(),
    )
}

/// `form`: where the values are pasted. `only`: the one step that is shown.
pub(super) fn setup_steps(config: &EmailConfigView, form: AnyView, only: Option<&str>) -> AnyView {
    let is_saved = config.registration.is_some() && config.provider == Provider::ExchangeOnline;
    let stopped = config.state.stopped();
    let is_consent =
        stopped.and_then(Stopped::step).is_some_and(|step| step != GuideStep::Secret && step != GuideStep::Ids);
    let is_accepted = matches!(config.state, EmailState::Works { .. }) || is_consent;
    let own_works = config.own_mailbox_connected && stopped.is_none();
    let register = &[GuideStep::Register, GuideStep::RedirectUri, GuideStep::Permissions];
    // Redirect URI and permissions are proven by connecting: once Microsoft accepts the values, that comes next.
    let registered = is_done(config, register) || (is_accepted && is_done(config, &[GuideStep::Register]));
    let values = &[GuideStep::Ids, GuideStep::Secret];
    let others = config.people_here > 1;
    let connect = if own_works {
        view! { <p>"Your mailbox is connected, and every check has passed."</p> }.into_any()
    } else {
        view! {
            <p>
                "Sign in at Microsoft with your own account, and watch every check pass up to the test message arriving. It proves the redirect URI, the permissions, the consent and the switches."
            </p>
            <p>
                <a class="button" href=ACCOUNT_PATH>
                    "Connect your mailbox"
                </a>
            </p>
        }
        .into_any()
    };
    let steps = [
        Step {
            id: "setup-register",
            title: "Register the app at Microsoft",
            who: "Application Developer or higher",
            done: registered,
            portal: register,
            body: view! {
                <div class="field">
                    <p class="label" id="redirect-uri-label">
                        "Redirect URI"
                    </p>
                    <p class="hint">"Register exactly this address, platform Web."</p>
                    <div class="copyable">
                        <code id="redirect-uri" aria-labelledby="redirect-uri-label">
                            {config.redirect_uri.clone()}
                        </code>
                        <CopyButton text=config.redirect_uri.clone() label="Copy redirect URI".to_owned() />
                    </div>
                </div>
                {portal_steps(config, register, true)}
                <p class="hint">
                    "Recommended afterwards: Entra ID › Enterprise apps › your app › Properties › " <strong>"Assignment required"</strong>
                    ", with a group of your staff. Pupils often share the tenant."
                </p>
            }
            .into_any(),
        },
        Step {
            id: "setup-values",
            title: "Paste its values",
            who: "an administrator here, with the owner of the app",
            done: is_accepted,
            portal: values,
            body: view! {
                {portal_steps(config, values, true)}
                {form}
            }
            .into_any(),
        },
        Step {
            id: "setup-consent",
            title: "Consent for everyone",
            who: "Cloud Application Administrator or Application Administrator",
            done: is_done(config, &[GuideStep::Consent]) || own_works,
            portal: &[GuideStep::Consent],
            body: portal_steps(config, &[GuideStep::Consent], is_saved || only.is_some()),
        },
        Step {
            id: "setup-switches",
            title: "Switch on sending and receiving",
            who: "Exchange Administrator",
            done: is_done(config, &[GuideStep::Protocols]),
            portal: &[GuideStep::Protocols],
            body: view! {
                {not_active_yet(config)}
                {portal_steps(config, &[GuideStep::Protocols], is_saved || only.is_some())}
            }
            .into_any(),
        },
        Step {
            id: "setup-connect",
            title: "Connect your own mailbox",
            who: "you",
            done: own_works,
            portal: &[],
            body: connect,
        },
        Step {
            id: "setup-invite",
            title: "Invite people",
            who: "you",
            done: others,
            portal: &[],
            body: view! {
                <p>"Each person gets a link, signs in at Microsoft, and is connected."</p>
                <p>
                    <a class="button" href=INVITE_PATH>
                        "Invite many people"
                    </a>
                    " "
                    <a href=USERS_PATH>"See everyone"</a>
                </p>
            }
            .into_any(),
        },
    ];
    let next = steps.iter().position(|step| !step.done);
    let only = only.and_then(|only| steps.iter().position(|step| step.id == only));
    let page_of = |step: &Step| format!("{EMAIL_CONFIG_PATH}?{SETUP_STEP}={}", step.id);
    let current = only.or(next);
    // The ticks of steps that are not shown stay.
    let shown = |row: &&GuideStepView| only.is_none_or(|only| steps[only].portal.contains(&row.step));
    let kept = config.guide.iter().filter(|row| row.done && !shown(row));
    let kept = kept.map(|row| view! { <input type="hidden" name="steps[]" value=row.step.as_str() /> }).collect_view();
    let contents: Vec<AnyView> = steps
        .iter()
        .enumerate()
        .map(|(at, step)| {
            let sign = if step.done { "✓" } else { "" };
            let said = if step.done { "done: " } else { "" };
            view! {
                <li class:done=step.done>
                    <a href=if only.is_some() { page_of(step) } else { format!("#{}", step.id) } aria-current=(current == Some(at)).then_some("step")>
                        <span class="step-sign" aria-hidden="true">
                            {if sign.is_empty() { (at + 1).to_string() } else { sign.to_owned() }}
                        </span>
                        <span>
                            <span class="visually-hidden">{said}</span>
                            {step.title}
                        </span>
                    </a>
                </li>
            }
            .into_any()
        })
        .collect();
    let progress = match current {
        Some(at) => format!("Step {} of {}: {}", at + 1, steps.len(), steps[at].title),
        None => "All six steps are done.".to_owned(),
    };
    let one = page_of(&steps[next.unwrap_or_default()]);
    let (switch_to, switch) = if only.is_some() {
        (EMAIL_CONFIG_PATH.to_owned(), "Show all steps")
    } else {
        (one, "Show one step at a time")
    };
    let turn = only.map(|at| {
        let link = |to: Option<&Step>, text: &str, class: &'static str| {
            let (href, text) = to.map(|step| (page_of(step), format!("{text}: {}", step.title)))?;
            Some(view! {
                <a class=class href=href>
                    {text}
                </a>
            })
        };
        let back = link(at.checked_sub(1).map(|before| &steps[before]), "Back", "button");
        let next_class = if steps[at].done { "button primary" } else { "button" };
        let on = link(steps.get(at + 1), "Next", next_class);
        view! {
            <nav class="actions setup-turn" aria-label="Other steps">
                {back}
                {on}
            </nav>
        }
    });
    let bodies: Vec<AnyView> = steps
        .into_iter()
        .enumerate()
        .filter(|(at, _)| only.is_none_or(|only| only == *at))
        .map(|(at, step)| {
            view! {
                <section class="sheet setup-step" class:done=step.done id=step.id>
                    <h2>{format!("{}. {}", at + 1, step.title)}</h2>
                    <p class="quiet">{format!("Who: {}", step.who)} {step.done.then_some(" · done ✓")}</p>
                    {step.body}
                </section>
            }
            .into_any()
        })
        .collect();
    view! {
        <div class="setup">
            <nav class="setup-contents" aria-label="Steps">
                <p class="quiet">{progress}</p>
                <ol>{contents}</ol>
                <p>
                    <a href=switch_to>{switch}</a>
                </p>
                <p class="quiet">
                    "Steps Microsoft confirms are ticked for you. " <a href="https://entra.microsoft.com/" target="_blank" rel="noreferrer">
                        "Open the Entra portal"
                    </a> " (national clouds have their own)."
                </p>
                // The ticks belong to this form by its id: a step's body may hold a form of its own.
                <form id="guide-form" method="post" action=SetGuideSteps::PATH>
                    {kept}
                    <button class="button without-script">"Remember the ticks"</button>
                </form>
            </nav>
            <div class="setup-steps stack">{bodies} {turn}</div>
        </div>
    }
    .into_any()
}
