//! A title gets another source: it plays the old one until the new one can be played, and then the new one alone.

use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::manage::left_in_processing;
use crate::media::Film;
use crate::support::{Asking, TestServer, until};
use crate::uploads::{film, settled};

const VIDEOS: &str = "/api/v1/videos";

/// Another film than [`film`].
fn other() -> Vec<u8> {
    static OTHER: OnceLock<Vec<u8>> = OnceLock::new();
    let make = || {
        let folder = tempfile::tempdir().unwrap();
        std::fs::read(Film { frames: 60, ..Film::PLAYABLE }.make(folder.path(), "other.mp4")).unwrap()
    };
    OTHER.get_or_init(make).clone()
}

/// A title that can be played.
fn ready(server: &TestServer) -> String {
    let answer = server.ask(&format!("{VIDEOS}?title=Kept")).method("POST").body(film().1).send().unwrap();
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(settled(server, &id)["state"], "ready");
    id
}

fn put(server: &TestServer, id: &str) -> Asking {
    server.ask(&format!("{VIDEOS}/{id}/source")).method("PUT")
}

fn video(server: &TestServer, id: &str) -> Value {
    server.get(&format!("{VIDEOS}/{id}")).json()
}

/// Waits until a replacement has ended; the video then.
fn replaced(server: &TestServer, id: &str) -> Value {
    let mut video = Value::Null;
    until("the replacement is over", || {
        video = self::video(server, id);
        !matches!(video["replacement"]["state"].as_str(), Some("queued" | "running"))
    });
    video
}

#[test]
fn a_title_changes_its_source_at_once_and_keeps_everything_else() {
    let server = TestServer::start();
    let id = ready(&server);
    let before = video(&server, &id);
    let playlist = server.playlist(&id, "audio-64k");
    let old = server.segments(&playlist);
    server.bytes(&old[1]);
    let etag = server.get(&format!("{VIDEOS}/{id}")).header("etag").unwrap().to_owned();
    let mut events = server.ask(&format!("{VIDEOS}/{id}/events")).open().unwrap();
    let answer = put(&server, &id).header("if-match", &etag).body(other()).send().unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(answer.header("location"), Some(format!("{VIDEOS}/{id}").as_str()));
    assert_eq!(answer.header("etag"), None, "it would be the tag of the video, not of the film");
    let after = replaced(&server, &id);
    assert_eq!((&after["replacement"], &after["state"]), (&Value::Null, &"ready".into()), "{after}");
    for same in ["id", "title", "created_at", "playback_policy", "file_name"] {
        assert_eq!(after[same], before[same], "{same}");
    }
    for different in ["source", "size_bytes", "duration_s"] {
        assert_ne!(after[different], before[different], "{different}");
    }
    let mut told = String::new();
    while !told.contains("event: replaced\ndata: {\"error\":null,\"replaced\":true,") {
        told += &String::from_utf8(events.some().unwrap()).unwrap();
    }
    assert!(!told.contains("removed"), "{told}");
    // Of the old one nothing plays and nothing is left.
    assert_ne!(server.playlist(&id, "audio-64k"), playlist);
    assert_eq!(server.get(&old[1]).problem(), (404, "no-generation".into()));
    let generation = old[1].split('/').nth(3).unwrap();
    until("the old source and its segments are gone", || {
        server.data.sources() == [after["source"].as_str().unwrap()]
            && !server.data.files("cache").iter().any(|file| file.contains(generation))
    });
    let new = server.segments(&server.playlist(&id, "audio-64k"));
    server.bytes(&new[1]);
    let kind = server.get("/api/v1/jobs?limit=1").json()["jobs"][0]["kind"].clone();
    assert_eq!(kind, "replace");
}

#[test]
fn a_source_that_is_refused_leaves_the_title_playing_and_says_why() {
    let server = TestServer::start();
    let id = ready(&server);
    let before = video(&server, &id);
    let playlist = server.playlist(&id, "audio-64k");
    assert_eq!(put(&server, &id).body("no film").send().unwrap().status, 202);
    let after = replaced(&server, &id);
    assert_eq!((&after["state"], &after["error"]), (&"ready".into(), &Value::Null), "{after}");
    let replacement = &after["replacement"];
    assert_eq!((&replacement["state"], &replacement["error"]["code"]), (&"failed".into(), &"not_media".into()));
    let job = server.get(&format!("/api/v1/jobs/{}", replacement["job"].as_str().unwrap())).json();
    assert_eq!((&job["kind"], &job["error"]), (&"replace".into(), &replacement["error"]));
    assert_eq!((&after["source"], server.playlist(&id, "audio-64k")), (&before["source"], playlist));
    until("what was refused is gone", || server.data.sources() == [before["source"].as_str().unwrap()]);
    // A good one afterwards does, and so does one of a title that failed.
    assert_eq!(put(&server, &id).body(other()).send().unwrap().status, 202);
    assert_eq!(replaced(&server, &id)["replacement"], Value::Null);
    let failed = server.ask(VIDEOS).method("POST").body("no film").send().unwrap().json();
    let failed = failed["id"].as_str().unwrap();
    assert_eq!(settled(&server, failed)["state"], "failed");
    assert_eq!(put(&server, failed).body(other()).send().unwrap().status, 202);
    until("the title can be played", || video(&server, failed)["state"] == "ready");
    assert_eq!(video(&server, failed)["error"], Value::Null);
}

#[test]
fn the_same_film_changes_nothing_and_what_cannot_be_is_refused_and_leaves_nothing() {
    let server = TestServer::start();
    let (unready, _) = left_in_processing(&server.data, 3_600_000);
    assert_eq!(put(&server, &unready).body("x").send().unwrap().problem(), (409, "not-ready".into()));
    let id = ready(&server);
    let path = format!("{VIDEOS}/{id}");
    let etag = server.get(&path).header("etag").unwrap().to_owned();
    let same = put(&server, &id).body(film().1).send().unwrap();
    assert_eq!(same.status, 200, "{}", same.text());
    let sources = server.data.sources();
    let stale = put(&server, &id).header("if-match", "\"x-1\"").body(other()).send().unwrap();
    assert_eq!(stale.problem(), (412, "version".into()));
    let known = put(&server, &id).header("if-none-match", "*").body(other()).send().unwrap();
    assert_eq!(known.problem(), (412, "version".into()));
    assert_eq!(put(&server, "000000000000").body("x").send().unwrap().problem(), (404, "no-title".into()));
    assert_eq!(put(&server, &id).body("").send().unwrap().problem(), (400, "empty".into()));
    let text = put(&server, &id).header("content-type", "text/plain").body("x").send().unwrap();
    assert_eq!(text.problem(), (415, "media-type".into()));
    let zipped = put(&server, &id).header("content-encoding", "gzip").body("x").send().unwrap();
    assert_eq!(zipped.problem(), (415, "content-encoding".into()));
    let digest = format!("sha-256=:{}=:", "A".repeat(43));
    let torn = put(&server, &id).header("content-digest", &digest).body(other()).send().unwrap();
    assert_eq!(torn.problem(), (400, "digest-mismatch".into()));
    // Refused before its body is asked for, which nobody sends.
    let titled = server.ask(&format!("{path}/source?title=New")).method("PUT").header("expect", "100-continue");
    let titled = titled.header("content-length", "9999999").send().unwrap();
    assert_eq!(titled.problem(), (400, "body".into()));
    let method = server.ask(&format!("{path}/source")).method("POST").body("x").send().unwrap();
    assert_eq!((method.problem().0, method.header("allow")), (405, Some("PUT, OPTIONS")));
    assert_eq!((server.data.sources(), server.get(&path).header("etag")), (sources, Some(etag.as_str())));
    assert_eq!(server.get("/api/v1/jobs?state=queued").json()["jobs"], json!([]));
}

#[test]
fn a_resumable_upload_may_be_a_new_source() {
    use base64::Engine as _;
    let server = TestServer::start();
    let id = ready(&server);
    let bytes = other();
    let replaces = base64::engine::general_purpose::STANDARD.encode(&id);
    let create = |replaces: &str| {
        let asking = server.ask("/api/v1/uploads").method("POST").header("tus-resumable", "1.0.0");
        let asking = asking.header("upload-length", &bytes.len().to_string());
        let asking = asking.header("content-type", "application/offset+octet-stream");
        asking.header("upload-metadata", &format!("replaces {replaces}")).body(bytes.clone()).send().unwrap()
    };
    assert_eq!(create("eA==").problem(), (400, "body".into()));
    assert_eq!(create("MDAwMDAwMDAwMDAw").problem(), (404, "no-title".into()));
    let done = create(&replaces);
    assert_eq!(done.status, 201, "{}", done.text());
    assert_eq!(done.header("matinee-video"), Some(format!("{VIDEOS}/{id}").as_str()));
    let after = replaced(&server, &id);
    assert_eq!((&after["replacement"], &after["size_bytes"]), (&Value::Null, &bytes.len().into()), "{after}");
}
