//! Promise 7: the viewer comes first, who waits in vain is told so in time, and what a player tells helps it.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::media::Film;
use crate::support::{Data, TestServer, until};

/// How long players wait that are not to wait in vain.
const PATIENCE_SECONDS: u64 = 1;

fn film() -> (Data, String) {
    let media = tempfile::tempdir().unwrap();
    let data = Data::new();
    let id = data.ingest(&Film::LONG_GOP.make(media.path(), "film.mp4"));
    (data, id)
}

#[test]
fn more_than_can_be_made_in_time_is_refused_in_time_and_what_is_accepted_is_made() {
    let (data, id) = film();
    let patience = PATIENCE_SECONDS.to_string();
    let one = [("MATINEE_ENCODER__WORKERS", "1"), ("MATINEE_ENCODER__PATIENCE_SECONDS", &patience)];
    let server = TestServer::with(&data, &one);
    let paths: Vec<String> = ["360p", "240p", "144p"]
        .iter()
        .flat_map(|rung| server.segments(&server.playlist(&id, rung))[1..].to_vec())
        .collect();
    let answers: Vec<_> = thread::scope(|scope| {
        let ask = |path| {
            let began = Instant::now();
            (server.get(path), began.elapsed())
        };
        let asked: Vec<_> = paths.iter().map(|path| scope.spawn(move || ask(path))).collect();
        asked.into_iter().map(|answer| answer.join().unwrap()).collect()
    });
    // Measured beside those who were served, since a busy machine slows both.
    let longest = answers.iter().filter(|(answer, _)| answer.status == 200).map(|(_, took)| *took).max();
    let bound = longest.unwrap() + Duration::from_secs(PATIENCE_SECONDS);
    let refused: Vec<_> = answers.iter().filter(|(answer, _)| answer.status == 503).collect();
    assert!(!refused.is_empty() && refused.len() < answers.len(), "{} of {} refused", refused.len(), answers.len());
    for (answer, took) in &answers {
        assert!(matches!(answer.status, 200 | 503), "{}", answer.text());
        if answer.status == 503 {
            let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=8).contains(&seconds));
            assert!(*took < bound, "told after {took:?}, when {longest:?} was enough to be served");
        }
    }
}

/// They lay with four runs, where nobody counted them, and waited for as long as it took.
#[test]
fn of_many_viewers_at_many_cold_places_of_one_rendition_nobody_is_served_or_refused_late() {
    let (media, data) = (tempfile::tempdir().unwrap(), Data::new());
    let film = Film { frames: 40 * 96, sound: None, ..Film::LONG_GOP };
    let id = data.ingest(&film.make(media.path(), "film.mp4"));
    let patience = PATIENCE_SECONDS.to_string();
    let settings = [
        ("MATINEE_ENCODER__WORKERS", "1"),
        ("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0"),
        ("MATINEE_ENCODER__PATIENCE_SECONDS", &patience),
    ];
    let server = TestServer::with(&data, &settings);
    let mut paths = server.segments(&server.playlist(&id, "360p")).split_off(1);
    let asked = |path: &String| {
        let began = Instant::now();
        (server.get(path), began.elapsed())
    };
    // How long one takes here, which begins with a worker and a decoder of its own as those will.
    let (first, alone) = asked(&paths.remove(paths.len() / 2));
    assert_eq!(first.status, 200);
    let answers: Vec<_> = thread::scope(|scope| {
        let asking: Vec<_> = paths.iter().map(|path| scope.spawn(move || asked(path))).collect();
        asking.into_iter().map(|answer| answer.join().unwrap()).collect()
    });
    let count = |status| answers.iter().filter(|(answer, _)| answer.status == status).count();
    assert_eq!(count(200) + count(503), answers.len());
    assert!(count(200) > 0 && count(503) > 0, "{} served, {} refused", count(200), count(503));
    // Whoever is served has been begun in time; one more takes as long as one does, beside forty who ask.
    let latest = Duration::from_secs(PATIENCE_SECONDS) + 4 * alone;
    for (answer, took) in &answers {
        assert!(*took < latest, "{} after {took:?}, when one takes {alone:?}", answer.status);
        if answer.status == 503 {
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=8).contains(&seconds));
        }
    }
}

#[test]
fn what_a_player_says_it_will_ask_for_next_is_made_ahead_and_saying_so_is_no_other_url() {
    let (data, id) = film();
    let server = TestServer::over(&data);
    let now = server.segments(&server.playlist(&id, "240p"))[1].clone();
    let coming = server.segments(&server.playlist(&id, "144p"));
    let mut ahead = 0;
    let mut first = None;
    // A busy machine may ask for the next before its order was placed, but not again and again. Backwards, so that none is
    // made by looking ahead of another.
    for next in coming[3..6].iter().rev() {
        let told = format!("CMCD=nor%3D%22{}%22%2Csid%3D%22a%22%2Cbl%3D4000%2Cot%3Dv", next.replace('/', "%252F"));
        let answer = server.get(&format!("{now}?{told}"));
        first.get_or_insert(answer);
        let come = server.get(next);
        ahead += u32::from(matches!(come.header("x-cache"), Some("shared" | "memory")));
    }
    let first = first.unwrap();
    assert_eq!((first.status, first.header("x-cache")), (200, Some("made")));
    assert!(ahead > 0, "{}", server.log());
    let again = server.ask(&now).header("CMCD-Status", "bs").header("CMCD-Session", "sid=\"a\"").send().unwrap();
    assert_eq!((again.header("x-cache"), again.header("etag")), (Some("memory"), first.header("etag")));
    assert_eq!(again.body, first.body);
    assert_eq!(server.metric("matinee_player_rebuffers_total"), 1.0);
    assert_eq!(server.metric("matinee_player_sessions"), 1.0);
}

#[test]
fn without_look_ahead_a_playlist_makes_nothing() {
    let (data, id) = film();
    for (segments, is_begun) in [("0", false), ("2", true)] {
        let server = TestServer::with(&data, &[("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", segments)]);
        server.text(&format!("/v/{id}/master.m3u8"));
        let begun = server.metric("matinee_runs_active") + server.metric("matinee_encodes_started_total");
        assert_eq!(begun > 0.0, is_begun, "{segments}");
    }
}

/// Their workers were kept for as long as those of viewers who pause.
#[test]
fn runs_that_no_viewer_comes_to_end_soon() {
    let (data, id) = film();
    let settings = [("MATINEE_ENCODER__IDLE_SECONDS", "3600"), ("MATINEE_WARMER__ENABLED", "false")];
    let server = TestServer::with(&data, &settings);
    server.text(&format!("/v/{id}/master.m3u8"));
    until("what is hinted at is begun", || server.metric("matinee_runs_active") > 0.0);
    until("nothing is left of it", || server.metric("matinee_runs_active") == 0.0);
    let path = server.segments(&server.playlist(&id, "144p")).pop().unwrap();
    assert_eq!(server.get(&path).status, 200);
    let began = Instant::now();
    until("a run of nobody's would have ended", || began.elapsed() > Duration::from_secs(4));
    assert!(server.metric("matinee_runs_active") > 0.0, "this viewer may pause");
}

/// Another worker began at a key frame, while a player that had measured how slow the first segment was waited for the second.
#[test]
fn a_player_that_changes_its_rendition_takes_the_decoder_along() {
    let (data, id) = film();
    let quiet = [("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0"), ("MATINEE_WARMER__ENABLED", "false")];
    let server = TestServer::with(&data, &quiet);
    let rungs = ["360p", "240p", "144p"].map(|rung| server.segments(&server.playlist(&id, rung)));
    let mixed: Vec<&String> = (1..rungs[0].len()).map(|n| &rungs[n % rungs.len()][n]).collect();
    let taken: Vec<Vec<u8>> = mixed.iter().map(|path| server.bytes(path)).collect();
    let bound = || server.metric("matinee_workers") - server.metric("matinee_workers_standby");
    assert_eq!(bound(), 1.0, "{}", server.log());
    drop(server);
    std::fs::remove_dir_all(data.path().join("cache")).unwrap();
    let server = TestServer::with(&data, &quiet);
    for (path, taken) in mixed.iter().zip(&taken).rev() {
        assert!(server.bytes(path) == *taken, "{path} is not what it is after a cold seek");
    }
}

/// hls.js asks for sound only when it has the pictures.
#[test]
fn the_sound_of_a_place_somebody_seeks_to_is_made_beside_its_pictures() {
    let (data, id) = film();
    let server = TestServer::over(&data);
    let playlists = server.playlists(&id);
    let sound = playlists.iter().find(|path| path.contains("/audio-64k")).unwrap();
    let pictures = server.segments(&server.playlist(&id, "144p")).pop().unwrap();
    assert_eq!(server.get(&pictures).header("x-cache"), Some("made"));
    let sound = server.segments(sound).pop().unwrap();
    until("the sound is made, though nobody asked for it", || {
        server.ask(&sound).method("HEAD").send().unwrap().header("content-length").is_some()
    });
    assert_eq!(server.get(&sound).header("x-cache"), Some("memory"));
}

/// hls.js measures while the first segments are made, goes to one of the lowest rungs, and throws away the sound of the one
/// before.
#[test]
fn what_a_player_may_fall_back_to_is_there_when_it_has_seen_how_fast_the_first_segments_come() {
    let (data, id) = film();
    let server = TestServer::over(&data);
    let playlists = server.playlists(&id);
    let sounds: Vec<&String> = playlists.iter().filter(|path| path.contains("/audio-")).collect();
    let [with_start, other] = sounds[..] else { panic!("two qualities of sound: {playlists:?}") };
    let begun = |playlist: &String, objects: usize| server.segments(playlist)[..objects].to_vec();
    let mut expected = [begun(with_start, 3), begun(other, 2)].concat();
    for rung in ["360p", "240p", "144p"] {
        expected.extend(begun(&server.playlist(&id, rung), 3));
    }
    until("what is hinted at is made", || {
        let made = server.metric("matinee_encodes_ended_total{outcome=\"finished\"}");
        made >= expected.len() as f64 && server.metric("matinee_encodes_running") == 0.0
    });
    for path in &expected {
        assert_eq!(server.get(path).header("x-cache"), Some("memory"), "{path}");
    }
}

/// It asked for the next better rendition, gave that up when it took too long, and showed the lowest one for many seconds.
#[test]
fn what_a_player_goes_up_to_is_begun_when_it_will_find_the_first_segment_there() {
    let (media, data) = (tempfile::tempdir().unwrap(), Data::new());
    let id = data.ingest(&Film { size: (1280, 720), ..Film::LONG_GOP }.make(media.path(), "film.mp4"));
    let server = TestServer::with(&data, &[("MATINEE_ENCODER__IDLE_SECONDS", "1")]);
    let is_there = |path: &str| server.ask(path).method("HEAD").send().unwrap().header("content-length").is_some();
    let start = server.segments(&server.playlist(&id, "480p"));
    let [Some(first), Some(second)] = [start.get(1), start.get(2)] else { panic!("{start:?}") };
    let better = |path: &str| path.replace("/480p/", "/720p/");
    server.bytes(first);
    until("nothing more is made ahead", || server.metric("matinee_runs_active") == 0.0);
    assert!(!is_there(&better(second)));
    server.text(&format!("/v/{id}/master.m3u8"));
    until("the second segment is made", || is_there(&better(second)));
    assert!(!is_there(&better(first)), "nobody asks for it");
}

/// Runs that waited for a slot kept their workers, and those that had a slot waited for a worker: for ever.
#[test]
fn eight_titles_that_begin_at_once_on_one_slot_all_play() {
    let (media, data) = (tempfile::tempdir().unwrap(), Data::new());
    let titles: Vec<String> = (0..8)
        .map(|n| {
            let film = Film { frames: 240 + n, size: (320, 180), kilobits: 400, ..Film::LONG_GOP };
            data.ingest(&film.make(media.path(), &format!("{n}.mp4")))
        })
        .collect();
    let server = TestServer::with(&data, &[("MATINEE_ENCODER__WORKERS", "1")]);
    thread::scope(|scope| {
        for id in &titles {
            let playlists = server.playlists(id);
            // The sound and the smallest pictures, at the same time, as a player does.
            for playlist in [playlists.first().unwrap(), playlists.last().unwrap()] {
                let paths = server.segments(playlist);
                let server = &server;
                scope.spawn(move || {
                    for path in &paths {
                        assert!(!server.bytes(path).is_empty());
                    }
                });
            }
        }
    });
}

#[test]
fn of_three_viewers_who_begin_three_titles_on_one_slot_none_waits_for_another_to_get_on() {
    let (media, data) = (tempfile::tempdir().unwrap(), Data::new());
    let titles: Vec<String> = (0..4)
        .map(|n| data.ingest(&Film { frames: 240 + n, ..Film::LONG_GOP }.make(media.path(), &format!("{n}.mp4"))))
        .collect();
    let one = [
        ("MATINEE_ENCODER__WORKERS", "1"),
        ("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0"),
        ("MATINEE_WORKER__STALL_SECONDS", "600"),
    ];
    let server = TestServer::with(&data, &one);
    let signal = |signal| {
        for worker in server.workers() {
            let _ = kill_process(Pid::from_raw(worker).unwrap(), signal);
        }
    };
    let paths = |id: &String, rung: &str| server.segments(&server.playlist(id, rung)).split_off(1);
    let (busy, served) = (paths(&titles[3], "360p").pop().unwrap(), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        // The slot is taken until all three wait for it.
        scope.spawn(|| server.bytes(&busy));
        until("the slot is taken", || server.metric("matinee_encodes_running") > 0.0);
        signal(Signal::STOP);
        for (n, id) in titles[..3].iter().enumerate() {
            let (paths, served, server) = (paths(id, "144p"), &served, &server);
            scope.spawn(move || {
                for path in paths {
                    assert!(!server.bytes(&path).is_empty());
                    served.lock().unwrap().push(n);
                }
            });
        }
        until("all three wait", || server.metric("matinee_queue_length{lane=\"viewer\"}") >= 3.0);
        signal(Signal::CONT);
    });
    // How evenly they go on is the schedule's to show: here threads take part that a busy machine delays.
    let mut first = served.into_inner().unwrap();
    first.truncate(3);
    first.sort_unstable();
    assert_eq!(first, [0, 1, 2]);
}
