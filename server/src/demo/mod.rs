//! `entrepost demo`: sandbox and server together, with seed data. It uses only `data/demo`, ignores database and key
//! settings, and listens on loopback only.

mod ready;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use app::model::{EmailAddress, InstitutionId, Role};
use sandbox::Sandbox;

use crate::clock::Clock;
use crate::config::{Config, Source};
use crate::relay::Relay;
use crate::service::{AddPerson, Services};
use crate::store::InstitutionRow;
use crate::wiring::{StartError, build};
use ready::ReadyDevice;

/// Directory of the demo.
const DATA: &str = "data/demo";
/// Password of both demo users in Entrepost.
const PASSWORD: &str = "demo demo demo";

/// Ports of the demo; 0 means any free one.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub server: u16,
    pub entra: u16,
    pub smtp: u16,
    pub imap: u16,
    pub relay: u16,
    pub dns: u16,
    pub graph: u16,
}

pub struct Demo {
    pub services: Arc<Services>,
    pub sandbox: Sandbox,
    pub listener: tokio::net::TcpListener,
    pub relay: Option<Relay>,
    device: ReadyDevice,
}

fn other(error: &dyn std::fmt::Display) -> StartError {
    StartError::Other(error.to_string())
}

/// Starts the sandbox, builds the services, adds missing seed data.
pub async fn start(
    ports: Ports,
    listen: Option<SocketAddr>,
    days_ahead: u16,
    settings: &Source,
) -> Result<Demo, StartError> {
    let here = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let listen = listen.unwrap_or_else(|| here(ports.server));
    if !listen.ip().is_loopback() {
        return Err(StartError::Other(format!(
            "the demo listens on loopback only, and {listen} is not a loopback address"
        )));
    }
    std::fs::create_dir_all(DATA).map_err(|error| other(&error))?;
    let taken = |error: &dyn std::fmt::Display, address: SocketAddr| {
        StartError::Other(format!(
            "{address}: {error}. Is another demo running? Set ENTREPOST_LISTEN to another address, such as 127.0.0.1:3010."
        ))
    };
    let listener = tokio::net::TcpListener::bind(listen).await.map_err(|error| taken(&error, listen))?;
    let port = listener.local_addr().map_err(|error| other(&error))?.port();
    let sandbox = Sandbox::start(sandbox::Config {
        entra: here(ports.entra),
        smtp: here(ports.smtp),
        imap: here(ports.imap),
        relay: here(ports.relay),
        dns: here(ports.dns),
        graph: here(ports.graph),
        data: Some(Path::new(DATA).to_owned()),
    })
    .await
    .map_err(|error| other(&error))?;
    let ahead = i64::from(days_ahead) * 24 * 60 * 60;
    sandbox.world().clock_ahead = ahead;
    let ca = Path::new(DATA).join("sandbox-ca.pem");
    std::fs::write(&ca, sandbox.ca_pem()).map_err(|error| other(&error))?;
    // Takes over only settings of timing, display and room; addresses, keys and databases are the demo's own.
    let mut own: Vec<(&str, String)> = [
        "ENTREPOST_SIGN_IN_SECONDS",
        "ENTREPOST_ARRIVAL_SECONDS",
        "ENTREPOST_RETEST_SECONDS",
        "ENTREPOST_RETRY_SECONDS",
        "ENTREPOST_POLL_SECONDS",
        "ENTREPOST_SUPPORT_CONTACT",
        "ENTREPOST_OUTBOUND_ADDRESS",
        "ENTREPOST_DISK_RESERVE_BYTES",
    ]
    .into_iter()
    .filter_map(|name| Some((name, settings.get(name)?)))
    .collect();
    own.extend([
        ("ENTREPOST_LISTEN", listen.to_string()),
        ("ENTREPOST_PUBLIC_URL", format!("http://{{institution}}.localhost:{port}")),
        ("ENTREPOST_DATABASE_URL", format!("sqlite://{DATA}/entrepost.db")),
        ("ENTREPOST_MASTER_KEY_FILE", format!("{DATA}/master.key")),
        ("ENTREPOST_MICROSOFT_AUTHORITY", sandbox.authority().to_owned()),
        ("ENTREPOST_MICROSOFT_SMTP", format!("localhost:{}", sandbox.smtp_addr().port())),
        ("ENTREPOST_MICROSOFT_IMAP", format!("localhost:{}", sandbox.imap_addr().port())),
        ("ENTREPOST_MICROSOFT_GRAPH", sandbox.graph().to_owned()),
        ("ENTREPOST_SYSTEM_SMTP_URL", format!("smtp://localhost:{}", sandbox.relay_addr().port())),
        ("ENTREPOST_DNS_SERVERS", sandbox.dns_addr().to_string()),
        ("ENTREPOST_EXTRA_CA_FILE", ca.to_string_lossy().into_owned()),
    ]);
    for (name, port) in [("ENTREPOST_RELAY_LISTEN", 2587), ("ENTREPOST_RELAY_TLS_LISTEN", 2465)] {
        own.push((name, relay_address(settings, name, port, listen).await?));
    }
    for name in ["ENTREPOST_RELAY_PLAIN_LISTEN", "ENTREPOST_RELAY_PLAIN_ALLOW"] {
        own.extend(settings.get(name).map(|value| (name, value)));
    }
    let services = build(Config::read(&Source::of(&own))?, Clock::ahead_ms(ahead * 1000)).await?;
    if services.config.relay.plain_listen.is_some_and(|address| !address.ip().is_loopback()) {
        return Err(StartError::Other("the demo's relay listens on loopback only".into()));
    }
    for (slug, name) in [("demo", "Demo College"), ("second", "Second School")] {
        seed(&services, slug, name).await?;
        sandbox.world().add_redirect_uri(&services.redirect_uri(&services.config.public_url.of(slug)));
    }
    let device = ready::seed(&services, &sandbox, PASSWORD).await?;
    let relay = Relay::bind(&services).await.map_err(|error| other(&error))?;
    Ok(Demo { services, sandbox, listener, relay, device })
}

/// Where the relay listens: as a setting says, on loopback; otherwise on a known port, or on any other if that is taken.
async fn relay_address(
    settings: &Source,
    name: &'static str,
    port: u16,
    listen: SocketAddr,
) -> Result<String, StartError> {
    if let Some(given) = settings.get(name) {
        let is_loopback = given.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback());
        return if is_loopback {
            Ok(given)
        } else {
            Err(StartError::Other(format!(
                "{name}: the demo's relay listens on loopback only, such as 127.0.0.1:{port}"
            )))
        };
    }
    // Where the pages take any port, so does the relay: several demos may start together.
    let any = listen.port() == 0;
    let known = SocketAddr::from(([127, 0, 0, 1], port));
    let free = !any && tokio::net::TcpListener::bind(known).await.is_ok();
    Ok(format!("127.0.0.1:{}", if free { port } else { 0 }))
}

/// Creates an institution with an administrator and a user, if missing.
async fn seed(services: &Services, slug: &str, name: &str) -> Result<(), StartError> {
    if services.store.institution_by_slug(slug).await?.is_some() {
        return Ok(());
    }
    let institution = InstitutionRow { id: InstitutionId(services.clock.uuid()), slug: slug.into(), name: name.into() };
    let mut tx = services.store.begin().await?;
    services.store.add_institution(&mut tx, &institution, services.clock.now()).await?;
    tx.commit().await?;
    for (address, role) in [("admin@demo.example", Role::Administrator), ("user@demo.example", Role::User)] {
        let address = EmailAddress::parse(address).map_err(|error| other(&error))?;
        let person = AddPerson {
            institution: institution.id,
            address: &address,
            name: "",
            role,
            password: Some(PASSWORD),
            announce: None,
        };
        services.add_person(&person).await.map_err(|error| other(&error))?;
    }
    Ok(())
}

impl Demo {
    /// The text for newcomers: addresses, sign-ins, registration values.
    pub fn introduction(&self) -> String {
        let world = self.sandbox.world();
        let url = self.services.config.public_url.of("demo");
        let bound = self.relay.as_ref().map(Relay::addresses).unwrap_or_default();
        let port = |address: Option<SocketAddr>| {
            address.map_or_else(|| "off".to_owned(), |address| address.port().to_string())
        };
        format!(
            "
Entrepost demo. Nothing here leaves this machine. Ctrl-C stops it; the data stays in {DATA} (delete it to start afresh).

  1. Open               {url}
     Sign in as         admin@demo.example   password: {PASSWORD}
                        user@demo.example    password: {PASSWORD}

  2. As the administrator open Institution Config > General > Email, choose MS Exchange Online, paste and save:
     Client ID          {}
     Tenant ID          {}
     Client Secret      {}

  3. Sign out (top right), sign in as the user, open User Account > Email and press Configure & Test.
     At “Microsoft”     user@demo.example    password: sandbox (the others have the same)

     Sandbox portal     {}   (received mail, accounts, fault switches)

  4. A copier that is ready to send, of a school that is set up ({}):
     SMTP server        127.0.0.1   port {} (STARTTLS), {} (SSL/TLS)
     User name          {}
     Password           {}
     To try it          printf 'Subject: A scan\\n\\nHello\\n' | curl --ssl-reqd --insecure --url smtp://127.0.0.1:{} --user {}:{} --mail-from {} --mail-rcpt user@demo.example --upload-file -
     What happened      {}{}
",
            world.app.client_id,
            world.tenant_id,
            world.app.secret_value,
            self.sandbox.authority(),
            self.services.config.public_url.of(ready::SLUG),
            port(bound.starttls),
            port(bound.tls),
            self.device.user_name,
            self.device.password,
            port(bound.starttls),
            self.device.user_name,
            self.device.password,
            ready::MAILBOX,
            self.services.config.public_url.of(ready::SLUG),
            app::model::PROGRAMS_PATH,
        )
    }
}
