//! What the GET flow counts. Telemetry reads it when it is scraped; counting is one relaxed addition.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::StatusCode;

use super::error::Problem;
use super::segment::Came;

/// Counts since the process started, except `connections`.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests answered, by class of status: 2xx, 3xx, 4xx, 5xx.
    pub answers: [AtomicU64; 4],
    /// Segments and init segments answered, by where the bytes came from: memory, disk, made, shared.
    pub media: [AtomicU64; 4],
    /// Requests told 503 for want of an encoder: busy, late, no worker, left alone.
    pub refusals: [AtomicU64; 4],
    /// Answers broken off after their head was sent.
    pub broken_bodies: AtomicU64,
    /// Connections open now.
    pub connections: AtomicU64,
    /// Connections told 503 because there were too many.
    pub turned_away: AtomicU64,
    /// Connections cut because they did not move.
    pub cut_connections: AtomicU64,
}

/// One open connection; counted until dropped.
pub(super) struct Counted(Arc<Counters>);

impl Counters {
    pub(super) fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(2, 5) - 2;
        self.answers[class].fetch_add(1, Relaxed);
    }

    pub(super) fn media(&self, came: Came) {
        self.media[came.index()].fetch_add(1, Relaxed);
    }

    pub(super) fn refused(&self, problem: &Problem) {
        let reason = match problem {
            Problem::Busy { .. } => 0,
            Problem::Late { .. } => 1,
            Problem::NoWorker { .. } => 2,
            Problem::LeftAlone { .. } => 3,
            _ => return,
        };
        self.refusals[reason].fetch_add(1, Relaxed);
    }

    pub(super) fn connection(self: Arc<Self>) -> Counted {
        self.connections.fetch_add(1, Relaxed);
        Counted(self)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}
