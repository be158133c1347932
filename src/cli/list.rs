//! `matinee list`

use clap::Args;
use matinee::api::playback;
use matinee::catalog::{Entry, MAX_PAGE, State};
use serde_json::json;

use super::{Failure, Place, catalog, failed, say, shown};

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    place: Place,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
}

impl List {
    pub fn run(&self) -> Result<(), Failure> {
        let config = self.place.load()?;
        let mut none = true;
        if let Some(catalog) = catalog(&config)? {
            let mut after = None;
            loop {
                let page = catalog.titles(after.as_ref(), MAX_PAGE, None).map_err(failed)?;
                none &= page.entries.is_empty();
                page.entries.iter().for_each(|entry| self.say(entry));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        if none && !self.json {
            say(format_args!("no titles in {}", shown(&config.data_dir)));
        }
        Ok(())
    }

    fn say(&self, entry: &Entry) {
        let Entry { id, name, state, duration_s, size_bytes, .. } = entry;
        let state = state.as_str();
        if self.json {
            let error = entry.failure.as_ref().map(|f| json!({ "code": f.code, "message": f.message }));
            let title = json!({
                "id": id, "title": name, "state": state, "error": error, "duration_s": duration_s,
                "size_bytes": size_bytes, "playback": playback(id, entry.state),
            });
            say(title);
        } else {
            let url = if entry.state == State::Failed { "-".to_owned() } else { format!("/v/{id}/master.m3u8") };
            let length = duration_s.map_or_else(|| "-".to_owned(), |s| format!("{s:.1} s"));
            say(format_args!("{id}  {state:<10}  {length:>10}  {url}  {}", name.replace(char::is_control, " ")));
        }
    }
}
