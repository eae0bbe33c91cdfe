//! People who left: Microsoft says that their account is disabled or gone.

use app::backend::{Administrator, Result};
use app::error::AppError;
use app::model::{AuditAction, Notice, Role, Tone, UserId};
use serde_json::json;

use super::{Happened, Services, Who};
use crate::diagnosis::Reader;
use crate::store::{Event, Leaver};

/// People noted in one round.
const AT_ONCE: i64 = 100;

impl Services {
    /// Ends sessions and links of those, and stops their password, whose account ended at Microsoft. Their messages wait: the mailbox has no grant.
    pub(in crate::service) async fn note_leavers(&self) -> Result<()> {
        for Leaver { institution, user, fault } in self.store.leavers(AT_ONCE).await? {
            let Some(person) = self.store.user(institution, user).await? else { continue };
            let mut tx = self.store.begin().await?;
            self.store.lock_institution(&mut tx, institution).await?;
            // The last administrator must still be able to come in: the app itself may be what is wrong.
            let is_last = person.role == Role::Administrator
                && self.store.other_administrators(&mut tx, institution, user).await? == 0;
            if is_last {
                self.store.set_stayed(&mut tx, institution, user, self.clock.now()).await?;
                let happened = Happened::new(AuditAction::PersonLeft, &person.address)
                    .with("Still let in", "no other administrator has a password");
                self.audit(&mut tx, institution, Who::Program("Entrepost"), happened).await?;
                tx.commit().await?;
                continue;
            }
            if !self.store.set_left(&mut tx, institution, user, self.clock.now()).await? {
                continue;
            }
            self.store.end_sessions_of(&mut tx, institution, user).await?;
            self.store.drop_invitations(&mut tx, institution, user).await?;
            let title = fault.explain(&Reader { administrator: true, ..Reader::default() }).title;
            let happened = Happened::new(AuditAction::PersonLeft, &person.address).with("Microsoft says", title);
            self.audit(&mut tx, institution, Who::Program("Entrepost"), happened).await?;
            tx.commit().await?;
            self.store.publish(Event::Mail(user));
        }
        Ok(())
    }

    pub(super) async fn person_stays(&self, admin: &Administrator, user: UserId) -> Result<Notice> {
        let institution = admin.institution().id;
        let person = self.store.user(institution, user).await?.ok_or(AppError::NotFound)?;
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        self.store.set_stayed(&mut tx, institution, user, self.clock.now()).await?;
        let happened = Happened::new(AuditAction::PersonStays, &person.address);
        self.audit(&mut tx, institution, Who::Person(admin), happened).await?;
        tx.commit().await?;
        let way = self.way_to_sign_in(institution, &person).await?;
        Ok(Notice::new(Tone::Success, format!("{} is active again.", person.address), way))
    }

    /// What is stored about a person, without subjects, recipients or text of their mail: administrators don't see those.
    pub(super) async fn person_export(&self, admin: &Administrator, user: UserId) -> Result<String> {
        let institution = admin.institution().id;
        let person = self.store.user(institution, user).await?.ok_or(AppError::NotFound)?;
        let dates = self.store.left_and_created(institution, user).await?;
        let mailboxes = self.store.exported_mailboxes(institution, user).await?;
        let (drafts, messages) = self.store.stored_mail(institution, user).await?;
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        let happened = Happened::new(AuditAction::PersonExported, &person.address);
        self.audit(&mut tx, institution, Who::Person(admin), happened).await?;
        tx.commit().await?;
        let exported = json!({
            "address": person.address,
            "name": person.name,
            "role": person.role.as_str(),
            "added": dates.map(|(_, created)| created.iso()),
            "left": dates.and_then(|(left, _)| left).map(app::model::Timestamp::iso),
            "disabled": person.disabled_at.map(app::model::Timestamp::iso),
            "last_sign_in": person.last_sign_in_at.map(app::model::Timestamp::iso),
            "signs_in_with_microsoft": person.linked,
            "has_password": person.password_hash.is_some(),
            "mailboxes": mailboxes.iter().map(|mailbox| json!({
                "address": mailbox.address,
                "state": mailbox.state.as_str(),
                "connected": mailbox.connected_at.map(app::model::Timestamp::iso),
            })).collect::<Vec<_>>(),
            "stored": { "drafts": drafts, "sent_or_waiting_messages": messages },
        });
        Ok(serde_json::to_string_pretty(&exported)?)
    }

    /// Deletes a disabled person with drafts, messages and mailboxes. `typed`: the address, to confirm it.
    pub(super) async fn erase_person(&self, admin: &Administrator, user: UserId, typed: &str) -> Result<Notice> {
        let institution = admin.institution().id;
        let person = self.store.user(institution, user).await?.ok_or(AppError::NotFound)?;
        if !typed.trim().eq_ignore_ascii_case(&person.address) {
            let text = format!("Type {} to confirm. Nothing was erased.", person.address);
            return Err(AppError::field("address", "Address", text).into());
        }
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        if !self.store.erase_person(&mut tx, institution, user, admin.user_id()).await? {
            return Err(AppError::refused("Disable the person first. Nothing was erased.").into());
        }
        let happened = Happened::new(AuditAction::PersonErased, &person.address);
        self.audit(&mut tx, institution, Who::Person(admin), happened).await?;
        tx.commit().await?;
        Ok(Notice::new(
            Tone::Success,
            format!("{} is erased.", person.address),
            "Drafts, messages and mailboxes here are deleted. The mailbox at Microsoft is untouched, and the audit log keeps its entries.",
        ))
    }
}
