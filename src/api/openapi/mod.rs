//! `GET /openapi.json`: the API in OpenAPI 3.1, made of what the code goes by: the routes and their methods, the scopes
//! and the table of problems. A route without a description does not compile; a method without one, or one described
//! that is not answered, fails a test; and in debug builds a problem that is not documented for its call is a panic, so
//! that every test of the API is one of this document, too.
//!
//! It is not made by macros on handlers and structures, as `utoipa` would: there are none here. Paths come from one
//! `match`, bodies are JSON put together where they are sent.

mod keys;
mod operations;
mod schemas;
mod webhooks;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use http::Method;
use serde_json::{Map, Value, json};

use super::Route;
use super::problem::Kind;
use operations::{Operation, operation};

/// What any call may be answered with.
const ALWAYS: [Kind; 5] = [Kind::Unauthorised, Kind::Scope, Kind::Host, Kind::Busy, Kind::Internal];
const PROBLEM: &str = "application/problem+json";

/// The document, made once.
pub(super) fn document() -> &'static str {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    DOCUMENT.get_or_init(|| made().to_string())
}

/// The methods of a path as the document has it, as `Allow` lists them: a name in it may decide which of them it takes.
pub(super) fn methods(route: &Route) -> String {
    let mut names = Vec::new();
    for same in Route::all().iter().filter(|same| same.template() == route.template()) {
        for (method, _) in same.methods() {
            if !names.contains(&method.as_str()) {
                names.push(method.as_str());
            }
        }
    }
    names.join(", ") + ", OPTIONS"
}

/// Whether the document says that this call may be answered with this problem.
pub(super) fn knows(path: &str, method: &Method, kind: Kind) -> bool {
    // Whatever is asked for is counted.
    if kind == Kind::TooOften {
        return true;
    }
    let Some(route) = Route::parse(path) else { return kind == Kind::NoRoute };
    let as_get = || if method == Method::HEAD { operation(&route, &Method::GET) } else { None };
    match operation(&route, method).or_else(as_get) {
        Some(operation) => operation.problems(method).any(|known| known == kind),
        // Whoever looks for a film by its name looks for what is not there.
        None if matches!(route, Route::File(_)) => kind == Kind::NoRoute,
        None => kind == Kind::Method,
    }
}

impl Operation {
    fn problems(&self, method: &Method) -> impl Iterator<Item = Kind> {
        // A page of another site may look.
        let changes = (!matches!(*method, Method::GET | Method::HEAD)).then_some(Kind::CrossSite);
        let always = if self.is_public { &ALWAYS[..0] } else { &ALWAYS };
        self.fails.iter().chain(always).copied().chain(changes).chain([Kind::TooOften])
    }

    fn json(&self, route: &Route, method: &Method) -> Value {
        let scope = route.scope(method).map(|scope| scope.as_str());
        let parameters: Vec<Value> = route
            .parameters()
            .into_iter()
            .chain(self.parameters.iter().map(|name| reference("parameters", name)))
            .collect();
        let mut out = json!({
            "operationId": self.id, "summary": self.summary, "tags": [self.tag], "parameters": parameters,
            "responses": self.responses(method),
        });
        if self.is_public {
            out["security"] = json!([]);
        } else {
            out["security"] = json!([{ "key": [] }, {}]);
            out["x-scope"] = json!(scope);
        }
        if let Some(body) = schemas::request(self.takes) {
            out["requestBody"] = body;
        }
        out
    }

    fn responses(&self, method: &Method) -> Value {
        let mut by_status: BTreeMap<u16, Vec<Kind>> = BTreeMap::new();
        for kind in self.problems(method) {
            by_status.entry(kind.entry().0.as_u16()).or_default().push(kind);
        }
        let mut out = Map::new();
        for (status, gives) in [Some(self.gives), self.or_gives].into_iter().flatten() {
            out.insert(status.to_string(), schemas::response(gives));
        }
        // By the connection, before anybody looks at the path.
        out.insert("431".into(), json!({ "description": "the request head is longer than server.max_header_bytes" }));
        for (status, kinds) in by_status {
            let types: Vec<String> =
                kinds.iter().map(|kind| format!("urn:matinee:problem:{}", kind.entry().1)).collect();
            let said: Vec<String> =
                kinds.iter().map(|kind| format!("`{}`: {}", kind.entry().1, kind.entry().3)).collect();
            let schema =
                json!({ "allOf": [reference("schemas", "Problem"), { "properties": { "type": { "enum": types } } }] });
            let response =
                json!({ "description": said.join(". ") + ".", "content": { PROBLEM: { "schema": schema } } });
            out.insert(status.to_string(), response);
        }
        Value::Object(out)
    }
}

impl Route {
    /// Every route there is, each with some name in it. The chain has to be mended for a new route to compile.
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        let mut next = Some(Self::Videos);
        while let Some(route) = next {
            next = route.next();
            all.push(route);
        }
        all
    }

    fn next(&self) -> Option<Self> {
        const ID: &str = "000000000000";
        let (title, job, key, webhook) =
            (|| ID.parse().ok(), || ID.parse().ok(), || ID.parse().ok(), || ID.parse().ok());
        let webhook_of = || ID.parse().ok();
        match self {
            Self::Videos => Some(Self::File("a.mp4".into())),
            Self::File(_) => title().map(Self::Video),
            Self::Video(_) => title().map(Self::PlaybackTokens),
            Self::PlaybackTokens(_) => title().map(Self::Source),
            Self::Source(_) => title().map(Self::Warm),
            Self::Warm(_) => title().map(Self::VideoEvents),
            Self::VideoEvents(_) => Some(Self::Events),
            Self::Events => Some(Self::Jobs),
            Self::Jobs => job().map(Self::Job),
            Self::Job(_) => Some(Self::Keys),
            Self::Keys => key().map(Self::Key),
            Self::Key(_) => Some(Self::UploadTokens),
            Self::UploadTokens => Some(Self::Uploads),
            Self::Uploads => "0".repeat(32).parse().ok().map(Self::Upload),
            Self::Upload(_) => Some(Self::Webhooks),
            Self::Webhooks => webhook().map(Self::Webhook),
            Self::Webhook(_) => webhook_of().map(Self::Deliveries),
            Self::Deliveries(_) => Some(Self::Metrics),
            Self::Metrics => Some(Self::OpenApi),
            Self::OpenApi => None,
        }
    }

    fn template(&self) -> &'static str {
        match self {
            Self::Videos => "/videos",
            // One path for OpenAPI, which tells templates apart by what is around the names.
            Self::File(_) | Self::Video(_) => "/videos/{video}",
            Self::PlaybackTokens(_) => "/videos/{video}/playback-tokens",
            Self::Source(_) => "/videos/{video}/source",
            Self::VideoEvents(_) => "/videos/{video}/events",
            Self::Events => "/events",
            Self::Jobs => "/jobs",
            Self::Job(_) => "/jobs/{job}",
            Self::Keys => "/keys",
            Self::Key(_) => "/keys/{key}",
            Self::UploadTokens => "/upload-tokens",
            Self::Warm(_) => "/videos/{video}/warm",
            Self::Uploads => "/uploads",
            Self::Upload(_) => "/uploads/{upload}",
            Self::Webhooks => "/webhooks",
            Self::Webhook(_) => "/webhooks/{webhook}",
            Self::Deliveries(_) => "/webhooks/{webhook}/deliveries",
            Self::Metrics => "/metrics",
            Self::OpenApi => "/openapi.json",
        }
    }

    fn parameters(&self) -> Option<Value> {
        let path = |name: &str, schema: &str| {
            json!({
                "name": name, "in": "path", "required": true, "schema": reference("schemas", schema),
            })
        };
        let id = |name: &str| path(name, "Id");
        match self {
            Self::File(_) => Some(json!({
                "name": "video", "in": "path", "required": true,
                "description": "the file's name; one that looks like an id is sent to /videos, as `filename`",
                "schema": { "type": "string", "pattern": "^[^/]+$", "not": { "pattern": schemas::ID } },
                "example": "film.mp4",
            })),
            Self::Video(_) | Self::Source(_) | Self::Warm(_) | Self::PlaybackTokens(_) | Self::VideoEvents(_) => {
                Some(id("video"))
            }
            Self::Job(_) => Some(id("job")),
            Self::Upload(_) => Some(path("upload", "UploadId")),
            Self::Key(_) => Some(id("key")),
            Self::Webhook(_) | Self::Deliveries(_) => Some(id("webhook")),
            Self::Videos
            | Self::Events
            | Self::Jobs
            | Self::Keys
            | Self::Uploads
            | Self::UploadTokens
            | Self::Webhooks
            | Self::Metrics
            | Self::OpenApi => None,
        }
    }
}

fn made() -> Value {
    let mut paths = Map::new();
    for route in Route::all() {
        let path = paths.entry(route.template()).or_insert_with(|| json!({}));
        for (method, _) in route.methods() {
            if let Some(operation) = operation(&route, method) {
                path[method.as_str().to_lowercase()] = operation.json(&route, method);
            }
        }
    }
    schemas::add_health(&mut paths);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Matinee", "version": env!("CARGO_PKG_VERSION"), "license": { "name": env!("CARGO_PKG_LICENSE") },
            "description": "Films in, streams out. A video is what was made of one film; elsewhere it is called a title. `x-scope` is \
                the scope that a key needs; on loopback none is needed as long as there are no keys, except through a proxy. HEAD is answered wherever GET is, and described where it does something else.",
        },
        "servers": [{ "url": "/api/v1" }],
        "paths": paths,
        "webhooks": webhooks::news(),
        "components": schemas::components(),
    })
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_method_of_every_route_is_described_and_nothing_else() {
        for route in Route::all() {
            for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                let answered = route.scope(&method).is_some();
                assert_eq!(operation(&route, &method).is_some(), answered, "{method} {}", route.template());
            }
        }
    }

    #[test]
    fn every_problem_is_documented_somewhere() {
        let mut known: BTreeSet<&str> = [Kind::NoRoute, Kind::Method].iter().map(|kind| kind.entry().1).collect();
        for route in Route::all() {
            for (method, _) in route.methods() {
                let operation = operation(&route, method);
                known.extend(operation.iter().flat_map(|o| o.problems(method)).map(|kind| kind.entry().1));
            }
        }
        let all: BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.entry().1).collect();
        assert_eq!(known, all);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references(value: &Value, out: &mut Vec<String>) {
            match value {
                Value::Object(fields) => {
                    out.extend(fields.get("$ref").and_then(|to| Some(to.as_str()?.to_owned())));
                    fields.values().for_each(|value| references(value, out));
                }
                Value::Array(items) => items.iter().for_each(|value| references(value, out)),
                _ => {}
            }
        }
        let (document, mut found) = (made(), Vec::new());
        references(&document, &mut found);
        assert!(found.len() > 10);
        for to in found {
            assert!(document.pointer(to.trim_start_matches('#')).is_some(), "{to}");
        }
    }

    #[test]
    fn the_chain_of_routes_has_an_end_and_all_of_it_is_in_the_document() {
        let (document, all) = (made(), Route::all());
        assert_eq!(all.last(), Some(&Route::OpenApi), "a name in it is none");
        for route in all {
            assert!(document["paths"][route.template()].is_object(), "{route:?}");
        }
    }

    #[test]
    fn an_id_is_described_as_what_it_is_made_of_and_a_tag_only_where_one_is_sent() {
        let document = made();
        let pattern = document["components"]["schemas"]["Id"]["pattern"].as_str().unwrap();
        assert_eq!(pattern, "^[0-9a-hjkmnp-tv-z]{12}$");
        assert!("0123456789abcdefghjkmnpqrstvwxyz".as_bytes().chunks(12).all(|of| {
            let id = format!("{:0<12}", std::str::from_utf8(of).unwrap());
            matches!(Route::parse(&format!("/api/v1/videos/{id}")), Some(Route::Video(_)))
        }));
        let tag = |path: &str, method: &str, status: &str| {
            let response = &document["paths"][path][method]["responses"][status];
            assert!(response.is_object(), "{method} {path}");
            response["headers"]["ETag"].is_object()
        };
        assert!(tag("/videos", "post", "201") && tag("/videos/{video}", "get", "200"));
        assert!(!tag("/videos", "put", "201") && !tag("/videos/{video}", "put", "201"));
        assert!(!tag("/videos/{video}/source", "put", "200") && !tag("/videos/{video}/source", "put", "202"));
    }

    #[test]
    fn a_path_that_takes_names_of_two_kinds_allows_what_it_is_described_with() {
        let id = Route::parse("/api/v1/videos/000000000000").unwrap();
        let file = Route::parse("/api/v1/videos/a.mp4").unwrap();
        assert_eq!(methods(&file), "PUT, GET, HEAD, PATCH, DELETE, OPTIONS");
        assert_eq!(methods(&id), methods(&file));
    }

    #[test]
    fn a_head_is_described_only_where_it_is_not_a_get_without_a_body() {
        let document = made();
        let paths = document["paths"].as_object().unwrap();
        let heads: Vec<&str> =
            paths.iter().filter(|(_, path)| path["head"].is_object()).map(|(path, _)| &**path).collect();
        assert_eq!(heads, ["/uploads/{upload}"]);
        let (path, other) = (format!("/api/v1/uploads/{}", "0".repeat(32)), "/api/v1/videos/000000000000");
        assert!(knows(&path, &Method::HEAD, Kind::UploadLocked) && !knows(&path, &Method::GET, Kind::UploadLocked));
        assert!(knows(other, &Method::HEAD, Kind::NoTitle) && !knows(other, &Method::HEAD, Kind::CrossSite));
    }

    #[test]
    fn a_method_that_a_path_does_not_take_is_refused_as_that_except_where_names_of_films_are_taken() {
        let fails = |path, method| {
            [Kind::NoRoute, Kind::Method]
                .into_iter()
                .filter(move |kind| knows(path, &method, *kind))
                .collect::<Vec<_>>()
        };
        assert_eq!(fails("/api/v1/videos/000000000000", Method::PUT), [Kind::Method]);
        assert_eq!(fails("/api/v1/videos/a.mp4", Method::GET), [Kind::NoRoute]);
        assert_eq!(fails("/api/v1/nothing", Method::GET), [Kind::NoRoute]);
    }

    #[test]
    fn names_of_operations_are_unique() {
        let mut seen = BTreeSet::new();
        for route in Route::all() {
            for (method, _) in route.methods() {
                if let Some(operation) = operation(&route, method) {
                    assert!(seen.insert(operation.id), "{}", operation.id);
                }
            }
        }
    }
}
