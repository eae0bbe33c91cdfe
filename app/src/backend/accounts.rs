//! Sign-in, people, invitations.

use async_trait::async_trait;

use super::{Administrator, Cookie, ProviderRedirect, Result, SignedIn, Visitor};
use crate::model::{
    AppPath, InvitationList, InvitationListId, InvitationView, MailboxId, Notice, PeopleAction, PeoplePage,
    PeopleQuery, Role, SignInSettingsView, UserId, UserRow,
};

#[async_trait]
pub trait Accounts: Send + Sync {
    async fn sign_in(&self, visitor: &Visitor, address: &str, password: &str) -> Result<Vec<Cookie>>;
    /// Whether people can sign in with Microsoft.
    async fn offers_microsoft(&self, visitor: &Visitor) -> bool;
    /// Begins a sign-in with Microsoft. `invitation`: the token of a link, which the account is linked by.
    async fn start_microsoft(
        &self,
        visitor: &Visitor,
        next: &AppPath,
        invitation: Option<&str>,
        mail: bool,
    ) -> Result<ProviderRedirect>;
    /// The same user with their current role; `None` if the session ended.
    async fn again(&self, user: &SignedIn) -> Option<SignedIn>;
    async fn sign_out(&self, visitor: &Visitor) -> Result<Cookie>;
    async fn invitation(&self, visitor: &Visitor, token: &str) -> Result<InvitationView>;
    async fn accept_invitation(&self, visitor: &Visitor, token: &str, password: &str) -> Result<Vec<Cookie>>;
    /// A page of the list of people.
    async fn people(&self, admin: &Administrator, query: &PeopleQuery) -> Result<PeoplePage>;
    async fn person(&self, admin: &Administrator, user: UserId) -> Result<UserRow>;
    async fn set_name(&self, admin: &Administrator, user: UserId, name: &str) -> Result<Notice>;
    async fn act_on_people(&self, admin: &Administrator, action: PeopleAction, people: &[UserId]) -> Result<Notice>;
    async fn invite(&self, admin: &Administrator, address: &str, name: &str, role: &str) -> Result<Notice>;
    /// Stores a list of people, pasted or from a file. Nobody is invited before it is confirmed.
    async fn list_invitations(
        &self,
        admin: &Administrator,
        pasted: &str,
        file: &[u8],
        role: &str,
    ) -> Result<InvitationListId>;
    async fn invitation_list(&self, admin: &Administrator, list: InvitationListId) -> Result<InvitationList>;
    async fn confirm_invitations(&self, admin: &Administrator, list: InvitationListId) -> Result<Notice>;
    async fn discard_invitations(&self, admin: &Administrator, list: InvitationListId) -> Result<Notice>;
    /// New links for the people of a list who have no password yet, as CSV.
    async fn invitation_links(&self, admin: &Administrator, list: InvitationListId) -> Result<String>;
    async fn renew_invitation(&self, admin: &Administrator, user: UserId) -> Result<Notice>;
    async fn set_role(&self, admin: &Administrator, user: UserId, role: Role) -> Result<Notice>;
    /// Disabling an account deletes its tokens.
    async fn set_disabled(&self, admin: &Administrator, user: UserId, disabled: bool) -> Result<Notice>;
    async fn sign_in_settings(&self, admin: &Administrator) -> Result<SignInSettingsView>;
    async fn save_sign_in_settings(
        &self,
        admin: &Administrator,
        passwords: &str,
        keepers: &[String],
        newcomers: &str,
        domains: &str,
    ) -> Result<Notice>;
    /// Whether people who are no administrators may sign in with a password.
    async fn offers_passwords(&self, visitor: &Visitor) -> bool;
    async fn unlink_microsoft(&self, admin: &Administrator, user: UserId) -> Result<Notice>;
    /// A person whose Microsoft account ended has not left.
    async fn person_stays(&self, admin: &Administrator, user: UserId) -> Result<Notice>;
    /// What is stored about a person, as JSON, without their mail.
    async fn export_person(&self, admin: &Administrator, user: UserId) -> Result<String>;
    /// `typed`: the person's address, to confirm it.
    async fn erase_person(&self, admin: &Administrator, user: UserId, typed: &str) -> Result<Notice>;
    /// Dismisses the notice about undelivered emails to a person, or to everyone.
    async fn dismiss_undelivered(&self, admin: &Administrator, user: Option<UserId>) -> Result<Notice>;
    async fn disconnect(&self, admin: &Administrator, mailbox: MailboxId) -> Result<Notice>;
}
