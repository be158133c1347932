//! What QuickTime's sound descriptions say and GStreamer 1.22 passes over.

use super::geometry::{Movie, boxes, child, int};

/// Bytes of a `SoundDescription` before its boxes, by its version.
const SOUND_ENTRY_BYTES: [usize; 3] = [28, 44, 64];

/// True if a track's uncompressed sound is in floating point with the low byte first (`enda`, QuickTime File Format,
/// "Sound Sample Description Extensions"). Read the other way round it is noise.
pub fn has_little_endian_floats(movie: &Movie, stream_id: &str) -> bool {
    movie.track(stream_id).and_then(little_endian_floats) == Some(true)
}

fn little_endian_floats(trak: &[u8]) -> Option<bool> {
    let stsd = [b"mdia", b"minf", b"stbl", b"stsd"].into_iter().try_fold(trak, child)?;
    let (kind, entry) = boxes(stsd.get(8..)?).next()?;
    let version = usize::from(u16::from_be_bytes(*entry.get(8..)?.first_chunk()?));
    let wave = child(entry.get(*SOUND_ENTRY_BYTES.get(version)?..)?, b"wave")?;
    let enda = child(wave, b"enda")?;
    Some(matches!(&kind, b"fl32" | b"fl64") && int(&[&[0; 2], enda].concat(), 0)? != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sized(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        [&u32::try_from(8 + body.len()).unwrap().to_be_bytes()[..], kind, body].concat()
    }

    #[test]
    fn the_byte_order_of_floats_is_found_in_descriptions_of_every_version() {
        for (version, length) in (0_u8..).zip(SOUND_ENTRY_BYTES) {
            for (kind, order, is_little) in
                [(b"fl32", 1, true), (b"fl64", 1, true), (b"fl32", 0, false), (b"in24", 1, false)]
            {
                let mut entry = vec![0; length];
                entry[9] = version;
                entry.extend(sized(b"wave", &[sized(b"frma", kind), sized(b"enda", &[0, order])].concat()));
                let stsd = sized(b"stsd", &[vec![0; 8], sized(kind, &entry)].concat());
                let trak = [b"stbl", b"minf", b"mdia"].into_iter().fold(stsd, |body, kind| sized(kind, &body));
                assert_eq!(little_endian_floats(&trak), Some(is_little), "{kind:?} {version}");
            }
        }
        assert_eq!(little_endian_floats(&sized(b"mdia", &[])), None);
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_order_or_none(noise: Vec<u8>, version: u8, depth in 0..4_usize) {
            let mut entry = vec![0; 28];
            entry[9] = version % 4;
            entry.extend(if depth > 0 { sized(b"wave", &sized(b"enda", &noise)) } else { noise.clone() });
            let entry = if depth > 1 { sized(b"fl32", &entry) } else { noise };
            let stsd = sized(b"stsd", &[vec![0; 8], entry].concat());
            let boxes = [b"stbl", b"minf", b"mdia"].into_iter().take(depth.max(1) + 2);
            let _ = little_endian_floats(&boxes.fold(stsd, |body, kind| sized(kind, &body)));
        }
    }
}
