//! Loads GStreamer and the plugins a job may need, while the process may still open files.

/// Plugins whose elements demux, parse, decode, convert or encode. Those a host lacks are skipped: what cannot be decoded
/// without them is refused by name at ingest.
const PLUGINS: [&str; 43] = [
    "coreelements",
    "app",
    "typefindfunctions",
    "playback",
    "isomp4",
    "matroska",
    "mpegtsdemux",
    "mpegpsdemux",
    "avi",
    "flv",
    "ogg",
    "asf",
    "wavparse",
    "aiff",
    "id3demux",
    "apetag",
    "videoparsersbad",
    "audioparsers",
    "libav",
    "x264",
    "vpx",
    "opus",
    "vorbis",
    "theora",
    "flac",
    "mpg123",
    "a52dec",
    "dav1d",
    "jpeg",
    "png",
    "gdkpixbuf",
    "faad",
    "openh264",
    "nvcodec",
    "va",
    "videoconvertscale",
    "videofilter",
    "deinterlace",
    "audioconvert",
    "audioresample",
    "rawparse",
    "amrnb",
    "subparse",
];

/// Elements without which nothing works, and the Debian package that brings each.
const NEEDED: [(&str, &str); 6] = [
    ("parsebin", "gstreamer1.0-plugins-base"),
    ("appsink", "gstreamer1.0-plugins-base"),
    ("videoconvertscale", "gstreamer1.0-plugins-base"),
    ("qtdemux", "gstreamer1.0-plugins-good"),
    ("h264parse", "gstreamer1.0-plugins-bad"),
    ("avdec_h264", "gstreamer1.0-libav"),
];

/// Initialises GStreamer and loads plugins.
///
/// # Errors
/// A sentence naming what is missing and the package that brings it.
pub fn warm_up() -> Result<(), String> {
    gst::init().map_err(|e| format!("GStreamer does not start: {e}"))?;
    let registry = gst::Registry::get();
    for name in PLUGINS {
        if let Some(plugin) = registry.find_plugin(name) {
            let _ = plugin.load();
        }
    }
    match NEEDED.iter().find(|(element, _)| gst::ElementFactory::find(element).is_none()) {
        Some((element, package)) => Err(format!("GStreamer has no element {element}: install {package}")),
        None => Ok(()),
    }
}
