use super::*;
use crate::ingest::{Config, Events, Processor, Tell};
use crate::outbound::{self, Client};

fn uploads(data: &std::path::Path) -> Uploads {
    let (config, rooms, events) = (Config::default(), crate::ingest::rooms(data), Events::new());
    let tell = Tell { events: events.clone(), on_change: Arc::new(|_| {}), on_retire: Arc::new(|_, _| {}) };
    let client = Client::new(&outbound::Config::default());
    let processor = Processor::start(&config, rooms.clone(), client, tell);
    Uploads::new(&config, rooms, processor, events)
}

/// One that was touched between the sweep's look and its lock was removed.
#[tokio::test]
async fn an_upload_that_was_touched_meanwhile_does_not_expire() {
    let data = tempfile::tempdir().unwrap();
    let resumables = Resumables::open(uploads(data.path())).unwrap();
    let id = resumables.create(Declared::default(), None).await.unwrap().id;
    let upload = resumables.find(&id).unwrap();
    let is_over = |status: &Status| status.expires_at_ms <= now_ms();
    upload.status.lock().unwrap().expires_at_ms = 0;
    resumables.remove_expired().await;
    assert_eq!(resumables.look(&id).unwrap().id, id);
    upload.held.lock().await.set_length(5, 0).unwrap();
    resumables.remove_idle(&upload, is_over).await;
    assert!(matches!(resumables.look(&id), Err(Error::Unknown)));
}

/// Folders of clients that left meanwhile were counted by nobody, until the next start.
#[tokio::test]
async fn an_upload_whose_client_leaves_while_it_is_created_is_known_or_not_there() {
    let data = tempfile::tempdir().unwrap();
    let resumables = Resumables::open(uploads(data.path())).unwrap();
    for microseconds in (0..40).map(|n| n * 100) {
        let created = resumables.create(Declared::default(), None);
        let _ = timeout(Duration::from_micros(microseconds), created).await;
    }
    let folders = async || {
        let library = resumables.0.uploads.0.rooms.library.clone();
        blocking(move || Ok(library.resumables()?)).await.unwrap()
    };
    let all_known = async {
        while folders().await.len() != resumables.all().len() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), all_known).await.expect("no folder is left that nobody knows");
    assert!(folders().await.iter().all(|id| resumables.look(id).is_ok()));
}

#[tokio::test]
async fn of_finished_uploads_the_newest_are_known() {
    let data = tempfile::tempdir().unwrap();
    let resumables = Resumables::open(uploads(data.path())).unwrap();
    let mut ids = Vec::new();
    for age in [1, 3, 2, 0] {
        let id = resumables.create(Declared::default(), Some(5)).await.unwrap().id;
        let upload = resumables.find(&id).unwrap();
        let mut held = upload.held.lock().await;
        // The last one is not finished.
        if age > 0 {
            held.finish(TitleId::from_random(age), now_ms() - i64::try_from(age).unwrap() * 1000).unwrap();
        }
        upload.note(&held, &resumables.0.uploads);
        ids.push(id);
    }
    resumables.forget_finished(2).await;
    let known: Vec<bool> = ids.iter().map(|id| resumables.look(id).is_ok()).collect();
    assert_eq!(known, [true, false, true, true]);
    assert_eq!(resumables.0.uploads.0.rooms.library.resumables().unwrap().len(), 3);
}

/// One that could not be read at a start was removed for good.
#[tokio::test]
async fn an_upload_that_cannot_be_read_now_is_there_later() {
    let data = tempfile::tempdir().unwrap();
    let uploads = uploads(data.path());
    let first = Resumables::open(uploads.clone()).unwrap();
    let create = async || first.create(Declared::default(), None).await.unwrap().id;
    let (good, away, damaged) = (create().await, create().await, create().await);
    let about = |id: &UploadId| data.path().join("uploads").join(id.as_str()).join("about");
    let mark = |id: &UploadId| about(id).with_file_name("mark");
    let said = std::fs::read(about(&away)).unwrap();
    std::fs::write(about(&away), b"{\"of\": \"another version\"}").unwrap();
    std::fs::write(mark(&damaged), b"").unwrap();
    let known = |resumables: &Resumables| [&good, &away, &damaged].map(|id| resumables.look(id).is_ok());
    assert_eq!(known(&Resumables::open(uploads.clone()).unwrap()), [true, false, false]);
    std::fs::write(about(&away), said).unwrap();
    assert_eq!(known(&Resumables::open(uploads).unwrap()), [true, true, false]);
}

#[test]
fn what_was_declared_to_an_older_version_is_read() {
    let old =
        r#"{"title":"A film","description":"","metadata":{},"file_name":"film.mp4","verbatim":"","purpose":"Title"}"#;
    let read: Declared = serde_json::from_str(old).unwrap();
    assert_eq!((read.title.as_deref(), read.policy, read.replaces), (Some("A film"), Policy::Public, None));
    let signed = Declared { policy: Policy::Signed, ..Declared::default() };
    assert_eq!(serde_json::from_slice::<Declared>(&serde_json::to_vec(&signed).unwrap()).unwrap(), signed);
}

/// One with metadata that were stored too deep was left for ever.
#[tokio::test]
async fn an_upload_that_no_version_reads_expires_like_any_other() {
    let data = tempfile::tempdir().unwrap();
    let uploads = uploads(data.path());
    let first = Resumables::open(uploads.clone()).unwrap();
    let ids = [
        first.create(Declared::default(), None).await.unwrap().id,
        first.create(Declared::default(), None).await.unwrap().id,
    ];
    let expired = first.find(&ids[0]).unwrap();
    expired.held.lock().await.set_length(5, 0).unwrap();
    for id in &ids {
        std::fs::write(data.path().join("uploads").join(id.as_str()).join("about"), b"{}").unwrap();
    }
    let next = Resumables::open(uploads.clone()).unwrap();
    next.remove_expired().await;
    assert_eq!(uploads.0.rooms.library.resumables().unwrap(), ids[1..]);
}

/// It was answered when all bytes were copied, after a proxy had given up; what was sent then was refused, or made a second
/// title.
#[tokio::test]
async fn what_is_put_together_is_that_once_however_often_and_soon_it_is_asked_for() {
    let data = tempfile::tempdir().unwrap();
    let uploads = uploads(data.path());
    // Nobody is there to inspect what comes.
    uploads.0.processor.close().await;
    let resumables = Resumables::open(uploads.clone()).unwrap();
    let mut parts = Vec::new();
    for bytes in [b"first ", b"second"] {
        let declared = Declared { purpose: Purpose::Part, ..Declared::default() };
        let id = resumables.create(declared, Some(6)).await.unwrap().id;
        let mut going = resumables.go_on(&id, 0, None, false).await.unwrap();
        going.push(bytes).await.unwrap();
        going.end().await.unwrap();
        parts.push(id);
    }
    let declared = Declared { purpose: Purpose::Whole(parts.clone()), ..Declared::default() };
    let within = |longest| resumables.create_whole_within(longest, declared.clone(), |_| true);
    // A part is still held, so that it cannot be done.
    let held = resumables.find(&parts[1]).unwrap().held.clone().lock_owned().await;
    let early = within(Duration::ZERO).await.unwrap();
    assert_eq!(early.title, None);
    let (waiting, _) = tokio::join!(within(Duration::from_secs(60)), async { drop(held) });
    let done = waiting.unwrap();
    assert_eq!((done.id.clone(), done.offset_bytes), (early.id, 12));
    assert!(done.title.is_some());
    assert_eq!(within(Duration::ZERO).await.unwrap(), done);
    assert_eq!(uploads.0.rooms.catalog.count().unwrap(), 1);
    let other = Declared { owner: Some("000000000001".parse().unwrap()), ..declared.clone() };
    let others = resumables.create_whole_within(Duration::ZERO, other, |_| true).await;
    assert!(matches!(others, Err(Error::Part { .. })), "the parts are gone");
}

/// Its sender was told that it would be put together, and heard of nothing more.
#[tokio::test]
async fn what_was_promised_is_tried_again_and_what_was_not_goes() {
    let data = tempfile::tempdir().unwrap();
    let uploads = uploads(data.path());
    uploads.0.processor.close().await;
    let resumables = Resumables::open(uploads.clone()).unwrap();
    let part = resumables.create(Declared { purpose: Purpose::Part, ..Declared::default() }, Some(4)).await.unwrap().id;
    let mut going = resumables.go_on(&part, 0, None, false).await.unwrap();
    going.push(b"film").await.unwrap();
    going.end().await.unwrap();
    let declared = Declared { purpose: Purpose::Whole(vec![part]), ..Declared::default() };
    let enter = async || resumables.enter_whole(declared.clone(), |_| true).await.unwrap();
    // For want of a place.
    let places = uploads.0.places.clone().acquire_many_owned(u32::try_from(uploads.config().max_concurrent).unwrap());
    let places = places.await.unwrap();
    let upload = enter().await;
    assert!(resumables.joined(&upload).await.is_err());
    assert!(resumables.look(&upload.status().id).is_err());
    let upload = enter().await;
    upload.is_promised.store(true, Ordering::Relaxed);
    assert!(resumables.joined(&upload).await.is_err());
    assert_eq!(resumables.look(&upload.status().id).unwrap().title, None);
    drop(places);
    resumables.join_again();
    assert!(resumables.joined(&upload).await.unwrap().title.is_some());
}
