//! Webhooks in the description: calls, and the bodies of calls and of news.

use http::Method;
use serde_json::{Map, Value, json};

use super::operations::{BASE, Operation};
use super::reference;
use super::schemas::{self, Gives, Takes, closed};
use crate::api::problem::Kind;
use crate::catalog::{DeliveryState, News};

const WEBHOOKS: Operation = Operation { tag: "webhooks", ..BASE };

pub(super) fn webhooks(method: &Method) -> Option<Operation> {
    match *method {
        Method::GET => Some(Operation {
            id: "listWebhooks",
            summary: "Lists webhooks, newest first.",
            gives: (200, Gives::WebhookList),
            ..WEBHOOKS
        }),
        Method::POST => Some(Operation {
            id: "createWebhook",
            summary: "Adds a webhook. Its secret is in this answer and nowhere else.",
            takes: Takes::Webhook,
            gives: (201, Gives::IssuedWebhook),
            fails: &[
                Kind::Body,
                Kind::Url,
                Kind::PrivateAddress,
                Kind::Incomplete,
                Kind::Stalled,
                Kind::TooManyWebhooks,
                Kind::TooLarge,
                Kind::MediaType,
                Kind::Encoding,
                Kind::DiskFull,
            ],
            ..WEBHOOKS
        }),
        _ => None,
    }
}

pub(super) fn webhook(method: &Method) -> Option<Operation> {
    const WEBHOOK: Operation =
        Operation { gives: (200, Gives::Webhook), fails: &[Kind::NoWebhook, Kind::NoRoute], ..WEBHOOKS };
    match *method {
        Method::GET => Some(Operation { id: "getWebhook", summary: "Shows a webhook, without its secret.", ..WEBHOOK }),
        Method::DELETE => Some(Operation {
            id: "removeWebhook",
            summary: "Removes a webhook, and the deliveries that wait for it.",
            fails: &[Kind::NoWebhook, Kind::NoRoute, Kind::DiskFull],
            ..WEBHOOK
        }),
        _ => None,
    }
}

pub(super) fn deliveries(method: &Method) -> Option<Operation> {
    (*method == Method::GET).then_some(Operation {
        id: "listDeliveries",
        summary: "Lists deliveries to a webhook, queued, delivered and failed, newest first.",
        parameters: &["deliveryCursor", "limit", "deliveryState"],
        gives: (200, Gives::DeliveryPage),
        fails: &[Kind::NoWebhook, Kind::NoRoute, Kind::Query],
        ..WEBHOOKS
    })
}

/// What these calls take in their queries.
pub(super) fn add_parameters(parameters: &mut Value) {
    parameters["deliveryCursor"] = json!({
        "name": "cursor", "in": "query", "description": "`next_cursor` of the page before",
        "schema": { "type": "string", "pattern": "^[0-9]{1,15}$" },
    });
    parameters["deliveryState"] = json!({
        "name": "state", "in": "query", "description": "only deliveries in this state", "schema": { "enum": DeliveryState::ALL },
    });
}

pub(super) fn add_schemas(all: &mut Value) {
    let id = || reference("schemas", "Id");
    let text = || json!({ "type": "string" });
    let time = || json!({ "type": "string", "format": "date-time" });
    let time_or_null = || json!({ "type": ["string", "null"], "format": "date-time" });
    let events = || json!({ "type": "array", "items": reference("schemas", "NewsType") });
    let words: Vec<&str> = News::ALL.iter().map(|news| news.as_str()).collect();
    let webhook = json!({
        "id": id(), "url": text(), "events": events(), "created_at": time(),
        "disabled": { "oneOf": [{ "type": "null" }, closed(json!({ "at": time(), "why": text() }))] },
    });
    let mut issued = webhook.clone();
    issued["secret"] = json!({ "type": "string", "description": "`whsec_` and 32 bytes in base64" });
    let list = |name: &str| json!({ "type": "array", "items": reference("schemas", name) });
    let added: Map<String, Value> = [
        ("NewsType", json!({ "enum": words })),
        ("Webhook", closed(webhook)),
        ("IssuedWebhook", closed(issued)),
        ("WebhookList", closed(json!({ "webhooks": list("Webhook") }))),
        (
            "NewWebhook",
            json!({
                "type": "object", "required": ["url"], "additionalProperties": false,
                "properties": {
                    "url": schemas::url(),
                    "events": {
                        "type": "array", "minItems": 1, "items": reference("schemas", "NewsType"),
                        "description": "by default all of them",
                    },
                },
            }),
        ),
        (
            "Delivery",
            closed(json!({
                "id": id(), "event": text(), "state": { "enum": DeliveryState::ALL }, "attempts": { "type": "integer", "minimum": 0 },
                "status": { "type": ["integer", "null"] }, "error": { "type": ["string", "null"] },
                "created_at": time(), "due_at": time_or_null(), "ended_at": time_or_null(),
                "body": reference("schemas", "News"),
            })),
        ),
        (
            "DeliveryPage",
            closed(json!({ "deliveries": list("Delivery"), "next_cursor": { "type": ["string", "null"] } })),
        ),
        (
            "News",
            closed(json!({
                "type": reference("schemas", "NewsType"), "timestamp": time(),
                "data": {
                    "type": "object", "required": ["video"],
                    "properties": {
                        "video": id(), "state": text(), "version": { "type": "integer" },
                        "error": reference("schemas", "Failure"), "reason": text(),
                        "paths": { "type": "array", "items": text() },
                        "surrogate_keys": { "type": "array", "items": text() },
                    },
                },
            })),
        ),
    ]
    .into_iter()
    .map(|(name, schema)| (name.to_owned(), schema))
    .collect();
    if let Some(all) = all.as_object_mut() {
        all.extend(added);
    }
}

/// What is sent to webhooks (OpenAPI 3.1 §4.8.1).
pub(super) fn news() -> Value {
    let header = |name: &str, description: &str| {
        json!({
            "name": name, "in": "header", "required": true, "description": description, "schema": { "type": "string" },
        })
    };
    json!({
        "news": {
            "post": {
                "operationId": "news", "tags": ["webhooks"],
                "summary": "Reports a change, at least once, signed as Standard Webhooks specifies.",
                "parameters": [
                    header("webhook-id", "the same in each attempt"),
                    header("webhook-timestamp", "when it was sent, seconds since the Unix epoch"),
                    header("webhook-signature", "`v1,` and HMAC-SHA256 over id, timestamp and body, with dots between"),
                ],
                "requestBody": { "content": { "application/json": { "schema": reference("schemas", "News") } } },
                "responses": {
                    "2XX": { "description": "taken" },
                    "410": { "description": "the receiver does not want any more" },
                    "default": { "description": "sent again later" },
                },
            },
        },
    })
}
