//! What an operator may set about workers.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Below this nothing decodes.
const LEAST_MEMORY_BYTES: u64 = 256 << 20;

/// `[worker]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "snake_case")]
pub struct Config {
    /// Workers kept warm: GStreamer initialised, plugins loaded, no source yet.
    pub standby: usize,
    /// Most memory of one worker, bytes. A decompression bomb ends here.
    pub memory_bytes: u64,
    /// A worker with a job that says nothing for this long is killed, seconds; after up to ten times that if it waits for
    /// processors or a disk meanwhile.
    pub stall_seconds: u64,
    /// Longest start of a worker, seconds. The first one on a machine scans GStreamer's plugins.
    pub start_seconds: u64,
    /// Longest inspection of a source, seconds, however busy it looks.
    pub inspect_seconds: u64,
    /// Longest trial of all templates, seconds.
    pub trial_seconds: u64,
    /// What to do on a kernel that cannot close the sandbox.
    pub sandbox: Sandbox,
    /// A source, or one object of it, that killed this many workers ...
    pub quarantine_deaths: usize,
    /// ... within this many seconds ...
    pub quarantine_window_seconds: u64,
    /// ... is left alone for this many seconds.
    pub quarantine_seconds: u64,
    /// The program to start; `None` is this very one. For tests.
    #[serde(skip)]
    pub program: Option<PathBuf>,
    /// Where GStreamer's registry of plugins is kept between starts; `None` is a temporary folder of the pool's own,
    /// which costs a scan at every start. Set by the composition root.
    #[serde(skip)]
    pub folder: Option<PathBuf>,
}

/// What to do on a kernel that cannot close the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sandbox {
    /// Refuse to touch the source.
    Required,
    /// Close what can be closed, and say on standard error what could not.
    BestEffort,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            standby: 4,
            memory_bytes: 3 << 30,
            stall_seconds: 6,
            start_seconds: 60,
            inspect_seconds: 900,
            trial_seconds: 120,
            sandbox: Sandbox::Required,
            quarantine_deaths: 4,
            quarantine_window_seconds: 600,
            quarantine_seconds: 600,
            program: None,
            folder: None,
        }
    }
}

impl Config {
    /// All problems at once, one sentence each, which begins with the key.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.memory_bytes < LEAST_MEMORY_BYTES {
            problems.push(format!("worker.memory_bytes = {}: must be at least \"256MiB\"", self.memory_bytes));
        }
        let mut check = |key: &str, value: u64, least: u64, most: u64| {
            if !(least..=most).contains(&value) {
                problems.push(format!("worker.{key} = {value}: must be {least} to {most}"));
            }
        };
        check("standby", self.standby as u64, 0, 16);
        for (key, seconds) in [
            ("stall_seconds", self.stall_seconds),
            ("start_seconds", self.start_seconds),
            ("inspect_seconds", self.inspect_seconds),
            ("trial_seconds", self.trial_seconds),
        ] {
            check(key, seconds, 1, 86_400);
        }
        check("quarantine_deaths", self.quarantine_deaths as u64, 1, 1000);
        check("quarantine_window_seconds", self.quarantine_window_seconds, 1, 86_400);
        check("quarantine_seconds", self.quarantine_seconds, 1, 86_400);
        problems
    }

    pub(super) fn stall(&self) -> Duration {
        Duration::from_secs(self.stall_seconds)
    }

    pub(super) fn start(&self) -> Duration {
        Duration::from_secs(self.start_seconds)
    }

    pub(super) fn inspect(&self) -> Duration {
        Duration::from_secs(self.inspect_seconds)
    }

    pub(super) fn trial(&self) -> Duration {
        Duration::from_secs(self.trial_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_reported_at_once_and_the_default_has_none() {
        assert_eq!(Config::default().problems(), Vec::<String>::new());
        let broken = Config { memory_bytes: 1, stall_seconds: 0, quarantine_deaths: 0, ..Config::default() };
        assert_eq!(
            broken.problems(),
            [
                "worker.memory_bytes = 1: must be at least \"256MiB\"",
                "worker.stall_seconds = 0: must be 1 to 86400",
                "worker.quarantine_deaths = 0: must be 1 to 1000",
            ]
        );
    }

    #[test]
    fn a_misspelt_key_is_an_error() {
        assert!(toml::from_str::<Config>("stall_second = 3").is_err());
        let best_effort = toml::from_str::<Config>("sandbox = \"best-effort\"").unwrap();
        assert_eq!(best_effort.sandbox, Sandbox::BestEffort);
    }
}
