//! SQL and row mapping: one text for SQLite and PostgreSQL.
//!
//! **Architecture invariant:** every query about an institution's data takes the institution. There is no way to ask
//! for a row of another one.

mod attempts;
mod backend;
mod drafts;
mod email;
mod events;
mod health;
mod inbox;
mod leases;
mod mailboxes;
mod outbox;
mod people;
mod quotas;
mod sessions;
mod sql;

use crate::config::DiskSpace;
use crate::diagnosis::Fault;
use app::model::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{Any, AnyPool, Row, Transaction};

use sql::sql;

pub use attempts::{Attempt, Check, NewAttempt, Resting};
pub use backend::{Backend, missing_file};
pub use drafts::{Draft, NewAttachment};
pub use email::{EmailSettings, GuideRow, Registration, Slot};
pub use events::{Event, subscribe};
pub use health::Health;
pub use inbox::{FlagChange, FolderChange, FolderRow};
pub use leases::Lease;
pub use mailboxes::{Mailbox, NewMailbox};
pub use outbox::{Claim, Delivery, NewDelivery, Record, SendQueue};
pub use people::{InstitutionRow, Invitation, NewInvitation, User};
pub use sessions::SessionRow;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused or cannot be reached.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// Migrations could not be applied.
    #[error("database migrations: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The disk is nearly full: the rest is reserved for deleting.
    #[error("the disk of the database is nearly full")]
    NoRoom,
    /// A row contains a value that no version of Entrepost writes.
    #[error("the row {row} of {table} cannot be read")]
    Row { table: &'static str, row: String },
}

impl StoreError {
    pub fn is_duplicate(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.is_unique_violation())
    }

    fn code(&self) -> Option<String> {
        match self {
            Self::Database(sqlx::Error::Database(error)) => error.code().map(std::borrow::Cow::into_owned),
            _ => None,
        }
    }

    /// Whether the disk is full. SQLite: SQLITE_FULL, SQLITE_IOERR_WRITE (a limit of files or a quota), SQLITE_IOERR_SHMSIZE;
    /// PostgreSQL: disk_full.
    pub fn is_full(&self) -> bool {
        self.code().is_some_and(|code| ["13", "778", "4874", "53100"].contains(&code.as_str()))
    }

    /// Whether another writer holds the database (SQLITE_BUSY and similar).
    pub fn is_busy(&self, backend: Backend) -> bool {
        let code = self.code().and_then(|code| code.parse::<u32>().ok());
        backend == Backend::Sqlite && code.is_some_and(|code| code & 0xff == 5)
    }
}

pub type Result<T> = std::result::Result<T, StoreError>;

/// A page of a list, newest first.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    pub before: Timestamp,
    pub limit: i64,
}

impl Page {
    pub const fn newest(limit: i64) -> Self {
        Self { before: Timestamp(i64::MAX), limit }
    }
}

pub type Tx = Transaction<'static, Any>;

/// The database.
#[derive(Clone, Debug)]
pub struct Store {
    pool: AnyPool,
    backend: Backend,
    bus: events::Bus,
    watch: std::sync::Arc<health::Watch>,
}

impl Store {
    /// Connects and migrates.
    pub async fn open(url: &str, space: DiskSpace) -> Result<Self> {
        let (pool, backend) = backend::connect(url, space.limit).await?;
        sqlx::migrate!("./migrations").run(&pool).await?;
        let bus = events::Bus::open((backend == Backend::Postgres).then_some(url)).await?;
        let watch = health::Watch::begin((*pool.connect_options()).clone(), backend, space).await;
        Ok(Self { pool, backend, bus, watch: std::sync::Arc::new(watch) })
    }

    pub async fn begin(&self) -> Result<Tx> {
        Ok(match self.backend {
            Backend::Sqlite => self.pool.begin_with("BEGIN IMMEDIATE").await?,
            Backend::Postgres => self.pool.begin().await?,
        })
    }

    pub async fn commit(&self, tx: Tx) -> Result<()> {
        Ok(tx.commit().await?)
    }

    /// Which database this is.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    pub async fn close(&self) {
        self.watch.stop();
        self.pool.close().await;
    }

    /// The sealed check rows: key id and sealed value.
    pub async fn vault_checks(&self) -> Result<Vec<(String, String)>> {
        let rows =
            sqlx::query("SELECT key_id, sealed FROM vault_checks ORDER BY created_at").fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    pub async fn add_vault_check(&self, key_id: &str, sealed: &str, now: i64) -> Result<()> {
        sql!(
            "INSERT INTO vault_checks (key_id, sealed, created_at) VALUES ($1, $2, $3) ON CONFLICT (key_id) DO NOTHING";
            key_id, sealed, now
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Deletes the check rows of all other keys: after a rotation nothing is sealed with them.
    pub async fn keep_only_vault_check(&self, key_id: &str) -> Result<()> {
        sql!("DELETE FROM vault_checks WHERE key_id <> $1"; key_id).execute(&self.pool).await?;
        Ok(())
    }

    /// Places of all sealed values, for key rotation: table, column, row.
    pub async fn sealed_places(&self) -> Result<Vec<(&'static str, &'static str, String)>> {
        let mut all = Vec::new();
        for (table, column) in SEALED {
            let statement = format!("SELECT id FROM {table} WHERE {column} IS NOT NULL AND {column} <> ''");
            // Both names are constants of this file.
            for row in sqlx::query(sqlx::AssertSqlSafe(statement)).fetch_all(&self.pool).await? {
                all.push((table, column, row.try_get(0)?));
            }
        }
        Ok(all)
    }

    /// A sealed value; loaded one at a time because attachments are large.
    pub async fn sealed_value(&self, table: &str, column: &str, row: &str) -> Result<Option<String>> {
        let Some((table, column)) = SEALED.into_iter().find(|known| *known == (table, column)) else { return Ok(None) };
        let statement = format!("SELECT {column} FROM {table} WHERE id = $1");
        let found = sql!(sqlx::AssertSqlSafe(statement); row).fetch_optional(&self.pool).await?;
        Ok(found.map(|row| row.try_get::<Option<String>, _>(0)).transpose()?.flatten())
    }

    /// Replaces a sealed value unless it has changed.
    pub async fn reseal(&self, table: &str, column: &str, row: &str, old: &str, new: &str) -> Result<bool> {
        let Some((table, column)) = SEALED.into_iter().find(|known| *known == (table, column)) else {
            return Ok(false);
        };
        let statement = format!("UPDATE {table} SET {column} = $1 WHERE id = $2 AND {column} = $3");
        let update = sqlx::query(sqlx::AssertSqlSafe(statement));
        let done = update.bind(new).bind(row).bind(old).execute(&self.pool).await?;
        Ok(done.rows_affected() == 1)
    }
}

/// All sealed columns, with their tables.
const SEALED: [(&str, &str); 9] = [
    ("app_registrations", "secret_sealed"),
    ("mailboxes", "refresh_token_sealed"),
    ("attempts", "verifier_sealed"),
    ("attempts", "nonce_sealed"),
    ("attempts", "grant_sealed"),
    ("deliveries", "body_sealed"),
    ("deliveries", "form_sealed"),
    ("drafts", "body_sealed"),
    ("attachments", "content_sealed"),
];

fn id<T: std::str::FromStr>(row: &AnyRow, column: &'static str) -> Result<T> {
    let text: String = row.try_get(column)?;
    text.parse().map_err(|_| StoreError::Row { table: column, row: text })
}

fn named<T>(row: &AnyRow, column: &'static str, parse: impl Fn(&str) -> Option<T>) -> Result<T> {
    let text: String = row.try_get(column)?;
    parse(&text).ok_or(StoreError::Row { table: column, row: text })
}

/// Reads a 0/1 column.
fn flag(row: &AnyRow, column: &'static str) -> Result<bool> {
    Ok(row.try_get::<i64, _>(column)? != 0)
}

/// Reads a fault; one that cannot be read is shown as unknown rather than not at all.
fn fault(row: &AnyRow, column: &'static str) -> Result<Option<Fault>> {
    Ok(row.try_get::<Option<String>, _>(column)?.map(|text| Fault::from_json(&text)))
}

/// Reads an optional time.
fn time(row: &AnyRow, column: &'static str) -> Result<Option<Timestamp>> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp))
}

/// Reads a time.
fn at(row: &AnyRow, column: &'static str) -> Result<Timestamp> {
    Ok(Timestamp(row.try_get(column)?))
}
