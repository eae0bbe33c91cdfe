//! What the command line does besides serving.

mod audit;
mod doctor;
mod key;
mod people;
mod public;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use server::clock::Clock;
use server::config::{Config, Source};
use server::service::Services;
use server::store::missing_file;
use server::wiring::{StartError, build};

pub use audit::verify_audit;
pub use doctor::doctor;
pub use key::rotate_key;
pub use people::{add_institution, add_user};

/// The services of the process's settings; database and key are made where there are none.
pub async fn services() -> Result<Arc<Services>, StartError> {
    build(Config::read(&Source::from_process()?)?, Clock::system()).await
}

/// Files required before stored data is read or changed.
pub enum Missing<'a> {
    Database(&'a Path),
    Key(&'a Path),
}

impl<'a> Missing<'a> {
    /// The first missing file.
    pub fn of(config: &'a Config) -> Option<Self> {
        let key = config.master_key.is_none().then_some(config.master_key_file.as_path()).filter(|path| !path.exists());
        missing_file(config.database_url.expose()).map(Self::Database).or(key.map(Self::Key))
    }
}

impl std::fmt::Display for Missing<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (path, what, setting) = match self {
            Self::Database(path) => (path, "database", "ENTREPOST_DATABASE_URL"),
            Self::Key(path) => (path, "master key", "ENTREPOST_MASTER_KEY_FILE"),
        };
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        write!(f, "there is no {what} at {} ({setting})", path.display())
    }
}

/// A note where people of this institution would find nothing at its address.
pub fn note_unserved(config: &Config, slug: &str) {
    if let Some(only) = config.public_url.default_institution().filter(|only| *only != slug) {
        say(&format!("Note: only {only} is served (ENTREPOST_DEFAULT_INSTITUTION), so links of {slug} lead there."));
    }
}

/// How to use the sandbox: settings to copy, the three values, the accounts.
pub fn sandbox_introduction(sandbox: &sandbox::Sandbox, ca: &Path) -> String {
    let ca = std::path::absolute(ca).unwrap_or_else(|_| ca.to_owned());
    let world = sandbox.world();
    let accounts: String = (world.accounts.iter())
        .filter_map(|account| Some(format!("\n  {}   password: {}", account.upn, account.password.as_ref()?)))
        .collect();
    format!(
        "
Sandbox on loopback; Ctrl-C stops it. Portal: {authority} (received mail, accounts, redirect URIs, fault switches)

Settings of a server that uses it:
  ENTREPOST_MICROSOFT_AUTHORITY={authority}
  ENTREPOST_MICROSOFT_SMTP=localhost:{smtp}
  ENTREPOST_MICROSOFT_IMAP=localhost:{imap}
  ENTREPOST_MICROSOFT_GRAPH={graph}
  ENTREPOST_SYSTEM_SMTP_URL=smtp://localhost:{relay}
  ENTREPOST_EXTRA_CA_FILE={ca}
  ENTREPOST_DNS_SERVERS={dns}

Values to paste:
  Client ID      {client_id}
  Tenant ID      {tenant_id}
  Client Secret  {secret}
Add the server's redirect URI in the portal.

Accounts:{accounts}
",
        authority = sandbox.authority(),
        graph = sandbox.graph(),
        smtp = sandbox.smtp_addr().port(),
        imap = sandbox.imap_addr().port(),
        relay = sandbox.relay_addr().port(),
        ca = ca.display(),
        dns = sandbox.dns_addr(),
        client_id = world.app.client_id,
        tenant_id = world.tenant_id,
        secret = world.app.secret_value,
    )
}

/// Prints a line. A closed pipe (`entrepost doctor | head -1`) is not an error.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A line of the doctor.
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
