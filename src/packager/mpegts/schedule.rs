//! The order of things: when each unit is due, where the program clock is shown, where the tables stand.
//!
//! A segment owns a stretch of the clock, and the stretches of neighbours abut: what is due earlier or later than its
//! segment's share moves to the edge. So the clock rises over every boundary, whatever is on the other side.

use crate::media::Program;

use super::packet::Pid;
use super::{Error, Unit};

/// Coded data arrives this long before it is decoded, ticks of the clock: a few frames' worth of a link that is as fast
/// as the stream.
const LEAD: i64 = 27_000;
/// The clock is not shown again within this time, ticks: high frame rates would carry it for nothing.
const CLOCK_REST: i64 = 1_800;

/// A segment's share of the clock.
pub(super) struct Schedule {
    begin: i64,
    end: i64,
    delay: i64,
    /// The stream that carries the clock: pictures, or sound where there are none (ISO/IEC 13818-1 §2.4.4.9, `PCR_PID`).
    carrier: Pid,
}

/// What is written next.
pub(super) enum Item {
    /// Program association and program map.
    Tables,
    /// The clock alone, on the stream that carries it.
    Clock(Pid, i64),
    /// Coded data, and the clock if it is due.
    Unit(Unit, Option<i64>),
}

impl Schedule {
    pub(super) fn new(program: &Program<'_>, number: u32) -> Result<Self, Error> {
        let (grid, segments) = (program.grid(), program.segments());
        let (from, to) = grid.segment(number).ok_or(Error::NoSegment { number, segments })?;
        let delay = program.delay();
        let on_clock = |at: u64| Program::at(Program::clock(), at.cast_signed()) - delay - LEAD;
        let carrier = if program.video.is_some() { Pid::Video } else { Pid::Audio };
        Ok(Self { begin: on_clock(from.at), end: on_clock(to.at), delay, carrier })
    }

    /// From decode to presentation where nothing is reordered, ticks.
    pub(super) fn delay(&self) -> i64 {
        self.delay
    }

    /// When what is decoded at `dts` is sent.
    pub(super) fn due(&self, dts: i64) -> i64 {
        dts.saturating_sub(LEAD).clamp(self.begin, self.end - 1)
    }

    /// Units in the order they are due, with clock and tables between them.
    pub(super) fn items(&self, units: Vec<Unit>) -> Vec<Item> {
        let mut items = Vec::with_capacity(units.len() + 16);
        let (mut tables, mut shown) = (0, None);
        for mut unit in units {
            self.tables(&mut items, &mut tables, unit.due);
            let carries = unit.pid == self.carrier;
            if !(carries && unit.due == self.begin) {
                self.clock(&mut items, &mut shown, unit.due);
            }
            // Where decoding can start the clock has to be shown, if this stream carries it (§2.4.3.5).
            let rest = if unit.random_access { 1 } else { CLOCK_REST };
            let clock = carries && shown.is_none_or(|shown| unit.due - shown >= rest);
            let clock = clock.then_some(unit.due);
            unit.random_access &= !carries || clock.is_some();
            shown = clock.or(shown);
            items.push(Item::Unit(unit, clock));
        }
        self.tables(&mut items, &mut tables, self.end);
        self.clock(&mut items, &mut shown, self.end);
        items
    }

    /// The tables are first in a segment and then spread evenly over it.
    fn tables(&self, items: &mut Vec<Item>, written: &mut i64, until: i64) {
        let all = i64::from(Program::tables());
        while *written < all && self.begin + (self.end - self.begin) * *written / all <= until {
            items.push(Item::Tables);
            *written += 1;
        }
    }

    /// Shows the clock until the next showing, at `until`, is near enough.
    fn clock(&self, items: &mut Vec<Item>, shown: &mut Option<i64>, until: i64) {
        let (longest, step) = Program::clock_ticks();
        while shown.is_none_or(|shown| until - shown > longest) {
            let next = shown.map_or(self.begin, |shown| shown + step);
            items.push(Item::Clock(self.carrier, next));
            *shown = Some(next);
        }
    }
}
