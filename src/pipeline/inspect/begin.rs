//! What of a track's beginning is not shown.

use std::path::Path;
use std::sync::Arc;

use super::super::tracks::Timed;
use super::{probe, track};
use crate::media::Packet;

/// Pictures at the start that are predicted from ones the file does not hold are not part of the title: a recording may
/// begin in the middle of a group, and a cut may leave what led up to its first key frame.
pub(super) fn hide_undecodable_start(source: &Path, timed: &mut Timed) {
    let Some(key) = timed.packets.iter().position(|p| p.key && p.shown) else { return };
    let first = timed.packets[key].pts;
    let leads = |(n, p): (usize, &Packet)| p.shown && (n < key || p.pts < first);
    if !timed.packets.iter().enumerate().any(leads) {
        return;
    }
    let provisional = Arc::new(track(timed, 0, timed.timescale, &|t| t));
    let Ok(raw) = probe(source, &provisional, &timed.caps) else { return };
    let limit = raw.at.min(first);
    timed.packets.iter_mut().filter(|p| p.pts < limit).for_each(|p| p.shown = false);
}

/// A first picture of which an edit list leaves less than a quarter is not shown: the title would begin with a flash. Of
/// more all is shown, and the title begins as much earlier, so that its pictures keep their even pace.
pub(super) fn hide_sliver(timed: &mut Timed) {
    let mut shown: Vec<(i64, usize)> =
        timed.packets.iter().enumerate().filter(|(_, p)| p.shown).map(|(n, p)| (p.pts, n)).collect();
    shown.sort_unstable();
    if let [(first, number), (second, _), ..] = shown[..]
        && timed.direct
        && first < 0
        && second >= 0
        && 3 * second < -first
    {
        timed.packets[number].shown = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Timescale;
    use crate::pipeline::found::Found;

    #[test]
    fn a_first_picture_of_which_less_than_a_quarter_is_left_is_not_shown() {
        gst::init().unwrap();
        let shown = |first: i64, direct: bool| {
            let packets = (0..4).map(|n| Packet { pts: first + 40 * n, shown: true, key: n == 0, offset: 0, size: 1 });
            let mut timed = Timed {
                found: Found::for_tests(),
                caps: gst::Caps::new_empty_simple("video/x-h264"),
                timescale: Timescale::new(1000).unwrap(),
                direct,
                starts_are_exact: true,
                packets: packets.collect(),
                refreshes: Vec::new(),
                joins: Vec::new(),
                end: first + 160,
                delay_ns: None,
                pace: None,
                off: crate::pipeline::blocks::Off::default(),
                avcc: None,
                default: true,
            };
            hide_sliver(&mut timed);
            timed.packets.iter().filter(|p| p.shown).count()
        };
        assert_eq!([-37, -20, 0, -45].map(|first| shown(first, true)), [3, 4, 4, 4]);
        assert_eq!(shown(-37, false), 4, "no edit list says where it begins");
    }
}
