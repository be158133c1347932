//! `[uploads]`: how much may come in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::media::Quota;

/// `[uploads]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Bytes of one film.
    pub max_bytes: u64,
    /// Films received at once; one more is told 503.
    pub max_concurrent: usize,
    /// Resumable uploads that are not finished at once; one more is told 503.
    pub max_open: usize,
    /// Hours after which a resumable upload that nobody goes on with is given up, and the news of a finished one.
    pub expire_hours: u64,
    /// Web sites whose pages may send resumable uploads, such as `https://example.org`; `*` for all. Pages of this machine
    /// always may.
    pub origins: Vec<String>,
    /// Bytes that stay free on the disk of the data folder, for the catalog above all: the cache leaves them, too.
    pub reserve_bytes: u64,
    /// Seconds an uploader may send nothing.
    pub stall_seconds: u64,
    /// Films fetched by their URLs at once.
    pub fetches: usize,
    /// Hours that fetching a film may take, pauses and restarts included.
    pub fetch_hours: u64,
    /// Films inspected at once.
    pub workers: usize,
    /// Attempts at inspecting or fetching a film, where another one can help.
    pub attempts: u32,
    /// Bytes of films that a key may have, unless it was said when it was added; 0 for no limit.
    pub key_max_bytes: u64,
    /// Titles that a key may have, likewise.
    pub key_max_titles: u64,
    /// Uploads that a key may have under way, likewise.
    pub key_max_uploads: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_bytes: 100 << 30,
            max_concurrent: 256,
            max_open: 1000,
            expire_hours: 24,
            origins: Vec::new(),
            reserve_bytes: 256 << 20,
            stall_seconds: 60,
            fetches: 4,
            fetch_hours: 24,
            workers: 2,
            attempts: 4,
            key_max_bytes: 0,
            key_max_titles: 0,
            key_max_uploads: 0,
        }
    }
}

impl Config {
    /// Everything that is wrong with it, one sentence each, which begins with the key.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let ranges = [
            ("max_bytes", self.max_bytes, 1, u64::MAX),
            ("max_concurrent", self.max_concurrent as u64, 1, 10_000),
            ("max_open", self.max_open as u64, 1, 100_000),
            ("expire_hours", self.expire_hours, 1, 8760),
            ("stall_seconds", self.stall_seconds, 1, 3600),
            ("fetches", self.fetches as u64, 1, 100),
            ("fetch_hours", self.fetch_hours, 1, 720),
            ("workers", self.workers as u64, 1, 32),
            ("attempts", u64::from(self.attempts), 1, 100),
        ];
        let bad = ranges.into_iter().filter(|(_, value, least, most)| !(least..=most).contains(&value));
        let ranges = bad.map(|(key, value, least, most)| match most {
            u64::MAX => format!("uploads.{key} = {value}: must be {least} or more"),
            _ => format!("uploads.{key} = {value}: must be {least} to {most}"),
        });
        let origins = self.origins.iter().filter(|origin| *origin != "*" && !may_come(origin));
        let origins = origins.map(|origin| {
            format!(
                "uploads.origins = {origin:?}: must be \"*\" or an origin as browsers send it: https://example.org, in lower case, \
                 with a port only if it is not the scheme's default, and without a path"
            )
        });
        ranges.chain(origins).collect()
    }

    /// What a key may have of which nothing else was said.
    #[must_use]
    pub fn quota(&self) -> Quota {
        let Self { key_max_bytes, key_max_titles, key_max_uploads, .. } = *self;
        Quota { max_bytes: Some(key_max_bytes), max_titles: Some(key_max_titles), max_uploads: Some(key_max_uploads) }
    }

    /// How long an upload is kept after something last came, milliseconds.
    #[must_use]
    pub fn expire_ms(&self) -> i64 {
        i64::try_from(self.expire_hours.saturating_mul(3_600_000)).unwrap_or(i64::MAX)
    }

    /// How long an uploader may send nothing.
    #[must_use]
    pub fn stall(&self) -> Duration {
        Duration::from_secs(self.stall_seconds)
    }
}

/// Whether a browser may ever say this in `Origin` (RFC 6454 §6.2).
fn may_come(origin: &str) -> bool {
    let Some((scheme, site)) = origin.split_once("://") else { return origin == "null" };
    let own_port = match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    let Ok(authority) = site.trim_end_matches('/').parse::<http::uri::Authority>() else { return false };
    let is_bare = !authority.host().is_empty() && !authority.as_str().contains(['@', '*']) && !site.ends_with(':');
    is_bare && origin == origin.to_ascii_lowercase() && (authority.port_u16() != own_port || own_port.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_has_no_problem_and_each_bad_number_is_named() {
        assert_eq!(Config::default().problems(), Vec::<String>::new());
        let bad = Config { max_bytes: 0, workers: 33, ..Config::default() };
        let expected = ["uploads.max_bytes = 0: must be 1 or more", "uploads.workers = 33: must be 1 to 32"];
        assert_eq!(bad.problems(), expected);
    }

    #[test]
    fn an_origin_that_no_browser_says_is_named() {
        let problems = |origin: &str| Config { origins: vec![origin.to_owned()], ..Config::default() }.problems();
        for good in [
            "*",
            "https://example.org",
            "https://example.org/",
            "http://example.org:8080",
            "https://example.org:80",
            "http://[::1]:3000",
            "app://films",
            "null",
        ] {
            assert_eq!(problems(good), Vec::<String>::new(), "{good}");
        }
        for bad in [
            "",
            "example.org",
            "https://",
            "https://:1",
            "https://Example.org",
            "HTTPS://example.org",
            "https://example.org:443",
            "http://example.org:80",
            "https://example.org/films",
            "https://example.org?x",
            "https://me@example.org",
            "https://*.example.org",
            "https://example.org:",
            "https://example.org ",
        ] {
            let said = problems(bad);
            assert!(said.len() == 1 && said[0].starts_with(&format!("uploads.origins = {bad:?}: must be")), "{said:?}");
        }
    }
}
