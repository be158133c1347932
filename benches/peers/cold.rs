//! Line 1: a cold segment against one `ffmpeg` process that makes the same seconds of the same film.

use crate::ffmpeg::{self, Settings, Took};
use crate::server::Server;
use crate::{Bar, Outcome, Row, films, median, median_time};

/// Measured pairs.
const ROUNDS: usize = 7;

pub fn measure() -> Outcome<Vec<Row>> {
    let (film, settings) = (films::film()?, Settings::read()?);
    let server = Server::start(&[&film], &[("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0")])?;
    let all = server.whole_segments(&server.videos()?[0])?;
    if all.len() < 2 * ROUNDS {
        return Err(format!("the film has {} whole segments, {} are needed", all.len(), 2 * ROUNDS).into());
    }
    let mut pairs: Vec<(Took, Took)> = Vec::new();
    for round in 0..ROUNDS {
        // Each far from the one before, from both ends in turn, so that none continues where a worker stands.
        let segment = &all[if round % 2 == 0 { round } else { all.len() - 1 - round }];
        let peer = || ffmpeg::run(settings.span(&film, segment.start_seconds, segment.seconds));
        // Who goes first alternates: the second finds the source's pages warm.
        pairs.push(if round % 2 == 0 {
            let ours = server.cold(segment)?;
            (ours, peer()?)
        } else {
            let peer = peer()?;
            (server.cold(segment)?, peer)
        });
    }
    let bytes = |of: fn(&(Took, Took)) -> usize| median(pairs.iter().map(of), Ord::cmp) / 1000;
    let command = ffmpeg::shown(&settings.span(&film, all[0].start_seconds, all[0].seconds));
    let beside = format!("{command} ({} kB; ours {} kB)", bytes(|p| p.1.bytes), bytes(|p| p.0.bytes));
    let row = |what: &str, ours: fn(&Took) -> _, peer: fn(&Took) -> _, bar| {
        let (ours, peer) = (pairs.iter().map(|p| ours(&p.0)), pairs.iter().map(|p| peer(&p.1)));
        Row::times(what, median_time(ours), median_time(peer), bar, &beside)
    };
    Ok(vec![
        row("cold 4 s segment, 720p of 1080p: last byte", |m| m.wall, |m| m.wall, Bar::Most(0.85)),
        row("its first byte, of the peer's last", |m| m.first, |m| m.wall, Bar::Most(0.30)),
        row("its first byte, of the peer's first", |m| m.first, |m| m.first, Bar::None),
        row("its processor time", |m| m.cpu, |m| m.cpu, Bar::Most(1.0)),
    ])
}
