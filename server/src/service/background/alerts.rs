//! Alerts. Administrators are told immediately of what stops everyone, and get at most one email a day about the rest; people are told
//! of their own mailbox. Each once per incident.

use std::fmt::Write as _;

use app::backend::Institution;
use app::model::{
    BEFORE_COMMANDS, CREDENTIALS_PATH, CredentialKind, EMAIL_CONFIG_PATH, MAIL_HEALTH_PATH, PersonState, Timestamp,
    in_days,
};

use crate::diagnosis::Reader;
use crate::service::Services;
use crate::service::email_config::switch_on;
use crate::service::email_state::Found;
use crate::store::{InstitutionRow, StoreError, ToTell};

/// Days before the expiry of a secret at which administrators are reminded.
const REMIND_DAYS: [i64; 7] = [60, 30, 14, 7, 3, 1, 0];
const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// A mailbox that does not work is tested again each hour: its owner is told only after that.
const BLOCKED_MS: i64 = HOUR_MS + 10 * 60 * 1000;
/// Hour of the day (UTC) from which the daily email is sent.
const DIGEST_HOUR: i64 = 6;
/// Days that the daily email looks back for new people, after a pause.
const MOST_DAYS: i64 = 7;
/// Causes and new addresses named in the daily email.
const MOST_CAUSES: i64 = 20;
const MOST_NEW: i64 = 500;

/// Who is told.
enum To {
    Administrators,
    /// Administrators and the named address: it concerns everyone.
    AdministratorsAndNamed,
    Person(String),
}

struct Alert {
    incident: String,
    subject: String,
    text: String,
    to: To,
}

impl Services {
    pub(in crate::service) async fn alert_once(&self) -> Result<(), StoreError> {
        for row in self.store.institutions().await? {
            let told = self.store.told_alerts(row.id).await?;
            let mut alerts = self.alerts(&row, &told).await?;
            alerts.retain(|alert| !told.contains(&alert.incident));
            // Without a sender the pages show the alerts; they are sent once there is one.
            if alerts.is_empty() || self.outbox.sender(row.id, &row.slug).await?.is_none() {
                continue;
            }
            let institution = self.institution(row);
            for alert in alerts {
                self.tell(&institution, &alert).await?;
            }
        }
        Ok(())
    }

    async fn alerts(&self, row: &InstitutionRow, told: &[String]) -> Result<Vec<Alert>, StoreError> {
        let mut alerts = Vec::new();
        let url = self.config.public_url.of(&row.slug);
        self.check_consent(row.id).await?;
        let mut found = self.find_email_state(row.id).await?;
        if let Found::Stopped { registration, asked: false, .. } = &found {
            self.check_past_secret(row.id, registration).await?;
            found = self.find_email_state(row.id).await?;
        }
        let is_told = told.iter().any(|incident| incident.starts_with("stopped "));
        if is_told && matches!(found, Found::Works { .. }) {
            self.store.end_incidents(row.id, self.clock.now()).await?;
        }
        match found {
            Found::Stopped { fault, registration, .. } => {
                let reader = Reader { administrator: true, institution: row.name.clone(), ..Reader::default() };
                let diagnosis = fault.explain(&reader);
                alerts.push(Alert {
                    // Each registration and cause is an incident of its own.
                    incident: format!("stopped {} {}", registration.id, fault.cause),
                    subject: format!("Email is stopped: {}", diagnosis.title.trim_end_matches('.')),
                    text: format!(
                        "{} {}\n\nNo one at your institution can send or receive until this is fixed: {url}{EMAIL_CONFIG_PATH}\n\nWaiting messages stay queued and are sent automatically afterwards.\n",
                        diagnosis.title, diagnosis.summary
                    ),
                    to: To::AdministratorsAndNamed,
                });
                // Each mailbox fails for this one reason.
                return Ok(alerts);
            }
            Found::Works { days_left: Some(days), registration, .. } if days >= 0 => {
                let date = registration.secret_expires_on.unwrap_or_default();
                let what = registration.credential.name();
                if let Some(reminder) = REMIND_DAYS.into_iter().filter(|reminder| days <= *reminder).min() {
                    let to_do = match registration.credential {
                        CredentialKind::Certificate => format!(
                            "The next certificate is ready: download it and upload it in the Entra portal. It is used as soon as Microsoft knows it: {url}{CREDENTIALS_PATH}"
                        ),
                        _ => format!(
                            "Create a new one in the Entra portal and paste its Value: {url}{EMAIL_CONFIG_PATH}\n\nIt takes effect immediately for everyone"
                        ),
                    };
                    alerts.push(Alert {
                        incident: format!("expires {date} {reminder}"),
                        subject: format!("The {what} expires {}", in_days(days)),
                        text: format!(
                            "It expires on {date}. When it expires, mail stops. {to_do}. No one has to sign in again.\n"
                        ),
                        to: To::AdministratorsAndNamed,
                    });
                }
            }
            _ => {}
        }
        let waits = self.clock.now().plus_ms(-BLOCKED_MS);
        for one in self.store.owners_to_tell(row.id, waits).await? {
            alerts.push(owners_alert(row, &url, one));
        }
        alerts.extend(self.digest(row, &url, told).await?);
        Ok(alerts)
    }

    /// The daily email: mailboxes that need attention, and the switches for new people. Not sent if nothing has changed for a week.
    async fn digest(&self, row: &InstitutionRow, url: &str, told: &[String]) -> Result<Option<Alert>, StoreError> {
        let now = self.clock.now();
        let (day, hour) = (now.0.div_euclid(DAY_MS), now.0.rem_euclid(DAY_MS) / HOUR_MS);
        let last = told.iter().filter_map(|incident| {
            let (day, content) = incident.strip_prefix("digest ")?.split_once(' ')?;
            Some((day.parse::<i64>().ok()?, content))
        });
        let last = last.max_by_key(|(day, _)| *day);
        if hour < DIGEST_HOUR || last.is_some_and(|(last, _)| last >= day) {
            return Ok(None);
        }
        let causes = self.store.problem_causes(row.id, MOST_CAUSES).await?;
        // From the hour of one digest to that of the next: no one is left out while email is stopped.
        let hour_of = |day: i64| Timestamp(day * DAY_MS + DIGEST_HOUR * HOUR_MS);
        let since = last.map_or(day - MOST_DAYS, |(last, _)| last.max(day - MOST_DAYS));
        let mut new = self.store.people_added(row.id, hour_of(since), hour_of(day), MOST_NEW + 1).await?;
        let is_more = i64::try_from(new.len()).unwrap_or(i64::MAX) > MOST_NEW;
        new.truncate(usize::try_from(MOST_NEW).unwrap_or(usize::MAX));
        let counts: Vec<String> = causes.iter().map(|(cause, count, _)| format!("{cause}:{count}")).collect();
        let content = counts.join(",");
        let is_known = last.is_some_and(|(last, known)| known == content && day - last < 7);
        if (causes.is_empty() && new.is_empty()) || (is_known && new.is_empty()) {
            return Ok(None);
        }
        let states = self.store.count_people(row.id).await?;
        let of = |wanted: PersonState| states.iter().find(|(state, _)| *state == wanted).map_or(0, |(_, count)| *count);
        let people = states.iter().map(|(_, count)| count).sum::<i64>() - of(PersonState::Disabled);
        let reader = Reader { administrator: true, institution: row.name.clone(), ..Reader::default() };
        let stopped = self.store.mailboxes_by_cause(row.id, 1).await?;
        let broken: i64 = causes.iter().map(|(_, count, _)| count).sum();
        let mut text = format!("Email works for {} of {}.\n", of(PersonState::Connected), app::model::people(people));
        if broken > 0 {
            text.push_str("\nThese mailboxes need attention:\n");
        }
        for (cause, count, _) in &causes {
            let Some((fault, _)) = stopped.get(cause) else { continue };
            let title = fault.explain_for_all(&reader, &["a".into(), "b".into()]).title;
            let _ = writeln!(text, "- {}: {count}", title.trim_end_matches('.'));
        }
        if broken > 0 {
            let _ = writeln!(text, "\nWho can fix each, and the commands: {url}{MAIL_HEALTH_PATH}");
        }
        if !new.is_empty() {
            let _ = writeln!(
                text,
                "\nNew since the last of these emails: {}{}. No mailbox plan switches on Authenticated SMTP, so an Exchange Administrator runs this for them:\n\n{BEFORE_COMMANDS}\n{}",
                if is_more { "more than " } else { "" },
                app::model::people(i64::try_from(new.len()).unwrap_or(i64::MAX)),
                switch_on(new.iter().map(String::as_str))
            );
        }
        let subject = match broken {
            0 => "New people, and their command for Exchange".to_owned(),
            1 => "1 mailbox needs attention".to_owned(),
            count => format!("{count} mailboxes need attention"),
        };
        Ok(Some(Alert { incident: format!("digest {day} {content}"), subject, text, to: To::Administrators }))
    }

    /// Queues an alert, and records it.
    async fn tell(&self, institution: &Institution, alert: &Alert) -> Result<(), StoreError> {
        let mut tx = self.store.begin().await?;
        if !self.store.note_alert(&mut tx, institution.id, &alert.incident, self.clock.now()).await? {
            return Ok(());
        }
        let text = format!("Hello,\n\n{}", alert.text);
        let to = match &alert.to {
            To::Person(address) => vec![address.clone()],
            To::Administrators | To::AdministratorsAndNamed => {
                let administrators = self.store.administrators(institution.id).await?;
                let mut to: Vec<String> = administrators.into_iter().map(|user| user.address).collect();
                let named = self.store.email_settings(institution.id).await?.reminder_address;
                let is_new = !named.is_empty() && !to.iter().any(|known| known.eq_ignore_ascii_case(&named));
                if matches!(alert.to, To::AdministratorsAndNamed) && is_new {
                    to.push(named);
                }
                to
            }
        };
        for address in &to {
            match self.notification(institution, address, &alert.subject, &text) {
                Ok(message) => self.enqueue(&mut tx, &message).await?,
                Err(error) => tracing::error!("cannot seal an alert: {error}"),
            }
        }
        tx.commit().await?;
        self.outbox.wake();
        Ok(())
    }
}

/// What the owner of a mailbox is told.
fn owners_alert(row: &InstitutionRow, url: &str, one: ToTell) -> Alert {
    let reader = Reader {
        address: one.address.clone(),
        institution: row.name.clone(),
        public_url: url.to_owned(),
        ..Reader::default()
    };
    let diagnosis = one.problem.explain(&reader);
    Alert {
        // Each grant and cause is an incident of its own.
        incident: format!("owner {} {} {}", one.id, one.grant_version, one.problem.cause),
        subject: format!("Entrepost can't use {}", one.address),
        text: format!(
            "{} {}\n\nWhat to do: {url}{}\n\nUntil then you can't send or receive as {} in Entrepost. Outlook isn't affected, and messages that wait are sent afterwards.\n",
            diagnosis.title,
            diagnosis.summary,
            app::model::ACCOUNT_PATH,
            one.address
        ),
        to: To::Person(one.owner),
    }
}
