//! Promise 4: one encode, however many ask, and a client that leaves harms nobody else.

use std::sync::Barrier;
use std::thread;

use crate::media::Film;
use crate::support::{Data, TestServer, until};

const CLIENTS: usize = 64;

fn film() -> (Data, String) {
    let media = tempfile::tempdir().unwrap();
    let data = Data::new();
    let id = data.ingest(&Film::LONG_GOP.make(media.path(), "film.mp4"));
    (data, id)
}

/// A server that makes what is asked for and nothing else; and the paths of segments, of which it has the first ones at
/// most.
fn cold(data: &Data, id: &str) -> (TestServer, Vec<String>) {
    let paths = {
        let server = TestServer::over(data);
        server.segments(&server.playlist(id, "360p")).split_off(1)
    };
    (TestServer::with(data, &[("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0")]), paths)
}

#[test]
fn sixty_four_clients_who_ask_for_one_cold_segment_cause_one_encode() {
    let (data, id) = film();
    let (server, paths) = cold(&data, &id);
    let path = &paths[3];
    let before = server.metric("matinee_encodes_started_total");
    let start = Barrier::new(CLIENTS);
    let answers: Vec<_> = thread::scope(|scope| {
        let ask = || {
            start.wait();
            server.get(path)
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(ask)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|a| a.status == 200 && a.body == answers[0].body));
    let made = answers.iter().filter(|a| a.header("x-cache") == Some("made")).count();
    assert_eq!(made, 1);
    assert_eq!(server.metric("matinee_encodes_started_total") - before, 1.0);
}

#[test]
fn sixty_three_clients_who_leave_change_nothing_for_the_last() {
    let (data, id) = film();
    let (server, paths) = cold(&data, &id);
    let path = &paths[3];
    let before = server.metric("matinee_encodes_started_total");
    let start = Barrier::new(CLIENTS);
    let body = thread::scope(|scope| {
        let stays = scope.spawn(|| {
            start.wait();
            server.get(path).body
        });
        for _ in 1..CLIENTS {
            scope.spawn(|| {
                start.wait();
                // The head, and perhaps the first chunk; then the connection is gone.
                drop(server.ask(path).open());
            });
        }
        stays.join().unwrap()
    });
    assert_eq!(server.metric("matinee_encodes_started_total") - before, 1.0);
    drop(server);
    std::fs::remove_dir_all(data.path().join("cache")).unwrap();
    assert_eq!(body, TestServer::over(&data).bytes(path));
}

#[test]
fn work_nobody_waits_for_any_more_is_stopped() {
    let (data, id) = film();
    let (server, paths) = cold(&data, &id);
    // The long ones first. An encode may be over before the server hears that its viewer has left: then another one tells.
    let stopped = paths.iter().rev().find(|path| {
        drop(server.ask(path).open().unwrap());
        until("nothing is made any more", || server.metric("matinee_encodes_running") == 0.0);
        server.metric("matinee_encodes_ended_total{outcome=\"cancelled\"}") >= 1.0
    });
    let stopped = stopped.expect("an encode is cancelled");
    // And whoever asks next gets the whole.
    assert!(server.bytes(stopped).len() > 10_000);
}

#[test]
fn look_ahead_has_the_next_segment_ready_for_a_viewer_who_plays_on() {
    let (data, id) = film();
    let server = TestServer::over(&data);
    let playlist = server.playlist(&id, "360p");
    let segments = server.segments(&playlist);
    for (number, path) in segments[1..].iter().enumerate() {
        let answer = server.get(path);
        assert_eq!(answer.status, 200);
        if let Some(next) = segments.get(number + 2) {
            until("the next segment is made", || {
                server.ask(next).method("HEAD").send().unwrap().header("content-length").is_some()
            });
        }
    }
    let waited = server.metric("matinee_segment_responses_total{tier=\"made\"}");
    assert!(waited <= 2.0, "{waited} objects of {} had to be made while the viewer waited", segments.len());
}

/// Elsewhere one decoder was sent back and forth between them.
#[test]
fn two_viewers_at_distant_places_of_a_title_cause_every_segment_to_be_made_once() {
    let (media, data) = (tempfile::tempdir().unwrap(), Data::new());
    let film = Film { frames: 959, size: (256, 144), kilobits: 300, gop: 959, sound: None, ..Film::LONG_GOP };
    let id = data.ingest(&film.make(media.path(), "film.mp4"));
    let server = TestServer::with(&data, &[("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0")]);
    let mut paths = server.segments(server.playlists(&id).last().unwrap());
    // Else it may come from an encode of its own, or from that of a segment.
    server.bytes(&paths.remove(0));
    let server = server.restart();
    let meet = Barrier::new(2);
    // In step, so that each asks while the other's is being made; looked at when nobody waits for anybody any more.
    let play = |paths: &[String]| -> Vec<_> {
        let ask = |path: &String| {
            meet.wait();
            server.ask(path).send()
        };
        paths.iter().map(ask).collect()
    };
    let half = paths.len() / 2;
    let answers = thread::scope(|scope| {
        let one = scope.spawn(|| play(&paths[..half]));
        let other = play(&paths[half..2 * half]);
        one.join().unwrap().into_iter().chain(other)
    });
    for answer in answers {
        let answer = answer.unwrap();
        assert!(answer.status == 200 && !answer.body.is_empty(), "{}", answer.text());
    }
    // What is made ahead for one may be cancelled for what the other waits for.
    let ended = |how: &str| server.metric(&format!("matinee_encodes_ended_total{{outcome=\"{how}\"}}"));
    until("every encode has ended", || {
        server.metric("matinee_encodes_started_total") == ended("finished") + ended("cancelled")
    });
    assert_eq!(ended("finished"), (2 * half) as f64);
    // A worker, and its decoder, for each of the two, and not for each change of place.
    let gone =
        ["clean", "dismissed"].map(|how| server.metric(&format!("matinee_workers_ended_total{{outcome=\"{how}\"}}")));
    let bound = server.metric("matinee_workers") - server.metric("matinee_workers_standby") + gone.iter().sum::<f64>();
    assert!(bound <= 4.0, "{bound} workers for {} segments", paths.len());
}
