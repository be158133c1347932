//! Real files, which nobody made for us: phones, broadcasts, browsers' and libraries' own test files, damaged ones.
//!
//! They lie in `../shared/corpus` beside the repository, or where `CORPUS` says (docs/ARCHITECTURE.md, Tests). The ordinary
//! suite looks at what becomes of each, and without them says so and passes. `make corpus` also walks every rendition of
//! every file with the validators of `CHECK_HOME`, which takes most of an hour; without files it fails.

mod judge;
mod known;
mod picture;
mod sound;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Data, TestServer, run, skipped};

/// A refusal comes before anyone wonders. Measured while the other tests run, hence the room.
const REFUSED_WITHIN: Duration = Duration::from_secs(5);

/// Something that is not as it should be.
pub struct Finding {
    pub file: String,
    /// Who says so: `hls`, `ts`, `dash`, `ffmpeg`, `frames`, `offset`, `picture`, `colour`, `sound`.
    pub judge: &'static str,
    pub what: String,
}

/// A file of the manifest.
struct Film {
    name: String,
    path: PathBuf,
    expect: String,
}

/// Where the files are, or what is missing.
pub fn folder() -> Result<PathBuf, String> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let folder = std::env::var_os("CORPUS").map_or(beside, PathBuf::from);
    let manifest = folder.join("MANIFEST.json");
    let missing = || format!("there is no corpus: {} does not exist; set CORPUS to its folder", manifest.display());
    if manifest.exists() { Ok(folder) } else { Err(missing()) }
}

/// The files, or `None` said aloud: who has no corpus can run the ordinary suite.
fn films_if_any() -> Option<Vec<Film>> {
    folder().inspect_err(|missing| skipped(missing)).ok().map(|folder| films(&folder))
}

fn films(folder: &Path) -> Vec<Film> {
    let manifest = std::fs::read(folder.join("MANIFEST.json")).unwrap();
    let manifest: Vec<Value> = serde_json::from_slice(&manifest).unwrap();
    let film = |entry: &Value| {
        let name = entry["file"].as_str().unwrap().to_owned();
        let path = folder.join(&name);
        Film { name, path, expect: entry["expect"].as_str().unwrap().to_owned() }
    };
    manifest.iter().map(film).collect()
}

/// What `matinee probe` makes of a file.
fn probe(data: &Data, film: &Film) -> Value {
    let ran = run(data.command(&["probe", "--json", film.path.to_str().unwrap()]));
    assert_eq!(ran.code(), 0, "{}: {ran:?}", film.name);
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn what_cannot_be_played_is_refused_soon_for_a_reason_that_fits_and_leaves_nothing() {
    let Some(films) = films_if_any() else { return };
    let data = Data::new();
    let mut seen = 0;
    for film in films.iter().filter(|f| f.expect == "reject") {
        let began = Instant::now();
        let ran = run(data.command(&["ingest", film.path.to_str().unwrap()]));
        let took = began.elapsed();
        assert_eq!(ran.code(), 1, "{}: {ran:?}", film.name);
        let message = ran.error();
        let fits = known::REFUSALS.iter().find(|(name, _)| *name == film.name);
        let (_, words) = fits.unwrap_or_else(|| panic!("{}: say in known.rs why it is refused: {message}", film.name));
        assert!(message.contains(words), "{}: {message:?} does not say {words:?}", film.name);
        assert!(took < REFUSED_WITHIN, "{}: refused after {took:?}", film.name);
        seen += 1;
    }
    assert!(seen >= known::REFUSALS.len(), "{seen} files of {} were there", known::REFUSALS.len());
    assert_eq!(data.sources(), Vec::<String>::new());
    data.assert_tidy();
}

#[test]
fn odd_sources_have_the_tracks_rates_and_lengths_that_their_frames_say() {
    let Some(films) = films_if_any() else { return };
    let data = Data::new();
    for (name, wanted) in known::SHAPES {
        let Some(film) = films.iter().find(|f| f.name == *name) else { panic!("{name} is not in the manifest") };
        let probed = probe(&data, film);
        let is_played = |track: &Value| track.get("why_not").is_none();
        let tracks = probed["tracks"].as_array().unwrap();
        let of = |kind: &str| tracks.iter().find(|t| t["kind"] == kind && is_played(t)).cloned();
        let shape = known::Shape {
            rate: of("video").map(|v| v["frame_rate"].as_f64().map_or("variable".to_owned(), |r| format!("{r:.3}"))),
            frames: of("video").and_then(|v| v["frames"].as_u64()),
            size: of("video").map(|v| (v["width"].as_u64().unwrap(), v["height"].as_u64().unwrap())),
            sound: of("audio")
                .map(|a| format!("{} {:.3}", a["codec"].as_str().unwrap(), a["duration_s"].as_f64().unwrap())),
        };
        assert_eq!(shape, wanted(), "{name}");
    }
}

#[test]
#[ignore = "walks every rendition of every real file: `make corpus`, most of an hour"]
fn every_playable_file_is_served_as_the_validators_want_it() {
    let films = films(&folder().unwrap_or_else(|missing| panic!("{missing}")));
    let only = std::env::var("FILMS").unwrap_or_default();
    let wanted = |f: &&Film| f.expect != "reject" && (only.is_empty() || only.split(' ').any(|o| f.name.contains(o)));
    let mut found = Vec::new();
    for film in films.iter().filter(wanted) {
        let began = Instant::now();
        let before = found.len();
        walk(film, &mut found);
        println!("{}: {} findings, {:.0?}", film.name, found.len() - before, began.elapsed());
        for finding in &found[before..] {
            println!("    {} {}", finding.judge, finding.what);
        }
    }
    let mut unexpected = BTreeMap::new();
    println!("\nDeviations:");
    for Finding { file, judge, what } in &found {
        match known::DEVIATIONS.iter().find(|d| d.covers(file, judge, what)) {
            Some(known) => println!("  {file}: {judge} {what}\n      because {}", known.reason),
            None => *unexpected.entry(format!("{file}: {judge} {what}")).or_insert(0) += 1,
        }
    }
    assert!(unexpected.is_empty(), "{} unexpected findings: {unexpected:#?}", unexpected.len());
}

fn walk(film: &Film, found: &mut Vec<Finding>) {
    let data = Data::new();
    let ran = run(data.command(&["ingest", "--json", film.path.to_str().unwrap()]));
    if ran.code() != 0 {
        let file = film.name.clone();
        return found.push(Finding { file, judge: "ingest", what: ran.stderr.trim().to_owned() });
    }
    let id = ran.json()[0]["id"].as_str().unwrap().to_owned();
    let server = TestServer::over(&data);
    let mut say = |judge, what| found.push(Finding { file: film.name.clone(), judge, what });
    judge::validators(&server, &id, &mut say);
    judge::clean_transport(&server, &id, &mut say);
    judge::frames(&server, &id, &film.path, &mut say);
    picture::pictures(&server, &id, &film.path, &mut say);
    sound::sound(&server, &id, &film.path, &mut say);
}
