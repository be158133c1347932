//! What one pass over a source file finds: its tracks and every packet of them.

use serde::{Deserialize, Serialize};

use super::{Colour, Label, Rate, Rotation, TextTrack, Timescale};

/// A source's tracks. Kept beside the source, sent to the worker that is bound to it; the server itself only
/// ever holds the much smaller [`super::Plan`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Media type of the container: `video/quicktime`, `video/x-matroska` ...
    pub container: String,
    /// The video track that is played, if any.
    pub video: Option<VideoTrack>,
    /// Audio tracks in file order.
    pub audio: Vec<AudioTrack>,
    /// Text tracks in file order, then those that lay beside the file.
    pub text: Vec<TextTrack>,
    /// Tracks that are not offered.
    pub skipped: Vec<Skipped>,
}

/// What a track holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Subtitles and captions, also those that are pictures.
    Text,
    /// Anything else.
    Data,
}

/// A track that is there and cannot be played.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// What it holds.
    pub kind: TrackKind,
    /// A name people know, or GStreamer's media type.
    pub codec: String,
    /// RFC 5646 tag, `und` if unknown.
    pub language: String,
    /// What a viewer would have chosen it by.
    pub label: Label,
    /// Why, for people.
    pub why: String,
}

/// What video and audio tracks have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// GStreamer stream id within the file; finds the track again.
    pub stream_id: String,
    /// GStreamer caps of the coded stream, serialized; what the decoder is given.
    pub caps: String,
    /// A name people know: `H.264`, `AAC`.
    pub codec: String,
    /// Unit of every time below.
    pub timescale: Timescale,
    /// A decoder that starts at a key frame or a refresh shows what one shows that came by. If not, each segment has to be
    /// decoded from its own start.
    pub starts_are_exact: bool,
    /// How packets are read.
    pub access: Access,
    /// Packets in decode order.
    pub packets: Vec<Packet>,
    /// Where decoding can start as well, in the same order.
    pub refreshes: Vec<Refresh>,
    /// Where the clock of a transport stream jumps, in file order.
    pub joins: Vec<Join>,
    /// End of the last presented packet, ticks from the title's zero.
    pub end: i64,
}

/// A place from which on pictures become whole bit by bit (Rec. ITU-T H.264 §D.2.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refresh {
    /// Number of the packet to start at.
    pub from: u32,
    /// Number of the first packet that is whole then.
    pub whole: u32,
}

/// A place in a transport stream from which on its clock goes by other numbers, and what makes them go on. All ticks are of
/// 27 MHz and begin anew after 2^33 times 300 (ISO/IEC 13818-1 §2.4.3.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// First byte behind it.
    pub at: u64,
    /// What the first clock reference there says, ticks.
    pub first: u64,
    /// Ticks added to clock references from there on.
    pub clock: u64,
    /// Ticks added to time stamps.
    pub stamps: u64,
}

/// How the packets of a track are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Straight from the file, at `offset` and `size`.
    Direct,
    /// Through GStreamer's demuxer, which calls the title's zero this many nanoseconds.
    Demuxer {
        /// Stream time of the title's zero, nanoseconds.
        zero_ns: i64,
        /// It gives times of decoding, not of showing: in order, they are those of showing less this many nanoseconds.
        delay_ns: Option<i64>,
    },
    /// The same, of sound whose packets the demuxer gives times that go by their bytes, and at another pace than the sound.
    Paced {
        /// Stream time of the title's zero, nanoseconds. The first packet comes when it is heard.
        zero_ns: i64,
        /// So much later than the first one comes, nanoseconds, the packet that lies behind ...
        ns: u64,
        /// ... so many bytes.
        bytes: u64,
    },
}

/// One coded packet of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packet {
    /// Presentation time, ticks from the title's zero, edit lists applied.
    pub pts: i64,
    /// Presented, as opposed to only decoded: an edit list may cut away what others are predicted from.
    pub shown: bool,
    /// Decoding can start here.
    pub key: bool,
    /// First byte in the file, for [`Access::Direct`].
    pub offset: u64,
    /// Coded length, bytes.
    pub size: u32,
}

/// The video track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoTrack {
    /// Common part.
    pub track: Track,
    /// Size in pixels of what is shown of a decoded picture, cropping applied, before rotation and pixel aspect.
    pub width: u32,
    /// See `width`.
    pub height: u32,
    /// What the container shows of a decoded picture, if not all of it.
    pub crop: Option<Crop>,
    /// Pixel aspect ratio, horizontal to vertical.
    pub pixel_aspect: (u32, u32),
    /// What makes the picture upright.
    pub rotation: Rotation,
    /// The exact rate if one explains every frame, else `None` (variable).
    pub rate: Option<Rate>,
    /// What the bitstream says of its colours, else the container, else what is usual for its size.
    pub colour: Colour,
    /// Brightest light that an HDR picture holds, cd/m², if the source says.
    pub peak_nits: Option<u32>,
    /// True if it is H.264 that is decoded to 8-bit 4:2:0.
    pub is_8bit_420: bool,
    /// True if pictures are not all progressive frames.
    pub interlaced: bool,
    /// `avcC` record (ISO/IEC 14496-15 §5.3.3.1) with 4-byte lengths, if the packets are H.264 in that form.
    pub avcc: Option<Vec<u8>>,
    /// True if every packet marked `key` is an IDR picture.
    pub keys_are_idr: bool,
}

/// A part of a decoded picture, pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crop {
    /// Columns left out at the left.
    pub left: u32,
    /// Rows left out at the top.
    pub top: u32,
    /// Columns shown.
    pub width: u32,
    /// Rows shown.
    pub height: u32,
}

/// An audio track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioTrack {
    /// Common part; its timescale is the sample rate.
    pub track: Track,
    /// Samples per second as decoded.
    pub rate: u32,
    /// Channels as decoded.
    pub channels: u32,
    /// RFC 5646 tag, `und` if unknown.
    pub language: String,
    /// What a viewer chooses it by.
    pub label: Label,
    /// `AudioSpecificConfig` (ISO/IEC 14496-3 §1.6.2.1) if the stream is AAC-LC of 1024-sample frames.
    pub aac_lc_config: Option<Vec<u8>>,
}

/// A presented frame of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Presentation time, ticks from the title's zero.
    pub at: i64,
    /// Number of its packet in decode order.
    pub packet: usize,
}

impl Track {
    /// Presented frames in presentation order, one per distinct time.
    #[must_use]
    pub fn shown(&self) -> Vec<Shown> {
        let packets = self.packets.iter().enumerate().filter(|(_, p)| p.shown);
        let mut shown: Vec<_> = packets.map(|(packet, p)| Shown { at: p.pts, packet }).collect();
        shown.sort_by_key(|s| (s.at, s.packet));
        shown.dedup_by_key(|s| s.at);
        shown
    }

    /// Time of the first presented packet, ticks.
    #[must_use]
    pub fn start(&self) -> Option<i64> {
        self.packets.iter().filter(|p| p.shown).map(|p| p.pts).min()
    }

    /// The packet to start decoding at for this frame.
    #[must_use]
    pub fn start_for(&self, frame: Shown) -> usize {
        // Pictures that follow a key frame in the file but precede it on screen need the group before.
        let opens = |i: &usize| self.packets[*i].key && self.packets[*i].pts <= frame.at;
        let key = (0..=frame.packet).rev().find(opens).unwrap_or(0);
        let is_whole = |r: &&Refresh| r.whole as usize <= frame.packet;
        let refresh = self.refreshes.iter().rev().find(is_whole).map_or(0, |r| r.from as usize);
        key.max(refresh)
    }

    /// Coded bytes of all packets.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.packets.iter().map(|p| u64::from(p.size)).sum()
    }
}

impl VideoTrack {
    /// Longest side of a picture as it is shown, pixels: no encoder here takes more.
    pub const MOST_SIDE: f64 = 16_384.0;
    /// Finest timescale: of a finer one a segment, or its first picture alone, lasts for more ticks than 32 bits hold.
    pub const FINEST: u32 = 100_000_000;

    /// Width and height as it is shown: upright and with square pixels, unrounded.
    #[must_use]
    pub fn shown_size(&self) -> (f64, f64) {
        let (num, den) = self.pixel_aspect;
        let aspect = f64::from(num.max(1)) / f64::from(den.max(1));
        // The larger side of a pixel is kept, so that no line of the source is lost.
        let (w, h) = (f64::from(self.width), f64::from(self.height));
        let (w, h) = if aspect >= 1.0 { (w * aspect, h) } else { (w, h / aspect) };
        if self.rotation.swaps_sides() { (h, w) } else { (w, h) }
    }
}

impl Index {
    /// Sentences about what is missing in the source and how that is worked around.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.video.as_ref().map(|video| video.track.notes()).unwrap_or_default()
    }
}

impl Track {
    fn notes(&self) -> Vec<String> {
        let shown = self.shown();
        let is_real = |s: &&Shown| self.packets[s.packet].size > 0;
        let real = shown.iter().filter(is_real).count();
        let first = shown.iter().find(is_real).map_or(0, |s| s.at);
        let early = shown.iter().take_while(|s| s.at < first).count();
        let repeated = shown.len() - real - early;
        // What an edit list hides is meant to be hidden; of what a demuxer gives, only what cannot be decoded is.
        let is_hidden = |p: &&Packet| !p.shown && p.pts < first && matches!(self.access, Access::Demuxer { .. });
        let hidden = self.packets.iter().filter(is_hidden).count();
        let mut notes = Vec::new();
        if hidden > 0 {
            notes
                .push(format!("{hidden} pictures at the start depend on ones the file does not hold and are left out"));
        }
        if early > 0 {
            let late = self.timescale.seconds(first);
            notes.push(format!("the picture begins {late:.3} s late: its first frame is shown until then"));
        }
        if repeated > 0 {
            notes.push(format!("{repeated} of {} pictures are not in the file: the one before is shown", shown.len()));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_in_a_source_is_said_in_sentences() {
        let packet = |pts, size, shown| Packet { pts, shown, key: true, offset: 0, size };
        let track = Track {
            stream_id: String::new(),
            caps: String::new(),
            codec: "H.264".to_owned(),
            timescale: Timescale::new(1000).unwrap(),
            starts_are_exact: true,
            access: Access::Demuxer { zero_ns: 0, delay_ns: None },
            packets: vec![packet(0, 0, true), packet(500, 9, true), packet(450, 9, false), packet(1000, 0, true)],
            refreshes: Vec::new(),
            joins: Vec::new(),
            end: 1500,
        };
        assert_eq!(
            track.notes(),
            [
                "1 pictures at the start depend on ones the file does not hold and are left out",
                "the picture begins 0.500 s late: its first frame is shown until then",
                "1 of 3 pictures are not in the file: the one before is shown",
            ]
        );
    }
}
