//! Promise 5: nothing half-made is ever served or kept, whatever dies in the middle of it.

use std::collections::BTreeMap;
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::media::Film;
use crate::support::{Data, TestServer, until};

/// Server deaths in the middle of encodes.
const CRASHES: usize = 5;

/// A longer film than the others: an encode of it takes long enough to be interrupted.
const FILM: Film =
    Film { rate: (25, 1), frames: 300, size: (1280, 720), gop: 250, kilobits: 4000, sound: Some(48_000) };

fn film() -> (Data, String) {
    let media = tempfile::tempdir().unwrap();
    let data = Data::new();
    let id = data.ingest(&FILM.make(media.path(), "film.mp4"));
    (data, id)
}

fn everything(server: &TestServer, id: &str) -> Vec<String> {
    server
        .playlists(id)
        .iter()
        .filter(|p| p.contains("480p") || p.contains("audio-128k"))
        .flat_map(|p| server.segments(p))
        .collect()
}

#[test]
fn a_server_killed_in_the_middle_of_encodes_never_serves_a_wrong_byte_afterwards() {
    let (data, id) = film();
    let reference: BTreeMap<String, Vec<u8>> = {
        let server = TestServer::over(&data);
        everything(&server, &id).into_iter().map(|path| (path.clone(), server.bytes(&path))).collect()
    };
    let paths: Vec<&String> = reference.keys().collect();
    for crash in 0..CRASHES {
        std::fs::remove_dir_all(data.path().join("cache")).unwrap();
        let server = TestServer::over(&data);
        thread::scope(|scope| {
            for i in 0..4 {
                let path = paths[(crash * 5 + i * 3) % paths.len()];
                let (server, reference) = (&server, &reference);
                // Whole answers must be right ones; most are broken off.
                scope.spawn(move || {
                    if let Ok(answer) = server.ask(path).send()
                        && answer.status == 200
                    {
                        assert!(answer.body == reference[path], "{path} is another");
                    }
                });
            }
            let begun = 1 + crash % 3;
            until("encodes are under way", || encodes(&server) >= begun as f64);
            server.signal(Signal::KILL);
        });
        let data = server.kill();
        let server = TestServer::over(&data);
        data.assert_tidy();
        for path in paths.iter().skip(crash % 2).step_by(2) {
            assert!(server.bytes(path) == reference[*path], "{path} is another after crash {crash}");
        }
        drop(server);
    }

    fn encodes(server: &TestServer) -> f64 {
        server
            .ask("/metrics")
            .send()
            .ok()
            .and_then(|a| sample(&a.text(), "matinee_encodes_started_total "))
            .unwrap_or(f64::MAX)
    }
    fn sample(text: &str, name: &str) -> Option<f64> {
        text.lines().find_map(|line| line.strip_prefix(name)?.parse().ok())
    }
}

#[test]
fn a_worker_that_is_killed_costs_one_retry_and_the_viewer_sees_the_right_bytes() {
    let (data, id) = film();
    let paths = {
        let server = TestServer::over(&data);
        server.segments(&server.playlist(&id, "480p"))
    };
    for (signal, path) in [(Signal::KILL, &paths[4]), (Signal::SEGV, &paths[5])] {
        std::fs::remove_dir_all(data.path().join("cache")).unwrap();
        let whole = TestServer::over(&data).bytes(path);
        std::fs::remove_dir_all(data.path().join("cache")).unwrap();
        // Nothing but this segment was asked of this server, and no worker stands by: there is one, in the middle of it.
        let alone = [("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0"), ("MATINEE_WORKER__STANDBY", "0")];
        let server = TestServer::with(&data, &alone);
        let mut answer = server.ask(path).open().unwrap();
        let mut body = answer.some().unwrap();
        for worker in server.workers() {
            let _ = kill_process(Pid::from_raw(worker).unwrap(), signal);
        }
        let answer = answer.rest().unwrap_or_else(|broken| panic!("{broken:?}\n{}", server.log()));
        body.extend(answer.body);
        assert!(body == whole, "{path} is another after {signal:?}");
        let failed = server.metric("matinee_encodes_ended_total{outcome=\"failed\"}");
        assert_eq!(failed, 0.0);
    }
}

#[test]
fn a_worker_that_stops_is_killed_by_the_watchdog_and_its_work_done_by_another() {
    let (data, id) = film();
    let server = TestServer::with(
        &data,
        &[
            ("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0"),
            ("MATINEE_WORKER__STALL_SECONDS", "2"),
            ("MATINEE_WORKER__STANDBY", "1"),
        ],
    );
    let path = &server.segments(&server.playlist(&id, "480p"))[4];
    let mut answer = server.ask(path).open().unwrap();
    answer.some().unwrap();
    for worker in server.workers() {
        let _ = kill_process(Pid::from_raw(worker).unwrap(), Signal::STOP);
    }
    let answer = answer.rest().unwrap_or_else(|broken| panic!("{broken:?}\n{}", server.log()));
    assert_eq!(answer.status, 200);
    assert!(server.metric("matinee_workers_ended_total{outcome=\"stalled\"}") >= 1.0);
}
