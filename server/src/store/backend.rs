//! Where SQLite and PostgreSQL must differ: connecting.

use std::path::Path;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, Connection, Executor};

use super::{Result, StoreError};

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Embedded, one process.
    Sqlite,
    /// A server, several replicas.
    Postgres,
}

/// Bytes of a page, as SQLite makes them.
const PAGE: u64 = 4_096;
/// How long a database server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Readers never wait for the writer (WAL); a writer waits up to five seconds for another; a commit survives a crash.
const PRAGMAS: &str =
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON;";

/// Makes a new connection ready. A limit in bytes bounds a SQLite database (it holds for each connection, and is stored nowhere).
pub(super) async fn prepare(connection: &mut AnyConnection, backend: Backend, limit: Option<u64>) -> sqlx::Result<()> {
    if backend == Backend::Sqlite {
        connection.execute(sqlx::raw_sql(PRAGMAS)).await?;
        if let Some(limit) = limit {
            let statement = format!("PRAGMA max_page_count = {}", (limit / PAGE).max(1));
            // A number stands in it, and nothing else.
            connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(statement))).await?;
        }
    }
    Ok(())
}

pub(super) async fn connect(url: &str, limit: Option<u64>) -> Result<(AnyPool, Backend)> {
    sqlx::any::install_default_drivers();
    let (backend, url) = if url.starts_with("sqlite:") {
        (Backend::Sqlite, sqlite_url(url)?)
    } else {
        (Backend::Postgres, url.to_owned())
    };
    let options: AnyConnectOptions = url.parse()?;
    // The pool would try again until its patience ends, and forget why. One connection says at once what is wrong.
    let first = async {
        let mut first = AnyConnection::connect_with(&options).await?;
        prepare(&mut first, backend, None).await?;
        first.close().await
    };
    let first = tokio::time::timeout(PATIENCE, first).await;
    first.map_err(|_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))??;
    let pool = AnyPoolOptions::new()
        .max_connections(if backend == Backend::Sqlite { 8 } else { 16 })
        .acquire_timeout(PATIENCE)
        .after_connect(move |connection: &mut AnyConnection, _| Box::pin(prepare(connection, backend, limit)))
        .after_release(move |connection: &mut AnyConnection, _| {
            Box::pin(async move {
                if backend == Backend::Postgres {
                    return Ok(true);
                }
                // SQLite ends a transaction itself on a full disk or an I/O error; sqlx goes on counting it, and no other can begin on
                // that connection. Behind the answer to the ping the queued rollback was processed, so the count says which one it is.
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        })
        .connect_with(options)
        .await?;
    Ok((pool, backend))
}

/// The path in a SQLite address.
fn sqlite_path(url: &str) -> Option<&str> {
    let path = url.strip_prefix("sqlite:")?.trim_start_matches("//");
    path.split('?').next().filter(|path| !path.is_empty())
}

/// The file that a SQLite address names, where it does not exist yet.
pub fn missing_file(url: &str) -> Option<&Path> {
    sqlite_path(url).map(Path::new).filter(|path| !path.exists())
}

/// Makes the directory and asks for the file to be made.
fn sqlite_url(url: &str) -> Result<String> {
    let path = Path::new(sqlite_path(url).unwrap_or_default());
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| StoreError::Database(sqlx::Error::Io(error)))?;
    }
    // Made private before SQLite makes it: its journals take over the mode.
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
