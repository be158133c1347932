//! A matinee of the tests: a data folder, commands on it, a server over it, and a client that believes nothing.
//!
//! A server is stopped when it is dropped, and the test fails if it did not end in order, or left a process or a
//! temporary file behind.

mod client;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

pub use client::{Answer, Asking, Broken};

/// Longer than anything takes on a busy machine, so that a hang is a failure and not a wait.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at what nobody announces.
const LOOK: Duration = Duration::from_millis(2);

/// Turns encoding ahead of demand on or off.
pub const WARMER: &str = "MATINEE_WARMER__ENABLED";
/// Settings of a server whose test is not about them: what is made unasked would be in the way of whoever counts, and a
/// busy machine refuses nobody and gives up nothing.
const UNLESS_SAID: [(&str, &str); 4] = [
    (WARMER, "false"),
    ("MATINEE_ENCODER__PATIENCE_SECONDS", "60"),
    ("MATINEE_SERVER__FIRST_BYTE_SECONDS", "60"),
    ("MATINEE_SERVER__CHUNK_SECONDS", "60"),
];

/// What a data folder holds when nobody works on it. Anything else is a leftover.
const KNOWN: [&str; 9] = [
    "cache",
    "catalog.sqlite",
    "catalog.sqlite-shm",
    "catalog.sqlite-wal",
    "gstreamer",
    "library",
    "secret",
    "staging",
    "uploads",
];

/// A data folder. Clones are the same one; the last one removes it.
#[derive(Clone)]
pub struct Data(Arc<TempDir>);

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// A server on a free port.
pub struct TestServer {
    pub address: SocketAddr,
    pub data: Data,
    process: Option<Child>,
    log: Arc<Mutex<String>>,
}

/// Random numbers that are the same everywhere (Marsaglia's xorshift64).
pub struct Dice(u64);

/// The program, with nothing in its environment that is the caller's affair.
pub fn matinee(arguments: &[&str]) -> Command {
    // A session of its own: that is how its processes are found again, however they group themselves.
    let mut command = Command::new("setsid");
    command.arg("--wait").arg(env!("CARGO_BIN_EXE_matinee")).args(arguments);
    let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MATINEE_"));
    for (name, _) in ours {
        command.env_remove(name);
    }
    command.env("RUST_BACKTRACE", "1");
    command
}

/// Runs a command to its end.
pub fn run(mut command: Command) -> Ran {
    let output = command.stdin(Stdio::null()).output().expect("setsid, of util-linux, starts the program");
    let text = |bytes| String::from_utf8(bytes).expect("a program speaks UTF-8");
    Ran { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Ran {
    /// The status, which must not be a signal's.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("no exit status: {self:?}"))
    }

    /// The one line of an error.
    pub fn error(&self) -> &str {
        let lines: Vec<&str> = self.stderr.lines().collect();
        let [line] = lines[..] else { panic!("not one line on standard error: {self:?}") };
        line.strip_prefix("matinee: ").unwrap_or_else(|| panic!("not in the program's name: {line}"))
    }

    /// Standard output, one JSON value per line.
    pub fn json(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `end`, which may be zero.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 1).unwrap() % end.max(1)
    }
}

impl Data {
    pub fn new() -> Self {
        Self(Arc::new(tempfile::tempdir().unwrap()))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A command on this folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = matinee(arguments);
        command.arg("--data").arg(self.path());
        command
    }

    /// Adds a film; its id.
    pub fn ingest(&self, film: &Path) -> String {
        let ran = run(self.command(&["ingest", "--json", film.to_str().unwrap()]));
        assert_eq!(ran.code(), 0, "{ran:?}");
        ran.json()[0]["id"].as_str().unwrap().to_owned()
    }

    /// Paths of all files below a folder of it, sorted; `""` is the whole.
    pub fn files(&self, below: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.path().join(below)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path.strip_prefix(self.path()).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        found.sort();
        found
    }

    /// The sources kept, by their digests.
    pub fn sources(&self) -> Vec<String> {
        let sources = self.files("library").into_iter().filter(|name| name.ends_with("/source"));
        sources.map(|name| name.split('/').nth(2).unwrap().to_owned()).collect()
    }

    /// Fails if something lies about that a stopped matinee should have removed.
    pub fn assert_tidy(&self) {
        let strangers = |name: &String| !KNOWN.iter().any(|known| name.split('/').next() == Some(known));
        let mut leftovers: Vec<String> = self.files("").into_iter().filter(strangers).collect();
        leftovers.extend(self.files("cache/tmp"));
        leftovers.extend(self.files("staging").into_iter().filter(|name| name != "staging/.lock"));
        assert!(leftovers.is_empty(), "left behind: {leftovers:?}");
    }
}

impl TestServer {
    /// A server over an empty folder.
    pub fn start() -> Self {
        Self::over(&Data::new())
    }

    /// A server over a folder.
    pub fn over(data: &Data) -> Self {
        Self::with(data, &[])
    }

    /// A server over a folder, with settings as variables: `("MATINEE_ENCODER__WORKERS", "1")`. Returns when it
    /// answers.
    pub fn with(data: &Data, settings: &[(&str, &str)]) -> Self {
        let mut command = data.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.envs(settings.iter().copied());
        Self::started_by(command, data)
    }

    /// A server over a folder, by a command whose process it becomes. Returns when it answers.
    pub fn started_by(mut command: Command, data: &Data) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, value) in UNLESS_SAID {
            if !command.get_envs().any(|(said, _)| said == name) {
                command.env(name, value);
            }
        }
        let mut process = command.spawn().expect("setsid, of util-linux, starts the program");
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, written) = (process.stderr.take().unwrap(), log.clone());
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                *written.lock().unwrap() += &(line + "\n");
            }
        });
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()?.parse().ok());
        let Some(address) = address else {
            let status = process.wait().unwrap();
            panic!("the server did not start ({status}): {line}{}", log.lock().unwrap());
        };
        Self { address, data: data.clone(), process: Some(process), log }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.process.as_ref().unwrap().id()).unwrap()
    }

    /// Its workers' process ids.
    pub fn workers(&self) -> Vec<i32> {
        session(self.pid()).into_iter().filter(|pid| *pid != self.pid()).collect()
    }

    /// Bytes by a field of its proc_pid_status(5): `VmRSS`, or `VmHWM` for the most there ever were.
    pub fn memory_bytes(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')?.strip_suffix(" kB"));
        value.unwrap_or_else(|| panic!("no {field}:\n{status}")).trim().parse::<u64>().unwrap() << 10
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The whole answer to a GET.
    ///
    /// # Panics
    /// If it is broken off.
    pub fn get(&self, path: &str) -> Answer {
        self.ask(path).send().unwrap_or_else(|broken| panic!("{path}: {broken:?}\n{}", self.log()))
    }

    /// The body of a GET that must be answered 200.
    pub fn bytes(&self, path: &str) -> Vec<u8> {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.body
    }

    /// The same as text.
    pub fn text(&self, path: &str) -> String {
        String::from_utf8(self.bytes(path)).unwrap()
    }

    /// A request to be refined: other headers, a method, or only the beginning of its answer.
    pub fn ask(&self, path: &str) -> Asking {
        Asking::new(self.address, path)
    }

    /// A sample of `/metrics`: `matinee_encodes_started_total`, labels included.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.text("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no metric {name}:\n{text}")).parse().unwrap()
    }

    /// Paths of the media playlists of a title, in the order of its master playlist: sound first.
    pub fn playlists(&self, id: &str) -> Vec<String> {
        let master = self.text(&format!("/v/{id}/master.m3u8"));
        let uri = |line: &str| match line.strip_prefix("#EXT-X-MEDIA:") {
            Some(tag) => Some(tag.split("URI=\"").nth(1)?.split('"').next()?.to_owned()),
            None => Some(line.to_owned()).filter(|line| !line.starts_with('#')),
        };
        master.lines().filter_map(uri).map(|uri| format!("/v/{id}/{uri}")).collect()
    }

    /// The path of the media playlist of a rendition.
    pub fn playlist(&self, id: &str, rendition: &str) -> String {
        let all = self.playlists(id);
        let end = format!("/{rendition}/index.m3u8");
        all.iter().find(|path| path.ends_with(&end)).unwrap_or_else(|| panic!("no {rendition} in {all:?}")).clone()
    }

    /// Paths of what a media playlist points to: the init segment, then the segments.
    pub fn segments(&self, playlist: &str) -> Vec<String> {
        let text = self.text(playlist);
        let folder = playlist.rsplit_once('/').unwrap().0;
        let map = text.lines().find_map(|line| line.strip_prefix("#EXT-X-MAP:URI=\"")?.strip_suffix('"'));
        let segments = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        map.into_iter().chain(segments).map(|uri| format!("{folder}/{uri}")).collect()
    }

    /// A whole rendition as one file: the init segment and every segment.
    pub fn rendition(&self, playlist: &str) -> Vec<u8> {
        self.segments(playlist).iter().flat_map(|path| self.bytes(path)).collect()
    }

    /// Stops it in order and starts another one over the same folder.
    pub fn restart(self) -> Self {
        let data = self.data.clone();
        drop(self);
        Self::over(&data)
    }

    /// Ends it as a power cut would, waits until its workers are gone, too, and returns its folder.
    pub fn kill(mut self) -> Data {
        let mut process = self.process.take().unwrap();
        let pid = i32::try_from(process.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        process.wait().unwrap();
        until("the workers of a killed server are gone", || session(pid).is_empty());
        self.data.clone()
    }

    /// Sends a signal to the server.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let process = self.process.take().unwrap();
        let status = wait(process).expect("it ends in time");
        (status, self.log())
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let Some(process) = self.process.take() else { return };
        let pid = i32::try_from(process.id()).unwrap();
        let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM);
        let status = wait(process);
        let log = self.log();
        if thread::panicking() {
            eprintln!("the server's log:\n{log}");
            return;
        }
        let status = status.unwrap_or_else(|| panic!("the server did not stop in {PATIENCE:?}:\n{log}"));
        assert!(status.success(), "the server ended with {status}:\n{log}");
        let left = session(pid);
        assert!(left.is_empty(), "the server left processes {left:?}:\n{log}");
        self.data.assert_tidy();
    }
}

/// Waits for a process; kills it and says `None` if that takes too long.
fn wait(mut process: Child) -> Option<ExitStatus> {
    let pid = Pid::from_child(&process);
    let (done, ended) = sync_channel::<()>(1);
    let watch = thread::spawn(move || {
        let late = ended.recv_timeout(PATIENCE).is_err();
        if late {
            let _ = kill_process(pid, Signal::KILL);
        }
        late
    });
    let status = process.wait().unwrap();
    let _ = done.send(());
    (!watch.join().unwrap()).then_some(status)
}

/// Waits for what nobody announces, looking often and leaving the processor to those who bring it about.
pub fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let began = Instant::now();
    while !reached() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::park_timeout(LOOK);
    }
}

/// Processes of a session that live.
pub fn session(leader: i32) -> Vec<i32> {
    living(3, leader)
}

/// Processes a process has started, and that live.
pub fn children(parent: i32) -> Vec<i32> {
    living(1, parent)
}

/// Processes that live and have this number in a field of proc_pid_stat(5), counted from the state on.
fn living(field: usize, number: i32) -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let belongs = |pid: &i32| {
        let mut stat = String::new();
        let read = fs::File::open(format!("/proc/{pid}/stat")).and_then(|mut f| f.read_to_string(&mut stat));
        // The name in parentheses may hold anything; state, parent, group and session follow it.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        read.is_ok() && fields.len() > field && fields[0] != "Z" && fields[field].parse() == Ok(number)
    };
    pids.filter(belongs).collect()
}

/// What an independent reader finds in media: `nb_read_frames` of the first stream and so on, by ffprobe.
pub fn ffprobe(media: &[u8], entries: &str) -> Value {
    let file = tempfile::Builder::new().suffix(".mp4").tempfile().unwrap();
    fs::write(file.path(), media).unwrap();
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-of", "json", "-show_entries", entries])
        .arg(file.path())
        .output()
        .expect("ffprobe is installed by `make test`");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Says that a test does less than it might. Not by `eprintln!`, which the test harness keeps to itself.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// A path below the repository's root, for files that tests read.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
