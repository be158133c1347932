//! What can go wrong, and the one table that turns it into HTTP (RFC 9457). The log has the inner message, the client
//! the outer.

use std::net::SocketAddr;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;

use crate::cache::FlightError;

use super::access_log;
use super::body::Body;
use super::presentation::{Failure, State};
use super::respond::{Asked, Response};

/// Seconds after which a title that is being prepared is worth asking for again.
const NOT_READY_RETRY_SECONDS: u32 = 2;

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else listens there.
    #[error("cannot listen on {address}: another program uses that port; stop it, or choose another with --listen")]
    PortInUse {
        /// Where.
        address: SocketAddr,
    },
    /// Any other reason.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Why a request is not answered with what it asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("there is nothing at this path")]
    NoRoute,
    #[error("there is no such title")]
    NoTitle,
    #[error("the title has no such generation; ask for its master playlist again")]
    NoGeneration,
    #[error("the title has no such rendition")]
    NoRendition,
    #[error("the rendition has {segments} segments, counted from 0")]
    NoSegment { segments: u32 },
    #[error("the title has no video to take thumbnails from")]
    NoThumbnails,
    #[error("the title has {sheets} sheets of thumbnails, counted from 0")]
    NoSheet { sheets: u32 },
    #[error("the title has no video, and its file no cover art")]
    NoPoster,
    #[error("it is no longer there")]
    Gone,
    #[error("a request must not have more than one Host field, in HTTP/1.1 exactly one, and it must name a host alone")]
    HostField,
    #[error("only GET, HEAD and OPTIONS are answered here")]
    Method,
    #[error("this title plays only from signed URLs, which begin with /s/: get one from the site that offers it")]
    Unsigned,
    #[error("the signature of this URL is not valid for this title and client")]
    Forged,
    #[error("as long as there are no API keys, use an IP address or localhost instead of this host name")]
    Rebound,
    #[error("this URL has expired: get a new one")]
    Expired,
    #[error("too many requests from this address: try again in {wait_seconds} s")]
    TooOften { wait_seconds: u32 },
    #[error("the title is not ready: {}", state.as_str())]
    NotReady { state: State, failure: Option<Failure> },
    #[error("this is not the version that If-Match names")]
    Version,
    #[error("the range lies outside the body, which has {length} bytes")]
    Outside { length: usize },
    #[error("too busy to make this segment now")]
    Busy { retry_after_seconds: u32 },
    #[error("no encoder could be started; the server keeps trying, and its log says why")]
    NoWorker { inner: String },
    #[error("making this failed again and again; it is tried again in {retry_after_seconds} s")]
    LeftAlone { retry_after_seconds: u32 },
    #[error("nothing was ready within {waited_seconds} s")]
    Late { waited_seconds: u64 },
    #[error("the server is not able to serve: {reason}")]
    NotServing { reason: String },
    #[error("the segment could not be made")]
    Encode { inner: String },
    #[error("the picture could not be made: the file may be damaged there")]
    Picture { inner: String },
    #[error("the catalog could not be read")]
    Catalog { inner: String },
}

impl From<FlightError> for Problem {
    fn from(error: FlightError) -> Self {
        match error {
            FlightError::Failed { message } => Self::Encode { inner: message.to_string() },
            FlightError::Busy { retry_after_seconds } => Self::Busy { retry_after_seconds },
            FlightError::NoWorker { message } => Self::NoWorker { inner: message.to_string() },
            FlightError::LeftAlone { retry_after_seconds } => Self::LeftAlone { retry_after_seconds },
            FlightError::NotFound => Self::Gone,
            FlightError::Abandoned => Self::Busy { retry_after_seconds: FlightError::RETRY_SECONDS },
        }
    }
}

impl Problem {
    /// The table: status, stable word, title.
    pub(super) fn status(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NoRoute => (StatusCode::NOT_FOUND, "no-route", "Not found"),
            Self::NoTitle => (StatusCode::NOT_FOUND, "no-title", "Unknown title"),
            Self::NoGeneration => (StatusCode::NOT_FOUND, "no-generation", "Unknown generation"),
            Self::NoRendition => (StatusCode::NOT_FOUND, "no-rendition", "Unknown rendition"),
            Self::NoSegment { .. } => (StatusCode::NOT_FOUND, "no-segment", "No such segment"),
            Self::NoThumbnails => (StatusCode::NOT_FOUND, "no-thumbnails", "No thumbnails"),
            Self::NoSheet { .. } => (StatusCode::NOT_FOUND, "no-sheet", "No such sheet"),
            Self::NoPoster => (StatusCode::NOT_FOUND, "no-poster", "No poster"),
            Self::Gone => (StatusCode::NOT_FOUND, "gone", "Not found"),
            Self::HostField => (StatusCode::BAD_REQUEST, "host-field", "Bad Host field"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method", "Method not allowed"),
            Self::Unsigned => (StatusCode::FORBIDDEN, "unsigned", "Signed URL required"),
            Self::Forged => (StatusCode::FORBIDDEN, "forged", "Invalid signature"),
            Self::Expired => (StatusCode::FORBIDDEN, "expired", "URL expired"),
            Self::Rebound => (StatusCode::FORBIDDEN, "host", "Host name not allowed"),
            // A title that failed will not become ready by waiting: asking again too early is not what is wrong.
            Self::NotReady { state: State::Failed, .. } => (StatusCode::NOT_FOUND, "title-failed", "Title failed"),
            Self::NotReady { .. } => (StatusCode::TOO_EARLY, "not-ready", "Title not ready"),
            Self::TooOften { .. } => (StatusCode::TOO_MANY_REQUESTS, "too-often", "Too many requests"),
            Self::Version => (StatusCode::PRECONDITION_FAILED, "version", "Precondition failed"),
            Self::Outside { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, "range", "Range not satisfiable"),
            Self::Busy { .. } => (StatusCode::SERVICE_UNAVAILABLE, "busy", "Server busy"),
            Self::NoWorker { .. } => (StatusCode::SERVICE_UNAVAILABLE, "no-worker", "No encoder available"),
            Self::LeftAlone { .. } => (StatusCode::SERVICE_UNAVAILABLE, "left-alone", "Left alone for a while"),
            Self::Late { .. } => (StatusCode::SERVICE_UNAVAILABLE, "late", "Not ready in time"),
            Self::NotServing { .. } => (StatusCode::SERVICE_UNAVAILABLE, "not-serving", "Not able to serve"),
            Self::Encode { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "encode", "Segment failed"),
            Self::Picture { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "picture", "Picture failed"),
            Self::Catalog { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "catalog", "Catalog failed"),
        }
    }

    /// The answer; logs it, once, as far as it is the server's affair.
    pub(super) fn respond(self, asked: &Asked) -> Response {
        let (status, word, title) = self.status();
        let (id, path) = (asked.id.to_str().unwrap_or_default(), access_log::without_token(asked.parts.uri.path()));
        match &self {
            Self::Encode { inner } | Self::Picture { inner } | Self::Catalog { inner } | Self::NoWorker { inner } => {
                tracing::error!(request = id, path, inner, "{self}")
            }
            Self::Busy { .. } | Self::Late { .. } | Self::LeftAlone { .. } => {
                tracing::warn!(request = id, path, "{self}")
            }
            _ => tracing::debug!(request = id, path, status = status.as_u16(), "{self}"),
        }
        let mut body = json!({
            "type": format!("urn:matinee:problem:{word}"),
            "title": title,
            "status": status.as_u16(),
            "detail": self.to_string(),
            "request_id": id,
        });
        if let Self::NotReady { state, failure } = &self {
            body["state"] = json!(state);
            // What exactly is wrong may name the uploader's file: management says it.
            let general = "the film could not be made playable";
            body["error"] = json!(failure.as_ref().map(|f| json!({ "code": f.code, "message": general })));
        }
        let body = body.to_string();
        let mut response = Response::new(if asked.head() { Body::empty() } else { Body::whole(body.clone().into()) });
        *response.status_mut() = status;
        self.headers(response.headers_mut());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response.headers_mut().insert(CONTENT_LENGTH, body.len().into());
        response
    }

    fn headers(&self, headers: &mut HeaderMap) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self {
            Self::Busy { retry_after_seconds } | Self::LeftAlone { retry_after_seconds } => {
                headers.insert(RETRY_AFTER, (*retry_after_seconds).max(1).into());
            }
            Self::Late { .. } | Self::NotServing { .. } | Self::NoWorker { .. } => {
                headers.insert(RETRY_AFTER, FlightError::RETRY_SECONDS.into());
            }
            Self::NotReady { state, .. } if *state != State::Failed => {
                headers.insert(RETRY_AFTER, NOT_READY_RETRY_SECONDS.into());
            }
            Self::TooOften { wait_seconds } => {
                headers.insert(RETRY_AFTER, (*wait_seconds).into());
            }
            Self::Method => {
                headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
            }
            Self::Outside { length } => {
                let value = HeaderValue::from_str(&format!("bytes */{length}"));
                headers.extend(value.ok().map(|v| (CONTENT_RANGE, v)));
            }
            _ => {}
        }
    }
}
