//! An HTTP/1.1 client that can tell a whole answer from one that was broken off, and leave in the middle of one.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// A request to be sent.
#[must_use]
pub struct Asking {
    address: SocketAddr,
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// An answer that did not come to its end.
#[derive(Debug)]
pub struct Broken {
    pub why: io::Error,
    /// What had come, without its head.
    pub body: Vec<u8>,
}

/// An answer of which the head is read. Dropping it leaves the server alone with the rest.
pub struct Coming {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    method: &'static str,
    from: BufReader<TcpStream>,
}

impl Asking {
    pub(super) fn new(address: SocketAddr, path: &str) -> Self {
        Self { address, method: "GET", path: path.to_owned(), headers: Vec::new(), body: None }
    }

    pub fn method(self, method: &'static str) -> Self {
        Self { method, ..self }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body, whose length is said.
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: Some(body.into()), ..self }
    }

    /// Sends it and reads the answer to its end.
    pub fn send(self) -> Result<Answer, Broken> {
        self.open().map_err(|why| Broken { why, body: Vec::new() })?.rest()
    }

    /// Sends it and waits for nothing. Dropping the connection leaves before the answer comes.
    pub fn sent(&self) -> io::Result<TcpStream> {
        let Self { address, method, path, headers, body } = self;
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
        headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        if let Some(body) = &body {
            head += &format!("content-length: {}\r\n", body.len());
        }
        socket.write_all((head + "\r\n").as_bytes())?;
        if let Some(body) = body {
            // A server that refuses may answer before it has read everything.
            let _ = socket.write_all(body);
        }
        Ok(socket)
    }

    /// Sends it and reads the head of the answer.
    pub fn open(self) -> io::Result<Coming> {
        let mut from = BufReader::new(self.sent()?);
        let status = line(&mut from)?;
        let status = status.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| cut("in its head"))?;
        let mut headers = Vec::new();
        loop {
            let line = line(&mut from)?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
        Ok(Coming { status, headers, method: self.method, from })
    }
}

impl Coming {
    /// The next bytes of the body as they are sent; at least one. Of an answer in chunks this is the first one.
    pub fn some(&mut self) -> io::Result<Vec<u8>> {
        if find(&self.headers, "transfer-encoding").is_some() {
            return chunk(&mut self.from);
        }
        let mut bytes = vec![0; 64 << 10];
        let read = self.from.read(&mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Reads to the end, which must be where the head said.
    pub fn rest(mut self) -> Result<Answer, Broken> {
        let mut body = Vec::new();
        match self.read(&mut body) {
            Ok(()) => Ok(Answer { status: self.status, headers: self.headers, body }),
            Err(why) => Err(Broken { why, body }),
        }
    }

    fn read(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        if self.method == "HEAD" || matches!(self.status, 204 | 304) {
            return Ok(());
        }
        if find(&self.headers, "transfer-encoding").is_some() {
            loop {
                let chunk = chunk(&mut self.from)?;
                if chunk.is_empty() {
                    return Ok(());
                }
                body.extend(chunk);
            }
        }
        let length: u64 = find(&self.headers, "content-length")
            .and_then(|length| length.parse().ok())
            .ok_or_else(|| io::Error::other("an answer that does not say where it ends"))?;
        self.from.by_ref().take(length).read_to_end(body)?;
        if body.len() as u64 == length { Ok(()) } else { Err(cut("in its body")) }
    }
}

impl Answer {
    /// A header's value; the first if there are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Status and word of a problem (RFC 9457), which is never stored.
    pub fn problem(&self) -> (u16, String) {
        let json = self.json();
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{json}");
        assert_eq!(self.header("cache-control"), Some("no-store"), "{json}");
        let word = json["type"].as_str().and_then(|name| name.strip_prefix("urn:matinee:problem:"));
        (self.status, word.unwrap_or_else(|| panic!("{json}")).to_owned())
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    if line.ends_with('\n') { Ok(line.trim_end().to_owned()) } else { Err(cut("in its head")) }
}

/// A chunk (RFC 9112 §7.1); the last one is empty.
fn chunk(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let length = line(from)?;
    let length = usize::from_str_radix(&length, 16).map_err(io::Error::other)?;
    let mut bytes = vec![0; length + 2];
    from.read_exact(&mut bytes)?;
    bytes.truncate(length);
    Ok(bytes)
}

fn cut(place: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("the answer was cut {place}"))
}
