//! Keys: issued, listed, revoked. A key's text is in the answer to its creation and nowhere else.

use std::sync::Arc;

use http::request;
use serde_json::{Map, Value, json};

use super::payload::Payload;
use super::problem::{Kind, Problem};
use super::video::{bad, time};
use super::{Api, Response, blocking, respond};
use crate::access;
use crate::catalog::{ApiKey, now_ms};
use crate::media::{KeyId, Quota, Scope, Scopes, Usage};

/// Longest body that asks for a key, bytes.
const MAX_BODY_BYTES: usize = 4 << 10;
/// Largest limit: what the catalog can count.
const MAX_LIMIT: u64 = i64::MAX as u64;
const LIMIT_MUST: &str = "a whole number, 0 for no limit, or null for what the configuration says";

/// `GET /keys`: all of them, newest first.
pub(super) async fn list(api: &Arc<Api>) -> Result<Response, Problem> {
    let this = api.clone();
    let keys = blocking(move || {
        let used = this.rooms.catalog.usages()?;
        let shown = |key: &ApiKey| shown(&this, key, used.get(key.id.as_str()).copied().unwrap_or_default());
        Ok(this.rooms.keys.list()?.iter().map(shown).collect::<Vec<_>>())
    });
    Ok(respond::json(&json!({ "keys": keys.await? })))
}

/// `POST /keys`: `{"name": "ci", "scopes": ["upload"], "max_bytes": 1000000000}`.
pub(super) async fn create(api: &Arc<Api>, parts: &request::Parts, payload: Payload) -> Result<Response, Problem> {
    let (name, scopes, quota) = read(respond::object(parts, payload, MAX_BODY_BYTES).await?)?;
    let keys = api.rooms.keys.clone();
    let issued = blocking(move || Ok(keys.issue(&name, scopes, quota, now_ms())?)).await?;
    tracing::info!(key = %issued.key.id, scopes = %issued.key.scopes, "a key was added");
    let mut body = shown(api, &issued.key, Usage::default());
    body["key"] = json!(issued.text);
    Ok(respond::made(&body, &format!("/api/v1/keys/{}", issued.key.id)))
}

/// `GET /keys/{id}`.
pub(super) async fn one(api: &Arc<Api>, id: &KeyId) -> Result<Response, Problem> {
    let (catalog, of) = (api.rooms.catalog.clone(), id.clone());
    let (key, used) = blocking(move || Ok((catalog.key(&of)?, catalog.usage(&of)?))).await?;
    Ok(respond::json(&shown(api, &key.ok_or_else(|| Problem::of(Kind::NoKey))?, used)))
}

/// `DELETE /keys/{id}`: it is worth nothing any more, and stays in the list.
pub(super) async fn revoke(api: &Arc<Api>, id: &KeyId) -> Result<Response, Problem> {
    let (keys, catalog, of) = (api.rooms.keys.clone(), api.rooms.catalog.clone(), id.clone());
    let (key, used) = blocking(move || Ok((keys.revoke(&of, now_ms())?, catalog.usage(&of)?))).await?;
    let key = key.ok_or_else(|| Problem::of(Kind::NoKey))?;
    tracing::info!(key = %key.id, "a key was revoked");
    Ok(respond::json(&shown(api, &key, used)))
}

impl From<access::Error> for Problem {
    fn from(error: access::Error) -> Self {
        match error {
            access::Error::Name | access::Error::NoScope => Self::new(Kind::Body, error.to_string()),
            access::Error::TooMany => Self::new(Kind::TooManyKeys, error.to_string()),
            access::Error::Catalog(why) => why.into(),
            access::Error::Secret { .. } | access::Error::Chance(_) => Self::internal(error),
        }
    }
}

fn read(mut body: Map<String, Value>) -> Result<(String, Scopes, Quota), Problem> {
    let scope = |value: &Value| value.as_str()?.parse::<Scope>().ok();
    let scopes = |value: Value| value.as_array()?.iter().map(scope).collect::<Option<Scopes>>();
    let name = body.remove("name").and_then(|name| Some(name.as_str()?.to_owned()));
    let name = name.ok_or_else(|| bad("name", "text"))?;
    let must = || bad("scopes", "a list of read, upload, admin");
    let scopes = body.remove("scopes").and_then(scopes).ok_or_else(must)?;
    let mut limit = |name: &str| match body.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let limit = respond::count(&value).filter(|limit| *limit <= MAX_LIMIT);
            limit.map(Some).ok_or_else(|| bad(name, LIMIT_MUST))
        }
    };
    let (max_bytes, max_titles) = (limit("max_bytes")?, limit("max_titles")?);
    let quota = Quota { max_bytes, max_titles, max_uploads: limit("max_uploads")? };
    let known = "name, scopes, max_bytes, max_titles and max_uploads are known";
    match body.keys().next() {
        Some(other) => Err(Problem::new(Kind::Body, format!("a key has no {other:?}: {known}"))),
        None => Ok((name, scopes, quota)),
    }
}

/// With what it has, to which what is under way is added.
fn shown(api: &Api, key: &ApiKey, used: Usage) -> Value {
    let open = api.rooms.resumables.open_of(Some(&key.id), &[]);
    let under_way = api.rooms.uploads.under_way_of(&key.id);
    let used = Usage {
        bytes: used.bytes + open.bytes + under_way.bytes,
        titles: used.titles,
        uploads: used.uploads + open.uploads + under_way.uploads,
    };
    let mut shown = described(key);
    shown["used"] = json!(used);
    shown
}

/// A key as JSON, without its text.
#[must_use]
pub fn described(key: &ApiKey) -> Value {
    let Quota { max_bytes, max_titles, max_uploads } = key.quota;
    json!({
        "max_bytes": max_bytes, "max_titles": max_titles, "max_uploads": max_uploads, "id": key.id, "name": key.name,
        "scopes": key.scopes.iter().map(Scope::as_str).collect::<Vec<_>>(), "created_at": time(key.created_at_ms), "last_used_at": key.used_at_ms.map(time),
        "revoked_at": key.revoked_at_ms.map(time),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_whole_number_however_it_is_written() {
        let max_bytes = |limit: Value| {
            let body = json!({ "name": "ci", "scopes": ["upload"], "max_bytes": limit });
            read(body.as_object().unwrap().clone()).map(|(_, _, quota)| quota.max_bytes).ok()
        };
        assert_eq!(max_bytes(json!(1e9)), Some(Some(1_000_000_000)));
        assert_eq!(max_bytes(json!(MAX_LIMIT)), Some(Some(MAX_LIMIT)));
        assert_eq!((max_bytes(json!(0)), max_bytes(Value::Null)), (Some(Some(0)), Some(None)));
        for bad in [json!(1.5), json!(-1), json!("1"), json!(1e300), json!(MAX_LIMIT + 1)] {
            assert_eq!(max_bytes(bad.clone()), None, "{bad}");
        }
    }
}
