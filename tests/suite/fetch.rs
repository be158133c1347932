//! Films that are fetched by their URLs, from servers that behave and from servers that do not.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use crate::support::{Answer, Data, PATIENCE, TestServer, skipped, until};
use crate::tus::{longer, on_a_small_disk, with_a_disk_of_its_own};
use crate::uploads::film;

const VIDEOS: &str = "/api/v1/videos";
const JOBS: &str = "/api/v1/jobs";
/// Servers of the tests are on loopback.
const OPEN: (&str, &str) = ("MATINEE_OUTBOUND__PRIVATE_NETWORKS", "true");

/// What is said of bytes that are no film, by how they begin.
const REFUSALS: [&str; 4] = ["not_media", "no_playable_track", "damaged", "unsupported_codec"];
/// Stands for any of those.
const INSPECTED: &str = "inspected";

/// A server that answers by a closure, one connection after another on threads of their own, and remembers the requests.
struct Elsewhere {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Elsewhere {
    fn new(answer: impl Fn(usize, &str, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, heads) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let (answer, seen) = (Arc::new(answer), heads.clone());
        thread::spawn(move || {
            for (n, socket) in listener.incoming().enumerate() {
                let (mut socket, answer, seen) = (socket.unwrap(), answer.clone(), seen.clone());
                thread::spawn(move || {
                    let mut head = Vec::new();
                    let mut byte = [0];
                    while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).unwrap_or(0) == 1 {
                        head.push(byte[0]);
                    }
                    let head = String::from_utf8(head).unwrap();
                    seen.lock().unwrap().push(head.clone());
                    answer(n, &head, &mut socket);
                });
            }
        });
        Self { address, heads }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn say(socket: &mut TcpStream, head: &str, body: &[u8]) {
    let _ = socket.write_all(format!("HTTP/1.1 {head}\r\n\r\n").as_bytes());
    let _ = socket.write_all(body);
}

/// The film, or the part of it that is asked for.
fn serve(head: &str, socket: &mut TcpStream) {
    serve_bytes(&film().1, head, socket);
}

fn serve_bytes(film: &[u8], head: &str, socket: &mut TcpStream) {
    let from =
        head.lines().find_map(|line| line.strip_prefix("range: bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let (status, from) = match from {
        Some(from) => {
            (format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{}", film.len() - 1, film.len()), from)
        }
        None => ("200 OK".to_owned(), 0),
    };
    say(socket, &format!("{status}\r\nETag: \"1\"\r\nContent-Length: {}", film.len() - from), &film[from..]);
}

fn post(server: &TestServer, body: &Value) -> Answer {
    let asked = server.ask(VIDEOS).method("POST").header("content-type", "application/json");
    asked.body(body.to_string()).send().unwrap()
}

/// Has a film fetched; its id.
fn fetch(server: &TestServer, url: &str) -> String {
    let answer = post(server, &json!({ "url": url }));
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// What becomes of it.
fn outcome(server: &TestServer, id: &str) -> Value {
    let mut video = Value::Null;
    until("a title is ready or has failed", || {
        video = server.get(&format!("{VIDEOS}/{id}")).json();
        video["state"] == "ready" || video["state"] == "failed"
    });
    video
}

fn assert_nothing_kept(server: &TestServer) {
    until("what was fetched is removed", || server.data.files("uploads").is_empty());
    until("what was staged is removed", || server.data.files("staging") == ["staging/.lock"]);
    until("what was refused is removed", || server.data.sources().is_empty());
}

#[test]
fn a_film_is_fetched_by_its_url_and_becomes_a_title_like_any_other() {
    let elsewhere = Elsewhere::new(|_, head, socket| {
        let path = head.split(' ').nth(1).unwrap();
        match path {
            "/moved" => say(socket, "302 Found\r\nLocation: a/my%20film.mp4\r\nContent-Length: 0", b""),
            _ => serve(head, socket),
        }
    });
    let server = TestServer::with(&Data::new(), &[OPEN]);
    let body =
        json!({ "url": elsewhere.url("/moved"), "title": "A film", "metadata": {"year": 2026}, "filename": "f.mp4" });
    let asked = || {
        let asked = server.ask(VIDEOS).method("POST").header("content-type", "application/json");
        asked.header("idempotency-key", "one").body(body.to_string()).send().unwrap()
    };
    let answer = asked();
    let video = answer.json();
    let id = video["id"].as_str().unwrap().to_owned();
    assert_eq!((answer.status, answer.header("location")), (201, Some(format!("{VIDEOS}/{id}").as_str())), "{video}");
    assert_eq!(asked().json()["id"], id.as_str(), "the same creation");
    let other = server.ask(VIDEOS).method("POST").header("content-type", "application/json");
    let other =
        other.header("idempotency-key", "one").body(json!({"url": elsewhere.url("/")}).to_string()).send().unwrap();
    assert_eq!(other.problem(), (422, "key-reused".into()));

    let video = outcome(&server, &id);
    assert_eq!((&video["state"], &video["size_bytes"]), (&json!("ready"), &json!(film().1.len())), "{video}");
    assert_eq!(
        (&video["title"], &video["metadata"]["year"], &video["file_name"]),
        (&json!("A film"), &json!(2026), &json!("f.mp4"))
    );
    let heads = elsewhere.heads();
    assert_eq!(heads.len(), 2, "{heads:?}");
    assert!(
        heads[1].starts_with("GET /a/my%20film.mp4 HTTP/1.1\r\n") && heads[1].contains("accept-encoding: identity\r\n")
    );
    let jobs = server.get(JOBS).json();
    let kinds: Vec<&Value> = jobs["jobs"].as_array().unwrap().iter().map(|job| &job["kind"]).collect();
    assert_eq!(kinds, ["process", "fetch"]);
    until("what was fetched is a source alone", || server.data.files("uploads").is_empty());
    assert_eq!(server.get(&format!("/v/{id}/master.m3u8")).status, 200);
}

#[test]
fn a_broken_transfer_goes_on_where_it_broke_also_after_a_restart() {
    let (reached, halfway): (SyncSender<()>, Receiver<()>) = sync_channel(1);
    let elsewhere = Elsewhere::new(move |n, head, socket| {
        let film = film().1;
        let (third, length) = (film.len() / 3, film.len());
        match n {
            0 => say(socket, &format!("200 OK\r\nETag: \"1\"\r\nContent-Length: {length}"), &film[..third]),
            1 => {
                let range = format!("Content-Range: bytes {third}-{}/{length}", length - 1);
                let head =
                    format!("206 Partial Content\r\n{range}\r\nETag: \"1\"\r\nContent-Length: {}", length - third);
                say(socket, &head, &film[third..2 * third]);
                reached.send(()).unwrap();
                // Held open until the client has gone.
                let _ = socket.read(&mut [0]);
            }
            _ => serve(head, socket),
        }
    });
    let server = TestServer::with(&Data::new(), &[OPEN]);
    let id = fetch(&server, &elsewhere.url("/film.mp4"));
    halfway.recv_timeout(PATIENCE).unwrap();
    assert_eq!(server.get(&format!("{VIDEOS}/{id}")).json()["state"], "receiving");
    let data = server.data.clone();
    drop(server);
    let server = TestServer::with(&data, &[OPEN]);
    let video = outcome(&server, &id);
    assert_eq!((&video["state"], &video["size_bytes"]), (&json!("ready"), &json!(film().1.len())), "{video}");
    let heads = elsewhere.heads();
    assert!(!heads[0].contains("range: "), "{heads:?}");
    let third = film().1.len() / 3;
    assert!(
        heads[1].contains(&format!("\r\nrange: bytes={third}-\r\n")) && heads[1].contains("\r\nif-range: \"1\"\r\n"),
        "{heads:?}"
    );
    let from: usize = heads[2].split("\r\nrange: bytes=").nth(1).unwrap().split('-').next().unwrap().parse().unwrap();
    assert!((third..=2 * third).contains(&from), "{from} of {}", film().1.len());
    let digest = server.data.sources();
    assert_eq!(digest, [crate::uploads::sha256(&film().1)]);
}

/// Bytes of two versions were put together.
#[test]
fn a_part_of_another_version_is_not_appended() {
    let elsewhere = Elsewhere::new(move |n, head, socket| {
        let film = film().1;
        let (third, length) = (film.len() / 3, film.len());
        match n {
            0 => say(socket, &format!("200 OK\r\nETag: \"0\"\r\nContent-Length: {length}"), &vec![7; third]),
            // Does not heed If-Range.
            _ => serve(head, socket),
        }
    });
    let server = TestServer::with(&Data::new(), &[OPEN]);
    let video = outcome(&server, &fetch(&server, &elsewhere.url("/film.mp4")));
    assert_eq!(video["state"], "ready", "{video}");
    assert_eq!(server.data.sources(), [crate::uploads::sha256(&film().1)]);
    let heads = elsewhere.heads();
    let asked: Vec<bool> = heads.iter().map(|head| head.contains("\r\nrange: ")).collect();
    assert_eq!(asked, [false, true, false], "{heads:?}");
}

#[test]
fn a_disk_that_fills_up_is_said_and_waited_for_and_uses_up_no_attempt() {
    let Some(way) = with_a_disk_of_its_own() else {
        skipped("no small disk can be mounted here, so none was filled");
        return;
    };
    let bytes = Arc::new(longer(8 << 20));
    let (reached, halfway) = sync_channel::<()>(1);
    let (filled, full) = sync_channel::<()>(1);
    let (served, full) = (bytes.clone(), Mutex::new(full));
    let elsewhere = Elsewhere::new(move |n, head, socket| {
        if n > 0 {
            return serve_bytes(&served, head, socket);
        }
        let (first, rest) = served.split_at(served.len() / 2);
        say(socket, &format!("200 OK\r\nETag: \"1\"\r\nContent-Length: {}", served.len()), first);
        reached.send(()).unwrap();
        full.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        let _ = socket.write_all(rest);
    });
    let data = Data::new();
    let (server, seen) = on_a_small_disk(&data, &way, &[OPEN, ("MATINEE_UPLOADS__ATTEMPTS", "1")]);
    let id = fetch(&server, &elsewhere.url("/film.mp4"));
    halfway.recv_timeout(PATIENCE).unwrap();
    let free = || rustix::fs::statvfs(&seen).map(|disk| disk.f_bavail * disk.f_frsize).unwrap();
    let mut ballast = fs::File::create(seen.join("ballast")).unwrap();
    // Bit by bit: what came so far may still be on its way to the disk, too.
    while free() > 2 << 20 {
        ballast.write_all(&[0; 64 << 10]).unwrap();
    }
    drop(ballast);
    filled.send(()).unwrap();
    let job = || server.get(JOBS).json()["jobs"][0].clone();
    until("the job waits", || job()["state"] == "queued" && job()["error"]["code"] == "disk_full");
    // It looks for room, and looks again.
    let looks = elsewhere.heads().len();
    until("it has looked again", || elsewhere.heads().len() > looks + 1);
    assert_eq!(server.get(&format!("{VIDEOS}/{id}")).json()["state"], "receiving");
    fs::remove_file(seen.join("ballast")).unwrap();
    let video = outcome(&server, &id);
    assert_eq!((&video["state"], &video["size_bytes"]), (&json!("ready"), &json!(bytes.len())), "{video}");
    assert!(elsewhere.heads().last().unwrap().contains("range: bytes="), "what was there is not fetched again");
}

#[test]
fn what_cannot_be_a_film_fails_with_the_reason_and_leaves_nothing() {
    let elsewhere = Elsewhere::new(|_, head, socket| match head.split(' ').nth(1).unwrap() {
        "/404" => say(socket, "404 Not Found\r\nContent-Length: 0", b""),
        "/empty" => say(socket, "200 OK\r\nContent-Length: 0", b""),
        "/huge" => say(socket, "200 OK\r\nContent-Length: 99999999999999", b""),
        "/endless" => {
            say(socket, "200 OK", b"");
            while socket.write_all(&[0; 64 << 10]).is_ok() {}
        }
        "/gzip" => say(socket, "200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4", b"film"),
        "/loop" => say(socket, "302 Found\r\nLocation: /loop", b""),
        "/file" => say(socket, "302 Found\r\nLocation: file:///etc/passwd", b""),
        "/part" => say(socket, "206 Partial Content\r\nContent-Range: bytes 5-8/9\r\nContent-Length: 4", b"film"),
        "/page" => say(socket, "200 OK\r\nContent-Type: text/html", b"<!doctype html><title>Log in</title>"),
        "/list.m3u8" => say(socket, "200 OK", b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n"),
        "/list.mpd" => say(socket, "200 OK", b"<?xml version=\"1.0\"?><MPD><BaseURL>file:///etc/</BaseURL></MPD>"),
        "/short" => say(socket, "200 OK\r\nContent-Length: 9", b"film"),
        path => panic!("{path}"),
    });
    let limits = [OPEN, ("MATINEE_UPLOADS__MAX_BYTES", "1000000"), ("MATINEE_UPLOADS__ATTEMPTS", "1")];
    let server = TestServer::with(&Data::new(), &limits);
    let paths = [
        ("/404", "http_status"),
        ("/empty", "empty"),
        ("/huge", "too_large"),
        ("/endless", "too_large"),
        ("/gzip", "coded"),
        ("/loop", "redirect"),
        ("/file", "url_scheme"),
        ("/part", "broken_off"),
        ("/short", "broken_off"),
        ("/page", INSPECTED),
        ("/list.m3u8", INSPECTED),
        ("/list.mpd", INSPECTED),
    ];
    let ids: Vec<String> = paths.iter().map(|(path, _)| fetch(&server, &elsewhere.url(path))).collect();
    for (id, (path, code)) in ids.iter().zip(paths) {
        let video = outcome(&server, id);
        let said = video["error"]["code"].as_str().unwrap_or_default();
        let good = if code == INSPECTED { REFUSALS.contains(&said) } else { said == code };
        assert!(video["state"] == "failed" && good, "{path}: {video}");
    }
    assert_nothing_kept(&server);
    assert_eq!(
        elsewhere.heads().len(),
        paths.len() + 5,
        "a redirect is followed five times, and nothing in a playlist"
    );
}

#[test]
fn what_must_not_be_asked_for_is_refused_at_once() {
    let elsewhere = Elsewhere::new(|_, _, _| {});
    let server = TestServer::start();
    for (url, expected) in [
        (elsewhere.url("/"), (403, "private-address")),
        ("http://localhost:8080/".into(), (403, "private-address")),
        ("http://[::ffff:169.254.169.254]/latest/".into(), (403, "private-address")),
        ("file:///etc/passwd".into(), (400, "url")),
        ("https://a:b@example.org/".into(), (400, "url")),
        ("http://example.org:25/".into(), (400, "url")),
        ("http://example.org/\r\nX-Evil: 1".into(), (400, "url")),
        ("http://2130706433/".into(), (400, "url")),
        (String::new(), (400, "url")),
    ] {
        let answer = post(&server, &json!({ "url": url }));
        assert_eq!(answer.problem(), (expected.0, expected.1.to_owned()), "{url:?}");
    }
    assert_eq!(post(&server, &json!({})).problem(), (400, "body".into()));
    assert_eq!(post(&server, &json!([])).problem(), (400, "body".into()));
    let put = server.ask(VIDEOS).method("PUT").header("content-type", "application/json").body("{}").send().unwrap();
    assert_eq!(put.problem(), (415, "media-type".into()));
    assert_eq!(elsewhere.heads(), Vec::<String>::new());
    assert_eq!(server.get(VIDEOS).json()["videos"], json!([]));
}

#[test]
fn a_fetch_can_be_called_off_by_its_job_and_by_its_title() {
    let (reached, halfway) = sync_channel(2);
    let elsewhere = Elsewhere::new(move |_, _, socket| {
        say(socket, "200 OK\r\nETag: \"1\"\r\nContent-Length: 1000000", &[0; 300_000]);
        reached.send(()).unwrap();
        // Ends when the client hangs up.
        let _ = socket.read(&mut [0]);
        reached.send(()).unwrap();
    });
    let server = TestServer::with(&Data::new(), &[OPEN]);
    for by_job in [true, false] {
        let id = fetch(&server, &elsewhere.url("/film.mp4"));
        halfway.recv_timeout(PATIENCE).unwrap();
        let path = if by_job {
            let jobs = server.get(JOBS).json();
            format!("{JOBS}/{}", jobs["jobs"][0]["id"].as_str().unwrap())
        } else {
            format!("{VIDEOS}/{id}")
        };
        let answer = server.ask(&path).method("DELETE").send().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        halfway.recv_timeout(PATIENCE).unwrap();
        let video = server.get(&format!("{VIDEOS}/{id}")).json();
        assert_eq!(
            if by_job { &video["error"]["code"] } else { &video["status"] },
            &if by_job { json!("cancelled") } else { json!(404) }
        );
        assert_nothing_kept(&server);
    }
}

#[test]
fn a_token_bounds_what_is_fetched_with_it() {
    let elsewhere = Elsewhere::new(|_, head, socket| serve(head, socket));
    let server = TestServer::with(&Data::new(), &[OPEN]);
    let asked = server.ask("/api/v1/upload-tokens").method("POST").header("content-type", "application/json");
    let token = asked.body(json!({ "max_bytes": 1000 }).to_string()).send().unwrap().json();
    let with_token = |body: &Value| {
        let asked = server.ask(VIDEOS).method("POST").header("content-type", "application/json");
        let bearer = format!("Bearer {}", token["token"].as_str().unwrap());
        asked.header("authorization", &bearer).body(body.to_string()).send().unwrap()
    };
    let body = json!({ "url": elsewhere.url("/film.mp4") });
    let answer = with_token(&body);
    assert_eq!((answer.status, &answer.json()["id"]), (201, &token["video"]));
    let video = outcome(&server, token["video"].as_str().unwrap());
    assert_eq!(video["error"]["code"], "too_large", "{video}");
    assert_eq!(with_token(&body).problem(), (409, "token-spent".into()));
    assert_nothing_kept(&server);
}
