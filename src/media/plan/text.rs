//! Which text renditions a title has: one for each track, cut where the picture is cut.

use super::audio::{Boundaries, extend};
use super::{LONGEST_PASSTHROUGH, PlanError, measured_bandwidth, name};
use crate::media::{Cut, Grid, GridError, Index, Label, Ladder, Rendition, RenditionKind, TextRendition, Timescale};

/// Text tracks offered: more than a menu shows, and each costs a grid.
pub(super) const MOST_TRACKS: usize = 64;

pub(super) fn add_renditions(
    index: &Index,
    boundaries: &Boundaries,
    ladder: &Ladder,
    renditions: &mut Vec<Rendition>,
) -> Result<(), PlanError> {
    if index.text.is_empty() {
        return Ok(());
    }
    let grid = grid(boundaries, ladder)?;
    for (n, track) in (0..).zip(index.text.iter().take(MOST_TRACKS)) {
        let sizes: Vec<u64> =
            grid.cuts().windows(2).map(|w| track.segment(grid.timescale(), (w[0], w[1])).len() as u64).collect();
        let (peak, mean) = measured_bandwidth(&grid, &sizes);
        renditions.push(Rendition {
            name: name(&format!("text-{}", n + 1)),
            grid: grid.clone(),
            codecs: "wvtt".to_owned(),
            bandwidth: peak,
            average_bandwidth: Some(mean),
            kind: RenditionKind::Text(TextRendition {
                track: n,
                language: track.language.clone(),
                label: Label { default: is_default(index, n), ..track.label.clone() },
            }),
        });
    }
    Ok(())
}

/// The one track that is shown unasked, if the file wants any to be: the first of those.
pub(super) fn is_default(index: &Index, track: u32) -> bool {
    index.text.iter().position(|t| t.label.default) == usize::try_from(track).ok()
}

/// A document for each segment of the picture, and for what follows it: one "frame" each.
fn grid(boundaries: &Boundaries, ladder: &Ladder) -> Result<Grid, GridError> {
    let timescale = boundaries.timescale;
    // The end of the picture is no boundary if sound outlasts it by a little.
    let inner = boundaries.at.len() - 1;
    let mut at = boundaries.at[..inner].to_vec();
    at[0] = 0;
    let length = |seconds: f64| timescale.ticks(seconds).max(1);
    let wished = length(ladder.segment_seconds);
    let ends = (boundaries.at[inner], boundaries.end(timescale));
    extend(&mut at, ends, wished, length(ladder.segment_seconds * LONGEST_PASSTHROUGH));
    let fits = |w: &[i64]| u32::try_from(w[1] - w[0]).is_ok();
    // A document is a sample, and says in 32 bits how long it lasts.
    let scale = if at.windows(2).all(fits) { timescale } else { Timescale::new(1000).expect("not zero") };
    let cut = |(frame, at): (u64, &i64)| Cut { frame, at: timescale.convert(*at, scale).cast_unsigned() };
    Grid::new(scale, (0..).zip(&at).map(cut).collect())
}
