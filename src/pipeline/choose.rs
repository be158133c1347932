//! Which frames to decode for pictures that stand for a stretch of time each.
//!
//! The first key frame inside the stretch is best: it costs one decode and is never earlier or later than what it stands
//! for. Where there is none, the frame shown when the stretch begins is taken, decoded from the key frame before it; and
//! where that would cost too much, the nearest frame on the way there. So a picture is never later than its stretch.

use std::ops::Range;

use crate::media::{Shown, Track};

/// Pixels decoded for one job on the way to frames that are no key frames: some seconds of work.
const MOST_PIXELS: u64 = 2_500_000_000;

/// Frames that are decoded in one go, from a key frame on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Packets to decode, the first of them a key frame.
    pub packets: Range<usize>,
    /// Which stretch, and the time of its frame in ticks; in order of time.
    pub wanted: Vec<(usize, i64)>,
}

/// A frame, and the key frame it is decoded from, as positions among the packets.
#[derive(Clone, Copy)]
struct Choice {
    key: usize,
    frame: Shown,
}

/// Chooses a frame for each stretch of time, given as ticks of the track in ascending order. `pixels` is the size of a
/// coded picture. Nothing comes of a track that shows nothing.
pub fn choose(track: &Track, shown: &[Shown], pixels: u64, stretches: &[Range<i64>]) -> Vec<Group> {
    let is_key = |s: &Shown| track.packets[s.packet].key;
    let keys: Vec<Shown> = shown.iter().copied().filter(is_key).collect();
    let Some(first) = shown.first() else { return Vec::new() };
    let choices: Vec<Choice> = stretches.iter().map(|s| choice(s, track, shown, &keys, *first)).collect();
    let starts = choices.chunk_by(|a, b| a.key == b.key).count() as u64;
    let reach = usize::try_from(MOST_PIXELS / pixels.max(1) / starts.max(1)).unwrap_or(usize::MAX).max(1);
    let near = |choice: Choice| within(choice, reach, track, shown);
    let chosen: Vec<(usize, Choice)> = choices.into_iter().map(near).enumerate().collect();
    chosen.chunk_by(|a, b| a.1.key == b.1.key).map(group).collect()
}

fn choice(stretch: &Range<i64>, track: &Track, shown: &[Shown], keys: &[Shown], first: Shown) -> Choice {
    let after = keys.partition_point(|k| k.at < stretch.start);
    if let Some(key) = keys.get(after).filter(|k| k.at < stretch.end) {
        return Choice { key: key.packet, frame: *key };
    }
    let until = shown.partition_point(|s| s.at <= stretch.start);
    let frame = until.checked_sub(1).map_or(first, |last| shown[last]);
    // Before the first key frame there may be frames that can be decoded all the same.
    Choice { key: track.start_for(frame), frame }
}

/// A picture that is refreshed bit by bit may be so many times as far away as any other: it is not whole before.
const REFRESH_REACH: usize = 8;

/// The same choice, or the last frame before it that is decoded within `reach` packets of the key frame. Where pictures are
/// refreshed bit by bit it is the first one that is whole, if that comes later, but not by much.
fn within(choice: Choice, reach: usize, track: &Track, shown: &[Shown]) -> Choice {
    let last = choice.key.saturating_add(reach);
    if choice.frame.packet < last {
        return choice;
    }
    let until = shown.partition_point(|s| s.at <= choice.frame.at);
    let refresh = track.refreshes.iter().find(|refresh| refresh.from as usize == choice.key);
    let whole = refresh.map_or(choice.key, |refresh| refresh.whole as usize);
    let before = || shown[..until].iter().rev();
    let nearest = before().find(|s| (whole..last).contains(&s.packet));
    let farthest = choice.key.saturating_add(reach.saturating_mul(REFRESH_REACH));
    let first = || before().filter(|s| (whole..farthest).contains(&s.packet)).min_by_key(|s| s.packet);
    let in_part = || before().find(|s| (choice.key..last).contains(&s.packet));
    Choice { frame: nearest.or_else(first).or_else(in_part).copied().unwrap_or(choice.frame), ..choice }
}

fn group(choices: &[(usize, Choice)]) -> Group {
    let key = choices[0].1.key;
    let last = choices.iter().map(|(_, c)| c.frame.packet).max().unwrap_or(key);
    Group { packets: key..last + 1, wanted: choices.iter().map(|(n, c)| (*n, c.frame.at)).collect() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::{Access, Packet, Refresh, Timescale};

    /// A frame every 10 ticks, key frames where told.
    fn track(frames: usize, is_key: impl Fn(usize) -> bool) -> Track {
        let packet = |n: usize| Packet { pts: n as i64 * 10, shown: true, key: is_key(n), offset: 0, size: 1 };
        Track {
            stream_id: String::new(),
            caps: String::new(),
            codec: String::new(),
            timescale: Timescale::new(1000).unwrap(),
            starts_are_exact: true,
            access: Access::Direct,
            packets: (0..frames).map(packet).collect(),
            refreshes: Vec::new(),
            joins: Vec::new(),
            end: frames as i64 * 10,
        }
    }

    fn groups(track: &Track, pixels: u64, stretches: &[Range<i64>]) -> Vec<Group> {
        choose(track, &track.shown(), pixels, stretches)
    }

    #[test]
    fn a_key_frame_within_the_stretch_costs_one_decode() {
        let track = track(100, |n| n % 25 == 0);
        let found = groups(&track, 100, &[0..200, 200..400, 400..600]);
        let group = |at: usize, n: usize| Group { packets: at..at + 1, wanted: vec![(n, at as i64 * 10)] };
        assert_eq!(found, [group(0, 0), group(25, 1), group(50, 2)]);
    }

    #[test]
    fn without_one_the_frame_at_its_beginning_is_decoded_in_one_go_with_its_neighbours() {
        let track = track(100, |n| n == 0);
        let found = groups(&track, 100, &[0..200, 200..400, 405..600]);
        assert_eq!(found, [Group { packets: 0..41, wanted: vec![(0, 0), (1, 200), (2, 400)] }]);
    }

    #[test]
    fn a_frame_too_far_from_its_key_frame_is_approached_as_far_as_is_cheap() {
        let track = track(100, |n| n == 0);
        let found = groups(&track, MOST_PIXELS / 10, &[500..600, 900..1000]);
        assert_eq!(found, [Group { packets: 0..10, wanted: vec![(0, 90), (1, 90)] }]);
    }

    /// A thumbnail of it was half of what came before.
    #[test]
    fn a_frame_on_the_way_is_whole_where_pictures_are_refreshed_bit_by_bit() {
        let mut track = track(100, |n| n == 0);
        track.refreshes = vec![Refresh { from: 30, whole: 45 }, Refresh { from: 60, whole: 75 }];
        let chosen = |reach: u64, at: i64| groups(&track, MOST_PIXELS / reach, std::slice::from_ref(&(at..at + 50)));
        assert_eq!(chosen(20, 590), [Group { packets: 30..50, wanted: vec![(0, 490)] }]);
        assert_eq!(chosen(10, 590), [Group { packets: 30..46, wanted: vec![(0, 450)] }], "no earlier one is whole");
        assert_eq!(chosen(10, 400), [Group { packets: 0..10, wanted: vec![(0, 90)] }]);
    }

    proptest! {
        #[test]
        fn each_stretch_gets_one_frame_that_is_never_later_than_it_and_work_is_bounded(
            frames in 1..600_usize,
            keys in prop::collection::hash_set(0..600_usize, 0..40),
            length in 5..900_i64,
            pixels in 1..MOST_PIXELS,
        ) {
            let track = track(frames, |n| keys.contains(&n));
            let count = track.end / length + 1;
            let stretches: Vec<_> = (0..count).map(|n| n * length..(n + 1) * length).collect();
            let found = groups(&track, pixels, &stretches);
            let wanted: Vec<(usize, i64)> = found.iter().flat_map(|g| g.wanted.clone()).collect();
            prop_assert!(wanted.iter().map(|w| w.0).eq(0..stretches.len()));
            for (n, at) in &wanted {
                prop_assert!(*at < stretches[*n].end, "{at} for {:?}", stretches[*n]);
            }
            prop_assert!(wanted.windows(2).all(|w| w[0].1 <= w[1].1));
            let on_the_way: usize = found.iter().map(|g| g.packets.len() - 1).sum();
            prop_assert!(on_the_way as u64 <= MOST_PIXELS / pixels);
        }
    }
}
