//! Who may do what. Every request passes here once, before its body is asked for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::header::{HOST, ORIGIN};
use http::{Method, request};

use super::problem::{Kind, Problem};

/// What a call needs its caller to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Looking.
    Read,
    /// Adding films and saying what they are.
    Upload,
    /// Everything, removal included.
    Admin,
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Tells one caller's names from another's, in Idempotency-Keys and logs; empty while nobody needs a key.
    pub name: String,
}

/// Says who asks, or why that one may not.
pub type Authorise = Arc<dyn Fn(&request::Parts, Scope) -> Authorised + Send + Sync>;
/// The answer to come: looking a key up may take a while.
pub type Authorised = Pin<Box<dyn Future<Output = Result<Caller, Problem>> + Send>>;

/// Everybody may do everything, as long as there are no keys; but no web page of another site, which any browser that
/// can reach the server would let send (a form needs no permission by CORS).
#[must_use]
pub fn everybody() -> Authorise {
    Arc::new(|parts, _| {
        let verdict = if is_cross_site(parts) { Err(Problem::of(Kind::CrossSite)) } else { Ok(Caller::default()) };
        Box::pin(std::future::ready(verdict))
    })
}

/// True for what changes something and comes from a page of another site (RFC 6454 §7).
fn is_cross_site(parts: &request::Parts) -> bool {
    if matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return false;
    }
    let Some(origin) = parts.headers.get(ORIGIN) else { return false };
    let site = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, site)| site);
    let host = parts.uri.authority().map(http::uri::Authority::as_str);
    let host = host.or_else(|| parts.headers.get(HOST)?.to_str().ok());
    site.is_none() || site != host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_page_of_another_site_cannot_change_anything_while_there_are_no_keys() {
        let ask = async |method: &str, origin: Option<&str>| {
            let mut request = http::Request::builder().method(method).header(HOST, "127.0.0.1:8080");
            if let Some(origin) = origin {
                request = request.header(ORIGIN, origin);
            }
            everybody()(&request.body(()).unwrap().into_parts().0, Scope::Admin).await.is_ok()
        };
        assert!(ask("POST", None).await, "a program");
        assert!(ask("POST", Some("http://127.0.0.1:8080")).await, "a page of our own");
        assert!(ask("GET", Some("https://example.org")).await, "looking");
        for other in ["https://example.org", "null", "http://127.0.0.1:8081"] {
            assert!(!ask("POST", Some(other)).await && !ask("DELETE", Some(other)).await, "{other}");
        }
    }
}
