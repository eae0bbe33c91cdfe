//! What somebody has already, for limits.

use app::model::{InstitutionId, Timestamp, UserId};
use sqlx::Row;

use super::{Result, Store};

fn bytes(row: &sqlx::any::AnyRow, column: usize) -> Result<u64> {
    Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or_default())
}

impl Store {
    /// Bytes of a person's drafts and their files.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub async fn draft_bytes(&self, institution: InstitutionId, user: UserId) -> Result<u64> {
        let row = sqlx::query(
            "SELECT CAST(COALESCE((SELECT SUM(LENGTH(body_sealed)) FROM drafts WHERE institution_id = $1 AND user_id = $2), 0)
                  + COALESCE((SELECT SUM(a.size) FROM attachments a JOIN drafts d ON d.id = a.draft_id
                              WHERE d.institution_id = $1 AND d.user_id = $2), 0) AS BIGINT)",
        )
        .bind(institution.to_string())
        .bind(user.to_string())
        .fetch_one(&self.pool)
        .await?;
        bytes(&row, 0)
    }

    /// Messages that wait to be sent: a person's, their bytes, and all of the institution.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub async fn queued_usage(&self, institution: InstitutionId, user: UserId) -> Result<(i64, u64, i64)> {
        let row = sqlx::query(
            "SELECT CAST(COALESCE(SUM(CASE WHEN user_id = $2 THEN 1 ELSE 0 END), 0) AS BIGINT),
                    CAST(COALESCE(SUM(CASE WHEN user_id = $2 THEN LENGTH(body_sealed) ELSE 0 END), 0) AS BIGINT),
                    CAST(COUNT(*) AS BIGINT)
             FROM deliveries WHERE institution_id = $1 AND state IN ('queued', 'sending', 'deferred')",
        )
        .bind(institution.to_string())
        .bind(user.to_string())
        .fetch_one(&self.pool)
        .await?;
        Ok((row.try_get(0)?, bytes(&row, 1)?, row.try_get(2)?))
    }

    /// Attempts that a person began since a time; those that began by themselves do not count.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub async fn attempts_since(&self, institution: InstitutionId, user: UserId, since: Timestamp) -> Result<i64> {
        let row = sqlx::query(
            "SELECT COUNT(*) FROM attempts WHERE institution_id = $1 AND user_id = $2 AND automatic = 0 AND created_at >= $3",
        )
        .bind(institution.to_string())
        .bind(user.to_string())
        .bind(since.0)
        .fetch_one(&self.pool)
        .await?;
        Ok(row.try_get(0)?)
    }
}
