//! The access log: a line for each request, at the end of its body, for whoever wants it. Costs a look at a flag where
//! nobody does.

use std::net::IpAddr;
use std::time::Instant;

use http::{HeaderValue, Method, StatusCode};
use tracing::Level;

use super::respond::{Asked, Response, X_CACHE};

/// What directives of `log.level` call it.
const TARGET: &str = "matinee::access";

/// A request on its way; said when it is dropped, however it ended.
#[derive(Debug)]
pub(super) struct Entry {
    method: Method,
    /// Without a signed URL's token.
    path: Box<str>,
    request: HeaderValue,
    client: IpAddr,
    received: Instant,
    /// `None` if the client left before the answer's head was there.
    status: Option<StatusCode>,
    cache: Option<HeaderValue>,
    /// Bytes of the body that the connection took.
    sent_bytes: u64,
}

impl Entry {
    /// Of a request, if such lines are wanted.
    pub(super) fn of(asked: &Asked) -> Option<Box<Self>> {
        tracing::enabled!(target: TARGET, Level::DEBUG).then(|| {
            Box::new(Self {
                method: asked.parts.method.clone(),
                path: without_token(asked.parts.uri.path()).into(),
                request: asked.id.clone(),
                client: asked.client,
                received: asked.received,
                status: None,
                cache: None,
                sent_bytes: 0,
            })
        })
    }

    /// The head of the answer is there.
    pub(super) fn answered(&mut self, response: &Response) {
        self.status = Some(response.status());
        self.cache = response.headers().get(X_CACHE).cloned();
    }

    /// So many bytes more were sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent_bytes += bytes as u64;
    }
}

/// Of playback the token is gone from the path already; what only begins like that may have one, too.
pub(super) fn without_token(path: &str) -> &str {
    if path.starts_with("/s/") { "/s/" } else { path }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        tracing::debug!(
            target: TARGET,
            method = %self.method,
            path = %self.path,
            status = self.status.map(|status| status.as_u16()),
            sent_bytes = self.sent_bytes,
            took_ms = u64::try_from(self.received.elapsed().as_millis()).unwrap_or(u64::MAX),
            cache = self.cache.as_ref().map(text),
            request = text(&self.request),
            client = %self.client,
            "a request ended"
        );
    }
}
