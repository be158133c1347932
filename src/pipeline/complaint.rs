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

/// The file is protected.
pub fn encrypted() -> Refusal {
    refusal(RefusalCode::Encrypted, "the file is encrypted: upload it without DRM")
}

/// Nothing can be made of its structure.
pub fn unreadable() -> Refusal {
    refusal(RefusalCode::Damaged, "the file is damaged or incomplete: its structure cannot be read")
}
