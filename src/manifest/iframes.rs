//! Single pictures for scrubbing: which renditions offer them, and what they may weigh.
//!
//! An I-frame is a resource of its own, carved from the segment it begins. Byte ranges into the segments would need
//! sizes that nobody knows before a segment was made.

use crate::media::{Plan, Rendition, RenditionKind, VideoRendition, VideoSource};

/// Short side of the largest picture offered, pixels. A scrubbing television asks for many pictures a second of segments
/// nobody has made, shows them small, and throws them away: what a rung above this would cost is better spent on
/// viewers.
const LARGEST: u32 = 360;
/// A title this short may be one picture.
const SHORT_SECONDS: f64 = 1.0;

/// The video renditions whose I-frames are listed, best first: the small ones, or if all are large, the smallest.
pub fn offered(plan: &Plan) -> impl Iterator<Item = (&Rendition, &VideoRendition)> {
    let side = |video: &VideoRendition| video.width.min(video.height);
    let smallest = plan.video().map(|(_, video)| side(video)).min().unwrap_or(0);
    plan.video().filter(move |(_, video)| side(video) <= LARGEST.max(smallest))
}

/// True if this rendition's I-frames are listed.
#[must_use]
pub fn is_offered(plan: &Plan, rendition: &Rendition) -> bool {
    offered(plan).any(|(offered, _)| offered.name == rendition.name)
}

/// What they need at most when shown in real time, bits per second.
pub(super) fn bandwidth(rendition: &Rendition) -> u64 {
    match &rendition.kind {
        // The first picture of a segment may take what the VBV buffer holds: less than half a second's worth. A segment that
        // is not much longer may be little else.
        RenditionKind::Video(video) if matches!(video.source, VideoSource::Encode { .. }) && !is_short(rendition) => {
            rendition.bandwidth / 2
        }
        _ => rendition.bandwidth,
    }
}

/// True if the title is shorter than the stretch its rate is counted over.
fn is_short(rendition: &Rendition) -> bool {
    rendition.grid.end_seconds() < SHORT_SECONDS
}
