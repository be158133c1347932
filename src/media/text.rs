//! Text that goes with pictures: cues, and the WebVTT they are served as. Pure, and a function of cues and boundaries.

use std::fmt::Write as _;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Cut, Timescale};

/// `MPEGTS` of `X-TIMESTAMP-MAP` (RFC 8216 §3.5) for text beside CMAF, whose media begin at their title's zero.
pub const CMAF_MPEGTS_ZERO: u64 = 0;
/// Milliseconds per second; cues are timed in these, as WebVTT writes them.
const MILLISECONDS: i128 = 1000;

/// What a viewer chooses a track by, besides its language.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// The track's own name, one bounded line without quotes or control characters.
    pub title: Option<String>,
    /// The file asks for it to be chosen unless the viewer chooses.
    pub default: bool,
    /// Meant to be shown whatever the viewer chose: foreign speech, signs.
    pub forced: bool,
    /// Tells sounds too, for those who do not hear them.
    pub hearing_impaired: bool,
}

/// Words shown for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cue {
    /// When they appear, milliseconds from the title's zero.
    pub start_ms: u64,
    /// When they go; after `start_ms`.
    pub end_ms: u64,
    /// A WebVTT cue payload: escaped, no blank line, no arrow.
    pub text: String,
    /// Where they stand, as WebVTT's cue settings (§3.1); empty for its usual place.
    pub settings: String,
}

/// A text track whose cues were read at inspection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextTrack {
    /// A name people know: `SubRip`, `ASS`.
    pub codec: String,
    /// RFC 5646 tag, `und` if unknown.
    pub language: String,
    /// What a viewer chooses it by.
    pub label: Label,
    /// By start, then end.
    pub cues: Vec<Cue>,
}

/// A subtitle file that lies beside a source, as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sidecar {
    /// A name people know: `SubRip`, `WebVTT`.
    pub codec: String,
    /// RFC 5646 tag, `und` if unknown.
    pub language: String,
    /// What a viewer chooses it by.
    pub label: Label,
    /// The whole file.
    pub data: Bytes,
}

/// A text rendition: the cues of a track as WebVTT. Each segment is one document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextRendition {
    /// Which of the source's text tracks, counted from zero.
    pub track: u32,
    /// RFC 5646 tag, `und` if unknown.
    pub language: String,
    /// What a viewer chooses it by.
    pub label: Label,
}

impl Label {
    /// Longest name of a track that is kept, characters: it stands in menus.
    pub const MOST_CHARS: usize = 80;

    /// A name out of a source file as one bounded line that can stand between quotes, or `None` if nothing is left.
    #[must_use]
    pub fn clean(name: &str) -> Option<String> {
        let plain = |c: char| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c };
        let line: String = name.chars().map(plain).map(|c| if c == '"' { '\'' } else { c }).collect();
        let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
        let short: String = words.chars().take(Self::MOST_CHARS).collect();
        (!short.trim().is_empty()).then(|| short.trim().to_owned())
    }
}

impl TextTrack {
    /// One segment: every cue that is on screen at some moment of it, with its full times, so that a player that
    /// starts there shows it and one that comes from before sees the same cue again (RFC 8216 §3.5).
    #[must_use]
    pub fn segment(&self, timescale: Timescale, (from, to): (Cut, Cut)) -> String {
        let ticks = |ms: u64| i128::from(ms) * i128::from(timescale.get());
        let overlaps = |cue: &&Cue| {
            ticks(cue.start_ms) < i128::from(to.at) * MILLISECONDS
                && ticks(cue.end_ms) > i128::from(from.at) * MILLISECONDS
        };
        let mut text = format!("WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:{CMAF_MPEGTS_ZERO},LOCAL:00:00:00.000\n");
        // Sorted by start: what begins later than the segment ends needs no look.
        let end = self.cues.partition_point(|c| ticks(c.start_ms) < i128::from(to.at) * MILLISECONDS);
        self.cues[..end].iter().filter(overlaps).for_each(|cue| cue.write(&mut text));
        text
    }

    /// All cues as one document.
    #[must_use]
    pub fn whole(&self) -> String {
        let mut text = "WEBVTT\n".to_owned();
        self.cues.iter().for_each(|cue| cue.write(&mut text));
        text
    }
}

impl Cue {
    fn write(&self, out: &mut String) {
        out.push('\n');
        stamp(self.start_ms, out);
        out.push_str(" --> ");
        stamp(self.end_ms, out);
        if !self.settings.is_empty() {
            out.push(' ');
            out.push_str(&self.settings);
        }
        out.push('\n');
        out.push_str(&self.text);
        out.push('\n');
    }
}

/// A WebVTT timestamp (§3.1): at least two digits of hours.
fn stamp(ms: u64, out: &mut String) {
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let _ = write!(out, "{:02}:{:02}:{:02}.{ms:03}", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn track(cues: Vec<Cue>) -> TextTrack {
        TextTrack { codec: "SubRip".into(), language: "en".into(), label: Label::default(), cues }
    }

    fn cue(start_ms: u64, end_ms: u64, text: &str) -> Cue {
        Cue { start_ms, end_ms, text: text.into(), settings: String::new() }
    }

    #[test]
    fn a_segment_repeats_a_cue_that_spans_its_boundary_with_its_full_times() {
        let track = track(vec![cue(0, 1_000, "one"), cue(900, 3_600_500, "two"), cue(2_000, 2_500, "three")]);
        let cut = |at| Cut { frame: 0, at };
        let timescale = Timescale::new(24_000).unwrap();
        let second = track.segment(timescale, (cut(24_000), cut(48_000)));
        assert_eq!(
            second,
            "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\n\n00:00:00.900 --> 01:00:00.500\ntwo\n"
        );
        assert!(track.whole().ends_with("\n\n00:00:02.000 --> 00:00:02.500\nthree\n"));
    }

    #[test]
    fn where_a_cue_stands_is_said_in_every_segment_and_in_the_whole() {
        let track = track(vec![Cue { settings: "line:0 align:left".into(), ..cue(500, 1_500, "one") }]);
        let cut = |at| Cut { frame: 0, at };
        let line = "\n00:00:00.500 --> 00:00:01.500 line:0 align:left\none\n";
        let of = |from, to| track.segment(Timescale::new(1000).unwrap(), (cut(from), cut(to)));
        for document in [of(0, 1000), of(1000, 2000), track.whole()] {
            assert!(document.ends_with(line), "{document}");
        }
    }

    #[test]
    fn a_name_can_stand_between_quotes_and_stays_short() {
        assert_eq!(Label::clean("Director's \"cut\"\r\n#EXT-X"), Some("Director's 'cut' #EXT-X".into()));
        assert_eq!(Label::clean(" \0\t\u{2028}"), None);
        assert_eq!(Label::clean(&"ü".repeat(999)).unwrap().chars().count(), Label::MOST_CHARS);
    }

    proptest! {
        #[test]
        fn a_cue_is_in_every_segment_it_overlaps_and_in_no_other(
            spans in prop::collection::vec((0..20_000_u64, 1..9_000_u64), 0..30),
            lengths in prop::collection::vec(1..90_000_u64, 1..12),
            timescale in prop_oneof![Just(1_000_u32), Just(24_000), Just(30_000), Just(90_000), Just(44_100)],
        ) {
            let mut cues: Vec<Cue> =
                spans.iter().enumerate().map(|(i, (s, d))| cue(*s, s + d, &format!("cue {i}."))).collect();
            cues.sort_by_key(|c| (c.start_ms, c.end_ms));
            let track = track(cues);
            let mut at = 0;
            for length in lengths {
                let (from, to) = (Cut { frame: 0, at }, Cut { frame: 1, at: at + length });
                let text = track.segment(Timescale::new(timescale).unwrap(), (from, to));
                prop_assert_eq!(&text, &track.segment(Timescale::new(timescale).unwrap(), (from, to)));
                for cue in &track.cues {
                    let (start, end) = (cue.start_ms * u64::from(timescale), cue.end_ms * u64::from(timescale));
                    let expected = start < (at + length) * 1000 && end > at * 1000;
                    prop_assert_eq!(text.contains(&format!("\n{}\n", cue.text)), expected, "{:?}", cue);
                }
                at += length;
            }
        }
    }
}
