//! A page for people at `/`: what there is to play, in the browser itself where it plays HLS (Chromium from 142 on, Safari).

use std::fmt::Write as _;
use std::sync::Arc;

use http::request;

use crate::media::Policy;

use super::error::Problem;
use super::respond::{self, Asked, Response};
use super::sites::refuse_rebound;
use super::{Found, Origin, Title};

/// Titles on the page.
const SHOWN: usize = 100;

/// The newest titles, at most so many; `None` if who asks may see none without a key; blocks.
pub type List = Arc<dyn Fn(&request::Parts, usize) -> Result<Option<Vec<Title>>, String> + Send + Sync>;

/// `/`: for whoever opens the server in a browser.
pub(super) async fn answer(origin: &Origin, asked: &Asked) -> Result<Response, Problem> {
    refuse_rebound(origin, asked).await?;
    let (list, parts) = (origin.rooms.list.clone(), asked.parts.clone());
    let titles = blocking(move || list(&parts, SHOWN)).await?;
    let mut html = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <link rel=\"icon\" href=\"data:,\"><title>Matinee</title><style>body{font:1rem/1.5 system-ui;max-width:48rem;margin:2rem auto;padding:0 1rem}\
         li{margin:.5rem 0}video{display:block;width:100%;background:#000}summary{cursor:pointer}</style>\n\
         <h1>Matinee</h1>\n\
         <p>A browser that plays HLS by itself plays a title here; other players (ffplay, VLC, hls.js, Shaka Player, dash.js) \
         take its addresses.</p>\n",
    );
    match &titles {
        None => html += "<p>Listing titles needs a key: <code>matinee list</code>, or the API.</p>\n",
        Some(titles) if titles.is_empty() => {
            html += "<p>There are no titles yet: <code>matinee ingest FILE</code> adds one.</p>\n";
        }
        Some(_) => {}
    }
    html += "<ul>\n";
    for title in titles.iter().flatten() {
        let (id, name) = (&title.id, escape(&title.name));
        let _ = match &title.found {
            // Nobody can play it from here.
            Found::Ready(facts) if facts.policy == Policy::Signed => continue,
            Found::Ready(_) => writeln!(
                html,
                "<li><details><summary>{name}</summary><video controls preload=\"none\" poster=\"/v/{id}/poster.jpg\" \
                 src=\"/v/{id}/master.m3u8\"></video></details>\
                 <a href=\"/v/{id}/master.m3u8\">HLS</a> <a href=\"/v/{id}/manifest.mpd\">DASH</a>"
            ),
            Found::Unready { state, .. } => writeln!(html, "<li>{name} ({})", state.as_str()),
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

/// Names come from uploaders.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
