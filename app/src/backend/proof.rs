//! Authorisation: each type proves what a trait method requires.
//!
//! **Architecture invariant:** methods that act for a user take [`SignedIn`], [`MailOwner`] or [`Administrator`]. Only the
//! session layer creates a [`SignedIn`], and the others come only from it, so a server function without a session check
//! does not compile.

use std::net::IpAddr;
use std::sync::Arc;

use crate::error::AppError;
use crate::model::{InstitutionId, Role, SessionId, UserId};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Institution {
    pub id: InstitutionId,
    /// First label of its host.
    pub slug: String,
    pub name: String,
    /// Without a trailing slash.
    pub public_url: String,
}

#[derive(Debug, Clone)]
pub struct Visitor {
    pub institution: Arc<Institution>,
    pub person: Option<SignedIn>,
    pub address: IpAddr,
    pub flash_token: Option<String>,
    /// Whether JavaScript has run in this browser.
    pub script: bool,
    /// Value of the cookie that binds a sign-in at Microsoft to this browser.
    pub browser_token: Option<String>,
    /// Value of the cookie of a sign-in with Microsoft that waits for its answer.
    pub microsoft_sign_in: Option<String>,
    /// Value of the cookie that marks a browser as known.
    pub known_browser: Option<String>,
}

impl Visitor {
    pub fn signed_in(&self) -> Result<SignedIn, AppError> {
        self.person.clone().ok_or(AppError::NotSignedIn)
    }

    pub fn administrator(&self) -> Result<Administrator, AppError> {
        self.signed_in()?.administrator()
    }
}

/// Proof that a user of this institution is signed in.
#[derive(Debug, Clone)]
pub struct SignedIn {
    session: SessionId,
    user: UserId,
    institution: Arc<Institution>,
    address: String,
    role: Role,
    mail_locked: bool,
    origin: IpAddr,
}

impl SignedIn {
    /// For the session layer, with a valid session.
    pub fn from_session(
        session: SessionId,
        user: UserId,
        institution: Arc<Institution>,
        address: String,
        role: Role,
        mail_locked: bool,
        origin: IpAddr,
    ) -> Self {
        Self { session, user, institution, address, role, mail_locked, origin }
    }

    pub fn session(&self) -> SessionId {
        self.session
    }

    pub fn user_id(&self) -> UserId {
        self.user
    }

    pub fn institution(&self) -> &Institution {
        &self.institution
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// The network address of this request.
    pub fn origin(&self) -> IpAddr {
        self.origin
    }

    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether their mail is hidden until their Microsoft account signs in.
    pub fn mail_is_locked(&self) -> bool {
        self.mail_locked
    }

    /// Proves that they may see their mail.
    pub fn mail(&self) -> Result<MailOwner, AppError> {
        if self.mail_locked { Err(AppError::MailLocked) } else { Ok(MailOwner(self.clone())) }
    }

    /// Proves that they are an administrator.
    pub fn administrator(&self) -> Result<Administrator, AppError> {
        match self.role {
            Role::Administrator => Ok(Administrator(self.clone())),
            Role::User => Err(AppError::Forbidden),
        }
    }
}

/// Proof that an administrator of this institution is signed in.
#[derive(Debug, Clone)]
pub struct Administrator(SignedIn);

impl std::ops::Deref for Administrator {
    type Target = SignedIn;
    fn deref(&self) -> &SignedIn {
        &self.0
    }
}

/// Proof that a user may see their mail: no administrator reset their password since their last Microsoft sign-in.
#[derive(Debug, Clone)]
pub struct MailOwner(SignedIn);

impl MailOwner {
    pub fn signed_in(&self) -> SignedIn {
        self.0.clone()
    }
}

impl std::ops::Deref for MailOwner {
    type Target = SignedIn;
    fn deref(&self) -> &SignedIn {
        &self.0
    }
}
