//! What people call a codec, and which Debian package brings its decoder.

use super::fourcc;
use crate::media::{Refusal, RefusalCode};

/// A codec by its media type.
struct Codec {
    media_type: &'static str,
    name: &'static str,
    package: Option<&'static str>,
}

const BASE: Option<&str> = Some("gstreamer1.0-plugins-base");
const GOOD: Option<&str> = Some("gstreamer1.0-plugins-good");
const BAD: Option<&str> = Some("gstreamer1.0-plugins-bad");
const UGLY: Option<&str> = Some("gstreamer1.0-plugins-ugly");
const LIBAV: Option<&str> = Some("gstreamer1.0-libav");

const fn codec(media_type: &'static str, name: &'static str, package: Option<&'static str>) -> Codec {
    Codec { media_type, name, package }
}

/// The codecs of films and their sound. Others are called what GStreamer calls them.
const CODECS: [Codec; 47] = [
    codec("video/x-h264", "H.264", LIBAV),
    codec("video/x-h265", "H.265", LIBAV),
    codec("video/x-h266", "H.266 (VVC)", None),
    codec("video/x-gst-fourcc-vvc1", "H.266 (VVC)", None),
    codec("video/x-gst-fourcc-vvi1", "H.266 (VVC)", None),
    codec("video/x-vp6", "VP6", LIBAV),
    codec("video/x-vp6-flash", "VP6", LIBAV),
    codec("video/x-vp8", "VP8", GOOD),
    codec("video/x-vp9", "VP9", GOOD),
    codec("video/x-av1", "AV1", BAD),
    codec("video/x-theora", "Theora", BASE),
    codec("video/x-prores", "ProRes", LIBAV),
    codec("video/x-dnxhd", "DNxHD", LIBAV),
    codec("video/x-wmv", "Windows Media Video", LIBAV),
    codec("video/x-cinepak", "Cinepak", LIBAV),
    codec("video/x-svq", "Sorenson Video", LIBAV),
    codec("video/x-h263", "H.263", LIBAV),
    codec("video/x-flash-video", "Sorenson Spark", LIBAV),
    codec("video/x-dv", "DV", LIBAV),
    codec("video/x-huffyuv", "Huffyuv", LIBAV),
    codec("video/x-gst-av-ffvhuff", "FFVHUFF", LIBAV),
    codec("video/x-lagarith", "Lagarith", LIBAV),
    codec("video/x-fraps", "Fraps", LIBAV),
    codec("video/x-utvideo", "Ut Video", None),
    codec("video/x-magicyuv", "MagicYUV", None),
    codec("video/x-hap", "Hap", None),
    codec("video/x-snow", "Snow", None),
    codec("video/x-ffv", "FFV1", LIBAV),
    codec("video/x-msmpeg", "MS MPEG-4", LIBAV),
    codec("image/jpeg", "Motion JPEG", GOOD),
    codec("image/x-jpc", "JPEG 2000", BAD),
    codec("image/gst-libav-gif", "GIF", LIBAV),
    codec("audio/x-ac3", "AC-3", LIBAV),
    codec("audio/x-eac3", "E-AC-3", LIBAV),
    codec("audio/x-dts", "DTS", LIBAV),
    codec("audio/x-true-hd", "TrueHD", LIBAV),
    codec("audio/x-opus", "Opus", BASE),
    codec("audio/x-vorbis", "Vorbis", BASE),
    codec("audio/x-flac", "FLAC", GOOD),
    codec("audio/x-speex", "Speex", GOOD),
    codec("audio/x-alac", "Apple Lossless", LIBAV),
    codec("audio/x-wma", "Windows Media Audio", LIBAV),
    codec("audio/AMR", "AMR", UGLY),
    codec("audio/AMR-WB", "AMR-WB", UGLY),
    codec("audio/x-adpcm", "ADPCM", LIBAV),
    codec("audio/x-mulaw", "μ-law PCM", GOOD),
    codec("audio/x-alaw", "A-law PCM", GOOD),
];

/// The name people know.
pub fn name(caps: &gst::Caps) -> String {
    let Some(structure) = caps.structure(0) else { return "an unknown codec".to_owned() };
    let version = structure.get::<i32>("mpegversion").unwrap_or(0);
    let media_type = structure.name().as_str();
    let known = match media_type {
        "video/mpeg" if version == 4 => Some("MPEG-4 Visual"),
        "video/mpeg" => Some("MPEG-1/2 video"),
        "audio/mpeg" if version == 1 => Some("MPEG-1 audio"),
        "audio/mpeg" => Some("AAC"),
        "audio/x-raw" => Some("PCM"),
        "video/x-raw" => Some("uncompressed video"),
        other => CODECS.iter().find(|c| c.media_type == other).map(|c| c.name),
    };
    known.map_or_else(|| unknown(structure), str::to_owned)
}

/// The container's own word for the codec, or the media type.
fn unknown(structure: &gst::StructureRef) -> String {
    let said = || structure.get::<String>("codec-id").ok();
    let media_type = structure.name().as_str();
    let code = fourcc::code(structure).map(|code| String::from_utf8_lossy(&code).escape_debug().to_string());
    let of_type = || media_type.rsplit_once("gst-fourcc-").map(|(_, code)| code.to_owned());
    code.or_else(said).or_else(of_type).unwrap_or_else(|| media_type.to_owned())
}

/// There is no decoder: which codec, and which package would bring one.
pub fn no_decoder(caps: &gst::Caps) -> Refusal {
    let media_type = caps.structure(0).map_or("", |s| s.name().as_str());
    let package = match media_type {
        "video/mpeg" | "audio/mpeg" => LIBAV,
        other => CODECS.iter().find(|c| c.media_type == other).map_or(LIBAV, |c| c.package),
    };
    let name = name(caps);
    let message = match package {
        Some(package) => format!("no decoder for {name} is installed: the Debian package {package} may bring one"),
        None => format!("no package of Debian 12 brings a decoder for {name}: convert the file"),
    };
    Refusal { code: RefusalCode::UnsupportedCodec, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_codec_and_the_package_that_would_bring_it() {
        gst::init().unwrap();
        let said = |caps: &str| no_decoder(&caps.parse().unwrap()).message;
        let vvc = "no package of Debian 12 brings a decoder for H.266 (VVC): convert the file";
        assert_eq!(said("video/x-gst-fourcc-vvc1"), vvc);
        let amr = "no decoder for AMR is installed: the Debian package gstreamer1.0-plugins-ugly may bring one";
        assert_eq!(said("audio/AMR"), amr);
        assert!(said("video/x-unknown, codec-id=(string)V_ODD").contains("no decoder for V_ODD is installed"));
        let both = "video/x-unknown, codec-id=(string)V_MS/VFW/FOURCC, fourcc=(string)IV31";
        let caps = [both, "video/x-avi-unknown, fourcc=(int)825448009", "video/x-gst-fourcc-IV31"];
        assert!(caps.map(said).iter().all(|said| said.contains("no decoder for IV31 is installed")));
    }
}
