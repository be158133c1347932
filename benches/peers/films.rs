//! The films that are measured with, made once and kept below `target/tmp`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::Outcome;

/// 80 s of 1080p25 with noise over a moving picture, so that neither the decoder nor x264 has it too easy.
pub fn film() -> Outcome<PathBuf> {
    if let Some(named) = env::var_os("BENCH_SOURCE") {
        return Ok(fs::canonicalize(named)?);
    }
    let picture = "testsrc2=size=1920x1080:rate=25:duration=80,noise=alls=6:allf=t";
    let sound = "aevalsrc=sin(2*PI*t*(220+4*t)):sample_rate=48000:duration=80";
    let video = "-c:v libx264 -preset veryfast -b:v 8M -g 50 -pix_fmt yuv420p";
    made("bench-1080p25.mp4", &format!("-f lavfi -i {picture} -f lavfi -i {sound} {video} -c:a aac"))
}

/// The first minute of it.
pub fn minute() -> Outcome<PathBuf> {
    let film = film()?;
    made("bench-minute.mp4", &format!("-i {} -t 60 -c copy", shown(&film)?))
}

/// The same pictures under another digest: a title of its own.
pub fn copy(number: usize) -> Outcome<PathBuf> {
    let film = film()?;
    made(&format!("bench-copy-{number}.mp4"), &format!("-i {} -c copy -metadata title=copy-{number}", shown(&film)?))
}

/// 16 s at a constant rate, so that its segments of 4 s are of a size that is known beforehand.
pub fn constant(kilobits: u32) -> Outcome<PathBuf> {
    let picture = "testsrc2=size=1280x720:rate=25:duration=16,noise=alls=20:allf=t";
    let rate = format!("-b:v {kilobits}k -minrate {kilobits}k -maxrate {kilobits}k -bufsize {kilobits}k");
    let frames = "-x264-params nal-hrd=cbr:keyint=100:min-keyint=100:scenecut=0 -pix_fmt yuv420p";
    let name = format!("bench-{kilobits}k.mp4");
    made(&name, &format!("-f lavfi -i {picture} -c:v libx264 -preset ultrafast {rate} {frames}"))
}

/// A minute of 1080p at a low rate, and the same sixty times over.
pub fn short_and_long() -> Outcome<(PathBuf, PathBuf)> {
    let picture = "testsrc2=size=1920x1080:rate=25:duration=60";
    let sound = "sine=frequency=330:sample_rate=48000:duration=60";
    let video = "-c:v libx264 -preset veryfast -b:v 1M -maxrate 1M -bufsize 1M -g 50 -pix_fmt yuv420p";
    let short = made("bench-short.mp4", &format!("-f lavfi -i {picture} -f lavfi -i {sound} {video} -c:a aac"))?;
    let long = made("bench-long.mp4", &format!("-stream_loop 59 -i {} -c copy", shown(&short)?))?;
    Ok((short, long))
}

fn made(name: &str, arguments: &str) -> Outcome<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (film, part) = (folder.join(name), folder.join(format!("{name}.part")));
    if !film.exists() {
        eprintln!("making {name} ...");
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-nostdin", "-v", "error", "-y"]).args(arguments.split(' ')).args(["-f", "mp4"]).arg(&part);
        if !ffmpeg.status().map_err(|error| format!("ffmpeg: {error}"))?.success() {
            return Err(format!("ffmpeg could not make {name}").into());
        }
        fs::rename(&part, &film)?;
    }
    Ok(film)
}

fn shown(path: &Path) -> Outcome<&str> {
    let path = path.to_str().filter(|path| !path.contains(' '));
    path.ok_or_else(|| "the path of the film must be plain text without blanks".into())
}
