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
