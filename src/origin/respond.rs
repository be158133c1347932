//! One constructor per class of answer, each with its cache rule and the reason.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_MAX_AGE, ALLOW,
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LINK, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, request};

use super::body::{Body, Stream};
use super::cmcd::Cmcd;
use super::compress::Coding;
use super::conditional;
use super::error::Problem;
use super::playlist::Playlist;
use super::range::{Part, Wanted};
use super::segment::{Came, Target};
use super::signed::Ticket;

/// The generation in the URL names everything the bytes depend on: they never change.
pub(super) const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Answers about this moment.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");
/// A star alone would do for browsers, but not for those that predate it.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "Range, If-Range, If-Match, If-None-Match, Accept-Encoding, Cache-Control, X-Request-Id, *",
);

/// Longest request id taken over from a client, bytes: it ends up in every log line.
const MAX_REQUEST_ID_BYTES: usize = 64;

pub(super) type Response = http::Response<Body>;

/// A request as every step reads it.
pub(super) struct Asked {
    pub parts: request::Parts,
    /// Taken from X-Request-Id or made up.
    pub id: HeaderValue,
    pub received: Instant,
    /// Who asks.
    pub client: IpAddr,
    /// What the player tells of itself.
    pub cmcd: Option<Cmcd>,
    /// What lets it have signed titles.
    pub ticket: Ticket,
    /// Names the title it is about, once that is found.
    pub title: OnceLock<HeaderValue>,
    /// Where its segment comes from, once that is known.
    pub came: OnceLock<Came>,
}

/// What the cache keeps, as headers say it whether its bytes are sent or not.
pub(super) struct Kept<'a> {
    pub etag: &'a str,
    pub media_type: HeaderValue,
    pub cache: HeaderValue,
    /// The file that a player asks for next.
    pub next: Option<String>,
}

impl<'a> From<&'a Target> for Kept<'a> {
    fn from(target: &'a Target) -> Self {
        Self { etag: &target.etag, media_type: target.media_type(), cache: IMMUTABLE, next: target.next_file() }
    }
}

impl Asked {
    pub(super) fn new(mut parts: request::Parts, client: IpAddr) -> Self {
        let ticket = Ticket::take(&mut parts.uri, client);
        let id = parts.headers.get(&X_REQUEST_ID).filter(|v| acceptable(v.as_bytes())).cloned();
        let cmcd = Cmcd::of(&parts);
        Self {
            parts,
            id: id.unwrap_or_else(fresh_id),
            received: Instant::now(),
            client,
            cmcd,
            ticket,
            title: OnceLock::new(),
            came: OnceLock::new(),
        }
    }

    pub(super) fn head(&self) -> bool {
        self.parts.method == Method::HEAD
    }
}

/// 200 or 206 of bytes that are there, or 416.
pub(super) fn whole<'a>(
    asked: &Asked,
    of: impl Into<Kept<'a>>,
    mut bytes: Bytes,
    came: Came,
    waited: Option<Duration>,
) -> Result<Response, Problem> {
    let (of, length) = (of.into(), bytes.len());
    // RFC 9110 §14.2: Range is defined for GET alone.
    let wanted = if asked.head() { Wanted::Whole } else { Wanted::of(&asked.parts.headers, of.etag) };
    let (status, range) = match wanted.within(length) {
        Part::Whole => (StatusCode::OK, None),
        Part::Bytes(first, last) => {
            bytes = bytes.slice(first..=last);
            (StatusCode::PARTIAL_CONTENT, HeaderValue::from_str(&format!("bytes {first}-{last}/{length}")).ok())
        }
        Part::Outside => return Err(Problem::Outside { length }),
    };
    let sent = bytes.len();
    let mut response = kept(of, if asked.head() { Body::empty() } else { Body::whole(bytes) });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, sent.into());
    headers.extend(range.map(|v| (CONTENT_RANGE, v)));
    provenance(headers, came, waited);
    Ok(response)
}

/// 200 of bytes that are being made: without a length.
pub(super) fn streamed(target: &Target, stream: Stream, came: Came, waited: Duration) -> Response {
    let mut response = kept(target.into(), Body::stream(stream));
    provenance(response.headers_mut(), came, Some(waited));
    response
}

/// 200 to HEAD for bytes that are on disk, or that nobody has made yet: then their length is not known.
pub(super) fn unread<'a>(of: impl Into<Kept<'a>>, length: Option<u64>) -> Response {
    let mut response = kept(of.into(), Body::empty());
    if let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
        provenance(response.headers_mut(), Came::Disk, None);
    }
    response
}

/// 304 for media and pictures.
pub(super) fn unchanged<'a>(of: impl Into<Kept<'a>>) -> Response {
    let mut response = kept(of.into(), Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response.headers_mut().remove(CONTENT_TYPE);
    response
}

fn kept(of: Kept<'_>, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.reserve(20);
    headers.insert(CONTENT_TYPE, of.media_type);
    headers.insert(CACHE_CONTROL, of.cache);
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.extend(HeaderValue::try_from(of.etag).ok().map(|v| (ETAG, v)));
    let next = of.next.and_then(|file| HeaderValue::try_from(format!("<{file}>; rel=\"next\"")).ok());
    headers.extend(next.map(|v| (LINK, v)));
    response
}

fn provenance(headers: &mut HeaderMap, came: Came, waited: Option<Duration>) {
    headers.insert(X_CACHE, HeaderValue::from_static(came.as_str()));
    let timing = match (came, waited) {
        (Came::Memory, _) => Some(HeaderValue::from_static("cache;desc=memory")),
        (Came::Disk, None) => Some(HeaderValue::from_static("cache;desc=disk")),
        (_, None) => HeaderValue::try_from(format!("cache;desc={}", came.as_str())).ok(),
        (_, Some(waited)) => {
            let ms = waited.as_secs_f64() * 1000.0;
            HeaderValue::try_from(format!("cache;desc={}, encode;dur={ms:.1}", came.as_str())).ok()
        }
    };
    headers.extend(timing.map(|v| (SERVER_TIMING, v)));
}

/// 200, 304 or 412 of a playlist, in the coding the client likes best.
pub(super) fn playlist(asked: &Asked, playlist: &Playlist, cache: HeaderValue) -> Result<Response, Problem> {
    let coding = Coding::negotiate(&asked.parts.headers);
    let form = playlist.form(coding);
    let known = conditional::known(&asked.parts.headers, form.etag.to_str().unwrap_or_default())?;
    let body = if known || asked.head() { Body::empty() } else { Body::whole(form.bytes.clone()) };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.reserve(20);
    headers.insert(CACHE_CONTROL, cache);
    headers.insert(ETAG, form.etag.clone());
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    headers.insert(CONTENT_TYPE, playlist.media_type.clone());
    headers.insert(CONTENT_LENGTH, form.bytes.len().into());
    headers.extend(coding.name().map(|name| (CONTENT_ENCODING, HeaderValue::from_static(name))));
    Ok(response)
}

/// 200 about this moment: health, the page at `/`.
pub(super) fn now(asked: &Asked, content_type: &'static str, text: String) -> Response {
    let length = text.len();
    let mut response = Response::new(if asked.head() { Body::empty() } else { Body::whole(text.into()) });
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, NO_STORE);
    headers.insert(CONTENT_LENGTH, length.into());
    response
}

/// 204 to OPTIONS: what a browser asks before it sends Range from another site.
pub(super) fn preflight() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ALLOW, METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}

/// What every answer carries.
pub(super) fn common(headers: &mut HeaderMap, id: HeaderValue) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_REQUEST_ID, id);
}

fn acceptable(id: &[u8]) -> bool {
    (1..=MAX_REQUEST_ID_BYTES).contains(&id.len())
        && id.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'/' | b'=' | b'+'))
}

/// 16 hexadecimal digits, no two alike in a process and hardly two alike among all.
fn fresh_id() -> HeaderValue {
    static START: OnceLock<u64> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // Without a source of chance the ids of two processes may meet; nothing depends on them but reading logs.
    let start = *START.get_or_init(|| getrandom::u64().unwrap_or_default());
    let id = start.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    HeaderValue::try_from(format!("{id:016x}")).unwrap_or(HeaderValue::from_static("-"))
}
