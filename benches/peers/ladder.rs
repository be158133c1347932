//! Line 3: every rendition of a minute, warmed by a job, against one `ffmpeg` with a split filter and all outputs.

use std::time::{Duration, Instant};

use crate::ffmpeg::{self, Rung, Settings, Took};
use crate::server::Server;
use crate::{Bar, Outcome, Row, cpu, films, median_time};

/// Measured pairs. Each takes as long as the whole ladder of a minute does, twice.
const ROUNDS: usize = 1;

pub fn measure() -> Outcome<Vec<Row>> {
    let (film, settings) = (films::minute()?, Settings::read()?);
    let mut pairs: Vec<(Took, Took)> = Vec::new();
    let mut beside = String::new();
    for _ in 0..ROUNDS {
        let server = Server::start(&[&film], &[("MATINEE_WARMER__CPU_SHARE", "1.0")])?;
        let video = &server.videos()?[0];
        let (before, start) = (cpu::settled(server.pid())?, Instant::now());
        server.done(&server.warm(video, "{}")?)?;
        let wall = start.elapsed();
        let cpu = cpu::settled(server.pid())?.saturating_sub(before);
        let rungs = rungs(video);
        let folder = tempfile::tempdir()?;
        beside = ffmpeg::shown(&settings.ladder(&film, &rungs, folder.path()));
        let peer = ffmpeg::run(settings.ladder(&film, &rungs, folder.path()))?;
        pairs.push((Took { wall, first: wall, cpu, bytes: 0 }, peer));
    }
    let row = |what: &str, of: fn(&Took) -> Duration, bar| {
        let (ours, peer) = (pairs.iter().map(|p| of(&p.0)), pairs.iter().map(|p| of(&p.1)));
        Row::times(what, median_time(ours), median_time(peer), bar, &beside)
    };
    Ok(vec![
        row("full ladder of a minute, warmed: CPU", |m| m.cpu, Bar::Most(0.95)),
        row("the same: wall", |m| m.wall, Bar::Most(0.95)),
    ])
}

/// The renditions that are encoded; of what is passed through neither side makes anything.
fn rungs(video: &serde_json::Value) -> Vec<Rung> {
    let all = video["renditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let encoded = all.iter().filter(|r| r["name"] != "source");
    let rung = |r: &serde_json::Value| {
        let number = |key: &str| r[key].as_u64().filter(|n| *n > 0);
        Some(Rung { width: number("width")?, height: number("height")?, bandwidth: number("bandwidth")? })
    };
    encoded.filter_map(rung).collect()
}
