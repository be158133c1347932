//! Metrics, gathered from the rooms when somebody asks for them.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::cache::Cache;
use crate::encoder::Encoder;
use crate::origin::Counters;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{Store, raise};
use crate::worker::Pool;

/// Where the numbers are.
pub(super) struct Scrape {
    /// One who asks at a time: raising a counter twice by the same difference would count it double.
    pub metrics: Mutex<Metrics>,
    pub cache: Cache,
    pub encoder: Encoder,
    pub pool: Pool,
    /// Known once there is an origin, which needs this to be made.
    pub counters: OnceLock<Arc<Counters>>,
}

impl Scrape {
    pub fn render(&self) -> String {
        let metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        self.gather(&metrics);
        metrics.render()
    }

    fn gather(&self, m: &Metrics) {
        if let Some(counters) = self.counters.get() {
            m.requests(counters.answers.each_ref().map(|n| n.load(Relaxed)));
            m.hits(counters.media.each_ref().map(|n| n.load(Relaxed)));
            m.connections.set(gauge(counters.connections.load(Relaxed)));
            raise(&m.turned_away, counters.turned_away.load(Relaxed));
            raise(&m.cut_connections, counters.cut_connections.load(Relaxed));
            raise(&m.broken_answers, counters.broken_bodies.load(Relaxed));
        }
        let encoder = self.encoder.stats();
        raise(&m.encodes_started, encoder.started);
        raise(&m.bridged_frames, encoder.bridged);
        raise(&m.over_bandwidth, encoder.over_bandwidth);
        m.queue_length.set(gauge(encoder.queued as u64));
        m.encodes_running.set(gauge(encoder.running as u64));
        m.runs_active.set(gauge(encoder.runs as u64));
        let (standby, all) = self.pool.counts();
        m.workers_standby.set(gauge(standby as u64));
        m.workers.set(gauge(all as u64));
        for (outcome, total) in self.pool.outcomes().iter() {
            m.workers_ended(outcome, total);
        }
        let cache = self.cache.stats();
        m.cache(Store::Memory, cache.memory.bytes, cache.memory.entries);
        m.cache(Store::Disk, cache.disk.bytes, cache.disk.entries);
        raise(&m.disk_failures, cache.disk_failures);
        m.disk_failing.set(i64::from(cache.disk_failing));
        raise(&m.corrupt_files, cache.corrupt_files);
        raise(&m.skipped_writes, cache.skipped_writes);
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
