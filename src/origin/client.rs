//! Who asks: the other end of the connection, or, if that is a proxy that is trusted, whom it says it asks for.
//!
//! A proxy adds the address it was asked from at the end of a header field, and whatever stands before may have been
//! made up by the client. So the field is read from its end, as long as who stands there is trusted, too.

use std::net::IpAddr;
use std::str::FromStr;

use http::{HeaderMap, HeaderName, HeaderValue, header::FORWARDED};
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What stands before an IPv4 address that is written as an IPv6 one, bits (RFC 4291 §2.5.5.2).
const MAPPED_BITS: u32 = 96;

/// A proxy, or a network of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    address: IpAddr,
    bits: u32,
}

/// The field in which proxies name the client. Only one is read: a proxy that writes the one lets a client's own words
/// pass in the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Field {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Whom to believe.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxies {
    trusted: Vec<Prefix>,
    field: Field,
}

impl Proxies {
    pub(super) fn new(trusted: &[Prefix], field: Field) -> Self {
        Self { trusted: trusted.to_vec(), field }
    }

    /// The client of a request that came from `peer`.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.trust(client) {
            return client;
        }
        let (name, read): (_, fn(&str) -> Option<IpAddr>) = match self.field {
            Field::XForwardedFor => (X_FORWARDED_FOR, address),
            Field::Forwarded => (FORWARDED, element),
        };
        let lines = headers.get_all(name).iter().rev().map(HeaderValue::to_str);
        for hop in lines.flat_map(|line| line.unwrap_or_default().rsplit(',')) {
            // One that hides, or makes no sense, ends what is known.
            let Some(named) = read(hop) else { break };
            client = named;
            if !self.trust(client) {
                break;
            }
        }
        client
    }

    fn trust(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|prefix| prefix.holds(address))
    }
}

/// `for=` of an element of `Forwarded` (RFC 7239 §4).
fn element(text: &str) -> Option<IpAddr> {
    let pairs = text.split(';').filter_map(|pair| pair.trim().split_once('='));
    let mut named = pairs.filter(|(name, _)| name.eq_ignore_ascii_case("for")).map(|(_, value)| value);
    address(named.next()?.trim_matches('"'))
}

/// An address, perhaps with a port (RFC 7239 §6).
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        // An IPv6 address without brackets has more than one colon, and no port.
        None => match text.split_once(':') {
            Some((v4, port)) if !port.contains(':') => v4,
            _ => text,
        },
    };
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

impl Prefix {
    fn holds(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => (ours.to_bits() ^ theirs.to_bits()).leading_zeros() >= self.bits,
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => (ours.to_bits() ^ theirs.to_bits()).leading_zeros() >= self.bits,
            _ => false,
        }
    }
}

impl FromStr for Prefix {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| ())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| ())?;
        // Who comes over IPv4 is known by an IPv4 address, so the same written as an IPv6 one would never match.
        match (address, address.to_canonical()) {
            (IpAddr::V6(_), IpAddr::V4(inner)) if (MAPPED_BITS..=most).contains(&bits) => {
                Ok(Self { address: inner.into(), bits: bits - MAPPED_BITS })
            }
            _ if bits <= most => Ok(Self { address, bits }),
            _ => Err(()),
        }
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let expected = "an IP address or a network of them, such as \"127.0.0.1\" or \"10.0.0.0/8\"";
        text.parse().map_err(|()| D::Error::invalid_value(Unexpected::Str(&text), &expected))
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{}/{}", self.address, self.bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(field: Field, trusted: &[&str], peer: &str, lines: &[&str]) -> String {
        let trusted: Vec<Prefix> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for line in lines {
            let name = if field == Field::Forwarded { FORWARDED } else { X_FORWARDED_FOR };
            headers.append(name, line.parse().unwrap());
        }
        Proxies::new(&trusted, field).client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn nobody_is_believed_who_is_not_trusted() {
        let ask = |trusted: &[&str], peer| client(Field::XForwardedFor, trusted, peer, &["203.0.113.7"]);
        assert_eq!(ask(&[], "127.0.0.1"), "127.0.0.1");
        assert_eq!(ask(&["10.0.0.0/8"], "11.0.0.1"), "11.0.0.1");
        assert_eq!(ask(&["10.0.0.0/8"], "10.255.0.1"), "203.0.113.7");
        assert_eq!(ask(&["10.0.0.0/8"], "::ffff:10.0.0.1"), "203.0.113.7", "IPv4 on a socket for both");
        for mapped in ["::ffff:10.0.0.1", "::ffff:10.0.0.0/104", "::ffff:0:0/96"] {
            assert_eq!(ask(&[mapped], "10.0.0.1"), "203.0.113.7", "{mapped}");
        }
        assert_eq!(ask(&["::ffff:10.0.0.1"], "10.0.0.2"), "10.0.0.2");
        assert_eq!(ask(&["::/0"], "10.0.0.1"), "10.0.0.1");
        assert_eq!(ask(&["0.0.0.0/0"], "10.0.0.1"), "203.0.113.7");
    }

    #[test]
    fn what_a_client_made_up_before_its_proxy_spoke_counts_for_nothing() {
        let ask = |lines: &[&str]| client(Field::XForwardedFor, &["10.0.0.0/8", "fd00::/8"], "10.0.0.1", lines);
        for (lines, expected) in [
            (&[][..], "10.0.0.1"),
            (&["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
            (&["198.51.100.1", "203.0.113.7"], "203.0.113.7"),
            (&["198.51.100.1, 203.0.113.7, 10.9.9.9,fd00::1"], "203.0.113.7"),
            (&["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
            (&["203.0.113.7:4711"], "203.0.113.7"),
            (&["[2001:db8::1]:4711"], "2001:db8::1"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["198.51.100.1, unknown"], "10.0.0.1"),
            (&["198.51.100.1, x, 10.2.2.2"], "10.2.2.2"),
            (&[""], "10.0.0.1"),
        ] {
            assert_eq!(ask(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn the_standard_field_is_read_instead_if_that_is_what_the_proxy_writes() {
        let ask = |lines: &[&str]| client(Field::Forwarded, &["127.0.0.1"], "127.0.0.1", lines);
        for (line, expected) in [
            ("for=192.0.2.43, For=\"[2001:db8:cafe::17]:4711\";proto=http", "2001:db8:cafe::17"),
            ("by=203.0.113.43; for=192.0.2.60", "192.0.2.60"),
            ("for=198.51.100.1, for=_hidden", "127.0.0.1"),
            ("proto=http", "127.0.0.1"),
        ] {
            assert_eq!(ask(&[line]), expected, "{line}");
        }
        let mut headers = HeaderMap::new();
        headers.append(X_FORWARDED_FOR, "203.0.113.7".parse().unwrap());
        let proxies = Proxies::new(&["127.0.0.1".parse().unwrap()], Field::Forwarded);
        let peer = "127.0.0.1".parse().unwrap();
        assert_eq!(proxies.client(peer, &headers), peer, "the other field is the client's own word");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for bad in ["", "x", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0/8", "/8", "a/8"] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
    }
}
