//! Health of the database: whether it accepts writes, and the free space. Probed every few seconds in the background on a separate
//! connection, so that a broken pool does not look like a broken database, and reading the result costs nothing.

use crate::config::DiskSpace;
use crate::store::sql::{execute, fetch_one};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, Connection};
use tokio::sync::watch;
use tokio::time::Instant;

use super::backend::{self, DatabaseKind};
use super::{Result, Store, StoreError};

/// Pause between probes.
const ROUND: Duration = Duration::from_secs(5);
/// Deadline of a probe.
const PATIENCE: Duration = Duration::from_secs(10);
/// Probes that may fail because another writer holds the database.
const BUSY_ROUNDS: u32 = 3;
/// A result older than this means that the probe hangs.
const STALE: Duration = Duration::from_secs(35);
/// Free space, in bytes, below which a stopped database could not start: the ballast is released before.
const NOTHING: u64 = 1024 * 1024;
/// Free space at which a warning is logged, as a multiple of the reserve.
const WARN: u64 = 4;

#[derive(Debug, Clone)]
pub struct Health {
    at: Instant,
    failed: Option<String>,
    /// Free bytes of the file system; `None` if unknown.
    free: Option<u64>,
    /// Bytes of free pages in the database.
    reusable: u64,
}

#[derive(Debug)]
pub(super) struct Watch {
    latest: watch::Receiver<Health>,
    space: DiskSpace,
    /// Bytes admitted since the last probe.
    admitted: Arc<AtomicU64>,
    task: tokio::task::AbortHandle,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Probe {
    options: AnyConnectOptions,
    backend: DatabaseKind,
    space: DiskSpace,
    /// Kept open between probes: once the last connection to a SQLite database closes on a full disk, it cannot even be read.
    connection: Option<AnyConnection>,
    file: Option<PathBuf>,
    busy: u32,
}

impl Watch {
    /// Starts the background probe after a first one.
    pub(super) async fn begin(options: AnyConnectOptions, backend: DatabaseKind, space: DiskSpace) -> Self {
        let mut probe = Probe { options, backend, space, connection: None, file: None, busy: 0 };
        let first = probe.round().await;
        let (told, latest) = watch::channel(first);
        let admitted = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&admitted);
        let task = tokio::spawn(async move {
            let mut was_low = false;
            loop {
                tokio::time::sleep(ROUND).await;
                let health = probe.round().await;
                counted.store(0, Ordering::Relaxed);
                if let Some(error) = &health.failed {
                    tracing::error!("the database accepts no writes: {error}");
                }
                let low = health.is_low(space);
                if low && !was_low {
                    let free = health.free.unwrap_or_default() / (1024 * 1024);
                    tracing::warn!("the disk of the database is nearly full: {free} MiB are free");
                }
                was_low = low;
                if told.send(health).is_err() {
                    return;
                }
            }
        });
        Self { latest, space, admitted, task: task.abort_handle() }
    }

    pub(super) fn stop(&self) {
        self.task.abort();
    }
}

impl Health {
    /// Why the database accepts no writes; `None` if it does.
    pub fn problem(&self) -> Option<&str> {
        if self.at.elapsed() > STALE { Some("the database does not answer") } else { self.failed.as_deref() }
    }

    /// Free bytes of its disk.
    pub fn free(&self) -> Option<u64> {
        self.free
    }

    fn is_low(&self, space: DiskSpace) -> bool {
        self.free.is_some_and(|free| free.saturating_add(self.reusable) < space.reserve.saturating_mul(WARN))
    }
}

impl Probe {
    async fn round(&mut self) -> Health {
        let probed = tokio::time::timeout(PATIENCE, self.write()).await;
        let (mut failed, mut reusable) = (None, 0);
        match probed {
            Ok(Ok(found)) => {
                reusable = found;
                self.busy = 0;
            }
            Ok(Err(error)) if error.is_busy(self.backend) && self.busy < BUSY_ROUNDS => self.busy += 1,
            Ok(Err(error)) => {
                if error.is_full() {
                    give_ballast_up(self.ballast()).await;
                }
                failed = Some(error.to_string());
            }
            Err(_) => failed = Some(format!("it does not answer within {} seconds", PATIENCE.as_secs())),
        }
        let free = match self.file.clone() {
            Some(file) => tokio::task::spawn_blocking(move || free_space(&file)).await.ok().flatten(),
            None => None,
        };
        if failed.is_none() {
            keep_ballast(self.ballast(), free, self.space.reserve).await;
        }
        let within = self.space.limit.zip(self.size()).map(|(limit, size)| limit.saturating_sub(size));
        let free = match (free, within) {
            (Some(free), Some(within)) => Some(free.min(within)),
            (free, within) => free.or(within),
        };
        Health { at: Instant::now(), failed, free, reusable }
    }

    fn size(&self) -> Option<u64> {
        self.file.as_ref().and_then(|file| std::fs::metadata(file).ok()).map(|file| file.len())
    }

    /// Commits a row on a fresh connection and returns the bytes of free pages.
    async fn write(&mut self) -> Result<u64> {
        let mut fresh = AnyConnection::connect_with(&self.options).await?;
        backend::prepare(&mut fresh, self.backend, self.space.limit).await?;
        execute!(
            &mut fresh,
            "INSERT INTO probes (id, probed_at)
             VALUES ('store', 1) ON CONFLICT (id) DO UPDATE SET probed_at = probes.probed_at + 1"
        )?;
        let mut reusable = 0;
        if self.backend == DatabaseKind::Sqlite {
            let (file, bytes): (String, u64) = fetch_one!(
                &mut fresh,
                "SELECT (SELECT file FROM pragma_database_list WHERE name = 'main'),
                        (SELECT page_size FROM pragma_page_size) * (SELECT freelist_count FROM pragma_freelist_count)"
            )?;
            self.file = Some(PathBuf::from(file)).filter(|file| !file.as_os_str().is_empty());
            reusable = bytes;
        }
        if let Some(before) = self.connection.replace(fresh) {
            before.close().await?;
        }
        Ok(reusable)
    }

    /// A file that reserves space, because deleting on a full disk needs some.
    fn ballast(&self) -> Option<PathBuf> {
        let mut name = self.file.as_ref()?.clone().into_os_string();
        name.push(".room");
        Some(PathBuf::from(name))
    }
}

async fn keep_ballast(path: Option<PathBuf>, free: Option<u64>, reserve: u64) {
    let size = reserve / 2;
    let (Some(path), Some(free)) = (path, free) else { return };
    if path.exists() {
        if free < NOTHING {
            give_ballast_up(Some(path)).await;
        }
        return;
    }
    if size > 0 && free > (reserve + size).saturating_mul(WARN) {
        let made = tokio::task::spawn_blocking(move || make_ballast(&path, size)).await;
        if let Ok(Err(error)) = made {
            tracing::debug!("cannot reserve space on the disk: {error}");
        }
    }
}

async fn give_ballast_up(path: Option<PathBuf>) {
    let Some(path) = path.filter(|path| path.exists()) else { return };
    tracing::warn!("the disk is full: released the space reserved for deleting ({})", path.display());
    let removed = tokio::task::spawn_blocking(move || std::fs::remove_file(path)).await;
    if let Ok(Err(error)) = removed {
        tracing::warn!("cannot release the reserved disk space: {error}");
    }
}

#[cfg(unix)]
fn free_space(file: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(file).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(not(unix))]
fn free_space(_: &Path) -> Option<u64> {
    None
}

#[cfg(target_os = "linux")]
fn make_ballast(path: &Path, size: u64) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let made = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size);
    made.map_err(|error| {
        let _ = std::fs::remove_file(path);
        error.into()
    })
}

#[cfg(not(target_os = "linux"))]
fn make_ballast(_: &Path, _: u64) -> std::io::Result<()> {
    Ok(())
}

impl Store {
    pub fn health(&self) -> Health {
        self.watch.latest.borrow().clone()
    }

    pub fn is_low(&self) -> bool {
        self.watch.latest.borrow().is_low(self.watch.space)
    }

    /// Checks the space for new data of a size in bytes. Deleting and work under way are not checked.
    pub fn room_for(&self, bytes: u64) -> Result<()> {
        let health = self.watch.latest.borrow().clone();
        let Some(free) = health.free else { return Ok(()) };
        // Stored sealed, in base64 of base64.
        let bytes = bytes.saturating_mul(2);
        let before = self.watch.admitted.fetch_add(bytes, Ordering::Relaxed);
        let wanted = before.saturating_add(bytes);
        let reserve = self.watch.space.reserve;
        // Data that fits free pages grows only the journal; other data grows the journal and the file.
        let needed = if health.reusable >= wanted {
            (reserve / 2).saturating_add(wanted)
        } else {
            reserve.saturating_add(wanted.saturating_mul(2))
        };
        if free >= needed {
            return Ok(());
        }
        self.watch.admitted.fetch_sub(bytes, Ordering::Relaxed);
        Err(StoreError::NoRoom)
    }
}
