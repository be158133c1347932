//! When to try again what is kept here and failed.

/// Pauses between attempts that grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pauses {
    /// After the first attempt, milliseconds.
    pub first_ms: i64,
    /// Each further one is so many times as long ...
    pub factor: i64,
    /// ... and not longer than this, milliseconds.
    pub longest_ms: i64,
}

impl Pauses {
    /// The pause after so many attempts, milliseconds, give or take a quarter: what failed together does not come back
    /// together.
    #[must_use]
    pub fn after(self, attempts: u32) -> i64 {
        let times = self.factor.saturating_pow(attempts.saturating_sub(1));
        let pause = self.first_ms.saturating_mul(times).min(self.longest_ms);
        let chance = i64::from(getrandom::u32().unwrap_or_default() % 512);
        pause - pause / 4 + pause / 2 * chance / 512
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_growing() {
        let longest_ms = 300_000;
        for (factor, attempts, about) in [
            (2, 0, 1000),
            (2, 1, 1000),
            (2, 2, 2000),
            (2, 5, 16_000),
            (2, 30, longest_ms),
            (4, 3, 16_000),
            (4, u32::MAX, longest_ms),
        ] {
            let (range, pauses) = (about * 3 / 4..=about * 5 / 4, Pauses { first_ms: 1000, factor, longest_ms });
            assert!((0..50).all(|_| range.contains(&pauses.after(attempts))), "{factor} {attempts}");
        }
    }
}
