//! Drafts and their attachments.

use crate::store::sql::{changed, columns, execute, fetch_all, fetch_one, fetch_optional, select};
use app::model::{AttachmentId, AttachmentView, DeliveryId, DraftId, FormVersion, InstitutionId, Timestamp, UserId};

use super::{Result, Store, Tx};

#[derive(Debug, Clone)]
pub struct Draft {
    pub id: DraftId,
    /// The sealed content.
    pub body_sealed: String,
    pub updated_at: Timestamp,
}

#[derive(Debug, Clone)]
pub struct NewAttachment {
    pub id: AttachmentId,
    pub name: String,
    pub content_type: String,
    pub size: u64,
    /// The content, sealed.
    pub content_sealed: String,
}

columns!(Draft: id, body_sealed, updated_at);
columns!(AttachmentView: id = "a.id", name, size);

impl Store {
    /// Saves a draft, unless the same page saved a later version. `false`: it was sent already, belongs to another person, or they have
    /// too many.
    pub async fn put_draft(
        &self,
        institution: InstitutionId,
        user_id: UserId,
        draft: &Draft,
        version: &FormVersion,
        most: i64,
    ) -> Result<bool> {
        let mut tx = self.begin().await?;
        // A late save may arrive after the message was sent: it makes no new draft.
        let sent: Option<i64> = fetch_optional!(&mut *tx,
            "SELECT 1 FROM deliveries WHERE institution_id = $1 AND user_id = $2 AND idempotency_key = $3 LIMIT 1";
            institution, user_id, draft.id
        )?;
        if sent.is_some() {
            return Ok(false);
        }
        let rows = changed!(&mut *tx,
            "INSERT INTO drafts (id, institution_id, user_id, body_sealed, created_at, updated_at, writer, revision)
             SELECT $1, $2, $3, $4, $5, $5, $7, $8
             WHERE (SELECT COUNT(*) FROM drafts WHERE institution_id = $2 AND user_id = $3 AND id <> $1) < $6
             ON CONFLICT (id) DO UPDATE SET body_sealed = $4, updated_at = $5, writer = $7, revision = $8
             WHERE drafts.institution_id = $2 AND drafts.user_id = $3 AND NOT (drafts.writer = $7 AND drafts.revision > $8)";
            draft.id, institution, user_id, draft.body_sealed, draft.updated_at, most, version.writer, version.revision
        )?;
        let exists: Option<i64> = fetch_optional!(&mut *tx,
            "SELECT 1 FROM drafts WHERE id = $1 AND institution_id = $2 AND user_id = $3";
            draft.id, institution, user_id
        )?;
        tx.commit().await?;
        // If nothing changed, the page saved a later version.
        Ok(rows == 1 || exists.is_some())
    }

    /// Keys of a person's newest messages.
    pub async fn sent_keys(&self, institution: InstitutionId, user_id: UserId) -> Result<Vec<String>> {
        fetch_all!(&self.reads,
            "SELECT idempotency_key FROM deliveries WHERE institution_id = $1 AND user_id = $2 ORDER BY created_at DESC LIMIT 5";
            institution, user_id
        )
    }

    /// The queued message with that key, and the sealed digest of its form.
    pub async fn queued(
        &self,
        institution: InstitutionId,
        user_id: UserId,
        key: &str,
    ) -> Result<Option<(DeliveryId, String)>> {
        fetch_optional!(&self.reads,
            "SELECT id, form_sealed FROM deliveries WHERE institution_id = $1 AND user_id = $2 AND idempotency_key = $3 LIMIT 1";
            institution, user_id, key
        )
    }

    /// Deletes replies begun before a time in which nothing was written.
    pub async fn sweep_drafts(&self, before: Timestamp) -> Result<()> {
        let mut tx = self.begin().await?;
        for statement in [
            "DELETE FROM attachments WHERE draft_id IN (SELECT id FROM drafts WHERE writer = '' AND updated_at < $1)",
            "DELETE FROM drafts WHERE writer = '' AND updated_at < $1",
        ] {
            execute!(&mut *tx, statement; before)?;
        }
        tx.commit().await
    }

    pub async fn draft(&self, institution: InstitutionId, user_id: UserId, draft_id: DraftId) -> Result<Option<Draft>> {
        fetch_optional!(&self.reads,
            select::<Draft>("FROM drafts WHERE institution_id = $1 AND user_id = $2 AND id = $3");
            institution, user_id, draft_id
        )
    }

    /// A person's drafts, newest first, with the number of attachments.
    pub async fn drafts(&self, institution: InstitutionId, user_id: UserId) -> Result<Vec<(Draft, u32)>> {
        fetch_all!(&self.reads,
            select::<Draft>(", (SELECT COUNT(*) FROM attachments WHERE draft_id = drafts.id)
             FROM drafts WHERE institution_id = $1 AND user_id = $2 ORDER BY updated_at DESC, id");
            institution, user_id
        )
    }

    /// Attaches a file within a total limit. `false`: no such draft, or no space.
    pub async fn add_attachment(
        &self,
        institution: InstitutionId,
        user_id: UserId,
        draft_id: DraftId,
        new: &NewAttachment,
        limit: u64,
    ) -> Result<bool> {
        let size = i64::try_from(new.size).unwrap_or(i64::MAX);
        let mut tx = self.begin().await?;
        // The lock makes concurrent uploads count together.
        let locked = changed!(&mut *tx,
            "UPDATE drafts SET updated_at = updated_at WHERE institution_id = $1 AND user_id = $2 AND id = $3";
            institution, user_id, draft_id
        )?;
        if locked == 0 {
            return Ok(false);
        }
        let (taken, last): (i64, i64) = fetch_one!(&mut *tx,
            "SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT), COALESCE(MAX(position), -1) FROM attachments WHERE draft_id = $1";
            draft_id
        )?;
        if taken.saturating_add(size) > i64::try_from(limit).unwrap_or(i64::MAX) {
            return Ok(false);
        }
        execute!(&mut *tx,
            "INSERT INTO attachments (id, institution_id, draft_id, position, name, content_type, size, content_sealed)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
            new.id, institution, draft_id, last + 1, new.name, new.content_type, size, new.content_sealed
        )?;
        tx.commit().await?;
        Ok(true)
    }

    pub async fn attachments(
        &self,
        institution: InstitutionId,
        user_id: UserId,
        draft_id: DraftId,
    ) -> Result<Vec<AttachmentView>> {
        fetch_all!(&self.reads,
            select::<AttachmentView>("FROM attachments a JOIN drafts d ON d.id = a.draft_id
             WHERE d.institution_id = $1 AND d.user_id = $2 AND d.id = $3 ORDER BY a.position");
            institution, user_id, draft_id
        )
    }

    /// Type and sealed content of an attachment.
    pub async fn attachment(
        &self,
        institution: InstitutionId,
        user_id: UserId,
        attachment_id: AttachmentId,
    ) -> Result<Option<(String, String)>> {
        fetch_optional!(&self.reads,
            "SELECT a.content_type, a.content_sealed FROM attachments a JOIN drafts d ON d.id = a.draft_id
             WHERE d.institution_id = $1 AND d.user_id = $2 AND a.id = $3";
            institution, user_id, attachment_id
        )
    }

    /// Removes an attachment. `false`: it does not exist.
    pub async fn drop_attachment(
        &self,
        institution: InstitutionId,
        user_id: UserId,
        draft: DraftId,
        attachment_id: AttachmentId,
    ) -> Result<bool> {
        let rows = changed!(&self.writes,
            "DELETE FROM attachments WHERE id = $1 AND draft_id IN (
               SELECT id FROM drafts WHERE id = $2 AND institution_id = $3 AND user_id = $4)";
            attachment_id, draft, institution, user_id
        )?;
        Ok(rows == 1)
    }

    pub async fn drop_draft(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        user_id: UserId,
        draft_id: DraftId,
    ) -> Result<bool> {
        execute!(&mut **tx,
            "DELETE FROM attachments WHERE draft_id IN (
               SELECT id FROM drafts WHERE id = $1 AND institution_id = $2 AND user_id = $3)";
            draft_id, institution, user_id
        )?;
        let rows = changed!(&mut **tx,
            "DELETE FROM drafts WHERE id = $1 AND institution_id = $2 AND user_id = $3";
            draft_id, institution, user_id
        )?;
        Ok(rows == 1)
    }
}
