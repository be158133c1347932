//! How workers end. A child's exit is data: the encoder retries by it, the quarantine counts by it, metrics show it.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Status of a worker that panicked. Rust's own number, said here because the panic may be on any thread.
pub(super) const PANIC: u8 = 101;
/// Status of a worker that was not started by a server, or that was told something out of order.
pub(super) const USAGE: u8 = 64;
/// Status of a worker whose GStreamer could not be initialised.
pub(super) const UNAVAILABLE: u8 = 69;

/// What the last words of a process without memory look like: Rust, GLib, x264, C++, the system's own message, and
/// GStreamer where there is no room for a thread's stack.
const OUT_OF_MEMORY: [&str; 6] = [
    "memory allocation of",
    "failed to allocate",
    "malloc of size",
    "std::bad_alloc",
    "Cannot allocate memory",
    "failed to create thread",
];

/// Why a worker is no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exit {
    /// It ended by itself and in order, which it does when the server hangs up.
    #[error("it ended by itself")]
    Clean,
    /// It ended with an error status.
    #[error("it ended with status {0}")]
    Code(i32),
    /// A signal ended it. The kernel's own out-of-memory killer shows as 9.
    #[error("signal {0} ended it")]
    Signal(i32),
    /// It hit its memory limit.
    #[error("it ran out of memory")]
    OutOfMemory,
    /// It said something that is not in the protocol, and was killed.
    #[error("it sent an invalid message: {0}")]
    Nonsense(String),
    /// It had a job, said nothing for this long, and was killed.
    #[error("it made no progress for {} s", .0.as_secs_f32())]
    Stalled(Duration),
    /// It was busy, but for longer than the job may take, and was killed.
    #[error("it was not done after {} s", .0.as_secs_f32())]
    Overran(Duration),
    /// The server had no more use for it and killed it.
    #[error("the server no longer needed it")]
    Dismissed,
}

impl Exit {
    /// From the wait status and the last words on standard error.
    pub(super) fn classify(status: ExitStatus, last_words: &str) -> Self {
        if status.success() {
            return Self::Clean;
        }
        if has_no_memory(last_words) {
            return Self::OutOfMemory;
        }
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Code(-1),
        }
    }

    /// The reason for which it was killed, in the light of its last words: what stands still, or fails at its work and is
    /// dismissed for it, may do so because it has no memory left.
    pub(super) fn condemned(self, last_words: &str) -> Self {
        match self {
            Self::Stalled(_) | Self::Dismissed if has_no_memory(last_words) => Self::OutOfMemory,
            fate => fate,
        }
    }

    /// Whether the same work may succeed on a fresh worker. Not if it took too long, and not if nobody wants it.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Clean
            | Self::Code(_)
            | Self::Signal(_)
            | Self::OutOfMemory
            | Self::Nonsense(_)
            | Self::Stalled(_) => true,
            Self::Overran(_) | Self::Dismissed => false,
        }
    }

    /// Whether the source may be to blame, which is what the quarantine counts.
    #[must_use]
    pub fn is_suspicious(&self) -> bool {
        !matches!(self, Self::Clean | Self::Dismissed)
    }

    /// A word for metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        LABELS[self.ordinal()]
    }

    fn ordinal(&self) -> usize {
        match self {
            Self::Clean => 0,
            Self::Code(_) => 1,
            Self::Signal(_) => 2,
            Self::OutOfMemory => 3,
            Self::Nonsense(_) => 4,
            Self::Stalled(_) => 5,
            Self::Overran(_) => 6,
            Self::Dismissed => 7,
        }
    }
}

fn has_no_memory(last_words: &str) -> bool {
    OUT_OF_MEMORY.iter().any(|words| last_words.contains(words))
}

const LABELS: [&str; 8] = ["clean", "code", "signal", "out_of_memory", "nonsense", "stalled", "overran", "dismissed"];

/// A worker's end, for the log and for whoever waited for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// Its process id, which may name another process by now.
    pub pid: i32,
    /// Why.
    pub exit: Exit,
    /// The last it wrote on standard error, control characters blanked.
    pub last_words: String,
}

impl std::error::Error for Death {}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {}: {}", self.pid, self.exit)?;
        match self.last_words.trim_end().lines().next_back() {
            Some(line) => write!(f, "; its last words: {line}"),
            None => Ok(()),
        }
    }
}

/// How many workers ended in which way since the pool started.
#[derive(Debug, Default)]
pub struct Outcomes([AtomicU64; LABELS.len()]);

impl Outcomes {
    pub(super) fn count(&self, exit: &Exit) {
        self.0[exit.ordinal()].fetch_add(1, Ordering::Relaxed);
    }

    /// Word and number of each outcome.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        LABELS.into_iter().zip(self.0.iter().map(|n| n.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_is_classified_by_its_status_and_its_last_words() {
        let code = |n: i32| ExitStatus::from_raw(n << 8);
        let signal = ExitStatus::from_raw;
        let table = [
            (code(0), "", Exit::Clean),
            (code(0), "memory allocation of 7 bytes failed", Exit::Clean),
            (code(101), "thread 'jobs' panicked", Exit::Code(101)),
            (signal(9), "", Exit::Signal(9)),
            (signal(11 | 0x80), "", Exit::Signal(11)),
            (signal(6), "memory allocation of 134217728 bytes failed\n", Exit::OutOfMemory),
            (signal(5), "GLib-ERROR **: ../glib/gmem.c:136: failed to allocate 99 bytes", Exit::OutOfMemory),
            (signal(11), "x264 [error]: malloc of size 2584448 failed\n", Exit::OutOfMemory),
            (code(101), "failed to spawn thread: Cannot allocate memory", Exit::OutOfMemory),
        ];
        for (status, words, exit) in table {
            assert_eq!(Exit::classify(status, words), exit, "{status:?} {words:?}");
        }
    }

    #[test]
    fn a_worker_that_hangs_or_fails_for_want_of_memory_ran_out_of_it_whoever_killed_it() {
        let stalled = Exit::Stalled(Duration::from_secs(6));
        let words =
            "GStreamer-WARNING **: failed to create thread: Error creating thread: Resource temporarily unavailable";
        assert_eq!(stalled.clone().condemned(words), Exit::OutOfMemory);
        assert_eq!(Exit::Dismissed.condemned(words), Exit::OutOfMemory);
        assert_eq!(stalled.clone().condemned("nothing of the kind"), stalled);
        assert_eq!(Exit::Nonsense("x".into()).condemned(words), Exit::Nonsense("x".into()), "that it lied counts more");
    }

    #[test]
    fn every_outcome_is_counted_under_its_own_word() {
        let outcomes = Outcomes::default();
        outcomes.count(&Exit::Signal(9));
        outcomes.count(&Exit::Signal(11));
        outcomes.count(&Exit::Stalled(Duration::from_secs(6)));
        let counted: Vec<_> = outcomes.iter().filter(|(_, n)| *n > 0).collect();
        assert_eq!(counted, [("signal", 2), ("stalled", 1)]);
    }
}
