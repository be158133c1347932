//! Promise 5: nothing half-made is ever served or kept, although the server dies in the middle of it.

use std::collections::BTreeMap;
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::media::Film;
use crate::support::{Data, Dice, TestServer, until};

/// Encodes that must have been under way when servers died, over all deaths.
const CUT_SHORT: usize = 20;
/// Deaths at most: a host so quick that encodes are over before they are seen is not one to wait for.
const DEATHS: usize = 12;
/// Requests before each death, and encodes at once of each server.
const REQUESTS: usize = 8;
const AT_ONCE: &str = "6";

/// A longer film than the others: an encode of it takes long enough to be interrupted.
pub const FILM: Film =
    Film { rate: (25, 1), frames: 300, size: (1280, 720), gop: 250, kilobits: 4000, sound: Some(48_000) };

pub fn film() -> (Data, String) {
    let media = tempfile::tempdir().unwrap();
    let data = Data::new();
    let id = data.ingest(&FILM.make(media.path(), "film.mp4"));
    (data, id)
}

/// Everything there is to play but the largest encode, which is slow to make again after every death.
fn everything(server: &TestServer, id: &str) -> Vec<String> {
    let small = |playlist: &&String| !playlist.contains("720p");
    server.playlists(id).iter().filter(small).flat_map(|playlist| server.segments(playlist)).collect()
}

/// Asks for many segments at once, and kills the server while they are made. Returns how many were being made: workers
/// are stopped before that is asked, so that none is done in the meantime.
fn die(server: &TestServer, paths: &[&String], reference: &BTreeMap<String, Vec<u8>>) -> usize {
    thread::scope(|scope| {
        for path in paths {
            // Whole answers must be right ones; most are broken off.
            scope.spawn(move || {
                if let Ok(answer) = server.ask(path).send()
                    && answer.status == 200
                {
                    assert!(answer.body == reference[*path], "{path} is another");
                }
            });
        }
        until("encodes are under way", || server.metric("matinee_encodes_running") >= 4.0);
        for worker in server.workers() {
            let _ = kill_process(Pid::from_raw(worker).unwrap(), Signal::STOP);
        }
        let running = server.metric("matinee_encodes_running") as usize;
        server.signal(Signal::KILL);
        // One that was just starting was not tied to the server yet: it finds out now. The others die stopped.
        for worker in server.workers() {
            let _ = kill_process(Pid::from_raw(worker).unwrap(), Signal::CONT);
        }
        running
    })
}

#[test]
fn servers_killed_during_twenty_encodes_never_serve_a_wrong_byte_afterwards() {
    let (data, id) = film();
    let reference: BTreeMap<String, Vec<u8>> = {
        let server = TestServer::over(&data);
        everything(&server, &id).into_iter().map(|path| (path.clone(), server.bytes(&path))).collect()
    };
    let segments: Vec<&String> = reference.keys().filter(|path| !path.ends_with("init.mp4")).collect();
    let mut dice = Dice::new(1);
    let mut cut_short = 0;
    for death in 1..=DEATHS {
        std::fs::remove_dir_all(data.path().join("cache")).unwrap();
        let server = TestServer::with(&data, &[("MATINEE_ENCODER__WORKERS", AT_ONCE)]);
        let paths: Vec<&String> = (0..REQUESTS).map(|_| segments[dice.below(segments.len())]).collect();
        cut_short += die(&server, &paths, &reference);
        let data = server.kill();
        let server = TestServer::over(&data);
        data.assert_tidy();
        for (path, bytes) in &reference {
            assert!(server.bytes(path) == *bytes, "{path} is another after death {death}");
        }
        drop(server);
        if cut_short >= CUT_SHORT {
            return;
        }
    }
    panic!("only {cut_short} encodes were under way at {DEATHS} deaths");
}
