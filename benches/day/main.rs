//! A day of viewers against the real cache, scheduler, look-ahead and warmer, over workers that only take the time of a
//! simulated machine: how much of an eager encode was done, how many requests found their segment, how many waited. Beside it
//! the same day on the same machine over a plain LRU cache, with nothing made ahead.
//!
//! Time is Tokio's paused clock: it goes on when there is nothing to do, so that a day takes minutes. Everything is drawn from
//! one seed. Segments have a fiftieth of their bytes, and so have the bounds of the cache (the policy reckons with whole ones,
//! so that it leaves the last hundredth of the disk free). The titles come one by one before the day begins, as they would.
//!
//! `cargo bench --bench day -- 8 80` replays it with eight cores and 80 GiB alone.

mod crowd;
mod encode;
mod films;
mod lru;
mod machine;
mod server;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{env, panic, process};

use matinee::media::Plan;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crowd::{Segment, Session};
use lru::Lru;
use machine::Machine;
use server::Server;

/// Bytes in life for one that is kept here.
const SCALE: u64 = 50;
/// A player asks for more while it has less than this to play, seconds: as Shaka Player does by default.
const BUFFER: f64 = 10.0;
/// What a network takes for a second of film, seconds.
const NETWORK: f64 = 0.1;
/// From one title to the next, and from the last to the day.
const ARRIVAL: Duration = Duration::from_secs(60);
/// Cores, and GiB of the cache.
const RUNS: [(u32, u64); 4] = [(4, 80), (8, 20), (8, 80), (16, 80)];

/// What became of a request.
pub struct Answer {
    /// It was there.
    is_hit: bool,
    /// From the request to the first byte, and to the last.
    first_byte: Duration,
    whole: Duration,
}

/// Who answers.
enum Site {
    Matinee(Server),
    Lru(Arc<Lru>),
}

#[derive(Default)]
struct Figures {
    requests: AtomicU64,
    hits: AtomicU64,
    /// First bytes that took more than a second, and last bytes.
    late: AtomicU64,
    late_whole: AtomicU64,
    /// Milliseconds that players stood still.
    stalled_ms: AtomicU64,
    stalls: AtomicU64,
    /// CPU seconds of each segment that anybody asked for, made alone.
    watched: Mutex<HashMap<Segment, f64>>,
}

impl Site {
    async fn add(&self, title: u16, plan: Arc<Plan>) {
        match self {
            Self::Matinee(server) => server.add(title, plan).await,
            Self::Lru(lru) => lru.add(title, plan),
        }
    }

    fn begin(&self, title: u16) {
        if let Self::Matinee(server) = self {
            assert_eq!(server.begin(title), crowd::START, "players start with what they are told to");
        }
    }

    async fn answer(&self, viewer: u64, of: Segment, goes_on: bool) -> Answer {
        match self {
            Self::Matinee(server) => server.answer(viewer, of).await,
            Self::Lru(lru) => lru.answer(of, goes_on).await,
        }
    }
}

impl Figures {
    fn add(&self, answer: &Answer) {
        let is_long = |time: Duration| u64::from(time > Duration::from_secs(1));
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.hits.fetch_add(answer.is_hit.into(), Ordering::Relaxed);
        self.late.fetch_add(is_long(answer.first_byte), Ordering::Relaxed);
        self.late_whole.fetch_add(is_long(answer.whole), Ordering::Relaxed);
    }

    fn stood_still(&self, time: Duration) {
        self.stalls.fetch_add(1, Ordering::Relaxed);
        self.stalled_ms.fetch_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// A player from its start to its end.
async fn play(site: Arc<Site>, viewer: u64, mut session: Session, plan: Arc<Plan>, figures: Arc<Figures>) {
    site.begin(session.title);
    sleep(Duration::from_millis(150)).await;
    // When playing began, and how much was loaded since, seconds.
    let (mut playing, mut loaded): (Option<Instant>, f64) = (None, 0.0);
    let mut last: Option<Segment> = None;
    // The last one was made for this player: the peer has its decoder.
    let mut was_made = false;
    while let Some(segment) = session.next() {
        let goes_on = was_made
            && last.is_some_and(|last| (last.rendition, last.number + 1) == (segment.rendition, segment.number));
        if last.is_some_and(|last| last.number + 1 != segment.number) {
            // A seek drops what was loaded.
            (playing, loaded) = (None, 0.0);
        }
        last = Some(segment);
        let answer = site.answer(viewer, segment, goes_on).await;
        was_made = !answer.is_hit;
        let rendition = &plan.renditions[segment.rendition];
        figures.add(&answer);
        figures
            .watched
            .lock()
            .expect("nothing panics with it")
            .insert(segment, encode::cost([rendition], segment.number));
        let length = films::seconds(rendition, segment.number);
        sleep(Duration::from_secs_f64(length * NETWORK)).await;
        let began = playing.get_or_insert_with(Instant::now);
        let played = began.elapsed().as_secs_f64();
        if played > loaded {
            let stood = Duration::from_secs_f64(played - loaded);
            figures.stood_still(stood);
            *began += stood;
        }
        loaded += length;
        sleep_until(*began + Duration::from_secs_f64((loaded - BUFFER).max(0.0))).await;
    }
}

/// The row of a table.
async fn day(name: &str, site: Site, machine: Machine, cores: u32, gib: u64) -> String {
    let (site, figures, real) = (Arc::new(site), Arc::<Figures>::default(), std::time::Instant::now());
    let (mut plans, mut eager) = (Vec::new(), 0.0);
    for (title, seconds) in crowd::titles().into_iter().enumerate() {
        let plan = films::film(seconds);
        eager += encode::eager(&plan);
        site.add(u16::try_from(title).expect("few"), Arc::clone(&plan)).await;
        plans.push(plan);
        sleep(ARRIVAL).await;
    }
    let (midnight, before) = (Instant::now(), machine.spent());
    let mut players = JoinSet::new();
    for (viewer, session) in crowd::sessions(&plans).into_iter().enumerate() {
        let (site, figures) = (Arc::clone(&site), Arc::clone(&figures));
        let plan = Arc::clone(&plans[usize::from(session.title)]);
        players.spawn(async move {
            sleep_until(midnight + Duration::from_millis(session.start_ms)).await;
            play(site, viewer as u64 + 1, session, plan, figures).await;
        });
    }
    while let Some(played) = players.join_next().await {
        played.expect("no player panics");
    }
    if let Site::Matinee(server) = &*site {
        server.stop().await;
    }
    let get = |of: &AtomicU64| of.load(Ordering::Relaxed);
    let requests = get(&figures.requests);
    let part = |of: &AtomicU64| 100.0 * get(of) as f64 / requests as f64;
    let of_eager = |seconds: f64| 100.0 * seconds / eager;
    let watched: f64 = figures.watched.lock().expect("nothing panics with it").values().sum();
    eprintln!(
        "{requests} requests; of eager, what they are for takes {:.2} %, what was made before the day {:.2} %; replayed in {} s",
        of_eager(watched),
        of_eager(before),
        real.elapsed().as_secs()
    );
    format!(
        "| {name} | {cores} | {gib} | {:.2} % | {:.3} % | {:.2} % | {} ({} s) | {:.2} % |",
        part(&figures.hits),
        part(&figures.late),
        part(&figures.late_whole),
        get(&figures.stalls),
        get(&figures.stalled_ms) / 1000,
        of_eager(machine.spent()),
    )
}

fn main() {
    // Tests of all targets run this as well, and want nothing of it.
    if env::args().any(|argument| argument == "--test") {
        return;
    }
    // A worker that panics would be one that died.
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        print(info);
        process::abort();
    }));
    println!(
        "| cache | cores | GiB | hits | first byte > 1 s | last byte > 1 s | stalls | encoded, of eager |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |"
    );
    let numbers: Vec<u32> = env::args().filter_map(|argument| argument.parse().ok()).collect();
    let asked = numbers.first_chunk::<2>().map(|[cores, gib]| (*cores, u64::from(*gib)));
    for (cores, gib) in RUNS.into_iter().filter(|_| asked.is_none()).chain(asked) {
        for is_matinee in [true, false] {
            let runtime = Builder::new_current_thread().enable_all().start_paused(true).build();
            let row = runtime.expect("a runtime can be made").block_on(async {
                let (machine, bytes) = (Machine::new(cores), gib << 30);
                if is_matinee {
                    let site = Site::Matinee(Server::start(cores, bytes, &machine));
                    day("matinee", site, machine, cores, gib).await
                } else {
                    let site = Site::Lru(Arc::new(Lru::new(bytes, &machine)));
                    day("plain LRU", site, machine, cores, gib).await
                }
            });
            println!("{row}");
        }
    }
}
