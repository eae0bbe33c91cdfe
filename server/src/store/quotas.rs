//! Usage, for quotas.

use crate::store::sql::{columns, fetch_one, select};
use app::model::{InstitutionId, Timestamp, UserId};

use super::{Result, Store};

#[derive(Debug, Clone, Copy)]
pub struct Usage {
    pub bytes: u64,
    pub bytes_of_institution: u64,
}

columns!(Usage:
    bytes = "CAST(COALESCE(SUM(CASE WHEN user_id = $2 THEN size ELSE 0 END), 0) AS BIGINT)",
    bytes_of_institution = "CAST(COALESCE(SUM(size), 0) AS BIGINT)",
);

#[derive(Debug, Clone, Copy)]
pub struct Queued {
    pub count: i64,
    pub bytes: u64,
}

columns!(Queued: count = "COUNT(*)", bytes = "CAST(COALESCE(SUM(OCTET_LENGTH(body_sealed)), 0) AS BIGINT)");

pub(super) const QUEUED_OF: &str = "FROM (SELECT body_sealed FROM deliveries
     WHERE institution_id = $1 AND user_id = $2 AND state IN ('queued', 'sending', 'deferred') LIMIT $3) AS waiting";

pub(super) const QUEUED_AT: &str = "FROM (SELECT body_sealed FROM deliveries
     WHERE institution_id = $1 AND state IN ('queued', 'sending', 'deferred') LIMIT $2) AS waiting";

// OCTET_LENGTH rather than LENGTH, which would read every body to count characters.
impl Store {
    pub async fn draft_usage(&self, institution: InstitutionId, user: UserId) -> Result<Usage> {
        fetch_one!(&self.reads,
            select::<Usage>("FROM (SELECT user_id, OCTET_LENGTH(body_sealed)
               + COALESCE((SELECT SUM(a.size) FROM attachments a WHERE a.draft_id = drafts.id), 0) AS size
             FROM drafts WHERE institution_id = $1) AS used");
            institution, user
        )
    }

    /// Waiting messages of a user. Counts `most` of them, so that the cost does not grow with the queue.
    pub async fn queued_of(&self, institution: InstitutionId, user: UserId, most: i64) -> Result<Queued> {
        fetch_one!(&self.reads, select::<Queued>(QUEUED_OF); institution, user, most)
    }

    /// Waiting messages of an institution, of people and notifications. Counts `most` of them.
    pub async fn queued_at(&self, institution: InstitutionId, most: i64) -> Result<Queued> {
        fetch_one!(&self.reads, select::<Queued>(QUEUED_AT); institution, most)
    }

    /// How many messages of an institution wait, and since when the oldest does.
    pub async fn waiting(&self, institution: InstitutionId) -> Result<(i64, Option<Timestamp>)> {
        fetch_one!(&self.reads,
            "SELECT COUNT(*), MIN(created_at) FROM deliveries
             WHERE institution_id = $1 AND state IN ('queued', 'sending', 'deferred')";
            institution
        )
    }

    /// Attempts by a user, and by the whole institution, since a time; automatic ones do not count.
    pub async fn attempts_since(
        &self,
        institution: InstitutionId,
        user: UserId,
        since: Timestamp,
    ) -> Result<(i64, i64)> {
        fetch_one!(&self.reads,
            "SELECT CAST(COALESCE(SUM(CASE WHEN user_id = $2 THEN 1 ELSE 0 END), 0) AS BIGINT), CAST(COUNT(*) AS BIGINT)
             FROM attempts WHERE institution_id = $1 AND automatic = 0 AND created_at >= $3";
            institution, user, since
        )
    }
}
