//! The start, in order.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::spawn_blocking;

use super::claim::{Claim, claim};
use super::{Error, Running, retire, rooms, scrape::Scrape, stale};
use crate::access::{Grants, Keys, Playback, Secret, Signer};
use crate::api::Api;
use crate::cache::{Cache, Clock};
use crate::catalog::{Catalog, now_ms};
use crate::config::{Auth, Config};
use crate::encoder::{self, Encoder, Recipe, Source};
use crate::hooks::{self, Courier};
use crate::ingest::events::{Event, What};
use crate::ingest::watch::Watcher;
use crate::ingest::{self, Events, OnChange, OnRetire, Processor, Resumables, Tell, Uploads};
use crate::library::Library;
use crate::media::{Digest, Trial};
use crate::origin::{Origin, Server};
use crate::outbound;
use crate::telemetry::{Metrics, metrics::Encode};
use crate::warmer::{self, Warmer};
use crate::worker::{self, Pool};

/// What lies in the data folder.
pub(super) struct Data {
    pub catalog: Catalog,
    pub library: Library,
    pub cache: Cache,
    pub playback: Playback,
    pub grants: Grants,
    pub signer: Signer,
    pub outbound: outbound::Client,
}

pub(super) async fn start(config: &Config) -> Result<Running, Error> {
    raise_open_files();
    survive_file_limits();
    let server = Server::bind(config.server.clone()).await?;
    let (claim, data) = {
        let config = config.clone();
        let opened = spawn_blocking(move || open(&config)).await;
        opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?
    };
    let pool = Pool::start(worker_config(config))?;
    let recipe = match choose(&pool, &config.encoder).await {
        Ok(recipe) => recipe,
        Err(error) => {
            pool.close().await;
            return Err(error);
        }
    };
    let metrics = Metrics::new();
    tokio::spawn(stale::clear(data.cache.clone(), data.catalog.clone(), recipe.clone()));
    let encoder = Encoder::start(&config.encoder, recipe, encoder_rooms(&pool, &data, &metrics));
    let scrape = Scrape {
        metrics: Mutex::new(metrics),
        cache: data.cache.clone(),
        encoder: encoder.clone(),
        pool: pool.clone(),
        catalog: data.catalog.clone(),
        capacity: config.cache.clone(),
        received: Arc::default(),
        counters: OnceLock::new(),
        origin: OnceLock::new(),
        warmer: OnceLock::new(),
    };
    let scrape = Arc::new(scrape);
    let cache = data.cache.clone();
    let playback = Arc::new(OnceLock::new());
    let forget = forget(&playback);
    let warmer = warmer(config, &data, &encoder)?;
    let uploading = Uploading::start(
        config,
        &data,
        &pool,
        and_warm(&forget, &warmer),
        retire::retire(&data.catalog, &data.cache, &encoder),
    )?;
    let (processor, watcher) = (uploading.processor.clone(), uploading.watcher.clone());
    let courier = courier(config, &data, &uploading.events)?;
    let api = Api::new(rooms::api(config, &data, &encoder, &uploading, &warmer, forget, scrape.clone()));
    let _ = scrape.warmer.set(warmer.clone());
    let origin = rooms::origin(config, data, &encoder, &warmer, scrape.clone(), api.clone());
    let origin = Arc::new(Origin::new(&config.server, origin));
    let _ = playback.set(Arc::downgrade(&origin));
    let _ = scrape.counters.set(origin.counters().clone());
    let _ = scrape.origin.set(Arc::downgrade(&origin));
    Ok(Running { server, origin, api, processor, courier, watcher, warmer, encoder, pool, cache, claim })
}

fn warmer(config: &Config, data: &Data, encoder: &Encoder) -> Result<Warmer, Error> {
    let rooms = warmer::Rooms {
        catalog: data.catalog.clone(),
        cache: data.cache.clone(),
        encoder: encoder.clone(),
        disk_bytes: config.cache.disk_bytes,
        clock: Clock::System,
    };
    Ok(Warmer::start(&config.warmer, rooms)?)
}

/// Delivers news, and hears of it.
fn courier(config: &Config, data: &Data, events: &Events) -> Result<Courier, Error> {
    let rooms =
        hooks::Rooms { catalog: data.catalog.clone(), client: data.outbound.clone(), signer: data.signer.clone() };
    let courier = Courier::start(&config.webhooks, rooms)?;
    let (_, mut heard) = events.listen(None);
    let waked = courier.clone();
    tokio::spawn(async move {
        loop {
            match heard.recv().await {
                // News is in the catalog before its event is told; progress is no news.
                Ok(Event { what: What::Progress { .. }, .. }) => {}
                Ok(_) | Err(RecvError::Lagged(_)) => waked.wake(),
                Err(RecvError::Closed) => return,
            }
        }
    });
    Ok(courier)
}

/// Whoever hears of a title that is ready makes its head, too.
fn and_warm(forget: &OnChange, warmer: &Warmer) -> OnChange {
    let (forget, warmer) = (forget.clone(), warmer.clone());
    Arc::new(move |title| {
        forget(title);
        warmer.wake();
    })
}

/// The way in for films.
pub(super) struct Uploading {
    pub uploads: Uploads,
    pub resumables: Resumables,
    pub processor: Processor,
    pub events: Events,
    pub watcher: Watcher,
}

impl Uploading {
    fn start(
        config: &Config,
        data: &Data,
        pool: &Pool,
        on_change: OnChange,
        on_retire: OnRetire,
    ) -> Result<Self, Error> {
        let rooms = ingest::Rooms {
            catalog: data.catalog.clone(),
            library: data.library.clone(),
            pool: pool.clone(),
            ladder: config.ladder.clone(),
            reserve_bytes: config.uploads.reserve_bytes,
        };
        let events = Events::new();
        let tell = Tell { events: events.clone(), on_change: on_change.clone(), on_retire };
        let processor = Processor::start(&config.uploads, rooms.clone(), data.outbound.clone(), tell);
        let uploads = Uploads::new(&config.uploads, rooms.clone(), processor.clone(), events.clone());
        let resumables = Resumables::open(uploads.clone())?;
        let watcher =
            Watcher::start(&config.watch, &config.data_dir, &config.uploads, rooms, events.clone(), on_change);
        let watcher = watcher.map_err(|why| Error::Watch { folder: config.watch.folder.clone(), why })?;
        Ok(Self { uploads, resumables, processor, events, watcher })
    }
}

/// Has playback ask for a title again. Origin needs the API to be made, which needs this.
fn forget(playback: &Arc<OnceLock<Weak<Origin>>>) -> OnChange {
    let playback = playback.clone();
    Arc::new(move |title| {
        if let Some(origin) = playback.get().and_then(Weak::upgrade) {
            origin.forget(title);
        }
    })
}

/// `[worker]`, with GStreamer's registry kept in the data folder, so that plugins are read once and not at every start.
#[must_use]
pub fn worker_config(config: &Config) -> worker::Config {
    worker::Config { folder: Some(super::registry(&config.data_dir)), ..config.worker.clone() }
}

/// Opens everything in the data folder, and clears it of what a process that died has left.
fn open(config: &Config) -> Result<(Claim, Data), Error> {
    let claim = claim(&config.data_dir)?;
    let catalog = Catalog::open(&config.data_dir)?;
    must_have_key(config, &catalog)?;
    if let Err(error) = catalog.release_jobs(now_ms()) {
        tracing::warn!(%error, "jobs of a server that was killed go on once their leases have run out");
    }
    let library = Library::open(&config.data_dir)?;
    if let Err(error) = remove_unnamed(&catalog, &library) {
        tracing::warn!(%error, "sources that no title names are left to the next start");
    }
    let cache = Cache::open(&config.cache, &config.data_dir.join("cache"))?;
    let library = share_disk(config, library, &cache);
    let secret = Secret::open(&config.data_dir)?;
    let (playback, grants, signer) = (Playback::new(&secret), Grants::new(&secret), Signer::new(&secret));
    let outbound = outbound::Client::new(&config.outbound);
    Ok((claim, Data { catalog, library, cache, playback, grants, signer, outbound }))
}

/// Where the cache lies on the disk of films and catalog, it leaves them what uploads do, and gives way to films.
fn share_disk(config: &Config, library: Library, cache: &Cache) -> Library {
    let device = |folder: &Path| fs::metadata(folder).map(|metadata| metadata.dev()).ok();
    if device(&config.data_dir) != device(&config.data_dir.join("cache")) {
        return library;
    }
    cache.leave_free(config.uploads.reserve_bytes);
    let cache = cache.clone();
    library.asking(Arc::new(move |missing_bytes| cache.give_way(missing_bytes)))
}

/// Where others than this machine can ask somebody must have a key, unless anybody may do anything.
fn must_have_key(config: &Config, catalog: &Catalog) -> Result<(), Error> {
    if rooms::is_near_only(config) || config.auth == Auth::Off || Keys::new(catalog.clone()).any()? {
        return Ok(());
    }
    let address = config.server.listen;
    if address.ip().is_loopback() { Err(Error::NoKeyBehindProxy) } else { Err(Error::NoKey { address }) }
}

/// Removes sources that no title names: whoever stored them died before the title was entered.
fn remove_unnamed(catalog: &Catalog, library: &Library) -> Result<(), Error> {
    for digest in library.digests()? {
        if catalog.sources_in_use(&digest)? > 0 {
            continue;
        }
        // What was true a moment ago may not be now, unless nobody commits meanwhile.
        let frozen = library.freeze()?;
        if catalog.sources_in_use(&digest)? == 0 && library.remove(frozen, &digest)? {
            tracing::info!(%digest, "removed a source that no title names");
        }
    }
    Ok(())
}

/// Tries all templates for real and takes the best that work.
async fn choose(pool: &Pool, config: &encoder::Config) -> Result<Recipe, Error> {
    let trials = pool.trial().await?;
    for Trial { name, codec, rank, outcome, .. } in &trials {
        match outcome {
            Ok(_) => tracing::info!(template = name, codec, rank, "template works"),
            Err(why) => tracing::info!(template = name, codec, rank, why, "template cannot be used here"),
        }
    }
    let recipe = Recipe::choose(&trials, config)?;
    let chosen = recipe.templates();
    tracing::info!(video = chosen.video, audio = chosen.audio, "templates chosen");
    Ok(recipe)
}

fn encoder_rooms(pool: &Pool, data: &Data, metrics: &Metrics) -> encoder::Rooms {
    let (library, metrics) = (data.library.clone(), metrics.clone());
    let open = move |digest: &Digest| {
        let source = Source { path: library.source_path(digest), index: library.index_path(digest) };
        match source.index.try_exists() {
            Ok(true) => Ok(source),
            Ok(false) => Err(format!("source {digest} is not in the library")),
            Err(error) => Err(error.to_string()),
        }
    };
    let ended = move |ended, seconds| {
        let outcome = match ended {
            encoder::Ended::Finished => Encode::Finished,
            encoder::Ended::Failed => Encode::Failed,
            encoder::Ended::Cancelled => Encode::Cancelled,
        };
        metrics.encode_ended(outcome, seconds);
    };
    let (open, ended, bridged) = (Arc::new(open), Arc::new(ended), on_bridged(data.catalog.clone()));
    encoder::Rooms { pool: pool.clone(), cache: data.cache.clone(), open, ended, bridged }
}

/// Notes it with the title. It is damage of the source, which few have.
fn on_bridged(catalog: Catalog) -> encoder::OnBridged {
    Arc::new(move |work, rendition, segment, frames| {
        let (catalog, work, rendition) = (catalog.clone(), work.clone(), rendition.name.clone());
        tokio::task::spawn_blocking(move || {
            let noted = catalog.note_bridged((&work.digest, &work.generation), (&rendition, segment), frames);
            if let Err(error) = noted {
                tracing::warn!(%error, generation = %work.generation, "bridged frames are not noted with their title");
            }
        });
    })
}

/// Beyond a limit on file sizes (`ulimit -f`) a write shall fail like any other, and not end the process with `SIGXFSZ`.
fn survive_file_limits() {
    // The handler stays for the process's life, whoever listens.
    if let Err(error) = signal(SignalKind::from_raw(libc::SIGXFSZ)) {
        tracing::warn!(%error, "a limit on file sizes would end the server");
    }
}

/// Every connection is an open file, and the usual soft limit of 1024 is below `server.max_connections`.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit on open files cannot be raised");
    }
}
