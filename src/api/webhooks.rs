//! Webhooks: added, listed, removed; and what became of what they were to be told. A webhook's secret is in the answer to
//! its creation and nowhere else.

use std::sync::Arc;

use http::request;
use serde_json::{Map, Value, json};

use super::payload::Payload;
use super::problem::{Kind, Problem};
use super::query::{self, Listing};
use super::video::{bad, time};
use super::{Api, Response, blocking, respond};
use crate::catalog::{Delivery, DeliveryCursor, DeliveryState, News, Webhook, now_ms};
use crate::ingest;
use crate::media::WebhookId;

/// Longest body that asks for a webhook, bytes.
const MAX_BODY_BYTES: usize = 8 << 10;
/// Longest URL, bytes.
const MAX_URL_BYTES: usize = 2000;

/// `GET /webhooks`: all of them, newest first.
pub(super) async fn list(api: &Arc<Api>) -> Result<Response, Problem> {
    let catalog = api.rooms.catalog.clone();
    let webhooks = blocking(move || Ok(catalog.webhooks()?)).await?;
    Ok(respond::json(&json!({ "webhooks": webhooks.iter().map(shown).collect::<Vec<_>>() })))
}

/// `POST /webhooks`: `{"url": "https://...", "events": ["video.ready"]}`; without events, all of them.
pub(super) async fn create(api: &Arc<Api>, parts: &request::Parts, payload: Payload) -> Result<Response, Problem> {
    let (url, events) = read(respond::object(parts, payload, MAX_BODY_BYTES).await?)?;
    // What leads where no request may go is refused when it is added, too, and not only when it is to be told something.
    api.rooms.client.target(&url).map_err(ingest::Error::from)?;
    let bits = getrandom::u64().map_err(Problem::internal)?;
    let id = WebhookId::from_random(bits);
    let webhook = Webhook { id, url, events, created_at_ms: now_ms(), disabled: None };
    let (catalog, new) = (api.rooms.catalog.clone(), webhook.clone());
    if !blocking(move || Ok(catalog.insert_webhook(&new)?)).await? {
        return Err(Problem::of(Kind::TooManyWebhooks));
    }
    tracing::info!(webhook = %webhook.id, "a webhook was added");
    let mut body = shown(&webhook);
    body["secret"] = json!(api.rooms.signer.secret(&webhook.id));
    Ok(respond::made(&body, &format!("/api/v1/webhooks/{}", webhook.id)))
}

/// `GET /webhooks/{id}`.
pub(super) async fn one(api: &Arc<Api>, id: &WebhookId) -> Result<Response, Problem> {
    Ok(respond::json(&shown(&find(api, id).await?)))
}

/// `DELETE /webhooks/{id}`: what waits for it goes, too.
pub(super) async fn remove(api: &Arc<Api>, id: &WebhookId) -> Result<Response, Problem> {
    let webhook = find(api, id).await?;
    let (catalog, of) = (api.rooms.catalog.clone(), id.clone());
    if !blocking(move || Ok(catalog.remove_webhook(&of)?)).await? {
        return Err(Problem::of(Kind::NoWebhook));
    }
    tracing::info!(webhook = %id, "a webhook was removed");
    Ok(respond::json(&shown(&webhook)))
}

/// `GET /webhooks/{id}/deliveries`: newest first.
pub(super) async fn deliveries(api: &Arc<Api>, parts: &request::Parts, id: &WebhookId) -> Result<Response, Problem> {
    let Listing { after, limit, state } = query::listing::<DeliveryCursor, DeliveryState>(parts)?;
    find(api, id).await?;
    let (catalog, of) = (api.rooms.catalog.clone(), id.clone());
    let page = blocking(move || Ok(catalog.deliveries(&of, after.as_ref(), limit, state)?)).await?;
    let deliveries: Vec<Value> = page.deliveries.iter().map(delivery).collect();
    Ok(respond::json(&json!({ "deliveries": deliveries, "next_cursor": page.next.map(|next| next.to_string()) })))
}

async fn find(api: &Arc<Api>, id: &WebhookId) -> Result<Webhook, Problem> {
    let (catalog, id) = (api.rooms.catalog.clone(), id.clone());
    blocking(move || Ok(catalog.webhook(&id)?)).await?.ok_or_else(|| Problem::of(Kind::NoWebhook))
}

fn read(mut body: Map<String, Value>) -> Result<(String, Vec<News>), Problem> {
    let url = body.remove("url").and_then(|url| Some(url.as_str()?.to_owned()));
    let url = url.filter(|url| url.len() <= MAX_URL_BYTES);
    let url = url.ok_or_else(|| bad("url", &format!("text of up to {MAX_URL_BYTES} bytes")))?;
    let words: Vec<&str> = News::ALL.iter().map(|news| news.as_str()).collect();
    let events = match body.remove("events") {
        None => News::ALL.to_vec(),
        Some(events) => {
            let parse = |value: &Value| value.as_str()?.parse::<News>().ok();
            let events: Option<Vec<News>> = events.as_array().and_then(|all| all.iter().map(parse).collect());
            let events = events.filter(|events| !events.is_empty());
            let mut events = events.ok_or_else(|| bad("events", &format!("a list of {}", words.join(", "))))?;
            events.dedup();
            events
        }
    };
    match body.keys().next() {
        Some(other) => Err(Problem::new(Kind::Body, format!("a webhook has no {other:?}: url and events are known"))),
        None => Ok((url, events)),
    }
}

fn shown(webhook: &Webhook) -> Value {
    let disabled = webhook.disabled.as_ref().map(|(at_ms, why)| json!({ "at": time(*at_ms), "why": why }));
    json!({
        "id": webhook.id, "url": webhook.url, "events": webhook.events, "created_at": time(webhook.created_at_ms),
        "disabled": disabled,
    })
}

fn delivery(delivery: &Delivery) -> Value {
    let due = delivery.ended_at_ms.is_none().then(|| time(delivery.due_at_ms));
    json!({
        "id": delivery.id, "event": delivery.event, "state": delivery.state, "attempts": delivery.attempts,
        "status": delivery.status, "error": delivery.error, "created_at": time(delivery.created_at_ms),
        "due_at": due, "ended_at": delivery.ended_at_ms.map(time),
        // It was made here.
        "body": serde_json::from_str::<Value>(&delivery.body).unwrap_or_default(),
    })
}
