//! Who may do what. Every request passes here once, before its body is asked for.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use http::header::{ACCESS_CONTROL_REQUEST_HEADERS, AUTHORIZATION, FORWARDED, HOST, ORIGIN, VIA, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method, request};

use super::problem::{Kind, Problem};
use super::{Route, blocking, tus};
use crate::access::{Client, Grant, Grants, Keys};
use crate::catalog::{ApiKey, now_ms};
pub use crate::media::Scope;
use crate::media::{KeyId, TitleId};

/// For how long after its end an upload token is good for looking at its title.
const LOOK_SECONDS: u64 = 24 * 3600;

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Tells one caller's names from another's, in Idempotency-Keys and logs: the id of a key, empty while nobody needs
    /// one.
    pub name: String,
    /// What an upload token allows, if that is what the caller has: one film, and nothing else.
    pub grant: Option<Grant>,
    /// On whose quota it counts what the caller brings: the key, or the one that issued the token.
    pub owner: Option<KeyId>,
    /// Whether a key with [`Scope::Admin`] came along.
    pub is_admin: bool,
    /// Whether a key with [`Scope::Read`] did.
    pub is_reader: bool,
}

impl Caller {
    /// Whether the caller may change a title of this owner, its film included: its own, or anybody's with
    /// [`Scope::Admin`]. As long as nobody needs a key, anybody may.
    pub(super) fn may_change(&self, owner: Option<&KeyId>) -> bool {
        self.owner.is_none() || self.is_admin || self.owner.as_ref() == owner
    }

    /// Whether the caller may look at a title of this owner: who may look at all may, and who brought it.
    pub(super) fn may_see(&self, title: &TitleId, owner: Option<&KeyId>) -> bool {
        match &self.grant {
            Some(grant) => grant.title == *title,
            None => self.is_reader || self.may_change(owner),
        }
    }
}

/// Says who asks, or why that one may not.
pub type Authorise = Arc<dyn Fn(&request::Parts, Scope) -> Authorised + Send + Sync>;
/// The answer to come: looking a key up may take a while.
pub type Authorised = Pin<Box<dyn Future<Output = Result<Caller, Problem>> + Send>>;

/// Everybody may do everything; but no web page of another site, which any browser that can reach the server would let
/// send (a form needs no permission by CORS), nor one that came by a foreign name, where only this machine is to come in.
#[must_use]
pub fn everybody(grants: Grants, origins: Vec<String>, is_loopback: bool) -> Authorise {
    Arc::new(move |parts, _scope| {
        let verdict = match bearer(parts) {
            // Who issued it counts on its title and its limit.
            Said::Key(text) if Grants::looks_like(&text) => granted(&grants, &text, grace(parts)),
            _ => foreign(parts, &origins, is_loopback).map_or(Ok(Caller::default()), |kind| Err(Problem::of(kind))),
        };
        Box::pin(std::future::ready(verdict))
    })
}

/// Who has a key may do what the key is for. If the server `may_be_open`, whoever asks from this machine may do everything
/// as long as no key was ever added, except for web pages of other sites.
#[must_use]
pub fn by_keys(keys: Keys, grants: Grants, origins: Vec<String>, may_be_open: bool) -> Authorise {
    Arc::new(move |parts, scope| {
        let foreign = foreign(parts, &origins, true);
        let (is_near, is_forwarded) = (may_be_open && is_near(parts), is_forwarded(parts));
        let (keys, grants, said, grace) = (keys.clone(), grants.clone(), bearer(parts), grace(parts));
        let sees_one = Route::parse(parts.uri.path()).is_some_and(|route| route.seen(&parts.method).is_some());
        Box::pin(blocking(move || match said {
            Said::Key(text) if Grants::looks_like(&text) => {
                let caller = granted(&grants, &text, grace)?;
                match &caller.owner {
                    Some(issuer) if !keys.is_good(issuer)? => {
                        Err(unauthorised(", error=\"invalid_token\"", "the key that issued this token was revoked"))
                    }
                    _ => Ok(caller),
                }
            }
            Said::Key(text) => check(&keys, &text, scope, sees_one),
            Said::Nothing if is_near && !is_forwarded && keys.never_used()? => {
                foreign.map_or(Ok(Caller::default()), |kind| Err(Problem::of(kind)))
            }
            Said::Nothing if is_forwarded => {
                Err(unauthorised("", "a request through a proxy needs a key: send Authorization: Bearer matinee_..."))
            }
            Said::Nothing => Err(unauthorised("", "send a key: Authorization: Bearer matinee_...")),
            Said::Else => Err(unauthorised("", "only Authorization: Bearer is understood")),
        }))
    })
}

/// Which pages of other sites may read the answer, as `Access-Control-Allow-Origin` says it. Those that may upload may read
/// everything. Any other may ask whether it may show a key, and read what it shows one for: no browser adds it by itself.
/// Where nobody needs a key a made-up one would do; then that holds for upload tokens alone.
#[must_use]
pub fn readers(parts: &request::Parts, origins: &[String], needs_keys: bool) -> Option<HeaderValue> {
    let origin = parts.headers.get(ORIGIN)?;
    if tus::may_upload(parts, origins) {
        return Some(origin.clone());
    }
    let shows_key = match bearer(parts) {
        Said::Key(text) => needs_keys || Grants::looks_like(&text),
        Said::Nothing | Said::Else => false,
    };
    let is_ours = Route::parse(parts.uri.path()).is_some();
    (is_ours && (shows_key || asks_to_show_key(parts))).then(|| HeaderValue::from_static("*"))
}

/// What a browser asks before a page of another site may send Authorization.
pub(super) fn asks_to_show_key(parts: &request::Parts) -> bool {
    let fields = parts.headers.get(ACCESS_CONTROL_REQUEST_HEADERS).and_then(|fields| fields.to_str().ok());
    let names_it = |fields: &str| fields.split(',').any(|name| name.trim().eq_ignore_ascii_case("authorization"));
    parts.method == Method::OPTIONS && fields.is_some_and(names_it)
}

/// What the Authorization header says.
enum Said {
    Nothing,
    Key(String),
    Else,
}

/// RFC 6750 §2.1. The name of the scheme has no case (RFC 9110 §11.1).
fn bearer(parts: &request::Parts) -> Said {
    let mut values = parts.headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return if parts.headers.contains_key(AUTHORIZATION) { Said::Else } else { Said::Nothing };
    };
    match value.to_str().unwrap_or_default().split_once(' ') {
        Some((scheme, text)) if scheme.eq_ignore_ascii_case("bearer") => Said::Key(text.trim().to_owned()),
        _ => Said::Else,
    }
}

/// For how long after its end a token is good for this, seconds. A resumable upload that began in time expires by itself, and
/// who sent a film looks at what becomes of it.
fn grace(parts: &request::Parts) -> u64 {
    match Route::parse(parts.uri.path()) {
        Some(Route::Upload(_)) => u64::MAX,
        Some(route) if route.seen(&parts.method).is_some() => LOOK_SECONDS,
        _ => 0,
    }
}

/// What a token is for is asked of [`Route::takes_token`].
fn granted(grants: &Grants, text: &str, grace: u64) -> Result<Caller, Problem> {
    let now_s = (now_ms().unsigned_abs() / 1000).saturating_sub(grace);
    let grant = grants.check(text, now_s).ok_or_else(|| {
        unauthorised(", error=\"invalid_token\"", "this upload token was not issued here, or is not good any more")
    })?;
    let owner = grant.issuer.parse().ok();
    Ok(Caller { name: format!("token-{}", grant.title), grant: Some(grant), owner, ..Caller::default() })
}

/// Who may upload may ask for a title; whether it is their own is asked of [`Caller::may_see`].
fn check(keys: &Keys, text: &str, scope: Scope, sees_one: bool) -> Result<Caller, Problem> {
    let unknown = || unauthorised(", error=\"invalid_token\"", "this key is not known here, or was revoked");
    let ApiKey { id, scopes, .. } = keys.check(text, now_ms())?.ok_or_else(unknown)?;
    if scopes.allow(scope) || (sees_one && scopes.allow(Scope::Upload)) {
        let (is_admin, is_reader) = (scopes.allow(Scope::Admin), scopes.allow(Scope::Read));
        return Ok(Caller { name: id.to_string(), grant: None, owner: Some(id), is_admin, is_reader });
    }
    let detail = format!("this needs a key with scope {scope}; the key {id} has {scopes}");
    let challenge = format!("Bearer realm=\"matinee\", error=\"insufficient_scope\", scope=\"{scope}\"");
    Err(Problem::new(Kind::Scope, detail).header(WWW_AUTHENTICATE, &challenge))
}

fn unauthorised(more: &str, detail: &str) -> Problem {
    Problem::new(Kind::Unauthorised, detail).header(WWW_AUTHENTICATE, &format!("Bearer realm=\"matinee\"{more}"))
}

/// Why a web page may not send this by itself.
fn foreign(parts: &request::Parts, origins: &[String], is_loopback: bool) -> Option<Kind> {
    let is_rebound = is_loopback && is_rebound(parts);
    is_cross_site(parts, origins).then_some(Kind::CrossSite).or(is_rebound.then_some(Kind::Host))
}

/// True if it was sent from this machine.
fn is_near(parts: &request::Parts) -> bool {
    parts.extensions.get::<Client>().is_some_and(|client| client.0.is_loopback())
}

/// True if it was sent from this machine, neither through a proxy nor by a name that somebody made lead here.
pub(super) fn is_this_machine(parts: &request::Parts) -> bool {
    is_near(parts) && !is_forwarded(parts) && !is_rebound(parts)
}

/// True if a proxy says that it passes this on: then this machine is not who asks.
#[must_use]
pub fn is_forwarded(parts: &request::Parts) -> bool {
    let fields = [FORWARDED, VIA, HeaderName::from_static("x-forwarded-for"), HeaderName::from_static("x-real-ip")];
    fields.iter().any(|field| parts.headers.contains_key(field))
}

/// True for what changes something and comes from a page of another site (RFC 6454 §7).
fn is_cross_site(parts: &request::Parts, origins: &[String]) -> bool {
    if matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return false;
    }
    if parts.headers.contains_key("tus-resumable") {
        return !tus::may_upload(parts, origins);
    }
    let Some(origin) = parts.headers.get(ORIGIN) else { return false };
    let site = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, site)| site);
    site.is_none() || site != host(parts)
}

/// True if the server was reached by a name that somebody else may own: a page of `http://evil.example:8080` can have
/// its name lead to 127.0.0.1, and then it is no other site for the browser. Nobody owns an address, a name without a
/// dot, or what ends in `.localhost` (RFC 6761 §6.3).
#[must_use]
pub fn is_rebound(parts: &request::Parts) -> bool {
    let Some(host) = host(parts) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    !address && name.contains('.') && !name.ends_with(".localhost")
}

/// The name by which the server was reached: HTTP/2 says it without a `Host` (RFC 9113 §8.3.1).
pub(super) fn host(parts: &request::Parts) -> Option<&str> {
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    authority.or_else(|| parts.headers.get(HOST)?.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::media::{Quota, Scopes};

    async fn ask(guard: &Authorise, scope: Scope, method: &str, headers: &[(&str, &str)]) -> Result<Caller, Kind> {
        let mut request = http::Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.extension(Client([127, 0, 0, 1].into()));
        guard(&request.body(()).unwrap().into_parts().0, scope).await.map_err(|problem| problem.kind())
    }

    fn grants() -> Grants {
        Grants::new(&crate::access::Secret::open(tempfile::tempdir().unwrap().path()).unwrap())
    }

    fn keys() -> (tempfile::TempDir, Keys) {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(folder.path()).unwrap();
        (folder, Keys::new(catalog))
    }

    #[tokio::test]
    async fn a_page_of_another_site_cannot_change_anything_while_there_are_no_keys() {
        let (_folder, keys) = keys();
        for guard in [everybody(grants(), Vec::new(), true), by_keys(keys, grants(), Vec::new(), true)] {
            let ask = async |method, origin: Option<&str>| {
                let origin = origin.map(|origin| ("origin", origin));
                let headers: Vec<_> = [("host", "127.0.0.1:8080")].into_iter().chain(origin).collect();
                ask(&guard, Scope::Admin, method, &headers).await.is_ok()
            };
            assert!(ask("POST", None).await, "a program");
            assert!(ask("POST", Some("http://127.0.0.1:8080")).await, "a page of our own");
            assert!(ask("GET", Some("https://example.org")).await, "looking");
            let tus = async |origin| {
                let headers = [("host", "127.0.0.1:8080"), ("origin", origin), ("tus-resumable", "1.0.0")];
                self::ask(&guard, Scope::Upload, "POST", &headers).await.is_ok()
            };
            // Whoever asked for leave to show a token got leave for this field, too.
            assert!(tus("http://localhost:3000").await && !tus("https://example.org").await);
            for other in ["https://example.org", "null", "http://127.0.0.1:8081"] {
                assert!(!ask("POST", Some(other)).await && !ask("DELETE", Some(other)).await, "{other}");
            }
        }
    }

    #[tokio::test]
    async fn a_name_that_somebody_made_lead_here_opens_nothing() {
        let (_folder, keys) = keys();
        let guards = [everybody(grants(), Vec::new(), true), by_keys(keys, grants(), Vec::new(), true)];
        for (host, good) in [
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("[::1]", true),
            ("localhost:8080", true),
            ("a.localhost", true),
            ("matinee:8080", true),
            ("evil.example:8080", false),
            ("evil.example.", false),
            ("127.0.0.1.evil.example", false),
            ("evil.example:x", false),
        ] {
            let origin = format!("http://{host}");
            for guard in &guards {
                let asked = ask(guard, Scope::Read, "GET", &[("host", host), ("origin", &origin)]).await;
                assert_eq!(asked.err(), (!good).then_some(Kind::Host), "{host}");
            }
        }
        let beyond = everybody(grants(), Vec::new(), false);
        assert!(ask(&beyond, Scope::Read, "GET", &[("host", "films.example")]).await.is_ok(), "a name of its own");
    }

    #[tokio::test]
    async fn who_comes_through_a_proxy_on_this_machine_is_not_this_machine() {
        let (_folder, keys) = keys();
        let guard = by_keys(keys, grants(), Vec::new(), true);
        assert!(ask(&guard, Scope::Admin, "POST", &[]).await.is_ok());
        for field in ["forwarded", "x-forwarded-for", "x-real-ip", "via"] {
            let asked = ask(&guard, Scope::Admin, "POST", &[(field, "127.0.0.1")]).await;
            assert_eq!(asked, Err(Kind::Unauthorised), "{field}");
        }
        for (client, good) in [("127.0.0.2", true), ("::1", true), ("192.0.2.1", false)] {
            let request = http::Request::builder().extension(Client(client.parse().unwrap()));
            let asked = guard(&request.body(()).unwrap().into_parts().0, Scope::Read).await;
            assert_eq!(asked.is_ok(), good, "{client}");
        }
    }

    #[test]
    fn pages_of_other_sites_read_what_they_show_a_key_for_and_those_that_may_upload_everything() {
        let read = |method: &str, headers: &[(&str, &str)], needs_keys| {
            let mut request = http::Request::builder().method(method).uri("/api/v1/videos").header("host", "127.0.0.1");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let allowed =
                readers(&request.body(()).unwrap().into_parts().0, &["https://own.example".into()], needs_keys);
            allowed.map(|value| value.to_str().unwrap().to_owned())
        };
        let (own, other) = (("origin", "https://own.example"), ("origin", "https://example.org"));
        let (key, asks) = (("authorization", "Bearer x"), ("access-control-request-headers", "range, Authorization"));
        let token = ("authorization", "Bearer a.b.c");
        assert_eq!(read("GET", &[], true), None);
        assert_eq!(read("GET", &[own], true).as_deref(), Some("https://own.example"));
        assert_eq!(read("GET", &[("origin", "http://localhost:3000")], true).as_deref(), Some("http://localhost:3000"));
        for needs_keys in [true, false] {
            assert_eq!(read("GET", &[other], needs_keys), None);
            assert_eq!(read("GET", &[other, asks], needs_keys), None, "that is for OPTIONS");
            assert_eq!(read("OPTIONS", &[other], needs_keys), None);
            assert_eq!(read("OPTIONS", &[other, asks], needs_keys).as_deref(), Some("*"));
            assert_eq!(read("GET", &[other, key], needs_keys).as_deref(), needs_keys.then_some("*"));
            assert_eq!(read("POST", &[other, token], needs_keys).as_deref(), Some("*"));
        }
    }

    #[tokio::test]
    async fn beyond_loopback_nobody_comes_in_without_a_key() {
        let (_folder, keys) = keys();
        let guard = by_keys(keys, grants(), Vec::new(), false);
        assert_eq!(ask(&guard, Scope::Read, "GET", &[]).await, Err(Kind::Unauthorised));
    }

    #[tokio::test]
    async fn a_key_opens_what_it_is_for_and_nothing_opens_without_one_any_more() {
        let (_folder, keys) = keys();
        let issued = keys.issue("ci", "upload".parse::<Scopes>().unwrap(), Quota::default(), 0).unwrap();
        let guard = by_keys(keys.clone(), grants(), Vec::new(), true);
        let header = format!("bearer {}", issued.text);
        let with = async |scope| ask(&guard, scope, "POST", &[("authorization", &header)]).await;
        assert_eq!(
            with(Scope::Upload).await,
            Ok(Caller {
                name: issued.key.id.to_string(),
                grant: None,
                owner: Some(issued.key.id.clone()),
                ..Caller::default()
            })
        );
        assert_eq!(with(Scope::Admin).await, Err(Kind::Scope));
        assert_eq!(with(Scope::Read).await, Err(Kind::Scope));
        assert_eq!(ask(&guard, Scope::Read, "GET", &[]).await, Err(Kind::Unauthorised));
        for bad in ["Bearer", "Bearer x", "Basic eDp5", "", "matinee_0"] {
            let bad = ask(&guard, Scope::Read, "GET", &[("authorization", bad)]).await;
            assert_eq!(bad, Err(Kind::Unauthorised));
        }
        let twice = [("authorization", header.as_str()), ("authorization", header.as_str())];
        assert_eq!(ask(&guard, Scope::Upload, "POST", &twice).await, Err(Kind::Unauthorised));
        keys.revoke(&issued.key.id, 1).unwrap();
        assert_eq!(with(Scope::Upload).await, Err(Kind::Unauthorised));
        assert_eq!(ask(&guard, Scope::Read, "GET", &[]).await, Err(Kind::Unauthorised), "closed for good");
    }
}
