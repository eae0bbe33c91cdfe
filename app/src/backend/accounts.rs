//! Sign-in, people, invitations.

use async_trait::async_trait;

use super::{Administrator, Cookie, Result, SignedIn, Visitor};
use crate::model::{InvitationView, MailboxId, Notice, Role, UserId, UserRow};

#[async_trait]
pub trait Accounts: Send + Sync {
    async fn sign_in(&self, visitor: &Visitor, address: &str, password: &str) -> Result<Vec<Cookie>>;
    /// The same user with their current role; `None` if the session ended.
    async fn again(&self, user: &SignedIn) -> Option<SignedIn>;
    async fn sign_out(&self, visitor: &Visitor) -> Result<Cookie>;
    async fn invitation(&self, visitor: &Visitor, token: &str) -> Result<InvitationView>;
    async fn accept_invitation(&self, visitor: &Visitor, token: &str, password: &str) -> Result<Vec<Cookie>>;
    async fn people(&self, admin: &Administrator) -> Result<Vec<UserRow>>;
    async fn invite(&self, admin: &Administrator, address: &str, role: &str) -> Result<Notice>;
    async fn renew_invitation(&self, admin: &Administrator, user: UserId) -> Result<Notice>;
    async fn set_role(&self, admin: &Administrator, user: UserId, role: Role) -> Result<Notice>;
    /// Disabling an account deletes its tokens.
    async fn set_disabled(&self, admin: &Administrator, user: UserId, disabled: bool) -> Result<Notice>;
    /// Dismisses the notice about undelivered emails.
    async fn dismiss_undelivered(&self, admin: &Administrator, user: UserId) -> Result<Notice>;
    async fn disconnect(&self, admin: &Administrator, mailbox: MailboxId) -> Result<Notice>;
}
