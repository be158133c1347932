//! Damage, deletion, strangers and disks that refuse: making a segment again, never a wrong byte, never an error.

use super::*;
use crate::cache::writes::{DISK_WRITERS, PENDING_WRITE_BYTES};

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
    end(cache).await;
    // With a journal that was closed in order nobody would look.
    fs::remove_file(folder.path().join("index")).unwrap();
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
    let cache = open_in(&ROOMY, folder.path());
    assert_eq!(files(folder.path()), BTreeMap::from([(key(1).path(), 1024), (PathBuf::from("notes.txt"), 4)]));
    assert!(!at("02").exists() && !at("01/0123456789abcdef/480p").exists() && !at("tmp/folder").exists());
    assert!(outside.path().join("precious").exists());
    assert_eq!(cache.stats().disk.entries, 1);
}

#[test]
fn a_file_another_process_is_writing_is_no_leftover() {
    let folder = TempDir::new().unwrap();
    let _cache = open_in(&ROOMY, folder.path());
    let path = folder.path().join("tmp/77-7");
    let busy = fs::File::create(&path).unwrap();
    busy.lock().unwrap();
    let _second = open_in(&ROOMY, folder.path());
    assert!(path.exists());
    drop(busy);
    let _third = open_in(&ROOMY, folder.path());
    assert!(!path.exists());
}

#[tokio::test]
async fn two_processes_share_a_folder_and_see_each_others_files() {
    let (folder, one) = open(&DISK_ALONE);
    let two = open_in(&DISK_ALONE, folder.path());
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

#[tokio::test]
async fn a_full_disk_lets_go_of_what_is_worth_least() {
    let (folder, cache) = open(&DISK_ALONE);
    for number in 0..40 {
        make(&cache, &key(100 + number), 1000).await;
        cache.flush().await;
    }
    for number in 20..40 {
        let _ = whole(&cache, &key(100 + number)).await;
    }
    for _ in 0..2 {
        assert!(cache.0.disk.make_room(1000));
    }
    assert_eq!(files(folder.path()).len(), 40 - 8);
    assert_eq!(cache.stats().disk.entries, 32);
    assert!((20..40).all(|number| cache.holds(&key(100 + number))), "what was read stays");
    assert!(cache.0.disk.make_room(1 << 30));
    assert!(!cache.0.disk.make_room(1), "there is nothing left to delete");
    assert_eq!(files(folder.path()), BTreeMap::new());
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_made_again_and_replaced() {
    let (folder, cache) = open(&DISK_ALONE);
    make(&cache, &key(1), 1000).await;
    cache.flush().await;
    let path = folder.path().join(key(1).path());
    fs::remove_file(&path).unwrap();
    // Opening it fails, and not because it is absent: as with EIO.
    std::os::unix::fs::symlink(&path, &path).unwrap();
    make(&cache, &key(1), 1000).await;
    cache.flush().await;
    assert_eq!(cache.stats().disk_failures, 1);
    assert_eq!(whole(&cache, &key(1)).await, (segment(&key(1), 1000), Tier::Disk));
    assert_eq!(cache.stats().disk, Held { bytes: 1024, entries: 1 });
}

/// The cache took the disk's last byte, and uploads and the catalog failed beside gigabytes of it.
#[tokio::test]
async fn what_is_to_stay_free_is_not_taken_and_what_was_taken_is_given_back() {
    let (folder, cache) = open(&DISK_ALONE);
    for number in 0..40 {
        make(&cache, &key(number), 1000).await;
        cache.flush().await;
    }
    assert_eq!(files(folder.path()).len(), 40);
    assert_eq!(cache.spare_bytes(), DISK_ALONE.disk_bytes - 40 * 1024);
    // More than any disk has.
    cache.leave_free(u64::MAX);
    assert_eq!(cache.spare_bytes(), 0);
    let mut before = 40;
    for number in 40..54 {
        make(&cache, &key(number), 1000).await;
        cache.flush().await;
        let now = files(folder.path()).len();
        assert!(now <= before.max(4) - 3, "{before} files have become {now}");
        before = now;
    }
    assert_eq!((before, cache.stats().disk.entries, cache.stats().disk_failing), (1, 1, false));
    cache.purge(&key(0).generation).await.unwrap();
    make(&cache, &key(1), 1000).await;
    cache.flush().await;
    let stats = cache.stats();
    assert_eq!((files(folder.path()).len(), stats.disk_failures, stats.disk_failing), (0, 1, true));
    cache.leave_free(0);
    make(&cache, &key(1), 1000).await;
    cache.flush().await;
    assert!(cache.holds(&key(1)) && !cache.stats().disk_failing);
    assert_eq!(cache.spare_bytes(), 0, "something had to go a moment ago");
}

#[tokio::test]
async fn others_are_given_room_if_there_is_as_much_as_they_lack() {
    let (folder, cache) = open(&ROOMY);
    for number in 0..20 {
        make(&cache, &key(number), 1 << 20).await;
        cache.flush().await;
    }
    assert!(!cache.give_way(1 << 30), "all of it is less than that");
    assert_eq!(files(folder.path()).len(), 20);
    assert!(cache.give_way(19 << 20));
    assert_eq!(files(folder.path()).len(), 4, "they may never need the rest");
    assert!(cache.give_way(1) && !cache.give_way(1));
    assert_eq!(files(folder.path()), BTreeMap::new());
}

#[tokio::test]
async fn nothing_is_to_spare_while_the_disk_cannot_be_written_and_what_has_no_file_is_not_kept() {
    let (folder, cache) = open(&ROOMY);
    assert_eq!(cache.spare_bytes(), ROOMY.disk_bytes);
    let temp = folder.path().join("tmp");
    fs::remove_dir(&temp).unwrap();
    fs::write(&temp, "").unwrap();
    lock(&cache.0.writes).writers = DISK_WRITERS;
    make(&cache, &key(1), 1000).await;
    assert_eq!(cache.is_kept(&key(1)), None, "nobody writes it, and nobody knows");
    lock(&cache.0.writes).writers = 0;
    make(&cache, &key(3), 1000).await;
    cache.flush().await;
    assert!(cache.holds(&key(1)), "in memory");
    assert_eq!((cache.is_kept(&key(1)), cache.spare_bytes()), (Some(false), 0));
    fs::remove_file(&temp).unwrap();
    make(&cache, &key(2), 1000).await;
    cache.flush().await;
    assert_eq!((cache.is_kept(&key(2)), cache.spare_bytes()), (Some(true), ROOMY.disk_bytes - 1024));
    let (_folder, memory_alone) = open(&Config { disk_bytes: 0, ..ROOMY });
    make(&memory_alone, &key(1), 1000).await;
    assert_eq!((memory_alone.is_kept(&key(1)), memory_alone.is_kept(&key(2))), (Some(true), Some(false)));
}
