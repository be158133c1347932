//! The configuration: the sum of the rooms' sections; load, merge, check.
//!
//! Built-in default < file < environment < command line. A file is read only if one is named: `--config` or
//! `MATINEE_CONFIG`. In the environment a key is `MATINEE_` + upper case with `__` between levels;
//! `MATINEE_LISTEN`, `MATINEE_DATA` and `MATINEE_LOG` are short for `server.listen`, `data_dir` and `log.level`, and
//! win over the long form. An empty variable counts as unset. `config/matinee.toml` documents every key and equals the
//! built-in default, by test.
//!
//! The rule not to break: all problems are reported at once, each on one line that names where it comes from, the key,
//! the value and what it must be. A key nobody knows is a problem. [`Config::load`] is all or nothing.
//!
//! What is not here: keys are known to the loader by the fields of [`Config`] and the values of its `Default`, so a new
//! field needs no line in `load.rs`. Keys that end in `_bytes` take a number or a size such as `"256MiB"`.
//!
//! Arrow: `app`, `main` -> `config` -> the rooms.

mod load;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::media::{Ladder, LadderError};
use crate::telemetry::logs;

pub use load::{Flags, Origin, Problem, Problems};

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Folder of catalog, sources and cache; a relative path starts at the working directory.
    pub data_dir: PathBuf,
    /// Who may use the management API.
    pub auth: Auth,
    /// `[server]`
    pub server: Server,
    /// `[cache]`
    pub cache: Cache,
    /// `[encoder]`
    pub encoder: Encoder,
    /// `[warmer]`
    pub warmer: Warmer,
    /// `[ladder]`
    pub ladder: Ladder,
    /// `[log]`
    pub log: logs::Config,
}

/// Who may use the management API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// Who has a key; anybody on loopback as long as there is none.
    Keys,
    /// Anybody.
    Off,
}

/// `[server]`: the listening socket and its limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Address and port; port 0 takes a free one.
    #[serde(deserialize_with = "values::address")]
    pub listen: SocketAddr,
    /// Connections open at once; more wait in the kernel's queue.
    pub max_connections: u32,
    /// Largest request head.
    pub header_bytes: u64,
    /// Longest time a client may take to send a request head.
    pub header_timeout_seconds: f64,
    /// A connection without a request, or a response that no byte of is taken, is closed after this time.
    pub idle_timeout_seconds: f64,
    /// Longest time shutdown waits for responses in flight.
    pub drain_seconds: f64,
}

/// `[cache]`: how much is kept of what was encoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// Segments in memory.
    pub memory_bytes: u64,
    /// Segments on disk.
    pub disk_bytes: u64,
}

/// `[encoder]`: workers and look-ahead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoder {
    /// Worker processes that encode at once; 0 for one per core.
    pub workers: u32,
    /// Segments encoded beyond the one asked for; 0 for none.
    pub lookahead_segments: u32,
    /// Worker processes kept started and idle.
    pub standby: u32,
    /// A worker that makes no progress for this long is killed.
    pub stall_seconds: f64,
    /// Data segment limit of each worker.
    pub worker_memory_bytes: u64,
    /// What to do on a kernel that cannot confine workers.
    pub sandbox: Sandbox,
    /// Wished length of the parts a segment is streamed in while it is encoded.
    pub chunk_seconds: f64,
}

/// What to do on a kernel that cannot confine workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sandbox {
    /// Not start.
    Required,
    /// Confine them as far as it goes.
    BestEffort,
}

/// `[warmer]`: encoding ahead of demand. Reserved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Warmer {
    /// No effect yet.
    pub enabled: bool,
}

/// Something [`Config::problems`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key, or one below it: `ladder.video.height`.
    pub key: String,
    /// Key, value and what it must be: one line.
    pub text: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "./data".into(),
            auth: Auth::Keys,
            server: Server::default(),
            cache: Cache::default(),
            encoder: Encoder::default(),
            warmer: Warmer::default(),
            ladder: Ladder::default(),
            log: logs::Config::default(),
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            max_connections: 4096,
            header_bytes: 16 << 10,
            header_timeout_seconds: 10.0,
            idle_timeout_seconds: 60.0,
            drain_seconds: 30.0,
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self { memory_bytes: 256 << 20, disk_bytes: 20 << 30 }
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            workers: 0,
            lookahead_segments: 2,
            standby: 1,
            stall_seconds: 20.0,
            worker_memory_bytes: 2 << 30,
            sandbox: Sandbox::Required,
            chunk_seconds: 0.5,
        }
    }
}

impl Config {
    /// Defaults, file, environment and flags merged and checked.
    ///
    /// # Errors
    /// Every problem there is; exit status 2.
    pub fn load(flags: &Flags, environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, Problems> {
        load::load(flags, environment)
    }

    /// What is wrong with values that have the right type, all at once.
    #[must_use]
    pub fn problems(&self) -> Vec<Fault> {
        let mut found = Vec::new();
        let mut check = |key: &str, value: &dyn std::fmt::Display, good: bool, must: &str| {
            if !good {
                found.push(Fault { key: key.into(), text: format!("{key} = {value}: must be {must}") });
            }
        };
        let Server { listen, max_connections, header_bytes, header_timeout_seconds, .. } = &self.server;
        let Server { idle_timeout_seconds, drain_seconds, .. } = &self.server;
        let open = listen.ip().is_loopback() || self.auth == Auth::Off;
        let must = "a loopback address as long as there is no API key: add a key, \
             or set auth = \"off\" to let anybody who can connect manage this server";
        check("server.listen", &format_args!("\"{listen}\""), open, must);
        check("server.max_connections", max_connections, *max_connections >= 1, "at least 1");
        let small = (1 << 10..=1 << 20).contains(header_bytes);
        check("server.header_bytes", header_bytes, small, "\"1KiB\" to \"1MiB\"");
        for (key, seconds) in [
            ("server.header_timeout_seconds", header_timeout_seconds),
            ("server.idle_timeout_seconds", idle_timeout_seconds),
            ("encoder.stall_seconds", &self.encoder.stall_seconds),
        ] {
            check(key, seconds, (1.0..=3600.0).contains(seconds), "1 to 3600 seconds");
        }
        check("server.drain_seconds", drain_seconds, (0.0..=3600.0).contains(drain_seconds), "0 to 3600 seconds");
        let Encoder { workers, lookahead_segments, standby, worker_memory_bytes, chunk_seconds, .. } = &self.encoder;
        check("encoder.workers", workers, *workers <= 1024, "0 (one per core) to 1024");
        check("encoder.lookahead_segments", lookahead_segments, *lookahead_segments <= 100, "0 (none) to 100");
        check("encoder.standby", standby, *standby <= 64, "0 to 64");
        let enough = *worker_memory_bytes >= 256 << 20;
        check("encoder.worker_memory_bytes", worker_memory_bytes, enough, "at least \"256MiB\"");
        check("encoder.chunk_seconds", chunk_seconds, (0.1..=10.0).contains(chunk_seconds), "0.1 to 10 seconds");
        check("log.level", &format_args!("{:?}", self.log.level), self.log.filter().is_some(), logs::LEVEL_MUST);
        if self.data_dir.as_os_str().is_empty() {
            check("data_dir", &"\"\"", false, "a folder");
        }
        found.extend(self.ladder.problems().into_iter().map(Fault::from));
        found
    }
}

impl From<LadderError> for Fault {
    fn from(error: LadderError) -> Self {
        let (key, text) = match &error {
            LadderError::Empty(list) | LadderError::Order(list) => (list, error.to_string()),
            LadderError::Range { key, value, must } => (key, format!("ladder.{key} = {value}: must be {must}")),
        };
        Self { key: format!("ladder.{key}"), text }
    }
}

#[cfg(test)]
mod tests;
