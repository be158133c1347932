//! Pictures beside the video: the poster, and thumbnails in rows on sheets. Which tile shows which time is decided here,
//! from the plan alone, so that whoever lists them and whoever makes them agree.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Plan, RenditionName, VideoRendition};

/// Longer side of a thumbnail, pixels: what players show above their seek bar.
const TILE: u32 = 160;
/// Most tiles side by side, and rows. A sheet is decoded while somebody waits, so it holds minutes, not the whole film.
const ACROSS: u32 = 5;
const DOWN: u32 = 5;
/// A thumbnail every so many milliseconds, for titles up to so many.
const INTERVALS_MS: [(u64, u64); 2] = [(2_000, 120_000), (5_000, 600_000)];
/// A thumbnail every so many milliseconds, for longer ones.
const LONG_INTERVAL_MS: u64 = 10_000;
/// Most thumbnails of a title: what lists them stays below a megabyte, however long a file claims to be.
const MOST_TILES: u64 = 10_000;
/// A poster fits into this.
const POSTER: (u32, u32) = (1280, 720);
/// Largest sheet, bytes: one with more to show is compressed harder.
pub const MOST_SHEET_BYTES: usize = 200_000;
/// Largest poster, bytes.
pub const MOST_POSTER_BYTES: usize = 1_000_000;

/// Where the thumbnails of a title are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thumbnails {
    /// Width of a tile, pixels.
    pub width: u32,
    /// Height of a tile, pixels.
    pub height: u32,
    /// Tiles side by side on every sheet.
    pub columns: u32,
    /// Rows of tiles on every sheet; the last sheet may not fill them.
    pub rows: u32,
    /// Each tile stands for this long, milliseconds, but for the last.
    pub interval_ms: u64,
    /// How many tiles there are, at least one.
    pub tiles: u32,
    /// End of the last one, milliseconds from the title's zero.
    pub duration_ms: u64,
}

/// A thumbnail on its sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Which sheet.
    pub sheet: u32,
    /// Left edge on it, pixels.
    pub x: u32,
    /// Upper edge on it, pixels.
    pub y: u32,
    /// Beginning of the time it stands for, milliseconds from the title's zero.
    pub from_ms: u64,
    /// End of that time.
    pub to_ms: u64,
}

/// A picture to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Picture {
    /// The frame that stands for the title, at this size.
    Poster {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
    },
    /// The cover art inside a file without video, at most this large.
    Cover {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
    },
    /// A sheet of thumbnails.
    Sheet {
        /// All the sheets.
        of: Thumbnails,
        /// Which of them.
        number: u32,
    },
}

impl Thumbnails {
    /// The thumbnails of a title; `None` if it has no video.
    #[must_use]
    pub fn of(plan: &Plan) -> Option<Self> {
        let (_, best) = plan.video().next()?;
        let (width, height) = fit(best, (TILE, TILE));
        let duration_ms = duration_ms(plan).max(1);
        let interval_ms = interval_ms(duration_ms);
        let tiles = u32::try_from(duration_ms.div_ceil(interval_ms)).unwrap_or(u32::MAX);
        let columns = tiles.min(ACROSS);
        let rows = tiles.div_ceil(columns).min(DOWN);
        Some(Self { width, height, columns, rows, interval_ms, tiles, duration_ms })
    }

    /// How many sheets there are.
    #[must_use]
    pub fn sheets(&self) -> u32 {
        self.tiles.div_ceil(self.per_sheet())
    }

    /// Size of a sheet, pixels.
    #[must_use]
    pub fn sheet_size(&self) -> (u32, u32) {
        (self.width * self.columns, self.height * self.rows)
    }

    /// How long a full sheet stands for, milliseconds.
    #[must_use]
    pub fn sheet_ms(&self) -> u64 {
        self.interval_ms * u64::from(self.per_sheet())
    }

    /// The numbers of a sheet's tiles; none past the end.
    #[must_use]
    pub fn on_sheet(&self, sheet: u32) -> Range<u32> {
        let first = sheet.saturating_mul(self.per_sheet()).min(self.tiles);
        first..first.saturating_add(self.per_sheet()).min(self.tiles)
    }

    /// A tile by its number, row by row over all sheets; `None` past the end.
    #[must_use]
    pub fn tile(&self, number: u32) -> Option<Tile> {
        let place = number % self.per_sheet();
        let from_ms = u64::from(number) * self.interval_ms;
        (number < self.tiles).then(|| Tile {
            sheet: number / self.per_sheet(),
            x: place % self.columns * self.width,
            y: place / self.columns * self.height,
            from_ms,
            to_ms: (from_ms + self.interval_ms).min(self.duration_ms),
        })
    }

    /// The highest rate of the sheets, bits per second, for a playlist to declare.
    #[must_use]
    pub fn bandwidth(&self) -> u64 {
        (MOST_SHEET_BYTES as u64 * 8 * 1000).div_ceil(self.sheet_ms().min(self.duration_ms))
    }

    fn per_sheet(&self) -> u32 {
        self.columns * self.rows
    }
}

impl Picture {
    /// What stands for the title: a frame of it, or the cover art of one without video.
    #[must_use]
    pub fn poster(plan: &Plan) -> Self {
        let frame = plan.video().next().map(|(_, best)| fit(best, POSTER));
        match frame {
            Some((width, height)) => Self::Poster { width, height },
            None => Self::Cover { width: POSTER.0, height: POSTER.1 },
        }
    }

    /// The size it has, or for cover art the most it may have, pixels.
    #[must_use]
    pub fn size(&self) -> (u32, u32) {
        match self {
            Self::Poster { width, height } | Self::Cover { width, height } => (*width, *height),
            Self::Sheet { of, .. } => of.sheet_size(),
        }
    }

    /// Most bytes it may have.
    #[must_use]
    pub fn most_bytes(&self) -> usize {
        match self {
            Self::Poster { .. } | Self::Cover { .. } => MOST_POSTER_BYTES,
            Self::Sheet { .. } => MOST_SHEET_BYTES,
        }
    }

    /// Its place among a title's objects: a name no rendition has, and a number.
    #[must_use]
    pub fn name(&self) -> (RenditionName, u32) {
        let (name, number) = match self {
            Self::Poster { .. } | Self::Cover { .. } => ("poster", 0),
            Self::Sheet { number, .. } => ("thumbnails", *number),
        };
        (name.parse().expect("lower-case letters"), number)
    }
}

/// The upright picture made to fit, keeping its shape; never enlarged. Even, as JPEG's coarser chroma has it.
fn fit(video: &VideoRendition, (width, height): (u32, u32)) -> (u32, u32) {
    scale_to_fit((video.width, video.height), (width, height))
}

/// `size` made smaller to fit into `most`, keeping its shape; even and at least 2 by 2.
#[must_use]
pub fn scale_to_fit(size: (u32, u32), most: (u32, u32)) -> (u32, u32) {
    let (w, h) = (u64::from(size.0.max(1)), u64::from(size.1.max(1)));
    let (most_w, most_h) = (u64::from(most.0), u64::from(most.1));
    // Of the two sides, the one that would stick out further decides.
    let (num, den) = if w * most_h > h * most_w { (most_w, w) } else { (most_h, h) };
    let side = |side: u64, most: u64| {
        let scaled = if num < den { (2 * side * num + den) / (2 * den) } else { side };
        u32::try_from((scaled.div_ceil(2) * 2).clamp(2, most.max(2))).unwrap_or(2)
    };
    (side(w, most_w), side(h, most_h))
}

fn interval_ms(duration_ms: u64) -> u64 {
    let short = INTERVALS_MS.iter().find(|(_, up_to)| duration_ms <= *up_to).map(|(interval, _)| *interval);
    // Whole seconds, for a title so long that ten of them would be too many tiles.
    let least = duration_ms.div_ceil(MOST_TILES).div_ceil(1000) * 1000;
    short.unwrap_or(LONG_INTERVAL_MS.max(least))
}

/// End of the last presented sample of any track, rounded up: no moment of the title is without a tile.
fn duration_ms(plan: &Plan) -> u64 {
    let end = |grid: &super::Grid| {
        let last = grid.cuts().last().map_or(0, |cut| cut.at);
        (u128::from(last) * 1000).div_ceil(u128::from(grid.timescale().get()))
    };
    let longest = plan.renditions.iter().map(|r| end(&r.grid)).max().unwrap_or(0);
    u64::try_from(longest).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::{Colour, Cut, Grid, Rate, Rendition, RenditionKind, Timescale, VideoSource};

    fn plan(width: u32, height: u32, timescale: u32, ticks: u64) -> Plan {
        let video = VideoRendition {
            width,
            height,
            rate: Rate::new(25, 1).unwrap(),
            peak_rate: None,
            colour: Colour { primaries: 1, transfer: 1, matrix: 1, full_range: false },
            audio: None,
            source: VideoSource::Encode { ceiling: 1, level: 30, min_frame_ticks: 0 },
        };
        let cuts = vec![Cut { frame: 0, at: 0 }, Cut { frame: 1, at: ticks }];
        let grid = Grid::new(Timescale::new(timescale).unwrap(), cuts).unwrap();
        let kind = RenditionKind::Video(video);
        let name = "720p".parse().unwrap();
        let rendition = Rendition { name, grid, codecs: String::new(), bandwidth: 1, average_bandwidth: None, kind };
        Plan { renditions: vec![rendition], tracks: Vec::new() }
    }

    #[test]
    fn a_thumbnail_fits_its_tile_and_is_never_enlarged() {
        for (size, most, fitted) in [
            ((1920, 1080), (160, 160), (160, 90)),
            ((1080, 1920), (160, 160), (90, 160)),
            ((640, 480), (160, 160), (160, 120)),
            ((3840, 2160), (1280, 720), (1280, 720)),
            ((720, 1280), (1280, 720), (406, 720)),
            ((100, 64), (160, 160), (100, 64)),
            ((2, 2), (1280, 720), (2, 2)),
            ((8192, 16), (160, 160), (160, 2)),
        ] {
            assert_eq!(scale_to_fit(size, most), fitted, "{size:?} into {most:?}");
        }
    }

    #[test]
    fn long_titles_have_a_thumbnail_in_ten_seconds_and_short_ones_more() {
        let of = |seconds: u64| Thumbnails::of(&plan(1920, 1080, 1000, seconds * 1000)).unwrap();
        assert_eq!([of(1), of(120), of(121), of(600), of(601)].map(|t| t.interval_ms / 1000), [2, 2, 5, 5, 10]);
        assert_eq!((of(1).columns, of(1).rows, of(1).sheets()), (1, 1, 1));
        assert_eq!((of(7).columns, of(7).rows), (4, 1));
        assert_eq!((of(13).columns, of(13).rows), (5, 2));
        assert_eq!((of(7200).tiles, of(7200).sheets(), of(7200).sheet_size()), (720, 29, (800, 450)));
        assert!(of(2_000_000).tiles <= 10_000);
    }

    proptest! {
        #[test]
        fn every_moment_has_exactly_one_tile_and_every_tile_its_own_place(
            timescale in prop_oneof![Just(90_000_u32), Just(12_800), Just(48_000), Just(1_000_000_000), 1..1_000_000_u32],
            seconds in prop_oneof![0.0001..5.0_f64, 5.0..700.0_f64, 700.0..40_000.0_f64],
            width in 2..8000_u32,
            height in 2..5000_u32,
            at in 0.0..1.0_f64,
        ) {
            let ticks = ((seconds * f64::from(timescale)) as u64).max(1);
            let all = Thumbnails::of(&plan(width, height, timescale, ticks)).unwrap();
            let tiles: Vec<Tile> = (0..all.tiles).map(|n| all.tile(n).unwrap()).collect();
            prop_assert_eq!(all.tile(all.tiles), None);
            prop_assert_eq!(tiles[0].from_ms, 0);
            prop_assert!(tiles.windows(2).all(|w| w[0].to_ms == w[1].from_ms));
            let end = tiles[tiles.len() - 1].to_ms;
            prop_assert!(tiles.iter().all(|t| t.from_ms < t.to_ms));
            prop_assert!(u128::from(end) * u128::from(timescale) >= u128::from(ticks) * 1000, "up to the end");
            prop_assert!(u128::from(end - 1) * u128::from(timescale) < u128::from(ticks) * 1000, "and no further");
            let moment = (at * end as f64) as u64;
            prop_assert_eq!(tiles.iter().filter(|t| (t.from_ms..t.to_ms).contains(&moment)).count(), 1);
            let mut places: Vec<_> = tiles.iter().map(|t| (t.sheet, t.y, t.x)).collect();
            let (w, h) = all.sheet_size();
            prop_assert!(places.iter().all(|(sheet, y, x)| *sheet < all.sheets() && x + all.width <= w && y + all.height <= h));
            places.dedup();
            prop_assert_eq!(places.len(), tiles.len());
            let listed: Vec<u32> = (0..=all.sheets()).flat_map(|sheet| all.on_sheet(sheet)).collect();
            prop_assert!(listed.iter().copied().eq(0..all.tiles), "every tile is on one sheet");
        }
    }
}
