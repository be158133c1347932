//! Subtitle files beside a film: `film.srt`, `film.en.vtt`, `film.de.forced.srt` for `film.mp4`. They are found by name and
//! read as bytes; what is in them only a worker looks at. They are part of the title: the same film with other
//! subtitles is another source.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use super::Error;
use super::watch::Seen;
use crate::media::{Label, Sidecar, language};

/// Largest file that is read, bytes: a long film's subtitles are a tenth of a megabyte.
const MOST_BYTES: u64 = 4 << 20;
/// Most files of one film: what is sent to a worker in one message stays bounded.
const MOST_FILES: usize = 32;
/// Most entries of a folder that are looked at for them.
const MOST_ENTRIES: usize = 100_000;
/// Endings of what may have subtitle files of its own.
const FILMS: [&str; 24] = [
    "3gp", "asf", "avi", "divx", "flv", "m2ts", "m4a", "m4v", "mka", "mkv", "mov", "mp3", "mp4", "mpeg", "mpg", "mts",
    "mxf", "ogg", "ogm", "ogv", "ts", "vob", "webm", "wmv",
];

/// The files beside a film, in the order of their names, each with what it was when it was read.
///
/// # Errors
/// [`Error::Sidecar`] for one that is too large, or if there are too many; [`Error::Beside`] for one that cannot be read.
pub(super) fn beside(film: &Path, follow_links: bool) -> Result<Vec<(Seen, Sidecar)>, Error> {
    named(film, follow_links)?.into_iter().map(|(path, named)| named.read(&path, follow_links)).collect()
}

/// What they are, without reading them.
///
/// # Errors
/// [`Error::Sidecar`] if there are too many.
pub(super) fn seen(film: &Path) -> Result<Vec<Seen>, Error> {
    let seen = |(path, _): (PathBuf, Named)| {
        let found = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
        Some(Seen::new(path.file_name()?.to_str()?, &found))
    };
    Ok(named(film, false)?.into_iter().filter_map(seen).collect())
}

fn named(film: &Path, follow_links: bool) -> Result<Vec<(PathBuf, Named)>, Error> {
    let Some(stem) = film.file_stem().map(|s| s.to_string_lossy().into_owned()) else { return Ok(Vec::new()) };
    let folder = film.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A folder that cannot be listed may still hold a film that can be read.
    let Ok(entries) = fs::read_dir(folder) else { return Ok(Vec::new()) };
    let (mut found, mut others): (Vec<(PathBuf, Named)>, HashSet<String>) = (Vec::new(), HashSet::new());
    for path in entries.take(MOST_ENTRIES).filter_map(|entry| Some(entry.ok()?.path())) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if let Some(named) = Named::parse(&stem, name) {
            let is_file = if follow_links { fs::metadata(&path) } else { fs::symlink_metadata(&path) };
            if is_file.is_ok_and(|found| found.is_file()) {
                found.push((path, named));
            }
        } else if let Some(other) = film_stem(name).filter(|other| is_longer(other, &stem)) {
            others.insert(other.to_owned());
        }
    }
    // `film.de.srt` belongs to `film.de.mp4`, if that is there.
    found.retain(|(path, _)| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        !name.match_indices('.').any(|(dot, _)| others.contains(&name[..dot]))
    });
    found.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some((path, _)) = found.get(MOST_FILES) {
        let why = format!("there are more than {MOST_FILES} subtitle files beside the film: move some away");
        return Err(Error::Sidecar { path: path.clone(), why });
    }
    Ok(found)
}

/// What a film is called without its ending; `None` for what is none by its name.
fn film_stem(name: &str) -> Option<&str> {
    let (stem, ending) = name.rsplit_once('.')?;
    FILMS.contains(&ending.to_ascii_lowercase().as_str()).then_some(stem)
}

/// Is this a film's name that begins with another's, as `film.de` with `film`?
fn is_longer(other: &str, stem: &str) -> bool {
    other.strip_prefix(stem).is_some_and(|rest| rest.starts_with('.'))
}

/// What stands for the files in the name of their source; `None` if there are none.
pub(super) fn fingerprint(sidecars: &[Sidecar]) -> Option<[u8; 32]> {
    let bytes = postcard::to_stdvec(sidecars).ok().filter(|_| !sidecars.is_empty())?;
    Some(Sha256::digest(bytes).into())
}

/// What a file's name says.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    codec: &'static str,
    language: String,
    label: Label,
}

impl Named {
    /// `None` for a file that is nobody's subtitles, or another film's.
    fn parse(stem: &str, file_name: &str) -> Option<Self> {
        let (rest, extension) = file_name.strip_prefix(stem)?.rsplit_once('.')?;
        let codec = match extension.to_ascii_lowercase().as_str() {
            "srt" => "SubRip",
            "vtt" => "WebVTT",
            _ => return None,
        };
        // `film2.srt` is not a file of `film`.
        let words = if rest.is_empty() { "" } else { rest.strip_prefix('.')? };
        let mut named = Self { codec, language: "und".to_owned(), label: Label::default() };
        let (mut title, mut hi) = (Vec::new(), 0);
        for word in words.split('.').filter(|w| !w.is_empty()) {
            match word.to_ascii_lowercase().as_str() {
                "forced" => named.label.forced = true,
                "default" => named.label.default = true,
                "sdh" | "cc" => named.label.hearing_impaired = true,
                "hi" => hi += 1,
                _ if named.language == "und" && is_language(word) => named.language = language::tag(word),
                _ => title.push(word),
            }
        }
        // Hindi where no other language is named, else for the hearing impaired.
        if hi > 0 && named.language == "und" {
            named.language = "hi".to_owned();
            hi -= 1;
        }
        named.label.hearing_impaired |= hi > 0;
        named.label.title = Label::clean(&title.join(" "));
        Some(named)
    }

    fn read(self, path: &Path, follow_links: bool) -> Result<(Seen, Sidecar), Error> {
        let failed = |why: io::Error| Error::Beside { path: path.to_owned(), why };
        let mut data = Vec::new();
        let flags = if follow_links { OFlags::empty() } else { OFlags::NOFOLLOW };
        let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
        let file = opened.map_err(failed)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let seen = Seen::new(&name, &file.metadata().map_err(failed)?);
        file.take(MOST_BYTES + 1).read_to_end(&mut data).map_err(failed)?;
        if data.len() as u64 > MOST_BYTES {
            let why = format!("it lies beside the film and has more than {MOST_BYTES} bytes: move it away");
            return Err(Error::Sidecar { path: path.to_owned(), why });
        }
        let Self { codec, language, label } = self;
        Ok((seen, Sidecar { codec: codec.to_owned(), language, label, data: data.into() }))
    }
}

/// Two or three letters, and perhaps a region or script: `en`, `deu`, `pt-BR`.
fn is_language(word: &str) -> bool {
    let mut parts = word.split('-');
    let first = parts.next().unwrap_or_default();
    (2..=3).contains(&first.len())
        && first.bytes().all(|b| b.is_ascii_alphabetic())
        && parts.all(|p| (2..=8).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_alphanumeric()))
        && word.len() <= 35
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_language_and_purpose() {
        let said = |name: &str| {
            let named = Named::parse("film", name)?;
            let Label { title, default, forced, hearing_impaired } = named.label;
            Some((named.codec, named.language, title, [default, forced, hearing_impaired]))
        };
        let und = || "und".to_owned();
        assert_eq!(said("film.srt"), Some(("SubRip", und(), None, [false; 3])));
        assert_eq!(said("film.de.forced.VTT"), Some(("WebVTT", "de".into(), None, [false, true, false])));
        assert_eq!(said("film.pt-BR.sdh.default.srt"), Some(("SubRip", "pt-BR".into(), None, [true, false, true])));
        assert_eq!(said("film.ger.srt"), Some(("SubRip", "de".into(), None, [false; 3])));
        assert_eq!(said("film.hi.srt"), Some(("SubRip", "hi".into(), None, [false; 3])), "Hindi");
        assert_eq!(said("film.hi.sdh.srt"), Some(("SubRip", "hi".into(), None, [false, false, true])));
        assert_eq!(said("film.hi.en.srt"), Some(("SubRip", "en".into(), None, [false, false, true])));
        let commentary = Some("Director speaks".to_owned());
        assert_eq!(said("film.Director.speaks.srt"), Some(("SubRip", und(), commentary, [false; 3])));
        for other in ["film2.srt", "film.mp4", "film", "movie.srt", "film.srt.bak"] {
            assert_eq!(said(other), None, "{other}");
        }
    }

    #[test]
    fn files_beside_a_film_are_part_of_it_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let film = folder.path().join("film.mp4");
        let found = || Ok(beside(&film, true)?.into_iter().map(|(_, sidecar)| sidecar).collect::<Vec<_>>());
        assert_eq!(fingerprint(&found().unwrap()), None);
        fs::write(folder.path().join("film.en.srt"), "x").unwrap();
        let one = fingerprint(&found().unwrap());
        fs::write(folder.path().join("film.de.srt"), "x").unwrap();
        let two = found().unwrap();
        assert_eq!(two.iter().map(|s| s.language.as_str()).collect::<Vec<_>>(), ["de", "en"]);
        assert!(one.is_some() && fingerprint(&two) != one);
        fs::write(folder.path().join("film.vtt"), vec![0; 5 << 20]).unwrap();
        assert_eq!(found().map_err(|error: Error| error.code()), Err("subtitles"));
    }

    /// The film was refused for good.
    #[test]
    fn a_file_that_cannot_be_read_now_may_be_later() {
        let absent = Path::new("/absent/film.srt");
        let error = Named::parse("film", "film.srt").unwrap().read(absent, false).unwrap_err();
        assert_eq!((error.code(), error.is_retryable()), ("subtitles", true));
        assert!(error.to_string().starts_with("/absent/film.srt: it lies beside the film and cannot be read ("));
    }

    #[test]
    fn a_file_belongs_to_the_film_whose_name_it_has_more_of() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in
            ["film.mp4", "film.de.MKV", "film.srt", "film.de.srt", "film.de.forced.srt", "film.den.srt", "film.en.txt"]
        {
            fs::write(at(name), "x").unwrap();
        }
        let names = |film: &str| seen(&at(film)).unwrap().into_iter().map(|seen| seen.name).collect::<Vec<_>>();
        assert_eq!(names("film.mp4"), ["film.den.srt", "film.srt"]);
        assert_eq!(names("film.de.MKV"), ["film.de.forced.srt", "film.de.srt"]);
    }

    #[test]
    fn of_many_films_and_subtitles_each_film_has_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("film.mp4"), "x").unwrap();
        for n in 0..300 {
            fs::write(at(&format!("film.{n}.mp4")), "").unwrap();
            fs::write(at(&format!("film.{n}.srt")), "").unwrap();
        }
        fs::write(at("film.srt"), "x").unwrap();
        assert_eq!(seen(&at("film.mp4")).unwrap().into_iter().map(|seen| seen.name).collect::<Vec<_>>(), ["film.srt"]);
    }
}
