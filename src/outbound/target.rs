//! Where a request goes: a URL that was looked at.
//!
//! Stricter than browsers are (RFC 3986 and nothing beyond it), so that there is one way to read an address. White space,
//! numbers that some resolvers take for addresses, and names that are not ASCII are refused, not repaired.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::{Error, address};

/// Longest URL: what is longer is refused by most servers, and is kept and shown here.
const MAX_URL_BYTES: usize = 2048;
/// Lowest port that is not kept for one service, besides those of HTTP.
const FIRST_OPEN_PORT: u16 = 1024;
/// What people paste and RFC 3986 does not allow in paths and queries; `%` stays what it is.
const PATH: &AsciiSet =
    &CONTROLS.add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

/// A URL that may be asked for as far as it can be seen without resolving its name.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    scheme: Scheme,
    host: Host,
    /// As the URL says it, `None` for the scheme's own.
    port: Option<u16>,
    /// Path and query; never empty.
    uri: Uri,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

#[derive(Clone, PartialEq, Eq)]
enum Host {
    /// In lower case.
    Name(String),
    Address(IpAddr),
}

impl Target {
    /// Reads one.
    pub(super) fn parse(text: &str, is_open: bool) -> Result<Self, Error> {
        let text = plain(text)?;
        let scheme = scheme(text).ok_or_else(|| bad("it does not begin with https:// or http://"))?;
        let rest = &text[scheme.len() + 1..];
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => return Err(Error::Scheme(other.to_owned())),
        };
        let rest = rest.strip_prefix("//").ok_or_else(|| bad("it names no server"))?;
        Self::at(scheme, rest, is_open)
    }

    /// Where an answer leads; it may be said relative to this one (RFC 9110 §10.2.2, RFC 3986 §5.2).
    pub(super) fn join(&self, location: &str, is_open: bool) -> Result<Self, Error> {
        let location = plain(location)?;
        let next = if scheme(location).is_some() {
            Self::parse(location, is_open)?
        } else if let Some(rest) = location.strip_prefix("//") {
            Self::at(self.scheme, rest, is_open)?
        } else {
            let path = if location.is_empty() {
                self.uri.to_string()
            } else if location.starts_with('?') {
                format!("{}{location}", self.uri.path())
            } else {
                let folder = self.uri.path().rsplit_once('/').map_or("", |(folder, _)| folder);
                let path = if location.starts_with('/') { location.to_owned() } else { format!("{folder}/{location}") };
                without_dots(&path)
            };
            Self { uri: path_and_query(&path)?, ..self.clone() }
        };
        if self.is_secure() && !next.is_secure() {
            return Err(Error::Downgrade { host: self.host() });
        }
        Ok(next)
    }

    /// `rest` is what follows `//`.
    fn at(scheme: Scheme, rest: &str, is_open: bool) -> Result<Self, Error> {
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(Error::Credentials);
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (authority, ""),
        };
        let port = match port {
            "" => None,
            digits if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().map_err(|_| bad("its port"))?),
            _ => return Err(bad("its port is no number")),
        };
        // The scheme's own port is not said (RFC 3986 §6.2.3).
        let port = port.filter(|port| *port != scheme.port());
        let target = Self { scheme, host: Host::parse(host)?, port, uri: path_and_query(path)? };
        if is_open {
            return Ok(target);
        }
        let is_private = match &target.host {
            Host::Name(name) => is_local(name),
            Host::Address(at) => address::private(*at).is_some(),
        };
        if is_private {
            return Err(Error::Private { host: target.host() });
        }
        match target.port() {
            80 | 443 | FIRST_OPEN_PORT.. => Ok(target),
            port => Err(Error::Port(port)),
        }
    }

    /// The name to resolve, or an address, as the URL says it.
    #[must_use]
    pub fn host(&self) -> String {
        self.host.to_string()
    }

    pub(super) fn address(&self) -> Option<IpAddr> {
        match self.host {
            Host::Name(_) => None,
            Host::Address(at) => Some(at),
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port.unwrap_or(self.scheme.port())
    }

    pub(super) fn is_secure(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// What stands in the request's `Host`: the port only if it is not the scheme's own (RFC 9110 §7.2).
    pub(super) fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host(),
        }
    }

    /// Path and query.
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The last part of the path as people read it; empty if there is none.
    #[must_use]
    pub fn file_name(&self) -> String {
        let last = self.uri.path().rsplit('/').next().unwrap_or_default();
        percent_decode_str(last).decode_utf8_lossy().into_owned()
    }

    fn place(&self) -> String {
        let scheme = if self.is_secure() { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }
}

impl Scheme {
    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Host {
    fn parse(text: &str) -> Result<Self, Error> {
        if let Some(inside) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            let at = inside.parse::<Ipv6Addr>().map_err(|_| bad("its address is none"))?;
            return Ok(Self::Address(IpAddr::V6(at)));
        }
        if let Ok(at) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Address(IpAddr::V4(at)));
        }
        if !text.is_ascii() {
            return Err(bad("its name is not ASCII: write it in punycode, xn--..."));
        }
        let name = text.to_ascii_lowercase();
        let labels: Vec<&str> = name.strip_suffix('.').unwrap_or(&name).split('.').collect();
        let is_label = |label: &&str| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        if !labels.iter().all(is_label) {
            return Err(bad("its name is none"));
        }
        // Resolvers take 2130706433, 0x7f.1 and 0177.0.0.1 for addresses (inet_aton(3)).
        let last = labels.last().copied().unwrap_or_default();
        if last.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(bad("its name ends in a number and is no address"));
        }
        Ok(Self::Name(name))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(at)) => at.fmt(f),
            Self::Address(IpAddr::V6(at)) => write!(f, "[{at}]"),
        }
    }
}

/// Without the fragment, if it is nothing but a URL.
fn plain(text: &str) -> Result<&str, Error> {
    if text.len() > MAX_URL_BYTES {
        return Err(Error::Url(format!("longer than {MAX_URL_BYTES} bytes")));
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(bad("it has white space or control characters in it"));
    }
    Ok(text.split('#').next().unwrap_or_default())
}

/// What stands before the first colon, if it is a scheme (RFC 3986 §3.1).
fn scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once(':')?;
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    (scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.bytes().all(good)).then_some(scheme)
}

fn path_and_query(text: &str) -> Result<Uri, Error> {
    let slash = if text.starts_with('/') { "" } else { "/" };
    let text = format!("{slash}{}", utf8_percent_encode(text, PATH));
    let parts = http::uri::PathAndQuery::try_from(text).map_err(|why| Error::Url(why.to_string()))?;
    Ok(Uri::from(parts))
}

/// RFC 3986 §5.2.4; what follows `?` stays.
fn without_dots(path: &str) -> String {
    let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    let mut kept: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        match part {
            "." | ".." => {
                if part == ".." {
                    kept.pop();
                }
                if parts.peek().is_none() {
                    kept.push("");
                }
            }
            part => kept.push(part),
        }
    }
    format!("/{}{query}", kept.join("/"))
}

/// Names that lead to this machine by definition (RFC 6761 §6.3).
fn is_local(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}

fn bad(why: &str) -> Error {
    Error::Url(why.to_owned())
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.place(), self.uri)
    }
}

/// A query may hold somebody's secret.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({}{})", self.place(), self.uri.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        match Target::parse(text, false) {
            Ok(target) => target.to_string(),
            Err(error) => error.code().to_owned(),
        }
    }

    #[test]
    fn a_url_is_taken_only_if_it_can_lead_to_the_public_network() {
        for (text, expected) in [
            ("https://example.org/film.mp4", "https://example.org/film.mp4"),
            ("HTTP://EXAMPLE.org:80", "http://example.org/"),
            ("https://example.org:8443/a/../b?c=%0d%0a#d", "https://example.org:8443/a/../b?c=%0d%0a"),
            ("https://example.org?a/b", "https://example.org/?a/b"),
            ("https://example.org./", "https://example.org./"),
            ("http://example.org:/", "http://example.org/"),
            ("http://example.org/ü{a}|", "http://example.org/%C3%BC%7Ba%7D%7C"),
            ("http://xn--bcher-kva.example/", "http://xn--bcher-kva.example/"),
            ("http://8.8.8.8/", "http://8.8.8.8/"),
            ("http://[2606:4700:0::1]:8080/", "http://[2606:4700::1]:8080/"),
            ("", "url"),
            ("film.mp4", "url"),
            ("//example.org/", "url"),
            ("http:", "url"),
            ("http://", "url"),
            ("http:example.org", "url"),
            ("http:///example.org/", "url"),
            ("http://.../", "url"),
            ("http://exa mple.org/", "url"),
            (" http://example.org/", "url"),
            ("http://example.org/\r\nX-Evil: 1", "url"),
            ("http://example.org\r\nX-Evil: 1", "url"),
            ("http://example.org/a\tb", "url"),
            ("http://exam\0ple.org/", "url"),
            ("http://example.org:99999/", "url"),
            ("http://example.org:+80/", "url"),
            ("http://example.org:80:80/", "url"),
            ("http://bücher.example/", "url"),
            ("http://example.org\\@127.0.0.1/", "url_credentials"),
            ("http://example.org\\.evil.example/", "url"),
            ("http://127.1/", "url"),
            ("http://2130706433/", "url"),
            ("http://0x7f.0.0.1/", "url"),
            ("http://0x7f000001/", "url"),
            ("http://0177.0.0.1/", "url"),
            ("http://127.0.0.1./", "url"),
            ("http://%31%32%37.0.0.1/", "url"),
            ("http://①②⑦.0.0.1/", "url"),
            ("http://[::1%25lo]/", "url"),
            ("http://[::1/", "url"),
            ("file:///etc/passwd", "url_scheme"),
            ("ftp://example.org/", "url_scheme"),
            ("gopher://127.0.0.1:6379/_FLUSHALL", "url_scheme"),
            ("data:video/mp4;base64,AAAA", "url_scheme"),
            ("javascript:alert(1)", "url_scheme"),
            ("http://user@example.org/", "url_credentials"),
            ("http://:secret@example.org/", "url_credentials"),
            ("http://example.org@127.0.0.1/", "url_credentials"),
            ("http://127.0.0.1/", "private_address"),
            ("http://[::1]:8080/", "private_address"),
            ("http://[::ffff:7f00:1]/", "private_address"),
            ("http://localhost/", "private_address"),
            ("http://LOCALHOST./", "private_address"),
            ("http://a.localhost/", "private_address"),
            ("http://169.254.169.254/latest/meta-data/", "private_address"),
            ("http://example.org:22/", "url_port"),
            ("http://example.org:25/", "url_port"),
            ("http://example.org:0/", "url_port"),
        ] {
            assert_eq!(said(text), expected, "{text:?}");
        }
        assert_eq!(said(&format!("http://example.org/{}", "a".repeat(MAX_URL_BYTES))), "url");
    }

    #[test]
    fn what_a_redirect_says_is_looked_at_like_a_first_url() {
        let from = Target::parse("https://example.org/a/b?c", false).unwrap();
        for (location, expected) in [
            ("d", "https://example.org/a/d"),
            ("d:e", "url_scheme"),
            ("./d:e", "https://example.org/a/d:e"),
            ("../d?e=../f", "https://example.org/d?e=../f"),
            ("../../../d/.", "https://example.org/d/"),
            ("..", "https://example.org/"),
            ("/d", "https://example.org/d"),
            ("/d/../e//f", "https://example.org/e//f"),
            ("//cdn.example/d", "https://cdn.example/d"),
            ("//cdn.example:8080", "https://cdn.example:8080/"),
            ("?e", "https://example.org/a/b?e"),
            ("", "https://example.org/a/b?c"),
            ("#e", "https://example.org/a/b?c"),
            ("/ü", "https://example.org/%C3%BC"),
            ("http://example.org/", "redirect"),
            ("file:///etc/passwd", "url_scheme"),
            ("https://127.0.0.1/", "private_address"),
            ("//[::1]/", "private_address"),
            ("//localhost", "private_address"),
            ("https://a:b@example.org/", "url_credentials"),
            ("/a b", "url"),
        ] {
            let joined = from.join(location, false);
            let joined = joined.map_or_else(|error| error.code().to_owned(), |target| target.to_string());
            assert_eq!(joined, expected, "{location}");
        }
    }

    #[test]
    fn private_networks_can_be_opened_and_nothing_else_with_them() {
        for (text, good) in [
            ("http://127.0.0.1:1/", true),
            ("http://localhost/", true),
            ("http://a:b@127.0.0.1/", false),
            ("file:///etc/passwd", false),
        ] {
            assert_eq!(Target::parse(text, true).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn host_file_name_and_request_line_are_what_the_url_says() {
        let target = Target::parse("http://example.org:8080/films/a%20b.mp4?x=1#y", false).unwrap();
        assert_eq!(
            (target.authority(), target.uri().to_string()),
            ("example.org:8080".into(), "/films/a%20b.mp4?x=1".into())
        );
        assert_eq!(target.file_name(), "a b.mp4");
        assert_eq!(format!("{target:?}"), "Target(http://example.org:8080/films/a%20b.mp4)");
        let target = Target::parse("https://[2606:4700::1]:443", false).unwrap();
        assert_eq!((target.authority(), target.uri().to_string()), ("[2606:4700::1]".into(), "/".into()));
        assert_eq!((target.port(), target.file_name()), (443, String::new()));
    }
}
