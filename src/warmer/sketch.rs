//! A count-min sketch (Cormode and Muthukrishnan, 2005) with conservative update: what is asked for now and then is counted
//! in bounded memory. It never says less than was counted, and with few names hardly more.

/// Rows; each is another chance not to meet somebody else's name.
const ROWS: usize = 4;
/// Cells in a row. Beyond this many names with any weight the sketch says too much of the lightest.
const COLUMNS: usize = 1024;

/// The sketch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sketch(Vec<f64>);

impl Default for Sketch {
    fn default() -> Self {
        Self(vec![0.0; ROWS * COLUMNS])
    }
}

impl Sketch {
    /// Adds to what is counted under a name; what it is then.
    pub(super) fn add(&mut self, name: &str, weight: f64) -> f64 {
        let cells = cells(name);
        let now = self.least(cells) + weight;
        self.raise(cells, now);
        now
    }

    /// Sees to it that no less is counted under a name.
    pub(super) fn at_least(&mut self, name: &str, weight: f64) {
        self.raise(cells(name), weight);
    }

    pub(super) fn of(&self, name: &str) -> f64 {
        self.least(cells(name))
    }

    pub(super) fn scale(&mut self, factor: f64) {
        self.0.iter_mut().for_each(|cell| *cell *= factor);
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|cell| cell.to_le_bytes()).collect()
    }

    /// An empty one for bytes that are none.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let (cells, rest) = bytes.as_chunks::<8>();
        let cells: Vec<f64> = cells.iter().map(|cell| f64::from_le_bytes(*cell)).collect();
        let whole = rest.is_empty() && cells.len() == ROWS * COLUMNS;
        if whole && cells.iter().all(|cell| cell.is_finite() && *cell >= 0.0) { Self(cells) } else { Self::default() }
    }

    fn least(&self, cells: [usize; ROWS]) -> f64 {
        cells.into_iter().map(|cell| self.0[cell]).fold(f64::INFINITY, f64::min)
    }

    fn raise(&mut self, cells: [usize; ROWS], to: f64) {
        for cell in cells {
            self.0[cell] = self.0[cell].max(to);
        }
    }
}

/// FNV-1a, a different start for each row. It must be the same in the next process; names are ids that we chose, so nobody can
/// make them meet.
fn cells(name: &str) -> [usize; ROWS] {
    std::array::from_fn(|row| {
        let start = 0xcbf2_9ce4_8422_2325_u64 ^ (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let hash = name.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let mixed = (hash ^ (hash >> 32)) % COLUMNS as u64;
        row * COLUMNS + usize::try_from(mixed).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_survives_being_written_and_nonsense_is_an_empty_one() {
        let mut sketch = Sketch::default();
        sketch.add("a", 2.5);
        assert_eq!(Sketch::from_bytes(&sketch.to_bytes()), sketch);
        for bad in [vec![], vec![1; 7], vec![255; ROWS * COLUMNS * 8]] {
            assert_eq!(Sketch::from_bytes(&bad), Sketch::default());
        }
    }

    proptest! {
        #[test]
        fn it_never_says_less_than_was_counted(names in proptest::collection::vec("[a-z]{1,3}", 1..300)) {
            let mut sketch = Sketch::default();
            for name in &names {
                sketch.add(name, 1.0);
            }
            for name in &names {
                let count = names.iter().filter(|other| *other == name).count();
                #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
                let count = count as f64;
                prop_assert!(sketch.of(name) >= count);
            }
        }
    }
}
