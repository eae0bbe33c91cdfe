//! Starting: a wrong key is a clear error and never creates a new key over existing data; a second start keeps everything.

use crate::common::Database;
use server::clock::Clock;
use server::config::{Config, Source};
use server::wiring::build;

fn config(database: &Database, key: &std::path::Path) -> Config {
    Config::read(&Source::of(&[
        ("ENTREPOST_DATABASE_URL", database.url.clone()),
        ("ENTREPOST_MASTER_KEY_FILE", key.display().to_string()),
    ]))
    .unwrap()
}

#[tokio::test]
async fn a_wrong_or_missing_key_stops_the_start() {
    for database in Database::both().await {
        let directory = tempfile::tempdir().unwrap();
        let (key, other) = (directory.path().join("master.key"), directory.path().join("other.key"));
        let first = build(config(&database, &key), Clock::system()).await.unwrap();
        let id = first.vault.key_id().to_owned();
        first.store.close().await;
        let again = build(config(&database, &key), Clock::system()).await.unwrap();
        assert_eq!(again.vault.key_id(), id);
        again.store.close().await;

        // A missing key file isn't created over existing data.
        let error = build(config(&database, &other), Clock::system()).await.err().unwrap().to_string();
        assert!(error.contains("missing"), "{error}");
        assert!(!other.exists());

        // A wrong key is reported.
        let empty = Database::sqlite();
        build(config(&empty, &other), Clock::system()).await.unwrap().store.close().await;
        let error = build(config(&database, &other), Clock::system()).await.err().unwrap().to_string();
        assert!(error.contains("does not decrypt this database") && error.contains(&id), "{error}");
    }
}

#[tokio::test]
async fn the_sandbox_takes_only_loopback() {
    let mut config = sandbox::Config::ephemeral();
    config.entra = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
    assert!(matches!(sandbox::Sandbox::start(config).await, Err(sandbox::Error::NotLoopback(_))));
}
