//! Edit lists and sample entries of MP4 files (ISO/IEC 14496-12 §8.6.6 and §8.5.2): what is cut stays cut, and nothing else.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::sources::{assert_plays_exactly, film};
use crate::support::{Data, TestServer, run};

/// Bars that move, with a tone that rises, and B-pictures.
const MOVING: &str = "-f lavfi -i testsrc2=s=320x240:r=25:d=20 -f lavfi -i aevalsrc=sin(200*t*t):s=48000:d=20 -pix_fmt yuv420p \
                      -c:v libx264 -preset veryfast -g 50 -c:a aac -b:a 64k";

/// The boxes of a kind in a part of a file: where each begins, and its length.
fn boxes(bytes: &[u8], part: std::ops::Range<usize>, kind: &[u8; 4]) -> Vec<(usize, usize)> {
    let (mut at, mut found) = (part.start, Vec::new());
    while at + 8 <= part.end {
        let length = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        if &bytes[at + 4..at + 8] == kind {
            found.push((at, length));
        }
        at += length;
    }
    found
}

/// Gives a track whose tables are at the end of its file another edit list: lengths in thousandths of a second, and where
/// each begins, in the media's ticks.
fn edit(film: &Path, track: usize, entries: &[(u32, i32)]) {
    let mut bytes = fs::read(film).unwrap();
    let moov = boxes(&bytes, 0..bytes.len(), b"moov")[0];
    assert_eq!(moov.0 + moov.1, bytes.len(), "it is at the end");
    let trak = boxes(&bytes, moov.0 + 8..moov.0 + moov.1, b"trak")[track];
    let edts = boxes(&bytes, trak.0 + 8..trak.0 + trak.1, b"edts")[0];
    let boxed = |kind: &[u8; 4], body: &[u8]| [&(8 + body.len() as u32).to_be_bytes()[..], kind, body].concat();
    let entry = |(length, from): &(u32, i32)| [length.to_be_bytes(), from.to_be_bytes(), [0, 1, 0, 0]].concat();
    let list: Vec<u8> = entries.iter().flat_map(entry).collect();
    let new = boxed(b"edts", &boxed(b"elst", &[&[0; 4][..], &(entries.len() as u32).to_be_bytes(), &list].concat()));
    for (at, length) in [moov, trak] {
        let grown = (length + new.len() - edts.1) as u32;
        bytes[at..at + 4].copy_from_slice(&grown.to_be_bytes());
    }
    bytes.splice(edts.0..edts.0 + edts.1, new);
    fs::write(film, bytes).unwrap();
}

/// What the command finds in a film.
fn probed(film: &Path) -> Value {
    let ran = run(Data::new().command(&["probe", "--json", film.to_str().unwrap()]));
    assert_eq!(ran.code(), 0, "{ran:?}");
    ran.json()[0].clone()
}

/// Seconds of pictures and of sound.
fn lengths(film: &Path) -> [f64; 2] {
    let tracks = probed(film)["tracks"].clone();
    ["video", "audio"].map(|kind| {
        let track = tracks.as_array().unwrap().iter().find(|track| track["kind"] == kind);
        track.unwrap_or_else(|| panic!("{kind}: {tracks}"))["duration_s"].as_f64().unwrap()
    })
}

/// GStreamer's demuxer ends early, and shows pictures that the second stretch only needs.
#[test]
fn of_an_edit_list_with_several_stretches_each_is_played() {
    let media = tempfile::tempdir().unwrap();
    let path = film(media.path(), "cut.mp4", MOVING);
    // Not at key frames: 5 to 8 s, 16.4 to 19.4 s, and back to 1 to 3.4 s.
    let ticks = |seconds: f64, of: f64| (seconds * of).round() as i32;
    let cuts = [(3000, 5.0), (3000, 16.4), (2400, 1.0)];
    // The first picture is shown two pictures after it is decoded, and sound begins with a frame of priming.
    edit(&path, 0, &cuts.map(|(length, at)| (length, ticks(at, 12_800.0) + 1024)));
    edit(&path, 1, &cuts.map(|(length, at)| (length, ticks(at, 48_000.0) + 1024)));
    let [pictures, sound] = lengths(&path);
    assert!((pictures - 8.4).abs() < 0.001 && (sound - 8.4).abs() < 0.022, "{pictures} and {sound} s");
    assert_plays_exactly("several stretches", &path);
}

#[test]
fn what_an_edit_list_cuts_off_at_the_end_is_neither_seen_nor_heard() {
    let (media, data) = (tempfile::tempdir().unwrap(), Data::new());
    let path = film(media.path(), "short.mp4", MOVING);
    edit(&path, 0, &[(5000, 1024)]);
    edit(&path, 1, &[(5000, 1024)]);
    let id = data.ingest(&path);
    let server = TestServer::over(&data);
    for playlist in server.playlists(&id) {
        let text = server.get(&playlist).text();
        let seconds: f64 =
            text.lines().filter_map(|l| l.strip_prefix("#EXTINF:")?.split(',').next()?.parse::<f64>().ok()).sum();
        assert!((seconds - 5.0).abs() < 0.05, "{playlist}: {seconds} s");
    }
}

/// GStreamer's demuxer takes a track that lasts for less than a fifth of the film for something else, and leaves it out.
#[test]
fn a_track_that_is_much_shorter_than_the_film_is_played() {
    let media = tempfile::tempdir().unwrap();
    let source = |pictures: u32, sound: u32| {
        format!(
            "-f lavfi -i testsrc2=s=160x120:r=25:d={pictures} -f lavfi -i sine=d={sound} -pix_fmt yuv420p -c:v libx264 \
             -preset ultrafast -c:a aac"
        )
    };
    let silent = film(media.path(), "silent.mp4", &source(20, 3));
    let [pictures, sound] = lengths(&silent);
    assert!((pictures - 20.0).abs() < 0.05 && (sound - 3.0).abs() < 0.05, "{pictures} and {sound} s");
    let dark = film(media.path(), "dark.mp4", &source(3, 20));
    let [pictures, sound] = lengths(&dark);
    assert!((pictures - 3.0).abs() < 0.05 && (sound - 20.0).abs() < 0.05, "{pictures} and {sound} s");
}

/// Of a track that was not read straight from the file only the beginning was found, and another one each time.
#[test]
fn h264_with_its_parameter_sets_in_the_stream_is_indexed_to_its_end() {
    let media = tempfile::tempdir().unwrap();
    let plain = film(media.path(), "plain.mp4", MOVING);
    let inband = media.path().join("inband.mp4");
    let mut copy = Command::new("ffmpeg");
    copy.args(["-v", "error", "-i"]).arg(&plain).args(["-c", "copy", "-tag:v", "avc3"]).arg(&inband);
    assert!(copy.status().expect("ffmpeg is installed by `make test`").success());
    let probed = probed(&inband);
    let video = probed["tracks"].as_array().unwrap().iter().find(|track| track["kind"] == "video").unwrap();
    assert_eq!(video["frames"], 500, "{probed}");
}
