//! Invitation and password reset links, and their emails.

use app::backend::{Administrator, BackendError, Institution, Result, Visitor};
use app::error::AppError;
use app::model::{AuditAction, EmailAddress, InstitutionId, Notice, Role, Tone, UserId};

use super::notifications::Notification;
use super::{Happened, Services, Who};
use crate::clock::sha256;
use crate::store::{Invitation, NewInvitation, StoreError, Tx, User};
use crate::vault::VaultError;

/// Lifetime of an invitation link, in milliseconds: 72 hours.
const INVITATION_MS: i64 = 72 * 60 * 60 * 1000;

pub fn invitation_link(public_url: &str, token: &str) -> String {
    format!("{public_url}/invitation/{token}")
}

/// A new account, for the command line and the invitation form.
pub struct AddPerson<'a> {
    pub institution: InstitutionId,
    pub address: &'a EmailAddress,
    pub name: &'a str,
    pub role: Role,
    pub password: Option<&'a str>,
    /// Sends the invitation by email, as this institution.
    pub announce: Option<&'a Institution>,
}

/// How those who get a link come in with it.
#[derive(Debug, Clone, Copy)]
pub(super) enum OpenedBy {
    /// They set one; signing in with Microsoft is possible too.
    Password,
    Microsoft,
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
    pub async fn add_person(&self, new: &AddPerson<'_>) -> Result<Option<String>, AddPersonError> {
        let mut tx = self.store.begin().await?;
        let token = self.add_person_within(&mut tx, new).await?;
        let happened = Happened::new(AuditAction::Invitation, new.address.as_str()).with("Role", new.role.as_str());
        self.audit(&mut tx, new.institution, Who::Program("command line"), happened).await?;
        tx.commit().await?;
        self.outbox.wake();
        Ok(token)
    }

    /// As [`Services::add_person`], inside a transaction that does more.
    pub async fn add_person_within(&self, tx: &mut Tx, new: &AddPerson<'_>) -> Result<Option<String>, AddPersonError> {
        let password_hash = match new.password {
            None => None,
            Some(password) => Some(self.hash_new_password(new.address.as_str(), password).await?),
        };
        let now = self.clock.now();
        let user = User {
            id: UserId(self.clock.uuid()),
            address: new.address.to_string(),
            name: new.name.to_owned(),
            role: new.role,
            password_hash,
            linked: false,
            disabled_at: None,
            last_sign_in_at: None,
        };
        self.store.add_user(tx, new.institution, &user, now).await?;
        if user.password_hash.is_some() {
            return Ok(None);
        }
        let token = self.put_invitation(tx, new.institution, user.id).await?;
        if let Some(institution) = new.announce {
            let opens = self.opened_by_links(institution.id).await?;
            let message = self.link_message(institution, new.address.as_str(), &token, false, opens);
            self.enqueue(tx, &message.map_err(BackendError::from)?).await?;
        }
        Ok(Some(token))
    }

    /// As [`Services::add_person`], for an invited user without a password: a new link, or the password.
    pub async fn invite_again(&self, again: &AddPerson<'_>) -> Result<Option<String>> {
        let institution = again.institution;
        let found = self.store.user_by_address(institution, again.address.as_str()).await?;
        let Some(user) = found.filter(|user| !user.has_joined() && user.disabled_at.is_none()) else {
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
        let action = if token.is_some() { AuditAction::PasswordLink } else { AuditAction::PasswordSet };
        let happened = Happened::new(action, &user.address).with("Role", again.role.as_str());
        self.audit(&mut tx, institution, Who::Program("command line"), happened).await?;
        tx.commit().await?;
        Ok(token)
    }

    pub(super) async fn put_invitation(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        user: UserId,
    ) -> Result<String, StoreError> {
        let (token, now) = (self.clock.token(), self.clock.now());
        let (id, token_sha256) = (self.clock.uuid(), &sha256(&token));
        let new = NewInvitation { id, user, token_sha256, created_at: now, expires_at: now.plus_ms(INVITATION_MS) };
        self.store.put_invitation(tx, institution, &new).await?;
        Ok(token)
    }

    pub(super) async fn valid_invitation(&self, visitor: &Visitor, token: &str) -> Result<Invitation> {
        let found = self.store.invitation(visitor.institution.id, &sha256(token)).await?;
        found
            .filter(|found| found.expires_at >= self.clock.now() && found.user.disabled_at.is_none())
            .ok_or_else(|| AppError::NotFound.into())
    }

    pub(super) async fn opened_by_links(&self, institution: InstitutionId) -> Result<OpenedBy> {
        let passwords_are_off = self.passwords_are_off(institution).await?;
        Ok(if passwords_are_off { OpenedBy::Microsoft } else { OpenedBy::Password })
    }

    /// The email with the link: an invitation, or a password reset.
    pub(super) fn link_message(
        &self,
        institution: &Institution,
        address: &str,
        token: &str,
        has_password: bool,
        opens: OpenedBy,
    ) -> Result<Notification, VaultError> {
        let (name, link) = (&institution.name, invitation_link(&institution.public_url, token));
        let (subject, what, otherwise) = match (has_password, opens) {
            (true, OpenedBy::Password) => (
                format!("A new password for Entrepost at {name}"),
                format!("an administrator of {name} made this link for you."),
                " Until you use it, your password stays the same.",
            ),
            (true, OpenedBy::Microsoft) => (
                format!("A new link for Entrepost at {name}"),
                format!("an administrator of {name} made this link for you."),
                "",
            ),
            (false, _) => (
                format!("Your invitation to Entrepost at {name}"),
                format!("{name} invited you to Entrepost with this link."),
                " If you didn't expect it, ignore this message.",
            ),
        };
        let purpose = match (has_password, opens) {
            (_, OpenedBy::Microsoft) => "sign in with Microsoft",
            (true, OpenedBy::Password) => "set a new password for Entrepost",
            (false, OpenedBy::Password) => "set your password",
        };
        let text = format!(
            "Hello,\n\n{what} Use it within 72 hours to {purpose}:\n\n{link}\n\nThe link works once.{otherwise}\n"
        );
        self.notification(institution, address, &subject, &text)
    }

    /// The email after a password was reset with a link.
    pub(super) fn password_reset_message(
        &self,
        institution: &Institution,
        address: &str,
    ) -> Result<Notification, VaultError> {
        let name = &institution.name;
        let text = format!(
            "Hello,\n\nyour password for Entrepost at {name} was reset with a link that an administrator made.\n\n\
             Your mail is hidden until you sign in at Microsoft again: open Entrepost, then User Account > Email, and press Configure & Test. \
             Messages you already sent are still delivered.\n\nIf this wasn't you, tell your institution.\n"
        );
        self.notification(institution, address, &format!("Your password for Entrepost at {name} was changed"), &text)
    }

    /// The institution, if notifications can be sent; otherwise nothing is queued.
    pub(super) async fn announcer<'a>(&self, admin: &'a Administrator) -> Result<Option<(&'a Institution, String)>> {
        let institution = admin.institution();
        let sender = self.outbox.sender(institution.id, &institution.slug).await?;
        Ok(sender.map(|from| (institution, from)))
    }

    /// Shows an invitation link, and whether it is also sent by email.
    pub(super) fn invitation_notice(
        admin: &Administrator,
        address: &str,
        token: &str,
        title: &str,
        from: Option<&str>,
    ) -> Notice {
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
}
