//! Which addresses belong to the public network. What is not surely public is private.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 networks that are not public: the IANA special-purpose registry (RFC 6890) and multicast.
const IPV4: [(Ipv4Addr, u32, &str); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "this network"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared between providers"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    // A public number for what only virtual machines in one cloud reach: their host.
    (Ipv4Addr::new(168, 63, 129, 16), 32, "a cloud's own"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "reserved for protocols"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "for documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "a relay"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "for benchmarks"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "for documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "for documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

/// IPv6 networks within 2000::/3, the only one that is public (RFC 4291 §2.4), that are not.
const IPV6: [(Ipv6Addr, u32, &str); 4] = [
    // Among them Teredo, ORCHID and benchmarks (RFC 2928).
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "reserved for protocols"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "for documentation"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "6to4, which wraps another address"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "for documentation"),
];

/// What kind of address it is, if it is not a public one.
pub(super) fn private(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => private_v4(address),
        IpAddr::V6(address) => private_v6(address),
    }
}

fn private_v4(address: Ipv4Addr) -> Option<&'static str> {
    let within = |network: Ipv4Addr, bits: u32| (address.to_bits() ^ network.to_bits()) >> (32 - bits) == 0;
    IPV4.iter().find(|(network, bits, _)| within(*network, *bits)).map(|(.., kind)| *kind)
}

fn private_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    let last = Ipv4Addr::from_bits(u32::from(segments[6]) << 16 | u32::from(segments[7]));
    match segments {
        // Mapped (RFC 4291 §2.5.5.2) and translated (RFC 6052 §2.1): what counts is the address inside.
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => return private_v4(last),
        [0, 0, 0, 0, 0, 0, 0, 1] => return Some("loopback"),
        [0xfe80..=0xfebf, ..] => return Some("link-local"),
        [0xfc00..=0xfdff, ..] => return Some("unique-local"),
        [0xff00..=0xffff, ..] => return Some("multicast"),
        [0x2000..=0x3fff, ..] => {}
        _ => return Some("reserved"),
    }
    let within = |network: Ipv6Addr, bits: u32| (address.to_bits() ^ network.to_bits()) >> (128 - bits) == 0;
    let listed = IPV6.iter().find(|(network, bits, _)| within(*network, *bits)).map(|(.., kind)| *kind);
    // ISATAP carries an IPv4 address behind any prefix (RFC 5214 §6.1).
    let isatap = matches!(segments[4], 0 | 0x200) && segments[5] == 0x5efe;
    listed.or_else(|| if isatap { private_v4(last) } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_public_is_known_in_every_spelling() {
        for (text, kind) in [
            ("0.0.0.0", "this network"),
            ("0.255.255.255", "this network"),
            ("10.0.0.0", "private"),
            ("10.255.255.255", "private"),
            ("100.64.0.1", "shared between providers"),
            ("100.127.255.255", "shared between providers"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.254", "loopback"),
            ("168.63.129.16", "a cloud's own"),
            ("169.254.169.254", "link-local"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.0.0.170", "reserved for protocols"),
            ("192.0.2.1", "for documentation"),
            ("192.88.99.1", "a relay"),
            ("192.168.0.1", "private"),
            ("198.18.0.1", "for benchmarks"),
            ("198.19.255.255", "for benchmarks"),
            ("198.51.100.7", "for documentation"),
            ("203.0.113.7", "for documentation"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "reserved"),
            ("::", "reserved"),
            ("::1", "loopback"),
            ("::127.0.0.1", "reserved"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:10.1.2.3", "private"),
            ("::ffff:0:127.0.0.1", "reserved"),
            ("64:ff9b::169.254.169.254", "link-local"),
            ("64:ff9b::10.0.0.1", "private"),
            ("64:ff9b:1::8.8.8.8", "reserved"),
            ("100::1", "reserved"),
            ("2001::1", "reserved for protocols"),
            ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "reserved for protocols"),
            ("2001:2::1", "reserved for protocols"),
            ("2001:20::1", "reserved for protocols"),
            ("2001:db8::1", "for documentation"),
            ("2002:7f00:1::", "6to4, which wraps another address"),
            ("2002:808:808::1", "6to4, which wraps another address"),
            ("2606:4700::5efe:10.0.0.1", "private"),
            ("2606:4700::200:5efe:127.0.0.1", "loopback"),
            ("3fff::1", "for documentation"),
            ("4000::1", "reserved"),
            ("5f00::1", "reserved"),
            ("fc00::1", "unique-local"),
            ("fd00:ec2::254", "unique-local"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("fec0::1", "reserved"),
            ("ff02::1", "multicast"),
        ] {
            assert_eq!(private(text.parse().unwrap()), Some(kind), "{text}");
        }
    }

    #[test]
    fn the_public_network_is_open_up_to_the_very_edges_of_what_is_not() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.15",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700:4700::1111",
            "2606:4700::5efe:8.8.8.8",
            "3ffe::1",
        ] {
            assert_eq!(private(text.parse().unwrap()), None, "{text}");
        }
    }
}
