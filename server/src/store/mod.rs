//! SQL and row mapping: one text for SQLite and PostgreSQL.
//!
//! **Architecture invariant:** every query about an institution's data takes the institution. There is no way to ask
//! for a row of another one.

mod attempts;
mod backend;
mod email;
mod mailboxes;
mod outbox;
mod people;
mod sessions;

use sqlx::any::AnyRow;
use sqlx::{Any, AnyPool, Row, Transaction};

pub use attempts::{Attempt, Check, NewAttempt, Resting};
pub use backend::{Backend, missing_file};
pub use email::{EmailSettings, GuideRow, Registration, Slot};
pub use mailboxes::{Mailbox, NewMailbox};
pub use outbox::{Claim, Delivery, Lane, NewDelivery, Pace, Record};
pub use people::{InstitutionRow, Invitation, User};
pub use sessions::SessionRow;

/// Why the store did not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused or is out of reach.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// Migrations could not be applied.
    #[error("database migrations: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A row holds what no version of Entrepost writes.
    #[error("the row {row} of {table} cannot be read")]
    Row {
        /// The table.
        table: &'static str,
        /// Its id.
        row: String,
    },
}

impl StoreError {
    /// Whether a row with that key is there already.
    #[must_use]
    pub fn is_duplicate(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.is_unique_violation())
    }
}

/// A result of the store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// A transaction; rolled back when it is dropped.
pub type Tx = Transaction<'static, Any>;

/// The database.
#[derive(Clone, Debug)]
pub struct Store {
    pool: AnyPool,
    backend: Backend,
}

impl Store {
    /// Connects and migrates.
    ///
    /// # Errors
    /// [`StoreError`]: out of reach, not writable, newer than this program.
    pub async fn open(url: &str) -> Result<Self> {
        let (pool, backend) = backend::connect(url).await?;
        sqlx::migrate!("./migrations").run(&pool).await?;
        Ok(Self { pool, backend })
    }

    /// Begins a transaction that will write.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn begin(&self) -> Result<Tx> {
        Ok(match self.backend {
            Backend::Sqlite => self.pool.begin_with("BEGIN IMMEDIATE").await?,
            Backend::Postgres => self.pool.begin().await?,
        })
    }

    /// Which database this is.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Answers if the database does.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn ping(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Ends all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// The sealed check rows: key id and sealed value.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn vault_checks(&self) -> Result<Vec<(String, String)>> {
        let rows =
            sqlx::query("SELECT key_id, sealed FROM vault_checks ORDER BY created_at").fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// Keeps the check row of a key.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn add_vault_check(&self, key_id: &str, sealed: &str, now: i64) -> Result<()> {
        sqlx::query(
            "INSERT INTO vault_checks (key_id, sealed, created_at) VALUES ($1, $2, $3) ON CONFLICT (key_id) DO NOTHING",
        )
        .bind(key_id)
        .bind(sealed)
        .bind(now)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Forgets the check rows of every other key: after a rotation nothing is sealed with them any more.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn keep_only_vault_check(&self, key_id: &str) -> Result<()> {
        sqlx::query("DELETE FROM vault_checks WHERE key_id <> $1").bind(key_id).execute(&self.pool).await?;
        Ok(())
    }

    /// Every sealed value with its place, for the rotation of the key.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn sealed_values(&self) -> Result<Vec<(&'static str, &'static str, String, String)>> {
        let mut all = Vec::new();
        for (table, column, select, _) in SEALED {
            for row in sqlx::query(select).fetch_all(&self.pool).await? {
                all.push((table, column, row.try_get(0)?, row.try_get(1)?));
            }
        }
        Ok(all)
    }

    /// Replaces a sealed value, unless it changed meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn reseal(&self, table: &str, column: &str, row: &str, old: &str, new: &str) -> Result<bool> {
        let Some((_, _, _, update)) = SEALED.into_iter().find(|(t, c, _, _)| *t == table && *c == column) else {
            return Ok(false);
        };
        let done = sqlx::query(update).bind(new).bind(row).bind(old).execute(&self.pool).await?;
        Ok(done.rows_affected() == 1)
    }
}

/// Every sealed column: table, column, how to read all, how to replace one.
const SEALED: [(&str, &str, &str, &str); 6] = [
    (
        "app_registrations",
        "secret_sealed",
        "SELECT id, secret_sealed FROM app_registrations",
        "UPDATE app_registrations SET secret_sealed = $1 WHERE id = $2 AND secret_sealed = $3",
    ),
    (
        "mailboxes",
        "refresh_token_sealed",
        "SELECT id, refresh_token_sealed FROM mailboxes WHERE refresh_token_sealed <> ''",
        "UPDATE mailboxes SET refresh_token_sealed = $1 WHERE id = $2 AND refresh_token_sealed = $3",
    ),
    (
        "attempts",
        "verifier_sealed",
        "SELECT id, verifier_sealed FROM attempts WHERE verifier_sealed IS NOT NULL",
        "UPDATE attempts SET verifier_sealed = $1 WHERE id = $2 AND verifier_sealed = $3",
    ),
    (
        "attempts",
        "nonce_sealed",
        "SELECT id, nonce_sealed FROM attempts WHERE nonce_sealed IS NOT NULL",
        "UPDATE attempts SET nonce_sealed = $1 WHERE id = $2 AND nonce_sealed = $3",
    ),
    (
        "attempts",
        "grant_sealed",
        "SELECT id, grant_sealed FROM attempts WHERE grant_sealed IS NOT NULL",
        "UPDATE attempts SET grant_sealed = $1 WHERE id = $2 AND grant_sealed = $3",
    ),
    (
        "deliveries",
        "body_sealed",
        "SELECT id, body_sealed FROM deliveries WHERE body_sealed <> ''",
        "UPDATE deliveries SET body_sealed = $1 WHERE id = $2 AND body_sealed = $3",
    ),
];

/// Reads an id column.
fn id<T: std::str::FromStr>(row: &AnyRow, column: &'static str) -> Result<T> {
    let text: String = row.try_get(column)?;
    text.parse().map_err(|_| StoreError::Row { table: column, row: text })
}

/// Reads a column that names one of a few values.
fn named<T>(row: &AnyRow, column: &'static str, parse: impl Fn(&str) -> Option<T>) -> Result<T> {
    let text: String = row.try_get(column)?;
    parse(&text).ok_or(StoreError::Row { table: column, row: text })
}

/// Reads a 0/1 column.
fn flag(row: &AnyRow, column: &'static str) -> Result<bool> {
    Ok(row.try_get::<i64, _>(column)? != 0)
}

/// Reads an optional time.
fn time(row: &AnyRow, column: &'static str) -> Result<Option<app::model::Timestamp>> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(app::model::Timestamp))
}

/// Reads a time.
fn at(row: &AnyRow, column: &'static str) -> Result<app::model::Timestamp> {
    Ok(app::model::Timestamp(row.try_get(column)?))
}
