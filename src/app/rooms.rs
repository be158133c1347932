//! What the GET flow and the management API ask of other rooms, as closures over them.

use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::scrape::Scrape;
use super::start::{Data, Uploading};
use crate::access::{Keys, Rate};
use crate::api::{self, Api};
use crate::catalog::{self, Catalog};
use crate::config::{Auth, Config};
use crate::encoder::{self, Encoder, Recipe, Seen, Viewer, Work};
use crate::manifest::hls;
use crate::origin::{Facts, Failure, Find, Found, IsRebound, List, Mark, Play, Readers, Rooms, State, Title};
use crate::warmer::Warmer;
use crate::worker::Pool;

pub(super) fn origin(
    config: &Config,
    data: Data,
    encoder: &Encoder,
    warmer: &Warmer,
    scrape: Arc<Scrape>,
    api: Arc<Api>,
) -> Rooms {
    let asked = warmer.clone();
    let runtime = Handle::current();
    let recipe = Arc::new(encoder.recipe().clone());
    let make = encoder.clone();
    let pictures = encoder.clone();
    let watching = encoder.clone();
    let hint = encoder.clone();
    let (catalog, data_dir, pool) = (data.catalog.clone(), config.data_dir.clone(), scrape.pool.clone());
    let is_rebound = is_rebound(config, data.catalog.clone());
    Rooms {
        cache: data.cache,
        find: find(data.catalog.clone(), recipe.clone()),
        mark: mark(data.catalog.clone()),
        list: list(data.catalog, recipe, config),
        manage: Arc::new(move |request| Box::pin(here(&runtime, api.handle(request)))),
        readers: readers(config),
        is_rebound,
        playback: data.playback,
        make: Arc::new(move |order| {
            let (rendition, object, writer) = (order.rendition, order.object, order.writer);
            let work = work(order.presentation.facts());
            make.make(encoder::Order { work, rendition, object, writer, due_in: order.due_in });
        }),
        patience: Duration::from_secs(config.encoder.patience_seconds),
        make_picture: Arc::new(move |order| {
            let (picture, writer) = (order.picture, order.writer);
            pictures.picture(encoder::PictureOrder { work: work(order.presentation.facts()), picture, writer });
        }),
        on_segment: Arc::new(move |presentation, play| {
            let viewer = Viewer { key: play.viewer, is_session: play.is_session };
            let Play { rendition, segment, next, .. } = play;
            let facts = presentation.facts();
            asked.asked(&facts.id, &facts.plan.renditions[rendition].name);
            let seen = Seen { viewer, rendition, segment, next };
            watching.seen(&facts.generation, &facts.plan, seen, || work(facts));
        }),
        on_quality: Arc::new(scrape.quality()),
        on_first_byte: Arc::new(scrape.first_byte()),
        on_master: Arc::new(move |presentation| {
            if !presentation.is_hint_due() {
                return;
            }
            let facts = presentation.facts();
            let start = hls::start(&facts.plan).map(|first| &first.name);
            if let Some(rendition) = facts.plan.renditions.iter().position(|r| Some(&r.name) == start) {
                hint.hint(&work(facts), rendition);
            }
        }),
        // That templates work was proven at the start, or there would be no server.
        ready: Arc::new(move || ready(&catalog, &data_dir, &pool)),
    }
}

fn readers(config: &Config) -> Readers {
    let (origins, needs_keys) = (config.uploads.origins.clone(), config.auth == Auth::Keys);
    Arc::new(move |parts| api::access::readers(parts, &origins, needs_keys))
}

/// Where and as long as management is open to whoever is near, as it does itself.
fn is_rebound(config: &Config, catalog: Catalog) -> IsRebound {
    let keys = Keys::new(catalog);
    let (auth, is_loopback) = (config.auth, config.server.listen.ip().is_loopback());
    Arc::new(move |parts| match auth {
        _ if !is_loopback || !api::access::is_rebound(parts) => Ok(false),
        Auth::Off => Ok(true),
        Auth::Keys => keys.never_used().map_err(|error| error.to_string()),
    })
}

/// `forget` reaches an origin that is made later.
pub(super) fn api(
    config: &Config,
    data: &Data,
    encoder: &Encoder,
    uploading: &Uploading,
    warmer: &Warmer,
    forget: api::Forget,
    scrape: Arc<Scrape>,
) -> api::Rooms {
    let warmer = warmer.clone();
    let keys = Keys::new(data.catalog.clone());
    let authorise = match config.auth {
        Auth::Keys => api::access::by_keys(
            keys.clone(),
            data.grants.clone(),
            config.uploads.origins.clone(),
            is_near_only(config),
        ),
        Auth::Off => api::access::everybody(
            data.grants.clone(),
            config.uploads.origins.clone(),
            config.server.listen.ip().is_loopback(),
        ),
    };
    let recipe = Arc::new(encoder.recipe().clone());
    let stop = encoder.clone();
    api::Rooms {
        catalog: data.catalog.clone(),
        library: data.library.clone(),
        cache: data.cache.clone(),
        uploads: uploading.uploads.clone(),
        resumables: uploading.resumables.clone(),
        processor: uploading.processor.clone(),
        events: uploading.events.clone(),
        client: data.outbound.clone(),
        generation: Arc::new(move |digest, plan| recipe.generation(digest, plan)),
        stop: Arc::new(move |generation, digest| stop.stop(generation, digest)),
        forget,
        keys,
        playback: data.playback.clone(),
        grants: data.grants.clone(),
        authorise,
        signer: data.signer.clone(),
        rate: Rate::per_minute(config.server.api_requests_per_minute).map(Arc::new),
        warm: Arc::new(move || warmer.wake()),
        received: scrape.received.clone(),
        metrics: Arc::new(move || scrape.render()),
    }
}

/// What this starts runs on this runtime, whichever thread it is polled by: those that serve connections end before the
/// jobs that requests begin.
fn here<F: Future + Unpin>(runtime: &Handle, mut future: F) -> impl Future<Output = F::Output> + use<F> {
    let runtime = runtime.clone();
    poll_fn(move |context| {
        let _here = runtime.enter();
        Pin::new(&mut future).poll(context)
    })
}

fn work(facts: &Facts) -> Work {
    Work { digest: facts.digest.clone(), generation: facts.generation.clone(), plan: facts.plan.clone() }
}

fn find(catalog: Catalog, recipe: Arc<Recipe>) -> Find {
    Arc::new(move |id| {
        let found = catalog.title(id).map_err(|error| error.to_string())?;
        Ok(found.map(|title| shown(title, &recipe)))
    })
}

fn mark(catalog: Catalog) -> Mark {
    Arc::new(move |id| catalog.mark(id).map_err(|error| error.to_string()))
}

/// Whether nobody but this machine can ask. A proxy that is trusted passes on what others ask.
pub(super) fn is_near_only(config: &Config) -> bool {
    config.server.listen.ip().is_loopback() && config.server.trusted_proxies.is_empty()
}

/// What there is, for anybody who opens the server in a browser; `None` where looking needs a key.
fn list(catalog: Catalog, recipe: Arc<Recipe>, config: &Config) -> List {
    let keys = Keys::new(catalog.clone());
    let (auth, may_be_open) = (config.auth, is_near_only(config));
    let newest = move |limit: usize| -> Result<Vec<Title>, catalog::Error> {
        let found = catalog.titles(None, u32::try_from(limit).unwrap_or(u32::MAX), None)?;
        let mut titles = Vec::with_capacity(found.entries.len());
        for entry in found.entries {
            // A list has no plans, and one title may be gone since.
            titles.extend(catalog.title(&entry.id)?.map(|title| shown(title, &recipe)));
        }
        Ok(titles)
    };
    Arc::new(move |parts, limit| {
        let is_open = match auth {
            Auth::Off => true,
            Auth::Keys if !may_be_open || api::access::is_forwarded(parts) => false,
            Auth::Keys => keys.never_used().map_err(|error| error.to_string())?,
        };
        is_open.then(|| newest(limit).map_err(|error| error.to_string())).transpose()
    })
}

fn shown(title: catalog::Title, recipe: &Recipe) -> Title {
    let catalog::Title { entry, plan } = title;
    let unready = |state| Found::Unready { state, failure: None };
    let found = match (entry.state, entry.source, plan) {
        (catalog::State::Ready, Some(digest), Some(plan)) => {
            let generation = recipe.generation(&digest, &plan);
            Found::Ready(Facts { id: entry.id.clone(), digest, generation, plan, policy: entry.policy })
        }
        (catalog::State::Receiving, ..) => unready(State::Receiving),
        (catalog::State::Processing, ..) => unready(State::Processing),
        (catalog::State::Ready | catalog::State::Failed, ..) => {
            let failure = entry.failure.map(|f| Failure { code: f.code });
            Found::Unready { state: State::Failed, failure }
        }
    };
    Title { id: entry.id, name: entry.name, found }
}

fn ready(catalog: &Catalog, data_dir: &Path, pool: &Pool) -> Result<(), String> {
    catalog.count().map_err(|error| error.to_string())?;
    // A file without a name: nothing to clean up, and only trying tells.
    tempfile::tempfile_in(data_dir).map_err(|error| format!("the data folder cannot be written to: {error}"))?;
    pool.trouble().map_or(Ok(()), |why| Err(format!("no worker can be started: {why}")))
}
