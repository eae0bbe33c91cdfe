//! Institution Config > General > Email, and the home page.

use async_trait::async_trait;

use super::{Administrator, Institution, ProviderRedirect, Result, SignedIn, Visitor};
use crate::model::{
    CredentialsView, EmailConfigForm, EmailConfigView, EmailState, Flash, GraphUse, GuideStep, MailboxId, Notice,
    SigningKeyId,
};

#[derive(Debug, Clone, Default)]
pub struct Home {
    /// For administrators: the same that the configuration page shows.
    pub state: Option<EmailState>,
    /// Most urgent first.
    pub notices: Vec<HomeNotice>,
}

/// A notice that ends with its reason.
#[derive(Debug, Clone)]
pub struct HomeNotice {
    pub notice: Notice,
    /// Where it is fixed, and the label of the button there.
    pub path: String,
    pub action: String,
    /// It tells of something that is over, so it can be dismissed.
    pub is_past: bool,
}

#[async_trait]
pub trait EmailConfig: Send + Sync {
    async fn view(&self, admin: &Administrator) -> Result<EmailConfigView>;
    async fn save(&self, admin: &Administrator, form: EmailConfigForm) -> Result<Flash>;
    /// Checks unverified or waiting values again. `confirmed`: the administrator agreed that using
    /// waiting ones ends all connections.
    async fn verify_again(&self, admin: &Administrator, confirmed: bool) -> Result<Flash>;
    async fn credentials(&self, admin: &Administrator) -> Result<CredentialsView>;
    /// Makes a key and its certificate.
    async fn make_certificate(&self, admin: &Administrator) -> Result<Notice>;
    /// The file name and the certificate (PEM) to upload at Microsoft.
    async fn certificate(&self, admin: &Administrator, id: SigningKeyId) -> Result<(String, String)>;
    async fn drop_certificate(&self, admin: &Administrator, id: SigningKeyId) -> Result<Notice>;
    /// The old credential was deleted at Microsoft.
    async fn forget_superseded(&self, admin: &Administrator) -> Result<Notice>;
    /// Public keys of an institution as an issuer, as a key set (RFC 7517).
    async fn key_set(&self, institution: &Institution) -> Result<String>;
    async fn save_graph(&self, admin: &Administrator, graph: GraphUse) -> Result<Notice>;
    async fn discard_waiting(&self, admin: &Administrator) -> Result<Notice>;
    async fn set_guide_step(&self, admin: &Administrator, step: GuideStep, done: bool) -> Result<()>;
    async fn set_guide_steps(&self, admin: &Administrator, done: &[GuideStep]) -> Result<()>;
    async fn start_consent(&self, admin: &Administrator, visitor: &Visitor) -> Result<ProviderRedirect>;
    /// Starts Configure & Test of the custom From address's mailbox.
    async fn start_notifications(&self, admin: &Administrator, visitor: &Visitor) -> Result<ProviderRedirect>;
    /// Tests a connected mailbox that sends as the custom From address; returns the attempt's path.
    async fn test_pair(&self, admin: &Administrator, mailbox: MailboxId) -> Result<String>;
    async fn disconnect_notifications(&self, admin: &Administrator) -> Result<Notice>;
    async fn home(&self, user: &SignedIn) -> Result<Home>;
}
