//! `[server]`: where it listens and how much a client may hold.

use std::net::SocketAddr;
use std::time::Duration;

use http::header::{self, ORIGIN};
use http::{HeaderMap, HeaderName};
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize};

use super::client::{Field, Prefix};

/// `[server]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address and port; port 0 takes a free one.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// Connections served at once; one more is told 503 and closed.
    pub max_connections: usize,
    /// Bytes of a request's head.
    pub max_header_bytes: u32,
    /// Seconds a client may take to send a request's head.
    pub header_seconds: u64,
    /// Seconds a connection may lie idle between requests.
    pub idle_seconds: u64,
    /// Seconds a client may take none of the bytes it asked for.
    pub stall_seconds: u64,
    /// Requests at once on one HTTP/2 connection.
    pub max_streams: u32,
    /// Seconds until the first bytes of a segment must be there, else 503.
    pub first_byte_seconds: u64,
    /// Seconds between two chunks of a segment being made, and (three times that) for the whole of one, before the
    /// answer is given up.
    pub chunk_seconds: u64,
    /// How a segment is sent that is still being made.
    pub delivery: Delivery,
    /// Seconds that a server told to stop goes on with, not ready any more, so that a load balancer sees it in time.
    pub shutdown_delay_seconds: u64,
    /// Seconds that answers under way have when the server stops.
    pub drain_seconds: u64,
    /// Bytes of plans and playlists kept in memory.
    pub presentation_bytes: u64,
    /// Proxies that are believed when they say whom they ask for.
    pub trusted_proxies: Vec<Prefix>,
    /// Where they say it.
    pub client_field: Field,
    /// Requests below `/v/` from one address in a minute; 0 for no limit.
    pub playback_requests_per_minute: u32,
    /// Requests to the management API from one address in a minute; 0 for no limit.
    pub api_requests_per_minute: u32,
    /// Header field with the title's id, for CDNs; empty for none.
    pub cache_tag_field: String,
}

/// How bytes that are being made are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// Held for a page's script, streamed to everybody else.
    Auto,
    /// Part by part, as they come.
    #[default]
    Stream,
    /// All at once, with a length, when the whole is there.
    Hold,
}

impl Delivery {
    /// True if this request is answered when the whole is there. A script that plays (Media Source Extensions) appends
    /// whole segments, so it gains nothing by parts; but it takes the time between the first byte and the last for the
    /// speed of the network.
    pub(super) fn holds(self, headers: &HeaderMap) -> bool {
        match self {
            // What browsers say of a script's own request: Fetch Metadata §2.1, and for other sites' pages Fetch §3.2.
            Self::Auto => headers.get("sec-fetch-dest").is_some_and(|to| to == "empty") || headers.contains_key(ORIGIN),
            Self::Stream => false,
            Self::Hold => true,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            max_connections: 4096,
            max_header_bytes: 16 << 10,
            header_seconds: 10,
            idle_seconds: 75,
            stall_seconds: 30,
            max_streams: 100,
            first_byte_seconds: 20,
            chunk_seconds: 20,
            delivery: Delivery::default(),
            shutdown_delay_seconds: 0,
            drain_seconds: 20,
            presentation_bytes: 32 << 20,
            trusted_proxies: Vec::new(),
            client_field: Field::default(),
            playback_requests_per_minute: 0,
            api_requests_per_minute: 0,
            cache_tag_field: "Surrogate-Key".to_owned(),
        }
    }
}

impl Config {
    /// Everything that is wrong with it, one sentence each, which begins with the key.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (key, value, least, most) in [
            ("max_connections", self.max_connections as u64, 1, 1 << 20),
            ("max_header_bytes", u64::from(self.max_header_bytes), 8 << 10, 1 << 20),
            ("header_seconds", self.header_seconds, 1, 3600),
            ("idle_seconds", self.idle_seconds, 1, 3600),
            ("stall_seconds", self.stall_seconds, 1, 3600),
            ("max_streams", u64::from(self.max_streams), 1, 10_000),
            ("first_byte_seconds", self.first_byte_seconds, 1, 3600),
            ("chunk_seconds", self.chunk_seconds, 1, 3600),
            ("shutdown_delay_seconds", self.shutdown_delay_seconds, 0, 3600),
            ("drain_seconds", self.drain_seconds, 0, 3600),
            ("playback_requests_per_minute", u64::from(self.playback_requests_per_minute), 0, 1_000_000),
            ("api_requests_per_minute", u64::from(self.api_requests_per_minute), 0, 1_000_000),
        ] {
            if !(least..=most).contains(&value) {
                problems.push(format!("server.{key} = {value}: must be {least} to {most}"));
            }
        }
        if !self.cache_tag_field.is_empty() && self.tag().is_none() {
            let key = &self.cache_tag_field;
            problems.push(format!("server.cache_tag_field = {key:?}: must be the name of a header field, or \"\""));
        }
        if let Some(name) = self.tag().filter(means_something) {
            let why = "that field has a meaning of its own; CDNs know Surrogate-Key, Cache-Tag, xkey";
            problems.push(format!("server.cache_tag_field = \"{name}\": {why}"));
        }
        problems
    }

    /// The field that names the title, if there is to be one.
    pub(super) fn tag(&self) -> Option<HeaderName> {
        HeaderName::try_from(&self.cache_tag_field).ok()
    }

    /// The clocks of a connection.
    #[must_use]
    pub(super) fn limits(&self) -> Limits {
        Limits {
            head: Duration::from_secs(self.header_seconds),
            idle: Duration::from_secs(self.idle_seconds),
            stall: Duration::from_secs(self.stall_seconds),
        }
    }

    /// How long an answer waits for the encoder; `queue` is how long players wait for what nobody has begun.
    #[must_use]
    pub(super) fn patience(&self, queue: Duration) -> Patience {
        Patience {
            queue,
            first: Duration::from_secs(self.first_byte_seconds),
            gap: Duration::from_secs(self.chunk_seconds),
            whole: Duration::from_secs(self.chunk_seconds * 3),
        }
    }
}

/// Whether an answer would be broken by an id in this field: it frames the message, is for one hop (RFC 9110 §7.6.1), says what
/// caches and browsers may do, or is one that the server sets.
fn means_something(name: &HeaderName) -> bool {
    const FAMILIES: [&str; 6] =
        ["access-control-", "content-", "cross-origin-", "proxy-", "ratelimit", "www-authenticate"];
    const NAMES: [HeaderName; 22] = [
        header::ACCEPT_RANGES,
        header::AGE,
        header::ALLOW,
        header::ALT_SVC,
        header::CACHE_CONTROL,
        header::CONNECTION,
        header::DATE,
        header::ETAG,
        header::EXPIRES,
        header::LAST_MODIFIED,
        header::LINK,
        header::LOCATION,
        header::PRAGMA,
        header::RETRY_AFTER,
        header::SET_COOKIE,
        header::STRICT_TRANSPORT_SECURITY,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::VARY,
        header::X_CONTENT_TYPE_OPTIONS,
    ];
    const OTHERS: [&str; 9] = [
        "cdn-cache-control",
        "host",
        "keep-alive",
        "server-timing",
        "surrogate-control",
        "timing-allow-origin",
        "x-accel-expires",
        "x-cache",
        "x-request-id",
    ];
    let text = name.as_str();
    FAMILIES.iter().any(|family| text.starts_with(family)) || NAMES.contains(name) || OTHERS.contains(&text)
}

/// An address, with a message that says what one looks like.
fn address<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(from)?;
    let expected = "an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"";
    text.parse().map_err(|_| D::Error::invalid_value(Unexpected::Str(&text), &expected))
}

/// How long a client may keep a connection from moving.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub head: Duration,
    pub idle: Duration,
    pub stall: Duration,
}

impl Limits {
    pub(super) fn shortest(&self) -> Duration {
        self.head.min(self.idle).min(self.stall)
    }
}

/// How long an answer waits for bytes being made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Until somebody works on it.
    pub queue: Duration,
    /// Until the first chunk, before anything is sent.
    pub first: Duration,
    /// Between two chunks, once sending.
    pub gap: Duration,
    /// For the whole, where a part of it or its length is asked for.
    pub whole: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_has_no_problem_and_each_bad_number_is_named() {
        assert_eq!(Config::default().problems(), Vec::<String>::new());
        let cache_tag_field = "a b".to_owned();
        let bad = Config { max_connections: 0, stall_seconds: 0, cache_tag_field, ..Config::default() };
        assert_eq!(bad.problems().len(), 3);
        assert!(bad.problems()[1].contains("server.stall_seconds = 0: must be 1 to 3600"));
    }

    #[test]
    fn a_field_that_means_something_is_no_place_for_an_id() {
        let of = |name: &str| Config { cache_tag_field: name.to_owned(), ..Config::default() }.problems();
        for good in ["", "Surrogate-Key", "Cache-Tag", "xkey", "Edge-Cache-Tag", "X-Cache-Tags"] {
            assert_eq!(of(good), Vec::<String>::new(), "{good}");
        }
        for bad in ["Content-Length", "Transfer-Encoding", "Connection", "ETag", "Cache-Control", "X-Cache", "vary"] {
            assert_eq!(of(bad).len(), 1, "{bad}");
        }
        assert!(of("ETag")[0].starts_with("server.cache_tag_field = \"etag\": that field has a meaning of its own"));
    }
}
