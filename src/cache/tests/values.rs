//! What goes first when there is too much.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::*;

/// Room for a hundred files of 1000 bytes.
const HUNDRED: u64 = 100 * 1024;
const HOUR_MS: u64 = 3_600_000;
/// Beyond every head.
const BODY: u32 = 100;

/// A cache whose hours pass when they are told to.
struct Replay {
    cache: Cache,
    clock: Arc<AtomicU64>,
    _folder: TempDir,
}

impl Replay {
    fn new(config: &Config) -> Self {
        let (folder, clock) = (TempDir::new().unwrap(), Arc::new(AtomicU64::new(20_000 * 24 * HOUR_MS)));
        let cache = Cache::open_at(config, folder.path(), Clock::Set(Arc::clone(&clock))).unwrap();
        cache.0.disk.survey.wait_until_done();
        Self { cache, clock, _folder: folder }
    }

    /// Asks, and makes it in that many seconds if nobody has it. True if somebody had.
    async fn ask(&self, key: &Key, seconds: f32) -> bool {
        self.clock.fetch_add(10, Ordering::Relaxed);
        if self.cache.peek(key).is_some() {
            return true;
        }
        match self.cache.claim(key).await {
            Claim::Whole(..) => true,
            Claim::Making(_) => panic!("nobody makes it"),
            Claim::Lead(mut writer) => {
                writer.push(segment(key, 1000));
                writer.took(Duration::from_secs_f32(seconds));
                writer.commit().unwrap();
                // The queue is bounded, and this test is not about that.
                self.cache.0.pending.subscribe().wait_for(|bytes| *bytes == 0).await.unwrap();
                false
            }
        }
    }

    fn held(&self, keys: impl Iterator<Item = Key>) -> usize {
        keys.filter(|key| self.cache.holds(key)).count()
    }
}

fn working_set() -> impl Iterator<Item = Key> {
    (0..60).map(|number| key(BODY + number))
}

fn scan(count: u32) -> impl Iterator<Item = Key> {
    (0..count).map(|number| key_of("ffffffffffffffff", BODY + number))
}

#[tokio::test]
async fn a_scan_does_not_flush_what_is_watched() {
    let disk = Config { memory_bytes: 0, disk_bytes: HUNDRED };
    let memory = Config { memory_bytes: 100 * 1512, disk_bytes: 0 };
    for config in [disk, memory] {
        let replay = Replay::new(&config);
        for _ in 0..3 {
            for key in working_set() {
                replay.ask(&key, 0.5).await;
            }
        }
        for key in scan(500) {
            replay.ask(&key, 0.5).await;
        }
        let kept = replay.held(working_set());
        assert!(kept >= 57, "{kept} of 60 are left with {config:?}");
    }
}

#[tokio::test]
async fn what_is_made_ahead_is_still_there_when_its_viewer_comes() {
    let replay = Replay::new(&Config { memory_bytes: 0, disk_bytes: HUNDRED });
    for _ in 0..20 {
        for number in 0..100 {
            replay.ask(&key(BODY + number), 2.0).await;
        }
    }
    // Everything else is dear and watched.
    for number in 0..8 {
        assert!(!replay.ask(&key_of("ffffffffffffffff", BODY + number), 0.05).await);
    }
    assert_eq!(replay.held((0..8).map(|number| key_of("ffffffffffffffff", BODY + number))), 8);
}

#[tokio::test]
async fn what_is_dear_outlives_what_is_cheap_and_what_is_watched_what_is_not() {
    let replay = Replay::new(&Config { memory_bytes: 0, disk_bytes: HUNDRED });
    let dear = || (0..30).map(|number| key(BODY + number));
    let cheap = || (30..60).map(|number| key(BODY + number));
    let watched = || (60..90).map(|number| key(BODY + number));
    for (keys, seconds) in [(dear().collect::<Vec<_>>(), 1.0), (cheap().collect(), 0.01), (watched().collect(), 0.01)] {
        for key in keys {
            replay.ask(&key, seconds).await;
        }
    }
    for _ in 0..20 {
        for key in watched() {
            assert!(replay.ask(&key, 0.01).await);
        }
    }
    // As dear as the dear ones, and newer.
    for key in scan(38) {
        replay.ask(&key, 1.0).await;
    }
    let left = [replay.held(dear()), replay.held(watched()), replay.held(cheap())];
    assert!(left[0] >= 29 && left[1] >= 27 && left[2] <= 6, "dear, watched, cheap: {left:?}");
}

#[tokio::test]
async fn fame_fades() {
    let replay = Replay::new(&Config { memory_bytes: 0, disk_bytes: HUNDRED });
    for _ in 0..10 {
        for key in working_set() {
            replay.ask(&key, 0.5).await;
        }
    }
    replay.clock.fetch_add(72 * HOUR_MS, Ordering::Relaxed);
    for key in scan(200) {
        replay.ask(&key, 0.5).await;
    }
    let kept = replay.held(working_set());
    assert!(kept <= 5, "{kept} of 60 are left after three days that nobody asked");
}

#[tokio::test]
async fn heads_and_init_segments_are_the_last_to_go() {
    let replay = Replay::new(&Config { memory_bytes: 0, disk_bytes: HUNDRED });
    let heads = || {
        (0..5).flat_map(|title| {
            let generation = format!("000000000000000{title}");
            let objects = (0..7).map(Object::Segment).chain([Object::Init]);
            objects.map(move |object| Key { object, ..key_of(&generation, 0) })
        })
    };
    for key in heads() {
        replay.ask(&key, 0.5).await;
    }
    for _ in 0..3 {
        for key in scan(300) {
            replay.ask(&key, 0.5).await;
        }
        replay.clock.fetch_add(8 * HOUR_MS, Ordering::Relaxed);
    }
    assert_eq!(replay.held(heads()), 40, "a day later");
    // But they do not stay for ever.
    replay.clock.fetch_add(7 * 24 * HOUR_MS, Ordering::Relaxed);
    for key in scan(600).skip(300) {
        replay.ask(&key, 0.5).await;
    }
    let left = replay.held(heads());
    assert!((5..10).contains(&left), "{left} of 40 are left after a week, init segments among them");
}

#[tokio::test]
async fn hits_in_memory_keep_a_file_on_disk() {
    let replay = Replay::new(&Config { memory_bytes: 64 << 20, disk_bytes: HUNDRED });
    for _ in 0..10 {
        for key in working_set() {
            replay.ask(&key, 0.5).await;
        }
    }
    for key in scan(500) {
        replay.ask(&key, 0.5).await;
    }
    let on_disk = working_set().filter(|key| replay.cache.0.disk.holds(key)).count();
    assert!(on_disk >= 57, "{on_disk} of 60");
}

#[tokio::test]
async fn the_bound_holds_at_every_moment_a_file_has_a_name() {
    let (folder, cache) = open(&Config { memory_bytes: 0, disk_bytes: 10 * 1024 });
    for number in 0..50 {
        make(&cache, &key(number), 1000 + 100 * (number as usize % 7)).await;
        cache.0.pending.subscribe().wait_for(|bytes| *bytes == 0).await.unwrap();
        assert!(files(folder.path()).values().sum::<u64>() <= 10 * 1024);
    }
}

impl Cache {
    /// What losing an object on disk would cost, if it is known.
    pub(crate) fn seconds(&self, key: &Key) -> Option<f32> {
        match lock(&self.0.disk.index).get(key)?.cost {
            Cost::Seconds(seconds) => Some(seconds),
            Cost::Unknown | Cost::Read => None,
        }
    }
}

#[tokio::test]
async fn there_is_room_in_the_place_of_what_nobody_has_used_for_a_day() {
    let disk = Config { memory_bytes: 0, disk_bytes: HUNDRED };
    let memory = Config { memory_bytes: 100 * 1512, disk_bytes: 0 };
    for config in [disk, memory] {
        let replay = Replay::new(&config);
        for key in scan(90) {
            replay.ask(&key, 0.5).await;
        }
        assert!(replay.cache.has_room(1000), "{config:?}");
        for key in working_set() {
            replay.ask(&key, 0.5).await;
        }
        assert!(!replay.cache.has_room(1000), "{config:?}");
        replay.clock.fetch_add(25 * HOUR_MS, Ordering::Relaxed);
        assert!(replay.cache.has_room(1000), "{config:?}");
    }
}

/// What a process whose clock was a year ahead had noted could not be evicted for a year.
#[tokio::test]
async fn heat_from_the_future_is_not_believed_at_the_next_start() {
    let (folder, clock) = (TempDir::new().unwrap(), Arc::new(AtomicU64::new(20_365 * 24 * HOUR_MS)));
    let config = Config { memory_bytes: 0, disk_bytes: HUNDRED };
    let open = || Cache::open_at(&config, folder.path(), Clock::Set(Arc::clone(&clock))).unwrap();
    let cache = open();
    make(&cache, &key(BODY), 1000).await;
    cache.flush().await;
    end(cache).await;
    clock.store(20_000 * 24 * HOUR_MS, Ordering::Relaxed);
    let cache = open();
    cache.0.disk.survey.wait_until_done();
    let ahead = lock(&cache.0.disk.index).get(&key(BODY)).unwrap().heat.get() - cache.0.clock.now();
    assert!((0.0..=24.0).contains(&ahead), "{ahead}");
}
