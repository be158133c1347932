//! Files on their way to the disk: a bounded queue, and the threads that empty it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::task::spawn_blocking;

use super::disk::Filed;
use super::heat::Heat;
use super::key::Key;
use super::ranking::Cost;
use super::{Cache, Inner, lock};

/// Threads that write files. One waits for the disk's sync while the other fills the next file.
pub(super) const DISK_WRITERS: usize = 2;
/// Bytes that wait to be written. A disk slower than the encoders loses segments beyond this, it does not eat memory.
pub(super) const PENDING_WRITE_BYTES: u64 = 64 << 20;

/// Those that wait.
#[derive(Default)]
pub struct Writes {
    queue: VecDeque<Write>,
    pub writers: usize,
}

/// A file to write, while its object holds its slot.
pub struct Write {
    pub key: Key,
    pub ticket: u64,
    pub bytes: Bytes,
    pub cost: Cost,
    pub heat: Arc<Heat>,
}

impl Cache {
    pub(super) fn queue(&self, write: Write) {
        let mut writes = lock(&self.0.writes);
        writes.queue.push_back(write);
        if writes.writers < DISK_WRITERS {
            writes.writers += 1;
            let cache = self.clone();
            spawn_blocking(move || cache.write_queued());
        }
    }

    /// What a writing thread does, until nothing is queued.
    fn write_queued(&self) {
        loop {
            let mut writes = lock(&self.0.writes);
            let Some(Write { key, ticket, bytes, cost, heat }) = writes.queue.pop_front() else {
                writes.writers -= 1;
                return;
            };
            drop(writes);
            let len = bytes.len() as u64;
            let wanted = || lock(&self.0.slots).is_held(&key, ticket);
            if wanted() {
                self.0.disk.write(&Filed { key: &key, bytes: &bytes, cost, heat: &heat }, wanted);
                lock(&self.0.slots).take(&key, ticket);
            }
            drop(bytes);
            self.0.pending.send_modify(|pending| *pending -= len);
        }
    }
}

impl Inner {
    /// Counts bytes as waiting to be written, or counts them as skipped.
    pub(super) fn admit(&self, len: u64) -> bool {
        let admitted = self.pending.send_if_modified(|pending| {
            // One object is always let in, however large.
            let fits = *pending == 0 || *pending + len <= PENDING_WRITE_BYTES;
            *pending += if fits { len } else { 0 };
            fits
        });
        if !admitted {
            self.skipped_writes.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }
}
