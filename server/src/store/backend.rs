//! Where SQLite and PostgreSQL must differ: connecting.

use std::path::Path;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, Connection, Executor};

use super::{Result, StoreError};

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseKind {
    Sqlite,
    Postgres,
}

/// Size of a SQLite page, in bytes.
const PAGE: u64 = 4_096;
/// Deadline for an answer of a database server.
const PATIENCE: Duration = Duration::from_secs(10);
/// A connection that was idle for this long may have ended.
const TESTED_WHEN_IDLE: Duration = Duration::from_secs(1);

const SQLITE_READERS: u32 = 4;
const POSTGRES_CONNECTIONS: u32 = 16;

/// Group commits find their rows by key. A plan is made once, perhaps while a table is small, and must fit when it is large.
pub const POSTGRES_BY_KEY: &str = "SET plan_cache_mode = force_generic_plan;
    SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;";

/// The estimated cost of a plan with LIMIT grows with the table. From a million rows on PostgreSQL would compile it, which takes
/// longer than these statements do.
const POSTGRES: &str = "SET jit = off";

/// Readers never wait for the writer (WAL); a writer waits up to five seconds for another; a commit survives a crash.
const PRAGMAS: &str =
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON;";

/// Prepares a new connection. A limit in bytes bounds a SQLite database; it must be set on each connection.
pub(super) async fn prepare(
    connection: &mut AnyConnection,
    backend: DatabaseKind,
    limit: Option<u64>,
) -> sqlx::Result<()> {
    if backend == DatabaseKind::Sqlite {
        connection.execute(sqlx::raw_sql(PRAGMAS)).await?;
        if let Some(limit) = limit {
            let statement = format!("PRAGMA max_page_count = {}", (limit / PAGE).max(1));
            // Contains only a number.
            connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(statement))).await?;
        }
    } else {
        connection.execute(sqlx::raw_sql(POSTGRES)).await?;
    }
    Ok(())
}

pub(super) async fn connect(url: &str, limit: Option<u64>) -> Result<Pools> {
    sqlx::any::install_default_drivers();
    let (backend, url) = if url.starts_with("sqlite:") {
        (DatabaseKind::Sqlite, sqlite_url(url)?)
    } else {
        (DatabaseKind::Postgres, url.to_owned())
    };
    let options: AnyConnectOptions = url.parse()?;
    // The pool retries until its timeout and loses the reason. A single connection reports it at once.
    let first = async {
        let mut first = AnyConnection::connect_with(&options).await?;
        prepare(&mut first, backend, None).await?;
        first.close().await
    };
    let first = tokio::time::timeout(PATIENCE, first).await;
    first.map_err(|_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))??;
    Ok(Pools::open(options, backend, limit).await?)
}

/// The connections to a database.
pub(super) struct Pools {
    /// For reading; on PostgreSQL also for writing.
    pub(super) reads: AnyPool,
    /// SQLite has one writer at a time: writes wait here for their turn.
    pub(super) writes: AnyPool,
    /// For the writes that are committed in groups: their statements stay prepared. The second is for when the first does not answer.
    pub(super) groups: AnyPool,
    pub(super) backend: DatabaseKind,
}

impl Pools {
    async fn open(options: AnyConnectOptions, backend: DatabaseKind, limit: Option<u64>) -> sqlx::Result<Self> {
        let pool = |most: u32, setting: &'static str| pool(options.clone(), backend, limit, most, setting);
        let (reads, writes, groups) = match backend {
            DatabaseKind::Sqlite => {
                let writes = pool(1, "").await?;
                (pool(SQLITE_READERS, "PRAGMA query_only = ON").await?, writes.clone(), writes)
            }
            DatabaseKind::Postgres => {
                let all = pool(POSTGRES_CONNECTIONS, "").await?;
                (all.clone(), all, pool(2, POSTGRES_BY_KEY).await?)
            }
        };
        Ok(Self { reads, writes, groups, backend })
    }
}

async fn pool(
    options: AnyConnectOptions,
    backend: DatabaseKind,
    limit: Option<u64>,
    most: u32,
    setting: &'static str,
) -> sqlx::Result<AnyPool> {
    AnyPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(PATIENCE)
        .after_connect(move |connection: &mut AnyConnection, _| {
            Box::pin(async move {
                prepare(connection, backend, limit).await?;
                connection.execute(sqlx::raw_sql(setting)).await.map(|_| ())
            })
        })
        // A connection that was just used is not tested again.
        .test_before_acquire(false)
        .before_acquire(|connection: &mut AnyConnection, last| {
            Box::pin(async move {
                if last.idle_for >= TESTED_WHEN_IDLE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .after_release(move |connection: &mut AnyConnection, _| {
            Box::pin(async move {
                if backend == DatabaseKind::Postgres {
                    return Ok(true);
                }
                // SQLite ends a transaction itself on a full disk or an I/O error; sqlx goes on counting it, and no other can begin on
                // that connection. Behind the answer to the ping the queued rollback was processed, so the count says which one it is.
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        })
        .connect_with(options)
        .await
}

fn sqlite_path(url: &str) -> Option<&str> {
    let path = url.strip_prefix("sqlite:")?.trim_start_matches("//");
    path.split('?').next().filter(|path| !path.is_empty())
}

/// The file of a SQLite URL, if it does not exist yet.
pub fn missing_file(url: &str) -> Option<&Path> {
    sqlite_path(url).map(Path::new).filter(|path| !path.exists())
}

/// Creates the directory and requests the creation of the file.
fn sqlite_url(url: &str) -> Result<String> {
    let path = Path::new(sqlite_path(url).unwrap_or_default());
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| StoreError::Database(sqlx::Error::Io(error)))?;
    }
    // Created private before SQLite opens it: its journals inherit the mode.
    #[cfg(unix)]
    if missing_file(url).is_some() {
        use std::os::unix::fs::OpenOptionsExt;
        let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        made.map_err(|error| StoreError::Database(sqlx::Error::Io(error)))?;
    }
    Ok(if url.contains("mode=") {
        url.to_owned()
    } else if url.contains('?') {
        format!("{url}&mode=rwc")
    } else {
        format!("{url}?mode=rwc")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn setting(pool: &AnyPool, statement: &'static str) -> String {
        let value = sqlx::query_scalar::<_, String>(statement).fetch_one(pool).await;
        match value {
            Ok(text) => text,
            Err(_) => sqlx::query_scalar::<_, i64>(statement).fetch_one(pool).await.unwrap().to_string(),
        }
    }

    /// A commit is on the disk before it is reported.
    #[tokio::test]
    async fn every_connection_to_sqlite_commits_durably() {
        let directory = tempfile::tempdir().unwrap();
        let pools = connect(&format!("sqlite://{}/a.db", directory.path().display()), None).await.unwrap();
        for pool in [&pools.writes, &pools.groups, &pools.reads] {
            assert_eq!(setting(pool, "PRAGMA synchronous").await, "2", "FULL");
            assert_eq!(setting(pool, "PRAGMA journal_mode").await, "wal");
            assert_eq!(setting(pool, "PRAGMA foreign_keys").await, "1");
        }
    }

    /// The server's own setting of what a commit waits for is not weakened. Groups find rows by key.
    #[tokio::test]
    async fn no_connection_to_postgresql_weakens_its_commits() {
        let url = std::env::var("ENTREPOST_TEST_POSTGRES").expect("`make rust-tests` sets ENTREPOST_TEST_POSTGRES");
        let pools = connect(&format!("{url}/postgres"), None).await.unwrap();
        for pool in [&pools.writes, &pools.groups, &pools.reads] {
            assert_eq!(setting(pool, "SHOW synchronous_commit").await, "on");
            assert_eq!(setting(pool, "SHOW jit").await, "off");
        }
        for (pool, scans, plans) in [(&pools.groups, "off", "force_generic_plan"), (&pools.writes, "on", "auto")] {
            assert_eq!(setting(pool, "SHOW enable_seqscan").await, scans);
            assert_eq!(setting(pool, "SHOW plan_cache_mode").await, plans);
        }
    }
}
