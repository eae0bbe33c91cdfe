//! Institutions, users, invitations.

use crate::store::sql::{changed, columns, execute, fetch_all, fetch_one, fetch_optional, select};
use app::model::{InstitutionId, Role, Timestamp, UserId};

use super::{Result, Store, Tx};

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
    pub name: String,
    pub role: Role,
    /// Argon2id hash (PHC string), once a password is set.
    pub password_hash: Option<String>,
    /// They can sign in with a Microsoft account.
    pub linked: bool,
    pub disabled_at: Option<Timestamp>,
    /// The day of the last sign-in.
    pub last_sign_in_at: Option<Timestamp>,
}

/// An invitation link, without its token.
#[derive(Debug, Clone)]
pub struct Invitation {
    pub user: User,
    pub expires_at: Timestamp,
}

columns!(InstitutionRow: id, slug, name);
impl User {
    /// Whether they ever came in: with a password, or a Microsoft account.
    pub fn has_joined(&self) -> bool {
        self.password_hash.is_some() || self.linked
    }
}

columns!(User: id = "users.id", address, name, role, password_hash, linked = "CAST(CASE WHEN microsoft_subject IS NULL THEN 0 ELSE 1 END AS BIGINT)",
    disabled_at, last_sign_in_at);
columns!(Invitation: user = "users.id, address, name, role, password_hash,
    CAST(CASE WHEN microsoft_subject IS NULL THEN 0 ELSE 1 END AS BIGINT),
    disabled_at, last_sign_in_at", expires_at);

pub struct NewInvitation<'a> {
    pub id: uuid::Uuid,
    pub user: UserId,
    pub token_sha256: &'a str,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

impl Store {
    /// Fails with a duplicate if the slug exists.
    pub async fn add_institution(&self, tx: &mut Tx, new: &InstitutionRow, now: Timestamp) -> Result<()> {
        execute!(&mut **tx,
            "INSERT INTO institutions (id, slug, name, created_at) VALUES ($1, $2, $3, $4)";
            new.id, new.slug, new.name, now
        )
    }

    pub async fn institution_by_slug(&self, slug: &str) -> Result<Option<InstitutionRow>> {
        fetch_optional!(&self.reads, select::<InstitutionRow>("FROM institutions WHERE slug = $1"); slug)
    }

    pub async fn institution(&self, institution_id: InstitutionId) -> Result<Option<InstitutionRow>> {
        fetch_optional!(&self.reads, select::<InstitutionRow>("FROM institutions WHERE id = $1"); institution_id)
    }

    pub async fn institutions(&self) -> Result<Vec<InstitutionRow>> {
        fetch_all!(&self.reads, select::<InstitutionRow>("FROM institutions ORDER BY slug"))
    }

    /// Fails with a duplicate if the address has an account.
    pub async fn add_user(&self, tx: &mut Tx, institution: InstitutionId, new: &User, now: Timestamp) -> Result<()> {
        execute!(&mut **tx,
            "INSERT INTO users (id, institution_id, address, address_key, name, name_key, role, password_hash, disabled_at, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULL, $9)";
            new.id, institution, new.address, new.address.to_lowercase(), new.name, new.name.to_lowercase(), new.role,
            new.password_hash, now
        )
    }

    pub async fn set_name(&self, tx: &mut Tx, institution: InstitutionId, user_id: UserId, name: &str) -> Result<()> {
        execute!(&mut **tx,
            "UPDATE users SET name = $1, name_key = $2 WHERE institution_id = $3 AND id = $4";
            name, name.to_lowercase(), institution, user_id
        )
    }

    /// Those who are not disabled.
    pub async fn administrators(&self, institution: InstitutionId) -> Result<Vec<User>> {
        fetch_all!(&self.reads,
            select::<User>("FROM users WHERE institution_id = $1 AND role = 'administrator' AND disabled_at IS NULL ORDER BY address_key");
            institution
        )
    }

    pub async fn users(&self, institution: InstitutionId) -> Result<Vec<User>> {
        fetch_all!(&self.reads, select::<User>("FROM users WHERE institution_id = $1 ORDER BY address_key"); institution)
    }

    pub async fn user_by_address(&self, institution: InstitutionId, address: &str) -> Result<Option<User>> {
        fetch_optional!(&self.reads,
            select::<User>("FROM users WHERE institution_id = $1 AND address_key = $2");
            institution, address.trim().to_lowercase()
        )
    }

    pub async fn user_by_microsoft(&self, institution: InstitutionId, subject: &str) -> Result<Option<User>> {
        fetch_optional!(&self.reads,
            select::<User>("FROM users WHERE institution_id = $1 AND microsoft_subject = $2");
            institution, subject
        )
    }

    pub async fn drop_password(&self, tx: &mut Tx, institution: InstitutionId, user: UserId) -> Result<()> {
        execute!(&mut **tx,
            "UPDATE users SET password_hash = NULL WHERE institution_id = $1 AND id = $2";
            institution, user
        )
    }

    /// Whether a person's account is linked to this Microsoft account, and not disabled. Locks the person.
    pub async fn microsoft_holds(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        user: UserId,
        subject: &str,
    ) -> Result<bool> {
        let changed = changed!(&mut **tx,
            "UPDATE users SET microsoft_subject = microsoft_subject
             WHERE institution_id = $1 AND id = $2 AND microsoft_subject = $3 AND disabled_at IS NULL";
            institution, user, subject
        )?;
        Ok(changed == 1)
    }

    /// Links a Microsoft account (`oid@tid`) to a person: the first, or the first of another tenant. `false`: the person has another
    /// one, or it belongs to another person.
    pub async fn link_microsoft(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        user: UserId,
        subject: &str,
    ) -> Result<bool> {
        let tenant = subject.rsplit('@').next().unwrap_or_default();
        let changed = changed!(&mut **tx,
            "UPDATE users SET microsoft_subject = $3 WHERE institution_id = $1 AND id = $2
             AND (microsoft_subject IS NULL OR microsoft_subject = $3 OR microsoft_subject NOT LIKE '%@' || $4)
             AND NOT EXISTS (SELECT 1 FROM users other WHERE other.institution_id = $1 AND other.microsoft_subject = $3 AND other.id <> $2)";
            institution, user, subject, tenant
        )?;
        Ok(changed == 1)
    }

    pub async fn user(&self, institution: InstitutionId, user_id: UserId) -> Result<Option<User>> {
        fetch_optional!(&self.reads,
            select::<User>("FROM users WHERE institution_id = $1 AND id = $2");
            institution, user_id
        )
    }

    /// Id of the account of an address, as a transaction sees it.
    pub async fn user_of_address(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        address: &str,
    ) -> Result<Option<UserId>> {
        fetch_optional!(&mut **tx,
            "SELECT id FROM users WHERE institution_id = $1 AND address_key = $2";
            institution, address.to_lowercase()
        )
    }

    /// An account as a transaction sees it.
    pub async fn user_within(&self, tx: &mut Tx, institution: InstitutionId, user_id: UserId) -> Result<Option<User>> {
        fetch_optional!(&mut **tx,
            select::<User>("FROM users WHERE institution_id = $1 AND id = $2");
            institution, user_id
        )
    }

    pub async fn set_password(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        user_id: UserId,
        hash: &str,
    ) -> Result<()> {
        execute!(&mut **tx,
            "UPDATE users SET password_hash = $1 WHERE institution_id = $2 AND id = $3";
            hash, institution, user_id
        )
    }

    pub async fn set_role(&self, tx: &mut Tx, institution: InstitutionId, user_id: UserId, role: Role) -> Result<()> {
        execute!(&mut **tx,
            "UPDATE users SET role = $1 WHERE institution_id = $2 AND id = $3";
            role, institution, user_id
        )
    }

    /// Disables (with a time) or enables an account.
    pub async fn set_disabled(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        user_id: UserId,
        at: Option<Timestamp>,
    ) -> Result<()> {
        execute!(&mut **tx,
            "UPDATE users SET disabled_at = $1 WHERE institution_id = $2 AND id = $3";
            at, institution, user_id
        )
    }

    /// One transaction of an administrator at a time: each locks rows of users in an order of its own. SQLite serialises all writes.
    pub async fn lock_institution(&self, tx: &mut Tx, institution: InstitutionId) -> Result<()> {
        execute!(&mut **tx, "UPDATE institutions SET name = name WHERE id = $1"; institution)
    }

    /// Number of other administrators with a password. Signing in with Microsoft does not count: it ends with the app's secret, and only an
    /// administrator can renew that. Counted inside the transaction that removes one, with the institution locked, so that two administrators cannot remove each other.
    pub async fn other_administrators(&self, tx: &mut Tx, institution: InstitutionId, besides: UserId) -> Result<i64> {
        fetch_one!(&mut **tx,
            "SELECT COUNT(*) FROM users WHERE institution_id = $1 AND role = 'administrator' AND disabled_at IS NULL
             AND left_at IS NULL AND password_hash IS NOT NULL AND id <> $2";
            institution, besides
        )
    }

    pub async fn put_invitation(&self, tx: &mut Tx, institution: InstitutionId, new: &NewInvitation<'_>) -> Result<()> {
        self.drop_invitations(tx, institution, new.user).await?;
        execute!(&mut **tx,
            "INSERT INTO invitations (id, institution_id, user_id, token_sha256, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6)";
            new.id, institution, new.user, new.token_sha256, new.created_at, new.expires_at
        )
    }

    pub async fn drop_invitations(&self, tx: &mut Tx, institution: InstitutionId, user_id: UserId) -> Result<()> {
        execute!(&mut **tx, "DELETE FROM invitations WHERE institution_id = $1 AND user_id = $2"; institution, user_id)
    }

    /// Uses up an invitation. `false`: it was used already.
    pub async fn use_invitation(&self, tx: &mut Tx, institution: InstitutionId, token_sha256: &str) -> Result<bool> {
        let rows = changed!(&mut **tx,
            "DELETE FROM invitations WHERE institution_id = $1 AND token_sha256 = $2";
            institution, token_sha256
        )?;
        Ok(rows == 1)
    }

    pub async fn has_open_invitation(
        &self,
        institution: InstitutionId,
        user_id: UserId,
        now: Timestamp,
    ) -> Result<bool> {
        let found: Option<i64> = fetch_optional!(&self.reads,
            "SELECT 1 FROM invitations WHERE institution_id = $1 AND user_id = $2 AND expires_at > $3";
            institution, user_id, now
        )?;
        Ok(found.is_some())
    }

    /// Uses up the open invitation of a person who never came in. `false`: there is none.
    pub async fn use_open_invitation(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        user_id: UserId,
        now: Timestamp,
    ) -> Result<bool> {
        let rows = changed!(&mut **tx,
            "DELETE FROM invitations WHERE institution_id = $1 AND user_id = $2 AND expires_at > $3
             AND EXISTS (SELECT 1 FROM users u WHERE u.institution_id = $1 AND u.id = $2 AND u.password_hash IS NULL
              AND u.microsoft_subject IS NULL AND u.disabled_at IS NULL)";
            institution, user_id, now
        )?;
        Ok(rows == 1)
    }

    pub async fn invitation(&self, institution: InstitutionId, token_sha256: &str) -> Result<Option<Invitation>> {
        fetch_optional!(&self.reads,
            select::<Invitation>("FROM users JOIN invitations i ON i.user_id = users.id
             AND i.institution_id = users.institution_id
             WHERE i.institution_id = $1 AND i.token_sha256 = $2");
            institution, token_sha256
        )
    }

    pub async fn invitations(&self, institution: InstitutionId) -> Result<Vec<(UserId, Timestamp)>> {
        fetch_all!(&self.reads, "SELECT user_id, expires_at FROM invitations WHERE institution_id = $1"; institution)
    }
}
