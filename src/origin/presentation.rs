//! Snapshots of titles. A request reads one from memory; the catalog is asked when nobody asked for the title lately,
//! and a few seconds later again behind the viewer's back, so that a title that another process ingested appears and
//! one it deleted disappears.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::manifest::{dash, hls, hls_ts, pictures};
use crate::media::{Digest, Generation, Plan, Policy, Program, RenditionName, Thumbnails, TitleId};

use super::error::Problem;
use super::playlist::Playlist;

/// How long the catalog's word is believed.
const FRESHNESS: Freshness =
    Freshness { ready: Duration::from_secs(3), stale: Duration::from_secs(30), unready: Duration::from_secs(1) };
/// Catalog look-ups at once: they block a thread each, and a flood of unknown ids must not take them all.
const LOOKUPS: usize = 4;
/// Longest wait for one of those, then 503.
const LOOKUP_WAIT: Duration = Duration::from_secs(5);
/// A hint that a title will be played is good for this long.
const HINT_PAUSE: Duration = Duration::from_secs(1);
/// What an entry weighs besides its plan and playlists, bytes.
const ENTRY_BYTES: u32 = 512;
/// What a segment weighs in memory: a cut, and in either playlist a line of text, and that line compressed.
const SEGMENT_BYTES: u32 = 112;

/// Asks the catalog for a title; blocks. The error is for the log.
pub type Find = Arc<dyn Fn(&TitleId) -> Result<Option<Title>, String> + Send + Sync>;

/// Asks the catalog for a number that is another one once anything it says of a title is; `None` if there is no such
/// title. Blocks, but for a fraction of [`Find`]'s time. The error is for the log.
pub type Mark = Arc<dyn Fn(&TitleId) -> Result<Option<u64>, String> + Send + Sync>;

/// What the catalog says of a title.
#[derive(Clone, Debug)]
pub struct Title {
    /// Its id.
    pub id: TitleId,
    /// Its name, for people.
    pub name: String,
    /// Whether it can be played.
    pub found: Found,
}

/// Whether a title can be played.
#[derive(Clone, Debug)]
pub enum Found {
    /// It cannot be played now.
    Unready {
        /// Why.
        state: State,
        /// Why, if it failed.
        failure: Option<Failure>,
    },
    /// It can be played.
    Ready(Facts),
}

/// Why a title failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Stable word for programs.
    pub code: String,
}

/// State of a title that is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its bytes are coming.
    Receiving,
    /// It is being looked at.
    Processing,
    /// It was refused.
    Failed,
}

/// All that playback needs to know of a title.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Its id.
    pub id: TitleId,
    /// Its source file.
    pub digest: Digest,
    /// The recipe its bytes are made by now.
    pub generation: Generation,
    /// Timeline and ladder.
    pub plan: Arc<Plan>,
    /// Who may play it.
    pub policy: Policy,
}

/// An immutable snapshot of a ready title, with its playlists once somebody asked for them.
#[derive(Debug)]
pub struct Presentation {
    facts: Facts,
    /// Its id, for CDNs.
    tag: HeaderValue,
    master: OnceLock<Playlist>,
    master_ts: OnceLock<Playlist>,
    manifest: OnceLock<Playlist>,
    thumbnails: OnceLock<Playlist>,
    images: OnceLock<Playlist>,
    /// In the order of the plan.
    media: Box<[OnceLock<Playlist>]>,
    /// In the order of the plan; only some are ever asked for.
    iframes: Box<[OnceLock<Playlist>]>,
    /// In the order of the plan.
    media_ts: Box<[OnceLock<Playlist>]>,
    /// When it was last said that the title will be played.
    hinted: Mutex<Option<Instant>>,
    /// Its file has no cover art: somebody looked.
    coverless: AtomicBool,
}

/// The snapshots in memory.
pub(super) struct Presentations {
    find: Find,
    mark: Mark,
    freshness: Freshness,
    slots: moka::sync::Cache<TitleId, Slot>,
    lookups: Arc<Semaphore>,
    /// How often something was forgotten: a look-up that was under way then may have an old answer.
    forgotten: AtomicU64,
}

#[derive(Clone, Copy)]
struct Freshness {
    /// Age past which a ready title's snapshot is asked for again in the background ...
    ready: Duration,
    /// ... and past which it is not served before the catalog has been asked: nobody looked for long.
    stale: Duration,
    /// Age to which "not there" and "not ready" are believed: bounds what a client that asks in a loop costs.
    unready: Duration,
}

#[derive(Clone)]
enum Known {
    Absent,
    Unready(State, Option<Arc<Failure>>),
    Ready(Arc<Presentation>),
}

#[derive(Clone)]
struct Slot {
    at: Instant,
    known: Known,
    /// The catalog's mark of what is known, taken before it was read.
    mark: Option<u64>,
    /// True once somebody has gone to ask again.
    asking: Arc<AtomicBool>,
}

impl State {
    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Receiving => "receiving",
            Self::Processing => "processing",
            Self::Failed => "failed",
        }
    }
}

impl Presentation {
    /// A snapshot without playlists yet.
    #[must_use]
    pub fn new(facts: Facts) -> Self {
        let empty = || facts.plan.renditions.iter().map(|_| OnceLock::new()).collect();
        let (media, iframes, media_ts) = (empty(), empty(), empty());
        let (master, master_ts, manifest, thumbnails, images) = Default::default();
        let tag = HeaderValue::try_from(facts.id.as_str()).unwrap_or(HeaderValue::from_static("-"));
        let (hinted, coverless) = Default::default();
        Self {
            facts,
            tag,
            master,
            master_ts,
            manifest,
            thumbnails,
            images,
            media,
            iframes,
            media_ts,
            hinted,
            coverless,
        }
    }

    /// What is known of the title.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Its id as a header's value.
    pub(super) fn tag(&self) -> &HeaderValue {
        &self.tag
    }

    /// Whether it is known that its file has no cover art.
    pub(super) fn is_coverless(&self) -> bool {
        self.coverless.load(Ordering::Relaxed)
    }

    /// Somebody looked for cover art, and there is none.
    pub(super) fn has_no_cover(&self) {
        self.coverless.store(true, Ordering::Relaxed);
    }

    /// True once in a second, however many viewers come: what follows from a hint then has been done.
    #[must_use]
    pub fn is_hint_due(&self) -> bool {
        let mut hinted = self.hinted.lock().unwrap_or_else(PoisonError::into_inner);
        let due = hinted.is_none_or(|at| at.elapsed() >= HINT_PAUSE);
        if due {
            *hinted = Some(Instant::now());
        }
        due
    }

    /// The multivariant playlist.
    pub(super) fn master(&self) -> &Playlist {
        self.master.get_or_init(|| Playlist::hls(hls::master(&self.facts.plan, &self.facts.generation)))
    }

    /// The DASH manifest.
    pub(super) fn manifest(&self) -> &Playlist {
        self.manifest.get_or_init(|| Playlist::dash(dash::manifest(&self.facts.plan, &self.facts.generation)))
    }

    /// The playlist of a rendition, by its index in the plan.
    pub(super) fn media(&self, rendition: usize) -> &Playlist {
        let plan = &self.facts.plan;
        self.media[rendition]
            .get_or_init(|| Playlist::hls(hls::media(&plan.renditions[rendition], plan.target_duration_seconds())))
    }

    /// The I-frame playlist of a rendition, by its index in the plan.
    pub(super) fn iframes(&self, rendition: usize) -> &Playlist {
        let plan = &self.facts.plan;
        self.iframes[rendition]
            .get_or_init(|| Playlist::hls(hls::iframes(&plan.renditions[rendition], plan.target_duration_seconds())))
    }

    /// The multivariant playlist of transport streams.
    pub(super) fn master_ts(&self) -> &Playlist {
        self.master_ts.get_or_init(|| Playlist::hls(hls_ts::master(&self.facts.plan, &self.facts.generation)))
    }

    /// The playlist of a rendition's transport stream, by its index in the plan.
    pub(super) fn media_ts(&self, rendition: usize) -> Result<&Playlist, Problem> {
        let program = self.program(rendition)?;
        Ok(self.media_ts[rendition].get_or_init(|| Playlist::hls(hls_ts::media(&self.facts.plan, &program))))
    }

    /// What the transport stream of a rendition carries. Not every codec has one.
    pub(super) fn program(&self, rendition: usize) -> Result<Program<'_>, Problem> {
        let plan = &self.facts.plan;
        Program::of(plan, &plan.renditions[rendition]).ok_or(Problem::NoRendition)
    }

    /// Where the thumbnails are, as WebVTT.
    pub(super) fn thumbnails(&self, all: &Thumbnails) -> &Playlist {
        self.thumbnails.get_or_init(|| Playlist::vtt(pictures::vtt(all, &self.facts.generation)))
    }

    /// Where the thumbnails are, as an HLS image playlist.
    pub(super) fn images(&self, all: &Thumbnails) -> &Playlist {
        self.images.get_or_init(|| Playlist::hls(pictures::images(all)))
    }

    /// Bytes of an older recipe are not made any more.
    pub(super) fn is_of(&self, generation: &Generation) -> Result<(), Problem> {
        if *generation == self.facts.generation { Ok(()) } else { Err(Problem::NoGeneration) }
    }

    /// The index in the plan of a rendition of this generation.
    pub(super) fn rendition(&self, generation: &Generation, name: &RenditionName) -> Result<usize, Problem> {
        self.is_of(generation)?;
        self.facts.plan.renditions.iter().position(|r| r.name == *name).ok_or(Problem::NoRendition)
    }

    fn weight(&self) -> u32 {
        let cuts: u32 = self.facts.plan.renditions.iter().map(|r| r.grid.segments()).fold(0, u32::saturating_add);
        cuts.saturating_mul(SEGMENT_BYTES).saturating_add(ENTRY_BYTES)
    }
}

impl Presentations {
    pub(super) fn new(find: Find, mark: Mark, max_bytes: u64) -> Self {
        let weigh = |_: &TitleId, slot: &Slot| match &slot.known {
            Known::Ready(presentation) => presentation.weight(),
            Known::Absent | Known::Unready(..) => ENTRY_BYTES,
        };
        let slots = moka::sync::Cache::builder().max_capacity(max_bytes).weigher(weigh).build();
        Self {
            find,
            mark,
            freshness: FRESHNESS,
            slots,
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
            forgotten: AtomicU64::new(0),
        }
    }

    /// The snapshot of a title, from memory if it is there; then nothing waits.
    pub(super) async fn get(self: &Arc<Self>, id: &TitleId) -> Result<Arc<Presentation>, Problem> {
        if let Some(slot) = self.slots.get(id) {
            let (age, fresh) = (slot.at.elapsed(), self.freshness);
            match slot.known {
                Known::Ready(ready) if age < fresh.ready => return Ok(ready),
                Known::Ready(ready) if age < fresh.stale => {
                    if !slot.asking.swap(true, Ordering::Relaxed) {
                        tokio::spawn(self.clone().again(id.clone(), slot.at));
                    }
                    return Ok(ready);
                }
                Known::Absent | Known::Unready(..) if age < fresh.unready => return slot.known.answer(),
                Known::Absent | Known::Unready(..) | Known::Ready(_) => {}
            }
        }
        Box::pin(self.ask(id, Instant::now())).await?.answer()
    }

    /// Forgets a title, because it was changed or deleted by this process.
    pub(super) fn forget(&self, id: &TitleId) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.slots.invalidate(id);
    }

    async fn again(self: Arc<Self>, id: TitleId, older_than: Instant) {
        if let Err(problem) = self.ask(&id, older_than + Duration::from_nanos(1)).await {
            // The snapshot stays until it is too old, and whoever comes then asks, and says so.
            tracing::warn!(title = %id, ?problem, "the snapshot of a title could not be renewed");
            if let Some(slot) = self.slots.get(&id) {
                slot.asking.store(false, Ordering::Relaxed);
            }
        }
    }

    /// Asks the catalog, unless somebody else has since `wanted`.
    async fn ask(&self, id: &TitleId, wanted: Instant) -> Result<Known, Problem> {
        let permit = tokio::time::timeout(LOOKUP_WAIT, self.lookups.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = permit else { return Err(Problem::Late { waited_seconds: LOOKUP_WAIT.as_secs() }) };
        let old = self.slots.get(id);
        if let Some(slot) = old.as_ref().filter(|slot| slot.at >= wanted) {
            return Ok(slot.known.clone());
        }
        let forgotten = self.forgotten.load(Ordering::SeqCst);
        let (find, mark, key) = (self.find.clone(), self.mark.clone(), id.clone());
        let (ready, marked) = match &old {
            Some(Slot { known: known @ Known::Ready(_), mark, .. }) => (Some(known.clone()), *mark),
            _ => (None, None),
        };
        let task = tokio::task::spawn_blocking(move || {
            // Held until the catalog has answered, also when nobody waits for it any more.
            let _permit = permit;
            let at = Instant::now();
            let mark = mark(&key)?;
            // The plan of a long film takes milliseconds to read, and it hardly ever changes.
            let same = mark.is_some() && mark == marked;
            Ok((at, mark, if same { None } else { Some(find(&key)?) }))
        });
        let (at, mark, found) = match task.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(inner)) => return Err(Problem::Catalog { inner }),
            Err(panic) => return Err(Problem::Catalog { inner: panic.to_string() }),
        };
        let known = match (found, ready) {
            (None, Some(ready)) => ready,
            (found, _) => Self::known(found.flatten(), old),
        };
        self.slots.insert(id.clone(), Slot { at, known: known.clone(), mark, asking: Arc::default() });
        if self.forgotten.load(Ordering::SeqCst) != forgotten {
            self.slots.invalidate(id);
        }
        Ok(known)
    }

    /// What the catalog's word comes to.
    fn known(found: Option<Title>, old: Option<Slot>) -> Known {
        match found.map(|title| title.found) {
            None => Known::Absent,
            Some(Found::Unready { state, failure }) => Known::Unready(state, failure.map(Arc::new)),
            // The playlists of an unchanged title stay.
            Some(Found::Ready(facts)) => match old.map(|slot| slot.known) {
                Some(Known::Ready(ready)) if ready.facts == facts => Known::Ready(ready),
                _ => Known::Ready(Arc::new(Presentation::new(facts))),
            },
        }
    }
}

impl Known {
    fn answer(self) -> Result<Arc<Presentation>, Problem> {
        match self {
            Self::Absent => Err(Problem::NoTitle),
            Self::Unready(state, failure) => Err(Problem::NotReady { state, failure: failure.as_deref().cloned() }),
            Self::Ready(presentation) => Ok(presentation),
        }
    }
}

impl fmt::Debug for Presentations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presentations").field("entries", &self.slots.entry_count()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
