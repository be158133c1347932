//! Exact frame rates from rounded times: a container that counts milliseconds shows 33, 33, 34 where the truth is
//! 1001/30000. Where one exact rate explains every frame, the rounding is undone; where none does, times stay as they are.

use crate::media::{Rate, Shown, Timescale, VideoTrack};

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

/// Frames that a container of fixed rate may have dropped, in hundredths of those that should be there. More is not a few
/// dropped frames but another rate.
const MOST_DROPPED: i64 = 20;
/// Longest run of dropped frames that is filled, seconds: what is longer is a hole in a broadcast, not a dropped frame.
const LONGEST_FILL_SECONDS: f64 = 10.0;

/// What is known of a track before its timeline is chosen.
pub struct Source<'a> {
    /// Presented frames, in `timescale`.
    pub shown: &'a [Shown],
    /// End of the last one.
    pub end: i64,
    /// Unit of both.
    pub timescale: Timescale,
    /// Times are the container's own ticks, as opposed to a demuxer's nanoseconds.
    pub direct: bool,
    /// The container gives every frame the same duration, and leaves out those that repeat the one before.
    pub fixed_rate: bool,
}

/// The timeline of a video track.
pub struct Times {
    /// Its unit.
    pub timescale: Timescale,
    /// The exact rate, if there is one.
    pub rate: Option<Rate>,
    /// Brings a time of the container to it.
    pub convert: Box<dyn Fn(i64) -> i64>,
    /// End of the last frame, in its unit, later than the frame itself.
    pub end: i64,
    /// Times, in its unit, of frames the container left out.
    pub dropped: Vec<i64>,
}

/// Chooses the timeline of a video track.
pub fn grid_of(source: &Source) -> Times {
    let Source { shown, timescale, direct, .. } = *source;
    let is_fit = direct && timescale.get() <= VideoTrack::FINEST;
    if is_fit && let Some(step) = uniform_step(shown.iter().map(|s| s.at), source.end) {
        let rate = Rate::new(timescale.get(), step);
        return exact(source, timescale, rate, i64::from(step), Box::new(|t| t));
    }
    let tolerance = match direct {
        true if is_fit => 1,
        // Ticks too fine to be meant exactly: a thousandth of a second, as of a demuxer's nanoseconds.
        true => i64::from(timescale.get() / 1000),
        false => DEMUXER_TOLERANCE_NS,
    };
    if let Some(rate) = best_rate(shown, timescale, tolerance) {
        return of_rate(source, rate);
    }
    let fixed_rate = source.fixed_rate.then(|| rate_with_gaps(shown, timescale, tolerance)).flatten();
    if let Some(rate) = fixed_rate {
        return of_rate(source, rate);
    }
    let scale = if is_fit { timescale } else { Timescale::new(VARIABLE).unwrap_or(timescale) };
    let convert = move |t: i64| timescale.convert(t, scale);
    // A rate that is none of the known ones, but exact: 12.048 or 30.12 frames per second.
    let converted = || shown.iter().map(|s| convert(s.at));
    if let Some(step) = uniform_step(converted(), convert(source.end)).filter(|_| shown.len() > 2) {
        return exact(source, scale, Rate::new(scale.get(), step), i64::from(step), Box::new(convert));
    }
    let last = converted().next_back().unwrap_or(0);
    let end = convert(source.end).max(last + 1);
    Times { timescale: scale, rate: None, convert: Box::new(convert), end, dropped: Vec::new() }
}

/// A timeline on which frame `n` lies exactly at `n` over the rate.
fn of_rate(source: &Source, rate: Rate) -> Times {
    let timescale = source.timescale;
    let scale = exact_timescale(rate);
    let frame = i64::from(scale.get()) * i64::from(rate.den.get()) / i64::from(rate.num);
    let first = source.shown.first().map_or(0, |s| s.at);
    // Frame numbers are counted from the first frame; its own time keeps the offset to the other tracks.
    let offset = timescale.convert(first, scale);
    let number = move |t: i64| nearest_frame(t - first, timescale, rate);
    exact(source, scale, Some(rate), frame, Box::new(move |t| offset + number(t) * frame))
}

/// The last frame lasts as long as the others, unless the container lets it stand for longer.
fn exact(
    source: &Source,
    timescale: Timescale,
    rate: Option<Rate>,
    frame: i64,
    convert: Box<dyn Fn(i64) -> i64>,
) -> Times {
    let times: Vec<i64> = source.shown.iter().map(|s| convert(s.at)).collect();
    let last = times.last().copied().unwrap_or(0);
    let length = (convert(source.end) - last + frame / 2) / frame.max(1) * frame;
    let gap = |w: &[i64]| (1..(w[1] - w[0]) / frame.max(1)).map(move |n| n * frame).collect::<Vec<_>>();
    let dropped = times.windows(2).flat_map(|w| gap(w).into_iter().map(|after| w[0] + after)).collect();
    Times { timescale, rate, convert, end: last + length.max(frame), dropped }
}

/// The known rate that explains every frame best.
fn best_rate(shown: &[Shown], timescale: Timescale, tolerance: i64) -> Option<Rate> {
    let known = KNOWN.iter().filter_map(|&(num, den)| Rate::new(num, den)).filter(|_| shown.len() > 2);
    let fitting =
        known.filter_map(|rate| Some((worst_error(shown, timescale, rate).filter(|e| *e <= tolerance)?, rate)));
    fitting.min_by_key(|(error, _)| *error).map(|(_, rate)| rate)
}

/// The slowest known rate at which every frame has a number of its own, a few of which are missing.
fn rate_with_gaps(shown: &[Shown], timescale: Timescale, tolerance: i64) -> Option<Rate> {
    let first = shown.first()?.at;
    let fits = |rate: &Rate| {
        let numbers: Vec<i64> = shown.iter().map(|s| nearest_frame(s.at - first, timescale, *rate)).collect();
        let exact =
            shown.iter().zip(&numbers).all(|(s, n)| (s.at - first - time_of(*n, timescale, *rate)).abs() <= tolerance);
        let all = numbers.last().map_or(1, |last| last + 1);
        let missing = all - i64::try_from(numbers.len()).unwrap_or(i64::MAX);
        #[expect(clippy::cast_precision_loss, reason = "a number of frames")]
        let short = |w: &[i64]| w[1] > w[0] && ((w[1] - w[0]) as f64) < LONGEST_FILL_SECONDS * rate.fps();
        exact && missing * 100 <= all * MOST_DROPPED && numbers.windows(2).all(short)
    };
    let known = KNOWN.iter().filter_map(|&(num, den)| Rate::new(num, den)).filter(fits);
    known.min_by(|a, b| a.fps().total_cmp(&b.fps()))
}

/// The number of ticks between all neighbours, if it is always the same.
fn uniform_step(times: impl Iterator<Item = i64>, end: i64) -> Option<u32> {
    let times: Vec<i64> = times.collect();
    let step = match times[..] {
        [] => return None,
        [only] => end - only,
        [a, b, ..] => b - a,
    };
    let same = times.windows(2).all(|w| w[1] - w[0] == step);
    u32::try_from(step).ok().filter(|s| same && *s > 0)
}

fn nearest_frame(t: i64, timescale: Timescale, rate: Rate) -> i64 {
    let (num, den) = (i128::from(rate.num), i128::from(rate.den.get()) * i128::from(timescale.get()));
    i64::try_from((2 * i128::from(t) * num + den).div_euclid(2 * den)).unwrap_or(i64::MAX)
}

/// When frame `number` begins, counted from frame 0, rounded down.
fn time_of(number: i64, timescale: Timescale, rate: Rate) -> i64 {
    let exact = i128::from(number) * i128::from(rate.den.get()) * i128::from(timescale.get()) / i128::from(rate.num);
    i64::try_from(exact).unwrap_or(i64::MAX)
}

/// How far the frame that lies worst is from its number's time.
fn worst_error(shown: &[Shown], timescale: Timescale, rate: Rate) -> Option<i64> {
    let first = shown.first()?.at;
    let errors = shown.iter().zip(0_i64..).map(|(s, number)| (s.at - first - time_of(number, timescale, rate)).abs());
    errors.max()
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

    fn demuxed(shown: &[Shown], end: i64) -> Source<'_> {
        Source { shown, end, timescale: Timescale::NANOSECONDS, direct: false, fixed_rate: false }
    }

    #[test]
    fn milliseconds_at_29_97_become_1001_of_30000() {
        let rounded = shown((0..3000).map(|i| (i * 1001 * 1000 + 15_000) / 30_000 * 1_000_000));
        let Times { timescale, rate, convert, end, dropped } = grid_of(&demuxed(&rounded, 0));
        assert_eq!((rate, dropped), (Rate::new(30_000, 1001), vec![]));
        let scale = i64::from(timescale.get());
        assert_eq!((convert(rounded[2999].at) * 30_000) / scale, 2999 * 1001);
        assert_eq!(end * 30_000 / scale, 3000 * 1001, "a last frame without a duration lasts as long as the others");
    }

    #[test]
    fn ticks_too_fine_for_32_bits_of_a_segment_become_coarser() {
        // So long that what each tick is off by adds up.
        let times = shown((0..20_000).map(|i| i * 41_666_667));
        let found = grid_of(&Source { direct: true, ..demuxed(&times, 20_000 * 41_666_667) });
        assert!(found.timescale.get() <= VideoTrack::FINEST, "{:?}", found.timescale);
        assert_eq!(found.rate.map(Rate::fps), Some(24.0));
        assert_eq!((found.convert)(times[24].at), i64::from(found.timescale.get()));
    }

    #[test]
    fn a_variable_rate_stays_variable() {
        let times = shown([0, 40, 80, 200, 210].map(|ms| ms * 1_000_000));
        let found = grid_of(&demuxed(&times, 250_000_000));
        assert_eq!((found.timescale.get(), found.rate, found.end), (90_000, None, 22_500));
        assert_eq!((found.convert)(200_000_000), 18_000);
    }

    #[test]
    fn frames_an_avi_file_left_out_are_named_and_those_of_a_variable_rate_are_not() {
        let times = shown((0..100).filter(|i| ![1, 2, 50].contains(i)).map(|i| i * 1001 * 1_000_000_000 / 24_000));
        let variable = grid_of(&demuxed(&times, 0));
        assert_eq!((variable.rate, variable.dropped), (None, vec![]));
        let found = grid_of(&Source { fixed_rate: true, ..demuxed(&times, 0) });
        let frame = i64::from(found.timescale.get()) * 1001 / 24_000;
        assert_eq!((found.rate, found.dropped), (Rate::new(24_000, 1001), vec![frame, 2 * frame, 50 * frame]));
    }

    #[test]
    fn a_rate_nobody_knows_is_exact_all_the_same() {
        let times = shown((0..50).map(|i| i * 33_200_000));
        assert_eq!(grid_of(&demuxed(&times, 0)).rate, Rate::new(2500, 83));
    }

    #[test]
    fn of_two_rates_that_explain_a_short_film_the_nearer_one_is_taken() {
        let times = shown((0..30).map(|i| (i * 1001 + 15) / 30 * 1_000_000));
        assert_eq!(grid_of(&demuxed(&times, 0)).rate, Rate::new(30_000, 1001));
    }
}
