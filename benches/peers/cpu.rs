//! Processor time of processes, from `/proc/[pid]/stat` (proc(5)): the same clock for both sides.

use std::collections::HashMap;
use std::fs;
use std::io::{Error, Result};
use std::time::{Duration, Instant};

/// `USER_HZ`: 100 on every Linux that Rust runs on.
const TICK: Duration = Duration::from_millis(10);
/// A server that used no processor time for this long has finished what a request set off.
const QUIET: Duration = Duration::from_millis(200);
/// Longest wait for that. A server that never rests cannot be measured.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is read of a process.
struct Process {
    zombie: bool,
    parent: u32,
    /// Own time.
    own: u32,
    /// Own time and that of children that were waited for.
    all: u32,
}

/// Waits; nothing else here does.
#[expect(clippy::disallowed_methods, reason = "a benchmark has nothing to wait on but time")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Processor time of a child that has closed its output and that nobody has waited for yet.
pub fn of_ended(pid: u32) -> Result<Duration> {
    let start = Instant::now();
    loop {
        let process = read(pid).ok_or_else(|| Error::other(format!("process {pid} is gone")))?;
        if process.zombie {
            return Ok(TICK * process.own);
        }
        if start.elapsed() > PATIENCE {
            return Err(Error::other(format!("process {pid} does not end")));
        }
        pause(Duration::from_millis(1));
    }
}

/// Processor time of a process and everything it ever started, once all of it has come to rest.
pub fn settled(pid: u32) -> Result<Duration> {
    let start = Instant::now();
    let mut seen = (tree(pid)?, Instant::now());
    while seen.1.elapsed() < QUIET {
        if start.elapsed() > PATIENCE {
            return Err(Error::other(format!("process {pid} does not come to rest")));
        }
        pause(Duration::from_millis(20));
        let now = tree(pid)?;
        if now != seen.0 {
            seen = (now, Instant::now());
        }
    }
    Ok(TICK * seen.0)
}

/// Processor time of a process and everything it ever started, as of now.
pub fn now(pid: u32) -> Result<Duration> {
    Ok(TICK * tree(pid)?)
}

/// The processes that it started and that live.
pub fn children(pid: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let one = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        children.extend(one.filter(|one| read(*one).is_some_and(|process| process.parent == pid)));
    }
    Ok(children)
}

/// Ticks of a process and its descendants, the dead ones included.
fn tree(pid: u32) -> Result<u32> {
    let mut all = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let pid = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        if let Some((pid, process)) = pid.and_then(|pid| Some((pid, read(pid)?))) {
            all.insert(pid, process);
        }
    }
    let descends = |mut of: u32| loop {
        if of == pid {
            return true;
        }
        match all.get(&of) {
            Some(process) => of = process.parent,
            None => return false,
        }
    };
    Ok(all.iter().filter(|(of, _)| descends(**of)).map(|(_, process)| process.all).sum())
}

fn read(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, blanks too.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<u32>().ok());
    let own = ticks(11)? + ticks(12)?;
    Some(Process { zombie: fields[0] == "Z", parent: ticks(1)?, own, all: own + ticks(13)? + ticks(14)? })
}
