//! The duration of the whole movie in an MP4 file (`mvhd`, ISO/IEC 14496-12 §8.2.2), which GStreamer's demuxer does not see
//! where it would leave out a track because of it: one that lasts for less than a fifth of it, "a preview image or something".

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use super::mp4;

/// A track that lasts for less than so many tenths of the movie is left out.
const LEAST_TENTHS: u128 = 2;
/// Where the duration lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    at: u64,
    bytes: usize,
}

/// What `mvhd` and `mdhd` say.
struct Header {
    timescale: u32,
    duration: u64,
    place: Place,
}

impl Place {
    /// If the file has one that is better not seen.
    pub fn of(file: &File) -> Option<Self> {
        let length = file.metadata().ok()?.len();
        let moov = find(file, mp4::find_moov(&mut &*file, length)?, *b"moov").next()?;
        let movie = header(file, find(file, moov.clone(), *b"mvhd").next()?)?;
        let mut tracks = find(file, moov, *b"trak").filter_map(|trak| {
            let media = find(file, trak, *b"mdia").next()?;
            header(file, find(file, media, *b"mdhd").next()?)
        });
        let is_short = |track: Header| {
            let ticks = |header: &Header, of: &Header| u128::from(header.duration) * u128::from(of.timescale);
            10 * ticks(&track, &movie) < LEAST_TENTHS * ticks(&movie, &track)
        };
        tracks.any(is_short).then_some(movie.place)
    }

    /// Makes it zero, which stands for unknown, in a piece of the file from `offset` on.
    pub fn hide(self, offset: u64, piece: &mut [u8]) {
        for at in self.at..self.at + self.bytes as u64 {
            let place = at.checked_sub(offset).and_then(|at| usize::try_from(at).ok());
            if let Some(byte) = place.and_then(|at| piece.get_mut(at)) {
                *byte = 0;
            }
        }
    }
}

/// Bodies of the boxes of a kind that follow each other in a part of the file.
fn find(file: &File, part: Range<u64>, kind: [u8; 4]) -> impl Iterator<Item = Range<u64>> {
    let mut at = part.start;
    let next = move || {
        let word: [u8; 4] = read(file, at)?;
        let (size, header) = match u32::from_be_bytes(word) {
            1 => (u64::from_be_bytes(read(file, at + 8)?), 16),
            size => (u64::from(size), 8),
        };
        let body = at + header..at.checked_add(size).filter(|end| size >= header && *end <= part.end)?;
        let found = read::<4>(file, at + 4)?;
        at = body.end;
        Some((found, body))
    };
    std::iter::from_fn(next).filter_map(move |(found, body)| (found == kind).then_some(body))
}

fn header(file: &File, body: Range<u64>) -> Option<Header> {
    let [version] = read(file, body.start)?;
    let (scale, bytes) = if version == 1 { (body.start + 20, 8) } else { (body.start + 12, 4) };
    let place = Place { at: scale + 4, bytes };
    let duration = match bytes {
        8 => u64::from_be_bytes(read(file, place.at)?),
        _ => u32::from_be_bytes(read(file, place.at)?).into(),
    };
    (place.at + bytes as u64 <= body.end).then_some(Header {
        timescale: u32::from_be_bytes(read(file, scale)?),
        duration,
        place,
    })
}

fn read<const N: usize>(file: &File, at: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, at).ok().map(|()| bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn boxed(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        [&u32::try_from(8 + body.len()).unwrap().to_be_bytes()[..], kind, body].concat()
    }

    /// Version, flags, times, timescale and duration.
    fn timed(kind: &[u8; 4], long: bool, timescale: u32, duration: u32) -> Vec<u8> {
        let (times, wide) = if long { (16, &[0; 4][..]) } else { (8, &[][..]) };
        let start = [u8::from(long), 0, 0, 0];
        let body = [&start[..], &vec![7; times], &timescale.to_be_bytes(), wide, &duration.to_be_bytes(), &[9; 8]];
        boxed(kind, &body.concat())
    }

    #[test]
    fn the_duration_is_hidden_where_a_track_is_much_shorter_and_only_there() {
        for (long, seconds, is_hidden) in [(false, 20, true), (true, 20, true), (false, 15, false), (false, 0, false)] {
            let media =
                |duration: u32| boxed(b"trak", &boxed(b"mdia", &timed(b"mdhd", false, 48_000, 48_000 * duration)));
            let moov = [timed(b"mvhd", long, 1000, 1000 * seconds), media(20), media(3)].concat();
            let bytes = [boxed(b"ftyp", b"isom"), boxed(b"moov", &moov)].concat();
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&bytes).unwrap();
            let found = Place::of(file.as_file());
            assert_eq!(found.is_some(), is_hidden, "{seconds} s");
            if let Some(duration) = found {
                let mut hidden = bytes.clone();
                // In pieces, one of which begins within it.
                let cut = usize::try_from(duration.at).unwrap() + 1;
                duration.hide(0, &mut hidden[..cut]);
                duration.hide(cut as u64, &mut hidden[cut..]);
                let changed: Vec<usize> = (0..bytes.len()).filter(|n| bytes[*n] != hidden[*n]).collect();
                assert!(!changed.is_empty() && changed.iter().all(|n| bytes[*n] != 7 && bytes[*n] != 9), "{changed:?}");
                let mut file = tempfile::NamedTempFile::new().unwrap();
                file.write_all(&hidden).unwrap();
                assert_eq!(Place::of(file.as_file()), None);
            }
        }
    }
}
