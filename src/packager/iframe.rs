//! The picture a segment begins with, as a segment of its own: what a player scrubs with.

use bytes::Bytes;
use mp4_atom::{Any, DecodeMaybe, Moof};

use crate::media::{Grid, Sample};

use super::{Chunker, Error};

/// Carves the first picture out of what is there of a segment; `None` if that is not enough yet. The picture is shown
/// for as long as the segment lasts.
///
/// # Errors
/// [`Error::NoSegment`] past the end of the grid, [`Error::Foreign`] for bytes that [`Chunker`] did not write.
pub fn iframe(grid: &Grid, number: u32, segment: &[u8]) -> Result<Option<Bytes>, Error> {
    let past_end = Error::NoSegment { number, segments: grid.segments() };
    let (from, to) = grid.segment(number).ok_or(past_end)?;
    let mut rest = segment;
    loop {
        let moof_at = segment.len() - rest.len();
        match Any::decode_maybe(&mut rest).map_err(|error| Error::Box(error.to_string()))? {
            None => return Ok(None),
            Some(Any::Moof(moof)) => {
                let (offset, size) = first_sample(&moof).ok_or(Error::Foreign)?;
                let start = moof_at.checked_add(offset).ok_or(Error::Foreign)?;
                let Some(end) = start.checked_add(size).filter(|end| *end <= segment.len()) else { return Ok(None) };
                // One that stands for longer than can be said is shown until the next all the same.
                let duration = u32::try_from(to.at - from.at).unwrap_or(u32::MAX);
                let picture =
                    Sample { duration, composition: 0, sync: true, data: Bytes::copy_from_slice(&segment[start..end]) };
                return Ok(Chunker::new(number, from.at, 1).push(picture));
            }
            Some(_) => {}
        }
    }
}

/// Where it begins, counted from the `moof`, and how long it is.
fn first_sample(moof: &Moof) -> Option<(usize, usize)> {
    let run = moof.traf.first()?.trun.first()?;
    let entry = run.samples.iter().next()?;
    Some((usize::try_from(run.data_offset?).ok()?, usize::try_from(entry.size?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{boxes, one_segment};
    use super::*;

    fn segment(sizes: &[usize], chunk_ticks: u64) -> Bytes {
        let mut chunker = Chunker::new(0, 90, chunk_ticks);
        let sample = |(i, &size): (usize, &usize)| Sample {
            duration: 512,
            composition: if i == 1 { 512 } else { 0 },
            sync: i == 0,
            data: vec![u8::try_from(i).unwrap(); size].into(),
        };
        let samples: Vec<Sample> = sizes.iter().enumerate().map(sample).collect();
        let mut made: Vec<Bytes> = samples.into_iter().filter_map(|s| chunker.push(s)).collect();
        made.extend(chunker.finish());
        made.concat().into()
    }

    #[test]
    fn an_iframe_is_the_first_picture_alone_and_lasts_as_long_as_the_segment() {
        let grid = one_segment(12_800, 90, 4, 2048);
        for chunk_ticks in [1, 1024, 1 << 40] {
            let carved = iframe(&grid, 0, &segment(&[300, 20, 30, 40], chunk_ticks)).unwrap().unwrap();
            let mut rest = &carved[..];
            let mut atoms = Vec::new();
            while let Some(atom) = Any::decode_maybe(&mut rest).unwrap() {
                atoms.push(atom);
            }
            let [Any::Styp(_), Any::Moof(moof), Any::Mdat(mdat)] = &atoms[..] else { panic!("{atoms:?}") };
            assert_eq!(mdat.data, vec![0; 300]);
            let traf = &moof.traf[0];
            assert_eq!(traf.tfdt.as_ref().unwrap().base_media_decode_time, 90);
            assert_eq!((traf.trun[0].samples.len(), traf.tfhd.default_sample_duration), (1, Some(2048)));
        }
    }

    #[test]
    fn it_is_carved_as_soon_as_its_last_byte_is_there_and_the_same_from_the_whole() {
        let grid = one_segment(12_800, 90, 2, 1024);
        let whole = segment(&[300, 20], 1 << 40);
        let needed = whole.len() - 20;
        for length in 0..whole.len() {
            let early = iframe(&grid, 0, &whole[..length]).unwrap();
            assert_eq!(early.is_some(), length >= needed, "{length} bytes");
            assert!(early.is_none_or(|early| Some(early) == iframe(&grid, 0, &whole).unwrap()));
        }
    }

    #[test]
    fn a_picture_that_stands_for_longer_than_can_be_said_is_carved_too() {
        let grid = one_segment(100_000_000, 90, 2, 1 << 40);
        let carved = iframe(&grid, 0, &segment(&[300, 20], 1)).unwrap().unwrap();
        let Some(Any::Moof(moof)) = boxes_of(&carved).into_iter().nth(1) else { panic!("no moof") };
        assert_eq!(moof.traf[0].tfhd.default_sample_duration, Some(u32::MAX));
    }

    fn boxes_of(mut bytes: &[u8]) -> Vec<Any> {
        std::iter::from_fn(|| Any::decode_maybe(&mut bytes).unwrap()).collect()
    }

    #[test]
    fn what_is_no_segment_is_an_error_and_never_a_panic() {
        let grid = one_segment(12_800, 90, 2, 1024);
        let whole = segment(&[300, 20], 1 << 40);
        assert_eq!(iframe(&grid, 1, &whole), Err(Error::NoSegment { number: 1, segments: 1 }));
        for at in 0..whole.len() - 320 {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = whole.to_vec();
                damaged[at] = value;
                if let Ok(Some(carved)) = iframe(&grid, 0, &damaged) {
                    boxes(&carved);
                }
            }
        }
    }
}
