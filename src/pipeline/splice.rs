//! Edit lists with several stretches of media (ISO/IEC 14496-12 §8.6.6): the samples of each, one stretch behind the other.
//! GStreamer's demuxer loses some of them.
//!
//! Pictures that a stretch does not show but needs are given times between the stretches, which no other has: everything
//! else tells pictures apart by their times. If ticks are too coarse for that, they are made finer.

use super::found::MOST_PACKETS;
use super::mp4::TableSample;

/// A picture of which a stretch leaves less than this part is not shown, as at the start of a film.
const SLIVER: i64 = 4;

/// Part of a track's media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// When it is presented, in the media's timescale.
    pub at: i64,
    /// Media time at which it begins.
    pub from: i64,
    /// Media time at which it ends.
    pub until: Option<i64>,
}

/// The samples of all stretches, in decode order.
#[derive(Debug, PartialEq, Eq)]
pub struct Spliced {
    pub samples: Vec<TableSample>,
    pub end: i64,
    /// So many times finer than the media's timescale all times are.
    pub finer: u32,
}

/// A sample with how long it lasts; its time is that of the media.
pub type Medium = (TableSample, u32);

impl Stretch {
    /// Shows a sample that begins in it, or of which so much is left.
    fn shows(&self, (sample, duration): &Medium, tick: i64, least: i64) -> bool {
        let begins = sample.pts;
        let is_begun = begins >= self.from || begins + i64::from(*duration) >= self.from + least;
        is_begun && self.until.is_none_or(|until| begins + tick < until)
    }

    fn holds(&self, at: i64) -> bool {
        at >= self.from && self.until.is_none_or(|until| at < until)
    }
}

/// All samples, of which one stretch is shown.
pub fn one(media: &[Medium], stretch: Stretch, tick: i64) -> Spliced {
    let moved = stretch.at - stretch.from;
    let placed =
        |medium: &Medium| TableSample { pts: medium.0.pts + moved, shown: stretch.shows(medium, tick, 1), ..medium.0 };
    let media_end = media.iter().map(|(sample, duration)| sample.pts + i64::from(*duration)).max().unwrap_or(0);
    let end = stretch.until.map_or(media_end, |until| until.min(media_end)) + moved;
    Spliced { samples: media.iter().map(placed).collect(), end, finer: 1 }
}

/// Sound, cut at whole packets so that it goes on without a gap: a stretch may be off by half a packet.
pub fn sound(media: &[Medium], stretches: &[Stretch]) -> Option<Spliced> {
    let mut samples: Vec<TableSample> = Vec::new();
    let mut end = None;
    for stretch in stretches {
        let middle = |(sample, duration): &Medium| sample.pts + i64::from(*duration) / 2;
        let Some(first) = media.iter().position(|m| stretch.holds(middle(m))) else { continue };
        let held = media[first..].iter().take_while(|m| stretch.holds(middle(m)));
        let (begins, packet) = (media[first].0.pts - stretch.from + stretch.at, i64::from(media[first].1));
        let follows = end.filter(|end: &i64| (begins - end).abs() <= packet);
        let moved = follows.unwrap_or(begins) - media[first].0.pts;
        // Decoders start from nothing: what comes before the first stretch is fed to them.
        let before = if samples.is_empty() { &media[..first] } else { &[] };
        samples.extend(before.iter().map(|(sample, _)| TableSample {
            pts: sample.pts + moved,
            shown: false,
            ..*sample
        }));
        for (sample, duration) in held {
            samples.push(TableSample { pts: sample.pts + moved, shown: true, ..*sample });
            end = Some(sample.pts + moved + i64::from(*duration));
        }
        if samples.len() > MOST_PACKETS {
            return None;
        }
    }
    Some(Spliced { samples, end: end?, finer: 1 })
}

/// Pictures and words. `tick` is the precision of where stretches end. `None` if no ticks are fine enough.
pub fn pictures(media: &[Medium], stretches: &[Stretch], tick: i64) -> Option<Spliced> {
    let media_end = media.iter().map(|(sample, duration)| sample.pts + i64::from(*duration)).max()?;
    let (mut parts, mut end, mut count) = (Vec::new(), 0, 0);
    for stretch in stretches {
        let part = part(media, *stretch, tick, parts.is_empty());
        count += part.len();
        if count > MOST_PACKETS {
            return None;
        }
        if !part.is_empty() {
            end = stretch.until.map_or(media_end, |until| until.min(media_end)) - stretch.from + stretch.at;
            parts.push(part);
        }
    }
    let finer = parts.windows(2).map(|pair| needed(&pair[0], &pair[1])).max().unwrap_or(1);
    for sample in parts.iter_mut().flatten() {
        sample.pts = sample.pts.checked_mul(finer)?;
    }
    for at in 1..parts.len() {
        let (before, after) = parts.split_at_mut(at);
        part_from_others(&mut before[at - 1], &mut after[0]);
    }
    Some(Spliced { samples: parts.concat(), end: end.checked_mul(finer)?, finer: u32::try_from(finer).ok()? })
}

/// The samples of a stretch and those they need; empty if it shows none. The first keeps all that come before it.
fn part(media: &[Medium], stretch: Stretch, tick: i64, is_first: bool) -> Vec<TableSample> {
    let shows = |medium: &Medium| {
        let least = if is_first { 1 } else { i64::from(medium.1) / SLIVER };
        stretch.shows(medium, tick, least)
    };
    let shown = || media.iter().enumerate().filter(|(_, medium)| shows(medium));
    let (Some(first), Some(last)) = (shown().next().map(|(n, _)| n), shown().next_back().map(|(n, _)| n)) else {
        return Vec::new();
    };
    let earliest = shown().map(|(_, (sample, _))| sample.pts).min().unwrap_or(0);
    let opens = |n: &usize| media[*n].0.key && media[*n].0.pts <= earliest;
    let start = if is_first { 0 } else { (0..=first).rev().find(opens).unwrap_or(0) };
    let placed = |medium: &Medium| {
        let (shown, at) = (shows(medium), medium.0.pts - stretch.from + stretch.at);
        let pts = if shown && !is_first { at.max(stretch.at) } else { at };
        TableSample { pts, shown, ..medium.0 }
    };
    media[start..=last].iter().map(placed).collect()
}

/// How much finer ticks have to be, so that what two stretches hide has room between them: two ticks each.
fn needed(before: &[TableSample], after: &[TableSample]) -> i64 {
    let (last, next) = between(before, after);
    let hidden = before.iter().filter(|s| !s.shown && s.pts > last).count() + after.iter().filter(|s| !s.shown).count();
    let wanted = 2 * (i64::try_from(hidden).unwrap_or(i64::MAX / 4) + 1);
    (wanted + (next - last).max(1) - 1) / (next - last).max(1)
}

/// Gives what is hidden behind one stretch and ahead of the next times that nothing shown has.
fn part_from_others(before: &mut [TableSample], after: &mut [TableSample]) {
    let (last, next) = between(before, after);
    let mut behind: Vec<&mut TableSample> = before.iter_mut().filter(|s| !s.shown && s.pts > last).collect();
    behind.sort_by_key(|s| s.pts);
    let mut ahead: Vec<&mut TableSample> = after.iter_mut().filter(|s| !s.shown && s.pts < next).collect();
    ahead.sort_by_key(|s| s.pts);
    let hidden = behind.into_iter().chain(ahead).rev();
    hidden.zip(1..).for_each(|(sample, n)| sample.pts = next - 2 * n);
}

/// When the last of one stretch is shown, and the first of the next.
fn between(before: &[TableSample], after: &[TableSample]) -> (i64, i64) {
    fn shown(part: &[TableSample]) -> impl Iterator<Item = i64> {
        part.iter().filter(|sample| sample.shown).map(|sample| sample.pts)
    }
    (shown(before).max().unwrap_or(0), shown(after).min().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pictures of 10 ticks in decode order, of which every tenth is a key frame and every third refers to the next but one.
    fn pictures_of(count: i64) -> Vec<Medium> {
        let decoded = (0..count).map(|n| match n % 10 {
            0 => (n, true),
            n_th if n_th % 2 == 1 && n + 1 < count && n_th < 9 => (n + 1, false),
            9 => (n, false),
            _ => (n - 1, false),
        });
        let sample = |(n, key): (i64, bool)| TableSample { pts: 10 * n, shown: false, key, offset: n as u64, size: 1 };
        decoded.map(|of| (sample(of), 10)).collect()
    }

    fn stretch(at: i64, from: i64, until: i64) -> Stretch {
        Stretch { at, from, until: Some(until) }
    }

    /// What is shown, by its number in the media, with its time.
    fn shown(spliced: &Spliced) -> Vec<(u64, i64)> {
        let mut shown: Vec<(u64, i64)> =
            spliced.samples.iter().filter(|s| s.shown).map(|s| (s.offset, s.pts / i64::from(spliced.finer))).collect();
        shown.sort_by_key(|s| s.1);
        shown
    }

    #[test]
    fn stretches_follow_each_other_and_what_they_hide_has_times_of_its_own() {
        let media = pictures_of(60);
        let spliced = pictures(&media, &[stretch(0, 130, 170), stretch(40, 350, 390), stretch(80, 50, 80)], 0).unwrap();
        let expected: Vec<(u64, i64)> = [13..17, 35..39, 5..8].into_iter().flatten().zip((0..).step_by(10)).collect();
        assert_eq!(shown(&spliced), expected);
        assert_eq!(spliced.end, 110 * i64::from(spliced.finer));
        let mut times: Vec<i64> = spliced.samples.iter().map(|s| s.pts).collect();
        times.sort_unstable();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] > 1 || pair[0] < 0), "{times:?}");
        // Each is behind a key frame of its own, which is shown no later.
        for n in 0..spliced.samples.len() {
            let key = spliced.samples[..=n].iter().rev().find(|s| s.key && s.pts <= spliced.samples[n].pts).unwrap();
            assert!(spliced.samples[n].offset - key.offset < 10 || !spliced.samples[n].shown);
        }
    }

    /// An edit list may say so; it was an overflow.
    #[test]
    fn stretches_so_late_that_finer_ticks_do_not_fit_are_none() {
        let media = pictures_of(60);
        let late = |at| pictures(&media, &[stretch(at, 130, 170), stretch(at + 40, 355, 390)], 0);
        assert!(late(1 << 40).is_some_and(|spliced| spliced.finer > 1));
        assert_eq!(late(1 << 62), None);
    }

    #[test]
    fn sound_goes_on_without_a_gap_and_is_off_by_half_a_packet_at_most() {
        let sample = |n: i64| TableSample { pts: 1024 * n, shown: false, key: true, offset: n as u64, size: 1 };
        let media: Vec<Medium> = (0..100).map(|n| (sample(n), 1024)).collect();
        let spliced = sound(&media, &[stretch(0, 2048, 12_300), stretch(10_252, 51_000, 61_000)]).unwrap();
        let heard: Vec<&TableSample> = spliced.samples.iter().filter(|s| s.shown).collect();
        assert_eq!(heard.iter().map(|s| s.offset).collect::<Vec<_>>(), (2..12).chain(50..60).collect::<Vec<_>>());
        assert!(heard.windows(2).all(|pair| pair[1].pts - pair[0].pts == 1024));
        assert!((heard[10].pts - (10_252 + 50 * 1024 - 51_000)).abs() <= 512);
        assert_eq!(spliced.samples.iter().filter(|s| !s.shown).map(|s| s.pts).collect::<Vec<_>>(), [-2048, -1024]);
        assert_eq!(sound(&media, &[stretch(0, 1 << 40, 1 << 41)]), None, "nothing is left");
    }
}
