//! Who may: keys, by command and over HTTP; upload tokens; signed playback; and the document that describes it all.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Answer, Data, Ran, TestServer, run, until};
use crate::uploads::{film, settled};

const KEYS: &str = "/api/v1/keys";
const VIDEOS: &str = "/api/v1/videos";

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
    assert_eq!(refused.problem(), (401, "unauthorised".into()));
    assert_eq!(refused.header("www-authenticate"), Some("Bearer realm=\"matinee\""));
    assert_eq!(with(&server, &admin, "GET", VIDEOS).status, 200);
    let listed = key(&server.data, &["list", "--json"]).json();
    let (id, used) = (listed[0]["id"].as_str().unwrap(), &listed[0]["last_used_at"]);
    assert!(used.is_string() && !format!("{listed:?}").contains(&admin), "{listed:?}");
    assert_eq!(key(&server.data, &["revoke", id]).code(), 0);
    let revoked = with(&server, &admin, "GET", VIDEOS);
    assert_eq!(revoked.problem(), (401, "unauthorised".into()));
    assert!(revoked.header("www-authenticate").unwrap().ends_with("error=\"invalid_token\""));
    assert_eq!(server.get(VIDEOS).status, 401, "a server whose last key was revoked stays closed");
    assert!(!server.log().contains(&admin));
}

#[test]
fn pages_of_other_sites_read_nothing_of_management_unless_they_were_given_a_key_or_a_place() {
    let server = TestServer::with(&Data::new(), &[("MATINEE_UPLOADS__ORIGINS", "[\"https://own.example\"]")]);
    let allowed = |path: &str, headers: &[(&str, &str)]| {
        let asking = headers.iter().fold(server.ask(path), |asking, (name, value)| asking.header(name, value));
        asking.send().unwrap().header("access-control-allow-origin").map(str::to_owned)
    };
    for path in ["/", "/metrics", "/healthz", "/readyz", "/openapi.json", KEYS, VIDEOS, "/api/v1/uploads"] {
        assert_eq!(allowed(path, &[("origin", "https://example.org")]), None, "{path}");
        for own in ["https://own.example", "http://localhost:3000"] {
            assert_eq!(allowed(path, &[("origin", own)]).as_deref(), Some(own), "{path}");
        }
    }
    let key = ("authorization", "Bearer matinee_x");
    assert_eq!(allowed(VIDEOS, &[("origin", "https://example.org"), key]).as_deref(), Some("*"));
    assert_eq!(allowed("/healthz", &[("origin", "https://example.org"), key]), None);
    let preflight = |fields: &str| {
        let asking = server.ask(VIDEOS).method("OPTIONS").header("origin", "https://example.org");
        let answer = asking.header("access-control-request-headers", fields).send().unwrap();
        answer.header("access-control-allow-origin").map(str::to_owned)
    };
    assert_eq!(preflight("authorization,content-type").as_deref(), Some("*"));
    assert_eq!(preflight("content-type"), None);
    drop(server);
    // Where nobody needs a key a made-up one opens nothing.
    let open = TestServer::with(&Data::new(), &[("MATINEE_AUTH", "off")]);
    let asking = open.ask(VIDEOS).header("origin", "https://example.org").header(key.0, key.1);
    assert_eq!(asking.send().unwrap().header("access-control-allow-origin"), None);
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
        assert_eq!(refused.problem(), (403, "scope".into()), "{method} {path}");
        let scope = if path == VIDEOS { "scope=\"upload\"" } else { "scope=\"admin\"" };
        assert!(refused.header("www-authenticate").unwrap().ends_with(scope));
    }
    let gone = with(&server, &admin, "DELETE", &place);
    assert!(gone.status == 200 && gone.json()["revoked_at"].is_string());
    assert_eq!(with(&server, &admin, "GET", &place).json()["revoked_at"], gone.json()["revoked_at"]);
    assert_eq!(with(&server, reader, "GET", VIDEOS).status, 401);
    assert_eq!(with(&server, &admin, "DELETE", &format!("{KEYS}/000000000000")).problem(), (404, "no-key".into()));
    for bad in [
        json!({}),
        json!([]),
        json!({ "name": "x" }),
        json!({ "name": "x", "scopes": [] }),
        json!({ "name": "x", "scopes": ["root"] }),
        json!({ "name": "", "scopes": ["read"] }),
        json!({ "name": "x", "scopes": ["read"], "more": 1 }),
    ] {
        assert_eq!(create(&bearer, &bad).problem(), (400, "body".into()), "{bad}");
    }
    let form = server.ask(KEYS).method("POST").header("authorization", &bearer).body("{}").send().unwrap();
    assert_eq!(form.problem(), (415, "media-type".into()));
}

#[test]
fn what_is_no_json_by_its_head_is_refused_before_its_body_is_asked_for() {
    let server = TestServer::start();
    // A film, which is there for those calls that need one.
    let id = server.ask(VIDEOS).method("POST").body(film().1).send().unwrap().json()["id"].clone();
    let video = format!("{VIDEOS}/{}", id.as_str().unwrap());
    let paths = ["/keys", "/webhooks", "/upload-tokens"].map(|path| format!("/api/v1{path}"));
    let signing = format!("{video}/playback-tokens");
    for path in paths.iter().chain([&signing]) {
        // A client that waits for leave to send gets an answer instead.
        let waits = |name, value| {
            let asking = server.ask(path).method("POST").header(name, value).header("content-length", "99");
            asking.header("expect", "100-continue")
        };
        let refused = waits("content-type", "text/plain").send().unwrap();
        assert_eq!(refused.problem(), (415, "media-type".into()), "{path}");
        let packed = waits("content-type", "application/json").header("content-encoding", "gzip").send().unwrap();
        assert_eq!(packed.problem(), (415, "content-encoding".into()), "{path}");
        assert_eq!(packed.header("accept-encoding"), Some("identity"), "{path}");
    }
    // Where every field is optional no body is needed.
    for path in [&paths[2], &signing] {
        for asking in [server.ask(path), server.ask(path).body("")] {
            let made = asking.method("POST").send().unwrap();
            assert_eq!(made.status, 201, "{path}: {}", made.text());
        }
    }
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
fn who_comes_through_a_proxy_needs_a_key_though_the_proxy_is_on_this_machine() {
    let data = Data::new();
    data.ingest(film().0);
    let server = TestServer::over(&data);
    let (open, shown) = (server.get(VIDEOS), server.text("/"));
    assert!(open.status == 200 && shown.contains("<li>"), "{shown}");
    let passed_on = |path| server.ask(path).header("x-forwarded-for", "203.0.113.7").send().unwrap();
    assert_eq!(passed_on(VIDEOS).problem(), (401, "unauthorised".into()));
    let (shown, empty) = (passed_on("/").text(), TestServer::start().text("/"));
    assert!(!shown.contains("<li>") && shown.contains("Listing titles needs a key"), "{shown}");
    assert!(empty.contains("There are no titles yet"), "{empty}");
    assert_eq!(passed_on("/healthz").status, 200);
    drop(server);
    // One that is trusted says that others will come.
    let mut command = data.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("MATINEE_SERVER__TRUSTED_PROXIES", "[\"127.0.0.1\"]").env("MATINEE_LOG", "off");
    let ran = run(command);
    assert_eq!(ran.code(), 2, "{ran:?}");
    assert!(ran.error().contains("server.trusted_proxies") && ran.error().contains("matinee key add"), "{ran:?}");
}

#[test]
fn metrics_are_open_to_this_machine_and_otherwise_need_a_key() {
    let data = Data::new();
    let server = TestServer::over(&data);
    let ask = |path: &str, headers: &[(&str, &str)]| {
        let asking = headers.iter().fold(server.ask(path), |asking, (name, value)| asking.header(name, value));
        asking.send().unwrap()
    };
    let passed_on = ("x-forwarded-for", "127.0.0.1");
    // Written by hand: the client of the tests says its own host.
    let by_name = || {
        let url = format!("http://{}/metrics", server.address);
        run({
            let mut curl = Command::new("curl");
            curl.args(["-s", "-H", "host: evil.example:8080", &url]);
            curl
        })
    };
    assert_eq!(by_name().json()[0]["type"], "urn:matinee:problem:host");
    assert_eq!(ask("/metrics", &[passed_on]).problem(), (401, "unauthorised".into()), "also without any key");
    let [read, upload] = ["read", "upload"].map(|scope| format!("Bearer {}", added(&data, scope)));
    for path in ["/metrics", "/api/v1/metrics"] {
        let near = ask(path, &[]);
        assert!(near.status == 200 && near.text().contains("matinee_requests_total"), "{}", near.text());
        assert_eq!(near.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        assert_eq!(ask(path, &[passed_on]).problem(), (401, "unauthorised".into()));
        assert_eq!(ask(path, &[passed_on, ("authorization", &upload)]).problem(), (403, "scope".into()));
        assert_eq!(ask(path, &[passed_on, ("authorization", &read)]).status, 200);
    }
    assert_eq!(by_name().json()[0]["type"], "urn:matinee:problem:unauthorised");
}

#[test]
fn a_key_needs_a_name_and_a_known_scope() {
    let data = Data::new();
    assert_eq!(key(&data, &["add", "x", "--scope", "root"]).code(), 2);
    assert_eq!(key(&data, &["add", "x"]).code(), 2);
    assert_eq!(key(&data, &["add", "", "--scope", "read"]).code(), 2);
    assert_eq!(key(&data, &["add", "x", "--scope", "read"]).code(), 0);
    assert_eq!(key(&data, &["revoke", "000000000000"]).error().split(':').next(), Some("there is no key 000000000000"));
}

fn change(server: &TestServer, id: &str, body: &Value) -> Answer {
    let asking = server.ask(&format!("{VIDEOS}/{id}")).method("PATCH").header("content-type", "application/json");
    asking.body(body.to_string()).send().unwrap()
}

fn sign(server: &TestServer, id: &str, body: &Value) -> Answer {
    let asking = server.ask(&format!("{VIDEOS}/{id}/playback-tokens")).method("POST");
    asking.header("content-type", "application/json").body(body.to_string()).send().unwrap()
}

#[test]
fn the_access_log_has_a_line_for_each_request_where_it_is_wanted_and_no_token() {
    let data = Data::new();
    let id = data.ingest(film().0);
    let server = TestServer::with(&data, &[("MATINEE_LOG", "info,matinee::access=debug")]);
    let segment = server.segments(&server.playlist(&id, "144p")).remove(1);
    let bytes = server.bytes(&segment);
    server.bytes(&segment);
    server.ask(&segment).method("HEAD").header("x-request-id", "mine").send().unwrap();
    server.get(&format!("/s/secret/v/{id}/master.m3u8"));
    server.get("/s/secret");
    server.ask(VIDEOS).method("POST").body("x").send().unwrap();
    let lines = || -> Vec<Value> {
        let lines = server.log().lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>();
        lines.into_iter().filter(|line| line["target"] == "matinee::access").collect()
    };
    until("all eight are told", || lines().len() == 8);
    let lines = lines();
    let of = |path: &str| lines.iter().filter(|line| line["path"] == path).collect::<Vec<_>>();
    let [made, kept, head] = of(&segment)[..] else { panic!("{lines:?}") };
    let said = |line: &Value| (line["status"].clone(), line["sent_bytes"].clone(), line["cache"].clone());
    assert_eq!(said(made), (200.into(), bytes.len().into(), "made".into()));
    assert_eq!(said(kept), (200.into(), bytes.len().into(), "memory".into()));
    assert_eq!(said(head), (200.into(), 0.into(), "memory".into()));
    assert_eq!(
        (&head["method"], &head["request"], &head["client"]),
        (&"HEAD".into(), &"mine".into(), &"127.0.0.1".into())
    );
    assert!(made["took_ms"].is_u64() && made["request"].is_string());
    assert_eq!(of(&format!("/v/{id}/master.m3u8")).last().unwrap()["status"], 403);
    assert_eq!(said(of("/s/")[0]).0, 404);
    assert_eq!((&of(VIDEOS)[0]["status"], &of(VIDEOS)[0]["cache"]), (&201.into(), &Value::Null));
    assert!(!server.log().contains("secret"));
}

#[test]
fn a_signed_title_plays_from_signed_urls_alone_and_its_playlists_lead_on() {
    let server = TestServer::start();
    let upload = |path: &str| {
        let answer = server.ask(path).method("POST").body(film().1).send().unwrap();
        settled(&server, answer.json()["id"].as_str().unwrap())["id"].as_str().unwrap().to_owned()
    };
    let (id, public) = (upload("/api/v1/videos?playback_policy=signed"), upload(VIDEOS));
    let path = format!("/v/{id}/master.m3u8");
    let refused = server.get(&path);
    assert_eq!((refused.problem(), refused.header("cache-control")), ((403, "unsigned".into()), Some("no-store")));
    assert!(!server.text("/").contains(&id) && server.text("/").contains(&public));

    let signed = sign(&server, &id, &json!({ "seconds": 600 }));
    assert_eq!(signed.status, 201, "{}", signed.text());
    let (token, master) = (signed.json()["token"].clone(), signed.json()["playback"]["hls"].clone());
    let (token, master) = (token.as_str().unwrap(), master.as_str().unwrap());
    let text = server.text(master);
    let playlist = text.lines().find(|line| !line.starts_with('#')).unwrap();
    let playlist = format!("/s/{token}/v/{id}/{playlist}");
    let segments = server.segments(&playlist);
    assert!(segments.len() > 1 && segments[1].starts_with("/s/"));
    let segment = server.get(&segments[1]);
    assert_eq!(segment.status, 200);
    let rule = segment.header("cache-control").unwrap();
    let age: u64 = rule.split("max-age=").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    assert!(rule.starts_with("public, ") && rule.ends_with("immutable") && age <= 600, "{rule}");
    let bare = segments[1].strip_prefix(&format!("/s/{token}")).unwrap();
    assert_eq!(server.get(bare).problem(), (403, "unsigned".into()));
    assert!(!server.log().contains(token));

    let foreign = master.replace(token, sign(&server, &public, &json!({})).json()["token"].as_str().unwrap());
    assert_eq!(server.get(&foreign).problem(), (403, "forged".into()));
    let needless = foreign.replace(&id, &public);
    assert_eq!(server.get(&needless).status, 200, "a title that needs no token may have its own");
    for wrong in [master.replace(&id, &public), format!("/s/x/v/{public}/master.m3u8")] {
        assert_eq!(server.get(&wrong).problem(), (403, "forged".into()), "or it would have endless URLs");
    }
    let elsewhere = sign(&server, &id, &json!({ "client": "192.0.2.1" })).json();
    assert_eq!(server.get(elsewhere["playback"]["dash"].as_str().unwrap()).problem(), (403, "forged".into()));
    let here = sign(&server, &id, &json!({ "client": "127.0.0.1" })).json();
    let bound = server.get(here["playback"]["dash"].as_str().unwrap());
    assert!(bound.status == 200 && bound.header("cache-control").unwrap().starts_with("private, max-age="));

    let short = run(server.data.command(&["sign", &id, "--seconds", "1"])).stdout.trim_end().to_owned();
    until("the URL is not good any more", || server.get(&short).status == 403);
    assert_eq!(server.get(&short).problem(), (403, "expired".into()));
    let server = server.restart();
    assert_eq!(server.get(master).status, 200, "what was signed outlives the server");
    assert_eq!(change(&server, &id, &json!({ "playback_policy": "x" })).status, 400);
    assert_eq!(change(&server, &id, &json!({ "playback_policy": "public" })).json()["playback_policy"], "public");
    assert_eq!(server.get(&path).status, 200);
    assert_eq!(sign(&server, "000000000000", &json!({})).problem(), (404, "no-title".into()));
    assert_eq!(sign(&server, &id, &json!({ "seconds": 0 })).problem(), (400, "body".into()));
}

#[test]
fn the_api_describes_itself_to_anybody() {
    let server = TestServer::start();
    let described = server.get("/api/v1/openapi.json");
    added(&server.data, "admin");
    assert_eq!(server.get("/openapi.json").body, described.body, "also once there are keys");
    let document = described.json();
    assert_eq!(document["openapi"], "3.1.0");
    for path in ["/videos", "/videos/{video}", "/jobs/{job}", "/keys", "/healthz"] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    let types = &document["paths"]["/keys"]["post"]["responses"]["409"]["content"]["application/problem+json"];
    assert!(types.to_string().contains("urn:matinee:problem:too-many-keys"), "{types}");
}

#[test]
fn an_upload_token_sends_one_film_of_its_size_and_opens_nothing_else() {
    let server = TestServer::start();
    let (_, bytes) = film();
    let key = added(&server.data, "upload");
    let issue = |body: Value| {
        let asking = server.ask("/api/v1/upload-tokens").method("POST").header("content-type", "application/json");
        asking.header("authorization", &format!("Bearer {key}")).body(body.to_string()).send().unwrap()
    };
    let send = |token: &str, path: &str| {
        let asking = server.ask(path).method("POST").header("origin", "https://example.org");
        asking.header("authorization", &format!("Bearer {token}")).body(bytes.clone()).send().unwrap()
    };
    let issued = issue(json!({ "max_bytes": bytes.len(), "seconds": 600 }));
    assert_eq!(issued.status, 201, "{}", issued.text());
    let (token, id) = (issued.json()["token"].clone(), issued.json()["video"].clone());
    let (token, id) = (token.as_str().unwrap(), id.as_str().unwrap());
    let film = format!("{VIDEOS}/{id}");
    assert_eq!(with(&server, token, "GET", &film).problem(), (404, "no-title".into()), "not yet");
    for (method, path) in [("GET", VIDEOS), ("PATCH", &film), ("DELETE", &film), ("POST", KEYS)] {
        assert_eq!(with(&server, token, method, path).problem(), (403, "scope".into()), "{method} {path}");
    }
    assert_eq!(with(&server, token, "POST", "/api/v1/upload-tokens").problem(), (403, "scope".into()));
    let small = issue(json!({ "max_bytes": bytes.len() - 1 })).json();
    assert_eq!(send(small["token"].as_str().unwrap(), VIDEOS).problem(), (413, "too-large".into()));
    let made = send(token, VIDEOS);
    assert_eq!((made.status, &made.json()["id"]), (201, &id.into()), "{}", made.text());
    assert_eq!(send(token, VIDEOS).problem(), (409, "token-spent".into()));
    let seen = with(&server, token, "GET", &film);
    assert_eq!((seen.status, &seen.json()["playback"]["hls"]), (200, &format!("/v/{id}/master.m3u8").into()));
    // Whoever did not hear the answer asks again and hears the same, also of a token that is spent by then.
    let again = issue(json!({})).json()["token"].as_str().unwrap().to_owned();
    let once = |name: &str| {
        let asking = server.ask(VIDEOS).method("POST").header("idempotency-key", name);
        asking.header("authorization", &format!("Bearer {again}")).body(bytes.clone()).send().unwrap()
    };
    let (first, second) = (once("a"), once("a"));
    assert_eq!((first.status, second.status), (201, 201), "{}", second.text());
    assert_eq!(first.json()["id"], second.json()["id"]);
    let first_film = format!("{VIDEOS}/{}", first.json()["id"].as_str().unwrap());
    assert_eq!(once("b").problem(), (409, "token-spent".into()));
    let admin = added(&server.data, "admin");
    assert_eq!(with(&server, &admin, "DELETE", &film).status, 200);
    assert_eq!(send(token, VIDEOS).problem(), (409, "token-spent".into()), "also once its title is gone");

    let (head, claims) = (r#"{"alg":"none","typ":"JWT"}"#, token.split('.').nth(1).unwrap());
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, head);
    let mut letters = token.to_owned();
    letters.pop();
    for forged in [format!("{encoded}.{claims}."), letters, format!("a.{claims}.b")] {
        assert_eq!(send(&forged, VIDEOS).problem(), (401, "unauthorised".into()), "{forged}");
    }
    let other = issue(json!({})).json()["token"].as_str().unwrap().to_owned();
    assert_eq!(with(&server, &other, "GET", &first_film).problem(), (403, "scope".into()), "another's");
    let short = issue(json!({ "seconds": 1 })).json()["token"].as_str().unwrap().to_owned();
    until("the token is not good any more", || with(&server, &short, "GET", VIDEOS).status == 401);
    for bad in [json!({ "max_bytes": 0 }), json!({ "seconds": 86_400 }), json!({ "more": 1 }), json!([])] {
        assert_eq!(issue(bad).problem(), (400, "body".into()));
    }
}

#[test]
fn an_upload_token_sends_its_film_in_several_goes_and_goes_on_when_it_has_expired() {
    let server = TestServer::start();
    let (_, bytes) = film();
    let key = added(&server.data, "upload");
    let issue = |body: Value| {
        let asking = server.ask("/api/v1/upload-tokens").method("POST").header("content-type", "application/json");
        let issued = asking.header("authorization", &format!("Bearer {key}")).body(body.to_string()).send().unwrap();
        (issued.json()["token"].as_str().unwrap().to_owned(), issued.json()["video"].as_str().unwrap().to_owned())
    };
    let tus = |method: &'static str, token: &str, path: &str| {
        let asking = server.ask(path).method(method).header("tus-resumable", "1.0.0");
        asking.header("authorization", &format!("Bearer {token}"))
    };
    let create = |token: &str, name: &str, value: &str| {
        tus("POST", token, "/api/v1/uploads").header(name, value).body("").send().unwrap()
    };
    let append = |token: &str, path: &str, from: usize, to: usize| {
        let asking = tus("PATCH", token, path).header("content-type", "application/offset+octet-stream");
        asking.header("upload-offset", &from.to_string()).body(bytes[from..to].to_vec()).send().unwrap()
    };
    let length = bytes.len().to_string();
    let (small, _) = issue(json!({ "max_bytes": bytes.len() - 1 }));
    assert_eq!(create(&small, "upload-length", &length).problem(), (413, "too-large".into()));
    let later = create(&small, "upload-defer-length", "1").header("location").unwrap().to_owned();
    assert_eq!(append(&small, &later, 0, bytes.len()).problem(), (413, "too-large".into()));

    let (token, id) = issue(json!({ "seconds": 8 }));
    let parts = tus("POST", &token, "/api/v1/uploads").header("upload-concat", "partial").header("upload-length", "1");
    assert_eq!(parts.body("").send().unwrap().problem(), (403, "scope".into()));
    let lost = create(&token, "upload-length", &length).header("location").unwrap().to_owned();
    let begun = create(&token, "upload-length", &length).header("location").unwrap().to_owned();
    assert_eq!(append(&token, &lost, 0, 9).problem(), (404, "no-upload".into()), "the newest counts");
    assert_eq!(append(&small, &begun, 0, 9).problem(), (403, "scope".into()), "another's");
    until("the token has expired", || create(&token, "upload-length", &length).status == 401);
    // What begins anew takes the place of what was begun, so that it is looked for again.
    let uploads = server.data.path().join("uploads");
    let open: Vec<String> =
        std::fs::read_dir(uploads).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let begun = open.iter().map(|id| format!("/api/v1/uploads/{id}")).find(|path| *path != later).unwrap();
    assert_eq!(append(&token, &begun, 0, 1000).status, 204);
    assert_eq!(tus("HEAD", &token, &begun).send().unwrap().header("upload-offset"), Some("1000"));
    let done = append(&token, &begun, 1000, bytes.len());
    assert_eq!((done.status, done.header("matinee-video")), (204, Some(&*format!("{VIDEOS}/{id}"))), "{}", done.text());
}

#[test]
fn who_uploads_sees_what_becomes_of_it_and_of_nothing_else() {
    let server = TestServer::start();
    let (_, bytes) = film();
    let (one, two) = (added(&server.data, "upload"), added(&server.data, "upload"));
    let asking = server.ask(VIDEOS).method("POST").header("authorization", &format!("Bearer {one}"));
    let created = asking.body(bytes).send().unwrap();
    let place = created.header("location").unwrap().to_owned();
    let id = created.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(created.json()["playback"]["dash"], format!("/v/{id}/manifest.mpd"), "{}", created.text());
    assert_eq!(with(&server, &one, "GET", &place).json()["id"], id.as_str());
    assert_eq!(with(&server, &one, "HEAD", &format!("{place}/events")).status, 200);
    assert_eq!(with(&server, &two, "GET", &place).problem(), (403, "scope".into()));
    assert_eq!(with(&server, &one, "GET", VIDEOS).problem(), (403, "scope".into()));
}
