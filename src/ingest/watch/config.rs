//! `[watch]`: a folder whose films become titles.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[watch]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The folder; none if empty.
    pub folder: PathBuf,
    /// What becomes of a file that is a title.
    pub then: Then,
    /// Seconds for which a file must not have changed.
    pub settle_seconds: u64,
}

/// What becomes of a file that is a title. One that cannot be is never deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Then {
    /// It stays, and so does one that cannot be a title. Nothing is written into the folder.
    Keep,
    /// It goes to `done`, below the folder; one that cannot be a title to `failed`, with the reason beside it.
    #[default]
    Move,
    /// It is deleted; one that cannot be a title goes to `failed`.
    Delete,
}

impl Default for Config {
    fn default() -> Self {
        Self { folder: PathBuf::new(), then: Then::default(), settle_seconds: 10 }
    }
}

impl Config {
    /// Everything that is wrong with it, one sentence each, which begins with the key.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let bad = !(1..=3600).contains(&self.settle_seconds);
        let said = || format!("watch.settle_seconds = {}: must be 1 to 3600", self.settle_seconds);
        bad.then(said).into_iter().collect()
    }

    pub(super) fn is_watching(&self) -> bool {
        !self.folder.as_os_str().is_empty()
    }

    pub(super) fn settle(&self) -> Duration {
        Duration::from_secs(self.settle_seconds)
    }
}
