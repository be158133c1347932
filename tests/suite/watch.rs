//! A folder whose films become titles by themselves.

use std::fs;
use std::path::{Path, PathBuf};

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
    until("both are put away", || at("done/film.mp4").exists() && at("failed/junk.mp4.txt").exists());
    let reason = fs::read_to_string(at("failed/junk.mp4.txt")).unwrap();
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
