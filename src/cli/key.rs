//! `matinee key`: works on the data folder, whether or not a server runs. This is how the first key comes into being.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use matinee::access::{Issued, Keys, MAX_NAME_CHARS};
use matinee::api;
use matinee::catalog::{Catalog, now_ms};
use matinee::media::{KeyId, Quota, Scope};
use serde_json::json;

use super::{Failure, Place, catalog, failed, line, say};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add an API key and show it; it is not shown again.
    Add(Add),
    /// List the keys, including revoked ones.
    List(List),
    /// Revoke a key: it is not accepted any more.
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub struct Add {
    /// Name of the key in the list.
    #[arg(value_parser = line::<MAX_NAME_CHARS>)]
    name: String,
    /// Scopes of the key: read, upload, admin. Repeat the option, or separate them by commas.
    #[arg(long, required = true, value_delimiter = ',')]
    scope: Vec<Scope>,
    /// Quota of bytes of films, such as 100GiB; 0 for no limit. Default: uploads.key_max_bytes of the configuration.
    #[arg(long, value_parser = bytes)]
    max_bytes: Option<u64>,
    /// Quota of titles; 0 for no limit. Default: uploads.key_max_titles.
    #[arg(long)]
    max_titles: Option<u32>,
    /// Quota of uploads in progress; 0 for no limit. Default: uploads.key_max_uploads.
    #[arg(long)]
    max_uploads: Option<u32>,
    #[command(flatten)]
    place: Place,
    /// Print a JSON object instead of the key alone.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    place: Place,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct Revoke {
    /// Id of the key, as `matinee key list` shows it.
    id: KeyId,
    #[command(flatten)]
    place: Place,
}

impl Command {
    pub fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Add(add) => add.run(),
            Self::List(list) => list.run(),
            Self::Revoke(revoke) => revoke.run(),
        }
    }
}

impl Add {
    fn run(&self) -> Result<(), Failure> {
        let scopes = self.scope.iter().copied().collect();
        let (max_titles, max_uploads) = (self.max_titles.map(u64::from), self.max_uploads.map(u64::from));
        let quota = Quota { max_bytes: self.max_bytes, max_titles, max_uploads };
        let Issued { text, key } = keys(&self.place)?.issue(&self.name, scopes, quota, now_ms()).map_err(failed)?;
        if self.json {
            let mut shown = api::key(&key);
            shown["key"] = json!(text);
            say(shown);
        } else {
            // The key alone, so that a script can take it.
            say(text);
        }
        Ok(())
    }
}

impl List {
    fn run(&self) -> Result<(), Failure> {
        for key in there(&self.place)?.map_or_else(|| Ok(Vec::new()), |keys| keys.list()).map_err(failed)? {
            if self.json {
                say(api::key(&key));
                continue;
            }
            let used = key.used_at_ms.map_or_else(|| "never used".to_owned(), |ms| format!("used {}", time(ms)));
            let state = if key.revoked_at_ms.is_some() { "revoked" } else { used.as_str() };
            say(format_args!("{}  {:<18}  {state:<25}  {}", key.id, key.scopes.to_string(), key.name));
        }
        Ok(())
    }
}

impl Revoke {
    fn run(&self) -> Result<(), Failure> {
        let found = there(&self.place)?.map_or(Ok(None), |keys| keys.revoke(&self.id, now_ms())).map_err(failed)?;
        let unknown = || failed(format_args!("there is no key {}: matinee key list shows them", self.id));
        found.map(|key| say(format_args!("revoked {} ({})", key.id, key.name))).ok_or_else(unknown)
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    let size = matinee::config::size(text).and_then(|size| u64::try_from(size).ok());
    size.ok_or_else(|| "must be a size, such as 4096 or 100GiB".to_owned())
}

fn keys(place: &Place) -> Result<Keys, Failure> {
    let config = place.load()?;
    Ok(Keys::new(Catalog::open(&config.data_dir).map_err(failed)?))
}

/// The keys of a data folder, if there is one.
fn there(place: &Place) -> Result<Option<Keys>, Failure> {
    Ok(catalog(&place.load()?)?.map(Keys::new))
}

/// To the second, for people.
fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
