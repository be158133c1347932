//! Which audio renditions a title has, and where their segments begin: at the codec frame nearest to the video's boundary.

use super::timeline::{Cutter, Timeline};
use super::{FAR_ABOVE, LONGEST_PASSTHROUGH, PlanError, SAMPLE_OVERHEAD, measured_bandwidth, name};
use crate::media::{
    Access, AudioRendition, AudioRung, AudioSource, AudioTrack, Cut, Grid, GridError, Index, Ladder, Packet, Rendition,
    RenditionKind, Timescale,
};

/// Samples in an AAC-LC frame (ISO/IEC 14496-3 §4.5.1.1).
const AAC_FRAME: i64 = 1024;
/// What an AAC encoder may exceed its set rate by over a segment, in hundredths, and its container's share, bits per second.
const AAC_PEAK: (u64, u64) = (115, 10_000);

/// Where the video's segments begin and end, for the sound to follow.
pub(super) struct Boundaries {
    timescale: Timescale,
    /// Ticks; the first is the start of the title, the last the end of the video.
    at: Vec<i64>,
    has_video: bool,
}

impl Boundaries {
    pub(super) fn of(timeline: &Timeline) -> Self {
        let at = timeline.starts.iter().map(|&s| timeline.at(s)).collect();
        Self { timescale: timeline.timescale, at, has_video: true }
    }

    pub(super) fn of_audio(index: &Index, ladder: &Ladder) -> Result<Self, PlanError> {
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

pub(super) fn add_renditions(
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
fn wanted_audio_rungs(ladder: &Ladder, renditions: &[Rendition], has_video: bool) -> Vec<AudioRung> {
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
    let direct = matches!(track.track.access, Access::Direct);
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
    let size = |p: &Packet| u64::from(p.size) + SAMPLE_OVERHEAD;
    let bytes: Vec<u64> = frames
        .windows(2)
        .map(|w| packets[first..][w[0] as usize..w[1] as usize].iter().map(size).sum::<u64>() + 512)
        .collect();
    let (peak, mean) = measured_bandwidth(&grid, &bytes);
    let within = mean <= u64::from(bitrate) * FAR_ABOVE;
    within.then_some((grid, AudioSource::Passthrough { config, first_packet: first as u64 }, peak, mean))
}

fn scale(rate: u32) -> Timescale {
    Timescale::new(rate.max(1)).unwrap_or(Timescale::NANOSECONDS)
}
