//! What one pass over a source file finds: its tracks and every packet of them.

use serde::{Deserialize, Serialize};

use super::{Colour, Rate, Rotation, Timescale};

/// A source's tracks. Kept beside the source, sent to the worker that is bound to it; the server itself only
/// ever holds the much smaller [`super::Plan`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// What the container is called: `mp4`, `matroska`, `mpegts` ...
    pub container: String,
    /// The tracks that can be played, in file order; at most one of them is video.
    pub video: Option<VideoTrack>,
    /// Audio tracks in file order.
    pub audio: Vec<AudioTrack>,
}

/// What video and audio tracks have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// Number of the track within the container, as the demuxer counts it.
    pub number: u32,
    /// GStreamer caps of the coded stream, serialized; what the decoder is given.
    pub caps: String,
    /// A name people know: `H.264`, `AAC`.
    pub codec: String,
    /// Unit of every time below.
    pub timescale: Timescale,
    /// Packets in decode order.
    pub packets: Vec<Packet>,
}

/// One coded packet of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packet {
    /// Presentation time in the track's timescale, edit lists applied, relative to the title's zero.
    /// Negative for packets that are decoded but not presented.
    pub pts: i64,
    /// Ticks until the next packet in presentation order; zero if the container does not know.
    pub duration: u32,
    /// Decoding can start here.
    pub key: bool,
    /// First byte in the file. Meaningless if `size` is zero.
    pub offset: u64,
    /// Length in the file, bytes; zero when only the demuxer can find the packet.
    pub size: u32,
}

/// The video track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoTrack {
    /// Common part.
    pub track: Track,
    /// Coded size in pixels, as decoded (cropping applied), before rotation and pixel aspect.
    pub width: u32,
    /// See `width`.
    pub height: u32,
    /// Pixel aspect ratio, horizontal to vertical.
    pub pixel_aspect: (u32, u32),
    /// Clockwise turn that makes the picture upright.
    pub rotation: Rotation,
    /// The exact rate if one explains every frame, else `None` (variable).
    pub rate: Option<Rate>,
    /// What the decoder reports of the first picture.
    pub colour: Colour,
    /// True if the decoder reports 8-bit 4:2:0.
    pub is_8bit_420: bool,
    /// True if pictures are not all progressive frames.
    pub interlaced: bool,
    /// `avcC` record (ISO/IEC 14496-15 §5.3.3.1) if the stream is H.264 in that form.
    pub avcc: Option<Vec<u8>>,
    /// True if every packet marked `key` starts a closed group of pictures (H.264: IDR).
    pub keys_are_idr: bool,
}

/// An audio track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioTrack {
    /// Common part.
    pub track: Track,
    /// Samples per second as decoded.
    pub rate: u32,
    /// Channels as decoded.
    pub channels: u32,
    /// RFC 5646 tag, `und` if unknown.
    pub language: String,
    /// `AudioSpecificConfig` (ISO/IEC 14496-3 §1.6.2.1) if the stream is AAC-LC of 1024-sample frames.
    pub aac_lc_config: Option<Vec<u8>>,
}

impl Track {
    /// Earliest presented time and the end of the last presented packet, ticks.
    #[must_use]
    pub fn span(&self) -> Option<(i64, i64)> {
        let shown = || self.packets.iter().filter(|p| p.pts + i64::from(p.duration.max(1)) > 0);
        let start = shown().map(|p| p.pts).min()?;
        let end = shown().map(|p| p.pts + i64::from(p.duration)).max()?;
        Some((start, end))
    }

    /// Coded bytes of the packets, where known.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.packets.iter().map(|p| u64::from(p.size)).sum()
    }
}
