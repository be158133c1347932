//! Management, `/api/v1`, `/metrics` and `/openapi.json`: videos, jobs, events; JSON, and problems of RFC 9457.
//!
//! Nothing runs unasked. A listing costs a catalog query on a thread that may block, a creation what `ingest` says, a
//! listener of events a task of its own for as long as it listens.
//!
//! In the order of a request: [`Route`] (the path, a closed enum), [`access`] (who may), then the call in a file of its
//! own: `upload`, `fetch`, `tus`, `videos`, `jobs`, `events`, `keys`. What can go wrong stands in one table, [`problem`].
//!
//! The rule not to break: limits come before bytes. A request that will be refused is refused before its body is asked
//! for, and whatever is read is bounded.
//!
//! Arrow: `api` -> `ingest`, `access`, `warmer`, `cache`, `catalog`, `library`, `outbound`, `telemetry`, `media`, and `origin` for
//! the rules of conditional requests alone. What it needs of encoder and playback comes as closures in [`Rooms`], filled in by `app`.

pub mod access;
mod digest;
mod disposition;
mod events;
mod fetch;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod idempotency;
mod jobs;
mod keys;
mod multipart;
mod openapi;
mod payload;
mod playback;
pub mod problem;
mod query;
mod remove;
mod respond;
mod route;
mod source;
mod tokens;
mod tus;
mod upload;
mod video;
mod videos;
mod warm;
mod webhooks;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, request};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use tokio::sync::{Semaphore, watch};

use crate::access::{Client, Grants, Keys, Playback, Rate, Signer, Taken};
use crate::cache::Cache;
use crate::catalog::Catalog;
use crate::ingest::{Events, Processor, Resumables, Uploads};
use crate::library::Library;
use crate::media::{Digest, Generation, Plan, TitleId};
use crate::outbound;

pub use access::{Authorise, Caller, Scope};
pub use keys::described as key;
pub use problem::{Kind, Problem};
pub use route::Route;
pub use video::playback;

use idempotency::Creations;
use payload::Payload;

/// Bodies of answers.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;
/// Answers.
pub type Response = http::Response<Body>;
/// The recipe by which a source's plan is encoded now.
pub type GenerationOf = Arc<dyn Fn(&Digest, &Plan) -> Generation + Send + Sync>;
/// Stops all encodes of a recipe and whatever has its source open.
pub type Stop = Arc<dyn Fn(&Generation, &Digest) + Send + Sync>;
/// A title was changed: playback must ask for it again. Must not block.
pub type Forget = Arc<dyn Fn(&TitleId) + Send + Sync>;

/// What the room asks of others.
#[derive(Clone)]
pub struct Rooms {
    /// Titles and jobs.
    pub catalog: Catalog,
    /// Sources.
    pub library: Library,
    /// Segments.
    pub cache: Cache,
    /// The way in.
    pub uploads: Uploads,
    /// The same in several goes.
    pub resumables: Resumables,
    /// Who works on jobs.
    pub processor: Processor,
    /// What happens.
    pub events: Events,
    /// Names a title's recipe.
    pub generation: GenerationOf,
    /// Stops encodes.
    pub stop: Stop,
    /// Tells playback.
    pub forget: Forget,
    /// The API keys.
    pub keys: Keys,
    /// Tells the warmer that there is a job, or that one was called off; must not block.
    pub warm: Arc<dyn Fn() + Send + Sync>,
    /// The way out: looks at URLs of films and of webhooks.
    pub client: outbound::Client,
    /// Issues upload tokens.
    pub grants: Grants,
    /// Signs URLs of playback.
    pub playback: Playback,
    /// Who may.
    pub authorise: Authorise,
    /// Makes secrets of webhooks.
    pub signer: Signer,
    /// Prometheus text; blocks.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Counts the bytes of request bodies.
    pub received: Arc<AtomicU64>,
    /// How often, if that is limited.
    pub rate: Option<Arc<Rate>>,
}

/// The management API.
pub struct Api {
    rooms: Rooms,
    creations: Creations,
    listeners: Arc<Semaphore>,
    closing: watch::Sender<bool>,
}

impl Api {
    /// Nothing is asked of any room yet.
    #[must_use]
    pub fn new(rooms: Rooms) -> Arc<Self> {
        let listeners = Arc::new(Semaphore::new(events::MAX_LISTENERS));
        Arc::new(Self { rooms, creations: Creations::default(), listeners, closing: watch::Sender::new(false) })
    }

    /// Answers a request below `/api/v1/`, or for `/metrics` or `/openapi.json`.
    pub fn handle(
        self: &Arc<Self>,
        request: http::Request<Incoming>,
    ) -> Pin<Box<dyn Future<Output = Response> + Send>> {
        let api = self.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            tus::override_method(&mut parts);
            let payload = Payload::new(&parts, body, api.rooms.uploads.config().stall(), api.rooms.received.clone());
            // What a browser asks beforehand costs nothing and does not count.
            let rate = api.rooms.rate.as_ref().filter(|_| parts.method != Method::OPTIONS);
            let taken = rate.zip(parts.extensions.get::<Client>());
            let taken = taken.map(|(rate, client)| (rate, rate.take(client.0, Instant::now())));
            let answered = match taken {
                Some((_, Taken::No { wait_seconds })) => Err(Problem::too_often(wait_seconds)),
                Some((_, Taken::Yes { .. })) | None => api.answer(&parts, payload).await,
            };
            let mut response = answered.unwrap_or_else(|problem| {
                let kind = problem.kind();
                let known = openapi::knows(parts.uri.path(), &parts.method, kind);
                debug_assert!(known, "{} {} is not documented to fail by {kind:?}", parts.method, parts.uri.path());
                problem.respond(&parts)
            });
            tus::dress(&parts, &mut response);
            if let Some((rate, taken)) = taken {
                rate.tell(response.headers_mut(), taken);
            }
            respond::without_body_if_head(&parts, respond::without_tag_if_put(&parts, response))
        })
    }

    /// Ends what would go on for ever: the listeners.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    async fn answer(self: &Arc<Self>, parts: &request::Parts, payload: Payload) -> Result<Response, Problem> {
        let route = Route::parse(parts.uri.path()).ok_or_else(|| Problem::of(Kind::NoRoute))?;
        let Some(scope) = route.scope(&parts.method) else {
            if parts.method == Method::OPTIONS && matches!(route, Route::Uploads | Route::Upload(_)) {
                return Ok(tus::options(self, &route, parts));
            }
            if parts.method == Method::OPTIONS {
                return Ok(respond::options(&route));
            }
            // Whoever looks for it looks for a video.
            if matches!(route, Route::File(_)) {
                return Err(Problem::of(Kind::NoRoute));
            }
            return Err(route.refuse(&parts.method));
        };
        if route == Route::OpenApi {
            return Ok(respond::document(openapi::document()));
        }
        if route == Route::Metrics && access::is_this_machine(parts) {
            return self.metrics().await;
        }
        let caller = (self.rooms.authorise)(parts, scope).await?;
        if caller.grant.is_some() && !route.takes_token(&parts.method) {
            return Err(Problem::new(
                Kind::Scope,
                "an upload token sends its film, looks at its title, and does nothing else",
            ));
        }
        if let Some(id) = route.seen(&parts.method) {
            videos::must_see(self, id, &caller).await?;
        }
        if let Route::Upload(id) = &route {
            tus::check_version(parts)?;
            tus::must_be_of(self, id, &caller, &parts.method)?;
        }
        match (&route, &parts.method) {
            (Route::Videos, &Method::POST) if fetch::is_meant(parts) => {
                fetch::create(self, parts, payload, &caller).await
            }
            (Route::Videos, &Method::POST | &Method::PUT) => upload::create(self, parts, payload, None, &caller).await,
            (Route::File(name), _) => upload::create(self, parts, payload, Some(name), &caller).await,
            (Route::Videos, _) => videos::list(self, parts).await,
            (Route::Video(id), &Method::PATCH) => videos::change(self, parts, payload, id, &caller).await,
            (Route::Video(id), &Method::DELETE) => remove::video(self, parts, id).await,
            (Route::Video(id), _) => videos::get(self, parts, id).await,
            (Route::Source(id), _) => source::replace(self, parts, payload, id, &caller).await,
            (Route::Warm(id), _) => warm::create(self, parts, payload, id).await,
            (Route::PlaybackTokens(id), _) => playback::sign(self, parts, payload, id).await,
            (Route::VideoEvents(id), _) => events::of_one(self, parts, id).await,
            (Route::Uploads, _) => tus::create(self, parts, payload, &caller).await,
            (Route::Upload(id), &Method::PATCH) => tus::append(self, parts, payload, id).await,
            (Route::Upload(id), &Method::DELETE) => tus::remove(self, id).await,
            (Route::Upload(id), &Method::HEAD) => tus::head(self, id).await,
            (Route::Upload(id), _) => tus::get(self, parts, id, &caller).await,
            (Route::Events, _) => events::of_all(self, parts),
            (Route::Jobs, _) => jobs::list(self, parts).await,
            (Route::Job(id), &Method::DELETE) => jobs::cancel(self, id).await,
            (Route::Job(id), _) => jobs::one(self, id).await,
            (Route::Keys, &Method::POST) => keys::create(self, parts, payload).await,
            (Route::Keys, _) => keys::list(self).await,
            (Route::Key(id), &Method::DELETE) => keys::revoke(self, id).await,
            (Route::Key(id), _) => keys::one(self, id).await,
            (Route::UploadTokens, _) => tokens::issue(self, parts, payload, &caller).await,
            (Route::Webhooks, &Method::POST) => webhooks::create(self, parts, payload).await,
            (Route::Webhooks, _) => webhooks::list(self).await,
            (Route::Webhook(id), &Method::DELETE) => webhooks::remove(self, id).await,
            (Route::Webhook(id), _) => webhooks::one(self, id).await,
            (Route::Deliveries(id), _) => webhooks::deliveries(self, parts, id).await,
            (Route::Metrics, _) => self.metrics().await,
            // Answered before.
            (Route::OpenApi, _) => Err(Problem::of(Kind::NoRoute)),
        }
    }

    async fn metrics(&self) -> Result<Response, Problem> {
        let metrics = self.rooms.metrics.clone();
        Ok(respond::metrics(blocking(move || Ok(metrics())).await?))
    }
}

/// Runs what blocks on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(died) => Err(Problem::internal(died)),
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}
