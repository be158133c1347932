//! From index and ladder to the plan: where segments begin, and which renditions are offered. Pure, and run once per
//! title; what it decides is stored and never decided again.

mod audio;
mod check;
mod listed;
#[cfg(test)]
mod tests;
mod text;
mod timeline;
mod video;

use super::{Grid, GridError, Index, Ladder, Plan, RenditionName};
pub use audio::AAC_OVERHEAD;
use audio::Boundaries;
use timeline::Timeline;

/// A passthrough segment may be this many times the wished length before key frames count as too far apart.
const LONGEST_PASSTHROUGH: f64 = 1.5;
/// A source whose rate is this many times its rung's is far above it.
const FAR_ABOVE: u64 = 2;
/// Nothing is offered at more frames per second: few screens show them, and few decoders keep up.
const HIGHEST_FPS: f64 = 120.0;
/// Frame rates up to this much above a cap are not worth halving.
const CAP_SLACK: f64 = 1.1;
/// No line is faster, bits per second; sums of such rates stay far from what a number holds.
const HIGHEST_RATE: u64 = 1 << 40;
/// What a `trun` entry and a share of the fragment headers add to each sample, bytes.
const SAMPLE_OVERHEAD: u64 = 24;

/// Why no plan can be made.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum PlanError {
    /// No track has a presented packet.
    #[error("there is nothing to present: no track has a frame")]
    NothingToShow,
    /// A track goes on for longer than [`MOST_SECONDS`](super::MOST_SECONDS).
    #[error("it lasts too long")]
    TooLong,
    /// So many segments cannot be held in memory.
    #[error("all its tracks together have more than {most} segments: it is too long for so many of them")]
    TooMany {
        /// As many as there may be.
        most: u64,
    },
    /// No file leads to such an index.
    #[error("the index is impossible: {0}")]
    Impossible(&'static str),
    /// A defect here rather than in the source.
    #[error(transparent)]
    Grid(#[from] GridError),
}

/// Decides timeline and ladder.
///
/// # Errors
/// [`PlanError::NothingToShow`] for a source without a single presented frame, and what the index, which a worker has made
/// of somebody's file, claims in vain.
pub fn plan(index: &Index, ladder: &Ladder) -> Result<Plan, PlanError> {
    check::check(index, ladder)?;
    let video = index.video.as_ref().map(|v| (v, v.track.shown())).filter(|(_, shown)| !shown.is_empty());
    let mut renditions = Vec::new();
    let boundaries = match &video {
        Some((track, shown)) => {
            let timeline = Timeline::of_video(track, shown, ladder);
            renditions = video::renditions(track, &timeline, ladder)?;
            Boundaries::of(&timeline, index)
        }
        None => Boundaries::of_audio(index, ladder)?,
    };
    audio::add_renditions(index, &boundaries, ladder, &mut renditions)?;
    if renditions.is_empty() {
        return Err(PlanError::NothingToShow);
    }
    text::add_renditions(index, &boundaries, ladder, &mut renditions)?;
    Ok(Plan { renditions, tracks: listed::tracks(index) })
}

/// Which of `times` stay when frames closer than `min_ticks` are dropped. The first always stays.
#[must_use]
pub fn decimate(times: &[i64], min_ticks: u32) -> Vec<usize> {
    let mut kept = Vec::with_capacity(times.len());
    let mut last = None;
    for (i, &at) in times.iter().enumerate() {
        if last.is_none_or(|last| at - last >= i64::from(min_ticks)) {
            kept.push(i);
            last = Some(at);
        }
    }
    kept
}

/// Peak over runs of half to one and a half target durations (RFC 8216 §4.1), and mean; bits per second.
pub(super) fn measured_bandwidth(grid: &Grid, bytes: &[u64]) -> (u64, u64) {
    let timescale = u64::from(grid.timescale().get());
    let per_second = |bytes: u64, ticks: u64| {
        let bits = u128::from(bytes) * 8 * u128::from(timescale);
        u64::try_from(bits.div_ceil(u128::from(ticks.max(1)))).unwrap_or(u64::MAX).min(HIGHEST_RATE)
    };
    let target = grid.longest();
    let mut peak = 0;
    for first in 0..bytes.len() {
        let (mut sum, mut ticks) = (0, 0);
        for (n, size) in bytes.iter().enumerate().skip(first) {
            sum += size;
            ticks += grid.ticks(u32::try_from(n).unwrap_or(u32::MAX));
            if ticks * 2 > target * 3 {
                break;
            }
            if ticks * 2 >= target {
                peak = peak.max(per_second(sum, ticks));
            }
        }
    }
    let total: u64 = bytes.iter().sum();
    let cuts = grid.cuts();
    let mean = per_second(total, cuts[cuts.len() - 1].at - cuts[0].at);
    (peak.max(mean), mean)
}

fn name(text: &str) -> RenditionName {
    text.parse().expect("rendition names are made of lower-case letters, digits and hyphens")
}
