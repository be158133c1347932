//! Those who judge: the validators of `CHECK_HOME`, and ffprobe, which compares the source's frames with ours.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{TestServer, ffprobe, skipped};

/// Told what is wrong: by whom, and what.
pub type Say<'a> = dyn FnMut(&'static str, String) + 'a;

/// How far a frame may lie from the source's time, seconds: a container's rounding to milliseconds, which is undone, and
/// a tick of ours.
const FRAME_SLACK: f64 = 0.0011;
/// How far sound may move against the picture, seconds.
const OFFSET_SLACK: f64 = 0.005;
/// Findings that speak of the machine a debug build shares rather than of what is served.
const NOT_OURS: &str = "http.slow";
/// Findings of one validator that are shown.
const SHOWN: usize = 12;

/// Every protocol that is offered, by the validator for it.
pub fn validators(server: &TestServer, id: &str, say: &mut Say) {
    let home = std::env::var_os("CHECK_HOME").map(PathBuf::from);
    let usual = || Some(Path::new(&std::env::var_os("HOME")?).join(".cache/matinee-check"));
    let Some(home) = home.or_else(usual).filter(|home| home.join("validate_hls.py").exists()) else {
        skipped("no validators; CHECK_HOME says where they are");
        return;
    };
    let offered = [
        ("hls", "validate_hls.py", "master.m3u8"),
        ("ts", "validate_hls.py", "master-ts.m3u8"),
        ("dash", "validate_dash.py", "manifest.mpd"),
    ];
    for (judge, program, name) in offered {
        let path = format!("/v/{id}/{name}");
        if server.get(&path).status != 200 {
            skipped(&format!("{name} is not offered"));
            continue;
        }
        let output = Command::new(home.join(".venv/bin/python"))
            .current_dir(&home)
            .args([program, &format!("http://{}{path}", server.address), "--all", "--ignore", NOT_OURS])
            .output()
            .expect("the validators have a Python of their own");
        let report: Value = match serde_json::from_slice(&output.stdout) {
            Ok(report) => report,
            Err(_) => {
                let what = String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned();
                say(judge, format!("no report: {what}"));
                continue;
            }
        };
        let faults = report["findings"].as_array().into_iter().flatten();
        for fault in faults.filter(|f| f["severity"] == "error" && f["check"] != NOT_OURS).take(SHOWN) {
            let text = |key: &str| fault[key].as_str().unwrap_or_default().to_owned();
            say(judge, format!("{} {}: {}", text("check"), text("where"), text("msg")));
        }
    }
}

/// Are the source's frames those of the largest rendition, at the source's times?
pub fn frames(server: &TestServer, id: &str, source: &Path, say: &mut Say) {
    let Some(video) = largest(server, id) else { return };
    let theirs = source_times(source, &played(source));
    let ours = rendition_times(&server.rendition(&video));
    let (Some(first), Some(our_first)) = (theirs.first(), ours.first()) else { return };
    let sound = source_times(source, "a:0").first().copied();
    let zero = zero_of(source);
    let nearest = |at: f64| {
        let after = ours.partition_point(|t| *t < at);
        let near = [after.checked_sub(1), Some(after)].into_iter().flatten().filter_map(|i| ours.get(i));
        near.map(|t| (t - at).abs()).fold(f64::INFINITY, f64::min)
    };
    let missed: Vec<f64> = theirs.iter().map(|t| t - zero).filter(|t| nearest(*t) > FRAME_SLACK).collect();
    if !missed.is_empty() {
        let shown: Vec<String> = missed.iter().take(3).map(|t| format!("{t:.4}")).collect();
        say("frames", format!("{} of {} have no place: {} s", missed.len(), theirs.len(), shown.join(", ")));
    }
    // Behind the source's last frame there are only repeats of it, for as long as sound goes on.
    let last = theirs.last().map_or(0.0, |last| last - zero + FRAME_SLACK);
    let shown = ours.iter().filter(|at| **at <= last).count();
    if shown != theirs.len() {
        say("frames", format!("{shown} frames of {}", theirs.len()));
    }
    let moved = (our_first - (first - zero)).abs();
    if sound.is_some() && moved > OFFSET_SLACK {
        say("offset", format!("the picture begins {:.1} ms from where it did", moved * 1000.0));
    }
}

/// The playlist of the largest pictures; the one that players start with is listed first.
pub fn largest(server: &TestServer, id: &str) -> Option<String> {
    let master = server.text(&format!("/v/{id}/master.m3u8"));
    let mut lines = master.lines();
    let mut largest: Option<(u64, &str)> = None;
    while let Some(line) = lines.next() {
        let size =
            line.strip_prefix("#EXT-X-STREAM-INF:").and_then(|tag| tag.split("RESOLUTION=").nth(1)?.split(',').next());
        let Some((width, height)) = size.and_then(|size| size.split_once('x')) else { continue };
        let area = width.parse::<u64>().unwrap() * height.parse::<u64>().unwrap();
        let uri = lines.next().unwrap();
        if largest.is_none_or(|(most, _)| area > most) {
            largest = Some((area, uri));
        }
    }
    largest.map(|(_, uri)| format!("/v/{id}/{uri}"))
}

/// The title's zero on the source's timeline: the first sample of any track, seconds.
pub fn zero_of(source: &Path) -> f64 {
    let first = |times: Vec<f64>| times.first().copied();
    let pictures = first(source_times(source, &played(source)));
    // A decoder may make nothing of the first packet, whose time counts all the same unless an edit list hides it.
    let packet = first(packet_times(source, "a:0")).filter(|at| *at >= 0.0);
    // What comes before zero is priming.
    let sound = packet.or_else(|| source_times(source, "a:0").into_iter().find(|at| *at >= 0.0));
    pictures.into_iter().chain(sound).min_by(f64::total_cmp).unwrap_or(0.0)
}

/// The stream of pictures that is played, as FFmpeg names it: of several the default one, and of those the largest.
pub fn played(source: &Path) -> String {
    let output = Command::new("ffprobe")
        .args(["-v", "quiet", "-of", "json", "-select_streams", "V", "-show_entries"])
        .arg("stream=width,height:stream_disposition=default")
        .arg(source)
        .output()
        .expect("ffprobe is installed by `make test`");
    let probed: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let streams = probed["streams"].as_array().into_iter().flatten();
    let weigh = |s: &Value| (number(&s["disposition"]["default"]), number(&s["width"]) * number(&s["height"]));
    // The first of equals: `max_by_key` takes the last.
    let ranked: Vec<_> = streams.map(weigh).enumerate().collect();
    let best = ranked.iter().rev().max_by_key(|(_, weight)| *weight).map_or(0, |(n, _)| *n);
    format!("v:{best}")
}

/// FFmpeg copies the whole title out of its transport streams and has nothing to say.
pub fn clean_transport(server: &TestServer, id: &str, say: &mut Say) {
    let path = format!("/v/{id}/master-ts.m3u8");
    if server.get(&path).status != 200 {
        return;
    }
    let output = Command::new("ffmpeg")
        .args(["-v", "warning", "-xerror", "-i", &format!("http://{}{path}", server.address)])
        .args(["-map", "0", "-c", "copy", "-f", "null", "-"])
        .output()
        .expect("ffmpeg is installed by `make test`");
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || !said.trim().is_empty() {
        say("ffmpeg", said.lines().last().unwrap_or("it failed").to_owned());
    }
}

/// Times of the packets of a stream of a file, in order, seconds.
fn packet_times(source: &Path, stream: &str) -> Vec<f64> {
    let output = Command::new("ffprobe")
        .args(["-v", "quiet", "-of", "json", "-select_streams", stream, "-show_entries", "packet=pts_time"])
        .arg(source)
        .output()
        .expect("ffprobe is installed by `make test`");
    let probed: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let packets = probed["packets"].as_array().into_iter().flatten();
    let mut times: Vec<f64> = packets.filter_map(|p| p["pts_time"].as_str()?.parse().ok()).collect();
    times.sort_by(f64::total_cmp);
    times
}

/// Times of frames that a decoder makes of a stream of a file, in order, seconds.
pub fn source_times(source: &Path, stream: &str) -> Vec<f64> {
    let picture = if stream.starts_with('v') { stream.replacen('v', "V", 1) } else { stream.to_owned() };
    let output = Command::new("ffprobe")
        .args([
            "-v",
            "quiet",
            "-of",
            "json",
            "-select_streams",
            &picture,
            "-show_entries",
            "frame=best_effort_timestamp_time",
        ])
        .arg(source)
        .output()
        .expect("ffprobe is installed by `make test`");
    let probed: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let frames = probed["frames"].as_array().into_iter().flatten();
    let mut times: Vec<f64> = frames.filter_map(|f| f["best_effort_timestamp_time"].as_str()?.parse().ok()).collect();
    times.sort_by(f64::total_cmp);
    times
}

/// Presentation times of a rendition, seconds. Every frame is decoded when one is shown, so decode times are the same set;
/// FFmpeg moves presentation times.
pub fn rendition_times(media: &[u8]) -> Vec<f64> {
    let probed = ffprobe(media, "packet=dts_time");
    let packets = probed["packets"].as_array().into_iter().flatten();
    packets.filter_map(|p| p["dts_time"].as_str()?.parse().ok()).collect()
}
