//! A clock that was put back: whatever was to be done by then would wait until it has caught up, for hours or years.
//!
//! It is noticed by whoever claims something, because the time is earlier than it was, and looked for at a server's start.
//! What was never tried is due at once then, and so is what would be later than anything is put off.

use std::sync::atomic::Ordering;

use rusqlite::{Connection, params};

use super::{Catalog, Error};

/// No job is put off for more than about so long, milliseconds.
pub const LONGEST_JOB_PAUSE_MS: i64 = 5 * 60 * 1000;
/// No delivery is put off for longer, milliseconds, whoever asks for it.
pub const LONGEST_DELIVERY_PAUSE_MS: i64 = 6 * 3600 * 1000;
/// No job is claimed for longer without a heartbeat, milliseconds.
const LONGEST_LEASE_MS: i64 = 60 * 1000;
/// A step that is shorter is waited for, milliseconds.
const STEP_MS: i64 = 1000;

impl Catalog {
    /// Looks whether the clock was put back since it was looked at before.
    pub(super) fn look_at_clock(&self, writer: &Connection, now_ms: i64) -> Result<(), Error> {
        let latest_ms = &self.connections.latest_ms;
        let before_ms = latest_ms.fetch_max(now_ms, Ordering::Relaxed);
        if before_ms.saturating_sub(now_ms) < STEP_MS {
            return Ok(());
        }
        tracing::warn!(step_ms = before_ms - now_ms, "the clock was put back: what waits for it is due now");
        put_back(writer, now_ms)?;
        latest_ms.store(now_ms, Ordering::Relaxed);
        Ok(())
    }
}

/// The clock may have been put back: nothing waits for it.
pub(super) fn put_back(writer: &Connection, now_ms: i64) -> Result<(), Error> {
    writer.execute(
        "UPDATE jobs SET due_at_ms = ?1
         WHERE state = 'queued' AND due_at_ms > ?1
             AND (due_at_ms > ?1 + ?2 OR (attempts = 0 AND error_code IS NULL))",
        params![now_ms, 2 * LONGEST_JOB_PAUSE_MS],
    )?;
    writer.execute(
        "UPDATE jobs SET lease_until_ms = ?1 WHERE state = 'running' AND lease_until_ms > ?1 + ?2",
        params![now_ms, LONGEST_LEASE_MS],
    )?;
    writer.execute(
        "UPDATE deliveries SET due_at_ms = ?1
         WHERE ended_at_ms IS NULL AND due_at_ms > ?1 AND (due_at_ms > ?1 + ?2 OR attempts = 0)",
        params![now_ms, LONGEST_DELIVERY_PAUSE_MS],
    )?;
    Ok(())
}
