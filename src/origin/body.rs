//! Bodies of answers: nothing, bytes that are there, bytes that are being made, or another room's.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::cache::{FlightError, Reader};

use super::access_log::Entry;
use super::connection::Open;
use super::respond::Asked;
use super::{Counters, ForeignBody};

/// HTTP/2 takes a body in pieces of this size, bytes, as its window allows: what a stalled peer holds stays visible.
const H2_PIECE_BYTES: usize = 256 << 10;

/// The body of an answer.
pub struct Body {
    kind: Kind,
    /// Says that the connection is busy until the body is sent or dropped.
    open: Option<Open>,
    /// Is told what is sent, if somebody wants to know.
    entry: Option<Box<Entry>>,
}

/// A body that cannot be finished. hyper then closes or resets instead of ending it.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The encode failed under way.
    #[error("the segment could not be finished: {0}")]
    Flight(#[from] FlightError),
    /// Nothing came for too long.
    #[error("nothing came for {0} s")]
    Silent(u64),
}

enum Kind {
    Empty,
    Whole(Bytes),
    Stream(Box<Stream>),
    Foreign(ForeignBody),
}

/// Bytes that are being made.
pub(super) struct Stream {
    first: Option<Bytes>,
    reader: Reader,
    gap: Duration,
    silence: Pin<Box<Sleep>>,
    over: bool,
    counters: Arc<Counters>,
    request: String,
    path: String,
}

impl Body {
    pub(super) fn empty() -> Self {
        Self { kind: Kind::Empty, open: None, entry: None }
    }

    pub(super) fn whole(bytes: Bytes) -> Self {
        Self { kind: if bytes.is_empty() { Kind::Empty } else { Kind::Whole(bytes) }, open: None, entry: None }
    }

    pub(super) fn stream(stream: Stream) -> Self {
        Self { kind: Kind::Stream(Box::new(stream)), open: None, entry: None }
    }

    pub(super) fn foreign(body: ForeignBody) -> Self {
        Self { kind: Kind::Foreign(body), open: None, entry: None }
    }

    /// Ties the body to the connection it is sent on.
    pub(super) fn hold(&mut self, open: Open, entry: Option<Box<Entry>>) {
        self.open = Some(open);
        self.entry = entry;
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        let piece = if this.open.as_ref().is_some_and(Open::is_http2) { H2_PIECE_BYTES } else { usize::MAX };
        let polled = match &mut this.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Whole(bytes) => {
                let next = bytes.split_to(bytes.len().min(piece));
                if bytes.is_empty() {
                    this.kind = Kind::Empty;
                }
                Poll::Ready(Some(Ok(next)))
            }
            Kind::Stream(stream) => stream.poll_next(cx),
            Kind::Foreign(body) => match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => Poll::Ready(frame.into_data().ok().map(Ok)),
                Poll::Ready(Some(Err(never))) => match never {},
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            },
        };
        if let Some(open) = &mut this.open {
            open.waits_for_us(polled.is_pending());
        }
        if let (Some(entry), Poll::Ready(Some(Ok(bytes)))) = (&mut this.entry, &polled) {
            entry.sent(bytes.len());
        }
        polled.map(|item| item.map(|result| result.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Whole(_) | Kind::Stream(_) => false,
            Kind::Foreign(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(_) => SizeHint::default(),
            Kind::Foreign(body) => body.size_hint(),
        }
    }
}

impl Stream {
    pub(super) fn new(first: Bytes, reader: Reader, gap: Duration, asked: &Asked, counters: Arc<Counters>) -> Self {
        Self {
            first: Some(first),
            reader,
            gap,
            silence: Box::pin(tokio::time::sleep(gap)),
            over: false,
            counters,
            request: asked.id.to_str().unwrap_or_default().to_owned(),
            path: asked.parts.uri.path().to_owned(),
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if let Some(first) = self.first.take() {
            self.silence.as_mut().reset(Instant::now() + self.gap);
            return Poll::Ready(Some(Ok(first)));
        }
        let broken = match self.reader.poll_next(cx) {
            Poll::Ready(Some(Ok(chunk))) => {
                self.silence.as_mut().reset(Instant::now() + self.gap);
                return Poll::Ready(Some(Ok(chunk)));
            }
            Poll::Ready(None) => {
                self.over = true;
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(error))) => Broken::Flight(error),
            Poll::Pending => {
                ready!(self.silence.as_mut().poll(cx));
                Broken::Silent(self.gap.as_secs())
            }
        };
        self.over = true;
        self.counters.broken_bodies.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(request = self.request, path = self.path, error = %broken, "an answer was broken off");
        Poll::Ready(Some(Err(broken)))
    }
}
