//! A staged source becomes a title in state `processing`: stored, entered with its job, told.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use super::events::{Events, What};
use super::file::blocking;
use super::process::Processor;
use super::{Config, Error, Rooms, name};
use crate::catalog::{Arrival, Creation, Known, Metadata, Owner, Place, State, new_id, new_job_id, now_ms};
use crate::library::Staged;
use crate::media::{JobId, KeyId, Policy, Refusal, RefusalCode, TitleId, Usage};

/// What an uploader says of a film. Names may be anything; they are made harmless here.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// What the title is called; without it, as its file is.
    pub title: Option<String>,
    /// A text for people.
    pub description: String,
    /// Fields for programs.
    pub metadata: Metadata,
    /// What the file is called.
    pub file_name: String,
    /// Who may play it.
    pub policy: Policy,
    /// The title that a token names, and until when the token is good, Unix milliseconds; without one it gets a name of
    /// its own.
    pub reserved: Option<(TitleId, i64)>,
    /// What the uploader calls this creation, if it may try again.
    pub creation: Option<Creation>,
    /// On whose quota it counts.
    pub owner: Option<KeyId>,
}

/// The way in for films that come over the network. Clones are the same one.
#[derive(Clone)]
pub struct Uploads(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub rooms: Rooms,
    pub config: Config,
    pub places: Arc<Semaphore>,
    /// What keys have under way in this moment, without resumable uploads.
    under_way: Mutex<HashMap<KeyId, Usage>>,
    pub processor: Processor,
    pub events: Events,
}

impl Uploads {
    /// Nothing is received yet.
    #[must_use]
    pub fn new(config: &Config, rooms: Rooms, processor: Processor, events: Events) -> Self {
        let places = Arc::new(Semaphore::new(config.max_concurrent));
        let under_way = Mutex::default();
        Self(Arc::new(Inner { rooms, config: config.clone(), places, under_way, processor, events }))
    }

    pub(super) fn under_way(&self) -> MutexGuard<'_, HashMap<KeyId, Usage>> {
        self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The limits.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The title that a creation made before.
    ///
    /// # Errors
    /// [`Error::KeyReused`], [`Error::Spent`], [`Error::Quota`], [`Error::TooMany`]: why there is none and will be none.
    pub fn made(&self, known: Known) -> Result<TitleId, Error> {
        self.0.made(known)
    }

    /// Makes a title of a staged source. When it returns, the title survives whatever happens, and its processing has
    /// been queued. The id is another title's if this creation had been made before.
    ///
    /// # Errors
    /// [`Error::Refused`] if it is empty, [`Error::KeyReused`], [`Error::Library`], [`Error::Catalog`]. Nothing of it
    /// is left then.
    pub async fn accept(&self, staged: Staged, about: About) -> Result<TitleId, Error> {
        let this = self.clone();
        // From here on it runs to its end, also if nobody waits for it any more: storing and entering belong together.
        blocking(move || {
            let owner = this.owner(about.owner.clone())?;
            this.0.enter(staged, about, owner)
        })
        .await
    }
}

impl Inner {
    fn enter(&self, staged: Staged, about: About, owner: Option<Owner>) -> Result<TitleId, Error> {
        if staged.size_bytes() == 0 {
            let refusal = Refusal { code: RefusalCode::Empty, message: "the file is empty".to_owned() };
            return Err(Error::Refused { path: name::file(&about.file_name).into(), refusal });
        }
        let (source, size_bytes) = (staged.digest().clone(), staged.size_bytes());
        let (arrival, job) = arrival(about, owner, Place::Here { source: source.clone(), size_bytes })?;
        let stored = staged.commit_uninspected()?;
        let entered = self.insert(&arrival, &job);
        // It holds the library back from being frozen, and is not needed once the catalog names the source.
        drop(stored);
        let (id, is_new) = entered.inspect_err(|_| self.take_back(&source))?;
        if is_new {
            tracing::info!(title = %id, %source, size_bytes, "received");
            self.announce(&id, State::Processing);
        } else {
            self.take_back(&source);
        }
        Ok(id)
    }

    /// Enters an arrival. The title, and whether it is a new one: the same creation may have been made before.
    pub fn insert(&self, arrival: &Arrival, job: &JobId) -> Result<(TitleId, bool), Error> {
        match self.rooms.catalog.insert_arrival(arrival, job)? {
            None => Ok((arrival.id.clone(), true)),
            Some(known) => Ok((self.made(known)?, false)),
        }
    }

    fn made(&self, known: Known) -> Result<TitleId, Error> {
        match known {
            Known::Made(id) => Ok(id),
            Known::Spent => Err(Error::Spent),
            Known::Other => Err(Error::KeyReused),
            Known::Over(exceeded) => Err(Error::Quota(exceeded)),
            Known::TooMany => Err(Error::TooMany { limit: self.config.max_open }),
        }
    }

    /// Tells of a new title, and that there is a job.
    pub fn announce(&self, id: &TitleId, state: State) {
        self.events.tell(id, What::State { state, error: None });
        self.processor.wake();
    }
}

/// A title to be, and the job that makes it one.
pub(super) fn arrival(about: About, owner: Option<Owner>, bytes: Place) -> Result<(Arrival, JobId), Error> {
    let file_name = name::file(&about.file_name);
    let (reserved, token_until_ms) = about.reserved.unzip();
    let arrival = Arrival {
        id: reserved.map_or_else(new_id, Ok).map_err(Error::NoName)?,
        name: about.title.map_or_else(|| name::title(&file_name), |title| name::line(&title)),
        description: about.description,
        metadata: about.metadata,
        created_at_ms: now_ms(),
        bytes,
        file_name,
        policy: about.policy,
        token_until_ms,
        creation: about.creation,
        owner,
    };
    Ok((arrival, new_job_id().map_err(Error::NoName)?))
}

impl fmt::Debug for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uploads").field("config", &self.0.config).finish_non_exhaustive()
    }
}
