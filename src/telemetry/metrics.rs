//! Prometheus metrics: named once, here. Base units (seconds, bytes), prefix `matinee_`, counters end in `_total`
//! (<https://prometheus.io/docs/practices/naming/>).

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// `Content-Type` of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the encode-time buckets, seconds: from a cached-decoder audio segment to a watchdog's patience.
const ENCODE_BUCKETS: [f64; 11] = [0.05, 0.1, 0.2, 0.4, 0.8, 1.2, 2.0, 4.0, 8.0, 16.0, 32.0];

/// What a request asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A multivariant playlist or manifest.
    Master,
    /// A media playlist.
    Playlist,
    /// An init segment.
    Init,
    /// A segment.
    Segment,
    /// Health, readiness, metrics.
    Health,
    /// Anything below `/api`.
    Management,
    /// Anything else.
    Other,
}

/// Where a segment came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// The memory tier had it.
    Memory,
    /// The disk tier had it.
    Disk,
    /// It was encoded for this request.
    Made,
    /// It was being encoded for another request.
    Shared,
}

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

/// All metrics of a process. Clones are the same metrics. Those without labels that vary are plain fields.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Encodes begun.
    pub encodes_started: IntCounter,
    /// Wall time of finished encodes, seconds.
    pub encode_seconds: Histogram,
    /// Requests that wait for a slot.
    pub queue_length: IntGauge,
    /// Runs that hold a worker.
    pub runs_active: IntGauge,
    /// Bytes of response bodies sent.
    pub served_bytes: IntCounter,
    /// Open connections.
    pub connections: IntGauge,
    /// Frames that could not be decoded and were replaced.
    pub bridged_frames: IntCounter,
    /// Segments whose rate was above what their rendition declares.
    pub over_bandwidth: IntCounter,
    registry: Registry,
    requests: IntCounterVec,
    hits: [IntCounter; 4],
    encodes: [IntCounter; 3],
    workers: IntCounterVec,
    cache_bytes: [IntGauge; 2],
    cache_entries: [IntGauge; 2],
}

impl Class {
    fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Playlist => "playlist",
            Self::Init => "init",
            Self::Segment => "segment",
            Self::Health => "health",
            Self::Management => "management",
            Self::Other => "other",
        }
    }
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
        let hits = maker.counters("segment_responses_total", "Segments answered, by where they came from.", "tier");
        let encodes = maker.counters("encodes_ended_total", "Segment encodes ended, by outcome.", "outcome");
        let bytes = maker.gauges("cache_bytes", "Bytes of segments kept.", "tier");
        let entries = maker.gauges("cache_entries", "Segments kept.", "tier");
        let workers = maker.counters("workers_ended_total", "Worker processes ended, by outcome.", "outcome");
        let requests = IntCounterVec::new(Opts::new("requests_total", "Requests answered."), &["class", "status"]);
        let requests = maker.register(requests.expect("constant"));
        let encode_seconds = HistogramOpts::new("encode_seconds", "Wall time of a finished segment encode.");
        let encode_seconds = Histogram::with_opts(encode_seconds.buckets(ENCODE_BUCKETS.to_vec()));
        Self {
            encodes_started: maker.counter("encodes_started_total", "Segment encodes begun."),
            encode_seconds: maker.register(encode_seconds.expect("constant")),
            queue_length: maker.gauge("queue_length", "Segment requests that wait for an encoder slot."),
            runs_active: maker.gauge("runs_active", "Encoder runs that hold a worker."),
            served_bytes: maker.counter("served_bytes_total", "Bytes of response bodies sent."),
            connections: maker.gauge("connections", "Open client connections."),
            bridged_frames: maker
                .counter("bridged_frames_total", "Frames that could not be decoded and were replaced."),
            over_bandwidth: maker
                .counter("segments_over_bandwidth_total", "Segments with a higher rate than their rendition declares."),
            requests,
            hits: ["memory", "disk", "made", "shared"].map(|tier| hits.with_label_values(&[tier])),
            encodes: ["finished", "failed", "cancelled"].map(|outcome| encodes.with_label_values(&[outcome])),
            workers,
            cache_bytes: ["memory", "disk"].map(|tier| bytes.with_label_values(&[tier])),
            cache_entries: ["memory", "disk"].map(|tier| entries.with_label_values(&[tier])),
            registry: maker.registry,
        }
    }

    /// Counts an answered request. `status` is the HTTP status code.
    pub fn request(&self, class: Class, status: u16) {
        let mut digits = [0; 3];
        for (digit, power) in digits.iter_mut().zip([100, 10, 1]) {
            *digit = b'0' + u8::try_from(status / power % 10).unwrap_or(0);
        }
        let status = std::str::from_utf8(&digits).unwrap_or("000");
        self.requests.with_label_values(&[class.as_str(), status]).inc();
    }

    /// Counts a segment that was answered.
    pub fn hit(&self, tier: Tier) {
        self.hits[tier as usize].inc();
    }

    /// Counts an encode that ended; one that finished took so many seconds.
    pub fn encode_ended(&self, outcome: Encode, seconds: f64) {
        self.encodes[outcome as usize].inc();
        if outcome == Encode::Finished {
            self.encode_seconds.observe(seconds);
        }
    }

    /// Counts a worker that ended. `outcome` is a word from the worker room's closed set.
    pub fn worker_ended(&self, outcome: &'static str) {
        self.workers.with_label_values(&[outcome]).inc();
    }

    /// Says what a store holds now.
    pub fn cache(&self, store: Store, bytes: u64, entries: u64) {
        self.cache_bytes[store as usize].set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.cache_entries[store as usize].set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    /// The text a scraper reads; its type is [`CONTENT_TYPE`].
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        // Writing to memory fails only for a malformed family, and ours are constants.
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
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

    /// Sample lines, without comments and buckets.
    fn samples(metrics: &Metrics) -> Vec<String> {
        let text = metrics.render();
        text.lines().filter(|l| !l.starts_with('#') && !l.contains("_bucket")).map(str::to_owned).collect()
    }

    #[test]
    fn what_can_be_counted_is_there_from_the_start_as_zero() {
        assert_eq!(
            samples(&Metrics::new()),
            [
                "matinee_bridged_frames_total 0",
                "matinee_cache_bytes{tier=\"disk\"} 0",
                "matinee_cache_bytes{tier=\"memory\"} 0",
                "matinee_cache_entries{tier=\"disk\"} 0",
                "matinee_cache_entries{tier=\"memory\"} 0",
                "matinee_connections 0",
                "matinee_encode_seconds_sum 0",
                "matinee_encode_seconds_count 0",
                "matinee_encodes_ended_total{outcome=\"cancelled\"} 0",
                "matinee_encodes_ended_total{outcome=\"failed\"} 0",
                "matinee_encodes_ended_total{outcome=\"finished\"} 0",
                "matinee_encodes_started_total 0",
                "matinee_queue_length 0",
                "matinee_runs_active 0",
                "matinee_segment_responses_total{tier=\"disk\"} 0",
                "matinee_segment_responses_total{tier=\"made\"} 0",
                "matinee_segment_responses_total{tier=\"memory\"} 0",
                "matinee_segment_responses_total{tier=\"shared\"} 0",
                "matinee_segments_over_bandwidth_total 0",
                "matinee_served_bytes_total 0",
            ]
        );
    }

    #[test]
    fn each_event_moves_its_own_sample() {
        let metrics = Metrics::new();
        metrics.clone().request(Class::Segment, 206);
        metrics.request(Class::Segment, 206);
        metrics.request(Class::Master, 404);
        metrics.hit(Tier::Memory);
        metrics.hit(Tier::Shared);
        metrics.encode_ended(Encode::Finished, 0.5);
        metrics.encode_ended(Encode::Cancelled, 9.0);
        metrics.worker_ended("killed");
        metrics.cache(Store::Disk, 4096, 2);
        metrics.cache(Store::Disk, 2048, 1);
        metrics.served_bytes.inc_by(100);
        metrics.connections.inc();
        let mut moved = samples(&metrics);
        moved.retain(|line| !line.ends_with(" 0"));
        assert_eq!(
            moved,
            [
                "matinee_cache_bytes{tier=\"disk\"} 2048",
                "matinee_cache_entries{tier=\"disk\"} 1",
                "matinee_connections 1",
                "matinee_encode_seconds_sum 0.5",
                "matinee_encode_seconds_count 1",
                "matinee_encodes_ended_total{outcome=\"cancelled\"} 1",
                "matinee_encodes_ended_total{outcome=\"finished\"} 1",
                "matinee_requests_total{class=\"master\",status=\"404\"} 1",
                "matinee_requests_total{class=\"segment\",status=\"206\"} 2",
                "matinee_segment_responses_total{tier=\"memory\"} 1",
                "matinee_segment_responses_total{tier=\"shared\"} 1",
                "matinee_served_bytes_total 100",
                "matinee_workers_ended_total{outcome=\"killed\"} 1",
            ]
        );
    }
}
