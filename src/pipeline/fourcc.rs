//! Codecs that a container names by four characters which GStreamer's demuxers (1.22) do not know, although a decoder of theirs
//! takes the pictures: what these are called there. Others get at least a name of their own, so that a refusal can say it.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::matroska;

/// The headers of an AVI file lie within this many bytes of its start, unless it has no end of tracks.
const MOST_HEADER_BYTES: u64 = 1 << 20;
/// Bytes of a `BITMAPINFOHEADER`, behind which lies what the decoder needs to know.
const BITMAP_HEADER_BYTES: usize = 40;

/// GStreamer's media type and, of pictures that are not coded, their format. Of the last ones none has a decoder: those of
/// libav that have no media type (`unknown/unknown`) ask for the four characters, which nothing can tell them.
const CODES: [(&[u8], &str, Option<&str>); 21] = [
    (b"FFVH", "video/x-gst-av-ffvhuff", None),
    (b"LAGS", "video/x-lagarith", None),
    (b"FPS1", "video/x-fraps", None),
    (b"VP90", "video/x-vp9", None),
    (b"AVdh", "video/x-dnxhd", None),
    (b"AVdn", "video/x-dnxhd", None),
    (b"yuvs", "video/x-raw", Some("YUY2")),
    (b"ULRG", UT_VIDEO, None),
    (b"ULRA", UT_VIDEO, None),
    (b"ULY", UT_VIDEO, None),
    (b"ULH", UT_VIDEO, None),
    (b"UQ", UT_VIDEO, None),
    (b"UM", UT_VIDEO, None),
    (b"MAGY", MAGIC_YUV, None),
    (b"M8", MAGIC_YUV, None),
    (b"M0", MAGIC_YUV, None),
    (b"Hap1", HAP, None),
    (b"Hap5", HAP, None),
    (b"HapY", HAP, None),
    (b"HapM", HAP, None),
    (b"SNOW", "video/x-snow", None),
];
const UT_VIDEO: &str = "video/x-utvideo";
const MAGIC_YUV: &str = "video/x-magicyuv";
const HAP: &str = "video/x-hap";

/// Caps of a track as its decoder wants them, or as they were.
pub fn understood(source: &Path, stream_id: &str, caps: gst::Caps) -> gst::Caps {
    let better = caps.structure(0).and_then(|structure| match structure.name().as_str() {
        "video/x-avi-unknown" => {
            let code = code(structure)?;
            Some(with_header(&code, avi_header(&beginning(source)?, stream_id)?))
        }
        "video/x-unknown" => {
            let code = code(structure)?;
            Some(with_header(&code, &matroska::codec_private(source, stream_id)?))
        }
        name => {
            let (media_type, format) = known(name.strip_prefix("video/x-gst-fourcc-")?.as_bytes())?;
            let mut renamed = caps.clone();
            let structure = renamed.make_mut().structure_mut(0)?;
            structure.set_name(media_type);
            if let Some(format) = format {
                structure.set("format", format);
            }
            Some(Some(renamed))
        }
    });
    better.flatten().unwrap_or(caps)
}

/// The four characters, which AVI's demuxer gives as a number and Matroska's as text.
pub fn code(structure: &gst::StructureRef) -> Option<Vec<u8>> {
    let text = || structure.get::<String>("fourcc").ok().map(String::into_bytes);
    structure.get::<i32>("fourcc").ok().map(|code| code.to_le_bytes().to_vec()).or_else(text)
}

fn known(code: &[u8]) -> Option<(&'static str, Option<&'static str>)> {
    CODES.iter().find(|(begin, ..)| code.starts_with(begin)).map(|(_, media_type, format)| (*media_type, *format))
}

/// Caps of a code with what a `BITMAPINFOHEADER` says.
fn with_header(code: &[u8], header: &[u8]) -> Option<gst::Caps> {
    let (media_type, _) = known(code).filter(|(_, format)| format.is_none())?;
    // Pictures that are stored from the top to the bottom have a negative height.
    let side = |at: usize| Some(i32::from_le_bytes(*header.get(at..)?.first_chunk()?).saturating_abs());
    let mut caps = gst::Caps::builder(media_type).field("width", side(4)?).field("height", side(8)?);
    if let Some(more) = header.get(BITMAP_HEADER_BYTES..).filter(|more| !more.is_empty()) {
        caps = caps.field("codec_data", gst::Buffer::from_slice(more.to_vec()));
    }
    Some(caps.build())
}

fn beginning(source: &Path) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    File::open(source).ok()?.take(MOST_HEADER_BYTES).read_to_end(&mut head).ok()?;
    Some(head)
}

/// The `strf` chunk of a track, which GStreamer names by its number, from one on.
fn avi_header<'a>(head: &'a [u8], stream_id: &str) -> Option<&'a [u8]> {
    let number = stream_id.parse::<usize>().ok()?.checked_sub(1)?;
    let list = |body: &'a [u8], kind: &'static [u8; 4]| {
        chunks(body).filter(move |(id, body)| *id == b"LIST" && body.starts_with(kind)).map(|(_, body)| &body[4..])
    };
    let headers = list(head.get(12..).filter(|_| head.starts_with(b"RIFF"))?, b"hdrl").next()?;
    let stream = list(headers, b"strl").nth(number)?;
    chunks(stream).find(|(id, _)| *id == b"strf").map(|(_, body)| body)
}

/// The chunks of some bytes: identifier and body, which may be cut short. They begin at even places.
fn chunks(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (id, rest) = bytes.split_at_checked(4)?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = u32::from_le_bytes(*length) as usize;
        let body = &rest[..length.min(rest.len())];
        bytes = rest.get(length.checked_next_multiple_of(2)?..).unwrap_or_default();
        Some((id, body))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunk(id: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let padding = vec![0; body.len() % 2];
        [&id[..], &u32::try_from(body.len()).unwrap().to_le_bytes(), body, &padding].concat()
    }

    /// The header of a film of sound, and of pictures 64 wide and 32 high with an odd number of bytes behind their header.
    fn film(code: &[u8; 4]) -> Vec<u8> {
        let sides = [40_i32, 64, -32].map(i32::to_le_bytes).concat();
        let format = [&sides[..], &[1, 0, 24, 0], code, &[0; 20], &[7, 8, 9]].concat();
        let sound = [&b"strl"[..], &chunk(b"strh", b"auds!"), &chunk(b"strf", &[1, 0])].concat();
        let pictures = [&b"strl"[..], &chunk(b"strh", b"vids"), &chunk(b"strf", &format)].concat();
        let headers =
            [&b"hdrl"[..], &chunk(b"avih", &[0; 56]), &chunk(b"LIST", &sound), &chunk(b"LIST", &pictures)].concat();
        chunk(b"RIFF", &[&b"AVI "[..], &chunk(b"JUNK", &[1]), &chunk(b"LIST", &headers)].concat())
    }

    #[test]
    fn codes_that_a_demuxer_passes_on_become_what_a_decoder_takes() {
        gst::init().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        for (code, media_type) in [(b"FFVH", "video/x-gst-av-ffvhuff"), (b"ULY0", "video/x-utvideo")] {
            std::fs::write(file.path(), film(code)).unwrap();
            let caps = gst::Caps::builder("video/x-avi-unknown").field("fourcc", i32::from_le_bytes(*code)).build();
            let caps = understood(file.path(), "002", caps);
            let wanted = format!("{media_type}, width=(int)64, height=(int)32, codec_data=(buffer)070809");
            assert_eq!(caps, wanted.parse::<gst::Caps>().unwrap());
        }
        for (as_it_was, wanted) in [
            ("video/x-avi-unknown, fourcc=(int)1", None),
            ("video/x-gst-fourcc-what", None),
            ("video/x-h264", None),
            ("video/x-gst-fourcc-AVdh, width=(int)9", Some("video/x-dnxhd, width=(int)9")),
            ("video/x-gst-fourcc-yuvs", Some("video/x-raw, format=(string)YUY2")),
        ] {
            let caps = understood(file.path(), "002", as_it_was.parse().unwrap());
            assert_eq!(caps, wanted.unwrap_or(as_it_was).parse::<gst::Caps>().unwrap());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_header_or_none(noise: Vec<u8>, cut in 0..400_usize) {
            let mut film = film(b"LAGS");
            film.truncate(cut);
            film.extend(noise);
            let _ = avi_header(&film, "002").and_then(|header| with_header(b"LAGS", header));
        }
    }
}
