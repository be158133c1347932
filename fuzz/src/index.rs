//! Files, and what a worker says is in them. Holds: whatever reads a file's own bytes in the worker gives something or
//! nothing and never panics; an index, however it came about, is planned or refused; and what is planned can be listed in
//! every playlist. Inputs are files, or indices as they travel from a worker (`postcard`).

use std::cell::RefCell;
use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use matinee::media::Index;
use matinee::pipeline;

use super::planned::planned;

/// Tries some bytes.
pub fn run(data: &[u8]) {
    if let Ok(index) = postcard::from_bytes::<Index>(data) {
        let said = postcard::to_stdvec(&index).expect("an index can be said");
        assert_eq!(postcard::from_bytes(&said).as_ref(), Ok(&index), "and understood");
        drop(planned(&index));
    }
    for index in read(data) {
        drop(planned(&index));
    }
}

fn read(data: &[u8]) -> Vec<Index> {
    thread_local! {
        static PLACE: RefCell<File> = RefCell::new(tempfile::tempfile().expect("a file for the input"));
        static STAGE: pipeline::fuzz::Stage = pipeline::fuzz::stage();
    }
    PLACE.with_borrow_mut(|file| {
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(data))
            .expect("written");
        // A file without a name is gone when the fuzzer is, however that ends.
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        STAGE.with(|stage| pipeline::fuzz::file(&path, data, stage))
    })
}
