//! How much and how often: limits by address, also behind a proxy, and quotas of keys.

use serde_json::json;

use crate::support::{Answer, Data, TestServer};

const VIDEOS: &str = "/api/v1/videos";

fn word(answer: &Answer) -> (u16, String) {
    let json = answer.json();
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{json}");
    (answer.status, json["type"].as_str().unwrap().trim_start_matches("urn:matinee:problem:").to_owned())
}

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
    ];
    let server = TestServer::with(&Data::new(), &limits);
    let (one, other) = ("203.0.113.7", "203.0.113.8");
    let first = for_client(&server, one, VIDEOS);
    assert_eq!((first.status, first.header("ratelimit")), (200, Some("\"address\";r=1")));
    assert_eq!(first.header("ratelimit-policy"), Some("\"address\";q=2;w=60"));
    // What is refused counts, too.
    assert_eq!(for_client(&server, one, "/api/v1/nothing").status, 404);
    let refused = for_client(&server, one, VIDEOS);
    assert_eq!(word(&refused), (429, "too-often".into()));
    let wait: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(refused.header("ratelimit"), Some(format!("\"address\";r=0;t={wait}").as_str()));
    assert_eq!(for_client(&server, other, VIDEOS).status, 200);
    // Playback has a bucket of its own, and who watches over the server is not counted.
    let master = "/v/000000000000/master.m3u8";
    assert_eq!(word(&for_client(&server, one, master)), (404, "no-title".into()));
    let refused = for_client(&server, one, master);
    assert_eq!((word(&refused), refused.header("cache-control")), ((429, "too-often".into()), Some("no-store")));
    assert!(refused.header("retry-after").is_some());
    for _ in 0..3 {
        assert_eq!(for_client(&server, one, "/healthz").status, 200);
    }
}

#[test]
fn a_url_bound_to_a_client_plays_for_it_through_a_trusted_proxy_and_for_nobody_who_only_says_so() {
    let data = Data::new();
    let id = data.ingest(crate::uploads::film().0);
    let trusting = TestServer::with(&data, &[("MATINEE_SERVER__TRUSTED_PROXIES", "[\"127.0.0.0/8\"]")]);
    let path = format!("{VIDEOS}/{id}");
    let change = trusting.ask(&path).method("PATCH").header("content-type", "application/json");
    let change = change.body(json!({ "playback_policy": "signed" }).to_string()).send().unwrap();
    assert_eq!(change.status, 200, "{}", change.text());
    let sign = trusting.ask(&format!("{path}/playback-tokens")).method("POST");
    let sign = sign.header("content-type", "application/json").body(json!({ "client": "203.0.113.7" }).to_string());
    let url = sign.send().unwrap().json()["playback"]["hls"].as_str().unwrap().to_owned();
    assert_eq!(for_client(&trusting, "203.0.113.7", &url).status, 200);
    assert_eq!(word(&for_client(&trusting, "203.0.113.8", &url)), (403, "forged".into()));
    assert_eq!(word(&trusting.get(&url)), (403, "forged".into()));
    drop(trusting);
    let plain = TestServer::over(&data);
    assert_eq!(word(&for_client(&plain, "203.0.113.7", &url)), (403, "forged".into()));
}
