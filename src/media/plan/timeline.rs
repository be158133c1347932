//! Where segments begin: at the wished lengths, at source key frames where one is near, at key frames only for a source
//! that is passed through.

use super::{CAP_SLACK, HIGHEST_FPS, LONGEST_PASSTHROUGH, decimate};
use crate::media::{
    Access, Cut, Grid, GridError, Ladder, Packet, Rate, Rotation, Shown, Timescale, Track, VideoRange, VideoTrack,
};

/// No segment is shorter, seconds: players stumble over very short last segments.
const SHORTEST_SECONDS: f64 = 0.5;

/// The video's frames and the boundaries between segments, as positions among them.
pub(super) struct Timeline<'a> {
    pub(super) timescale: Timescale,
    pub(super) shown: &'a [Shown],
    pub(super) end: i64,
    /// Positions in `shown` where segments begin, and its length.
    pub(super) starts: Vec<usize>,
    /// Exact, or the mean.
    pub(super) rate: Rate,
    /// That of the busiest second, which a decoder must keep up with; the same if it is exact.
    pub(super) fastest: Rate,
    /// Every boundary is a key frame and the packets can be packaged as they are.
    pub(super) passthrough: bool,
}

impl<'a> Timeline<'a> {
    pub(super) fn of_video(video: &VideoTrack, shown: &'a [Shown], ladder: &Ladder) -> Self {
        let packets = &video.track.packets;
        let timescale = video.track.timescale;
        let times: Vec<i64> = shown.iter().map(|s| s.at).collect();
        // A boundary that a passthrough can use: a key frame before which nothing is presented that decodes after it.
        let closed = |i: usize| {
            let first = shown[i].packet;
            let last_before = i.checked_sub(1).map(|j| shown[j].packet);
            packets[first].key && last_before.is_none_or(|before| before < first)
        };
        let keys: Vec<usize> = (0..shown.len()).filter(|&i| packets[shown[i].packet].key).collect();
        let end = video.track.end;
        let mean = || mean_rate(shown.len() as u64, timescale.seconds(end - times.first().unwrap_or(&0)));
        let rate = video.rate.unwrap_or_else(mean);
        let fastest = if video.rate.is_some() { rate } else { busiest_second(&times, timescale).unwrap_or(rate) };
        let step = video.rate.map_or(1, |rate| frame_step(rate, 0, ladder) as usize);
        let cutter = Cutter { times: &times, end, timescale, ladder, step };
        if ladder.passthrough && can_pass_through(video, fastest) {
            let closed_keys: Vec<usize> = keys.iter().copied().filter(|&i| closed(i)).collect();
            // A rendition of a capped frame rate keeps an even cadence only if boundaries lie on its own frames.
            let on_step: Vec<usize> = closed_keys.iter().copied().filter(|i| i.is_multiple_of(cutter.step)).collect();
            let starts = cutter.at_keys_only(&on_step).or_else(|| cutter.at_keys_only(&closed_keys));
            if let Some(starts) = starts {
                // Packets of a segment must be contiguous in decode order, or passthrough would lose some, and its key frame
                // the first of them, which times that contradict the stream may deny.
                let contiguous = starts.windows(2).all(|w| {
                    let of = |r: std::ops::Range<usize>| shown[r].iter().map(|s| s.packet);
                    of(w[0]..w[1])
                        .max()
                        .zip(of(w[0]..w[1]).min())
                        .is_some_and(|(max, min)| max - min + 1 == w[1] - w[0] && min == shown[w[0]].packet)
                });
                if contiguous {
                    return Self { timescale, shown, end, starts, rate, fastest, passthrough: true };
                }
            }
        }
        Self { timescale, shown, end, starts: cutter.near_keys(&keys), rate, fastest, passthrough: false }
    }

    pub(super) fn at(&self, position: usize) -> i64 {
        self.shown.get(position).map_or(self.end, |s| s.at)
    }

    /// The grid of a rendition that drops frames closer than `min_ticks`.
    pub(super) fn grid(&self, min_ticks: u32) -> Result<Grid, GridError> {
        let mut frame = 0;
        let mut cuts = Vec::with_capacity(self.starts.len());
        for (n, &start) in self.starts.iter().enumerate() {
            cuts.push(Cut { frame, at: self.at(start).cast_unsigned() });
            if let Some(&next) = self.starts.get(n + 1) {
                let times: Vec<i64> = self.shown[start..next].iter().map(|s| s.at).collect();
                frame += decimate(&times, min_ticks).len() as u64;
            }
        }
        Grid::new(self.timescale, cuts)
    }
}

/// Of an exact rate, every how many frames one is kept in a rendition of this short side, so that what is left stays below
/// the cap. Those of a lower cap are multiples, so that boundaries on every such frame keep an even cadence in all.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a ratio of frame rates")]
pub(super) fn frame_step(rate: Rate, rung: u32, ladder: &Ladder) -> u32 {
    let step = |fps: f64, cap: f64| if fps > cap * CAP_SLACK { (fps / cap - 0.01).ceil() as u32 } else { 1 };
    let of_all = step(rate.fps(), HIGHEST_FPS);
    if rung > ladder.frame_rate_cap_max_height {
        return of_all;
    }
    of_all.saturating_mul(step(rate.fps() / f64::from(of_all), ladder.frame_rate_cap.into()))
}

/// The highest rate over a second or little more: an odd gap cannot raise it, nor can much what clocks jitter. `None` if
/// it lasts for less.
#[expect(clippy::cast_precision_loss, reason = "a number of frames")]
fn busiest_second(times: &[i64], timescale: Timescale) -> Option<Rate> {
    let second = i64::from(timescale.get());
    let mut after = 0;
    let rates = times.iter().enumerate().map_while(|(n, at)| {
        after += times[after..].iter().take_while(|t| **t - at < second).count();
        Some((after - n) as f64 / timescale.seconds(times.get(after)? - at))
    });
    rates.max_by(f64::total_cmp).map(rounded_rate)
}

#[expect(clippy::cast_precision_loss, reason = "a number of frames")]
pub(super) fn mean_rate(frames: u64, seconds: f64) -> Rate {
    rounded_rate(frames as f64 / seconds.max(0.001))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a frame rate")]
fn rounded_rate(fps: f64) -> Rate {
    let milli = (fps * 1000.0).round() as u32;
    Rate::new(milli.max(1), 1000).unwrap_or(Rate { num: 25, den: std::num::NonZeroU32::MIN })
}

/// Can every player show these packets as they are?
fn can_pass_through(video: &VideoTrack, fastest: Rate) -> bool {
    // Baseline, Main and High; browsers lack Extended.
    let playable_profile = video.avcc.as_deref().is_some_and(|a| matches!(a.get(1), Some(66 | 77 | 100)));
    playable_profile
        && fastest.fps() <= HIGHEST_FPS * CAP_SLACK
        && video.keys_are_idr
        && video.is_8bit_420
        && !video.interlaced
        && video.crop.is_none()
        && video.colour.range() == VideoRange::Sdr
        && video.rotation == Rotation::None
        && video.pixel_aspect.0 == video.pixel_aspect.1
        && video.width.is_multiple_of(2)
        && video.height.is_multiple_of(2)
        && matches!(video.track.access, Access::Direct)
        && is_in_one_piece(&video.track)
}

/// No packet that an edit list hides lies between those that are shown.
fn is_in_one_piece(track: &Track) -> bool {
    let shown = |packet: &Packet| packet.shown;
    let first = track.packets.iter().position(shown).unwrap_or(0);
    let last = track.packets.iter().rposition(shown).unwrap_or(0);
    track.packets.get(first..=last).is_some_and(|packets| packets.iter().all(shown))
}

pub(super) struct Cutter<'a> {
    pub(super) times: &'a [i64],
    pub(super) end: i64,
    pub(super) timescale: Timescale,
    pub(super) ladder: &'a Ladder,
    pub(super) step: usize,
}

impl Cutter<'_> {
    /// Wished length of segment `n`, ticks.
    fn wish(&self, n: usize) -> i64 {
        let seconds = self.ladder.first_segments_seconds.get(n).copied().unwrap_or(self.ladder.segment_seconds);
        self.timescale.ticks(seconds).max(1)
    }

    fn shortest(&self) -> i64 {
        self.timescale.ticks(SHORTEST_SECONDS).max(1)
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a share of some seconds")]
    fn share(wish: i64, share: f64) -> i64 {
        (wish as f64 * share) as i64
    }

    /// True if what is left from `at` is one segment.
    fn is_last(&self, at: i64, wish: i64) -> bool {
        let left = self.end - at;
        left < wish + self.shortest() || left <= wish + Self::share(wish, self.ladder.key_frame_tolerance)
    }

    /// Boundaries at the wished times, moved to a key frame where one is near.
    pub(super) fn near_keys(&self, keys: &[usize]) -> Vec<usize> {
        let mut starts = vec![0];
        loop {
            let start = starts[starts.len() - 1];
            let wish = self.wish(starts.len() - 1);
            if self.is_last(self.times[start], wish) {
                break;
            }
            let ideal = self.times[start] + wish;
            let tolerance = Self::share(wish, self.ladder.key_frame_tolerance);
            let near = |&i: &usize| (self.times[i] - ideal).abs() <= tolerance && i.is_multiple_of(self.step);
            let after = keys.partition_point(|&i| self.times[i] < ideal - tolerance);
            let key = keys[after..].iter().copied().take_while(|&i| self.times[i] <= ideal + tolerance);
            let next = key.filter(near).min_by_key(|&i| (self.times[i] - ideal).abs());
            let next = next.unwrap_or_else(|| self.nearest_frame(ideal));
            // Where a frame lasts for longer than a segment, the nearest may be one at the very beginning of this one.
            let shortest = self.times[start] + self.shortest();
            let next = if self.times[next] >= shortest { next } else { self.times.partition_point(|&t| t < shortest) };
            if next >= self.times.len() || self.end - self.times[next] < self.shortest() {
                break;
            }
            starts.push(next);
        }
        starts.push(self.times.len());
        starts
    }

    /// Boundaries at the wished times, moved to the nearest multiple of `unit` ticks. Needs no `times`.
    pub(super) fn on_multiples_of(&self, unit: i64) -> Vec<i64> {
        let mut starts = vec![0];
        loop {
            let (at, wish) = (starts[starts.len() - 1], self.wish(starts.len() - 1));
            let next = ((2 * (at + wish) + unit - 1).div_euclid(2 * unit) * unit).max(at + unit);
            if self.is_last(at, wish) || self.end - next < self.shortest() {
                break;
            }
            starts.push(next);
        }
        starts.push(self.end);
        starts
    }

    /// The frame nearest to a time, on a multiple of the step.
    fn nearest_frame(&self, ideal: i64) -> usize {
        let after = self.times.partition_point(|&t| t < ideal);
        let nearest = match (after.checked_sub(1), self.times.get(after)) {
            (Some(before), Some(&t)) if ideal - self.times[before] <= t - ideal => before,
            (Some(before), None) => before,
            _ => after,
        };
        nearest / self.step * self.step
    }

    /// Boundaries at key frames only, or `None` if some lie too far apart.
    fn at_keys_only(&self, keys: &[usize]) -> Option<Vec<usize>> {
        if keys.first() != Some(&0) {
            return None;
        }
        let longest = self.timescale.ticks(self.ladder.segment_seconds * LONGEST_PASSTHROUGH);
        let mut starts = vec![0];
        loop {
            let start = starts[starts.len() - 1];
            let at = self.times[start];
            let ideal = at + self.wish(starts.len() - 1);
            let near_enough = |&i: &usize| {
                let from = self.times[i] - at;
                from >= self.shortest() && from <= longest && self.end - self.times[i] >= self.shortest()
            };
            let after = keys.partition_point(|&i| i <= start);
            let next = keys[after..].iter().copied().take_while(|&i| self.times[i] - at <= longest);
            match next.filter(near_enough).min_by_key(|&i| (self.times[i] - ideal).abs()) {
                _ if self.end - at <= longest && self.is_last(at, self.wish(starts.len() - 1)) => break,
                Some(next) => starts.push(next),
                None if self.end - at <= longest => break,
                None => return None,
            }
        }
        starts.push(self.times.len());
        Some(starts)
    }
}
