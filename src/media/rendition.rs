//! Renditions and the plan: all the server needs to know of a title in order to answer for it.

use serde::{Deserialize, Serialize};

use super::{Grid, Rate, RenditionName};

/// A title's timeline and ladder, decided once at ingest and never changed under a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// In the order of the multivariant playlist: video first, then audio.
    pub renditions: Vec<Rendition>,
}

/// One encoding of one track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rendition {
    /// Name in URLs.
    pub name: RenditionName,
    /// Segment boundaries.
    pub grid: Grid,
    /// RFC 6381 codecs parameter.
    pub codecs: String,
    /// No run of segments of half to one and a half target durations exceeds this, bits per second, the
    /// container's overhead included (RFC 8216 §4.3.4.2 BANDWIDTH).
    pub bandwidth: u64,
    /// Mean rate in bits per second where it is known beforehand, that is for passthrough.
    pub average_bandwidth: Option<u64>,
    /// Video or audio.
    pub kind: RenditionKind,
}

/// What a rendition holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RenditionKind {
    /// Pictures.
    Video(VideoRendition),
    /// Sound.
    Audio(AudioRendition),
}

/// A video rendition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoRendition {
    /// Width of the upright picture with square pixels.
    pub width: u32,
    /// Height of the upright picture with square pixels.
    pub height: u32,
    /// Exact or average frame rate.
    pub rate: Rate,
    /// Colour description, in the VUI and the `colr` box.
    pub colour: Colour,
    /// Name of the audio rendition that goes with it, if the title has sound.
    pub audio: Option<RenditionName>,
    /// Where the bytes come from.
    pub source: VideoSource,
}

/// Where a video rendition's bytes come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VideoSource {
    /// The source's own packets, packaged anew.
    Passthrough {
        /// The source's `avcC` record.
        avcc: Vec<u8>,
    },
    /// Encoded from decoded pictures.
    Encode {
        /// Highest rate a whole segment may have, bits per second.
        ceiling: u64,
        /// H.264 `level_idc`: 10 times the level.
        level: u8,
        /// Frames closer together than this many ticks of the grid are dropped; zero keeps every frame.
        min_frame_ticks: u32,
    },
}

/// An audio rendition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioRendition {
    /// Which of the source's audio tracks, counted from zero.
    pub track: u32,
    /// Samples per second, also the grid's timescale.
    pub rate: u32,
    /// Channels of the output.
    pub channels: u32,
    /// RFC 5646 tag, `und` if unknown.
    pub language: String,
    /// Where the bytes come from.
    pub source: AudioSource,
}

/// Where an audio rendition's bytes come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AudioSource {
    /// The source's own AAC frames.
    Passthrough {
        /// The source's `AudioSpecificConfig`.
        config: Vec<u8>,
        /// Number of the source packet that is frame 0 of the grid.
        first_packet: u64,
    },
    /// Encoded as AAC-LC.
    Encode {
        /// Bits per second.
        bitrate: u32,
    },
}

/// Colour description by the code points of ISO/IEC 23091-2 (H.273).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Colour {
    /// `ColourPrimaries`; 2 is unspecified.
    pub primaries: u8,
    /// `TransferCharacteristics`; 2 is unspecified.
    pub transfer: u8,
    /// `MatrixCoefficients`; 2 is unspecified.
    pub matrix: u8,
    /// True for full range.
    pub full_range: bool,
}

/// Clockwise turn that makes a picture upright.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// Already upright.
    None,
    /// A quarter turn clockwise.
    Clockwise,
    /// Half a turn.
    Half,
    /// A quarter turn counter-clockwise.
    CounterClockwise,
}

impl Rotation {
    /// True if width and height change places.
    #[must_use]
    pub fn swaps_sides(self) -> bool {
        matches!(self, Self::Clockwise | Self::CounterClockwise)
    }
}

impl Plan {
    /// The rendition of that name.
    #[must_use]
    pub fn rendition(&self, name: &RenditionName) -> Option<&Rendition> {
        self.renditions.iter().find(|r| r.name == *name)
    }

    /// Video renditions, best first.
    pub fn video(&self) -> impl Iterator<Item = (&Rendition, &VideoRendition)> {
        self.renditions.iter().filter_map(|r| match &r.kind {
            RenditionKind::Video(v) => Some((r, v)),
            RenditionKind::Audio(_) => None,
        })
    }

    /// Audio renditions, best first.
    pub fn audio(&self) -> impl Iterator<Item = (&Rendition, &AudioRendition)> {
        self.renditions.iter().filter_map(|r| match &r.kind {
            RenditionKind::Audio(a) => Some((r, a)),
            RenditionKind::Video(_) => None,
        })
    }

    /// End of the last presented sample of any track, seconds.
    #[must_use]
    pub fn duration_seconds(&self) -> f64 {
        self.renditions.iter().map(|r| r.grid.end_seconds()).fold(0.0, f64::max)
    }

    /// EXT-X-TARGETDURATION: the longest segment of any rendition, rounded to the nearest second (RFC 8216 §4.3.3.1),
    /// at least one.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "segments last seconds")]
    pub fn target_duration_seconds(&self) -> u64 {
        let longest = |r: &Rendition| r.grid.timescale().seconds(r.grid.longest().cast_signed());
        (self.renditions.iter().map(longest).fold(0.0, f64::max).round() as u64).max(1)
    }
}
