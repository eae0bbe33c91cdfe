use async_trait::async_trait;

use super::{Administrator, Result};
use crate::model::{EmailState, HealthOverview, MailHealth, Notice};

/// How email of an institution does.
#[async_trait]
pub trait Health: Send + Sync {
    /// What is known of everyone's mailboxes, while email of the institution is in a state.
    async fn overview(&self, admin: &Administrator, state: &EmailState) -> Result<HealthOverview>;
    async fn mail_health(&self, admin: &Administrator) -> Result<MailHealth>;
    /// Looks up the DNS records of the sender's domains.
    async fn look_up_domains(&self, admin: &Administrator) -> Result<Notice>;
    /// Tests the mailboxes that a cause blocks again, soon.
    async fn test_cause(&self, admin: &Administrator, cause: &str) -> Result<Notice>;
}
