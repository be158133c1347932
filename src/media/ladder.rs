//! The ladder's configuration: which sizes are offered and how high their rates may go.

use serde::{Deserialize, Serialize};

/// `[ladder]`: the renditions a title may have. Those above the source are never made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ladder {
    /// Video rungs, best first.
    pub video: Vec<VideoRung>,
    /// Audio rungs, best first; a video rung takes the first one made for its size.
    pub audio: Vec<AudioRung>,
    /// Wished length of a segment, seconds.
    pub segment_seconds: f64,
    /// Wished lengths of the first segments, seconds: short ones start quickly.
    pub first_segments_seconds: Vec<f64>,
    /// A boundary moves to a source key frame when one lies within this share of the wished length.
    pub key_frame_tolerance: f64,
    /// Renditions with a short side up to this many pixels ...
    pub frame_rate_cap_max_height: u32,
    /// ... are limited to this many frames per second.
    pub frame_rate_cap: u32,
    /// Rate of the 5.1 rendition of a source with more than two channels, bits per second; 0 offers stereo alone.
    pub surround_bitrate: u32,
    /// Offer a source that players can play as it is, without transcoding.
    pub passthrough: bool,
}

/// A video rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VideoRung {
    /// Short side of the picture, pixels.
    pub height: u32,
    /// Highest rate of a segment, bits per second.
    pub bitrate: u64,
}

/// An audio rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AudioRung {
    /// Goes with video rungs of this short side and above, pixels.
    pub min_height: u32,
    /// Bits per second.
    pub bitrate: u32,
}

/// What is wrong with a ladder.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum LadderError {
    /// No rungs at all.
    #[error("ladder.{0} is empty: list at least one rung")]
    Empty(&'static str),
    /// Not best first.
    #[error("ladder.{0}: rungs must be listed best first, each smaller than the one before")]
    Order(&'static str),
    /// Renditions are named after their rate in kilobits, and no two may have one name.
    #[error(
        "ladder.audio: {above} and {below} bits per second are too close or in the wrong order: list rungs best first, \
         each at least 2000 bits per second lower"
    )]
    Name {
        /// The rung listed first.
        above: u32,
        /// The next.
        below: u32,
    },
    /// A number no encoder or player takes.
    #[error("ladder.{key} is {value}: must be {must}")]
    Range {
        /// The key below `ladder`.
        key: &'static str,
        /// What was given.
        value: String,
        /// The range it must lie in.
        must: &'static str,
    },
}

impl Default for Ladder {
    fn default() -> Self {
        let video = |height, bitrate| VideoRung { height, bitrate };
        Self {
            video: vec![
                video(2160, 16_000_000),
                video(1080, 5_000_000),
                video(720, 2_800_000),
                video(480, 1_400_000),
                video(360, 800_000),
                video(240, 400_000),
                video(144, 150_000),
            ],
            audio: vec![AudioRung { min_height: 360, bitrate: 128_000 }, AudioRung { min_height: 0, bitrate: 64_000 }],
            surround_bitrate: 384_000,
            segment_seconds: 4.0,
            first_segments_seconds: vec![1.0, 1.0, 2.0],
            key_frame_tolerance: 0.25,
            frame_rate_cap_max_height: 360,
            frame_rate_cap: 30,
            passthrough: true,
        }
    }
}

impl AudioRung {
    /// Bits per second of so many channels, one or two: one needs little more than half.
    #[must_use]
    pub fn bitrate_of(self, channels: u32) -> u32 {
        if channels == 1 { self.bitrate / 8 * 5 } else { self.bitrate }
    }
}

impl Ladder {
    /// All problems at once.
    #[must_use]
    pub fn problems(&self) -> Vec<LadderError> {
        let mut found = Vec::new();
        let mut range = |key, value: String, good: bool, must| {
            if !good {
                found.push(LadderError::Range { key, value, must });
            }
        };
        for rung in &self.video {
            let even = rung.height % 2 == 0 && (64..=4320).contains(&rung.height);
            range("video.height", rung.height.to_string(), even, "an even number from 64 to 4320");
            let rate = (50_000..=200_000_000).contains(&rung.bitrate);
            range("video.bitrate", rung.bitrate.to_string(), rate, "50000 to 200000000 bits per second");
        }
        for rung in &self.audio {
            let rate = (16_000..=512_000).contains(&rung.bitrate);
            range("audio.bitrate", rung.bitrate.to_string(), rate, "16000 to 512000 bits per second");
        }
        let surround = self.surround_bitrate == 0 || (96_000..=640_000).contains(&self.surround_bitrate);
        range("surround_bitrate", self.surround_bitrate.to_string(), surround, "0 or 96000 to 640000 bits per second");
        let seconds = |s: f64| (0.5..=10.0).contains(&s);
        range("segment_seconds", self.segment_seconds.to_string(), seconds(self.segment_seconds), "0.5 to 10");
        for first in &self.first_segments_seconds {
            range("first_segments_seconds", first.to_string(), seconds(*first), "0.5 to 10 each");
        }
        let tolerance = (0.0..=0.5).contains(&self.key_frame_tolerance);
        range("key_frame_tolerance", self.key_frame_tolerance.to_string(), tolerance, "0 to 0.5");
        range("frame_rate_cap", self.frame_rate_cap.to_string(), self.frame_rate_cap > 0, "at least 1");
        for (name, empty) in [("video", self.video.is_empty()), ("audio", self.audio.is_empty())] {
            if empty {
                found.push(LadderError::Empty(name));
            }
        }
        if self.video.windows(2).any(|w| w[0].height <= w[1].height || w[0].bitrate <= w[1].bitrate) {
            found.push(LadderError::Order("video"));
        }
        if self.audio.windows(2).any(|w| w[0].min_height <= w[1].min_height) {
            found.push(LadderError::Order("audio"));
        }
        let names = |rung: &AudioRung| [1, 2].map(|channels| rung.bitrate_of(channels) / 1000);
        let alike = |w: &&[AudioRung]| names(&w[0]).iter().zip(names(&w[1])).any(|(above, below)| *above <= below);
        let alike = self.audio.windows(2).filter(alike);
        found.extend(alike.map(|w| LadderError::Name { above: w[0].bitrate, below: w[1].bitrate }));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audio_rungs_of_one_name_are_refused_also_where_one_channel_makes_them_so() {
        let problems = |rates: [u32; 2]| {
            let rung = |(n, &bitrate): (usize, &u32)| AudioRung { min_height: 360 * (1 - n as u32), bitrate };
            Ladder { audio: rates.iter().enumerate().map(rung).collect(), ..Ladder::default() }.problems()
        };
        let name = |above, below| vec![LadderError::Name { above, below }];
        assert_eq!(problems([128_000, 64_000]), []);
        assert_eq!(problems([130_000, 128_000]), []);
        assert_eq!(problems([64_000, 64_000]), name(64_000, 64_000));
        assert_eq!(problems([64_900, 64_000]), name(64_900, 64_000), "both 64k");
        assert_eq!(problems([65_000, 64_000]), name(65_000, 64_000), "both 40k of one channel");
        assert_eq!(problems([64_000, 128_000]), name(64_000, 128_000));
    }
}
