//! The command line.

mod commands;

use std::io::IsTerminal;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use server::clock::Clock;
use server::config::{Config, Source};
use server::demo::{self, Ports};
use server::relay::Relay;
use server::service::{Services, run_background};
use server::wiring::{StartError, build};
use server::{http, logging};

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
        #[command(flatten)]
        ports: SandboxPorts,
        /// Sets the clock ahead, to see reminders and what expires
        #[arg(long, default_value_t = 0)]
        days_ahead: u16,
    },
    /// Start the stand-in for Entra ID and Exchange Online alone, on loopback
    Sandbox(SandboxPorts),
    /// Institutions
    #[command(subcommand)]
    Institution(InstitutionCommand),
    /// People
    #[command(subcommand)]
    User(UserCommand),
    /// The log of what administrators and people did
    #[command(subcommand)]
    Audit(AuditCommand),
    /// The master key
    #[command(subcommand)]
    Key(KeyCommand),
    /// Check settings, database, key, and the connection to Microsoft
    Doctor,
}

#[derive(clap::Args)]
struct SandboxPorts {
    /// Port of the sandbox's Entra and portal (0: any free one)
    #[arg(long = "entra-port", default_value_t = 3100)]
    entra: u16,
    /// Port of the sandbox's SMTP submission
    #[arg(long = "smtp-port", default_value_t = 3125)]
    smtp: u16,
    /// Port of the sandbox's IMAP
    #[arg(long = "imap-port", default_value_t = 3193)]
    imap: u16,
    /// Port of the sandbox's relay
    #[arg(long = "relay-port", default_value_t = 3126)]
    relay: u16,
    /// Port of the sandbox's DNS, UDP; 0 takes a free one
    #[arg(long = "dns-port", default_value_t = 0)]
    dns: u16,
    /// Port of the sandbox's Microsoft Graph; 0 takes a free one
    #[arg(long = "graph-port", default_value_t = 0)]
    graph: u16,
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
        /// Read the administrator's password (12 characters or more) from standard input, instead of making an invitation link
        #[arg(long)]
        password_stdin: bool,
    },
}

#[derive(Subcommand)]
enum UserCommand {
    /// Add a person; one who was invited but has no password yet gets a new link
    Add {
        /// Slug of the institution
        slug: String,
        /// Their address
        address: String,
        /// They administer the institution
        #[arg(long)]
        admin: bool,
        /// Read the password (12 characters or more) from standard input, instead of making an invitation link
        #[arg(long)]
        password_stdin: bool,
    },
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Check that no entry was changed, removed or inserted
    Verify {
        /// Slug of one institution; all without it
        slug: Option<String>,
    },
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Make a new key, and seal everything with it (stop the server first)
    Rotate,
}

fn main() -> std::process::ExitCode {
    let arguments = Arguments::parse();
    let wanted = std::env::var("ENTREPOST_LOG").ok().filter(|text| !text.trim().is_empty());
    let filter = match logging::filter(wanted.as_deref().unwrap_or(logging::DEFAULT)) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("entrepost: ENTREPOST_LOG: {error}; a level is expected, such as info or info,sqlx=warn");
            return std::process::ExitCode::FAILURE;
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    server::panics::report_only_places();
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
            let config = Config::read(&Source::from_process()?)?;
            // The port first: where it is taken, no database and no key are made.
            let listen = config.listen;
            let listener = tokio::net::TcpListener::bind(listen)
                .await
                .map_err(|error| StartError::Other(format!("ENTREPOST_LISTEN {listen}: {error}")))?;
            let listen = listener.local_addr().unwrap_or(listen);
            let services = build(config, Clock::system()).await?;
            let institutions = services.store.institutions().await?;
            let slugs: Vec<&str> = institutions.iter().map(|institution| institution.slug.as_str()).collect();
            if let Some(text) = services.config.public_url.unserved(&slugs) {
                tracing::warn!("{text}: every page answers 404");
            }
            tracing::info!("serving {} on {listen}", services.config.public_url.of("{institution}"));
            let relay = bind_relay(&services).await?;
            serve(services, listener, relay, site).await
        }
        Command::Demo { ports: SandboxPorts { entra, smtp, imap, relay, dns, graph }, days_ahead } => {
            let site = http::site().map_err(StartError::Other)?;
            let source = Source::from_process()?;
            let listen = match source.get("ENTREPOST_LISTEN") {
                None => None,
                Some(text) => Some(text.parse().map_err(|_| {
                    StartError::Other(format!("ENTREPOST_LISTEN = {text}: an address and a port are expected"))
                })?),
            };
            let ports = Ports { server: 3000, entra, smtp, imap, relay, dns, graph };
            let demo = demo::start(ports, listen, days_ahead, &source).await?;
            commands::say(&demo.introduction());
            serve(Arc::clone(&demo.services), demo.listener, demo.relay, site).await?;
            demo.sandbox.stop().await;
            Ok(())
        }
        Command::Sandbox(SandboxPorts { entra, smtp, imap, relay, dns, graph }) => {
            let here = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
            let data = std::path::PathBuf::from("data/sandbox");
            let config = sandbox::Config {
                entra: here(entra),
                smtp: here(smtp),
                imap: here(imap),
                relay: here(relay),
                dns: here(dns),
                graph: here(graph),
                data: Some(data.clone()),
            };
            let sandbox =
                sandbox::Sandbox::start(config).await.map_err(|error| StartError::Other(error.to_string()))?;
            let ca = data.join("ca.pem");
            std::fs::write(&ca, sandbox.ca_pem()).map_err(|error| StartError::Other(error.to_string()))?;
            commands::say(&commands::sandbox_introduction(&sandbox, &ca));
            stop_signal().await;
            sandbox.stop().await;
            Ok(())
        }
        Command::Institution(InstitutionCommand::Add { slug, name, admin, password_stdin }) => {
            commands::add_institution(&slug, &name, &admin, password_stdin).await
        }
        Command::User(UserCommand::Add { slug, address, admin, password_stdin }) => {
            commands::add_user(&slug, &address, admin, password_stdin).await
        }
        Command::Audit(AuditCommand::Verify { slug }) => commands::verify_audit(slug.as_deref()).await,
        Command::Key(KeyCommand::Rotate) => commands::rotate_key().await,
        Command::Doctor => commands::doctor().await,
    }
}

async fn stop_signal() {
    #[cfg(unix)]
    if let Ok(mut terminated) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        }
        return;
    }
    let _ = tokio::signal::ctrl_c().await;
}

async fn bind_relay(services: &Arc<Services>) -> Result<Option<Relay>, StartError> {
    Relay::bind(services).await.map_err(|error| StartError::Other(error.to_string()))
}

async fn serve(
    services: Arc<Services>,
    listener: tokio::net::TcpListener,
    relay: Option<Relay>,
    site: leptos::config::LeptosOptions,
) -> Result<(), StartError> {
    let stop = services.stop.clone();
    tokio::spawn(async move {
        stop_signal().await;
        tracing::info!("stopping");
        stop.cancel();
    });
    tokio::spawn(run_background(Arc::clone(&services)));
    tokio::spawn(Arc::clone(&services.outbox).run(services.tasks.clone()));
    let relay = relay.map(|relay| tokio::spawn(relay.run()));
    let router = http::router(Arc::clone(&services), site);
    http::serve(listener, router, &services).await;
    if let Some(relay) = relay {
        let _ = relay.await;
    }
    services.tasks.close();
    // Runs see the token and end; ten seconds are for writing their result.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(10), services.tasks.wait()).await;
    services.store.close().await;
    Ok(())
}
