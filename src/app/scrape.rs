//! Metrics, gathered from the rooms when somebody asks for them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::cache::{self, Cache};
use crate::catalog::{self, Catalog, State};
use crate::encoder::Encoder;
use crate::origin::{Came, Counters, Origin, Quality};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{Store, raise};
use crate::warmer::Warmer;
use crate::worker::Pool;

/// Where the numbers are.
pub(super) struct Scrape {
    /// One who asks at a time: raising a counter twice by the same difference would count it double.
    pub metrics: Mutex<Metrics>,
    pub cache: Cache,
    pub encoder: Encoder,
    pub pool: Pool,
    pub catalog: Catalog,
    /// What the cache may hold.
    pub capacity: cache::Config,
    /// Bytes of request bodies.
    pub received: Arc<AtomicU64>,
    /// Known once there is an origin, which needs this to be made.
    pub counters: OnceLock<Arc<Counters>>,
    /// The same.
    pub origin: OnceLock<Weak<Origin>>,
    /// The same.
    pub warmer: OnceLock<Warmer>,
}

impl Scrape {
    /// Blocks: titles and deliveries are counted in the catalog.
    pub fn render(&self) -> String {
        let metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        self.gather(&metrics);
        metrics.render()
    }

    /// Where what players tell is counted.
    pub fn quality(&self) -> impl Fn(Quality) + Send + Sync + use<> {
        let metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner).clone();
        move |quality| match quality {
            Quality::Startup(seconds) => metrics.player_startup_seconds.observe(seconds),
            Quality::Rebuffer => metrics.player_rebuffers.inc(),
            Quality::Bitrate(bits_per_second) => metrics.player_bitrate.observe(bits_per_second / 8.0),
        }
    }

    /// Where times to a first byte are counted.
    pub fn first_byte(&self) -> impl Fn(Came, f64) + Send + Sync + use<> {
        let all = self.metrics.lock().unwrap_or_else(PoisonError::into_inner).first_byte();
        move |came, seconds| all[came.index()].observe(seconds)
    }

    fn gather(&self, m: &Metrics) {
        if let Some(origin) = self.origin.get().and_then(Weak::upgrade) {
            m.player_sessions.set(gauge(origin.sessions() as u64));
        }
        if let Some(counters) = self.counters.get() {
            m.requests(counters.answers.each_ref().map(|n| n.load(Relaxed)));
            m.hits(counters.media.each_ref().map(|n| n.load(Relaxed)));
            m.refusals(counters.refusals.each_ref().map(|n| n.load(Relaxed)));
            m.connections.set(gauge(counters.connections.load(Relaxed)));
            raise(&m.turned_away, counters.turned_away.load(Relaxed));
            raise(&m.cut_connections, counters.cut_connections.load(Relaxed));
            raise(&m.broken_answers, counters.broken_bodies.load(Relaxed));
        }
        if let Some(warmer) = self.warmer.get().map(Warmer::stats) {
            raise(&m.warmed, warmer.made);
            raise(&m.warming_given_up, warmer.given_up);
        }
        let encoder = self.encoder.stats();
        raise(&m.encodes_started, encoder.started);
        raise(&m.bridged_frames, encoder.bridged);
        raise(&m.over_bandwidth, encoder.over_bandwidth);
        m.queued(encoder.queued);
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
        m.cache_bounds(Store::Memory, self.capacity.memory_bytes, cache.evicted_from_memory);
        m.cache_bounds(Store::Disk, self.capacity.disk_bytes, cache.evicted_from_disk);
        raise(&m.received, self.received.load(Relaxed));
        let ended = self.catalog.ended();
        for ((kind, how), total) in &ended.jobs {
            m.jobs_ended(kind.as_str(), how.as_str(), *total);
        }
        for (how, total) in &ended.deliveries {
            m.deliveries_ended(how.as_str(), *total);
        }
        if let Err(error) = self.count(m) {
            tracing::warn!(%error, "titles and deliveries cannot be counted");
        }
        raise(&m.disk_failures, cache.disk_failures);
        m.disk_failing.set(i64::from(cache.disk_failing));
        raise(&m.corrupt_files, cache.corrupt_files);
        raise(&m.skipped_writes, cache.skipped_writes);
    }

    fn count(&self, m: &Metrics) -> Result<(), catalog::Error> {
        for state in State::ALL {
            m.titles(state.as_str(), gauge(self.catalog.count_of(state)?));
        }
        m.deliveries_waiting.set(gauge(self.catalog.count_waiting()?));
        Ok(())
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{DeliveryState, JobState, Kind};
    use crate::telemetry::metrics::{DELIVERY_ENDS, JOB_ENDS, JOBS, STATES};

    #[test]
    fn metrics_and_catalog_have_the_same_words() {
        assert_eq!(STATES, State::ALL.map(State::as_str));
        assert_eq!(JOBS, Kind::ALL.map(Kind::as_str));
        let open = [JobState::Queued, JobState::Running];
        let ends = JobState::ALL.into_iter().filter(|state| !open.contains(state));
        assert_eq!(JOB_ENDS[..], ends.map(JobState::as_str).collect::<Vec<_>>());
        let ends = DeliveryState::ALL.into_iter().filter(|state| *state != DeliveryState::Queued);
        assert_eq!(DELIVERY_ENDS[..], ends.map(DeliveryState::as_str).collect::<Vec<_>>());
    }
}
