//! What a process does, as the kernel tells it (proc_pid_stat(5)): whether it would go on if it were let, and how much it
//! has worked.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// A tick of the times in `/proc`, `USER_HZ`: the same on every architecture Debian 12 is made for.
const TICK: Duration = Duration::from_millis(10);

/// A look at a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Activity {
    /// A thread is running, waits for a processor, or for a disk: not for itself, and it was not stopped.
    pub is_hindered: bool,
    /// Time on processors so far.
    pub used: Duration,
}

impl Activity {
    /// Of a process that lives; one that does not does nothing.
    pub fn of(pid: i32) -> Self {
        let process = Path::new("/proc").join(pid.to_string());
        let threads = fs::read_dir(process.join("task")).into_iter().flatten().map_while(Result::ok);
        let is_hindered =
            threads.filter_map(|thread| stat(&thread.path())).any(|(state, _)| matches!(state, 'R' | 'D'));
        Self { is_hindered, used: stat(&process).map_or(Duration::ZERO, |(_, used)| used) }
    }
}

/// State and processor time.
fn stat(of: &Path) -> Option<(char, Duration)> {
    let text = fs::read_to_string(of.join("stat")).ok()?;
    parse(&text)
}

fn parse(stat: &str) -> Option<(char, Duration)> {
    // The name in parentheses may hold anything; the state is field 3, the user's and the system's time are 14 and 15.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let mut times = fields.skip(10).map_while(|field| field.parse::<u32>().ok());
    Some((state, TICK * times.next()?.saturating_add(times.next()?)))
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::thread::yield_now;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_line_of_the_kernel_is_read_whatever_the_name() {
        let line = "7 (a) R 9 9)) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 3 4 5";
        assert_eq!(parse(line), Some(('S', Duration::from_secs(3))));
        for broken in ["", "7 (x)", "7 (x) R 1", "no"] {
            assert_eq!(parse(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn who_works_is_told_from_who_waits() {
        for (script, is_hindered) in [("while :; do :; done", true), ("exec sleep 60", false)] {
            let mut child = Command::new("sh").args(["-c", script]).spawn().unwrap();
            let began = Instant::now();
            while Activity::of(child.id().cast_signed()).is_hindered != is_hindered {
                assert!(began.elapsed() < Duration::from_secs(10), "{script}");
                yield_now();
            }
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(Activity::of(i32::MAX), Activity::default());
    }
}
