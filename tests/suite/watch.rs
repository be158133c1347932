//! A folder whose films become titles by themselves.

use std::fs;
use std::path::{Path, PathBuf};

use matinee::catalog::Catalog;
use matinee::ingest::{self, watch};
use matinee::library::Library;
use matinee::media::Ladder;
use matinee::worker::{self, Pool};
use serde_json::{Value, json};

use crate::support::{Data, TestServer, until};
use crate::uploads::film;

const VIDEOS: &str = "/api/v1/videos";

fn server(data: &Data, folder: &Path, then: &str) -> TestServer {
    let folder = folder.to_str().unwrap();
    let settings =
        [("MATINEE_WATCH__FOLDER", folder), ("MATINEE_WATCH__THEN", then), ("MATINEE_WATCH__SETTLE_SECONDS", "1")];
    TestServer::with(data, &settings)
}

fn titles(server: &TestServer) -> Vec<Value> {
    let mut titles = server.get(VIDEOS).json()["videos"].as_array().unwrap().clone();
    titles.iter_mut().for_each(|video| *video = video["title"].take());
    titles.sort_by_key(ToString::to_string);
    titles
}

/// Puts a film there as programs do that write and then rename.
fn put(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let (part, path) = (folder.join(format!("{name}.part")), folder.join(name));
    fs::write(&part, bytes).unwrap();
    fs::rename(part, &path).unwrap();
    path
}

/// What is said of a film that was refused, once that is written whole.
fn reason(path: &Path) -> String {
    fs::read_to_string(path).ok().filter(|text| text.ends_with('\n')).unwrap_or_default()
}

#[test]
fn what_has_stopped_growing_becomes_a_title_and_goes_with_its_subtitles() {
    let (folder, outside, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Data::new());
    let secret = put(outside.path(), "secret.mp4", &film().1);
    let at = |name: &str| folder.path().join(name);
    fs::write(at("film.en.srt"), "1\n00:00:00,000 --> 00:00:01,000\nHello\n").unwrap();
    std::os::unix::fs::symlink(&secret, at("link.mp4")).unwrap();
    std::os::unix::fs::symlink(&secret, at("film.de.srt")).unwrap();
    fs::write(at(".hidden.mp4"), film().1).unwrap();
    fs::write(at("unfinished.mp4.part"), film().1).unwrap();
    put(folder.path(), "film.mp4", &film().1);
    put(folder.path(), "junk.mp4", b"#EXTM3U\nfile:///etc/passwd\n");
    let server = server(&data, folder.path(), "move");
    until("both are put away", || at("done/film.mp4").exists() && !reason(&at("failed/junk.mp4.txt")).is_empty());
    let reason = reason(&at("failed/junk.mp4.txt"));
    assert!(
        reason.split_once(": ").is_some_and(|(code, why)| !code.contains(' ') && why.contains("junk.mp4")),
        "{reason}"
    );
    assert!(at("done/film.en.srt").exists() && !at("film.en.srt").exists() && at("failed/junk.mp4").exists());
    assert_eq!(titles(&server), ["film"]);
    let video = server.get(VIDEOS).json()["videos"][0].clone();
    let video = server.get(&format!("{VIDEOS}/{}", video["id"].as_str().unwrap())).json();
    let subtitles: Vec<&Value> = video["tracks"].as_array().unwrap().iter().filter(|t| t["kind"] == "text").collect();
    assert_eq!((&video["state"], subtitles.len()), (&json!("ready"), 1), "{video}");
    for left in ["link.mp4", "film.de.srt", ".hidden.mp4", "unfinished.mp4.part"] {
        assert!(at(left).symlink_metadata().is_ok(), "{left} is nobody's");
    }
    assert!(secret.exists());
}

#[test]
fn what_is_kept_is_taken_in_once_over_restarts_and_removals() {
    let (folder, data) = (tempfile::tempdir().unwrap(), Data::new());
    let kept = put(folder.path(), "a.mp4", &film().1);
    put(folder.path(), "b.mp4", b"no film at all");
    let first = server(&data, folder.path(), "keep");
    until("a film is taken in", || titles(&first) == ["a"]);
    drop(first);
    let second = server(&data, folder.path(), "keep");
    put(folder.path(), "c.mp4", &film().1);
    // Files are looked at in the order of their names, so what comes last tells of the others.
    until("another film is taken in", || titles(&second).contains(&json!("c")));
    assert_eq!(titles(&second), ["a", "c"]);
    for video in second.get(VIDEOS).json()["videos"].as_array().unwrap() {
        let path = format!("{VIDEOS}/{}", video["id"].as_str().unwrap());
        assert_eq!(second.ask(&path).method("DELETE").send().unwrap().status, 200);
    }
    put(folder.path(), "d.mp4", &film().1);
    until("yet another film is taken in", || titles(&second) == ["d"]);
    assert!(kept.exists());
    let mut names: Vec<String> =
        fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["a.mp4", "b.mp4", "c.mp4", "d.mp4"], "nothing is written there");
}

/// It was deleted, and no title was made of it.
#[test]
fn a_film_that_is_put_there_again_after_its_title_was_removed_becomes_a_title_again() {
    let (folder, data) = (tempfile::tempdir().unwrap(), Data::new());
    let remove = |server: &TestServer| {
        let id = server.get(VIDEOS).json()["videos"][0]["id"].as_str().unwrap().to_owned();
        assert_eq!(server.ask(&format!("{VIDEOS}/{id}")).method("DELETE").send().unwrap().status, 200);
        assert_eq!(titles(server), [""; 0]);
    };
    let modified = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let again = |name: &str, bytes: &[u8]| {
        let part = folder.path().join("part.part");
        fs::write(&part, bytes).unwrap();
        fs::File::options().write(true).open(&part).unwrap().set_modified(modified).unwrap();
        fs::rename(part, folder.path().join(name)).unwrap();
    };
    again("a.mp4", &film().1);
    let keeps = server(&data, folder.path(), "keep");
    until("it is taken in", || titles(&keeps) == ["a"]);
    remove(&keeps);
    drop(keeps);
    // What is known of it is of no use where it would be deleted.
    let deletes = server(&data, folder.path(), "delete");
    let is_there = |name: &str| folder.path().join(name).exists();
    until("it is taken in again, and deleted", || !is_there("a.mp4"));
    assert_eq!(titles(&deletes), ["a"]);
    remove(&deletes);
    again("a.mp4", &film().1);
    until("it is taken in once more, and deleted", || !is_there("a.mp4"));
    assert_eq!(titles(&deletes), ["a"]);
    // One that was refused is not forever.
    again("b.mp4", b"no film at all");
    let catalog = Catalog::open(data.path()).unwrap();
    let key = format!("14/{}/b.mp4", modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos());
    until("it is put away and forgotten", || !is_there("b.mp4") && catalog.watched(&key).unwrap().is_none());
    assert!(is_there("failed/b.mp4"));
}

#[test]
fn a_folder_whose_disk_was_away_for_a_while_brings_nothing_twice() {
    let (parent, data) = (tempfile::tempdir().unwrap(), Data::new());
    let (folder, away) = (parent.path().join("folder"), parent.path().join("away"));
    fs::create_dir(&folder).unwrap();
    put(&folder, "a.mp4", &film().1);
    let server = server(&data, &folder, "keep");
    until("a film is taken in", || titles(&server) == ["a"]);
    fs::rename(&folder, &away).unwrap();
    fs::create_dir(&folder).unwrap();
    put(&folder, "b.mp4", &film().1);
    until("what lies in its place is taken in", || titles(&server) == ["a", "b"]);
    fs::remove_dir_all(&folder).unwrap();
    put(&away, "c.mp4", &film().1);
    fs::rename(&away, &folder).unwrap();
    // Files are looked at in the order of their names, so what comes last tells of the others.
    until("another film is taken in", || titles(&server).contains(&json!("c")));
    assert_eq!(titles(&server), ["a", "b", "c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_over_which_workers_die_is_given_up_after_so_many_attempts() {
    let (folder, data) = (tempfile::tempdir().unwrap(), Data::new());
    put(folder.path(), "film.mp4", &film().1);
    let program = Some(env!("CARGO_BIN_EXE_matinee").into());
    // Too little for the thread that inspects: whatever the file, the worker dies over it.
    let pool = worker::Config { standby: 0, memory_bytes: 16 << 20, program, ..worker::Config::default() };
    let rooms = ingest::Rooms {
        catalog: Catalog::open(data.path()).unwrap(),
        library: Library::open(data.path()).unwrap(),
        pool: Pool::start(pool).unwrap(),
        ladder: Ladder::default(),
        reserve_bytes: 0,
    };
    let (catalog, pool) = (rooms.catalog.clone(), rooms.pool.clone());
    let config = watch::Config { folder: folder.path().to_owned(), settle_seconds: 1, ..watch::Config::default() };
    let limits = ingest::Config { attempts: 1, ..ingest::Config::default() };
    let events = ingest::Events::new();
    let watcher =
        watch::Watcher::start(&config, data.path(), &limits, rooms, events, std::sync::Arc::new(|_| {})).unwrap();
    let said = || reason(&folder.path().join("failed/film.mp4.txt"));
    until("it is given up", || !said().is_empty());
    watcher.close().await;
    pool.close().await;
    let reason = said();
    assert!(reason.starts_with("worker_died: ") && folder.path().join("failed/film.mp4").exists(), "{reason}");
    assert_eq!(catalog.count().unwrap(), 0);
}
