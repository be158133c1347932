//! What keeps segments: the real cache, and the plainest there is.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use matinee::cache::{Cache, Claim, Clock, Config, Key, Object, Writer};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::Segment;

/// Bytes in life for one that is kept here.
const SCALE: u64 = 1000;
/// Part of the cache that is memory.
const MEMORY_PART: u64 = 20;
/// Midnight of some day, milliseconds.
const MIDNIGHT_MS: u64 = 20_000 * 86_400_000;

/// What a look finds.
pub enum Got {
    Whole,
    /// Nothing: whoever looked has it made.
    Lead,
}

pub enum Store {
    Real(Box<Real>),
    Lru(Lru),
}

pub struct Real {
    cache: Cache,
    runtime: Runtime,
    clock: Arc<AtomicU64>,
    writers: HashMap<Segment, Writer>,
    _folder: TempDir,
}

/// Least recently used goes first.
pub struct Lru {
    capacity: u64,
    bytes: u64,
    uses: u64,
    last: HashMap<Segment, u64>,
    order: BTreeMap<u64, Segment>,
}

impl Store {
    pub fn real(bytes: u64) -> Self {
        let clock = Arc::new(AtomicU64::new(MIDNIGHT_MS));
        // Files are synced, and a disk's patience is not what is measured.
        let folder = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "." });
        let folder = folder.expect("a folder can be made");
        let config = Config { memory_bytes: bytes / MEMORY_PART / SCALE, disk_bytes: bytes / SCALE };
        let cache = Cache::open_at(&config, folder.path(), Clock::Set(Arc::clone(&clock))).expect("it is a new folder");
        let runtime = Runtime::new().expect("threads can be started");
        Self::Real(Box::new(Real { cache, runtime, clock, writers: HashMap::new(), _folder: folder }))
    }

    pub fn lru(bytes: u64) -> Self {
        let (last, order) = (HashMap::new(), BTreeMap::new());
        Self::Lru(Lru { capacity: bytes / SCALE, bytes: 0, uses: 0, last, order })
    }

    /// Milliseconds since midnight.
    pub fn set_time(&mut self, at_ms: u64) {
        if let Self::Real(real) = self {
            real.clock.store(MIDNIGHT_MS + at_ms, Ordering::Relaxed);
        }
    }

    pub fn get(&mut self, segment: Segment) -> Got {
        match self {
            Self::Real(real) => real.get(segment),
            Self::Lru(lru) if lru.last.contains_key(&segment) => {
                lru.used(segment);
                Got::Whole
            }
            Self::Lru(_) => Got::Lead,
        }
    }

    /// For look-ahead: true if it is to be made.
    pub fn lead(&mut self, segment: Segment) -> bool {
        match self {
            Self::Real(real) => {
                let writer = real.cache.lead_if_absent(&key(segment));
                writer.map(|writer| real.writers.insert(segment, writer)).is_some()
            }
            Self::Lru(lru) => !lru.last.contains_key(&segment),
        }
    }

    /// It has been made.
    pub fn keep(&mut self, segment: Segment) {
        match self {
            Self::Real(real) => real.keep(segment),
            Self::Lru(lru) => lru.keep(segment),
        }
    }
}

impl Real {
    fn get(&mut self, segment: Segment) -> Got {
        let key = key(segment);
        if self.cache.peek(&key).is_some() {
            return Got::Whole;
        }
        match self.runtime.block_on(self.cache.claim(&key)) {
            Claim::Whole(..) => Got::Whole,
            Claim::Lead(writer) => {
                self.writers.insert(segment, writer);
                Got::Lead
            }
            Claim::Making(_) => unreachable!("what is being made is not looked for"),
        }
    }

    fn keep(&mut self, segment: Segment) {
        let _inside = self.runtime.enter();
        let mut writer = self.writers.remove(&segment).expect("somebody led");
        writer.push(Bytes::from(vec![0; (segment.rung().bytes / SCALE) as usize]));
        writer.took(Duration::from_millis(segment.rung().encode_ms));
        writer.commit().expect("it has bytes");
        // Hours pass in seconds here: a disk would have had the time.
        while self.cache.stats().pending_write_bytes > 0 {
            thread::yield_now();
        }
    }
}

impl Lru {
    fn used(&mut self, segment: Segment) {
        self.uses += 1;
        if let Some(before) = self.last.insert(segment, self.uses) {
            self.order.remove(&before);
        }
        self.order.insert(self.uses, segment);
    }

    fn keep(&mut self, segment: Segment) {
        self.bytes += segment.rung().bytes / SCALE;
        self.used(segment);
        while self.bytes > self.capacity
            && let Some((_, gone)) = self.order.pop_first()
        {
            self.last.remove(&gone);
            self.bytes -= gone.rung().bytes / SCALE;
        }
    }
}

fn key(segment: Segment) -> Key {
    Key {
        generation: format!("{:016x}", segment.title).parse().expect("sixteen digits"),
        rendition: ["360p", "480p", "720p", "1080p"][usize::from(segment.rung)].parse().expect("a name"),
        object: Object::Segment(segment.number),
    }
}
