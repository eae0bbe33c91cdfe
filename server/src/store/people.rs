//! Institutions, users, invitations.

use crate::store::sql::sql;
use app::model::{InstitutionId, Role, Timestamp, UserId};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Result, Store, Tx, at, id, named, time};

#[derive(Debug, Clone)]
pub struct InstitutionRow {
    pub id: InstitutionId,
    pub slug: String,
    pub name: String,
}

#[derive(Debug, Clone)]
pub struct User {
    pub id: UserId,
    pub address: String,
    pub role: Role,
    /// Argon2id hash (PHC string), once a password is set.
    pub password_hash: Option<String>,
    pub disabled_at: Option<Timestamp>,
}

/// An invitation link, without its token.
#[derive(Debug, Clone)]
pub struct Invitation {
    pub user: User,
    pub expires_at: Timestamp,
}

fn user(row: &AnyRow) -> Result<User> {
    Ok(User {
        id: id(row, "id")?,
        address: row.try_get("address")?,
        role: named(row, "role", Role::parse)?,
        password_hash: row.try_get("password_hash")?,
        disabled_at: time(row, "disabled_at")?,
    })
}

pub struct NewInvitation<'a> {
    pub id: uuid::Uuid,
    pub user: UserId,
    pub token_sha256: &'a str,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

impl Store {
    /// Creates an institution.
    /// [`super::StoreError`]; a duplicate if the slug exists.
    pub async fn add_institution(&self, tx: &mut Tx, new: &InstitutionRow, now: Timestamp) -> Result<()> {
        sql!(
            "INSERT INTO institutions (id, slug, name, created_at) VALUES ($1, $2, $3, $4)";
            new.id, new.slug, new.name, now
        )
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    pub async fn institution_by_slug(&self, slug: &str) -> Result<Option<InstitutionRow>> {
        let row =
            sql!("SELECT id, slug, name FROM institutions WHERE slug = $1"; slug).fetch_optional(&self.pool).await?;
        row.map(|row| {
            Ok(InstitutionRow { id: id(&row, "id")?, slug: row.try_get("slug")?, name: row.try_get("name")? })
        })
        .transpose()
    }

    pub async fn institution(&self, institution_id: InstitutionId) -> Result<Option<InstitutionRow>> {
        let row = sql!("SELECT id, slug, name FROM institutions WHERE id = $1"; institution_id)
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| {
            Ok(InstitutionRow { id: id(&row, "id")?, slug: row.try_get("slug")?, name: row.try_get("name")? })
        })
        .transpose()
    }

    pub async fn institutions(&self) -> Result<Vec<InstitutionRow>> {
        let rows = sqlx::query("SELECT id, slug, name FROM institutions ORDER BY slug").fetch_all(&self.pool).await?;
        rows.iter()
            .map(|row| {
                Ok(InstitutionRow { id: id(row, "id")?, slug: row.try_get("slug")?, name: row.try_get("name")? })
            })
            .collect()
    }

    /// Creates an account without a password.
    /// [`super::StoreError`]; a duplicate if the address has one.
    pub async fn add_user(&self, tx: &mut Tx, institution: InstitutionId, new: &User, now: Timestamp) -> Result<()> {
        sql!(
            "INSERT INTO users (id, institution_id, address, address_key, role, password_hash, disabled_at, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, NULL, $7)";
            new.id, institution, new.address, new.address.to_lowercase(), new.role, new.password_hash, now
        )
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    pub async fn users(&self, institution: InstitutionId) -> Result<Vec<User>> {
        let rows = sql!(
            "SELECT id, address, role, password_hash, disabled_at FROM users WHERE institution_id = $1 ORDER BY address_key";
            institution
        )
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(user).collect()
    }

    pub async fn user_by_address(&self, institution: InstitutionId, address: &str) -> Result<Option<User>> {
        let row = sql!(
            "SELECT id, address, role, password_hash, disabled_at FROM users WHERE institution_id = $1 AND address_key = $2";
            institution, address.trim().to_lowercase()
        )
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(user).transpose()
    }

    pub async fn user(&self, institution: InstitutionId, user_id: UserId) -> Result<Option<User>> {
        let row = sql!(
            "SELECT id, address, role, password_hash, disabled_at FROM users WHERE institution_id = $1 AND id = $2";
            institution, user_id
        )
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(user).transpose()
    }

    pub async fn set_password(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        user_id: UserId,
        hash: &str,
    ) -> Result<()> {
        sql!("UPDATE users SET password_hash = $1 WHERE institution_id = $2 AND id = $3"; hash, institution, user_id)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    pub async fn set_role(&self, tx: &mut Tx, institution: InstitutionId, user_id: UserId, role: Role) -> Result<()> {
        sql!("UPDATE users SET role = $1 WHERE institution_id = $2 AND id = $3"; role, institution, user_id)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    /// Disables (with a time) or enables an account.
    pub async fn set_disabled(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        user_id: UserId,
        at: Option<Timestamp>,
    ) -> Result<()> {
        sql!("UPDATE users SET disabled_at = $1 WHERE institution_id = $2 AND id = $3"; at, institution, user_id)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    /// Number of other administrators who can sign in or accept an invitation. Counted inside the transaction
    /// that removes one, with locked rows, so that two administrators cannot remove each other.
    pub async fn other_administrators(&self, tx: &mut Tx, institution: InstitutionId, besides: UserId) -> Result<i64> {
        // A write to the institution's row serialises these transactions on PostgreSQL; SQLite serialises all writes.
        sql!("UPDATE institutions SET name = name WHERE id = $1"; institution).execute(&mut **tx).await?;
        let row = sql!(
            "SELECT COUNT(*) FROM users WHERE institution_id = $1 AND role = 'administrator' AND disabled_at IS NULL
             AND password_hash IS NOT NULL AND id <> $2";
            institution, besides
        )
        .fetch_one(&mut **tx)
        .await?;
        Ok(row.try_get(0)?)
    }

    pub async fn put_invitation(&self, tx: &mut Tx, institution: InstitutionId, new: &NewInvitation<'_>) -> Result<()> {
        self.drop_invitations(tx, institution, new.user).await?;
        sql!(
            "INSERT INTO invitations (id, institution_id, user_id, token_sha256, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)";
            new.id, institution, new.user, new.token_sha256, new.created_at, new.expires_at
        )
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    pub async fn drop_invitations(&self, tx: &mut Tx, institution: InstitutionId, user_id: UserId) -> Result<()> {
        sql!("DELETE FROM invitations WHERE institution_id = $1 AND user_id = $2"; institution, user_id)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    /// Uses up an invitation. `false`: it was used already.
    pub async fn use_invitation(&self, tx: &mut Tx, institution: InstitutionId, token_sha256: &str) -> Result<bool> {
        let done =
            sql!("DELETE FROM invitations WHERE institution_id = $1 AND token_sha256 = $2"; institution, token_sha256)
                .execute(&mut **tx)
                .await?;
        Ok(done.rows_affected() == 1)
    }

    pub async fn invitation(&self, institution: InstitutionId, token_sha256: &str) -> Result<Option<Invitation>> {
        let row = sql!(
            "SELECT u.id, u.address, u.role, u.password_hash, u.disabled_at, i.expires_at FROM invitations i
             JOIN users u ON u.id = i.user_id AND u.institution_id = i.institution_id
             WHERE i.institution_id = $1 AND i.token_sha256 = $2";
            institution, token_sha256
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| Ok(Invitation { user: user(&row)?, expires_at: at(&row, "expires_at")? })).transpose()
    }

    pub async fn invitations(&self, institution: InstitutionId) -> Result<Vec<(UserId, Timestamp)>> {
        let rows = sql!("SELECT user_id, expires_at FROM invitations WHERE institution_id = $1"; institution)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(|row| Ok((id(row, "user_id")?, at(row, "expires_at")?))).collect()
    }
}
