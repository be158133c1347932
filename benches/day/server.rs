//! The server's rooms put together as `app` does it, over workers that only take time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use matinee::cache::{self, Cache, Claim, Clock, FlightError, Object, Reader};
use matinee::catalog::{Catalog, NewTitle};
use matinee::encoder::{self, Encoder, Order, Recipe, Seen, Source, Viewer, Work};
use matinee::manifest::hls;
use matinee::media::{Plan, TitleId, Trial};
use matinee::warmer::{self, Warmer};
use matinee::worker::{self, Pool};
use tempfile::TempDir;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::crowd::Segment;
use crate::encode;
use crate::machine::Machine;
use crate::{Answer, SCALE};

/// Part of the cache that is memory.
const MEMORY_PART: u64 = 20;
/// When it begins, milliseconds since 1970: midnight of some day.
const MIDNIGHT_MS: u64 = 20_000 * 86_400_000;
/// How often the clock is set, and what waits for the disk is waited for.
const TICK: Duration = Duration::from_millis(100);

pub struct Server {
    catalog: Catalog,
    cache: Cache,
    encoder: Encoder,
    warmer: Warmer,
    clock: Clock,
    films: Mutex<HashMap<u16, Film>>,
    _folder: TempDir,
}

#[derive(Clone)]
struct Film {
    id: TitleId,
    work: Work,
    start: usize,
}

impl Server {
    pub fn start(cores: u32, disk_bytes: u64, machine: &Machine) -> Self {
        // Files are synced, and a disk's patience is not what is measured.
        let folder = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "." });
        let folder = folder.expect("a folder can be made");
        let time = Arc::new(AtomicU64::new(MIDNIGHT_MS));
        let clock = Clock::Set(Arc::clone(&time));
        let disk_bytes = disk_bytes / SCALE;
        let config = cache::Config { memory_bytes: disk_bytes / MEMORY_PART, disk_bytes };
        let cache = Cache::open_at(&config, &folder.path().join("cache"), clock.clone()).expect("it is a new folder");
        let catalog = Catalog::open(folder.path()).expect("it is a new folder");
        let workers = worker::Config { folder: Some(folder.path().join("workers")), ..worker::Config::default() };
        let pool = Pool::of_stand_ins(workers, encode::workers(machine)).expect("threads can be started");
        let config = encoder::Config { workers: cores, ..encoder::Config::default() };
        let rooms = encoder::Rooms {
            pool,
            cache: cache.clone(),
            open: Arc::new(|_| Ok(Source { path: PathBuf::from("film"), index: PathBuf::from("index") })),
            ended: Arc::new(|_, _| {}),
            bridged: Arc::new(|_, _, _, _| {}),
        };
        let encoder = Encoder::start(&config, recipe(&config), rooms);
        let rooms = warmer::Rooms {
            catalog: catalog.clone(),
            cache: cache.clone(),
            encoder: encoder.clone(),
            disk_bytes,
            clock: clock.clone(),
        };
        let warmer = Warmer::start(&warmer::Config::default(), rooms).expect("the catalog is there");
        tokio::spawn(tick(time, cache.clone()));
        Self { catalog, cache, encoder, warmer, clock, films: Mutex::default(), _folder: folder }
    }

    /// A title is ready.
    pub async fn add(&self, title: u16, plan: Arc<Plan>) {
        let id = TitleId::from_random(title.into());
        let digest = format!("{title:064x}").parse().expect("64 digits");
        let new = NewTitle {
            id: id.clone(),
            name: title.to_string(),
            created_at_ms: self.clock.now_ms(),
            source: digest,
            file_name: "film.mp4".to_owned(),
            size_bytes: 1,
            notes: Vec::new(),
            plan: Arc::clone(&plan),
            watched: None,
        };
        let digest = new.source.clone();
        let catalog = self.catalog.clone();
        let inserted = spawn_blocking(move || catalog.insert_ready(&new)).await;
        inserted.expect("it does not panic").expect("the catalog takes it");
        let generation = self.encoder.recipe().generation(&digest, &plan);
        let first = hls::start(&plan).map(|first| &first.name);
        let start = plan.renditions.iter().position(|of| Some(&of.name) == first).expect("it has pictures");
        let film = Film { id, work: Work { digest, generation, plan }, start };
        self.films.lock().expect("nothing panics with it").insert(title, film);
        self.warmer.wake();
    }

    /// The rendition that players start with.
    pub fn begin(&self, title: u16) -> usize {
        let film = self.film(title);
        self.encoder.hint(&film.work, film.start);
        film.start
    }

    /// Somebody asks for a segment, until they have it.
    pub async fn answer(&self, viewer: u64, of: Segment) -> Answer {
        let Film { id, work, .. } = self.film(of.title);
        let rendition = &work.plan.renditions[of.rendition];
        let (object, asked) = (Object::Segment(of.number), Instant::now());
        let mut first_byte = None;
        loop {
            self.warmer.asked(&id, &rendition.name);
            let viewer = Viewer { key: viewer, is_session: false };
            let seen = Seen { viewer, rendition: of.rendition, segment: of.number, next: None };
            self.encoder.seen(&work.generation, &work.plan, seen, || work.clone());
            let key = work.key(rendition, object);
            let reader = match self.cache.claim(&key).await {
                Claim::Whole(..) => {
                    let is_hit = first_byte.is_none();
                    return Answer { is_hit, first_byte: first_byte.unwrap_or_default(), whole: asked.elapsed() };
                }
                Claim::Making(reader) => {
                    reader.flight().hurry(Instant::now() + object.usual_buffer());
                    reader
                }
                Claim::Lead(writer) => {
                    let reader = writer.reader();
                    let (work, rendition) = (work.clone(), of.rendition);
                    self.encoder.make(Order { work, rendition, object, writer, due_in: None });
                    reader
                }
            };
            match whole(reader, &mut first_byte, asked).await {
                Ok(()) => {
                    let first_byte = first_byte.unwrap_or_default();
                    return Answer { is_hit: false, first_byte, whole: asked.elapsed() };
                }
                Err(error) => {
                    first_byte.get_or_insert(Duration::MAX);
                    sleep(pause(&error)).await;
                }
            }
        }
    }

    pub async fn stop(&self) {
        self.warmer.close().await;
        self.encoder.close().await;
    }

    fn film(&self, title: u16) -> Film {
        self.films.lock().expect("nothing panics with it")[&title].clone()
    }
}

async fn whole(mut reader: Reader, first_byte: &mut Option<Duration>, asked: Instant) -> Result<(), FlightError> {
    while let Some(chunk) = reader.next().await {
        chunk?;
        first_byte.get_or_insert_with(|| asked.elapsed());
    }
    Ok(())
}

/// Until a player that was refused asks again.
fn pause(error: &FlightError) -> Duration {
    match error {
        FlightError::Busy { retry_after_seconds } => Duration::from_secs((*retry_after_seconds).into()),
        FlightError::Abandoned => Duration::ZERO,
        other => panic!("nothing goes wrong here: {other}"),
    }
}

/// Hours pass in seconds here: a disk would have had the time to write.
async fn tick(time: Arc<AtomicU64>, cache: Cache) {
    loop {
        sleep(TICK).await;
        time.fetch_add(u64::try_from(TICK.as_millis()).expect("short"), Ordering::Relaxed);
        if cache.stats().pending_write_bytes > 0 {
            let cache = cache.clone();
            let written = spawn_blocking(move || {
                while cache.stats().pending_write_bytes > 0 {
                    thread::yield_now();
                }
            });
            written.await.expect("it does not panic");
        }
    }
}

fn recipe(config: &encoder::Config) -> Recipe {
    let trial = |codec: &str| Trial {
        name: codec.to_owned(),
        codec: codec.to_owned(),
        rank: 1,
        devices: Vec::new(),
        outcome: Ok([0; 32]),
    };
    Recipe::choose(&["h264", "aac", "jpeg"].map(trial), config).expect("all are there")
}
