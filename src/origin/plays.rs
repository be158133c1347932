//! Who asks for a segment, and what that tells: look-ahead is where they play, and how well playing goes is counted.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::USER_AGENT;
use tokio::time::Instant;

use super::Presentation;
use super::cmcd::Cmcd;
use super::respond::Asked;
use super::route::Route;
use crate::cache::Object;

/// Sessions remembered for what they tell of themselves. Of more, the one heard of least lately counts as over.
const MAX_SESSIONS: usize = 4096;
/// A session that says nothing for this long is over.
const SESSION_OVER: Duration = Duration::from_secs(60);

/// A viewer's request for a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Play {
    /// Tells this viewer from others, as far as is known.
    pub viewer: u64,
    /// The player named its session: nobody else has this number.
    pub is_session: bool,
    /// Index of the rendition in the plan.
    pub rendition: usize,
    /// Which segment.
    pub segment: u32,
    /// What the player says it will ask for next: a rendition, and a segment of it.
    pub next: Option<(usize, u32)>,
}

/// How well playing goes, by what players say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quality {
    /// From the first segment a session asked for to the first that was not urgent, seconds.
    Startup(f64),
    /// A player ran out of what to play.
    Rebuffer,
    /// Mean rate of the pictures a session asked for, bits per second; told when it is over.
    Bitrate(f64),
}

/// Told of every [`Quality`]; must not block.
pub type OnQuality = Arc<dyn Fn(Quality) + Send + Sync>;

/// The sessions that tell of themselves.
pub(super) struct Plays {
    /// Keyed anew at every start: nobody can choose to be taken for somebody else.
    hasher: RandomState,
    sessions: Mutex<HashMap<u64, Session>>,
    on_quality: OnQuality,
}

struct Session {
    first: Instant,
    last: Instant,
    started: bool,
    video_ms: u64,
    video_bits: u64,
}

impl Plays {
    pub(super) fn new(on_quality: OnQuality) -> Self {
        Self { hasher: RandomState::new(), sessions: Mutex::default(), on_quality }
    }

    /// A request for a segment.
    pub(super) fn play(&self, asked: &Asked, on: &Presentation, rendition: usize, segment: u32) -> Play {
        let session = asked.cmcd.as_ref().and_then(|told| told.session.as_ref());
        let viewer = match session {
            Some(session) => self.hasher.hash_one(session),
            None => self.hasher.hash_one((asked.client, asked.parts.headers.get(USER_AGENT))),
        };
        if let (Some(told), true) = (&asked.cmcd, session.is_some()) {
            self.listen(viewer, told, Instant::now());
        }
        let next = asked.cmcd.as_ref().and_then(|told| next(asked, told, on));
        Play { viewer, is_session: session.is_some(), rendition, segment, next }
    }

    fn listen(&self, key: u64, told: &Cmcd, now: Instant) {
        let mut over = Vec::new();
        let startup = {
            let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            if sessions.len() >= MAX_SESSIONS && !sessions.contains_key(&key) {
                over = gone(&mut sessions, now);
            }
            if sessions.len() >= MAX_SESSIONS && !sessions.contains_key(&key) {
                let oldest = sessions.iter().min_by_key(|(_, session)| session.last).map(|(key, _)| *key);
                over.extend(oldest.and_then(|key| sessions.remove(&key)));
            }
            // What has started already tells nothing of its start.
            let fresh = Session { first: now, last: now, started: !told.startup, video_ms: 0, video_bits: 0 };
            sessions.entry(key).or_insert(fresh).hear(told, now)
        };
        over.iter().for_each(|session| self.over(session));
        startup.into_iter().for_each(|seconds| (self.on_quality)(Quality::Startup(seconds)));
        if told.starved {
            (self.on_quality)(Quality::Rebuffer);
        }
    }

    /// Ends the sessions that have gone; how many there are. For whoever looks at the numbers.
    pub(super) fn sweep(&self, now: Instant) -> usize {
        let (over, left) = {
            let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            (gone(&mut sessions, now), sessions.len())
        };
        over.iter().for_each(|session| self.over(session));
        left
    }

    fn over(&self, session: &Session) {
        if session.video_ms > 0 {
            #[expect(clippy::cast_precision_loss, reason = "a statistic")]
            let rate = session.video_bits as f64 * 1000.0 / session.video_ms as f64;
            (self.on_quality)(Quality::Bitrate(rate));
        }
    }
}

/// Takes out the sessions that are over.
fn gone(sessions: &mut HashMap<u64, Session>, now: Instant) -> Vec<Session> {
    let is_over = |session: &Session| now.saturating_duration_since(session.last) >= SESSION_OVER;
    sessions.extract_if(|_, session| is_over(session)).map(|(_, over)| over).collect()
}

impl Session {
    /// How long its start took, if it has just ended.
    fn hear(&mut self, told: &Cmcd, now: Instant) -> Option<f64> {
        self.last = now;
        if let (true, Some(ms), Some(kbps)) = (told.is_video, told.duration_ms, told.bitrate_kbps) {
            // Kilobits per second for milliseconds are bits.
            self.video_ms = self.video_ms.saturating_add(ms.into());
            self.video_bits = self.video_bits.saturating_add(u64::from(kbps) * u64::from(ms));
        }
        let starts = !told.startup && !self.started;
        self.started |= starts;
        starts.then(|| now.saturating_duration_since(self.first).as_secs_f64())
    }
}

/// What the player will ask for next, if that is of the same title.
fn next(asked: &Asked, told: &Cmcd, on: &Presentation) -> Option<(usize, u32)> {
    let path = told.next_path(asked.parts.uri.path())?;
    let Some(Route::Object(media)) = Route::parse(&path) else { return None };
    let Object::Segment(segment) = media.object else { return None };
    if media.title != on.facts().id {
        return None;
    }
    Some((on.rendition(&media.generation, &media.rendition).ok()?, segment))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plays() -> (Plays, Arc<Mutex<Vec<Quality>>>) {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = heard.clone();
        (Plays::new(Arc::new(move |quality| ear.lock().unwrap().push(quality))), heard)
    }

    fn video(kbps: u32, startup: bool, starved: bool) -> Cmcd {
        Cmcd { is_video: true, bitrate_kbps: Some(kbps), duration_ms: Some(4000), startup, starved, ..Cmcd::default() }
    }

    #[test]
    fn a_session_tells_how_long_it_took_to_start_how_often_it_ran_out_and_at_which_rate_it_played() {
        let (plays, heard) = plays();
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        plays.listen(1, &video(1000, true, false), after(0));
        plays.listen(1, &video(1000, true, false), after(300));
        plays.listen(1, &video(3000, false, false), after(900));
        plays.listen(1, &video(3000, false, true), after(5000));
        assert_eq!(*heard.lock().unwrap(), [Quality::Startup(0.9), Quality::Rebuffer]);
        assert_eq!(plays.sweep(after(6000)), 1);
        assert_eq!(plays.sweep(after(5000) + SESSION_OVER), 0);
        assert_eq!(heard.lock().unwrap().last(), Some(&Quality::Bitrate(2_000_000.0)));
    }

    #[test]
    fn of_a_session_that_is_heard_of_after_it_started_nothing_is_told_of_its_start() {
        let (plays, heard) = plays();
        let start = Instant::now();
        plays.listen(1, &video(1000, false, false), start);
        plays.listen(1, &video(1000, false, false), start + Duration::from_secs(4));
        assert_eq!(*heard.lock().unwrap(), []);
    }

    #[test]
    fn a_client_with_ever_new_sessions_takes_no_more_memory_than_many_viewers() {
        let (plays, _) = plays();
        for key in 0..2 * MAX_SESSIONS as u64 {
            plays.listen(key, &video(u32::MAX, false, false), Instant::now());
        }
        assert_eq!(plays.sweep(Instant::now()), MAX_SESSIONS);
    }
}
