//! Dolby Vision that no other decoder can show: of some profiles the pictures themselves are in a colour space of their own, and
//! what a decoder of H.265 makes of them is green and violet. The configuration record says so ("Dolby Vision Streams Within
//! the ISO Base Media File Format" 2.1, §3.2), in a box of the sample entry, or in Matroska's `BlockAdditionMapping`.

use std::path::Path;

use super::geometry::{Movie, VISUAL_ENTRY_BYTES, boxes, child};
use super::matroska;
use crate::media::{Refusal, RefusalCode};

/// What speaks against a track: nothing but a decoder of Dolby Vision shows its pictures right.
pub fn fault(source: &Path, stream_id: &str) -> Option<Refusal> {
    let movie = Movie::of(source);
    let record = movie.track(stream_id).and_then(in_movie).or_else(|| matroska::dolby_vision(source, stream_id))?;
    let message = format!(
        "the pictures are Dolby Vision of profile {}, whose colours no other decoder can show: convert the file",
        alone(&record)?
    );
    Some(Refusal { code: RefusalCode::UnsupportedCodec, message })
}

fn in_movie(trak: &[u8]) -> Option<Vec<u8>> {
    let stsd = [b"mdia", b"minf", b"stbl", b"stsd"].into_iter().try_fold(trak, child)?;
    let (_, entry) = boxes(stsd.get(8..)?).next()?;
    let inner = entry.get(VISUAL_ENTRY_BYTES..)?;
    [b"dvcC", b"dvvC", b"dvwC"].into_iter().find_map(|kind| child(inner, kind)).map(<[u8]>::to_vec)
}

/// Its profile, of a record that names no other format which its base layer is in.
fn alone(record: &[u8]) -> Option<u8> {
    let profile = record.get(2)? >> 1;
    // `dv_bl_signal_compatibility_id`, which old records of other profiles lack.
    let fits_others = record.get(4)? >> 4 != 0;
    matches!(profile, 5 | 10).then_some(profile).filter(|_| !fits_others)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sized(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        [&u32::try_from(8 + body.len()).unwrap().to_be_bytes()[..], kind, body].concat()
    }

    /// A record: version, profile and level, flags, and the compatibility.
    fn record(profile: u8, compatibility: u8) -> Vec<u8> {
        [&[1, 0, profile << 1, 0x35, compatibility << 4][..], &[0; 19]].concat()
    }

    #[test]
    fn only_profiles_whose_pictures_nobody_else_understands_are_found() {
        for (profile, compatibility, alone_is) in
            [(5, 0, Some(5)), (7, 6, None), (8, 1, None), (8, 4, None), (8, 0, None), (10, 0, Some(10)), (10, 1, None)]
        {
            let entry =
                [vec![0; VISUAL_ENTRY_BYTES], sized(b"hvcC", &[1]), sized(b"dvcC", &record(profile, compatibility))];
            let stsd = sized(b"stsd", &[vec![0; 8], sized(b"dvh1", &entry.concat())].concat());
            let trak = [b"stbl", b"minf", b"mdia"].into_iter().fold(stsd, |body, kind| sized(kind, &body));
            assert_eq!(alone(&in_movie(&trak).unwrap()), alone_is, "{profile}.{compatibility}");
        }
        assert_eq!(in_movie(&sized(b"mdia", &[])), None);
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_profile_or_none(noise: Vec<u8>, has_entry: bool) {
            let entry = if has_entry { [vec![0; VISUAL_ENTRY_BYTES], noise].concat() } else { noise };
            let stsd = sized(b"stsd", &[vec![0; 8], sized(b"dvh1", &entry)].concat());
            let trak = [b"stbl", b"minf", b"mdia"].into_iter().fold(stsd, |body, kind| sized(kind, &body));
            let _ = in_movie(&trak).as_deref().and_then(alone);
        }
    }
}
