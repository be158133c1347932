//! `[cache]`: how much is kept.

use serde::{Deserialize, Serialize};

/// `[cache]`: the bounds of the two tiers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Segments held in memory, bytes; 0 holds none there.
    pub memory_bytes: u64,
    /// Segment files on disk, bytes; 0 keeps none there.
    pub disk_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { memory_bytes: 256 << 20, disk_bytes: 20 << 30 }
    }
}

impl Config {
    /// Everything that is wrong, a sentence each.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.memory_bytes == 0 && self.disk_bytes == 0 {
            problems.push(
                "cache.memory_bytes and cache.disk_bytes are both 0: every request would encode again; \
                 give at least one of them a size"
                    .to_owned(),
            );
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_of_nothing_is_a_problem_and_one_tier_is_enough() {
        assert!(Config::default().problems().is_empty());
        assert!(Config { memory_bytes: 0, ..Config::default() }.problems().is_empty());
        assert!(Config { disk_bytes: 0, ..Config::default() }.problems().is_empty());
        assert_eq!(Config { memory_bytes: 0, disk_bytes: 0 }.problems().len(), 1);
    }

    #[test]
    fn an_unknown_key_is_an_error_and_a_missing_one_the_default() {
        assert!(toml::from_str::<Config>("ram = 1").is_err());
        assert_eq!(toml::from_str::<Config>("disk_bytes = 7").unwrap(), Config { disk_bytes: 7, ..Config::default() });
    }
}
