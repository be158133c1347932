//! Request ids: one per request, in its log lines and in its answer.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longest id taken from a client: it is copied into every log line of the request.
const MAX_LENGTH: usize = 64;

/// A request's id: 1 to 64 letters, digits, `-`, `_` or `.`; so it can stand in a header, a log line or a file name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(Box<str>);

/// Makes ids that no other request of this process has, and hardly one of any other. One addition per id.
#[derive(Debug)]
pub struct RequestIds {
    next: AtomicU64,
}

impl RequestId {
    /// The id a client or proxy sent in `X-Request-Id`, or `None` if it is not one.
    #[must_use]
    pub fn accept(header: &[u8]) -> Option<Self> {
        let good = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let sane = (1..=MAX_LENGTH).contains(&header.len()) && header.iter().all(good);
        sane.then(|| std::str::from_utf8(header).ok()).flatten().map(|text| Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl RequestIds {
    /// Starts at a random number, so that ids of two processes do not meet.
    #[must_use]
    pub fn new() -> Self {
        let start = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()) << 40);
        Self { next: AtomicU64::new(start) }
    }

    /// A fresh id: 16 hexadecimal digits.
    #[must_use]
    pub fn fresh(&self) -> RequestId {
        // SplitMix64 (Steele, Lea, Flood 2014): a bijection, so counting makes no repeats, and neighbours look unlike.
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.next.fetch_add(GAMMA, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        RequestId(format!("{:016x}", z ^ (z >> 31)).into())
    }

    /// The client's id if it is sane, else a fresh one.
    #[must_use]
    pub fn take(&self, header: Option<&[u8]>) -> RequestId {
        header.and_then(RequestId::accept).unwrap_or_else(|| self.fresh())
    }
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_id_is_kept_and_any_other_is_replaced() {
        let ids = RequestIds::new();
        for good in ["a", "7f-3_B.9", &"x".repeat(64)] {
            assert_eq!(ids.take(Some(good.as_bytes())).as_str(), good);
        }
        let bad: [&[u8]; 8] = [b"", b"a b", b"a\nb", b"a\"b", b"a/b", "\u{e9}".as_bytes(), b"\xff", &[b'x'; 65]];
        for bad in bad {
            let id = ids.take(Some(bad));
            assert!(id.as_str().len() == 16 && RequestId::accept(id.as_str().as_bytes()) == Some(id), "{bad:?}");
        }
    }

    #[test]
    fn fresh_ids_do_not_repeat() {
        let ids = RequestIds::new();
        let seen: std::collections::HashSet<_> = (0..10_000).map(|_| ids.fresh()).collect();
        assert_eq!(seen.len(), 10_000);
    }
}
