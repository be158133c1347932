//! Titles that play from signed URLs alone: `/s/{token}/v/{id}/...`. Below the token the paths are those of any title,
//! so playlists and their relative URLs are the same bytes for everybody, and a CDN that leaves the token out of its
//! key keeps each segment once.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Uri};

use super::error::Problem;
use super::respond::IMMUTABLE;
use crate::access::{Pass, Playback, Refused};
use crate::media::TitleId;

/// What a request showed to be let in.
pub(super) struct Ticket {
    client: IpAddr,
    token: Option<Box<str>>,
    pass: OnceLock<Pass>,
}

impl Ticket {
    /// Takes the token out of the path. From here on no log has it.
    pub(super) fn take(uri: &mut Uri, client: IpAddr) -> Self {
        let token = split(uri).map(|(token, rest)| {
            let mut parts = uri.clone().into_parts();
            parts.path_and_query = Some(rest);
            // What was a path without its beginning still is one.
            *uri = Uri::from_parts(parts).unwrap_or_default();
            token
        });
        Self { client, token, pass: OnceLock::new() }
    }

    /// Whether there is no token in the path.
    pub(super) fn is_empty(&self) -> bool {
        self.token.is_none()
    }

    /// Lets the request have the title that its token is for, or says why not.
    pub(super) fn admit(&self, playback: &Playback, title: &TitleId) -> Result<(), Problem> {
        let token = self.token.as_deref().ok_or(Problem::Unsigned)?;
        match playback.check(token, title, self.client, now_s()) {
            Ok(pass) => {
                let _ = self.pass.set(pass);
                Ok(())
            }
            Err(Refused::Forged) => Err(Problem::Forged),
            Err(Refused::Expired) => Err(Problem::Expired),
        }
    }

    /// Nobody keeps an answer for longer than the URL it came from is good for, nor one client's for others.
    pub(super) fn limit(&self, headers: &mut HeaderMap) {
        let Some(Pass { expires_s, is_bound }) = self.pass.get() else { return };
        let Some(rule) = headers.get(CACHE_CONTROL) else { return };
        let age = rule.to_str().ok().and_then(|rule| rule.split("max-age=").nth(1)?.split(',').next()?.parse().ok());
        let Some(age) = age else { return };
        let age = expires_s.saturating_sub(now_s()).min(age);
        let class = if *is_bound { "private" } else { "public" };
        let immutable = if *rule == IMMUTABLE { ", immutable" } else { "" };
        if let Ok(limited) = HeaderValue::try_from(format!("{class}, max-age={age}{immutable}")) {
            headers.insert(CACHE_CONTROL, limited);
        }
    }
}

fn split(uri: &Uri) -> Option<(Box<str>, PathAndQuery)> {
    let whole = uri.path_and_query()?.as_str();
    let (token, rest) = whole.strip_prefix("/s/")?.split_once('/')?;
    let rest = format!("/{rest}");
    // Nothing but playback is reached this way.
    let is_playback = rest.starts_with("/v/") && !token.contains('?');
    let rest = PathAndQuery::from_maybe_shared(Bytes::from(rest)).ok().filter(|_| is_playback)?;
    Some((token.into(), rest))
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn the_token_leaves_the_path_and_only_playback_is_behind_one() {
        for (whole, rest, token) in [
            ("/s/1.x/v/a/master.m3u8?b", "/v/a/master.m3u8?b", Some("1.x")),
            ("http://h/s/1.x/v/a/1.m4s", "http://h/v/a/1.m4s", Some("1.x")),
            ("/s/1.x/api/v1/videos", "/s/1.x/api/v1/videos", None),
            ("/s/1.x/s/2.x/v/a", "/s/1.x/s/2.x/v/a", None),
            ("/s/1.x", "/s/1.x", None),
            ("/s/?/v/a", "/s/?/v/a", None),
            ("/v/a", "/v/a", None),
            ("*", "*", None),
        ] {
            let mut uri: Uri = whole.parse().unwrap();
            let ticket = Ticket::take(&mut uri, HERE);
            assert_eq!((uri.to_string().as_str(), ticket.token.as_deref()), (rest, token));
        }
    }

    #[test]
    fn an_answer_is_kept_no_longer_than_its_url_is_good() {
        let limited = |is_bound, rule: &'static str, left: u64| {
            let ticket = Ticket { client: HERE, token: None, pass: OnceLock::new() };
            ticket.pass.set(Pass { expires_s: now_s() + left, is_bound }).unwrap();
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, HeaderValue::from_static(rule));
            ticket.limit(&mut headers);
            assert_eq!(headers.len(), 1);
            headers[CACHE_CONTROL].to_str().unwrap().to_owned()
        };
        let immutable = limited(false, "public, max-age=31536000, immutable", 3600);
        assert!(["public, max-age=3600, immutable", "public, max-age=3599, immutable"].contains(&immutable.as_str()));
        assert_eq!(limited(true, "public, max-age=10, stale-while-revalidate=60", 900), "private, max-age=10");
        assert_eq!(limited(true, "no-store", 900), "no-store");
    }
}
