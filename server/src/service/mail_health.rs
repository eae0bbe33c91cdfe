//! Mail health: one row for each cause, the queue, and what was sent.

use app::backend::{Administrator, Health, Result};
use app::model::{
    CauseRow, CredentialKind, EmailState, HealthOverview, InstitutionId, MOST_ADDRESSES, MailCounts, MailHealth,
    MicrosoftChange, Notice, PersonState, QueueHealth, Timestamp, Tone,
};
use async_trait::async_trait;

use super::{Handle, Services};
use crate::microsoft_changes;
use crate::store::Slot;

const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;
const HOURS: i64 = 24;
const DAYS: i64 = 30;
/// Causes that are shown; a cause has one row, however many mailboxes it stops.
const MOST_CAUSES: i64 = 50;
/// A mailbox is near the daily limit from this part of it on: half.
const NEAR: i64 = 2;
const MOST_NEAR: i64 = 5;

#[async_trait]
impl Health for Handle {
    async fn overview(&self, admin: &Administrator, state: &EmailState) -> Result<HealthOverview> {
        let institution = admin.institution().id;
        let states = self.store.count_people(institution).await?;
        let of = |wanted: PersonState| states.iter().find(|(state, _)| *state == wanted).map_or(0, |(_, count)| *count);
        let people: i64 = states.iter().map(|(_, count)| count).sum();
        let reader = self.reader_of_mailboxes(admin).await?;
        let mut stopped = self.store.mailboxes_by_cause(institution, MOST_ADDRESSES).await?;
        let mut causes = Vec::new();
        for (cause, count, since) in self.store.problem_causes(institution, MOST_CAUSES).await? {
            let Some((fault, addresses)) = stopped.remove(&cause) else { continue };
            causes.push(CauseRow { count, since, diagnosis: fault.explain_for_all(&reader, &addresses) });
        }
        let is_stopped = matches!(state, EmailState::Stopped(_));
        let works = if is_stopped { 0 } else { of(PersonState::Connected) };
        Ok(HealthOverview { people: people - of(PersonState::Disabled), works, causes, is_stopped })
    }

    async fn mail_health(&self, admin: &Administrator) -> Result<MailHealth> {
        let (institution, now) = (admin.institution().id, self.clock.now());
        let begin = |at: Timestamp, unit: i64| at.0.div_euclid(unit) * unit;
        let (first_hour, first_day) =
            (begin(now, HOUR_MS) - (HOURS - 1) * HOUR_MS, begin(now, DAY_MS) - (DAYS - 1) * DAY_MS);
        let counted = self.store.mail_hours(institution, Timestamp(first_day.min(first_hour))).await?;
        let series = |first: i64, unit: i64, length: i64| -> Vec<(Timestamp, MailCounts)> {
            let mut all: Vec<_> = (0..length).map(|at| (Timestamp(first + at * unit), MailCounts::default())).collect();
            for (hour, counts) in &counted {
                let at = usize::try_from((hour.0 - first).div_euclid(unit)).ok();
                if let Some((_, sum)) = at.and_then(|at| all.get_mut(at)) {
                    *sum += *counts;
                }
            }
            all
        };
        let registration = self.store.registration(institution, Slot::Current).await?;
        let include = registration.as_ref().map(|registration| registration.cloud.as_str()).unwrap_or_default();
        let cloud = self.config.clouds.find(include).unwrap_or_else(|| self.config.clouds.own());
        let include = cloud.hosts.spf.clone();
        let (waiting, oldest) = self.store.waiting(institution).await?;
        let state = self.email_state(admin).await?;
        Ok(MailHealth {
            overview: self.overview(admin, &state).await?,
            state,
            credential: registration.as_ref().map(|registration| registration.credential),
            secret_expires_on: registration.as_ref().and_then(|registration| registration.secret_expires_on.clone()),
            sender: self.outbox.sender(institution, &admin.institution().slug).await?,
            queue: QueueHealth { waiting, oldest },
            hours: series(first_hour, HOUR_MS, HOURS),
            days: series(first_day, DAY_MS, DAYS),
            recipients_per_day: self.config.limits.throttle.recipients_per_day,
            messages_per_minute: self.config.limits.throttle.messages_per_minute,
            near_limit: self.near_limit(institution, now).await?,
            domains: self.sender_domains(institution, &include).await?,
            changes: changes(now, registration.as_ref().map(|registration| registration.credential)),
        })
    }

    async fn look_up_domains(&self, admin: &Administrator) -> Result<Notice> {
        self.look_up_domains_of(admin).await
    }

    async fn test_cause(&self, admin: &Administrator, cause: &str) -> Result<Notice> {
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        let count = self.store.test_cause_now(&mut tx, admin.institution().id, cause, self.clock.now()).await?;
        tx.commit().await?;
        Ok(match count {
            0 => Notice::new(Tone::Warning, "No mailbox is blocked by this any longer.", ""),
            1 => Notice::new(Tone::Success, "1 mailbox is tested again.", "The result appears here within a minute."),
            count => Notice::new(
                Tone::Success,
                format!("{count} mailboxes are tested again."),
                "They are tested some at a time; this page counts down as they pass.",
            ),
        })
    }
}

impl Services {
    async fn near_limit(&self, institution: InstitutionId, now: Timestamp) -> Result<Vec<(String, i64)>> {
        let from = self.config.limits.throttle.recipients_per_day / NEAR;
        Ok(self.store.most_recipients(institution, from.max(1), now, MOST_NEAR).await?)
    }
}

/// Changes of the last three months and the next two years that concern an institution with this credential, the nearest first.
fn changes(now: Timestamp, credential: Option<CredentialKind>) -> Vec<MicrosoftChange> {
    let near = |change: &MicrosoftChange| {
        let day = time::macros::format_description!("[year]-[month]-[day]");
        time::Date::parse(&change.date, day).is_ok_and(|date| {
            let days = (date.midnight().assume_utc().unix_timestamp() * 1000 - now.0).div_euclid(DAY_MS);
            (-90..=730).contains(&days)
        })
    };
    let mut all: Vec<MicrosoftChange> = microsoft_changes::of(credential).filter(near).collect();
    all.sort_by(|one, other| one.date.cmp(&other.date));
    all
}
