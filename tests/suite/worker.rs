//! Hostile media costs one process: real workers, really killed, stopped, starved and locked in.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use matinee::media::{Label, Sidecar};
use matinee::worker::protocol::Request;
use matinee::worker::{Config, Death, Error, Exit, Pool, Worker, attempts};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tempfile::NamedTempFile;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use crate::support::{PATIENCE, children};

/// Silence after which a worker at work counts as stuck: longer than a start takes on a busy machine.
const STALL_SECONDS: u64 = 3;

/// Tells the server that is killed where to leave its files, because it cannot clean up.
const FOLDER_VARIABLE: &str = "MATINEE_TEST_FOLDER";

fn config() -> Config {
    Config {
        standby: 0,
        stall_seconds: STALL_SECONDS,
        program: Some(env!("CARGO_BIN_EXE_matinee").into()),
        ..Config::default()
    }
}

async fn bound(pool: &Pool) -> (Worker, NamedTempFile) {
    let source = NamedTempFile::new().unwrap();
    let worker = pool.bind(source.path(), None, &[]).await.unwrap();
    (worker, source)
}

async fn death(worker: &mut Worker) -> Death {
    timeout(PATIENCE, worker.next()).await.expect("it dies in time").expect_err("it says nothing more")
}

fn self_test() -> Request {
    Request::SelfTest { neighbour: "/etc/passwd".into() }
}

fn pid(number: i32) -> Pid {
    Pid::from_raw(number).unwrap()
}

/// Resolves when the process has ended. Ask before it may have been reaped.
async fn ended(process: AsyncFd<std::os::fd::OwnedFd>) {
    drop(timeout(PATIENCE, process.readable()).await.expect("it ends in time").unwrap());
}

/// Looks again and again, as nobody announces it.
async fn until(what: &str, reached: impl Fn() -> bool) {
    let looks = async {
        while !reached() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, looks).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

#[expect(deprecated, reason = "its replacement is unsafe for types that may lend a foreign descriptor")]
fn watch(number: i32) -> AsyncFd<std::os::fd::OwnedFd> {
    AsyncFd::new(pidfd_open(pid(number), PidfdFlags::empty()).unwrap()).unwrap()
}

#[tokio::test]
async fn standby_workers_are_ready_before_anyone_asks() {
    let pool = Pool::start(Config { standby: 2, ..config() }).unwrap();
    until("two stand by", || pool.counts() == (2, 2)).await;
    let before = children(std::process::id().cast_signed());
    let (worker, _source) = bound(&pool).await;
    assert!(before.contains(&worker.pid()), "the worker came from standby");
    until("it was replaced", || pool.counts() == (2, 3)).await;
    worker.kill().await;
    pool.close().await;
}

#[tokio::test]
async fn a_bound_worker_can_read_its_source_and_do_nothing_else() {
    let pool = Pool::start(config()).unwrap();
    let attempts = timeout(PATIENCE, pool.self_test()).await.unwrap().unwrap();
    let allowed: Vec<_> = attempts.iter().filter(|a| a.refused.is_none()).map(|a| &a.act).collect();
    assert!(allowed.is_empty(), "allowed: {allowed:?}");
    let acts = attempts.iter().map(|a| a.act.as_str());
    for act in [
        "open another file",
        "create a file beside the source",
        "shorten the source",
        "have a socket signal its owner",
        "open a UDP socket",
        "start a process",
    ] {
        assert!(acts.clone().any(|a| a == act), "{act} was not tried");
    }
    pool.close().await;
}

#[test]
fn every_attempt_is_possible_outside_of_the_sandbox() {
    let (source, neighbour) = (NamedTempFile::new().unwrap(), NamedTempFile::new().unwrap());
    let refused: Vec<_> = attempts::all(source.path(), neighbour.path())
        .into_iter()
        // Acts on the server ask for its user and a lenient tracing policy besides, which not every parent has.
        .filter(|a| a.refused.is_some() && !a.act.contains("the server"))
        .collect();
    assert!(refused.is_empty(), "would prove nothing about a worker: {refused:?}");
}

#[tokio::test]
async fn a_source_that_is_not_there_is_named() {
    let pool = Pool::start(config()).unwrap();
    let Err(Error::Source(why)) = pool.bind(Path::new("/nonexistent/film.mp4"), None, &[]).await else { panic!() };
    assert_eq!(why, "cannot open /nonexistent/film.mp4: No such file or directory (os error 2)");
    let (film, index) = (NamedTempFile::new().unwrap(), Some(Path::new("/nonexistent/index")));
    let Err(error) = pool.bind(film.path(), index, &[]).await else { panic!() };
    assert!(
        matches!(&error, Error::Source(why) if why.contains("/nonexistent/index")) && !error.is_shortage(),
        "{error}"
    );
    pool.close().await;
}

#[tokio::test]
async fn killing_signals_are_told_apart() {
    let pool = Pool::start(config()).unwrap();
    for (signal, number) in [(Signal::KILL, 9), (Signal::SEGV, 11)] {
        let (mut worker, _source) = bound(&pool).await;
        let worker_pid = pid(worker.pid());
        let death = loop {
            let _ = kill_process(worker_pid, signal);
            // Rust takes the first SIGSEGV that no fault caused for a stray one, and the next as it comes.
            match timeout(Duration::from_millis(200), worker.next()).await {
                Ok(end) => break end.unwrap_err(),
                Err(_) => continue,
            }
        };
        assert_eq!(death.exit, Exit::Signal(number));
        assert_eq!(worker.next().await.unwrap_err(), death, "it stays dead of the same");
    }
    assert_eq!(pool.outcomes().iter().find(|(word, _)| *word == "signal"), Some(("signal", 2)));
    pool.close().await;
}

#[tokio::test]
async fn a_stopped_worker_is_killed_once_it_has_a_job() {
    let pool = Pool::start(config()).unwrap();
    let (mut worker, _source) = bound(&pool).await;
    kill_process(pid(worker.pid()), Signal::STOP).unwrap();
    timeout(Duration::from_millis(STALL_SECONDS * 1000 + 500), worker.next())
        .await
        .expect_err("an idle worker may be silent");
    worker.send(&self_test()).await.unwrap();
    assert_eq!(death(&mut worker).await.exit, Exit::Stalled(Duration::from_secs(STALL_SECONDS)));
    pool.close().await;
}

#[tokio::test]
async fn a_worker_at_its_memory_limit_ran_out_of_memory() {
    let pool = Pool::start(Config { memory_bytes: 128 << 20, ..config() }).unwrap();
    let (mut worker, _source) = bound(&pool).await;
    let data = vec![0; 200 << 20].into();
    let sidecar = Sidecar { codec: String::new(), language: String::new(), label: Label::default(), data };
    worker.send(&Request::Inspect { sidecars: vec![sidecar] }).await.unwrap();
    let death = death(&mut worker).await;
    assert_eq!(death.exit, Exit::OutOfMemory, "{death}");
    assert!(death.last_words.contains("memory allocation of"), "{death}");
    pool.close().await;
}

#[tokio::test]
async fn a_worker_that_is_asked_out_of_order_ends_with_a_status_and_says_why() {
    let pool = Pool::start(config()).unwrap();
    let (mut worker, _source) = bound(&pool).await;
    worker.send(&Request::Trial).await.unwrap();
    let death = death(&mut worker).await;
    assert_eq!(death.exit, Exit::Code(64));
    assert_eq!(death.last_words, "matinee work: a request for an unbound worker after it was bound\n");
    pool.close().await;
}

#[tokio::test]
async fn a_worker_that_talks_nonsense_is_killed_for_it() {
    let program = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/babble.sh"));
    let pool = Pool::start(Config { program: Some(program), ..config() }).unwrap();
    let Err(Error::Start(death)) = pool.bind(Path::new("/dev/null"), None, &[]).await else { panic!() };
    // "HTTP", read as a length.
    let why = "a frame of 1213486160 bytes, where 1 to 268435456 are allowed";
    assert_eq!(death.exit, Exit::Nonsense(why.to_owned()));
    pool.close().await;
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_an_error_and_not_a_hang() {
    let pool = Pool::start(Config { program: Some("/nonexistent/matinee".into()), ..config() }).unwrap();
    assert!(matches!(pool.bind(Path::new("/dev/null"), None, &[]).await, Err(Error::Spawn(_))));
    pool.close().await;
}

#[tokio::test]
async fn dropping_a_worker_leaves_no_process() {
    let pool = Pool::start(config()).unwrap();
    let (worker, _source) = bound(&pool).await;
    let number = worker.pid();
    let process = watch(number);
    let (requests, events) = worker.split();
    drop(events);
    ended(process).await;
    pool.close().await;
    assert!(requests.send(&self_test()).await.is_err(), "the other half keeps nothing alive");
    assert!(!Path::new(&format!("/proc/{number}")).exists(), "it is reaped, too");
    assert_eq!(pool.outcomes().iter().filter(|(_, n)| *n > 0).collect::<Vec<_>>(), [("dismissed", 1)]);
}

#[tokio::test]
async fn closing_the_pool_ends_workers_that_others_hold_and_starts_no_more() {
    let pool = Pool::start(Config { standby: 1, ..config() }).unwrap();
    let (mut worker, source) = bound(&pool).await;
    pool.close().await;
    assert_eq!(pool.counts(), (0, 0));
    assert_eq!(death(&mut worker).await.exit, Exit::Dismissed);
    assert!(matches!(pool.bind(source.path(), None, &[]).await, Err(Error::Closed)));
}

#[tokio::test]
async fn a_pool_that_can_start_no_worker_says_why_until_one_starts() {
    for standby in [0, 1] {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("matinee");
        let pool = Pool::start(Config { standby, program: Some(program.clone()), ..config() }).unwrap();
        let source = NamedTempFile::new().unwrap();
        assert!(matches!(pool.bind(source.path(), None, &[]).await, Err(Error::Spawn(_))));
        let why = pool.trouble().unwrap();
        assert!(why.starts_with("cannot start a worker: "), "{why}");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_matinee"), program).unwrap();
        // Nobody asks for one meanwhile.
        until("one was started", || pool.trouble().is_none()).await;
        until("as many stand by as shall", || pool.counts() == (standby, standby)).await;
        pool.close().await;
    }
}

#[tokio::test]
async fn a_trial_leaves_no_worker_behind() {
    let pool = Pool::start(config()).unwrap();
    timeout(PATIENCE, pool.trial()).await.unwrap().unwrap();
    assert_eq!(pool.outcomes().iter().filter(|(_, n)| *n > 0).collect::<Vec<_>>(), [("dismissed", 1)]);
    pool.close().await;
}

#[tokio::test]
async fn the_servers_death_kills_even_a_worker_that_does_not_listen() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "worker::a_server_that_holds_a_worker", "--ignored", "--nocapture"])
        .env(FOLDER_VARIABLE, folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let number = lines.map_while(Result::ok).find_map(|l| l.split_once("worker=")?.1.parse().ok()).unwrap();
    let worker = watch(number);
    kill_process(pid(number), Signal::STOP).unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    ended(worker).await;
}

#[tokio::test]
#[ignore = "the far half of the_servers_death_kills_even_a_worker_that_does_not_listen"]
async fn a_server_that_holds_a_worker() {
    let folder = PathBuf::from(std::env::var_os(FOLDER_VARIABLE).expect("the near half names a folder"));
    std::fs::write(folder.join("source"), []).unwrap();
    let pool = Pool::start(Config { folder: Some(folder.clone()), ..config() }).unwrap();
    let worker = pool.bind(&folder.join("source"), None, &[]).await.unwrap();
    println!("worker={}", worker.pid());
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}
