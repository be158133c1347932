//! Packets of 188 bytes (ISO/IEC 13818-1 §2.4.3.2) and the PES packets in them (§2.4.3.6).

use bytes::Bytes;

use crate::media::Program;

use super::schedule::Item;
use super::{Unit, tables};

/// Length of a packet and of what follows its header, bytes.
const PACKET_BYTES: usize = 188;
const ROOM_BYTES: usize = PACKET_BYTES - 4;
/// An adaptation field's length and flags, and those with the clock.
const FLAGS_BYTES: usize = 2;
const CLOCK_BYTES: usize = 8;
/// Counters have four bits.
const COUNTS: usize = 16;

/// The streams of a program. The numbers are free (table 2-3); these are what receivers have seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pid {
    Association,
    Map,
    Video,
    Audio,
}

impl Pid {
    pub(super) fn number(self) -> u16 {
        match self {
            Self::Association => 0,
            Self::Map => 0x1000,
            Self::Video => 0x100,
            Self::Audio => 0x101,
        }
    }
}

/// What an adaptation field says besides its own length.
#[derive(Clone, Copy, Default)]
struct Adaptation {
    random_access: bool,
    clock: Option<i64>,
}

impl Adaptation {
    fn bytes(self) -> usize {
        match self {
            Self { clock: Some(_), .. } => CLOCK_BYTES,
            Self { random_access: true, clock: None } => FLAGS_BYTES,
            Self { random_access: false, clock: None } => 0,
        }
    }
}

/// The packets of segment `number`.
pub(super) fn write(number: u32, items: &[Item], map: &[u8]) -> Bytes {
    let association = tables::association();
    let fill = [Pid::Video, Pid::Audio].map(|pid| fill(items, pid));
    let mut writer = Writer::new(number, items);
    for (index, item) in items.iter().enumerate() {
        match item {
            Item::Tables => {
                writer.section(Pid::Association, &association);
                writer.section(Pid::Map, map);
            }
            Item::Clock(carrier, at) => {
                writer.packet(*carrier, false, Adaptation { random_access: false, clock: Some(*at) }, &[]);
            }
            Item::Unit(unit, clock) => {
                let more = fill.iter().flatten().find(|(largest, _)| *largest == index).map_or(0, |(_, more)| *more);
                writer.unit(unit, *clock, more);
            }
        }
    }
    writer.out.into()
}

/// The largest unit of a stream, by its index, and how many packets more than it needs it takes: so many that the
/// stream has a multiple of 16, and its counter begins the next segment where it began this one. Packets without payload do
/// not count (§2.4.3.3), so the payload is spread thinner.
fn fill(items: &[Item], pid: Pid) -> Option<(usize, usize)> {
    let units = || {
        items.iter().enumerate().filter_map(move |(index, item)| match item {
            Item::Unit(unit, clock) if unit.pid == pid => Some((index, unit, *clock)),
            _ => None,
        })
    };
    let (largest, _, _) = units().max_by_key(|(_, unit, _)| unit.bytes.len())?;
    let all: usize = units().map(|(_, unit, clock)| packets(unit, clock)).sum();
    Some((largest, all.next_multiple_of(COUNTS) - all))
}

/// How many packets a unit needs.
fn packets(unit: &Unit, clock: Option<i64>) -> usize {
    (unit.adaptation(clock).bytes() + unit.bytes.len()).div_ceil(ROOM_BYTES)
}

impl Unit {
    fn adaptation(&self, clock: Option<i64>) -> Adaptation {
        Adaptation { random_access: self.random_access, clock }
    }
}

struct Writer {
    out: Vec<u8>,
    /// The next counter of each stream.
    counters: [u8; 4],
}

impl Writer {
    fn new(number: u32, items: &[Item]) -> Self {
        let bytes = |item: &Item| match item {
            Item::Tables => 2 * PACKET_BYTES,
            Item::Clock(..) => PACKET_BYTES,
            Item::Unit(unit, clock) => packets(unit, *clock) * PACKET_BYTES,
        };
        let capacity = items.iter().map(bytes).sum::<usize>() + 2 * COUNTS * PACKET_BYTES;
        // Every segment before this one had as many tables.
        let tables = (number.wrapping_mul(Program::tables()) % COUNTS as u32) as u8;
        Self { out: Vec::with_capacity(capacity), counters: [tables, tables, 0, 0] }
    }

    /// A table, which fits one packet; what is left is filled with ones (§2.4.4).
    fn section(&mut self, pid: Pid, section: &[u8]) {
        let mut payload = [0xFF; ROOM_BYTES];
        // The pointer: the section begins at once.
        payload[0] = 0;
        payload[1..=section.len()].copy_from_slice(section);
        self.packet(pid, true, Adaptation::default(), &payload);
    }

    /// A PES packet, in `more` packets than it needs: the last ones carry a byte each.
    fn unit(&mut self, unit: &Unit, clock: Option<i64>, more: usize) {
        let mut adaptation = unit.adaptation(clock);
        let mut left = &unit.bytes[..];
        let mut to_come = (packets(unit, clock) + more).min(left.len());
        let mut start = true;
        while !left.is_empty() {
            to_come = to_come.saturating_sub(1);
            let room = ROOM_BYTES - adaptation.bytes();
            let (payload, rest) = left.split_at(room.min(left.len() - to_come.min(left.len() - 1)));
            self.packet(unit.pid, start, adaptation, payload);
            (left, start, adaptation) = (rest, false, Adaptation::default());
        }
    }

    fn packet(&mut self, pid: Pid, start: bool, adaptation: Adaptation, payload: &[u8]) {
        let counter = &mut self.counters[pid as usize];
        let has_payload = !payload.is_empty();
        let stuffed = ROOM_BYTES - payload.len();
        // A packet without payload repeats the counter of the one before.
        let count = if has_payload { *counter } else { counter.wrapping_sub(1) } & 0xF;
        *counter = counter.wrapping_add(u8::from(has_payload)) & 0xF;
        let [high, low] = pid.number().to_be_bytes();
        let control = u8::from(stuffed > 0) << 5 | u8::from(has_payload) << 4;
        self.out.extend_from_slice(&[0x47, u8::from(start) << 6 | high, low, control | count]);
        self.adaptation(adaptation, stuffed);
        self.out.extend_from_slice(payload);
    }

    /// An adaptation field of `bytes` in all (§2.4.3.4); it also is how a packet is filled up.
    fn adaptation(&mut self, adaptation: Adaptation, bytes: usize) {
        let end = self.out.len() + bytes;
        if bytes > 0 {
            self.out.push((bytes - 1) as u8);
        }
        if bytes > 1 {
            self.out.push(u8::from(adaptation.random_access) << 6 | u8::from(adaptation.clock.is_some()) << 4);
        }
        if let Some(clock) = adaptation.clock {
            // 33 bits of 90 kHz, six reserved ones, and no ticks of 27 MHz beyond them (§2.4.3.5).
            let reference = wrapped(clock) << 15 | 0x7E00;
            self.out.extend_from_slice(&reference.to_be_bytes()[2..]);
        }
        self.out.resize(end, 0xFF);
    }
}

/// A PES packet's header with the space for what follows. `length` of the coded data, or `None` where it is not said.
pub(super) fn pes(stream_id: u8, length: Option<usize>, pts: i64, dts: Option<i64>, capacity: usize) -> Vec<u8> {
    // A decode time is said where it is another one (§2.4.3.7).
    let dts = dts.filter(|dts| *dts != pts);
    let times_bytes: u8 = if dts.is_some() { 10 } else { 5 };
    let length = length.map_or(0, |length| length + 3 + usize::from(times_bytes));
    let [high, low] = u16::try_from(length).unwrap_or(0).to_be_bytes();
    let mut out = Vec::with_capacity(capacity + 512);
    out.extend_from_slice(&[0, 0, 1, stream_id, high, low]);
    // Data begins with an access unit; both times or one; how many bytes they take.
    out.extend_from_slice(&[0x84, if dts.is_some() { 0xC0 } else { 0x80 }, times_bytes]);
    out.extend_from_slice(&time(if dts.is_some() { 3 } else { 2 }, pts));
    if let Some(dts) = dts {
        out.extend_from_slice(&time(1, dts));
    }
    out
}

/// 33 bits in five bytes with a marker behind 3, 15 and 15 of them.
fn time(prefix: u64, at: i64) -> [u8; 5] {
    let at = wrapped(at);
    let coded = prefix << 36 | (at >> 30) << 33 | (at >> 15 & 0x7FFF) << 17 | (at & 0x7FFF) << 1 | 0x1_0001_0001;
    let [_, _, _, bytes @ ..] = coded.to_be_bytes();
    bytes
}

/// Times have 33 bits and begin anew after 26.5 hours.
fn wrapped(at: i64) -> u64 {
    at.cast_unsigned() & 0x1_FFFF_FFFF
}
