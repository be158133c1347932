//! What a start knows, and what it costs to know it.

use super::super::journal::Left;
use super::*;

async fn filled(count: u32) -> TempDir {
    let (folder, cache) = open(&DISK_ALONE);
    for number in 0..count {
        make(&cache, &key(number), 1000).await;
    }
    cache.flush().await;
    end(cache).await;
    folder
}

fn journal(folder: &TempDir) -> PathBuf {
    folder.path().join("index")
}

#[tokio::test]
async fn after_an_end_in_order_the_journal_is_believed_and_the_folder_is_not_looked_at() {
    let folder = filled(5).await;
    // A walk would find it.
    fs::copy(folder.path().join(key(1).path()), folder.path().join(key(77).path())).unwrap();
    let cache = open_in(&DISK_ALONE, folder.path());
    assert_eq!(cache.stats().disk, Held { bytes: 5 * 1024, entries: 5 });
    assert!(!cache.holds(&key(77)));
}

#[tokio::test]
async fn a_torn_lost_or_foreign_journal_is_made_up_for_by_a_walk() {
    type Spoil = fn(&Path);
    let spoils: [Spoil; 5] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::write(path, "").unwrap(),
        |path| fs::write(path, "something else altogether").unwrap(),
        |path| {
            let content = fs::read(path).unwrap();
            fs::write(path, &content[..content.len() - 40]).unwrap();
        },
        |path| {
            let mut content = fs::read(path).unwrap();
            content[60] ^= 1;
            fs::write(path, content).unwrap();
        },
    ];
    for (index, spoil) in spoils.into_iter().enumerate() {
        let folder = filled(5).await;
        spoil(&journal(&folder));
        let cache = open_in(&DISK_ALONE, folder.path());
        assert_eq!(cache.stats().disk, Held { bytes: 5 * 1024, entries: 5 }, "{index}");
        assert_eq!(whole(&cache, &key(4)).await.1, Tier::Disk);
        cache.flush().await;
        end(cache).await;
        // What the walk found was noted.
        fs::copy(folder.path().join(key(1).path()), folder.path().join(key(77).path())).unwrap();
        assert_eq!(open_in(&DISK_ALONE, folder.path()).stats().disk.entries, 5, "{index}");
    }
}

#[tokio::test]
async fn what_a_killed_server_kept_is_known_to_the_next_with_what_it_cost() {
    let (folder, cache) = open(&DISK_ALONE);
    let mut writer = lead(&cache, &key(1)).await;
    writer.push(segment(&key(1), 1000));
    writer.took(std::time::Duration::from_millis(700));
    writer.commit().unwrap();
    make(&cache, &key(2), 1000).await;
    cache.flush().await;
    make(&cache, &key(3), 1000).await;
    cache.0.pending.subscribe().wait_for(|bytes| *bytes == 0).await.unwrap();
    end(cache).await;
    let cache = open_in(&DISK_ALONE, folder.path());
    assert_eq!(cache.stats().disk.entries, 3);
    assert_eq!(lock(&cache.0.disk.index).get(&key(1)).unwrap().cost, Cost::Seconds(0.7));
}

/// The word that all is known stayed above what was noted later, and was the last one again once that was lost.
#[tokio::test]
async fn a_power_failure_after_an_end_in_order_leaves_no_journal_that_is_believed() {
    let folder = filled(5).await;
    let closed = fs::read(journal(&folder)).unwrap();
    let cache = open_in(&DISK_ALONE, folder.path());
    make(&cache, &key(77), 1000).await;
    cache.0.pending.subscribe().wait_for(|bytes| *bytes == 0).await.unwrap();
    end(cache).await;
    let noted = fs::read(journal(&folder)).unwrap();
    // Nothing that was appended was synced: what is left is what was there before, as far as it still is.
    let kept = closed.iter().zip(&noted).take_while(|(before, after)| before == after).count();
    fs::write(journal(&folder), &noted[..kept]).unwrap();
    let cache = open_in(&DISK_ALONE, folder.path());
    assert_eq!(cache.stats().disk, Held { bytes: 6 * 1024, entries: 6 });
    assert!(cache.holds(&key(77)));
}

/// A start that has read the journal, and ends before it has gone through the folder.
fn cut_short(folder: &TempDir) -> Left {
    let disk = Disk::over(folder.path(), DISK_ALONE.disk_bytes, Clock::System).unwrap();
    let left = disk.learn();
    disk.close();
    left
}

/// The journal was closed as if everything were in it, and what a power failure had taken out of it was never found again.
#[tokio::test]
async fn a_start_that_ends_before_it_has_seen_the_folder_closes_nothing() {
    let folder = filled(5).await;
    fs::remove_file(journal(&folder)).unwrap();
    let cache = open_in(&DISK_ALONE, folder.path());
    let noted = fs::read(journal(&folder)).unwrap();
    make(&cache, &key(77), 1000).await;
    cache.0.pending.subscribe().wait_for(|bytes| *bytes == 0).await.unwrap();
    end(cache).await;
    // The last one was not noted for good.
    fs::write(journal(&folder), &noted).unwrap();
    assert_eq!(cut_short(&folder), Left::Open);
    assert_eq!(open_in(&DISK_ALONE, folder.path()).stats().disk.entries, 6);
}

/// What was noted since a journal was lost passed for everything, and the folder grew beyond its bound.
#[tokio::test]
async fn a_journal_that_was_lost_is_lost_until_the_folder_was_gone_through() {
    for spoilt in [0, 40] {
        let folder = filled(5).await;
        let content = fs::read(journal(&folder)).unwrap();
        fs::write(journal(&folder), &content[..spoilt]).unwrap();
        for _ in 0..3 {
            assert_eq!(cut_short(&folder), Left::Lost, "{spoilt}");
        }
        end(open_in(&DISK_ALONE, folder.path())).await;
        assert_eq!(cut_short(&folder), Left::Open, "{spoilt}");
        let cache = open_in(&DISK_ALONE, folder.path());
        assert_eq!(cache.stats().disk.entries, 5, "{spoilt}");
        cache.flush().await;
        end(cache).await;
        assert_eq!(cut_short(&folder), Left::Closed, "{spoilt}");
    }
}

/// An end in order stays one as long as nothing changes: a start costs no sync, and no walk the next time.
#[tokio::test]
async fn a_journal_that_nothing_was_added_to_is_left_as_it_is() {
    let folder = filled(5).await;
    let closed = fs::read(journal(&folder)).unwrap();
    end(open_in(&DISK_ALONE, folder.path())).await;
    assert!(fs::read(journal(&folder)).unwrap() == closed);
}

#[tokio::test]
async fn files_are_served_and_not_made_twice_before_anything_is_known_of_them() {
    let folder = filled(5).await;
    let cache = Cache::open(&DISK_ALONE, folder.path()).unwrap();
    // Whether the journal was read by now or not.
    assert!(cache.lead_if_absent(&key(4)).is_none());
    assert_eq!(whole(&cache, &key(3)).await, (segment(&key(3), 1000), Tier::Disk));
}

#[tokio::test]
async fn a_journal_does_not_grow_with_what_is_past() {
    let (folder, cache) = open(&Config { memory_bytes: 0, disk_bytes: 10 * 1024 });
    for number in 0..3000 {
        make(&cache, &key(number), 1000).await;
    }
    cache.0.pending.subscribe().wait_for(|bytes| *bytes == 0).await.unwrap();
    let bytes = fs::metadata(journal(&folder)).unwrap().len();
    assert!(bytes < 4200 * 60, "{bytes}");
    end(cache).await;
    assert_eq!(open_in(&DISK_ALONE, folder.path()).stats().disk, Held { bytes: 10 * 1024, entries: 10 });
}

/// Two caches in one folder: whatever the first one's journal says at its end, it is not all.
#[tokio::test]
async fn a_journal_that_cannot_tell_everything_is_not_believed() {
    let (folder, one) = open(&DISK_ALONE);
    let two = open_in(&DISK_ALONE, folder.path());
    make(&one, &key(1), 1000).await;
    make(&two, &key(2), 1000).await;
    two.flush().await;
    one.flush().await;
    drop((one, two));
    assert_eq!(open_in(&DISK_ALONE, folder.path()).stats().disk.entries, 2);
}

/// Prints what a start takes: `cargo test --lib a_start_over_a_million -- --ignored --nocapture`.
#[test]
#[ignore = "takes a while, and its result is a figure"]
fn a_start_over_a_million_entries_is_a_start_over_none() {
    use std::time::Instant;

    let folder = TempDir::new().unwrap();
    drop(open_in(&DISK_ALONE, folder.path()));
    let record = |number: u32| super::super::journal::Record::Kept {
        key: key_of(&format!("{:016x}", number / 1000), number),
        bytes: 20_000,
        seconds: Some(0.5),
        heat: 80_000.0,
    };
    let mut journal = super::super::journal::Journal::open(folder.path());
    journal.load(drop);
    journal.replace((0..1_000_000).map(record).chain([super::super::journal::Record::Closed]));
    drop(journal);
    let begun = Instant::now();
    let cache = Cache::open(&Config { disk_bytes: 20 << 30, ..ROOMY }, folder.path()).unwrap();
    let opened = begun.elapsed();
    assert!(cache.peek(&key(1)).is_none());
    cache.0.disk.survey.wait_until_done();
    println!("opened after {opened:?}, {} entries known after {:?}", cache.stats().disk.entries, begun.elapsed());
    assert_eq!(cache.stats().disk.entries, 1_000_000);
}
