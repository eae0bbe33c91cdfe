//! `entrepost key rotate`.

use server::clock::Clock;
use server::config::{Config, Source};
use server::vault::{Place, Vault};
use server::wiring::{StartError, build};

use super::{Missing, say};

/// Makes a new key, and seals everything with it.
pub async fn rotate_key() -> Result<(), StartError> {
    let config = Config::read(&Source::from_process()?)?;
    if config.master_key.is_some() {
        return Err(StartError::Other(
            "ENTREPOST_MASTER_KEY is set: put the key into a file (ENTREPOST_MASTER_KEY_FILE), which can be rewritten"
                .into(),
        ));
    }
    if let Some(missing) = Missing::of(&config) {
        return Err(StartError::Other(format!("{missing}. Run this in the directory in which the server runs.")));
    }
    // A running server would keep sealing with the old key.
    if let Err(error) = std::net::TcpListener::bind(config.listen)
        && error.kind() == std::io::ErrorKind::AddrInUse
    {
        return Err(StartError::Other(format!(
            "a server answers at {}: stop it first, and every replica",
            config.listen
        )));
    }
    let path = config.master_key_file.clone();
    // Opening everything first proves that the old key is the right one.
    let services = build(config.clone(), Clock::system()).await?;
    services.store.close().await;
    Vault::rotate_file(&path, Clock::system())?;
    let services = build(config, Clock::system()).await?;
    let mut count = 0;
    for (table, column, row) in services.store.sealed_places().await? {
        let Some(old) = services.store.sealed_value(table, column, &row).await? else { continue };
        let place = Place::new(table, column, &row);
        let new = services.vault.seal(&place, &services.vault.open(&place, &old)?)?;
        count += i64::from(services.store.reseal(table, column, &row, &old, &new).await?);
    }
    services.store.keep_only_vault_check(services.vault.key_id()).await?;
    say(&format!(
        "New key {} in {}; {} with it. The old key stays in the file, below the new one.\n\
         Give the file to every replica, and start the servers again: one that ran meanwhile still seals with the old key.",
        services.vault.key_id(),
        path.display(),
        if count == 1 { "re-encrypted one secret".to_owned() } else { format!("re-encrypted {count} secrets") },
    ));
    Ok(())
}
