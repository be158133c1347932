//! What the room promises, through its public face, with the files on disk as the witness.

mod model;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::sync::Barrier;

use super::*;

const ROOMY: Config = Config { memory_bytes: 64 << 20, disk_bytes: 64 << 20 };
/// Nothing in memory: every answer must come from disk.
const DISK_ALONE: Config = Config { memory_bytes: 0, disk_bytes: 64 << 20 };

fn key_of(generation: &str, number: u32) -> Key {
    Key { generation: generation.parse().unwrap(), rendition: "720p".parse().unwrap(), object: Object::Segment(number) }
}

fn key(number: u32) -> Key {
    key_of("0123456789abcdef", number)
}

/// A segment is a function of its key.
fn segment(key: &Key, len: usize) -> Bytes {
    key.to_string().bytes().cycle().take(len).collect()
}

fn open(config: &Config) -> (TempDir, Cache) {
    let folder = TempDir::new().unwrap();
    let cache = Cache::open(config, folder.path()).unwrap();
    (folder, cache)
}

async fn lead(cache: &Cache, key: &Key) -> Writer {
    match cache.claim(key).await {
        Claim::Lead(writer) => writer,
        other => panic!("expected to lead {key}, got {other:?}"),
    }
}

async fn whole(cache: &Cache, key: &Key) -> (Bytes, Tier) {
    match cache.claim(key).await {
        Claim::Whole(bytes, tier) => (bytes, tier),
        other => panic!("expected {key} whole, got {other:?}"),
    }
}

async fn join(cache: &Cache, key: &Key) -> Reader {
    match cache.claim(key).await {
        Claim::Making(reader) => reader,
        other => panic!("expected {key} in the making, got {other:?}"),
    }
}

async fn make(cache: &Cache, key: &Key, len: usize) {
    let mut writer = lead(cache, key).await;
    writer.push(segment(key, len));
    writer.commit().unwrap();
}

async fn rest(mut reader: Reader) -> Result<Vec<u8>, FlightError> {
    let mut all = Vec::new();
    while let Some(chunk) = reader.next().await {
        all.extend_from_slice(&chunk?);
    }
    Ok(all)
}

/// Every file below the folder but the tag, by path, with its length.
fn files(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if entry.file_name() != "CACHEDIR.TAG" {
                let path = entry.path().strip_prefix(folder).unwrap().to_owned();
                found.insert(path, entry.metadata().unwrap().len());
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_claims_at_once_lead_once_and_all_get_the_same_bytes() {
    let (_folder, cache) = open(&ROOMY);
    let barrier = Arc::new(Barrier::new(64));
    let claims = (0..64).map(|_| {
        let (cache, barrier) = (cache.clone(), Arc::clone(&barrier));
        tokio::spawn(async move {
            barrier.wait().await;
            let claim = cache.claim(&key(1)).await;
            // Everyone has an answer before the segment exists.
            barrier.wait().await;
            match claim {
                Claim::Lead(mut writer) => {
                    let reader = writer.reader();
                    for chunk in segment(&key(1), 10_000).chunks(999) {
                        writer.push(Bytes::copy_from_slice(chunk));
                    }
                    writer.commit().unwrap();
                    (1, rest(reader).await.unwrap())
                }
                Claim::Making(reader) => (0, rest(reader).await.unwrap()),
                Claim::Whole(..) => panic!("nobody has made it"),
            }
        })
    });
    let mut leads = 0;
    for claim in claims.collect::<Vec<_>>() {
        let (led, bytes) = claim.await.unwrap();
        leads += led;
        assert_eq!(bytes, segment(&key(1), 10_000));
    }
    assert_eq!(leads, 1);
}

#[tokio::test]
async fn sixty_three_viewers_leave_and_the_last_one_gets_everything() {
    let (_folder, cache) = open(&ROOMY);
    let mut writer = lead(&cache, &key(1)).await;
    let mut leaving = vec![writer.reader()];
    for _ in 0..62 {
        leaving.push(join(&cache, &key(1)).await);
    }
    let last = join(&cache, &key(1)).await;
    writer.push(Bytes::from_static(b"be"));
    for reader in &mut leaving {
        assert_eq!(reader.next().await.unwrap().unwrap(), "be");
    }
    assert_eq!(writer.viewers(), 64);
    drop(leaving);
    assert_eq!(writer.viewers(), 1);
    let mut writer = writer.abandon_if_unwatched().expect("one still watches");
    writer.push(Bytes::from_static(b"gin"));
    writer.commit().unwrap();
    assert_eq!(rest(last).await.unwrap(), b"begin");
}

#[tokio::test]
async fn a_dropped_leader_fails_its_readers_and_the_next_claim_leads_again() {
    let (folder, cache) = open(&ROOMY);
    let mut writer = lead(&cache, &key(1)).await;
    let reader = join(&cache, &key(1)).await;
    writer.push(Bytes::from_static(b"half"));
    let waiting = tokio::spawn(reader.whole());
    drop(writer);
    assert_eq!(waiting.await.unwrap(), Err(FlightError::Abandoned));
    drop(lead(&cache, &key(1)).await);
    cache.flush().await;
    assert_eq!(files(folder.path()), BTreeMap::new());
}

#[tokio::test]
async fn a_failure_reaches_every_reader_with_its_reason_and_overtakes_chunks() {
    let (_folder, cache) = open(&ROOMY);
    let mut writer = lead(&cache, &key(1)).await;
    let mut reader = writer.reader();
    writer.push(Bytes::from_static(b"half"));
    writer.fail(FlightError::Busy { retry_after_seconds: 3 });
    assert_eq!(reader.next().await, Some(Err(FlightError::Busy { retry_after_seconds: 3 })));
    assert_eq!(reader.next().await, None);
}

#[tokio::test]
async fn a_leader_that_leaves_while_looking_for_the_file_strands_nobody() {
    let (_folder, cache) = open(&DISK_ALONE);
    make(&cache, &key(1), 100).await;
    cache.flush().await;
    // The first one has the right to look and waits for its turn, and goes before it has looked.
    let busy = cache.0.reads.acquire_many(DISK_READS as u32).await.unwrap();
    let key = key(1);
    let mut first = Box::pin(cache.claim(&key));
    assert!(poll_once(&mut first).is_pending());
    let mut second = Box::pin(cache.claim(&key));
    assert!(poll_once(&mut second).is_pending());
    drop(first);
    drop(busy);
    assert!(matches!(second.await, Claim::Whole(bytes, Tier::Disk) if bytes == segment(&key, 100)));
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> std::task::Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

#[tokio::test]
async fn claims_during_a_disk_read_share_it() {
    let (_folder, cache) = open(&DISK_ALONE);
    make(&cache, &key(1), 100).await;
    cache.flush().await;
    let key = key(1);
    let busy = cache.0.reads.acquire_many(DISK_READS as u32).await.unwrap();
    let mut claims: Vec<_> = (0..8).map(|_| Box::pin(cache.claim(&key))).collect();
    for claim in &mut claims {
        assert!(poll_once(claim).is_pending());
    }
    drop(busy);
    let mut pointers = Vec::new();
    for claim in claims {
        let Claim::Whole(bytes, Tier::Disk) = claim.await else { panic!("it is on disk") };
        pointers.push(bytes.as_ptr());
    }
    assert!(pointers.iter().all(|pointer| *pointer == pointers[0]), "read more than once");
}

#[tokio::test]
async fn a_late_reader_gets_every_chunk_from_the_start_without_a_copy() {
    let (_folder, cache) = open(&ROOMY);
    let mut writer = lead(&cache, &key(1)).await;
    let chunk = Bytes::from(vec![7; 1000]);
    writer.push(chunk.clone());
    let mut late = join(&cache, &key(1)).await;
    assert_eq!(late.next().await.unwrap().unwrap().as_ptr(), chunk.as_ptr());
    assert_eq!(late.total(), None);
    let later = join(&cache, &key(1)).await;
    writer.push(Bytes::from_static(b"end"));
    let committed = writer.commit().unwrap();
    assert_eq!(late.total(), Some(1003));
    assert_eq!(late.next().await.unwrap().unwrap(), "end");
    assert_eq!(late.next().await, None);
    assert_eq!(later.whole().await.unwrap().as_ptr(), committed.as_ptr());
    assert_eq!(cache.peek(&key(1)).unwrap().as_ptr(), committed.as_ptr(), "memory and readers share the bytes");
}

#[tokio::test]
async fn a_reader_that_waits_is_woken_by_each_chunk_and_by_the_end() {
    let (_folder, cache) = open(&ROOMY);
    let mut writer = lead(&cache, &key(1)).await;
    let mut reader = writer.reader();
    for chunk in ["a", "b"] {
        let next = tokio::spawn(async move { (reader.next().await, reader) });
        tokio::task::yield_now().await;
        writer.push(Bytes::from(chunk));
        let (got, back) = next.await.unwrap();
        assert_eq!(got.unwrap().unwrap(), chunk);
        reader = back;
    }
    let end = tokio::spawn(async move { reader.next().await });
    tokio::task::yield_now().await;
    writer.commit().unwrap();
    assert_eq!(end.await.unwrap(), None);
}

#[tokio::test]
async fn unwatched_resolves_when_the_last_viewer_leaves_and_then_work_stops_without_harm() {
    let (_folder, cache) = open(&ROOMY);
    let writer = lead(&cache, &key(1)).await;
    writer.unwatched().await;
    let reader = writer.reader();
    let flight = Arc::clone(writer.flight());
    let unwatched = tokio::spawn(async move { flight.unwatched().await });
    tokio::task::yield_now().await;
    assert!(!unwatched.is_finished());
    drop(reader);
    unwatched.await.unwrap();
    // Someone came in between: work goes on.
    let late = join(&cache, &key(1)).await;
    let writer = writer.abandon_if_unwatched().expect("one came");
    drop(late);
    assert!(writer.abandon_if_unwatched().is_none());
    drop(lead(&cache, &key(1)).await);
}

#[tokio::test]
async fn a_retry_that_makes_the_same_bytes_adds_only_the_rest() {
    let (_folder, cache) = open(&ROOMY);
    let mut writer = lead(&cache, &key(1)).await;
    let reader = writer.reader();
    writer.push(Bytes::from_static(b"abc"));
    writer.push(Bytes::from_static(b"de"));
    // The chunks of a retry may be cut elsewhere.
    writer.offer(0, Bytes::from_static(b"ab")).unwrap();
    writer.offer(2, Bytes::from_static(b"cdef")).unwrap();
    writer.offer(6, Bytes::from_static(b"g")).unwrap();
    assert_eq!(writer.len(), 7);
    assert_eq!(writer.commit().unwrap(), "abcdefg");
    assert_eq!(rest(reader).await.unwrap(), b"abcdefg");
}

#[tokio::test]
async fn a_retry_that_makes_other_bytes_or_leaves_a_gap_is_a_mismatch_and_adds_nothing() {
    let (_folder, cache) = open(&ROOMY);
    let mut writer = lead(&cache, &key(1)).await;
    writer.push(Bytes::from_static(b"abc"));
    writer.push(Bytes::from_static(b"de"));
    assert_eq!(writer.offer(0, Bytes::from_static(b"abcdXf")), Err(Mismatch { at: 0 }));
    assert_eq!(writer.offer(6, Bytes::from_static(b"g")), Err(Mismatch { at: 6 }));
    writer.offer(0, Bytes::from_static(b"a")).unwrap();
    assert_eq!(writer.offer(3, Bytes::from_static(b"de")), Err(Mismatch { at: 3 }), "1..3 was not made again");
    assert_eq!(writer.len(), 5);
}

#[tokio::test]
async fn a_retry_that_stops_short_of_what_was_sent_is_not_kept() {
    let (folder, cache) = open(&ROOMY);
    let mut writer = lead(&cache, &key(1)).await;
    let reader = writer.reader();
    writer.push(Bytes::from_static(b"abcde"));
    writer.offer(0, Bytes::from_static(b"abc")).unwrap();
    assert!(writer.commit().is_err());
    assert!(reader.whole().await.is_err());
    assert!(lead(&cache, &key(2)).await.commit().is_err(), "an empty segment is none");
    cache.flush().await;
    assert!(!cache.holds(&key(1)) && !cache.holds(&key(2)));
    assert_eq!(files(folder.path()), BTreeMap::new());
}

#[tokio::test]
async fn look_ahead_leads_only_what_nobody_has_or_makes() {
    let (_folder, cache) = open(&DISK_ALONE);
    let writer = cache.lead_if_absent(&key(1)).unwrap();
    assert_eq!(writer.viewers(), 0);
    assert!(cache.lead_if_absent(&key(1)).is_none(), "in flight");
    drop(writer);
    make(&cache, &key(1), 100).await;
    assert!(cache.lead_if_absent(&key(1)).is_none(), "being written");
    assert!(cache.holds(&key(1)));
    cache.flush().await;
    assert!(cache.lead_if_absent(&key(1)).is_none(), "on disk");
    assert!(cache.holds(&key(1)));
}

#[tokio::test]
async fn an_opened_file_is_an_ordinary_media_file_with_a_free_box_at_its_end() {
    let (folder, cache) = open(&ROOMY);
    make(&cache, &key(1), 100).await;
    cache.flush().await;
    let content = fs::read(folder.path().join(key(1).path())).unwrap();
    assert_eq!(content[..100], segment(&key(1), 100));
    assert_eq!(content[100..108], *b"\0\0\0\x18free");
    assert_eq!(content.len(), 124);
}

#[tokio::test]
async fn what_was_committed_survives_reopening_and_memory_is_filled_from_it() {
    let (folder, cache) = open(&ROOMY);
    for number in 0..10 {
        make(&cache, &key(number), 1000).await;
    }
    cache.flush().await;
    drop(cache);
    let cache = Cache::open(&ROOMY, folder.path()).unwrap();
    assert_eq!(cache.stats().disk, Held { bytes: 10 * 1024, entries: 10 });
    for number in 0..10 {
        assert!(cache.holds(&key(number)));
        assert!(cache.peek(&key(number)).is_none());
        assert_eq!(whole(&cache, &key(number)).await, (segment(&key(number), 1000), Tier::Disk));
        assert_eq!(cache.peek(&key(number)).unwrap(), segment(&key(number), 1000));
        assert_eq!(whole(&cache, &key(number)).await.1, Tier::Memory);
    }
}

#[tokio::test]
async fn eviction_deletes_files_least_recently_used_first_and_stays_under_the_bound() {
    let (folder, cache) = open(&Config { memory_bytes: 0, disk_bytes: 10 * 1024 });
    for number in 0..10 {
        make(&cache, &key(number), 1000).await;
        cache.flush().await;
    }
    assert_eq!(whole(&cache, &key(0)).await.1, Tier::Disk);
    for number in 10..15 {
        make(&cache, &key(number), 1000).await;
        cache.flush().await;
        assert!(files(folder.path()).values().sum::<u64>() <= 10 * 1024);
    }
    let kept: Vec<PathBuf> = [0].into_iter().chain(6..15).map(|number| key(number).path()).collect();
    assert_eq!(files(folder.path()).into_keys().collect::<std::collections::BTreeSet<_>>(), kept.into_iter().collect());
    assert_eq!(cache.stats().disk, Held { bytes: 10 * 1024, entries: 10 });
}

#[tokio::test]
async fn a_smaller_bound_at_reopening_deletes_what_is_too_much() {
    let (folder, cache) = open(&ROOMY);
    for number in 0..10 {
        make(&cache, &key(number), 1000).await;
        cache.flush().await;
    }
    drop(cache);
    let cache = Cache::open(&Config { disk_bytes: 3 * 1024, ..ROOMY }, folder.path()).unwrap();
    assert_eq!(files(folder.path()).len(), 3);
    assert_eq!(cache.stats().disk, Held { bytes: 3 * 1024, entries: 3 });
    drop(cache);
    let cache = Cache::open(&Config { disk_bytes: 0, ..ROOMY }, folder.path()).unwrap();
    make(&cache, &key(1), 1000).await;
    cache.flush().await;
    assert_eq!(files(folder.path()), BTreeMap::new());
    assert_eq!(whole(&cache, &key(1)).await.1, Tier::Memory);
    assert_eq!(cache.stats().disk_failures, 0);
}

#[tokio::test]
async fn memory_stays_under_its_bound_and_what_it_lets_go_is_read_from_disk() {
    let (_folder, cache) = open(&Config { memory_bytes: 1 << 20, disk_bytes: 64 << 20 });
    for number in 0..40 {
        make(&cache, &key(number), 100_000).await;
        assert!(cache.stats().memory.bytes <= 1 << 20);
    }
    cache.flush().await;
    assert_eq!(cache.stats().memory.entries, 10);
    for number in 0..40 {
        assert_eq!(whole(&cache, &key(number)).await.0, segment(&key(number), 100_000));
    }
}

#[tokio::test]
async fn a_damaged_truncated_or_misplaced_file_is_removed_and_made_again() {
    let damages: [fn(&Path); 5] = [
        |path| {
            let mut content = fs::read(path).unwrap();
            content[500] ^= 1;
            fs::write(path, content).unwrap();
        },
        |path| fs::File::options().write(true).open(path).unwrap().set_len(600).unwrap(),
        |path| fs::File::options().write(true).open(path).unwrap().set_len(0).unwrap(),
        |path| fs::File::options().write(true).open(path).unwrap().set_len(4 << 30).unwrap(),
        |path| assert!(fs::copy(path.with_file_name("2"), path).is_ok()),
    ];
    for (index, damage) in damages.into_iter().enumerate() {
        let (folder, cache) = open(&DISK_ALONE);
        make(&cache, &key(1), 1000).await;
        make(&cache, &key(2), 1000).await;
        cache.flush().await;
        damage(&folder.path().join(key(1).path()));
        let mut writer = lead(&cache, &key(1)).await;
        assert!(!folder.path().join(key(1).path()).exists(), "damage {index}");
        writer.push(segment(&key(1), 1000));
        writer.commit().unwrap();
        cache.flush().await;
        assert_eq!(whole(&cache, &key(1)).await, (segment(&key(1), 1000), Tier::Disk), "damage {index}");
        assert_eq!(cache.stats().corrupt_files, 1);
        assert_eq!(cache.stats().disk, Held { bytes: 2048, entries: 2 });
    }
}

#[tokio::test]
async fn a_file_or_the_whole_folder_deleted_by_hand_is_a_miss_and_never_an_error() {
    let (folder, cache) = open(&DISK_ALONE);
    make(&cache, &key(1), 1000).await;
    cache.flush().await;
    fs::remove_file(folder.path().join(key(1).path())).unwrap();
    make(&cache, &key(1), 1000).await;
    cache.flush().await;
    assert_eq!(whole(&cache, &key(1)).await.1, Tier::Disk);
    fs::remove_dir_all(folder.path()).unwrap();
    make(&cache, &key(1), 1000).await;
    cache.flush().await;
    assert_eq!(whole(&cache, &key(1)).await.1, Tier::Disk);
    assert_eq!(cache.stats().disk_failures, 0);
}

#[tokio::test]
async fn leftovers_and_impossible_names_are_swept_at_open_and_strangers_are_left() {
    let (folder, cache) = open(&ROOMY);
    make(&cache, &key(1), 1000).await;
    cache.flush().await;
    drop(cache);
    let at = |path: &str| folder.path().join(path);
    for made in ["tmp/1-1", "tmp/x", "01/stranger", "01/0123456789abcdef/720p/007", "01/0123456789abcdef/720p/2.tmp"] {
        fs::write(at(made), [1; 100]).unwrap();
    }
    fs::write(at("01/0123456789abcdef/720p/3"), [1; 24]).unwrap();
    for made in ["02/0123456789abcdef/720p", "01/0123456789abcdef/UP", "01/0123456789abcdef/480p", "tmp/folder"] {
        fs::create_dir_all(at(made)).unwrap();
        if made.ends_with("UP") {
            fs::write(at(made).join("1"), [1; 100]).unwrap();
        }
    }
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("precious"), "1").unwrap();
    std::os::unix::fs::symlink(outside.path(), at("01/0123456789abcdef/360p")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("precious"), at("01/0123456789abcdef/720p/4")).unwrap();
    fs::write(at("notes.txt"), "mine").unwrap();
    let cache = Cache::open(&ROOMY, folder.path()).unwrap();
    assert_eq!(files(folder.path()), BTreeMap::from([(key(1).path(), 1024), (PathBuf::from("notes.txt"), 4)]));
    assert!(!at("02").exists() && !at("01/0123456789abcdef/480p").exists() && !at("tmp/folder").exists());
    assert!(outside.path().join("precious").exists());
    assert_eq!(cache.stats().disk.entries, 1);
}

#[test]
fn a_file_another_process_is_writing_is_no_leftover() {
    let folder = TempDir::new().unwrap();
    let _cache = Cache::open(&ROOMY, folder.path()).unwrap();
    let path = folder.path().join("tmp/77-7");
    let busy = fs::File::create(&path).unwrap();
    busy.lock().unwrap();
    let _second = Cache::open(&ROOMY, folder.path()).unwrap();
    assert!(path.exists());
    drop(busy);
    let _third = Cache::open(&ROOMY, folder.path()).unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn two_processes_share_a_folder_and_see_each_others_files() {
    let (folder, one) = open(&DISK_ALONE);
    let two = Cache::open(&DISK_ALONE, folder.path()).unwrap();
    make(&one, &key(1), 1000).await;
    one.flush().await;
    assert_eq!(whole(&two, &key(1)).await, (segment(&key(1), 1000), Tier::Disk));
    assert!(two.holds(&key(1)));
    two.purge(&key(1).generation).await.unwrap();
    make(&one, &key(1), 1000).await;
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_is_survived_from_memory_and_noticed_when_it_recovers() {
    let (folder, cache) = open(&ROOMY);
    let temp = folder.path().join("tmp");
    fs::remove_dir(&temp).unwrap();
    fs::write(&temp, "").unwrap();
    for number in 0..3 {
        make(&cache, &key(number), 1000).await;
        cache.flush().await;
        assert_eq!(whole(&cache, &key(number)).await, (segment(&key(number), 1000), Tier::Memory));
    }
    let stats = cache.stats();
    assert_eq!((stats.disk_failures, stats.disk_failing, stats.disk), (3, true, Held::default()));
    fs::remove_file(&temp).unwrap();
    make(&cache, &key(3), 1000).await;
    cache.flush().await;
    let stats = cache.stats();
    assert_eq!((stats.disk_failures, stats.disk_failing, stats.disk.entries), (3, false, 1));
}

#[tokio::test]
async fn a_rename_that_fails_leaves_no_temporary_file() {
    let (folder, cache) = open(&ROOMY);
    fs::write(folder.path().join("01"), "in the way").unwrap();
    make(&cache, &key(1), 1000).await;
    cache.flush().await;
    assert_eq!(whole(&cache, &key(1)).await.1, Tier::Memory);
    assert_eq!(cache.stats().disk_failures, 1);
    assert_eq!(files(folder.path()).into_keys().collect::<Vec<_>>(), [PathBuf::from("01")]);
}

#[test]
fn a_folder_that_cannot_be_used_is_named_with_a_remedy() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("cache");
    fs::write(&path, "").unwrap();
    let message = Cache::open(&ROOMY, &path).unwrap_err().to_string();
    assert!(message.contains(path.to_str().unwrap()) && message.contains("folder this user can write"), "{message}");
}

#[tokio::test]
async fn purging_a_generation_removes_its_memory_and_files_and_nobody_elses() {
    let (folder, cache) = open(&ROOMY);
    let (gone, stays) = (key_of("0123456789abcdef", 1), key_of("01fedcba98765432", 1));
    make(&cache, &gone, 1000).await;
    make(&cache, &stays, 1000).await;
    cache.flush().await;
    cache.purge(&gone.generation).await.unwrap();
    assert!(cache.peek(&gone).is_none() && !cache.holds(&gone));
    assert_eq!(files(folder.path()).into_keys().collect::<Vec<_>>(), [stays.path()]);
    assert_eq!(whole(&cache, &stays).await.1, Tier::Memory);
    cache.purge(&stays.generation).await.unwrap();
    assert!(!folder.path().join("01").exists(), "empty folders go as well");
    cache.purge(&stays.generation).await.unwrap();
}

#[tokio::test]
async fn what_is_made_or_written_during_a_purge_serves_its_readers_and_is_not_kept() {
    let (folder, cache) = open(&ROOMY);
    let mut writer = lead(&cache, &key(1)).await;
    let reader = writer.reader();
    make(&cache, &key(2), 1000).await;
    cache.purge(&key(1).generation).await.unwrap();
    writer.push(segment(&key(1), 1000));
    // A claim after the purge has nothing to do with the work before it.
    let again = lead(&cache, &key(1)).await;
    writer.commit().unwrap();
    assert_eq!(rest(reader).await.unwrap(), segment(&key(1), 1000));
    cache.flush().await;
    assert!(!cache.holds(&key(1)) && !cache.holds(&key(2)));
    assert_eq!(files(folder.path()), BTreeMap::new());
    assert_eq!(cache.stats().making, 1, "the old writer does not end the new flight");
    drop(again);
}

/// The write that was under way during the purge used to delete the file of the next one.
#[tokio::test]
async fn what_is_made_again_after_a_purge_keeps_its_file() {
    let (folder, cache) = open(&ROOMY);
    for round in 0..100 {
        make(&cache, &key(1), 1000).await;
        cache.purge(&key(1).generation).await.unwrap();
        make(&cache, &key(1), 1000).await;
        cache.flush().await;
        assert_eq!(files(folder.path()).into_keys().collect::<Vec<_>>(), [key(1).path()], "round {round}");
        cache.purge(&key(1).generation).await.unwrap();
    }
}

#[tokio::test]
async fn a_disk_that_cannot_keep_up_loses_files_and_eats_no_memory() {
    // One runtime thread and none that writes until this test awaits the flush: the queue only grows.
    let (_folder, cache) = open(&Config { memory_bytes: 256 << 20, disk_bytes: 1 << 30 });
    let large = Bytes::from(vec![0; 24 << 20]);
    let stall = lock(&cache.0.writes).writers;
    lock(&cache.0.writes).writers = DISK_WRITERS;
    for number in 0..4 {
        let mut writer = cache.lead_if_absent(&key(number)).unwrap();
        writer.push(large.clone());
        writer.commit().unwrap();
        assert!(cache.stats().pending_write_bytes <= PENDING_WRITE_BYTES);
    }
    assert_eq!(cache.stats().skipped_writes, 2);
    lock(&cache.0.writes).writers = stall;
    make(&cache, &key(9), 10).await;
    cache.flush().await;
    assert_eq!(cache.stats().disk.entries, 3);
}
