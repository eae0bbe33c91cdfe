//! `entrepost doctor`: whether everything that serving needs is there.

use std::time::Duration;

use server::http;
use server::wiring::StartError;

use super::{say, services};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// One line of the report.
enum Finding {
    Fine(String),
    Note(String),
    Failed(String),
}

impl Finding {
    fn print(&self) -> bool {
        match self {
            Self::Fine(text) => say(&format!("ok    {text}")),
            Self::Note(text) => say(&format!("note  {text}")),
            Self::Failed(text) => say(&format!("FAIL  {text}")),
        }
        matches!(self, Self::Failed(_))
    }
}

/// Prints what is there and what is not.
///
/// # Errors
/// Something is not as serving needs it.
pub async fn doctor() -> Result<(), StartError> {
    let services = services().await?;
    let mut failures = usize::from(
        Finding::Fine(format!("settings, database and master key (id {})", services.vault.key_id())).print(),
    );
    let site = match http::site() {
        Ok(site) => Finding::Fine(format!("site at {}", site.site_root)),
        Err(error) => Finding::Failed(error),
    };
    failures += usize::from(site.print());
    let institutions = services.store.institutions().await?;
    let counted = match institutions.len() {
        0 => Finding::Note("no institution yet: entrepost institution add".into()),
        1 => Finding::Fine(format!("1 institution, at {}", services.config.public_url.of(&institutions[0].slug))),
        many => Finding::Fine(format!("{many} institutions")),
    };
    failures += usize::from(counted.print());
    let microsoft = &services.config.microsoft;
    let authority = (
        microsoft.authority.host_str().unwrap_or_default().to_owned(),
        microsoft.authority.port_or_known_default().unwrap_or(443),
    );
    for (what, server) in [("authority", &authority), ("SMTP", &microsoft.smtp), ("IMAP", &microsoft.imap)] {
        failures += usize::from(reach(what, server).await.print());
    }
    let relay = match &services.config.system_smtp {
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

async fn reach(what: &str, (host, port): &(String, u16)) -> Finding {
    let connect = tokio::net::TcpStream::connect((host.as_str(), *port));
    match tokio::time::timeout(PATIENCE, connect).await {
        Ok(Ok(_)) => Finding::Fine(format!("{what} {host}:{port} can be reached")),
        Ok(Err(error)) => Finding::Failed(format!("{what} {host}:{port}: {error}")),
        Err(_) => Finding::Failed(format!("{what} {host}:{port}: no answer within {} seconds", PATIENCE.as_secs())),
    }
}
