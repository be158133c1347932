//! What a Matroska file says of a track that GStreamer's demuxer does not know: its codec, as of WebVTT, and of `V_QUICKTIME`
//! the QuickTime sample description in `CodecPrivate` (RFC 9559 §5.1.4.1 and the codec mappings of Matroska). Only the track
//! headers are read.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The track headers lie within this many bytes of the start; a file that has them later stays unknown.
const MOST_HEADER_BYTES: u64 = 1 << 20;

/// Element ids, RFC 8794 §17 and RFC 9559 §27.1.
pub(super) const EBML: u32 = 0x1A45_DFA3;
pub(super) const SEGMENT: u32 = 0x1853_8067;
pub(super) const TRACKS: u32 = 0x1654_AE6B;
pub(super) const TRACK_ENTRY: u32 = 0xAE;
pub(super) const TRACK_NUMBER: u32 = 0xD7;
const CODEC_ID: u32 = 0x86;
const CODEC_PRIVATE: u32 = 0x63A2;
const VIDEO: u32 = 0xE0;
const BLOCK_ADDITION_MAPPING: u32 = 0x41E4;
const BLOCK_ADD_ID_TYPE: u32 = 0x41E7;
const BLOCK_ADD_ID_EXTRA_DATA: u32 = 0x41ED;
const PIXEL_WIDTH: u32 = 0xB0;
const PIXEL_HEIGHT: u32 = 0xBA;

/// Caps of the first `V_QUICKTIME` track, if its code is one we know a decoder's media type for.
pub fn quicktime_caps(source: &Path) -> Option<gst::Caps> {
    let head = beginning(source)?;
    let entry = entries(&head)?.find(|entry| child(entry, CODEC_ID) == Some(b"V_QUICKTIME"))?;
    let video = child(entry, VIDEO)?;
    let side = |id| child(video, id).and_then(unsigned).and_then(|n| i32::try_from(n).ok());
    // A sample description is its size, its code and more; some muxers write the code alone.
    let private = child(entry, CODEC_PRIVATE)?;
    let code = private.get(4..8).or(private.get(..4))?;
    let media_type = match code {
        b"cvid" => "video/x-cinepak",
        b"SVQ1" | b"SVQ3" => "video/x-svq",
        b"rpza" => "video/x-apple-video",
        b"jpeg" => "image/jpeg",
        _ => return None,
    };
    let mut caps =
        gst::Caps::builder(media_type).field("width", side(PIXEL_WIDTH)?).field("height", side(PIXEL_HEIGHT)?);
    if let [b'S', b'V', b'Q', version] = code {
        caps = caps.field("svqversion", i32::from(version - b'0'));
    }
    Some(caps.build())
}

/// The `CodecID` of the track that the demuxer gives this stream id, which begins with the track's number.
pub fn codec_id(source: &Path, stream_id: &str) -> Option<String> {
    // Zeros may follow it (RFC 8794 §7.4).
    let text = |id: &[u8]| Some(str::from_utf8(id).ok()?.trim_end_matches('\0').to_owned());
    of_entry(source, stream_id, |entry| text(child(entry, CODEC_ID)?))
}

/// Something that the description of such a track says.
fn of_entry<T>(source: &Path, stream_id: &str, what: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    let number: u64 = stream_id.split(':').next()?.parse().ok()?;
    let head = beginning(source)?;
    what(entries(&head)?.find(|entry| child(entry, TRACK_NUMBER).and_then(unsigned) == Some(number))?)
}

/// The `CodecPrivate` of such a track.
pub fn codec_private(source: &Path, stream_id: &str) -> Option<Vec<u8>> {
    of_entry(source, stream_id, |entry| child(entry, CODEC_PRIVATE).map(<[u8]>::to_vec))
}

/// The configuration record of Dolby Vision of such a track (RFC 9559 §5.1.4.1.17, and the mapping of its types).
pub fn dolby_vision(source: &Path, stream_id: &str) -> Option<Vec<u8>> {
    let is_record = |mapping: &&[u8]| {
        let kind = child(mapping, BLOCK_ADD_ID_TYPE).and_then(unsigned).and_then(|kind| u32::try_from(kind).ok());
        kind.is_some_and(|kind| [b"dvcC", b"dvvC", b"dvwC"].contains(&&kind.to_be_bytes()))
    };
    of_entry(source, stream_id, |entry| {
        let mut mappings = children(entry).filter(|(id, _)| *id == BLOCK_ADDITION_MAPPING).map(|(_, body)| body);
        child(mappings.find(is_record)?, BLOCK_ADD_ID_EXTRA_DATA).map(<[u8]>::to_vec)
    })
}

/// As much of a file as its track headers take.
fn beginning(source: &Path) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    File::open(source).ok()?.take(MOST_HEADER_BYTES).read_to_end(&mut head).ok()?;
    Some(head)
}

/// The descriptions of tracks.
fn entries(head: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let (id, _, rest) = element(head)?;
    let (segment, body, _) = element(rest).filter(|_| id == EBML)?;
    let tracks = child(body, TRACKS).filter(|_| segment == SEGMENT)?;
    Some(children(tracks).filter(|(id, _)| *id == TRACK_ENTRY).map(|(_, body)| body))
}

/// What the head of an element says that some bytes begin with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub id: u32,
    /// Bytes of the head itself.
    pub length: usize,
    /// Bytes of the body; more than any file has where it is not known.
    pub body: u64,
}

/// Longest head of an element, bytes.
pub(super) const MOST_HEAD_BYTES: usize = 12;

pub(super) fn head(bytes: &[u8]) -> Option<Head> {
    let first = *bytes.first()?;
    let id_length = first.leading_zeros() as usize + 1;
    let id = bytes.get(..id_length).filter(|_| id_length <= 4)?;
    let id = id.iter().fold(0, |n, b| n << 8 | u32::from(*b));
    let bytes = &bytes[id_length..];
    let size_length = bytes.first()?.leading_zeros() as usize + 1;
    let coded = bytes.get(..size_length).filter(|_| size_length <= 8)?;
    let marker = 1_u64 << (7 * size_length);
    let body = coded.iter().fold(0, |n, b| n << 8 | u64::from(*b)) & (marker - 1);
    Some(Head { id, length: id_length + size_length, body: if body == marker - 1 { u64::MAX } else { body } })
}

/// The first element of some bytes: id, body and what follows. A body that claims to reach past the end is cut there.
pub(super) fn element(bytes: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let head = head(bytes)?;
    let body = &bytes[head.length..];
    let end = usize::try_from(head.body).unwrap_or(usize::MAX).min(body.len());
    Some((head.id, &body[..end], &body[end..]))
}

pub(super) fn children(mut bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let (id, body, rest) = element(bytes)?;
        bytes = rest;
        Some((id, body))
    })
}

pub(super) fn child(bytes: &[u8], wanted: u32) -> Option<&[u8]> {
    children(bytes).find(|(id, _)| *id == wanted).map(|(_, body)| body)
}

pub(super) fn unsigned(bytes: &[u8]) -> Option<u64> {
    (bytes.len() <= 8).then(|| bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_element_of_unknown_size_reaches_to_the_end() {
        let bytes = [0x18, 0x53, 0x80, 0x67, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xB0, 0x81, 64];
        let (id, body, rest) = element(&bytes).unwrap();
        assert_eq!((id, rest), (SEGMENT, &[][..]));
        assert_eq!(child(body, PIXEL_WIDTH).and_then(unsigned), Some(64));
    }

    proptest! {
        #[test]
        fn any_bytes_are_elements_or_none_but_never_a_panic(bytes: Vec<u8>) {
            let _ = children(&bytes).map(|(_, body)| children(body).count()).sum::<usize>();
        }
    }
}
