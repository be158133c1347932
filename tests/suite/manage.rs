//! The management API: what it shows, changes, tells and removes, also in the middle of things.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use matinee::catalog::{Arrival, Catalog, Lease, Place, new_id, new_job_id, now_ms};
use matinee::library::Library;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{Data, PATIENCE, TestServer, run, until};
use crate::uploads::{film, settled};

const VIDEOS: &str = "/api/v1/videos";
const JOBS: &str = "/api/v1/jobs";

fn upload(server: &TestServer) -> String {
    let answer = server.ask(VIDEOS).method("POST").body(film().1).send().unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["id"].as_str().unwrap().to_owned()
}

fn ready(server: &TestServer) -> String {
    let id = upload(server);
    assert_eq!(settled(server, &id)["state"], "ready");
    id
}

/// What a server leaves that is killed while it processes a film: the title's id and the job's. The lease has so long
/// to run, should another server be there already.
pub fn left_in_processing(data: &Data, lease_ms: i64) -> (String, String) {
    let (catalog, library) = (Catalog::open(data.path()).unwrap(), Library::open(data.path()).unwrap());
    let mut incoming = library.stage(0).unwrap();
    incoming.write(film().1.into()).unwrap();
    let staged = incoming.finish().unwrap();
    let size_bytes = staged.size_bytes();
    let stored = staged.commit_uninspected().unwrap();
    let arrival = Arrival {
        id: new_id().unwrap(),
        name: "Film".into(),
        description: String::new(),
        metadata: serde_json::Map::new(),
        created_at_ms: now_ms(),
        bytes: Place::Here { source: stored.digest().clone(), size_bytes },
        file_name: "film.mp4".into(),
        policy: matinee::media::Policy::Public,
        token_until_ms: None,
        creation: None,
        owner: None,
    };
    let job = new_job_id().unwrap();
    assert_eq!(catalog.insert_arrival(&arrival, &job).unwrap(), None);
    let lease = Lease { owner: "a process that is gone", now_ms: now_ms(), until_ms: now_ms() + lease_ms };
    assert_eq!(catalog.claim(matinee::catalog::Kind::Process, lease, &[]).unwrap().unwrap().id, job);
    (arrival.id.to_string(), job.to_string())
}

/// Reads a stream of events until one is as wanted.
fn event(server: &TestServer, path: &str, wanted: impl Fn(&str, &Value) -> bool) -> Value {
    let mut socket = TcpStream::connect(server.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut kind = String::new();
    for line in BufReader::new(socket).lines().map(Result::unwrap) {
        if let Some(name) = line.strip_prefix("event: ") {
            kind = name.to_owned();
        }
        if let Some(data) = line.strip_prefix("data: ") {
            let data: Value = serde_json::from_str(data).unwrap();
            if wanted(&kind, &data) {
                return data;
            }
        }
    }
    panic!("the stream ended");
}

#[test]
fn a_title_in_processing_is_taken_up_by_the_next_server_at_once() {
    let data = Data::new();
    let (id, job) = left_in_processing(&data, 3_600_000);
    let server = TestServer::over(&data);
    let told =
        event(&server, &format!("{VIDEOS}/{id}/events"), |kind, data| kind == "state" && data["state"] != "processing");
    assert_eq!(told["state"], "ready");
    let job = server.get(&format!("{JOBS}/{job}")).json();
    assert_eq!((&job["state"], &job["attempts"], &job["progress"]), (&"done".into(), &2.into(), &1000.into()), "{job}");
    server.text(&format!("/v/{id}/master.m3u8"));
}

#[test]
fn a_film_answered_201_survives_a_server_killed_at_once() {
    let server = TestServer::start();
    let id = upload(&server);
    let server = TestServer::over(&server.kill());
    let told = event(&server, &format!("{VIDEOS}/{id}/events"), |_, data| data["state"] == "ready");
    assert_eq!(told["video"], id);
}

#[test]
fn a_server_that_stops_in_order_puts_its_jobs_back() {
    let server = TestServer::start();
    until("all of them stand by", || server.metric("matinee_workers_standby") == 4.0);
    for worker in server.workers() {
        // Whoever is given the film gets no answer, so that it is under way when the server stops.
        let _ = kill_process(Pid::from_raw(worker).unwrap(), Signal::STOP);
    }
    let id = upload(&server);
    until("it is under way", || server.get(JOBS).json()["jobs"][0]["state"] == "running");
    let data = server.data.clone();
    drop(server);
    let catalog = rusqlite::Connection::open(data.path().join("catalog.sqlite")).unwrap();
    let job = catalog.query_row("SELECT state, owner, lease_until_ms FROM jobs", [], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?, row.get::<_, Option<i64>>(2)?))
    });
    assert_eq!(job.unwrap(), ("queued".to_owned(), None, None));
    drop(catalog);
    assert_eq!(settled(&TestServer::over(&data), &id)["state"], "ready");
}

/// It was begun at every start, for ever.
#[test]
fn a_job_during_which_the_server_was_killed_too_often_fails() {
    let data = Data::new();
    let (id, job) = left_in_processing(&data, -1);
    let server = TestServer::with(&data, &[("MATINEE_UPLOADS__ATTEMPTS", "1")]);
    let video = settled(&server, &id);
    assert_eq!((&video["state"], &video["error"]["code"]), (&json!("failed"), &json!("interrupted")), "{video}");
    assert_eq!(server.get(&format!("{JOBS}/{job}")).json()["state"], "failed");
    until("its source is gone", || server.data.sources().is_empty());
}

#[test]
fn a_title_that_is_not_ready_says_so_and_its_job_can_be_cancelled() {
    let server = TestServer::start();
    let data = server.data.clone();
    // By another process, beside the server: at its start it would take it up.
    let (id, job) = left_in_processing(&data, 3_600_000);
    let early = server.get(&format!("/v/{id}/master.m3u8"));
    assert_eq!((early.problem(), &early.json()["state"]), ((425, "not-ready".into()), &"processing".into()));
    assert!(early.header("retry-after").is_some() && early.header("cache-control") == Some("no-store"));
    let path = format!("{JOBS}/{job}");
    assert_eq!(server.get(&path).json()["state"], "running");
    let cancelled = server.ask(&path).method("DELETE").send().unwrap();
    assert_eq!((cancelled.status, &cancelled.json()["state"]), (200, &"cancelled".into()));
    let video = server.get(&format!("{VIDEOS}/{id}")).json();
    assert_eq!((&video["state"], &video["error"]["code"]), (&"failed".into(), &"cancelled".into()));
    assert_eq!(server.get(&format!("/v/{id}/master.m3u8")).status, 404);
    assert_eq!(data.sources(), Vec::<String>::new());
    assert_eq!(server.ask(&path).method("DELETE").send().unwrap().problem(), (409, "job-ended".into()));
    assert_eq!(server.get("/api/v1/jobs/000000000000").problem(), (404, "no-job".into()));
}

#[test]
fn lists_show_every_title_once_page_by_page_and_only_of_the_state_asked_for() {
    let server = TestServer::start();
    let mut ids: Vec<String> = (0..5).map(|_| upload(&server)).collect();
    let bad = server.ask(VIDEOS).method("POST").body("no film").send().unwrap().json()["id"].clone();
    ids.iter().for_each(|id| drop(settled(&server, id)));
    settled(&server, bad.as_str().unwrap());
    let mut seen = Vec::new();
    let mut path = format!("{VIDEOS}?limit=2&state=ready");
    loop {
        let page = server.get(&path).json();
        let videos = page["videos"].as_array().unwrap();
        assert!((1..=2).contains(&videos.len()), "filtered before it is cut into pages");
        seen.extend(videos.iter().map(|video| video["id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => path = format!("{VIDEOS}?limit=2&state=ready&cursor={next}"),
            None => break,
        }
    }
    seen.sort();
    ids.sort();
    assert_eq!(seen, ids);
    assert_eq!(server.get(&format!("{VIDEOS}?state=failed")).json()["videos"][0]["id"], bad);
    assert_eq!(server.get(&format!("{JOBS}?state=failed")).json()["jobs"][0]["video"], bad);
    for (sample, value) in [
        ("matinee_titles{state=\"ready\"}", 5.0),
        ("matinee_titles{state=\"failed\"}", 1.0),
        ("matinee_jobs_ended_total{kind=\"process\",outcome=\"done\"}", 5.0),
        ("matinee_jobs_ended_total{kind=\"process\",outcome=\"failed\"}", 1.0),
        ("matinee_received_bytes_total", (5 * film().1.len() + "no film".len()) as f64),
    ] {
        assert!((server.metric(sample) - value).abs() < 0.5, "{sample}");
    }
    let video = server.get(&format!("{VIDEOS}/{}", bad.as_str().unwrap())).json();
    assert_eq!(video["playback"], json!({ "hls": null, "hls_ts": null, "dash": null }));
    let listed = run(server.data.command(&["list"])).stdout;
    let line = listed.lines().find(|line| line.starts_with(bad.as_str().unwrap())).unwrap();
    assert!(line.contains("failed") && line.contains("  -  ") && !line.contains("m3u8"), "{line}");
    assert_eq!(server.get(&format!("{VIDEOS}/film")).problem(), (404, "no-route".into()));
    for query in ["state=x", "limit=x", "limit=0", "cursor=x", "cursor=1-%2e%2e"] {
        assert_eq!(server.get(&format!("{VIDEOS}?{query}")).problem(), (400, "query".into()), "{query}");
    }
}

#[test]
fn a_change_merges_and_two_who_change_at_once_notice() {
    let server = TestServer::start();
    let id = ready(&server);
    let path = format!("{VIDEOS}/{id}");
    let change = |etag: Option<&str>, body: Value| {
        let asking = server.ask(&path).method("PATCH").header("content-type", "application/merge-patch+json");
        let asking = etag.into_iter().fold(asking, |asking, etag| asking.header("if-match", etag));
        asking.body(body.to_string()).send().unwrap()
    };
    let etag = server.get(&path).header("etag").unwrap().to_owned();
    let first = change(Some(&etag), json!({ "title": "New", "metadata": { "a": 1, "b": { "c": 2 } } }));
    assert_eq!((first.status, &first.json()["title"]), (200, &"New".into()), "{}", first.text());
    assert_eq!(change(Some(&etag), json!({ "title": "Late" })).problem(), (412, "version".into()));
    let second = change(first.header("etag"), json!({ "metadata": { "a": null, "b": { "d": 3 } } }));
    assert_eq!(second.json()["metadata"], json!({ "b": { "c": 2, "d": 3 } }));
    assert_eq!(change(None, json!({ "description": "x" })).json()["title"], "New");
    for bad in [json!({ "state": "ready" }), json!([]), json!({ "title": "" }), json!({ "metadata": "x" })] {
        assert_eq!(change(None, bad).problem(), (400, "body".into()));
    }
    assert_eq!(change(None, json!({ "description": "x".repeat(70_000) })).problem(), (413, "too-large".into()));
    let text = server.ask(&path).method("PATCH").header("content-type", "text/plain").body("x").send().unwrap();
    assert_eq!(text.problem(), (415, "media-type".into()));
    assert_eq!(text.header("accept-patch"), Some("application/merge-patch+json, application/json"));
    let before = server.get(&path).json();
    assert_eq!(change(None, json!({})).json(), before, "what says nothing changes nothing");
}

#[test]
fn what_is_known_already_is_not_sent_again_and_what_changed_meanwhile_is_not_removed() {
    let server = TestServer::with(&Data::new(), &[("MATINEE_WARMER__ENABLED", "false")]);
    let id = ready(&server);
    let path = format!("{VIDEOS}/{id}");
    let etag = server.get(&path).header("etag").unwrap().to_owned();
    let asked = |etag: &str| server.ask(&path).header("if-none-match", etag).send().unwrap();
    let unchanged = asked(&etag);
    assert_eq!((unchanged.status, unchanged.header("etag"), unchanged.body.len()), (304, Some(etag.as_str()), 0));
    assert_eq!(asked("\"other\"").status, 200);
    let other = |method| server.ask(&path).method(method).header("if-match", "\"other\"").send().unwrap();
    assert_eq!((other("GET").problem(), other("HEAD").status), ((412, "version".into()), 412));
    // Where something is to be changed, what is known already is a reason not to.
    for known in [etag.as_str(), "*", &format!("\"other\", W/{etag}")] {
        let asking = server.ask(&path).method("PATCH").header("content-type", "application/json");
        let change = asking.header("if-none-match", known).body(json!({ "title": "Kept" }).to_string());
        assert_eq!(change.send().unwrap().problem(), (412, "version".into()), "{known}");
        let removal = server.ask(&path).method("DELETE").header("if-none-match", known).send().unwrap();
        assert_eq!(removal.problem(), (412, "version".into()), "{known}");
    }
    let remove = |etag: &str| server.ask(&path).method("DELETE").header("if-match", etag).send().unwrap();
    let asking = server.ask(&path).method("PATCH").header("content-type", "Application/JSON");
    assert_eq!(asking.body(json!({ "title": "New" }).to_string()).send().unwrap().status, 200);
    assert_eq!(asked(&etag).status, 200);
    assert_eq!(remove(&etag).problem(), (412, "version".into()));
    let etag = server.get(&path).header("etag").unwrap().to_owned();
    assert_eq!(remove(&etag).status, 200);
    assert_eq!(remove(&etag).problem(), (404, "no-title".into()));
}

#[test]
fn a_creation_that_is_asked_for_again_is_the_same_title() {
    let server = TestServer::start();
    let (_, bytes) = film();
    let create = |key: &str, path: &str| {
        server.ask(path).method("POST").header("idempotency-key", key).body(bytes.clone()).send().unwrap()
    };
    let (first, again) = (create("k1", VIDEOS), create("k1", VIDEOS));
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.json()["id"], again.json()["id"]);
    for other in ["?filename=other.mp4", "?title=Other", "?description=x", "?playback_policy=signed"] {
        assert_eq!(create("k1", &format!("{VIDEOS}{other}")).problem(), (422, "key-reused".into()), "{other}");
    }
    // As long as the first, so that only its bytes tell.
    let noise: Vec<u8> = bytes.iter().map(|byte| byte ^ 1).collect();
    let other = server.ask(VIDEOS).method("POST").header("idempotency-key", "k1").body(noise).send().unwrap();
    assert_eq!(other.problem(), (422, "key-reused".into()));
    assert_ne!(create("k2", VIDEOS).json()["id"], first.json()["id"]);
    assert_eq!(create("", VIDEOS).problem(), (400, "body".into()));
    let server = server.restart();
    let kept = server.ask(VIDEOS).method("POST").header("idempotency-key", "k1").body(bytes).send().unwrap();
    assert_eq!(kept.json()["id"], first.json()["id"], "also after a restart");
}

#[test]
fn what_happens_is_told_with_progress_and_can_be_caught_up_with() {
    let server = TestServer::start();
    let id = upload(&server);
    let told =
        event(&server, &format!("{VIDEOS}/{id}/events"), |kind, data| kind == "state" && data["state"] == "ready");
    assert_eq!((&told["video"], &told["error"]), (&id.clone().into(), &Value::Null));
    // Who comes back names what was heard last; what happened since a name of another run of the server is not known.
    let mut stream = server.ask("/api/v1/events").header("last-event-id", "0000000000000000-0").open().unwrap();
    assert_eq!(stream.headers.iter().find(|(name, _)| name == "content-type").unwrap().1, "text/event-stream");
    let begin = String::from_utf8(stream.some().unwrap()).unwrap();
    assert!(begin.starts_with("retry: 2000\n\nid: ") && begin.ends_with("\nevent: missed\ndata: {}\n\n"), "{begin}");
    server.ask(&format!("{VIDEOS}/{id}")).method("DELETE").send().unwrap();
    let removed = String::from_utf8(stream.some().unwrap()).unwrap();
    let (name, rest) = removed.strip_prefix("id: ").unwrap().split_once('\n').unwrap();
    assert!(rest.starts_with("event: removed\ndata: "), "{removed}");
    let (run, number) = name.split_once('-').unwrap();
    let before = format!("{run}-{}", number.parse::<u64>().unwrap() - 1);
    let mut late = server.ask("/api/v1/events").header("last-event-id", &before).open().unwrap();
    assert!(String::from_utf8(late.some().unwrap()).unwrap().ends_with(&removed));
    server.signal(Signal::TERM);
    stream.rest().expect("a stream ends in order when the server stops");
    late.rest().unwrap();
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
}

/// All but one could be told that the title had changed, which they had not asked.
#[test]
fn changes_without_a_condition_at_the_same_time_are_all_made() {
    let server = TestServer::start();
    let path = format!("{VIDEOS}/{}", ready(&server));
    let all_ready = std::sync::Barrier::new(8);
    let change = |n: u32| {
        all_ready.wait();
        let asking = server.ask(&path).method("PATCH").header("content-type", "application/merge-patch+json");
        asking.body(json!({ "metadata": { format!("field{n}"): n } }).to_string()).send().unwrap().status
    };
    let change = &change;
    let said: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|n| scope.spawn(move || change(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(said, [200; 8]);
    assert_eq!(server.get(&path).json()["metadata"].as_object().unwrap().len(), 8);
}

#[test]
fn a_title_removed_while_somebody_plays_it_is_gone_with_all_its_bytes() {
    let server = TestServer::start();
    let id = ready(&server);
    let playlist = server.playlists(&id).into_iter().find(|path| path.contains("144p")).expect("a rung to encode");
    let segments = server.segments(&playlist);
    server.bytes(&segments[0]);
    server.bytes(&segments[1]);
    let mut streaming = server.ask(&segments[2]).open().unwrap();
    streaming.some().unwrap();
    let removed = server.ask(&format!("{VIDEOS}/{id}")).method("DELETE").send().unwrap();
    let said = removed.json();
    assert_eq!((removed.status, &said["source"]["removed"]), (200, &true.into()), "{said}");
    assert!(said["cache"]["memory_objects"].as_u64().unwrap() >= 2, "{said}");
    assert_eq!(said["paths"], json!([format!("/v/{id}/")]));
    // What was under way ends whole or is broken off; nothing begins any more.
    let _ = streaming.rest();
    for path in [&segments[1], &segments[3], &playlist, &format!("/v/{id}/master.m3u8"), &format!("{VIDEOS}/{id}")] {
        let gone = server.get(path);
        assert_eq!((gone.status, gone.header("cache-control")), (404, Some("no-store")), "{path}");
    }
    assert_eq!(server.data.files("library"), Vec::<String>::new());
    until("its segments are gone", || server.data.files("cache") == ["cache/CACHEDIR.TAG", "cache/index"]);
    until("nobody works on it", || server.metric("matinee_runs_active") == 0.0);
    let again = server.ask(&format!("{VIDEOS}/{id}")).method("DELETE").send().unwrap();
    assert_eq!(again.problem(), (404, "no-title".into()));
}

/// It was half removed, and asked for again it was not there.
#[test]
fn a_title_is_removed_whatever_becomes_of_its_source() {
    let server = TestServer::start();
    let id = ready(&server);
    // Nobody can lock what is a folder.
    let lock = server.data.path().join("staging/.lock");
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    let removed = server.ask(&format!("{VIDEOS}/{id}")).method("DELETE").send().unwrap();
    assert_eq!((removed.status, &removed.json()["source"]["removed"]), (200, &json!(false)), "{}", removed.text());
    assert_eq!(server.data.sources().len(), 1);
    std::fs::remove_dir(&lock).unwrap();
    assert_eq!(server.restart().data.sources().len(), 0);
}

#[test]
fn what_two_titles_share_goes_with_the_second() {
    let server = TestServer::start();
    let (one, two) = (ready(&server), ready(&server));
    let path = server.segments(&server.playlist(&two, "audio-64k"))[1].clone();
    let bytes = server.bytes(&path);
    let remove = |id: &str| server.ask(&format!("{VIDEOS}/{id}")).method("DELETE").send().unwrap().json();
    let first = remove(&one);
    assert_eq!((&first["source"]["removed"], &first["cache"]["memory_objects"]), (&false.into(), &0.into()), "{first}");
    let kept = server.get(&path);
    assert_eq!((kept.header("x-cache"), &kept.body), (Some("memory"), &bytes));
    let second = remove(&two);
    assert_eq!(second["source"]["removed"], true, "{second}");
    assert_eq!(server.data.files("library"), Vec::<String>::new());
}

#[test]
fn a_page_of_another_site_can_change_nothing_and_methods_are_told() {
    let server = TestServer::start();
    let foreign = server.ask(VIDEOS).method("POST").header("origin", "https://example.org").body("x").send().unwrap();
    assert_eq!(foreign.problem(), (403, "cross-site".into()));
    let method = server.ask("/api/v1/events").method("POST").body("").send().unwrap();
    assert_eq!((method.problem().0, method.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
    let options = server.ask(VIDEOS).method("OPTIONS").send().unwrap();
    assert_eq!((options.status, options.header("allow")), (204, Some("GET, HEAD, POST, PUT, OPTIONS")));
    assert_eq!(options.header("access-control-allow-methods"), options.header("allow"));
    assert_eq!(options.header("accept-patch"), None);
    let options = server.ask(&format!("{VIDEOS}/000000000000")).method("OPTIONS").send().unwrap();
    assert_eq!(options.header("accept-patch"), Some("application/merge-patch+json, application/json"));
    let put = server.ask(&format!("{VIDEOS}/000000000000")).method("PUT").body("x").send().unwrap();
    assert_eq!((put.problem().0, put.header("allow")), (405, Some("GET, HEAD, PATCH, DELETE, OPTIONS")));
    assert!(put.text().contains("/api/v1/videos/?filename=000000000000"), "{}", put.text());
    assert_eq!(server.get("/api/v1/nothing").problem(), (404, "no-route".into()));
    let head = server.ask(VIDEOS).method("HEAD").send().unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
}
