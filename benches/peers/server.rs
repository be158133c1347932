//! A Matinee server of its own, with an empty cache, on a free port. Stopped when dropped, with its workers.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::ffmpeg::Took;
use crate::http::{self, Response, Url};
use crate::{HEIGHT, Outcome, cpu};

/// Longest wait for the server to start, and for a job: a hang must not outlast whoever runs the benchmark.
const START: Duration = Duration::from_secs(60);
const JOB: Duration = Duration::from_secs(240);

pub struct Server {
    child: Child,
    pub root: Url,
    _data: tempfile::TempDir,
}

/// A segment to ask for, and what it is for `ffmpeg`.
pub struct Segment {
    pub url: Url,
    pub start_seconds: f64,
    pub seconds: f64,
}

impl Server {
    /// With these films, and nothing made ahead of demand unless the environment says otherwise.
    pub fn start(films: &[&Path], environment: &[(&str, &str)]) -> Outcome<Self> {
        let data = tempfile::tempdir()?;
        let matinee = env!("CARGO_BIN_EXE_matinee");
        for film in films {
            let mut ingest = Command::new(matinee);
            ingest.arg("ingest").arg(film).arg("--data").arg(data.path()).stdout(Stdio::null());
            if !ingest.status()?.success() {
                return Err(format!("{} was not taken", film.display()).into());
            }
        }
        // Free a moment ago; if somebody takes it meanwhile the server says so and the benchmark ends.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let mut command = Command::new(matinee);
        command.args(["serve", "--listen", &address, "--data"]).arg(data.path());
        command.env("MATINEE_LOG", "warn").env("MATINEE_WARMER__ENABLED", "false").envs(environment.iter().copied());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let mut server = Self { child, root: Url::new(&address, "/"), _data: data };
        let start = Instant::now();
        while !http::get(&server.root.join("/readyz")).is_ok_and(|r| r.status == 200) {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("the server ended at its start: {status}").into());
            }
            if start.elapsed() > START {
                return Err(format!("the server was not ready within {START:?}").into());
            }
            cpu::pause(Duration::from_millis(50));
        }
        Ok(server)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the API says of every title, in the order the films were given.
    pub fn videos(&self) -> Outcome<Vec<Value>> {
        let all: Value = serde_json::from_slice(&self.get("/api/v1/videos")?.body)?;
        let mut videos = all["videos"].as_array().ok_or("the catalog has no titles")?.clone();
        videos.sort_by_key(|video| video["created_at"].as_str().unwrap_or_default().to_owned());
        Ok(videos)
    }

    /// The segments of a title in a rendition, 720p if there is no name; its init segment is made on the way, as for a player that
    /// has played before it seeks.
    pub fn segments(&self, video: &Value, named: Option<&str>) -> Outcome<Vec<Segment>> {
        let id = video["id"].as_str().ok_or("a title without id")?;
        let master_url = self.root.join(&format!("/v/{id}/master.m3u8"));
        let (_, master) = m3u8_rs::parse_master_playlist(&self.ok(&master_url)?.body).map_err(|e| e.to_string())?;
        let fits = |v: &&m3u8_rs::VariantStream| match named {
            Some(name) => v.uri.contains(&format!("/{name}/")),
            None => v.resolution.is_some_and(|r| r.height == HEIGHT),
        };
        let variant = master.variants.iter().find(fits).ok_or("the title is not offered in that size")?;
        let media_url = master_url.join(&variant.uri);
        let (_, media) = m3u8_rs::parse_media_playlist(&self.ok(&media_url)?.body).map_err(|e| e.to_string())?;
        let map = media.segments.iter().find_map(|s| s.map.as_ref()).ok_or("the playlist names no init segment")?;
        self.ok(&media_url.join(&map.uri))?;
        let mut start_seconds = 0.0;
        let mut all = Vec::new();
        for segment in &media.segments {
            let seconds = f64::from(segment.duration);
            all.push(Segment { url: media_url.join(&segment.uri), start_seconds, seconds });
            start_seconds += seconds;
        }
        Ok(all)
    }

    /// Those of them that are neither the short first ones nor the tail.
    pub fn whole_segments(&self, video: &Value) -> Outcome<Vec<Segment>> {
        let all = self.segments(video, None)?;
        let longest = all.iter().map(|s| s.seconds).fold(0.0, f64::max);
        Ok(all.into_iter().filter(|s| s.seconds > 0.75 * longest).collect())
    }

    /// A segment that nobody has made; `cpu` is that of all processes until they rest.
    pub fn cold(&self, segment: &Segment) -> Outcome<Took> {
        let before = cpu::settled(self.pid())?;
        let response = cold(segment)?;
        let cpu = cpu::settled(self.pid())?.saturating_sub(before);
        Ok(Took { wall: response.last, first: response.first, cpu, bytes: response.body.len() })
    }

    /// Has something made ahead of demand; the job.
    pub fn warm(&self, video: &Value, what: &str) -> Outcome<String> {
        let path = format!("/api/v1/videos/{}/warm", video["id"].as_str().unwrap_or_default());
        let response = http::post(&self.root.join(&path), "application/json", what.as_bytes())?;
        let job: Value = serde_json::from_slice(&response.body)?;
        let id = job["id"].as_str().ok_or_else(|| format!("{path}: {} {job}", response.status))?;
        Ok(format!("/api/v1/jobs/{id}"))
    }

    /// The state of a job.
    pub fn state(&self, job: &str) -> Outcome<String> {
        let job: Value = serde_json::from_slice(&self.get(job)?.body)?;
        Ok(job["state"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits for a job to end.
    pub fn done(&self, job: &str) -> Outcome<()> {
        let start = Instant::now();
        loop {
            match self.state(job)?.as_str() {
                "done" => return Ok(()),
                "queued" | "running" if start.elapsed() < JOB => cpu::pause(Duration::from_millis(50)),
                state => return Err(format!("{job} is {state} after {:?}", start.elapsed()).into()),
            }
        }
    }

    /// Resident memory of the server's own process, bytes.
    pub fn resident(&self) -> Outcome<u64> {
        status(self.pid(), "VmRSS")
    }

    pub fn get(&self, path: &str) -> Outcome<Response> {
        self.ok(&self.root.join(path))
    }

    pub fn ok(&self, url: &Url) -> Outcome<Response> {
        let response = http::get(url)?;
        if response.status == 200 { Ok(response) } else { Err(format!("{url}: {}", response.status).into()) }
    }
}

/// A segment that nobody has made.
pub fn cold(segment: &Segment) -> Outcome<Response> {
    let response = http::get(&segment.url)?;
    let cache = response.header("x-cache").unwrap_or("absent").to_owned();
    if response.status == 200 && cache == "made" {
        return Ok(response);
    }
    Err(format!("{}: {} with X-Cache {cache}, not a cold segment", segment.url, response.status).into())
}

/// A figure of `/proc/[pid]/status` in bytes.
pub fn status(pid: u32, field: &str) -> Outcome<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.ok_or_else(|| format!("process {pid} tells no {field}"))? << 10)
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
