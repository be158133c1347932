//! The memory tier: whole objects, bounded by bytes.

use bytes::Bytes;
use moka::policy::EvictionPolicy;

use super::{Held, Key};
use crate::media::Generation;

/// What an entry costs beyond its bytes: key, allocations, moka's nodes. Keeps a million init segments from weighing
/// nothing.
const ENTRY_OVERHEAD_BYTES: usize = 512;

/// Least recently used goes first. Not TinyLFU: that refuses newcomers nobody has asked for yet, which is
/// what every segment made ahead of its viewer is.
pub(super) struct Memory {
    entries: moka::sync::Cache<Key, Bytes>,
}

impl Memory {
    pub(super) fn new(capacity_bytes: u64) -> Self {
        let weigh = |_: &Key, bytes: &Bytes| u32::try_from(bytes.len() + ENTRY_OVERHEAD_BYTES).unwrap_or(u32::MAX);
        let entries = moka::sync::Cache::builder()
            .max_capacity(capacity_bytes)
            .eviction_policy(EvictionPolicy::lru())
            .weigher(weigh)
            .build();
        Self { entries }
    }

    pub(super) fn get(&self, key: &Key) -> Option<Bytes> {
        self.entries.get(key)
    }

    pub(super) fn holds(&self, key: &Key) -> bool {
        self.entries.contains_key(key)
    }

    pub(super) fn insert(&self, key: Key, bytes: Bytes) {
        self.entries.insert(key, bytes);
        // moka would evict some time later, and segments are large: without this, dozens of them are held beyond the
        // bound. It costs microseconds, at the rate at which segments are made or read from disk.
        self.entries.run_pending_tasks();
    }

    pub(super) fn purge(&self, generation: &Generation) -> u64 {
        let mut purged = 0;
        for (key, _) in self.entries.iter().filter(|(key, _)| key.generation == *generation) {
            self.entries.invalidate(&*key);
            purged += 1;
        }
        self.entries.run_pending_tasks();
        purged
    }

    pub(super) fn held(&self) -> Held {
        self.entries.run_pending_tasks();
        Held { bytes: self.entries.weighted_size(), entries: self.entries.entry_count() }
    }
}
