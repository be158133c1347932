//! Coded samples into CMAF (ISO/IEC 23000-19): init segments, segments as a row of chunks, and the check that a
//! segment is what the grid promises; and the same segments as MPEG transport streams ([`mpegts`]).
//!
//! Nothing runs unasked; there is no I/O, no clock, no GStreamer. An [`init()`] costs a few microseconds and under a
//! kilobyte. A [`Chunker`] holds the samples of one open chunk, about half a second, and copies each coded byte once;
//! a [`Tally`] holds eight bytes a frame.
//!
//! The rule not to break: bytes are a function of the arguments. No time of day, no counter that outlives a segment,
//! no map whose order may vary. Promise 2 stands on it.
//!
//! Arrow: `packager` -> `media`.

mod check;
mod cmaf;
mod iframe;
mod init;
mod jpeg;
pub mod mpegts;
#[cfg(test)]
mod testing;
mod text;

pub use check::Tally;
pub use cmaf::Chunker;
pub use iframe::iframe;
pub use init::{audio_init, init, video_init};
pub use jpeg::{NotThePicture, check_jpeg};
pub use text::text;

/// The only track of every init segment and chunk.
const TRACK_ID: u32 = 1;

/// Why bytes cannot be packaged, or are not the segment that was asked for. None of it is cured by packaging the
/// same samples again.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Too short to be a record, or of another version.
    #[error("the decoder configuration of {0} bytes is not a record this server can carry")]
    Config(usize),
    /// The playlists promise another profile, or a lower level (RFC 6381).
    #[error("the encoder made {found}, the playlists say {said}: `matinee doctor` names the template that did")]
    Codecs {
        /// What the record says.
        found: String,
        /// What the rendition says.
        said: String,
    },
    /// Samples are carried with 4-byte NAL unit lengths, the record announces others.
    #[error("the avcC record announces {0}-byte NAL unit lengths, samples have 4")]
    NalLengthSize(u8),
    /// A sample entry holds 16 bits for each of these.
    #[error("{what} is {value}, a sample entry holds at most 65535")]
    TooLarge {
        /// Which number.
        what: &'static str,
        /// Its value.
        value: u32,
    },
    /// What should be WebVTT is not.
    #[error("the text of {0} bytes is not a WebVTT document")]
    Text(usize),
    /// The box writer refused.
    #[error("box: {0}")]
    Box(String),
    /// Bytes that are taken for a segment, but were not written here.
    #[error("these bytes are no segment of ours")]
    Foreign,
    /// The grid has no such segment.
    #[error("there is no segment {number}, the grid has {segments}")]
    NoSegment {
        /// What was asked for.
        number: u32,
        /// How many there are.
        segments: u32,
    },
    /// More or fewer frames than the grid says.
    #[error("segment {segment} has {found} frames, the grid says {expected}")]
    Frames {
        /// Which segment.
        segment: u32,
        /// Frames of the grid.
        expected: u64,
        /// Frames seen.
        found: u64,
    },
    /// The durations do not add up to the grid's.
    #[error("segment {segment} lasts {found} ticks, the grid says {expected}")]
    Ticks {
        /// Which segment.
        segment: u32,
        /// Ticks of the grid.
        expected: u64,
        /// Sum of durations.
        found: u64,
    },
    /// A sample that breaks a rule on its own.
    #[error("segment {segment}, sample {sample}: {fault}")]
    Sample {
        /// Which segment.
        segment: u32,
        /// Which sample of it, in decode order from zero.
        sample: u64,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Two samples are shown at the same time.
    #[error("segment {segment} shows two frames at tick {at}")]
    SameTime {
        /// Which segment.
        segment: u32,
        /// Presentation time of both, ticks of the title's timeline.
        at: u64,
    },
}

/// What is wrong with one sample.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Fault {
    /// No bytes.
    #[error("empty")]
    Empty,
    /// Lasts zero ticks.
    #[error("without duration")]
    NoDuration,
    /// The first sample is not shown at the segment's first tick, so something is missing or precedes it.
    #[error("the first frame is shown at tick {at}, the segment begins at {start}")]
    Start {
        /// When it is shown.
        at: i128,
        /// The segment's first tick.
        start: u64,
    },
    /// Shown before or after the segment.
    #[error("shown at tick {at}, outside {start}..{end}")]
    Outside {
        /// When it is shown.
        at: i128,
        /// The segment's first tick.
        start: u64,
        /// The next segment's first tick.
        end: u64,
    },
    /// Decoding cannot begin at the first sample, or an audio frame is not one of its own.
    #[error("not marked as a sync sample")]
    NotSync,
    /// The sync mark and the NAL unit type disagree (ISO/IEC 14496-15 §5.4: a sync sample is an IDR picture).
    #[error("marked sync: {marked}, but its first slice is NAL unit type {nal_type}")]
    SyncMark {
        /// The mark.
        marked: bool,
        /// `nal_unit_type` of the first slice.
        nal_type: u8,
    },
    /// A NAL unit length that is zero or reaches past the sample.
    #[error("a NAL unit of {length} bytes at byte {offset}, {left} bytes are left")]
    NalLength {
        /// Where the unit begins, after its length.
        offset: usize,
        /// What the length says.
        length: usize,
        /// Bytes to the end of the sample.
        left: usize,
    },
    /// No slice among the NAL units.
    #[error("no picture in it")]
    NoSlice,
}
