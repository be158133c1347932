//! A file of this machine becomes a title: looked at, copied, inspected, planned, committed, entered.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::inspect::{self, ATTEMPTS};
use super::watch::Seen;
use super::{Error, Ingested, Progress, Rooms, discard, name, sidecars};
use crate::catalog::{Lying, NewTitle, new_id, now_ms};
use crate::library::Staged;
use crate::media::{Plan, Refusal, RefusalCode, Sidecar};

/// Takes a file in. It is called `title`, or after the file. Dropped before it is done, nothing stays behind.
///
/// # Errors
/// [`Error`] names the file and the remedy.
pub async fn file(
    rooms: &Rooms,
    path: &Path,
    title: Option<&str>,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Ingested, Error> {
    take(rooms, Taken::Path(path), title, progress).await
}

/// What is taken in.
pub(super) enum Taken<'a> {
    /// A file by its path, wherever links lead.
    Path(&'a Path),
    /// A file that is open, if it is still as it was seen when it was copied.
    Watched {
        /// What it is called.
        path: &'a Path,
        file: fs::File,
        seen: &'a Seen,
    },
}

pub(super) async fn take(
    rooms: &Rooms,
    taken: Taken<'_>,
    title: Option<&str>,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Ingested, Error> {
    let (path, open, seen) = match taken {
        Taken::Path(path) => (path, None, None),
        Taken::Watched { path, file, seen } => (path, Some(file), Some(seen)),
    };
    if seen.is_none() {
        look(path)?;
    }
    let (beside, sidecars): (Vec<Seen>, Vec<Sidecar>) = {
        let (path, follow) = (path.to_owned(), seen.is_none());
        blocking(move || sidecars::beside(&path, follow)).await?.into_iter().unzip()
    };
    let still = match &open {
        Some(file) => Some(file.try_clone().map_err(|why| Error::unreadable(path.to_owned(), why))?),
        None => None,
    };
    let mut staged = copy(rooms, path, open, progress).await?;
    if let (Some(file), Some(seen)) = (still, seen) {
        seen.check(path, &file)?;
    }
    if let Some(fingerprint) = sidecars::fingerprint(&sidecars) {
        staged = staged.beside(&fingerprint);
    }
    let (digest, size_bytes) = (staged.digest().clone(), staged.size_bytes());
    if size_bytes == 0 {
        return Err(empty(path));
    }
    // The same bytes may be a source already: its index is the one its titles were planned with.
    let known = {
        let (library, digest) = (rooms.library.clone(), digest.clone());
        blocking(move || Ok(library.read_index(&digest)?)).await?
    };
    let found = match known {
        Some(index) => Bytes::from(index),
        None => {
            let tell = |part| progress(Progress::Inspecting(part));
            inspect::index(&rooms.pool, &staged.path(), path, &sidecars, ATTEMPTS, &tell).await?
        }
    };
    let (index, plan) = inspect::plan(found.clone(), &rooms.ladder, path).await?;
    let plan = Arc::new(plan);
    let file_name = name::line(&path.file_name().unwrap_or_default().to_string_lossy());
    let entered = Entry {
        title: title.map_or_else(|| name::title(&file_name), name::line),
        file_name,
        size_bytes,
        notes: index.notes(),
        plan: plan.clone(),
        watched: seen.map(|seen| Lying { file: seen.key(), beside: beside.iter().map(Seen::key).collect() }),
    };
    let rooms = rooms.clone();
    // From here on it runs to its end, also if nobody waits for it any more: commit and entry belong together.
    let (id, title, is_new_source) = blocking(move || commit(&rooms, staged, &found, entered)).await?;
    let (duration_s, renditions) = (plan.duration_seconds(), plan.renditions.len());
    Ok(Ingested { id, title, digest, size_bytes, duration_s, renditions, is_new_source })
}

struct Entry {
    title: String,
    file_name: String,
    size_bytes: u64,
    notes: Vec<String>,
    plan: Arc<Plan>,
    watched: Option<Lying>,
}

fn commit(
    rooms: &Rooms,
    staged: Staged,
    index: &[u8],
    entry: Entry,
) -> Result<(crate::media::TitleId, String, bool), Error> {
    let id = new_id().map_err(|why| Error::Defect { path: entry.file_name.clone().into(), why: why.to_string() })?;
    let stored = staged.commit(index)?;
    let new = NewTitle {
        id: id.clone(),
        name: entry.title.clone(),
        created_at_ms: now_ms(),
        source: stored.digest().clone(),
        file_name: entry.file_name,
        size_bytes: entry.size_bytes,
        notes: entry.notes,
        plan: entry.plan,
        watched: entry.watched,
    };
    match rooms.catalog.insert_ready(&new) {
        Ok(()) => Ok((id, entry.title, stored.is_new())),
        Err(error) => {
            // It holds the library back from being frozen.
            drop(stored);
            discard::source(&rooms.catalog, &rooms.library, &new.source);
            Err(error.into())
        }
    }
}

/// What can be said without reading it.
pub(super) fn look(path: &Path) -> Result<(), Error> {
    let found = fs::metadata(path).map_err(|why| Error::unreadable(path.to_owned(), why))?;
    let kind = found.file_type();
    let not = |what| Err(Error::NotAFile { path: path.to_owned(), what });
    match () {
        () if kind.is_dir() => not("a folder"),
        () if kind.is_fifo() => not("a named pipe"),
        () if kind.is_socket() => not("a socket"),
        () if !kind.is_file() => not("a device"),
        () if found.len() == 0 => Err(empty(path)),
        () => fs::File::open(path).map(drop).map_err(|why| Error::unreadable(path.to_owned(), why)),
    }
}

fn empty(path: &Path) -> Error {
    let refusal = Refusal { code: RefusalCode::Empty, message: "the file is empty".to_owned() };
    Error::Refused { path: path.to_owned(), refusal }
}

async fn copy(
    rooms: &Rooms,
    path: &Path,
    open: Option<fs::File>,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Staged, Error> {
    let (library, from): (_, PathBuf) = (rooms.library.clone(), path.to_owned());
    let reserve_bytes = rooms.reserve_bytes;
    let given_up = GivenUp::default();
    let flag = given_up.0.clone();
    let (tell, mut heard) = tokio::sync::mpsc::channel(1);
    let copying = blocking(move || {
        let mut step = |done_bytes, all_bytes| {
            // Unwinding is how a copy is left half-way: what was staged goes with it, and no panic is printed.
            if flag.load(Ordering::Relaxed) {
                resume_unwind(Box::new("nobody waits for the copy"));
            }
            // A slow listener misses steps; the copy does not wait.
            let _ = tell.try_send(Progress::Copying { done_bytes, all_bytes });
        };
        let copied = match open {
            Some(file) => library.stage_file(file, &from, reserve_bytes, &mut step),
            None => library.stage_copy(&from, reserve_bytes, &mut step),
        };
        copied.map_err(|error| Error::storage(from, error))
    });
    tokio::pin!(copying);
    let staged = loop {
        tokio::select! {
            biased;
            staged = &mut copying => break staged,
            Some(step) = heard.recv() => progress(step),
        }
    };
    drop(given_up);
    staged
}

/// Dropped, it tells a copy that nobody waits for it.
#[derive(Default)]
struct GivenUp(Arc<AtomicBool>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs what blocks on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|died| match died.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        Err(cancelled) => Err(Error::Defect { path: PathBuf::new(), why: io::Error::other(cancelled).to_string() }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_told_apart_before_anything_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let nothing = folder.path().join("nothing");
        fs::write(&nothing, []).unwrap();
        let code = |path: &Path| look(path).unwrap_err().code();
        assert_eq!(code(folder.path()), "not_a_file");
        assert_eq!(code(Path::new("/dev/null")), "not_a_file");
        assert_eq!(code(&nothing), "empty");
        assert_eq!(code(&nothing.join("below")), "missing");
        assert_eq!(code(&folder.path().join("absent")), "missing");
    }
}
