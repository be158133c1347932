//! The body of a request, with a clock: whoever sends nothing for too long is let go.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT};
use http::request;
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, Sleep, timeout};

use super::problem::{Kind, Problem};
use crate::media::Digest;

/// What is still read of a body that was refused while it came, so that its sender sees the answer and not a connection
/// that was reset: at most this many bytes ...
const LINGER_BYTES: u64 = 64 << 20;
/// ... and for at most this long.
const LINGER_TIME: Duration = Duration::from_secs(2);
/// How long a short body may take to come, in however many pieces: one byte now and then would keep a connection for
/// weeks.
const SHORT_TIME: Duration = Duration::from_secs(30);

/// Why there is no more of a body.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cut {
    #[error("the body ended before it was complete: {0}")]
    Broken(#[from] hyper::Error),
    #[error("nothing of the body came for {0} s")]
    Stalled(u64),
    #[error("the body did not come within {} s", SHORT_TIME.as_secs())]
    Late,
    #[error("a form may have {0} bytes at most beside its file")]
    Frame(u64),
}

/// The body of a request. Dropped before its end, the rest is read for a moment.
pub(super) struct Payload {
    body: Option<Incoming>,
    stall: Duration,
    silence: Pin<Box<Sleep>>,
    /// Its length, if it says.
    announced_bytes: Option<u64>,
    /// Where its bytes are counted as they come.
    received: Arc<AtomicU64>,
    /// Its sender waits for leave (RFC 9110 §10.1.1), which the first poll gives.
    waits: bool,
}

impl Payload {
    pub(super) fn new(parts: &request::Parts, body: Incoming, stall: Duration, received: Arc<AtomicU64>) -> Self {
        let length = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let expect =
            parts.headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let waits = expect && parts.version >= http::Version::HTTP_11;
        let silence = Box::pin(tokio::time::sleep(stall));
        Self { body: Some(body), stall, silence, announced_bytes: length, received, waits }
    }

    /// True if it is known that nothing will come.
    pub(super) fn is_empty(&self) -> bool {
        self.body.as_ref().is_none_or(hyper::body::Body::is_end_stream)
    }

    /// How long it says it is.
    pub(super) fn announced_bytes(&self) -> Option<u64> {
        self.announced_bytes
    }

    /// The next bytes, `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            match self.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
                Some(Err(cut)) => return Err(cut.into()),
            }
        }
    }

    /// All of a short body.
    pub(super) async fn whole(&mut self, limit_bytes: usize) -> Result<Vec<u8>, Problem> {
        let too_large = || Problem::new(Kind::TooLarge, format!("the body may have {limit_bytes} bytes at most"));
        if self.announced_bytes.is_some_and(|length| length > limit_bytes as u64) {
            return Err(too_large());
        }
        let mut whole = Vec::new();
        let reading = async {
            while let Some(bytes) = self.next().await? {
                if whole.len() + bytes.len() > limit_bytes {
                    return Err(too_large());
                }
                whole.extend_from_slice(&bytes);
            }
            Ok(())
        };
        timeout(SHORT_TIME, reading).await.unwrap_or_else(|_| Err(Cut::Late.into()))?;
        Ok(whole)
    }

    /// Reads it to its end for nothing but its digest, unless its sender waits for leave to send it, or it is too long.
    pub(super) async fn ignore(mut self, limit_bytes: u64) -> Result<Option<Digest>, Problem> {
        let (mut ignored, mut hash) = (0, Sha256::new());
        while !self.waits && ignored <= limit_bytes {
            let Some(bytes) = self.next().await? else { return Ok(super::digest::of(hash)) };
            ignored += bytes.len() as u64;
            hash.update(&bytes);
        }
        Ok(None)
    }
}

impl http_body::Body for Payload {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = &mut *self;
        let Some(body) = this.body.as_mut() else { return Poll::Ready(None) };
        this.waits = false;
        let polled = Pin::new(body).poll_frame(cx);
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.silence.as_mut().reset(Instant::now() + this.stall);
                this.received.fetch_add(frame.data_ref().map_or(0, Bytes::len) as u64, Relaxed);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                this.body = None;
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                this.body = None;
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Pending => match this.silence.as_mut().poll(cx) {
                Poll::Ready(()) => {
                    this.body = None;
                    Poll::Ready(Some(Err(Cut::Stalled(this.stall.as_secs()))))
                }
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        let Some(mut body) = self.body.take().filter(|body| !self.waits && !body.is_end_stream()) else { return };
        tokio::spawn(timeout(LINGER_TIME, async move {
            let mut read = 0;
            while read < LINGER_BYTES
                && let Some(Ok(frame)) = body.frame().await
            {
                read += frame.data_ref().map_or(0, Bytes::len) as u64;
            }
        }));
    }
}

impl From<Cut> for Problem {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::Broken(_) => Self::of(Kind::Incomplete),
            Cut::Stalled(_) | Cut::Late => Self::new(Kind::Stalled, format!("{cut}: send it again")),
            Cut::Frame(_) => Self::new(Kind::TooLarge, cut.to_string()),
        }
    }
}
