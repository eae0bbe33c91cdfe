//! Sign-in and users.

use app::backend::{Accounts, Administrator, BackendError, Cookie, ProviderRedirect, Result, SignedIn, Visitor};
use app::error::AppError;
use app::model::{
    AppPath, AuditAction, InvitationList, InvitationListId, InvitationView, MailboxId, Notice, PeopleAction,
    PeoplePage, PeopleQuery, Role, SignInSettingsView, Tone, UserId, UserRow, pasted, person_name,
};
use async_trait::async_trait;

use super::audit::THROTTLED;
use super::invitations::{AddPerson, AddPersonError};
use super::password_policy::busy;
use super::passwords::{Busy, MAX_LENGTH};
use super::{Handle, Happened, Services, Who, address_field, sessions};
use crate::clock::sha256;
use crate::message::charset;
use crate::store::{Event, MailboxKey, User};

/// Longest address that is looked up, in bytes (RFC 5321, 4.5.3.1.3).
const MOST_ADDRESS: usize = 254;

impl Services {
    async fn account(&self, admin: &Administrator, user: UserId) -> Result<User> {
        self.store.user(admin.institution().id, user).await?.ok_or_else(|| AppError::NotFound.into())
    }
}

#[async_trait]
impl Accounts for Handle {
    async fn sign_in(&self, visitor: &Visitor, address: &str, password: &str) -> Result<Vec<Cookie>> {
        let institution = visitor.institution.id;
        let wrong = || AppError::refused("Wrong email or password. Try again.");
        let address = pasted::identifier(address);
        if address.len() > MOST_ADDRESS {
            return Err(wrong().into());
        }
        let user = self.store.user_by_address(institution, &address).await?;
        let tries = self.tries(visitor, &address, user.as_ref());
        self.slow_down(&tries).await?;
        // Counts only requests with a place in the queue: that bounds what anonymous requests can store.
        let known = user.as_ref().filter(|_| tries.is_known()).map(|user| user.id.0.as_u128());
        let turn = self.passwords.wait_for_place(visitor.address, known).await.map_err(|Busy| busy())?;
        let account = user.as_ref().map(|user| user.address.clone());
        if let Err(refused) = self.count_try(&tries).await {
            self.audit_failed_sign_in(institution, account.as_deref(), visitor.address, THROTTLED, None).await?;
            return Err(refused);
        }
        let user = user.filter(|user| user.disabled_at.is_none());
        let hash = user.as_ref().and_then(|user| user.password_hash.clone());
        let password = if password.len() > MAX_LENGTH { "" } else { password };
        let known = hash.clone().unwrap_or_default();
        let fits = self.passwords.verify(turn, password, hash).await.map_err(BackendError::internal)?;
        let Some(user) = user.filter(|_| fits) else {
            let reason = if account.is_some() { "wrong password, or disabled" } else { "unknown account" };
            self.audit_failed_sign_in(institution, account.as_deref(), visitor.address, reason, None).await?;
            return Err(wrong().into());
        };
        self.forgive(&tries).await?;
        if self.store.left_and_created(institution, user.id).await?.is_some_and(|(left, _)| left.is_some()) {
            self.audit_failed_sign_in(institution, account.as_deref(), visitor.address, "has left", None).await?;
            let text = "Microsoft says that your account there has ended. Ask your administrator.";
            return Err(AppError::refused(text).into());
        }
        if self.password_is_off(institution, &user).await? {
            let reason = "passwords are off";
            self.audit_failed_sign_in(institution, account.as_deref(), visitor.address, reason, None).await?;
            return Err(
                AppError::refused("Your institution signs in with Microsoft. Press Sign in with Microsoft.").into()
            );
        }
        let mut tx = self.store.begin().await?;
        // The password may have changed, or the account been disabled, while this one was checked.
        if !self.store.password_holds(&mut tx, institution, user.id, &known).await? {
            return Err(wrong().into());
        }
        let cookie = sessions::open(self, &mut tx, institution, user.id).await?;
        self.store.note_password_used(&mut tx, institution, user.id, self.clock.now()).await?;
        self.store.forget_undelivered(&mut tx, institution, &user.address).await?;
        // Sign-in starts a new session and ends the old one.
        if let Some(old) = &visitor.person {
            self.store.end_session(&mut tx, institution, old.session()).await?;
        }
        let who = Who::Account(&user, visitor.address);
        self.audit(&mut tx, institution, who, Happened::new(AuditAction::SignIn, &user.address)).await?;
        tx.commit().await?;
        Ok([Some(cookie), self.known_browser(institution, user.id)].into_iter().flatten().collect())
    }

    async fn offers_microsoft(&self, visitor: &Visitor) -> bool {
        self.registration_in_use(visitor.institution.id).await.is_ok_and(|registration| registration.is_some())
    }

    async fn start_microsoft(
        &self,
        visitor: &Visitor,
        next: &AppPath,
        invitation: Option<&str>,
        mail: bool,
    ) -> Result<ProviderRedirect> {
        self.begin_person(visitor, next, invitation, mail).await
    }

    async fn again(&self, user: &SignedIn) -> Option<SignedIn> {
        sessions::again(self, user).await.ok().flatten()
    }

    async fn sign_out(&self, visitor: &Visitor) -> Result<Cookie> {
        if let Some(person) = &visitor.person {
            let mut tx = self.store.begin().await?;
            self.store.end_session(&mut tx, visitor.institution.id, person.session()).await?;
            let happened = Happened::new(AuditAction::SignOut, person.address());
            self.audit(&mut tx, visitor.institution.id, Who::Person(person), happened).await?;
            tx.commit().await?;
            self.store.publish(Event::Mail(person.user_id()));
        }
        Ok(sessions::cookie(self, sessions::SESSION, "", 0))
    }

    async fn invitation(&self, visitor: &Visitor, token: &str) -> Result<InvitationView> {
        let found = self.valid_invitation(visitor, token).await?;
        let may_set_password = !self.password_is_off(visitor.institution.id, &found.user).await?;
        Ok(InvitationView {
            address: found.user.address,
            institution: visitor.institution.name.clone(),
            may_set_password,
        })
    }

    async fn accept_invitation(&self, visitor: &Visitor, token: &str, password: &str) -> Result<Vec<Cookie>> {
        self.count_link(visitor).await;
        let user = self.valid_invitation(visitor, token).await?.user;
        if self.password_is_off(visitor.institution.id, &user).await? {
            return Err(
                AppError::refused("Your institution signs in with Microsoft. Press Sign in with Microsoft.").into()
            );
        }
        self.check_new_password(&user.address, password)?;
        let turn = self.passwords.wait_for_place(visitor.address, None).await.map_err(|Busy| busy())?;
        let hash = self.passwords.hash(turn, password).await.map_err(BackendError::internal)?;
        let institution = visitor.institution.id;
        let can_tell = self.outbox.sender(institution, &visitor.institution.slug).await?.is_some();
        let mut tx = self.store.begin().await?;
        // Of two requests with one link, only one succeeds.
        if !self.store.use_invitation(&mut tx, institution, &sha256(token)).await? {
            return Err(AppError::NotFound.into());
        }
        self.store.set_password(&mut tx, institution, user.id, &hash).await?;
        self.store.end_sessions_of(&mut tx, institution, user.id).await?;
        // Another person may have the link: the user's mail stays locked until their Microsoft account signs in.
        let hidden = self.store.lock_mail(&mut tx, institution, user.id).await?;
        if hidden {
            tracing::warn!(user = %user.id, institution = %visitor.institution.slug, "a password was set with a link: mail is hidden until the same Microsoft account signs in");
            let message = self.password_reset_message(&visitor.institution, &user.address)?;
            if can_tell {
                self.enqueue(&mut tx, &message).await?;
            }
        }
        let cookie = sessions::open(self, &mut tx, institution, user.id).await?;
        self.store.forget_undelivered(&mut tx, institution, &user.address).await?;
        let happened =
            Happened::new(AuditAction::PasswordSet, &user.address).with("By", "a link, which also signed in");
        self.audit(&mut tx, institution, Who::Account(&user, visitor.address), happened).await?;
        if hidden {
            let happened = Happened::new(AuditAction::MailHidden, &user.address);
            self.audit(&mut tx, institution, Who::Account(&user, visitor.address), happened).await?;
        }
        tx.commit().await?;
        self.outbox.wake();
        self.forgive_link(visitor);
        self.forgive(&self.tries(visitor, &user.address, Some(&user))).await?;
        Ok([Some(cookie), self.known_browser(institution, user.id)].into_iter().flatten().collect())
    }

    async fn people(&self, admin: &Administrator, query: &PeopleQuery) -> Result<PeoplePage> {
        self.people_page(admin, query).await
    }

    async fn person(&self, admin: &Administrator, user: UserId) -> Result<UserRow> {
        let person = self.account(admin, user).await?;
        self.person_page(admin, person).await
    }

    async fn set_name(&self, admin: &Administrator, user: UserId, name: &str) -> Result<Notice> {
        let person = self.account(admin, user).await?;
        let name = person_name(name);
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        self.store.set_name(&mut tx, admin.institution().id, person.id, &name).await?;
        let happened = Happened::new(AuditAction::NameChanged, &person.address).with("Name", &*name);
        self.audit(&mut tx, admin.institution().id, Who::Person(admin), happened).await?;
        tx.commit().await?;
        Ok(Notice::new(Tone::Success, "Name saved.", ""))
    }

    async fn act_on_people(&self, admin: &Administrator, action: PeopleAction, people: &[UserId]) -> Result<Notice> {
        self.act_on(admin, action, people).await
    }

    async fn list_invitations(
        &self,
        admin: &Administrator,
        pasted: &str,
        file: &[u8],
        role: &str,
    ) -> Result<InvitationListId> {
        // Spreadsheets write UTF-8, UTF-16 or the code page of Windows.
        self.put_list(admin, &format!("{pasted}\n{}", charset::decode(None, file)), role).await
    }

    async fn invitation_list(&self, admin: &Administrator, list: InvitationListId) -> Result<InvitationList> {
        self.list_page(admin, list).await
    }

    async fn confirm_invitations(&self, admin: &Administrator, list: InvitationListId) -> Result<Notice> {
        self.confirm_list(admin, list).await
    }

    async fn discard_invitations(&self, admin: &Administrator, list: InvitationListId) -> Result<Notice> {
        self.discard_list(admin, list).await
    }

    async fn invitation_links(&self, admin: &Administrator, list: InvitationListId) -> Result<String> {
        self.list_links(admin, list).await
    }

    async fn invite(&self, admin: &Administrator, address: &str, name: &str, role: &str) -> Result<Notice> {
        let address =
            address_field(address, "email", "Email").map_err(|error| AppError::Invalid { fields: vec![error] })?;
        let role = Role::parse(role).ok_or_else(|| AppError::field("role", "Role", "Choose a role."))?;
        let announcer = self.announcer(admin).await?;
        let new = AddPerson {
            institution: admin.institution().id,
            address: &address,
            name: &person_name(name),
            role,
            password: None,
            announce: announcer.as_ref().map(|(institution, _)| *institution),
        };
        let from = announcer.as_ref().map(|(_, from)| from.as_str());
        self.check_invitations(admin, 1).await?;
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        let token = match self.add_person_within(&mut tx, &new).await {
            Ok(Some(token)) => token,
            Ok(None) => return Err(AppError::refused("No invitation sent.").into()),
            Err(AddPersonError::Exists) => {
                let text = format!("{address} already has an account. Find it in the list below.");
                return Err(AppError::field("email", "Email", text).into());
            }
            Err(AddPersonError::Other(error)) => return Err(error),
        };
        let happened = Happened::new(AuditAction::Invitation, address.as_str()).with("Role", role.as_str());
        self.audit(&mut tx, admin.institution().id, Who::Person(admin), happened).await?;
        tx.commit().await?;
        self.outbox.wake();
        let title = format!("{address} is invited.");
        Ok(Services::invitation_notice(admin, address.as_str(), &token, &title, from))
    }

    async fn renew_invitation(&self, admin: &Administrator, user: UserId) -> Result<Notice> {
        let person = self.account(admin, user).await?;
        if person.disabled_at.is_some() {
            return Err(AppError::refused(format!("{} is disabled. Enable the account first.", person.address)).into());
        }
        let announcer = self.announcer(admin).await?;
        self.check_invitations(admin, 1).await?;
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        let token = self.put_invitation(&mut tx, admin.institution().id, user).await?;
        if let Some((institution, _)) = &announcer {
            let has_password = person.has_joined();
            let opens = self.opened_by_links(institution.id).await?;
            let message = self.link_message(institution, &person.address, &token, has_password, opens)?;
            self.enqueue(&mut tx, &message).await?;
        }
        let happened = Happened::new(AuditAction::PasswordLink, &person.address);
        self.audit(&mut tx, admin.institution().id, Who::Person(admin), happened).await?;
        tx.commit().await?;
        self.outbox.wake();
        tracing::info!(by = %admin.user_id(), user = %user, institution = %admin.institution().slug, "an administrator made a new link");
        let from = announcer.as_ref().map(|(_, from)| from.as_str());
        let title = format!("New link for {}.", person.address);
        Ok(Services::invitation_notice(admin, &person.address, &token, &title, from))
    }

    async fn set_role(&self, admin: &Administrator, user: UserId, role: Role) -> Result<Notice> {
        let (person, institution) = (self.account(admin, user).await?, admin.institution().id);
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        if role == Role::User && self.store.other_administrators(&mut tx, institution, user).await? == 0 {
            return Err(AppError::refused(
                "This is the last administrator. Change another person to administrator first.",
            )
            .into());
        }
        self.store.set_role(&mut tx, institution, user, role).await?;
        self.store.end_sessions_of(&mut tx, institution, user).await?;
        let happened = Happened::new(AuditAction::RoleChanged, &person.address).with("Role", role.as_str());
        self.audit(&mut tx, institution, Who::Person(admin), happened).await?;
        tx.commit().await?;
        self.store.publish(Event::Mail(user));
        let what = if role == Role::Administrator { "an administrator" } else { "a user" };
        Ok(Notice::new(Tone::Success, format!("{} is now {what}.", person.address), "They have to sign in again."))
    }

    async fn set_disabled(&self, admin: &Administrator, user: UserId, disabled: bool) -> Result<Notice> {
        let (person, institution) = (self.account(admin, user).await?, admin.institution().id);
        if !disabled {
            let mut tx = self.store.begin().await?;
            self.still_administrator(&mut tx, admin).await?;
            self.store.set_disabled(&mut tx, institution, user, None).await?;
            let happened = Happened::new(AuditAction::PersonEnabled, &person.address);
            self.audit(&mut tx, institution, Who::Person(admin), happened).await?;
            tx.commit().await?;
            let way = self.way_to_sign_in(institution, &person).await?;
            return Ok(Notice::new(Tone::Success, format!("{} is enabled.", person.address), way));
        }
        self.disable(admin, &person).await?;
        Ok(Notice::new(
            Tone::Success,
            format!("{} is disabled.", person.address),
            "They are signed out, and the tokens of their mailboxes are deleted.",
        ))
    }

    async fn sign_in_settings(&self, admin: &Administrator) -> Result<SignInSettingsView> {
        self.sign_in_settings_view(admin).await
    }

    async fn save_sign_in_settings(
        &self,
        admin: &Administrator,
        passwords: &str,
        keepers: &[String],
        newcomers: &str,
        domains: &str,
    ) -> Result<Notice> {
        Services::save_sign_in_settings(self, admin, passwords, keepers, newcomers, domains).await
    }

    async fn offers_passwords(&self, visitor: &Visitor) -> bool {
        !self.passwords_are_off(visitor.institution.id).await.unwrap_or(false)
    }

    async fn unlink_microsoft(&self, admin: &Administrator, user: UserId) -> Result<Notice> {
        Services::unlink_microsoft(self, admin, user).await
    }

    async fn person_stays(&self, admin: &Administrator, user: UserId) -> Result<Notice> {
        Services::person_stays(self, admin, user).await
    }

    async fn export_person(&self, admin: &Administrator, user: UserId) -> Result<String> {
        self.person_export(admin, user).await
    }

    async fn erase_person(&self, admin: &Administrator, user: UserId, typed: &str) -> Result<Notice> {
        Services::erase_person(self, admin, user, typed).await
    }

    async fn dismiss_undelivered(&self, admin: &Administrator, user: Option<UserId>) -> Result<Notice> {
        let institution = admin.institution().id;
        let addresses: Vec<String> = match user {
            Some(user) => vec![self.account(admin, user).await?.address],
            None => self.store.undelivered_notifications(institution).await?.into_iter().map(|(to, _)| to).collect(),
        };
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        for address in &addresses {
            self.store.forget_undelivered(&mut tx, institution, address).await?;
        }
        tx.commit().await?;
        Ok(match addresses.as_slice() {
            [] => Notice::new(Tone::Success, "There is nothing left to dismiss.", ""),
            [one] => Notice::new(Tone::Success, format!("Dismissed for {one}."), ""),
            all => Notice::new(Tone::Success, format!("Dismissed for {} addresses.", all.len()), ""),
        })
    }

    async fn disconnect(&self, admin: &Administrator, mailbox: MailboxId) -> Result<Notice> {
        let found = self
            .store
            .mailbox(MailboxKey { institution: admin.institution().id, id: mailbox })
            .await?
            .ok_or(AppError::NotFound)?;
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        self.store.drop_mailbox(&mut tx, MailboxKey { institution: found.institution, id: mailbox }).await?;
        let happened = Happened::new(AuditAction::MailboxDisconnected, &found.address);
        self.audit(&mut tx, found.institution, Who::Person(admin), happened).await?;
        tx.commit().await?;
        self.tokens.forget(mailbox);
        Ok(Notice::new(
            Tone::Success,
            format!("{} is disconnected.", found.address),
            "Its tokens are deleted. Its owner can connect it again.",
        ))
    }
}
