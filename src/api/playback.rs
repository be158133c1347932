//! `POST /videos/{id}/playback-tokens`: URLs by which a signed title plays for a while.

use std::net::IpAddr;
use std::sync::Arc;

use http::request;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::payload::Payload;
use super::problem::{Kind, Problem};
use super::video::{add_pictures, bad, places};
use super::{Api, Response, respond, videos};
use crate::access::MAX_PLAYBACK_SECONDS;
use crate::media::TitleId;

/// Longest body that asks for a token, bytes.
const MAX_BODY_BYTES: usize = 4 << 10;
/// How long a token is good for, unless said, seconds: a film and a break.
const SECONDS: u64 = 4 * 3600;

/// `{"seconds": 3600}` or `{"expires_at": "2030-01-01T12:00:00Z"}`, and `"client"`, an address, to bind it to one.
pub(super) async fn sign(
    api: &Arc<Api>,
    parts: &request::Parts,
    payload: Payload,
    id: &TitleId,
) -> Result<Response, Problem> {
    let title = videos::find(api, id).await?;
    let body = respond::object_if_any(parts, payload, MAX_BODY_BYTES).await?;
    let (expires, client) = read(body, Timestamp::now())?;
    let expires_s = expires.as_second().unsigned_abs();
    let token = api.rooms.playback.sign(id, expires_s, client);
    let before = format!("/s/{token}");
    let mut playback = places(&before, id);
    if let Some(plan) = &title.plan {
        add_pictures(&mut playback, &before, id, plan);
    }
    let location = format!("{before}/v/{id}/master.m3u8");
    Ok(respond::made(
        &json!({
            "token": token, "video": id, "expires_at": expires.to_string(), "client": client,
            "playback_policy": title.entry.policy, "playback": playback,
        }),
        &location,
    ))
}

fn read(mut body: Map<String, Value>, now: Timestamp) -> Result<(Timestamp, Option<IpAddr>), Problem> {
    let latest = now.as_second().saturating_add_unsigned(MAX_PLAYBACK_SECONDS);
    let seconds =
        body.remove("seconds").map(|value| respond::count(&value).ok_or_else(|| bad("seconds", "a whole number")));
    let at = body.remove("expires_at").map(|value| {
        let at = value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
        at.ok_or_else(|| bad("expires_at", "a time such as 2030-01-01T12:00:00Z"))
    });
    let client = body.remove("client").filter(|client| !client.is_null()).map(|value| {
        let address = value.as_str().and_then(|text| text.parse::<IpAddr>().ok());
        address.ok_or_else(|| bad("client", "an IP address"))
    });
    if let Some(other) = body.keys().next() {
        let detail = format!("there is no field {other:?}: seconds, expires_at and client are known");
        return Err(Problem::new(Kind::Body, detail));
    }
    let expires_s = match (seconds.transpose()?, at.transpose()?) {
        (Some(_), Some(_)) => return Err(Problem::new(Kind::Body, "send seconds or expires_at, not both")),
        (None, Some(at)) => at.as_second(),
        (seconds, None) => now.as_second().saturating_add_unsigned(seconds.unwrap_or(SECONDS)),
    };
    let expires =
        Timestamp::from_second(expires_s).ok().filter(|_| (now.as_second() + 1..=latest).contains(&expires_s));
    let must = || bad("expires_at", &format!("in the future, and {MAX_PLAYBACK_SECONDS} seconds away at most"));
    Ok((expires.ok_or_else(must)?, client.transpose()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_ends_in_the_future_and_not_too_far_away() {
        let now = Timestamp::from_second(1000).unwrap();
        let expires = |body: Value| {
            let Value::Object(body) = body else { unreachable!() };
            read(body, now).map(|(expires, client)| (expires.as_second(), client)).ok()
        };
        assert_eq!(expires(json!({})), Some((1000 + 4 * 3600, None)));
        assert_eq!(expires(json!({ "seconds": 1 })), Some((1001, None)));
        assert_eq!(expires(json!({ "seconds": 1.0 })), Some((1001, None)));
        assert_eq!(expires(json!({ "expires_at": "1970-01-01T01:00:00Z" })), Some((3600, None)));
        assert_eq!(expires(json!({ "seconds": 1, "client": "::1" })).unwrap().1, Some("::1".parse().unwrap()));
        for bad in [
            json!({ "seconds": 0 }),
            json!({ "seconds": -1 }),
            json!({ "seconds": 1.5 }),
            json!({ "seconds": 1e300 }),
            json!({ "seconds": MAX_PLAYBACK_SECONDS + 1 }),
            json!({ "seconds": u64::MAX }),
            json!({ "seconds": 1, "expires_at": "1970-01-01T01:00:00Z" }),
            json!({ "expires_at": "1969-01-01T00:00:00Z" }),
            json!({ "expires_at": 5 }),
            json!({ "client": "localhost" }),
            json!({ "more": 1 }),
        ] {
            assert_eq!(expires(bad.clone()), None, "{bad}");
        }
    }
}
