//! `make bench`: Matinee beside what people would use instead, in the same run on the same machine, as ratios. Both sides
//! of a line take turns, and a ratio is one of medians: other load on the machine falls on both. The peer's own command stands
//! below each line.
//!
//! `BENCH_LINES=1,4` measures only some; `BENCH_SOURCE` names another film of at least 70 s, 1080p. What is
//! made for it lies below `target/tmp` and is kept for the next run; all else goes when the run ends. A peer that is not
//! installed is an error, which is told where its figures would stand.

mod cold;
mod cpu;
mod ffmpeg;
mod films;
mod hot;
mod http;
mod ladder;
mod length;
mod memory;
mod play;
mod server;
mod viewers;

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

type Outcome<T> = Result<T, Box<dyn Error>>;
type Line = (&'static str, fn() -> Outcome<Vec<Row>>);

/// The rendition that is asked for where there is one: its short side.
const HEIGHT: u64 = 720;

/// By the numbers of docs/BENCHMARKS.md. Line 5 is measured with line 4; line 8 is a benchmark of its own, `day`.
const LINES: [Line; 8] = [
    ("1", cold::measure),
    ("2", play::measure),
    ("3", ladder::measure),
    ("4", hot::measure),
    ("6", viewers::three),
    ("7", viewers::warming),
    ("9", memory::measure),
    ("10", length::measure),
];

/// What a figure should be.
#[derive(Clone, Copy)]
enum Bar {
    Most(f64),
    Least(f64),
    /// It is shown, and nothing is asked of it.
    None,
}

/// A line of the table.
struct Row {
    what: String,
    ours: String,
    peer: String,
    figure: f64,
    bar: Bar,
    /// How the peer was started, or what the other side is.
    beside: String,
}

impl Row {
    /// Two durations and their ratio.
    fn times(what: impl Into<String>, ours: Duration, peer: Duration, bar: Bar, beside: &str) -> Self {
        let seconds = |of: Duration| format!("{:.3} s", of.as_secs_f64());
        let figure = ours.as_secs_f64() / peer.as_secs_f64();
        Self { what: what.into(), ours: seconds(ours), peer: seconds(peer), figure, bar, beside: beside.to_owned() }
    }

    fn print(&self, line: &str) {
        let (bar, met) = match self.bar {
            Bar::Most(most) => (format!("at most {most}"), Some(self.figure <= most)),
            Bar::Least(least) => (format!("at least {least}"), Some(self.figure >= least)),
            Bar::None => (String::new(), None),
        };
        let verdict = met.map_or("", |met| if met { "ok" } else { "MISSED" });
        let Self { what, ours, peer, figure, .. } = self;
        println!("{line:>3}  {what:<52} {ours:>14} {peer:>14} {figure:>9.2}  {bar:<14} {verdict}");
    }
}

fn main() -> ExitCode {
    // `cargo test --all-targets` starts benchmarks too, without this word.
    if !env::args().any(|a| a == "--bench") {
        return ExitCode::SUCCESS;
    }
    let chosen = env::var("BENCH_LINES").ok();
    let wanted = |line: &str| {
        let list = chosen.as_deref().filter(|list| !list.is_empty());
        list.is_none_or(|list| list.split(',').any(|one| one.trim() == line || (line, one.trim()) == ("4", "5")))
    };
    let mut measured = Vec::new();
    for (line, measure) in LINES.into_iter().filter(|(line, _)| wanted(line)) {
        eprintln!("line {line} ...");
        measured.push((line, measure()));
    }
    let (what, ours, peer, figure) = ("work", "matinee", "peer", "ratio");
    println!("{:>3}  {what:<52} {ours:>14} {peer:>14} {figure:>9}", "");
    let mut whole = true;
    for (line, rows) in &measured {
        match rows {
            Ok(rows) => {
                let mut beside = "";
                for row in rows {
                    if row.beside != beside {
                        beside = &row.beside;
                        println!("     {beside}");
                    }
                    row.print(line);
                }
            }
            Err(error) => {
                whole = false;
                println!("{line:>3}  not measured: {error}");
            }
        }
    }
    if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The middle one of some figures.
fn median<T: Copy>(of: impl IntoIterator<Item = T>, order: impl FnMut(&T, &T) -> std::cmp::Ordering) -> T {
    let mut all: Vec<T> = of.into_iter().collect();
    all.sort_by(order);
    all[all.len() / 2]
}

/// The middle one of some durations.
fn median_time(of: impl IntoIterator<Item = Duration>) -> Duration {
    median(of, Ord::cmp)
}
