//! Is the sound where the source's is? FFmpeg decodes both to the title's timeline, and what is alike is looked for.

use std::path::Path;
use std::process::Command;

use super::judge::{Say, zero_of};
use crate::support::{TestServer, skipped};

/// Samples per second that are compared.
const RATE: usize = 8000;
/// Seconds of a film that are compared.
const SECONDS: usize = 60;
/// Samples of a stretch that is looked for, one in so many, and how far it is looked for to both sides.
const STRETCH: usize = RATE;
const EVERY: usize = 4;
const REACH: usize = RATE / 10;
/// How far sound may lie from the source's, seconds.
const OFFSET_SLACK: f64 = 0.005;
/// Least mean power of a stretch; what is softer is taken as silence.
const SILENCE: f64 = 1e-5;
/// Least likeness of what was encoded and its source; 1 is the same.
const ALIKE: f64 = 0.5;
/// A tone is like itself at many places: the nearest that is as good as the best to within this counts.
const AS_GOOD: f64 = 0.01;

/// Compares the first rendition of sound with the source's.
pub fn sound(server: &TestServer, id: &str, source: &Path, say: &mut Say) {
    let playlists = server.playlists(id);
    let Some(playlist) = playlists.iter().find(|playlist| playlist.contains("/audio-")) else { return };
    let text = server.text(playlist);
    let mut seconds = 0.0;
    let lengths = crate::frames::durations(&text);
    let enough = lengths.iter().take_while(|length| {
        seconds += **length;
        seconds - **length < SECONDS as f64
    });
    let media: Vec<u8> =
        server.segments(playlist).iter().take(1 + enough.count()).flat_map(|path| server.bytes(path)).collect();
    let file = tempfile::Builder::new().suffix(".mp4").tempfile().unwrap();
    std::fs::write(file.path(), media).unwrap();
    let (theirs, ours) = (heard(source, zero_of(source)), heard(file.path(), 0.0));
    for (whose, sound) in [("the source", &theirs), ("what is served", &ours)] {
        if sound.is_empty() {
            return say("sound", format!("of {whose} FFmpeg decodes nothing"));
        }
    }
    let mut compared = 0;
    for (n, stretch) in theirs.chunks_exact(STRETCH).enumerate().step_by(EVERY) {
        if power(stretch) < SILENCE * STRETCH as f64 {
            continue;
        }
        compared += 1;
        match displacement(stretch, &ours, n * STRETCH) {
            Some(moved) if moved.abs() <= OFFSET_SLACK => {}
            Some(moved) => return say("sound", format!("at {n} s it is {:.1} ms from where it was", moved * 1000.0)),
            None => return say("sound", format!("at {n} s it is another")),
        }
    }
    if compared == 0 {
        skipped(&format!("nothing in the sound of {} is long and loud enough to be compared", source.display()));
    }
}

/// What FFmpeg decodes of the first stream of sound, mixed to one channel, from `zero` on.
fn heard(media: &Path, zero: f64) -> Vec<f32> {
    let filter = format!("asetpts=PTS-{zero}/TB,aresample={RATE}:async=1:min_hard_comp=0.001:first_pts=0");
    let output = Command::new("ffmpeg")
        .args(["-v", "quiet", "-copyts", "-i", media.to_str().unwrap(), "-map", "0:a:0", "-af", &filter])
        .args(["-ac", "1", "-t", &SECONDS.to_string(), "-f", "f32le", "-"])
        .output()
        .expect("ffmpeg is installed by `make test`");
    output.stdout.chunks_exact(4).map(|v| f32::from_le_bytes(v.try_into().unwrap())).collect()
}

fn power(samples: &[f32]) -> f64 {
    samples.iter().map(|sample| f64::from(*sample).powi(2)).sum()
}

/// How far from `at` the stretch lies in other sound, seconds. `None` if nothing there is like it.
fn displacement(stretch: &[f32], ours: &[f32], at: usize) -> Option<f64> {
    let from = at.saturating_sub(REACH);
    let around = ours.get(from..)?;
    let around = &around[..around.len().min(at - from + STRETCH + REACH)];
    let likeness = |candidate: &[f32]| {
        let common: f32 = stretch.iter().zip(candidate).map(|(a, b)| a * b).sum();
        f64::from(common) / (power(stretch) * power(candidate)).sqrt().max(f64::MIN_POSITIVE)
    };
    let found: Vec<f64> = around.windows(STRETCH).map(likeness).collect();
    let best = found.iter().copied().fold(0.0, f64::max);
    let off = |place: usize| (from + place).abs_diff(at);
    let nearest = (0..found.len()).filter(|place| found[*place] >= best - AS_GOOD).min_by_key(|place| off(*place))?;
    (best >= ALIKE).then(|| (from + nearest) as f64 / RATE as f64 - at as f64 / RATE as f64)
}
