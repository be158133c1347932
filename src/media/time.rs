//! Timescales and frame rates.

use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// Ticks per second of a track (ISO/IEC 14496-12 §8.4.2 `timescale`). Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Timescale(NonZeroU32);

impl Timescale {
    /// Nanoseconds, GStreamer's clock.
    pub const NANOSECONDS: Self = Self(NonZeroU32::new(1_000_000_000).unwrap());

    /// `None` for zero, which no track may declare.
    #[must_use]
    pub fn new(ticks_per_second: u32) -> Option<Self> {
        NonZeroU32::new(ticks_per_second).map(Self)
    }

    /// Ticks per second.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0.get()
    }

    /// `ticks` of this timescale in `other`, rounded to the nearest, halves up; the furthest there is if that is too far.
    #[must_use]
    pub fn convert(self, ticks: i64, other: Self) -> i64 {
        let from = i128::from(self.get());
        let scaled = i128::from(ticks) * i128::from(other.get());
        let rounded = (2 * scaled + from).div_euclid(2 * from);
        i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN } else { i64::MAX })
    }

    /// Seconds, for people and for playlists' decimal attributes.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "2^53 ticks are 3,000 years at 90 kHz")]
    pub fn seconds(self, ticks: i64) -> f64 {
        ticks as f64 / f64::from(self.get())
    }

    /// The number of ticks nearest to `seconds`.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "bounded by configuration checks")]
    pub fn ticks(self, seconds: f64) -> i64 {
        (seconds * f64::from(self.get())).round() as i64
    }
}

impl fmt::Display for Timescale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A frame rate as an exact fraction, frames per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rate {
    /// Frames ...
    pub num: u32,
    /// ... per this many seconds.
    pub den: NonZeroU32,
}

impl Rate {
    /// In lowest terms; `None` if either number is zero.
    #[must_use]
    pub fn new(num: u32, den: u32) -> Option<Self> {
        let divisor = gcd(num, den);
        NonZeroU32::new(den / divisor).filter(|_| num > 0).map(|den| Self { num: num / divisor, den })
    }

    /// Frames per second, for people and comparisons with thresholds.
    #[must_use]
    pub fn fps(self) -> f64 {
        f64::from(self.num) / f64::from(self.den.get())
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.den.get() == 1 { write!(f, "{}", self.num) } else { write!(f, "{}/{}", self.num, self.den) }
    }
}

/// Greatest common divisor, at least 1.
#[must_use]
pub fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversion_rounds_to_the_nearest_tick_also_below_zero() {
        let ms = Timescale::new(1000).unwrap();
        let khz90 = Timescale::new(90_000).unwrap();
        assert_eq!(ms.convert(1, khz90), 90);
        assert_eq!(khz90.convert(44, ms), 0);
        assert_eq!(khz90.convert(45, ms), 1);
        assert_eq!(khz90.convert(-46, ms), -1);
        assert_eq!([i64::MAX, i64::MIN].map(|far| ms.convert(far, khz90)), [i64::MAX, i64::MIN]);
    }
}
