//! What a demuxer complains of, as a reason that a user understands.

use crate::media::{Refusal, RefusalCode};

/// What GStreamer calls files that hold no media and say where it is: HLS, DASH, Smooth Streaming, SDP, SMIL and URIs.
const NAME_OTHERS: [&str; 6] = [
    "application/x-hls",
    "application/dash+xml",
    "application/vnd.ms-sstr+xml",
    "application/sdp",
    "application/smil",
    "text/uri-list",
];

/// The first bytes of a Windows recorded TV show, of which GStreamer finds what looks like MPEG, and loses sound and
/// pictures.
const WTV: [u8; 16] = [0xB7, 0xD8, 0x00, 0x20, 0x37, 0x49, 0xDA, 0x11, 0xA6, 0x4E, 0x00, 0x07, 0xE9, 0x5E, 0xAD, 0x8D];

/// Codes of FLV for codecs of pictures that GStreamer's demuxer does not know ...
const FLV_CODES: [(u8, &str); 1] = [(6, "Flash Screen Video 2")];
/// ... and those of Enhanced RTMP, which have four letters and follow a byte whose highest bit is set.
const FLV_LETTERS: [(&[u8; 4], &str); 5] = [
    (b"hvc1", "H.265 (HEVC) in FLV"),
    (b"av01", "AV1 in FLV"),
    (b"vp09", "VP9 in FLV"),
    (b"vp08", "VP8 in FLV"),
    (b"avc1", "H.264 by Enhanced RTMP in FLV"),
];

/// A reason.
pub fn refusal(code: RefusalCode, message: impl Into<String>) -> Refusal {
    Refusal { code, message: message.into() }
}

/// Turns the demuxer's complaint into a reason a user understands. Which of several complaints comes first depends on
/// the threads of the demuxer, so what is said depends on their kind alone.
pub fn explain(error: &gst::message::Error) -> Refusal {
    let inner = error.error();
    let debug = error.debug().map(|d| d.to_string()).unwrap_or_default();
    if inner.matches(gst::StreamError::TypeNotFound) || inner.matches(gst::StreamError::WrongType) {
        return refusal(RefusalCode::NotMedia, "this is not a media file: no known container begins like this");
    }
    if inner.matches(gst::StreamError::Decrypt) || inner.matches(gst::StreamError::DecryptNokey) {
        return encrypted();
    }
    if inner.matches(gst::StreamError::CodecNotFound) || inner.matches(gst::CoreError::MissingPlugin) {
        return refusal(RefusalCode::UnsupportedCodec, format!("no installed GStreamer plugin reads this: {inner}"));
    }
    if debug.contains("ncrypted") { encrypted() } else { unreadable() }
}

/// Why a file of this type is no film, if all it does is to name others. What GStreamer has for such files would open
/// connections, which a worker may not, and start threads for that.
pub fn names_others(caps: &gst::CapsRef) -> Option<Refusal> {
    let name = caps.structure(0)?.name();
    NAME_OTHERS.contains(&name.as_str()).then(|| {
        let message = format!("this is a list of other files ({name}) and no film");
        refusal(RefusalCode::NotMedia, message)
    })
}

/// What the first bytes of a file show that GStreamer would take for something else, or for damage.
pub fn foreign(head: &[u8]) -> Option<Refusal> {
    let what = if head.starts_with(&WTV) {
        "WTV, the container of Windows' recorded TV,"
    } else {
        let [code, letters @ ..] = flv_codec(head)?;
        if code & 0x80 == 0 {
            FLV_CODES.iter().find(|(known, _)| *known == code & 15)?.1
        } else {
            FLV_LETTERS.iter().find(|(known, _)| **known == letters)?.1
        }
    };
    Some(refusal(RefusalCode::UnsupportedCodec, format!("{what} is not supported: convert the file")))
}

/// The bytes that name the codec of an FLV file's first picture.
fn flv_codec(head: &[u8]) -> Option<[u8; 5]> {
    let mut rest = head.strip_prefix(b"FLV")?.get(10..)?;
    // A tag has its type, three bytes of length, seven more, a body and its length again.
    loop {
        let (tag, body) = rest.split_at_checked(11)?;
        if tag[0] & 0x1F == 9 {
            return body.first_chunk().copied();
        }
        let length = u32::from_be_bytes([0, tag[1], tag[2], tag[3]]) as usize;
        rest = body.get(length + 4..)?;
    }
}

/// The file is protected.
pub fn encrypted() -> Refusal {
    refusal(RefusalCode::Encrypted, "the file is encrypted: upload it without DRM")
}

/// Nothing can be made of its structure.
pub fn unreadable() -> Refusal {
    refusal(RefusalCode::Damaged, "the file is damaged or incomplete: its structure cannot be read")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FLV: &[u8] = b"FLV\x01\x05\0\0\0\x09\0\0\0\0";

    #[test]
    fn what_would_be_misread_is_named_by_its_first_bytes() {
        let tag = |kind: u8, body: &[u8]| {
            let length = u8::try_from(body.len()).unwrap();
            [&[kind, 0, 0, length, 0, 0, 0, 0, 0, 0, 0], body, &[0; 4]].concat()
        };
        let begun = |body: &[u8]| [FLV, &tag(18, b"onMetaData"), &tag(9, body)].concat();
        let flv = |code: u8| begun(&[0x10 | code, 0, 0, 0, 0]);
        let said = |head: &[u8]| foreign(head).map(|refusal| refusal.message);
        assert_eq!(said(&flv(6)).unwrap(), "Flash Screen Video 2 is not supported: convert the file");
        assert_eq!(said(&begun(b"\x90hvc1")).unwrap(), "H.265 (HEVC) in FLV is not supported: convert the file");
        assert!(said(&WTV).unwrap().contains("WTV"));
        assert_eq!([said(&flv(7)), said(b""), said(&WTV[..15]), said(&begun(b"\x90xxxx"))], [const { None }; 4]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_foreign_or_not(noise: Vec<u8>) {
            let _ = flv_codec(&[FLV, &noise].concat());
        }
    }
}
