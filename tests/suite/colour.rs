//! Pictures come out upright, square, progressive and in colours that every player shows: whatever the source was.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{Data, TestServer, ffprobe};

/// Makes a film of one track with GStreamer; `stream` ends in coded H.264 or MPEG-2.
fn film(folder: &Path, name: &str, stream: &str) -> PathBuf {
    let path = folder.join(name);
    let launch = format!("{stream} ! mp4mux ! filesink location={}", path.display());
    let made = Command::new("gst-launch-1.0").arg("-q").args(launch.split_whitespace()).stdout(Stdio::null()).status();
    assert!(made.expect("gst-launch-1.0 is installed by `make test`").success(), "gst-launch-1.0 failed: {launch}");
    path
}

/// A picture from the middle of each second, scaled to this size, in this pixel format.
fn pictures(media: &Path, filter: &str, (width, height): (usize, usize), format: &str) -> Vec<Vec<u8>> {
    let filter = format!("fps=1,{filter}scale={width}:{height}:flags=area+accurate_rnd+full_chroma_int");
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i", media.to_str().unwrap(), "-vf", &filter, "-f", "rawvideo", "-pix_fmt", format, "-"])
        .output()
        .expect("ffmpeg is installed by `make test`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let size = width * height * if format == "rgb24" { 3 } else { 1 };
    output.stdout.chunks_exact(size).map(<[u8]>::to_vec).collect()
}

/// The best rendition as a file.
fn rendition(server: &TestServer, id: &str, folder: &Path) -> PathBuf {
    stored(server, id, folder, |encoded| encoded.first().cloned())
}

/// One of the renditions that are encoded, best first, as a file.
fn stored(server: &TestServer, id: &str, folder: &Path, choose: impl Fn(&[String]) -> Option<String>) -> PathBuf {
    let mut playlists = server.playlists(id);
    playlists.retain(|p| !p.contains("audio") && !p.contains("/source/"));
    let path = folder.join(format!("{id}.mp4"));
    std::fs::write(&path, server.rendition(&choose(&playlists).expect("an encoded rendition"))).unwrap();
    path
}

/// The bytes of every segment of a title are the same in order and in reverse, where each is a cold seek.
fn assert_functions(data: &Data, server: TestServer, id: &str) {
    let all: Vec<String> = server.playlists(id).iter().flat_map(|p| server.segments(p)).collect();
    let sequential: Vec<Vec<u8>> = all.iter().map(|path| server.bytes(path)).collect();
    drop(server);
    std::fs::remove_dir_all(data.path().join("cache")).unwrap();
    let server = TestServer::with(data, &[("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0")]);
    for (path, bytes) in all.iter().zip(&sequential).rev() {
        assert!(server.bytes(path) == *bytes, "{path} differs when it is reached by a cold seek");
    }
}

#[test]
fn interlaced_pictures_become_one_progressive_frame_each_wherever_decoding_began() {
    let media = tempfile::tempdir().unwrap();
    for (name, order) in [("upper.mp4", "true"), ("lower.mp4", "false")] {
        let stream = format!(
            "videotestsrc pattern=ball motion=sweep num-buffers=200 ! video/x-raw,format=I420,width=320,height=240,framerate=50/1 \
             ! interlace field-pattern=1:1 top-field-first={order} \
             ! x264enc interlaced=true bframes=2 key-int-max=250 bitrate=2000 ! video/x-h264,profile=high ! h264parse"
        );
        let source = film(media.path(), name, &stream);
        let frames = ffprobe(&std::fs::read(&source).unwrap(), "stream=nb_read_frames,field_order");
        let data = Data::new();
        let id = data.ingest(&source);
        let server = TestServer::over(&data);
        let made = rendition(&server, &id, media.path());
        let probed = ffprobe(&std::fs::read(&made).unwrap(), "stream=nb_read_frames,field_order");
        assert_eq!(probed["streams"][0]["nb_read_frames"], frames["streams"][0]["nb_read_frames"], "{name}");
        assert_eq!(probed["streams"][0]["field_order"], "progressive", "{name}");
        // A comb makes lines differ from both their neighbours, which agree with each other.
        let comb = |path: &Path| -> u64 {
            let all = pictures(path, "", (320, 240), "gray");
            assert!(all.len() >= 3, "{name}: {} pictures", all.len());
            let apart = |a: u8, b: u8| u64::from(a.abs_diff(b) > 40);
            let at = |p: &[u8], i: usize| {
                apart(p[i], p[i - 320]) * apart(p[i], p[i + 320]) * (1 - apart(p[i - 320], p[i + 320]))
            };
            all.iter().map(|p| (320..p.len() - 320).map(|i| at(p, i)).sum::<u64>()).sum()
        };
        let (before, after) = (comb(&source), comb(&made));
        assert!(before > 200 && after * 5 < before, "{name}: combs {before} before, {after} after");
        assert_functions(&data, server, &id);
    }
}

#[test]
fn what_is_too_fine_for_a_small_rendition_becomes_its_mean_and_no_other_pattern() {
    let media = tempfile::tempdir().unwrap();
    let stream = "videotestsrc pattern=checkers-1 num-buffers=30 ! video/x-raw,format=I420,width=640,height=480,framerate=30/1 \
                  ! x264enc pass=qual quantizer=5 key-int-max=30 ! video/x-h264,profile=high ! h264parse";
    let source = film(media.path(), "fine.mp4", stream);
    let data = Data::new();
    let id = data.ingest(&source);
    let server = TestServer::over(&data);
    let made = stored(&server, &id, media.path(), |encoded| encoded.last().cloned());
    let probed = ffprobe(&std::fs::read(&made).unwrap(), "stream=width,height");
    assert_eq!(probed["streams"][0]["height"], 144, "{probed}");
    let spread = |path: &Path, size: (usize, usize)| {
        let picture = pictures(path, "", size, "gray").remove(0);
        picture.iter().max().unwrap() - picture.iter().min().unwrap()
    };
    let (before, after) = (spread(&source, (640, 480)), spread(&made, (192, 144)));
    assert!(
        before > 50 && after < before / 4,
        "brightness differs by {before} in the source, {after} in the rendition"
    );
}

#[test]
fn hdr_becomes_bt_709_and_says_so() {
    let media = tempfile::tempdir().unwrap();
    // The first bar is as bright as either can say, which is where SDR ends.
    for (kind, white) in [("bt2100-pq", 245..=255_u8), ("bt2100-hlg", 190..=255)] {
        let stream = format!(
            "videotestsrc pattern=smpte num-buffers=90 ! video/x-raw,format=I420_10LE,width=320,height=240,framerate=30/1,colorimetry={kind} \
             ! x264enc key-int-max=250 bitrate=1500 ! video/x-h264,profile=high-10 ! h264parse"
        );
        let source = film(media.path(), &format!("{kind}.mp4"), &stream);
        let data = Data::new();
        let id = data.ingest(&source);
        let server = TestServer::over(&data);
        let video: serde_json::Value = serde_json::from_str(&server.text(&format!("/api/v1/videos/{id}"))).unwrap();
        let range = if kind == "bt2100-pq" { "PQ" } else { "HLG" };
        assert_eq!(video["tracks"][0]["video_range"], range, "{video}");
        let master = server.text(&format!("/v/{id}/master.m3u8"));
        assert!(master.contains("VIDEO-RANGE=SDR") && !master.contains("VIDEO-RANGE=PQ"), "{master}");
        let made = rendition(&server, &id, media.path());
        let probed = ffprobe(
            &std::fs::read(&made).unwrap(),
            "stream=color_space,color_transfer,color_primaries,color_range,pix_fmt",
        );
        let stream = &probed["streams"][0];
        for key in ["color_space", "color_transfer", "color_primaries"] {
            assert_eq!(stream[key], "bt709", "{kind}: {stream}");
        }
        assert_eq!((&stream["pix_fmt"], &stream["color_range"]), (&"yuv420p".into(), &"tv".into()), "{kind}");
        // The white bar, the green one and the black field of the test picture.
        let picture = &pictures(&made, "", (320, 240), "rgb24")[0];
        let at = |x: usize, y: usize| <[u8; 3]>::try_from(&picture[3 * (y * 320 + x)..][..3]).unwrap();
        let (bright, green) = (at(20, 60), at(160, 60));
        assert!(bright.iter().all(|c| white.contains(c)), "{kind}: white is {bright:?}");
        assert!(bright.iter().max().unwrap() - bright.iter().min().unwrap() < 4, "{kind}: white is {bright:?}");
        assert!(green[1] > 120 && green[1] > green[0] + 60 && green[1] > green[2] + 60, "{kind}: green is {green:?}");
        assert_functions(&data, server, &id);
    }
}

#[test]
fn all_eight_ways_to_hold_a_picture_come_out_upright() {
    const ONE: i32 = 1 << 16;
    let media = tempfile::tempdir().unwrap();
    // A bright corner: black but for the upper left quarter.
    let stream = "videotestsrc pattern=white num-buffers=40 ! video/x-raw,format=I420,width=96,height=64,framerate=30/1 \
                  ! videobox right=-96 bottom=-64 fill=black ! video/x-raw,width=192,height=128 \
                  ! x264enc key-int-max=250 ! video/x-h264,profile=high ! h264parse";
    let plain = std::fs::read(film(media.path(), "plain.mp4", stream)).unwrap();
    let header = plain.windows(4).position(|w| w == b"tkhd").unwrap() + 4;
    // Where the corner is to be seen afterwards: right, and down.
    let ways = [
        ([ONE, 0, 0, ONE], (0, 0)),
        ([0, ONE, -ONE, 0], (1, 0)),
        ([-ONE, 0, 0, -ONE], (1, 1)),
        ([0, -ONE, ONE, 0], (0, 1)),
        ([-ONE, 0, 0, ONE], (1, 0)),
        ([ONE, 0, 0, -ONE], (0, 1)),
        ([0, ONE, ONE, 0], (0, 0)),
        ([0, -ONE, -ONE, 0], (1, 1)),
    ];
    let data = Data::new();
    let server = TestServer::over(&data);
    for (n, ([a, b, c, d], corner)) in ways.into_iter().enumerate() {
        let mut bytes = plain.clone();
        for (place, value) in [(0, a), (1, b), (3, c), (4, d)] {
            bytes[header + 40 + 4 * place..][..4].copy_from_slice(&value.to_be_bytes());
        }
        let source = media.path().join(format!("{n}.mp4"));
        std::fs::write(&source, bytes).unwrap();
        let id = data.ingest(&source);
        let playlists = server.playlists(&id);
        let path = media.path().join("shown.mp4");
        std::fs::write(&path, server.rendition(&playlists[0])).unwrap();
        let probed = ffprobe(&std::fs::read(&path).unwrap(), "stream=width,height");
        let (width, height) = (probed["streams"][0]["width"].as_u64(), probed["streams"][0]["height"].as_u64());
        assert_eq!(width > height, a != 0, "way {n}: {width:?} by {height:?}");
        let picture = &pictures(&path, "", (2, 2), "gray")[0];
        let brightest = (0..4).max_by_key(|i| picture[*i]).unwrap();
        assert_eq!((brightest % 2, brightest / 2), corner, "way {n}: {picture:?}");
        assert!(picture.iter().filter(|p| **p < 60).count() == 3, "way {n}: {picture:?}");
    }
}
