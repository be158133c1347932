//! `matinee ingest`

use std::io::{IsTerminal, stderr};
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use matinee::api::playback;
use matinee::catalog::{Catalog, State};
use matinee::ingest::name::MAX_NAME_CHARS;
use matinee::ingest::{self, Ingested, Progress, Rooms};
use matinee::library::Library;
use serde_json::json;

use super::{Failure, Place, REMOVED, complain, failed, line, logs_if_wanted, pool, say, shown, until_interrupted};

#[derive(Debug, Args)]
pub struct Ingest {
    /// Video or audio files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// Name of the title; default: the name of the file. Only with one file.
    #[arg(long, value_parser = line::<MAX_NAME_CHARS>)]
    title: Option<String>,
    /// Print a JSON object for each file, one per line.
    #[arg(long)]
    json: bool,
}

impl Ingest {
    pub fn run(&self) -> Result<(), Failure> {
        if self.title.is_some() && self.files.len() > 1 {
            return Err(Failure::Usage(vec!["--title names one title: give one file with it".to_owned()]));
        }
        let config = self.place.load()?;
        logs_if_wanted(&config)?;
        let catalog = Catalog::open(&config.data_dir).map_err(failed)?;
        let library = Library::open(&config.data_dir).map_err(failed)?;
        until_interrupted(REMOVED, async {
            // Each file needs a worker of its own; the next one starts while the first is busy.
            let pool = pool(&config, usize::from(self.files.len() > 1))?;
            let (ladder, reserve_bytes) = (config.ladder.clone(), config.uploads.reserve_bytes);
            let rooms = Rooms { catalog, library, pool: pool.clone(), ladder, reserve_bytes };
            let mut all_good = true;
            for file in &self.files {
                all_good &= self.one(&rooms, file).await;
            }
            pool.close().await;
            if all_good { Ok(()) } else { Err(Failure::Said) }
        })
    }

    /// One file; the others go on if it cannot be taken.
    async fn one(&self, rooms: &Rooms, file: &Path) -> bool {
        let display = Display::new(file);
        let ended = ingest::file(rooms, file, self.title.as_deref(), &|step| display.step(step)).await;
        display.clear();
        match &ended {
            Ok(ingested) => self.good(file, ingested),
            Err(error) => {
                complain(&error.to_string());
                if self.json {
                    say(
                        json!({ "file": file.to_string_lossy(), "error": { "code": error.code(), "message": error.to_string() } }),
                    );
                }
            }
        }
        ended.is_ok()
    }

    fn good(&self, file: &Path, ingested: &Ingested) {
        let Ingested { id, title, digest, size_bytes, duration_s, renditions, is_new_source } = ingested;
        let hls = format!("/v/{id}/master.m3u8");
        if self.json {
            let line = json!({
                "file": file.to_string_lossy(), "id": id, "title": title, "digest": digest, "size_bytes": size_bytes,
                "duration_s": duration_s, "renditions": renditions, "new_source": is_new_source,
                "playback": playback(id, State::Ready),
            });
            say(line);
        } else {
            say(format_args!("{}: ready at {hls} ({title}, {duration_s:.1} s, {renditions} renditions)", shown(file)));
        }
    }
}

/// How far it is: a bar on a terminal, nothing elsewhere, where the line at the end says it all.
struct Display(Option<ProgressBar>);

impl Display {
    fn new(file: &Path) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{prefix} {msg} [{bar:30}] {percent}% {eta}");
            let bar = ProgressBar::new(1000).with_prefix(shown(file));
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self(bar)
    }

    fn step(&self, step: Progress) {
        let Some(bar) = &self.0 else { return };
        match step {
            Progress::Copying { done_bytes, all_bytes } => {
                bar.set_message("copying");
                bar.set_length(all_bytes.max(1));
                bar.set_position(done_bytes);
            }
            Progress::Inspecting(thousandths) => {
                bar.set_message("inspecting");
                bar.set_length(1000);
                bar.set_position(thousandths.into());
            }
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
