//! A socket with deadlines for request heads and for writing.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

#[derive(Default)]
pub(super) struct Activity {
    /// Bytes in both directions.
    pub(super) moved: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) requested: AtomicBool,
    pub(super) reading: AtomicBool,
    pub(super) waits_for_us: AtomicBool,
    /// A request body was not read to its end.
    pub(super) unread: AtomicBool,
}

/// A socket with deadlines.
pub(super) struct Socket {
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
    pub(super) fn new(stream: TcpStream, activity: Arc<Activity>, write: Duration, head: Duration) -> Self {
        Self {
            stream,
            activity,
            write,
            timer: Box::pin(sleep(Duration::ZERO)),
            head,
            head_timer: Box::pin(sleep(Duration::ZERO)),
            in_head: None,
            stalled: None,
            waited: Duration::ZERO,
            written: 0,
            ended: false,
        }
    }

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
