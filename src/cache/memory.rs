//! The memory tier: whole objects, bounded by bytes.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::heat::{Clock, Heat, Moment};
use super::ranking::{Cost, Item, Ranking};
use super::{Held, Key, Object, lock};
use crate::media::{Generation, RenditionName};

/// What an entry costs beyond its bytes: key, allocations, moka's nodes. Keeps a million init segments from weighing
/// nothing.
const ENTRY_OVERHEAD_BYTES: usize = 512;

/// moka finds an object without a lock; who goes is up to [`Ranking`], which is asked only when something comes in. moka's
/// own policies would not do: its TinyLFU refuses newcomers nobody has asked for yet, which is what every segment
/// made ahead of its viewer is, and its LRU lets one scan take everything.
pub(super) struct Memory {
    entries: moka::sync::Cache<Key, Kept>,
    /// Held while entries come and go, so that both agree.
    ranking: Mutex<Ranking>,
    capacity_bytes: u64,
    /// True if what is lost here must be made again.
    is_last: bool,
    clock: Clock,
}

#[derive(Clone)]
struct Kept {
    bytes: Bytes,
    heat: Arc<Heat>,
}

impl Memory {
    /// `is_last`: there is no tier below.
    pub(super) fn new(capacity_bytes: u64, is_last: bool, clock: Clock) -> Self {
        Self {
            entries: moka::sync::Cache::builder().build(),
            ranking: Mutex::new(Ranking::new(capacity_bytes)),
            capacity_bytes,
            is_last,
            clock,
        }
    }

    /// The object, if it is here. That is a use.
    pub(super) fn get(&self, key: &Key) -> Option<Bytes> {
        let kept = self.entries.get(key)?;
        kept.heat.used(self.clock.now());
        Some(kept.bytes)
    }

    pub(super) fn holds(&self, key: &Key) -> bool {
        self.entries.contains_key(key)
    }

    /// The objects of a rendition.
    pub(super) fn of_rendition(&self, generation: &Generation, rendition: &RenditionName) -> Vec<Object> {
        lock(&self.ranking).of_rendition(generation, rendition)
    }

    /// How much that is used which would go for so many bytes more; `None` if nothing would.
    pub(super) fn heat_of_room(&self, bytes: u64) -> Option<Moment> {
        let mut ranking = lock(&self.ranking);
        if ranking.bytes().saturating_add(bytes) <= self.capacity_bytes { None } else { ranking.least_heat() }
    }

    /// Its length, bytes; no use.
    pub(super) fn length(&self, key: &Key) -> Option<u64> {
        self.entries.get(key).map(|kept| kept.bytes.len() as u64)
    }

    pub(super) fn insert(&self, key: &Key, bytes: Bytes, cost: Cost, heat: Arc<Heat>) {
        let weight = u32::try_from(bytes.len() + ENTRY_OVERHEAD_BYTES).unwrap_or(u32::MAX);
        if u64::from(weight) > self.capacity_bytes {
            return;
        }
        let cost = if self.is_last { cost } else { Cost::Read };
        let mut ranking = lock(&self.ranking);
        ranking.remove(key);
        for gone in ranking.make_room(u64::from(weight)) {
            self.entries.invalidate(&gone);
        }
        ranking.insert(key, Item { bytes: weight, cost, heat: Arc::clone(&heat) });
        self.entries.insert(key.clone(), Kept { bytes, heat });
        // moka lets go of what was invalidated some time later, and segments are large: without this, dozens of them are held
        // beyond the bound. It costs microseconds, at the rate at which segments are made or read from disk.
        self.entries.run_pending_tasks();
    }

    pub(super) fn purge(&self, generation: &Generation) -> u64 {
        let mut ranking = lock(&self.ranking);
        for key in ranking.of(generation) {
            self.entries.invalidate(&key);
        }
        self.entries.run_pending_tasks();
        ranking.purge(generation)
    }

    /// Objects that made room, ever.
    pub(super) fn evicted(&self) -> u64 {
        lock(&self.ranking).evicted()
    }

    pub(super) fn held(&self) -> Held {
        let ranking = lock(&self.ranking);
        Held { bytes: ranking.bytes(), entries: ranking.len() as u64 }
    }
}
