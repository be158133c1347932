//! A worker looks at the file: its index comes back, or why there is none. Worker death costs a retry, if the caller has
//! none of its own.

use std::path::Path;

use bytes::Bytes;

use super::{Error, Probed, Progress, sidecars};
use crate::media::{self, Index, Ladder, Plan, Refusal, Sidecar};
use crate::worker::protocol::{Event, Request};
use crate::worker::{self, Death, Exit, Pool};

/// A first attempt, and one on a fresh worker if the first one's died of something that may not come again.
pub(super) const ATTEMPTS: u32 = 2;

enum Fault {
    Refused(Refusal),
    Died(Death),
    Worker(worker::Error),
}

/// What the server makes of a file, which stays where it is.
///
/// # Errors
/// As [`super::file()`].
pub async fn probe(
    pool: &Pool,
    ladder: &Ladder,
    path: &Path,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Probed, Error> {
    super::file::look(path)?;
    let beside = {
        let path = path.to_owned();
        super::file::blocking(move || sidecars::beside(&path, true)).await?
    };
    let sidecars: Vec<Sidecar> = beside.into_iter().map(|(_, sidecar)| sidecar).collect();
    let bytes = index(pool, path, path, &sidecars, ATTEMPTS, &|part| progress(Progress::Inspecting(part))).await?;
    let (index, plan) = plan(bytes, ladder, path).await?;
    Ok(Probed { index, plan })
}

/// The index of the file at `source`, which the user knows as `name`, and of what lies beside it; tried up to so many
/// times.
pub(super) async fn index(
    pool: &Pool,
    source: &Path,
    name: &Path,
    sidecars: &[Sidecar],
    most: u32,
    progress: &(dyn Fn(u16) + Send + Sync),
) -> Result<Bytes, Error> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let path = name.to_owned();
        match attempt(pool, source, sidecars, progress).await {
            Ok(bytes) => return Ok(bytes),
            Err(Fault::Refused(refusal)) => return Err(Error::Refused { path, refusal }),
            Err(Fault::Died(death)) if attempts < most && death.exit.is_retryable() => {
                tracing::warn!(file = %name.display(), %death, "inspecting again on a fresh worker");
            }
            Err(Fault::Died(death)) => return Err(Error::Died { path, death: Box::new(death), attempts }),
            Err(Fault::Worker(why)) if attempts < most && why.is_retryable() => {}
            Err(Fault::Worker(why)) => return Err(Error::Worker { path, why }),
        }
    }
}

async fn attempt(
    pool: &Pool,
    source: &Path,
    sidecars: &[Sidecar],
    progress: &(dyn Fn(u16) + Send + Sync),
) -> Result<Bytes, Fault> {
    let mut worker = pool.bind(source, None, &[]).await.map_err(Fault::Worker)?;
    // If it is gone, the next event says why.
    let _ = worker.send(&Request::Inspect { sidecars: sidecars.to_vec() }).await;
    loop {
        match worker.next().await.map_err(Fault::Died)? {
            Event::Progress(part) => progress(part),
            Event::Inspected(Ok(bytes)) => {
                worker.kill().await;
                return Ok(bytes);
            }
            Event::Inspected(Err(refusal)) => {
                worker.kill().await;
                return Err(Fault::Refused(refusal));
            }
            _ => {
                let why = "an event that does not belong to an inspection".to_owned();
                let (_, events) = worker.split();
                events.reject(why.clone()).await;
                return Err(Fault::Died(Death { pid: 0, exit: Exit::Nonsense(why), last_words: String::new() }));
            }
        }
    }
}

/// Index and plan, worked out on a thread of its own: both are large for a long film.
pub(super) async fn plan(bytes: Bytes, ladder: &Ladder, path: &Path) -> Result<(Index, Plan), Error> {
    let (ladder, path) = (ladder.clone(), path.to_owned());
    super::file::blocking(move || {
        let defect = |why: postcard::Error| Error::Defect { path: path.clone(), why: format!("the index: {why}") };
        let index: Index = postcard::from_bytes(&bytes).map_err(defect)?;
        let plan = media::plan(&index, &ladder).map_err(|error| Error::plan(path, &error))?;
        Ok((index, plan))
    })
    .await
}
