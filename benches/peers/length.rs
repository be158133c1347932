//! Line 10: an hour-long title against one of a minute: nothing may grow with the length that a viewer waits for.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::server::Server;
use crate::{Bar, Outcome, Row, cpu, films, http, median_time};

/// Longest wait for a title to become ready.
const READY: Duration = Duration::from_secs(60);
/// Uploads of each length.
const ROUNDS: usize = 3;

/// What was waited for.
#[derive(Clone, Copy)]
struct Waited {
    /// From the last byte sent to a playlist.
    playable: Duration,
    /// The first answer for the playlist of 720p.
    playlist: Duration,
    /// The last whole segment.
    far: Duration,
}

pub fn measure() -> Outcome<Vec<Row>> {
    let (short, long) = films::short_and_long()?;
    let (mut minute, mut hour) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // A server of their own each: the same bytes a second time are known already.
        minute.push(upload(&short)?);
        hour.push(upload(&long)?);
    }
    let row = |what: &str, of: fn(&Waited) -> Duration| {
        let (hour, minute) = (median_time(hour.iter().map(of)), median_time(minute.iter().map(of)));
        Row::times(what, hour, minute, Bar::Most(1.5), "the same, of a film of a minute")
    };
    Ok(vec![
        row("an hour: upload's end to playable", |w| w.playable),
        row("its media playlist, rendered", |w| w.playlist),
        row("its cold segment at the far end", |w| w.far),
    ])
}

fn upload(film: &Path) -> Outcome<Waited> {
    let server = Server::start(&[], &[("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0")])?;
    let (created, sent) = http::upload(&server.root.join("/api/v1/videos?filename=film.mp4"), film)?;
    if created.status != 201 {
        return Err(format!("the upload was answered {}", created.status).into());
    }
    let video: serde_json::Value = serde_json::from_slice(&created.body)?;
    let id = video["id"].as_str().ok_or("a title without id")?;
    let master = server.root.join(&format!("/v/{id}/master.m3u8"));
    while http::get(&master)?.status != 200 {
        if sent.elapsed() > READY {
            return Err(format!("{} was not ready in time", film.display()).into());
        }
        cpu::pause(Duration::from_millis(5));
    }
    let playable = sent.elapsed();
    cpu::settled(server.pid())?;
    let text = String::from_utf8(http::get(&master)?.body)?;
    let media = text.lines().find(|line| line.contains("/720p/")).ok_or("there is no 720p")?;
    let start = Instant::now();
    server.ok(&master.join(media))?;
    let playlist = start.elapsed();
    let segments = server.whole_segments(&video)?;
    let far = server.cold(segments.last().ok_or("no segments")?)?.wall;
    Ok(Waited { playable, playlist, far })
}
