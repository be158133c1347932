//! The program: what is said on the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("work") => matinee::worker::child::run(),
        _ => ExitCode::FAILURE,
    }
}
