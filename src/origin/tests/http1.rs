//! HTTP/1.1 by hand: sees exactly what was sent, and whether it was ended or broken off.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::support::bound;

pub struct Client {
    stream: BufReader<TcpStream>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The body ended as its framing says it must.
    pub complete: bool,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The header, which must be there.
    #[track_caller]
    pub fn the(&self, name: &str) -> &str {
        self.header(name).unwrap_or_else(|| panic!("no {name} in {:#?}", self.headers))
    }
}

/// One request on a connection of its own.
pub async fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut client = Client::connect(address).await;
    client.send(method, path, headers).await;
    client.answer(method == "HEAD").await.expect("an answer")
}

pub async fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path, &[]).await
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self { stream: BufReader::new(TcpStream::connect(address).await.unwrap()) }
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub async fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) {
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: t\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        self.write((text + "\r\n").as_bytes()).await;
    }

    /// Head and body; `None` if the connection ended before a head.
    pub async fn answer(&mut self, bodyless: bool) -> Option<Answer> {
        let mut answer = self.head().await?;
        let length = answer.header("content-length").map(|v| v.parse::<usize>().unwrap());
        if bodyless || matches!(answer.status, 204 | 304) {
            return Some(answer);
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            loop {
                match self.chunk().await {
                    Some(chunk) if chunk.is_empty() => break,
                    Some(chunk) => answer.body.extend(chunk),
                    None => {
                        answer.complete = false;
                        break;
                    }
                }
            }
        } else if let Some(length) = length {
            answer.body.resize(length, 0);
            answer.complete = bound(self.stream.read_exact(&mut answer.body)).await.is_ok();
        } else {
            answer.complete = bound(self.stream.read_to_end(&mut answer.body)).await.is_ok();
        }
        Some(answer)
    }

    pub async fn head(&mut self) -> Option<Answer> {
        let status = self.line().await?.split(' ').nth(1)?.parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.push((name.to_owned(), value.to_owned()));
        }
        Some(Answer { status, headers, body: Vec::new(), complete: true })
    }

    /// The next chunk of a chunked body, empty at its end; `None` if it was broken off.
    pub async fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(&self.line().await?, 16).ok()?;
        let mut chunk = vec![0; size + 2];
        bound(self.stream.read_exact(&mut chunk)).await.ok()?;
        chunk.truncate(size);
        Some(chunk)
    }

    /// Waits for the server to close the connection; bytes that still come are dropped.
    pub async fn closed(&mut self) {
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = bound(self.stream.read_to_end(&mut rest)).await;
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = bound(self.stream.read_line(&mut line)).await.ok()?;
        (read > 0).then(|| line.trim_end().to_owned())
    }
}
