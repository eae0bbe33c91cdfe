use async_trait::async_trait;
use futures::stream::BoxStream;

use super::{Administrator, Result};
use crate::model::{AuditPage, AuditQuery};

/// The log of an institution.
#[async_trait]
pub trait Audit: Send + Sync {
    async fn page(&self, admin: &Administrator, query: &AuditQuery) -> Result<AuditPage>;
    /// All entries of a query as CSV (RFC 4180), in parts. Noted in the log.
    async fn export(&self, admin: &Administrator, query: AuditQuery) -> Result<BoxStream<'static, Result<String>>>;
}
