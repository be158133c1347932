//! One constructor per class of answer.

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ALLOW, CACHE_CONTROL,
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION,
};
use http::{HeaderName, HeaderValue, Method, StatusCode, request};
use http_body_util::{BodyExt as _, Empty, Full};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::payload::Payload;
use super::problem::{Kind, Problem};
use super::{Body, Response, Route, openapi, videos};
use crate::origin;
use crate::telemetry::metrics;

/// What a PATCH may be written in (RFC 5789 §3.1).
pub(super) const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// A body that is there.
pub(super) fn whole(text: String) -> Body {
    Full::new(Bytes::from(text)).boxed_unsync()
}

/// 200 with JSON, about this moment.
pub(super) fn json(value: &Value) -> Response {
    let text = value.to_string();
    let length = text.len();
    let mut response = Response::new(whole(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_LENGTH, length.into());
    response
}

/// 200 with Prometheus text, about this moment.
pub(super) fn metrics(text: String) -> Response {
    let length = text.len();
    let mut response = Response::new(whole(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_LENGTH, length.into());
    response
}

/// 200 with JSON of what can be changed if it is still at this version. Its tag is of the version and of all that is said:
/// some of that changes by itself.
pub(super) fn versioned(value: &Value, version: &str) -> Response {
    let mut response = json(value);
    let hash: String = Sha256::digest(value.to_string())[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let tag = HeaderValue::from_str(&format!("\"{version}.{hash}\""));
    response.headers_mut().extend(tag.ok().map(|tag| (ETAG, tag)));
    response
}

/// 304 if who asks has the same already, 412 if they want none but another (RFC 9110 §13.2.2).
pub(super) fn unless_known(parts: &request::Parts, response: Response) -> Result<Response, Problem> {
    let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or_default();
    if !origin::wanted(&parts.headers, tag) {
        return Err(Problem::new(Kind::Version, "this is not the version that If-Match names"));
    }
    if !origin::not_modified(&parts.headers, tag) {
        return Ok(response);
    }
    let mut unchanged = Response::new(Empty::new().boxed_unsync());
    *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
    for name in [ETAG, CACHE_CONTROL] {
        unchanged.headers_mut().extend(response.headers().get(&name).map(|value| (name, value.clone())));
    }
    Ok(unchanged)
}

/// 200 with the description of the API, which is the same as long as the server runs.
pub(super) fn document(text: &'static str) -> Response {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
    headers.insert(CONTENT_LENGTH, text.len().into());
    response
}

/// 201.
pub(super) fn created(value: &Value, version: &str, location: &str) -> Response {
    let mut response = versioned(value, version);
    *response.status_mut() = StatusCode::CREATED;
    with_location(response, location)
}

/// With where the thing is.
pub(super) fn with_location(mut response: Response, location: &str) -> Response {
    response.headers_mut().extend(HeaderValue::from_str(location).ok().map(|place| (LOCATION, place)));
    response
}

/// 201 of what has no version.
pub(super) fn made(value: &Value, location: &str) -> Response {
    let mut response = json(value);
    *response.status_mut() = StatusCode::CREATED;
    with_location(response, location)
}

/// What a body is, without parameters; it has no case (RFC 9110 §8.3.1).
pub(super) fn essence(parts: &request::Parts) -> Option<String> {
    let text = parts.headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// That the body is sent as it is: nothing is unpacked here (RFC 9110 §8.4).
pub(super) fn must_be_plain(parts: &request::Parts) -> Result<(), Problem> {
    let is_plain = |coding: &str| coding.is_empty() || coding.eq_ignore_ascii_case("identity");
    let are_plain =
        |value: &&HeaderValue| value.to_str().is_ok_and(|list| list.split(',').map(str::trim).all(is_plain));
    let Some(coding) = parts.headers.get_all(CONTENT_ENCODING).iter().find(|value| !are_plain(value)) else {
        return Ok(());
    };
    let detail = format!("{coding:?} is not taken: send the bytes as they are, without Content-Encoding");
    Err(Problem::new(Kind::Encoding, detail).header(ACCEPT_ENCODING, "identity"))
}

/// A body that must be a JSON object, of up to so many bytes.
pub(super) async fn object(
    parts: &request::Parts,
    payload: Payload,
    limit_bytes: usize,
) -> Result<Map<String, Value>, Problem> {
    parsed(&json_text(parts, payload, limit_bytes).await?)
}

/// The same where every field is optional: no body says as much as an empty object.
pub(super) async fn object_if_any(
    parts: &request::Parts,
    payload: Payload,
    limit_bytes: usize,
) -> Result<Map<String, Value>, Problem> {
    if payload.is_empty() {
        return Ok(Map::new());
    }
    match json_text(parts, payload, limit_bytes).await?.trim_ascii() {
        [] => Ok(Map::new()),
        text => parsed(text),
    }
}

/// A body that is JSON by its head; what is not is not asked for.
async fn json_text(parts: &request::Parts, mut payload: Payload, limit_bytes: usize) -> Result<Vec<u8>, Problem> {
    // A form's type: a page of another site may send it without leave, so it must not do for JSON.
    if essence(parts).as_deref() != Some("application/json") {
        let problem = Problem::new(Kind::MediaType, "send application/json");
        return Err(problem.header(ACCEPT, "application/json"));
    }
    must_be_plain(parts)?;
    payload.whole(limit_bytes).await
}

/// A JSON object.
pub(super) fn parsed(body: &[u8]) -> Result<Map<String, Value>, Problem> {
    serde_json::from_slice(body).map_err(|why| Problem::new(Kind::Body, format!("not a JSON object: {why}")))
}

/// A number without a fraction, which may be written with one: `1.0` is an integer in JSON Schema.
pub(super) fn count(value: &Value) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let whole = || value.as_f64().filter(|number| number.fract() == 0.0 && (0.0..EXACT).contains(number));
    value.as_u64().or_else(|| whole().map(|number| number as u64))
}

/// What pages of other sites may send beside what any form may.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, Content-Disposition, Content-Digest, Repr-Digest, Idempotency-Key, If-Match, \
     If-None-Match, Last-Event-ID",
);

/// 204 to OPTIONS. Pages of other sites may ask for anything, with a key or a token that they were given; without one
/// they may look and no more, which `access` sees to.
pub(super) fn options(route: &Route) -> Response {
    let mut response = Response::new(Empty::new().boxed_unsync());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    if let Ok(methods) = HeaderValue::from_str(&openapi::methods(route)) {
        headers.insert(ALLOW, methods.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    if matches!(route, Route::Video(_)) {
        headers.insert(ACCEPT_PATCH, HeaderValue::from_static(videos::PATCHES));
    }
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
    response
}

/// What is PUT is a film, and the tag would be one of the video that it is shown as (RFC 9110 §9.3.4).
pub(super) fn without_tag_if_put(parts: &request::Parts, mut response: Response) -> Response {
    if parts.method == Method::PUT {
        response.headers_mut().remove(ETAG);
    }
    response
}

/// HEAD has the headers of GET.
pub(super) fn without_body_if_head(parts: &request::Parts, response: Response) -> Response {
    if parts.method == Method::HEAD { response.map(|_| Empty::new().boxed_unsync()) } else { response }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_packed_in_any_way_is_not_taken_for_what_it_is() {
        let is_taken = |codings: &[&str]| {
            let request = http::Request::builder();
            let request = codings.iter().fold(request, |request, coding| request.header(CONTENT_ENCODING, *coding));
            must_be_plain(&request.body(()).unwrap().into_parts().0).is_ok()
        };
        for plain in [&[][..], &["identity"], &["Identity"], &["identity, IDENTITY"], &["identity", "identity"], &[""]]
        {
            assert!(is_taken(plain), "{plain:?}");
        }
        for packed in [&["gzip"][..], &["identity", "gzip"], &["identity, br"], &["x"], &["\u{fc}"]] {
            assert!(!is_taken(packed), "{packed:?}");
        }
    }
}
