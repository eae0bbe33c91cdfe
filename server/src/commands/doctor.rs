//! `entrepost doctor`: whether everything that serving needs is there.

use std::time::Duration;

use server::clock::Clock;
use server::config::{Config, ServerAddress, Source};
use server::http;
use server::wiring::{StartError, build};

use super::{Finding, Missing, public};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

pub async fn doctor() -> Result<(), StartError> {
    let config = Config::read(&Source::from_process()?)?;
    let mut failures = stored(&config).await?;
    if !config.public_url.suits_microsoft() {
        let text = "Microsoft takes redirect URIs with https only, or http://localhost: see ENTREPOST_PUBLIC_URL";
        Finding::Note(format!("{}: {text}", config.public_url.of("{institution}"))).print();
    }
    Finding::Note(match &config.outbound_address {
        Some(address) => format!("ENTREPOST_OUTBOUND_ADDRESS is {address}: Conditional Access has to trust it"),
        None => {
            "no ENTREPOST_OUTBOUND_ADDRESS: administrators are not told which address Conditional Access checks".into()
        }
    })
    .print();
    let site = match http::site() {
        Ok(site) => Finding::Fine(format!("site at {}", site.site_root)),
        Err(error) => Finding::Failed(error),
    };
    failures += usize::from(site.print());
    let microsoft = &config.clouds.own().hosts;
    let authority = ServerAddress {
        host: microsoft.authority.host_str().unwrap_or_default().to_owned(),
        port: microsoft.authority.port_or_known_default().unwrap_or(443),
    };
    for (what, server) in [("authority", &authority), ("SMTP", &microsoft.smtp), ("IMAP", &microsoft.imap)] {
        failures += usize::from(reach(what, server).await.print());
    }
    let relay = match &config.system_smtp {
        Some(relay) => reach("system SMTP relay", relay.server()).await,
        None => Finding::Note("no ENTREPOST_SYSTEM_SMTP_URL: invitations are links only".into()),
    };
    failures += usize::from(relay.print());
    match failures {
        0 => Ok(()),
        1 => Err(StartError::Other("one check failed".into())),
        many => Err(StartError::Other(format!("{many} checks failed"))),
    }
}

/// Reports database and key, creates nothing; returns the failures.
async fn stored(config: &Config) -> Result<usize, StartError> {
    if let Some(missing) = Missing::of(config) {
        // The database's file comes first: where only the key is missing, SQLite has one.
        let embedded = config.database_url.expose().starts_with("sqlite:");
        let finding = match missing {
            Missing::Database(_) => Finding::Note(format!(
                "{missing}: the first `serve` or `institution add` creates it. Is this the right directory?"
            )),
            // Without its key a database is useless, and a new key would not open it.
            Missing::Key(_) if embedded => {
                Finding::Failed(format!("{missing}, but there is a database encrypted with it"))
            }
            Missing::Key(_) => Finding::Note(format!("{missing}: it is created only while the database is empty")),
        };
        return Ok(usize::from(finding.print()));
    }
    let services = build(config.clone(), Clock::system()).await?;
    Finding::Fine(format!("settings, database and master key (id {})", services.vault.key_id())).print();
    let institutions = services.store.institutions().await?;
    services.store.close().await;
    let slugs: Vec<&str> = institutions.iter().map(|institution| institution.slug.as_str()).collect();
    let counted = match (config.public_url.unserved(&slugs), institutions.as_slice()) {
        (_, []) => Finding::Note("no institution yet: entrepost institution add".into()),
        (Some(text), _) => Finding::Failed(text),
        (None, [one]) => Finding::Fine(format!("1 institution, at {}", config.public_url.of(&one.slug))),
        (None, all) => Finding::Fine(format!("{} institutions", all.len())),
    };
    let mut failures = usize::from(counted.print());
    if let Some(one) = institutions.first() {
        let address = config.public_url.of(&one.slug);
        for finding in public::look(&address, &services.trust).await {
            failures += usize::from(finding.print());
        }
    }
    Ok(failures)
}

async fn reach(what: &str, server: &ServerAddress) -> Finding {
    let connect = tokio::net::TcpStream::connect((server.host.as_str(), server.port));
    match tokio::time::timeout(PATIENCE, connect).await {
        Ok(Ok(_)) => Finding::Fine(format!("{what} {server} can be reached")),
        Ok(Err(error)) => Finding::Failed(format!("{what} {server}: {error}")),
        Err(_) => Finding::Failed(format!("{what} {server}: no answer within {} seconds", PATIENCE.as_secs())),
    }
}
