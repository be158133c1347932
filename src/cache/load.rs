//! The step of a claim that looks for a file: off the async threads, once for everyone who asks meanwhile.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

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
        let Some((bytes, heat)) = self.cache.read(&self.key).await else { return self.lead() };
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
