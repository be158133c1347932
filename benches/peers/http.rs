//! Just enough of an HTTP/1.1 client to know when the first byte of a body arrived, which general clients do not tell.

use std::fmt;
use std::fs::File;
use std::io::{Error, Read as _, Result, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Longest silence before a request has failed.
const SILENCE: Duration = Duration::from_secs(60);

/// An address on the server under test.
#[derive(Clone)]
pub struct Url {
    authority: String,
    path: String,
}

/// A response, whole, and when it came, counted from before the connection was opened.
pub struct Response {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
    /// First byte of the body.
    pub first: Duration,
    /// Last byte of the body.
    pub last: Duration,
}

impl Url {
    pub fn new(authority: &str, path: &str) -> Self {
        Self { authority: authority.to_owned(), path: path.to_owned() }
    }

    /// Host and port.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// What a reference found at this address means.
    pub fn join(&self, reference: &str) -> Self {
        let path = if reference.starts_with('/') {
            reference.to_owned()
        } else {
            let folder = self.path.rfind('/').map_or("/", |at| &self.path[..=at]);
            format!("{folder}{reference}")
        };
        Self { authority: self.authority.clone(), path }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|l| l.split_once(':'));
        fields.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim())
    }
}

/// Fetches it on a connection of its own.
pub fn get(url: &Url) -> Result<Response> {
    let start = Instant::now();
    let mut stream = connect(url)?;
    write!(stream, "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", url.path, url.authority)?;
    answer(url, stream, start)
}

/// Posts a body.
pub fn post(url: &Url, media_type: &str, body: &[u8]) -> Result<Response> {
    let start = Instant::now();
    let mut stream = connect(url)?;
    stream.write_all(head(url, media_type, body.len() as u64).as_bytes())?;
    stream.write_all(body)?;
    answer(url, stream, start)
}

/// Posts a file; the answer, and when the last byte of it was sent.
pub fn upload(url: &Url, file: &Path) -> Result<(Response, Instant)> {
    let mut file = File::open(file)?;
    let start = Instant::now();
    let mut stream = connect(url)?;
    stream.write_all(head(url, "application/octet-stream", file.metadata()?.len()).as_bytes())?;
    std::io::copy(&mut file, &mut stream)?;
    let sent = Instant::now();
    Ok((answer(url, stream, start)?, sent))
}

fn connect(url: &Url) -> Result<TcpStream> {
    let stream = TcpStream::connect(&url.authority)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn head(url: &Url, media_type: &str, length: u64) -> String {
    let Url { authority, path } = url;
    format!(
        "POST {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    )
}

fn answer(url: &Url, mut stream: TcpStream, start: Instant) -> Result<Response> {
    let (mut raw, mut arrivals, mut buffer) = (Vec::new(), Vec::new(), vec![0; 1 << 16]);
    loop {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        raw.extend_from_slice(&buffer[..n]);
        arrivals.push((raw.len(), start.elapsed()));
    }
    let broken = |what: &str| Error::other(format!("{url}: {what}"));
    let end = raw.windows(4).position(|w| w == b"\r\n\r\n").ok_or_else(|| broken("no header"))?;
    let head = String::from_utf8_lossy(&raw[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| broken("no status"))?;
    let mut response = Response { status, head, body: Vec::new(), first: Duration::ZERO, last: Duration::ZERO };

    let begin = end + 4;
    let media = if response.header("transfer-encoding") == Some("chunked") {
        response.body = unchunk(&raw[begin..]).ok_or_else(|| broken("broken off"))?;
        begin + line(&raw[begin..]).ok_or_else(|| broken("broken off"))? + 2
    } else {
        response.body = raw[begin..].to_vec();
        let length = response.header("content-length").and_then(|l| l.parse().ok());
        if length != Some(response.body.len()) {
            return Err(broken("broken off"));
        }
        begin
    };
    response.first = arrivals.iter().find(|(len, _)| *len > media).map_or(Duration::ZERO, |(_, at)| *at);
    response.last = arrivals.last().map_or(Duration::ZERO, |(_, at)| *at);
    Ok(response)
}

fn line(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|w| w == b"\r\n")
}

/// The body of a chunked message (RFC 9112 §7.1), or `None` if its last chunk is missing.
fn unchunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = line(bytes)?;
        let size = std::str::from_utf8(&bytes[..end]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(bytes.get(end + 2..end + 2 + size)?);
        bytes = bytes.get(end + 4 + size..)?;
    }
}
