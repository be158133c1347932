//! Several tracks: every one of sound and of words is offered, exactly and repeatably.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Data, TestServer, ffprobe, run};

/// The words of the film's own text track.
const WORDS: &str = "1\n00:00:00,500 --> 00:00:01,500\nHello & you\n\n2\n00:00:01,800 --> 00:00:04,200\nAcross\n";

/// Six seconds of Matroska: pictures, 5.1 sound, a second track of stereo, and words.
fn film(folder: &Path) -> PathBuf {
    let (path, words) = (folder.join("film.mkv"), folder.join("words.txt"));
    fs::write(&words, WORDS).unwrap();
    let sound = |channels: u32, mask: &str, wave: &str| {
        format!(
            "audiotestsrc wave={wave} volume=0.3 num-buffers=282 samplesperbuffer=1024 \
             ! audio/x-raw,rate=48000,channels={channels},channel-mask=(bitmask){mask} ! flacenc ! mux."
        )
    };
    let launch = format!(
        "matroskamux name=mux ! filesink location={} \
         videotestsrc num-buffers=150 ! video/x-raw,width=320,height=180,framerate=25/1 \
         ! x264enc speed-preset=ultrafast key-int-max=150 ! h264parse ! mux. {} {} \
         filesrc location={} ! subparse ! mux.",
        path.display(),
        sound(6, "0x3f", "pink-noise"),
        sound(2, "0x3", "sine"),
        words.display()
    );
    let made = Command::new("gst-launch-1.0").arg("-q").args(launch.split_whitespace()).stdout(Stdio::null()).status();
    assert!(made.expect("gst-launch-1.0 is installed by `make test`").success(), "gst-launch-1.0 failed: {launch}");
    fs::remove_file(words).unwrap();
    path
}

fn tracks(server: &TestServer, id: &str) -> Vec<Value> {
    let video: Value = serde_json::from_str(&server.text(&format!("/api/v1/videos/{id}"))).unwrap();
    video["tracks"].as_array().unwrap().clone()
}

#[test]
fn every_track_of_a_film_is_offered_and_every_byte_of_it_repeats() {
    let folder = tempfile::tempdir().unwrap();
    let data = Data::new();
    let id = data.ingest(&film(folder.path()));
    let server = TestServer::over(&data);
    let kinds: Vec<String> = tracks(&server, &id).iter().map(|t| format!("{} {}", t["kind"], t["offered"])).collect();
    assert_eq!(kinds, ["\"video\" true", "\"audio\" true", "\"audio\" true", "\"text\" true"]);

    let master = server.text(&format!("/v/{id}/master.m3u8"));
    let media = |group: &str| master.lines().filter(|l| l.contains(&format!("GROUP-ID=\"{group}\""))).count();
    assert_eq!((media("audio-64k"), media("surround"), media("text")), (2, 2, 1), "{master}");
    let variants: Vec<&str> = master.lines().filter(|l| l.starts_with("#EXT-X-STREAM-INF")).collect();
    assert!(variants.iter().all(|v| v.contains("SUBTITLES=\"text\"")), "{master}");
    assert_eq!(variants.iter().filter(|v| v.contains("AUDIO=\"surround\"")).count(), 1, "{master}");

    let samples = 282 * 1024;
    for (rendition, channels, layout) in
        [("surround-384k", 6, "5.1"), ("audio-64k", 2, "stereo"), ("audio-2-64k", 2, "stereo")]
    {
        let whole = server.rendition(&server.playlist(&id, rendition));
        let found = ffprobe(&whole, "stream=channels,channel_layout,duration_ts,nb_read_frames");
        let stream = &found["streams"][0];
        assert_eq!((&stream["channels"], &stream["channel_layout"]), (&channels.into(), &layout.into()), "{rendition}");
        // Cut at whole frames of 1024 samples, and none is missing.
        let frames: u32 = stream["nb_read_frames"].as_str().unwrap().parse().unwrap();
        assert!((samples / 1024..samples / 1024 + 3).contains(&frames), "{rendition}: {frames}");
    }

    let words = server.playlist(&id, "text-1");
    let segments = server.segments(&words);
    let sequential: Vec<Vec<u8>> = segments.iter().map(|path| server.bytes(path)).collect();
    let text = |n: usize| str::from_utf8(&sequential[n]).unwrap();
    assert!(text(0).starts_with("WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\n"), "{}", text(0));
    assert!(text(0).contains("\n00:00:00.500 --> 00:00:01.500\nHello &amp; you\n"), "{}", text(0));
    let across = |text: &str| text.contains("\n00:00:01.800 --> 00:00:04.200\nAcross\n");
    let shown: Vec<bool> = (0..segments.len()).map(|n| across(text(n))).collect();
    assert_eq!(shown, [false, true, true, true], "segments of 1, 1, 2 and 2 seconds");
    let whole = server.text(&words.replace("index.m3u8", "all.vtt"));
    assert!(across(&whole) && whole.contains("Hello"), "{whole}");

    // FFmpeg, unlike players, does not join relative BaseURLs.
    let manifest = format!("http://{}/v/{id}/manifest.mpd", server.address);
    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args(["-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", &manifest]);
    let opened = run(ffprobe);
    let has_words = opened.stdout.lines().any(|codec| codec == "webvtt");
    assert_eq!((opened.code(), &*opened.stderr, has_words), (0, "", true), "{opened:?}");

    let surround = server.segments(&server.playlist(&id, "surround-384k"));
    let sound: Vec<Vec<u8>> = surround.iter().map(|path| server.bytes(path)).collect();
    drop(server);
    fs::remove_dir_all(data.path().join("cache")).unwrap();
    let server = TestServer::over(&data);
    for (path, expected) in segments.iter().zip(&sequential).rev().chain(surround.iter().zip(&sound).rev()) {
        assert!(server.bytes(path) == *expected, "{path}, from cold and in another order");
    }
}

#[test]
fn subtitles_beside_a_film_are_part_of_the_title() {
    let folder = tempfile::tempdir().unwrap();
    let film = film(folder.path());
    let data = Data::new();
    let bare = data.ingest(&film);
    fs::write(folder.path().join("film.de.forced.srt"), "1\n00:00:01,000 --> 00:00:02,000\nSch\u{f6}n\n").unwrap();
    fs::write(folder.path().join("film.en.vtt"), b"WEBVTT\n\nnothing timed").unwrap();
    let ingest = || run(data.command(&["ingest", "--json", film.to_str().unwrap()])).json()[0].clone();
    let (with, again) = (ingest(), ingest());
    assert_eq!((&with["new_source"], &again["new_source"]), (&true.into(), &false.into()));
    assert_eq!(with["digest"], again["digest"], "the same film with the same subtitles is the same source");

    let server = TestServer::over(&data);
    assert_eq!(tracks(&server, &bare).len(), 4, "a title that is there does not change");
    let listed = tracks(&server, with["id"].as_str().unwrap());
    let german = &listed[4];
    let expected = (Value::from("SubRip"), Value::from("de"), Value::from(true), Value::from(true));
    assert_eq!(
        (&german["codec"], &german["language"], &german["forced"], &german["offered"]),
        (&expected.0, &expected.1, &expected.2, &expected.3)
    );
    assert_eq!(listed[5]["offered"], false);
    assert!(listed[5]["why_not"].as_str().unwrap().contains("when words are shown"), "{}", listed[5]);
    let words = server.playlist(with["id"].as_str().unwrap(), "text-2").replace("index.m3u8", "all.vtt");
    assert_eq!(server.text(&words), "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nSchön\n");
}

#[test]
fn a_subtitle_file_that_cannot_be_taken_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let film = film(folder.path());
    fs::write(folder.path().join("film.srt"), vec![b' '; 5 << 20]).unwrap();
    let data = Data::new();
    let ran = run(data.command(&["ingest", film.to_str().unwrap()]));
    assert_eq!(ran.code(), 1);
    assert!(
        ran.error().contains("film.srt: it lies beside the film and has more than 4194304 bytes"),
        "{}",
        ran.error()
    );
    assert_eq!(data.files("library"), Vec::<String>::new());
}

/// GStreamer's demuxer does not name it, and it was left out.
#[test]
fn webvtt_in_webm_and_matroska_is_offered_and_stays_where_it_stands() {
    const WORDS: &str = "WEBVTT\n\nfirst\n00:00:00.500 --> 00:00:01.500 line:10% align:start\nHello <i>you</i>\n\n\
                         00:00:01.800 --> 00:00:02.200\nTwo\nlines\n";
    let media = tempfile::tempdir().unwrap();
    let words = media.path().join("cues.vtt");
    fs::write(&words, WORDS).unwrap();
    let made = |name: &str, how: &str| {
        let input = format!("-f lavfi -i testsrc2=s=160x120:r=25:d=3 -i {} {how}", words.display());
        crate::sources::film(media.path(), name, &input)
    };
    let webm = made("words.webm", "-c:v libvpx -deadline realtime -c:s copy");
    // The other name, and blocks of text alone.
    let matroska = made("words.mkv", "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:s webvtt");
    let mut bytes = fs::read(&matroska).unwrap();
    let at = bytes.windows(18).position(|w| w == b"D_WEBVTT/SUBTITLES").unwrap();
    bytes[at..at + 18].copy_from_slice(b"S_TEXT/WEBVTT\0\0\0\0\0");
    fs::write(&matroska, bytes).unwrap();
    let data = Data::new();
    for (film, settings) in [(webm, " line:10% align:start"), (matroska, "")] {
        let id = data.ingest(&film);
        let server = TestServer::over(&data);
        let text: Vec<Value> = tracks(&server, &id).into_iter().filter(|t| t["kind"] == "text").collect();
        assert_eq!(
            (text.len(), &text[0]["codec"], &text[0]["offered"]),
            (1, &"WebVTT".into(), &true.into()),
            "{text:?}"
        );
        let segments = server.segments(&server.playlist(&id, "text-1"));
        let shown: String = segments.iter().map(|path| server.text(path)).collect();
        let first = format!("\n00:00:00.500 --> 00:00:01.500{settings}\nHello <i>you</i>\n");
        assert!(shown.contains(&first) && !shown.contains("first"), "{shown}");
        assert!(shown.contains("\n00:00:01.800 --> 00:00:02.200\nTwo\nlines\n"), "{shown}");
    }
}
