//! Uploads that can be cut and go on: kept by name, also over restarts, until they become titles or expire.
//!
//! In memory there is one entry for each, with a lock around what is on disk. A lock belongs to a request, and a request may
//! be dead without anybody knowing, so the newest request wins: whoever has the lock is told, makes certain what it got,
//! and lets go. Only one that does not let go in time makes the newer one wait in vain.
//!
//! Runs unasked: a look at what has expired and at what could not be put together yet, once a minute; at the start, what was
//! complete or being put together goes on.

mod error;
mod going;
mod join;
mod sweep;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::time::timeout;

use super::file::blocking;
use super::replace::Successor;
use super::{About, Uploads, Wanted};
use crate::catalog::{Creation, Metadata, now_ms};
use crate::library::{Resumable, Staged};
use crate::media::{Digest, KeyId, Policy, TitleId, UploadId, Usage};

pub use error::Error;
pub use going::Going;

/// How long a newer request waits for an older one to let go. It syncs what it got, which takes a while on a slow disk.
const TAKE_OVER: Duration = Duration::from_secs(15);
/// Finished uploads of which it stays known for a while what became of them; beyond these the oldest are forgotten, because
/// each is a folder.
const FINISHED_KEPT: usize = 1000;

/// What its uploader said at the beginning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Declared {
    /// As in [`About`].
    pub title: Option<String>,
    /// As in [`About`].
    pub description: String,
    /// As in [`About`].
    pub metadata: Metadata,
    /// As in [`About`].
    #[serde(default)]
    pub policy: Policy,
    /// As in [`About`].
    pub file_name: String,
    /// The same in the uploader's own words, to be given back.
    pub verbatim: String,
    /// What it is for.
    pub purpose: Purpose,
    /// On whose quota it counts.
    #[serde(default)]
    pub owner: Option<KeyId>,
    /// The title whose source it is to become; otherwise it becomes a title of its own.
    #[serde(default)]
    pub replaces: Option<TitleId>,
    /// What a token allows, if it was begun with one.
    #[serde(default)]
    pub granted: Option<Granted>,
}

/// What an upload token allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// The title it makes.
    pub title: TitleId,
    /// Until when it is good, Unix milliseconds; what began in time may go on.
    pub until_ms: i64,
    /// Bytes the film may have.
    pub max_bytes: u64,
}

/// What an upload is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// To become a title.
    #[default]
    Title,
    /// To become a part of another upload.
    Part,
    /// To become a title that is put together of these.
    Whole(Vec<UploadId>),
}

/// Where an upload stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Its name.
    pub id: UploadId,
    /// So many bytes are on disk.
    pub offset_bytes: u64,
    /// How many there will be, if that is known.
    pub length_bytes: Option<u64>,
    /// When it will be given up, milliseconds since the Unix epoch.
    pub expires_at_ms: i64,
    /// What became of it.
    pub title: Option<TitleId>,
    /// The digest of the bytes that are on disk.
    pub digest: Option<Digest>,
    /// What was said of it.
    pub declared: Arc<Declared>,
}

/// All of them. Clones are the same.
#[derive(Clone)]
pub struct Resumables(Arc<Inner>);

struct Inner {
    uploads: Uploads,
    all: Mutex<HashMap<UploadId, Arc<Upload>>>,
    /// Those that another version of matinee may be able to read, and when they expire, Unix milliseconds.
    unread: Mutex<Vec<(UploadId, i64)>>,
    /// Held by who enters one that is put together, so that the same is not entered twice.
    joins: tokio::sync::Mutex<()>,
}

struct Upload {
    declared: Arc<Declared>,
    /// Counts the requests that wanted to have it.
    newest: watch::Sender<u64>,
    held: Arc<tokio::sync::Mutex<Resumable>>,
    /// As it was when somebody last let go of it.
    status: Mutex<Status>,
    /// Whether its sender was told that it will be put together.
    is_promised: AtomicBool,
}

/// An upload that this request has, until a newer one wants it.
struct Hold {
    upload: Arc<Upload>,
    held: OwnedMutexGuard<Resumable>,
    turn: Turn,
}

/// Tells whether a newer request wants the same upload.
#[derive(Clone)]
struct Turn {
    mine: u64,
    newest: watch::Receiver<u64>,
}

impl Resumables {
    /// Finds what is in the library. Blocks; needs a runtime around it.
    ///
    /// # Errors
    /// [`crate::library::Error`].
    pub fn open(uploads: Uploads) -> Result<Self, crate::library::Error> {
        let library = &uploads.0.rooms.library;
        let (mut all, mut unread) = (HashMap::new(), Vec::new());
        for id in library.resumables()? {
            let (resumable, about) = match library.open_resumable(&id) {
                Ok(opened) => opened,
                Err(error @ crate::library::Error::Damaged { .. }) => {
                    tracing::warn!(upload = %id, %error, "an upload that is damaged is removed");
                    if let Err(error) = library.remove_resumable(&id) {
                        tracing::warn!(upload = %id, %error, "it is left to the next start");
                    }
                    continue;
                }
                Err(error) => {
                    tracing::warn!(upload = %id, %error, "an upload that cannot be read now is left to the next start");
                    continue;
                }
            };
            match serde_json::from_slice(&about) {
                Ok(declared) => {
                    let upload = Upload::new(id.clone(), declared, resumable, &uploads);
                    upload.is_promised.store(true, Ordering::Relaxed);
                    all.insert(id, Arc::new(upload));
                }
                Err(error) => {
                    tracing::warn!(upload = %id, %error, "an upload of another version of matinee is left to expire");
                    unread.push((id, resumable.mark().touched_at_ms.saturating_add(uploads.config().expire_ms())));
                }
            }
        }
        let (all, unread, joins) = (Mutex::new(all), Mutex::new(unread), tokio::sync::Mutex::default());
        let resumables = Self(Arc::new(Inner { uploads, all, unread, joins }));
        resumables.catch_up();
        tokio::spawn(sweep::sweep(Arc::downgrade(&resumables.0)));
        Ok(resumables)
    }

    /// The limits.
    #[must_use]
    pub fn config(&self) -> &super::Config {
        self.0.uploads.config()
    }

    /// Begins one.
    ///
    /// # Errors
    /// [`Error::TooMany`], [`Error::Film`] if it is too large or the disk is full.
    pub async fn create(&self, declared: Declared, length_bytes: Option<u64>) -> Result<Status, Error> {
        let (uploads, config) = (&self.0.uploads, self.config());
        let limit_bytes = declared.limited(config.max_bytes);
        if length_bytes.is_some_and(|length| length > limit_bytes) {
            return Err(super::Error::TooLarge { limit_bytes }.into());
        }
        let owner = declared.owner.as_ref();
        // What is put together of others was counted with them.
        let bytes = if matches!(declared.purpose, Purpose::Whole(_)) { None } else { length_bytes };
        let titles = u64::from(declared.purpose != Purpose::Part && declared.replaces.is_none());
        let wanted = Wanted { bytes, titles, uploads: 1, replaced_bytes: self.replaced_by(&declared).await? };
        let begun = declared.granted.as_ref().map_or_else(Vec::new, |granted| self.begun_by(granted));
        let admission = uploads.admit(owner, || self.open_of(owner, &begun), wanted).await?;
        let unfinished = self.all().values().filter(|upload| !upload.is_finished()).count();
        if unfinished >= config.max_open + begun.len() {
            return Err(Error::TooMany { limit: config.max_open });
        }
        let mut bytes = [0; 16];
        let named = getrandom::fill(&mut bytes);
        named.map_err(|error| super::Error::NoName(std::io::Error::other(error.to_string())))?;
        let id = UploadId::from_random(bytes);
        let about = serde_json::to_vec(&declared).map_err(|error| defect(&error))?;
        let (resumables, reserve) = (self.clone(), config.reserve_bytes);
        // It is known as soon as it is there, also if nobody waits for that any more.
        let created = blocking(move || {
            let uploads = &resumables.0.uploads;
            let library = &uploads.0.rooms.library;
            library.room_for(length_bytes.unwrap_or(0), reserve)?;
            let held = library.create_resumable(&id, &about, length_bytes, now_ms())?;
            let upload = Upload::new(id.clone(), declared, held, uploads);
            let status = upload.status();
            resumables.all().insert(id, Arc::new(upload));
            Ok(status)
        });
        let status = created.await?;
        // It is open now, and counts as that.
        drop(admission);
        for begun in begun {
            match self.remove(&begun).await {
                Ok(()) | Err(Error::Unknown | Error::Expired) => {}
                Err(error) => {
                    tracing::warn!(upload = %begun, %error, "another took its place, and it is left to expire")
                }
            }
        }
        Ok(status)
    }

    /// Bytes that go for it, if they count on the same quota.
    async fn replaced_by(&self, declared: &Declared) -> Result<u64, super::Error> {
        let (Some(title), owner @ Some(_)) = (declared.replaces.clone(), declared.owner.clone()) else { return Ok(0) };
        let catalog = self.0.uploads.0.rooms.catalog.clone();
        let counted = blocking(move || Ok(catalog.counted(&title)?)).await?;
        Ok(counted.filter(|counted| counted.owner == owner).map_or(0, |counted| counted.bytes))
    }

    /// What a token began and another upload is to take the place of: it makes one title, and its client did not hear where
    /// the one before is.
    fn begun_by(&self, granted: &Granted) -> Vec<UploadId> {
        let of = |upload: &&Arc<Upload>| upload.declared.granted.as_ref().is_some_and(|it| it.title == granted.title);
        let all = self.all();
        let begun = all.values().filter(of).map(|upload| upload.status());
        begun.filter(|status| status.title.is_none()).map(|status| status.id).collect()
    }

    /// What a key has open, all but these.
    #[must_use]
    pub fn open_of(&self, owner: Option<&KeyId>, except: &[UploadId]) -> Usage {
        let mut open = Usage::default();
        for upload in self.all().values().filter(|upload| owner.is_some() && upload.declared.owner.as_ref() == owner) {
            let status = upload.status();
            if status.title.is_some() || except.contains(&status.id) {
                continue;
            }
            let announced = status.length_bytes.unwrap_or_default();
            if !matches!(status.declared.purpose, Purpose::Whole(_)) {
                open.bytes = open.bytes.saturating_add(announced.max(status.offset_bytes));
            }
            open.uploads += u64::from(status.length_bytes != Some(status.offset_bytes));
        }
        open
    }

    /// Where one stands, without disturbing it.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Expired`].
    pub fn look(&self, id: &UploadId) -> Result<Status, Error> {
        Ok(self.find(id)?.status())
    }

    /// Where one stands so that it can go on from there: whoever is at it is cut off, and what it got is made certain.
    /// One that is complete but could not become a title is tried again.
    ///
    /// # Errors
    /// [`Error::Locked`] if whoever is at it does not let go; else why it could not become a title.
    pub async fn settle(&self, id: &UploadId) -> Result<Status, Error> {
        let upload = self.find(id)?;
        if matches!(upload.declared.purpose, Purpose::Whole(_)) || upload.status().title.is_some() {
            return Ok(upload.status());
        }
        let hold = self.take(&upload).await?;
        self.conclude(hold).await
    }

    /// Removes one, also while it is received. What became a title stays one.
    ///
    /// # Errors
    /// [`Error::Locked`] if whoever is at it does not let go.
    pub async fn remove(&self, id: &UploadId) -> Result<(), Error> {
        let upload = self.find(id)?;
        let mut hold = self.take(&upload).await?;
        self.all().remove(id);
        blocking(move || Ok(hold.held.remove()?)).await?;
        Ok(())
    }

    /// Has an upload to itself, as soon as whoever has it lets go, who is told.
    async fn take(&self, upload: &Arc<Upload>) -> Result<Hold, Error> {
        let mut mine = 0;
        upload.newest.send_modify(|newest| {
            *newest += 1;
            mine = *newest;
        });
        let turn = Turn { mine, newest: upload.newest.subscribe() };
        let locked = timeout(TAKE_OVER, upload.held.clone().lock_owned()).await;
        self.hold(upload, locked.map_err(|_| Error::Locked)?, turn)
    }

    fn hold(&self, upload: &Arc<Upload>, held: OwnedMutexGuard<Resumable>, turn: Turn) -> Result<Hold, Error> {
        if turn.is_over() {
            return Err(Error::Superseded);
        }
        // Whoever had it may have removed it.
        let id = upload.status().id;
        if !self.all().get(&id).is_some_and(|known| Arc::ptr_eq(known, upload)) {
            return Err(Error::Unknown);
        }
        Ok(Hold { upload: upload.clone(), held, turn })
    }

    /// Ends a hold; of an upload that is complete it makes a title first.
    async fn conclude(&self, hold: Hold) -> Result<Status, Error> {
        hold.upload.note(&hold.held, &self.0.uploads);
        let wanted = hold.upload.declared.purpose != Purpose::Part;
        if wanted && hold.held.is_complete() && hold.held.mark().title.is_none() {
            let upload = hold.upload.clone();
            let (held, staged) = blocking(move || {
                let staged = hold.held.stage()?;
                Ok((hold.held, staged))
            })
            .await?;
            let id = self.bring(staged, &upload).await?;
            let (catalog, creation) =
                (self.0.uploads.0.rooms.catalog.clone(), Creation::of_upload(&upload.status().id));
            let finished = blocking(move || {
                let mut held = held;
                held.finish(id, now_ms())?;
                // From here on the mark says so, and that is looked at first.
                if let Err(error) = catalog.forget_creation(&creation) {
                    tracing::warn!(%error, "the creation of an upload is left to be forgotten in time");
                }
                Ok(held)
            });
            let held = finished.await?;
            upload.note(&held, &self.0.uploads);
            drop(held);
            self.forget_finished(FINISHED_KEPT).await;
            return Ok(upload.status());
        }
        Ok(hold.upload.status())
    }

    /// Makes of what was uploaded what it is for.
    async fn bring(&self, staged: Staged, upload: &Upload) -> Result<TitleId, Error> {
        let Some(title) = upload.declared.replaces.clone() else {
            return Ok(self.0.uploads.accept(staged, upload.about()).await?);
        };
        let file_name = upload.declared.file_name.clone();
        // After a crash between this and the mark it is said again, and is the source already, or waits to be.
        self.0.uploads.replace(staged, Successor { title: title.clone(), expected: None, file_name }).await?;
        Ok(title)
    }

    fn find(&self, id: &UploadId) -> Result<Arc<Upload>, Error> {
        let upload = self.all().get(id).cloned().ok_or(Error::Unknown)?;
        if upload.status().expires_at_ms <= now_ms() && upload.held.try_lock().is_ok() {
            return Err(Error::Expired);
        }
        Ok(upload)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<UploadId, Arc<Upload>>> {
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upload {
    fn new(id: UploadId, declared: Declared, resumable: Resumable, uploads: &Uploads) -> Self {
        let declared = Arc::new(declared);
        let status = status(id, &declared, &resumable, uploads);
        let held = Arc::new(tokio::sync::Mutex::new(resumable));
        let (newest, status) = (watch::Sender::new(0), Mutex::new(status));
        Self { declared, newest, held, status, is_promised: AtomicBool::new(false) }
    }

    /// The turn of whoever asked for it last.
    fn turn(&self) -> Turn {
        let newest = self.newest.subscribe();
        let mine = *newest.borrow();
        Turn { mine, newest }
    }

    fn status(&self) -> Status {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// True if it became a title.
    fn is_finished(&self) -> bool {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).title.is_some()
    }

    fn note(&self, held: &Resumable, uploads: &Uploads) {
        let mut known = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        *known = status(known.id.clone(), &self.declared, held, uploads);
    }

    fn about(&self) -> About {
        let Declared { title, description, metadata, policy, file_name, owner, granted, .. } = (*self.declared).clone();
        let reserved = granted.map(|granted| (granted.title, granted.until_ms));
        let creation = Some(Creation::of_upload(&self.status().id));
        About { title, description, metadata, file_name, policy, reserved, creation, owner }
    }
}

impl Declared {
    /// Bytes it may have, where nothing may have more than `max_bytes`.
    fn limited(&self, max_bytes: u64) -> u64 {
        self.granted.as_ref().map_or(max_bytes, |granted| granted.max_bytes.min(max_bytes))
    }
}

fn status(id: UploadId, declared: &Arc<Declared>, held: &Resumable, uploads: &Uploads) -> Status {
    let mark = held.mark();
    Status {
        id,
        offset_bytes: mark.offset_bytes,
        length_bytes: mark.length_bytes,
        expires_at_ms: mark.touched_at_ms.saturating_add(uploads.config().expire_ms()),
        title: mark.title.clone(),
        digest: held.digest(),
        declared: declared.clone(),
    }
}

impl Turn {
    fn is_over(&self) -> bool {
        *self.newest.borrow() != self.mine
    }

    /// Returns when it is.
    async fn over(&mut self) {
        let mine = self.mine;
        if self.newest.wait_for(|newest| *newest != mine).await.is_err() {
            // The upload holds the other end, and whoever waits here holds the upload.
            std::future::pending::<()>().await;
        }
    }
}

fn defect(why: &dyn fmt::Display) -> super::Error {
    super::Error::Defect { path: "upload".into(), why: why.to_string() }
}

impl fmt::Debug for Resumables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resumables").field("open", &self.all().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
