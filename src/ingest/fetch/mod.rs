//! A film that is fetched by its URL: a job like any other, whose title is in state `receiving` until its bytes are here.
//!
//! What came is kept over broken connections and restarts, and the rest is asked for, if the server that sends it names the
//! version of its bytes; otherwise the next go begins anew. A playlist or a web page is stored like any film and refused
//! when it is inspected: what stands in it is never followed.

mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use super::accept::{Uploads, arrival};
use super::events::What;
use super::file::blocking;
use super::process::{Attempt, Inner};
use super::{About, Admission, Error, discard};
use crate::catalog::{Entered, Fetched, Job, Outcome, Owner, Place, State, new_job_id, now_ms};
use crate::library::Block;
use crate::media::{Refusal, RefusalCode, TitleId};
use crate::outbound::{self, Answer, Target};

pub(super) use store::Store;

/// A connection that brought so much before it broke was worth it: the next one is no new attempt.
const WORTH_BYTES: u64 = 1 << 20;
/// Connections of one attempt: one that breaks again and again ends some time.
const MAX_GOES: u32 = 100;
/// Pause before the rest is asked for.
const PAUSE: Duration = Duration::from_secs(1);

/// The detail of a job that fetches.
#[derive(Debug, Serialize, Deserialize)]
struct Wanted {
    url: String,
    max_bytes: u64,
}

impl Uploads {
    /// Enters a title whose film is to be fetched, and its job. The id is another title's if this creation had been made
    /// before.
    ///
    /// # Errors
    /// [`Error::TooMany`], [`Error::KeyReused`], [`Error::Spent`], [`Error::Quota`], [`Error::Library`] if the disk is full,
    /// [`Error::Catalog`].
    pub async fn fetch(
        &self,
        target: &Target,
        max_bytes: u64,
        admission: &Admission,
        mut about: About,
    ) -> Result<TitleId, Error> {
        let (this, inner) = (self.clone(), self.0.clone());
        // How much its key may have then is looked at once more when it is here.
        let max_bytes = admission.bound().map_or(max_bytes, |(left_bytes, _)| max_bytes.min(left_bytes));
        if about.file_name.is_empty() {
            about.file_name = target.file_name();
        }
        let wanted = Wanted { url: target.to_string(), max_bytes: max_bytes.min(inner.config.max_bytes) };
        let entered = blocking(move || {
            inner.rooms.library.room_for(0, inner.config.reserve_bytes)?;
            let detail = serde_json::to_string(&wanted).unwrap_or_default();
            let owner = this.owner(about.owner.clone())?;
            let (arrival, job) = arrival(about, owner, Place::Elsewhere { detail, limit: inner.config.max_open })?;
            let (id, is_new) = inner.insert(&arrival, &job)?;
            if is_new {
                tracing::info!(title = %id, %job, "to be fetched");
                inner.announce(&id, State::Receiving);
            }
            Ok(id)
        });
        entered.await
    }
}

impl Inner {
    /// One attempt: as many connections as are worth it.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        job: &Job,
        store: &Store,
        progress: &AtomicU16,
    ) -> Result<Attempt, Error> {
        let wanted: Wanted = serde_json::from_str(&job.detail)
            .map_err(|why| Error::Defect { path: "fetch".into(), why: why.to_string() })?;
        // The configuration may have changed since it was entered.
        let target = self.client.target(&wanted.url)?;
        let left = Duration::from_millis((self.overdue_at_ms(job) - now_ms()).max(0).unsigned_abs());
        let mut closing = self.closing.subscribe();
        let closed = async move {
            let _ = closing.wait_for(|closing| *closing).await;
        };
        store.open().await?;
        let fetched = tokio::select! {
            fetched = timeout(left, self.bring(job, &target, wanted.max_bytes, store, progress)) => {
                Some(fetched.unwrap_or(Err(Error::Overdue { hours: self.config.fetch_hours })))
            }
            () = closed => None,
        };
        let Some(fetched) = fetched else {
            store.settle().await?;
            return Ok(Attempt::Over(Outcome::Released));
        };
        fetched?;
        self.receive(job, store).await
    }

    /// When a fetch has taken too long, milliseconds since the Unix epoch.
    pub(super) fn overdue_at_ms(&self, job: &Job) -> i64 {
        let hours = i64::try_from(self.config.fetch_hours).unwrap_or(i64::MAX);
        job.created_at_ms.saturating_add(hours.saturating_mul(3_600_000))
    }

    async fn bring(
        self: &Arc<Self>,
        job: &Job,
        target: &Target,
        max_bytes: u64,
        store: &Store,
        progress: &AtomicU16,
    ) -> Result<(), Error> {
        let tell = |done: u64, all: Option<u64>| {
            let part =
                all.map_or(0, |all| u16::try_from(u128::from(done) * 1000 / u128::from(all.max(1))).unwrap_or(1000));
            if progress.swap(part, Ordering::Relaxed) != part {
                self.events.tell(&job.title, What::Progress { progress: part });
            }
        };
        let mut goes = 0;
        while !store.is_complete() {
            let before = store.offset_bytes();
            let Err(error) = self.go(job, target, max_bytes, store, &tell).await else { continue };
            store.settle().await?;
            if matches!(error, Error::Parts { .. } | Error::Status { status: 416, .. }) {
                // What is here is no part of what is there any more.
                store.forget().await?;
            }
            goes += 1;
            let gained = store.offset_bytes().saturating_sub(before);
            let goes_on = error.is_retryable() && store.resume().is_some() && gained >= WORTH_BYTES && goes < MAX_GOES;
            if !goes_on {
                return Err(error);
            }
            tracing::info!(job = %job.id, title = %job.title, %error, gained, "a fetch broke off and goes on");
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// One connection, to its end.
    async fn go(
        self: &Arc<Self>,
        job: &Job,
        target: &Target,
        max_bytes: u64,
        store: &Store,
        tell: &(dyn Fn(u64, Option<u64>) + Sync),
    ) -> Result<(), Error> {
        let too_large = || Error::TooLarge { limit_bytes: max_bytes };
        let resume = store.resume();
        let mut headers = HeaderMap::new();
        if let Some((offset, version)) = &resume {
            headers.extend(the_rest(*offset, version)?);
        }
        let asked = self.client.get(target, &headers, max_bytes).await;
        let Answer { status, headers, target, mut body } = asked.map_err(|error| error_of(error, max_bytes))?;
        let host = || target.host();
        let length = match (status, &resume) {
            (StatusCode::OK, _) => {
                let length = number(&headers, CONTENT_LENGTH);
                store.anew(version(&headers), length).await?;
                length
            }
            (StatusCode::PARTIAL_CONTENT, Some((offset, version))) => {
                let length = total(&headers, *offset).filter(|length| Some(*length) == store.length_bytes());
                let length = length.filter(|_| is_of(&headers, version));
                store.go_on().await?;
                Some(length.ok_or_else(|| Error::Parts { host: host() })?)
            }
            (StatusCode::PARTIAL_CONTENT, None) => return Err(Error::Parts { host: host() }),
            (status, _) => return Err(Error::Status { host: host(), status: status.as_u16() }),
        };
        if length.is_some_and(|length| length > max_bytes) {
            return Err(too_large());
        }
        if let Some(length) = length.filter(|_| status == StatusCode::OK) {
            self.announce_length(job, length).await?;
        }
        let mut come = store.offset_bytes();
        let mut block = Block::at(come);
        let ended = loop {
            let bytes = match body.next().await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error_of(error, max_bytes)),
            };
            come += bytes.len() as u64;
            if come > max_bytes {
                return Err(too_large());
            }
            if length.is_some_and(|length| come > length) {
                return Err(Error::Parts { host: host() });
            }
            let mut rest = &*bytes;
            while !rest.is_empty() {
                rest = block.fill(rest);
                if block.is_full() {
                    store.write(block.freeze()).await?;
                    block = Block::at(store.offset_bytes());
                    tell(come, length);
                }
            }
        };
        store.write(block.freeze()).await?;
        ended?;
        if length.is_some_and(|length| come < length) {
            // A part may be shorter than what was asked for.
            return Err(Error::Fetch(outbound::Error::Broken { host: host(), why: "it is only a part".to_owned() }));
        }
        tell(come, Some(come));
        store.finish(come).await
    }

    /// Whose a title is, and how much that one may have.
    fn owner_of(&self, title: &TitleId) -> Result<Option<Owner>, Error> {
        let catalog = &self.rooms.catalog;
        let Some(key) = catalog.counted(title)?.and_then(|counted| counted.owner) else { return Ok(None) };
        let own = catalog.key(&key)?.map(|key| key.quota).unwrap_or_default();
        Ok(Some(Owner { key, quota: own.or(self.config.quota()) }))
    }

    /// A film's length is known: from now on it counts, so that many that are fetched at once are not too much together.
    async fn announce_length(self: &Arc<Self>, job: &Job, length: u64) -> Result<(), Error> {
        let (inner, job) = (self.clone(), job.clone());
        let announced = blocking(move || {
            let owner = inner.owner_of(&job.title)?;
            Ok(inner.rooms.catalog.announce_fetched(&job, &inner.owner, length, owner.as_ref())?)
        });
        match announced.await? {
            Entered::Over(exceeded) => Err(Error::Quota(exceeded)),
            // The heartbeat hears of a claim that was lost.
            Entered::Done | Entered::Lost => Ok(()),
        }
    }

    /// The bytes are here: they become a source, and the title is to be processed.
    async fn receive(self: &Arc<Self>, job: &Job, store: &Store) -> Result<Attempt, Error> {
        let staged = store.stage().await?;
        let size_bytes = staged.size_bytes();
        if size_bytes == 0 {
            let refusal = Refusal { code: RefusalCode::Empty, message: "there is nothing at this URL".to_owned() };
            return Err(Error::Refused { path: "fetch".into(), refusal });
        }
        let (inner, job) = (self.clone(), job.clone());
        // From here on it runs to its end: storing and entering belong together.
        let entered = blocking(move || {
            let next = new_job_id().map_err(Error::NoName)?;
            let catalog = &inner.rooms.catalog;
            let owner = inner.owner_of(&job.title)?;
            let stored = staged.commit_uninspected()?;
            let fetched = Fetched { source: stored.digest().clone(), size_bytes, next, owner };
            let entered = catalog.enter_fetched(&job, &inner.owner, now_ms(), &fetched);
            // It holds the library back from being frozen, and is not needed once the catalog names the source.
            drop(stored);
            if !matches!(entered, Ok(Entered::Done)) {
                discard::source(catalog, &inner.rooms.library, &fetched.source);
            }
            match entered? {
                Entered::Over(exceeded) => return Err(Error::Quota(exceeded)),
                Entered::Lost => return Ok(Attempt::Gone),
                Entered::Done => {}
            }
            tracing::info!(title = %job.title, source = %fetched.source, size_bytes, "fetched");
            (inner.on_change)(&job.title);
            inner.events.tell(&job.title, What::State { state: State::Processing, error: None });
            inner.wake();
            Ok(Attempt::Gone)
        });
        entered.await
    }
}

/// Asks for what follows `offset`, if it is still the same version (RFC 9110 §13.1.5).
fn the_rest(offset: u64, version: &str) -> Result<[(HeaderName, HeaderValue); 2], Error> {
    let value = |text: &str| {
        HeaderValue::from_str(text).map_err(|why| Error::Defect { path: "fetch".into(), why: why.to_string() })
    };
    Ok([(RANGE, value(&format!("bytes={offset}-"))?), (IF_RANGE, value(version)?)])
}

/// What names the version of the bytes so that parts of it fit together: a strong ETag, or a date that is older than the
/// answer (RFC 9110 §8.8).
fn version(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let tag = text(ETAG).filter(|tag| tag.starts_with('"'));
    let date = text(LAST_MODIFIED).filter(|modified| text(DATE).is_some_and(|date| date != *modified));
    tag.or(date).map(str::to_owned)
}

/// Whether a part may be of this version: some servers do not heed `If-Range`. Not every one repeats its date in a part
/// (RFC 9110 §15.3.7).
fn is_of(headers: &HeaderMap, version: &str) -> bool {
    let name = if version.starts_with('"') { ETAG } else { LAST_MODIFIED };
    headers.get(name).is_none_or(|value| value == version)
}

/// The whole's length, if this is its part from `offset` on (RFC 9110 §14.4).
fn total(headers: &HeaderMap, offset: u64) -> Option<u64> {
    let said = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, total) = said.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, total): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, total.parse().ok()?);
    (first == offset && first <= last && last < total).then_some(total)
}

fn number(headers: &HeaderMap, name: HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

fn error_of(error: outbound::Error, limit_bytes: u64) -> Error {
    match error {
        outbound::Error::TooLarge { .. } => Error::TooLarge { limit_bytes },
        error => Error::Fetch(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(HeaderName, &'static str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn parts_are_put_together_only_of_one_version_that_has_a_strong_name() {
        let (old, new) = ("Sat, 01 Jan 2000 00:00:00 GMT", "Sun, 02 Jan 2000 00:00:00 GMT");
        for (all, expected) in [
            (&[(ETAG, "\"1\"")][..], Some("\"1\"")),
            (&[(ETAG, "W/\"1\"")], None),
            (&[(ETAG, "W/\"1\""), (LAST_MODIFIED, old), (DATE, new)], Some(old)),
            (&[(LAST_MODIFIED, new), (DATE, new)], None),
            (&[(LAST_MODIFIED, old)], None),
            (&[], None),
        ] {
            assert_eq!(version(&headers(all)).as_deref(), expected, "{all:?}");
        }
    }

    #[test]
    fn a_part_of_another_version_is_none() {
        let date = "Sat, 01 Jan 2000 00:00:00 GMT";
        for (all, version, expected) in [
            (&[(ETAG, "\"1\"")][..], "\"1\"", true),
            (&[(ETAG, "\"2\"")], "\"1\"", false),
            (&[(ETAG, "W/\"1\"")], "\"1\"", false),
            (&[], "\"1\"", true),
            (&[(ETAG, "W/\"1\""), (LAST_MODIFIED, date)], date, true),
            (&[(LAST_MODIFIED, "Sun, 02 Jan 2000 00:00:00 GMT")], date, false),
            (&[], date, true),
        ] {
            assert_eq!(is_of(&headers(all), version), expected, "{all:?}, {version}");
        }
    }

    #[test]
    fn a_part_is_taken_only_if_it_is_the_one_that_was_asked_for() {
        for (said, expected) in [
            ("bytes 5-9/10", Some(10)),
            ("bytes 5-7/10", Some(10)),
            ("bytes 4-9/10", None),
            ("bytes 6-9/10", None),
            ("bytes 5-10/10", None),
            ("bytes 5-4/10", None),
            ("bytes 5-9/*", None),
            ("bytes */10", None),
            ("bytes 5-9/99999999999999999999", None),
            ("items 5-9/10", None),
            ("", None),
        ] {
            assert_eq!(total(&headers(&[(CONTENT_RANGE, said)]), 5), expected, "{said}");
        }
    }
}
