use super::*;
use crate::catalog::{self, JobState, Place};
use crate::ingest::About;
use crate::ingest::accept::arrival;
use crate::library;

/// It stayed claimed by a server that did not work on it.
#[tokio::test]
async fn a_job_over_which_the_server_panics_fails_and_can_be_claimed_again() {
    let data = tempfile::tempdir().unwrap();
    let rooms = crate::ingest::rooms(data.path());
    let catalog = rooms.catalog.clone();
    let tell = Tell { events: Events::new(), on_change: Arc::new(|_| {}), on_retire: Arc::new(|_, _| {}) };
    let processor = Processor::start(&Config::default(), rooms, Client::new(&Default::default()), tell);
    // It shall claim nothing by itself.
    processor.close().await;
    let inner = processor.0;
    let place = Place::Elsewhere { detail: "{}".to_owned(), limit: 1 };
    let (arrival, id) = arrival(About::default(), None, place).unwrap();
    assert_eq!(catalog.insert_arrival(&arrival, &id).unwrap(), None);
    let job = catalog.claim(Kind::Fetch, inner.lease(), &[]).unwrap().unwrap();
    lock(&inner.running).insert(id.clone(), watch::Sender::new(()));
    let (of, running) = (inner.clone(), id.clone());
    let work = async move {
        let _running = Running(&of, running);
        panic!("of purpose");
    };
    inner.clone().survive(job, work).await;
    assert!(lock(&inner.running).is_empty());
    let job = catalog.job(&id).unwrap().unwrap();
    assert_eq!((job.state, job.failure.unwrap().code.as_str()), (JobState::Failed, "defect"));
}

#[test]
fn a_full_disk_is_waited_for_and_uses_up_no_attempt() {
    let job = Job {
        id: JobId::from_random(1),
        kind: Kind::Process,
        title: TitleId::from_random(1),
        state: JobState::Running,
        attempts: 3,
        progress: 0,
        due_at_ms: 0,
        failure: None,
        created_at_ms: 1000,
        ended_at_ms: None,
        detail: "{}".to_owned(),
        source: None,
    };
    let full = || Error::Library(library::Error::Full { folder: "/".into(), free_bytes: 0, needed_bytes: 1 });
    let due = |outcome| match outcome {
        Outcome::Waits { due_at_ms, failure } if failure.code == "disk_full" => due_at_ms,
        other => panic!("{other:?}"),
    };
    for error in [full(), Error::Catalog(catalog::Error::Full)] {
        assert_eq!(due(after(&error, &job, 0, 2000, i64::MAX)), 3000);
    }
    assert_eq!(due(after(&full(), &job, 0, 101_000, i64::MAX)), 126_000);
    assert_eq!(due(after(&full(), &job, 0, 9_001_000, i64::MAX)), 9_301_000);
    // A fetch has a time within which it must be done.
    assert!(matches!(after(&full(), &job, 0, 2000, 2000), Outcome::Failed(_)));
    let died = Error::Parts { host: "a.example".into() };
    assert!(matches!(after(&died, &job, 1, 2000, i64::MAX), Outcome::Again { .. }));
    assert!(matches!(after(&died, &job, 0, 2000, i64::MAX), Outcome::Failed(_)));
}
