//! Inviting many people: a pasted list, its preview, and the work after it is confirmed.

use std::sync::Arc;

use app::backend::{Administrator, Institution, Result};
use app::error::AppError;
use app::model::{
    AuditAction, EmailAddress, InvitationList, InvitationListId, LOGIN_PATH, ListedState, MOST_LISTED, Notice, Role,
    Tone, people, read_people,
};

use super::invitations::{AddPerson, AddPersonError, OpenedBy, invitation_link};
use super::{Happened, Services, Who};
use crate::csv;
use crate::store::{InvitationListRow, StoreError, ToInvite, Tx};

/// Accounts created in one transaction.
const AT_ONCE: i64 = 50;
const LINKS_AT_ONCE: usize = 200;
/// Lines shown of each kind.
const SHOWN: i64 = 200;
/// How long a list waits for its confirmation, and how long a finished one can be looked at, in milliseconds.
const UNCONFIRMED_MS: i64 = 3 * 24 * 60 * 60 * 1000;
const FINISHED_MS: i64 = 30 * 24 * 60 * 60 * 1000;

impl Services {
    pub(super) async fn put_list(&self, admin: &Administrator, text: &str, role: &str) -> Result<InvitationListId> {
        let role = Role::parse(role).ok_or_else(|| AppError::field("role", "Role", "Choose a role."))?;
        let mut listed = read_people(text, role);
        if listed.is_empty() {
            let text = "Paste at least one email address, one on each line.";
            return Err(AppError::field("people", "People to invite", text).into());
        }
        if listed.len() > MOST_LISTED {
            let text = format!("At most {MOST_LISTED} people at a time. Split the list.");
            return Err(AppError::field("people", "People to invite", text).into());
        }
        let institution = admin.institution().id;
        let addresses: Vec<String> = listed.iter().map(|person| person.address.clone()).collect();
        let known = self.store.known_addresses(institution, &addresses).await?;
        for person in &mut listed {
            if person.state == ListedState::New && known.contains(&person.address.to_lowercase()) {
                person.state = ListedState::Known;
            }
        }
        let id = InvitationListId(self.clock.uuid());
        let list = InvitationListRow { id, institution, user: admin.user_id(), confirmed_at: None, links_at: None };
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        self.store.add_invitation_list(&mut tx, &list, &listed, self.clock.now()).await?;
        tx.commit().await?;
        Ok(id)
    }

    async fn own_list(&self, admin: &Administrator, id: InvitationListId) -> Result<InvitationListRow> {
        self.store.invitation_list(admin.institution().id, id).await?.ok_or_else(|| AppError::NotFound.into())
    }

    pub(super) async fn list_page(&self, admin: &Administrator, id: InvitationListId) -> Result<InvitationList> {
        let list = self.own_list(admin, id).await?;
        let mut rows = Vec::new();
        for state in [ListedState::NotAnAddress, ListedState::Known, ListedState::Repeated, ListedState::New] {
            rows.extend(self.store.listed(id, state, SHOWN).await?);
        }
        let (waiting, sent, failed) = self.store.count_listed_mails(list.institution, id).await?;
        Ok(InvitationList {
            id,
            confirmed_at: list.confirmed_at,
            counts: self.store.count_listed(id).await?,
            administrators: self.store.count_listed_administrators(id).await?,
            rows,
            from: self.announcer(admin).await?.map(|(_, from)| from),
            without_links: self.passwords_are_off(list.institution).await?,
            messages_per_minute: self.config.limits.throttle.messages_per_minute,
            waiting,
            sent,
            failed,
        })
    }

    pub(super) async fn confirm_list(self: &Arc<Self>, admin: &Administrator, id: InvitationListId) -> Result<Notice> {
        let list = self.own_list(admin, id).await?;
        if list.confirmed_at.is_some() {
            return Ok(Notice::new(Tone::Success, "This list was confirmed before.", ""));
        }
        let counts = self.store.count_listed(id).await?;
        let new = counts.iter().find(|(state, _)| *state == ListedState::New).map_or(0, |(_, count)| *count);
        if new == 0 {
            return Err(AppError::refused("No one on this list is new.").into());
        }
        self.check_invitations(admin, new).await?;
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        let first = self.store.confirm_invitation_list(&mut tx, list.institution, id, self.clock.now()).await?;
        if first {
            let happened = Happened::new(AuditAction::InvitationList, "")
                .with("People", new.to_string())
                .with("List", id.to_string());
            self.audit(&mut tx, list.institution, Who::Person(admin), happened).await?;
        }
        tx.commit().await?;
        if !first {
            // Another request was faster, and counted them.
            self.uncount_invitations(admin, new).await?;
        }
        if first {
            let (services, institution) = (Arc::clone(self), admin.institution().clone());
            self.tasks.spawn(async move {
                if let Err(error) = services.invite_listed(&institution, id).await {
                    tracing::error!("cannot invite the people of a list, going on later: {error}");
                }
            });
        }
        Ok(Notice::new(Tone::Success, format!("{}: being invited.", people(new)), "You can leave this page."))
    }

    pub(super) async fn discard_list(&self, admin: &Administrator, id: InvitationListId) -> Result<Notice> {
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        if !self.store.drop_invitation_list(&mut tx, admin.institution().id, id).await? {
            return Err(AppError::refused("This list was confirmed already, or is gone.").into());
        }
        tx.commit().await?;
        Ok(Notice::new(Tone::Success, "List discarded.", "No one was invited."))
    }

    /// Goes on with confirmed lists, for example after a restart.
    pub(super) async fn invite_waiting(&self) -> Result<(), StoreError> {
        for list in self.store.lists_to_invite(None).await? {
            let Some(row) = self.store.institution(list.institution).await? else { continue };
            let institution = self.institution(row);
            if let Err(error) = self.invite_listed(&institution, list.id).await {
                tracing::error!("cannot invite the people of a list, going on later: {error}");
            }
        }
        let now = self.clock.now();
        self.store.sweep_invitation_lists(now.plus_ms(-UNCONFIRMED_MS), now.plus_ms(-FINISHED_MS)).await
    }

    async fn invite_listed(&self, institution: &Institution, id: InvitationListId) -> Result<()> {
        let can_send = self.outbox.sender(institution.id, &institution.slug).await?.is_some();
        let opens = self.opened_by_links(institution.id).await?;
        while !self.stop.is_cancelled() {
            let mut tx = self.store.begin().await?;
            let next = self.store.claim_listed(&mut tx, id, AT_ONCE).await?;
            if next.is_empty() {
                return Ok(());
            }
            let mut invited = Vec::new();
            for line in next {
                if self.invite_line(&mut tx, institution, id, &line, can_send.then_some(opens)).await? {
                    invited.push(line);
                }
            }
            let entries = invited.iter().map(|line| {
                Happened::new(AuditAction::Invitation, &line.address)
                    .with("Role", line.role.as_str())
                    .with("List", id.to_string())
            });
            if !invited.is_empty() {
                self.audit_all(&mut tx, institution.id, Who::Program("Entrepost"), entries.collect()).await?;
            }
            tx.commit().await?;
            self.outbox.wake();
        }
        Ok(())
    }

    /// `true`: invited. `mails`: an email can be sent.
    async fn invite_line(
        &self,
        tx: &mut Tx,
        institution: &Institution,
        id: InvitationListId,
        line: &ToInvite,
        mails: Option<OpenedBy>,
    ) -> Result<bool> {
        let Ok(address) = EmailAddress::parse(&line.address) else {
            self.store.settle_listed(tx, id, line.position, ListedState::NotAnAddress, None).await?;
            return Ok(false);
        };
        // Invited one by one meanwhile.
        if self.store.user_of_address(tx, institution.id, address.as_str()).await?.is_some() {
            self.store.settle_listed(tx, id, line.position, ListedState::Known, None).await?;
            return Ok(false);
        }
        let new = AddPerson {
            institution: institution.id,
            address: &address,
            name: &line.name,
            role: line.role,
            password: None,
            announce: None,
        };
        let token = match self.add_person_within(tx, &new).await {
            Ok(token) => token.unwrap_or_default(),
            Err(AddPersonError::Other(error)) => return Err(error),
            Err(AddPersonError::Exists) => return Err(AppError::refused("The list changed meanwhile.").into()),
        };
        if let Some(opens) = mails {
            let message = self.link_message(institution, address.as_str(), &token, false, opens)?;
            let once = Self::once(message, format!("list:{id}:{}", line.position));
            self.enqueue(tx, &once).await?;
        }
        let user = self.store.user_of_address(tx, institution.id, address.as_str()).await?;
        self.store.settle_listed(tx, id, line.position, ListedState::Invited, user).await?;
        Ok(true)
    }

    /// New links for those of a list who have no password, as CSV (RFC 4180): earlier links of theirs end. Where everyone signs in
    /// with Microsoft, it holds the address of the sign-in page instead, and no secret.
    pub(super) async fn list_links(&self, admin: &Administrator, id: InvitationListId) -> Result<String> {
        let list = self.own_list(admin, id).await?;
        let people = self.store.listed_without_password(id).await?;
        // The first download of somebody's links belongs to the invitation, which was counted.
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        let is_first = people.is_empty() || self.store.note_links(&mut tx, id, self.clock.now()).await?;
        tx.commit().await?;
        if !is_first {
            self.check_invitations(admin, i64::try_from(people.len()).unwrap_or(i64::MAX)).await?;
        }
        let without_links = self.passwords_are_off(list.institution).await?;
        let mut text = String::from(if without_links { "name,email,sign_in\r\n" } else { "name,email,link\r\n" });
        // In parts: SQLite has one writer.
        for part in people.chunks(LINKS_AT_ONCE) {
            let mut tx = self.store.begin().await?;
            self.still_administrator(&mut tx, admin).await?;
            for (user, name, address) in part {
                let token = self.put_invitation(&mut tx, list.institution, *user).await?;
                let public_url = &admin.institution().public_url;
                let link = if without_links {
                    format!("{public_url}{LOGIN_PATH}")
                } else {
                    invitation_link(public_url, &token)
                };
                text += &csv::line(&[name, address, &link]);
            }
            let happened = Happened::new(AuditAction::LinksExported, "")
                .with("People", part.len().to_string())
                .with("List", id.to_string());
            self.audit(&mut tx, list.institution, Who::Person(admin), happened).await?;
            tx.commit().await?;
        }
        tracing::info!(by = %admin.user_id(), list = %id, institution = %admin.institution().slug, "an administrator downloaded new links");
        Ok(text)
    }
}
