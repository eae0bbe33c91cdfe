//! Institution › Mail health, for administrators.

use leptos::prelude::*;
use leptos::server_fn::ServerFn;

use super::{administrator_page, sender_domains};
use crate::api::health::TestCause;
use crate::components::{Banner, CountChart, DiagnosisSheet, Layout, Section, Submit, Time, TimeFormat, day};
use crate::model::{
    CauseRow, CredentialKind, EMAIL_CONFIG_PATH, EmailState, FixedBy, FormName, GuideStep, HealthOverview,
    MOST_ADDRESSES, MailCounts, MailHealth as Model, MicrosoftChange, Notice, PeopleQuery, Remedy, Timestamp, Tone,
    USERS_PATH,
};

/// `/institution/mail-health`
#[component]
pub fn MailHealth() -> impl IntoView {
    administrator_page(move |page, admin| async move {
        let flash = page.flash(&[FormName::Any]).await;
        let health = page.backend.health.mail_health(&admin).await?;
        let sentence = health.overview.sentence();
        let Notice { tone, title, text, .. } = health.state.notice();
        let strip = (tone != Tone::Success).then(|| {
            view! {
                <Banner standing=true tone title text>
                    <p>
                        <a class="button" href=EMAIL_CONFIG_PATH>
                            "Institution Config › General › Email"
                        </a>
                    </p>
                </Banner>
            }
        });
        let state = health.state.name();
        let facts = facts(&health);
        let changes = changes(health.changes);
        let domains = sender_domains::section(health.domains);
        let (hours, days) = (health.hours, health.days);
        let hour = |(at, counts): (Timestamp, MailCounts)| {
            (format!("{:02}:00 UTC", at.0.rem_euclid(86_400_000) / 3_600_000), counts)
        };
        let hours = hours.into_iter().map(hour).collect();
        let days = days.into_iter().map(|(at, counts)| (day(at.0), counts)).collect();
        Ok(view! {
            <Layout user=(*admin).clone() title="Mail health" trail="Institution" lead=sentence section=Section::Health flash>
                <div class="stack" data-email-state=state>
                    {strip}
                    {causes(health.overview)}
                    {facts}
                    <section class="sheet" aria-labelledby="sent-title">
                        <h2 id="sent-title">"Sent through Entrepost"</h2>
                        <CountChart id="chart-hours" title="The last 24 hours, by the hour" unit="Hour" columns=hours />
                        <CountChart id="chart-days" title="The last 30 days" unit="Day" columns=days />
                        <p class="quiet">
                            "What people send with Outlook isn't seen here. " <code>"Get-LimitsEnforcementStatus"</code>
                            " in Exchange Online PowerShell shows the tenant's use."
                        </p>
                    </section>
                    {domains}
                    {changes}
                </div>
            </Layout>
        }
        .into_any())
    })
}

/// One row for each cause.
pub fn causes(overview: HealthOverview) -> AnyView {
    let HealthOverview { people, works, causes, is_stopped } = overview;
    if causes.is_empty() && is_stopped {
        return ().into_any();
    }
    if causes.is_empty() {
        let rest = (people > works).then(|| {
            view! {
                <p>
                    <a href=USERS_PATH>"See who has not connected a mailbox yet"</a>
                </p>
            }
        });
        return view! {
            <section class="sheet">
                <h2>"No mailbox is blocked"</h2>
                {rest}
            </section>
        }
        .into_any();
    }
    let rows = causes.into_iter().map(|CauseRow { count, since, diagnosis }| {
        let path = PeopleQuery { cause: Some(diagnosis.cause.clone()), ..PeopleQuery::default() }.path();
        let cause = diagnosis.cause.clone();
        // The strip above says what is wrong with the app.
        let title = if EmailState::is_of_app(&cause) { "Stopped by what is said above.".into() } else { diagnosis.title.clone() };
        let who = match diagnosis.fixed_by {
            FixedBy::You => "you can fix it",
            FixedBy::Owner => "the mailbox's owner has to act",
            FixedBy::Administrator => "an administrator of Microsoft 365 can fix it",
            FixedBy::Operator => "your Entrepost host can fix it",
            FixedBy::Time => "it clears up automatically",
        };
        // Where people must sign in again, a test would only say so again.
        let again = (diagnosis.remedy == Remedy::TestAgain).then(|| {
            view! { <Submit action=TestCause::PATH values=vec![("cause", cause.clone())] label="Test these again" /> }
        });
        let is_cut = count > MOST_ADDRESSES;
        let mailboxes = if count == 1 { "1 mailbox".to_owned() } else { format!("{count} mailboxes") };
        view! {
            <li class="cause-row" data-cause=cause>
                <details>
                    <summary>
                        <strong>{mailboxes}</strong>
                        <span>{title}</span>
                        <span class="quiet">{who}</span>
                        <span class="quiet">"since " <Time at=since format=TimeFormat::Short /></span>
                    </summary>
                    <DiagnosisSheet diagnosis />
                    {is_cut
                        .then(|| {
                            view! {
                                <p class="quiet">
                                    {format!("A command is for the first {MOST_ADDRESSES} of them. Run it, and the others follow when these work.")}
                                </p>
                            }
                        })}
                    <div class="actions">
                        {again} <a class="button" href=path>
                            "Show the people"
                        </a>
                    </div>
                </details>
            </li>
        }
    });
    let rows = rows.collect_view();
    view! {
        <section class="sheet" aria-labelledby="causes-title">
            <h2 id="causes-title">"What keeps mailboxes from working"</h2>
            <ul class="causes">{rows}</ul>
        </section>
    }
    .into_any()
}

fn facts(health: &Model) -> AnyView {
    let credential = health.credential.unwrap_or_default();
    let secret = match (&health.state, &health.secret_expires_on) {
        (EmailState::NotSetUp, _) => "no app registration".to_owned(),
        (_, None) if credential == CredentialKind::Federated => "nothing expires".to_owned(),
        (EmailState::Works { days_left: Some(days), .. }, Some(date)) if *days >= 0 => {
            format!("expires {}, on {date}", crate::model::in_days(*days))
        }
        (EmailState::Stopped(stopped), _) if stopped.why.cause.ends_with("_expired") => "has expired".to_owned(),
        (EmailState::Stopped(stopped), _) if stopped.step() == Some(GuideStep::Secret) => {
            "not accepted by Microsoft".to_owned()
        }
        (_, Some(date)) => format!("expires on {date}"),
        (_, None) => "no expiry date entered".to_owned(),
    };
    let consent = match health.state.stopped() {
        Some(stopped) if stopped.why.cause == "consent_missing" => "missing",
        Some(_) => "not proven while email is stopped",
        _ if health.overview.works > 0 => "granted: a connected mailbox proves it",
        _ if !health.overview.causes.is_empty() => "not proven: no mailbox passes its checks",
        _ => "not proven: no mailbox is connected",
    };
    let sender = health.sender.clone().unwrap_or_else(|| "none: notifications can't be sent".to_owned());
    let today: MailCounts = health.hours.iter().map(|(_, counts)| *counts).sum();
    let oldest = health.queue.oldest.map(|at| {
        view! {
            ", the oldest since "
            <Time at />
        }
    });
    let near = health.near_limit.iter().map(|(address, recipients)| {
        view! {
            <div>
                <span class="address">{address.clone()}</span>
                {format!(": {recipients} of {} recipients in 24 hours", health.recipients_per_day)}
            </div>
        }
    });
    let near: Vec<_> = near.collect();
    view! {
        <section class="sheet" aria-labelledby="facts-title">
            <h2 id="facts-title">"At a glance"</h2>
            <dl class="facts">
                <dt>{credential.label()}</dt>
                <dd>{secret}</dd>
                <dt>"Admin consent"</dt>
                <dd>{consent}</dd>
                <dt>"Sender of notifications"</dt>
                <dd class="address">{sender}</dd>
                <dt>"Queue"</dt>
                <dd>{format!("{} waiting", messages(health.queue.waiting))} {oldest}</dd>
                {(!near.is_empty())
                    .then(|| {
                        view! {
                            <dt>"Near the daily limit"</dt>
                            <dd>{near}</dd>
                        }
                    })}
                <dt>"Last 24 hours"</dt>
                <dd>
                    {format!(
                        "{} sent to {}, {} failed, {} bounced",
                        messages(today.sent),
                        if today.recipients == 1 { "1 recipient".to_owned() } else { format!("{} recipients", today.recipients) },
                        today.failed,
                        today.bounced,
                    )}
                </dd>
                <dt>"Limits of each mailbox"</dt>
                <dd>{format!("{} recipients in 24 hours, {} messages a minute", health.recipients_per_day, health.messages_per_minute)}</dd>
            </dl>
        </section>
    }
    .into_any()
}

fn messages(count: i64) -> String {
    if count == 1 { "1 message".to_owned() } else { format!("{count} messages") }
}

fn changes(changes: Vec<MicrosoftChange>) -> Option<AnyView> {
    if changes.is_empty() {
        return None;
    }
    let items = changes.into_iter().map(|change| {
        view! {
            <li>
                <p>
                    <strong>{change.date}</strong>
                    " "
                    {change.title}
                </p>
                <p>{change.text}</p>
                <p class="quiet">
                    <a href=change.source target="_blank" rel="noreferrer">
                        "Source"
                    </a>
                    {format!(", read on {}", change.as_of)}
                </p>
            </li>
        }
    });
    let items = items.collect_view();
    Some(
        view! {
            <section class="sheet" aria-labelledby="changes-title">
                <h2 id="changes-title">"Changes at Microsoft"</h2>
                <ul class="changes">{items}</ul>
            </section>
        }
        .into_any(),
    )
}
