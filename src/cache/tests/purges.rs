//! A generation that goes, and work that is under way while it does.

use super::*;

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
    drop(writer.lead_beside(&key(3)).expect("nobody has it"));
    cache.purge(&key(1).generation).await.unwrap();
    assert!(writer.lead_beside(&key(3)).is_none(), "what it belongs to is gone");
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

/// A file that was read while it was deleted stood in the index again, and the bound counted it.
#[tokio::test]
async fn what_is_purged_while_it_is_read_is_not_known_again() {
    let (folder, cache) = open(&DISK_ALONE);
    make(&cache, &key(1), 1000).await;
    cache.flush().await;
    // Between these two the reader has the bytes, and has not counted its use.
    cache.purge(&key(1).generation).await.unwrap();
    let _ = cache.0.disk.heat_of(&key(1), 1024);
    assert_eq!((cache.holds(&key(1)), cache.stats().disk, files(folder.path()).len()), (false, Held::default(), 0));
}
