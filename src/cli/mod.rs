//! Commands. Each is a file; what they have in common is here.

mod config;
mod doctor;
mod ingest;
mod key;
mod list;
mod probe;
mod serve;
mod sign;
mod warm;

use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};
use matinee::catalog::{Catalog, FILE, Title};
use matinee::config::{Config, Flags, Problems};
use matinee::ingest::name::is_line;
use matinee::media::TitleId;
use matinee::telemetry::logs;
use matinee::worker::{self, Pool};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

/// Threads that block at once, at most: more than disk reads, catalog look-ups and their like ever are.
const MAX_BLOCKING_THREADS: usize = 64;

/// A video-on-demand origin that encodes a segment when somebody first asks for it.
#[derive(Debug, Parser)]
#[command(name = "matinee", version, arg_required_else_help = false)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve titles over HTTP.
    Serve(serve::Serve),
    /// Add files to the library, whether or not the server runs.
    Ingest(ingest::Ingest),
    /// Show what the server would make of a file: tracks, timeline, ladder.
    Probe(probe::Probe),
    /// Show what this host can do: every pipeline template tried for real, and the sandbox.
    Doctor(doctor::Doctor),
    /// Encode a title, or part of it, ahead of demand: a job for the server.
    Warm(warm::Warm),
    /// List the titles.
    List(list::List),
    /// Sign a URL by which a title plays for a limited time.
    Sign(sign::Sign),
    /// API keys: who may manage the server.
    #[command(subcommand, arg_required_else_help = false)]
    Key(key::Command),
    /// Check the configuration.
    #[command(subcommand, arg_required_else_help = false)]
    Config(config::Command),
    /// A worker process, which a server starts by itself.
    #[command(hide = true)]
    Work,
}

/// Where things are.
#[derive(Clone, Debug, Default, Args)]
struct Place {
    /// Configuration file; also MATINEE_CONFIG.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data folder; also MATINEE_DATA.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// A name for people, of at most so many characters.
fn line<const MOST: usize>(text: &str) -> Result<String, String> {
    let must = || format!("one line of 1 to {MOST} characters is needed");
    if is_line(text, MOST) { Ok(text.trim().to_owned()) } else { Err(must()) }
}

/// What becomes of a command that is interrupted, as a rule.
const REMOVED: &str = "unfinished work was removed";

/// How a command failed.
enum Failure {
    /// The command line or the configuration: status 2.
    Usage(Vec<String>),
    /// Anything else: status 1.
    Failed(String),
    /// The same, and it was said already.
    Said,
}

pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let ended = match &cli.command {
        Command::Serve(serve) => serve.run(),
        Command::Ingest(ingest) => ingest.run(),
        Command::Probe(probe) => probe.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Warm(warm) => warm.run(),
        Command::List(list) => list.run(),
        Command::Sign(sign) => sign.run(),
        Command::Key(key) => key.run(),
        Command::Config(config) => config.run(),
        Command::Work => {
            Err(Failure::Usage(vec!["work is what a server starts by itself: run matinee serve".to_owned()]))
        }
    };
    match ended {
        Ok(()) if UNSAID.load(Ordering::Relaxed) => ExitCode::FAILURE,
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Said) => ExitCode::FAILURE,
        Err(Failure::Failed(why)) => {
            complain(&why);
            ExitCode::FAILURE
        }
        Err(Failure::Usage(lines)) => {
            lines.iter().for_each(|line| complain(line));
            ExitCode::from(2)
        }
    }
}

/// Help and version as they are; an error on one line instead of a paragraph.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return if said(error.print()) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if let (ErrorKind::MissingSubcommand, Some(ContextValue::Strings(all))) =
        (error.kind(), error.get(ContextKind::ValidSubcommand))
    {
        let shown: Vec<&str> =
            all.iter().map(String::as_str).filter(|name| !matches!(*name, "work" | "help")).collect();
        complain(&format!("a subcommand is needed: {} (matinee --help tells more)", shown.join(", ")));
        return ExitCode::from(2);
    }
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let line = lines.join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    complain(&format!("{line} (matinee --help tells more)"));
    ExitCode::from(2)
}

/// One line on standard error, whatever is in it.
fn complain(why: &str) {
    let _ = writeln!(io::stderr(), "matinee: {}", why.replace(char::is_control, " "));
}

/// Whether something could not be said.
static UNSAID: AtomicBool = AtomicBool::new(false);

/// A line on standard output. If it cannot be written the command goes on, and fails at its end.
fn say(line: impl Display) {
    if !said(writeln!(io::stdout(), "{line}")) {
        UNSAID.store(true, Ordering::Relaxed);
    }
}

/// Complains about an error, once. Who does not listen any more, `head` for one, is no reason to fail.
fn said(written: io::Result<()>) -> bool {
    match written {
        Err(why) if why.kind() != io::ErrorKind::BrokenPipe => {
            if !UNSAID.load(Ordering::Relaxed) {
                complain(&format!("standard output cannot be written: {why}"));
            }
            false
        }
        _ => true,
    }
}

fn failed(why: impl Display) -> Failure {
    Failure::Failed(why.to_string())
}

impl Place {
    fn load(&self) -> Result<Config, Failure> {
        load(&Flags { config: self.config.clone(), listen: None, data: self.data.clone() })
    }
}

fn load(flags: &Flags) -> Result<Config, Failure> {
    let (mut environment, mut unreadable) = (Vec::new(), Vec::new());
    let ours = std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"MATINEE_"));
    for (name, value) in ours {
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => environment.push((name, value)),
            // Another folder would be worked in than is meant.
            (Ok(name), Err(_)) => unreadable.push(format!("{name}: must be UTF-8")),
            (Err(name), _) => unreadable.push(format!("{}: there is no such variable", name.to_string_lossy())),
        }
    }
    let loaded = Config::load(flags, environment);
    let Problems(problems) = loaded.as_ref().err().cloned().unwrap_or_default();
    unreadable.extend(problems.iter().map(ToString::to_string));
    if unreadable.is_empty() { loaded.map_err(failed) } else { Err(Failure::Usage(unreadable)) }
}

/// Logs of a command that is not the server: only if somebody asks for them, for its errors are said anyway.
fn logs_if_wanted(config: &Config) -> Result<(), Failure> {
    if config.log.level == logs::Config::default().level { Ok(()) } else { logs::start(&config.log).map_err(failed) }
}

/// A runtime for a command that mostly waits for a worker.
fn small_runtime() -> Result<Runtime, Failure> {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(MAX_BLOCKING_THREADS).build().map_err(failed)
}

/// Does it, unless it is interrupted, which drops it; says `then` in that case.
fn until_interrupted<T>(then: &str, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    small_runtime()?.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        tokio::select! {
            done = work => done,
            _ = interrupt.recv() => Err(failed(format_args!("interrupted: {then}"))),
            _ = terminate.recv() => Err(failed(format_args!("terminated: {then}"))),
        }
    })
}

/// The catalog of a data folder, if there is one: looking must not make it. One that was named is missed; the usual one comes
/// with the first film.
fn catalog(config: &Config) -> Result<Option<Catalog>, Failure> {
    if config.data_dir.join(FILE).exists() {
        return Catalog::open(&config.data_dir).map(Some).map_err(failed);
    }
    if config.data_dir == Config::default().data_dir {
        return Ok(None);
    }
    Err(failed(format_args!("{} is no data folder of Matinee", shown(&config.data_dir))))
}

/// A title that is there, and the catalog that has it.
fn title(config: &Config, id: &TitleId) -> Result<(Catalog, Title), Failure> {
    let folder = shown(&config.data_dir);
    let unknown = || failed(format_args!("there is no title {id} in {folder}: matinee list shows them"));
    let catalog = catalog(config)?.ok_or_else(unknown)?;
    let title = catalog.title(id).map_err(failed)?.ok_or_else(unknown)?;
    Ok((catalog, title))
}

/// Workers for a command. GStreamer's registry is shared with the server if there is a data folder, else made anew.
fn pool(config: &Config, standby: usize) -> Result<Pool, Failure> {
    let there = config.data_dir.join(FILE).exists();
    let workers = if there { matinee::app::worker_config(config) } else { config.worker.clone() };
    Pool::start(worker::Config { standby, ..workers }).map_err(failed)
}

fn shown(path: &Path) -> String {
    path.display().to_string().replace(char::is_control, " ")
}
