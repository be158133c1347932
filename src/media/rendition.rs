//! Renditions and the plan: all the server needs to know of a title in order to answer for it.

use serde::{Deserialize, Serialize};

use super::{Grid, Label, Rate, RenditionName, TextRendition, TrackKind};

/// A title's timeline and ladder, decided once at ingest and never changed under a generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// In the order of the multivariant playlist: video first, then audio, then text.
    pub renditions: Vec<Rendition>,
    /// Every track of the source, offered or not, for people.
    #[serde(default)]
    pub tracks: Vec<Listed>,
}

/// A track of the source as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// What it holds.
    pub kind: TrackKind,
    /// A name people know.
    pub codec: String,
    /// RFC 5646 tag, `und` if unknown; `None` for pictures.
    pub language: Option<String>,
    /// Its own name.
    pub name: Option<String>,
    /// Channels of sound.
    pub channels: Option<u32>,
    /// Dynamic range of pictures as they are in the source; what is encoded of them is SDR.
    #[serde(default)]
    pub video_range: Option<VideoRange>,
    /// Chosen unless the viewer chooses.
    pub default: bool,
    /// To be shown whatever the viewer chose.
    pub forced: bool,
    /// It is among the renditions.
    pub offered: bool,
    /// Why not, if it is not.
    pub why_not: Option<String>,
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
    /// Video, audio or text.
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
    /// Words, as WebVTT.
    Text(TextRendition),
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
    /// The highest over a second, where the rate varies.
    #[serde(default)]
    pub peak_rate: Option<Rate>,
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
        /// After waiting this long, a line of the rendition's bandwidth keeps up from any segment on, milliseconds.
        #[serde(default)]
        buffer_ms: u32,
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
    /// What a viewer chooses it by.
    #[serde(default)]
    pub label: Label,
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

/// Dynamic range, in the words of EXT-X-STREAM-INF's VIDEO-RANGE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum VideoRange {
    /// Standard.
    #[default]
    #[serde(rename = "SDR")]
    Sdr,
    /// SMPTE ST 2084, as in HDR10.
    #[serde(rename = "PQ")]
    Pq,
    /// ARIB STD-B67, hybrid log-gamma.
    #[serde(rename = "HLG")]
    Hlg,
}

impl VideoRange {
    /// The word in playlists and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sdr => "SDR",
            Self::Pq => "PQ",
            Self::Hlg => "HLG",
        }
    }
}

impl Colour {
    /// Dynamic range, by `TransferCharacteristics`.
    #[must_use]
    pub fn range(self) -> VideoRange {
        match self.transfer {
            16 => VideoRange::Pq,
            18 => VideoRange::Hlg,
            _ => VideoRange::Sdr,
        }
    }

    /// True if pictures show colours that BT.709 lacks, by `ColourPrimaries`: BT.2020, DCI-P3 or Display P3.
    #[must_use]
    pub fn is_wide(self) -> bool {
        matches!(self.primaries, 9 | 11 | 12)
    }
}

/// What makes a picture upright: a turn, or a reflection and a turn.
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
    /// Left and right change places.
    Mirror,
    /// Top and bottom change places.
    Flip,
    /// Rows become columns: reflected at the diagonal from the upper left.
    Transpose,
    /// Reflected at the diagonal from the upper right.
    AntiTranspose,
}

impl Rotation {
    /// True if width and height change places.
    #[must_use]
    pub fn swaps_sides(self) -> bool {
        matches!(self, Self::Clockwise | Self::CounterClockwise | Self::Transpose | Self::AntiTranspose)
    }

    /// Clockwise degrees of the turn, after the reflection if there is one.
    #[must_use]
    pub fn degrees(self) -> u32 {
        match self {
            Self::None | Self::Mirror => 0,
            Self::Clockwise | Self::AntiTranspose => 90,
            Self::Half | Self::Flip => 180,
            Self::CounterClockwise | Self::Transpose => 270,
        }
    }

    /// True if left and right change places before the turn.
    #[must_use]
    pub fn is_mirrored(self) -> bool {
        matches!(self, Self::Mirror | Self::Flip | Self::Transpose | Self::AntiTranspose)
    }
}

impl Rendition {
    /// True for pictures that are encoded, which is what costs.
    #[must_use]
    pub fn is_picture_encode(&self) -> bool {
        self.video().is_some_and(|video| matches!(video.source, VideoSource::Encode { .. }))
    }

    /// What it is if it holds pictures.
    #[must_use]
    pub fn video(&self) -> Option<&VideoRendition> {
        match &self.kind {
            RenditionKind::Video(video) => Some(video),
            RenditionKind::Audio(_) | RenditionKind::Text(_) => None,
        }
    }
}

impl Plan {
    /// The rendition of that name.
    #[must_use]
    pub fn rendition(&self, name: &RenditionName) -> Option<&Rendition> {
        self.renditions.iter().find(|r| r.name == *name)
    }

    /// The place of the sound that goes with the pictures at this place, unless the viewer chooses another: of the track that
    /// is heard by default, in stereo.
    #[must_use]
    pub fn sound_of(&self, pictures: usize) -> Option<usize> {
        let name = self.renditions.get(pictures)?.video()?.audio.as_ref()?;
        let lead = self.renditions.iter().position(|r| r.name == *name)?;
        let stereo: Vec<(usize, &AudioRendition)> = (self.renditions.iter().enumerate())
            .filter_map(|(at, of)| match &of.kind {
                RenditionKind::Audio(sound) if sound.channels <= 2 => Some((at, sound)),
                _ => None,
            })
            .collect();
        let of_track = |track| stereo.iter().filter(move |(_, sound)| sound.track == track).map(|(at, _)| *at);
        let Some((_, default)) = stereo.iter().find(|(_, sound)| sound.label.default) else { return Some(lead) };
        let (_, leading) = stereo.iter().find(|(at, _)| *at == lead)?;
        // Every track has the same qualities in the same order.
        let rank = of_track(leading.track).position(|at| at == lead)?;
        of_track(default.track).nth(rank).or_else(|| of_track(default.track).next_back())
    }

    /// Video renditions, best first.
    pub fn video(&self) -> impl Iterator<Item = (&Rendition, &VideoRendition)> {
        self.renditions.iter().filter_map(|r| match &r.kind {
            RenditionKind::Video(v) => Some((r, v)),
            RenditionKind::Audio(_) | RenditionKind::Text(_) => None,
        })
    }

    /// Audio renditions, best first.
    pub fn audio(&self) -> impl Iterator<Item = (&Rendition, &AudioRendition)> {
        self.renditions.iter().filter_map(|r| match &r.kind {
            RenditionKind::Audio(a) => Some((r, a)),
            RenditionKind::Video(_) | RenditionKind::Text(_) => None,
        })
    }

    /// Text renditions, in the order of the tracks.
    pub fn text(&self) -> impl Iterator<Item = (&Rendition, &TextRendition)> {
        self.renditions.iter().filter_map(|r| match &r.kind {
            RenditionKind::Text(t) => Some((r, t)),
            RenditionKind::Video(_) | RenditionKind::Audio(_) => None,
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
