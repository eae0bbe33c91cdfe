//! Sign-in, invitations, users.

use std::net::{IpAddr, Ipv4Addr};

use app::backend::{Accounts, Administrator, BackendError, Cookie, Institution, Result, SignedIn, Visitor};
use app::error::AppError;
use app::model::{
    EmailAddress, InstitutionId, InvitationView, MailboxId, Notice, Role, Timestamp, Tone, UserId, UserRow, pasted,
};
use async_trait::async_trait;

use super::common_passwords::is_common;
use super::notifications::Notification;
use super::passwords::{Busy, MAX_LENGTH, MIN_LENGTH};
use super::{Handle, Services, address_field, sessions};
use crate::clock::sha256;
use crate::store::{Event, Invitation, NewInvitation, StoreError, Tx, User};
use crate::vault::VaultError;

/// Lifetime of an invitation link, in milliseconds: 72 hours.
const INVITATION_MS: i64 = 72 * 60 * 60 * 1000;
/// Longest address that is looked up, in bytes (RFC 5321, 4.5.3.1.3).
const MOST_ADDRESS: usize = 254;

fn busy() -> AppError {
    AppError::refused("Too many people are signing in right now. Try again in a few seconds.")
}

pub fn invitation_link(public_url: &str, token: &str) -> String {
    format!("{public_url}/invitation/{token}")
}

/// A new account, for the command line and the invitation form.
pub struct AddPerson<'a> {
    pub institution: InstitutionId,
    pub address: &'a EmailAddress,
    pub role: Role,
    pub password: Option<&'a str>,
    /// Send the invitation by e-mail, as this institution.
    pub announce: Option<&'a Institution>,
}

/// Whether a password is one word surrounded by digits and signs.
fn is_padded(password: &str, word: &str) -> bool {
    password.replace(word, "").chars().all(|c| !c.is_alphabetic())
}

/// Why a person was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddPersonError {
    #[error("the address already has an account")]
    Exists,
    #[error(transparent)]
    Other(#[from] BackendError),
}

impl From<StoreError> for AddPersonError {
    fn from(error: StoreError) -> Self {
        if error.is_duplicate() { Self::Exists } else { Self::Other(error.into()) }
    }
}

impl Services {
    /// Creates an account and returns the invitation's token, unless a password was given.
    pub async fn add_person(&self, new: &AddPerson<'_>) -> std::result::Result<Option<String>, AddPersonError> {
        let mut tx = self.store.begin().await?;
        let token = self.add_person_within(&mut tx, new).await?;
        self.store.commit(tx).await?;
        self.outbox.wake();
        Ok(token)
    }

    /// As [`Services::add_person`], inside a transaction that does more.
    pub async fn add_person_within(
        &self,
        tx: &mut Tx,
        new: &AddPerson<'_>,
    ) -> std::result::Result<Option<String>, AddPersonError> {
        let password_hash = match new.password {
            None => None,
            Some(password) => Some(self.hash_new_password(new.address.as_str(), password).await?),
        };
        let now = self.clock.now();
        let user = User {
            id: UserId(self.clock.uuid()),
            address: new.address.to_string(),
            role: new.role,
            password_hash,
            disabled_at: None,
        };
        self.store.add_user(tx, new.institution, &user, now).await?;
        if user.password_hash.is_some() {
            return Ok(None);
        }
        let token = self.put_invitation(tx, new.institution, user.id).await?;
        if let Some(institution) = new.announce {
            let message = self.link_message(institution, new.address.as_str(), &token, false);
            self.enqueue(tx, &message.map_err(BackendError::from)?).await?;
        }
        Ok(Some(token))
    }

    /// As [`Services::add_person`], for an invited user without a password: a new link, or the password.
    pub async fn invite_again(&self, again: &AddPerson<'_>) -> Result<Option<String>> {
        let institution = again.institution;
        let found = self.store.user_by_address(institution, again.address.as_str()).await?;
        let Some(user) = found.filter(|user| user.password_hash.is_none() && user.disabled_at.is_none()) else {
            return Err(AppError::refused(format!(
                "{} already has an account: an administrator makes a new link under Institution › Users. If no administrator is left, add one: user add SLUG ADDRESS --admin",
                again.address
            ))
            .into());
        };
        let hash = match again.password {
            None => None,
            Some(password) => Some(self.hash_new_password(again.address.as_str(), password).await?),
        };
        let mut tx = self.store.begin().await?;
        // A new link never removes a role: the only administrator may request it.
        if again.role == Role::Administrator {
            self.store.set_role(&mut tx, institution, user.id, again.role).await?;
        }
        let token = match hash {
            Some(hash) => {
                self.store.set_password(&mut tx, institution, user.id, &hash).await?;
                self.store.drop_invitations(&mut tx, institution, user.id).await?;
                None
            }
            None => Some(self.put_invitation(&mut tx, institution, user.id).await?),
        };
        self.store.commit(tx).await?;
        Ok(token)
    }

    async fn put_invitation(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        user: UserId,
    ) -> std::result::Result<String, StoreError> {
        let (token, now) = (self.clock.token(), self.clock.now());
        let (id, token_sha256) = (self.clock.uuid(), &sha256(&token));
        let new = NewInvitation { id, user, token_sha256, created_at: now, expires_at: now.plus_ms(INVITATION_MS) };
        self.store.put_invitation(tx, institution, &new).await?;
        Ok(token)
    }

    /// Checks length, and refuses passwords that are tried first.
    pub fn check_new_password(&self, address: &str, password: &str) -> Result<()> {
        if password.chars().count() < MIN_LENGTH {
            let text = format!("Use at least {MIN_LENGTH} characters. Several words in a row are easy to remember.");
            return Err(AppError::field("password", "Password", text).into());
        }
        if password.len() > MAX_LENGTH {
            return Err(AppError::field("password", "Password", format!("Use at most {MAX_LENGTH} characters.")).into());
        }
        let guess = password.trim().to_lowercase();
        let own = address.to_lowercase();
        if own.contains(&guess)
            || own.split(['@', '.', '-', '_']).any(|word| word.len() > 4 && is_padded(&guess, word))
            || is_common(&guess)
        {
            let text = "This password is too easy to guess. Several words in a row are easy to remember.";
            return Err(AppError::field("password", "Password", text).into());
        }
        Ok(())
    }

    async fn hash_new_password(&self, address: &str, password: &str) -> Result<String> {
        self.check_new_password(address, password)?;
        let turn = self.passwords.queue(IpAddr::V4(Ipv4Addr::UNSPECIFIED), true).map_err(|Busy| busy())?;
        self.passwords.hash(turn, password).await.map_err(BackendError::internal)
    }

    async fn valid_invitation(&self, visitor: &Visitor, token: &str) -> Result<Invitation> {
        let found = self.store.invitation(visitor.institution.id, &sha256(token)).await?;
        found
            .filter(|found| found.expires_at >= self.clock.now() && found.user.disabled_at.is_none())
            .ok_or_else(|| AppError::NotFound.into())
    }

    /// The email with the link: an invitation, or a password reset.
    fn link_message(
        &self,
        institution: &Institution,
        address: &str,
        token: &str,
        has_password: bool,
    ) -> std::result::Result<Notification, VaultError> {
        let (name, link) = (&institution.name, invitation_link(&institution.public_url, token));
        let (subject, what, otherwise) = if has_password {
            (
                format!("A new password for Entrepost at {name}"),
                format!(
                    "an administrator of {name} made this link for you. Use it within 72 hours to set a new password for Entrepost:"
                ),
                "Until you use it, your password stays the same.",
            )
        } else {
            (
                format!("Your invitation to Entrepost at {name}"),
                format!("{name} invited you to Entrepost. Use this link within 72 hours to set your password:"),
                "If you didn't expect it, ignore this message.",
            )
        };
        let text = format!("Hello,\n\n{what}\n\n{link}\n\nThe link works once. {otherwise}\n");
        self.notification(institution, address, &subject, &text)
    }

    /// The institution, if notifications can be sent; otherwise nothing is queued.
    async fn announcer<'a>(&self, admin: &'a Administrator) -> Result<Option<(&'a Institution, String)>> {
        let institution = admin.institution();
        let sender = self.outbox.sender(institution.id, &institution.slug).await?;
        Ok(sender.map(|from| (institution, from)))
    }

    /// Shows an invitation link, and whether it is also sent by email.
    fn invitation_notice(admin: &Administrator, address: &str, token: &str, title: &str, from: Option<&str>) -> Notice {
        let link = invitation_link(&admin.institution().public_url, token);
        let (tone, said) = match from {
            Some(from) => (
                Tone::Success,
                format!("We've emailed it to {address}, from {from}. You can also copy the link and send it yourself."),
            ),
            None => (
                Tone::Warning,
                "This server can't send email (no system SMTP is set). Copy the link and send it yourself.".to_owned(),
            ),
        };
        let mut notice = Notice::new(tone, title, format!("The link works once, for 72 hours. {said}"));
        notice.copy = Some((link, "Copy invitation link".into()));
        notice
    }

    async fn person(&self, admin: &Administrator, user: UserId) -> Result<User> {
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
        self.count_try(&tries).await?;
        let user = user.filter(|user| user.disabled_at.is_none());
        let hash = user.as_ref().and_then(|user| user.password_hash.clone());
        let password = if password.len() > MAX_LENGTH { "" } else { password };
        let known = hash.clone().unwrap_or_default();
        let fits = self.passwords.verify(turn, password, hash).await.map_err(BackendError::internal)?;
        let Some(user) = user.filter(|_| fits) else { return Err(wrong().into()) };
        self.forgive(&tries).await?;
        let mut tx = self.store.begin().await?;
        // The password may have changed, or the account been disabled, while this one was checked.
        if !self.store.password_holds(&mut tx, institution, user.id, &known).await? {
            return Err(wrong().into());
        }
        let cookie = sessions::open(self, &mut tx, institution, user.id).await?;
        self.store.forget_undelivered(&mut tx, institution, &user.address).await?;
        self.store.commit(tx).await?;
        // Sign-in starts a new session and ends the old one.
        if let Some(old) = &visitor.person {
            self.store.end_session(institution, old.session()).await?;
        }
        Ok([Some(cookie), self.known_browser(institution, user.id)].into_iter().flatten().collect())
    }

    async fn again(&self, user: &SignedIn) -> Option<SignedIn> {
        sessions::again(self, user).await.ok().flatten()
    }

    async fn sign_out(&self, visitor: &Visitor) -> Result<Cookie> {
        if let Some(person) = &visitor.person {
            self.store.end_session(visitor.institution.id, person.session()).await?;
            self.store.publish(Event::Mail(person.user_id())).await;
        }
        Ok(sessions::cookie(self, sessions::SESSION, "", 0))
    }

    async fn invitation(&self, visitor: &Visitor, token: &str) -> Result<InvitationView> {
        let found = self.valid_invitation(visitor, token).await?;
        Ok(InvitationView { address: found.user.address, institution: visitor.institution.name.clone() })
    }

    async fn accept_invitation(&self, visitor: &Visitor, token: &str, password: &str) -> Result<Vec<Cookie>> {
        self.count_link(visitor).await;
        let user = self.valid_invitation(visitor, token).await?.user;
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
        if self.store.lock_mail(&mut tx, institution, user.id).await? {
            tracing::warn!(user = %user.id, institution = %visitor.institution.slug, "a password was set with a link: mail is hidden until the same Microsoft account signs in");
            let text = [
                format!("Hello,\n\nyour password for Entrepost at {} was reset ", visitor.institution.name),
                "with a link that an administrator made.\n\n".to_owned(),
                "Your mail is hidden until you sign in at Microsoft again: open Entrepost, ".to_owned(),
                "then User Account > Email, and press Configure & Test. ".to_owned(),
                "Messages you already sent are still delivered.\n\nIf this wasn't you, tell your institution.\n"
                    .to_owned(),
            ]
            .concat();
            let subject = format!("Your password for Entrepost at {} was changed", visitor.institution.name);
            let message = self.notification(&visitor.institution, &user.address, &subject, &text)?;
            if can_tell {
                self.enqueue(&mut tx, &message).await?;
            }
        }
        let cookie = sessions::open(self, &mut tx, institution, user.id).await?;
        self.store.forget_undelivered(&mut tx, institution, &user.address).await?;
        self.store.commit(tx).await?;
        self.outbox.wake();
        self.forgive_link(visitor);
        self.forgive(&self.tries(visitor, &user.address, Some(&user))).await?;
        Ok([Some(cookie), self.known_browser(institution, user.id)].into_iter().flatten().collect())
    }

    async fn people(&self, admin: &Administrator) -> Result<Vec<UserRow>> {
        let institution = admin.institution().id;
        let users = self.store.users(institution).await?;
        let invitations = self.store.invitations(institution).await?;
        let mailboxes = self.store.mailboxes(institution).await?;
        let undelivered = self.store.undelivered_notifications(institution).await?;
        let reader = self.reader_of_mailboxes(admin).await?;
        let now = self.clock.now();
        let until = |user: UserId| -> Option<Timestamp> {
            invitations.iter().find(|(who, until)| *who == user && *until >= now).map(|(_, until)| *until)
        };
        Ok(users
            .into_iter()
            .map(|user| UserRow {
                id: user.id,
                has_password: user.password_hash.is_some(),
                invited_until: until(user.id),
                disabled_at: user.disabled_at,
                role: user.role,
                mailboxes: mailboxes
                    .iter()
                    .filter(|mailbox| mailbox.user == user.id)
                    .map(|mailbox| Services::mailbox_view(admin, mailbox, &reader))
                    .collect(),
                undelivered: undelivered
                    .iter()
                    .find(|(address, _)| address.eq_ignore_ascii_case(&user.address))
                    .map(|(_, why)| why.clone()),
                address: user.address,
            })
            .collect())
    }

    async fn invite(&self, admin: &Administrator, address: &str, role: &str) -> Result<Notice> {
        let address =
            address_field(address, "email", "Email").map_err(|error| AppError::Invalid { fields: vec![error] })?;
        let role = Role::parse(role).ok_or_else(|| AppError::field("role", "Role", "Choose a role."))?;
        let announcer = self.announcer(admin).await?;
        let new = AddPerson {
            institution: admin.institution().id,
            address: &address,
            role,
            password: None,
            announce: announcer.as_ref().map(|(institution, _)| *institution),
        };
        let from = announcer.as_ref().map(|(_, from)| from.as_str());
        self.check_invitations(admin).await?;
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
        self.store.commit(tx).await?;
        self.outbox.wake();
        let title = format!("{address} is invited.");
        Ok(Services::invitation_notice(admin, address.as_str(), &token, &title, from))
    }

    async fn renew_invitation(&self, admin: &Administrator, user: UserId) -> Result<Notice> {
        let person = self.person(admin, user).await?;
        if person.disabled_at.is_some() {
            return Err(AppError::refused(format!("{} is disabled. Enable the account first.", person.address)).into());
        }
        let announcer = self.announcer(admin).await?;
        self.check_invitations(admin).await?;
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        let token = self.put_invitation(&mut tx, admin.institution().id, user).await?;
        if let Some((institution, _)) = &announcer {
            let has_password = person.password_hash.is_some();
            let message = self.link_message(institution, &person.address, &token, has_password)?;
            self.enqueue(&mut tx, &message).await?;
        }
        self.store.commit(tx).await?;
        self.outbox.wake();
        tracing::info!(by = %admin.user_id(), user = %user, institution = %admin.institution().slug, "an administrator made a new link");
        let from = announcer.as_ref().map(|(_, from)| from.as_str());
        let title = format!("New link for {}.", person.address);
        Ok(Services::invitation_notice(admin, &person.address, &token, &title, from))
    }

    async fn set_role(&self, admin: &Administrator, user: UserId, role: Role) -> Result<Notice> {
        let (person, institution) = (self.person(admin, user).await?, admin.institution().id);
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
        self.store.commit(tx).await?;
        self.store.publish(Event::Mail(user)).await;
        let what = if role == Role::Administrator { "an administrator" } else { "a user" };
        Ok(Notice::new(Tone::Success, format!("{} is now {what}.", person.address), "They have to sign in again."))
    }

    async fn set_disabled(&self, admin: &Administrator, user: UserId, disabled: bool) -> Result<Notice> {
        let (person, institution) = (self.person(admin, user).await?, admin.institution().id);
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        if !disabled {
            self.store.set_disabled(&mut tx, institution, user, None).await?;
            self.store.commit(tx).await?;
            return Ok(Notice::new(
                Tone::Success,
                format!("{} is enabled.", person.address),
                "They can sign in with their password again.",
            ));
        }
        if self.store.other_administrators(&mut tx, institution, user).await? == 0 && person.role == Role::Administrator
        {
            return Err(AppError::refused(
                "This is the last administrator. Change another person to administrator first.",
            )
            .into());
        }
        let now = self.clock.now();
        self.store.set_disabled(&mut tx, institution, user, Some(now)).await?;
        self.store.end_sessions_of(&mut tx, institution, user).await?;
        self.store.drop_invitations(&mut tx, institution, user).await?;
        self.store.abandon_attempts_of(&mut tx, institution, user, now).await?;
        // After their attempts: a run about to store a mailbox has done so, or finds its attempt ended.
        let theirs = self.store.drop_mailboxes_of(&mut tx, institution, user).await?;
        self.store.commit(tx).await?;
        theirs.iter().for_each(|mailbox| self.tokens.forget(*mailbox));
        self.store.publish(Event::Mail(user)).await;
        Ok(Notice::new(
            Tone::Success,
            format!("{} is disabled.", person.address),
            "They are signed out, and the tokens of their mailboxes are deleted.",
        ))
    }

    async fn dismiss_undelivered(&self, admin: &Administrator, user: UserId) -> Result<Notice> {
        let person = self.person(admin, user).await?;
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        self.store.forget_undelivered(&mut tx, admin.institution().id, &person.address).await?;
        self.store.commit(tx).await?;
        Ok(Notice::new(Tone::Success, format!("Dismissed for {}.", person.address), ""))
    }

    async fn disconnect(&self, admin: &Administrator, mailbox: MailboxId) -> Result<Notice> {
        let found = self.store.mailbox(admin.institution().id, mailbox).await?.ok_or(AppError::NotFound)?;
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        self.store.drop_mailbox(&mut tx, found.institution, mailbox).await?;
        self.store.commit(tx).await?;
        self.tokens.forget(mailbox);
        Ok(Notice::new(
            Tone::Success,
            format!("{} is disconnected.", found.address),
            "Its tokens are deleted. Its owner can connect it again.",
        ))
    }
}
