//! A page for people at `/`: what there is to play.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::media::Policy;

use super::error::Problem;
use super::respond::{self, Asked, Response};
use super::{Found, Origin, Title};

/// Titles on the page.
const SHOWN: usize = 100;

/// The newest titles, at most so many; blocks.
pub type List = Arc<dyn Fn(usize) -> Result<Vec<Title>, String> + Send + Sync>;

/// `/`: for whoever opens the server in a browser.
pub(super) async fn answer(origin: &Origin, asked: &Asked) -> Result<Response, Problem> {
    let list = origin.rooms.list.clone();
    let titles = blocking(move || list(SHOWN)).await?;
    let mut html = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Matinee</title><h1>Matinee</h1>\n\
         <p>Open a link in a player: ffplay, VLC, Safari, or a page with hls.js.</p>\n<ul>\n",
    );
    for title in &titles {
        let (id, name) = (&title.id, escape(&title.name));
        let _ = match &title.found {
            // Nobody can play it from here.
            Found::Ready(facts) if facts.policy == Policy::Signed => continue,
            Found::Ready(_) => writeln!(
                html,
                "<li><img src=\"/v/{id}/poster.jpg\" alt=\"\" loading=\"lazy\" width=\"128\"> \
                 <a href=\"/v/{id}/master.m3u8\">{name}</a>"
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
