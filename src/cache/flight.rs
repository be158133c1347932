//! One object in the making: the chunks so far, those who read them, and how it ended.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;
use tokio::time::Instant;

use super::lock;

/// Why an object was not made. Every reader gets a copy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlightError {
    /// It was tried and went wrong.
    #[error("making it failed: {message}")]
    Failed {
        /// What went wrong, for the log.
        message: Arc<str>,
    },
    /// There is no room for the work now.
    #[error("too busy, try again in {retry_after_seconds} s")]
    Busy {
        /// When it may be worth another try, seconds.
        retry_after_seconds: u32,
    },
    /// Nobody could begin: no worker could be started. It is no fault of the object.
    #[error("{message}")]
    NoWorker {
        /// What went wrong, for the log.
        message: Arc<str>,
    },
    /// Workers died of it again and again: it is not tried for a while.
    #[error("it is left alone for another {retry_after_seconds} s")]
    LeftAlone {
        /// When it is tried again, seconds.
        retry_after_seconds: u32,
    },
    /// There is no such object.
    #[error("no such object")]
    NotFound,
    /// Whoever made it went away without a word. Claiming again is right: nothing was found wrong.
    #[error("its maker went away")]
    Abandoned,
}

impl FlightError {
    /// When it is worth another try, seconds, where nobody knows better.
    pub const RETRY_SECONDS: u32 = 2;

    /// Something went wrong.
    #[must_use]
    pub fn failed(message: impl Into<Arc<str>>) -> Self {
        Self::Failed { message: message.into() }
    }
}

/// An object in the making, shared by its [`super::Writer`] and any number of [`Reader`]s.
pub struct Flight {
    progress: Mutex<Progress>,
    /// Number of readers.
    viewers: watch::Sender<usize>,
    /// When the first of those who wait runs out of what to play, as far as they say.
    due: watch::Sender<Option<Instant>>,
    /// Somebody works on it: it does not only wait its turn.
    begun: AtomicBool,
}

/// Someone waiting for the object; counts as a viewer until dropped. Starts at the first byte, whenever it comes.
#[derive(Debug)]
pub struct Reader {
    flight: Arc<Flight>,
    id: u64,
    /// Chunks taken while the flight was open.
    taken: usize,
    /// Bytes taken.
    at: usize,
    ended: bool,
}

struct Progress {
    state: State,
    /// Readers waiting for more, by id.
    waiting: HashMap<u64, Waker>,
    next_id: u64,
}

enum State {
    Open { chunks: Vec<Bytes>, len: usize },
    Done(Bytes),
    Failed(FlightError),
}

impl Reader {
    /// What is read.
    #[must_use]
    pub fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }

    /// How many readers there are, this one included.
    #[cfg(test)]
    pub(crate) fn viewers(&self) -> usize {
        self.flight.viewers()
    }

    /// The next bytes in order, without a copy; `None` after the last one or after an error. An error overtakes
    /// chunks not taken yet: they are of no use.
    pub async fn next(&mut self) -> Option<Result<Bytes, FlightError>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// [`Reader::next`] for hand-written bodies.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, FlightError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let mut progress = lock(&self.flight.progress);
        let item = match &progress.state {
            State::Open { chunks, .. } => {
                let Some(chunk) = chunks.get(self.taken) else {
                    progress.waiting.insert(self.id, cx.waker().clone());
                    return Poll::Pending;
                };
                self.taken += 1;
                self.at += chunk.len();
                Some(Ok(chunk.clone()))
            }
            State::Done(whole) => {
                self.ended = true;
                let rest = whole.slice(self.at..);
                (!rest.is_empty()).then_some(Ok(rest))
            }
            State::Failed(error) => {
                self.ended = true;
                Some(Err(error.clone()))
            }
        };
        Poll::Ready(item)
    }

    /// Waits for the end; the whole object, without a copy, whatever was read before.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn whole(self) -> Result<Bytes, FlightError> {
        poll_fn(|cx| {
            let mut progress = lock(&self.flight.progress);
            match &progress.state {
                State::Open { .. } => {
                    progress.waiting.insert(self.id, cx.waker().clone());
                    Poll::Pending
                }
                State::Done(whole) => Poll::Ready(Ok(whole.clone())),
                State::Failed(error) => Poll::Ready(Err(error.clone())),
            }
        })
        .await
    }
}

impl Drop for Reader {
    /// Stops counting as a viewer.
    fn drop(&mut self) {
        lock(&self.flight.progress).waiting.remove(&self.id);
        self.flight.viewers.send_modify(|viewers| *viewers -= 1);
    }
}

impl Flight {
    pub(super) fn new() -> Self {
        let state = State::Open { chunks: Vec::new(), len: 0 };
        let progress = Progress { state, waiting: HashMap::new(), next_id: 0 };
        Self {
            progress: Mutex::new(progress),
            viewers: watch::Sender::new(0),
            due: watch::Sender::new(None),
            begun: AtomicBool::new(false),
        }
    }

    /// One more reader, from the first byte.
    #[must_use]
    pub fn reader(self: &Arc<Self>) -> Reader {
        let mut progress = lock(&self.progress);
        let id = progress.next_id;
        progress.next_id += 1;
        drop(progress);
        self.viewers.send_modify(|viewers| *viewers += 1);
        Reader { flight: Arc::clone(self), id, taken: 0, at: 0, ended: false }
    }

    /// Resolves when it is over, for one who is no viewer: nothing goes on for their sake.
    ///
    /// # Errors
    /// Why nothing was made.
    pub async fn ended(&self) -> Result<(), FlightError> {
        let id = {
            let mut progress = lock(&self.progress);
            progress.next_id += 1;
            progress.next_id - 1
        };
        poll_fn(|cx| {
            let mut progress = lock(&self.progress);
            match &progress.state {
                State::Open { .. } => {
                    progress.waiting.insert(id, cx.waker().clone());
                    Poll::Pending
                }
                State::Done(_) => Poll::Ready(Ok(())),
                State::Failed(error) => Poll::Ready(Err(error.clone())),
            }
        })
        .await
    }

    /// How many readers there are.
    #[must_use]
    pub fn viewers(&self) -> usize {
        *self.viewers.borrow()
    }

    /// Resolves when there is no reader, which may be at once.
    pub async fn unwatched(&self) {
        // The sender lives as long as `self`: there is no error to handle.
        let _ = self.viewers.subscribe().wait_for(|viewers| *viewers == 0).await;
    }

    /// Resolves when there is a reader, which may be at once.
    pub async fn watched(&self) {
        // The sender lives as long as `self`: there is no error to handle.
        let _ = self.viewers.subscribe().wait_for(|viewers| *viewers > 0).await;
    }

    /// Somebody who waits needs it by then. The earliest counts, whoever comes later.
    pub fn hurry(&self, due: Instant) {
        self.due.send_if_modified(|known| {
            let is_earlier = known.is_none_or(|known| due < known);
            if is_earlier {
                *known = Some(due);
            }
            is_earlier
        });
    }

    /// When it is needed, if anybody has said.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        *self.due.borrow()
    }

    /// Resolves when it is needed earlier than this, which may be at once.
    pub async fn hurried(&self, due: Instant) {
        // The sender lives as long as `self`: there is no error to handle.
        let _ = self.due.subscribe().wait_for(|known| known.is_some_and(|known| known < due)).await;
    }

    /// Somebody works on it from now on, or, being told false, leaves it to wait its turn again.
    pub fn begin(&self, begun: bool) {
        self.begun.store(begun, Ordering::Relaxed);
    }

    /// True while somebody works on it. For whoever decides how long to wait for it.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// The chunks so far, in order.
    pub(super) fn chunks(&self) -> Vec<Bytes> {
        match &lock(&self.progress).state {
            State::Open { chunks, .. } => chunks.clone(),
            State::Done(whole) => vec![whole.clone()],
            State::Failed(_) => Vec::new(),
        }
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        match &lock(&self.progress).state {
            State::Open { len, .. } => *len,
            State::Done(whole) => whole.len(),
            State::Failed(_) => 0,
        }
    }

    /// Appends a chunk; every reader sees it at once.
    pub(super) fn push(&self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        let mut progress = lock(&self.progress);
        if let State::Open { chunks, len } = &mut progress.state {
            *len += chunk.len();
            chunks.push(chunk);
        }
        wake(progress);
    }

    /// The chunks as one; copies only if there are several.
    pub(super) fn join(&self) -> Bytes {
        let mut chunks = self.chunks();
        if chunks.len() == 1 {
            return chunks.remove(0);
        }
        let mut whole = BytesMut::with_capacity(chunks.iter().map(Bytes::len).sum());
        chunks.iter().for_each(|chunk| whole.extend_from_slice(chunk));
        whole.freeze()
    }

    /// Ends the flight. `whole` takes the place of the chunks, so that bytes are not held twice.
    pub(super) fn end(&self, outcome: Result<Bytes, FlightError>) {
        let mut progress = lock(&self.progress);
        progress.state = match outcome {
            Ok(whole) => State::Done(whole),
            Err(error) => State::Failed(error),
        };
        wake(progress);
    }
}

impl fmt::Debug for Flight {
    /// How far it is; not the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").field("len", &self.len()).field("viewers", &self.viewers()).finish_non_exhaustive()
    }
}

/// Takes the wakers, unlocks, then wakes: a woken reader locks again.
fn wake(mut progress: MutexGuard<'_, Progress>) {
    let waiting = std::mem::take(&mut progress.waiting);
    drop(progress);
    waiting.into_values().for_each(Waker::wake);
}
