//! The grid: where the segments of a rendition begin and end. Promise 1.

use serde::{Deserialize, Serialize};

use super::Timescale;

/// One boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Index of the first frame after the boundary, counted in this rendition's frames in presentation order.
    pub frame: u64,
    /// The boundary's time in the grid's timescale, counted from the title's zero.
    pub at: u64,
}

/// The segment boundaries of a rendition. Segment `n` lies between cuts `n` and `n + 1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "GridParts", into = "GridParts")]
pub struct Grid {
    timescale: Timescale,
    cuts: Vec<Cut>,
}

/// Why a list of cuts is not a grid.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GridError {
    /// Fewer than two cuts bound no segment.
    #[error("a grid needs at least two cuts, not {0}")]
    TooFew(usize),
    /// A segment without frames or without duration.
    #[error("segment {0} is empty or runs backwards")]
    Empty(usize),
}

#[derive(Serialize, Deserialize)]
struct GridParts {
    timescale: Timescale,
    cuts: Vec<Cut>,
}

impl Grid {
    /// Checks that frames and times strictly increase.
    ///
    /// # Errors
    /// [`GridError`] names the first segment that is not one.
    pub fn new(timescale: Timescale, cuts: Vec<Cut>) -> Result<Self, GridError> {
        if cuts.len() < 2 {
            return Err(GridError::TooFew(cuts.len()));
        }
        match cuts.windows(2).position(|w| w[1].frame <= w[0].frame || w[1].at <= w[0].at) {
            Some(segment) => Err(GridError::Empty(segment)),
            None => Ok(Self { timescale, cuts }),
        }
    }

    /// Unit of every `at`.
    #[must_use]
    pub fn timescale(&self) -> Timescale {
        self.timescale
    }

    /// How many segments there are.
    #[must_use]
    pub fn segments(&self) -> u32 {
        u32::try_from(self.cuts.len() - 1).unwrap_or(u32::MAX)
    }

    /// The boundaries, one more than there are segments.
    #[must_use]
    pub fn cuts(&self) -> &[Cut] {
        &self.cuts
    }

    /// First and last boundary of segment `n`, or `None` past the end.
    #[must_use]
    pub fn segment(&self, n: u32) -> Option<(Cut, Cut)> {
        let n = n as usize;
        Some((*self.cuts.get(n)?, *self.cuts.get(n + 1)?))
    }

    /// Frames in segment `n`; zero past the end.
    #[must_use]
    pub fn frames(&self, n: u32) -> u64 {
        self.segment(n).map_or(0, |(a, b)| b.frame - a.frame)
    }

    /// Duration of segment `n` in ticks; zero past the end.
    #[must_use]
    pub fn ticks(&self, n: u32) -> u64 {
        self.segment(n).map_or(0, |(a, b)| b.at - a.at)
    }

    /// The longest segment, in ticks.
    #[must_use]
    pub fn longest(&self) -> u64 {
        self.cuts.windows(2).map(|w| w[1].at - w[0].at).max().unwrap_or(0)
    }

    /// End of the last segment, seconds from the title's zero.
    #[must_use]
    pub fn end_seconds(&self) -> f64 {
        self.timescale.seconds(self.cuts.last().map_or(0, |c| c.at.cast_signed()))
    }
}

impl TryFrom<GridParts> for Grid {
    type Error = GridError;
    fn try_from(parts: GridParts) -> Result<Self, GridError> {
        Self::new(parts.timescale, parts.cuts)
    }
}

impl From<Grid> for GridParts {
    fn from(grid: Grid) -> Self {
        Self { timescale: grid.timescale, cuts: grid.cuts }
    }
}
