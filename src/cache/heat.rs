//! How much an object is used, as one number that needs no upkeep.
//!
//! Each use counts 1 and fades by half every [`HALF_LIFE_SECONDS`] (LRFU, Lee et al., IEEE Trans. Computers 50(12),
//! 2001). The sum is kept as if all time had passed since one fixed moment, as its base-2 logarithm: then it changes on a
//! use alone, and any two can be compared at any time.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A use of yesterday counts a sixteenth of one of now: what is watched every evening stays, last week's fashion goes.
const HALF_LIFE_SECONDS: f64 = 6.0 * 3600.0;

/// A day, half-lives.
pub(super) const DAY: f64 = 24.0 * 3600.0 / HALF_LIFE_SECONDS;
/// Half-lives that a heat may be ahead of now: millions of uses at once. What is more comes from a clock that was ahead for a
/// moment, and would outlive everything.
const MOST_AHEAD: f64 = 24.0;

/// A heat, or a moment, which is the heat of what is used then and never before: half-lives since 1970.
pub(super) type Moment = f64;

/// What time it is.
#[derive(Clone, Default)]
pub enum Clock {
    /// The system's.
    #[default]
    System,
    /// Milliseconds since 1970, as somebody sets them: replays a day in a minute.
    Set(Arc<AtomicU64>),
}

/// The heat of one object, shared by both tiers.
pub(super) struct Heat(AtomicU64);

impl Clock {
    /// Milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        let milliseconds = match self {
            Self::System => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis(),
            Self::Set(milliseconds) => milliseconds.load(Ordering::Relaxed).into(),
        };
        i64::try_from(milliseconds).unwrap_or(i64::MAX)
    }

    pub(super) fn now(&self) -> Moment {
        match self {
            Self::System => moment(SystemTime::now()),
            Self::Set(milliseconds) => milliseconds.load(Ordering::Relaxed) as f64 / 1000.0 / HALF_LIFE_SECONDS,
        }
    }
}

impl Heat {
    /// Used once, at that moment; or of a heat known from before.
    pub(super) fn new(at: Moment) -> Self {
        Self(AtomicU64::new(at.to_bits()))
    }

    pub(super) fn get(&self) -> Moment {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    /// One more use. Of two at the same instant one may be lost, which is nothing against a lock for each hit.
    pub(super) fn used(&self, now: Moment) {
        let before = plausible(self.get(), now);
        let (more, less) = if before > now { (before, now) } else { (now, before) };
        self.0.store((more + (less - more).exp2().ln_1p() / std::f64::consts::LN_2).to_bits(), Ordering::Relaxed);
    }
}

/// A heat that somebody has noted, as far as it can be true now.
pub(super) fn plausible(heat: Moment, now: Moment) -> Moment {
    heat.min(now + MOST_AHEAD)
}

/// Times before 1970 count as 1970.
pub(super) fn moment(time: SystemTime) -> Moment {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() / HALF_LIFE_SECONDS
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "System",
            Self::Set(_) => "Set",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_counts_half_after_a_half_life() {
        let heat = Heat::new(80_000.0);
        heat.used(80_001.0);
        // 1/2 + 1 uses, as of the later moment.
        assert!((heat.get() - 80_001.0 - 1.5_f64.log2()).abs() < 1e-9);
        let twice = Heat::new(80_000.0);
        twice.used(80_000.0);
        assert!((twice.get() - 80_001.0).abs() < 1e-9, "two uses then are worth one a half-life later");
    }

    #[test]
    fn uses_of_far_apart_and_clocks_that_go_back_do_no_harm() {
        let heat = Heat::new(80_020.0);
        heat.used(80_000.0);
        assert!((heat.get() - 80_020.0).abs() < 1e-5);
        heat.used(200_000.0);
        assert!((heat.get() - 200_000.0).abs() < 1e-9);
    }

    /// What was used while the clock was a year ahead could not be evicted for a year.
    #[test]
    fn a_clock_that_was_ahead_is_forgotten_with_the_next_use() {
        let heat = Heat::new(80_000.0);
        heat.used(81_460.0);
        heat.used(80_000.0);
        assert!((heat.get() - 80_024.0).abs() < 1e-5);
    }

    #[test]
    fn moments_a_microsecond_apart_are_told_apart() {
        let now = moment(SystemTime::now());
        assert!(now + 1e-6 / HALF_LIFE_SECONDS > now);
    }
}
