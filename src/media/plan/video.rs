//! Which video renditions a title has.

use super::timeline::{Timeline, frame_step, mean_rate};
use super::{CAP_SLACK, FAR_ABOVE, HIGHEST_FPS, PlanError, SAMPLE_OVERHEAD, measured_bandwidth, name};
use crate::media::ladder::VideoRung;
use crate::media::{
    Colour, Grid, Ladder, Rate, Rendition, RenditionKind, Shown, Timescale, VideoRange, VideoRendition, VideoSource,
    VideoTrack, h264,
};

/// A source this little above a rung is not worth a rung of its own size.
const SAME_SIZE: f64 = 0.9;

/// `level_idc` that devices of some years can decode; above it many refuse what they are not asked to decode so fast.
const COMMON_LEVEL: u8 = 42;

/// A title is taken to be at least this long when its rates are chosen.
const SHORTEST_SECONDS: f64 = 0.04;

/// What the boxes of a segment take besides its samples, bytes.
const SEGMENT_OVERHEAD: u64 = 512;

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "pixels")]
fn even(side: f64) -> u32 {
    (((side / 2.0).round() as u32) * 2).max(2)
}

pub(super) fn renditions(
    video: &VideoTrack,
    timeline: &Timeline,
    ladder: &Ladder,
) -> Result<Vec<Rendition>, PlanError> {
    let (width, height) = video.shown_size();
    let short = width.min(height);
    let size = |rung: f64| (even(width * rung / short), even(height * rung / short));
    let full = timeline.grid(0)?;
    let mut made = Vec::new();
    let mut limit = None;
    let mut same_size_too = true;
    if timeline.passthrough {
        let avcc = video.avcc.clone().unwrap_or_default();
        let sizes = segment_bytes(video, timeline);
        let (bandwidth, average) = measured_bandwidth(&full, &sizes);
        let buffer_ms = buffer_ms(video, timeline, bandwidth);
        // The rung of the source's own size, to judge whether the source is far heavier than it need be.
        let own = ladder.video.iter().rev().find(|r| f64::from(r.height) >= short).or(ladder.video.first());
        let is_heavy = own.is_some_and(|own| average > own.bitrate * FAR_ABOVE);
        if !is_heavy {
            limit = Some(bandwidth);
        }
        let needed = h264::level_idc(video.width, video.height, timeline.fastest, bandwidth);
        let says_more = avcc.get(3).is_some_and(|level| *level > needed.max(COMMON_LEVEL));
        same_size_too = is_heavy || says_more;
        made.push(Rendition {
            name: name("source"),
            codecs: h264::codecs_of(&avcc).unwrap_or_default(),
            bandwidth,
            average_bandwidth: Some(average),
            kind: RenditionKind::Video(VideoRendition {
                width: video.width,
                height: video.height,
                rate: timeline.rate,
                peak_rate: video.rate.is_none().then_some(timeline.fastest),
                colour: video.colour,
                audio: None,
                source: VideoSource::Passthrough { avcc, buffer_ms },
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
        let bitrate = at_least_a_second_of(rung.bitrate, timeline);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "bits/s"
        )]
        let ceiling = limit.map_or(bitrate, |l| bitrate.min((l as f64 * share) as u64)).max(50_000);
        let Pace { min_frame_ticks, rate, fastest } = Pace::of(video, timeline, rung.height, ladder);
        let grid = if min_frame_ticks == 0 { full.clone() } else { timeline.grid(min_frame_ticks)? };
        let rate = rate.unwrap_or_else(|| mean_of(&grid));
        let level = h264::level_idc(w, h, fastest, ceiling);
        made.push(Rendition {
            name: name(&format!("{}p", w.min(h))),
            codecs: h264::high_profile_codecs(level),
            bandwidth: ceiling,
            average_bandwidth: None,
            kind: RenditionKind::Video(VideoRendition {
                width: w,
                height: h,
                rate,
                peak_rate: video.rate.is_none().then_some(fastest),
                colour: output_colour(video.colour),
                audio: None,
                source: VideoSource::Encode { ceiling, level, min_frame_ticks },
            }),
            grid,
        });
    }
    Ok(made)
}

/// A rate at which a title of less than a second may take the bits of one: its first picture costs as much as any
/// film's, and no later ones make up for it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "bits/s")]
fn at_least_a_second_of(bitrate: u64, timeline: &Timeline) -> u64 {
    let seconds = timeline.timescale.seconds(timeline.end - timeline.at(0)).max(SHORTEST_SECONDS);
    (bitrate as f64 / seconds.min(1.0)) as u64
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
        // Whoever can play anything has the lowest rung's rate, and tiny pictures show it.
        let floor = fitting.first().map_or(above.bitrate, |r| r.bitrate + r.bitrate / 8);
        fitting.insert(0, VideoRung { height: even(short), bitrate: bitrate.max(floor) });
    }
    fitting
}

/// How a rendition goes through time.
struct Pace {
    min_frame_ticks: u32,
    /// `None`: the mean of what is left.
    rate: Option<Rate>,
    fastest: Rate,
}

impl Pace {
    fn of(video: &VideoTrack, timeline: &Timeline, rung: u32, ladder: &Ladder) -> Self {
        let ticks = |seconds: f64| u32::try_from(timeline.timescale.ticks(seconds)).unwrap_or(0);
        if let Some(rate) = video.rate {
            let step = frame_step(rate, rung, ladder);
            let kept = Rate::new(rate.num, rate.den.get().saturating_mul(step)).unwrap_or(rate);
            // Between two frames, whatever a tick may be off.
            let min_frame_ticks = if step == 1 { 0 } else { ticks((f64::from(step) - 0.5) / rate.fps()) };
            return Self { min_frame_ticks, rate: Some(kept), fastest: kept };
        }
        let small = rung <= ladder.frame_rate_cap_max_height;
        let cap = if small { f64::from(ladder.frame_rate_cap).min(HIGHEST_FPS) } else { HIGHEST_FPS };
        if timeline.fastest.fps() <= cap * CAP_SLACK {
            return Self { min_frame_ticks: 0, rate: Some(timeline.rate), fastest: timeline.fastest };
        }
        // A little less than the interval at the cap, so that rounding in the source drops no frame of the right cadence.
        Self { min_frame_ticks: ticks(0.98 / cap), rate: None, fastest: mean_rate(1, 1.0 / cap) }
    }
}

fn mean_of(grid: &Grid) -> Rate {
    let (first, last) = (grid.cuts()[0], grid.cuts()[grid.cuts().len() - 1]);
    mean_rate(last.frame, grid.timescale().seconds((last.at - first.at).cast_signed()))
}

/// What encoded pictures are converted to: BT.709, or BT.601 where the source has that, with PAL's primaries where it
/// has those. Always limited range, which every player assumes.
fn output_colour(source: Colour) -> Colour {
    let is_601 = matches!(source.matrix, 5 | 6) && source.range() == VideoRange::Sdr && !source.is_wide();
    let code = if is_601 { 6 } else { 1 };
    let primaries = if is_601 && matches!(source.primaries, 1 | 5) { source.primaries } else { code };
    Colour { primaries, transfer: code, matrix: code, full_range: false }
}

/// How long a line of `bandwidth` must run ahead so that each packet is there when it is decoded, whichever segment the
/// viewer begins with. Packets come in decode order, and one is decoded whenever one is shown.
fn buffer_ms(video: &VideoTrack, timeline: &Timeline, bandwidth: u64) -> u32 {
    let milliseconds = Timescale::new(1000).expect("not zero");
    let (mut bits, mut earliest, mut longest) = (0_u64, i64::MAX, 0);
    for bounds in timeline.starts.windows(2) {
        let shown = &timeline.shown[bounds[0]..bounds[1]];
        let mut packets: Vec<usize> = shown.iter().map(|s| s.packet).collect();
        packets.sort_unstable();
        // When a packet has arrived if the line starts with the title, against when it is needed.
        let late = |bits: u64, at: i64| {
            let arrived = i64::try_from(bits.saturating_mul(1000).div_ceil(bandwidth.max(1))).unwrap_or(i64::MAX);
            arrived.saturating_sub(timeline.timescale.convert(at, milliseconds))
        };
        earliest = earliest.min(late(bits, timeline.at(bounds[0])));
        bits += SEGMENT_OVERHEAD * 8;
        for (frame, packet) in shown.iter().zip(packets) {
            bits += (u64::from(video.track.packets[packet].size) + SAMPLE_OVERHEAD) * 8;
            longest = longest.max(late(bits, frame.at).saturating_sub(earliest));
        }
    }
    u32::try_from(longest).unwrap_or(u32::MAX)
}

/// Coded bytes of each segment with the container's share.
fn segment_bytes(video: &VideoTrack, timeline: &Timeline) -> Vec<u64> {
    let size = |s: &Shown| u64::from(video.track.packets[s.packet].size) + SAMPLE_OVERHEAD;
    timeline
        .starts
        .windows(2)
        .map(|w| timeline.shown[w[0]..w[1]].iter().map(size).sum::<u64>() + SEGMENT_OVERHEAD)
        .collect()
}
