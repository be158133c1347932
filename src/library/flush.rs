//! Bytes on their way to the disk while the next are written: whoever waited for each sync would leave the disk idle
//! between two of them, and whoever never waited would have gigabytes to wait for at the end.

use std::fs::File;
use std::io;
use std::thread::{self, JoinHandle};

/// The sync that is under way for a file, and what is done once it has ended, of which a `T` comes: one at a time, on a
/// thread of its own. Dropping it leaves the thread to end by itself.
#[derive(Debug)]
pub(super) struct Flush<T> {
    under_way: Option<JoinHandle<io::Result<T>>>,
}

impl<T> Default for Flush<T> {
    fn default() -> Self {
        Self { under_way: None }
    }
}

impl<T: Send + 'static> Flush<T> {
    /// Begins to make certain what was written to `file` so far, once the sync before it has ended, of which this returns
    /// what came. So no more than what is written between two calls, twice, is on its way at a time.
    pub(super) fn begin(
        &mut self,
        file: &File,
        then: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<Option<T>> {
        let before = self.wait()?;
        let same = file.try_clone()?;
        let thread = thread::Builder::new().name("flush".to_owned());
        self.under_way = Some(thread.spawn(move || same.sync_data().and_then(|()| then()))?);
        Ok(before)
    }

    /// Waits for the sync that is under way. A failure is told once, to whoever waits first (fsync(2)).
    pub(super) fn wait(&mut self) -> io::Result<Option<T>> {
        let Some(under_way) = self.under_way.take() else { return Ok(None) };
        under_way.join().unwrap_or_else(|_| Err(io::Error::other("the thread that syncs died"))).map(Some)
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
        assert_eq!(flush.begin(&file, || Ok(1)).unwrap(), None);
        assert_eq!(flush.begin(&file, || Ok(2)).unwrap(), Some(1));
        assert_eq!(flush.wait().unwrap(), Some(2));
        // A pipe cannot be synced.
        let (_reader, writer) = io::pipe().unwrap();
        let pipe = File::from(std::os::fd::OwnedFd::from(writer));
        flush.begin(&pipe, || panic!("what was not synced is not certain")).unwrap();
        assert_eq!(flush.begin(&file, || Ok(3)).unwrap_err().raw_os_error(), Some(22));
        assert_eq!(flush.wait().unwrap(), None);
    }
}
