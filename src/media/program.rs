//! Programs: what one MPEG transport stream carries, where its segments begin, and what its container adds to the rate.
//! Playlist and muxer read the same numbers here (promise 1), and both name times by the same clock.

use super::plan::measured_bandwidth;
use super::{Cut, Grid, Plan, Rendition, RenditionKind, Timescale, VideoSource};

/// The system clock of a transport stream, ticks per second (ISO/IEC 13818-1 §2.4.3.7 counts PTS and DTS in it).
const CLOCK: u32 = 90_000;

/// What a title's zero is called on the clock: ten seconds. Decode times lie before presentation times and the program
/// clock before both; none of them may fall below zero.
const ZERO: i64 = 900_000;
/// Decode times lie before presentation times by at most this much, so that the clock of slide shows stays above zero.
const MAX_DELAY: i64 = 360_000;
/// Frames that must be decoded before one may be shown: x264 with a pyramid of B-frames needs two.
const REORDERED: i64 = 2;
/// A source's own packets may come from any encoder. Deeper pyramids than this are rare.
const REORDERED_PASSTHROUGH: i64 = 4;

/// Sound that outlasts the picture by less than this is not worth a longer last segment. Ticks of the clock.
const UNHEARD_TAIL: i64 = 45_000;

/// Frames of sound share a PES packet up to this long beside pictures, ticks of the clock ...
const SOUND_BESIDE_PICTURES: i64 = 15_300;
/// ... and up to this long alone, where each packet carries the program clock, due every 100 ms (§2.7.2).
const SOUND_ALONE: i64 = 8_100;
/// The clock is shown at least this often, ticks.
const CLOCK_SHOWN: i64 = 8_100;
/// How often it is shown in packets of its own where frames are too far apart to carry it, ticks.
const CLOCK_ALONE: i64 = 7_200;

/// A longer segment is none of a transport stream, seconds: a picture that stays for days would be gigabytes of clocks.
const MOST_SEGMENT_SECONDS: f64 = 3600.0;

/// How often each segment has its tables: players need them first in it, receivers that tune in later once more.
const TABLES: u32 = 2;

/// A packet, and what of it is payload, bytes.
const PACKET: (u64, u64) = (188, 184);
/// Headers of a PES packet of pictures: its own with both times, the clock, and the access unit delimiter. Bytes.
const PICTURE_HEADERS: u64 = 19 + 8 + 6;
/// Headers of a PES packet of sound: its own with one time, and the clock.
const SOUND_HEADERS: u64 = 14 + 8;
/// An ADTS header.
const ADTS_HEADER: u64 = 7;
/// What fills up the last packet of a PES packet, at most and on average.
const STUFFING: (u64, u64) = (183, 92);
/// Packets that a segment adds to each stream so that its counters come round to where they began.
const FILL: u64 = 15;
/// Parameter sets before the key frames of a segment, bytes.
const PARAMETER_SETS: u64 = 256;

/// A video rendition with the sound that goes with it, or a rendition alone. Segment `n` holds segment `n` of both.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Its pictures.
    pub video: Option<&'a Rendition>,
    /// Its sound.
    pub audio: Option<&'a Rendition>,
    /// Ticks of the clock between decode and presentation time of a frame that is not reordered. One number for all
    /// programs of a title, so that a player may change between them.
    delay: i64,
}

impl<'a> Program<'a> {
    /// The program of a rendition of the plan; `None` for a codec that these streams are not made with, and for segments of
    /// hours.
    #[must_use]
    pub fn of(plan: &'a Plan, rendition: &'a Rendition) -> Option<Self> {
        let carried = |r: &&Rendition| r.codecs.starts_with("avc1.") || r.codecs.starts_with("mp4a.40.");
        let (video, audio) = match &rendition.kind {
            RenditionKind::Video(video) => {
                let sound = video.audio.as_ref().and_then(|name| plan.rendition(name));
                (Some(rendition), sound.filter(carried))
            }
            RenditionKind::Audio(_) => (None, Some(rendition)),
            RenditionKind::Text(_) => return None,
        };
        let is_short =
            |r: &Rendition| r.grid.timescale().seconds(r.grid.longest().cast_signed()) <= MOST_SEGMENT_SECONDS;
        let is_made = carried(&rendition) && video.into_iter().chain(audio).all(is_short);
        is_made.then(|| Self { video, audio, delay: delay(plan) })
    }

    /// The clock's timescale.
    #[must_use]
    pub fn clock() -> Timescale {
        Timescale::new(CLOCK).expect("not zero")
    }

    /// A time of the title, in ticks of `timescale` from its zero, on the clock. Absolute times are rounded, never
    /// durations, so that nothing drifts.
    #[must_use]
    pub fn at(timescale: Timescale, ticks: i64) -> i64 {
        timescale.convert(ticks, Self::clock()).saturating_add(ZERO)
    }

    /// Ticks of the clock from decode to presentation where nothing is reordered.
    #[must_use]
    pub fn delay(&self) -> i64 {
        self.delay
    }

    /// Longest PES packet of sound, ticks of the clock.
    #[must_use]
    pub fn sound_ticks(&self) -> i64 {
        if self.video.is_some() { SOUND_BESIDE_PICTURES } else { SOUND_ALONE }
    }

    /// Longest time between two showings of the program clock, and how far apart those in packets of their own are.
    #[must_use]
    pub fn clock_ticks() -> (i64, i64) {
        (CLOCK_SHOWN, CLOCK_ALONE)
    }

    /// How often each segment repeats its tables.
    #[must_use]
    pub fn tables() -> u32 {
        TABLES
    }

    /// How many segments there are: sound that outlasts the picture has segments of its own.
    #[must_use]
    pub fn segments(&self) -> u32 {
        self.tracks().map(|r| r.grid.segments()).max().unwrap_or(0)
    }

    /// Boundaries in ticks of the clock, from the title's zero: the picture's, and behind its end the sound's. Frames
    /// are counted in segments: those of the tracks do not agree.
    #[must_use]
    pub fn grid(&self) -> Grid {
        let mut at: Vec<u64> = self.video.or(self.audio).map(boundaries).unwrap_or_default();
        if let (Some(video), Some(audio)) = (self.video, self.audio) {
            let (pictures, sound) = (video.grid.segments() as usize, boundaries(audio));
            if let (Some(end), Some(heard)) = (at.last_mut(), sound.get(pictures)) {
                let tail = heard.cast_signed() - end.cast_signed();
                let goes_on = sound.len() > pictures + 1;
                if tail > UNHEARD_TAIL || (goes_on && tail > 0) {
                    *end = *heard;
                }
                at.extend(sound.iter().skip(pictures + 1));
            }
        }
        let cuts = at.iter().zip(0..).map(|(&at, frame)| Cut { frame, at }).collect();
        Grid::new(Self::clock(), cuts).unwrap_or_else(|_| one_segment())
    }

    /// RFC 8216 §4.3.4.2 BANDWIDTH: what the renditions may take, and what the container adds at most.
    #[must_use]
    pub fn bandwidth(&self) -> u64 {
        let media = self.tracks().map(|r| r.bandwidth).sum::<u64>();
        let (peak, _) = self.container(STUFFING.0);
        (media * PACKET.0).div_ceil(PACKET.1) + peak
    }

    /// The mean, where it is known beforehand.
    #[must_use]
    pub fn average_bandwidth(&self) -> Option<u64> {
        let media = self.tracks().map(|r| r.average_bandwidth).try_fold(0, |sum, rate| rate.map(|rate| sum + rate))?;
        let (_, mean) = self.container(STUFFING.1);
        Some(((media * PACKET.0).div_ceil(PACKET.1) + mean).min(self.bandwidth()))
    }

    fn tracks(&self) -> impl Iterator<Item = &'a Rendition> {
        self.video.into_iter().chain(self.audio)
    }

    /// What the container adds: peak and mean, bits per second.
    fn container(&self, stuffing: u64) -> (u64, u64) {
        let grid = self.grid();
        let added: Vec<u64> = (0..grid.segments()).map(|n| self.added(n, grid.ticks(n), stuffing)).collect();
        measured_bandwidth(&grid, &added)
    }

    /// What the container adds to segment `n`, bytes.
    fn added(&self, n: u32, ticks: u64, stuffing: u64) -> u64 {
        let in_packets = |bytes: u64| (bytes * PACKET.0).div_ceil(PACKET.1);
        let pictures = self.video.map_or(0, |r| r.grid.frames(n));
        let frames = self.audio.map_or(0, |r| r.grid.frames(n));
        let sound_ticks =
            self.audio.map_or(0, |r| r.grid.timescale().convert(r.grid.ticks(n).cast_signed(), Self::clock()));
        // A PES packet may end a frame early, so each is taken for half as long as it may be.
        let sound = frames.min(2 * sound_ticks.cast_unsigned() / self.sound_ticks().cast_unsigned() + 2);
        let carriers = if self.video.is_some() { pictures } else { sound };
        let clocks =
            if carriers * CLOCK_SHOWN.cast_unsigned() >= ticks { 1 } else { ticks / CLOCK_ALONE.cast_unsigned() + 2 };
        let packets = self.tracks().count() as u64 * FILL + u64::from(2 * TABLES) + clocks;
        let sets = if self.video.is_some() { PARAMETER_SETS } else { 0 };
        in_packets(pictures * (PICTURE_HEADERS + stuffing) + sets)
            + in_packets(sound * (SOUND_HEADERS + stuffing) + frames * ADTS_HEADER)
            + packets * PACKET.0
    }
}

/// A rendition's boundaries on the clock, from the title's zero.
fn boundaries(rendition: &Rendition) -> Vec<u64> {
    let grid = &rendition.grid;
    let on_clock = |cut: &Cut| grid.timescale().convert(cut.at.cast_signed(), Program::clock());
    grid.cuts().iter().map(|cut| on_clock(cut).cast_unsigned()).collect()
}

/// Stands for a timeline that is finer than the clock, which no source has.
fn one_segment() -> Grid {
    let cut = |n: u64| Cut { frame: n, at: n };
    Grid::new(Program::clock(), vec![cut(0), cut(1)]).expect("one tick is a segment")
}

fn delay(plan: &Plan) -> i64 {
    let passed = plan.video().any(|(_, v)| matches!(v.source, VideoSource::Passthrough { .. }));
    let frames = if passed { REORDERED_PASSTHROUGH } else { REORDERED };
    let frame = |num: u32, den: u32| (u64::from(den) * u64::from(CLOCK)).div_ceil(u64::from(num.max(1))).cast_signed();
    let longest = plan.video().map(|(_, v)| frame(v.rate.num, v.rate.den.get())).max().unwrap_or(0);
    (frames * longest).min(MAX_DELAY)
}
