//! What pages of other sites may read: all that is played, errors and 304 too, for without it a player could not tell why;
//! and of the rest what management says.

use std::sync::Arc;

use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, request};
use tokio::task::spawn_blocking;

use super::Origin;
use super::error::Problem;
use super::respond::Asked;

const TIMING_ALLOW_ORIGIN: HeaderName = HeaderName::from_static("timing-allow-origin");
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

const ANY: HeaderValue = HeaderValue::from_static("*");
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "Accept-Ranges, Content-Length, Content-Range, Date, ETag, Link, Location, RateLimit, RateLimit-Policy, Retry-After, \
     Server-Timing, X-Cache, X-Request-Id",
);

/// Which pages of other sites may read the answer to a request that is not of playback: the value of
/// `Access-Control-Allow-Origin`. Must not block.
pub type Readers = Arc<dyn Fn(&request::Parts) -> Option<HeaderValue> + Send + Sync>;
/// Whether a request came by a name that somebody made lead here, while who is near needs no key; blocks.
pub type IsRebound = Arc<dyn Fn(&request::Parts) -> Result<bool, String> + Send + Sync>;

/// Says who may read an answer.
pub(super) fn dress(parts: &request::Parts, headers: &mut HeaderMap, readers: &Readers) {
    if is_playback(parts.uri.path()) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        headers.insert(TIMING_ALLOW_ORIGIN, ANY);
        headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
        return;
    }
    headers.append(VARY, HeaderValue::from_static("Origin"));
    headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    if let Some(readers) = readers(parts) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, readers);
        // Management may know better.
        headers.entry(ACCESS_CONTROL_EXPOSE_HEADERS).or_insert(EXPOSED);
    } else {
        headers.remove(ACCESS_CONTROL_EXPOSE_HEADERS);
    }
}

/// What is played, or would be if its token were one.
pub(super) fn is_playback(path: &str) -> bool {
    path.starts_with("/v/") || path.starts_with("/s/")
}

/// Refuses who came by a foreign name: to the browser such a page is no other site, and would read everything.
pub(super) async fn refuse_rebound(origin: &Origin, asked: &Asked) -> Result<(), Problem> {
    let (is_rebound, parts) = (origin.rooms.is_rebound.clone(), asked.parts.clone());
    match spawn_blocking(move || is_rebound(&parts)).await {
        Ok(Ok(false)) => Ok(()),
        Ok(Ok(true)) => Err(Problem::Rebound),
        Ok(Err(inner)) => Err(Problem::Catalog { inner }),
        Err(panic) => Err(Problem::Catalog { inner: panic.to_string() }),
    }
}
