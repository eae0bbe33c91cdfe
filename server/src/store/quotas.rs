//! Usage, for quotas.

use crate::store::sql::sql;
use app::model::{InstitutionId, Timestamp, UserId};
use sqlx::Row;

use super::{Result, Store};

fn bytes(row: &sqlx::any::AnyRow, column: usize) -> Result<u64> {
    Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or_default())
}

#[derive(Debug, Clone, Copy)]
pub struct Usage {
    pub count: i64,
    pub bytes: u64,
    pub count_of_institution: i64,
    pub bytes_of_institution: u64,
}

// OCTET_LENGTH rather than LENGTH, which would read every body to count characters.
impl Store {
    pub async fn draft_usage(&self, institution: InstitutionId, user: UserId) -> Result<Usage> {
        self.usage(
            "SELECT user_id, OCTET_LENGTH(body_sealed)
               + COALESCE((SELECT SUM(a.size) FROM attachments a WHERE a.draft_id = drafts.id), 0) AS size
             FROM drafts WHERE institution_id = $1",
            institution,
            user,
        )
        .await
    }

    pub async fn queued_usage(&self, institution: InstitutionId, user: UserId) -> Result<Usage> {
        self.usage(
            "SELECT user_id, OCTET_LENGTH(body_sealed) AS size FROM deliveries
             WHERE institution_id = $1 AND state IN ('queued', 'sending', 'deferred')",
            institution,
            user,
        )
        .await
    }

    async fn usage(&self, of: &'static str, institution: InstitutionId, user: UserId) -> Result<Usage> {
        let row = sql!(
            sqlx::AssertSqlSafe(format!(
                "SELECT CAST(COALESCE(SUM(CASE WHEN user_id = $2 THEN 1 ELSE 0 END), 0) AS BIGINT),
                    CAST(COALESCE(SUM(CASE WHEN user_id = $2 THEN size ELSE 0 END), 0) AS BIGINT),
                    CAST(COUNT(*) AS BIGINT), CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM ({of}) AS used",
            ));
            institution, user
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(Usage {
            count: row.try_get(0)?,
            bytes: bytes(&row, 1)?,
            count_of_institution: row.try_get(2)?,
            bytes_of_institution: bytes(&row, 3)?,
        })
    }

    /// Attempts by a user, and by the whole institution, since a time; automatic ones do not count.
    pub async fn attempts_since(
        &self,
        institution: InstitutionId,
        user: UserId,
        since: Timestamp,
    ) -> Result<(i64, i64)> {
        let row = sql!(
            "SELECT CAST(COALESCE(SUM(CASE WHEN user_id = $2 THEN 1 ELSE 0 END), 0) AS BIGINT), CAST(COUNT(*) AS BIGINT)
             FROM attempts WHERE institution_id = $1 AND automatic = 0 AND created_at >= $3";
            institution, user, since
        )
        .fetch_one(&self.pool)
        .await?;
        Ok((row.try_get(0)?, row.try_get(1)?))
    }
}
