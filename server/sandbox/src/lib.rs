//! The sandbox: a local stand-in for Entra ID and Exchange Online.
//!
//! It speaks HTTP, SMTP and IMAP on loopback, reproduces Microsoft's errors, limits and token
//! rotation, and injects faults. Nothing in Entrepost recognises it.
//!
//! **Architecture invariant:** uses no crate of the product, so both don't share a mistake.

#![allow(clippy::disallowed_methods, reason = "the stand-in is another world, with a clock and dice of its own")]

mod assertion;
mod dns;
mod entra;
mod faults;
mod graph;
mod html;
mod imap;
mod portal;
mod smtp;
mod tls;
mod token;
mod world;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use dns::DnsRecord;
pub use faults::{Delivery, Faults, SmtpAuthSwitch};
pub use world::{Account, App, Federated, Folder, Gate, GraphState, Mail, World};

/// Addresses to listen on, and the data directory.
#[derive(Debug, Clone)]
pub struct Config {
    /// Entra ID and the portal, plain HTTP.
    pub entra: SocketAddr,
    /// SMTP submission with STARTTLS.
    pub smtp: SocketAddr,
    /// IMAP with implicit TLS.
    pub imap: SocketAddr,
    /// A relay without authentication, as for a system default.
    pub relay: SocketAddr,
    /// DNS of the tenant's domains, UDP.
    pub dns: SocketAddr,
    /// Microsoft Graph, plain HTTP.
    pub graph: SocketAddr,
    /// Directory of accounts, mail and keys; in memory if `None`.
    pub data: Option<PathBuf>,
}

impl Config {
    /// Free ports, in memory: for tests.
    pub fn ephemeral() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { entra: any, smtp: any, imap: any, relay: any, dns: any, graph: any, data: None }
    }
}

/// Errors on starting.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address other than loopback.
    #[error("the sandbox listens on loopback only, and {0} is not a loopback address")]
    NotLoopback(SocketAddr),
    /// A port is taken.
    #[error(
        "{address} for the sandbox's {part}: {source}. Is another sandbox running? Choose another port with --{part}-port (0 takes a free one)."
    )]
    Port {
        /// The service.
        part: &'static str,
        address: SocketAddr,
        /// The cause.
        source: std::io::Error,
    },
    /// A file cannot be read or written.
    #[error("{what}: {source}")]
    Io {
        /// The operation.
        what: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The stored state is unreadable.
    #[error("{path} cannot be read ({reason}); delete it to start with an empty sandbox")]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Generating a key or certificate failed.
    #[error("making keys: {0}")]
    Keys(String),
}

/// Shared by all services.
pub(crate) struct Shared {
    world: Mutex<World>,
    /// Notified when mail arrives or flags change, for IDLE.
    pub(crate) changed: Notify,
    /// Notified when the faults change.
    pub(crate) faulted: Notify,
    pub(crate) authority: String,
    pub(crate) graph: String,
    pub(crate) acceptor: tokio_rustls::TlsAcceptor,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Shared {
    /// The state. Ignores poisoning: a panic elsewhere must not block the sandbox.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current faults.
    pub(crate) fn faults(&self) -> Faults {
        self.world().faults.clone()
    }
}

/// A running sandbox.
pub struct Sandbox {
    shared: Arc<Shared>,
    entra: SocketAddr,
    smtp: SocketAddr,
    imap: SocketAddr,
    relay: SocketAddr,
    dns: SocketAddr,
    ca_pem: String,
    data: Option<PathBuf>,
}

impl Sandbox {
    /// Binds all ports and serves until [`Sandbox::stop`].
    ///
    /// # Errors
    /// [`Error`]: an address that is not loopback, a taken port, unreadable data.
    pub async fn start(config: Config) -> Result<Self, Error> {
        for address in [config.entra, config.smtp, config.imap, config.relay, config.dns, config.graph] {
            if !address.ip().is_loopback() {
                return Err(Error::NotLoopback(address));
            }
        }
        let bind = async |part: &'static str, address: SocketAddr| {
            TcpListener::bind(address).await.map_err(|source| Error::Port { part, address, source })
        };
        let (entra, smtp) = (bind("entra", config.entra).await?, bind("smtp", config.smtp).await?);
        let (imap, relay) = (bind("imap", config.imap).await?, bind("relay", config.relay).await?);
        let graph = bind("graph", config.graph).await?;
        let address = |listener: &TcpListener| {
            listener.local_addr().map_err(|source| Error::Io { what: "reading a port".into(), source })
        };
        let (entra_at, smtp_at, imap_at, relay_at) =
            (address(&entra)?, address(&smtp)?, address(&imap)?, address(&relay)?);

        let graph_at = address(&graph)?;
        let dns = UdpSocket::bind(config.dns).await.map_err(|source| Error::Port {
            part: "dns",
            address: config.dns,
            source,
        })?;
        let dns_at = dns.local_addr().map_err(|source| Error::Io { what: "reading a port".into(), source })?;

        let world = match &config.data {
            Some(directory) => World::open(directory)?,
            None => World::seeded(String::new())?,
        };
        let tls = tls::Authority::make().map_err(Error::Keys)?;
        let shared = Arc::new(Shared {
            world: Mutex::new(world),
            changed: Notify::new(),
            faulted: Notify::new(),
            authority: format!("http://localhost:{}", entra_at.port()),
            graph: format!("http://localhost:{}", graph_at.port()),
            acceptor: tls.acceptor,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });

        let router = entra::router(Arc::clone(&shared)).merge(portal::router(Arc::clone(&shared)));
        let router = router.layer(axum::middleware::from_fn(portal::only_from_here));
        let stop = shared.stop.clone();
        shared.tasks.spawn(async move {
            let served = axum::serve(entra, router).with_graceful_shutdown(async move { stop.cancelled().await }).await;
            if let Err(error) = served {
                tracing::error!("the sandbox's Entra stopped: {error}");
            }
        });
        accept_loop(&shared, "smtp", smtp, smtp::serve);
        accept_loop(&shared, "imap", imap, imap::serve);
        accept_loop(&shared, "relay", relay, smtp::serve_relay);
        shared.tasks.spawn(dns::serve(Arc::clone(&shared), dns));
        shared.tasks.spawn(graph::serve(Arc::clone(&shared), graph, graph_at));
        if let Some(directory) = config.data.clone() {
            let keeper = Arc::clone(&shared);
            shared.tasks.spawn(async move {
                loop {
                    let stopping = tokio::select! {
                        () = keeper.stop.cancelled() => true,
                        () = tokio::time::sleep(std::time::Duration::from_millis(500)) => false,
                    };
                    let saved = keeper.world().save_if_changed(&directory);
                    if let Err(error) = saved {
                        tracing::error!("the sandbox cannot keep its data: {error}");
                    }
                    if stopping {
                        break;
                    }
                }
            });
        }
        Ok(Self {
            shared,
            entra: entra_at,
            smtp: smtp_at,
            imap: imap_at,
            relay: relay_at,
            dns: dns_at,
            ca_pem: tls.ca_pem,
            data: config.data,
        })
    }

    /// The authority's and the portal's address (`http://localhost:PORT`).
    pub fn authority(&self) -> &str {
        &self.shared.authority
    }

    /// Microsoft Graph's address (`http://localhost:PORT`).
    pub fn graph(&self) -> &str {
        &self.shared.graph
    }

    /// Entra's address.
    pub fn entra_addr(&self) -> SocketAddr {
        self.entra
    }

    /// SMTP's address. Its certificate is for `localhost`.
    pub fn smtp_addr(&self) -> SocketAddr {
        self.smtp
    }

    /// IMAP's address. Its certificate is for `localhost`.
    pub fn imap_addr(&self) -> SocketAddr {
        self.imap
    }

    /// The relay's address, without TLS.
    pub fn relay_addr(&self) -> SocketAddr {
        self.relay
    }

    /// DNS's address, UDP.
    pub fn dns_addr(&self) -> SocketAddr {
        self.dns
    }

    /// The CA that signed the certificates, as PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The state, for tests and for seeding.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world()
    }

    /// Delivers an external message to an INBOX and notifies IDLE.
    pub fn deliver(&self, address: &str, raw: &[u8]) {
        self.shared.world().deliver(address, "INBOX", raw);
        self.shared.changed.notify_waiters();
    }

    /// Ends all IMAP sessions, as expired tokens do.
    pub fn end_imap_sessions(&self) {
        self.shared.world().end_imap_sessions();
        self.shared.changed.notify_waiters();
    }

    /// Closes all connections and saves the data.
    pub async fn stop(self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        if let Some(directory) = &self.data
            && let Err(error) = self.shared.world().save_if_changed(directory)
        {
            tracing::error!("the sandbox cannot keep its data: {error}");
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

/// Closes the port while a fault says so. `None`: the sandbox stops.
async fn plugged_again(shared: &Shared, part: &str, listener: TcpListener) -> Option<TcpListener> {
    let address = listener.local_addr().ok()?;
    drop(listener);
    loop {
        let changed = shared.faulted.notified();
        if shared.faults().unplugged != part {
            return TcpListener::bind(address).await.ok();
        }
        tokio::select! {
            () = shared.stop.cancelled() => return None,
            () = changed => {}
        }
    }
}

fn accept_loop<F, Fut>(shared: &Arc<Shared>, part: &'static str, mut listener: TcpListener, serve: F)
where
    F: Fn(Arc<Shared>, tokio::net::TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let shared = Arc::clone(shared);
    let tasks = shared.tasks.clone();
    tasks.clone().spawn(async move {
        loop {
            let changed = shared.faulted.notified();
            if shared.faults().unplugged == part {
                let Some(again) = plugged_again(&shared, part, listener).await else { break };
                listener = again;
            }
            let accepted = tokio::select! {
                () = shared.stop.cancelled() => break,
                () = changed => continue,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else { continue };
            let _ = stream.set_nodelay(true);
            let (stop, session) = (shared.stop.clone(), serve(Arc::clone(&shared), stream));
            tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    // Closed connections aren't logged.
                    _ = session => {}
                }
            });
        }
    });
}
