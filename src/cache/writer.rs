//! The leader's handle on a flight: the only one who can add bytes, and who must say how it ended.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::ranking::Cost;
use super::{Cache, Flight, FlightError, Key, Reader};

/// A second attempt made other bytes than the first one, or fewer, or left a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes differ from those already sent, at or after byte {at}")]
pub struct Mismatch {
    /// Offset of the comparison that failed, bytes.
    pub at: u64,
}

/// Makes one object. Ends with [`Writer::commit`] or [`Writer::fail`]; dropped without either, readers get
/// [`FlightError::Abandoned`] and the next claim leads again.
#[derive(Debug)]
#[must_use = "dropping it abandons the readers"]
pub struct Writer {
    cache: Cache,
    key: Key,
    ticket: u64,
    flight: Arc<Flight>,
    /// End of what the current attempt has made, bytes; less than the flight's length while a retry catches up.
    made: usize,
    cost: Cost,
    ended: bool,
}

impl Writer {
    pub(super) fn new(cache: Cache, key: Key, ticket: u64, flight: Arc<Flight>) -> Self {
        Self { cache, key, ticket, flight, made: 0, cost: Cost::Unknown, ended: false }
    }

    /// What is being made.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The flight, to wait for or to watch.
    #[must_use]
    pub fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }

    /// One more reader. The leader's own client takes one before the work begins, or the work looks unwatched.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.flight.reader()
    }

    /// How many readers there are.
    #[must_use]
    pub fn viewers(&self) -> usize {
        self.flight.viewers()
    }

    /// Resolves when there is no reader, which may be at once. Then [`Writer::abandon_if_unwatched`] stops without
    /// harm.
    pub async fn unwatched(&self) {
        self.flight.unwatched().await;
    }

    /// Bytes sent so far, by all attempts.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.flight.len() as u64
    }

    /// Appends a chunk; every reader sees it at once. A chunk that is a slice of something larger keeps that alive.
    pub fn push(&mut self, chunk: Bytes) {
        self.flight.push(chunk);
        self.made = self.flight.len();
    }

    /// What an attempt made at offset `at`: bytes already sent must be the same, the rest is appended. A retry
    /// offers everything from 0 again, in order; a first attempt may use this as well.
    ///
    /// # Errors
    /// They are not the same, or `at` lies beyond what this attempt made. Nothing was appended then; the only thing
    /// left is [`Writer::fail`].
    pub fn offer(&mut self, at: u64, bytes: Bytes) -> Result<(), Mismatch> {
        let sent = self.flight.len();
        let Some(start) = usize::try_from(at).ok().filter(|start| *start <= self.made) else {
            return Err(Mismatch { at });
        };
        let known = bytes.len().min(sent - start);
        if !self.sent_equals(start, &bytes[..known]) {
            return Err(Mismatch { at });
        }
        self.flight.push(bytes.slice(known..));
        self.made = start + bytes.len();
        Ok(())
    }

    /// As [`Cache::lead_if_absent`], for another object of the same generation, unless that was purged since this began: then
    /// nothing of it is to be kept.
    #[must_use]
    pub fn lead_beside(&self, key: &Key) -> Option<Self> {
        self.cache.lead_if(key, |slots| slots.is_held(&self.key, self.ticket))
    }

    /// What making it took. The dearer, the longer it is kept.
    pub fn took(&mut self, time: Duration) {
        self.cost = Cost::Seconds(time.as_secs_f32());
    }

    /// The object is complete and has been checked. It is in memory and its readers have all of it when this returns;
    /// the file is written in the background. Returns the whole. Call it within a tokio runtime.
    ///
    /// # Errors
    /// Nothing was sent, or a retry stopped short of what was sent before: the flight has failed.
    pub fn commit(mut self) -> Result<Bytes, FlightError> {
        let sent = self.flight.len();
        if sent == 0 || self.made != sent {
            let error = FlightError::failed(format!("ended at byte {} after {sent} bytes were sent", self.made));
            self.end(Err(error.clone()));
            return Err(error);
        }
        let whole = self.flight.join();
        self.end(Ok(whole.clone()));
        Ok(whole)
    }

    /// It cannot be made; readers are told why, and the next claim leads again.
    pub fn fail(mut self, error: FlightError) {
        self.end(Err(error));
    }

    /// Stops if there is still no reader, in one step with looking: nobody is counted in between and then left alone.
    /// Otherwise gives the writer back.
    #[must_use = "a writer that comes back has work to do"]
    pub fn abandon_if_unwatched(self) -> Option<Self> {
        self.fail_if_unwatched(FlightError::Abandoned)
    }

    /// The same, for another reason: those who wait for the end and are no viewers are told it.
    #[must_use = "a writer that comes back has work to do"]
    pub fn fail_if_unwatched(mut self, error: FlightError) -> Option<Self> {
        if !self.cache.release_if(&self.key, self.ticket, || self.flight.viewers() == 0) {
            return Some(self);
        }
        self.ended = true;
        self.flight.end(Err(error));
        None
    }

    fn sent_equals(&self, start: usize, mut expected: &[u8]) -> bool {
        let mut skip = start;
        for chunk in self.flight.chunks() {
            let rest = &chunk[skip.min(chunk.len())..];
            skip -= skip.min(chunk.len());
            let (head, tail) = expected.split_at(expected.len().min(rest.len()));
            if head != &rest[..head.len()] {
                return false;
            }
            expected = tail;
        }
        expected.is_empty()
    }

    /// The cache first, the readers second: whoever learns of the end and claims again must not find the flight.
    fn end(&mut self, outcome: Result<Bytes, FlightError>) {
        self.ended = true;
        match &outcome {
            Ok(whole) => self.cache.keep(&self.key, self.ticket, whole, self.cost),
            Err(_) => {
                self.cache.release_if(&self.key, self.ticket, || true);
            }
        }
        self.flight.end(outcome);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Err(FlightError::Abandoned));
        }
    }
}
