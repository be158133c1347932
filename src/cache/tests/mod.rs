//! What the room promises, through its public face, with the files on disk as the witness.

mod faults;
mod files;
mod flights;
mod journal;
mod model;
mod purges;
mod retries;
mod values;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

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
    let cache = open_in(config, folder.path());
    (folder, cache)
}

/// Opens a folder, and waits until it is known what is there.
fn open_in(config: &Config, folder: &Path) -> Cache {
    let cache = Cache::open(config, folder).unwrap();
    cache.0.disk.survey.wait_until_done();
    cache
}

/// Ends a cache's life as its process's end would: nobody has the journal any more, neither a thread that wrote for it.
async fn end(cache: Cache) {
    let journal = cache.0.disk.folder.join(super::journal::JOURNAL_FILE);
    drop(cache);
    while fs::File::open(&journal).is_ok_and(|file| file.try_lock().is_err()) {
        tokio::task::yield_now().await;
    }
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

/// Every file below the folder but the tag and the journal, by path, with its length.
fn files(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if entry.file_name() != "CACHEDIR.TAG" && entry.file_name() != "index" {
                let path = entry.path().strip_prefix(folder).unwrap().to_owned();
                found.insert(path, entry.metadata().unwrap().len());
            }
        }
    }
    found
}
