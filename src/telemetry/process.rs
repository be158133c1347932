//! The server's process as the kernel tells it (proc_pid_stat(5)), under the names that every Prometheus client uses. Its
//! workers are processes of their own.

use std::fs;

use prometheus::{Gauge, IntGauge, Registry, core::Collector};

/// Ticks of the times in `/proc` in a second, `USER_HZ`: the same on every architecture Debian 12 is made for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Read when somebody asks; what `/proc` does not say stays as it was.
#[derive(Clone, Debug)]
pub(super) struct Process {
    registry: Registry,
    start_time_seconds: Gauge,
    resident_memory_bytes: IntGauge,
    cpu_seconds: prometheus::Counter,
    open_fds: IntGauge,
}

/// Fields of `/proc/self/stat`, seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Times {
    /// On processors, the process's own and the kernel's for it.
    cpu: f64,
    /// From the machine's start to the process's.
    started: f64,
}

impl Process {
    pub(super) fn new() -> Self {
        let process = Self {
            registry: Registry::new(),
            start_time_seconds: Gauge::new(
                "process_start_time_seconds",
                "Start of the process, in seconds since the Unix epoch.",
            )
            .expect("constant"),
            resident_memory_bytes: IntGauge::new("process_resident_memory_bytes", "Memory in use, workers' excluded.")
                .expect("constant"),
            cpu_seconds: prometheus::Counter::new(
                "process_cpu_seconds_total",
                "Time on processors, workers' excluded.",
            )
            .expect("constant"),
            open_fds: IntGauge::new("process_open_fds", "Open file descriptors.").expect("constant"),
        };
        let all: [Box<dyn Collector>; 4] = [
            Box::new(process.start_time_seconds.clone()),
            Box::new(process.resident_memory_bytes.clone()),
            Box::new(process.cpu_seconds.clone()),
            Box::new(process.open_fds.clone()),
        ];
        for metric in all {
            process.registry.register(metric).expect("every name is used once");
        }
        process
    }

    /// Looks, and says what it saw.
    pub(super) fn gather(&self) -> Vec<prometheus::proto::MetricFamily> {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        if let Some(times) = times(&text("/proc/self/stat")) {
            self.cpu_seconds.inc_by((times.cpu - self.cpu_seconds.get()).max(0.0));
            if let Some(booted) = number(&text("/proc/stat"), "btime") {
                #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact")]
                self.start_time_seconds.set(booted as f64 + times.started);
            }
        }
        if let Some(kibibytes) = number(&text("/proc/self/status"), "VmRSS:") {
            self.resident_memory_bytes.set(kibibytes.saturating_mul(1024));
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // One of them is the folder that is read.
            self.open_fds.set(i64::try_from(open.count()).unwrap_or(i64::MAX).saturating_sub(1));
        }
        self.registry.gather()
    }
}

fn times(stat: &str) -> Option<Times> {
    // The name in parentheses may hold anything; the state, field 3, follows it. Times are fields 14, 15 and 22.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let seconds = |field: usize| Some(fields.get(field - 3)?.parse::<f64>().ok()? / TICKS_PER_SECOND);
    Some(Times { cpu: seconds(14)? + seconds(15)?, started: seconds(22)? })
}

/// The number after a word at the beginning of a line.
fn number(text: &str, word: &str) -> Option<i64> {
    text.lines().find_map(|line| line.strip_prefix(word)?.split_ascii_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn fields_are_counted_from_behind_the_name() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0 1234 0";
        assert_eq!(times(stat), Some(Times { cpu: 2.0, started: 12.34 }));
        assert_eq!(times("7 (a) S 1"), None);
        assert_eq!(number("a 1\nVmRSS:\t 12 kB\n", "VmRSS:"), Some(12));
    }

    #[test]
    fn what_is_told_of_this_process_is_plausible() {
        let process = Process::new();
        process.gather();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        // The start of the machine is known in whole seconds.
        assert!((now - 86_400.0..now + 2.0).contains(&process.start_time_seconds.get()));
        assert!(process.resident_memory_bytes.get() > 1 << 20);
        assert!(process.open_fds.get() >= 3 && process.cpu_seconds.get() >= 0.0);
    }
}
