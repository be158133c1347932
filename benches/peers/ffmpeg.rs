//! One `ffmpeg` process with the x264 settings of the server's own template.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{HEIGHT, Outcome, cpu};

/// VBV, kb/s: what the worker gives x264 for a group of two seconds so that a segment stays below the ladder's 2,800 kb/s (`vbv` in
/// `src/pipeline/video.rs`), and the share of other rungs that follows. The sizes that are printed tell if that has changed.
pub const RATE_KBITS: u32 = 2287;
const RATE_SHARE: f64 = 2287.0 / 2800.0;

/// x264's settings, read from the template that the server uses without special hardware.
pub struct Settings {
    preset: String,
    crf: String,
    threads: String,
}

/// A size to encode.
pub struct Rung {
    pub width: u64,
    pub height: u64,
    /// What the playlist declares, bits per second.
    pub bandwidth: u64,
}

/// What a process took.
#[derive(Clone, Copy)]
pub struct Took {
    /// From its start to its last byte.
    pub wall: Duration,
    /// To its first.
    pub first: Duration,
    pub cpu: Duration,
    pub bytes: usize,
}

impl Settings {
    pub fn read() -> Outcome<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
        let mut found = None;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.file_stem().unwrap_or_default().to_string_lossy().contains("x264") {
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

    /// A span of a film in one size, to standard output.
    pub fn span(&self, film: &Path, start_seconds: f64, seconds: f64) -> Command {
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-v", "error", "-ss", &format!("{start_seconds:.6}")]);
        command.args(["-t", &format!("{seconds:.6}"), "-i"]).arg(film);
        command.args(["-map", "0:v:0", "-vf", &format!("scale=-2:{HEIGHT}")]);
        self.x264(&mut command, RATE_KBITS);
        command.args(["-f", "mp4", "-movflags", "frag_keyframe+empty_moov", "pipe:1"]);
        command
    }

    /// All rungs of a film from one decode, and its sound, to files in a folder.
    pub fn ladder(&self, film: &Path, rungs: &[Rung], folder: &Path) -> Command {
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-v", "error", "-y", "-i"]).arg(film);
        let outs: String = (0..rungs.len()).map(|at| format!("[s{at}]")).collect();
        let mut filter = format!("[0:v:0]split={}{outs}", rungs.len());
        for (at, Rung { width, height, .. }) in rungs.iter().enumerate() {
            filter += &format!(";[s{at}]scale={width}:{height}[v{at}]");
        }
        command.args(["-filter_complex", &filter]);
        for (at, rung) in rungs.iter().enumerate() {
            command.args(["-map", &format!("[v{at}]")]);
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "kb/s"
            )]
            let kbits = (rung.bandwidth as f64 * RATE_SHARE / 1000.0) as u32;
            self.x264(&mut command, kbits);
            command.arg(folder.join(format!("{at}.mp4")));
        }
        command
            .args(["-map", "0:a:0", "-c:a", "aac", "-aac_coder", "fast", "-b:a", "128k"])
            .arg(folder.join("sound.mp4"));
        command
    }

    fn x264(&self, command: &mut Command, kbits: u32) {
        command.args(["-c:v", "libx264", "-preset", &self.preset, "-crf", &self.crf, "-threads", &self.threads]);
        command.args(["-maxrate", &format!("{kbits}k"), "-bufsize", &format!("{}k", kbits * 2 / 5)]);
    }
}

/// The command as one would type it.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let short = |word: &std::ffi::OsStr| match Path::new(word) {
        path if path.is_absolute() => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        _ => word.to_string_lossy().into_owned(),
    };
    words.map(short).collect::<Vec<_>>().join(" ")
}

/// Runs it to its end.
pub fn run(mut command: Command) -> Outcome<Took> {
    let start = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| format!("ffmpeg: {error}; apt-get install ffmpeg"))?;
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
    // A process that writes files closes its output only with its end.
    let wall = start.elapsed();
    let cpu = cpu::of_ended(child.id())?;
    if !child.wait()?.success() {
        return Err("ffmpeg failed".into());
    }
    Ok(Took { wall, first: first.unwrap_or(wall), cpu, bytes })
}
