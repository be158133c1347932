//! A day of viewers against the real cache, with encodes that only take simulated time: how much of an eager encode was
//! done, how many requests found their segment, how many waited. Beside it the same day over a plain LRU cache of the same
//! size without look-ahead.
//!
//! Everything is drawn from one seed. Segments have a thousandth of their bytes, and so have the bounds of the cache. What
//! is simulated is the scheduler (a queue for viewers, one for look-ahead) and the heads, which are made once as if a title
//! had just come in; the warmer's policy has no part in it.

mod crowd;
mod stores;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use crowd::{RUNGS, Rung, Session, Title};
use stores::{Got, Store};

/// Encodes at a time.
const WORKERS: usize = 4;
/// Segments made beyond the one that was asked for.
const AHEAD: u32 = 2;
/// Segments of a head, and the rung whose heads are made.
const HEAD_SEGMENTS: u32 = 5;
const HEAD_RUNG: u8 = 2;
/// Segments a player asks for at once when it starts; then one each time one has been played.
const BUFFERED: u32 = 3;
const SEGMENT_MS: u64 = 4000;
/// Bounds of the cache as they would be in life, GiB.
const SIZES_GIB: [u64; 2] = [20, 80];

/// A segment of a title in a rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Segment {
    title: u16,
    rung: u8,
    number: u32,
}

/// What happens at a time.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A session asks for its next segment.
    Ask(usize),
    /// An encode ends.
    Made(Segment),
}

#[derive(Default)]
struct Figures {
    requests: u64,
    hits: u64,
    /// Waits beyond a second.
    long: u64,
    /// Encoded, milliseconds.
    work_ms: u64,
}

/// The server and its day.
struct Day<'a> {
    titles: &'a [Title],
    sessions: Vec<Session>,
    store: Store,
    look_ahead: bool,
    now_ms: u64,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    /// Sessions that wait for each segment that is queued or being made, and since when.
    making: HashMap<Segment, Vec<u64>>,
    viewers: VecDeque<Segment>,
    ahead: VecDeque<Segment>,
    busy: usize,
    figures: Figures,
}

impl Segment {
    fn rung(self) -> &'static Rung {
        &RUNGS[usize::from(self.rung)]
    }
}

impl Day<'_> {
    fn run(mut self) -> Figures {
        if self.look_ahead {
            self.heads();
        }
        for (index, session) in self.sessions.iter().enumerate() {
            self.events.push(Reverse((session.start_ms, Event::Ask(index))));
        }
        while let Some(Reverse((at, event))) = self.events.pop() {
            self.now_ms = at;
            self.store.set_time(at);
            match event {
                Event::Ask(index) => self.ask(index),
                Event::Made(segment) => self.made(segment),
            }
            self.work();
        }
        self.figures
    }

    /// Made before the day, and part of its work.
    fn heads(&mut self) {
        for title in 0..self.titles.len() {
            for number in 0..HEAD_SEGMENTS {
                let segment = Segment { title: title as u16, rung: HEAD_RUNG, number };
                self.store.lead(segment);
                self.store.keep(segment);
                self.figures.work_ms += segment.rung().encode_ms;
            }
        }
    }

    fn ask(&mut self, index: usize) {
        let Some(segment) = self.sessions[index].next() else { return };
        self.figures.requests += 1;
        if let Some(waiting) = self.making.get_mut(&segment) {
            waiting.push(self.now_ms);
            if let Some(place) = self.ahead.iter().position(|queued| *queued == segment) {
                self.ahead.remove(place);
                self.viewers.push_back(segment);
            }
        } else {
            match self.store.get(segment) {
                Got::Whole => self.figures.hits += 1,
                Got::Lead => {
                    self.making.insert(segment, vec![self.now_ms]);
                    self.viewers.push_back(segment);
                }
            }
        }
        let end = self.titles[usize::from(segment.title)].segments;
        for number in (segment.number + 1..end).take(AHEAD as usize).take_while(|_| self.look_ahead) {
            let next = Segment { number, ..segment };
            if !self.making.contains_key(&next) && self.store.lead(next) {
                self.making.insert(next, Vec::new());
                self.ahead.push_back(next);
            }
        }
        let pause = if self.sessions[index].asked < BUFFERED { 100 } else { SEGMENT_MS };
        self.events.push(Reverse((self.now_ms + pause, Event::Ask(index))));
    }

    fn made(&mut self, segment: Segment) {
        self.busy -= 1;
        self.figures.work_ms += segment.rung().encode_ms;
        self.store.keep(segment);
        for since in self.making.remove(&segment).unwrap_or_default() {
            self.figures.long += u64::from(self.now_ms - since > 1000);
        }
    }

    /// Gives workers what is queued, viewers first; look-ahead leaves one worker free for them.
    fn work(&mut self) {
        while self.busy < WORKERS {
            let ahead = if self.busy + 1 < WORKERS { self.ahead.pop_front() } else { None };
            let Some(segment) = self.viewers.pop_front().or(ahead) else { return };
            self.busy += 1;
            self.events.push(Reverse((self.now_ms + segment.rung().encode_ms, Event::Made(segment))));
        }
    }
}

fn day(titles: &[Title], store: Store, look_ahead: bool) -> Figures {
    let day = Day {
        titles,
        sessions: crowd::sessions(titles),
        store,
        look_ahead,
        now_ms: 0,
        events: BinaryHeap::new(),
        making: HashMap::new(),
        viewers: VecDeque::new(),
        ahead: VecDeque::new(),
        busy: 0,
        figures: Figures::default(),
    };
    day.run()
}

fn main() {
    // Tests of all targets run this as well, and want nothing of it.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let titles = crowd::titles();
    let eager_ms: u64 = titles.iter().map(Title::eager_ms).sum();
    let segments: u64 = titles.iter().map(|title| u64::from(title.segments)).sum();
    println!("{} titles, {} hours of film; {WORKERS} workers", titles.len(), segments * SEGMENT_MS / 3_600_000);
    println!(
        "| cache | GiB | requests | hits | waits > 1 s | encoded, of eager |\n| --- | --- | --- | --- | --- | --- |"
    );
    for gib in SIZES_GIB {
        let bytes = gib << 30;
        let runs = [("matinee", Store::real(bytes), true), ("plain LRU", Store::lru(bytes), false)];
        for (name, store, look_ahead) in runs {
            let figures = day(&titles, store, look_ahead);
            let part = |of: u64, all: u64| 100.0 * of as f64 / all as f64;
            println!(
                "| {name} | {gib} | {} | {:.2} % | {:.3} % | {:.2} % |",
                figures.requests,
                part(figures.hits, figures.requests),
                part(figures.long, figures.requests),
                part(figures.work_ms, eager_ms),
            );
        }
    }
}
