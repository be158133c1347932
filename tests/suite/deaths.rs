//! Promise 6, seen by the viewer who waits: a worker that dies in the middle of a segment costs one retry, and the bytes
//! are the right ones.

use std::fs;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

use crate::crash::film;
use crate::support::{Data, TestServer, until};

/// Nothing but what was asked for is made, and no worker stands by: there is one, in the middle of it.
const ALONE: [(&str, &str); 3] = [
    ("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0"),
    ("MATINEE_WORKER__STANDBY", "0"),
    ("MATINEE_WORKER__STALL_SECONDS", "3"),
];

/// Segments of a rendition of the film and what they are, with nothing kept of them.
fn segments(data: &Data, id: &str, rendition: &str) -> Vec<(String, Vec<u8>)> {
    let server = TestServer::over(data);
    let paths = server.segments(&server.playlist(id, rendition)).split_off(1);
    let segments = paths.into_iter().map(|path| (path.clone(), server.bytes(&path))).collect();
    drop(server);
    forget(data);
    segments
}

fn forget(data: &Data) {
    fs::remove_dir_all(data.path().join("cache")).unwrap();
}

/// Asks for a segment, does something to the worker that makes it once the first chunk is there, and reads on.
fn interfere(server: &TestServer, path: &str, with: impl Fn(Pid)) -> Vec<u8> {
    let mut answer = server.ask(path).open().unwrap();
    let mut body = answer.some().unwrap();
    let workers = server.workers();
    assert_eq!(workers.len(), 1, "{}", server.log());
    with(Pid::from_raw(workers[0]).unwrap());
    let rest = answer.rest().unwrap_or_else(|broken| panic!("{broken:?}\n{}", server.log()));
    assert_eq!(rest.status, 200);
    body.extend(rest.body);
    body
}

/// Kills the worker that rests, which something was done to. The next segment gets a healthy one: a dead worker costs no
/// retry.
fn bury(server: &TestServer) {
    for worker in server.workers() {
        let _ = kill_process(Pid::from_raw(worker).unwrap(), Signal::KILL);
    }
    until("it is gone", || server.metric("matinee_workers") == 0.0);
}

fn ended(server: &TestServer, how: &str) -> f64 {
    server.metric(&format!("matinee_workers_ended_total{{outcome=\"{how}\"}}"))
}

#[test]
fn a_worker_that_is_killed_crashes_or_stops_costs_one_retry_and_the_viewer_sees_the_right_bytes() {
    let (data, id) = film();
    let segments = segments(&data, &id, "480p");
    for (signal, outcome) in [(Signal::KILL, "signal"), (Signal::SEGV, "signal"), (Signal::STOP, "stalled")] {
        let server = TestServer::with(&data, &ALONE);
        // The long ones first. An encode may be over before the signal comes: then another one tells.
        let hit = segments.iter().rev().zip(1..).find(|((path, whole), tries)| {
            let before = ended(&server, outcome);
            let body = interfere(&server, path, |worker| {
                kill_process(worker, signal).unwrap();
                if signal == Signal::SEGV {
                    // Rust takes the first that no fault caused for a stray one, and dies of the next.
                    until("it is dead", || kill_process(worker, signal).is_err());
                }
            });
            // Before the second attempt is begun the death of the first is counted.
            let deaths = ended(&server, outcome) - before;
            assert!(body == *whole, "{path} is another after {signal:?}");
            assert!(deaths <= 1.0, "{signal:?}: {}", server.log());
            assert_eq!(server.metric("matinee_encodes_ended_total{outcome=\"failed\"}"), 0.0);
            // The server goes on, and asks nobody again for what it has.
            assert!(server.bytes(path) == *whole);
            assert_eq!(server.metric("matinee_encodes_started_total"), f64::from(*tries));
            if deaths == 0.0 {
                bury(&server);
            }
            deaths == 1.0
        });
        assert!(hit.is_some(), "no worker was at work when it got {signal:?}: {}", server.log());
        drop(server);
        forget(&data);
    }
}

#[test]
fn a_worker_that_runs_out_of_memory_costs_one_retry_and_the_viewer_sees_the_right_bytes() {
    let (data, id) = film();
    let segments = ["480p", "360p"].map(|rendition| segments(&data, &id, rendition)).concat();
    let server = TestServer::with(&data, &ALONE);
    for (path, whole) in &segments {
        let body = interfere(&server, path, |worker| {
            // Less than it has by now: whatever it asks for next is refused.
            let least = Rlimit { current: Some(1 << 20), maximum: Some(1 << 20) };
            prlimit(Some(worker), Resource::Data, least).unwrap();
        });
        assert!(body == *whole, "{path} is another");
        if ended(&server, "out_of_memory") >= 1.0 {
            assert_eq!(server.metric("matinee_encodes_ended_total{outcome=\"failed\"}"), 0.0);
            assert!(server.bytes(path) == *whole);
            return;
        }
        // It had all it needed already, and rests, starved.
        bury(&server);
    }
    panic!("no worker ran out of memory in {} segments:\n{}", segments.len(), server.log());
}

#[test]
fn what_cannot_be_made_is_not_tried_again_and_again_ahead_of_anybody() {
    let (data, id) = film();
    let paths = segments(&data, &id, "480p");
    for file in data.files("library").iter().filter(|file| file.ends_with("/source")) {
        fs::remove_file(data.path().join(file)).unwrap();
    }
    let server = TestServer::with(&data, &[("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "3")]);
    let failed = || server.metric("matinee_encodes_ended_total{outcome=\"failed\"}");
    for (n, (path, _)) in paths.iter().take(3).enumerate() {
        assert_eq!(server.get(path).status, 500);
        // A run that went on and on would have failed for others as well while these are answered.
        let most = (0..50).map(|_| failed()).fold(0.0, f64::max);
        // For each: what it asked for, and what is next once where the viewer is has been told.
        assert!(most <= 2.0 * (n + 1) as f64, "{most} encodes failed for {} requests", n + 1);
    }
}

#[test]
fn a_server_that_can_start_no_worker_is_not_ready_and_says_when_to_come_back_until_it_can_again() {
    let (data, id) = film();
    let server = TestServer::with(&data, &[("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0")]);
    let path = server.segments(&server.playlist(&id, "480p")).remove(1);
    assert_eq!(server.get("/readyz").status, 200);
    // What it starts from now on has no room for its arguments.
    let pid = Pid::from_raw(server.pid()).unwrap();
    let usual = getrlimit(Resource::Stack);
    prlimit(Some(pid), Resource::Stack, Rlimit { current: Some(8192), ..usual }).unwrap();
    for worker in server.workers() {
        let _ = kill_process(Pid::from_raw(worker).unwrap(), Signal::KILL);
    }
    until("it is not ready", || server.get("/readyz").status == 503);
    let unready = server.get("/readyz");
    assert!(unready.text().contains("no worker can be started: "), "{}", unready.text());
    let answer = server.get(&path);
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("urn:matinee:problem:no-worker"), "{}", answer.text());
    assert_eq!((answer.header("retry-after"), answer.header("cache-control")), (Some("2"), Some("no-store")));
    prlimit(Some(pid), Resource::Stack, usual).unwrap();
    until("it is ready", || server.get("/readyz").status == 200);
    assert_eq!(server.get(&path).status, 200);
}
