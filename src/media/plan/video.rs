//! Which video renditions a title has.

use super::timeline::{Timeline, frame_step};
use super::{CAP_SLACK, FAR_ABOVE, PlanError, SAMPLE_OVERHEAD, measured_bandwidth, name};
use crate::media::ladder::VideoRung;
use crate::media::{
    Colour, Grid, Ladder, Rate, Rendition, RenditionKind, Shown, Timescale, VideoRange, VideoRendition, VideoSource,
    VideoTrack, h264,
};

/// A source this little above a rung is not worth a rung of its own size.
const SAME_SIZE: f64 = 0.9;

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
    let rate = video.rate.unwrap_or_else(|| average_rate(timeline));
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
        same_size_too = own.is_some_and(|own| average > own.bitrate * FAR_ABOVE);
        if !same_size_too {
            limit = Some(bandwidth);
        }
        made.push(Rendition {
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
        let min_frame_ticks = min_frame_ticks(rung.height, rate, timeline.timescale, ladder);
        let grid = if min_frame_ticks == 0 { full.clone() } else { timeline.grid(min_frame_ticks)? };
        let rate = if min_frame_ticks == 0 { rate } else { capped_rate(video, &grid, ladder) };
        let level = h264::level_idc(w, h, rate, ceiling);
        made.push(Rendition {
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

fn min_frame_ticks(rung: u32, rate: Rate, timescale: Timescale, ladder: &Ladder) -> u32 {
    let cap = f64::from(ladder.frame_rate_cap);
    if rung > ladder.frame_rate_cap_max_height || rate.fps() <= cap * CAP_SLACK {
        return 0;
    }
    // A little less than the interval at the cap, so that rounding in the source drops no frame of the right cadence.
    u32::try_from(timescale.ticks(0.98 / cap)).unwrap_or(0)
}

fn capped_rate(video: &VideoTrack, grid: &Grid, ladder: &Ladder) -> Rate {
    let step = u32::try_from(frame_step(video, ladder)).unwrap_or(1);
    let exact = video.rate.and_then(|rate| Rate::new(rate.num, rate.den.get().saturating_mul(step)));
    let frames = grid.cuts().last().map_or(0, |c| c.frame);
    let begin = grid.cuts().first().map_or(0, |c| c.at.cast_signed());
    exact.unwrap_or_else(|| mean_rate(frames, grid.end_seconds() - grid.timescale().seconds(begin)))
}

fn average_rate(timeline: &Timeline) -> Rate {
    mean_rate(timeline.shown.len() as u64, timeline.timescale.seconds(timeline.end - timeline.at(0)))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a frame rate"
)]
fn mean_rate(frames: u64, seconds: f64) -> Rate {
    let milli = (frames as f64 / seconds.max(0.001) * 1000.0).round() as u32;
    Rate::new(milli.max(1), 1000).unwrap_or(Rate { num: 25, den: std::num::NonZeroU32::MIN })
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
