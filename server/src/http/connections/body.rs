//! Bodies of requests, with deadlines, and of responses.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use super::Limits;
use super::socket::Activity;

#[derive(Debug, thiserror::Error)]
#[error("the body came too slowly")]
struct TooSlow;

/// A request's body. Only time spent waiting for the client counts.
pub(super) struct RequestBody {
    body: Incoming,
    activity: Arc<Activity>,
    limits: Arc<Limits>,
    timer: Pin<Box<Sleep>>,
    since: Option<Instant>,
    waited: Duration,
    arrived: u64,
    ended: bool,
}

impl RequestBody {
    pub(super) fn new(body: Incoming, activity: Arc<Activity>, limits: Arc<Limits>) -> Self {
        Self {
            body,
            activity,
            limits,
            timer: Box::pin(sleep(Duration::ZERO)),
            since: None,
            waited: Duration::ZERO,
            arrived: 0,
            ended: false,
        }
    }
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

pub(super) struct ResponseBody {
    pub(super) body: Body,
    pub(super) activity: Arc<Activity>,
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
