//! Databases of the tests.

use server::clock::Clock;
use sqlx::Connection;

/// A database, deleted on drop.
pub struct Database {
    pub url: String,
    _directory: tempfile::TempDir,
}

impl Database {
    pub fn sqlite() -> Self {
        Self::sqlite_in(&std::env::temp_dir())
    }

    pub fn sqlite_in(place: &std::path::Path) -> Self {
        let directory = tempfile::tempdir_in(place).unwrap();
        Self { url: format!("sqlite://{}/entrepost.db", directory.path().display()), _directory: directory }
    }

    /// A new database on the server that `make rust-tests` starts.
    pub async fn postgres() -> Self {
        let server = std::env::var("ENTREPOST_TEST_POSTGRES")
            .expect("ENTREPOST_TEST_POSTGRES names the PostgreSQL server of the tests; `make rust-tests` starts one and sets it");
        Self::postgres_at(&server).await
    }

    /// A new database on a server.
    pub async fn postgres_at(server: &str) -> Self {
        sqlx::any::install_default_drivers();
        let name = format!("test_{}", Clock::system().uuid().simple());
        let mut admin = sqlx::AnyConnection::connect(&format!("{server}/postgres")).await.unwrap();
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut admin).await.unwrap();
        Self { url: format!("{server}/{name}"), _directory: tempfile::tempdir().unwrap() }
    }

    pub async fn both() -> Vec<Self> {
        vec![Self::sqlite(), Self::postgres().await]
    }
}
