//! Lines 4 and 5: what is in memory, and playlists, against nginx with the same bytes as files. The load is wrk's, for both
//! in turn. Beside requests per second and latency stands the processor time that each spends on a request, which
//! other load on the machine touches less.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use crate::http::{self, Url};
use crate::server::Server;
use crate::{Bar, Outcome, Row, cpu, films, median};

const ROUNDS: usize = 3;
/// How long wrk runs each time, seconds.
const SECONDS: u32 = 2;
const CONNECTIONS: [u32; 3] = [1, 16, 256];
/// Rates that make segments of 4 s as large as they should be, kb/s.
const RATES: [u32; 2] = [400, 4000];

/// nginx with as many workers as there are cores. Stopped when dropped.
struct Nginx {
    child: Child,
    authority: String,
    folder: tempfile::TempDir,
}

/// What is asked for.
struct Case {
    what: &'static str,
    /// Here and there.
    urls: [Url; 2],
    /// Both answer 304.
    revalidates: bool,
    least: f64,
}

/// What wrk tells of one run, and what it cost the server.
#[derive(Clone, Copy)]
struct Load {
    per_second: f64,
    p99_ms: f64,
    cpu_us: f64,
}

pub fn measure() -> Outcome<Vec<Row>> {
    let films = [films::constant(RATES[0])?, films::constant(RATES[1])?];
    let server = Server::start(&[&films[0], &films[1]], &[])?;
    let videos = server.videos()?;
    let nginx = Nginx::start()?;
    let mut cases = Vec::new();
    for (video, what, least) in [(&videos[0], "200 KB", 1.0), (&videos[1], "2 MB", 1.3)] {
        let segments = server.segments(video, Some("source"))?;
        let url = &segments[segments.len() - 2].url;
        server.ok(url)?;
        let urls = nginx.mirror(url, if least > 1.0 { "2m.mp4" } else { "200k.mp4" })?;
        cases.push(Case { what, urls, revalidates: false, least });
    }
    let master = server.root.join(&format!("/v/{}/master.m3u8", videos[1]["id"].as_str().unwrap_or_default()));
    for (what, revalidates) in [("playlist", false), ("304", true)] {
        cases.push(Case { what, urls: nginx.mirror(&master, "master.m3u8")?, revalidates, least: 1.1 });
    }
    let beside = format!(
        "nginx -c (worker_processes {}; sendfile, tcp_nopush, no log); load: wrk -t2 -cN -d{SECONDS}s",
        cores()
    );
    let mut rows = Vec::new();
    for case in &cases {
        for connections in CONNECTIONS {
            let mut loads: [Vec<Load>; 2] = [Vec::new(), Vec::new()];
            for _ in 0..ROUNDS {
                for (side, pid) in [server.pid(), nginx.child.id()].into_iter().enumerate() {
                    loads[side].push(load(&case.urls[side], pid, connections, case.revalidates)?);
                }
            }
            rows.extend(case.rows(connections, &loads, &beside));
        }
    }
    Ok(rows)
}

impl Case {
    fn rows(&self, connections: u32, loads: &[Vec<Load>; 2], beside: &str) -> [Row; 3] {
        let row = |what: &str, of: fn(&Load) -> f64, unit: &str, bar| {
            let [ours, peer] = loads.each_ref().map(|side| median(side.iter().map(of), f64::total_cmp));
            Row {
                what: format!("{}, {connections} connections: {what}", self.what),
                ours: format!("{ours:.1}{unit}"),
                peer: format!("{peer:.1}{unit}"),
                figure: ours / peer,
                bar,
                beside: beside.to_owned(),
            }
        };
        [
            row("requests/s", |l| l.per_second, "", Bar::Least(self.least)),
            row("p99", |l| l.p99_ms, " ms", Bar::Most(1.0)),
            row("CPU of a request", |l| l.cpu_us, " us", Bar::None),
        ]
    }
}

impl Nginx {
    fn start() -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let at = folder.path().display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path {at}/{what};"))
            .concat();
        let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
        let text = format!(
            "daemon off; {user} worker_processes {cores}; pid {at}/pid; error_log stderr crit;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000000;\n\
             {temporary} types {{ application/vnd.apple.mpegurl m3u8; video/mp4 mp4; }}\n\
             server {{ listen 127.0.0.1:{port}; root {at}; }} }}\n",
            cores = cores(),
        );
        let conf = folder.path().join("nginx.conf");
        fs::write(&conf, text)?;
        // Where Debian puts it, which is not in everybody's PATH.
        let program = if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
        let mut command = Command::new(program);
        command.arg("-c").arg(&conf).arg("-p").arg(folder.path()).stdin(Stdio::null());
        let child = command.spawn().map_err(|error| format!("nginx: {error}; apt-get install nginx-light"))?;
        Ok(Self { child, authority: format!("127.0.0.1:{port}"), folder })
    }

    /// Keeps what is at an address as a file; the address here and there.
    fn mirror(&self, url: &Url, name: &str) -> Outcome<[Url; 2]> {
        let response = http::get(url)?;
        fs::write(self.folder.path().join(name), &response.body)?;
        let there = Url::new(&self.authority, &format!("/{name}"));
        for _ in 0..100 {
            if http::get(&there).is_ok_and(|mirrored| mirrored.body == response.body) {
                return Ok([url.clone(), there]);
            }
            cpu::pause(Duration::from_millis(50));
        }
        Err(format!("nginx does not serve {there}").into())
    }
}

impl Drop for Nginx {
    /// It ends its workers, if it is asked to.
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

fn load(url: &Url, pid: u32, connections: u32, revalidates: bool) -> Outcome<Load> {
    let etag = if revalidates { http::get(url)?.header("etag").map(str::to_owned) } else { None };
    let before = cpu::now(pid)?;
    let wrk = wrk(url, connections, SECONDS, etag.as_deref())?;
    let cpu = cpu::now(pid)?.saturating_sub(before);
    Ok(Load {
        cpu_us: cpu.as_secs_f64() * 1e6 / wrk.requests,
        per_second: wrk.requests / wrk.seconds,
        p99_ms: wrk.p99_ms,
    })
}

/// What wrk says.
pub struct Wrk {
    pub requests: f64,
    seconds: f64,
    p99_ms: f64,
}

pub fn wrk(url: &Url, connections: u32, seconds: u32, etag: Option<&str>) -> Outcome<Wrk> {
    let mut command = Command::new("wrk");
    command.args([
        &format!("-t{}", connections.min(2)),
        &format!("-c{connections}"),
        &format!("-d{seconds}s"),
        "--latency",
    ]);
    if let Some(etag) = etag {
        command.args(["-H", &format!("If-None-Match: {etag}")]);
    }
    let output = command.arg(url.to_string()).output().map_err(|error| format!("wrk: {error}; apt-get install wrk"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if text.contains("Non-2xx") && etag.is_none() || text.contains("Socket errors") {
        return Err(format!("{url}: {text}").into());
    }
    let told = || {
        let (before, after) = text.split_once(" requests in ")?;
        let requests = before.split_whitespace().last()?.parse().ok()?;
        let seconds = milliseconds(after.split(',').next()?)? / 1000.0;
        let p99 = text.lines().find_map(|line| line.trim().strip_prefix("99%"))?;
        Some(Wrk { requests, seconds, p99_ms: milliseconds(p99)? })
    };
    told().ok_or_else(|| format!("what wrk says of {url} cannot be read: {text}").into())
}

/// `1.50ms`, `800us`, `2.00s`, `1.00m`.
fn milliseconds(text: &str) -> Option<f64> {
    let text = text.trim();
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let factor = match &text[unit..] {
        "us" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        "m" => 60e3,
        _ => return None,
    };
    Some(text[..unit].parse::<f64>().ok()? * factor)
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
