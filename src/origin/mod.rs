//! The GET flow, in the order a player asks: [`route`], [`presentation`], `playlist`, `init`, [`segment`], `iframe`, `respond`.
//!
//! What runs unasked: the listener; one look at each connection's clocks every few seconds; a few seconds after a
//! title was last looked up, the next request for it looks it up again in the background.
//!
//! What a request costs: a segment in memory takes one look-up of the title's snapshot, one of the bytes, and the
//! headers; bytes are never copied. A title that nobody asked for lately costs a catalog query on a blocking thread.
//! A cold segment is claimed, ordered, and then sent as it comes; a poster or a sheet of thumbnails is sent when it is
//! whole. A segment of a transport stream is wrapped anew for each request, from the segments that are kept.
//!
//! The rule not to break: an answer that cannot be finished is broken off, never ended as if it were whole; and
//! nothing that may change is called immutable.
//!
//! Arrow: `origin` -> `access`, `cache`, `manifest`, `packager`, `media`. What it needs of catalog and encoder comes as closures in
//! [`Rooms`], filled in by `app`; so does `api`, which answers what is below `/api/v1/`, `/metrics` and `/openapi.json` on the same
//! listener.

mod access_log;
mod body;
pub mod client;
mod cmcd;
mod compress;
mod conditional;
mod config;
mod connection;
mod counters;
mod error;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod health;
mod home;
mod iframe;
mod init;
mod pictures;
mod playlist;
mod plays;
pub mod presentation;
mod range;
mod respond;
pub mod route;
pub mod segment;
mod server;
mod signed;
mod sites;
#[cfg(test)]
mod tests;
mod threads;
mod transport;

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderName, Method};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use tracing::Instrument as _;

use crate::access::{Client, Playback, Rate, Taken};
use crate::cache::Cache;
use crate::media::{Policy, TitleId};

pub use body::{Body, Broken};
pub use conditional::{not_modified, wanted};
pub use config::Config;
pub use counters::Counters;
pub use error::Error;
pub use home::List;
pub use pictures::{MakePicture, PictureOrder};
pub use playlist::OnMaster;
pub use plays::{OnQuality, Play, Quality};
pub use presentation::{Facts, Failure, Find, Found, Mark, Presentation, State, Title};
pub use segment::{Came, Make, OnSegment, Order};
pub use server::{Drained, Server};
pub use sites::{IsRebound, Readers};

use client::Proxies;
use config::Patience;
use error::Problem;
use plays::Plays;
use presentation::Presentations;
use respond::{Asked, Response};
use route::{Form, Route};

/// What the flow asks of other rooms.
#[derive(Clone)]
pub struct Rooms {
    /// Where bytes are kept.
    pub cache: Cache,
    /// Looks a title up in the catalog; blocks.
    pub find: Find,
    /// Tells whether what the catalog says of a title has changed; blocks.
    pub mark: Mark,
    /// Lists titles; blocks.
    pub list: List,
    /// Answers what is below `/api/v1/`, and `/metrics`.
    pub manage: Manage,
    /// Which pages of other sites may read what is not played.
    pub readers: Readers,
    /// Whether a request came by a name that somebody made lead here; blocks.
    pub is_rebound: IsRebound,
    /// Knows signed URLs.
    pub playback: Playback,
    /// Orders an encode.
    pub make: Make,
    /// A player gives up what nobody has begun to make for this long.
    pub patience: Duration,
    /// Orders a poster or a sheet of thumbnails.
    pub make_picture: MakePicture,
    /// A viewer is at this segment, wherever its bytes come from; must not block.
    pub on_segment: OnSegment,
    /// How well playing goes; must not block.
    pub on_quality: OnQuality,
    /// The first byte of a segment is there, so many seconds after it was asked for; must not block.
    pub on_first_byte: Arc<dyn Fn(Came, f64) + Send + Sync>,
    /// A hint that a title will be played.
    pub on_master: OnMaster,
    /// Whether catalog, disk and an encoder are there, or what is not; blocks.
    pub ready: Ready,
}

/// Why requests for media cannot be answered now, if they cannot; blocks.
pub type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Answers a request that is not of this flow, its body included. The request has the `X-Request-Id` that the answer
/// will carry.
pub type Manage = Arc<dyn Fn(http::Request<Incoming>) -> Managed + Send + Sync>;
/// The answer to come.
pub type Managed = Pin<Box<dyn Future<Output = http::Response<ForeignBody>> + Send>>;
/// A body of another room.
pub type ForeignBody = UnsyncBoxBody<Bytes, Infallible>;

/// The GET flow.
pub struct Origin {
    rooms: Rooms,
    presentations: Arc<Presentations>,
    plays: Plays,
    patience: Patience,
    delivery: config::Delivery,
    proxies: Proxies,
    /// The field that names the title an answer is of.
    tag: Option<HeaderName>,
    /// Limits playback, if it is limited.
    rate: Option<Rate>,
    counters: Arc<Counters>,
    sending: transport::Sending,
    readiness: health::Readiness,
    stopping: AtomicBool,
}

impl Origin {
    /// Nothing is asked of any room yet.
    #[must_use]
    pub fn new(config: &Config, rooms: Rooms) -> Self {
        Self {
            presentations: Arc::new(Presentations::new(
                rooms.find.clone(),
                rooms.mark.clone(),
                config.presentation_bytes,
            )),
            plays: Plays::new(rooms.on_quality.clone()),
            patience: config.patience(rooms.patience),
            rooms,
            delivery: config.delivery,
            proxies: Proxies::new(&config.trusted_proxies, config.client_field),
            tag: config.tag(),
            rate: Rate::per_minute(config.playback_requests_per_minute),
            counters: Arc::default(),
            sending: transport::Sending::default(),
            readiness: health::Readiness::default(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Answers one request. Its body is read only by [`Rooms::manage`].
    async fn handle(&self, request: http::Request<Incoming>, open: connection::Open, peer: IpAddr) -> Response {
        let (parts, body) = request.into_parts();
        let client = self.proxies.client(peer, &parts.headers);
        let asked = Asked::new(parts, client);
        let mut entry = access_log::Entry::of(&asked);
        let span = tracing::debug_span!("request", id = ?asked.id, method = %asked.parts.method, path = access_log::without_token(asked.parts.uri.path()));
        let mut response = match Route::parse(asked.parts.uri.path()) {
            _ if !has_its_host(&asked.parts) => Problem::HostField.respond(&asked),
            Some(Route::Management) => Box::pin(self.pass_on(&asked, body).instrument(span)).await,
            route => {
                drop(body);
                self.limited(&asked, route).instrument(span).await
            }
        };
        self.counters.answered(response.status());
        if let (Some(came), true) = (asked.came.get(), response.status().is_success()) {
            self.counters.media(*came);
            (self.rooms.on_first_byte)(*came, asked.received.elapsed().as_secs_f64());
        }
        asked.ticket.limit(response.headers_mut());
        if let (Some(name), Some(title)) = (&self.tag, asked.title.get()) {
            response.headers_mut().insert(name.clone(), title.clone());
        }
        sites::dress(&asked.parts, response.headers_mut(), &self.rooms.readers);
        respond::common(response.headers_mut(), asked.id);
        if let Some(entry) = &mut entry {
            entry.answered(&response);
        }
        response.body_mut().hold(open, entry);
        response
    }

    async fn pass_on(&self, asked: &Asked, body: Incoming) -> Response {
        let mut request = http::Request::from_parts(asked.parts.clone(), body);
        request.headers_mut().insert(respond::X_REQUEST_ID, asked.id.clone());
        request.extensions_mut().insert(Client(asked.client));
        (self.rooms.manage)(request).await.map(Body::foreign)
    }

    /// The answer, unless playback is limited and the client has asked too often. What a browser asks beforehand costs
    /// nothing and does not count.
    async fn limited(&self, asked: &Asked, route: Option<Route>) -> Response {
        let counts = asked.parts.method != Method::OPTIONS && asked.parts.uri.path().starts_with("/v/");
        let rate = self.rate.as_ref().filter(|_| counts);
        let Some(rate) = rate else {
            return self.answer(asked, route).await.unwrap_or_else(|problem| self.refuse(asked, problem));
        };
        let taken = rate.take(asked.client, asked.received);
        let answered = match taken {
            Taken::Yes { .. } => self.answer(asked, route).await,
            Taken::No { wait_seconds } => Err(Problem::TooOften { wait_seconds }),
        };
        let mut response = answered.unwrap_or_else(|problem| self.refuse(asked, problem));
        rate.tell(response.headers_mut(), taken);
        response
    }

    fn refuse(&self, asked: &Asked, problem: Problem) -> Response {
        self.counters.refused(&problem);
        problem.respond(asked)
    }

    /// What is rare is boxed: the future of a hit is what every idle connection holds.
    async fn answer(&self, asked: &Asked, route: Option<Route>) -> Result<Response, Problem> {
        if asked.parts.method == Method::OPTIONS {
            return Ok(respond::preflight());
        }
        if asked.parts.method != Method::GET && asked.parts.method != Method::HEAD {
            return Err(Problem::Method);
        }
        match route.ok_or(Problem::NoRoute)? {
            Route::Master(title) => playlist::master(self, asked, &title).await,
            Route::Manifest(title) => playlist::manifest(self, asked, &title).await,
            Route::Iframes(title, generation, rendition) => {
                playlist::iframes(self, asked, &title, &generation, &rendition).await
            }
            Route::MasterTs(title) => playlist::master_ts(self, asked, &title).await,
            Route::MediaTs(title, generation, rendition) => {
                playlist::media_ts(self, asked, &title, &generation, &rendition).await
            }
            Route::Object(media) if media.form == Form::Transport => {
                Box::pin(transport::answer(self, asked, media)).await
            }
            Route::Media(title, generation, rendition) => {
                playlist::media(self, asked, &title, &generation, &rendition).await
            }
            Route::Object(media) => match media.object {
                crate::cache::Object::Init => init::answer(self, asked, media).await,
                crate::cache::Object::Segment(_) => segment::answer(self, asked, media).await,
                crate::cache::Object::Iframe(_) => Box::pin(iframe::answer(self, asked, media)).await,
            },
            Route::Poster(title) => Box::pin(pictures::poster(self, asked, &title)).await,
            Route::Thumbnails(title) => pictures::thumbnails(self, asked, &title).await,
            Route::Images(title, generation) => pictures::images(self, asked, &title, &generation).await,
            Route::Sheet(title, generation, number) => {
                Box::pin(pictures::sheet(self, asked, &title, &generation, number)).await
            }
            Route::Health => Ok(health::alive(asked)),
            Route::Ready => Box::pin(health::ready(self, asked)).await,
            Route::Home => Box::pin(home::answer(self, asked)).await,
            // Answered before.
            Route::Management => Err(Problem::NoRoute),
        }
    }

    /// The snapshot of a title that this request may have.
    async fn presentation(&self, asked: &Asked, title: &TitleId) -> Result<Arc<Presentation>, Problem> {
        let presentation = self.presentations.get(title).await?;
        let _ = asked.title.set(presentation.tag().clone());
        match presentation.facts().policy {
            // Or there would be endless URLs of it.
            Policy::Public if asked.ticket.is_empty() => {}
            Policy::Public | Policy::Signed => asked.ticket.admit(&self.rooms.playback, title)?,
        }
        Ok(presentation)
    }

    /// What was counted, for telemetry.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Sessions of players that tell of themselves; those that have gone are counted first.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.plays.sweep(tokio::time::Instant::now())
    }

    /// Forgets what is known of a title: it was ingested, changed or deleted by this process.
    pub fn forget(&self, title: &TitleId) {
        self.presentations.forget(title);
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// RFC 9112 §3.2; HTTP/2 has `:authority` instead, HTTP/1.0 may have neither.
fn has_its_host(parts: &http::request::Parts) -> bool {
    let mut fields = parts.headers.get_all(HOST).iter();
    match (fields.next(), fields.next()) {
        (None, _) => parts.version != http::Version::HTTP_11,
        (Some(field), None) => field.is_empty() || names_a_host(field.as_bytes()),
        (Some(_), Some(_)) => false,
    }
}

/// A name or an address, perhaps with a port, and no user before it (RFC 9110 §7.2).
fn names_a_host(field: &[u8]) -> bool {
    !field.contains(&b'@') && http::uri::Authority::try_from(field).is_ok()
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").field("presentations", &self.presentations).finish_non_exhaustive()
    }
}
