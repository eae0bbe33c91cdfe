//! The command line.

use std::io::{IsTerminal, Read};
use std::sync::Arc;

use app::model::{EmailAddress, InstitutionId, Role};
use clap::{Parser, Subcommand};
use server::clock::Clock;
use server::config::{Config, Source};
use server::demo::{self, Ports};
use server::service::{AddPerson, Services, invitation_link, keep_house};
use server::store::InstitutionRow;
use server::vault::{Place, Vault};
use server::wiring::{StartError, build};
use server::{http, store::StoreError};
use zeroize::Zeroizing;

/// Connects an institution's Microsoft Exchange Online mailboxes over OAuth 2.0.
#[derive(Parser)]
#[command(name = "entrepost", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve institutions with the settings of the environment and entrepost.toml
    Serve,
    /// Start sandbox and server together, everything seeded, to look around
    Demo {
        /// Port of the sandbox's Entra and portal (0: any free one)
        #[arg(long, default_value_t = 3100)]
        entra_port: u16,
        /// Port of the sandbox's SMTP submission
        #[arg(long, default_value_t = 3125)]
        smtp_port: u16,
        /// Port of the sandbox's IMAP
        #[arg(long, default_value_t = 3193)]
        imap_port: u16,
        /// Port of the sandbox's relay
        #[arg(long, default_value_t = 3126)]
        relay_port: u16,
    },
    /// Start the stand-in for Entra ID and Exchange Online alone, on loopback
    Sandbox {
        /// Port of Entra and portal
        #[arg(long, default_value_t = 3100)]
        entra_port: u16,
        /// Port of SMTP submission
        #[arg(long, default_value_t = 3125)]
        smtp_port: u16,
        /// Port of IMAP
        #[arg(long, default_value_t = 3193)]
        imap_port: u16,
        /// Port of the relay
        #[arg(long, default_value_t = 3126)]
        relay_port: u16,
    },
    /// Institutions
    #[command(subcommand)]
    Institution(InstitutionCommand),
    /// People
    #[command(subcommand)]
    User(UserCommand),
    /// The master key
    #[command(subcommand)]
    Key(KeyCommand),
    /// Check settings, database, key, and the way to Microsoft
    Doctor,
}

#[derive(Subcommand)]
enum InstitutionCommand {
    /// Add an institution and its first administrator
    Add {
        /// First label of its host
        slug: String,
        /// Its name
        #[arg(long)]
        name: String,
        /// Address of the administrator
        #[arg(long)]
        admin: String,
        /// Read the administrator's password from standard input instead of making an invitation link
        #[arg(long)]
        password_stdin: bool,
    },
}

#[derive(Subcommand)]
enum UserCommand {
    /// Add a person (a new link for one who is there already is made under Institution › Users)
    Add {
        /// Slug of the institution
        slug: String,
        /// Their address
        address: String,
        /// They administer the institution
        #[arg(long)]
        admin: bool,
        /// Read the password from standard input instead of making an invitation link
        #[arg(long)]
        password_stdin: bool,
    },
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Make a new key, and seal everything with it (stop other replicas first)
    Rotate,
}

fn main() -> std::process::ExitCode {
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("ENTREPOST_LOG").unwrap_or_else(|_| "info,sqlx=warn".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    // A panic says where, never what: its message could hold anything.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!("a bug: panicked at {place}");
    }));
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("entrepost: {error}");
            return std::process::ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(arguments.command)) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("entrepost: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<(), StartError> {
    match command {
        Command::Serve => {
            let site = http::site().map_err(StartError::Other)?;
            let services = from_settings().await?;
            let listen = services.config.listen;
            let listener = tokio::net::TcpListener::bind(listen)
                .await
                .map_err(|error| StartError::Other(format!("ENTREPOST_LISTEN {listen}: {error}")))?;
            tracing::info!("serving {} on {listen}", services.config.public_url.of("{institution}"));
            serve(services, listener, site).await
        }
        Command::Demo { entra_port, smtp_port, imap_port, relay_port } => {
            let site = http::site().map_err(StartError::Other)?;
            let source = Source::from_process()?;
            let listen = match source.get("ENTREPOST_LISTEN") {
                None => None,
                Some(text) => Some(text.parse().map_err(|_| {
                    StartError::Other(format!("ENTREPOST_LISTEN = {text}: an address and a port are expected"))
                })?),
            };
            let ports = Ports { server: 3000, entra: entra_port, smtp: smtp_port, imap: imap_port, relay: relay_port };
            let demo = demo::start(ports, listen, &source).await?;
            println!("{}", demo.introduction());
            serve(Arc::clone(&demo.services), demo.listener, site).await?;
            demo.sandbox.stop().await;
            Ok(())
        }
        Command::Sandbox { entra_port, smtp_port, imap_port, relay_port } => {
            let here = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
            let data = std::path::PathBuf::from("data/sandbox");
            let config = sandbox::Config {
                entra: here(entra_port),
                smtp: here(smtp_port),
                imap: here(imap_port),
                relay: here(relay_port),
                data: Some(data.clone()),
            };
            let sandbox =
                sandbox::Sandbox::start(config).await.map_err(|error| StartError::Other(error.to_string()))?;
            let ca = data.join("ca.pem");
            std::fs::write(&ca, sandbox.ca_pem()).map_err(|error| StartError::Other(error.to_string()))?;
            println!(
                "Sandbox portal and authority: {}\nSMTP localhost:{}, IMAP localhost:{}, CA {}",
                sandbox.authority(),
                sandbox.smtp_addr().port(),
                sandbox.imap_addr().port(),
                ca.display()
            );
            stop_signal().await;
            sandbox.stop().await;
            Ok(())
        }
        Command::Institution(InstitutionCommand::Add { slug, name, admin, password_stdin }) => {
            let valid = !slug.is_empty()
                && slug.len() <= 63
                && slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !slug.starts_with('-')
                && !slug.ends_with('-');
            if !valid {
                return Err(StartError::Other(format!(
                    "{slug}: a slug has lower-case letters, digits and hyphens, as a host name"
                )));
            }
            let (address, password) = (parse_address(&admin)?, read_password(password_stdin)?);
            let services = from_settings().await?;
            let row = InstitutionRow { id: InstitutionId(services.clock.uuid()), slug: slug.clone(), name };
            let mut tx = services.store.begin().await?;
            match services.store.add_institution(&mut tx, &row, services.clock.now()).await {
                Err(error) if error.is_duplicate() => {
                    return Err(StartError::Other(format!("the institution {slug} exists already")));
                }
                other => other?,
            }
            tx.commit().await.map_err(StoreError::from)?;
            add_person(
                &services,
                &row,
                &address,
                Role::Administrator,
                password.as_ref().map(|password| password.as_str()),
            )
            .await
        }
        Command::User(UserCommand::Add { slug, address, admin, password_stdin }) => {
            let (address, password) = (parse_address(&address)?, read_password(password_stdin)?);
            let services = from_settings().await?;
            let row = services
                .store
                .institution_by_slug(&slug)
                .await?
                .ok_or_else(|| StartError::Other(format!("there is no institution {slug}")))?;
            let role = if admin { Role::Administrator } else { Role::User };
            add_person(&services, &row, &address, role, password.as_ref().map(|password| password.as_str())).await
        }
        Command::Key(KeyCommand::Rotate) => rotate().await,
        Command::Doctor => doctor().await,
    }
}

async fn from_settings() -> Result<Arc<Services>, StartError> {
    build(Config::read(&Source::from_process()?)?, Clock::system()).await
}

async fn stop_signal() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut terminated) => {
                tokio::select! {
                    _ = interrupted => {}
                    _ = terminated.recv() => {}
                }
            }
            Err(_) => {
                let _ = interrupted.await;
            }
        }
    }
    #[cfg(not(unix))]
    {
        let _ = interrupted.await;
    }
}

async fn serve(
    services: Arc<Services>,
    listener: tokio::net::TcpListener,
    site: leptos::config::LeptosOptions,
) -> Result<(), StartError> {
    let stop = services.stop.clone();
    tokio::spawn(async move {
        stop_signal().await;
        tracing::info!("stopping");
        stop.cancel();
    });
    tokio::spawn(keep_house(Arc::clone(&services)));
    let router = http::router(Arc::clone(&services), site);
    let served = http::serve(listener, router, &services).await;
    services.tasks.close();
    // Runs see the token and end; ten seconds are for their last word to the database.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(10), services.tasks.wait()).await;
    services.store.close().await;
    served.map_err(|error| StartError::Other(error.to_string()))
}

fn parse_address(text: &str) -> Result<EmailAddress, StartError> {
    EmailAddress::parse(text).map_err(|error| StartError::Other(format!("{text}: {error}")))
}

fn read_password(wanted: bool) -> Result<Option<Zeroizing<String>>, StartError> {
    if !wanted {
        return Ok(None);
    }
    let mut text = Zeroizing::new(String::new());
    std::io::stdin().take(4096).read_to_string(&mut text).map_err(|error| StartError::Other(error.to_string()))?;
    Ok(Some(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())))
}

async fn add_person(
    services: &Services,
    institution: &InstitutionRow,
    address: &EmailAddress,
    role: Role,
    password: Option<&str>,
) -> Result<(), StartError> {
    let person = AddPerson { institution: institution.id, address, role, password };
    let public_url = services.config.public_url.of(&institution.slug);
    match services.add_person(&person).await {
        Ok(Ok(None)) => println!("{address} can sign in at {public_url}"),
        Ok(Ok(Some(token))) => println!(
            "{address} sets a password with this link (once, within 72 hours):\n{}",
            invitation_link(&public_url, &token)
        ),
        Ok(Err(error)) => return Err(StartError::Other(error.to_string())),
        Err(error) if error.is_duplicate() => {
            return Err(StartError::Other(format!("{address} has an account at {} already", institution.slug)));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

async fn rotate() -> Result<(), StartError> {
    let config = Config::read(&Source::from_process()?)?;
    if config.master_key.is_some() {
        return Err(StartError::Other(
            "ENTREPOST_MASTER_KEY is set: put the key into a file (ENTREPOST_MASTER_KEY_FILE), which can be rewritten"
                .into(),
        ));
    }
    let path = config.master_key_file.clone();
    // Opening everything first proves that the old key is the right one.
    let services = build(config.clone(), Clock::system()).await?;
    services.store.close().await;
    Vault::rotate_file(&path, Clock::system())?;
    let services = build(config, Clock::system()).await?;
    let mut count = 0;
    for (table, column, row, old) in services.store.sealed_values().await? {
        let place = Place::new(table, column, &row);
        let new = services.vault.seal(&place, &services.vault.open(&place, &old)?)?;
        count += i64::from(services.store.reseal(table, column, &row, &old, &new).await?);
    }
    services.store.keep_only_vault_check(services.vault.key_id()).await?;
    println!(
        "New key {} in {}; {count} secrets sealed with it. The old key stays in the file, below the new one.",
        services.vault.key_id(),
        path.display()
    );
    Ok(())
}

async fn doctor() -> Result<(), StartError> {
    let services = from_settings().await?;
    println!("ok    settings, database and master key (id {})", services.vault.key_id());
    match http::site() {
        Ok(site) => println!("ok    site at {}", site.site_root),
        Err(error) => println!("FAIL  {error}"),
    }
    let institutions = services.store.institutions().await?;
    println!("{}    {} institutions", if institutions.is_empty() { "note" } else { "ok" }, institutions.len());
    let microsoft = &services.config.microsoft;
    let authority = (
        microsoft.authority.host_str().unwrap_or_default().to_owned(),
        microsoft.authority.port_or_known_default().unwrap_or(443),
    );
    for (what, (host, port)) in [("authority", &authority), ("SMTP", &microsoft.smtp), ("IMAP", &microsoft.imap)] {
        let connect = tokio::net::TcpStream::connect((host.as_str(), *port));
        match tokio::time::timeout(std::time::Duration::from_secs(5), connect).await {
            Ok(Ok(_)) => println!("ok    {what} {host}:{port} can be reached"),
            Ok(Err(error)) => println!("FAIL  {what} {host}:{port}: {error}"),
            Err(_) => println!("FAIL  {what} {host}:{port}: no answer within 5 seconds"),
        }
    }
    match services.config.system_smtp {
        Some(_) => println!("ok    a system SMTP relay is set"),
        None => println!("note  no ENTREPOST_SYSTEM_SMTP_URL: invitations are links only"),
    }
    Ok(())
}
