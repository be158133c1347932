//! Every problem that the API's description names is provoked here, and looks as it is described.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use matinee::api::Kind;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{Answer, Asking, Data, PATIENCE, TestServer, until};
use crate::uploads::{film, settled};

const VIDEOS: &str = "/api/v1/videos";
const UPLOADS: &str = "/api/v1/uploads";
const NOBODY: &str = "000000000000";

/// What was seen so far.
#[derive(Default)]
struct Seen(BTreeSet<String>);

impl Seen {
    /// Takes an answer that must be this problem.
    fn add(&mut self, kind: Kind, answer: &Answer) {
        let (status, word, title, _) = kind.entry();
        let said = answer.json();
        assert_eq!((answer.status, &said["type"]), (status.as_u16(), &json!(format!("urn:matinee:problem:{word}"))));
        assert_eq!((&said["title"], &said["status"]), (&json!(title), &json!(status.as_u16())), "{said}");
        assert!(said["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{said}");
        assert_eq!(answer.header("x-request-id"), said["request_id"].as_str(), "{said}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{said}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{said}");
        self.0.insert(word.to_owned());
    }

    fn ask(&mut self, kind: Kind, asking: Asking) {
        self.add(kind, &asking.send().unwrap());
    }
}

fn ask(server: &TestServer, method: &'static str, path: &str) -> Asking {
    server.ask(path).method(method)
}

fn post(server: &TestServer, path: &str, body: impl Into<Vec<u8>>) -> Asking {
    ask(server, "POST", path).body(body)
}

fn object(server: &TestServer, path: &str, body: &Value) -> Asking {
    post(server, path, body.to_string()).header("content-type", "application/json")
}

fn tus(server: &TestServer, method: &'static str, path: &str) -> Asking {
    ask(server, method, path).header("tus-resumable", "1.0.0")
}

fn create(server: &TestServer, fields: &[(&str, &str)]) -> Answer {
    let asking = tus(server, "POST", UPLOADS).body("");
    fields.iter().fold(asking, |asking, (name, value)| asking.header(name, value)).send().unwrap()
}

fn location(answer: &Answer) -> String {
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.header("location").unwrap().to_owned()
}

fn patch(server: &TestServer, path: &str, offset: &str, bytes: &[u8]) -> Asking {
    let asking = tus(server, "PATCH", path).header("content-type", "application/offset+octet-stream");
    asking.header("upload-offset", offset).body(bytes)
}

/// A request written by hand, whose caller says when it goes on.
fn raw(server: &TestServer, text: &str) -> TcpStream {
    let mut socket = TcpStream::connect(server.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(text.as_bytes()).unwrap();
    socket
}

/// The answer to it; the server closes the connection, or was asked to.
fn rest(mut socket: &TcpStream) -> Answer {
    let mut text = String::new();
    let _ = socket.read_to_string(&mut text);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let (line, fields) = head.split_once("\r\n").unwrap();
    let fields = fields.lines().filter_map(|line| line.split_once(": "));
    Answer {
        status: line.split(' ').nth(1).unwrap().parse().unwrap(),
        headers: fields.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
        body: body.into(),
    }
}

/// What can be said by one request, or by two.
fn simple(server: &TestServer, seen: &mut Seen) {
    seen.ask(Kind::Url, object(server, VIDEOS, &json!({ "url": "file:///etc/passwd" })));
    seen.ask(Kind::PrivateAddress, object(server, VIDEOS, &json!({ "url": "http://127.0.0.1/" })));
    seen.ask(Kind::NoRoute, server.ask("/api/v1/nothing"));
    seen.ask(Kind::NoTitle, server.ask(&format!("{VIDEOS}/{NOBODY}")));
    seen.ask(Kind::NoJob, server.ask(&format!("/api/v1/jobs/{NOBODY}")));
    seen.ask(Kind::NoKey, ask(server, "DELETE", &format!("/api/v1/keys/{NOBODY}")));
    seen.ask(Kind::NoUpload, tus(server, "HEAD", &format!("{UPLOADS}/{}", "0".repeat(32))).method("GET"));
    seen.ask(Kind::Method, ask(server, "PUT", "/api/v1/jobs"));
    seen.ask(Kind::Query, server.ask(&format!("{VIDEOS}?limit=x")));
    seen.ask(Kind::Body, object(server, "/api/v1/keys", &json!({})));
    seen.ask(Kind::TooLarge, object(server, "/api/v1/keys", &json!({ "name": "x".repeat(100_000) })));
    seen.ask(Kind::MediaType, post(server, VIDEOS, "<html>").header("content-type", "text/html"));
    seen.ask(Kind::Encoding, post(server, VIDEOS, "x").header("content-encoding", "gzip"));
    seen.ask(Kind::Empty, post(server, VIDEOS, ""));
    let digest = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";
    seen.ask(Kind::Digest, post(server, VIDEOS, "x").header("content-digest", digest));
    seen.ask(Kind::DigestAlgorithm, post(server, VIDEOS, "x").header("content-digest", "md5=:AAAA:"));
    seen.ask(Kind::Unauthorised, server.ask(VIDEOS).header("authorization", "Bearer matinee_x"));
    seen.ask(Kind::CrossSite, post(server, VIDEOS, "x").header("origin", "https://example.org"));
    let foreign = raw(server, &format!("GET {VIDEOS} HTTP/1.1\r\nhost: example.org\r\nconnection: close\r\n\r\n"));
    seen.add(Kind::Host, &rest(&foreign));
}

/// What a body is that does not come as was said.
fn bodies(server: &TestServer, seen: &mut Seen) {
    let head = format!("POST {VIDEOS} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: video/mp4\r\n");
    let broken = raw(server, &format!("{head}transfer-encoding: chunked\r\n\r\n1\r\nx\r\nno number\r\n"));
    seen.add(Kind::Incomplete, &rest(&broken));
    // Named, and made while it is asked for again.
    let key = format!("{head}idempotency-key: same\r\ncontent-length: 9999\r\n");
    let mut first = raw(server, &format!("{key}expect: 100-continue\r\n\r\n"));
    first.read_exact(&mut [0; 12]).unwrap();
    let again = post(server, VIDEOS, "x".repeat(9999)).header("idempotency-key", "same");
    seen.ask(Kind::KeyInUse, again.header("content-type", "video/mp4"));
    first.shutdown(Shutdown::Both).unwrap();
}

/// What becomes of an uploader who says nothing more.
fn stalled(seen: &mut Seen) {
    let server = TestServer::with(&Data::new(), &[("MATINEE_UPLOADS__STALL_SECONDS", "1")]);
    let head = format!("POST {VIDEOS} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: video/mp4\r\n");
    let silent = raw(&server, &format!("{head}content-length: 10\r\n\r\nx"));
    seen.add(Kind::Stalled, &rest(&silent));
}

/// What has to do with a title that is there, or failed.
fn titles(server: &TestServer, seen: &mut Seen) {
    let made = |body: Vec<u8>| {
        let answer = post(server, VIDEOS, body).header("idempotency-key", "once").send().unwrap();
        (answer.status == 201).then(|| answer.json()["id"].as_str().unwrap().to_owned()).ok_or(answer)
    };
    let bad = made(b"no film".to_vec()).unwrap();
    seen.add(Kind::KeyReused, &made(film().1).unwrap_err());
    assert_eq!(settled(server, &bad)["state"], "failed");
    let bad = format!("{VIDEOS}/{bad}");
    seen.ask(Kind::NotReady, object(server, &format!("{bad}/warm"), &json!({})));
    let change = object(server, &bad, &json!({ "title": "x" })).method("PATCH");
    seen.ask(Kind::Version, change.header("if-match", "\"another\""));
    let job = server.get("/api/v1/jobs").json()["jobs"][0]["id"].as_str().unwrap().to_owned();
    seen.ask(Kind::JobEnded, ask(server, "DELETE", &format!("/api/v1/jobs/{job}")));
}

fn tokens(server: &TestServer, seen: &mut Seen) {
    let issued = object(server, "/api/v1/upload-tokens", &json!({})).send().unwrap().json();
    let bearer = format!("Bearer {}", issued["token"].as_str().unwrap());
    let send = || post(server, VIDEOS, film().1).header("authorization", &bearer);
    seen.ask(Kind::Scope, server.ask(VIDEOS).header("authorization", &bearer));
    assert_eq!(send().send().unwrap().status, 201);
    seen.ask(Kind::TokenSpent, send());
}

/// Uploads in several goes; there may be two at once.
fn resumable(server: &TestServer, seen: &mut Seen) {
    let path = location(&create(server, &[("upload-length", "20")]));
    seen.ask(Kind::TusVersion, ask(server, "PATCH", &path).header("upload-offset", "0").body("x"));
    seen.ask(Kind::UploadOffset, patch(server, &path, "5", b"x"));
    let sum = "sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    seen.ask(Kind::Checksum, patch(server, &path, "0", b"x").header("upload-checksum", sum));
    let held = raw(
        server,
        &format!(
            "PATCH {path} HTTP/1.1\r\nhost: x\r\ntus-resumable: 1.0.0\r\nconnection: close\r\nupload-offset: 0\r\n\
             content-type: application/offset+octet-stream\r\ncontent-length: 20\r\nexpect: 100-continue\r\n\r\n"
        ),
    );
    (&held).read_exact(&mut [0; 25]).unwrap();
    assert_eq!(tus(server, "HEAD", &path).send().unwrap().status, 200, "a newer request has it");
    seen.add(Kind::UploadLocked, &rest(&held));
    let part = location(&create(server, &[("upload-length", "1"), ("upload-concat", "partial")]));
    assert_eq!(patch(server, &part, "0", b"x").send().unwrap().status, 204);
    seen.add(Kind::Busy, &create(server, &[("upload-length", "1")]));
    assert_eq!(tus(server, "DELETE", &path).send().unwrap().status, 204);
    let whole = location(&create(server, &[("upload-concat", &format!("final;{part}"))]));
    seen.ask(Kind::UploadFinal, patch(server, &whole, "1", b""));
}

/// An upload is given up when nobody goes on with it; soon after, nobody knows it any more.
fn expired(seen: &mut Seen) {
    const HOUR_MS: i64 = 3_600_000;
    /// The server's next look comes after a minute.
    const LONGEST_MS: i64 = 50_000;
    let settings = [("MATINEE_UPLOADS__EXPIRE_HOURS", "1")];
    let data = Data::new();
    let mut moment_ms = 2000;
    let answer = loop {
        let server = TestServer::with(&data, &settings);
        let path = location(&create(&server, &[("upload-length", "20")]));
        drop(server);
        let library = matinee::library::Library::open(data.path()).unwrap();
        let id = path.rsplit('/').next().unwrap().parse().unwrap();
        // It expires a moment after the next start, which looks for expired ones at once and then once a minute.
        let touched = matinee::catalog::now_ms() - HOUR_MS + moment_ms;
        library.open_resumable(&id).unwrap().0.set_length(20, touched).unwrap();
        drop(library);
        let server = TestServer::with(&data, &settings);
        let mut answer = server.get(&path);
        until("it expires", || {
            answer = server.get(&path);
            answer.status != 200
        });
        // A start that took longer than the moment was too late.
        if answer.status != 404 {
            break answer;
        }
        moment_ms *= 2;
        assert!(moment_ms < LONGEST_MS, "no start was quick enough");
    };
    seen.add(Kind::UploadExpired, &answer);
}

fn crowded(seen: &mut Seen) {
    let reserve = (1_u64 << 60).to_string();
    let server = TestServer::with(&Data::new(), &[("MATINEE_UPLOADS__RESERVE_BYTES", &reserve)]);
    seen.ask(Kind::DiskFull, post(&server, VIDEOS, "x"));
    let catalog = Connection::open(server.data.path().join("catalog.sqlite")).unwrap();
    let keys = "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
         INSERT INTO api_keys (id, name, hash, scopes, created_at_ms)
         SELECT printf('%012d', i), 'x', zeroblob(32), 'read', 0 FROM n";
    let admin = object(&server, "/api/v1/keys", &json!({ "name": "x", "scopes": ["admin"] })).send().unwrap().json();
    catalog.execute(keys, []).unwrap();
    drop(catalog);
    let more = object(&server, "/api/v1/keys", &json!({ "name": "x", "scopes": ["read"] }));
    seen.ask(Kind::TooManyKeys, more.header("authorization", &format!("Bearer {}", admin["key"].as_str().unwrap())));
}

/// What a key may not do beyond its limits, and nobody too often.
fn limits(seen: &mut Seen) {
    let server = TestServer::with(&Data::new(), &[]);
    let admin = object(&server, "/api/v1/keys", &json!({ "name": "x", "scopes": ["admin"] })).send().unwrap().json();
    let bearer = |key: &Value| format!("Bearer {}", key["key"].as_str().unwrap());
    let limited = json!({ "name": "x", "scopes": ["upload"], "max_bytes": 10, "max_uploads": 1 });
    let limited = object(&server, "/api/v1/keys", &limited).header("authorization", &bearer(&admin)).send().unwrap();
    let limited = bearer(&limited.json());
    seen.ask(Kind::Quota, post(&server, VIDEOS, "eleven byte").header("authorization", &limited));
    let begin = || create(&server, &[("upload-length", "1"), ("authorization", &limited)]);
    location(&begin());
    seen.add(Kind::TooManyUploads, &begin());
    let server = TestServer::with(&Data::new(), &[("MATINEE_OUTBOUND__PRIVATE_NETWORKS", "true")]);
    let webhook = || object(&server, "/api/v1/webhooks", &json!({ "url": "http://127.0.0.1:9/" }));
    for _ in 0..matinee::catalog::MAX_WEBHOOKS {
        assert_eq!(webhook().send().unwrap().status, 201);
    }
    seen.ask(Kind::TooManyWebhooks, webhook());
    seen.ask(Kind::NoWebhook, server.ask(&format!("/api/v1/webhooks/{NOBODY}")));
    let server = TestServer::with(&Data::new(), &[("MATINEE_SERVER__API_REQUESTS_PER_MINUTE", "1")]);
    assert_eq!(server.get(VIDEOS).status, 200);
    seen.ask(Kind::TooOften, server.ask(VIDEOS));
}

fn defect(seen: &mut Seen) {
    let server = TestServer::start();
    let (staging, away) = (server.data.path().join("staging"), server.data.path().join("gstreamer/away"));
    fs::create_dir_all(away.parent().unwrap()).unwrap();
    fs::rename(&staging, &away).unwrap();
    let answer = post(&server, VIDEOS, "x").send().unwrap();
    seen.add(Kind::Internal, &answer);
    assert!(!answer.text().contains("staging"), "the inner reason is for the log: {}", answer.text());
    until("the log says it", || server.log().contains("staging"));
    fs::rename(&away, &staging).unwrap();
}

#[test]
fn every_problem_that_is_documented_can_be_provoked() {
    let server = TestServer::with(&Data::new(), &[("MATINEE_UPLOADS__MAX_OPEN", "2")]);
    let mut seen = Seen::default();
    simple(&server, &mut seen);
    bodies(&server, &mut seen);
    titles(&server, &mut seen);
    tokens(&server, &mut seen);
    resumable(&server, &mut seen);
    drop(server);
    stalled(&mut seen);
    expired(&mut seen);
    crowded(&mut seen);
    limits(&mut seen);
    defect(&mut seen);
    let all: BTreeSet<String> = Kind::ALL.iter().map(|kind| kind.entry().1.to_owned()).collect();
    let never: Vec<_> = all.difference(&seen.0).collect();
    assert!(never.is_empty(), "documented and never provoked: {never:?}");
}
