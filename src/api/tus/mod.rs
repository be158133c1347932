//! Resumable uploads: tus 1.0.0 with creation, creation-with-upload, creation-defer-length, checksum, termination,
//! expiration and concatenation (<https://tus.io/protocols/resumable-upload>).
//!
//! The protocol alone stands here; uploads are kept by [`crate::ingest::resume`]. A finished upload names its video in
//! `Matinee-Video`, in the answer to the request that finished it and to every HEAD after it; one that takes long to be put
//! together, to the HEADs alone.

mod append;
mod create;
mod fields;
mod metadata;
mod show;

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ALLOW, CACHE_CONTROL, ORIGIN,
};
use http::{HeaderName, HeaderValue, Method, StatusCode, request};
use http_body_util::{BodyExt as _, Empty};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use super::problem::{Kind, Problem};
use super::{Api, Caller, Response, Route, access, respond};
use crate::ingest::resume::{Purpose, Status};
use crate::media::UploadId;

pub(super) use append::append;
pub(super) use create::create;
pub(super) use show::{get, head};

/// The version that is spoken.
const VERSION: &str = "1.0.0";
const EXTENSIONS: &str =
    "creation,creation-with-upload,creation-defer-length,checksum,termination,expiration,concatenation";
/// What bytes of an upload are called.
const BYTES: &str = "application/offset+octet-stream";

const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
const TUS_EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
const TUS_MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
const TUS_CHECKSUM_ALGORITHM: HeaderName = HeaderName::from_static("tus-checksum-algorithm");
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
const UPLOAD_DEFER_LENGTH: HeaderName = HeaderName::from_static("upload-defer-length");
const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const UPLOAD_CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");
const UPLOAD_CONCAT: HeaderName = HeaderName::from_static("upload-concat");
const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
const METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");
/// The path of the video that became of an upload.
const VIDEO: HeaderName = HeaderName::from_static("matinee-video");

/// What pages of other sites may send ...
const ALLOWED: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, tus-resumable, upload-length, upload-defer-length, upload-offset, upload-metadata, \
     upload-checksum, upload-concat, x-http-method-override, x-request-id, x-requested-with",
);
/// ... and read.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "location, tus-resumable, tus-version, tus-extension, tus-max-size, tus-checksum-algorithm, upload-offset, \
     upload-length, upload-defer-length, upload-metadata, upload-concat, upload-expires, matinee-video, retry-after, \
     x-request-id",
);
/// How long a browser remembers what pages may, seconds.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("7200");

/// Reads every field of an upload.
#[cfg(any(fuzzing, test))]
pub(super) fn fuzz(parts: &request::Parts) {
    let _ = (metadata::read(parts), fields::length(parts), fields::purpose(parts), fields::has_bytes(parts));
    let _ = (fields::bytes(parts, &UPLOAD_OFFSET), fields::Checksum::of(parts));
}

/// Where an upload is.
fn location(id: &UploadId) -> String {
    format!("/api/v1/uploads/{id}")
}

/// Some clients and networks know no PATCH: `X-HTTP-Method-Override` says what a POST stands for.
pub(super) fn override_method(parts: &mut request::Parts) {
    let Some(method) = parts.headers.get(METHOD_OVERRIDE) else { return };
    if parts.method == Method::POST && Route::parse(parts.uri.path()).is_some_and(|route| is_ours(&route)) {
        // One that is not known is refused by the route, like any other.
        parts.method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::TRACE);
    }
}

/// What every answer says.
pub(super) fn dress(parts: &request::Parts, response: &mut Response) {
    if Route::parse(parts.uri.path()).is_some_and(|route| is_ours(&route)) {
        let headers = response.headers_mut();
        headers.insert(TUS_RESUMABLE, HeaderValue::from_static(VERSION));
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
}

fn is_ours(route: &Route) -> bool {
    matches!(route, Route::Uploads | Route::Upload(_))
}

/// What can be done here, and by whose pages.
pub(super) fn options(api: &Api, route: &Route, parts: &request::Parts) -> Response {
    let config = api.rooms.uploads.config();
    let mut response = empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.extend(HeaderValue::from_str(&route.allow()).ok().map(|allow| (ALLOW, allow)));
    if matches!(route, Route::Upload(_)) {
        headers.insert(respond::ACCEPT_PATCH, HeaderValue::from_static(BYTES));
    }
    headers.insert(TUS_VERSION, HeaderValue::from_static(VERSION));
    headers.insert(TUS_EXTENSION, HeaderValue::from_static(EXTENSIONS));
    headers.insert(TUS_MAX_SIZE, config.max_bytes.into());
    headers.insert(TUS_CHECKSUM_ALGORITHM, HeaderValue::from_static(fields::ALGORITHMS));
    // Who shows a key or a token may come from anywhere; what is sent without one is held against the origins again.
    if may_upload(parts, &config.origins) || access::asks_to_show_key(parts) {
        let methods = HeaderValue::from_static("POST, GET, HEAD, PATCH, DELETE, OPTIONS");
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED);
        headers.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
    }
    response
}

/// Whether pages of the site that asks may upload: this server's own, this machine's, and those that are configured. A
/// browser holds pages of all others back, because [`TUS_RESUMABLE`] is a field it must ask for.
pub(super) fn may_upload(parts: &request::Parts, origins: &[String]) -> bool {
    let Some(origin) = parts.headers.get(ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    if origins.iter().any(|known| known == "*" || known.trim_end_matches('/') == origin) {
        return true;
    }
    let Some((_, site)) = origin.split_once("://") else { return false };
    let own = access::host(parts) == Some(site);
    let authority = site.parse::<http::uri::Authority>();
    own || authority.is_ok_and(|authority| {
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

/// The client must say that it speaks this version, unless it only looks: GET is no part of the protocol. That comes before
/// whether there is such an upload, and whose it is.
pub(super) fn check_version(parts: &request::Parts) -> Result<(), Problem> {
    if parts.method == Method::GET || parts.headers.get(TUS_RESUMABLE).is_some_and(|version| version == VERSION) {
        return Ok(());
    }
    Err(Problem::of(Kind::TusVersion).header(TUS_VERSION, VERSION))
}

/// An upload is for who began it, by token or by key, and for who may change everything.
pub(super) fn must_be_of(api: &Api, id: &UploadId, caller: &Caller, method: &Method) -> Result<(), Problem> {
    let declared = api.rooms.resumables.look(id)?.declared;
    let (own, detail) = match &caller.grant {
        Some(grant) => (
            declared.granted.as_ref().is_some_and(|granted| granted.title == grant.title),
            "an upload token goes on with its own upload alone",
        ),
        None => (
            caller.may_change(declared.owner.as_ref()) || (*method == Method::GET && caller.is_reader),
            "an upload of another key is for a key with scope admin",
        ),
    };
    if own { Ok(()) } else { Err(Problem::new(Kind::Scope, detail)) }
}

/// `DELETE /uploads/{id}`.
pub(super) async fn remove(api: &Arc<Api>, id: &UploadId) -> Result<Response, Problem> {
    api.rooms.resumables.remove(id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Empty::new().boxed_unsync());
    *response.status_mut() = status;
    response
}

/// An answer that says where an upload stands.
fn standing(code: StatusCode, status: &Status) -> Response {
    let mut response = empty(code);
    let headers = response.headers_mut();
    // An upload that is being put together has no offset (tus, concatenation).
    let is_whole = matches!(status.declared.purpose, Purpose::Whole(_));
    if !is_whole || status.title.is_some() {
        headers.insert(UPLOAD_OFFSET, status.offset_bytes.into());
    }
    if let Ok(at) = Timestamp::from_millisecond(status.expires_at_ms)
        && let Ok(text) = DateTimePrinter::new().timestamp_to_rfc9110_string(&at)
    {
        headers.extend(HeaderValue::from_str(&text).ok().map(|value| (UPLOAD_EXPIRES, value)));
    }
    if let Some(title) = &status.title {
        let path = format!("/api/v1/videos/{title}");
        headers.extend(HeaderValue::from_str(&path).ok().map(|value| (VIDEO, value)));
    }
    response
}

#[cfg(test)]
mod tests {
    use http::header::HOST;

    use super::*;

    #[test]
    fn pages_of_this_server_may_upload_over_http_2_which_has_no_host_field() {
        let may = |origin: &str| {
            let request = http::Request::builder().uri("http://films.example:8080/api/v1/uploads");
            may_upload(&request.header(ORIGIN, origin).body(()).unwrap().into_parts().0, &[])
        };
        assert!(may("http://films.example:8080") && !may("http://films.example"));
    }

    #[test]
    fn pages_of_this_machine_and_of_configured_sites_may_upload_and_no_others() {
        let may = |origin: &str, origins: &[&str]| {
            let request = http::Request::builder().header(HOST, "films.example:8080").header(ORIGIN, origin);
            let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
            may_upload(&request.body(()).unwrap().into_parts().0, &origins)
        };
        for good in ["http://films.example:8080", "http://localhost:3000", "https://127.0.0.1", "http://[::1]:5173"] {
            assert!(may(good, &[]), "{good}");
        }
        for other in ["https://example.org", "null", "http://localhost.example.org", "http://films.example", "x", ""] {
            assert!(!may(other, &[]), "{other}");
            assert!(may(other, &["*"]), "{other}");
        }
        assert!(may("https://example.org", &["https://example.org/"]));
        assert!(!may("http://example.org", &["https://example.org"]));
    }
}
