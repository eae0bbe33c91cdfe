//! The list of people, and what an administrator does to several of them.

use app::backend::{Administrator, Institution, Result};
use app::error::AppError;
use app::model::{
    ACCOUNT_PATH, AuditAction, Notice, PeopleAction, PeoplePage, PeopleQuery, PersonRow, PersonState, Role, Tone,
    UserId, UserRow, people,
};

use super::notifications::Notification;
use super::{Happened, Services, Who};
use crate::diagnosis::powershell;
use crate::store::{Event, User};
use crate::vault::VaultError;

/// People on one page.
const PAGE: usize = 50;
/// A person is reminded at most once within this time, in milliseconds: a day.
const REMIND_MS: i64 = 24 * 60 * 60 * 1000;
/// Reminders queued in one transaction.
const AT_ONCE: i64 = 100;

impl Services {
    pub(super) async fn people_page(&self, admin: &Administrator, query: &PeopleQuery) -> Result<PeoplePage> {
        let (institution, now) = (admin.institution().id, self.clock.now());
        let limit = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
        let mut listed = self.store.list_people(institution, query, limit).await?;
        let more = listed.len() > PAGE;
        listed.truncate(PAGE);
        let ids: Vec<UserId> = listed.iter().map(|person| person.id).collect();
        let invited = self.store.invitations_of(institution, &ids, now).await?;
        let problems = self.store.problems_of(institution, &ids).await?;
        let undelivered = self.store.undelivered_notifications(institution).await?;
        let reader = self.reader_of_mailboxes(admin).await?;
        let rows = listed.into_iter().map(|person| {
            Ok(PersonRow {
                id: person.id,
                state: person.state()?,
                problem: problems.get(&person.id).map(|problem| problem.explain(&reader).title),
                invited_until: invited.get(&person.id).copied(),
                undelivered: undelivered.iter().any(|(address, _)| address.eq_ignore_ascii_case(&person.address)),
                address: person.address,
                name: person.name,
                role: person.role,
                has_password: person.has_password,
                last_sign_in_at: person.last_sign_in_at,
            })
        });
        Ok(PeoplePage {
            counts: self.store.count_people(institution).await?,
            rows: rows.collect::<Result<_, crate::store::StoreError>>()?,
            more,
            to_remind: self.store.count_to_remind(institution, now.plus_ms(-REMIND_MS)).await?,
            inviting: self.store.lists_to_invite(Some(institution)).await?.into_iter().map(|list| list.id).collect(),
        })
    }

    pub(super) async fn person_page(&self, admin: &Administrator, user: User) -> Result<UserRow> {
        let (institution, now) = (admin.institution().id, self.clock.now());
        let invited = self.store.invitations_of(institution, &[user.id], now).await?;
        let undelivered = self.store.undelivered_notifications(institution).await?;
        let reader = self.reader_of_mailboxes(admin).await?;
        let mailboxes = self.store.mailboxes_of(institution, user.id).await?;
        Ok(UserRow {
            id: user.id,
            has_password: user.has_joined(),
            invited_until: invited.get(&user.id).copied(),
            linked: user.linked,
            hand_over: {
                let address = powershell(&user.address);
                format!(
                    "Connect-ExchangeOnline\nSet-Mailbox -Identity {address} -Type Shared\nAdd-MailboxPermission -Identity {address} -User COLLEAGUE -AccessRights FullAccess"
                )
            },
            left_at: self.store.left_and_created(institution, user.id).await?.and_then(|(left, _)| left),
            disabled_at: user.disabled_at,
            last_sign_in_at: user.last_sign_in_at,
            role: user.role,
            name: user.name,
            mailboxes: mailboxes.iter().map(|mailbox| Self::mailbox_view(admin, mailbox, &reader)).collect(),
            undelivered: undelivered
                .iter()
                .find(|(address, _)| address.eq_ignore_ascii_case(&user.address))
                .map(|(_, why)| why.clone()),
            address: user.address,
        })
    }

    /// Disables an account: signs the person out and deletes the tokens of their mailboxes.
    pub(super) async fn disable(&self, admin: &Administrator, person: &User) -> Result<()> {
        let institution = admin.institution().id;
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        if self.store.other_administrators(&mut tx, institution, person.id).await? == 0
            && person.role == Role::Administrator
        {
            return Err(AppError::refused(
                "This is the last administrator. Change another person to administrator first.",
            )
            .into());
        }
        let now = self.clock.now();
        self.store.set_disabled(&mut tx, institution, person.id, Some(now)).await?;
        self.store.end_sessions_of(&mut tx, institution, person.id).await?;
        self.store.drop_invitations(&mut tx, institution, person.id).await?;
        self.store.abandon_attempts_of(&mut tx, institution, person.id, now).await?;
        // After their attempts: a run about to store a mailbox has done so, or finds its attempt ended.
        let theirs = self.store.drop_mailboxes_of(&mut tx, institution, person.id, true).await?;
        let happened = Happened::new(AuditAction::PersonDisabled, &person.address);
        self.audit(&mut tx, institution, Who::Person(admin), happened).await?;
        tx.commit().await?;
        theirs.iter().for_each(|mailbox| self.tokens.forget(*mailbox));
        self.store.publish(Event::Mail(person.id));
        Ok(())
    }

    pub(super) async fn act_on(
        &self,
        admin: &Administrator,
        action: PeopleAction,
        chosen: &[UserId],
    ) -> Result<Notice> {
        if action == PeopleAction::RemindAll {
            return self.remind_all(admin).await;
        }
        if chosen.is_empty() {
            return Err(AppError::refused("No one is selected. Tick people in the list first.").into());
        }
        let (mut done, mut skipped) = (0, Vec::new());
        for id in chosen.iter().take(PAGE) {
            let Some(person) = self.store.user(admin.institution().id, *id).await? else { continue };
            match self.act_on_one(admin, action, &person).await {
                Ok(None) => done += 1,
                Ok(Some(why)) => skipped.push(format!("{} {why}", person.address)),
                // What is done already is said in any case.
                Err(error) if done > 0 => {
                    let why = error.told(self).to_string();
                    skipped.push(format!("{} and those after: {}", person.address, why.trim_end_matches('.')));
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        let what = match action {
            PeopleAction::Remind | PeopleAction::RemindAll => "reminded",
            PeopleAction::NewLink => "sent a new link",
            PeopleAction::Disable => "disabled",
            PeopleAction::Disconnect => "disconnected",
        };
        let tone = if done == 0 { Tone::Warning } else { Tone::Success };
        let left_out = if skipped.is_empty() { String::new() } else { format!("Left out: {}.", skipped.join("; ")) };
        Ok(Notice::new(tone, format!("{}: {what}.", people(done)), left_out))
    }

    /// Acts on one person, or says why not.
    async fn act_on_one(
        &self,
        admin: &Administrator,
        action: PeopleAction,
        person: &User,
    ) -> Result<Option<&'static str>> {
        let but = |hindered: bool, why| hindered.then_some(why);
        Ok(match action {
            PeopleAction::Remind | PeopleAction::RemindAll => {
                let reminded = self.remind(admin, std::slice::from_ref(&person.id)).await?;
                but(reminded == 0, "works, is disabled, or was reminded within the last day")
            }
            PeopleAction::NewLink if person.disabled_at.is_some() => Some("is disabled"),
            PeopleAction::NewLink => {
                let sent = self.send_link(admin, person).await?;
                but(!sent, "gets no email, because none can be sent: open the person's page to copy a link")
            }
            PeopleAction::Disable if person.disabled_at.is_some() => Some("is disabled already"),
            PeopleAction::Disable if person.id == admin.user_id() => Some("is you"),
            PeopleAction::Disable => self.disable(admin, person).await.map(|()| None)?,
            PeopleAction::Disconnect => {
                but(self.disconnect_person(admin, person).await? == 0, "has no mailbox connected")
            }
        })
    }

    async fn remind_all(&self, admin: &Administrator) -> Result<Notice> {
        let institution = admin.institution().id;
        let (mut reminded, mut text) = (0, String::new());
        loop {
            let since = self.clock.now().plus_ms(-REMIND_MS);
            let next = self.store.people_to_remind(institution, since, AT_ONCE).await?;
            if next.is_empty() {
                break;
            }
            match self.remind(admin, &next).await {
                Ok(more) => reminded += more,
                Err(error) if reminded > 0 => {
                    text = format!("The others were not: {}", error.told(self));
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if reminded == 0 {
            "Everyone else was reminded within the last day, or is connected.".clone_into(&mut text);
        }
        let tone = if reminded == 0 { Tone::Warning } else { Tone::Success };
        Ok(Notice::new(tone, format!("{}: reminded.", people(reminded)), text))
    }

    /// Queues reminders to connect a mailbox, at most one a day for each person. Returns how many.
    async fn remind(&self, admin: &Administrator, chosen: &[UserId]) -> Result<i64> {
        let institution = admin.institution();
        if self.announcer(admin).await?.is_none() {
            return Err(AppError::refused(
                "This server can't send email: there is no system SMTP and no notification mailbox.",
            )
            .into());
        }
        // Those who never came in get a new link.
        let mut links = 0;
        for id in chosen {
            let person = self.store.user(institution.id, *id).await?;
            links += i64::from(person.is_some_and(|person| !person.has_joined()));
        }
        self.check_invitations(admin, links).await?;
        let opens = self.opened_by_links(institution.id).await?;
        let (now, mut reminded, mut linked) = (self.clock.now(), 0, Vec::new());
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        for id in chosen {
            let Some(person) = self.store.user_within(&mut tx, institution.id, *id).await? else { continue };
            let state = self.store.person_state(&mut tx, institution.id, *id).await?;
            let is_missing = matches!(state, PersonState::NotConnected | PersonState::NeedsReconnect);
            // A person whose mailbox works counts as reminded, so that the next search does not find them again.
            let noted = self.store.note_reminder(&mut tx, institution.id, *id, now.plus_ms(-REMIND_MS), now).await?;
            if !is_missing || !noted {
                continue;
            }
            let message = if person.has_joined() {
                self.reminder(institution, &person.address)?
            } else {
                let token = self.put_invitation(&mut tx, institution.id, person.id).await?;
                linked.push(person.address.clone());
                self.link_message(institution, &person.address, &token, false, opens)?
            };
            self.enqueue(&mut tx, &message).await?;
            reminded += 1;
        }
        let links =
            linked.iter().map(|address| Happened::new(AuditAction::PasswordLink, address).with("By", "a reminder"));
        if !linked.is_empty() {
            self.audit_all(&mut tx, institution.id, Who::Person(admin), links.collect()).await?;
        }
        tx.commit().await?;
        self.outbox.wake();
        Ok(reminded)
    }

    fn reminder(&self, institution: &Institution, address: &str) -> Result<Notification, VaultError> {
        let (name, url) = (&institution.name, &institution.public_url);
        let text = format!(
            "Hello,\n\nyour mailbox isn't connected to Entrepost at {name} yet, or has to be connected again. It takes a minute: open\n\n{url}{ACCOUNT_PATH}\n\nand press Configure & Test, then sign in at Microsoft.\n"
        );
        self.notification(institution, address, &format!("Connect your mailbox to Entrepost at {name}"), &text)
    }

    /// Emails a new link. `false`: no email can be sent.
    async fn send_link(&self, admin: &Administrator, person: &User) -> Result<bool> {
        let Some((institution, _)) = self.announcer(admin).await? else { return Ok(false) };
        self.check_invitations(admin, 1).await?;
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        let token = self.put_invitation(&mut tx, institution.id, person.id).await?;
        let opens = self.opened_by_links(institution.id).await?;
        let message = self.link_message(institution, &person.address, &token, person.has_joined(), opens)?;
        self.enqueue(&mut tx, &message).await?;
        let happened = Happened::new(AuditAction::PasswordLink, &person.address);
        self.audit(&mut tx, institution.id, Who::Person(admin), happened).await?;
        tx.commit().await?;
        self.outbox.wake();
        Ok(true)
    }

    async fn disconnect_person(&self, admin: &Administrator, person: &User) -> Result<usize> {
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        let theirs = self.store.drop_mailboxes_of(&mut tx, admin.institution().id, person.id, false).await?;
        if !theirs.is_empty() {
            let happened = Happened::new(AuditAction::MailboxDisconnected, &person.address)
                .with("Mailboxes", theirs.len().to_string());
            self.audit(&mut tx, admin.institution().id, Who::Person(admin), happened).await?;
        }
        tx.commit().await?;
        theirs.iter().for_each(|mailbox| self.tokens.forget(*mailbox));
        Ok(theirs.len())
    }
}
