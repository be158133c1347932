//! `POST /upload-tokens`: leave for a browser to send one film without a key.

use std::sync::Arc;

use http::request;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::access::Caller;
use super::payload::Payload;
use super::problem::{Kind, Problem};
use super::video::bad;
use super::{Api, Response, respond};
use crate::access::{Grant, MAX_UPLOAD_SECONDS};
use crate::catalog::new_id;

/// Longest body that asks for a token, bytes.
const MAX_BODY_BYTES: usize = 4 << 10;
/// How long a token is good for, unless said, seconds. The upload has to begin by then, not to end.
const SECONDS: u64 = 15 * 60;

/// `{"max_bytes": 1000000000, "seconds": 900}`, both optional.
pub(super) async fn issue(
    api: &Arc<Api>,
    parts: &request::Parts,
    payload: Payload,
    caller: &Caller,
) -> Result<Response, Problem> {
    let most = api.rooms.uploads.config().max_bytes;
    let (max_bytes, seconds) = read(respond::object_if_any(parts, payload, MAX_BODY_BYTES).await?, most)?;
    let title = new_id().map_err(Problem::internal)?;
    let expires = Timestamp::now().as_second().saturating_add_unsigned(seconds);
    let grant = Grant { title, max_bytes, issuer: caller.name.clone(), expires_s: expires.unsigned_abs() };
    let token = api.rooms.grants.issue(&grant);
    Ok(respond::made(
        &json!({
            "token": token, "video": grant.title, "max_bytes": max_bytes,
            "expires_at": Timestamp::from_second(expires).unwrap_or_default().to_string(),
        }),
        &format!("/api/v1/videos/{}", grant.title),
    ))
}

fn read(mut body: Map<String, Value>, most: u64) -> Result<(u64, u64), Problem> {
    let mut take = |name: &str, default: u64, most: u64| {
        let Some(value) = body.remove(name) else { return Ok(default) };
        let must = || bad(name, &format!("a whole number from 1 to {most}"));
        respond::count(&value).filter(|number| (1..=most).contains(number)).ok_or_else(must)
    };
    let numbers = (take("max_bytes", most, most)?, take("seconds", SECONDS, MAX_UPLOAD_SECONDS)?);
    match body.keys().next() {
        Some(other) => {
            let detail = format!("there is no field {other:?}: max_bytes and seconds are known");
            Err(Problem::new(Kind::Body, detail))
        }
        None => Ok(numbers),
    }
}
