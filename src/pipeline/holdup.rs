//! What holds up a demuxer that [`super::scan`] lets run.

use std::sync::{Condvar, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

/// Keeps a demuxer from going on. To pause its pipeline would do the same, if the sinks, at work without a break, let go of
/// their locks for it.
#[derive(Default)]
pub struct Rest {
    wanted: Mutex<bool>,
    over: Condvar,
}

impl Rest {
    /// From now on, or no longer.
    pub fn set(&self, wanted: bool) {
        if let Ok(mut is_wanted) = self.wanted.lock() {
            *is_wanted = wanted;
            self.over.notify_all();
        }
    }

    /// Waits as long as rest is wanted.
    pub fn take(&self) {
        if let Ok(wanted) = self.wanted.lock() {
            let _over = self.over.wait_while(wanted, |wanted| *wanted);
        }
    }
}

/// Keeps a demuxer from reading while `parsebin` still plugs it in: `parsebin` swallows what it complains of until then, and
/// whether a broken film is refused must not depend on which of two threads is quicker.
#[derive(Default)]
pub struct Plugging {
    at: Mutex<Plugged>,
    ended: Condvar,
}

#[derive(Default, PartialEq, Eq)]
enum Plugged {
    #[default]
    Not,
    /// By this thread, which may read.
    Begun(ThreadId),
    Done,
}

impl Plugging {
    /// Longest that a read is held up: an element that waits for it while it is plugged in would wait for ever.
    const PATIENCE: Duration = Duration::from_secs(1);

    /// It is being plugged in, by this thread.
    pub fn begin(&self) {
        if let Ok(mut at) = self.at.lock()
            && *at == Plugged::Not
        {
            *at = Plugged::Begun(thread::current().id());
        }
    }

    /// It was plugged in.
    pub fn end(&self) {
        if let Ok(mut at) = self.at.lock() {
            *at = Plugged::Done;
            self.ended.notify_all();
        }
    }

    /// Waits while another thread plugs it in.
    pub fn wait(&self) {
        let me = thread::current().id();
        if let Ok(at) = self.at.lock() {
            let others_plug = |at: &mut Plugged| matches!(at, Plugged::Begun(by) if *by != me);
            let _ = self.ended.wait_timeout_while(at, Self::PATIENCE, others_plug);
        }
    }
}
