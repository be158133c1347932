//! Bytes on their way to the disk while the next are written: whoever waited for each sync would leave the disk idle
//! between two of them, and whoever never waited would have gigabytes to wait for at the end.

use std::fs::File;
use std::io;
use std::thread::{self, JoinHandle};

/// The sync that is under way for a file: one at a time, on a thread of its own. Dropping it leaves the thread to end by
/// itself.
#[derive(Debug, Default)]
pub(super) struct Flush {
    under_way: Option<JoinHandle<io::Result<()>>>,
}

impl Flush {
    /// Begins to make certain what was written to `file` so far, once the sync before it has ended. So no more than what
    /// is written between two calls, twice, is on its way at a time.
    pub(super) fn begin(&mut self, file: &File) -> io::Result<()> {
        self.wait()?;
        let same = file.try_clone()?;
        let thread = thread::Builder::new().name("flush".to_owned());
        self.under_way = Some(thread.spawn(move || same.sync_data())?);
        Ok(())
    }

    /// Waits for the sync that is under way. A failure is told once, to whoever waits first (fsync(2)).
    pub(super) fn wait(&mut self) -> io::Result<()> {
        let Some(under_way) = self.under_way.take() else { return Ok(()) };
        under_way.join().unwrap_or_else(|_| Err(io::Error::other("the thread that syncs died")))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_sync_that_fails_is_told_to_who_waits() {
        let mut flush = Flush::default();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"x").unwrap();
        flush.begin(&file).unwrap();
        flush.begin(&file).unwrap();
        flush.wait().unwrap();
        // A pipe cannot be synced.
        let (_reader, writer) = io::pipe().unwrap();
        let pipe = File::from(std::os::fd::OwnedFd::from(writer));
        flush.begin(&pipe).unwrap();
        assert_eq!(flush.begin(&file).unwrap_err().raw_os_error(), Some(22));
        flush.wait().unwrap();
    }
}
