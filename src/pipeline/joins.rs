//! Joins of transport streams: where one recording ends and another begins, or a clock is set anew.
//!
//! GStreamer's demuxer estimates from bytes how long a jump of the clock takes, and estimates something else when a seek led
//! it there. So the whole file is searched for jumps once, and what follows each is given the times that come next (`pcr.rs`):
//! the demuxer sees one clock. Pictures go on without a gap, and sound lies to them as it did.

use std::collections::BTreeSet;
use std::fs::File;
use std::ops::Range;

use super::Output;
use super::pcr::{
    FAR_APART, HEAD_BYTES, MOST_APART, PACKET_BYTES, SECOND, TICKS_A_STAMP, WRAP, fill, grid, is_picture, next_packet,
    pid, reference, since, stamps, unit_bytes,
};
use crate::media::Join;

/// What a packet begins with.
const SYNC: u8 = 0x47;
/// So much is read at once, packets.
const PIECE_PACKETS: usize = 8192;
/// So much before and behind a join is looked at to learn how pictures follow on there, if no more than this lies between the
/// references on its sides.
const AROUND_BYTES: u64 = 4 << 20;
/// More joins than this are damage.
const MOST_JOINS: usize = 1000;
/// References are no more than half a second apart for the demuxer; a larger step is a jump.
const JUMP: u64 = SECOND / 2;
/// A larger step without a word of discontinuity is that of another recording; below, a signal was lost, or nothing was sent, for
/// so long.
const MOST_KEPT: i64 = 10 * SECOND.cast_signed();
/// So much sound may be played over the beginning of what follows: recordings do not end at once.
const OVERLAP: i64 = SECOND.cast_signed() / 10;
/// Ticks of one of a time stamp.
const UNIT: i64 = TICKS_A_STAMP.cast_signed();
/// How long a picture lasts of a stream that does not tell.
const UNTOLD: i64 = SECOND.cast_signed() / 25;

/// A clock reference.
#[derive(Clone, Copy)]
struct Reference {
    at: u64,
    time: u64,
}

/// The time of a picture, or of sound.
#[derive(Clone, Copy)]
struct Stamp {
    at: u64,
    pid: u16,
    is_picture: bool,
    /// Bytes of what it is the time of, if that is told: of sound there are several frames.
    bytes: i64,
    /// Ticks since the last reference before the join, which may be negative.
    ticks: i64,
}

/// Two references, one after the other, between which the clock jumps.
struct Jump(Reference, Reference);

/// Where packets begin: one file may end in the middle of a packet before the next begins.
struct Grid {
    /// The first.
    start: usize,
    /// Bytes from one to the next.
    stride: usize,
    /// From where on they lie so anew, in order.
    shifts: Vec<u64>,
}

/// What a search has found.
struct Search {
    grid: Grid,
    jumps: Vec<Jump>,
}

/// Where the clock of a file jumps, or packets are shifted, if it is a transport stream.
pub fn joins(file: &File, emit: &mut dyn FnMut(Output)) -> Vec<Join> {
    let mut head = vec![0; HEAD_BYTES];
    let filled = fill(file, 0, &mut head);
    let Some((start, stride)) = grid(&head[..filled]) else { return Vec::new() };
    let most = if is_sparse(&head[start..filled], stride) { MOST_APART } else { JUMP };
    drop(head);
    let Some(Search { grid, jumps }) = search(file, (start, stride), most, emit) else { return Vec::new() };
    let mut joins: Vec<Join> = Vec::with_capacity(jumps.len());
    for (n, jump) in jumps.iter().enumerate() {
        let begins = n.checked_sub(1).map_or(0, |n| jumps[n].1.at);
        let ends = jumps.get(n + 1).map_or(u64::MAX, |next| next.0.at + 1);
        let before = joins.last().copied().unwrap_or_default();
        joins.push(join(file, jump, before, begins..ends, &grid));
        emit(Output::Progress(0));
    }
    for at in grid.shifts {
        let number = joins.partition_point(|join| join.at < at);
        if joins.get(number).is_none_or(|join| join.at > at) {
            let before = number.checked_sub(1).map_or_else(Join::default, |before| joins[before]);
            joins.insert(number, Join { at, ..before });
        }
    }
    joins
}

impl Grid {
    /// The first packet that begins at or behind a place.
    fn from(&self, at: u64) -> u64 {
        next_packet(at, (self.start, self.stride), &self.shifts, |shift| *shift)
    }
}

/// References lie further apart than they may from the start: a large step is none of a jump.
fn is_sparse(head: &[u8], stride: usize) -> bool {
    let packets = head.chunks(stride).filter_map(|chunk| chunk.get(..PACKET_BYTES));
    let times: Vec<u64> = packets.filter_map(reference).collect();
    let steps = || times.windows(2).map(|pair| since(pair[0], pair[1])).filter(|step| *step < MOST_APART);
    2 * steps().filter(|step| *step > FAR_APART).count() > steps().count()
}

/// All steps of more than `most`, and all backwards; `None` if there is more than one clock, or too many.
fn search(file: &File, (start, stride): (usize, usize), most: u64, emit: &mut dyn FnMut(Output)) -> Option<Search> {
    let follows = |before: Reference, time: u64| since(before.time, time) <= most;
    let (mut grid, mut jumps, mut at) = (Grid { start, stride, shifts: Vec::new() }, Vec::new(), start as u64);
    let (mut of, mut last, mut odd): (Option<u16>, Option<Reference>, Option<Reference>) = (None, None, None);
    let mut piece = vec![0; stride * PIECE_PACKETS];
    loop {
        let filled = fill(file, at, &mut piece);
        emit(Output::Progress(0));
        let mut shifted = None;
        for (n, packet) in piece[..filled].chunks(stride).enumerate() {
            if packet[0] != SYNC {
                shifted = regrid(&piece[..filled], n * stride, stride);
                if shifted.is_some() {
                    break;
                }
            }
            let Some((packet, time)) = packet.get(..PACKET_BYTES).and_then(|p| Some((p, reference(p)?))) else {
                continue;
            };
            if *of.get_or_insert(pid(packet)) != pid(packet) {
                return None;
            }
            let now = Reference { at: at + (n * stride) as u64, time };
            match (last, odd) {
                // A single one that is odd is damage.
                (Some(before), Some(first)) if follows(first, time) && !follows(before, time) => {
                    jumps.push(Jump(before, first));
                    (last, odd) = (Some(now), None);
                }
                (Some(before), _) if !follows(before, time) => odd = Some(now),
                _ => (last, odd) = (Some(now), None),
            }
        }
        if jumps.len() + grid.shifts.len() > MOST_JOINS {
            return None;
        }
        match shifted {
            Some(by) => {
                at += by as u64;
                grid.shifts.push(at);
            }
            None if filled < piece.len() => return Some(Search { grid, jumps }),
            None => at += filled as u64,
        }
    }
}

/// Where packets begin again in a piece, after one was expected at `lost`.
fn regrid(piece: &[u8], lost: usize, stride: usize) -> Option<usize> {
    let found = lost + grid(&piece[lost..]).filter(|(_, other)| *other == stride)?.0;
    // The first of them may have begun where the last before was cut short.
    let earlier = found.checked_sub(stride).filter(|at| at + stride > lost && piece[*at] == SYNC);
    Some(earlier.filter(|_| found > lost).unwrap_or(found)).filter(|at| *at > 0)
}

/// How what follows a jump goes on; `around` are the references that belong to the clocks on both sides.
fn join(file: &File, Jump(last, first): &Jump, before: Join, around: Range<u64>, grid: &Grid) -> Join {
    let from = grid.from(last.at.saturating_sub(AROUND_BYTES).max(around.start));
    let is_wide = first.at - last.at > AROUND_BYTES;
    let to = if is_wide { from } else { first.at.saturating_add(AROUND_BYTES).min(around.end) };
    let mut bytes = vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(0)];
    let filled = fill(file, from, &mut bytes);
    let packet = |at: u64| Some((at, bytes[..filled].get(usize::try_from(at - from).ok()?..)?.get(..PACKET_BYTES)?));
    let packets = || std::iter::successors(Some(from), |at| Some(grid.from(at + 1))).map_while(packet);
    let between = last.at + 1..first.at + 1;
    let jump = signed(last.time, first.time);
    let is_said = packets().any(|(at, packet)| between.contains(&at) && is_discontinuous(packet));
    let (at, earlier) = if (0..=MOST_KEPT).contains(&jump) && !is_said {
        (first.at, 0)
    } else {
        let stamp = |(at, packet): (u64, &[u8])| {
            let ticks = signed(last.time, stamps(packet).next()?);
            Some(Stamp { at, pid: pid(packet), is_picture: is_picture(packet), bytes: unit_bytes(packet), ticks })
        };
        let stamps: Vec<Stamp> = packets().filter_map(stamp).collect();
        // The first that goes by the new clock more likely than by the old one.
        let is_new = |s: &&Stamp| between.contains(&s.at) && (s.ticks - jump).abs() < s.ticks.abs();
        let at = stamps.iter().find(is_new).map_or(first.at, |s| s.at);
        (at, earlier(&stamps, at).unwrap_or(jump - UNTOLD))
    };
    // The clock goes with the stamps as far as it may.
    let behind = signed(before.clock, before.stamps);
    let step = (jump - earlier + behind).clamp(1, FAR_APART.cast_signed());
    let moved = |by: u64, ticks: i64| (by + WRAP).wrapping_add_signed(-ticks) % WRAP;
    let whole = earlier / UNIT * UNIT;
    Join { at, first: first.time, clock: moved(before.clock, jump - step), stamps: moved(before.stamps, whole) }
}

/// How much earlier than they say pictures, or else sound, are that follow a join at `at`, so that they come next.
fn earlier(stamps: &[Stamp], at: u64) -> Option<i64> {
    let anchor = stamps.iter().find(|s| s.is_picture).or(stamps.first())?.pid;
    let (before, behind) = stamps.split_at(stamps.partition_point(|s| s.at < at));
    let of = |stamps: &[Stamp], pid: u16| -> Vec<i64> {
        let mut ticks: Vec<i64> = stamps.iter().filter(|s| s.pid == pid).map(|s| s.ticks).collect();
        ticks.sort_unstable();
        ticks
    };
    let (ours, next) = (of(before, anchor), of(behind, anchor));
    let (last, first) = (*ours.last()?, *next.first()?);
    let step = middle(ours.windows(2).map(|pair| pair[1] - pair[0])).unwrap_or(UNTOLD);
    // The last of a recording's sound may be less than usual.
    let sound = || before.iter().filter(|s| s.pid == anchor && !s.is_picture);
    let usual = middle(sound().map(|s| s.bytes));
    let lasts = match (sound().next_back(), usual) {
        (Some(last), Some(usual)) if last.bytes > 0 => step * last.bytes.min(usual) / usual / UNIT * UNIT,
        _ => step,
    };
    let earlier = first - last - lasts;
    let overlap = |pid: u16| Some(of(before, pid).last()? - (of(behind, pid).first()? - earlier));
    let pids: BTreeSet<u16> = stamps.iter().map(|s| s.pid).collect();
    let longest = pids.into_iter().filter_map(overlap).max().unwrap_or(0);
    // By whole pictures, so that their pace stays even.
    Some(earlier - (longest - OVERLAP).max(0).div_euclid(step) * step)
}

/// The one in the middle of those that are more than nothing.
fn middle(values: impl Iterator<Item = i64>) -> Option<i64> {
    let mut values: Vec<i64> = values.filter(|value| *value > 0).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

/// The clock begins anew with this packet (ISO/IEC 13818-1 §2.4.3.5).
fn is_discontinuous(packet: &[u8]) -> bool {
    packet[0] == SYNC && packet[3] & 0x20 != 0 && packet[4] > 0 && packet[5] & 0x80 != 0
}

/// Ticks from one time to another, which may lie before it.
fn signed(from: u64, to: u64) -> i64 {
    let ticks = since(from, to);
    if ticks < WRAP / 2 { ticks.cast_signed() } else { ticks.cast_signed() - WRAP.cast_signed() }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    /// Twenty packets with a reference and the time of a picture each, the clock beginning at this time.
    fn recording(begins: u64, discontinuous: bool) -> Vec<u8> {
        let packet = |n: u64| {
            let mut packet = crate::pipeline::pcr::tests::packet(
                256,
                Some(begins + n * SECOND / 25),
                Some(begins + SECOND + n * SECOND / 25),
            );
            packet[5] |= if discontinuous && n == 0 { 0x80 } else { 0 };
            packet
        };
        (0..20).flat_map(packet).collect()
    }

    fn of(stream: &[u8]) -> Vec<Join> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(stream).unwrap();
        joins(&file, &mut |_| ())
    }

    /// What is said of a picture's time once joins are undone, in pictures since the first.
    fn pictures(stream: &[u8], joins: &[Join]) -> Vec<u64> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(stream).unwrap();
        let mut stream = stream.to_vec();
        crate::pipeline::pcr::Clock::of(&file, joins).unwrap().change(0, &mut stream, &file);
        let mut at = 0;
        let places = std::iter::from_fn(|| {
            let begin = (at..stream.len()).find(|n| stream[*n] == SYNC && !stamps_at(&stream, *n).is_empty())?;
            at = begin + 1;
            Some(stamps_at(&stream, begin)[0])
        });
        let times: Vec<u64> = places.collect();
        times.iter().map(|time| since(times[0], *time) * 25 / SECOND).collect()
    }

    fn stamps_at(stream: &[u8], at: usize) -> Vec<u64> {
        stream.get(at..at + PACKET_BYTES).map_or_else(Vec::new, |packet| stamps(packet).collect())
    }

    #[test]
    fn pictures_go_on_behind_a_join_whichever_way_the_clock_jumps_and_wherever_packets_begin() {
        let all: Vec<u64> = (0..40).collect();
        let (first, again) = (recording(900 * SECOND, false), recording(900 * SECOND, false));
        for next in
            [again.clone(), recording(1001 * SECOND, false), recording(7 * SECOND, true), recording(905 * SECOND, true)]
        {
            let stream = [first.clone(), next].concat();
            let found = of(&stream);
            assert_eq!(found.iter().map(|join| join.at).collect::<Vec<_>>(), [20 * 188], "{found:?}");
            assert_eq!(pictures(&stream, &found), all);
        }
        let cut = [&first[..first.len() - 100], &again].concat();
        let found = of(&cut);
        assert_eq!(found.iter().map(|join| join.at).collect::<Vec<_>>(), [20 * 188 - 100], "{found:?}");
        assert_eq!(pictures(&cut, &found), all);
    }

    /// It was taken to be as long as those before, which left a hole.
    #[test]
    fn sound_alone_goes_on_where_a_last_piece_of_it_ends_that_is_shorter() {
        let mut sound = recording(SECOND, false);
        for (n, packet) in sound.chunks_exact_mut(PACKET_BYTES).enumerate() {
            packet[15..18].copy_from_slice(&[0xC0, 0, if n == 19 { 50 } else { 100 }]);
        }
        let found = of(&[sound.clone(), sound].concat());
        let half = SECOND / 50;
        assert_eq!(found.iter().map(|join| join.stamps).collect::<Vec<_>>(), [19 * 2 * half + half]);
    }

    #[test]
    fn the_end_of_the_clocks_numbers_a_lost_signal_and_a_single_odd_reference_are_no_joins() {
        let wraps = recording(WRAP - SECOND / 2, false);
        assert_eq!(of(&wraps), []);
        let lost = [recording(0, false), recording(5 * SECOND, false)].concat();
        assert_eq!(of(&lost).iter().map(|join| join.stamps).collect::<Vec<_>>(), [0], "its time is kept");
        let mut odd = recording(SECOND, false);
        odd.splice(5 * 188..6 * 188, recording(500 * SECOND, false)[..188].iter().copied());
        assert_eq!(of(&odd), []);
    }

    /// A buffer was as large as what lies between two references, whatever that is.
    #[test]
    fn behind_a_join_that_nothing_tells_of_for_megabytes_the_clock_goes_on() {
        let between = crate::pipeline::pcr::tests::packet(0x1FFF, None, None).repeat(2 * AROUND_BYTES as usize / 188);
        let stream = [recording(900 * SECOND, false), between, recording(7 * SECOND, true)].concat();
        let found = of(&stream);
        let [join] = found[..] else { panic!("{found:?}") };
        assert_eq!(join.at, (20 + 2 * AROUND_BYTES / 188) * 188);
        let gap = UNTOLD.cast_unsigned();
        assert_eq!(pictures(&stream, &found)[20..], (20..40).collect::<Vec<_>>());
        assert_eq!((7 * SECOND + join.clock) % WRAP, 900 * SECOND + 19 * SECOND / 25 + gap);
    }

    proptest! {
        #[test]
        fn any_stream_is_searched_and_joins_are_in_order(
            parts in prop::collection::vec((0..WRAP, 0..4000_usize, any::<bool>()), 0..12), noise: Vec<u8>,
        ) {
            let mut stream = Vec::new();
            for (begins, bytes, flag) in parts {
                stream.extend(&recording(begins, flag)[..bytes.min(20 * 188)]);
                stream.extend(noise.iter().take(bytes % 100));
            }
            let found = of(&stream);
            prop_assert!(found.is_sorted_by(|one, next| one.at < next.at));
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&stream).unwrap();
            if let Some(clock) = crate::pipeline::pcr::Clock::of(&file, &found) {
                let mut whole = stream.clone();
                clock.change(0, &mut whole, &file);
                let middle = stream.len() / 3..stream.len() / 2;
                let mut piece = stream[middle.clone()].to_vec();
                clock.change(middle.start as u64, &mut piece, &file);
                prop_assert_eq!(&piece[..], &whole[middle]);
            }
        }
    }
}
