//! Do the first, the middle and the last frame show what the source's show? Upright, whole, of the same colour. FFmpeg
//! decodes both sides; it shares no code with the decoders, the scaler and the encoder that are judged.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::judge::{Say, largest, played, rendition_times, source_times, zero_of};
use crate::support::TestServer;

/// What the middle of a picture must reach against the scaled source, decibels.
const LEAST_PSNR: f64 = 28.0;
/// How far the mean of red, green or blue may lie from the source's, of 255.
const COLOUR_SLACK: f64 = 6.0;
/// Lines above which a picture that does not say its matrix is BT.709, as players assume.
const STANDARD_LINES: u64 = 576;

/// What FFmpeg has to know of a file to turn it into RGB.
struct Side<'a> {
    path: &'a Path,
    stream: String,
    size: (u64, u64),
    matrix: &'static str,
    interlaced: bool,
    is_hdr: bool,
}

/// Compares three frames of the largest rendition with the source's.
pub fn pictures(server: &TestServer, id: &str, source: &Path, say: &mut Say) {
    let Some(video) = largest(server, id) else { return };
    let media = server.rendition(&video);
    let file = tempfile::Builder::new().suffix(".mp4").tempfile().unwrap();
    std::fs::write(file.path(), &media).unwrap();
    let (theirs, ours) = (source_times(source, &played(source)), rendition_times(&media));
    let (Some(source_side), Some(our_side)) = (Side::of(source), Side::of(file.path())) else { return };
    if source_side.is_hdr || theirs.is_empty() || ours.is_empty() {
        // A tone curve is meant to change the picture.
        return;
    }
    let zero = zero_of(source);
    for k in [0, theirs.len() / 2, theirs.len() - 1] {
        let at = theirs[k] - zero;
        let nearest = (0..ours.len()).min_by(|&a, &b| (ours[a] - at).abs().total_cmp(&(ours[b] - at).abs()));
        let (Some(wanted), Some(made)) =
            (source_side.frame(k, our_side.size), our_side.frame(nearest.unwrap_or(0), our_side.size))
        else {
            say("picture", format!("frame {k} at {at:.3} s cannot be read"));
            continue;
        };
        let (psnr, off) = compare(&wanted, &made, our_side.size);
        if psnr < LEAST_PSNR {
            say("picture", format!("frame {k} at {at:.3} s: {psnr:.1} dB"));
        }
        if off > COLOUR_SLACK {
            say("colour", format!("frame {k} at {at:.3} s: {off:.1} of 255 off"));
        }
    }
}

impl<'a> Side<'a> {
    fn of(path: &'a Path) -> Option<Self> {
        // Covers are no moving pictures: FFmpeg's capital letter leaves them out.
        let stream = played(path).to_uppercase();
        let output = Command::new("ffprobe")
            .args(["-v", "quiet", "-of", "json", "-select_streams", &stream, "-show_streams"])
            .arg(path)
            .output()
            .ok()?;
        let probed: Value = serde_json::from_slice(&output.stdout).ok()?;
        let found = probed["streams"].get(0)?;
        let size = (found["width"].as_u64()?, found["height"].as_u64()?);
        let matrix = match found["color_space"].as_str() {
            Some("bt709") => "bt709",
            Some("bt2020nc") => "bt2020",
            Some("smpte170m" | "bt470bg") => "bt601",
            _ if size.1 > STANDARD_LINES => "bt709",
            _ => "bt601",
        };
        let interlaced = matches!(found["field_order"].as_str(), Some("tt" | "bb" | "tb" | "bt"));
        let is_hdr = matches!(found["color_transfer"].as_str(), Some("smpte2084" | "arib-std-b67"));
        Some(Self { path, stream, size, matrix, interlaced, is_hdr })
    }

    /// Frame `n` in presentation order, upright and scaled, RGB.
    fn frame(&self, n: usize, (width, height): (u64, u64)) -> Option<Vec<u8>> {
        let fields = if self.interlaced { "yadif," } else { "" };
        let matrix = self.matrix;
        let filter = format!(
            "{fields}select=eq(n\\,{n}),scale={width}:{height}:flags=bicubic+accurate_rnd+full_chroma_int:\
             in_color_matrix={matrix},format=rgb24"
        );
        let output = Command::new("ffmpeg")
            .args(["-v", "quiet", "-i"])
            .arg(self.path)
            .args([
                "-map",
                &format!("0:{}", self.stream),
                "-vf",
                &filter,
                "-vsync",
                "passthrough",
                "-frames:v",
                "1",
                "-f",
                "rawvideo",
                "-",
            ])
            .output()
            .ok()?;
        (output.stdout.len() as u64 == width * height * 3).then_some(output.stdout)
    }
}

/// Peak signal-to-noise ratio of brightness in the middle of two pictures, decibels, and how far their mean colours lie
/// apart at most.
fn compare(a: &[u8], b: &[u8], (width, height): (u64, u64)) -> (f64, f64) {
    let (mut noise, mut count, mut sums) = (0.0, 0.0, [0.0; 3]);
    let luma = |p: &[u8]| 0.299 * f64::from(p[0]) + 0.587 * f64::from(p[1]) + 0.114 * f64::from(p[2]);
    for y in height / 4..height - height / 4 {
        for x in width / 4..width - width / 4 {
            let at = usize::try_from((y * width + x) * 3).unwrap();
            let (p, q) = (&a[at..at + 3], &b[at..at + 3]);
            noise += (luma(p) - luma(q)).powi(2);
            count += 1.0;
            for ((sum, p), q) in sums.iter_mut().zip(p).zip(q) {
                *sum += f64::from(*p) - f64::from(*q);
            }
        }
    }
    let mean: f64 = noise / f64::max(count, 1.0);
    let psnr = 10.0 * (255.0 * 255.0 / mean.max(0.001)).log10();
    (psnr, sums.iter().map(|sum| (sum / f64::max(count, 1.0)).abs()).fold(0.0, f64::max))
}

#[test]
fn a_picture_upside_down_is_not_the_same_and_a_tinted_one_is_seen() {
    let picture: Vec<u8> = (0..64 * 64_u32).flat_map(|i| [(i / 16) as u8; 3]).collect();
    let turned: Vec<u8> = picture.iter().rev().copied().collect();
    let tinted: Vec<u8> = picture.chunks(3).flat_map(|p| [p[0].saturating_sub(20), p[1], p[2]]).collect();
    let size = (64, 64);
    assert_eq!(compare(&picture, &picture, size).1, 0.0);
    assert!(compare(&picture, &picture, size).0 > 70.0);
    assert!(compare(&picture, &turned, size).0 < LEAST_PSNR);
    assert!(compare(&picture, &tinted, size).1 > COLOUR_SLACK);
}
