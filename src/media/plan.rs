//! From index and ladder to the plan: where segments begin, and which renditions are offered. Pure, and run once per
//! title; what it decides is stored and never decided again.

use super::ladder::VideoRung;
use super::{
    AudioRendition, AudioSource, AudioTrack, Colour, Cut, Grid, GridError, Index, Ladder, Plan, Rate, Rendition,
    RenditionKind, RenditionName, Shown, Timescale, VideoRendition, VideoSource, VideoTrack, h264,
};

/// Samples in an AAC-LC frame (ISO/IEC 14496-3 §4.5.1.1).
const AAC_FRAME: i64 = 1024;
/// No segment is shorter, seconds: players stumble over very short last segments.
const SHORTEST_SECONDS: f64 = 0.5;
/// A passthrough segment may be this many times the wished length before key frames count as too far apart.
const LONGEST_PASSTHROUGH: f64 = 1.5;
/// A source whose rate is this many times its rung's is also offered encoded at its own size.
const FAR_ABOVE: u64 = 2;
/// Frame rates up to this much above the cap are not worth halving.
const CAP_SLACK: f64 = 1.1;
/// What a `trun` entry and a share of the fragment headers add to each sample, bytes.
const SAMPLE_OVERHEAD: u64 = 24;
/// What an AAC encoder may exceed its set rate by over a segment, and its container's share.
const AAC_PEAK: (u64, u64) = (115, 10_000);
/// A source this little below a rung is not worth a rung of its own size beside the next lower one.
const SAME_SIZE: f64 = 0.9;

/// Why no plan can be made.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum PlanError {
    /// No track has a presented packet.
    #[error("there is nothing to present: no track has a frame")]
    NothingToShow,
    /// A defect here rather than in the source.
    #[error(transparent)]
    Grid(#[from] GridError),
}

/// Decides timeline and ladder.
///
/// # Errors
/// [`PlanError::NothingToShow`] for a source without a single presented frame.
pub fn plan(index: &Index, ladder: &Ladder) -> Result<Plan, PlanError> {
    let video = index.video.as_ref().map(|v| (v, v.track.shown())).filter(|(_, shown)| !shown.is_empty());
    let mut renditions = Vec::new();
    let boundaries = match &video {
        Some((track, shown)) => {
            let timeline = Timeline::of_video(track, shown, ladder);
            renditions = video_renditions(track, &timeline, ladder)?;
            Boundaries::of(&timeline)
        }
        None => Boundaries::of_audio(index, ladder)?,
    };
    for (n, track) in index.audio.iter().enumerate() {
        // Several tracks are a later concern; the first is the one everybody hears.
        if n == 0 && track.track.start().is_some() {
            audio_renditions(track, &boundaries, ladder, &mut renditions)?;
        }
    }
    if renditions.is_empty() { Err(PlanError::NothingToShow) } else { Ok(Plan { renditions }) }
}

/// Which of `times` stay when frames closer than `min_ticks` are dropped. The first always stays.
#[must_use]
pub fn decimate(times: &[i64], min_ticks: u32) -> Vec<usize> {
    let mut kept = Vec::with_capacity(times.len());
    let mut last = None;
    for (i, &at) in times.iter().enumerate() {
        if last.is_none_or(|last| at - last >= i64::from(min_ticks)) {
            kept.push(i);
            last = Some(at);
        }
    }
    kept
}

/// The video's frames and the boundaries between segments, as positions among them.
struct Timeline<'a> {
    timescale: Timescale,
    shown: &'a [Shown],
    end: i64,
    /// Positions in `shown` where segments begin, and its length.
    starts: Vec<usize>,
    /// Every boundary is a key frame and the packets can be packaged as they are.
    passthrough: bool,
}

impl<'a> Timeline<'a> {
    fn of_video(video: &VideoTrack, shown: &'a [Shown], ladder: &Ladder) -> Self {
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
        let cutter = Cutter { times: &times, end, timescale, ladder, step: frame_step(video, ladder) };
        if ladder.passthrough && can_pass_through(video) {
            let closed_keys: Vec<usize> = keys.iter().copied().filter(|&i| closed(i)).collect();
            if let Some(starts) = cutter.at_keys_only(&closed_keys) {
                // Packets of a segment must be contiguous in decode order, or passthrough would lose some.
                let contiguous = starts.windows(2).all(|w| {
                    let of = |r: std::ops::Range<usize>| shown[r].iter().map(|s| s.packet);
                    of(w[0]..w[1])
                        .max()
                        .zip(of(w[0]..w[1]).min())
                        .is_some_and(|(max, min)| max - min + 1 == w[1] - w[0])
                });
                if contiguous {
                    return Self { timescale, shown, end, starts, passthrough: true };
                }
            }
        }
        Self { timescale, shown, end, starts: cutter.near_keys(&keys), passthrough: false }
    }

    fn at(&self, position: usize) -> i64 {
        self.shown.get(position).map_or(self.end, |s| s.at)
    }

    /// The grid of a rendition that drops frames closer than `min_ticks`.
    fn grid(&self, min_ticks: u32) -> Result<Grid, GridError> {
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

/// Boundaries must fall on every `step`-th frame, so that a rendition of a capped frame rate keeps an even cadence.
fn frame_step(video: &VideoTrack, ladder: &Ladder) -> usize {
    let cap = f64::from(ladder.frame_rate_cap);
    match video.rate {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a ratio of frame rates")]
        Some(rate) if rate.fps() > cap * CAP_SLACK => (rate.fps() / cap - 0.01).ceil() as usize,
        _ => 1,
    }
}

/// Can every player show these packets as they are?
fn can_pass_through(video: &VideoTrack) -> bool {
    let playable_profile = video.avcc.as_deref().is_some_and(|a| matches!(a.get(1), Some(66 | 77 | 88 | 100)));
    playable_profile
        && video.keys_are_idr
        && video.is_8bit_420
        && !video.interlaced
        && video.rotation == super::Rotation::None
        && video.pixel_aspect.0 == video.pixel_aspect.1
        && video.width.is_multiple_of(2)
        && video.height.is_multiple_of(2)
        && matches!(video.track.access, super::Access::Direct)
}

struct Cutter<'a> {
    times: &'a [i64],
    end: i64,
    timescale: Timescale,
    ladder: &'a Ladder,
    step: usize,
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
    fn near_keys(&self, keys: &[usize]) -> Vec<usize> {
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
            let next = next.unwrap_or_else(|| self.nearest_frame(ideal)).max(start + 1);
            if next >= self.times.len() || self.end - self.times[next] < self.shortest() {
                break;
            }
            starts.push(next);
        }
        starts.push(self.times.len());
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

/// Upright size with square pixels, unrounded.
fn display_size(video: &VideoTrack) -> (f64, f64) {
    let (num, den) = video.pixel_aspect;
    let aspect = f64::from(num.max(1)) / f64::from(den.max(1));
    // The larger side of a pixel is kept, so that no line of the source is lost.
    let (w, h) = (f64::from(video.width), f64::from(video.height));
    let (w, h) = if aspect >= 1.0 { (w * aspect, h) } else { (w, h / aspect) };
    if video.rotation.swaps_sides() { (h, w) } else { (w, h) }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "pixels")]
fn even(side: f64) -> u32 {
    (((side / 2.0).round() as u32) * 2).max(2)
}

fn video_renditions(video: &VideoTrack, timeline: &Timeline, ladder: &Ladder) -> Result<Vec<Rendition>, PlanError> {
    let (width, height) = display_size(video);
    let short = width.min(height);
    let size = |rung: f64| (even(width * rung / short), even(height * rung / short));
    let full = timeline.grid(0)?;
    let rate = video.rate.unwrap_or_else(|| average_rate(timeline));
    let mut renditions = Vec::new();
    let mut limit = None;
    let mut same_size_too = true;
    if timeline.passthrough {
        let avcc = video.avcc.clone().unwrap_or_default();
        let sizes = segment_bytes(video, timeline);
        let (bandwidth, average) = measured_bandwidth(&full, &sizes);
        // The rung of the source's own size, to judge whether the source is far heavier than it need be.
        let own = ladder.video.iter().rev().find(|r| f64::from(r.height) >= short).or(ladder.video.first());
        same_size_too = own.is_some_and(|own| average > own.bitrate * FAR_ABOVE);
        if !same_size_too {
            limit = Some(bandwidth);
        }
        renditions.push(Rendition {
            name: name("source"),
            codecs: h264::codecs_of(&avcc).unwrap_or_default(),
            bandwidth,
            average_bandwidth: Some(average),
            kind: RenditionKind::Video(VideoRendition {
                width: video.width,
                height: video.height,
                rate,
                colour: video.colour,
                audio: None,
                source: VideoSource::Passthrough { avcc },
            }),
            grid: full.clone(),
        });
    }
    for rung in rungs(ladder, short) {
        let rung_short = f64::from(rung.height);
        if rung_short >= short && !same_size_too {
            continue;
        }
        let (w, h) = size(rung_short.min(short));
        // Beside an untouched source, a smaller rendition may not need more bits than it.
        let share = (rung_short.min(short) / short).sqrt();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "bits/s"
        )]
        let ceiling = limit.map_or(rung.bitrate, |l| rung.bitrate.min((l as f64 * share) as u64)).max(50_000);
        let min_frame_ticks = min_frame_ticks(rung.height, rate, timeline.timescale, ladder);
        let grid = if min_frame_ticks == 0 { full.clone() } else { timeline.grid(min_frame_ticks)? };
        let rate = if min_frame_ticks == 0 { rate } else { capped_rate(video, rate, ladder) };
        let level = h264::level_idc(w, h, rate, ceiling);
        renditions.push(Rendition {
            name: name(&format!("{}p", w.min(h))),
            codecs: h264::high_profile_codecs(level),
            bandwidth: ceiling,
            average_bandwidth: None,
            kind: RenditionKind::Video(VideoRendition {
                width: w,
                height: h,
                rate,
                colour: output_colour(video.colour),
                audio: None,
                source: VideoSource::Encode { ceiling, level, min_frame_ticks },
            }),
            grid,
        });
    }
    Ok(renditions)
}

/// Rungs up to the source's short side; the lowest one above it stands for the source's own size, unless the next
/// lower rung is about as large.
fn rungs(ladder: &Ladder, short: f64) -> Vec<VideoRung> {
    let mut fitting: Vec<_> = ladder.video.iter().copied().filter(|r| f64::from(r.height) <= short).collect();
    let largest = fitting.first().map_or(0.0, |r| f64::from(r.height));
    if largest < short * SAME_SIZE
        && let Some(above) = ladder.video.iter().rev().find(|r| f64::from(r.height) > short)
    {
        let share = short / f64::from(above.height);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "bits/s"
        )]
        let bitrate = (above.bitrate as f64 * share * share) as u64;
        let floor = fitting.first().map_or(0, |r| r.bitrate + r.bitrate / 8);
        fitting.insert(0, VideoRung { height: even(short), bitrate: bitrate.max(floor).max(50_000) });
    }
    fitting
}

fn min_frame_ticks(rung: u32, rate: Rate, timescale: Timescale, ladder: &Ladder) -> u32 {
    let cap = f64::from(ladder.frame_rate_cap);
    if rung > ladder.frame_rate_cap_max_height || rate.fps() <= cap * CAP_SLACK {
        return 0;
    }
    // A little less than the interval at the cap, so that rounding in the source drops no frame of the right cadence.
    u32::try_from(timescale.ticks(0.98 / cap)).unwrap_or(0)
}

fn capped_rate(video: &VideoTrack, rate: Rate, ladder: &Ladder) -> Rate {
    let step = u32::try_from(frame_step(video, ladder)).unwrap_or(1);
    Rate::new(rate.num, rate.den.get().saturating_mul(step)).unwrap_or(rate)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a frame rate"
)]
fn average_rate(timeline: &Timeline) -> Rate {
    let seconds = timeline.timescale.seconds(timeline.end - timeline.at(0)).max(0.001);
    let milli = (timeline.shown.len() as f64 / seconds * 1000.0).round() as u32;
    Rate::new(milli.max(1), 1000).unwrap_or(Rate { num: 25, den: std::num::NonZeroU32::MIN })
}

/// What encoded pictures are converted to: BT.709 or BT.601, whichever the source has, limited range.
fn output_colour(source: Colour) -> Colour {
    let code = if matches!(source.matrix, 5 | 6) { 6 } else { 1 };
    Colour { primaries: code, transfer: code, matrix: code, full_range: false }
}

/// Coded bytes of each segment with the container's share.
fn segment_bytes(video: &VideoTrack, timeline: &Timeline) -> Vec<u64> {
    let size = |s: &Shown| u64::from(video.track.packets[s.packet].size) + SAMPLE_OVERHEAD;
    timeline.starts.windows(2).map(|w| timeline.shown[w[0]..w[1]].iter().map(size).sum::<u64>() + 512).collect()
}

/// Peak over runs of half to one and a half target durations (RFC 8216 §4.1), and mean; bits per second.
fn measured_bandwidth(grid: &Grid, bytes: &[u64]) -> (u64, u64) {
    let timescale = u64::from(grid.timescale().get());
    let per_second = |bytes: u64, ticks: u64| (bytes * 8 * timescale).div_ceil(ticks.max(1));
    let target = grid.longest();
    let mut peak = 0;
    for first in 0..bytes.len() {
        let (mut sum, mut ticks) = (0, 0);
        for (n, size) in bytes.iter().enumerate().skip(first) {
            sum += size;
            ticks += grid.ticks(u32::try_from(n).unwrap_or(u32::MAX));
            if ticks * 2 > target * 3 {
                break;
            }
            if ticks * 2 >= target {
                peak = peak.max(per_second(sum, ticks));
            }
        }
    }
    let total: u64 = bytes.iter().sum();
    let cuts = grid.cuts();
    let mean = per_second(total, cuts[cuts.len() - 1].at - cuts[0].at);
    (peak.max(mean), mean)
}

/// Where the video's segments begin and end, for the sound to follow.
struct Boundaries {
    timescale: Timescale,
    /// Ticks; the first is the start of the title, the last the end of the video.
    at: Vec<i64>,
    has_video: bool,
}

impl Boundaries {
    fn of(timeline: &Timeline) -> Self {
        let at = timeline.starts.iter().map(|&s| timeline.at(s)).collect();
        Self { timescale: timeline.timescale, at, has_video: true }
    }

    fn of_audio(index: &Index, ladder: &Ladder) -> Result<Self, PlanError> {
        let track = &index.audio.first().ok_or(PlanError::NothingToShow)?.track;
        let times: Vec<i64> = (0..=track.end / AAC_FRAME).map(|j| j * AAC_FRAME).collect();
        let cutter = Cutter { times: &times, end: track.end.max(1), timescale: track.timescale, ladder, step: 1 };
        let starts = cutter.near_keys(&[]);
        let at = starts.iter().map(|&s| times.get(s).copied().unwrap_or(track.end)).collect();
        Ok(Self { timescale: track.timescale, at, has_video: false })
    }
}

/// Output rates AAC knows up to 48 kHz; others are resampled to 48 kHz.
fn output_rate(rate: u32) -> u32 {
    const KNOWN: [u32; 9] = [48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000];
    if KNOWN.contains(&rate) {
        return rate;
    }
    if rate.is_multiple_of(44_100) { 44_100 } else { 48_000 }
}

fn audio_renditions(
    track: &AudioTrack,
    boundaries: &Boundaries,
    ladder: &Ladder,
    renditions: &mut Vec<Rendition>,
) -> Result<(), PlanError> {
    let rate = output_rate(track.rate);
    let channels = track.channels.clamp(1, 2);
    let rungs: Vec<_> = wanted_audio_rungs(ladder, renditions, boundaries.has_video);
    for (n, rung) in rungs.iter().enumerate() {
        // A single channel needs about half the bits.
        let bitrate = if channels == 1 { rung.bitrate * 5 / 8 } else { rung.bitrate };
        let passed = if n == 0 { pass_audio(track, boundaries, bitrate, ladder) } else { None };
        let (grid, source, peak, average) = match passed {
            Some((grid, source, peak, mean)) => (grid, source, peak, Some(mean)),
            None => {
                let grid =
                    audio_grid(boundaries, rate, track.track.timescale.convert(track.track.end, scale(rate)), ladder)?;
                let peak = u64::from(bitrate) * AAC_PEAK.0 / 100 + AAC_PEAK.1;
                (grid, AudioSource::Encode { bitrate }, peak, None)
            }
        };
        renditions.push(Rendition {
            name: name(&format!("audio-{}k", bitrate / 1000)),
            grid,
            codecs: "mp4a.40.2".to_owned(),
            bandwidth: peak,
            average_bandwidth: average,
            kind: RenditionKind::Audio(AudioRendition {
                track: 0,
                rate: if matches!(source, AudioSource::Passthrough { .. }) { track.rate } else { rate },
                channels: if matches!(source, AudioSource::Passthrough { .. }) { track.channels } else { channels },
                language: track.language.clone(),
                source,
            }),
        });
    }
    let names: Vec<_> =
        renditions.iter().filter(|r| matches!(r.kind, RenditionKind::Audio(_))).map(|r| r.name.clone()).collect();
    for rendition in renditions {
        if let RenditionKind::Video(video) = &mut rendition.kind {
            let short = video.width.min(video.height);
            let wanted = rungs.iter().position(|r| short >= r.min_height).unwrap_or(rungs.len() - 1);
            video.audio = names.get(wanted).cloned();
        }
    }
    Ok(())
}

/// The audio rungs that some video rendition takes; all of them for a title without video.
fn wanted_audio_rungs(ladder: &Ladder, renditions: &[Rendition], has_video: bool) -> Vec<super::AudioRung> {
    let shorts: Vec<u32> = renditions
        .iter()
        .filter_map(|r| match &r.kind {
            RenditionKind::Video(v) => Some(v.width.min(v.height)),
            RenditionKind::Audio(_) => None,
        })
        .collect();
    let choice = |short: u32| ladder.audio.iter().position(|r| short >= r.min_height).unwrap_or(ladder.audio.len() - 1);
    let taken: Vec<usize> = shorts.iter().map(|&s| choice(s)).collect();
    let wanted = ladder.audio.iter().enumerate().filter(|(i, _)| !has_video || taken.contains(i));
    wanted.map(|(_, rung)| *rung).collect()
}

/// The boundaries in AAC frames of an encoded rendition, from the title's zero to the end of sound or picture,
/// whichever comes last.
fn audio_grid(boundaries: &Boundaries, rate: u32, audio_end: i64, ladder: &Ladder) -> Result<Grid, GridError> {
    let frame =
        |ticks: i64| (2 * boundaries.timescale.convert(ticks, scale(rate)) + AAC_FRAME).div_euclid(2 * AAC_FRAME);
    let inner = boundaries.at.len() - 1;
    let mut frames: Vec<i64> = boundaries.at[..inner].iter().map(|&t| frame(t)).collect();
    frames[0] = 0;
    let video_end = boundaries.timescale.convert(boundaries.at[inner], scale(rate));
    let end = (audio_end.max(video_end) + AAC_FRAME - 1).div_euclid(AAC_FRAME).max(1);
    extend(&mut frames, end, rate, ladder);
    grid_of_frames(&frames, rate)
}

/// Ends a list of frame boundaries at `end`: sound that outlasts the picture gets segments of its own.
fn extend(frames: &mut Vec<i64>, end: i64, rate: u32, ladder: &Ladder) {
    let per_second = f64::from(rate) / 1024.0;
    #[expect(clippy::cast_possible_truncation, reason = "frames of some seconds")]
    let seconds = |s: f64| (s * per_second) as i64;
    while frames.len() > 1 && frames[frames.len() - 1] >= end {
        frames.pop();
    }
    while end - frames[frames.len() - 1] > seconds(ladder.segment_seconds * LONGEST_PASSTHROUGH) {
        frames.push(frames[frames.len() - 1] + seconds(ladder.segment_seconds));
    }
    frames.push(end);
}

fn grid_of_frames(frames: &[i64], rate: u32) -> Result<Grid, GridError> {
    let cut = |&f: &i64| Cut { frame: f.cast_unsigned(), at: (f * AAC_FRAME).cast_unsigned() };
    Grid::new(scale(rate), frames.iter().map(cut).collect())
}

/// The source's own AAC frames, if they lie on the title's grid, cover it, and are not far heavier than the rung.
fn pass_audio(
    track: &AudioTrack,
    boundaries: &Boundaries,
    bitrate: u32,
    ladder: &Ladder,
) -> Option<(Grid, AudioSource, u64, u64)> {
    let config = track.aac_lc_config.clone()?;
    let packets = &track.track.packets;
    let direct = matches!(track.track.access, super::Access::Direct);
    if !ladder.passthrough
        || !direct
        || track.channels > 2
        || track.rate > 48_000
        || track.rate != output_rate(track.rate)
    {
        return None;
    }
    let first = packets.iter().position(|p| p.pts == 0)?;
    let contiguous =
        packets[first..].iter().enumerate().all(|(i, p)| p.pts == AAC_FRAME * i64::try_from(i).unwrap_or(0));
    let video_end = boundaries.timescale.convert(boundaries.at[boundaries.at.len() - 1], scale(track.rate));
    let count = i64::try_from(packets.len() - first).ok()?;
    // Sound may end a little early without anyone hearing it; more would leave players without sound to the end.
    let covers = !boundaries.has_video || count * AAC_FRAME + i64::from(track.rate) / 10 >= video_end;
    if !contiguous || !covers {
        return None;
    }
    let frame =
        |ticks: i64| (2 * boundaries.timescale.convert(ticks, scale(track.rate)) + AAC_FRAME).div_euclid(2 * AAC_FRAME);
    let inner = boundaries.at.len() - 1;
    let mut frames: Vec<i64> = boundaries.at[..inner].iter().map(|&t| frame(t)).collect();
    frames[0] = 0;
    extend(&mut frames, count, track.rate, ladder);
    let grid = grid_of_frames(&frames, track.rate).ok()?;
    let size = |p: &super::Packet| u64::from(p.size) + SAMPLE_OVERHEAD;
    let bytes: Vec<u64> = frames
        .windows(2)
        .map(|w| packets[first..][w[0] as usize..w[1] as usize].iter().map(size).sum::<u64>() + 512)
        .collect();
    let (peak, mean) = measured_bandwidth(&grid, &bytes);
    let within = mean <= u64::from(bitrate) * FAR_ABOVE;
    within.then(|| (grid, AudioSource::Passthrough { config, first_packet: first as u64 }, peak, mean))
}

fn scale(rate: u32) -> Timescale {
    Timescale::new(rate.max(1)).unwrap_or(Timescale::NANOSECONDS)
}

fn name(text: &str) -> RenditionName {
    text.parse().expect("rendition names are made of lower-case letters, digits and hyphens")
}
