//! One request and its answer, and the next one if the answer leads elsewhere.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http1;
use tokio::time::timeout;

use super::body::{Body, Task};
use super::{Answer, Error, Inner, Posted, Target, connect};

/// Time from the connection to the end of an answer's head, unless the caller says another.
const ANSWER: Duration = Duration::from_secs(30);
/// Redirects that are followed.
const MAX_REDIRECTS: usize = 5;
/// Bytes of an answer's head.
const MAX_HEAD_BYTES: usize = 64 << 10;

const AGENT: HeaderValue = HeaderValue::from_static(concat!("Matinee/", env!("CARGO_PKG_VERSION")));

impl Inner {
    pub(super) async fn get(&self, target: &Target, headers: &HeaderMap, limit_bytes: u64) -> Result<Answer, Error> {
        let mut target = target.clone();
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.ask(Method::GET, &target, headers, Bytes::new(), ANSWER).await?;
            if !is_redirect(answer.status) {
                return taken(answer, limit_bytes);
            }
            let location = answer.headers.get(LOCATION).ok_or_else(|| Error::Nowhere { host: target.host() })?;
            let location = std::str::from_utf8(location.as_bytes());
            let location = location.map_err(|_| Error::Url("a redirect that is not text".to_owned()))?;
            target = target.join(location, self.config.private_networks)?;
        }
        Err(Error::Redirects { limit: MAX_REDIRECTS })
    }

    pub(super) async fn post(
        &self,
        target: &Target,
        headers: &HeaderMap,
        body: Bytes,
        limit: Duration,
    ) -> Result<Posted, Error> {
        let answered = timeout(limit, self.ask(Method::POST, target, headers, body, limit)).await;
        // What it says besides its head nobody reads: that it goes on or breaks off is no failure.
        let Answer { status, headers, .. } = answered.unwrap_or_else(|_| Err(slow(target, limit)))?;
        Ok(Posted { status, headers })
    }

    /// Asks once. `limit` is for the answer, once there is a connection.
    async fn ask(
        &self,
        method: Method,
        target: &Target,
        headers: &HeaderMap,
        body: Bytes,
        limit: Duration,
    ) -> Result<Answer, Error> {
        let connection = connect::connect(&self.network, &self.tls, target, self.config.private_networks).await?;
        let broken = |why: hyper::Error| Error::Broken { host: target.host(), why: why.to_string() };
        let (mut sender, connection) =
            http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(connection).await.map_err(broken)?;
        // Ends with the answer's body, whatever becomes of it.
        let task = Task(tokio::spawn(async move {
            // What goes wrong here is told to whoever reads the body.
            let _ = connection.await;
        }));
        let request = request(method, target, headers, body)?;
        let answered = timeout(limit, sender.send_request(request)).await;
        let (parts, incoming) = answered.map_err(|_| slow(target, limit))?.map_err(broken)?.into_parts();
        let body = Body::new(incoming, target.host(), task);
        Ok(Answer { status: parts.status, headers: parts.headers, target: target.clone(), body })
    }
}

fn request(method: Method, target: &Target, headers: &HeaderMap, body: Bytes) -> Result<Request<Full<Bytes>>, Error> {
    let host = HeaderValue::from_str(&target.authority()).map_err(|why| Error::Url(why.to_string()))?;
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = target.uri().clone();
    let all = request.headers_mut();
    all.insert(ACCEPT, HeaderValue::from_static("*/*"));
    // A film is compressed already; and what unpacks without end is never unpacked.
    all.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    all.insert(USER_AGENT, AGENT);
    for (name, value) in headers {
        all.insert(name, value.clone());
    }
    all.insert(HOST, host);
    Ok(request)
}

/// An answer as it is wanted: not packed, not longer than the limit.
fn taken(mut answer: Answer, limit_bytes: u64) -> Result<Answer, Error> {
    let coding =
        answer.headers.get(CONTENT_ENCODING).filter(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    if let Some(coding) = coding.filter(|_| answer.status.is_success()) {
        return Err(Error::Coded(String::from_utf8_lossy(coding.as_bytes()).into_owned()));
    }
    // Two lengths that differ, and one beside a transfer coding, were refused or dropped when the head was read.
    let length = answer.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if answer.status.is_success() && length.is_some_and(|length| length > limit_bytes) {
        return Err(Error::TooLarge { limit_bytes });
    }
    answer.body.limit(limit_bytes);
    Ok(answer)
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn slow(target: &Target, limit: Duration) -> Error {
    Error::Slow { host: target.host(), what: "to answer", limit }
}
