//! Limits on connections: their number, their deadlines, and shutdown.
//!
//! hyper's deadline covers a request's head and idle connections. This module adds deadlines for bodies, for responses that nobody
//! reads, and for shutdown. A proxy on loopback, or one that forwards client addresses, stands for many clients: its connections
//! are limited in total only.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{self, IoSlice, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ConnectInfo;
use axum::{BoxError, Router};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::guard::network;

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

#[derive(Default)]
struct Counts {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

#[derive(Default)]
struct Slots(Mutex<Counts>);

/// A connection's slot; released when dropped.
struct Slot {
    slots: Arc<Slots>,
    address: Option<IpAddr>,
}

impl Slots {
    fn take(self: &Arc<Self>, ip: IpAddr, limits: &Limits) -> Option<Slot> {
        let address = (!limits.has_no_share(ip)).then(|| network(ip));
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has = address.map_or(0, |address| counts.by_address.get(&address).copied().unwrap_or_default());
        if counts.all >= limits.connections || has >= limits.per_address {
            return None;
        }
        counts.all += 1;
        if let Some(address) = address {
            *counts.by_address.entry(address).or_default() += 1;
        }
        Some(Slot { slots: Arc::clone(self), address })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.slots.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all = counts.all.saturating_sub(1);
        if let Some(address) = self.address
            && let Entry::Occupied(mut count) = counts.by_address.entry(address)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[derive(Default)]
struct Activity {
    /// Bytes in both directions.
    moved: AtomicU64,
    requests: AtomicU64,
    requested: AtomicBool,
    reading: AtomicBool,
    waits_for_us: AtomicBool,
    /// A request body was not read to its end.
    unread: AtomicBool,
}

/// A socket with deadlines.
struct Socket {
    stream: TcpStream,
    activity: Arc<Activity>,
    write: Duration,
    timer: Pin<Box<Sleep>>,
    /// Deadline for a request's head from its first byte.
    head: Duration,
    head_timer: Pin<Box<Sleep>>,
    /// Set while a head is being received: the number of requests before it.
    in_head: Option<u64>,
    /// Since when writing blocks.
    stalled: Option<Instant>,
    /// Total time that writing was blocked, and bytes written.
    waited: Duration,
    written: u64,
    ended: bool,
}

/// Minimum average rate at which a client must read a blocked response, in bytes per second.
const READ_RATE: u64 = 1024;

impl Socket {
    fn watched(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(done) = polled {
            if let Some(since) = self.stalled.take() {
                self.waited += since.elapsed();
            }
            if let Ok(count) = &done {
                self.activity.moved.fetch_add(*count as u64, Relaxed);
                self.written += *count as u64;
            }
            return Poll::Ready(done);
        }
        if self.stalled.is_none() {
            self.stalled = Some(Instant::now());
            // A client that reads a little now and then must reach this average.
            let allowed = self.write * 2 + Duration::from_secs(self.written / READ_RATE);
            let patience = allowed.saturating_sub(self.waited).min(self.write);
            self.timer.as_mut().reset(Instant::now() + patience);
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (this, before) = (self.get_mut(), buf.filled().len());
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        this.activity.moved.fetch_add((buf.filled().len() - before) as u64, Relaxed);
        let requests = this.activity.requests.load(Relaxed);
        if this.activity.requested.load(Relaxed) || this.in_head.is_some_and(|before| before != requests) {
            this.in_head = None;
        }
        if polled.is_ready() {
            if !this.activity.requested.load(Relaxed) && this.in_head.is_none() {
                this.in_head = Some(requests);
                this.head_timer.as_mut().reset(Instant::now() + this.head);
            }
            return polled;
        }
        // hyper's deadline starts with the previous response, and a proxy's connections may be idle long between requests.
        if this.in_head.is_some() {
            ready!(this.head_timer.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

/// How long an unread body is drained: a client cut off while sending never reads the response.
const LINGER: Duration = Duration::from_secs(2);

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.watched(cx, polled)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, all: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(cx, all);
        this.watched(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ended {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.ended = true;
            this.timer.as_mut().reset(Instant::now() + LINGER);
        }
        while this.activity.unread.load(Relaxed) && this.timer.as_mut().poll(cx).is_pending() {
            let mut bytes = [0; 8_192];
            let mut buf = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the body came too slowly")]
struct TooSlow;

/// A request's body. Only time spent waiting for the client counts.
struct RequestBody {
    body: Incoming,
    activity: Arc<Activity>,
    limits: Arc<Limits>,
    timer: Pin<Box<Sleep>>,
    since: Option<Instant>,
    waited: Duration,
    arrived: u64,
    ended: bool,
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        this.activity.waits_for_us.store(polled.is_ready(), Relaxed);
        if let Poll::Ready(frame) = polled {
            if let Some(since) = this.since.take() {
                this.waited += since.elapsed();
            }
            match &frame {
                Some(Ok(frame)) => this.arrived += frame.data_ref().map_or(0, Bytes::len) as u64,
                _ => {
                    this.ended = true;
                    this.activity.reading.store(false, Relaxed);
                }
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if this.since.is_none() {
            let allowed = this.limits.grace + Duration::from_secs(this.arrived / this.limits.rate.max(1));
            let patience = allowed.saturating_sub(this.waited).min(this.limits.pause);
            this.since = Some(Instant::now());
            this.timer.as_mut().reset(Instant::now() + patience);
        }
        ready!(this.timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(TooSlow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.activity.reading.store(false, Relaxed);
        if !self.ended && !self.body.is_end_stream() {
            self.activity.unread.store(true, Relaxed);
        }
    }
}

struct ResponseBody {
    body: Body,
    activity: Arc<Activity>,
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        this.activity.waits_for_us.store(polled.is_pending(), Relaxed);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.activity.waits_for_us.store(false, Relaxed);
        self.activity.requested.store(false, Relaxed);
    }
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
        let mut request = request.map(|body| RequestBody {
            body,
            activity: Arc::clone(&activity),
            limits: Arc::clone(&bounds),
            timer: Box::pin(sleep(Duration::ZERO)),
            since: None,
            waited: Duration::ZERO,
            arrived: 0,
            ended: false,
        });
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = router.clone().call(request);
        async move {
            let answer = answer.await;
            activity.waits_for_us.store(false, Relaxed);
            answer.map(|answer| answer.map(|body| ResponseBody { body, activity }))
        }
    });
    let socket = Socket {
        stream,
        activity: Arc::clone(&activity),
        write: limits.write,
        timer: Box::pin(sleep(Duration::ZERO)),
        head: limits.head,
        head_timer: Box::pin(sleep(Duration::ZERO)),
        in_head: None,
        stalled: None,
        waited: Duration::ZERO,
        written: 0,
        ended: false,
    };
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
                let Some(slot) = slots.take(peer.ip(), &limits) else {
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
