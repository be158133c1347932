//! Presentation times of pictures that have only decode times, as in AVI: which is shown when follows from their kinds.

use super::keys::Place;
use super::raw::{RawPacket, believable};

/// No decoder holds more pictures than these until they are shown (Rec. ITU-T H.264 §A.3.1, `MaxDpbFrames`).
const MOST_HELD: usize = 16;
/// How long a picture is shown of a stream that says nothing of time, nanoseconds.
pub const UNTOLD_NS: i64 = 40_000_000;

/// The packets of a track in decode order.
#[derive(Debug, PartialEq, Eq)]
pub struct Ordered {
    /// Presentation time of each, nanoseconds; `None` for one that is no picture at all.
    pub times: Vec<Option<i64>>,
    /// True for one that repeats the picture before it.
    pub repeats: Vec<bool>,
    /// How much later than it is decoded a picture is shown at least, nanoseconds.
    pub delay: i64,
}

/// Presentation times for packets that have none, or those of decoding in their place; `None` if the order of decoding is
/// that of showing.
pub fn ordered(raw: &[RawPacket]) -> Option<Ordered> {
    // Of pictures that are reordered, none can be shown when it is decoded all the time.
    if raw.iter().any(|p| p.pts.is_some() && p.pts != p.dts) {
        return None;
    }
    // Some encoders put two pictures into one packet, and after it one without a picture, so that there is one for each.
    let is_filler = |n: usize| raw[n].place == Place::Nothing && n > 0 && raw[n - 1].place == Place::Between;
    let pictures: Vec<usize> = (0..raw.len()).filter(|&n| !is_filler(n)).collect();
    let slots = slots(raw, &pictures);
    let shown = shown(raw, &pictures);
    if shown == pictures && raw.iter().all(|p| p.place != Place::Nothing) {
        return None;
    }
    let mut times = vec![None; raw.len()];
    for (&n, slot) in shown.iter().zip(&slots) {
        times[n] = Some(*slot);
    }
    let early = pictures.iter().zip(&slots).map(|(&n, at)| at.saturating_sub(times[n].unwrap_or(*at)));
    let delay = early.max().unwrap_or(0).max(0);
    times.iter_mut().flatten().for_each(|time| *time = time.saturating_add(delay));
    let repeats = (0..raw.len()).map(|n| raw[n].place == Place::Nothing).collect();
    Some(Ordered { times, repeats, delay })
}

/// When pictures are shown that say only when they are decoded, although others of the stream say both: a program stream of
/// MPEG has a time for the first picture that begins in one of its packets (ISO/IEC 13818-1 §2.7.5). A picture between
/// others is shown at once, and another when the next such is decoded (ISO/IEC 13818-2 §6.1.1.11). `None` for those that say
/// it, and where it does not follow.
pub fn told_by_kind(raw: &[RawPacket]) -> Vec<Option<i64>> {
    let is_late = |p: &RawPacket| p.pts.zip(p.dts).is_some_and(|(pts, dts)| pts > dts);
    let is_reordered = raw.iter().any(|p| p.place == Place::Between || is_late(p));
    let all: Vec<usize> = (0..raw.len()).collect();
    let usual = usual(raw, &all);
    let decoded = decoded(raw, &all, usual);
    // Behind the last one there is none.
    let mut next = decoded.iter().rev().find_map(|dts| *dts).map(|dts| dts.saturating_add(usual));
    let mut times = vec![None; raw.len()];
    for (n, packet) in raw.iter().enumerate().rev() {
        if packet.pts.is_none() {
            times[n] = match packet.place {
                Place::InTurn if is_reordered => next,
                Place::InTurn | Place::Between => decoded[n],
                Place::Counted { .. } | Place::Nothing | Place::Unknown => None,
            };
        }
        if packet.place == Place::InTurn || is_late(packet) {
            next = decoded[n];
        }
    }
    times
}

/// The pictures in the order of showing.
fn shown(raw: &[RawPacket], pictures: &[usize]) -> Vec<usize> {
    let mut shown = Vec::with_capacity(pictures.len());
    // Of each, that none that comes later may precede: its count, and its number.
    let mut held: Vec<(i64, usize)> = Vec::new();
    for &n in pictures {
        let count = match raw[n].place {
            Place::Between => {
                shown.push(n);
                continue;
            }
            Place::Counted { count, is_idr: false } => count,
            Place::Counted { is_idr: true, .. } | Place::InTurn | Place::Nothing | Place::Unknown => {
                held.sort_unstable();
                shown.extend(held.drain(..).map(|(_, n)| n));
                0
            }
        };
        held.push((count, n));
        if held.len() > MOST_HELD
            && let Some(first) = (0..held.len()).min_by_key(|&at| held[at])
        {
            shown.push(held.remove(first).1);
        }
    }
    held.sort_unstable();
    shown.extend(held.into_iter().map(|(_, n)| n));
    shown
}

/// When one after the other is decoded. Two of one packet of the file may be given the same time, or that of the next.
fn slots(raw: &[RawPacket], pictures: &[usize]) -> Vec<i64> {
    let usual = usual(raw, pictures);
    let mut slots: Vec<i64> = Vec::with_capacity(pictures.len());
    for (&n, dts) in pictures.iter().zip(decoded(raw, pictures, usual)) {
        let before = slots.last().copied();
        let lasts = raw[n].duration.and_then(|d| i64::try_from(d).ok()).unwrap_or(usual).max(1);
        let next =
            before.map_or(0, |before| believable(before.saturating_add(lasts)).unwrap_or(before.saturating_add(1)));
        slots.push(dts.filter(|dts| before.is_none_or(|before| *dts > before)).unwrap_or(next));
    }
    slots
}

/// When these say they are decoded. The first ones of a recording may have no time at all, and come before the one that has.
fn decoded(raw: &[RawPacket], pictures: &[usize], usual: i64) -> Vec<Option<i64>> {
    let mut decoded: Vec<Option<i64>> = pictures.iter().map(|&n| raw[n].dts).collect();
    for n in (0..decoded.iter().position(Option::is_some).unwrap_or(0)).rev() {
        decoded[n] = decoded[n + 1].map(|dts| dts.saturating_sub(usual));
    }
    decoded
}

/// How long a picture lasts that does not say so: as most that have a time.
fn usual(raw: &[RawPacket], pictures: &[usize]) -> i64 {
    let step = |pair: &[usize]| Some(raw[pair[1]].dts?.saturating_sub(raw[pair[0]].dts?)).filter(|step| *step > 0);
    let mut steps: Vec<i64> = pictures.windows(2).filter_map(step).collect();
    steps.sort_unstable();
    steps.get(steps.len() / 2).copied().unwrap_or(UNTOLD_NS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::keys::Start;

    /// Pictures of 40 ms; `I` and `P` are in turn, `B` between, `N` none; a number counts.
    fn packets(kinds: &str, dts: &[i64]) -> Vec<RawPacket> {
        let place = |kind| match kind {
            'B' => Place::Between,
            'N' => Place::Nothing,
            '0'..='9' => Place::Counted { count: i64::from(kind as u8 - b'0'), is_idr: kind == '0' },
            _ => Place::InTurn,
        };
        let packet = |(kind, &dts)| RawPacket {
            pts: (kind == 'I').then_some(dts),
            dts: Some(dts),
            duration: Some(40),
            size: 99,
            start: if kind == 'I' { Start::Here } else { Start::Nowhere },
            place: place(kind),
            is_second_field: false,
        };
        kinds.chars().zip(dts).map(packet).collect()
    }

    #[test]
    fn pictures_between_others_come_before_the_one_they_follow_and_all_a_picture_later() {
        let raw = packets("IPBBPBBIBB", &[0, 40, 80, 120, 160, 200, 240, 280, 320, 360]);
        let found = ordered(&raw).unwrap();
        let times: Vec<i64> = found.times.iter().copied().flatten().collect();
        assert_eq!(times, [40, 160, 80, 120, 280, 200, 240, 400, 320, 360]);
        assert_eq!((found.delay, found.repeats.contains(&true)), (40, false));
        assert_eq!(ordered(&packets("IPPPPP", &[0, 40, 80, 120, 160, 200])), None, "nothing is reordered");
        let (mut same, mut known) = (raw.clone(), raw);
        same.iter_mut().for_each(|p| p.pts = p.dts);
        assert_eq!(ordered(&same), Some(found), "they say the one for the other");
        known[1].pts = Some(120);
        assert_eq!(ordered(&known), None, "there are times");
    }

    #[test]
    fn counted_pictures_are_sorted_from_one_idr_picture_to_the_next() {
        let raw = packets("0423086", &[0, 40, 80, 120, 160, 200, 240]);
        let found = ordered(&raw).unwrap();
        let times: Vec<i64> = found.times.into_iter().flatten().collect();
        assert_eq!((times, found.delay), (vec![40, 160, 80, 120, 200, 280, 240], 40));
        assert_eq!(ordered(&packets("0246", &[0, 40, 80, 120])), None, "nothing is reordered");
    }

    /// Such a film was one picture: all of its times lay a nanosecond apart.
    #[test]
    fn pictures_of_a_stream_that_says_nothing_of_time_last_as_usual() {
        let mut raw = packets("0423086", &[0; 7]);
        raw.iter_mut().skip(1).for_each(|p| p.dts = None);
        raw.iter_mut().for_each(|p| (p.pts, p.duration) = (None, None));
        let found = ordered(&raw).unwrap();
        let numbers: Vec<i64> = found.times.into_iter().flatten().map(|ns| ns / UNTOLD_NS).collect();
        assert_eq!((numbers, found.delay), (vec![1, 4, 2, 3, 5, 7, 6], UNTOLD_NS));
        raw[1].dts = Some(20);
        assert_eq!(slots(&raw, &[0, 1, 2, 3]), [0, 20, 40, 60], "as long as those that say it");
        (raw[0].dts, raw[1].dts) = (None, Some(20));
        assert_eq!(slots(&raw, &[0, 1, 2, 3]), [20 - UNTOLD_NS, 20, 20 + UNTOLD_NS, 20 + 2 * UNTOLD_NS]);
        raw[1].dts = Some(i64::MAX);
        assert!(ordered(&raw).is_some(), "a time without end");
    }

    /// Of a film from a disc pictures were lost, and others shown twice.
    #[test]
    fn pictures_without_a_time_among_those_that_have_one_are_shown_in_their_turn() {
        let (dts, times) = ([0, 40, 80, 120, 160, 200, 240, 280], [40, 160, 80, 120, 280, 200, 240, 320]);
        let mut raw = packets("IPBBPBBI", &dts);
        // All times of showing, and then fewer and fewer.
        for known in [7, 5, 3, 2, 1] {
            for (n, packet) in raw.iter_mut().enumerate() {
                packet.pts = (n % known == 0).then_some(times[n]);
                // Of those with two times nobody looks at the kind.
                packet.place = if packet.pts.is_some_and(|pts| pts > dts[n]) { Place::Unknown } else { packet.place };
            }
            let told = told_by_kind(&raw);
            let found: Vec<Option<i64>> = raw.iter().zip(told).map(|(p, told)| p.pts.or(told)).collect();
            assert_eq!(found, times.map(Some), "one of {known} has a time");
            raw = packets("IPBBPBBI", &dts);
        }
        let mut cut = packets("IPBB", &[0, 0, 80, 120]);
        cut[..2].iter_mut().for_each(|p| (p.pts, p.dts) = (None, None));
        cut[2].pts = Some(80);
        assert_eq!(told_by_kind(&cut), [Some(40), Some(160), None, Some(120)], "the first have no time at all");
        let mut plain = packets("IPPP", &[0, 40, 80, 120]);
        plain[0].pts = Some(0);
        assert_eq!(told_by_kind(&plain), [None, Some(40), Some(80), Some(120)], "nothing is reordered");
    }

    /// Counts that make no sense held a whole film back until its end.
    #[test]
    fn no_more_pictures_are_held_than_a_decoder_would() {
        let counted = |count| Place::Counted { count, is_idr: false };
        let packet = |n: i64| RawPacket { dts: Some(n), place: counted(-n), ..RawPacket::for_tests(None, None) };
        let raw: Vec<RawPacket> = (0..100).map(packet).collect();
        assert_eq!(ordered(&raw).unwrap().delay, 16);
    }

    #[test]
    fn two_pictures_of_one_packet_and_none_of_the_next_are_two() {
        // The parser gives the second of the two the time of the packet behind it.
        let raw = packets("IPBNPBNP", &[0, 40, 80, 80, 120, 160, 160, 200]);
        let found = ordered(&raw).unwrap();
        assert_eq!(found.times, [Some(40), Some(120), Some(80), None, Some(200), Some(160), None, Some(240)]);
        let repeated = ordered(&packets("IPNPB", &[0, 40, 80, 120, 160])).unwrap();
        assert_eq!(repeated.times, [40, 80, 120, 200, 160].map(Some));
        assert_eq!(repeated.repeats, [false, false, true, false, false]);
    }
}
