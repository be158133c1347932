//! The server's memory grows neither with the length of a film nor with how much of it is played.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::media::Film;
use crate::support::{Data, TestServer};

/// A small picture that can be passed through: its segments cost next to nothing to make.
const FILM: Film = Film { rate: (25, 1), frames: 1500, size: (192, 108), gop: 50, kilobits: 60, sound: Some(48_000) };
/// Times that the minute is repeated.
const MINUTES: u32 = 75;
/// Of memory for segments: full long before the first look. Nothing on disk, where what waits to be written counts against
/// a bound of its own and depends on how busy the disk is.
const SETTINGS: [(&str, &str); 2] = [("MATINEE_CACHE__MEMORY_BYTES", "1MiB"), ("MATINEE_CACHE__DISK_BYTES", "0")];
/// What an hour more of film may add, and what playing all of it, once and once more. It is a sixth of the bytes that are played
/// and less than two copies of the film's index: several were held, one for each worker that was started.
const GROWTH_KIB: u64 = 6 << 10;

/// The same film over and over, packet by packet.
fn repeated(film: &Path, times: u32) -> PathBuf {
    let path = film.with_file_name("long.mp4");
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-stream_loop", &(times - 1).to_string(), "-i"])
        .arg(film)
        .args(["-c", "copy"])
        .arg(&path)
        .stdin(Stdio::null())
        .status();
    assert!(made.expect("ffmpeg is installed by `make test`").success());
    path
}

fn resident_kib(server: &TestServer) -> u64 {
    server.memory_bytes("VmRSS") >> 10
}

/// Paths of a title's first sound, and of its picture as it is.
fn paths(server: &TestServer, id: &str) -> [Vec<String>; 2] {
    let all = server.playlists(id);
    let source = all.iter().find(|path| path.ends_with("/source/index.m3u8")).expect("it can be passed through");
    [server.segments(&all[0]), server.segments(source)]
}

fn play(server: &TestServer, paths: &[String]) {
    for path in paths {
        assert!(!server.bytes(path).is_empty());
    }
}

#[test]
fn a_server_needs_no_more_memory_for_a_long_film_nor_for_playing_all_of_it() {
    let (data, media) = (Data::new(), tempfile::tempdir().unwrap());
    let film = FILM.make(media.path(), "film.mp4");
    let short = data.ingest(&film);
    let long = data.ingest(&repeated(&film, MINUTES));
    let server = TestServer::with(&data, &SETTINGS);
    let [sound, picture] = paths(&server, &short);
    play(&server, &sound);
    // As much as of the long one, for the allocators.
    for _ in 0..100_usize.div_ceil(picture.len()) {
        play(&server, &picture);
    }
    let short = resident_kib(&server);
    let [sound, picture] = paths(&server, &long);
    assert!(picture.len() > 1000, "more than an hour has more segments than {}", picture.len());
    play(&server, &sound[..sound.len().min(20)]);
    play(&server, &picture[..100]);
    let long = resident_kib(&server);
    let [once, twice] = [(); 2].map(|()| {
        play(&server, &picture[100..]);
        resident_kib(&server)
    });
    assert!(long < short + GROWTH_KIB, "{short} KiB, then {long} KiB for a longer film");
    assert!(once < long + GROWTH_KIB, "{long} KiB, then {once} KiB after playing all of it");
    assert!(
        twice < once + GROWTH_KIB,
        "{long} KiB, {once} KiB after playing all of it, then {twice} KiB after the second time"
    );
}
