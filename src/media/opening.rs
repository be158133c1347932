//! How players begin to play a title.

use super::{Plan, Rendition};

/// The renditions that are asked for first, by their place in the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// What is played first: pictures and the sound that goes with them, or sound alone.
    pub start: Vec<usize>,
    /// Sound that goes with other pictures: a player that changes to those drops the sound it has.
    pub sound: Vec<usize>,
    /// Encodes of less bandwidth, the lowest first. A first segment that was made while the player waited, or that is a few
    /// kilobytes, looks like a slow network to a player that measures.
    pub fallbacks: Vec<usize>,
    /// The encode of the next higher bandwidth. A player that finds its first segment in memory takes the network for fast, and
    /// goes there with the second.
    pub better: Option<usize>,
}

/// Segments of a beginning without which a player does not begin, or stalls at once: about two seconds, as the first ones are
/// short.
pub const FIRST_SEGMENTS: u32 = 2;

impl Opening {
    /// Of a player that starts with this rendition.
    #[must_use]
    pub fn of(plan: &Plan, start: usize) -> Self {
        let Some(first) = plan.renditions.get(start) else { return Self::default() };
        let start: Vec<usize> = [Some(start), plan.sound_of(start)].into_iter().flatten().collect();
        let mut sound = Vec::new();
        for other in (0..plan.renditions.len()).filter_map(|at| plan.sound_of(at)) {
            if !start.contains(&other) && !sound.contains(&other) {
                sound.push(other);
            }
        }
        let is_fallback = |of: &Rendition| of.is_picture_encode() && of.bandwidth < first.bandwidth;
        let mut fallbacks: Vec<usize> =
            (0..plan.renditions.len()).filter(|at| is_fallback(&plan.renditions[*at])).collect();
        fallbacks.sort_by_key(|at| plan.renditions[*at].bandwidth);
        let is_better = |of: &Rendition| of.is_picture_encode() && of.bandwidth > first.bandwidth;
        let better = (0..plan.renditions.len()).filter(|at| is_better(&plan.renditions[*at]));
        let better = better.min_by_key(|at| plan.renditions[*at].bandwidth);
        Self { start, sound, fallbacks, better }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{
        AudioRendition, AudioSource, Colour, Cut, Grid, Label, Rate, RenditionKind, Timescale, VideoRendition,
        VideoSource,
    };

    fn rendition(name: &str, bandwidth: u64, kind: RenditionKind) -> Rendition {
        let cuts = vec![Cut { frame: 0, at: 0 }, Cut { frame: 25, at: 1000 }];
        let grid = Grid::new(Timescale::new(1000).unwrap(), cuts).unwrap();
        Rendition { name: name.parse().unwrap(), grid, codecs: String::new(), bandwidth, average_bandwidth: None, kind }
    }

    fn pictures(name: &str, bandwidth: u64, audio: Option<&str>, is_passed: bool) -> Rendition {
        let source = match is_passed {
            true => VideoSource::Passthrough { avcc: Vec::new(), buffer_ms: 0 },
            false => VideoSource::Encode { ceiling: bandwidth, level: 31, min_frame_ticks: 0 },
        };
        let video = VideoRendition {
            width: 640,
            height: 360,
            rate: Rate::new(25, 1).unwrap(),
            peak_rate: None,
            colour: Colour { primaries: 1, transfer: 1, matrix: 1, full_range: false },
            audio: audio.map(|name| name.parse().unwrap()),
            source,
        };
        rendition(name, bandwidth, RenditionKind::Video(video))
    }

    fn sound(name: &str, bitrate: u32) -> Rendition {
        let (language, source) = ("en".to_owned(), AudioSource::Encode { bitrate });
        let audio = AudioRendition { track: 0, rate: 48_000, channels: 2, language, label: Label::default(), source };
        rendition(name, bitrate.into(), RenditionKind::Audio(audio))
    }

    fn opening(renditions: Vec<Rendition>, start: usize) -> (Vec<usize>, Vec<usize>, Vec<usize>) {
        let Opening { start, sound, fallbacks, .. } = Opening::of(&Plan { renditions, ..Plan::default() }, start);
        (start, sound, fallbacks)
    }

    #[test]
    fn a_player_starts_with_pictures_and_their_sound_and_falls_back_to_less_that_is_encoded() {
        let ladder = || {
            let (high, low) = (Some("audio-128k"), Some("audio-64k"));
            vec![
                pictures("source", 900_000, high, true),
                pictures("480p", 800_000, high, false),
                pictures("360p", 500_000, high, false),
                pictures("144p", 100_000, low, false),
                pictures("240p", 200_000, low, false),
                sound("audio-128k", 128_000),
                sound("audio-64k", 64_000),
            ]
        };
        assert_eq!(opening(ladder(), 1), (vec![1, 5], vec![6], vec![3, 4, 2]));
        assert_eq!(opening(ladder(), 0), (vec![0, 5], vec![6], vec![3, 4, 2, 1]));
        assert_eq!(opening(ladder(), 3), (vec![3, 6], vec![5], vec![]));
        assert_eq!(opening(ladder(), 7), (vec![], vec![], vec![]));
    }

    #[test]
    fn a_player_goes_up_to_the_next_better_encode() {
        let ladder = vec![
            pictures("source", 3_000_000, None, true),
            pictures("1080p", 5_000_000, None, false),
            pictures("720p", 2_800_000, None, false),
            pictures("480p", 1_400_000, None, false),
        ];
        let plan = Plan { renditions: ladder, ..Plan::default() };
        assert_eq!([0, 1, 2, 3].map(|start| Opening::of(&plan, start).better), [Some(1), None, Some(1), Some(2)]);
    }

    /// Sound was made that nobody heard.
    #[test]
    fn sound_is_of_the_track_that_is_heard_by_default() {
        let of = |name: &str, number, is_default| {
            let mut sound = sound(name, 128_000);
            let RenditionKind::Audio(audio) = &mut sound.kind else { unreachable!() };
            (audio.track, audio.label.default) = (number, is_default);
            sound
        };
        let film = |is_default| {
            let (high, low) = (Some("audio-128k"), Some("audio-64k"));
            vec![
                pictures("480p", 800_000, high, false),
                pictures("144p", 100_000, low, false),
                of("audio-128k", 0, false),
                of("audio-64k", 0, false),
                of("audio-128k-2", 1, is_default),
                of("audio-64k-2", 1, is_default),
            ]
        };
        assert_eq!(opening(film(true), 0), (vec![0, 4], vec![5], vec![1]));
        assert_eq!(opening(film(false), 0), (vec![0, 2], vec![3], vec![1]));
    }

    #[test]
    fn without_sound_or_without_pictures_nothing_else_is_sought() {
        let silent = vec![pictures("360p", 500_000, None, false), pictures("144p", 500_000, None, false)];
        assert_eq!(opening(silent, 0), (vec![0], vec![], vec![]), "as much is not less");
        assert_eq!(
            opening(vec![sound("audio-128k", 128_000), sound("audio-64k", 64_000)], 0),
            (vec![0], vec![], vec![])
        );
    }
}
