//! What there is to play, read only: `/api/v1/videos`, `/api/v1/videos/{id}`, and a page for people at `/`.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::cache::{Cache, Key, Object};
use crate::media::{Rendition, RenditionKind, TitleId};

use super::error::Problem;
use super::respond::{self, Asked, Response};
use super::{Facts, Found, Origin, Title};

/// Titles on a page unless asked otherwise, and at most.
const PAGE: usize = 20;
const MAX_PAGE: usize = 100;

/// Lists titles after a cursor, newest first or in whatever fixed order the catalog keeps; blocks.
pub type List = Arc<dyn Fn(Option<&TitleId>, usize) -> Result<Page, String> + Send + Sync>;

/// A part of the list.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The titles.
    pub videos: Vec<Title>,
    /// True if the list goes on after the last of them.
    pub more: bool,
}

/// `/api/v1/videos`.
pub(super) async fn list(origin: &Origin, asked: &Asked) -> Result<Response, Problem> {
    let (cursor, limit, state) = query(asked.parts.uri.query().unwrap_or_default())?;
    let (list, cache) = (origin.rooms.list.clone(), origin.rooms.cache.clone());
    let body = blocking(move || {
        let page = list(cursor.as_ref(), limit)?;
        let next = page.videos.last().filter(|_| page.more).map(|v| v.id.to_string());
        let videos = page.videos.iter().filter(|v| state.as_deref().is_none_or(|s| s == v.state()));
        Ok(json!({ "videos": videos.map(|v| v.json(&cache)).collect::<Vec<_>>(), "next_cursor": next }))
    });
    Ok(respond::now(asked, "application/json", body.await?.to_string()))
}

/// `/api/v1/videos/{id}`.
pub(super) async fn one(origin: &Origin, asked: &Asked, id: TitleId) -> Result<Response, Problem> {
    let (find, cache) = (origin.rooms.find.clone(), origin.rooms.cache.clone());
    let video = blocking(move || Ok(find(&id)?.map(|v| v.json(&cache)))).await?.ok_or(Problem::NoTitle)?;
    Ok(respond::now(asked, "application/json", video.to_string()))
}

/// `/`: for whoever opens the server in a browser.
pub(super) async fn home(origin: &Origin, asked: &Asked) -> Result<Response, Problem> {
    let list = origin.rooms.list.clone();
    let page = blocking(move || list(None, MAX_PAGE)).await?;
    let mut html = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Matinee</title><h1>Matinee</h1>\n\
         <p>Open a link in a player: ffplay, VLC, Safari, or a page with hls.js.</p>\n<ul>\n",
    );
    for video in &page.videos {
        let (id, name) = (&video.id, escape(&video.name));
        let _ = match video.found {
            Found::Ready(_) => writeln!(
                html,
                "<li><img src=\"/v/{id}/poster.jpg\" alt=\"\" loading=\"lazy\" width=\"128\"> \
                 <a href=\"/v/{id}/master.m3u8\">{name}</a>"
            ),
            _ => writeln!(html, "<li>{name} ({})", video.state()),
        };
    }
    html += "</ul>\n";
    Ok(respond::now(asked, "text/html; charset=utf-8", html))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|inner| Problem::Catalog { inner }),
        Err(panic) => Err(Problem::Catalog { inner: panic.to_string() }),
    }
}

type Query = (Option<TitleId>, usize, Option<String>);

fn query(text: &str) -> Result<Query, Problem> {
    let (mut cursor, mut limit, mut state) = (None, PAGE, None);
    for (key, value) in text.split('&').filter(|p| !p.is_empty()).map(|p| p.split_once('=').unwrap_or((p, ""))) {
        match key {
            "cursor" => cursor = Some(value.parse().map_err(|_| Problem::Query("cursor is not a title id"))?),
            "limit" => limit = value.parse().map_err(|_| Problem::Query("limit is not a number"))?,
            "state" => state = Some(value.to_owned()),
            _ => {}
        }
    }
    Ok((cursor, limit.clamp(1, MAX_PAGE), state))
}

impl Title {
    fn state(&self) -> &'static str {
        match &self.found {
            Found::Ready(_) => "ready",
            Found::Unready { state, .. } => state.as_str(),
        }
    }

    fn json(&self, cache: &Cache) -> Value {
        let (error, facts) = match &self.found {
            Found::Ready(facts) => (None, Some(facts)),
            Found::Unready { refusal, .. } => (refusal.as_ref(), None),
        };
        let mut video = json!({
            "id": self.id, "title": self.name, "state": self.state(), "error": error, "created_at": self.created_at,
            "duration_s": null, "width": null, "height": null, "frame_rate": null, "tracks": [], "renditions": [],
            "playback": {}, "warnings": self.warnings,
        });
        if let Some(facts) = facts {
            let plan = &facts.plan;
            video["duration_s"] = json!(plan.duration_seconds());
            if let Some((_, best)) = plan.video().next() {
                video["width"] = json!(best.width);
                video["height"] = json!(best.height);
                video["frame_rate"] = json!(best.rate.fps());
            }
            video["tracks"] = json!(plan.tracks);
            video["renditions"] = plan.renditions.iter().map(|r| rendition(facts, r, cache)).collect();
            let thumbnails = plan.video().next().map(|_| format!("/v/{}/thumbnails.vtt", self.id));
            video["playback"] = json!({
                "hls": format!("/v/{}/master.m3u8", self.id), "dash": format!("/v/{}/manifest.mpd", self.id),
                "hls_ts": format!("/v/{}/master-ts.m3u8", self.id),
                "poster": format!("/v/{}/poster.jpg", self.id), "thumbnails": thumbnails,
            });
        }
        video
    }
}

fn rendition(facts: &Facts, rendition: &Rendition, cache: &Cache) -> Value {
    let segments = rendition.grid.segments();
    let key =
        |n| Key { generation: facts.generation.clone(), rendition: rendition.name.clone(), object: Object::Segment(n) };
    let (width, height) = match &rendition.kind {
        RenditionKind::Video(video) => (Some(video.width), Some(video.height)),
        RenditionKind::Audio(_) | RenditionKind::Text(_) => (None, None),
    };
    json!({
        "name": rendition.name, "codecs": rendition.codecs, "width": width, "height": height,
        "bandwidth": rendition.bandwidth, "segments": segments,
        "cached_segments": (0..segments).filter(|n| cache.holds(&key(*n))).count(),
    })
}

/// Names come from uploaders.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
