//! Files that somebody broke: whatever is changed in a real file, it ends as a title that plays or as a clear refusal, and
//! in time. The server answers all the while, and no worker outlives it (that is what dropping a [`TestServer`] looks at).
//!
//! The ordinary suite breaks a film of its own a few times. `make mutants` breaks the files of the corpus 500 times;
//! `MUTANTS=from..to` picks some. A mutant is a function of its number, so a finding can be made again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::media::Film;
use crate::support::{Data, Dice, TestServer, run};

/// Longer than any watchdog of a worker waits, retry included, on a machine that does other things.
const BOUND: Duration = Duration::from_secs(60);
/// Mutants of the ordinary suite, and of the long run.
const FEW: u64 = 12;
const MANY: u64 = 500;
/// How often a segment that is late is asked for again: each time the server waits as long as it says.
const TRIES: u32 = 4;
/// Larger files only take longer to copy.
const LARGEST: u64 = 1 << 20;

/// Mutant `n` of some files: what was done, and to which, and the bytes.
fn mutant(n: u64, files: &[PathBuf]) -> (String, Vec<u8>) {
    let mut dice = Dice::new(n);
    let file = &files[dice.below(files.len())];
    let mut bytes = std::fs::read(file).unwrap();
    // Headers lie at the start or at the end; half of the changes are made there.
    let place = |dice: &mut Dice, length: usize| match dice.below(4) {
        0 => dice.below(length.min(2048)),
        1 => length - 1 - dice.below(length.min(2048)),
        _ => dice.below(length),
    };
    let what = match n % 6 {
        0 => {
            let flips = 1 + dice.below(64);
            for _ in 0..flips {
                let at = place(&mut dice, bytes.len());
                bytes[at] ^= 1 << dice.below(8);
            }
            "bits flipped"
        }
        1 => {
            let keep = dice.below(bytes.len());
            bytes.truncate(keep);
            "truncated"
        }
        2 => {
            let other = std::fs::read(&files[dice.below(files.len())]).unwrap();
            let from = dice.below(other.len());
            let length = 1 + dice.below((other.len() - from).min(65_536));
            let at = place(&mut dice, bytes.len());
            bytes.splice(at..at, other[from..from + length].iter().copied());
            "a piece of another put in"
        }
        3 => {
            let at = place(&mut dice, bytes.len());
            let length = 1 + dice.below((bytes.len() - at).min(4096));
            bytes[at..at + length].fill_with(|| dice.next() as u8);
            "noise"
        }
        4 => {
            let at = place(&mut dice, bytes.len());
            let length = 1 + dice.below((bytes.len() - at).min(16_384));
            bytes.drain(at..at + length);
            "a piece taken out"
        }
        _ => {
            for _ in 0..=dice.below(8) {
                let at = place(&mut dice, bytes.len()).min(bytes.len().saturating_sub(4));
                let extreme = [0, 1, u32::MAX, i32::MAX as u32, 0x8000_0000, 0xFFFF_FFF0][dice.below(6)];
                for (byte, new) in bytes[at..].iter_mut().zip(extreme.to_be_bytes()) {
                    *byte = new;
                }
            }
            "numbers made extreme"
        }
    };
    (format!("{n}: {} of {}", what, file.file_name().unwrap().display()), bytes)
}

/// Adds each mutant and asks for its first and last segment. How many play; and what did not end well.
fn walk(numbers: std::ops::Range<u64>, files: &[PathBuf]) -> (u64, Vec<String>) {
    let data = Data::new();
    let server = TestServer::over(&data);
    let folder = tempfile::tempdir().unwrap();
    let (mut found, mut played, mut refused) = (Vec::new(), 0, 0);
    for n in numbers {
        let (what, bytes) = mutant(n, files);
        let path = folder.path().join("mutant");
        std::fs::write(&path, bytes).unwrap();
        let began = Instant::now();
        let ran = run(bounded(&data.command(&["ingest", "--json", path.to_str().unwrap()])));
        let mut say = |why: String| {
            println!("  {what}: {why}");
            found.push(format!("{what}: {why}"));
        };
        if began.elapsed() > BOUND {
            say(format!("took {:.0?}", began.elapsed()));
        }
        match ran.status.code() {
            Some(0) => {
                played += 1;
                let id = ran.json()[0]["id"].as_str().unwrap().to_owned();
                play(&server, &id, &mut say);
            }
            Some(1) if is_clear(&ran.stderr) => refused += 1,
            code => say(format!("ended with {code:?}: {}", ran.stderr.trim())),
        }
    }
    assert_eq!(server.get("/healthz").status, 200);
    println!("{played} play, {refused} are refused, {} findings", found.len());
    (played, found)
}

/// The same command, ended if it hangs.
fn bounded(command: &Command) -> Command {
    let mut bounded = Command::new("timeout");
    bounded.arg((2 * BOUND.as_secs()).to_string()).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bounded.env(name, value),
            None => bounded.env_remove(name),
        };
    }
    bounded
}

/// One line that is meant for people.
fn is_clear(message: &str) -> bool {
    let broken = ["panicked", "worker", "signal", "protocol"].iter().any(|word| message.contains(word));
    message.lines().count() == 1 && message.len() > 30 && !broken
}

/// First and last segment of the first variant.
fn play(server: &TestServer, id: &str, say: &mut impl FnMut(String)) {
    let playlists = server.playlists(id);
    let Some(playlist) = playlists.last() else { return say("no playlist".to_owned()) };
    let segments = server.segments(playlist);
    for path in [segments.first(), segments.get(1), segments.last()].into_iter().flatten() {
        let mut answer = server.ask(path).send();
        for _ in 0..TRIES {
            // Not yet: the machine may be busy, and a viewer's player asks again.
            if answer.as_ref().is_ok_and(|a| a.status == 503) {
                answer = server.ask(path).send();
            }
        }
        match answer {
            Ok(answer) if answer.status == 200 => {}
            Ok(answer) => say(format!("{path}: {} {}", answer.status, answer.text())),
            Err(broken) => say(format!("{path}: broken off: {:?}", broken.why)),
        }
    }
}

#[test]
fn a_film_that_somebody_broke_is_a_title_or_is_refused_clearly_and_the_server_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let film = Film { frames: 48, size: (320, 180), kilobits: 300, ..Film::LONG_GOP };
    let files = [film.make(folder.path(), "film.mp4")];
    let (played, found) = walk(0..FEW, &files);
    assert_eq!(found, Vec::<String>::new());
    assert!(played >= FEW / 6, "{played} of {FEW} play: not all that is broken is to be refused");
}

#[test]
fn what_a_demuxer_complains_of_before_it_shows_a_packet_refuses_the_film_whoever_is_quicker() {
    let folder = tempfile::tempdir().unwrap();
    let film = Film { frames: 48, size: (320, 180), kilobits: 300, ..Film::LONG_GOP };
    let mut bytes = std::fs::read(film.make(folder.path(), "film.mp4")).unwrap();
    // The descriptions of the first track: the demuxer complains, and goes on to show the second.
    let at = bytes.windows(4).position(|name| name == b"stsd").unwrap();
    bytes[at] = b'x';
    let path = folder.path().join("broken.mp4");
    std::fs::write(&path, bytes).unwrap();
    let data = Data::new();
    for _ in 0..3 {
        let ran = run(data.command(&["ingest", path.to_str().unwrap()]));
        assert!(ran.code() == 1 && ran.error().contains("its structure cannot be read"), "{ran:?}");
    }
}

#[test]
#[ignore = "breaks real files 500 times: `make mutants`, a quarter of an hour"]
fn real_files_that_somebody_broke_play_or_are_refused_clearly_and_soon() {
    let folder = crate::corpus::folder().unwrap_or_else(|missing| panic!("{missing}"));
    let small = |path: &Path| std::fs::metadata(path).is_ok_and(|m| m.is_file() && (1..LARGEST).contains(&m.len()));
    let listed = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        listed.filter(|path| small(path) && path.extension().is_some_and(|e| e != "json")).collect();
    files.sort();
    let wanted = std::env::var("MUTANTS").unwrap_or_default();
    let numbers = wanted.split_once("..").map_or(0..MANY, |(from, to)| from.parse().unwrap()..to.parse().unwrap());
    let is_all = numbers == (0..MANY);
    let (played, found) = walk(numbers, &files);
    assert_eq!(found, Vec::<String>::new());
    assert!(!is_all || played >= MANY / 10, "{played} of {MANY} play: not all that is broken is to be refused");
}
