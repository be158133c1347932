//! Random operations against a recorder of what must be held.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Act {
    /// Ask; commit in chunks of that many bytes if leading.
    Make(u32, usize),
    /// Ask; fail or walk away if leading.
    GiveUp(u32, bool),
    LookAhead(u32),
    Delete(u32),
    Damage(u32),
    Purge(bool),
    Flush,
    /// In order or as if killed, and then with the journal as it is, torn, or lost.
    Reopen(bool, Journal),
}

#[derive(Clone, Copy, Debug)]
enum Journal {
    Whole,
    Torn,
    Lost,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..12_u32, 1..900_usize).prop_map(|(number, chunk)| Act::Make(number, chunk)),
        2 => (0..12_u32, any::<bool>()).prop_map(|(number, fail)| Act::GiveUp(number, fail)),
        2 => (0..12_u32).prop_map(Act::LookAhead),
        1 => (0..12_u32).prop_map(Act::Delete),
        1 => (0..12_u32).prop_map(Act::Damage),
        1 => any::<bool>().prop_map(Act::Purge),
        1 => Just(Act::Flush),
        2 => (any::<bool>(), prop_oneof![Just(Journal::Whole), Just(Journal::Torn), Just(Journal::Lost)])
            .prop_map(|(in_order, journal)| Act::Reopen(in_order, journal)),
    ]
}

/// Twelve objects in two generations, each of its own length.
fn object(number: u32) -> (Key, Bytes) {
    let key = key_of(["0123456789abcdef", "0123456789abcdff"][number as usize % 2], number);
    let bytes = segment(&key, 300 + 150 * number as usize);
    (key, bytes)
}

/// Waits until files are written, and leaves the journal open.
async fn written(cache: &Cache) {
    cache.0.pending.subscribe().wait_for(|bytes| *bytes == 0).await.unwrap();
}

fn spoil(path: &Path, journal: Journal) {
    // A cache that is about to be gone may have kept this one from having a journal.
    if !path.exists() {
        return;
    }
    match journal {
        Journal::Whole => {}
        Journal::Torn => {
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_len(file.metadata().unwrap().len().saturating_sub(3)).unwrap();
        }
        Journal::Lost => fs::remove_file(path).unwrap(),
    }
}

async fn run(config: Config, acts: Vec<Act>) {
    let (folder, mut cache) = open(&config);
    let roomy = config == ROOMY;
    // What must be held, as long as nothing is evicted: that is when `roomy`.
    let mut held: HashSet<u32> = HashSet::new();
    for act in acts {
        match act {
            Act::Make(number, chunk) => {
                let (key, bytes) = object(number);
                match cache.claim(&key).await {
                    Claim::Whole(got, _) => assert_eq!(got, bytes),
                    Claim::Lead(mut writer) => {
                        assert!(!(roomy && held.contains(&number)), "{number} is made twice");
                        let reader = writer.reader();
                        bytes.chunks(chunk).for_each(|chunk| writer.push(Bytes::copy_from_slice(chunk)));
                        writer.commit().unwrap();
                        assert_eq!(reader.whole().await.unwrap(), bytes);
                        held.insert(number);
                    }
                    Claim::Making(_) => panic!("nobody makes it"),
                }
            }
            Act::GiveUp(number, fail) => match cache.claim(&object(number).0).await {
                Claim::Whole(got, _) => assert_eq!(got, object(number).1),
                Claim::Lead(mut writer) => {
                    writer.push(object(number).1.slice(..200));
                    if fail {
                        writer.fail(FlightError::NotFound);
                    }
                }
                Claim::Making(_) => panic!("nobody makes it"),
            },
            Act::LookAhead(number) => {
                let (key, bytes) = object(number);
                if let Some(mut writer) = cache.lead_if_absent(&key) {
                    assert!(!(roomy && held.contains(&number)), "{number} is made twice");
                    writer.offer(0, bytes).unwrap();
                    writer.commit().unwrap();
                    held.insert(number);
                }
            }
            Act::Delete(number) => {
                cache.flush().await;
                let _ = fs::remove_file(folder.path().join(object(number).0.path()));
                held.remove(&number);
            }
            Act::Damage(number) => {
                cache.flush().await;
                let path = folder.path().join(object(number).0.path());
                if let Ok(mut content) = fs::read(&path) {
                    content[250] ^= 4;
                    fs::write(path, content).unwrap();
                }
                held.remove(&number);
            }
            Act::Purge(odd) => {
                let generation = object(u32::from(odd)).0.generation;
                cache.purge(&generation).await.unwrap();
                held.retain(|number| (number % 2 == 1) != odd);
                assert!((0..12).all(|number| (number % 2 == 1) != odd || !cache.holds(&object(number).0)));
            }
            Act::Flush => cache.flush().await,
            Act::Reopen(in_order, journal) => {
                written(&cache).await;
                if in_order {
                    cache.flush().await;
                }
                end(cache).await;
                spoil(&folder.path().join("index"), journal);
                cache = open_in(&config, folder.path());
            }
        }
    }
    cache.flush().await;
    let on_disk = files(folder.path());
    assert!(on_disk.values().sum::<u64>() <= config.disk_bytes);
    assert!(on_disk.keys().all(|path| !path.starts_with("tmp")), "{on_disk:?}");
    assert!(cache.stats().memory.bytes <= config.memory_bytes);
    assert_eq!((cache.stats().making, cache.stats().pending_write_bytes), (0, 0));
    end(cache).await;
    // By the journal, which knows nothing of what was deleted by hand; asking for it is what tells.
    let cache = open_in(&config, folder.path());
    for number in 0..12 {
        drop(cache.claim(&object(number).0).await);
    }
    let (stats, on_disk) = (cache.stats(), files(folder.path()));
    assert_eq!((stats.disk.bytes, stats.disk.entries), (on_disk.values().sum(), on_disk.len() as u64));
    for number in 0..12 {
        let (key, bytes) = object(number);
        match cache.claim(&key).await {
            Claim::Whole(got, _) => assert_eq!(got, bytes),
            Claim::Lead(_) => assert!(!(roomy && held.contains(&number)), "{number} was lost"),
            Claim::Making(_) => panic!("nobody makes it"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_happens_only_right_bytes_are_served_and_bounds_hold(
        acts in proptest::collection::vec(act(), 1..60),
        config in prop_oneof![
            Just(ROOMY),
            Just(DISK_ALONE),
            Just(Config { memory_bytes: 3000, disk_bytes: 6000 }),
            Just(Config { memory_bytes: 3000, disk_bytes: 0 }),
        ],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(config, acts));
    }
}
