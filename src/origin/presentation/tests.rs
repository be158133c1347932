use super::*;

type Catalog = Arc<Mutex<Option<Title>>>;

fn ready() -> Title {
    let id: TitleId = "abcdefghjkmn".parse().unwrap();
    let facts = Facts {
        id: id.clone(),
        digest: "0".repeat(64).parse().unwrap(),
        generation: "0123456789abcdef".parse().unwrap(),
        plan: Arc::new(Plan::default()),
        policy: Policy::Public,
    };
    Title { id, name: String::new(), found: Found::Ready(facts) }
}

fn over(catalog: &Catalog, ready: Duration, unready: Duration) -> Arc<Presentations> {
    let catalog = catalog.clone();
    let find: Find = Arc::new(move |_| Ok(catalog.lock().unwrap().clone()));
    let freshness = Freshness { ready, stale: Duration::from_secs(60), unready };
    // A catalog of which nothing is known without asking: every look is a whole one.
    let mark: Mark = Arc::new(|_| Ok(None));
    Arc::new(Presentations { freshness, ..Presentations::new(find, mark, 1 << 20) })
}

#[tokio::test]
async fn a_title_another_process_deleted_disappears_behind_an_answer_from_memory() {
    let catalog: Catalog = Arc::new(Mutex::new(Some(ready())));
    let presentations = over(&catalog, Duration::ZERO, Duration::from_secs(60));
    let id = ready().id;
    assert!(presentations.get(&id).await.is_ok());
    *catalog.lock().unwrap() = None;
    assert!(presentations.get(&id).await.is_ok(), "the snapshot answers while the catalog is asked");
    let gone = async {
        while presentations.get(&id).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
}

#[tokio::test]
async fn a_title_another_process_ingested_appears_and_keeps_its_snapshot_while_it_stays_the_same() {
    let catalog: Catalog = Arc::default();
    let presentations = over(&catalog, Duration::ZERO, Duration::ZERO);
    let id = ready().id;
    assert!(matches!(presentations.get(&id).await, Err(Problem::NoTitle)));
    *catalog.lock().unwrap() = Some(ready());
    let first = presentations.get(&id).await.unwrap();
    presentations.ask(&id, Instant::now()).await.ok().unwrap();
    assert!(Arc::ptr_eq(&first, &presentations.get(&id).await.unwrap()), "playlists are not rendered again");
}

#[tokio::test]
async fn a_client_that_asks_in_a_loop_asks_the_catalog_once() {
    let catalog: Catalog = Arc::default();
    let presentations = over(&catalog, Duration::ZERO, Duration::from_secs(60));
    let id = ready().id;
    assert!(presentations.get(&id).await.is_err());
    *catalog.lock().unwrap() = Some(ready());
    assert!(presentations.get(&id).await.is_err(), "believed for a while");
    presentations.forget(&id);
    assert!(presentations.get(&id).await.is_ok());
}

#[tokio::test]
async fn a_title_whose_row_is_as_it_was_is_not_read_again() {
    let (finds, mark) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(1)));
    let (found, marked) = (finds.clone(), mark.clone());
    let find: Find = Arc::new(move |_| {
        found.fetch_add(1, Ordering::Relaxed);
        Ok(Some(ready()))
    });
    let presentations = Presentations::new(find, Arc::new(move |_| Ok(Some(marked.load(Ordering::Relaxed)))), 1 << 20);
    let (presentations, id) = (Arc::new(presentations), ready().id);
    let first = presentations.get(&id).await.unwrap();
    for _ in 0..3 {
        let known = presentations.ask(&id, Instant::now()).await.ok().unwrap();
        assert!(Arc::ptr_eq(&first, &known.answer().unwrap()));
    }
    assert_eq!(finds.load(Ordering::Relaxed), 1);
    mark.store(2, Ordering::Relaxed);
    presentations.ask(&id, Instant::now()).await.ok().unwrap();
    assert_eq!(finds.load(Ordering::Relaxed), 2);
}
