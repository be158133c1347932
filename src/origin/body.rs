//! Bodies of answers: nothing, bytes that are there, bytes that are being made, or another room's.

use std::future::Future;
use std::mem;
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

/// HTTP/2 takes a body in pieces of this size, bytes, as its window allows. Whoever takes none for too long is cut off, so a
/// piece is small: many answers may share a slow line.
const H2_PIECE_BYTES: usize = 32 << 10;

/// The body of an answer.
pub struct Body {
    kind: Kind,
    /// What has yet to be taken of a chunk.
    rest: Bytes,
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
        Self::of(Kind::Empty)
    }

    pub(super) fn whole(bytes: Bytes) -> Self {
        Self::of(if bytes.is_empty() { Kind::Empty } else { Kind::Whole(bytes) })
    }

    pub(super) fn stream(stream: Stream) -> Self {
        Self::of(Kind::Stream(Box::new(stream)))
    }

    pub(super) fn foreign(body: ForeignBody) -> Self {
        Self::of(Kind::Foreign(body))
    }

    fn of(kind: Kind) -> Self {
        Self { kind, rest: Bytes::new(), open: None, entry: None }
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
        let is_rest = !this.rest.is_empty();
        let mut polled = if is_rest { Poll::Ready(Some(Ok(mem::take(&mut this.rest)))) } else { this.kind.poll(cx) };
        if let (Poll::Ready(Some(Ok(bytes))), true) = (&mut polled, this.open.as_ref().is_some_and(Open::is_http2)) {
            let piece = match bytes.len() {
                // hyper lets go of a body when its last piece is in the window, even if only by a byte. What hangs over would
                // hold the whole, and nobody would see it; so the last piece of a long one is a byte.
                2..=H2_PIECE_BYTES if is_rest => bytes.len() - 1,
                length => length.min(H2_PIECE_BYTES),
            };
            this.rest = bytes.split_off(piece);
        }
        if let Some(open) = &this.open {
            open.waits_for_us(polled.is_pending());
        }
        if let (Some(entry), Poll::Ready(Some(Ok(bytes)))) = (&mut this.entry, &polled) {
            entry.sent(bytes.len());
        }
        polled.map(|item| item.map(|result| result.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            _ if !self.rest.is_empty() => false,
            Kind::Empty => true,
            Kind::Whole(_) | Kind::Stream(_) => false,
            Kind::Foreign(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(self.rest.len() as u64),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(_) => SizeHint::default(),
            Kind::Foreign(body) => body.size_hint(),
        }
    }
}

impl Kind {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes) => {
                let whole = mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(whole)))
            }
            Self::Stream(stream) => stream.poll_next(cx),
            Self::Foreign(body) => match http_body::Body::poll_frame(Pin::new(body), cx) {
                Poll::Ready(Some(Ok(frame))) => Poll::Ready(frame.into_data().ok().map(Ok)),
                Poll::Ready(Some(Err(never))) => match never {},
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            },
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
