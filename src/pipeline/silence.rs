//! Tells one who says nothing any more from one who is kept from working.

use std::time::Duration;

/// Processor time in a row of looks that is nothing: what looking costs.
const IDLE: Duration = Duration::from_millis(40);

/// Notices that nothing happens any more: nothing comes, no processor is used and no read is under way.
///
/// Looks are counted, each of which waited for a while in vain, and not the time that passed. A worker that is stopped or
/// frozen for a minute comes back to one look that took a minute, and what it has open is not given up for it: the rest of
/// the segment would be made of pictures that are held, and kept so for ever. Nor does a slow disk look like the end.
pub struct Silence<P> {
    /// What had been done.
    seen: P,
    /// Processor time until then.
    used: Duration,
    looks: u32,
}

impl<P: PartialEq> Silence<P> {
    /// With what has been done so far.
    pub fn new(seen: P) -> Self {
        Self { seen, used: processor_time(), looks: 0 }
    }

    /// After a look that waited in vain: how many there were in a row in which nothing happened.
    pub fn look(&mut self, seen: P, is_reading: bool) -> u32 {
        self.looked(seen, is_reading, processor_time())
    }

    fn looked(&mut self, seen: P, is_reading: bool, used: Duration) -> u32 {
        let worked = seen != self.seen || used.saturating_sub(self.used) > IDLE;
        if worked {
            (self.seen, self.used) = (seen, used);
        }
        self.looks = if worked || is_reading { 0 } else { self.looks + 1 };
        self.looks
    }
}

/// What this process has used of processors so far. On a busy host the clock says nothing of what it could do.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_in_vain_count_until_something_is_done_or_read() {
        let mut silence = Silence { seen: 0, used: Duration::ZERO, looks: 0 };
        assert_eq!([0, 0].map(|seen| silence.looked(seen, false, IDLE)), [1, 2]);
        assert_eq!(silence.looked(1, false, IDLE), 0, "something came");
        assert_eq!(silence.looked(1, false, 2 * IDLE), 1, "looking itself is no work");
        assert_eq!(silence.looked(1, false, 4 * IDLE), 0, "a processor was used");
        assert_eq!(silence.looked(1, false, 4 * IDLE), 1);
        assert_eq!([true, false].map(|reads| silence.looked(1, reads, 4 * IDLE)), [0, 1], "the disk is slow");
    }
}
