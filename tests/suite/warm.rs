//! Encoding ahead of demand: what is made without anybody asking, and what somebody asked for by hand.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::media::Film;
use crate::support::{Answer, Data, TestServer, WARMER, run, until};
use crate::uploads::settled;

/// Twenty-odd seconds that nothing can be passed through of.
const FILM: Film = Film { frames: 600, gop: 600, ..Film::LONG_GOP };

fn film(data: &Data, folder: &Path) -> String {
    data.ingest(&FILM.make(folder, "film.mp4"))
}

fn is_there(server: &TestServer, path: &str) -> bool {
    server.ask(path).method("HEAD").send().unwrap().header("content-length").is_some()
}

fn warm(server: &TestServer, id: &str, body: &str) -> Answer {
    let asking = server.ask(&format!("/api/v1/videos/{id}/warm")).method("POST");
    asking.header("content-type", "application/json").body(body).send().unwrap()
}

fn job(server: &TestServer, id: &str) -> Value {
    server.get(&format!("/api/v1/jobs/{id}")).json()
}

#[test]
fn a_title_begins_with_hits_although_nobody_has_asked_for_it() {
    let (media, data) = (tempfile::tempdir().unwrap(), Data::new());
    let id = film(&data, media.path());
    let server = TestServer::with(&data, &[(WARMER, "true"), ("MATINEE_WARMER__HEAD_SECONDS", "3.9")]);
    // The init segments and the first three segments, of pictures and sound; the first two of other sound and lower rungs.
    until("the head is made", || server.metric("matinee_warmed_total") >= 14.0);
    let started = server.metric("matinee_encodes_started_total");
    let start = server.playlists(&id);
    let start = start.iter().find(|path| path.contains("/360p/")).expect("the rendition players start with");
    for path in server.segments(start)[..4].iter() {
        assert_eq!(server.get(path).header("x-cache"), Some("memory"), "{path}");
    }
    for rung in ["240p", "144p", "audio-64k"] {
        let there =
            server.segments(&server.playlist(&id, rung)).iter().map(|path| is_there(&server, path)).collect::<Vec<_>>();
        assert_eq!(there[..4], [true, true, true, false], "{rung}");
    }
    assert!(started >= 12.0, "{started}");
}

#[test]
fn a_job_makes_the_stretch_it_names_and_says_how_far_it_is() {
    let (media, data) = (tempfile::tempdir().unwrap(), Data::new());
    let id = film(&data, media.path());
    let server = TestServer::over(&data);
    let answer = warm(&server, &id, r#"{"renditions": ["144p"], "from": 1.5, "to": 3}"#);
    let entered = answer.json();
    assert_eq!((answer.status, &entered["kind"], &entered["video"]), (201, &"warm".into(), &id.clone().into()));
    let name = entered["id"].as_str().unwrap();
    assert_eq!(answer.header("location"), Some(&*format!("/api/v1/jobs/{name}")));
    until("the job is done", || job(&server, name)["state"] == "done");
    assert_eq!(job(&server, name)["progress"], 1000);
    let there: Vec<bool> =
        server.segments(&server.playlist(&id, "144p")).iter().map(|path| is_there(&server, path)).collect();
    // Segments last 1, 1, 2 and then 4 seconds.
    assert_eq!(there[..5], [true, false, true, true, false]);
}

#[test]
fn a_job_that_makes_no_sense_is_refused_with_what_there_is() {
    let (media, data) = (tempfile::tempdir().unwrap(), Data::new());
    let id = film(&data, media.path());
    let server = TestServer::over(&data);
    for (body, part) in [
        (r#"{"renditions": ["4320p"]}"#, "it has 360p"),
        (r#"{"from": 99}"#, "which lasts"),
        (r#"{"until": 9}"#, "unknown field"),
        ("[1", "not a JSON object"),
    ] {
        let answer = warm(&server, &id, body);
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(answer.status == 400 && detail.contains(part), "{body}: {} {detail}", answer.status);
    }
    assert_eq!(warm(&server, "000000000001", "").status, 404);
    assert_eq!(warm(&server, "000000000001", "[1").status, 404, "what cannot be done is not read");
}

#[test]
fn a_job_that_is_called_off_stops_and_its_title_plays_on() {
    let (media, data) = (tempfile::tempdir().unwrap(), Data::new());
    let id = film(&data, media.path());
    let server = TestServer::over(&data);
    let name = warm(&server, &id, "").json()["id"].as_str().unwrap().to_owned();
    until("it is under way", || job(&server, &name)["state"] == "running");
    let answer = server.ask(&format!("/api/v1/jobs/{name}")).method("DELETE").send().unwrap();
    assert_eq!((answer.status, &answer.json()["state"]), (200, &"cancelled".into()));
    until("nothing is encoded any more", || server.metric("matinee_encodes_running") == 0.0);
    assert!(!is_there(&server, server.segments(&server.playlist(&id, "360p")).last().unwrap()));
    assert_eq!(server.get(&format!("/api/v1/videos/{id}")).json()["state"], "ready");
}

/// Renditions that were made together went on to the end of their segment, and left an init segment of a title that was gone.
#[test]
fn a_title_that_is_removed_while_it_is_warmed_leaves_nothing_behind() {
    let (media, data) = (tempfile::tempdir().unwrap(), Data::new());
    let id = film(&data, media.path());
    let server = TestServer::over(&data);
    warm(&server, &id, "");
    // Init segments come first.
    until("segments are made", || server.metric("matinee_encodes_started_total") >= 8.0);
    let answer = server.ask(&format!("/api/v1/videos/{id}")).method("DELETE").send().unwrap();
    assert_eq!(answer.status, 200);
    until("nothing is encoded any more", || server.metric("matinee_encodes_running") == 0.0);
    until("nothing of it is kept", || server.data.files("cache") == ["cache/CACHEDIR.TAG", "cache/index"]);
    assert_eq!(server.metric("matinee_cache_entries{tier=\"memory\"}"), 0.0);
}

#[test]
fn the_command_beside_a_server_waits_for_what_it_asked_for() {
    let (media, data) = (tempfile::tempdir().unwrap(), Data::new());
    let id = film(&data, media.path());
    let server = TestServer::over(&data);
    let ran = run(data.command(&["warm", &id, "--renditions", "144p", "--to", "1", "--wait", "--json"]));
    assert_eq!(ran.code(), 0, "{ran:?}");
    assert_eq!(ran.json().last().unwrap()["state"], "done");
    assert!(is_there(&server, &server.segments(&server.playlist(&id, "144p"))[1]));
    let bad = run(data.command(&["warm", &id, "--renditions", "1p"]));
    assert_eq!(bad.code(), 2);
    assert!(bad.error().contains("it has 360p"), "{bad:?}");
    assert_eq!(run(data.command(&["warm", &id, "--from", "9", "--to", "3"])).code(), 2);
}

#[test]
fn a_ladder_made_from_one_decode_has_the_bytes_that_viewers_get_one_by_one() {
    let media = tempfile::tempdir().unwrap();
    let film = FILM.make(media.path(), "film.mp4");
    // The first four segments of each rendition, which are more than one of pictures.
    let paths = |server: &TestServer, id: &str| -> Vec<String> {
        let playlists = server.playlists(id);
        assert!(playlists.iter().filter(|path| path.contains("p/")).count() > 1, "{playlists:?}");
        playlists.iter().flat_map(|playlist| server.segments(playlist)[..4].to_vec()).collect()
    };
    let data = Data::new();
    let id = data.ingest(&film);
    let server = TestServer::over(&data);
    let name = warm(&server, &id, r#"{"to": 3.5}"#).json()["id"].as_str().unwrap().to_owned();
    until("the job is done", || job(&server, &name)["state"] == "done");
    let all = paths(&server, &id);
    for path in &all {
        assert_eq!(server.get(path).header("x-cache"), Some("memory"), "{path}");
    }
    let warmed: Vec<Vec<u8>> = all.iter().map(|path| server.bytes(path)).collect();
    drop(server);
    std::fs::remove_dir_all(data.path().join("cache")).unwrap();
    let server = TestServer::with(&data, &[("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0")]);
    for (path, warmed) in all.iter().zip(&warmed).rev() {
        assert!(server.bytes(path) == *warmed, "{path}");
    }
}

/// It was wished for and failed some hundred times a second.
#[test]
fn what_cannot_be_made_is_not_warmed_again_and_again() {
    let (media, data) = (tempfile::tempdir().unwrap(), Data::new());
    film(&data, media.path());
    for file in data.files("library").iter().filter(|file| file.ends_with("/source")) {
        std::fs::remove_file(data.path().join(file)).unwrap();
    }
    let server = TestServer::with(&data, &[(WARMER, "true"), ("MATINEE_WARMER__HEAD_SECONDS", "4")]);
    let failed = || server.metric("matinee_encodes_ended_total{outcome=\"failed\"}");
    // Of pictures and sound the init segments, and the segments but for those that are made for several renditions at once.
    until("the head was tried", || failed() >= 8.0);
    // A run ends a while after what it did last.
    until("it is left alone", || server.metric("matinee_runs_active") == 0.0);
    let log = server.log();
    let mut keys: Vec<&str> =
        log.lines().filter_map(|line| line.split("\"key\":\"").nth(1)?.split('"').next()).collect();
    let all = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert!(keys.len() == all && all >= 8, "{all} failures of {} objects", keys.len());
}

/// What was made was in memory or about to be written when it was asked whether it is kept, and was made again without end.
#[test]
fn what_cannot_be_kept_is_not_warmed_again_and_again() {
    let (media, data) = (tempfile::tempdir().unwrap(), Data::new());
    let settings = [(WARMER, "true"), ("MATINEE_WARMER__HEAD_SECONDS", "4"), ("MATINEE_CACHE__MEMORY_BYTES", "0")];
    let server = TestServer::with(&data, &settings);
    let unfinished = data.path().join("cache/tmp");
    std::fs::remove_dir(&unfinished).unwrap();
    std::fs::write(&unfinished, "in the way").unwrap();
    let film = std::fs::read(FILM.make(media.path(), "film.mp4")).unwrap();
    let answer = server.ask("/api/v1/videos").method("POST").body(film).send().unwrap();
    settled(&server, answer.json()["id"].as_str().unwrap());
    until("a file could not be written", || server.metric("matinee_cache_disk_failing") == 1.0);
    // A run ends a while after what it did last.
    until("it is left alone", || server.metric("matinee_runs_active") == 0.0);
    // The head, which is fifteen objects, once, and what a segment of it needs that was not kept either.
    let started = server.metric("matinee_encodes_started_total");
    assert!(started <= 30.0, "{started}");
    std::fs::remove_file(&unfinished).unwrap();
}

/// It went on with the old film, which was gone, and failed.
#[test]
fn a_job_begins_again_when_its_title_has_another_film() {
    let (media, data) = (tempfile::tempdir().unwrap(), Data::new());
    let id = film(&data, media.path());
    let server = TestServer::with(&data, &[("MATINEE_WORKER__STANDBY", "0"), ("MATINEE_WORKER__STALL_SECONDS", "60")]);
    let name = warm(&server, &id, "").json()["id"].as_str().unwrap().to_owned();
    until("segments are made", || server.metric("matinee_encodes_started_total") >= 8.0);
    // It does not end before the other film is there.
    for worker in server.workers() {
        let _ = kill_process(Pid::from_raw(worker).unwrap(), Signal::STOP);
    }
    let before = server.playlists(&id);
    let other = std::fs::read(Film { frames: 60, ..Film::PLAYABLE }.make(media.path(), "other.mp4")).unwrap();
    let answer = server.ask(&format!("/api/v1/videos/{id}/source")).method("PUT").body(other).send().unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
    until("the job has ended", || !matches!(job(&server, &name)["state"].as_str(), Some("queued" | "running")));
    assert_eq!((&job(&server, &name)["state"], &job(&server, &name)["progress"]), (&"done".into(), &1000.into()));
    let after = server.playlists(&id);
    assert_ne!(before, after);
    for path in after.iter().flat_map(|playlist| server.segments(playlist)) {
        assert!(is_there(&server, &path), "{path}");
    }
}

/// What somebody else was making counted as made.
#[test]
fn a_job_is_not_done_while_what_somebody_else_makes_may_be_given_up() {
    let (media, data) = (tempfile::tempdir().unwrap(), Data::new());
    let id = film(&data, media.path());
    let alone = [
        ("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0"),
        ("MATINEE_WORKER__STANDBY", "0"),
        ("MATINEE_WORKER__STALL_SECONDS", "60"),
    ];
    let server = TestServer::with(&data, &alone);
    let path = server.segments(&server.playlist(&id, "360p")).swap_remove(5);
    let mut viewer = server.ask(&path).open().unwrap();
    viewer.some().unwrap();
    // As long as it stands still the segment is in the making.
    for worker in server.workers() {
        kill_process(Pid::from_raw(worker).unwrap(), Signal::STOP).unwrap();
    }
    // It is what lies from 8 to 12 s.
    let job_of = warm(&server, &id, r#"{"renditions": ["360p"], "from": 9, "to": 10}"#).json()["id"].clone();
    let name = job_of.as_str().unwrap();
    until("the job has come to it", || job(&server, name)["progress"].as_u64() > Some(0));
    drop(viewer);
    until("the job is done", || job(&server, name)["state"] == "done");
    assert!(is_there(&server, &path));
}

/// It was made by a worker that gets a fiftieth of a processor beside any other.
#[test]
fn a_viewer_who_joins_what_is_warmed_has_it_made_by_a_worker_of_their_own() {
    let (media, data) = (tempfile::tempdir().unwrap(), Data::new());
    let id = film(&data, media.path());
    let alone = [("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0"), ("MATINEE_WORKER__STANDBY", "0")];
    let server = TestServer::with(&data, &alone);
    let paths = server.segments(&server.playlist(&id, "360p"));
    // From the fourth segment on each lasts four seconds. One may be made before it is asked for: then another tells.
    let joined = (4..paths.len() - 1).any(|at| {
        let begun = server.metric("matinee_encodes_started_total");
        let from = 4 * (at - 3);
        warm(&server, &id, &format!(r#"{{"renditions": ["360p"], "from": {}, "to": {}}}"#, from + 1, from + 2));
        until("it is begun", || server.metric("matinee_encodes_started_total") > begun);
        until("not the init segment alone", || is_there(&server, &paths[0]));
        let answer = server.get(&paths[at]);
        assert_eq!(answer.status, 200);
        if answer.header("x-cache") != Some("shared") {
            return false;
        }
        let levels: Vec<i64> = server.workers().into_iter().filter_map(nice_level).collect();
        assert!(levels.contains(&2), "{levels:?}");
        true
    });
    assert!(joined, "none was in the making when it was asked for");
}

/// A viewer's segment took a quarter longer, as caches and memory were shared with a worker that had next to no processor time.
#[test]
fn what_is_warmed_stands_still_while_a_viewer_needs_the_cores() {
    let (media, data) = (tempfile::tempdir().unwrap(), Data::new());
    let id = film(&data, media.path());
    let server = TestServer::with(
        &data,
        &[
            ("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0"),
            ("MATINEE_ENCODER__WORKERS", "2"),
            ("MATINEE_WORKER__STANDBY", "0"),
            ("MATINEE_WORKER__STALL_SECONDS", "60"),
        ],
    );
    let paths = server.segments(&server.playlist(&id, "360p"));
    // One may be made before its worker is stopped: then another tells.
    let stood_still = (4..paths.len()).any(|at| {
        let mut viewer = server.ask(&paths[at]).open().unwrap();
        viewer.some().unwrap();
        let theirs: Vec<Pid> = server.workers().into_iter().filter_map(Pid::from_raw).collect();
        let signal = |signal| theirs.iter().for_each(|worker| kill_process(*worker, signal).unwrap_or_default());
        signal(Signal::STOP);
        if is_there(&server, &paths[at]) {
            signal(Signal::CONT);
            return false;
        }
        // As long as it stands still the viewer's segment is in the making.
        let name = warm(&server, &id, r#"{"renditions": ["240p", "144p"]}"#).json()["id"].as_str().unwrap().to_owned();
        let stands_still = |pid: i32| stat(pid).is_some_and(|stat| stat[0] == "T" && stat[16] == "19");
        until("warming stands still", || server.workers().into_iter().any(stands_still));
        signal(Signal::CONT);
        assert_eq!(viewer.rest().unwrap().status, 200);
        until("the job is done", || job(&server, &name)["state"] == "done");
        true
    });
    assert!(stood_still, "none was in the making when its worker was stopped");
}

/// It pushed out other titles, then its own beginning, and was done.
#[test]
fn a_job_that_finds_no_room_fails_and_says_what_to_do() {
    let (media, data) = (tempfile::tempdir().unwrap(), Data::new());
    let id = film(&data, media.path());
    let server = TestServer::with(&data, &[("MATINEE_CACHE__DISK_BYTES", "200000")]);
    let name = warm(&server, &id, "").json()["id"].as_str().unwrap().to_owned();
    until("the job has ended", || !matches!(job(&server, &name)["state"].as_str(), Some("queued" | "running")));
    let ended = job(&server, &name);
    assert_eq!((&ended["state"], &ended["error"]["code"]), (&"failed".into(), &"room".into()), "{ended}");
    assert!(ended["error"]["message"].as_str().unwrap().contains("raise cache.disk_bytes"), "{ended}");
}

/// All were blamed for what one of them had done, and were made together again a second later.
#[test]
fn renditions_whose_worker_died_are_made_one_by_one() {
    let (media, data) = (tempfile::tempdir().unwrap(), Data::new());
    let id = film(&data, media.path());
    let server = TestServer::with(&data, &[("MATINEE_WORKER__STANDBY", "0")]);
    // From the fourth segment on each lasts four seconds.
    let warm_two = |at: usize| {
        let (from, to) = (4 * (at - 3) + 1, 4 * (at - 3) + 2);
        let body = format!(r#"{{"renditions": ["360p", "240p"], "from": {from}, "to": {to}}}"#);
        warm(&server, &id, &body).json()["id"].as_str().unwrap().to_owned()
    };
    let is_done = |name: &str| job(&server, name)["state"] == "done";
    let first = warm_two(4);
    until("the init segments are there", || is_done(&first));
    // One may be made before its worker is killed: then another tells.
    let hit = (5..8).any(|at| {
        let begun = server.metric("matinee_encodes_started_total");
        let name = warm_two(at);
        until("it is begun", || server.metric("matinee_encodes_started_total") > begun);
        for worker in server.workers() {
            let _ = kill_process(Pid::from_raw(worker).unwrap(), Signal::KILL);
        }
        until("the job is done", || is_done(&name));
        server.log().contains("renditions that were warmed together are tried alone")
    });
    assert!(hit, "{}", server.log());
}

/// How kind a process is, by proc_pid_stat(5).
fn nice_level(pid: i32) -> Option<i64> {
    stat(pid)?[16].parse().ok()
}

/// What stands behind the name of a process: first its state.
fn stat(pid: i32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit(')').next()?.split_whitespace().map(str::to_owned).collect())
}
