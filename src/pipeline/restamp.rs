//! Exact times of blocks of sound. A container may round them, Matroska and FLV to milliseconds, so that each block seems to
//! begin a little before or after the one before it ends. Within a segment one follows on the other all the same; but a
//! segment that begins with a rounded time has some samples twice, or lacks some.

use std::ops::Range;

/// A container's rounding moves a time by this part of a second at most.
const ROUNDING_PART: i64 = 1000;

/// Moves the times of blocks, in samples, so that each begins where the one before ends, as far as rounding explains all that
/// they are off. What is off by more begins anew: a gap, or a clock that runs at another pace than the samples.
pub fn restamp(times: &mut [i64], block: i64, rate: u32) {
    let slack = i64::from(rate) / ROUNDING_PART;
    let mut first = 0;
    while first < times.len() {
        let (run, start) = run(times, first, block, slack);
        first = run.end;
        for (n, at) in (0..).zip(&mut times[run]) {
            *at = start + n * block;
        }
    }
}

/// The blocks from the first on that follow on each other, and when the first begins: as near to what it says as the others
/// allow.
fn run(times: &[i64], first: usize, block: i64, slack: i64) -> (Range<usize>, i64) {
    let begin = times[first];
    let (mut least, mut most, mut end) = (0, 0, first);
    for (n, at) in (0..).zip(&times[first..]) {
        let off = at.saturating_sub(begin).saturating_sub(block.saturating_mul(n));
        let (low, high) = (off.min(least), off.max(most));
        if high.saturating_sub(low) > 2 * slack {
            break;
        }
        (least, most, end) = (low, high, end + 1);
    }
    (first..end, begin.saturating_add(0.clamp(most - slack, least + slack)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Times of blocks of 1024 samples at 48 kHz as a container with milliseconds has them.
    fn rounded(blocks: Range<i64>, offset: i64, up: i64) -> Vec<i64> {
        blocks.map(|n| ((n * 1024 + offset) * 1000 + up).div_euclid(48_000) * 48).collect()
    }

    #[test]
    fn rounded_times_follow_on_each_other_and_a_gap_stays_one() {
        for (offset, up) in [(0, 24_000), (0, 0), (100, 24_000), (-1024, 0)] {
            let mut times = rounded(0..5000, offset, up);
            let first = times[0];
            restamp(&mut times, 1024, 48_000);
            assert!((times[0] - first).abs() <= 48, "{offset} {up}");
            assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 1024), "{offset} {up}");
        }
        let mut gap = [rounded(0..100, 0, 24_000), rounded(100..200, 4_800, 24_000)].concat();
        restamp(&mut gap, 1024, 48_000);
        let steps: Vec<i64> = gap.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step != 1024).collect();
        assert_eq!(steps.len(), 1);
        assert!((steps[0] - 5824).abs() <= 48, "{steps:?}");
    }

    #[test]
    fn times_that_are_exact_and_those_of_blocks_of_other_lengths_stay_nearly_as_they_are() {
        let exact: Vec<i64> = (0..100).map(|n| n * 1024 - 77).collect();
        let mut same = exact.clone();
        restamp(&mut same, 1024, 48_000);
        assert_eq!(same, exact);
        let other: Vec<i64> = (0..100).map(|n| n * 700).collect();
        let mut moved = other.clone();
        restamp(&mut moved, 1024, 48_000);
        assert_eq!(moved, other);
    }

    proptest! {
        #[test]
        fn no_time_moves_by_more_than_rounding_would(mut times: Vec<i64>, block in 1..5000_i64, rate in 1000..200_000_u32) {
            let before = times.clone();
            restamp(&mut times, block, rate);
            for (old, new) in before.iter().zip(&times) {
                prop_assert!(old.abs_diff(*new) <= u64::from(rate) / 1000);
            }
        }
    }
}
