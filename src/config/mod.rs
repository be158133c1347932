//! The configuration: the sum of the rooms' sections; load, merge, check.
//!
//! Built-in default < file < environment < command line. A file is read only if one is named: `--config` or
//! `MATINEE_CONFIG`. In the environment a key is `MATINEE_` + upper case with `__` between levels;
//! `MATINEE_LISTEN`, `MATINEE_DATA` and `MATINEE_LOG` are short for `server.listen`, `data_dir` and `log.level`, and
//! win over the long form. An empty variable counts as unset. `config/matinee.toml` documents every key and equals the
//! built-in default, by test.
//!
//! A room's section is the room's own `Config`; here they are only put side by side.
//!
//! The rule not to break: all problems are reported at once, each on one line that names where it comes from, the key,
//! the value and what it must be. A key nobody knows is a problem. [`Config::load`] is all or nothing.
//!
//! What is not here: keys are known to the loader by the fields of [`Config`] and the values of its `Default`, so a new
//! field needs no line in `load.rs`. Keys that end in `_bytes` take a number or a size such as `"256MiB"`.
//!
//! Arrow: `config` -> `cache`, `encoder`, `hooks`, `ingest`, `media`, `origin`, `outbound`, `telemetry`, `warmer`, `worker`.

mod load;
mod values;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::media::{Ladder, LadderError};
use crate::telemetry::logs;
use crate::{cache, encoder, hooks, ingest, origin, outbound, warmer, worker};

pub use load::{Flags, Origin, Problem, Problems};
pub use values::size;

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Folder of catalog, sources and cache; a relative path starts at the working directory.
    pub data_dir: PathBuf,
    /// Who may use the management API.
    pub auth: Auth,
    /// `[server]`
    pub server: origin::Config,
    /// `[uploads]`
    pub uploads: ingest::Config,
    /// `[watch]`
    pub watch: ingest::watch::Config,
    /// `[outbound]`
    pub outbound: outbound::Config,
    /// `[webhooks]`
    pub webhooks: hooks::Config,
    /// `[cache]`
    pub cache: cache::Config,
    /// `[encoder]`
    pub encoder: encoder::Config,
    /// `[worker]`
    pub worker: worker::Config,
    /// `[warmer]`
    pub warmer: warmer::Config,
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
            server: origin::Config::default(),
            uploads: ingest::Config::default(),
            watch: ingest::watch::Config::default(),
            outbound: outbound::Config::default(),
            webhooks: hooks::Config::default(),
            cache: cache::Config::default(),
            encoder: encoder::Config::default(),
            worker: worker::Config::default(),
            warmer: warmer::Config::default(),
            ladder: Ladder::default(),
            log: logs::Config::default(),
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
        check("log.level", &format_args!("{:?}", self.log.level), self.log.filter().is_some(), logs::LEVEL_MUST);
        if self.data_dir.as_os_str().is_empty() {
            check("data_dir", &"\"\"", false, "a folder");
        }
        let (server, uploads, warmer) = (self.server.problems(), self.uploads.problems(), self.warmer.problems());
        let rooms = [
            server,
            uploads,
            self.watch.problems(),
            warmer,
            self.webhooks.problems(),
            self.cache.problems(),
            self.encoder.problems(),
            self.worker.problems(),
        ]
        .concat();
        found.extend(rooms.into_iter().map(Fault::of_room));
        found.extend(self.ladder.problems().into_iter().map(Fault::from));
        found
    }
}

impl Fault {
    /// A room's sentence begins with the key it is about.
    fn of_room(text: String) -> Self {
        let key = text.split([' ', ':']).next().unwrap_or_default().to_owned();
        Self { key, text }
    }
}

impl From<LadderError> for Fault {
    fn from(error: LadderError) -> Self {
        let (key, text) = match &error {
            LadderError::Empty(list) | LadderError::Order(list) => (list, error.to_string()),
            LadderError::Name { .. } => (&"audio", error.to_string()),
            LadderError::Range { key, value, must } => (key, format!("ladder.{key} = {value}: must be {must}")),
        };
        Self { key: format!("ladder.{key}"), text }
    }
}

#[cfg(test)]
mod tests;
