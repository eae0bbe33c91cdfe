//! Limits on connections: their number, their deadlines, and shutdown.
//!
//! hyper's deadline covers a request's head and idle connections. This module adds deadlines for bodies, for responses that nobody
//! reads, and for shutdown. A proxy on loopback, or one that forwards client addresses, stands for many clients: its connections
//! are limited in total only.

mod body;
mod socket;

use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use self::body::{RequestBody, ResponseBody};
use self::socket::{Activity, Socket};
use crate::concurrency::slots::Slots;

#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at one time.
    pub connections: usize,
    /// Of those, from one network address. A school often has one address, and each open page keeps a connection.
    pub per_address: usize,
    /// A trusted proxy forwards client addresses: its own connections have no per-address limit.
    pub behind_proxy: bool,
    /// Connections from this machine have no per-address limit.
    pub loopback_free: bool,
    /// Deadline for a request's head, and for idle connections of direct clients.
    pub head: Duration,
    /// Idle deadline for proxies, which keep connections open for minutes (Caddy: two).
    pub idle: Duration,
    /// Longest pause within a body.
    pub pause: Duration,
    /// Deadline for a whole body: this, plus a second for every `rate` bytes.
    pub grace: Duration,
    /// Minimum average rate of a body beyond `grace`, in bytes per second.
    pub rate: u64,
    /// Longest time in which no byte of a response can be written.
    pub write: Duration,
    /// At shutdown: longest pause of a connection.
    pub standstill: Duration,
    /// At shutdown: time for running requests.
    pub last_requests: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            per_address: 1_024,
            behind_proxy: false,
            loopback_free: true,
            head: Duration::from_secs(15),
            idle: Duration::from_secs(150),
            pause: Duration::from_secs(15),
            grace: Duration::from_secs(30),
            rate: 8 * 1024,
            write: Duration::from_secs(30),
            standstill: Duration::from_secs(1),
            last_requests: Duration::from_secs(8),
        }
    }
}

impl Limits {
    fn has_no_share(&self, ip: IpAddr) -> bool {
        self.behind_proxy || (self.loopback_free && ip.to_canonical().is_loopback())
    }
}

/// File descriptors for everything but connections: database, mail servers, static files.
const OTHER_FILES: u64 = 256;
/// Highest descriptor limit requested: containers allow a billion, for which tables would be allocated.
const MOST_FILES: u64 = 65_536;

/// Raises the descriptor limit of this process and returns the number of connections that fit.
pub fn room_for_connections() -> usize {
    let files = rlimit::increase_nofile_limit(MOST_FILES).unwrap_or(1_024);
    usize::try_from(files.saturating_sub(OTHER_FILES).max(files / 2)).unwrap_or(512).min(16_384)
}

/// Ends if no request came in time.
async fn silent(activity: &Activity, limit: Duration) {
    sleep(limit).await;
    if activity.requests.load(Relaxed) > 0 {
        std::future::pending::<()>().await;
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, limits: Arc<Limits>, stop: CancellationToken) {
    // Otherwise a streamed page waits 40 ms for a delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let activity = Arc::new(Activity::default());
    let (known, bounds) = (Arc::clone(&activity), Arc::clone(&limits));
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let activity = Arc::clone(&known);
        activity.requests.fetch_add(1, Relaxed);
        activity.requested.store(true, Relaxed);
        activity.reading.store(!request.body().is_end_stream(), Relaxed);
        activity.waits_for_us.store(true, Relaxed);
        activity.unread.store(false, Relaxed);
        let mut request = request.map(|body| RequestBody::new(body, Arc::clone(&activity), Arc::clone(&bounds)));
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = router.clone().call(request);
        async move {
            let answer = answer.await;
            activity.waits_for_us.store(false, Relaxed);
            answer.map(|answer| answer.map(|body| ResponseBody { body, activity }))
        }
    });
    let socket = Socket::new(stream, Arc::clone(&activity), limits.write, limits.head);
    let first_head = limits.head;
    let head = if limits.has_no_share(peer.ip()) { limits.idle } else { limits.head };
    let mut serving = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head)
            .max_buf_size(64 * 1024)
            .serve_connection(TokioIo::new(socket), service)
    );
    tokio::select! {
        _ = serving.as_mut() => return,
        // A proxy opens a connection for a request; afterwards it may keep it.
        () = silent(&activity, first_head) => return,
        () = stop.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    // Idle connections end at the next poll, others without a request or when their client stalls.
    let stopped = Instant::now();
    let mut before = activity.moved.load(Relaxed);
    while timeout(limits.standstill, serving.as_mut()).await.is_err() {
        let now = activity.moved.load(Relaxed);
        let stands_still = now == before && !activity.waits_for_us.load(Relaxed);
        // Does not wait for the end of a body that is still under way.
        let trickles = activity.reading.load(Relaxed) && stopped.elapsed() > limits.standstill * 2;
        if !activity.requested.load(Relaxed) || stands_still || trickles {
            return;
        }
        before = now;
    }
}

/// Serves until the token is cancelled, then finishes running requests within the limit.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: &CancellationToken) {
    let (router, limits): (Router, _) = (router.with_state(()), Arc::new(limits));
    let (slots, mut running, mut failing) = (Arc::new(Slots::default()), JoinSet::new(), false);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // A panic was reported by the hook and ends only its connection.
            Some(_) = running.join_next() => continue,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                failing = false;
                let share = (!limits.has_no_share(peer.ip())).then_some(limits.per_address);
                let Some(slot) = slots.take(peer.ip(), limits.connections, share) else {
                    refuse(stream);
                    continue;
                };
                let serving = connection(stream, peer, router.clone(), Arc::clone(&limits), stop.clone());
                running.spawn(async move {
                    let _slot = slot;
                    serving.await;
                });
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::ConnectionRefused
                ) => {}
            Err(error) => {
                // Such as too many open files: logged once, then retried.
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!("no connection can be accepted: {error}");
                }
                tokio::select! {
                    () = sleep(Duration::from_millis(200)) => {}
                    () = stop.cancelled() => break,
                }
            }
        }
    }
    drop(listener);
    let _ = timeout(limits.last_requests, async { while running.join_next().await.is_some() {} }).await;
    running.shutdown().await;
}

const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 5\r\ncontent-length: 0\r\n\r\n";

/// Refuses a connection beyond the limit, without waiting.
fn refuse(stream: TcpStream) {
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write(FULL);
    }
}
