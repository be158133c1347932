//! Which audio renditions a title has, and where their segments begin: at the codec frame nearest to the video's boundary.

use super::timeline::{Cutter, Timeline};
use super::{FAR_ABOVE, LONGEST_PASSTHROUGH, PlanError, SAMPLE_OVERHEAD, measured_bandwidth, name};
use crate::media::{
    Access, AudioRendition, AudioRung, AudioSource, AudioTrack, Cut, Grid, GridError, Index, Label, Ladder, Packet,
    Rendition, RenditionKind, RenditionName, Timescale,
};

/// Samples in an AAC-LC frame (ISO/IEC 14496-3 §4.5.1.1).
const AAC_FRAME: i64 = 1024;
/// What an AAC encoder may exceed its set rate by over a second, hundredths. FFmpeg's gives ten to twenty tones at once, and
/// what follows silence, a fifth more, and half as much again where a channel has few bits.
const AAC_PEAK: u64 = 125;
const AAC_PEAK_OF_FEW: u64 = 160;
/// Fewer than so many bits per second are few for a channel.
const FEW: u32 = 64_000;
/// The container's share, bits per second.
pub const AAC_OVERHEAD: u64 = 10_000;

/// Audio tracks offered: more than a menu shows, and each costs a grid for every rung.
pub(super) const MOST_TRACKS: usize = 32;
/// Channels of surround sound: 5.1, what AAC's channel configuration 6 says (ISO/IEC 14496-3 table 1.19).
const SURROUND: u32 = 6;

/// Where the video's segments begin and end, for sound and text to follow.
pub(super) struct Boundaries {
    pub(super) timescale: Timescale,
    /// Ticks; the first is the start of the title, the last the end of the video.
    pub(super) at: Vec<i64>,
    has_video: bool,
    /// Where each audio track ends.
    ends: Vec<(Timescale, i64)>,
}

/// One audio rendition to be decided on.
struct Wanted<'a> {
    number: usize,
    track: &'a AudioTrack,
    /// What it is called before its rate: `audio`, `surround`.
    family: &'static str,
    channels: u32,
    bitrate: u32,
    may_pass: bool,
    is_default: bool,
}

impl Boundaries {
    pub(super) fn of(timeline: &Timeline, index: &Index) -> Self {
        let at = timeline.starts.iter().map(|&s| timeline.at(s)).collect();
        Self { timescale: timeline.timescale, at, has_video: true, ends: ends(index) }
    }

    pub(super) fn of_audio(index: &Index, ladder: &Ladder) -> Result<Self, PlanError> {
        let track = &offered(index).next().ok_or(PlanError::NothingToShow)?.1.track;
        let cutter = Cutter { times: &[], end: track.end.max(1), timescale: track.timescale, ladder, step: 1 };
        let at = cutter.on_multiples_of(AAC_FRAME);
        Ok(Self { timescale: track.timescale, at, has_video: false, ends: ends(index) })
    }

    /// Where the last of picture and sound ends: however long a track is itself, its renditions go on until then, so
    /// that a player that changes track does not run out of it.
    pub(super) fn end(&self, timescale: Timescale) -> i64 {
        let video = self.timescale.convert(self.at[self.at.len() - 1], timescale);
        self.ends.iter().map(|(of, end)| of.convert(*end, timescale)).fold(video, i64::max)
    }
}

fn ends(index: &Index) -> Vec<(Timescale, i64)> {
    offered(index).map(|(_, t)| (t.track.timescale, t.track.end)).collect()
}

/// The tracks that become renditions, with their numbers.
pub(super) fn offered(index: &Index) -> impl Iterator<Item = (usize, &AudioTrack)> {
    index.audio.iter().enumerate().filter(|(_, t)| t.track.start().is_some()).take(MOST_TRACKS)
}

/// The one track that is heard unless the viewer chooses: the first that the file wants to be, else the first.
pub(super) fn default_track(index: &Index) -> Option<usize> {
    offered(index).find(|(_, t)| t.label.default).or_else(|| offered(index).next()).map(|(n, _)| n)
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
    index: &Index,
    boundaries: &Boundaries,
    ladder: &Ladder,
    renditions: &mut Vec<Rendition>,
) -> Result<(), PlanError> {
    let rungs = wanted_audio_rungs(ladder, renditions, boundaries.has_video);
    let default = default_track(index);
    let mut leads = Vec::new();
    for (number, track) in offered(index) {
        let is_default = default == Some(number);
        let channels = track.channels.clamp(1, 2);
        for (rank, rung) in rungs.iter().enumerate() {
            let bitrate = rung.bitrate_of(channels);
            let may_pass = rank == 0 && track.channels <= 2;
            let wanted = Wanted { number, track, family: "audio", channels, bitrate, may_pass, is_default };
            let made = wanted.rendition(boundaries, ladder)?;
            // The groups of the playlist are named after the first track's renditions.
            if leads.len() < rungs.len() {
                leads.push(made.name.clone());
            }
            renditions.push(made);
        }
        // Without pictures every rendition is a variant, and a player that adapts must not change the channels.
        if boundaries.has_video && track.channels > 2 && ladder.surround_bitrate > 0 {
            let (bitrate, may_pass) = (ladder.surround_bitrate, track.channels == SURROUND);
            let wanted =
                Wanted { number, track, family: "surround", channels: SURROUND, bitrate, may_pass, is_default };
            renditions.push(wanted.rendition(boundaries, ladder)?);
        }
    }
    for rendition in renditions {
        if let RenditionKind::Video(video) = &mut rendition.kind {
            let short = video.width.min(video.height);
            let wanted = rungs.iter().position(|r| short >= r.min_height).unwrap_or(rungs.len() - 1);
            video.audio = leads.get(wanted).cloned();
        }
    }
    Ok(())
}

impl Wanted<'_> {
    fn rendition(&self, boundaries: &Boundaries, ladder: &Ladder) -> Result<Rendition, PlanError> {
        let Self { track, bitrate, .. } = *self;
        let passed = if self.may_pass { pass_audio(track, boundaries, bitrate, ladder) } else { None };
        let rate = if passed.is_some() { track.rate } else { output_rate(track.rate) };
        let channels = if passed.is_some() { track.channels } else { self.channels };
        let (grid, source, peak, average) = match passed {
            Some((grid, source, peak, mean)) => (grid, source, peak, Some(mean)),
            None => {
                let hundredths = if bitrate / channels.max(1) < FEW { AAC_PEAK_OF_FEW } else { AAC_PEAK };
                let peak = u64::from(bitrate) * hundredths / 100 + AAC_OVERHEAD;
                (audio_grid(boundaries, rate, ladder)?, AudioSource::Encode { bitrate }, peak, None)
            }
        };
        Ok(Rendition {
            name: self.name(),
            grid,
            codecs: "mp4a.40.2".to_owned(),
            bandwidth: peak,
            average_bandwidth: average,
            kind: RenditionKind::Audio(AudioRendition {
                track: u32::try_from(self.number).unwrap_or(u32::MAX),
                rate,
                channels,
                language: track.language.clone(),
                label: Label { default: self.is_default, ..track.label.clone() },
                source,
            }),
        })
    }

    /// `audio-128k` for the first track of the file, `audio-2-128k` for the second.
    fn name(&self) -> RenditionName {
        let kilobits = self.bitrate / 1000;
        match self.number {
            0 => name(&format!("{}-{kilobits}k", self.family)),
            later => name(&format!("{}-{}-{kilobits}k", self.family, later + 1)),
        }
    }
}

/// The audio rungs that some video rendition takes; all of them for a title without video.
fn wanted_audio_rungs(ladder: &Ladder, renditions: &[Rendition], has_video: bool) -> Vec<AudioRung> {
    let shorts: Vec<u32> = renditions
        .iter()
        .filter_map(|r| match &r.kind {
            RenditionKind::Video(v) => Some(v.width.min(v.height)),
            RenditionKind::Audio(_) | RenditionKind::Text(_) => None,
        })
        .collect();
    let choice = |short: u32| ladder.audio.iter().position(|r| short >= r.min_height).unwrap_or(ladder.audio.len() - 1);
    let taken: Vec<usize> = shorts.iter().map(|&s| choice(s)).collect();
    let wanted = ladder.audio.iter().enumerate().filter(|(i, _)| !has_video || taken.contains(i));
    wanted.map(|(_, rung)| *rung).collect()
}

/// The boundaries in AAC frames of an encoded rendition, from the title's zero to the end of the last sound or picture.
fn audio_grid(boundaries: &Boundaries, rate: u32, ladder: &Ladder) -> Result<Grid, GridError> {
    let end = (boundaries.end(scale(rate)) + AAC_FRAME - 1).div_euclid(AAC_FRAME).max(1);
    grid_of_frames(&frames_of(boundaries, rate, end, ladder), rate)
}

/// Each boundary of the picture as the nearest AAC frame, up to frame `end`.
fn frames_of(boundaries: &Boundaries, rate: u32, end: i64, ladder: &Ladder) -> Vec<i64> {
    let frame =
        |ticks: i64| (2 * boundaries.timescale.convert(ticks, scale(rate)) + AAC_FRAME).div_euclid(2 * AAC_FRAME);
    let inner = boundaries.at.len() - 1;
    let mut frames: Vec<i64> = boundaries.at[..inner].iter().map(|&t| frame(t)).collect();
    frames[0] = 0;
    let per_second = f64::from(rate) / 1024.0;
    #[expect(clippy::cast_possible_truncation, reason = "frames of some seconds")]
    let length = |s: f64| (s * per_second) as i64;
    let picture_end = frame(boundaries.at[inner]);
    let (wished, longest) = (length(ladder.segment_seconds), length(ladder.segment_seconds * LONGEST_PASSTHROUGH));
    extend(&mut frames, (picture_end, end), wished, longest);
    frames
}

/// Ends a list of boundaries at `end`: what outlasts the picture gets segments of its own, of the wished length and none
/// longer than the longest. A little is part of the picture's last segment, so that there are as many of both.
pub(super) fn extend(cuts: &mut Vec<i64>, (picture_end, end): (i64, i64), wished: i64, longest: i64) {
    /// Of a wished length.
    const LITTLE: i64 = 8;
    while cuts.len() > 1 && cuts[cuts.len() - 1] >= end {
        cuts.pop();
    }
    let last = |cuts: &[i64]| cuts[cuts.len() - 1];
    if end - last(cuts) > longest && end - picture_end > wished / LITTLE {
        if picture_end > last(cuts) {
            cuts.push(picture_end);
        }
        while end - last(cuts) > longest {
            cuts.push(last(cuts) + wished.max(1));
        }
    }
    cuts.push(end);
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
    if !ladder.passthrough || !direct || track.rate > 48_000 || track.rate != output_rate(track.rate) {
        return None;
    }
    let first = packets.iter().position(|p| p.pts == 0)?;
    // What an edit list cuts off at the end stays cut off.
    let packets = &packets[..=packets.iter().rposition(|p| p.shown).filter(|last| *last >= first)?];
    let contiguous =
        packets[first..].iter().enumerate().all(|(i, p)| p.pts == AAC_FRAME * i64::try_from(i).unwrap_or(0));
    let title_end = boundaries.end(scale(track.rate));
    let count = i64::try_from(packets.len() - first).ok()?;
    // Sound may end a little early without anyone hearing it; more would leave players without sound to the end.
    let covers = count * AAC_FRAME + i64::from(track.rate) / 10 >= title_end;
    if !contiguous || !covers {
        return None;
    }
    let frames = frames_of(boundaries, track.rate, count, ladder);
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
