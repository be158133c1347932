//! What is on disk: its form, its bounds, and what a restart finds.

use super::*;

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
    end(cache).await;
    let cache = open_in(&ROOMY, folder.path());
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
async fn eviction_deletes_files_least_recently_used_first_if_they_are_alike_and_stays_under_the_bound() {
    let (folder, cache) = open(&Config { memory_bytes: 0, disk_bytes: 10 * 1024 });
    for number in 0..10 {
        make(&cache, &key(100 + number), 1000).await;
        cache.flush().await;
    }
    assert_eq!(whole(&cache, &key(100)).await.1, Tier::Disk);
    for number in 10..15 {
        make(&cache, &key(100 + number), 1000).await;
        cache.flush().await;
        assert!(files(folder.path()).values().sum::<u64>() <= 10 * 1024);
    }
    let kept: Vec<PathBuf> = [0].into_iter().chain(6..15).map(|number| key(100 + number).path()).collect();
    assert_eq!(files(folder.path()).into_keys().collect::<std::collections::BTreeSet<_>>(), kept.into_iter().collect());
    assert_eq!(cache.stats().disk, Held { bytes: 10 * 1024, entries: 10 });
    assert_eq!(cache.stats().evicted_from_disk, 5);
}

#[tokio::test]
async fn a_smaller_bound_at_reopening_deletes_what_is_too_much() {
    let (folder, cache) = open(&ROOMY);
    for number in 0..10 {
        make(&cache, &key(number), 1000).await;
        cache.flush().await;
    }
    end(cache).await;
    let cache = open_in(&Config { disk_bytes: 3 * 1024, ..ROOMY }, folder.path());
    assert_eq!(files(folder.path()).len(), 3);
    assert_eq!(cache.stats().disk, Held { bytes: 3 * 1024, entries: 3 });
    end(cache).await;
    let cache = open_in(&Config { disk_bytes: 0, ..ROOMY }, folder.path());
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
async fn the_length_of_what_is_held_is_known_without_reading_it() {
    let (folder, cache) = open(&DISK_ALONE);
    assert_eq!(cache.length(&key(1)), None);
    make(&cache, &key(1), 1000).await;
    assert_eq!(cache.length(&key(1)), Some(1000), "being written");
    cache.flush().await;
    assert_eq!(cache.length(&key(1)), Some(1000), "on disk");
    let cache = open_in(&ROOMY, folder.path());
    assert_eq!(cache.length(&key(1)), Some(1000), "found at a start");
    make(&cache, &key(2), 10).await;
    assert_eq!(cache.length(&key(2)), Some(10), "in memory");
    drop(lead(&cache, &key(3)).await);
    assert_eq!(cache.length(&key(3)), None);
}
