//! Sources whose tracks begin apart, whose edit lists cut, or whose pictures come at uneven times: everything is shown when the
//! source shows it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sources::{assert_in_order, film, thumbnails};
use crate::support::{Data, TestServer, ffprobe, run};

/// Samples per second that [`sounds`] listens at.
const RATE: usize = 8000;

/// When white pictures begin, seconds, of small grey ones of an even rate.
pub fn flashes(pictures: &[Vec<u8>], rate: f64) -> Vec<f64> {
    let mean = |picture: &Vec<u8>| picture.iter().map(|p| usize::from(*p)).sum::<usize>() / picture.len();
    let white: Vec<bool> = pictures.iter().map(|picture| mean(picture) > 225).collect();
    (0..white.len()).filter(|&n| white[n] && !(n > 0 && white[n - 1])).map(|n| n as f64 / rate).collect()
}

/// A film of so many seconds, and a white picture and a tone that begin after some of them.
pub fn flash(folder: &Path, name: &str, (at, seconds): (u32, u32), rest: &str) -> PathBuf {
    let shown = format!("between(t,{at},{at}.25)");
    film(
        folder,
        name,
        &format!(
            "-f lavfi -i testsrc2=s=320x180:r=25:d={seconds},drawbox=t=fill:c=white:enable='{shown}' \
             -f lavfi -i aevalsrc='0.5*sin(5529*t)*{shown}':d={seconds}:s=48000 \
             -c:v libx264 -preset veryfast -pix_fmt yuv420p -c:a aac {rest}"
        ),
    )
}

/// When sounds begin after silence, seconds.
pub fn sounds(media: &Path) -> Vec<f64> {
    let ran = Command::new("ffmpeg")
        .args(["-v", "error", "-i", media.to_str().unwrap(), "-ac", "1", "-ar", &RATE.to_string(), "-f", "s16le", "-"])
        .output()
        .expect("ffmpeg is installed by `make test`");
    let loud: Vec<bool> =
        ran.stdout.chunks_exact(2).map(|s| i16::from_le_bytes([s[0], s[1]]).unsigned_abs() > 2000).collect();
    // Silent for a tenth of a second before.
    let before = |n: usize| &loud[n.saturating_sub(RATE / 10)..n];
    let begins = (0..loud.len()).filter(|&n| loud[n] && !before(n).contains(&true));
    begins.map(|n| n as f64 / RATE as f64).collect()
}

/// The pictures of the last rendition, and all sound, as files.
fn played(server: &TestServer, id: &str, folder: &Path) -> (PathBuf, PathBuf) {
    let playlists = server.playlists(id);
    let (shown, heard) = (folder.join("shown.mp4"), folder.join("heard.mp4"));
    fs::write(&shown, server.rendition(playlists.last().unwrap())).unwrap();
    fs::write(&heard, server.rendition(&playlists[0])).unwrap();
    (shown, heard)
}

/// Silence before it was counted as damage.
#[test]
fn sound_that_begins_late_begins_then_and_nothing_counts_as_missing_before() {
    let media = tempfile::tempdir().unwrap();
    for name in ["late.mp4", "late.mkv", "late.ts"] {
        let film = film(
            media.path(),
            name,
            "-f lavfi -i testsrc2=s=320x180:r=25:d=5 -itsoffset 1.28 -f lavfi -i sine=f=440:d=3.7:r=48000 \
             -filter:a volume=4 -c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac",
        );
        let data = Data::new();
        let id = data.ingest(&film);
        let server = TestServer::over(&data);
        let (_, heard) = played(&server, &id, media.path());
        assert_eq!(server.metric("matinee_bridged_frames_total"), 0.0, "{name}: {}", server.log());
        let begins = sounds(&heard)[0];
        assert!((begins - 1.28).abs() < 0.04, "{name}: {begins}");
    }
}

#[test]
fn what_an_edit_list_cuts_away_is_neither_shown_nor_heard() {
    let media = tempfile::tempdir().unwrap();
    let whole = flash(media.path(), "whole.mp4", (3, 8), "-g 100");
    // Between key frames: all from the one before is in the file, and an edit list says what is shown.
    let cut = film(media.path(), "cut.mp4", &format!("-ss 1.32 -i {} -t 5 -c copy", whole.display()));
    let bytes = fs::read(&cut).unwrap();
    assert!(bytes.windows(4).any(|w| w == b"elst"));
    let pictures = thumbnails(&cut);
    assert!((120..130).contains(&pictures.len()), "{}", pictures.len());
    let data = Data::new();
    let id = data.ingest(&cut);
    let server = TestServer::over(&data);
    let (shown, heard) = played(&server, &id, media.path());
    assert_eq!(server.metric("matinee_bridged_frames_total"), 0.0, "{}", server.log());
    let ours = thumbnails(&shown);
    assert_in_order("cut.mp4", &ours, &pictures);
    let (flashes, sounds) = (flashes(&ours, 25.0), sounds(&heard));
    assert_eq!((flashes.len(), sounds.len()), (1, 1), "{flashes:?} {sounds:?}");
    assert!((flashes[0] - 1.68).abs() < 0.001 && (flashes[0] - sounds[0]).abs() < 0.05, "{flashes:?} {sounds:?}");
}

/// When pictures are shown after the first one, seconds, in order.
fn times(media: &Path) -> Vec<f64> {
    let probed = ffprobe(&fs::read(media).unwrap(), "packet=pts_time");
    let packets = probed["packets"].as_array().unwrap();
    let mut times: Vec<f64> =
        packets.iter().map(|packet| packet["pts_time"].as_str().unwrap().parse().unwrap()).collect();
    times.sort_by(f64::total_cmp);
    times.iter().map(|at| at - times[0]).collect()
}

/// MXF tells how pictures are reordered of some codecs only; what is decoded first is of the time of what is shown first.
#[test]
fn pictures_of_mxf_that_are_decoded_out_of_order_are_shown_with_their_sound() {
    let media = tempfile::tempdir().unwrap();
    for (name, codec) in [("counted.mxf", "-bf 2"), ("told.mxf", "-c:v mpeg2video -bf 2"), ("plain.mxf", "-bf 0")] {
        let film = flash(media.path(), name, (2, 4), &format!("-c:a pcm_s16le {codec}"));
        let data = Data::new();
        let id = data.ingest(&film);
        let server = TestServer::over(&data);
        let (shown, heard) = played(&server, &id, media.path());
        let (flashes, sounds) = (flashes(&thumbnails(&shown), 25.0), sounds(&heard));
        assert_eq!((flashes.len(), sounds.len()), (1, 1), "{name}: {flashes:?} {sounds:?}");
        assert!((flashes[0] - 2.0).abs() < 0.001 && (sounds[0] - 2.0).abs() < 0.05, "{name}: {flashes:?} {sounds:?}");
        let probed = run(data.command(&["probe", "--json", film.to_str().unwrap()])).json().remove(0);
        let renditions = probed["renditions"].as_array().unwrap();
        assert!(renditions.iter().all(|r| r["boundaries_s"][0] == 0.0), "{name}: {probed}");
    }
}

#[test]
fn pictures_of_a_recording_of_uneven_pace_are_shown_when_they_were_taken() {
    let media = tempfile::tempdir().unwrap();
    for name in ["uneven.mp4", "uneven.mkv"] {
        // Every third for a while, then some that lie close together, then one that stays for seven seconds.
        let film = film(
            media.path(),
            name,
            "-f lavfi -i testsrc2=s=320x180:r=30:d=14 \
             -vf select='not(mod(n,3))*lt(n,60)+between(n,61,100)*gt(mod(n,4),1)+gt(n,310)' -vsync vfr \
             -c:v libx264 -preset veryfast -pix_fmt yuv420p",
        );
        let data = Data::new();
        let id = data.ingest(&film);
        let server = TestServer::over(&data);
        let lowest = server.playlists(&id).last().unwrap().clone();
        let all = server.segments(&lowest);
        let sequential: Vec<Vec<u8>> = all.iter().map(|path| server.bytes(path)).collect();
        assert_eq!(server.metric("matinee_bridged_frames_total"), 0.0, "{name}: {}", server.log());
        let shown = media.path().join("shown.mp4");
        fs::write(&shown, sequential.concat()).unwrap();
        let (ours, theirs) = (times(&shown), times(&film));
        assert_eq!(ours.len(), theirs.len(), "{name}");
        let off = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(off < 0.002, "{name}: {ours:?} {theirs:?}");
        assert_in_order(name, &thumbnails(&shown), &thumbnails(&film));
        drop(server);
        fs::remove_dir_all(data.path().join("cache")).unwrap();
        let server = TestServer::with(&data, &[("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0")]);
        for (path, bytes) in all.iter().zip(&sequential).rev() {
            assert!(server.bytes(path) == *bytes, "{name}: {path} differs when it is reached by a cold seek");
        }
    }
}
