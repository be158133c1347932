//! What a second attempt, or work ahead of a viewer, may add.

use super::*;

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
    assert_eq!(writer.sent_bytes(), 7);
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
    assert_eq!(writer.sent_bytes(), 5);
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
