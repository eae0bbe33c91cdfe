//! SQL and row mapping: one text for SQLite and PostgreSQL.
//!
//! **Architecture invariant:** every query about an institution's data takes the institution. There is no way to ask
//! for a row of another one.

mod attempts;
mod audit;
mod backend;
mod devices;
mod drafts;
mod email;
mod events;
mod health;
mod inbox;
mod invitation_lists;
mod leases;
mod leavers;
mod mail_hours;
mod mailboxes;
mod outbox;
mod people;
mod people_list;
mod quotas;
mod sender_domains;
mod sessions;
mod sign_in_settings;
mod signing_keys;
mod sql;
mod transaction;
mod writer;

use crate::config::DiskSpace;
use app::model::Timestamp;
use sqlx::AnyPool;

use sql::{changed, execute, fetch_all, fetch_optional};

pub use attempts::{Attempt, Check, NewAttempt, NewSignIn, Resting};
pub use audit::{AuditBounds, AuditEntry};
pub use backend::{DatabaseKind, POSTGRES_BY_KEY, missing_file};
pub use devices::{Device, DevicePassword, RelayEntry};
pub use drafts::{Draft, NewAttachment};
pub use email::{AppKey, EmailSettings, GuideRow, Registration, Slot};
pub use events::{Event, subscribe};
pub use health::Health;
pub use inbox::{FlagChange, FolderChange, FolderRow};
pub use invitation_lists::{InvitationListRow, ToInvite};
pub use leases::Lease;
pub use leavers::{ExportedMailbox, Leaver};
pub use mailboxes::{Mailbox, MailboxKey, NewMailbox, ToTell};
pub use outbox::{
    Author, Claim, ClaimRequest, Claimed, ConstantTime, DataStart, Delivery, NewDelivery, OutcomeRecord, Record,
    SendQueue, statements_of_constant_time,
};
pub use people::{InstitutionRow, Invitation, NewInvitation, User};
pub use people_list::ListedUser;
pub use quotas::Queued;
pub use sender_domains::SenderDomainRow;
pub use sessions::SessionRow;
pub use signing_keys::{KeyPurpose, SigningKey};
pub use transaction::Tx;

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
    /// An error of a transaction that several writes shared.
    #[error(transparent)]
    Shared(std::sync::Arc<StoreError>),
    /// A value that no version of Entrepost writes.
    #[error("the stored {kind} {value:?} cannot be read")]
    Value { kind: &'static str, value: String },
}

impl StoreError {
    pub fn is_duplicate(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.is_unique_violation())
    }

    fn code(&self) -> Option<String> {
        match self {
            Self::Database(sqlx::Error::Database(error)) => error.code().map(std::borrow::Cow::into_owned),
            Self::Shared(error) => error.code(),
            _ => None,
        }
    }

    /// Whether the disk is full. SQLite: SQLITE_FULL, SQLITE_IOERR_WRITE (a limit of files or a quota), SQLITE_IOERR_SHMSIZE;
    /// PostgreSQL: disk_full.
    pub fn is_full(&self) -> bool {
        self.code().is_some_and(|code| ["13", "778", "4874", "53100"].contains(&code.as_str()))
    }

    /// Whether another writer holds the database (SQLITE_BUSY and similar).
    pub fn is_busy(&self, backend: DatabaseKind) -> bool {
        let code = self.code().and_then(|code| code.parse::<u32>().ok());
        backend == DatabaseKind::Sqlite && code.is_some_and(|code| code & 0xff == 5)
    }
}

pub type Result<T, E = StoreError> = std::result::Result<T, E>;

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

    pub fn before(time: Option<Timestamp>, limit: usize) -> Self {
        Self { before: time.unwrap_or(Timestamp(i64::MAX)), limit: i64::try_from(limit).unwrap_or(i64::MAX) }
    }
}

/// The database.
#[derive(Clone, Debug)]
pub struct Store {
    reads: AnyPool,
    writes: AnyPool,
    backend: DatabaseKind,
    channel: events::EventChannel,
    writer: writer::Writer,
    watch: std::sync::Arc<health::Watch>,
}

impl Store {
    /// Connects and migrates.
    pub async fn open(url: &str, space: DiskSpace) -> Result<Self> {
        let backend::Pools { reads, writes, groups, backend } = backend::connect(url, space.limit).await?;
        sqlx::migrate!("./migrations").run(&writes).await?;
        mailboxes::name_causes(&writes).await?;
        let channel = events::EventChannel::open((backend == DatabaseKind::Postgres).then_some(url), &writes).await?;
        let watch = health::Watch::begin((*writes.connect_options()).clone(), backend, space).await;
        let writer = writer::Writer::start(groups, backend, channel.clone());
        Ok(Self { reads, writes, backend, channel, writer, watch: std::sync::Arc::new(watch) })
    }

    /// Which database this is.
    pub fn backend(&self) -> DatabaseKind {
        self.backend
    }

    pub async fn close(&self) {
        self.watch.stop();
        self.channel.close().await;
        self.writer.close().await;
        self.writes.close().await;
        self.reads.close().await;
    }

    /// The sealed check rows: key id and sealed value.
    pub async fn vault_checks(&self) -> Result<Vec<(String, String)>> {
        fetch_all!(&self.reads, "SELECT key_id, sealed FROM vault_checks ORDER BY created_at")
    }

    pub async fn add_vault_check(&self, key_id: &str, sealed: &str, now: i64) -> Result<()> {
        execute!(&self.writes,
            "INSERT INTO vault_checks (key_id, sealed, created_at) VALUES ($1, $2, $3) ON CONFLICT (key_id) DO NOTHING";
            key_id, sealed, now
        )
    }

    /// Deletes the check rows of all other keys: after a rotation nothing is sealed with them.
    pub async fn keep_only_vault_check(&self, key_id: &str) -> Result<()> {
        execute!(&self.writes, "DELETE FROM vault_checks WHERE key_id <> $1"; key_id)
    }

    /// Places of all sealed values, for key rotation: table, column, row.
    pub async fn sealed_places(&self) -> Result<Vec<(&'static str, &'static str, String)>> {
        let mut all = Vec::new();
        for (table, column) in SEALED {
            let statement = format!("SELECT id FROM {table} WHERE {column} IS NOT NULL AND {column} <> ''");
            // Both names are constants of this file.
            let rows: Vec<String> = fetch_all!(&self.reads, sqlx::AssertSqlSafe(statement))?;
            all.extend(rows.into_iter().map(|row| (table, column, row)));
        }
        Ok(all)
    }

    /// A sealed value; loaded one at a time because attachments are large.
    pub async fn sealed_value(&self, table: &str, column: &str, row: &str) -> Result<Option<String>> {
        let Some((table, column)) = SEALED.into_iter().find(|known| *known == (table, column)) else { return Ok(None) };
        let statement = format!("SELECT {column} FROM {table} WHERE id = $1");
        let found: Option<Option<String>> = fetch_optional!(&self.reads, sqlx::AssertSqlSafe(statement); row)?;
        Ok(found.flatten())
    }

    /// Replaces a sealed value unless it has changed.
    pub async fn reseal(&self, table: &str, column: &str, row: &str, old: &str, new: &str) -> Result<bool> {
        let Some((table, column)) = SEALED.into_iter().find(|known| *known == (table, column)) else {
            return Ok(false);
        };
        let statement = format!("UPDATE {table} SET {column} = $1 WHERE id = $2 AND {column} = $3");
        Ok(changed!(&self.writes, sqlx::AssertSqlSafe(statement); new, row, old)? == 1)
    }
}

/// All sealed columns, with their tables.
const SEALED: [(&str, &str); 12] = [
    ("relay_certificates", "key_sealed"),
    ("audit_ends", "sealed"),
    ("signing_keys", "key_sealed"),
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
