//! What can go wrong, and the one table that turns it into HTTP (RFC 9457). The log has the inner message, the client
//! the outer.

mod rooms;

use std::fmt;

use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode, request};
use serde_json::json;

use super::{Response, respond};
use crate::ingest;

/// Seconds after which to come back when this server could not do its part now.
const BUSY_RETRY_SECONDS: u32 = 2;

/// Why a request is not answered with what it asked for.
#[derive(Debug)]
pub struct Problem {
    kind: Kind,
    detail: String,
    /// For the log.
    inner: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The problems there are. Each has a stable `type`: `urn:matinee:problem:` and its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing has this path.
    NoRoute,
    /// No title has this id.
    NoTitle,
    /// The title cannot be played yet, or failed.
    NotReady,
    /// No job has this id.
    NoJob,
    /// No API key has this id.
    NoKey,
    /// The path does not take this method.
    Method,
    /// The query cannot be understood.
    Query,
    /// The body cannot be understood.
    Body,
    /// A body of this type is not taken.
    MediaType,
    /// The body is compressed.
    Encoding,
    /// There are no bytes.
    Empty,
    /// A film or a text is longer than allowed.
    TooLarge,
    /// The bytes are not those of the digest.
    Digest,
    /// The URL of a film cannot be asked for.
    Url,
    /// The URL of a film leads to an address that is not public.
    PrivateAddress,
    /// A digest is made in a way that is not known.
    DigestAlgorithm,
    /// The body did not come to its end.
    Incomplete,
    /// Nothing of the body came for too long.
    Stalled,
    /// The disk has no room.
    DiskFull,
    /// Too much is going on.
    Busy,
    /// The title was changed by somebody else.
    Version,
    /// The Idempotency-Key belongs to another creation.
    KeyReused,
    /// The same creation is under way.
    KeyInUse,
    /// The job has ended.
    JobEnded,
    /// No key came with the request, or one that is worth nothing.
    Unauthorised,
    /// The key is for something else.
    Scope,
    /// The upload token made its title already.
    TokenSpent,
    /// There are as many keys as there may be.
    TooManyKeys,
    /// No webhook has this id.
    NoWebhook,
    /// There are as many webhooks as there may be.
    TooManyWebhooks,
    /// A page of another site.
    CrossSite,
    /// The server was reached by a name that anybody may have made lead to it.
    Host,
    /// No upload has this id.
    NoUpload,
    /// The upload was given up.
    UploadExpired,
    /// The bytes do not follow those that are there.
    UploadOffset,
    /// The upload takes no bytes.
    UploadFinal,
    /// Another request has the upload.
    UploadLocked,
    /// The bytes of a request are not those of its checksum.
    Checksum,
    /// The client speaks another version of tus, or none.
    TusVersion,
    /// The key may not have more.
    Quota,
    /// The key may not have more under way.
    TooManyUploads,
    /// The client's address asked too often.
    TooOften,
    /// The server's own fault.
    Internal,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 43] = [
        Self::NoRoute,
        Self::NoTitle,
        Self::NotReady,
        Self::NoJob,
        Self::NoKey,
        Self::Method,
        Self::Query,
        Self::Body,
        Self::MediaType,
        Self::Encoding,
        Self::Empty,
        Self::TooLarge,
        Self::Digest,
        Self::Url,
        Self::PrivateAddress,
        Self::DigestAlgorithm,
        Self::Incomplete,
        Self::Stalled,
        Self::DiskFull,
        Self::Busy,
        Self::Version,
        Self::KeyReused,
        Self::KeyInUse,
        Self::JobEnded,
        Self::Unauthorised,
        Self::Scope,
        Self::TokenSpent,
        Self::TooManyKeys,
        Self::NoWebhook,
        Self::TooManyWebhooks,
        Self::CrossSite,
        Self::Host,
        Self::NoUpload,
        Self::UploadExpired,
        Self::UploadOffset,
        Self::UploadFinal,
        Self::UploadLocked,
        Self::Checksum,
        Self::TusVersion,
        Self::Quota,
        Self::TooManyUploads,
        Self::TooOften,
        Self::Internal,
    ];

    /// The table: status, stable word, title, and what to say if nothing more is known.
    #[must_use]
    pub fn entry(self) -> (StatusCode, &'static str, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::NoRoute => (S::NOT_FOUND, "no-route", "Not found", "there is nothing at this path"),
            Self::NoTitle => (S::NOT_FOUND, "no-title", "Unknown title", "there is no such title"),
            Self::NotReady => (S::CONFLICT, "not-ready", "Title not ready", "the title is not ready"),
            Self::NoJob => (S::NOT_FOUND, "no-job", "Unknown job", "there is no such job, or it ended long ago"),
            Self::NoKey => (S::NOT_FOUND, "no-key", "Unknown key", "there is no such key"),
            Self::Method => {
                (S::METHOD_NOT_ALLOWED, "method", "Method not allowed", "see Allow for what is answered here")
            }
            Self::Query => (S::BAD_REQUEST, "query", "Bad query", "the query is not understood"),
            Self::Body => (S::BAD_REQUEST, "body", "Bad body", "the body is not understood"),
            Self::MediaType => {
                (S::UNSUPPORTED_MEDIA_TYPE, "media-type", "Unsupported media type", "see Accept for what is taken here")
            }
            Self::Encoding => (
                S::UNSUPPORTED_MEDIA_TYPE,
                "content-encoding",
                "Compressed body",
                "send the bytes as they are, without Content-Encoding",
            ),
            Self::Empty => (S::BAD_REQUEST, "empty", "Empty file", "the file is empty"),
            Self::TooLarge => (S::PAYLOAD_TOO_LARGE, "too-large", "Too large", "the body is larger than allowed"),
            Self::Digest => (
                S::BAD_REQUEST,
                "digest-mismatch",
                "Digest mismatch",
                "the bytes are not those the digest was made of: send them again",
            ),
            Self::Url => (S::BAD_REQUEST, "url", "Bad URL", "no film can be fetched from this URL"),
            Self::PrivateAddress => (
                S::FORBIDDEN,
                "private-address",
                "Not a public address",
                "the URL leads to an address that is not public",
            ),
            Self::DigestAlgorithm => {
                (S::BAD_REQUEST, "digest-algorithm", "Unknown digest", "send a sha-256 digest, or none")
            }
            Self::Incomplete => (
                S::BAD_REQUEST,
                "incomplete",
                "Incomplete body",
                "the body ended before it was complete: send it again",
            ),
            Self::Stalled => {
                (S::REQUEST_TIMEOUT, "stalled", "Upload timed out", "no bytes arrived for too long: send it again")
            }
            Self::DiskFull => {
                (S::INSUFFICIENT_STORAGE, "disk-full", "No space left", "the server has no disk space left")
            }
            Self::Busy => (S::SERVICE_UNAVAILABLE, "busy", "Server busy", "the server is busy: try again in a moment"),
            Self::Version => (
                S::PRECONDITION_FAILED,
                "version",
                "Version mismatch",
                "the title was changed in the meantime: get it again",
            ),
            Self::KeyReused => (
                S::UNPROCESSABLE_ENTITY,
                "key-reused",
                "Idempotency-Key reused",
                "this Idempotency-Key was used for another film",
            ),
            Self::KeyInUse => {
                (S::CONFLICT, "key-in-use", "Request in progress", "a request with this Idempotency-Key is in progress")
            }
            Self::JobEnded => (S::CONFLICT, "job-ended", "Job already ended", "the job has already ended"),
            Self::Unauthorised => (S::UNAUTHORIZED, "unauthorised", "API key required", "send a valid API key"),
            Self::Scope => {
                (S::FORBIDDEN, "scope", "Insufficient scope", "the key does not have the scope that is needed")
            }
            Self::TokenSpent => (
                S::CONFLICT,
                "token-spent",
                "Token already used",
                "this upload token was used already: request another one for another film",
            ),
            Self::NoWebhook => (S::NOT_FOUND, "no-webhook", "Unknown webhook", "there is no such webhook"),
            Self::TooManyWebhooks => (
                S::CONFLICT,
                "too-many-webhooks",
                "Too many webhooks",
                "there are as many webhooks as there may be: remove one",
            ),
            Self::TooManyKeys => {
                (S::CONFLICT, "too-many-keys", "Too many keys", "there are as many keys as there may be")
            }
            Self::Host => (
                S::FORBIDDEN,
                "host",
                "Host name not allowed",
                "as long as there are no API keys, use an IP address or localhost instead of this host name",
            ),
            Self::CrossSite => {
                (S::FORBIDDEN, "cross-site", "Cross-site request", "pages of other sites may not change anything here")
            }
            Self::NoUpload => (S::NOT_FOUND, "no-upload", "Unknown upload", "there is no such upload: begin a new one"),
            Self::UploadExpired => {
                (S::GONE, "upload-expired", "Upload expired", "the upload has expired: begin a new one")
            }
            Self::UploadOffset => (
                S::CONFLICT,
                "upload-offset",
                "Offset mismatch",
                "the bytes do not begin where the upload ends: HEAD says where to go on",
            ),
            Self::UploadFinal => {
                (S::FORBIDDEN, "upload-final", "Final upload", "a final upload takes no bytes of its own")
            }
            Self::UploadLocked => (S::LOCKED, "upload-locked", "Upload locked", "another request is using this upload"),
            Self::Checksum => (
                // tus, checksum extension.
                S::from_u16(460).unwrap_or(S::BAD_REQUEST),
                "checksum-mismatch",
                "Checksum mismatch",
                "the bytes are not those the checksum was made of, and were dropped: send them again",
            ),
            Self::TusVersion => (
                S::PRECONDITION_FAILED,
                "tus-version",
                "Unsupported version",
                "send Tus-Resumable: 1.0.0, the supported version",
            ),
            Self::Quota => {
                (S::FORBIDDEN, "quota", "Quota reached", "the quota of this key is used up: remove some films")
            }
            Self::TooManyUploads => (
                S::TOO_MANY_REQUESTS,
                "too-many-uploads",
                "Too many uploads",
                "this key has as many uploads in progress as it may: finish some first",
            ),
            Self::TooOften => (
                S::TOO_MANY_REQUESTS,
                "too-often",
                "Too many requests",
                "too many requests from this address: see Retry-After",
            ),
            Self::Internal => {
                (S::INTERNAL_SERVER_ERROR, "internal", "Internal error", "the server could not do it; its log says why")
            }
        }
    }
}

impl Problem {
    /// With the table's own words.
    #[must_use]
    pub fn of(kind: Kind) -> Self {
        Self::new(kind, kind.entry().3)
    }

    /// With words about this very case.
    #[must_use]
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), inner: None, headers: Vec::new() }
    }

    /// The server's own fault; what it was is for the log.
    #[must_use]
    pub fn internal(inner: impl fmt::Display) -> Self {
        Self { inner: Some(inner.to_string()), ..Self::of(Kind::Internal) }
    }

    /// A limit of what is under way at once (draft-ietf-httpapi-ratelimit-headers-11 §3.1.2).
    fn too_many_uploads(limit: u64, error: &ingest::Error) -> Self {
        Self::new(Kind::TooManyUploads, error.to_string())
            .header(RETRY_AFTER, &BUSY_RETRY_SECONDS.to_string())
            .header(
                HeaderName::from_static("ratelimit-policy"),
                &format!("\"uploads\";q={limit};qu=\"concurrent-requests\""),
            )
            .header(HeaderName::from_static("ratelimit"), "\"uploads\";r=0")
    }

    /// The client's address has to wait.
    pub(super) fn too_often(wait_seconds: u32) -> Self {
        let detail = format!("too many requests from this address: try again in {wait_seconds} s");
        Self::new(Kind::TooOften, detail).header(RETRY_AFTER, &wait_seconds.to_string())
    }

    /// With a header that helps.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        self
    }

    /// Which one it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The answer; logs it, once, as far as it is the server's affair.
    pub(super) fn respond(self, parts: &request::Parts) -> Response {
        let Self { kind, detail, inner, headers } = self;
        let (status, word, title, _) = kind.entry();
        let id = parts.headers.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        let path = parts.uri.path();
        match (kind, &inner) {
            (Kind::Internal, inner) => tracing::error!(request = id, path, inner, "{detail}"),
            (Kind::DiskFull | Kind::Busy, _) => tracing::warn!(request = id, path, "{detail}"),
            _ => tracing::debug!(request = id, path, status = status.as_u16(), "{detail}"),
        }
        let body = json!({
            "type": format!("urn:matinee:problem:{word}"),
            "title": title,
            "status": status.as_u16(),
            "detail": detail,
            "request_id": id,
        });
        let body = body.to_string();
        let length = body.len();
        let mut response = http::Response::new(respond::whole(body));
        *response.status_mut() = status;
        let out = response.headers_mut();
        out.extend(headers);
        out.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        out.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        out.insert(CONTENT_LENGTH, length.into());
        if kind == Kind::Busy {
            out.insert(RETRY_AFTER, BUSY_RETRY_SECONDS.into());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_problem_has_a_word_of_its_own_and_an_error_status() {
        let words: BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.entry().1).collect();
        assert_eq!(words.len(), Kind::ALL.len());
        assert!(Kind::ALL.iter().all(|kind| kind.entry().0.as_u16() >= 400));
    }
}
