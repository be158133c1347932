//! Whatever this room reads of a request's head by itself: see `api/fuzz.rs`. Ordinary builds do not have it.

use std::net::{IpAddr, Ipv4Addr};

use http::request;

use super::client::{Field, Proxies};
use super::cmcd::Cmcd;
use super::conditional;
use super::range::{Part, Wanted};
use super::route::Route;
use super::signed::Ticket;

const ETAG: &str = "\"0123456789abcdef-720p-7\"";

/// Reads a request's head.
pub fn request(parts: &request::Parts) {
    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut uri = parts.uri.clone();
    drop(Ticket::take(&mut uri, client));
    for path in [parts.uri.path(), uri.path()] {
        if let Some(route) = Route::parse(path) {
            let fixed = matches!(route, Route::Health | Route::Ready | Route::Management);
            assert!(fixed || route.to_string() == path, "{route:?} has another spelling: {path}");
        }
    }
    let _ = conditional::not_modified(&parts.headers, ETAG);
    for length in [0, 1, 1000, usize::MAX] {
        if let Part::Bytes(first, last) = Wanted::of(&parts.headers, ETAG).within(length) {
            assert!(first <= last && last < length, "{first}..={last} of {length}");
        }
    }
    if let Some(told) = Cmcd::of(parts) {
        let _ = told.due_in();
        // It names something or nothing, and is looked at like any other path.
        let _ = told.next_path(parts.uri.path()).and_then(|path| Route::parse(&path));
        assert!(told.session.is_none_or(|session| session.len() <= 64));
    }
    let trusted: Vec<_> = ["127.0.0.0/8", "10.0.0.0/8", "::/1"].iter().filter_map(|text| text.parse().ok()).collect();
    for field in [Field::XForwardedFor, Field::Forwarded] {
        let found = Proxies::new(&trusted, field).client(client, &parts.headers);
        assert_eq!(found, found.to_canonical());
    }
}
