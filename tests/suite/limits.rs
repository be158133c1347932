//! How much and how often: limits by address, also behind a proxy, and quotas of keys.

use std::io::{BufRead as _, Write as _};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Answer, Asking, Data, TestServer, run, until};
use crate::uploads::film;

const VIDEOS: &str = "/api/v1/videos";

fn for_client(server: &TestServer, client: &str, path: &str) -> Answer {
    // The first address is what the client made up.
    server.ask(path).header("x-forwarded-for", &format!("198.51.100.1, {client}")).send().unwrap()
}

#[test]
fn an_address_that_asks_too_often_is_told_when_to_come_back_and_others_are_not_affected() {
    let limits = [
        ("MATINEE_SERVER__API_REQUESTS_PER_MINUTE", "2"),
        ("MATINEE_SERVER__PLAYBACK_REQUESTS_PER_MINUTE", "1"),
        ("MATINEE_SERVER__TRUSTED_PROXIES", "[\"127.0.0.1\"]"),
        ("MATINEE_AUTH", "off"),
    ];
    let server = TestServer::with(&Data::new(), &limits);
    let (one, other) = ("203.0.113.7", "203.0.113.8");
    let first = for_client(&server, one, VIDEOS);
    assert_eq!((first.status, first.header("ratelimit")), (200, Some("\"address\";r=1")));
    assert_eq!(first.header("ratelimit-policy"), Some("\"address\";q=2;w=60"));
    // What is refused counts, too.
    assert_eq!(for_client(&server, one, "/api/v1/nothing").status, 404);
    let refused = for_client(&server, one, VIDEOS);
    assert_eq!(refused.problem(), (429, "too-often".into()));
    let wait: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(refused.header("ratelimit"), Some(format!("\"address\";r=0;t={wait}").as_str()));
    assert_eq!(for_client(&server, other, VIDEOS).status, 200);
    // Playback has a bucket of its own, and who watches over the server is not counted.
    let master = "/v/000000000000/master.m3u8";
    // What browsers ask beforehand does not count.
    for path in [master, "/s/x/v/000000000000/master.m3u8", VIDEOS, "/api/v1/uploads"] {
        let asking = server.ask(path).method("OPTIONS").header("x-forwarded-for", one);
        assert_eq!(asking.send().unwrap().status, 204);
    }
    assert_eq!(for_client(&server, one, master).problem(), (404, "no-title".into()));
    let refused = for_client(&server, one, master);
    assert_eq!((refused.problem(), refused.header("cache-control")), ((429, "too-often".into()), Some("no-store")));
    assert!(refused.header("retry-after").is_some());
    for _ in 0..3 {
        assert_eq!(for_client(&server, one, "/healthz").status, 200);
    }
}

#[test]
fn a_url_bound_to_a_client_plays_for_it_through_a_trusted_proxy_and_for_nobody_who_only_says_so() {
    let data = Data::new();
    let id = data.ingest(film().0);
    let trusted = [("MATINEE_SERVER__TRUSTED_PROXIES", "[\"127.0.0.0/8\"]"), ("MATINEE_AUTH", "off")];
    let trusting = TestServer::with(&data, &trusted);
    let path = format!("{VIDEOS}/{id}");
    let change = trusting.ask(&path).method("PATCH").header("content-type", "application/json");
    let change = change.body(json!({ "playback_policy": "signed" }).to_string()).send().unwrap();
    assert_eq!(change.status, 200, "{}", change.text());
    let sign = trusting.ask(&format!("{path}/playback-tokens")).method("POST");
    let sign = sign.header("content-type", "application/json").body(json!({ "client": "203.0.113.7" }).to_string());
    let url = sign.send().unwrap().json()["playback"]["hls"].as_str().unwrap().to_owned();
    assert_eq!(for_client(&trusting, "203.0.113.7", &url).status, 200);
    assert_eq!(for_client(&trusting, "203.0.113.8", &url).problem(), (403, "forged".into()));
    assert_eq!(trusting.get(&url).problem(), (403, "forged".into()));
    drop(trusting);
    let plain = TestServer::over(&data);
    assert_eq!(for_client(&plain, "203.0.113.7", &url).problem(), (403, "forged".into()));
}

/// A key that may upload, and these limits.
fn limited(server: &TestServer, limits: &[&str]) -> (String, String) {
    let add = ["key", "add", "limited", "--scope", "upload,read", "--json"];
    let ran = run(server.data.command(&[&add, limits].concat()));
    assert_eq!(ran.code(), 0, "{ran:?}");
    let key = &ran.json()[0];
    (key["key"].as_str().unwrap().to_owned(), key["id"].as_str().unwrap().to_owned())
}

fn admin(server: &TestServer) -> String {
    let ran = run(server.data.command(&["key", "add", "root", "--scope", "admin"]));
    ran.stdout.trim_end().to_owned()
}

fn asks(server: &TestServer, key: &str, method: &'static str, path: &str) -> Asking {
    server.ask(path).method(method).header("authorization", &format!("Bearer {key}"))
}

fn used(server: &TestServer, admin: &str, id: &str) -> Value {
    asks(server, admin, "GET", &format!("/api/v1/keys/{id}")).send().unwrap().json()["used"].clone()
}

#[test]
fn a_key_has_so_many_titles_and_bytes_and_gets_room_by_removing() {
    let server = TestServer::with(&Data::new(), &[("MATINEE_UPLOADS__KEY_MAX_TITLES", "1")]);
    let (_, bytes) = film();
    let size = bytes.len();
    let admin = admin(&server);
    let (few, few_id) = limited(&server, &[]);
    let (small, small_id) = limited(&server, &["--max-titles", "0", "--max-bytes", &format!("{}", 2 * size - 1)]);
    let send = |key: &str| asks(&server, key, "POST", VIDEOS).body(bytes.clone()).send().unwrap();
    for (key, id) in [(&few, &few_id), (&small, &small_id)] {
        let first = send(key);
        assert_eq!(first.status, 201, "{}", first.text());
        assert_eq!(send(key).problem(), (403, "quota".into()));
        assert_eq!(used(&server, &admin, id), json!({ "bytes": size, "titles": 1, "uploads": 0 }));
        let all = asks(&server, &admin, "GET", "/api/v1/keys").send().unwrap().json();
        let listed = all["keys"].as_array().unwrap().iter().find(|key| key["id"] == **id).unwrap();
        assert_eq!(listed["used"], used(&server, &admin, id), "in the list, too");
        let title = format!("{VIDEOS}/{}", first.json()["id"].as_str().unwrap());
        assert_eq!(asks(&server, &admin, "DELETE", &title).send().unwrap().status, 200);
        assert_eq!(send(key).status, 201);
    }
    // One that does not say how long it is, is stopped where it is too long.
    let address = format!("http://{}{VIDEOS}", server.address);
    let ran = run({
        let mut curl = Command::new("curl");
        curl.args(["-s", "-H", "transfer-encoding: chunked", "-H", &format!("authorization: Bearer {small}")]);
        curl.arg("--data-binary").arg(format!("@{}", film().0.display())).arg(address);
        curl
    });
    assert_eq!(ran.json()[0]["type"], "urn:matinee:problem:quota", "{ran:?}");
    // Tokens count on the key that issued them.
    let token = asks(&server, &few, "POST", "/api/v1/upload-tokens").header("content-type", "application/json");
    let token = token.body("{}").send().unwrap().json()["token"].as_str().unwrap().to_owned();
    assert_eq!(send(&token).problem(), (403, "quota".into()));
    assert_eq!(used(&server, &admin, &few_id), json!({ "bytes": size, "titles": 1, "uploads": 0 }));
    assert_eq!(send(&admin).status, 201, "the configuration's limit");
    assert_eq!(send(&admin).problem(), (403, "quota".into()));
    for bad in [json!(-1), json!("1"), json!(1.5)] {
        let key = json!({ "name": "x", "scopes": ["read"], "max_titles": bad });
        let asking = asks(&server, &admin, "POST", "/api/v1/keys").header("content-type", "application/json");
        assert_eq!(asking.body(key.to_string()).send().unwrap().problem(), (400, "body".into()));
    }
}

#[test]
fn a_key_has_so_many_uploads_under_way_of_either_kind() {
    let server = TestServer::start();
    let (_, bytes) = film();
    let admin = admin(&server);
    let (key, id) = limited(&server, &["--max-uploads", "1", "--max-bytes", "1GiB"]);
    let mut half = std::net::TcpStream::connect(server.address).unwrap();
    let head = format!("POST {VIDEOS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: 9\r\n\r\n");
    half.write_all(format!("{head}some").as_bytes()).unwrap();
    until("it is under way", || used(&server, &admin, &id)["uploads"] == 1);
    let refused = asks(&server, &key, "POST", VIDEOS).body(bytes.clone()).send().unwrap();
    assert_eq!(refused.problem(), (429, "too-many-uploads".into()));
    assert_eq!(refused.header("ratelimit-policy"), Some("\"uploads\";q=1;qu=\"concurrent-requests\""));
    assert_eq!((refused.header("ratelimit"), refused.header("retry-after")), (Some("\"uploads\";r=0"), Some("2")));
    drop(half);
    until("it is over", || used(&server, &admin, &id)["uploads"] == 0);
    let tus = |method, path: &str| asks(&server, &key, method, path).header("tus-resumable", "1.0.0");
    let begin = || tus("POST", "/api/v1/uploads").header("upload-length", &bytes.len().to_string()).send().unwrap();
    let begun = begin();
    assert_eq!(begun.status, 201, "{}", begun.text());
    assert_eq!(used(&server, &admin, &id), json!({ "bytes": bytes.len(), "titles": 0, "uploads": 1 }));
    assert_eq!(begin().problem(), (429, "too-many-uploads".into()));
    let place = begun.header("location").unwrap().to_owned();
    let send = tus("PATCH", &place).header("content-type", "application/offset+octet-stream");
    let sent = send.header("upload-offset", "0").body(bytes.clone()).send().unwrap();
    assert_eq!(sent.status, 204, "{}", sent.text());
    assert_eq!(used(&server, &admin, &id), json!({ "bytes": bytes.len(), "titles": 1, "uploads": 0 }));
    // One whose length nobody knows yet is bounded all the same.
    let (small, _) = limited(&server, &["--max-bytes", "10"]);
    let tus = |method, path: &str| asks(&server, &small, method, path).header("tus-resumable", "1.0.0");
    assert_eq!(
        tus("POST", "/api/v1/uploads").header("upload-length", "11").send().unwrap().problem(),
        (403, "quota".into())
    );
    let place = tus("POST", "/api/v1/uploads").header("upload-defer-length", "1").send().unwrap();
    let place = place.header("location").unwrap().to_owned();
    let send = |length: Option<&str>| {
        let asking = tus("PATCH", &place).header("content-type", "application/offset+octet-stream");
        let asking = length.into_iter().fold(asking, |asking, length| asking.header("upload-length", length));
        asking.header("upload-offset", "0").body("eleven byte").send().unwrap()
    };
    assert_eq!(send(None).problem(), (403, "quota".into()));
    assert_eq!(send(Some("11")).problem(), (403, "quota".into()));
}

#[test]
fn what_comes_at_once_counts_together_whether_its_length_was_said_or_not() {
    let server = TestServer::start();
    let admin = admin(&server);
    let (key, id) = limited(&server, &["--max-bytes", "1MiB"]);
    let begin = |fields: &str, body: &[u8]| {
        let mut half = std::net::TcpStream::connect(server.address).unwrap();
        let head = format!("POST {VIDEOS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n{fields}\r\n\r\n");
        half.write_all(&[head.as_bytes(), body].concat()).unwrap();
        half
    };
    let has = |bytes: u64| until("it has so much", || used(&server, &admin, &id)["bytes"] == bytes);
    // What one of so many bytes is told at once: 100 is leave to send them. It is gone when the server sees it.
    let told = |bytes: usize| {
        let socket = begin(&format!("content-length: {bytes}\r\nexpect: 100-continue"), b"");
        let mut line = String::new();
        std::io::BufReader::new(socket).read_line(&mut line).unwrap();
        line.split(' ').nth(1).unwrap().parse::<u16>().unwrap()
    };
    // All but a kibibyte is announced, though nothing of it has come.
    let announced = begin("content-length: 1047552", b"");
    has(1_047_552);
    assert_eq!(told(1025), 403);
    let tus = |method, path: &str| asks(&server, &key, method, path).header("tus-resumable", "1.0.0");
    let begun = tus("POST", "/api/v1/uploads").header("upload-length", "1025").send().unwrap();
    assert_eq!(begun.problem(), (403, "quota".into()));
    assert_eq!(told(1024), 100);
    has(1_047_552);
    // One that says nothing takes what it brings.
    let chunk = [b"3e8\r\n", &[7; 1000][..], b"\r\n"].concat();
    let silent = begin("transfer-encoding: chunked", &chunk);
    has(1_048_552);
    assert_eq!((told(25), told(24)), (403, 100));
    drop(silent);
    has(1_047_552);
    // So does a resumable one that says its length at the end.
    let place = tus("POST", "/api/v1/uploads").header("upload-defer-length", "1").send().unwrap();
    let place = place.header("location").unwrap().to_owned();
    let head = format!("PATCH {place} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ntus-resumable: 1.0.0\r\n");
    let bytes = "upload-offset: 0\r\ncontent-type: application/offset+octet-stream\r\ncontent-length: 1024\r\n\r\n";
    let mut deferred = std::net::TcpStream::connect(server.address).unwrap();
    deferred.write_all(&[head.as_bytes(), bytes.as_bytes(), &[7; 1000]].concat()).unwrap();
    has(1_048_552);
    assert_eq!((told(25), told(24)), (403, 100));
    drop((announced, deferred));
    has(1000);
}

#[test]
fn an_upload_is_gone_on_with_by_the_key_that_began_it_and_by_an_admin() {
    let server = TestServer::start();
    let admin = admin(&server);
    let (mine, _) = limited(&server, &[]);
    let ran = run(server.data.command(&["key", "add", "theirs", "--scope", "upload"]));
    let theirs = ran.stdout.trim_end().to_owned();
    let tus = |key: &str, method, path: &str| asks(&server, key, method, path).header("tus-resumable", "1.0.0");
    let begin = || {
        let asking = tus(&mine, "POST", "/api/v1/uploads").header("upload-concat", "partial");
        let begun = asking.header("upload-length", "4").send().unwrap();
        begun.header("location").unwrap().to_owned()
    };
    let place = begin();
    let send = |key: &str| {
        let asking = tus(key, "PATCH", &place).header("content-type", "application/offset+octet-stream");
        asking.header("upload-offset", "0").body("film").send().unwrap()
    };
    let join = |key: &str| {
        let asking = tus(key, "POST", "/api/v1/uploads").header("upload-concat", &format!("final;{place}"));
        asking.send().unwrap()
    };
    assert_eq!(send(&theirs).problem(), (403, "scope".into()));
    for method in ["GET", "DELETE"] {
        assert_eq!(tus(&theirs, method, &place).send().unwrap().problem(), (403, "scope".into()), "{method}");
    }
    assert_eq!(tus(&theirs, "HEAD", &place).send().unwrap().status, 403);
    assert_eq!(send(&mine).status, 204);
    assert_eq!(join(&theirs).problem(), (400, "body".into()));
    for key in [&mine, &admin] {
        assert_eq!(tus(key, "HEAD", &place).send().unwrap().header("upload-offset"), Some("4"));
    }
    assert_eq!(tus(&admin, "DELETE", &begin()).send().unwrap().status, 204);
    assert_eq!(join(&mine).status, 201);
}

/// A resumable one was refused where PUT was not.
#[test]
fn what_a_resumable_upload_replaces_makes_room_for_it() {
    use base64::Engine as _;
    let server = TestServer::start();
    let bytes = film().1;
    let (key, _) = limited(&server, &["--max-bytes", &(bytes.len() + 20).to_string()]);
    let made = asks(&server, &key, "POST", VIDEOS).body(bytes.clone()).send().unwrap();
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let path = format!("{VIDEOS}/{id}");
    until("it is ready", || asks(&server, &key, "GET", &path).send().unwrap().json()["state"] == "ready");
    let replaces = format!("replaces {}", base64::engine::general_purpose::STANDARD.encode(&id));
    let tus = |method, path: &str| asks(&server, &key, method, path).header("tus-resumable", "1.0.0");
    let begin = |metadata: &str, name: &str, value: &str| {
        tus("POST", "/api/v1/uploads").header("upload-metadata", metadata).header(name, value).send().unwrap()
    };
    let length = bytes.len().to_string();
    assert_eq!(begin("", "upload-length", &length).problem(), (403, "quota".into()));
    let too_long = (bytes.len() + 21).to_string();
    assert_eq!(begin(&replaces, "upload-length", &too_long).problem(), (403, "quota".into()));
    for (name, value) in [("upload-length", length.as_str()), ("upload-defer-length", "1")] {
        let begun = begin(&replaces, name, value);
        assert_eq!(begun.status, 201, "{}", begun.text());
        let place = begun.header("location").unwrap();
        let asking = tus("PATCH", place).header("content-type", "application/offset+octet-stream");
        let sent = asking.header("upload-offset", "0").header("upload-length", &length).body(bytes.clone());
        let sent = sent.send().unwrap();
        assert_eq!(sent.status, 204, "{}", sent.text());
    }
}

#[test]
fn a_key_changes_its_own_titles_and_their_films_and_an_admin_everybodys() {
    use base64::Engine as _;
    let server = TestServer::start();
    let bytes = film().1;
    let admin = admin(&server);
    let ((mine, _), (theirs, _)) = (limited(&server, &[]), limited(&server, &[]));
    let made = asks(&server, &mine, "POST", VIDEOS).body(bytes.clone()).send().unwrap();
    let path = format!("{VIDEOS}/{}", made.json()["id"].as_str().unwrap());
    until("it is ready", || asks(&server, &mine, "GET", &path).send().unwrap().json()["state"] == "ready");
    let replaces = base64::engine::general_purpose::STANDARD.encode(path.rsplit('/').next().unwrap());
    let put = |key: &str| asks(&server, key, "PUT", &format!("{path}/source")).body(bytes.clone()).send().unwrap();
    let tus = |key: &str, more: &str| {
        let asking = asks(&server, key, "POST", "/api/v1/uploads").header("tus-resumable", "1.0.0");
        let asking = asking.header("upload-metadata", &format!("replaces {replaces}{more}"));
        asking.header("upload-length", "9").send().unwrap()
    };
    assert_eq!((put(&theirs).problem(), tus(&theirs, "").problem()), ((403, "scope".into()), (403, "scope".into())));
    for key in [&mine, &admin] {
        assert_eq!((put(key).status, tus(key, "").status), (200, 201));
    }
    assert_eq!(tus(&mine, ",playback_policy c2lnbmVk").problem(), (400, "body".into()));
    let patch = |key: &str| {
        let asking = asks(&server, key, "PATCH", &path).header("content-type", "application/merge-patch+json");
        asking.body(r#"{"playback_policy":"signed"}"#).send().unwrap()
    };
    assert_eq!(patch(&theirs).problem(), (403, "scope".into()));
    for key in [&mine, &admin] {
        assert_eq!(patch(key).status, 200);
    }
}
