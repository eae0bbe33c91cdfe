//! The relay: submission for programs and devices that know only a user name and a password (RFC 6409).
//!
//! Connections are served here; who may send, and what becomes of a message, is the service's.

mod auth;
mod certificate;
mod command;
mod data;
mod sasl;
mod session;
mod tls;
mod transaction;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use app::model::RelayEvent;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::concurrency::slots::Slots;
use crate::service::{Origin, RelayBound, Services};

pub use certificate::{Certificate, CertificateError};
use session::Session;

/// The unit in which memory is taken, in bytes.
const PIECE: usize = 64 * 1024;
/// Time for running sessions at shutdown.
const LAST: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("{0} {1}: {2}")]
    Listen(&'static str, SocketAddr, io::Error),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// How a listener begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listener {
    StartTls,
    Tls,
    /// Without sign-in, for addresses that are named.
    Plain,
}

/// The listeners, bound and not serving yet.
pub struct Relay {
    services: Arc<Services>,
    certificate: Arc<Certificate>,
    listeners: Vec<(Listener, TcpListener)>,
}

/// What all sessions share.
pub(crate) struct Shared {
    pub(crate) services: Arc<Services>,
    pub(crate) certificate: Arc<Certificate>,
    pub(crate) memory: Arc<Semaphore>,
    slots: Arc<Slots>,
}

impl Relay {
    /// Binds what the settings name. `None`: they name no listener.
    pub async fn bind(services: &Arc<Services>) -> Result<Option<Self>, RelayError> {
        let relay = &services.config.relay;
        if !relay.is_on() {
            return Ok(None);
        }
        let mut listeners = Vec::new();
        for (kind, name, address) in [
            (Listener::StartTls, "ENTREPOST_RELAY_LISTEN", relay.listen),
            (Listener::Tls, "ENTREPOST_RELAY_TLS_LISTEN", relay.tls_listen),
            (Listener::Plain, "ENTREPOST_RELAY_PLAIN_LISTEN", relay.plain_listen),
        ] {
            let Some(address) = address else { continue };
            let bound = TcpListener::bind(address).await.map_err(|error| RelayError::Listen(name, address, error))?;
            listeners.push((kind, bound));
        }
        let certificate = Arc::new(Certificate::load(services).await?);
        services.note_relay(bound(&listeners), certificate.fingerprint());
        Ok(Some(Self { services: Arc::clone(services), certificate, listeners }))
    }

    pub fn addresses(&self) -> RelayBound {
        bound(&self.listeners)
    }

    /// Serves until the server stops.
    pub async fn run(self) {
        let Self { services, certificate, listeners } = self;
        let bound = bound(&listeners);
        for (name, address) in [("STARTTLS", bound.starttls), ("TLS", bound.tls), ("no encryption", bound.plain)] {
            if let Some(address) = address {
                tracing::info!("the relay takes mail of devices on {address} ({name})");
            }
        }
        if let Some(fingerprint) = certificate.fingerprint() {
            tracing::info!("the relay's certificate was made here, SHA-256 {fingerprint}");
        }
        let stop = services.stop.clone();
        services.tasks.spawn(Arc::clone(&services).write_relay_log());
        let memory = usize::try_from(services.config.relay.memory_bytes).unwrap_or(usize::MAX) / PIECE;
        let shared = Arc::new(Shared {
            services,
            certificate,
            memory: Arc::new(Semaphore::new(memory.min(Semaphore::MAX_PERMITS))),
            slots: Arc::default(),
        });
        let mut serving = JoinSet::new();
        for (kind, listener) in listeners {
            serving.spawn(accept(kind, listener, Arc::clone(&shared)));
        }
        stop.cancelled().await;
        while serving.join_next().await.is_some() {}
    }
}

fn bound(listeners: &[(Listener, TcpListener)]) -> RelayBound {
    let address = |kind| {
        let found = listeners.iter().find(|(listener, _)| *listener == kind);
        found.and_then(|(_, listener)| listener.local_addr().ok())
    };
    RelayBound { starttls: address(Listener::StartTls), tls: address(Listener::Tls), plain: address(Listener::Plain) }
}

async fn accept(kind: Listener, listener: TcpListener, shared: Arc<Shared>) {
    let (mut running, mut failing) = (JoinSet::new(), false);
    let stop = shared.services.stop.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = running.join_next() => continue,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                failing = false;
                let relay = &shared.services.config.relay;
                let slot = shared.slots.take(peer.ip(), relay.connections, Some(relay.connections_per_address));
                let Some(slot) = slot else {
                    shared.services.relay_log.write(Origin::Address, peer.ip(), RelayEvent::Busy);
                    running.spawn(refuse(stream));
                    continue;
                };
                let shared = Arc::clone(&shared);
                running.spawn(async move {
                    let _slot = slot;
                    Session::serve(shared, kind, stream, peer.ip()).await;
                });
            }
            Err(error) => {
                // Such as too many open files: logged once, then tried again.
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!("the relay accepts no connection: {error}");
                }
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(200)) => {}
                    () = stop.cancelled() => break,
                }
            }
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(LAST, async { while running.join_next().await.is_some() {} }).await;
    running.shutdown().await;
}

async fn refuse(mut stream: TcpStream) {
    let said = stream.write_all(b"421 4.3.2 Too many connections, try again later\r\n");
    let _ = tokio::time::timeout(Duration::from_secs(1), said).await;
}
