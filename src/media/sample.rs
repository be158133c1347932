//! One coded access unit, as it travels from a worker to the packager.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A coded frame (video: one access unit, NAL units with 4-byte lengths; audio: one raw AAC frame) in decode order.
/// Decode times are not carried: they are the running sum of durations from the segment's first tick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Ticks of the rendition's timescale until the next sample in decode order. Never zero.
    pub duration: u32,
    /// Presentation time minus decode time, ticks; negative for B-frames (ISO/IEC 14496-12 §8.8.8, `trun` version 1).
    pub composition: i32,
    /// True for a frame at which decoding can start (H.264: IDR).
    pub sync: bool,
    /// The coded bytes.
    pub data: Bytes,
}
