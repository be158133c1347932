//! Which files have stopped growing.

use std::collections::HashMap;
use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::ingest::Error;

/// A file as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ingest) struct Seen {
    /// Without folders.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// When it was last written to, nanoseconds since the Unix epoch.
    pub modified_ns: i128,
}

/// Files that were seen, each since when it is as it is.
#[derive(Debug, Default)]
pub(super) struct Settling(HashMap<String, (Seen, Instant)>);

impl Seen {
    pub(in crate::ingest) fn new(name: &str, found: &Metadata) -> Self {
        let modified_ns = i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec());
        Self { name: name.to_owned(), size_bytes: found.len(), modified_ns }
    }

    /// Names it in the catalog. Nothing that changes when a disk is mounted again is in it.
    pub(in crate::ingest) fn key(&self) -> String {
        format!("{}/{}/{}", self.size_bytes, self.modified_ns, self.name)
    }

    /// Whether this is what a [key](Self::key) names, as far as its name goes.
    pub(super) fn name_in(key: &str) -> Option<&str> {
        key.splitn(3, '/').nth(2)
    }

    /// Opens it, if it is still as it was seen and no link.
    pub(super) fn open(&self, path: &Path) -> Result<File, Error> {
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
        let file = opened.map_err(|why| Error::unreadable(path.to_owned(), why))?;
        self.check(path, &file)?;
        Ok(file)
    }

    /// That an open file is as it was seen.
    pub(in crate::ingest) fn check(&self, path: &Path, file: &File) -> Result<(), Error> {
        let found = file.metadata().map_err(|why| Error::unreadable(path.to_owned(), why))?;
        if found.is_file() && Self::new(&self.name, &found) == *self {
            return Ok(());
        }
        Err(Error::Changed { path: path.to_owned() })
    }
}

impl Settling {
    /// Those of the files that are there now which have not changed for so long, the smallest names first.
    pub(super) fn look(&mut self, found: Vec<Seen>, now: Instant, settle: Duration) -> Vec<Seen> {
        let mut before = std::mem::take(&mut self.0);
        let mut settled = Vec::new();
        for seen in found {
            let since = before.remove(&seen.name).filter(|(was, _)| *was == seen).map_or(now, |(_, since)| since);
            if now.duration_since(since) >= settle {
                settled.push(seen.clone());
            }
            self.0.insert(seen.name.clone(), (seen, since));
        }
        settled.sort_by(|a, b| a.name.cmp(&b.name));
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(name: &str, size_bytes: u64, modified_ns: i128) -> Seen {
        Seen { name: name.to_owned(), size_bytes, modified_ns }
    }

    #[test]
    fn a_file_is_settled_once_it_was_the_same_for_long_enough() {
        let (start, settle) = (Instant::now(), Duration::from_secs(10));
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut settling = Settling::default();
        let mut look = |seconds, found: &[Seen]| {
            let settled = settling.look(found.to_vec(), at(seconds), settle);
            settled.into_iter().map(|seen| seen.name).collect::<Vec<_>>()
        };
        assert_eq!(look(0, &[seen("b", 1, 1), seen("a", 1, 1)]), [""; 0]);
        assert_eq!(look(9, &[seen("b", 1, 1), seen("a", 1, 1)]), [""; 0]);
        assert_eq!(look(10, &[seen("b", 1, 1), seen("a", 1, 1)]), ["a", "b"]);
        assert_eq!(look(11, &[seen("b", 2, 1), seen("a", 1, 1)]), ["a"], "it grows");
        assert_eq!(look(20, &[seen("b", 2, 2), seen("a", 1, 1)]), ["a"], "it is written to");
        assert_eq!(look(30, &[seen("a", 1, 1)]), ["a"]);
        assert_eq!(look(31, &[seen("b", 2, 2)]), [""; 0], "it was away");
        assert_eq!(look(41, &[seen("b", 2, 2), seen("a", 1, 1)]), ["b"], "forgotten once it was away");
    }

    #[test]
    fn a_link_is_not_opened_and_what_has_changed_is_not_either() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("film"), folder.path().join("link"));
        std::fs::write(&path, "film").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let found = Seen::new("film", &path.metadata().unwrap());
        let file = found.open(&path).unwrap();
        assert_eq!(found.open(&link).unwrap_err().code(), "unreadable");
        std::fs::write(&path, "a film").unwrap();
        assert_eq!(found.check(&path, &file).unwrap_err().code(), "changed");
        assert_eq!(found.open(&path).unwrap_err().code(), "changed");
    }
}
