//! What lies in the folder, and where it goes.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::{Config, Seen, Then};
use crate::catalog::Watched;
use crate::ingest::Error;

/// Files that are looked at: each is asked for its size and time every few seconds.
pub(super) const MAX_FILMS: usize = 100_000;
/// Names that are read, whatever they name: a folder with many millions would be read for ever.
const MAX_NAMES_READ: usize = 10_000_000;
/// Where files go that are titles.
const DONE: &str = "done";
/// Where files go that cannot be.
const FAILED: &str = "failed";
/// Names that are tried for a file where others of its name are.
const MAX_NAMES: u32 = 1000;
/// Endings of what browsers and programs have not finished.
const PARTIAL: [&str; 9] = ["part", "partial", "crdownload", "download", "tmp", "temp", "filepart", "aria2", "swp"];
/// Endings of what lies beside films and is none.
const BESIDE: [&str; 2] = ["srt", "vtt"];

/// The folder by its own name, with those below it that will be needed.
pub(super) fn usable(config: &Config, data_dir: &Path) -> io::Result<PathBuf> {
    let folder = fs::canonicalize(&config.folder)?;
    fs::read_dir(&folder)?;
    let data = fs::canonicalize(data_dir)?;
    if folder.starts_with(&data) || data.starts_with(&folder) {
        return Err(io::Error::other("it must not lie in the data folder, nor the data folder in it"));
    }
    let needed: &[&str] = match config.then {
        Then::Keep => &[],
        Then::Move => &[DONE, FAILED],
        Then::Delete => &[FAILED],
    };
    for name in needed {
        let below = folder.join(name);
        fs::create_dir_all(&below)?;
        if !fs::symlink_metadata(&below)?.is_dir() {
            return Err(io::Error::other(format!("{name} in it must be a folder and no link")));
        }
    }
    Ok(folder)
}

/// What one look at the folder shows.
#[derive(Debug)]
pub(super) struct Listing {
    /// The files that may be films.
    pub found: Vec<Seen>,
    /// Device and inode: another folder is there if a disk was mounted or went away.
    pub folder: (u64, u64),
    /// Whether all there is was seen.
    pub is_whole: bool,
    /// Whether there are more files than are looked at.
    pub is_cut: bool,
}

/// The files that may be films, up to so many. Hidden and unfinished ones, links, and whatever is no file are passed over;
/// an empty one has yet to be written.
pub(super) fn list(folder: &Path, most: usize) -> Result<Listing, Error> {
    let unreadable = |why| Error::unreadable(folder.to_owned(), why);
    let identity = || fs::metadata(folder).map(|found| (found.dev(), found.ino())).map_err(unreadable);
    let before = identity()?;
    let mut entries = fs::read_dir(folder).map_err(unreadable)?;
    let (mut found, mut is_whole, mut is_cut) = (Vec::new(), true, false);
    for entry in entries.by_ref().take(MAX_NAMES_READ) {
        let Ok(entry) = entry else {
            is_whole = false;
            continue;
        };
        let Some(name) = entry.file_name().into_string().ok().filter(|name| may_be_film(name)) else { continue };
        if found.len() == most {
            is_cut = true;
            break;
        }
        // Does not follow links.
        match entry.metadata() {
            Ok(seen) if seen.is_file() && seen.len() > 0 => found.push(Seen::new(&name, &seen)),
            Ok(_) => {}
            Err(why) => is_whole &= why.kind() == io::ErrorKind::NotFound,
        }
    }
    is_cut |= entries.next().is_some();
    is_whole &= !is_cut && identity()? == before;
    Ok(Listing { found, folder: before, is_whole, is_cut })
}

fn may_be_film(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    let other = |ending: String| PARTIAL.contains(&ending.as_str()) || BESIDE.contains(&ending.as_str());
    !name.starts_with(['.', '~', '#']) && !name.ends_with('~') && !ending.is_some_and(other)
}

/// Does with a file what is to be done, and with those beside it that are its own, named by their keys. It may have been
/// done before.
pub(super) fn put_away(config: &Config, seen: &Seen, known: &Watched, beside: &[String]) -> Result<(), Error> {
    // Another file by now, or none, stays.
    if config.then == Then::Keep || unchanged(&config.folder, &seen.key())?.is_none() {
        return Ok(());
    }
    let folder = Folder::open(&config.folder)?;
    // Those beside it go first: they would belong to no film, and the film is what is found again.
    let beside = beside.iter().filter_map(|key| unchanged(&config.folder, key).transpose());
    let beside = beside.collect::<Result<Vec<&str>, _>>()?;
    let files = || beside.iter().copied().chain([seen.name.as_str()]);
    match (known, config.then) {
        (Watched::Refused(failure), _) => {
            let failed = folder.below(FAILED)?;
            for file in files() {
                let name = folder.move_to(file, &failed)?;
                if file == seen.name {
                    failed.write_beside(&name, &format!("{}: {}\n", failure.code, failure.message))?;
                }
            }
        }
        (Watched::Title(_), Then::Delete) => {
            for file in files() {
                let gone = unlinkat(&folder.open, file, AtFlags::empty());
                gone.map_err(|why| Error::unwritten(folder.path.join(file), why.into()))?;
            }
        }
        (Watched::Title(_), Then::Move | Then::Keep) => {
            let done = folder.below(DONE)?;
            for file in files() {
                folder.move_to(file, &done)?;
            }
        }
    }
    Ok(())
}

/// The name of the file that a key names, if it is still as it was.
fn unchanged<'a>(folder: &Path, key: &'a str) -> Result<Option<&'a str>, Error> {
    let Some(name) = Seen::name_in(key) else { return Ok(None) };
    let path = folder.join(name);
    match fs::symlink_metadata(&path) {
        Ok(found) => Ok(Some(name).filter(|_| found.is_file() && Seen::new(name, &found).key() == key)),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(Error::unreadable(path, why)),
    }
}

/// A folder that stays the same one while things are done in it: whoever may write to the one that is watched could put a
/// link in the place of one below it.
struct Folder {
    path: PathBuf,
    open: OwnedFd,
}

impl Folder {
    fn open(path: &Path) -> Result<Self, Error> {
        Self::at(CWD, path, path.to_owned())
    }

    fn below(&self, name: &str) -> Result<Self, Error> {
        Self::at(&self.open, Path::new(name), self.path.join(name))
    }

    fn at(from: impl std::os::fd::AsFd, name: &Path, path: PathBuf) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(from, name, flags, Mode::empty()) {
            Ok(open) => Ok(Self { path, open }),
            Err(why) => Err(Error::unwritten(path, why.into())),
        }
    }

    /// Moves a file to another folder, under a name nobody has there; says which.
    fn move_to(&self, name: &str, to: &Self) -> Result<String, Error> {
        let fault = |why: Errno| Error::unwritten(to.path.clone(), why.into());
        let (stem, ending) = name.rsplit_once('.').map_or((name, ""), |(stem, _)| (stem, &name[stem.len()..]));
        for n in 1..=MAX_NAMES {
            let new = if n == 1 { name.to_owned() } else { format!("{stem} ({n}){ending}") };
            // A link fails where something is, which a rename would put away for good.
            match linkat(&self.open, name, &to.open, &new, AtFlags::empty()) {
                Ok(()) => {
                    unlinkat(&self.open, name, AtFlags::empty()).map_err(fault)?;
                    return Ok(new);
                }
                Err(Errno::EXIST) => {}
                // A file system without links.
                Err(_) if statat(&to.open, &new, AtFlags::SYMLINK_NOFOLLOW).is_err() => {
                    renameat(&self.open, name, &to.open, &new).map_err(fault)?;
                    return Ok(new);
                }
                Err(why) => return Err(fault(why)),
            }
        }
        let why = io::Error::other(format!("there are {MAX_NAMES} files called {name} already"));
        Err(Error::unwritten(to.path.clone(), why))
    }

    /// Writes a text beside a file, under a name nobody has there and through no link.
    fn write_beside(&self, file: &str, text: &str) -> Result<(), Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let named = |n| if n == 1 { format!("{file}.txt") } else { format!("{file} ({n}).txt") };
        for name in (1..=MAX_NAMES).map(named) {
            match openat(&self.open, &name, flags, Mode::from_raw_mode(0o666)) {
                Err(Errno::EXIST) => {}
                opened => {
                    let written = opened.map_err(Into::into).and_then(|to| File::from(to).write_all(text.as_bytes()));
                    return written.map_err(|why| Error::unwritten(self.path.join(name), why));
                }
            }
        }
        let why = io::Error::other(format!("there are {MAX_NAMES} files that say why already"));
        Err(Error::unwritten(self.path.join(file), why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Failure;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn films_are_seen_and_whatever_is_hidden_unfinished_linked_or_beside_them_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in
            ["b.mp4", "a.mkv", "no ending", ".hidden.mp4", "c.mp4.part", "d.crdownload", "e.TMP", "f.mp4~", "b.srt"]
        {
            fs::write(at(name), "x").unwrap();
        }
        fs::write(at("empty.mp4"), "").unwrap();
        fs::create_dir(at("below.mp4")).unwrap();
        std::os::unix::fs::symlink(at("a.mkv"), at("link.mp4")).unwrap();
        let mut found: Vec<String> = list(folder.path(), 9).unwrap().found.into_iter().map(|seen| seen.name).collect();
        found.sort();
        assert_eq!(found, ["a.mkv", "b.mp4", "no ending"]);
    }

    /// Whatever lay behind the first ten thousand names, of films or not, was ignored without a word.
    #[test]
    fn files_beyond_the_bound_are_not_looked_at_and_that_is_said() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.mp4", "b.mp4", "a.srt", "b.srt", ".hidden", "c.part"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        let seen = |most| {
            let Listing { found, is_whole, is_cut, .. } = list(folder.path(), most).unwrap();
            (found.len(), is_whole, is_cut)
        };
        assert_eq!((seen(1), seen(2)), ((1, false, true), (2, true, false)));
    }

    #[test]
    fn a_file_goes_where_it_is_to_go_with_its_subtitles_and_nothing_is_overwritten() {
        let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| folder.path().join(name);
        let mut config = Config { folder: folder.path().to_owned(), ..Config::default() };
        config.folder = usable(&config, data.path()).unwrap();
        let mut put = |then, known: &Watched| {
            config.then = then;
            for name in ["film.mp4", "film.de.srt", "other.mp4"] {
                fs::write(at(name), "x").unwrap();
            }
            let seen = Seen::new("film.mp4", &at("film.mp4").metadata().unwrap());
            // One is its own, and one has been written anew since.
            let own = Seen::new("film.de.srt", &at("film.de.srt").metadata().unwrap()).key();
            let beside = [own, "9/9/film.en.srt".to_owned(), "../film.srt".to_owned()];
            fs::write(at("film.en.srt"), "x").unwrap();
            put_away(&config, &seen, known, &beside).unwrap();
            put_away(&config, &seen, known, &beside).unwrap();
            fs::remove_file(at("film.en.srt")).unwrap();
        };
        let title = Watched::Title("000000000001".parse().unwrap());
        let refused = Watched::Refused(Failure { code: "not_media".into(), message: "no film".into() });
        put(Then::Keep, &title);
        assert_eq!(names(folder.path()), ["done", "failed", "film.de.srt", "film.mp4", "other.mp4"]);
        put(Then::Move, &title);
        put(Then::Move, &title);
        assert_eq!(names(&at("done")), ["film (2).mp4", "film.de (2).srt", "film.de.srt", "film.mp4"]);
        put(Then::Delete, &title);
        assert_eq!(names(folder.path()), ["done", "failed", "other.mp4"]);
        // Whoever may write there gets nothing written elsewhere.
        let elsewhere = data.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, at("failed/film.mp4.txt")).unwrap();
        put(Then::Delete, &refused);
        assert_eq!(names(&at("failed")), ["film.de.srt", "film.mp4", "film.mp4 (2).txt", "film.mp4.txt"]);
        assert_eq!(fs::read_to_string(at("failed/film.mp4 (2).txt")).unwrap(), "not_media: no film\n");
        assert!(!elsewhere.exists());
        assert_eq!(names(&at("done")).len(), 4);
    }

    #[test]
    fn a_folder_that_became_a_link_takes_no_film_elsewhere() {
        let (folder, data, elsewhere) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| folder.path().join(name);
        let mut config = Config { folder: folder.path().to_owned(), then: Then::Move, ..Config::default() };
        config.folder = usable(&config, data.path()).unwrap();
        fs::write(at("film.mp4"), "x").unwrap();
        let seen = Seen::new("film.mp4", &at("film.mp4").metadata().unwrap());
        let refused = Watched::Refused(Failure { code: "not_media".into(), message: "no film".into() });
        for (below, known) in [(DONE, Watched::Title("000000000001".parse().unwrap())), (FAILED, refused)] {
            fs::remove_dir(at(below)).unwrap();
            std::os::unix::fs::symlink(elsewhere.path(), at(below)).unwrap();
            put_away(&config, &seen, &known, &[]).unwrap_err();
        }
        assert!(at("film.mp4").exists());
        assert_eq!(names(elsewhere.path()), [""; 0]);
    }

    #[test]
    fn the_folder_and_the_data_folder_do_not_lie_in_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("below");
        fs::create_dir(&below).unwrap();
        let config = |folder: &Path| Config { folder: folder.to_owned(), ..Config::default() };
        assert!(usable(&config(folder.path()), &below).is_err());
        assert!(usable(&config(&below), folder.path()).is_err());
        assert!(usable(&config(&folder.path().join("absent")), &below).is_err());
        let elsewhere = tempfile::tempdir().unwrap();
        assert!(usable(&config(folder.path()), elsewhere.path()).is_ok());
    }
}
