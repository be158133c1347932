//! A disk that takes no more, while segments are made: viewers notice nothing, nothing half-written stays, and files are
//! written again once there is room.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::media::Film;
use crate::support::{Data, TestServer, matinee, skipped, until};
use crate::tus;
use crate::uploads::settled;

/// Size of the disk that is filled, and what fills it.
const DISK: &str = "size=2m";
const BALLAST_BYTES: usize = 4 << 20;

/// A film and what its 360p is.
fn film() -> (Data, Vec<(String, Vec<u8>)>) {
    let (data, media) = (Data::new(), tempfile::tempdir().unwrap());
    let id = data.ingest(&Film::LONG_GOP.make(media.path(), "film.mp4"));
    let server = TestServer::over(&data);
    let paths = server.segments(&server.playlist(&id, "360p")).split_off(1);
    let segments = paths.into_iter().map(|path| (path.clone(), server.bytes(&path))).collect();
    drop(server);
    fs::remove_dir_all(data.path().join("cache")).unwrap();
    (data, segments)
}

fn assert_right(server: &TestServer, (path, whole): &(String, Vec<u8>)) {
    assert!(server.bytes(path) == *whole, "{path} is another");
}

fn failing(server: &TestServer) -> bool {
    server.metric("matinee_cache_disk_failing") == 1.0
}

fn on_disk(server: &TestServer) -> f64 {
    server.metric("matinee_cache_entries{tier=\"disk\"}")
}

/// Unfinished files in a cache folder.
fn unfinished(cache: &Path) -> usize {
    fs::read_dir(cache.join("tmp")).unwrap().count()
}

#[test]
fn a_limit_on_file_sizes_costs_the_files_and_neither_the_viewer_nor_the_server() {
    let (data, segments) = film();
    let server = TestServer::with(&data, &[("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0")]);
    let limit = |bytes: Option<u64>| {
        let was = prlimit(Pid::from_raw(server.pid()), Resource::Fsize, Rlimit { current: bytes, maximum: None });
        was.expect("a process of one's own may be limited")
    };
    let before = limit(Some(16));
    assert_eq!(before.maximum, None, "this test asks for a machine without a hard limit on file sizes");
    for segment in &segments[2..4] {
        assert_right(&server, segment);
    }
    until("the failure is told", || failing(&server));
    // From memory.
    assert_right(&server, &segments[2]);
    until("unfinished files are gone", || unfinished(&data.path().join("cache")) == 0);
    assert_eq!((on_disk(&server), server.get("/readyz").status), (0.0, 200));
    until("it is logged", || server.log().contains("the cache folder cannot be written"));
    limit(None);
    assert_right(&server, &segments[4]);
    until("files are written again", || on_disk(&server) >= 1.0 && !failing(&server));
    until("that is logged", || server.log().contains("the cache folder can be written again"));
    let server = server.restart();
    let again = server.get(&segments[4].0);
    assert_eq!((again.header("x-cache"), again.body == segments[4].1), (Some("disk"), true));
}

/// The start of a command that sees a small disk of its own in the place of the cache: mounting takes a namespace, which
/// root may always have and others on most systems.
fn with_a_disk_of_its_own() -> Option<Vec<&'static str>> {
    let ways = [vec!["unshare", "--mount"], vec!["unshare", "--user", "--map-root-user", "--mount"]];
    ways.into_iter().find(|way| {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(way[0]);
        command.args(&way[1..]).args(["mount", "-t", "tmpfs", "-o", DISK, "matinee"]).arg(folder.path());
        command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    })
}

/// A server whose cache lies on a disk that is full; the folder as the server sees it.
fn on_a_full_disk(data: &Data, way: &[&str]) -> (TestServer, PathBuf) {
    let cache = data.path().join("cache");
    fs::create_dir_all(&cache).unwrap();
    let serve = matinee(&["serve", "--listen", "127.0.0.1:0", "--data", data.path().to_str().unwrap()]);
    let script = format!(
        "mount -t tmpfs -o {DISK} matinee {0} && {{ head -c {BALLAST_BYTES} /dev/zero > {0}/ballast; exec \"$@\"; }}",
        cache.display()
    );
    let mut command = Command::new(way[0]);
    command.args(&way[1..]).args(["sh", "-c", &script, "sh"]).arg(serve.get_program()).args(serve.get_args());
    for (name, value) in serve.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0");
    let server = TestServer::started_by(command, data);
    let seen = PathBuf::from(format!("/proc/{}/root{}", server.pid(), cache.display()));
    (server, seen)
}

fn fill(cache: &Path) {
    let ballast = fs::File::options().create(true).append(true).open(cache.join("ballast"));
    ballast.unwrap().write_all(&vec![0; BALLAST_BYTES]).expect_err("it is a small disk");
}

#[test]
fn a_full_disk_costs_the_files_and_then_the_oldest_make_room() {
    let Some(way) = with_a_disk_of_its_own() else {
        skipped("no small disk can be mounted here, so none was filled");
        return;
    };
    let (data, segments) = film();
    let (server, cache) = on_a_full_disk(&data, &way);
    assert_right(&server, &segments[2]);
    until("the failure is told", || failing(&server));
    assert_right(&server, &segments[2]);
    until("unfinished files are gone", || unfinished(&cache) == 0);
    assert_eq!(on_disk(&server), 0.0);
    until("the log says it", || server.log().contains("No space left on device"));
    fs::remove_file(cache.join("ballast")).unwrap();
    for segment in &segments[3..5] {
        assert_right(&server, segment);
        until("files are written again", || file_of(&cache, &segment.0).exists());
    }
    until("that is told", || on_disk(&server) >= 2.0 && !failing(&server));
    // Full once more, now with something of ours to let go.
    fill(&cache);
    assert_right(&server, &segments[1]);
    until("it has taken the place of an older one", || file_of(&cache, &segments[1].0).exists());
    until("unfinished files are gone", || unfinished(&cache) == 0);
    assert!(!failing(&server));
    assert_right(&server, &segments[1]);
    drop(server);
    fs::remove_dir_all(data.path().join("cache")).unwrap();
}

/// Films were refused beside cached segments of several times their size, and the catalog's disk was filled to the last byte.
#[test]
fn a_film_takes_the_place_of_cached_segments() {
    let Some(way) = tus::with_a_disk_of_its_own() else {
        skipped("no small disk can be mounted here, so none was filled");
        return;
    };
    let (data, media) = (Data::new(), tempfile::tempdir().unwrap());
    let settings = [
        ("MATINEE_UPLOADS__RESERVE_BYTES", "8MiB"),
        ("MATINEE_CACHE__DISK_BYTES", "1GiB"),
        ("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0"),
    ];
    let (server, seen) = tus::on_a_small_disk(&data, &way, &settings);
    let post = |body: Vec<u8>| server.ask("/api/v1/videos").method("POST").body(body).send().unwrap();
    let large = Film { kilobits: 8000, ..Film::PLAYABLE }.make(media.path(), "large.mp4");
    let id = post(fs::read(large).unwrap()).json()["id"].as_str().unwrap().to_owned();
    assert_eq!(settled(&server, &id)["state"], "ready");
    let paths = server.segments(&server.playlist(&id, "source"));
    let whole: Vec<Vec<u8>> = paths.iter().map(|path| server.bytes(path)).collect();
    until("all of it is on disk", || on_disk(&server) >= paths.len() as f64);
    let cached = server.metric("matinee_cache_bytes{tier=\"disk\"}");
    assert!(cached > f64::from(6 << 20), "{cached}");
    let free = || rustix::fs::statvfs(&seen).map(|disk| disk.f_bavail * disk.f_frsize).unwrap();
    let ballast = usize::try_from(free()).unwrap() - (10 << 20);
    fs::write(seen.join("ballast"), vec![0; ballast]).unwrap();
    let answer = post(tus::longer(4 << 20));
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(settled(&server, answer.json()["id"].as_str().unwrap())["state"], "ready");
    assert_eq!(post(tus::longer(32 << 20)).problem(), (507, "disk-full".into()));
    // Played again, they are kept only as far as there is room.
    for (path, whole) in paths.iter().zip(&whole) {
        assert!(server.bytes(path) == *whole, "{path}");
    }
    // Two are written at a time, each of a megabyte.
    assert!(free() >= 6 << 20, "{} bytes are left", free());
}

/// The file that keeps `/v/{id}/{generation}/{rendition}/{number}.m4s`.
fn file_of(cache: &Path, path: &str) -> PathBuf {
    let [generation, rendition, number] = path.split('/').skip(3).collect::<Vec<_>>()[..] else { panic!("{path}") };
    cache.join(&generation[..2]).join(generation).join(rendition).join(number.trim_end_matches(".m4s"))
}
