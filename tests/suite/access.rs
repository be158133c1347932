//! Who may: keys, by command and over HTTP.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Answer, Data, Ran, TestServer, run};

const KEYS: &str = "/api/v1/keys";
const VIDEOS: &str = "/api/v1/videos";

fn word(answer: &Answer) -> (u16, String) {
    let json = answer.json();
    (answer.status, json["type"].as_str().unwrap().trim_start_matches("urn:matinee:problem:").to_owned())
}

fn key(data: &Data, arguments: &[&str]) -> Ran {
    run(data.command(&[&["key"], arguments].concat()))
}

/// Adds one; its text.
fn added(data: &Data, scope: &str) -> String {
    let ran = key(data, &["add", "test", "--scope", scope]);
    assert_eq!(ran.code(), 0, "{ran:?}");
    ran.stdout.trim_end().to_owned()
}

fn with(server: &TestServer, key: &str, method: &'static str, path: &str) -> Answer {
    server.ask(path).method(method).header("authorization", &format!("Bearer {key}")).send().unwrap()
}

#[test]
fn a_key_added_and_revoked_beside_a_running_server_counts_at_once() {
    let server = TestServer::start();
    assert_eq!(server.get(VIDEOS).status, 200, "open on loopback as long as there is no key");
    let admin = added(&server.data, "admin");
    let refused = server.get(VIDEOS);
    assert_eq!(word(&refused), (401, "unauthorised".into()));
    assert_eq!(refused.header("www-authenticate"), Some("Bearer realm=\"matinee\""));
    assert_eq!(with(&server, &admin, "GET", VIDEOS).status, 200);
    let listed = key(&server.data, &["list", "--json"]).json();
    let (id, used) = (listed[0]["id"].as_str().unwrap(), &listed[0]["last_used_at"]);
    assert!(used.is_string() && !format!("{listed:?}").contains(&admin), "{listed:?}");
    assert_eq!(key(&server.data, &["revoke", id]).code(), 0);
    let revoked = with(&server, &admin, "GET", VIDEOS);
    assert_eq!(word(&revoked), (401, "unauthorised".into()));
    assert!(revoked.header("www-authenticate").unwrap().ends_with("error=\"invalid_token\""));
    assert_eq!(server.get(VIDEOS).status, 401, "a server whose last key was revoked stays closed");
    assert!(!server.log().contains(&admin));
}

#[test]
fn keys_are_issued_listed_and_revoked_over_http_and_shown_once() {
    let server = TestServer::start();
    let create = |authorization: &str, body: &Value| {
        let asking = server.ask(KEYS).method("POST").header("content-type", "application/json");
        asking.header("authorization", authorization).body(body.to_string()).send().unwrap()
    };
    let first = server.ask(KEYS).method("POST").header("content-type", "application/json");
    let first = first.body(json!({ "name": "root", "scopes": ["admin"] }).to_string()).send().unwrap();
    assert_eq!(first.status, 201, "{}", first.text());
    let admin = first.json()["key"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {admin}");
    let reader = create(&bearer, &json!({ "name": "ci", "scopes": ["read"] }));
    let (place, reader) = (reader.header("location").unwrap().to_owned(), reader.json()["key"].clone());
    let reader = reader.as_str().unwrap();
    let list = with(&server, &admin, "GET", KEYS);
    assert_eq!(list.json()["keys"].as_array().unwrap().len(), 2);
    assert!(!list.text().contains(reader) && !list.text().contains("hash"));
    assert_eq!(with(&server, reader, "GET", VIDEOS).status, 200);
    for (method, path) in [("POST", VIDEOS), ("GET", KEYS), ("DELETE", place.as_str())] {
        let refused = with(&server, reader, method, path);
        assert_eq!(word(&refused), (403, "scope".into()), "{method} {path}");
        let scope = if path == VIDEOS { "scope=\"upload\"" } else { "scope=\"admin\"" };
        assert!(refused.header("www-authenticate").unwrap().ends_with(scope));
    }
    let gone = with(&server, &admin, "DELETE", &place);
    assert!(gone.status == 200 && gone.json()["revoked_at"].is_string());
    assert_eq!(with(&server, &admin, "GET", &place).json()["revoked_at"], gone.json()["revoked_at"]);
    assert_eq!(with(&server, reader, "GET", VIDEOS).status, 401);
    assert_eq!(word(&with(&server, &admin, "DELETE", &format!("{KEYS}/000000000000"))), (404, "no-key".into()));
    for bad in [
        json!({}),
        json!([]),
        json!({ "name": "x" }),
        json!({ "name": "x", "scopes": [] }),
        json!({ "name": "x", "scopes": ["root"] }),
        json!({ "name": "", "scopes": ["read"] }),
        json!({ "name": "x", "scopes": ["read"], "more": 1 }),
    ] {
        assert_eq!(word(&create(&bearer, &bad)), (400, "body".into()), "{bad}");
    }
    let form = server.ask(KEYS).method("POST").header("authorization", &bearer).body("{}").send().unwrap();
    assert_eq!(word(&form), (415, "media-type".into()));
}

#[test]
fn a_name_that_leads_here_from_elsewhere_opens_nothing() {
    let server = TestServer::start();
    // Written by hand: the client of the tests says its own host.
    let ran = run({
        let mut curl = Command::new("curl");
        curl.args(["-s", "-H", "host: evil.example:8080", "-H", "origin: http://evil.example:8080"]);
        curl.args(["-X", "DELETE", &format!("http://{}{VIDEOS}/000000000000", server.address)]);
        curl
    });
    assert_eq!(ran.json()[0]["type"], "urn:matinee:problem:host", "{ran:?}");
}

#[test]
fn beyond_loopback_a_server_starts_with_a_key_and_not_without() {
    let data = Data::new();
    let mut command = data.command(&["serve", "--listen", "0.0.0.0:0"]);
    command.env("MATINEE_LOG", "off");
    let ran = run(command);
    assert_eq!(ran.code(), 2, "{ran:?}");
    assert!(ran.error().contains("add a key with matinee key add"), "{ran:?}");
    let read = added(&data, "read");
    let server = TestServer::started_by(data.command(&["serve", "--listen", "0.0.0.0:0"]), &data);
    assert_eq!(server.get(VIDEOS).status, 401);
    assert_eq!(with(&server, &read, "GET", VIDEOS).status, 200);
}

#[test]
fn a_key_needs_a_name_and_a_known_scope() {
    let data = Data::new();
    assert_eq!(key(&data, &["add", "x", "--scope", "root"]).code(), 2);
    assert_eq!(key(&data, &["add", "x"]).code(), 2);
    assert_eq!(key(&data, &["add", "", "--scope", "read"]).code(), 1);
    assert_eq!(key(&data, &["revoke", "000000000000"]).error().split(':').next(), Some("there is no key 000000000000"));
}
