//! Line 9: memory. There is no peer; the figures stand against their bars.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::server::{self, Server};
use crate::{Bar, Outcome, Row, cpu, films, hot};

const CONNECTIONS: u32 = 1000;
/// Requests before growth is looked for, and at the least in the meantime.
const REQUESTS: f64 = 100_000.0;
/// Whatever wrk reaches: rounds of five seconds.
const MAX_ROUNDS: u32 = 20;
const MIB: f64 = (1 << 20) as f64;

pub fn measure() -> Outcome<Vec<Row>> {
    let film = films::film()?;
    let server = Server::start(&[&film], &[("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0")])?;
    cpu::settled(server.pid())?;
    let idle = server.resident()?;
    let segments = server.whole_segments(&server.videos()?[0])?;
    let connection = connections(&server)?;
    let run = run(&server, &segments[4])?;
    let url = &segments[4].url;
    hot::wrk(url, 16, 2, None)?;
    let before = server.resident()?;
    let mut requests = 0.0;
    for _ in 0..MAX_ROUNDS {
        requests += hot::wrk(url, 16, 5, None)?.requests;
        if requests >= REQUESTS {
            break;
        }
    }
    let grown = server.resident()?.saturating_sub(before);
    let row = |what: String, bytes: f64, unit: f64, name: &str, bar| Row {
        what,
        ours: format!("{:.1} {name}", bytes / unit),
        peer: String::new(),
        figure: bytes / unit,
        bar,
        beside: "no peer: VmRSS of the server, VmHWM of a worker".to_owned(),
    };
    #[expect(clippy::cast_precision_loss, reason = "megabytes")]
    let [idle, run, grown] = [idle, run, grown].map(|bytes| bytes as f64);
    Ok(vec![
        row("server, idle".to_owned(), idle, MIB, "MiB", Bar::Most(50.0)),
        row(
            format!("each of {CONNECTIONS} idle connections that had an answer"),
            connection,
            1024.0,
            "KiB",
            Bar::Most(20.0),
        ),
        row("worker, at its most in a cold segment".to_owned(), run, MIB, "MiB", Bar::Most(250.0)),
        row(format!("growth over {requests:.0} requests for a segment"), grown, MIB, "MiB", Bar::Most(1.0)),
    ])
}

/// What each of many connections adds that had one answer and lie idle since.
fn connections(server: &Server) -> Outcome<f64> {
    let before = server.resident()?;
    let authority = server.root.authority();
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(authority)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET /healthz HTTP/1.1\r\nHost: {authority}\r\n\r\n")?;
        let mut answer = [0; 2048];
        if stream.read(&mut answer)? == 0 {
            return Err("a connection was closed".into());
        }
        open.push(stream);
    }
    #[expect(clippy::cast_precision_loss, reason = "megabytes")]
    Ok(server.resident()?.saturating_sub(before) as f64 / f64::from(CONNECTIONS))
}

/// The most that any worker held, after a cold segment.
fn run(server: &Server, segment: &server::Segment) -> Outcome<u64> {
    server::cold(segment)?;
    let workers = cpu::children(server.pid())?;
    workers
        .into_iter()
        .filter_map(|pid| server::status(pid, "VmHWM").ok())
        .max()
        .ok_or_else(|| "there is no worker".into())
}
