//! Where blocks of decoded sound belong, in samples: what a decoder and a container say of their times is put right.

/// Packets at the start of a file that may yield nothing.
const SILENT_PACKETS: usize = 2;

/// Where blocks belong that say when they begin and have so many samples. Those that nearly follow on each other, by no more
/// than `slack`, do so without a gap, and lie where most of them say: the first may be the one that is wrong.
pub fn lined_up(said: &[(i64, i64)], slack: i64) -> Vec<i64> {
    let mut places: Vec<i64> = Vec::with_capacity(said.len());
    let mut rest = said;
    while let Some(&(first, _)) = rest.first() {
        let mut next = first;
        let follows = rest.iter().map_while(|&(at, frames)| {
            let here = next;
            next += frames;
            ((here - at).abs() <= slack).then_some(here)
        });
        let run: Vec<i64> = follows.collect();
        let (of, later) = rest.split_at(run.len());
        let mut off: Vec<i64> = of.iter().zip(&run).map(|((at, _), here)| at - here).collect();
        off.sort_unstable();
        let moved = off[(off.len() - 1) / 2];
        places.extend(run.iter().map(|here| here + moved));
        rest = later;
    }
    places
}

/// Where blocks belong that say these times and were made of these packets, all in samples.
///
/// When a decoder makes nothing of the first packet of a file and does not complain, as AAC decoders may, the base class calls
/// every block by the time of the packet before it. Where a packet is damaged it calls all others by their own, so there the
/// blocks stay where they say, and the sound has a hole where it has one.
pub fn placed(said: &[i64], packets: &[i64], is_beginning: bool) -> Vec<i64> {
    let silent = packets.len().checked_sub(said.len()).filter(|silent| *silent <= SILENT_PACKETS);
    let is_shifted = |silent: usize| {
        let ends = said.last().zip(packets.last()).zip(packets.get(packets.len() - 1 - silent));
        ends.is_some_and(|((said, last), before)| (said - before).abs() < (said - last).abs())
    };
    match silent {
        Some(silent) if silent == 0 || (is_beginning && is_shifted(silent)) => packets[silent..].to_vec(),
        _ => said.to_vec(),
    }
}

/// Where the first block of a file begins: it ends where the second begins. A container may take what is to be clipped off
/// its front, as of Opus, from its duration.
pub fn beginning(said: i64, samples: i64, second: i64) -> i64 {
    let moved = second - samples;
    if (moved - said).abs() < samples { moved } else { said }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples of a block.
    const FRAME: i64 = 1024;

    /// A recording whose second packet is twelve milliseconds late, and whose third makes up for it.
    #[test]
    fn blocks_lie_where_most_of_them_say_without_gaps_and_behind_a_gap_anew() {
        let said = |ats: &[i64]| ats.iter().map(|at| (*at, 1024)).collect::<Vec<_>>();
        let even = said(&[5000, 6024, 7048]);
        assert_eq!(lined_up(&even, 960), [5000, 6024, 7048]);
        let late = said(&[576, 1600, 1859, 2883, 3907]);
        assert_eq!(lined_up(&late, 960), [-189, 835, 1859, 2883, 3907]);
        let gap = said(&[0, 1024, 9000, 10_023, 11_049]);
        assert_eq!(lined_up(&gap, 960), [0, 1024, 9000, 10_024, 11_048]);
        assert!(lined_up(&[], 960).is_empty());
    }

    #[test]
    fn a_first_block_ends_where_the_second_begins() {
        assert_eq!(beginning(-312, 648, 648), 0, "312 samples are not there");
        assert_eq!(beginning(0, 960, 648), -312, "312 samples were to be clipped");
        assert_eq!(beginning(0, 1024, 1024), 0);
        assert_eq!(beginning(0, 512, 528), 16, "times are rounded, of all but the first alike");
        assert_eq!(beginning(0, 512, 2048), 0, "a hole");
        assert_eq!(beginning(0, 0, 1024), 0, "nothing");
    }

    /// One damaged packet used to move all sound before it to the place of the next.
    #[test]
    fn blocks_move_for_a_silent_beginning_and_not_for_a_damaged_packet() {
        let packets: Vec<i64> = (0..6).map(|n| n * FRAME).collect();
        let all = |said: &[i64], is_beginning| {
            let said: Vec<i64> = said.iter().map(|n| n * FRAME).collect();
            placed(&said, &packets, is_beginning).into_iter().map(|at| at / FRAME).collect::<Vec<_>>()
        };
        assert_eq!(
            all(&[0, 1, 2, 3, 4], true),
            [1, 2, 3, 4, 5],
            "the first yields nothing and all are called by the one before"
        );
        assert_eq!(all(&[0, 1, 2, 3], true), [2, 3, 4, 5]);
        for damaged in [&[0, 1, 3, 4, 5], &[1, 2, 3, 4, 5]] {
            assert_eq!([true, false].map(|beginning| all(damaged, beginning)), [damaged, damaged]);
        }
        assert_eq!(all(&[0, 1, 2, 3, 4], false), [0, 1, 2, 3, 4], "the last one is damaged");
        assert_eq!(all(&[0, 1, 5], true), [0, 1, 5]);
        assert_eq!(all(&[0, 0, 2, 3, 4, 5], false), [0, 1, 2, 3, 4, 5], "a block for every packet");
        assert_eq!(placed(&[], &[], true), [0; 0]);
    }
}
