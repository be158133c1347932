//! Pictures that are not in the file and are shown all the same: packets without bytes, which repeat the picture before, or
//! the first one. Before a picture that comes late, where a container left them out, and while sound outlasts the last one.

use crate::media::{Access, AudioTrack, Packet, Rate, Timescale, Track, VideoTrack};

/// Pictures that begin later than this after the title do not leave players waiting: the first one is shown from the
/// start. Less is not noticed.
const LATE_PICTURE_NS: i64 = 100_000_000;
/// Most pictures shown in place of those that are not there yet; if that is not enough each stands for longer.
const MOST_EARLY: i64 = 7_200;
/// Sound that outlasts the picture by less than this leaves nobody waiting.
const UNSEEN_TAIL_SECONDS: f64 = 0.05;
/// The last picture is held at most this long: a title of minutes behind its last picture is no film, and each repeat
/// is an entry of the index.
const LONGEST_HOLD_SECONDS: f64 = 10.0;
/// Pictures of no fixed rate are repeated no faster than this.
const SHORTEST_STEP_SECONDS: f64 = 1.0 / 30.0;

/// Times of frames before the first one, if that one is late.
pub fn early(track: &Track, rate: Option<Rate>) -> Vec<i64> {
    let shown = track.shown();
    let Some(first) = shown.first().map(|s| s.at) else { return Vec::new() };
    if track.timescale.convert(first, Timescale::NANOSECONDS) <= LATE_PICTURE_NS {
        return Vec::new();
    }
    let mean = || (track.end - first) / i64::try_from(shown.len()).unwrap_or(1);
    let usual = step(track, rate).unwrap_or_else(mean);
    let step = usual.max(first / MOST_EARLY).max(1);
    (1..=first / step).rev().map(|n| first - n * step).collect()
}

/// Shows the last picture until the sound ends, if that is later: a player that runs out of pictures waits for some, and a
/// presentation is as long as the longer of both. Packets that may be passed on as they are stay alone.
pub fn hold(video: &mut VideoTrack, audio: &[AudioTrack]) {
    let track = &mut video.track;
    let may_pass = video.avcc.is_some() && matches!(track.access, Access::Direct);
    let sound = audio.iter().map(|a| a.track.timescale.convert(a.track.end, track.timescale)).max().unwrap_or(0);
    let missing = sound.saturating_sub(track.end);
    let (least, most) = (track.timescale.ticks(UNSEEN_TAIL_SECONDS), track.timescale.ticks(LONGEST_HOLD_SECONDS));
    if may_pass || missing <= least || missing > most {
        return;
    }
    let Some(first) = track.start() else { return };
    let pictures = i64::try_from(track.shown().len()).unwrap_or(1);
    let step = step(track, video.rate).unwrap_or_else(|| {
        let mean = (track.end - first) / pictures.max(1);
        mean.max(track.timescale.ticks(SHORTEST_STEP_SECONDS))
    });
    let step = step.max(1);
    let count = (missing + step - 1) / step;
    let at = |n: i64| match video.rate {
        // Multiplied out, so that a rate that is no whole number of ticks does not drift.
        Some(rate) => {
            let ticks = i128::from(n) * i128::from(track.timescale.get()) * i128::from(rate.den.get());
            i64::try_from(ticks / i128::from(rate.num)).unwrap_or(0)
        }
        None => n * step,
    };
    let times: Vec<i64> = (0..count).map(|n| track.end + at(n)).collect();
    let end = track.end + at(count);
    add(track, &times);
    track.end = end;
}

/// Ticks between two frames of this rate.
fn step(track: &Track, rate: Option<Rate>) -> Option<i64> {
    rate.map(|rate| i64::from(track.timescale.get()) * i64::from(rate.den.get()) / i64::from(rate.num))
}

/// Adds packets without bytes at these times, each after the packet that is shown before it.
pub fn add(track: &mut Track, times: &[i64]) {
    if times.is_empty() {
        return;
    }
    let shown = track.shown();
    let mut after: Vec<(Option<usize>, i64)> = times
        .iter()
        .map(|&at| (shown.partition_point(|s| s.at < at).checked_sub(1).map(|before| shown[before].packet), at))
        .collect();
    after.sort_unstable();
    let moved = |number: &mut u32| {
        let before = after.partition_point(|(after, _)| *after < Some(*number as usize));
        *number = number.saturating_add(u32::try_from(before).unwrap_or(u32::MAX));
    };
    for refresh in &mut track.refreshes {
        moved(&mut refresh.from);
        moved(&mut refresh.whole);
    }
    let mut repeats = after.into_iter().peekable();
    let mut packets = Vec::with_capacity(track.packets.len() + times.len());
    let mut add = |packets: &mut Vec<Packet>, number: Option<usize>| {
        while let Some((_, pts)) = repeats.next_if(|(after, _)| *after == number) {
            packets.push(Packet { pts, shown: true, key: false, offset: 0, size: 0 });
        }
    };
    add(&mut packets, None);
    for (number, packet) in track.packets.iter().enumerate() {
        packets.push(*packet);
        add(&mut packets, Some(number));
    }
    track.packets = packets;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Colour, Label, Rotation};

    fn track(timescale: u32, times: &[i64], end: i64) -> Track {
        let packet = |&pts: &i64| Packet { pts, shown: true, key: pts == 0, offset: 0, size: 9 };
        Track {
            stream_id: String::new(),
            caps: String::new(),
            codec: String::new(),
            timescale: Timescale::new(timescale).unwrap(),
            starts_are_exact: true,
            access: Access::Demuxer { zero_ns: 0, delay_ns: None },
            packets: times.iter().map(packet).collect(),
            refreshes: Vec::new(),
            joins: Vec::new(),
            end,
        }
    }

    fn film(track: Track, rate: Option<Rate>) -> VideoTrack {
        VideoTrack {
            track,
            width: 64,
            height: 64,
            crop: None,
            pixel_aspect: (1, 1),
            rotation: Rotation::None,
            rate,
            colour: Colour { primaries: 1, transfer: 1, matrix: 1, full_range: false },
            peak_nits: None,
            is_8bit_420: true,
            interlaced: false,
            avcc: None,
            keys_are_idr: true,
        }
    }

    fn sound(end: i64) -> AudioTrack {
        let track = track(48_000, &[0], end);
        AudioTrack {
            track,
            rate: 48_000,
            channels: 2,
            language: "und".into(),
            label: Label::default(),
            aac_lc_config: None,
        }
    }

    #[test]
    fn the_last_picture_is_held_until_the_sound_ends_at_the_rate_of_the_film() {
        let mut video = film(track(30_000, &[0, 1001], 2002), Rate::new(30_000, 1001));
        hold(&mut video, &[sound(9_600)]);
        let times: Vec<i64> = video.track.packets.iter().map(|p| p.pts).collect();
        assert_eq!(times, [0, 1001, 2002, 3003, 4004, 5005]);
        assert_eq!(video.track.end, 6006);
        assert!(video.track.packets[2..].iter().all(|p| p.shown && p.size == 0));
    }

    #[test]
    fn pictures_of_no_fixed_rate_are_held_at_a_bounded_one() {
        let mut video = film(track(1000, &[0, 1], 2), None);
        hold(&mut video, &[sound(48_000)]);
        assert_eq!(video.track.packets.len(), 2 + 31);
        assert!(video.track.end >= 1000);
    }

    #[test]
    fn what_nobody_misses_is_not_held_and_neither_is_what_may_be_passed_on_or_lasts_for_minutes() {
        let still = |mut video: VideoTrack, end| {
            let before = video.clone();
            hold(&mut video, &[sound(end)]);
            video == before
        };
        let short = film(track(1000, &[0, 40], 80), Rate::new(25, 1));
        assert!(still(short.clone(), 48 * 100));
        assert!(still(short.clone(), 48_000 * 60));
        let mut passed = short;
        passed.track.access = Access::Direct;
        passed.avcc = Some(Vec::new());
        assert!(still(passed, 48_000));
    }
}
