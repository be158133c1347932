//! One constructor per class of answer.

use bytes::Bytes;
use http::header::{ACCESS_CONTROL_ALLOW_METHODS, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderValue, Method, StatusCode, request};
use http_body_util::{BodyExt as _, Empty, Full};
use serde_json::Value;

use super::{Body, Response, Route};

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

/// 200 with JSON that can be changed if it is still this version.
pub(super) fn versioned(value: &Value, etag: &str) -> Response {
    let mut response = json(value);
    response.headers_mut().extend(HeaderValue::from_str(etag).ok().map(|tag| (ETAG, tag)));
    response
}

/// 201.
pub(super) fn created(value: &Value, etag: &str, location: &str) -> Response {
    let mut response = versioned(value, etag);
    *response.status_mut() = StatusCode::CREATED;
    response.headers_mut().extend(HeaderValue::from_str(location).ok().map(|place| (LOCATION, place)));
    response
}

/// 204 to OPTIONS. Pages of other sites may look and no more.
pub(super) fn options(route: &Route) -> Response {
    let mut response = Response::new(Empty::new().boxed_unsync());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.extend(HeaderValue::from_str(&route.allow()).ok().map(|allow| (ALLOW, allow)));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD"));
    response
}

/// HEAD has the headers of GET.
pub(super) fn without_body_if_head(parts: &request::Parts, response: Response) -> Response {
    if parts.method == Method::HEAD { response.map(|_| Empty::new().boxed_unsync()) } else { response }
}
