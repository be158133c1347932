//! How often one address may ask: a token bucket for each, as the generic cell rate algorithm keeps it, one number
//! per bucket: the time at which the bucket would be full again.
//!
//! The table has a fixed size and is never cleared up: an address has the slot that a keyed hash gives it. Two addresses
//! may share one, by a chance of one in [`SLOTS`] that nobody can arrange, and share its bucket then.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};

/// Buckets: half a mebibyte, whoever asks and however many they are.
const SLOTS: usize = 1 << 16;
/// What a limit counts by, seconds; also what may be asked for at once after a rest.
const WINDOW_SECONDS: u64 = 60;
/// Name of the policy in header fields.
const NAME: &str = "address";

/// draft-ietf-httpapi-ratelimit-headers-11 §4.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The same, §3.
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The address a request came from: the other end of the connection, or whom a trusted proxy names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(pub IpAddr);

/// A limit for each address.
pub struct Rate {
    per_minute: u32,
    /// Time a request takes out of the bucket, nanoseconds.
    step_ns: u64,
    policy: HeaderValue,
    hasher: RandomState,
    began: Instant,
    /// When each bucket is full again, nanoseconds since `began`.
    full_at_ns: Box<[AtomicU64]>,
}

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It may.
    Yes {
        /// Requests that may follow at once.
        left: u32,
    },
    /// It may not.
    No {
        /// Seconds after which it may.
        wait_seconds: u32,
    },
}

impl Rate {
    /// A limit of so many requests in a minute; 0 for none.
    #[must_use]
    pub fn per_minute(per_minute: u32) -> Option<Self> {
        let policy = format!("\"{NAME}\";q={per_minute};w={WINDOW_SECONDS}");
        let window_ns = WINDOW_SECONDS * 1_000_000_000;
        Some(Self {
            per_minute,
            step_ns: window_ns.checked_div(u64::from(per_minute))?.max(1),
            policy: HeaderValue::try_from(policy).ok()?,
            hasher: RandomState::new(),
            began: Instant::now(),
            full_at_ns: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    /// A request from this address.
    pub fn take(&self, client: IpAddr, now: Instant) -> Taken {
        let now_ns = u64::try_from(now.saturating_duration_since(self.began).as_nanos()).unwrap_or(u64::MAX);
        let room_ns = self.step_ns * u64::from(self.per_minute);
        let slot = &self.full_at_ns[self.slot(client)];
        let taken = slot.fetch_update(Relaxed, Relaxed, |full_at| {
            let next = full_at.max(now_ns).saturating_add(self.step_ns);
            (next - now_ns <= room_ns).then_some(next)
        });
        match taken {
            Ok(full_at) => {
                let left = room_ns - (full_at.max(now_ns) + self.step_ns - now_ns);
                Taken::Yes { left: u32::try_from(left / self.step_ns).unwrap_or(u32::MAX) }
            }
            Err(full_at) => {
                let wait = Duration::from_nanos(full_at.saturating_add(self.step_ns) - now_ns - room_ns);
                Taken::No { wait_seconds: u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1) }
            }
        }
    }

    /// Says in an answer what is allowed and what is left of it.
    pub fn tell(&self, headers: &mut HeaderMap, taken: Taken) {
        let text = match taken {
            Taken::Yes { left } => format!("\"{NAME}\";r={left}"),
            Taken::No { wait_seconds } => format!("\"{NAME}\";r=0;t={wait_seconds}"),
        };
        // Beside what another policy says (§3.1).
        headers.append(RATE_LIMIT_POLICY, self.policy.clone());
        HeaderValue::try_from(text).ok().map(|value| headers.append(RATE_LIMIT, value));
    }

    fn slot(&self, client: IpAddr) -> usize {
        // A host has all addresses of its /64 (RFC 4291 §2.5.4): each of them would be a bucket of its own.
        let network = match client {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => u64::try_from(address.to_bits() >> 64).unwrap_or_default(),
        };
        let hash = self.hasher.hash_one((client.is_ipv6(), network));
        usize::try_from(hash % SLOTS as u64).unwrap_or_default()
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rate").field("per_minute", &self.per_minute).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_bucket_is_emptied_at_once_and_fills_drop_by_drop() {
        let rate = Rate::per_minute(3).unwrap();
        let now = rate.began + Duration::from_secs(100);
        let left = |left| Taken::Yes { left };
        assert_eq!([0; 3].map(|_| rate.take(HERE, now)), [left(2), left(1), left(0)]);
        assert_eq!(rate.take(HERE, now), Taken::No { wait_seconds: 20 });
        assert_eq!(rate.take(HERE, now + Duration::from_secs(19)), Taken::No { wait_seconds: 1 });
        assert_eq!(rate.take(HERE, now + Duration::from_secs(20)), left(0));
        assert_eq!(rate.take(HERE, now + Duration::from_secs(20)), Taken::No { wait_seconds: 20 });
        assert_eq!(rate.take(HERE, now + Duration::from_secs(1000)), left(2), "no more than it holds");
    }

    #[test]
    fn addresses_do_not_share_a_bucket_but_those_of_one_network_of_a_host_do() {
        let rate = Rate::per_minute(1).unwrap();
        let now = Instant::now();
        assert_eq!(rate.take(address("2001:db8::1"), now), Taken::Yes { left: 0 });
        assert!(matches!(rate.take(address("2001:db8::2"), now), Taken::No { .. }));
        // Some two of a hundred may share one of 65536 slots; all of them cannot.
        let others = (0..100).filter(|n| rate.take(address(&format!("192.0.2.{n}")), now) == Taken::Yes { left: 0 });
        assert!(others.count() >= 97);
    }

    #[test]
    fn what_is_left_is_told_as_the_draft_says() {
        let told = |taken| {
            let mut headers = HeaderMap::new();
            Rate::per_minute(600).unwrap().tell(&mut headers, taken);
            assert_eq!(headers["ratelimit-policy"], "\"address\";q=600;w=60");
            headers["ratelimit"].to_str().unwrap().to_owned()
        };
        assert_eq!(told(Taken::Yes { left: 599 }), "\"address\";r=599");
        assert_eq!(told(Taken::No { wait_seconds: 3 }), "\"address\";r=0;t=3");
        assert!(Rate::per_minute(0).is_none());
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_a_bucket_and_what_fills_it(
            per_minute in 1_u32..2000,
            pauses_ms in prop::collection::vec(0_u64..2000, 1..200),
        ) {
            let rate = Rate::per_minute(per_minute).unwrap();
            let (mut now, mut taken) = (rate.began, 0_u64);
            for pause in pauses_ms {
                now += Duration::from_millis(pause);
                taken += u64::from(matches!(rate.take(HERE, now), Taken::Yes { .. }));
                let filled = u64::from(per_minute) * u64::try_from((now - rate.began).as_millis()).unwrap() / 60_000;
                prop_assert!(taken <= u64::from(per_minute) + filled + 1);
            }
        }
    }
}
