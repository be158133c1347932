//! Everything at once for a long time: viewers who seek, switch and leave, films that come in whole and in pieces, and
//! workers that are killed. Whatever happens, a URL has the same bytes each time, and nothing piles up.
//!
//! `make soak` takes an hour; `SOAK_MINUTES` says otherwise. In the middle the server is told to stop while all are at it,
//! and another one goes on over the same folder.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest as _, Sha256};

use crate::media::Film;
use crate::support::{Broken, Data, Dice, TestServer, session};
use crate::uploads::{film, settled};

const VIEWERS: u64 = 6;
/// So little that segments are let go and made again.
const SETTINGS: [(&str, &str); 3] = [
    ("MATINEE_CACHE__MEMORY_BYTES", "4MiB"),
    ("MATINEE_CACHE__DISK_BYTES", "16MiB"),
    ("MATINEE_WARMER__ENABLED", "true"),
];
/// Pauses: between two deaths, two uploads, two looks at what the server weighs.
const DEATHS: Duration = Duration::from_secs(7);
const UPLOADS: Duration = Duration::from_secs(3);
const LOOKS: Duration = Duration::from_secs(5);
/// What may be there at the end that was not there once all had begun.
const MORE_BYTES: u64 = 48 << 20;
const MORE_FILES: u64 = 64;
/// What a run has to reach: so many answers of a hundred from memory or disk; of a hundred killed workers at most so many
/// answers that say to come back, and so many broken off, for which two have to die over one segment. And in a run of so many
/// minutes, where a few slow answers weigh little, 99 of a hundred hits within so many milliseconds.
const HITS: u64 = 90;
const REFUSED: u64 = 100;
const BROKEN: u64 = 5;
const LONG_MINUTES: u64 = 10;
const P99_MS: f64 = 20.0;

/// What was seen.
#[derive(Default)]
struct Seen {
    /// What each URL is.
    digests: Mutex<HashMap<String, [u8; 32]>>,
    /// Milliseconds that answers from memory or disk took.
    hits: Mutex<Vec<f64>>,
    /// Resident bytes, files and processes at each look.
    weights: Mutex<Vec<(u64, u64, u64)>>,
    requests: AtomicU64,
    refused: AtomicU64,
    broken: AtomicU64,
    uploaded: AtomicU64,
    cut: AtomicU64,
    killed: AtomicU64,
    stopping: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seen {
    fn is_over(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Asks for what never changes and holds it against what it was before.
    fn get(&self, server: &TestServer, path: &str) {
        let began = Instant::now();
        self.requests.fetch_add(1, Relaxed);
        match server.ask(path).send() {
            Ok(answer) if answer.status == 200 => {
                if matches!(answer.header("x-cache"), Some("memory" | "disk")) {
                    lock(&self.hits).push(began.elapsed().as_secs_f64() * 1e3);
                }
                let digest: [u8; 32] = Sha256::digest(&answer.body).into();
                let known = *lock(&self.digests).entry(path.to_owned()).or_insert(digest);
                assert!(known == digest, "{path} is not what it was");
            }
            Ok(answer) => {
                assert_eq!(answer.status, 503, "{path}: {}\n{}", answer.text(), server.log());
                assert!(answer.header("retry-after").is_some());
                self.refused.fetch_add(1, Relaxed);
            }
            // A server that was told to stop takes nobody in any more; one that goes on breaks off what it cannot repeat.
            Err(Broken { body, .. }) => {
                assert!(!self.is_over() || body.is_empty(), "{path} was broken off by a server that stops in order");
                self.broken.fetch_add(u64::from(!self.is_over()), Relaxed);
            }
        }
    }
}

/// Plays, seeks, switches, and sometimes leaves in the middle of an answer.
fn view(server: &TestServer, seen: &Seen, ids: &[String], mut dice: Dice) {
    while !seen.is_over() {
        let id = &ids[dice.below(ids.len())];
        let Ok(master) = server.ask(&format!("/v/{id}/master.m3u8")).send() else { continue };
        let playlists: Vec<_> = master.text().lines().filter(|l| l.ends_with(".m3u8")).map(str::to_owned).collect();
        let playlist = format!("/v/{id}/{}", playlists[dice.below(playlists.len())]);
        let Ok(text) = server.ask(&playlist).send() else { continue };
        let folder = playlist.rsplit_once('/').unwrap().0.to_owned();
        let text = text.text();
        let names: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        seen.get(server, &format!("{folder}/init.mp4"));
        let mut at = dice.below(names.len());
        for _ in 0..=dice.below(6) {
            if seen.is_over() {
                return;
            }
            match dice.below(10) {
                0 => at = dice.below(names.len()),
                1 => drop(server.ask(&format!("{folder}/{}", names[at])).sent()),
                2 => seen.get(server, &format!("{folder}/{}", names[at].replace(".m4s", ".ts"))),
                _ => {}
            }
            seen.get(server, &format!("{folder}/{}", names[at]));
            at = (at + 1) % names.len();
        }
    }
}

/// Sends films, whole or cut off, and removes those that arrived.
fn upload(server: &TestServer, seen: &Seen, mut dice: Dice, stop: &Receiver<()>) {
    let mut number = 0_u32;
    while stop.recv_timeout(UPLOADS) == Err(RecvTimeoutError::Timeout) && !seen.is_over() {
        number += 1;
        let mut bytes = film().1;
        bytes.extend([&12_u32.to_be_bytes()[..], b"free", &number.to_be_bytes()].concat());
        let head = format!(
            "POST /api/v1/videos HTTP/1.1\r\nhost: localhost\r\ncontent-type: video/mp4\r\ncontent-length: {}\r\n\r\n",
            bytes.len()
        );
        if dice.below(2) == 0 {
            let mut socket = TcpStream::connect(server.address).unwrap();
            socket
                .write_all(head.as_bytes())
                .and_then(|()| socket.write_all(&bytes[..dice.below(bytes.len())]))
                .unwrap();
            seen.cut.fetch_add(1, Relaxed);
            continue;
        }
        let sent = server.ask("/api/v1/videos").method("POST").header("content-type", "video/mp4").body(bytes).send();
        let Ok(answer) = sent else { continue };
        assert_eq!(answer.status, 201, "{}", answer.text());
        let video = settled(server, answer.json()["id"].as_str().unwrap());
        // An inspection whose worker is killed is tried again, `uploads.attempts` times in all; then the title has failed.
        let id = video["id"].as_str().unwrap();
        if video["state"] == "ready" {
            let playlist = server.playlists(id).pop().unwrap();
            let _ = server.ask(&server.segments(&playlist)[1]).send();
        }
        assert_eq!(server.ask(&format!("/api/v1/videos/{id}")).method("DELETE").send().unwrap().status, 200);
        seen.uploaded.fetch_add(1, Relaxed);
    }
}

/// Ends a worker now and then, by a signal that kills or one that only stops.
fn kill(server: &TestServer, seen: &Seen, mut dice: Dice, stop: &Receiver<()>) {
    while stop.recv_timeout(DEATHS) == Err(RecvTimeoutError::Timeout) {
        let workers = server.workers();
        let Some(worker) = workers.get(dice.below(workers.len())) else { continue };
        let signal = [Signal::KILL, Signal::SEGV, Signal::STOP][dice.below(3)];
        seen.killed.fetch_add(u64::from(kill_process(Pid::from_raw(*worker).unwrap(), signal).is_ok()), Relaxed);
    }
}

fn weigh(server: &TestServer, seen: &Seen, stop: &Receiver<()>) {
    while stop.recv_timeout(LOOKS) == Err(RecvTimeoutError::Timeout) {
        let resident = server.memory_bytes("VmRSS");
        let files = fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count() as u64;
        let processes = server.workers().len() as u64;
        lock(&seen.weights).push((resident, files, processes));
    }
}

/// Half of the time: a server, all at it, and the word to stop while they are.
fn half(data: &Data, seen: &Seen, ids: &[String], time: Duration) {
    let server = TestServer::with(data, &SETTINGS);
    seen.stopping.store(false, Relaxed);
    let (looks, first) = (lock(&seen.weights).len(), Instant::now());
    thread::scope(|scope| {
        let server = &server;
        for viewer in 1..=VIEWERS {
            scope.spawn(move || view(server, seen, ids, Dice::new(viewer)));
        }
        let mut stops = Vec::new();
        let mut start = |work: fn(&TestServer, &Seen, Dice, &Receiver<()>), seed| {
            let (stop, stopped) = sync_channel(1);
            stops.push(stop);
            scope.spawn(move || work(server, seen, Dice::new(seed), &stopped))
        };
        let uploads = start(upload, 77);
        start(kill, 78);
        start(|server, seen, _, stop| weigh(server, seen, stop), 79);
        while first.elapsed() < time && !uploads.is_finished() {
            thread::park_timeout(time - first.elapsed().min(time));
        }
        drop(stops);
        // Uploads are at their ends before the server is told to stop; viewers are not.
        uploads.join().unwrap();
        seen.stopping.store(true, Relaxed);
        server.signal(Signal::TERM);
    });
    // A second signal would end it at once.
    let pid = server.pid();
    let (status, log) = server.wait();
    assert!(status.success(), "the server ended with {status}:\n{log}");
    assert!(session(pid).is_empty(), "the server left processes:\n{log}");
    data.assert_tidy();
    let weights = lock(&seen.weights)[looks..].to_vec();
    let most = |of: fn(&(u64, u64, u64)) -> u64, part: &[(u64, u64, u64)]| part.iter().map(of).max().unwrap_or(0);
    let (before, after) = weights.split_at(weights.len() / 2);
    println!(
        "resident, MiB: {} then {}; files: {} then {}; workers: {} then {}",
        most(|w| w.0, before) >> 20,
        most(|w| w.0, after) >> 20,
        most(|w| w.1, before),
        most(|w| w.1, after),
        most(|w| w.2, before),
        most(|w| w.2, after)
    );
    assert!(most(|w| w.0, after) <= most(|w| w.0, before) + MORE_BYTES, "memory grows: {weights:?}");
    assert!(most(|w| w.1, after) <= most(|w| w.1, before) + MORE_FILES, "files pile up: {weights:?}");
    assert!(most(|w| w.2, after) <= most(|w| w.2, before) + 4, "processes pile up: {weights:?}");
}

#[test]
#[ignore = "takes an hour: make soak"]
fn whatever_happens_for_an_hour_a_url_keeps_its_bytes_and_nothing_is_left() {
    let minutes: u64 = std::env::var("SOAK_MINUTES").map_or(60, |minutes| minutes.parse().unwrap());
    let (data, folder) = (Data::new(), tempfile::tempdir().unwrap());
    let ids = [("one.mp4", Film::LONG_GOP), ("two.mp4", Film::PLAYABLE)];
    let ids = ids.map(|(name, film)| data.ingest(&film.make(folder.path(), name)));
    let seen = Seen::default();
    for _ in 0..2 {
        half(&data, &seen, &ids, Duration::from_secs(minutes * 30));
        assert!(data.files("uploads").is_empty() && data.sources().len() == ids.len(), "{:?}", data.files("library"));
    }
    let mut hits = lock(&seen.hits).clone();
    hits.sort_by(f64::total_cmp);
    let part = |of: usize| hits.get(hits.len() * of / 100).copied().unwrap_or_default();
    let [requests, refused, broken, uploaded, cut, killed] =
        [&seen.requests, &seen.refused, &seen.broken, &seen.uploaded, &seen.cut, &seen.killed].map(|n| n.load(Relaxed));
    println!(
        "{} requests for {} URLs, {} hits: {:.1} ms at the median, {:.1} ms at p99; {} told to come back, {} broken off; \
         {} films sent, {} cut; {} workers ended",
        requests,
        lock(&seen.digests).len(),
        hits.len(),
        part(50),
        part(99),
        refused,
        broken,
        uploaded,
        cut,
        killed,
    );
    assert!(uploaded > 0 && killed > 0, "nothing happened");
    assert!(hits.len() as u64 * 100 >= requests * HITS, "{} hits of {requests} requests", hits.len());
    assert!(refused * 100 <= killed * REFUSED, "{refused} told to come back by {killed} deaths");
    assert!(broken * 100 <= killed * BROKEN, "{broken} broken off by {killed} deaths");
    assert!(minutes < LONG_MINUTES || part(99) <= P99_MS, "{:.1} ms at p99", part(99));
}
