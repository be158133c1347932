//! The step of a claim that looks for a file: off the async threads, once for everyone who asks meanwhile.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::ranking::Cost;
use super::slots::Work;
use super::{Cache, Claim, Flight, Key, Tier, Writer, lock};

/// The right to look for a file. Dropped (its asker may leave), the others ask again and one of them looks.
pub(super) struct Load {
    cache: Cache,
    key: Key,
    ticket: u64,
    sender: watch::Sender<Option<Bytes>>,
}

impl Load {
    pub(super) fn new(cache: Cache, key: Key, ticket: u64, sender: watch::Sender<Option<Bytes>>) -> Self {
        Self { cache, key, ticket, sender }
    }

    /// Reads the file, or makes the asker the leader; `None` if it must ask again.
    pub(super) async fn run(self) -> Option<Claim> {
        // Nobody closes the semaphore: there is no error to handle.
        let permit = Arc::clone(&self.cache.0.reads).acquire_owned().await;
        let (inner, key) = (Arc::clone(&self.cache.0), self.key.clone());
        let read = spawn_blocking(move || {
            // Held until it is read, also when nobody waits for it any more.
            let _permit = permit;
            inner.disk.read(&key)
        });
        let read = read.await;
        // A panic while reading counts as a miss.
        let Some((bytes, heat)) = read.ok().flatten() else { return self.lead() };
        let mut slots = lock(&self.cache.0.slots);
        if slots.take(&self.key, self.ticket) {
            self.cache.0.memory.insert(&self.key, bytes.clone(), Cost::Read, heat);
        }
        drop(slots);
        self.sender.send_replace(Some(bytes.clone()));
        Some(Claim::Whole(bytes, Tier::Disk))
    }

    /// The same slot turns from looking into making.
    fn lead(self) -> Option<Claim> {
        let flight = Arc::new(Flight::new());
        let mut slots = lock(&self.cache.0.slots);
        if !slots.is_held(&self.key, self.ticket) {
            return None;
        }
        let ticket = slots.occupy(&self.key, Work::Making(Arc::clone(&flight)));
        drop(slots);
        Some(Claim::Lead(Writer::new(self.cache.clone(), self.key.clone(), ticket, flight)))
    }
}

impl Drop for Load {
    /// Frees the slot, unless it has become something else and has another ticket; the sender goes too, and those who
    /// wait ask again.
    fn drop(&mut self) {
        lock(&self.cache.0.slots).take(&self.key, self.ticket);
    }
}
