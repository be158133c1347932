//! What an operator may set about encoding.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[encoder]` of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Video encodes at once; 0 for one per processor core, at least two.
    pub workers: u32,
    /// Segments made beyond the one asked for; 0 for none.
    pub lookahead_segments: u32,
    /// Wished length of the parts in which a segment is sent while it is made, seconds.
    pub chunk_seconds: f64,
    /// A run whose viewer does not come back for the next segment ends after this time, seconds.
    pub idle_seconds: u64,
    /// Orders that may wait for each slot; more are answered 503.
    pub queue_per_worker: u32,
    /// A player gives up after waiting this long, seconds: what cannot be made before is answered 503 at once.
    pub patience_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: 0,
            lookahead_segments: 2,
            chunk_seconds: 0.5,
            idle_seconds: 20,
            queue_per_worker: 16,
            patience_seconds: 8,
        }
    }
}

impl Config {
    /// All problems at once, each naming its key.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |good: bool, key: &str, value: &dyn std::fmt::Display, must: &str| {
            if !good {
                problems.push(format!("encoder.{key} = {value}: must be {must}"));
            }
        };
        check(self.workers <= 32, "workers", &self.workers, "0 (one per core) to 32");
        check(self.lookahead_segments <= 100, "lookahead_segments", &self.lookahead_segments, "0 (none) to 100");
        check((0.1..=10.0).contains(&self.chunk_seconds), "chunk_seconds", &self.chunk_seconds, "0.1 to 10 seconds");
        check((1..=3600).contains(&self.idle_seconds), "idle_seconds", &self.idle_seconds, "1 to 3600 seconds");
        check((1..=1024).contains(&self.queue_per_worker), "queue_per_worker", &self.queue_per_worker, "1 to 1024");
        check(
            (1..=3600).contains(&self.patience_seconds),
            "patience_seconds",
            &self.patience_seconds,
            "1 to 3600 seconds",
        );
        problems
    }

    /// Video encodes at once.
    pub(super) fn slots(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 32);
        if self.workers == 0 { cores } else { self.workers as usize }
    }

    /// Slots that warming may hold at once: all but one, so that a viewer who comes finds one that is free or is looked
    /// ahead in, and need not wait for work to stop.
    pub(super) fn warm_slots(&self) -> usize {
        self.slots().saturating_sub(1).max(1)
    }

    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs(self.patience_seconds)
    }

    pub(super) fn queue(&self) -> usize {
        self.slots() * self.queue_per_worker as usize
    }

    pub(super) fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_seconds)
    }
}
