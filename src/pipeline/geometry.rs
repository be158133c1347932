//! How a file wants its pictures shown: turned, reflected or cropped. MP4 and QuickTime files say so in each track's
//! header (ISO/IEC 14496-12 §8.3.2 and §12.1.4), of which GStreamer 1.22 understands only the four turns.

use std::fs::File;
use std::path::Path;

use super::mp4::read_moov;
use crate::media::{Crop, Rotation};

/// Bytes of a `VisualSampleEntry` before its boxes.
pub(super) const VISUAL_ENTRY_BYTES: usize = 78;

/// What one track's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// `track_ID`.
    pub id: u32,
    /// The matrix, as far as it is made of quarter turns and reflections.
    pub rotation: Rotation,
    /// The clean aperture.
    pub aperture: Option<Aperture>,
}

/// A clean aperture: fractions of pixels, as in `clap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aperture {
    width: (i64, i64),
    height: (i64, i64),
    /// Of the aperture's centre from the picture's.
    right: (i64, i64),
    down: (i64, i64),
}

/// The movie header of a file, which may have hundreds of megabytes: read once for all of its tracks.
pub(super) struct Movie(Option<Vec<u8>>);

impl Movie {
    /// Reads it; others than MP4 files have none, fragmented ones do.
    pub(super) fn of(source: &Path) -> Self {
        let read = || {
            let mut file = File::open(source).ok()?;
            let length = file.metadata().ok()?.len();
            read_moov(&mut file, length)
        };
        Self(read())
    }

    /// What is in the `trak` box of a track, which GStreamer names by its id.
    pub(super) fn track(&self, stream_id: &str) -> Option<&[u8]> {
        let id: u32 = stream_id.parse().ok()?;
        let moov = self.0.as_deref()?;
        // The first box is `moov` itself; its header has eight bytes, or sixteen if its size needs them.
        let body = moov.get(if moov.starts_with(&[0, 0, 0, 1]) { 16.. } else { 8.. })?;
        let mut tracks = boxes(body).filter(|(kind, _)| kind == b"trak").map(|(_, trak)| trak);
        tracks.find(|trak| header(trak).is_some_and(|(_, of, _)| of == id))
    }
}

/// The geometry of a track, which GStreamer names by its id.
pub fn of(source: &Path, stream_id: &str) -> Option<Geometry> {
    geometry(Movie::of(source).track(stream_id)?)
}

/// The `tkhd` box, its `track_ID`, and where its matrix is.
fn header(trak: &[u8]) -> Option<(&[u8], u32, usize)> {
    let header = child(trak, b"tkhd")?;
    // Version 1 has three times of eight bytes instead of four.
    let (id, matrix) = if header.first() == Some(&1) { (20, 52) } else { (12, 40) };
    Some((header, int(header, id)?.cast_unsigned(), matrix))
}

fn geometry(trak: &[u8]) -> Option<Geometry> {
    let (header, id, matrix) = header(trak)?;
    let field = |n: usize| int(header, matrix + 4 * n);
    let rotation = rotation([field(0)?, field(1)?, field(3)?, field(4)?]);
    let aperture = [b"mdia", b"minf", b"stbl", b"stsd"].into_iter().try_fold(trak, child).and_then(aperture);
    Some(Geometry { id, rotation, aperture })
}

/// The turn or reflection of a matrix whose rows are `a b` and `c d`: it takes (x, y) to (ax + cy, bx + dy), and y points
/// down. A turn by any other angle is rounded to the quarter, so that the picture is nearly upright.
fn rotation([a, b, c, d]: [i32; 4]) -> Rotation {
    let (turned, upright) = (b.unsigned_abs().max(c.unsigned_abs()), a.unsigned_abs().max(d.unsigned_abs()));
    match (turned > upright, a < 0, b < 0, c < 0, d < 0) {
        (false, false, _, _, false) => Rotation::None,
        (false, true, _, _, true) => Rotation::Half,
        (false, true, _, _, false) => Rotation::Mirror,
        (false, false, _, _, true) => Rotation::Flip,
        (true, _, false, true, _) => Rotation::Clockwise,
        (true, _, true, false, _) => Rotation::CounterClockwise,
        (true, _, false, false, _) => Rotation::Transpose,
        (true, _, true, true, _) => Rotation::AntiTranspose,
    }
}

fn aperture(stsd: &[u8]) -> Option<Aperture> {
    let (_, entry) = boxes(stsd.get(8..)?).next()?;
    let clap = child(entry.get(VISUAL_ENTRY_BYTES..)?, b"clap")?;
    let fraction = |n: usize| Some((i64::from(int(clap, 8 * n)?), i64::from(int(clap, 8 * n + 4)?)));
    let aperture = Aperture { width: fraction(0)?, height: fraction(1)?, right: fraction(2)?, down: fraction(3)? };
    let denominators = [aperture.width.1, aperture.height.1, aperture.right.1, aperture.down.1];
    denominators.iter().all(|&d| d > 0).then_some(aperture)
}

impl Aperture {
    /// The part of a picture of this size that is shown, or `None` for all of it and for what does not lie in it. Rounded to
    /// whole pixels, and to even ones at the left and the top, where chroma begins.
    pub fn crop(&self, (width, height): (u32, u32)) -> Option<Crop> {
        let (left, columns) = side(width, self.width, self.right)?;
        let (top, rows) = side(height, self.height, self.down)?;
        let crop = Crop { left, top, width: columns, height: rows };
        ((columns, rows) != (width, height)).then_some(crop)
    }
}

/// First pixel and number of pixels along one side.
fn side(whole: u32, (length, length_unit): (i64, i64), (offset, offset_unit): (i64, i64)) -> Option<(u32, u32)> {
    let kept = u32::try_from(length / length_unit).ok().filter(|&kept| kept > 0 && kept <= whole)?;
    let left = i64::from(whole - kept) / 2 + offset / offset_unit;
    let left = u32::try_from(left).ok()? & !1;
    (left.checked_add(kept)? <= whole).then_some((left, kept))
}

/// The boxes in a body; ends at the first that is cut off.
pub(super) fn boxes(mut body: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let size = int(body, 0)?.cast_unsigned() as usize;
        let kind = *body.get(4..)?.first_chunk()?;
        let content = body.get(8..size)?;
        body = &body[size..];
        Some((kind, content))
    })
}

pub(super) fn child<'a>(body: &'a [u8], wanted: &[u8; 4]) -> Option<&'a [u8]> {
    boxes(body).find(|(kind, _)| kind == wanted).map(|(_, content)| content)
}

pub(super) fn int(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..)?.first_chunk().map(|b| i32::from_be_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_one_of_eight_ways_to_hold_a_picture() {
        const ONE: i32 = 1 << 16;
        let ways = [
            ([ONE, 0, 0, ONE], Rotation::None),
            ([0, ONE, -ONE, 0], Rotation::Clockwise),
            ([-ONE, 0, 0, -ONE], Rotation::Half),
            ([0, -ONE, ONE, 0], Rotation::CounterClockwise),
            ([-ONE, 0, 0, ONE], Rotation::Mirror),
            ([ONE, 0, 0, -ONE], Rotation::Flip),
            ([0, ONE, ONE, 0], Rotation::Transpose),
            ([0, -ONE, -ONE, 0], Rotation::AntiTranspose),
            // Half a degree off, as some telephones write, and nothing at all.
            ([571, 65_533, -65_533, 571], Rotation::Clockwise),
            ([0; 4], Rotation::None),
            ([i32::MIN, i32::MAX, i32::MIN, i32::MIN], Rotation::Half),
        ];
        for (matrix, way) in ways {
            assert_eq!(rotation(matrix), way, "{matrix:?}");
        }
    }

    #[test]
    fn an_aperture_that_does_not_lie_in_the_picture_is_ignored() {
        let aperture = |width, right| Aperture { width, height: (1080, 1), right, down: (-8, 2) };
        let crop = aperture((1916, 1), (2, 1)).crop((1920, 1088));
        assert_eq!(crop, Some(Crop { left: 4, top: 0, width: 1916, height: 1080 }));
        assert_eq!(aperture((1920, 1), (2, 1)).crop((1920, 1088)), None, "it ends beyond the picture");
        assert_eq!(aperture((-4, 1), (0, 1)).crop((1920, 1088)), None);
        let whole = Aperture { width: (640, 1), height: (360, 1), right: (0, 1), down: (0, 1) };
        assert_eq!(whole.crop((640, 360)), None);
    }
}
