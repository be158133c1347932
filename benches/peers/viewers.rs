//! Lines 6 and 7: what a viewer's cold segment costs when the machine has other things to do.

use std::thread;
use std::time::Duration;

use crate::server::{self, Segment, Server};
use crate::{Bar, Outcome, Row, cpu, films, median_time};

/// Measured times of either side.
const ROUNDS: usize = 3;
/// Titles of which somebody asks for a segment at the same time.
const VIEWERS: usize = 3;

/// Line 6: three cold viewers on three titles; the slowest against one alone.
pub fn three() -> Outcome<Vec<Row>> {
    let films = (0..VIEWERS).map(films::copy).collect::<Outcome<Vec<_>>>()?;
    let films: Vec<_> = films.iter().map(std::path::PathBuf::as_path).collect();
    let server = Server::start(&films, &[("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0")])?;
    let titles = server.videos()?.iter().map(|v| server.whole_segments(v)).collect::<Outcome<Vec<_>>>()?;
    let (mut alone, mut slowest) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        alone.push(server.cold(&titles[0][5 * round])?.wall);
        let segments: Vec<&Segment> = titles.iter().map(|title| &title[5 * round + 2]).collect();
        slowest.push(together(&segments)?);
        cpu::settled(server.pid())?;
    }
    let (what, beside) = ("three cold viewers, three titles: the slowest", "one cold viewer alone, the same server");
    Ok(vec![Row::times(what, median_time(slowest), median_time(alone), Bar::Most(2.0), beside)])
}

/// Asks for all of them at once; how long the last one took.
fn together(segments: &[&Segment]) -> Outcome<Duration> {
    thread::scope(|scope| {
        let asked: Vec<_> = segments
            .iter()
            .map(|segment| scope.spawn(|| server::cold(segment).map(|r| r.last).map_err(|error| error.to_string())))
            .collect();
        let mut slowest = Duration::ZERO;
        for viewer in asked {
            slowest = slowest.max(viewer.join().map_err(|_| "a viewer panicked")??);
        }
        Ok(slowest)
    })
}

/// Line 7: a viewer's cold segment while another title is warmed with all there is, against the same while nothing else
/// goes on.
pub fn warming() -> Outcome<Vec<Row>> {
    let films = [films::copy(0)?, films::copy(1)?];
    let environment = [("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0"), ("MATINEE_WARMER__CPU_SHARE", "1.0")];
    let server = Server::start(&[&films[0], &films[1]], &environment)?;
    let videos = server.videos()?;
    let segments = server.whole_segments(&videos[0])?;
    let mut idle = Vec::new();
    for round in 0..ROUNDS {
        idle.push(server.cold(&segments[5 * round])?.wall);
    }
    let job = server.warm(&videos[1], "{}")?;
    let mut busy = Vec::new();
    for round in 0..ROUNDS {
        // Long enough for warming to have begun again.
        cpu::pause(Duration::from_secs(3));
        busy.push(server::cold(&segments[5 * round + 2])?.last);
        if server.state(&job)? != "running" {
            return Err("warming ended before it was measured beside".into());
        }
    }
    let (what, beside) = ("cold segment while a ladder is warmed", "the same, idle");
    Ok(vec![Row::times(what, median_time(busy), median_time(idle), Bar::Most(1.15), beside)])
}
