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
use crate::media::{KeyId, Scope, Scopes};

/// Longest body that asks for a key, bytes.
const MAX_BODY_BYTES: usize = 4 << 10;

/// `GET /keys`: all of them, newest first.
pub(super) async fn list(api: &Arc<Api>) -> Result<Response, Problem> {
    let keys = api.rooms.keys.clone();
    let keys = blocking(move || Ok(keys.list()?)).await?;
    Ok(respond::json(&json!({ "keys": keys.iter().map(shown).collect::<Vec<_>>() })))
}

/// `POST /keys`: `{"name": "ci", "scopes": ["upload"]}`.
pub(super) async fn create(api: &Arc<Api>, parts: &request::Parts, mut payload: Payload) -> Result<Response, Problem> {
    let (name, scopes) = read(respond::object(parts, payload.whole(MAX_BODY_BYTES).await?)?)?;
    let keys = api.rooms.keys.clone();
    let issued = blocking(move || Ok(keys.issue(&name, scopes, now_ms())?)).await?;
    tracing::info!(key = %issued.key.id, scopes = %issued.key.scopes, "a key was added");
    let mut body = shown(&issued.key);
    body["key"] = json!(issued.text);
    Ok(respond::made(&body, &format!("/api/v1/keys/{}", issued.key.id)))
}

/// `GET /keys/{id}`.
pub(super) async fn one(api: &Arc<Api>, id: &KeyId) -> Result<Response, Problem> {
    let (catalog, id) = (api.rooms.catalog.clone(), id.clone());
    let key = blocking(move || Ok(catalog.key(&id)?)).await?.ok_or_else(|| Problem::of(Kind::NoKey))?;
    Ok(respond::json(&shown(&key)))
}

/// `DELETE /keys/{id}`: it is worth nothing any more, and stays in the list.
pub(super) async fn revoke(api: &Arc<Api>, id: &KeyId) -> Result<Response, Problem> {
    let (keys, id) = (api.rooms.keys.clone(), id.clone());
    let key = blocking(move || Ok(keys.revoke(&id, now_ms())?)).await?.ok_or_else(|| Problem::of(Kind::NoKey))?;
    tracing::info!(key = %key.id, "a key was revoked");
    Ok(respond::json(&shown(&key)))
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

fn read(mut body: Map<String, Value>) -> Result<(String, Scopes), Problem> {
    let scope = |value: &Value| value.as_str()?.parse::<Scope>().ok();
    let scopes = |value: Value| value.as_array()?.iter().map(scope).collect::<Option<Scopes>>();
    let name = body.remove("name").and_then(|name| Some(name.as_str()?.to_owned()));
    let name = name.ok_or_else(|| bad("name", "text"))?;
    let must = || bad("scopes", "a list of read, upload, admin");
    let scopes = body.remove("scopes").and_then(scopes).ok_or_else(must)?;
    match body.keys().next() {
        Some(other) => Err(Problem::new(Kind::Body, format!("a key has no {other:?}: name and scopes are known"))),
        None => Ok((name, scopes)),
    }
}

fn shown(key: &ApiKey) -> Value {
    json!({
        "id": key.id, "name": key.name, "scopes": key.scopes.iter().map(Scope::as_str).collect::<Vec<_>>(),
        "created_at": time(key.created_at_ms), "last_used_at": key.used_at_ms.map(time),
        "revoked_at": key.revoked_at_ms.map(time),
    })
}
