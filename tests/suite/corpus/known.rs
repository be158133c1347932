//! What is known of the files: why some are refused, what odd ones are, and where the walk deviates, with the reason.

/// A part of the message of each refusal.
pub const REFUSALS: &[(&str, &str)] = &[
    ("bad_stsc_stco.mp4", "damaged or incomplete"),
    ("bad_stsz.mp4", "sample sizes"),
    ("bogus_text.mp4", "not a media file"),
    ("h264_height_overflow.mp4", "the H.264 track cannot be decoded"),
    ("moov_missing_malformed_free.mp4", "damaged or incomplete"),
    ("truncated_41s_no_samples.mp4", "cannot be decoded"),
    ("vp9_invalid_bitstream.webm", "damaged or incomplete"),
    ("vvc_no_decoder.mp4", "H.266 (VVC)"),
    ("widevine_encrypted.mp4", "encrypted"),
    ("zero_byte.webm", "empty"),
];

/// What a source is in a few numbers.
#[derive(Debug, PartialEq, Eq)]
pub struct Shape {
    pub rate: Option<String>,
    /// Packets, and frames that the container repeats.
    pub frames: Option<u64>,
    pub size: Option<(u64, u64)>,
    /// Codec and seconds.
    pub sound: Option<String>,
}

fn shape(rate: &str, frames: u64, size: (u64, u64), sound: Option<&str>) -> Shape {
    Shape { rate: Some(rate.to_owned()), frames: Some(frames), size: Some(size), sound: sound.map(str::to_owned) }
}

fn heard(sound: &str) -> Shape {
    Shape { rate: None, frames: None, size: None, sound: Some(sound.to_owned()) }
}

/// A file and its shape.
type Named = (&'static str, fn() -> Shape);

/// One file for each oddity.
pub const SHAPES: &[Named] = &[
    // AVI leaves out frames that repeat the one before: two of 98.
    ("bird_mpeg4_mp3_960x400.avi", || shape("23.976", 98, (960, 400), Some("MPEG-1 audio 4.080"))),
    // A demuxer that never says that it is at the end.
    ("arm_animation.gif", || shape("20.000", 22, (320, 240), None)),
    // A codec that the demuxer leaves unnamed, at a rate that is none of the usual; the last picture is held once.
    ("planetblupi_cinepak_vorbis.mkv", || shape("12.048", 145, (320, 240), Some("Vorbis 12.029"))),
    // Several packets to a block, of which the first alone has a time.
    ("cake_vp9_opus_portrait_360x640.webm", || shape("30.000", 240, (360, 640), Some("Opus 7.480"))),
    // Milliseconds in the place of 1/24 s, and a last frame that lasts a tick.
    ("bbb_vp8_vorbis_mono_640x360.webm", || shape("24.000", 49, (640, 360), Some("Vorbis 2.031"))),
    // Pictures without a presentation time.
    ("city_mpeg2_ps_720x405.mpg", || shape("25.000", 190, (720, 405), None)),
    // Sound from tables beside sound that is read through.
    ("bullseye_194x194_mpeg4asp_pcm24.mov", || shape("30.120", 187, (194, 194), Some("PCM 6.200"))),
    // The picture begins a second late: 30 frames show the first one until then.
    ("editlist_positive_shift_1080p.mp4", || shape("30.000", 300, (1920, 1080), Some("AAC 10.005"))),
    // Of two video tracks the larger.
    ("nasa_multitrack_2v2a2s.mp4", || shape("29.970", 390, (480, 270), Some("AAC 13.056"))),
    // The bitstream says 1x64, and the container that it is shown as 64x64.
    ("vp8_1fps_10s.webm", || shape("1.000", 10, (1, 64), None)),
    // A duration of 39 hours, of which one second is there.
    ("fragmented_no_mehd_duration_lie.mp4", || shape("29.970", 30, (1080, 720), Some("AAC 1.068"))),
    ("eac3joc_pts_wrap.ts", || heard("E-AC-3 2.048")),
    // A cover is no film, a header no sound, and the last block is shorter than the others.
    ("bear_flac_cover.flac", || heard("FLAC 2.741")),
    ("bear.opus", || heard("Opus 2.741")),
];

/// Something that stays as it is.
pub struct Deviation {
    file: &'static str,
    judge: &'static str,
    /// Part of what is said.
    what: &'static str,
    pub reason: &'static str,
}

impl Deviation {
    pub fn covers(&self, file: &str, judge: &str, what: &str) -> bool {
        let judged = self.judge == judge || (self.judge == "any" && ["hls", "ts", "dash"].contains(&judge));
        (self.file == file || self.file == "*") && judged && what.contains(self.what)
    }
}

const fn known(file: &'static str, judge: &'static str, what: &'static str, reason: &'static str) -> Deviation {
    Deviation { file, judge, what, reason }
}

const VARIABLE: &str = "its frame rate is variable and kept, where the validator expects even spacing";
const FILLED: &str =
    "the stream has one frame rate; frames that are not in it are shown as the one before, or the first";

const LATE_TABLES: &str =
    "GStreamer's demuxer gives nothing before the first tables and clock reference, 0.56 s into this recording";
const NO_DURATIONS: &str =
    "pictures of a transport stream have no duration, so unevenly spaced ones seem to leave gaps";

const DAMAGED_VP9: &str =
    "its stream is damaged, and libvpx makes other pictures of that than FFmpeg; half of them are held (bridged)";

const UNSAID: &str = "its own bitstream, which is passed on, does not say how far it reorders";
const FRAGMENT_EDITS: &str = "FFmpeg passes over the edit list of a fragmented file";
const GRAIN: &str = "grain at the ceiling of its rung";
const CAPPED: &str = "up to 360 lines, 60 frames per second are every other one";
const MADE_UP: &str = "FFmpeg makes up the times of an elementary stream, and drops one picture for it";
const WHOLE_PICTURE: &str =
    "its first picture begins before its edit list and is shown whole: pictures and sound are later by as much";
const TONE: &str = "it is one tone, which is like itself at many places";
const FIRST_OF_MANY: &str = "of several frames in a packet of this codec in MP4, FFmpeg decodes the first";

/// Every deviation that is understood.
pub const DEVIATIONS: &[Deviation] = &[
    known(
        "bbb_wmv2_wma_0.1s.wmv",
        "hls",
        "bandwidth",
        "a single picture of 40 ms costs more than its share of a second",
    ),
    known("hdr10_pq_1080p_hevc10.mp4", "any", "internal_timeline", VARIABLE),
    known("phone_1080x2280_uneven_vfr_single_keyframe.mp4", "any", "internal_timeline", VARIABLE),
    known("resize_midstream_400x300_to_200x150.mp4", "any", "internal_timeline", VARIABLE),
    known(
        "resize_midstream_400x300_to_200x150.mp4",
        "any",
        "decode",
        "frames a millisecond apart, which FFmpeg's null muxer rounds to the same time",
    ),
    known(
        "webcam_h264_pgs.mkv",
        "any",
        "decode",
        "600 frames per second, which FFmpeg's null muxer rounds to the same times",
    ),
    known("webcam_h264_pgs.mkv", "ts", "framerate", NO_DURATIONS),
    known("resize_midstream_400x300_to_200x150.mp4", "ts", "continuity.dts", NO_DURATIONS),
    known("resize_midstream_400x300_to_200x150.mp4", "ts", "framerate", NO_DURATIONS),
    known("vp8_1fps_10s.webm", "ts", "framerate", NO_DURATIONS),
    known("webcam_h264_pgs.mkv", "any", "internal_timeline", VARIABLE),
    known("barcodes_60fps_24s_tmcd_cover.mov", "ffmpeg", "reorder buffer", UNSAID),
    known("bbb_1080p_rot90_fragmented_aac51.mp4", "frames", "47 frames of 45", FRAGMENT_EDITS),
    known("bbb_1080p_rot90_fragmented_aac51.mp4", "offset", "83.3", FRAGMENT_EDITS),
    known("bbb_1080p_rot90_fragmented_aac51.mp4", "colour", "frame 22", FRAGMENT_EDITS),
    known("city_mpeg2_ps_720x405.mpg", "picture", "27.3 dB", GRAIN),
    known(
        "room_theora_vorbis_sar40x33_20s.ogg",
        "picture",
        "dB",
        "FFmpeg shows columns that the stream's header crops (Theora specification §2.2)",
    ),
    known("emulator_fragmented_60fps_15s.mp4", "frames", "", CAPPED),
    known("resize_midstream_400x300_to_200x150.mp4", "frames", "", CAPPED),
    known("resize_midstream_400x300_to_200x150.mp4", "picture", "cannot be read", CAPPED),
    known(
        "invalid_nalu_partial.mp4",
        "frames",
        "30 frames of 29",
        "a picture that FFmpeg leaves out: the one before is held",
    ),
    known(
        "iphone_1080p_hlg_dovi_portrait_hevc10.mp4",
        "frames",
        "11 of 77",
        "29.97 frames per second, which the file rounds to ticks of 1/600 s",
    ),
    known("phone_1080x2280_uneven_vfr_single_keyframe.mp4", "ts", "framerate", NO_DURATIONS),
    known("phone_1080x2280_uneven_vfr_single_keyframe.mp4", "ts", "continuity", NO_DURATIONS),
    known("phone_1080x2280_uneven_vfr_single_keyframe.mp4", "ts", "extinf", NO_DURATIONS),
    known(
        "phone_1080x2280_uneven_vfr_single_keyframe.mp4",
        "any",
        "decode",
        "frames 13 ms apart at a mean of 44 ms, which FFmpeg's null muxer rounds to the same times",
    ),
    known(
        "vp8_1fps_10s.webm",
        "colour",
        "frame 9",
        "its stream is one pixel wide, and libvpx makes other pictures of that than FFmpeg",
    ),
    known("bird_mpeg4_mp3_960x400.avi", "frames", "98 frames of 96", FILLED),
    known("bbb_1080p24_mpeg2_mp2.ts", "frames", "60 frames of 58", FILLED),
    known("bbb_cea608_h264.ts", "frames", "60 frames of 58", FILLED),
    known("editlist_positive_shift_1080p.mp4", "frames", "300 frames of 270", FILLED),
    known("editlist_positive_shift_1080p.mp4", "offset", "", FILLED),
    known("kyrion_1080i_mpeg2_ac3_mp2_scte35_start1200s.ts", "frames", "81 of 81 have no place", LATE_TABLES),
    known("kyrion_1080i_mpeg2_ac3_mp2_scte35_start1200s.ts", "frames", "72 frames of 81", LATE_TABLES),
    known("kyrion_1080i_mpeg2_ac3_mp2_scte35_start1200s.ts", "offset", "558.", LATE_TABLES),
    known("zero_dimensions.mp4", "frames", "", DAMAGED_VP9),
    known("zero_dimensions.mp4", "picture", "", DAMAGED_VP9),
    known("zero_dimensions.mp4", "colour", "", DAMAGED_VP9),
    known("juggling_mpeg1_es.mpg", "frames", "162 frames of 161", MADE_UP),
    known("juggling_mpeg1_es.mpg", "picture", "dB", MADE_UP),
    known("iphone_1080p_hlg_dovi_portrait_hevc10.mp4", "sound", "ms from where it was", WHOLE_PICTURE),
    known("h264_hi444_chapters.mkv", "sound", "ms from where it was", TONE),
    known("eac3_51.mp4", "sound", "another", FIRST_OF_MANY),
    known("sd_3gp_mpeg4_amr.3gp", "sound", "another", FIRST_OF_MANY),
    known("testsrc_240p120_60s.mp4", "frames", "", "small renditions of 120 frames per second keep every fourth"),
];
