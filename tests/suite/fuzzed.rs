//! What the fuzzers kept runs again: `make fuzz` finds, and this keeps what it found from coming back. Those of files and
//! of requests look through doors that only unit tests have, and run there (`src/pipeline/fuzz.rs`, `src/api/fuzz.rs`).

#[path = "../../fuzz/src/packagers.rs"]
mod packagers;
#[path = "../../fuzz/src/planned.rs"]
mod planned;
#[path = "../../fuzz/src/protocol.rs"]
mod protocol;
#[path = "../../fuzz/src/timeline.rs"]
mod timeline;

use std::path::Path;

/// Runs every input that was kept.
fn again(name: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpora").join(name);
    let inputs = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut count = 0;
    for input in inputs {
        run(&std::fs::read(input.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 0, "nothing was kept of {name}");
}

#[test]
fn titles_that_a_fuzzer_found_keep_their_timelines() {
    again("timeline", timeline::run);
}

#[test]
fn segments_that_a_fuzzer_found_are_packaged_as_they_should() {
    again("packagers", packagers::run);
}

#[test]
fn what_a_fuzzer_said_like_a_worker_is_understood_or_refused() {
    again("protocol", protocol::run);
}
