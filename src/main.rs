//! The program: what is said on the command line, and how it ends.
//!
//! Exit status 0 is success, 2 a usage or configuration error, 1 anything else; an error is a line on standard error.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: a worker is started often, and must not have threads of a runtime.
    match std::env::args().nth(1).as_deref() {
        Some("work") if matinee::worker::child::is_one() => matinee::worker::child::run(),
        _ => cli::run(),
    }
}
