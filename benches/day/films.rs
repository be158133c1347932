//! Films as the real planner cuts them: 1080p at 24 frames per second, without sound, nothing passed through.

use std::sync::Arc;

use matinee::media::{
    Access, Colour, Index, Ladder, Packet, Plan, Rate, Rendition, Rotation, Timescale, Track, VideoTrack, plan,
};

const FPS: u32 = 24;
/// Frames from one key frame to the next.
const GOP: u32 = 48;
/// Part of the highest rate of a rendition that its segments have.
const FULL: f64 = 0.7;

/// The plan of a film of so many seconds.
pub fn film(seconds: u32) -> Arc<Plan> {
    let frame = |n: u32| Packet { pts: n.into(), shown: true, key: n.is_multiple_of(GOP), offset: 0, size: 1000 };
    let frames = seconds * FPS;
    let track = Track {
        stream_id: "001".into(),
        caps: String::new(),
        codec: "H.264".into(),
        timescale: Timescale::new(FPS).expect("not zero"),
        starts_are_exact: true,
        access: Access::Direct,
        packets: (0..frames).map(frame).collect(),
        refreshes: Vec::new(),
        joins: Vec::new(),
        end: frames.into(),
    };
    let video = VideoTrack {
        track,
        width: 1920,
        height: 1080,
        crop: None,
        pixel_aspect: (1, 1),
        rotation: Rotation::None,
        rate: Rate::new(FPS, 1),
        colour: Colour { primaries: 1, transfer: 1, matrix: 1, full_range: false },
        peak_nits: None,
        is_8bit_420: true,
        interlaced: false,
        avcc: None,
        keys_are_idr: true,
    };
    let index = Index {
        container: "video/quicktime".into(),
        video: Some(video),
        audio: Vec::new(),
        text: Vec::new(),
        skipped: Vec::new(),
    };
    let ladder = Ladder { passthrough: false, ..Ladder::default() };
    Arc::new(plan(&index, &ladder).expect("the film is good"))
}

/// Length of a segment, seconds.
pub fn seconds(of: &Rendition, number: u32) -> f64 {
    of.grid.timescale().seconds(of.grid.ticks(number).cast_signed())
}

/// Bytes of a segment.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "some megabytes"
)]
pub fn bytes(of: &Rendition, number: u32) -> u64 {
    (seconds(of, number) * of.bandwidth as f64 / 8.0 * FULL) as u64
}
