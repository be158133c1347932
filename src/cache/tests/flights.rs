//! Promise 4 in the cache: one leader, any number of readers, and whoever leaves strands nobody.

use tokio::sync::Barrier;

use super::*;

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
    let later = join(&cache, &key(1)).await;
    writer.push(Bytes::from_static(b"end"));
    let committed = writer.commit().unwrap();
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
