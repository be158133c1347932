//! The bytes of an answer, as they come.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::Error;

/// Longest wait, in sum, for the next [`LEAST_BYTES`].
const IDLE: Duration = Duration::from_secs(30);
/// What has to come in that time: who sends a byte now and then does not hold a request for ever.
const LEAST_BYTES: u64 = 32 << 10;

/// The body of an answer. Dropping it ends the connection.
#[derive(Debug)]
pub struct Body {
    incoming: Incoming,
    host: String,
    limit_bytes: u64,
    read_bytes: u64,
    /// Time waited for the bytes of this stretch ...
    waited: Duration,
    /// ... and how many there were.
    since_bytes: u64,
    _task: Task,
}

/// The connection at work.
#[derive(Debug)]
pub(super) struct Task(pub(super) JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Body {
    pub(super) fn new(incoming: Incoming, host: String, task: Task) -> Self {
        let (read_bytes, waited, since_bytes) = (0, Duration::ZERO, 0);
        Self { incoming, host, limit_bytes: u64::MAX, read_bytes, waited, since_bytes, _task: task }
    }

    pub(super) fn limit(&mut self, limit_bytes: u64) {
        self.limit_bytes = limit_bytes;
    }

    /// The next bytes; `None` at the end, if it is the end that was announced.
    ///
    /// # Errors
    /// [`Error::Broken`], [`Error::Slow`], [`Error::TooLarge`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let begun = Instant::now();
            let came = timeout(IDLE.saturating_sub(self.waited), self.incoming.frame()).await;
            self.waited += begun.elapsed();
            let Ok(came) = came else {
                return Err(Error::Slow { host: self.host.clone(), what: "to send the next bytes", limit: IDLE });
            };
            let Some(frame) = came else { return Ok(None) };
            let frame = frame.map_err(|why| Error::Broken { host: self.host.clone(), why: told(&why) })?;
            // Trailers tell nothing that is asked for.
            let Ok(bytes) = frame.into_data() else { continue };
            self.read_bytes += bytes.len() as u64;
            if self.read_bytes > self.limit_bytes {
                return Err(Error::TooLarge { limit_bytes: self.limit_bytes });
            }
            self.since_bytes += bytes.len() as u64;
            if self.since_bytes >= LEAST_BYTES {
                (self.waited, self.since_bytes) = (Duration::ZERO, 0);
            }
            return Ok(Some(bytes));
        }
    }
}

/// An error with its cause: hyper says only the half of it.
fn told(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
