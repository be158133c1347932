//! Prometheus metrics: named once, here. Base units (seconds, bytes), prefix `matinee_`, counters end in `_total`
//! (<https://prometheus.io/docs/practices/naming/>).

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use super::process::Process;

/// `Content-Type` of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the encode-time buckets, seconds: from a cached-decoder audio segment to a watchdog's patience.
const ENCODE_BUCKETS: [f64; 11] = [0.05, 0.1, 0.2, 0.4, 0.8, 1.2, 2.0, 4.0, 8.0, 16.0, 32.0];

/// Upper bounds of the start-up buckets, seconds: what viewers take for instant up to when they leave.
const STARTUP_BUCKETS: [f64; 8] = [0.25, 0.5, 1.0, 1.5, 2.0, 4.0, 8.0, 16.0];
/// Upper bounds of the rate buckets, bytes per second: about the rungs of the built-in ladder.
const RATE_BUCKETS: [f64; 8] = [18_750.0, 50e3, 100e3, 175e3, 350e3, 625e3, 1e6, 2e6];
/// Upper bounds of the buckets of times to a first byte, seconds: from memory up to what is still waited for.
const FIRST_BYTE_BUCKETS: [f64; 12] = [0.0001, 0.0005, 0.001, 0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 20.0];

/// Where bytes of a segment come from.
const TIERS: [&str; 4] = ["memory", "disk", "made", "shared"];
/// Why a request is told to come again: the words of its problem.
const REFUSALS: [&str; 4] = ["busy", "late", "no-worker", "left-alone"];
/// Who waits for an encoder.
const LANES: [&str; 3] = ["viewer", "ahead", "warm"];
/// States of titles. These and the next are words of the catalog, to be there as zero; `app` sees to it that they are its.
pub const STATES: [&str; 4] = ["receiving", "processing", "ready", "failed"];
/// Kinds of jobs.
pub const JOBS: [&str; 4] = ["fetch", "process", "warm", "replace"];
/// How jobs end.
pub const JOB_ENDS: [&str; 3] = ["done", "failed", "cancelled"];
/// How deliveries end.
pub const DELIVERY_ENDS: [&str; 2] = ["delivered", "failed"];
/// What runs.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where segments are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// In memory.
    Memory,
    /// On disk.
    Disk,
}

/// How an encode ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encode {
    /// The segment was verified and kept.
    Finished,
    /// It was not.
    Failed,
    /// Nobody waited for it any more.
    Cancelled,
}

/// All metrics of a process. Clones are the same metrics. What a room counts itself is copied here when it is scraped.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Encodes begun.
    pub encodes_started: IntCounter,
    /// Wall time of finished encodes, seconds.
    pub encode_seconds: Histogram,
    /// Runs that exist.
    pub runs_active: IntGauge,
    /// Segments being encoded.
    pub encodes_running: IntGauge,
    /// Open connections.
    pub connections: IntGauge,
    /// Connections turned away because there were too many.
    pub turned_away: IntCounter,
    /// Connections cut because they did not move.
    pub cut_connections: IntCounter,
    /// Answers broken off after their head was sent.
    pub broken_answers: IntCounter,
    /// Frames that could not be decoded and were replaced.
    pub bridged_frames: IntCounter,
    /// Segments whose rate was above what their rendition declares.
    pub over_bandwidth: IntCounter,
    /// Worker processes.
    pub workers: IntGauge,
    /// Those that wait for work.
    pub workers_standby: IntGauge,
    /// Writes, reads and deletions of segment files that failed.
    pub disk_failures: IntCounter,
    /// 1 while segment files cannot be written: memory alone keeps what is made.
    pub disk_failing: IntGauge,
    /// Bytes of request bodies that management received.
    pub received: IntCounter,
    /// Deliveries to webhooks that have not ended.
    pub deliveries_waiting: IntGauge,
    /// Segment files found damaged.
    pub corrupt_files: IntCounter,
    /// Segments not written to disk because it could not keep up.
    pub skipped_writes: IntCounter,
    /// From a session's first segment to the first that was not urgent, seconds, as players tell (CMCD `su`).
    pub player_startup_seconds: Histogram,
    /// Times a player said that it had run out (CMCD `bs`).
    pub player_rebuffers: IntCounter,
    /// Mean rate of the pictures of sessions that ended, bytes per second (CMCD `br`).
    pub player_bitrate: Histogram,
    /// Sessions of players that tell of themselves (CMCD `sid`).
    pub player_sessions: IntGauge,
    /// Objects made ahead of demand by the warmer.
    pub warmed: IntCounter,
    /// Objects the warmer gave up, mostly because a viewer needed the slot.
    pub warming_given_up: IntCounter,
    registry: Registry,
    process: Process,
    requests: [IntCounter; 4],
    hits: [IntCounter; 4],
    refusals: [IntCounter; 4],
    queued: [IntGauge; 3],
    first_byte_seconds: [Histogram; 4],
    encodes: [IntCounter; 3],
    worker_ends: IntCounterVec,
    cache_bytes: [IntGauge; 2],
    cache_entries: [IntGauge; 2],
    cache_capacity: [IntGauge; 2],
    cache_evictions: [IntCounter; 2],
    titles: IntGaugeVec,
    jobs_ended: IntCounterVec,
    deliveries_ended: IntCounterVec,
}

/// Raises a counter to a total that somebody else counts. Not for two threads at once.
pub fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

impl Metrics {
    /// Fresh metrics, all zero.
    ///
    /// # Panics
    /// Never: names and labels are constants, and a test makes them.
    #[must_use]
    pub fn new() -> Self {
        let maker =
            Maker { registry: Registry::new_custom(Some("matinee".into()), None).expect("a prefix is no metric") };
        let requests = maker.counters("requests_total", "Requests answered, by class of status.", "status");
        let hits = maker.counters("segment_responses_total", "Segments answered, by where they came from.", "tier");
        let refusals =
            maker.counters("refusals_total", "Requests that would have needed an encoder and got 503.", "reason");
        let queue = maker.gauges("queue_length", "What waits for an encoder slot.", "lane");
        let encodes = maker.counters("encodes_ended_total", "Segment encodes ended, by outcome.", "outcome");
        let bytes = maker.gauges("cache_bytes", "Bytes of segments kept.", "tier");
        let entries = maker.gauges("cache_entries", "Segments kept.", "tier");
        let capacity = maker.gauges("cache_capacity_bytes", "Bytes that may be kept.", "tier");
        let evictions = maker.counters("cache_evictions_total", "Segments that made room for others.", "tier");
        let deliveries = "Deliveries to webhooks ended, by outcome.";
        let deliveries_ended = maker.counters("webhook_deliveries_total", deliveries, "outcome");
        let jobs_ended = Opts::new("jobs_ended_total", "Jobs ended, by kind and outcome.");
        let jobs_ended = maker.register(IntCounterVec::new(jobs_ended, &["kind", "outcome"]).expect("constant"));
        for (kind, outcome) in JOBS.iter().flat_map(|kind| JOB_ENDS.map(|outcome| (kind, outcome))) {
            jobs_ended.with_label_values(&[*kind, outcome]);
        }
        for outcome in DELIVERY_ENDS {
            deliveries_ended.with_label_values(&[outcome]);
        }
        let titles = maker.gauges("titles", "Titles, by state.", "state");
        for state in STATES {
            titles.with_label_values(&[state]);
        }
        let first_byte = "Time from a request's head to the first byte of its segment, by where it came from.";
        let first_byte = HistogramOpts::new("first_byte_seconds", first_byte).buckets(FIRST_BYTE_BUCKETS.to_vec());
        let first_byte = maker.register(HistogramVec::new(first_byte, &["tier"]).expect("constant"));
        maker.gauges("build_info", "1, for the version that runs.", "version").with_label_values(&[VERSION]).set(1);
        let worker_ends = maker.counters("workers_ended_total", "Worker processes ended, by outcome.", "outcome");
        let encode_seconds =
            HistogramOpts::new("encode_seconds", "Wall time of finished segment encodes, warming left out.");
        let encode_seconds = Histogram::with_opts(encode_seconds.buckets(ENCODE_BUCKETS.to_vec()));
        let startup = HistogramOpts::new("player_startup_seconds", "How long players took to start, as they tell.");
        let bitrate =
            HistogramOpts::new("player_bitrate_bytes_per_second", "Mean rate of a player's session, as it tells.");
        Self {
            player_startup_seconds: maker.histogram(startup, &STARTUP_BUCKETS),
            player_rebuffers: maker.counter("player_rebuffers_total", "Times a player told that it had run out."),
            player_bitrate: maker.histogram(bitrate, &RATE_BUCKETS),
            warmed: maker.counter("warmed_total", "Objects made ahead of demand."),
            warming_given_up: maker.counter("warming_given_up_total", "Objects not made ahead of demand after all."),
            player_sessions: maker.gauge("player_sessions", "Sessions of players that tell of themselves."),
            encodes_started: maker.counter("encodes_started_total", "Segment encodes begun."),
            encode_seconds: maker.register(encode_seconds.expect("constant")),
            queued: LANES.map(|lane| queue.with_label_values(&[lane])),
            refusals: REFUSALS.map(|reason| refusals.with_label_values(&[reason])),
            runs_active: maker.gauge("runs_active", "Encoder runs, working or waiting for their viewer."),
            encodes_running: maker.gauge("encodes_running", "Segments being encoded."),
            connections: maker.gauge("connections", "Open client connections."),
            turned_away: maker.counter("connections_turned_away_total", "Connections told 503: there were too many."),
            cut_connections: maker.counter("connections_cut_total", "Connections cut because they did not move."),
            broken_answers: maker.counter("answers_broken_total", "Answers broken off after their head was sent."),
            bridged_frames: maker
                .counter("bridged_frames_total", "Frames that could not be decoded and were replaced."),
            over_bandwidth: maker
                .counter("segments_over_bandwidth_total", "Segments with a higher rate than their rendition declares."),
            workers: maker.gauge("workers", "Worker processes."),
            workers_standby: maker.gauge("workers_standby", "Worker processes that wait for work."),
            disk_failures: maker.counter("cache_disk_failures_total", "Failed operations on segment files."),
            disk_failing: maker.gauge("cache_disk_failing", "1 if the last segment file could not be written."),
            received: maker.counter("received_bytes_total", "Bytes of request bodies: uploads, for the most part."),
            deliveries_waiting: maker
                .gauge("webhook_deliveries_waiting", "Deliveries to webhooks that have not ended."),
            corrupt_files: maker.counter("cache_corrupt_files_total", "Segment files found damaged."),
            skipped_writes: maker.counter("cache_skipped_writes_total", "Segments the disk was too slow to take."),
            requests: ["2xx", "3xx", "4xx", "5xx"].map(|class| requests.with_label_values(&[class])),
            hits: TIERS.map(|tier| hits.with_label_values(&[tier])),
            first_byte_seconds: TIERS.map(|tier| first_byte.with_label_values(&[tier])),
            encodes: ["finished", "failed", "cancelled"].map(|outcome| encodes.with_label_values(&[outcome])),
            worker_ends,
            cache_bytes: ["memory", "disk"].map(|tier| bytes.with_label_values(&[tier])),
            cache_entries: ["memory", "disk"].map(|tier| entries.with_label_values(&[tier])),
            cache_capacity: ["memory", "disk"].map(|tier| capacity.with_label_values(&[tier])),
            cache_evictions: ["memory", "disk"].map(|tier| evictions.with_label_values(&[tier])),
            titles,
            jobs_ended,
            deliveries_ended,
            process: Process::new(),
            registry: maker.registry,
        }
    }

    /// Requests answered so far, by class of status: 2xx, 3xx, 4xx, 5xx.
    pub fn requests(&self, totals: [u64; 4]) {
        self.requests.iter().zip(totals).for_each(|(counter, total)| raise(counter, total));
    }

    /// Segments answered so far, by where they came from: memory, disk, made, shared.
    pub fn hits(&self, totals: [u64; 4]) {
        self.hits.iter().zip(totals).for_each(|(counter, total)| raise(counter, total));
    }

    /// Requests told 503 for want of an encoder: busy, late, no worker, left alone.
    pub fn refusals(&self, totals: [u64; 4]) {
        self.refusals.iter().zip(totals).for_each(|(counter, total)| raise(counter, total));
    }

    /// What waits for an encoder: viewers, look-ahead, warming.
    pub fn queued(&self, counts: [usize; 3]) {
        self.queued.iter().zip(counts).for_each(|(gauge, count)| gauge.set(i64::try_from(count).unwrap_or(i64::MAX)));
    }

    /// Times to a first byte, by where it came from: an index as in [`Self::hits`].
    #[must_use]
    pub fn first_byte(&self) -> [Histogram; 4] {
        self.first_byte_seconds.clone()
    }

    /// Counts an encode that ended; one that finished took so many seconds.
    pub fn encode_ended(&self, outcome: Encode, seconds: Option<f64>) {
        self.encodes[outcome as usize].inc();
        if let (Encode::Finished, Some(seconds)) = (outcome, seconds) {
            self.encode_seconds.observe(seconds);
        }
    }

    /// Workers that ended in this way so far. `outcome` is a word from the worker room's closed set.
    pub fn workers_ended(&self, outcome: &'static str, total: u64) {
        raise(&self.worker_ends.with_label_values(&[outcome]), total);
    }

    /// Says what a store holds now.
    pub fn cache(&self, store: Store, bytes: u64, entries: u64) {
        self.cache_bytes[store as usize].set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.cache_entries[store as usize].set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    /// Says what a store may hold, and how many have made room so far.
    pub fn cache_bounds(&self, store: Store, bytes: u64, evictions: u64) {
        self.cache_capacity[store as usize].set(i64::try_from(bytes).unwrap_or(i64::MAX));
        raise(&self.cache_evictions[store as usize], evictions);
    }

    /// Says how many titles are in a state. The words here and below are from the catalog's closed sets.
    pub fn titles(&self, state: &'static str, count: i64) {
        self.titles.with_label_values(&[state]).set(count);
    }

    /// Jobs of a kind that ended in this way so far.
    pub fn jobs_ended(&self, kind: &'static str, outcome: &'static str, total: u64) {
        raise(&self.jobs_ended.with_label_values(&[kind, outcome]), total);
    }

    /// Deliveries that ended in this way so far.
    pub fn deliveries_ended(&self, outcome: &'static str, total: u64) {
        raise(&self.deliveries_ended.with_label_values(&[outcome]), total);
    }

    /// The text a scraper reads; its type is [`CONTENT_TYPE`].
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        // Writing to memory fails only for a malformed family, and ours are constants.
        let all = [self.registry.gather(), self.process.gather()].concat();
        if let Err(error) = TextEncoder::new().encode(&all, &mut text) {
            tracing::error!(%error, "metrics cannot be rendered");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes and registers metrics whose names and labels are constants of this file.
struct Maker {
    registry: Registry,
}

impl Maker {
    fn register<M: prometheus::core::Collector + Clone + 'static>(&self, metric: M) -> M {
        self.registry.register(Box::new(metric.clone())).expect("every name is used once");
        metric
    }

    fn histogram(&self, options: HistogramOpts, buckets: &[f64]) -> Histogram {
        self.register(Histogram::with_opts(options.buckets(buckets.to_vec())).expect("constant"))
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help).expect("constant"))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help).expect("constant"))
    }

    fn counters(&self, name: &str, help: &str, label: &str) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), &[label]).expect("constant"))
    }

    fn gauges(&self, name: &str, help: &str, label: &str) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), &[label]).expect("constant"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sample lines, without comments, buckets, and what is told of the process.
    fn samples(metrics: &Metrics) -> Vec<String> {
        let text = metrics.render();
        let moving = |l: &&str| !l.starts_with(['#', 'p']) && !l.contains("_bucket") && !l.contains("build_info");
        text.lines().filter(moving).map(str::to_owned).collect()
    }

    #[test]
    fn what_can_be_counted_is_there_from_the_start_as_zero() {
        let all = samples(&Metrics::new());
        assert!(all.iter().all(|line| line.ends_with(" 0")), "{all:?}");
        for name in [
            "matinee_requests_total{status=\"5xx\"} 0",
            "matinee_segment_responses_total{tier=\"shared\"} 0",
            "matinee_encodes_started_total 0",
            "matinee_encodes_ended_total{outcome=\"failed\"} 0",
            "matinee_encode_seconds_count 0",
            "matinee_first_byte_seconds_count{tier=\"disk\"} 0",
            "matinee_queue_length{lane=\"viewer\"} 0",
            "matinee_refusals_total{reason=\"busy\"} 0",
            "matinee_titles{state=\"ready\"} 0",
            "matinee_jobs_ended_total{kind=\"warm\",outcome=\"cancelled\"} 0",
            "matinee_webhook_deliveries_total{outcome=\"failed\"} 0",
            "matinee_cache_evictions_total{tier=\"disk\"} 0",
        ] {
            assert!(all.iter().any(|line| line == name), "{name}: {all:?}");
        }
    }

    #[test]
    fn what_runs_and_how_it_is_is_told_under_the_usual_names() {
        let text = Metrics::new().render();
        assert!(
            text.contains(concat!("matinee_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n")),
            "{text}"
        );
        for name in ["start_time_seconds", "resident_memory_bytes", "cpu_seconds_total", "open_fds"] {
            assert!(text.contains(&format!("\nprocess_{name} ")), "{name}: {text}");
        }
    }

    #[test]
    fn each_event_moves_its_own_sample() {
        let metrics = Metrics::new();
        metrics.clone().requests([3, 0, 1, 0]);
        metrics.requests([4, 0, 1, 0]);
        metrics.hits([1, 0, 0, 2]);
        metrics.encode_ended(Encode::Finished, Some(0.5));
        metrics.encode_ended(Encode::Finished, None);
        metrics.encode_ended(Encode::Cancelled, Some(9.0));
        metrics.workers_ended("signal", 1);
        metrics.workers_ended("signal", 2);
        metrics.cache(Store::Disk, 4096, 2);
        metrics.cache(Store::Disk, 2048, 1);
        metrics.cache_bounds(Store::Memory, 8192, 3);
        metrics.titles("ready", 2);
        metrics.jobs_ended("warm", "done", 4);
        metrics.deliveries_ended("failed", 5);
        metrics.connections.inc();
        let mut moved = samples(&metrics);
        moved.retain(|line| !line.ends_with(" 0"));
        assert_eq!(
            moved,
            [
                "matinee_cache_bytes{tier=\"disk\"} 2048",
                "matinee_cache_capacity_bytes{tier=\"memory\"} 8192",
                "matinee_cache_entries{tier=\"disk\"} 1",
                "matinee_cache_evictions_total{tier=\"memory\"} 3",
                "matinee_connections 1",
                "matinee_encode_seconds_sum 0.5",
                "matinee_encode_seconds_count 1",
                "matinee_encodes_ended_total{outcome=\"cancelled\"} 1",
                "matinee_encodes_ended_total{outcome=\"finished\"} 2",
                "matinee_jobs_ended_total{kind=\"warm\",outcome=\"done\"} 4",
                "matinee_requests_total{status=\"2xx\"} 4",
                "matinee_requests_total{status=\"4xx\"} 1",
                "matinee_segment_responses_total{tier=\"memory\"} 1",
                "matinee_segment_responses_total{tier=\"shared\"} 2",
                "matinee_titles{state=\"ready\"} 2",
                "matinee_webhook_deliveries_total{outcome=\"failed\"} 5",
                "matinee_workers_ended_total{outcome=\"signal\"} 2",
            ]
        );
    }
}
