//! Bodies as JSON schemas. Objects are closed where the API is meant not to say more than is written here, so that a
//! field that is sent and not documented is found by whoever compares the two.

use serde_json::{Map, Value, json};

use super::{reference, webhooks};
use crate::access::{MAX_NAME_CHARS, MAX_PLAYBACK_SECONDS, MAX_UPLOAD_SECONDS};
use crate::catalog::{JobState, State};
use crate::ingest::name::MAX_NAME_CHARS as MAX_TITLE_CHARS;

/// What names of titles, jobs, keys and webhooks are made of.
pub(super) const ID: &str = "^[0-9a-hjkmnp-tv-z]{12}$";
/// One line of text with something in it.
const LINE: &str = r"^[^\x00-\x1F\x7F-\x9F]*[^\s\x00-\x1F\x7F-\x9F][^\x00-\x1F\x7F-\x9F]*$";
/// What a URL of ours may look like: a name or an address (RFC 3986 §3), no user and no password.
const URL: &str = concat!(
    r"^https?://([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*\.?",
    r"|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?([/?#]\S*)?$",
);
/// 32 bytes in base64, as RFC 9530 has them.
const DIGEST: &str = "^sha-256=:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=:$";

/// What a call takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Takes {
    Nothing,
    Film,
    Bytes,
    FirstBytes,
    FilmOrUrl,
    Change,
    Key,
    PlaybackToken,
    UploadToken,
    Stretch,
    Webhook,
}

/// What a call gives when it succeeds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Gives {
    Nothing,
    Video,
    CreatedVideo,
    /// The same without a tag, to PUT.
    SentVideo,
    VideoPage,
    Removed,
    Upload,
    UploadState,
    BegunUpload,
    AppendedUpload,
    Events,
    Job,
    JobPage,
    Key,
    KeyList,
    IssuedKey,
    PlaybackToken,
    UploadToken,
    Webhook,
    WebhookList,
    IssuedWebhook,
    DeliveryPage,
    Metrics,
    Document,
}

pub(super) fn request(takes: Takes) -> Option<Value> {
    let bytes =
        json!({ "schema": { "type": "string", "minLength": 1, "contentMediaType": "application/octet-stream" } });
    let object = |name: &str, types: &[&str], is_required: bool| {
        let content: Map<String, Value> =
            types.iter().map(|media| ((*media).to_owned(), json!({ "schema": reference("schemas", name) }))).collect();
        json!({ "required": is_required, "content": content })
    };
    let film = || {
        json!({
            "required": true,
            "description": "The film as it is, `video/*` and `audio/*` included, or a form with a `file` part.",
            "content": {
                "application/octet-stream": bytes,
                "video/mp4": bytes,
                "multipart/form-data": { "schema": reference("schemas", "Form") },
            },
        })
    };
    Some(match takes {
        Takes::Nothing => return None,
        Takes::Bytes => json!({
            "required": true, "content": { "application/offset+octet-stream": bytes },
        }),
        Takes::FirstBytes => json!({
            "required": false, "description": "The first bytes, if they come along (creation-with-upload).",
            "content": { "application/offset+octet-stream": bytes },
        }),
        Takes::Film => film(),
        Takes::FilmOrUrl => {
            let mut body = film();
            body["content"]["application/json"] = json!({ "schema": reference("schemas", "NewFetch") });
            body
        }
        Takes::Change => object("Change", &["application/merge-patch+json", "application/json"], true),
        Takes::PlaybackToken => object("NewPlaybackToken", &["application/json"], false),
        Takes::Stretch => object("Stretch", &["application/json"], false),
        Takes::UploadToken => object("NewUploadToken", &["application/json"], false),
        Takes::Key => object("NewKey", &["application/json"], true),
        Takes::Webhook => object("NewWebhook", &["application/json"], true),
    })
}

pub(super) fn response(gives: Gives) -> Value {
    let body = |description: &str, name: &str| {
        let content = json!({ "application/json": { "schema": reference("schemas", name) } });
        json!({ "description": description, "content": content })
    };
    let tag = || json!({ "ETag": { "schema": { "type": "string" }, "description": "for If-Match" } });
    let place = || json!({ "schema": { "type": "string" }, "description": "its path" });
    match gives {
        Gives::Nothing => json!({ "description": "done" }),
        Gives::Video => {
            let mut response = body("the video", "Video");
            response["headers"] = tag();
            response
        }
        Gives::CreatedVideo | Gives::SentVideo => {
            let mut response = body("the video, whose film is being processed or fetched", "Video");
            response["headers"] = if matches!(gives, Gives::SentVideo) { json!({}) } else { tag() };
            response["headers"]["Location"] = place();
            response
        }
        Gives::VideoPage => body("a page of videos", "VideoPage"),
        Gives::Removed => body("what was removed", "Removed"),
        Gives::Upload => json!({
            "description": "its bytes, or where it stands",
            "content": {
                "application/octet-stream": { "schema": {} },
                "application/json": { "schema": reference("schemas", "Upload") },
            },
        }),
        Gives::UploadState => {
            let fields = ["Upload-Length", "Upload-Defer-Length", "Upload-Metadata", "Upload-Concat"];
            json!({ "description": "where it stands", "headers": upload_fields(&fields) })
        }
        Gives::BegunUpload => json!({ "description": "begun", "headers": upload_fields(&["Location"]) }),
        Gives::AppendedUpload => json!({ "description": "received", "headers": upload_fields(&[]) }),
        Gives::Events => json!({
            "description": "`state`, `progress`, `changed`, `replaced` and `removed`, each with the video's id as `video`; and `missed` at \
                the beginning if not everything is known that happened after `Last-Event-ID`: videos have to be read again",
            "content": { "text/event-stream": { "schema": { "description": "events as the WHATWG HTML standard has them (§9.2)" } } },
        }),
        Gives::Job => body("the job", "Job"),
        Gives::JobPage => body("a page of jobs", "JobPage"),
        Gives::Key => body("the key, without the key itself", "Key"),
        Gives::KeyList => body("all keys", "KeyList"),
        Gives::IssuedKey => {
            let mut response = body("the key, with the key itself", "IssuedKey");
            response["headers"] = json!({ "Location": place() });
            response
        }
        Gives::PlaybackToken => {
            let mut response = body("the token, and URLs with it", "PlaybackToken");
            response["headers"] = json!({ "Location": place() });
            response
        }
        Gives::UploadToken => {
            let mut response = body("the token", "UploadToken");
            response["headers"] = json!({ "Location": place() });
            response
        }
        Gives::Webhook => body("the webhook, without its secret", "Webhook"),
        Gives::WebhookList => body("all webhooks", "WebhookList"),
        Gives::IssuedWebhook => {
            let mut response = body("the webhook, with its secret", "IssuedWebhook");
            response["headers"] = json!({ "Location": place() });
            response
        }
        Gives::DeliveryPage => body("a page of deliveries", "DeliveryPage"),
        Gives::Metrics => json!({
            "description": "metrics", "content": { "text/plain": { "schema": { "type": "string" } } },
        }),
        Gives::Document => json!({
            "description": "OpenAPI 3.1", "content": { "application/json": { "schema": { "type": "object" } } },
        }),
    }
}

/// Fields that say where an upload stands: those that always may be there, and `more`.
fn upload_fields(more: &[&str]) -> Value {
    let always = ["Tus-Resumable", "Upload-Offset", "Upload-Expires", "Matinee-Video"];
    let describe = |name: &str| match name {
        "Location" => "its path",
        "Upload-Offset" => "bytes that are certain; not said while parts are put together",
        "Upload-Length" => "bytes of the film, once that is known",
        "Upload-Defer-Length" => "1 as long as the length is not known",
        "Upload-Expires" => "when it is removed if nobody goes on with it",
        "Matinee-Video" => {
            "the path of the video, once the upload is complete; what takes long to be put together has none yet"
        }
        _ => "as tus 1.0.0 has it",
    };
    let field =
        |name: &&str| ((*name).to_owned(), json!({ "schema": { "type": "string" }, "description": describe(name) }));
    always.iter().chain(more).map(field).collect::<Map<String, Value>>().into()
}

/// What other rooms answer below the same path.
pub(super) fn add_health(paths: &mut Map<String, Value>) {
    let text = |media: &str| json!({ (media): { "schema": { "type": "string" } } });
    let problem = json!({ (super::PROBLEM): { "schema": reference("schemas", "Problem") } });
    let mut add = |path: &str, id: &str, summary: &str, responses: Value| {
        let get = json!({
            "operationId": id, "summary": summary, "tags": ["server"], "security": [], "responses": responses,
        });
        paths.insert(path.to_owned(), json!({ "get": get }));
    };
    add(
        "/healthz",
        "getHealth",
        "The process is alive.",
        json!({
            "200": { "description": "alive", "content": text("text/plain") },
        }),
    );
    add(
        "/readyz",
        "getReadiness",
        "Catalog, disk and an encoder are available.",
        json!({
            "200": { "description": "able to serve", "content": text("text/plain") },
            "503": { "description": "not able to serve", "content": problem },
        }),
    );
}

pub(super) fn components() -> Value {
    let (mut parameters, mut schemas) = (parameters(), schemas());
    webhooks::add_parameters(&mut parameters);
    webhooks::add_schemas(&mut schemas);
    json!({
        "securitySchemes": { "key": { "type": "http", "scheme": "bearer", "description": "an API key" } },
        "parameters": parameters,
        "schemas": schemas,
    })
}

fn parameters() -> Value {
    let query = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "query", "description": description, "schema": schema });
    let header = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "header", "description": description, "schema": schema });
    let required = |name: &str, description: &str, schema: Value| {
        let mut field = header(name, description, schema);
        field["required"] = json!(true);
        field
    };
    json!({
        "cursor": query("cursor", "`next_cursor` of the page before",
            json!({ "type": "string", "pattern": "^-?[0-9]{1,15}-[0-9a-hjkmnp-tv-z]{12}$" })),
        "limit": query("limit", "items per page, by default 20; more than 100 count as 100",
            json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX })),
        "videoState": query("state", "only videos in this state", json!({ "enum": State::ALL })),
        "jobState": query("state", "only jobs in this state", json!({ "enum": JobState::ALL })),
        "filename": query("filename", "the file name; Content-Disposition may give it instead", json!({ "type": "string" })),
        "title": query("title", "name of the video; by default that of its file",
            line(MAX_TITLE_CHARS)),
        "description": query("description", "a text for people", json!({ "type": "string", "maxLength": 5000 })),
        // As JSON, which is what `content` says of a parameter (OpenAPI 3.1 §4.8.12).
        "metadata": {
            "name": "metadata", "in": "query", "description": "a JSON object for programs, up to 16 KiB",
            "content": { "application/json": { "schema": { "type": "object" } } },
        },
        "policy": query("playback_policy", "who may play it", reference("schemas", "Policy")),
        "Idempotency-Key": header("Idempotency-Key", "requests with the same key make one video, however often they are sent within a day",
            json!({ "type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$" })),
        "Content-Digest": header("Content-Digest", "SHA-256 of the film (RFC 9530), checked",
            json!({ "type": "string", "pattern": DIGEST })),
        "Repr-Digest": header("Repr-Digest", "the same; a film is sent as it is",
            json!({ "type": "string", "pattern": DIGEST })),
        "If-None-Match": header("If-None-Match", "the ETag of a copy that the client has", json!({ "type": "string" })),
        "Tus-Resumable": required("Tus-Resumable", "the version of tus", json!({ "const": "1.0.0" })),
        "Upload-Length": header("Upload-Length",
            "bytes of the film. Creation needs it, unless Upload-Defer-Length is sent or parts are put together; PATCH says \
             by it a length that was deferred",
            json!({ "type": "integer", "minimum": 1 })),
        "Upload-Defer-Length": header("Upload-Defer-Length", "instead of Upload-Length: the length will be said later",
            json!({ "const": "1" })),
        "Upload-Concat": header("Upload-Concat",
            "`partial` for an upload that is to be a part of another; `final;` and the URLs of finished parts, separated by \
             spaces, to put them together",
            json!({ "type": "string", "pattern": "^(partial|final;\\s*\\S.*)$" })),
        "Upload-Checksum": header("Upload-Checksum",
            "`sha1` or `sha256`, a space, and the checksum of this request's bytes in base64; bytes that do not have it are \
             dropped",
            json!({ "type": "string", "pattern": "^sha(1|256) [A-Za-z0-9+/]+=*$" })),
        "Upload-Offset": required("Upload-Offset", "where the bytes begin", json!({ "type": "integer", "minimum": 0 })),
        "Upload-Metadata": header("Upload-Metadata",
            "pairs of a key and a value, UTF-8 in base64: filename, title, description, metadata, playback_policy, replaces, \
             and whatever the client wants to read again",
            json!({ "type": "string", "example": "filename ZmlsbS5tcDQ=,title QSBmaWxt" })),
        "If-Match": header("If-Match", "the ETag of the version that is meant", json!({ "type": "string" })),
        "Last-Event-ID": header("Last-Event-ID", "the last event that was received", json!({ "type": "string" })),
    })
}

fn schemas() -> Value {
    let id = || reference("schemas", "Id");
    let time = || json!({ "type": "string", "format": "date-time" });
    let time_or_null = || json!({ "type": ["string", "null"], "format": "date-time" });
    let text = || json!({ "type": "string" });
    let text_or_null = || json!({ "type": ["string", "null"] });
    let count = || json!({ "type": "integer", "minimum": 0 });
    let count_or_null = || json!({ "type": ["integer", "null"], "minimum": 0 });
    let error = || json!({ "oneOf": [{ "type": "null" }, reference("schemas", "Failure")] });
    let limit = |of: &str| {
        json!({
            "type": ["integer", "null"], "minimum": 0, "maximum": i64::MAX,
            "description": format!("{of}; 0 for no limit, null for the configured default"),
        })
    };
    let flag = || json!({ "type": "boolean" });
    let list = |of: Value| json!({ "type": "array", "items": of });
    let key = json!({
        "id": id(), "name": text(), "scopes": list(reference("schemas", "Scope")), "created_at": time(),
        "last_used_at": time_or_null(), "revoked_at": time_or_null(), "max_bytes": count_or_null(),
        "max_titles": count_or_null(), "max_uploads": count_or_null(),
        "used": closed(json!({ "bytes": count(), "titles": count(), "uploads": count() })),
    });
    let mut issued = key.clone();
    issued["key"] = json!({ "type": "string", "description": "sent as `Authorization: Bearer`" });
    json!({
        "Id": { "type": "string", "pattern": ID },
        "UploadId": { "type": "string", "pattern": "^[0-9a-f]{32}$" },
        "Upload": closed(json!({
            "id": reference("schemas", "UploadId"), "offset": count(), "length": count_or_null(), "expires_at": time(),
            "file_name": text(), "video": { "type": ["string", "null"], "description": "the video that it became" },
        })),
        "Policy": { "enum": ["public", "signed"] },
        "Scope": { "enum": ["read", "upload", "admin"] },
        "Problem": open(json!({
            "type": text(), "title": text(), "status": { "type": "integer" }, "detail": text(), "request_id": text(),
        })),
        "Failure": closed(json!({ "code": text(), "message": text() })),
        "Video": closed(json!({
            "id": id(), "title": text(), "description": text(), "metadata": { "type": "object" },
            "state": { "enum": State::ALL }, "error": error(), "created_at": time(), "file_name": text(),
            "size_bytes": count(), "source": { "type": ["string", "null"], "description": "SHA-256 of the film" },
            "duration_s": { "type": ["number", "null"] }, "width": count_or_null(), "height": count_or_null(),
            "frame_rate": { "type": ["number", "null"] }, "tracks": list(reference("schemas", "Track")),
            "renditions": list(reference("schemas", "Rendition")), "playback": reference("schemas", "Playback"),
            "warnings": list(text()),
            "bridged_frames": {
                "type": "integer", "minimum": 0,
                "description": "frames that could not be decoded and were replaced by their neighbour or by silence, in the \
                                rendition with most of them, as far as it was made",
            },
            "playback_policy": reference("schemas", "Policy"),
            "replacement": { "oneOf": [{ "type": "null" }, reference("schemas", "Replacement")] },
        })),
        "Replacement": closed(json!({
            "job": id(), "state": { "enum": JobState::ALL }, "error": error(), "file_name": text(), "size_bytes": count(),
        })),
        "Track": open(json!({
            "kind": text(), "codec": text(), "language": text_or_null(), "name": text_or_null(),
            "channels": count_or_null(), "video_range": { "enum": ["SDR", "PQ", "HLG", null] }, "default": flag(), "forced": flag(), "offered": flag(), "why_not": text_or_null(),
        })),
        "Rendition": closed(json!({
            "name": text(), "codecs": text(), "width": count_or_null(), "height": count_or_null(), "bandwidth": count(),
            "segments": count(), "cached_segments": count(),
        })),
        "Playback": {
            "type": "object",
            "required": ["hls", "hls_ts", "dash"],
            "description": "Paths, also of a video that is not ready yet, but null if it failed; poster and thumbnails come \
                            when it is ready, and are null if it has none.",
            "properties": {
                "hls": text_or_null(), "hls_ts": text_or_null(), "dash": text_or_null(), "poster": text_or_null(),
                "thumbnails": text_or_null(),
            },
        },
        "VideoPage": closed(json!({ "videos": list(reference("schemas", "Video")), "next_cursor": text_or_null() })),
        "Form": {
            "type": "object", "required": ["file"],
            "properties": {
                "title": line(MAX_TITLE_CHARS),
                "description": { "type": "string", "maxLength": 5000 },
                "metadata": { "type": "object", "description": "for programs, as JSON, up to 16 KiB" },
                "playback_policy": reference("schemas", "Policy"),
                "file": { "type": "string", "format": "binary", "minLength": 1 },
            },
        },
        "NewFetch": {
            "type": "object", "additionalProperties": false, "required": ["url"],
            "properties": {
                "url": url(),
                "filename": { "type": "string", "description": "by default the end of the URL" },
                "title": line(MAX_TITLE_CHARS),
                "description": { "type": "string", "maxLength": 5000 },
                "metadata": { "type": "object" },
                "playback_policy": reference("schemas", "Policy"),
            },
        },
        "Change": {
            "type": "object", "additionalProperties": false,
            "properties": {
                "title": line(MAX_TITLE_CHARS),
                "description": { "type": ["string", "null"], "maxLength": 5000 },
                "metadata": { "type": ["object", "null"], "description": "merged; a field that is null is removed" },
                "playback_policy": reference("schemas", "Policy"),
            },
        },
        "Removed": closed(json!({
            "id": id(), "removed": { "const": true },
            "source": { "type": "object" }, "cache": { "type": "object" }, "jobs_cancelled": list(id()),
            "paths": { "type": "array", "items": text(), "description": "what a CDN should purge" },
        })),
        "Job": closed(json!({
            "id": id(), "kind": text(), "video": id(), "state": { "enum": JobState::ALL }, "attempts": count(),
            "progress": { "type": "integer", "minimum": 0, "maximum": 1000, "description": "thousandths" },
            "error": error(), "created_at": time(), "due_at": time(), "ended_at": time_or_null(),
        })),
        "JobPage": closed(json!({ "jobs": list(reference("schemas", "Job")), "next_cursor": text_or_null() })),
        "NewKey": {
            "type": "object", "required": ["name", "scopes"], "additionalProperties": false,
            "properties": {
                "name": line(MAX_NAME_CHARS),
                "scopes": { "type": "array", "minItems": 1, "items": reference("schemas", "Scope") },
                "max_bytes": limit("bytes of films"), "max_titles": limit("titles"),
                "max_uploads": limit("uploads in progress, including unfinished resumable ones"),
            },
        },
        "NewPlaybackToken": {
            "type": "object", "additionalProperties": false, "not": { "required": ["seconds", "expires_at"] },
            "properties": {
                "seconds": { "type": "integer", "minimum": 1, "maximum": MAX_PLAYBACK_SECONDS },
                "expires_at": {
                    "type": "string", "format": "date-time", "description": "instead of seconds, at most a week away",
                },
                "client": { "type": ["string", "null"], "description": "the only client address it is valid for" },
            },
        },
        "PlaybackToken": closed(json!({
            "token": text(), "video": id(), "expires_at": time(), "client": text_or_null(),
            "playback_policy": reference("schemas", "Policy"), "playback": reference("schemas", "Playback"),
        })),
        "Stretch": {
            "type": "object", "additionalProperties": false, "description": "by default all of the video",
            "properties": {
                "renditions": { "type": "array", "items": { "type": "string" }, "description": "their names" },
                "from": { "type": "number", "minimum": 0, "description": "seconds" },
                "to": { "type": "number", "minimum": 0, "description": "seconds" },
            },
        },
        "NewUploadToken": {
            "type": "object", "additionalProperties": false,
            "properties": {
                "max_bytes": {
                    "type": "integer", "minimum": 1,
                    "description": "largest film; at most and by default what the server accepts",
                },
                "seconds": { "type": "integer", "minimum": 1, "maximum": MAX_UPLOAD_SECONDS },
            },
        },
        "UploadToken": closed(json!({
            "token": { "type": "string", "description": "a JWT, sent as `Authorization: Bearer` with the film" },
            "video": { "type": "string", "description": "the id that the video will have" },
            "max_bytes": count(), "expires_at": time(),
        })),
        "Key": closed(key),
        "IssuedKey": closed(issued),
        "KeyList": closed(json!({ "keys": list(reference("schemas", "Key")) })),
    })
}

/// A name for people.
fn line(max_chars: usize) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": max_chars, "pattern": LINE })
}

/// An address of the outside, which is the same for films and for webhooks.
pub(super) fn url() -> Value {
    json!({
        "type": "string", "format": "uri", "maxLength": 2000, "pattern": URL,
        "description": "http or https, without user and password; no address that is not public, unless \
                        outbound.private_networks is set, and no port below 1024 but 80 and 443",
    })
}

/// An object that has all of these and nothing else.
pub(super) fn closed(properties: Value) -> Value {
    let mut object = open(properties);
    object["additionalProperties"] = json!(false);
    object
}

/// An object that has all of these, and may have more.
fn open(properties: Value) -> Value {
    let required: Vec<&String> = properties.as_object().map(|fields| fields.keys().collect()).unwrap_or_default();
    json!({ "type": "object", "required": required, "properties": properties })
}
