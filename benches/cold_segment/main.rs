//! `make bench`: a cold segment from Matinee against one `ffmpeg` process that makes the same seconds of the same film
//! with the same x264 settings. Both sides run in turns on the same machine in the same minute, so only the ratios mean
//! anything; each is a median over [`ROUNDS`].
//!
//! The film is made once and kept below `target/`; `MATINEE_BENCH_SOURCE` names another of at least 60 s, 1080p.

mod cpu;
mod http;

use std::error::Error;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use http::Url;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Measured pairs.
const ROUNDS: usize = 7;
/// Longest wait for the server to start; a hang must not outlast the job that runs the benchmark.
const START: Duration = Duration::from_secs(60);
/// The rendition that is asked for: its short side.
const HEIGHT: u64 = 720;
/// VBV of `ffmpeg`, kb/s and kb: what the worker gives x264 for a 4 s segment so that it stays below the ladder's
/// 2,800 kb/s (`vbv` in `src/pipeline/video.rs`). The sizes printed at the end of each line tell if that has changed.
const RATE_KBITS: u32 = 2426;
const BUFFER_KBITS: u32 = RATE_KBITS / 2;

/// One side of one pair.
struct Measured {
    /// From the request, or the process start, to the last byte.
    wall: Duration,
    /// To the first byte of media.
    first: Duration,
    /// Processor time of every process that took part.
    cpu: Duration,
    bytes: usize,
}

/// A segment to ask for, and what it is for `ffmpeg`.
struct Segment {
    url: Url,
    start_seconds: f64,
    seconds: f64,
}

fn main() -> Outcome<()> {
    // `cargo test --all-targets` starts benchmarks too, without this word.
    if !env::args().any(|a| a == "--bench") {
        return Ok(());
    }
    let source = source()?;
    let settings = Settings::read()?;
    let server = Server::start(&source)?;
    let segments = server.cold_segments()?;
    println!("{} against {settings}", env!("CARGO_BIN_EXE_matinee"));
    println!("{:>8} {:>23} {:>23}", "", "matinee", "ffmpeg");
    println!(
        "{:>8} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7}   seconds",
        "at", "wall", "first", "cpu", "wall", "first", "cpu"
    );

    let mut pairs = Vec::new();
    for (round, segment) in segments.iter().enumerate() {
        // Who goes first alternates: the second finds the source's pages warm.
        let (ours, peer) = if round % 2 == 0 {
            let ours = server.measure(segment)?;
            (ours, ffmpeg(&source, &settings, segment)?)
        } else {
            let peer = ffmpeg(&source, &settings, segment)?;
            (server.measure(segment)?, peer)
        };
        print!("{:>8.2}", segment.start_seconds);
        for m in [&ours, &peer] {
            print!(" {:>7.3} {:>7.3} {:>7.2}", m.wall.as_secs_f64(), m.first.as_secs_f64(), m.cpu.as_secs_f64());
        }
        println!("   {} and {} kB", ours.bytes / 1000, peer.bytes / 1000);
        pairs.push((ours, peer));
    }

    let ratio = |of: fn(&Measured) -> Duration, to: fn(&Measured) -> Duration| {
        let mut ratios: Vec<f64> = pairs.iter().map(|(o, p)| of(o).as_secs_f64() / to(p).as_secs_f64()).collect();
        ratios.sort_by(f64::total_cmp);
        format!("{:.2} (from {:.2} to {:.2})", ratios[ROUNDS / 2], ratios[0], ratios[ROUNDS - 1])
    };
    println!("wall of a cold segment / wall of ffmpeg:    {}", ratio(|m| m.wall, |m| m.wall));
    println!("first media byte / wall of ffmpeg:          {}", ratio(|m| m.first, |m| m.wall));
    println!("first media byte / first byte of ffmpeg:    {}", ratio(|m| m.first, |m| m.first));
    println!("processor time / processor time of ffmpeg:  {}", ratio(|m| m.cpu, |m| m.cpu));
    Ok(())
}

/// The film: 1080p25 with noise over a moving picture, so that neither the decoder nor x264 has it too easy.
fn source() -> Outcome<PathBuf> {
    if let Some(named) = env::var_os("MATINEE_BENCH_SOURCE") {
        return Ok(fs::canonicalize(named)?);
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (film, part) = (folder.join("bench-1080p25.mp4"), folder.join("bench-1080p25.part"));
    if !film.exists() {
        println!("making {} ...", film.display());
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-nostdin", "-v", "error", "-y", "-f", "lavfi"]);
        ffmpeg.args(["-i", "testsrc2=size=1920x1080:rate=25:duration=80,noise=alls=6:allf=t"]);
        ffmpeg.args(["-f", "lavfi", "-i", "aevalsrc=sin(2*PI*t*(220+4*t)):sample_rate=48000:duration=80"]);
        ffmpeg.args(["-c:v", "libx264", "-preset", "veryfast", "-b:v", "8M", "-g", "50", "-pix_fmt", "yuv420p"]);
        ffmpeg.args(["-c:a", "aac", "-f", "mp4"]).arg(&part);
        if !ffmpeg.status()?.success() {
            return Err("ffmpeg could not make the film".into());
        }
        fs::rename(&part, &film)?;
    }
    Ok(film)
}

/// x264's settings, read from the template that the server uses without special hardware.
struct Settings {
    preset: String,
    crf: String,
    threads: String,
}

impl Settings {
    fn read() -> Outcome<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
        let mut found = None;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if stem.contains("x264") {
                found = Some((path.clone(), fs::read_to_string(path)?));
            }
        }
        let (path, text) = found.ok_or_else(|| format!("no template in {} is named x264", folder.display()))?;
        let setting = |wanted: &str| {
            let words = text.lines().filter(|l| !l.starts_with('#')).flat_map(str::split_whitespace);
            let value = words.filter_map(|w| w.split_once('=')).find(|(name, _)| *name == wanted);
            value.map(|(_, v)| v.to_owned()).ok_or_else(|| format!("{} sets no {wanted}", path.display()))
        };
        Ok(Self { preset: setting("speed-preset")?, crf: setting("quantizer")?, threads: setting("threads")? })
    }
}

impl std::fmt::Display for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { preset, crf, threads } = self;
        write!(f, "ffmpeg {HEIGHT}p x264 {preset}, CRF {crf}, at most {RATE_KBITS} kb/s, {threads} threads")
    }
}

/// One `ffmpeg` process, from its start to its last byte.
fn ffmpeg(source: &Path, settings: &Settings, segment: &Segment) -> Outcome<Measured> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-ss", &format!("{:.6}", segment.start_seconds)]);
    command.args(["-t", &format!("{:.6}", segment.seconds), "-i"]).arg(source);
    command.args(["-map", "0:v:0", "-vf", &format!("scale=-2:{HEIGHT}"), "-c:v", "libx264"]);
    command.args(["-preset", &settings.preset, "-crf", &settings.crf, "-threads", &settings.threads]);
    command.args(["-maxrate", &format!("{RATE_KBITS}k"), "-bufsize", &format!("{BUFFER_KBITS}k")]);
    command.args(["-f", "mp4", "-movflags", "frag_keyframe+empty_moov", "pipe:1"]);

    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut out = child.stdout.take().ok_or("no pipe")?;
    let (mut buffer, mut first, mut bytes) = (vec![0; 1 << 16], None, 0);
    loop {
        let n = out.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        first.get_or_insert_with(|| start.elapsed());
        bytes += n;
    }
    let wall = start.elapsed();
    let cpu = cpu::of_ended(child.id())?;
    if !child.wait()?.success() {
        return Err("ffmpeg failed".into());
    }
    Ok(Measured { wall, first: first.ok_or("ffmpeg made nothing")?, cpu, bytes })
}

/// A server of its own, with an empty cache, on a port of its own. Stopped when dropped.
struct Server {
    child: Child,
    root: Url,
    _data: tempfile::TempDir,
}

impl Server {
    fn start(source: &Path) -> Outcome<Self> {
        let data = tempfile::tempdir()?;
        let matinee = env!("CARGO_BIN_EXE_matinee");
        let ingest = Command::new(matinee).arg("ingest").arg(source).arg("--data").arg(data.path()).status()?;
        if !ingest.success() {
            return Err("the film was not taken".into());
        }
        // Free a moment ago; if somebody takes it meanwhile the server says so and the benchmark ends.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let child = Command::new(matinee)
            .args(["serve", "--listen", &address, "--data"])
            .arg(data.path())
            .env("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0")
            .env("MATINEE_LOG", "warn")
            .stdin(Stdio::null())
            .spawn()?;
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

    /// As many segments as there are rounds, from the middle of the title, each far from the one before, so that none
    /// continues where a worker stands. The playlists and the init segment are fetched here, as a player has done long
    /// before it seeks.
    fn cold_segments(&self) -> Outcome<Vec<Segment>> {
        let videos: serde_json::Value = serde_json::from_slice(&self.ok("/api/v1/videos")?.body)?;
        let id = videos["videos"][0]["id"].as_str().ok_or("the catalog has no title")?;
        let master_url = self.root.join(&format!("/v/{id}/master.m3u8"));
        let (_, master) = m3u8_rs::parse_master_playlist(&http::get(&master_url)?.body).map_err(|e| e.to_string())?;
        let of_height = |v: &&m3u8_rs::VariantStream| v.resolution.is_some_and(|r| r.height == HEIGHT);
        let variant = master.variants.iter().find(of_height).ok_or("the title is not offered in that size")?;
        let media_url = master_url.join(&variant.uri);
        let (_, media) = m3u8_rs::parse_media_playlist(&http::get(&media_url)?.body).map_err(|e| e.to_string())?;
        let map = media.segments.iter().find_map(|s| s.map.as_ref()).ok_or("the playlist names no init segment")?;
        http::get(&media_url.join(&map.uri))?;

        let mut start_seconds = 0.0;
        let mut all = Vec::new();
        for segment in &media.segments {
            let seconds = f64::from(segment.duration);
            all.push(Segment { url: media_url.join(&segment.uri), start_seconds, seconds });
            start_seconds += seconds;
        }
        // Whole segments only: neither the short first ones nor the tail.
        let longest = all.iter().map(|s| s.seconds).fold(0.0, f64::max);
        let whole = all.into_iter().filter(|s| s.seconds > 0.75 * longest);
        let mut middle: Vec<Option<Segment>> = whole.map(Some).collect();
        if middle.len() < 2 * ROUNDS {
            return Err(
                format!("the film has {} whole segments, the benchmark needs {}", middle.len(), 2 * ROUNDS).into()
            );
        }
        // Every second one, from both ends in turn.
        let last = middle.len() - 1;
        let order = (0..ROUNDS).map(|round| if round % 2 == 0 { round } else { last - round });
        Ok(order.filter_map(|at| middle[at].take()).collect())
    }

    fn measure(&self, segment: &Segment) -> Outcome<Measured> {
        let before = cpu::settled(self.child.id())?;
        let response = http::get(&segment.url)?;
        let cpu = cpu::settled(self.child.id())?.saturating_sub(before);
        if response.status != 200 || response.header("x-cache") != Some("made") {
            let cache = response.header("x-cache").unwrap_or("absent");
            return Err(format!("{}: {} with X-Cache {cache}, not a cold segment", segment.url, response.status).into());
        }
        Ok(Measured { wall: response.last, first: response.first, cpu, bytes: response.body.len() })
    }

    fn ok(&self, path: &str) -> Outcome<http::Response> {
        let response = http::get(&self.root.join(path))?;
        if response.status == 200 { Ok(response) } else { Err(format!("{path}: {}", response.status).into()) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
