//! Exact frame rates from rounded times: a container that counts milliseconds shows 33, 33, 34 where the truth is
//! 1001/30000. Where one exact rate explains every frame, the rounding is undone; where none does, times stay as they are.

use crate::media::{Rate, Shown, Timescale};

/// Rates that sources are made at. Anything else counts only if every frame lasts exactly the same number of ticks.
const KNOWN: [(u32, u32); 16] = [
    (24_000, 1001),
    (24, 1),
    (25, 1),
    (30_000, 1001),
    (30, 1),
    (48, 1),
    (50, 1),
    (60_000, 1001),
    (60, 1),
    (120, 1),
    (15, 1),
    (12, 1),
    (10, 1),
    (100, 1),
    (20, 1),
    (90, 1),
];
/// What a container may have rounded by if the demuxer's nanoseconds are all we have: Matroska's and FLV's millisecond.
const DEMUXER_TOLERANCE_NS: i64 = 1_000_000;
/// Timescale of variable-rate tracks that only have nanoseconds: exact for every MPEG clock, fine for the rest.
const VARIABLE: u32 = 90_000;

/// A timescale, the exact rate if there is one, and how to bring the container's times to it.
pub type Times = (Timescale, Option<Rate>, Box<dyn Fn(i64) -> i64>);

/// Chooses the timeline of a video track. `direct` times are in the container's own ticks, others in nanoseconds.
pub fn grid_of(shown: &[Shown], end: i64, timescale: Timescale, direct: bool) -> Times {
    let first = shown.first().map_or(0, |s| s.at);
    let uniform = uniform_step(shown, end);
    if direct && let Some(step) = uniform {
        return (timescale, Rate::new(timescale.get(), step), Box::new(|t| t));
    }
    let tolerance = if direct { 1 } else { DEMUXER_TOLERANCE_NS };
    let fitting =
        KNOWN.iter().filter_map(|&(num, den)| Rate::new(num, den)).find(|r| explains(shown, timescale, *r, tolerance));
    if let Some(rate) = fitting.filter(|_| shown.len() > 2) {
        let scale = exact_timescale(rate);
        let frame = i64::from(scale.get()) * i64::from(rate.den.get()) / i64::from(rate.num);
        // Frame numbers are counted from the first frame; its own time keeps the offset to the other tracks.
        let offset = timescale.convert(first, scale);
        let number = move |t: i64| nearest_frame(t - first, timescale, rate);
        return (scale, Some(rate), Box::new(move |t| offset + number(t) * frame));
    }
    if direct {
        return (timescale, None, Box::new(|t| t));
    }
    let scale = Timescale::new(VARIABLE).unwrap_or(timescale);
    (scale, None, Box::new(move |t| timescale.convert(t, scale)))
}

/// The number of ticks between all neighbours, if it is always the same.
fn uniform_step(shown: &[Shown], end: i64) -> Option<u32> {
    let step = match shown {
        [] => return None,
        [only] => end - only.at,
        [a, b, ..] => b.at - a.at,
    };
    let same = shown.windows(2).all(|w| w[1].at - w[0].at == step);
    u32::try_from(step).ok().filter(|s| same && *s > 0)
}

fn nearest_frame(t: i64, timescale: Timescale, rate: Rate) -> i64 {
    let (num, den) = (i128::from(rate.num), i128::from(rate.den.get()) * i128::from(timescale.get()));
    i64::try_from((2 * i128::from(t) * num + den).div_euclid(2 * den)).unwrap_or(i64::MAX)
}

/// Does every frame lie within the tolerance of its number's time, with no number missing or twice?
fn explains(shown: &[Shown], timescale: Timescale, rate: Rate, tolerance: i64) -> bool {
    let Some(first) = shown.first() else { return false };
    shown.iter().zip(0_i64..).all(|(frame, number)| {
        let exact =
            i128::from(number) * i128::from(rate.den.get()) * i128::from(timescale.get()) / i128::from(rate.num);
        (i128::from(frame.at - first.at) - exact).abs() <= i128::from(tolerance)
    })
}

/// 90 kHz if a frame is a whole number of its ticks, else a multiple of the rate's numerator.
fn exact_timescale(rate: Rate) -> Timescale {
    let scale = if (u64::from(VARIABLE) * u64::from(rate.den.get())).is_multiple_of(u64::from(rate.num)) {
        VARIABLE
    } else if rate.num < 1_000 {
        rate.num * 1_000
    } else {
        rate.num
    };
    Timescale::new(scale).unwrap_or(Timescale::NANOSECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(times: impl IntoIterator<Item = i64>) -> Vec<Shown> {
        times.into_iter().enumerate().map(|(packet, at)| Shown { at, packet }).collect()
    }

    #[test]
    fn milliseconds_at_29_97_become_1001_of_30000() {
        let rounded = shown((0..3000).map(|i| (i * 1001 * 1000 + 15_000) / 30_000 * 1_000_000));
        let (scale, rate, convert) = grid_of(&rounded, 0, Timescale::NANOSECONDS, false);
        assert_eq!(rate, Rate::new(30_000, 1001));
        assert_eq!((convert(rounded[2999].at) * 30_000) / i64::from(scale.get()), 2999 * 1001);
    }

    #[test]
    fn a_variable_rate_stays_variable() {
        let times = shown([0, 40, 80, 200, 210].map(|ms| ms * 1_000_000));
        let (scale, rate, convert) = grid_of(&times, 0, Timescale::NANOSECONDS, false);
        assert_eq!((scale.get(), rate), (90_000, None));
        assert_eq!(convert(200_000_000), 18_000);
    }
}
