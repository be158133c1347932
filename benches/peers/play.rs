//! Line 2: fifteen segments in order, at the pace of a player and as fast as possible, against one continuous `ffmpeg`.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::ffmpeg::{self, Settings};
use crate::server::{Segment, Server};
use crate::{Bar, Outcome, Row, cpu, films, http};

const SEGMENTS: usize = 15;

/// What playing took.
struct Played {
    cpu: Duration,
    /// Requests whose segment was not there.
    waited: u32,
}

pub fn measure() -> Outcome<Vec<Row>> {
    let (film, settings) = (films::film()?, Settings::read()?);
    let (steady, from, seconds) = play(&film, true)?;
    let peer = || ffmpeg::run(settings.span(&film, from, seconds));
    let continuous = peer()?;
    let (fast, ..) = play(&film, false)?;
    let cpu = (continuous.cpu + peer()?.cpu) / 2;
    let beside = ffmpeg::shown(&settings.span(&film, from, seconds));
    let share = f64::from(steady.waited) / SEGMENTS as f64;
    Ok(vec![
        Row::times("15 segments to the end, at real time: CPU", steady.cpu, cpu, Bar::Most(1.05), &beside),
        Row::times("the same, as fast as possible: CPU", fast.cpu, cpu, Bar::Most(1.05), &beside),
        Row {
            what: "requests that had to wait, at real time".to_owned(),
            ours: format!("{} of {SEGMENTS}", steady.waited),
            peer: String::new(),
            figure: share,
            bar: Bar::Most(0.10),
            beside: "no peer: X-Cache says neither memory nor disk".to_owned(),
        },
    ])
}

/// Plays to the end of the film, so that what is made ahead is played as well; where that was.
fn play(film: &Path, at_real_time: bool) -> Outcome<(Played, f64, f64)> {
    let server = Server::start(&[film], &[])?;
    let all = server.segments(&server.videos()?[0], None)?;
    let last: &[Segment] = all.last_chunk::<SEGMENTS>().ok_or("the film is too short")?;
    let seconds = last.iter().map(|segment| segment.seconds).sum();
    let before = cpu::settled(server.pid())?;
    let (start, mut due, mut waited) = (Instant::now(), Duration::ZERO, 0);
    for segment in last {
        if at_real_time {
            cpu::pause(due.saturating_sub(start.elapsed()));
        }
        due += Duration::from_secs_f64(segment.seconds);
        let response = http::get(&segment.url)?;
        if response.status != 200 {
            return Err(format!("{}: {}", segment.url, response.status).into());
        }
        waited += u32::from(!matches!(response.header("x-cache"), Some("memory" | "disk")));
    }
    let cpu = cpu::settled(server.pid())?.saturating_sub(before);
    Ok((Played { cpu, waited }, last[0].start_seconds, seconds))
}
