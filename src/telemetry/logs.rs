//! Log lines on standard error: text for people at a terminal, one JSON object per line for everything else.

use std::io::{IsTerminal, stderr};

use serde::{Deserialize, Serialize};
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Said unless a directive asks for more: the reader of MP4 warns of each box that it does not know, in every segment that
/// is wrapped anew.
const QUIET: &str = "mp4_atom=error";

/// `[log]`: how much is logged, and in which form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The form.
    pub format: Format,
    /// A level, or comma-separated directives for parts of the program: `info,matinee::encoder=debug`.
    pub level: String,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// One object per line.
    Json,
}

/// Why logging was not set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The level is no level.
    #[error("log.level = {level:?}: must be {LEVEL_MUST}")]
    Level {
        /// What was given.
        level: String,
    },
    /// It was set up before.
    #[error("logging is set up already")]
    Twice,
}

/// What a level must be, for messages.
pub const LEVEL_MUST: &str =
    "off, error, warn, info, debug or trace, or directives such as \"info,matinee::encoder=debug\"";

impl Default for Config {
    fn default() -> Self {
        Self { format: Format::Auto, level: "info".into() }
    }
}

impl Config {
    /// The filter that the level means, or `None` if it means none. Stricter than [`EnvFilter`], which takes a mistyped
    /// level for the name of a module and then logs all of that module and nothing else.
    #[must_use]
    pub fn filter(&self) -> Option<EnvFilter> {
        let known = |part: &str| match part.rsplit_once('=') {
            None => LEVELS.contains(&part),
            Some((target, level)) => !target.is_empty() && LEVELS.contains(&level),
        };
        let parts: Vec<&str> = self.level.split(',').map(str::trim).collect();
        let quiet = Some(QUIET).filter(|_| self.level != "off");
        let directives = || quiet.into_iter().chain(parts.iter().copied()).collect::<Vec<_>>().join(",");
        parts.iter().all(|part| known(part)).then(|| EnvFilter::try_new(directives()).ok()).flatten()
    }
}

/// Sends the process's log lines to standard error, once.
///
/// # Errors
/// [`Error::Level`], [`Error::Twice`].
pub fn start(config: &Config) -> Result<(), Error> {
    let filter = config.filter().ok_or_else(|| Error::Level { level: config.level.clone() })?;
    let terminal = stderr().is_terminal();
    let json = match config.format {
        Format::Auto => !terminal,
        Format::Text => false,
        Format::Json => true,
    };
    tracing::subscriber::set_global_default(subscriber(filter, json, terminal, stderr)).map_err(|_| Error::Twice)
}

fn subscriber<W>(filter: EnvFilter, json: bool, colour: bool, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour && !json).with_writer(writer);
    if json { Box::new(lines.json().flatten_event(true).finish()) } else { Box::new(lines.finish()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, json: bool) -> String {
        let (lines, config) = (Lines::default(), Config { level: level.into(), ..Config::default() });
        let writer = lines.clone();
        let subscriber = subscriber(config.filter().unwrap(), json, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            let _request = tracing::info_span!("request", id = "7f").entered();
            tracing::info!(segment = 3, "made");
            tracing::debug!("detail");
        });
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_lines_carry_fields_and_the_request_they_belong_to() {
        let text = logged("info", true);
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["message"], &line["segment"]), (&"made".into(), &3.into()));
        assert_eq!((&line["level"], &line["span"]["id"]), (&"INFO".into(), &"7f".into()));
    }

    #[test]
    fn text_lines_are_plain_and_the_level_says_how_many_there_are() {
        let text = logged("warn,matinee=debug", false);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(
            text.contains("request{id=\"7f\"}") && text.contains("made segment=3") && !text.contains('\x1b'),
            "{text}"
        );
        assert_eq!(logged("warn", false), "");
    }

    #[test]
    fn a_mistyped_level_is_no_level() {
        for bad in ["", "inof", "info,", "=debug", "matinee=loud", "info;debug", "matinee"] {
            assert!(Config { level: bad.into(), ..Config::default() }.filter().is_none(), "{bad:?}");
        }
        for good in ["off", "trace", "info, matinee::encoder=debug", "matinee[request]=trace"] {
            assert!(Config { level: good.into(), ..Config::default() }.filter().is_some(), "{good:?}");
        }
    }
}
