//! Text tracks: from whatever they are in a file, or beside it, to cues. All of it is what strangers wrote, read in the
//! worker, and bounded: in cues, in bytes of a cue, in bytes of a track.
//!
//! Reading order: [`text_tracks`], `boxed` (samples of MP4 files), `timed` (SubRip and WebVTT files), `payload`, `settings`
//! (where words stand), `charset`.

mod boxed;
mod charset;
mod payload;
mod settings;
mod timed;

use std::path::Path;

use super::found::{Found, UNNAMED_TEXT, Words};
use super::matroska;
use super::mp4::Table;
use crate::media::{Cue, Label, Sidecar, Skipped, TextTrack, TrackKind};

/// Most cues of a track: a long film has two thousand, live captions of a day some tens of thousands.
const MOST_CUES: usize = 100_000;
/// Most bytes of a track's payloads together.
const MOST_TRACK_BYTES: usize = 8 << 20;
/// A cue whose end nobody tells stays until the next one, and no longer than this, nanoseconds.
const UNTOLD_NS: i64 = 5_000_000_000;
/// Nanoseconds per millisecond.
const MS: i64 = 1_000_000;

/// A cue as it was found, on the container's timeline.
#[derive(Debug)]
struct Raw {
    start_ns: i64,
    end_ns: Option<i64>,
    /// A payload; empty if the sample only ends the one before.
    text: String,
    /// Where it stands, as WebVTT says it.
    settings: String,
}

/// What became of the text tracks.
#[derive(Default)]
pub struct Outcome {
    pub text: Vec<TextTrack>,
    pub skipped: Vec<Skipped>,
}

/// Every track that is neither sound nor pictures, and the files beside the source. `zero_ns` is the title's zero on the
/// container's timeline; tables are of an MP4 file that is read directly.
pub fn text_tracks(source: &Path, found: &[Found], tables: &[Table], zero_ns: i64, sidecars: &[Sidecar]) -> Outcome {
    let mut outcome = Outcome::default();
    for track in found.iter().filter(|t| !t.is_media()) {
        let table = tables.iter().find(|t| track.stream_id.parse() == Ok(t.id));
        outcome.add(match table {
            Some(table) => from_table(source, table, Some(track), zero_ns),
            None => from_demuxer(source, track, zero_ns),
        });
    }
    // What GStreamer does not show may be text all the same.
    let shown = |t: &&Table| found.iter().any(|f| f.stream_id.parse() == Ok(t.id));
    for table in tables.iter().filter(|t| !shown(t) && boxed::is_text(t)) {
        outcome.add(from_table(source, table, None, zero_ns));
    }
    // Matroska sets the flag unless somebody unsets it, and MP4 files enable every track: where none is set apart, it does
    // not mean that words are to be shown unasked.
    if outcome.text.iter().all(|t| t.label.default) {
        outcome.text.iter_mut().for_each(|t| t.label.default = false);
    }
    for sidecar in sidecars {
        outcome.add(from_sidecar(sidecar));
    }
    outcome
}

impl Outcome {
    fn add(&mut self, track: Result<TextTrack, Skipped>) {
        match track {
            Ok(track) => self.text.push(track),
            Err(skipped) => self.skipped.push(skipped),
        }
    }
}

fn from_table(source: &Path, table: &Table, found: Option<&Found>, zero_ns: i64) -> Result<TextTrack, Skipped> {
    let codec = boxed::codec(table);
    let language = found.and_then(|f| f.language.clone()).unwrap_or_else(|| boxed::language(table));
    let title = found.and_then(|f| f.title.clone());
    let label = label(title, table.enabled, boxed::is_forced(table));
    let skip = |kind, why: &str| {
        Err(Skipped { kind, codec: codec.clone(), language: language.clone(), label: label.clone(), why: why.into() })
    };
    if table.is_chapters {
        return skip(TrackKind::Data, "its text names chapters");
    }
    if !boxed::is_text(table) {
        return skip(TrackKind::Data, "it is neither sound nor pictures nor text that can be read");
    }
    let cues = finish(boxed::read(source, table), zero_ns);
    if cues.is_empty() {
        return skip(TrackKind::Text, "it has no words");
    }
    Ok(TextTrack { codec: codec.clone(), language, label, cues })
}

fn from_demuxer(source: &Path, track: &Found, zero_ns: i64) -> Result<TextTrack, Skipped> {
    let caps = track.caps.as_ref().and_then(|c| c.structure(0));
    let media_type = caps.map_or("", |s| s.name().as_str());
    let codec_id = (media_type == UNNAMED_TEXT).then(|| matroska::codec_id(source, &track.stream_id)).flatten();
    let codec_id = codec_id.unwrap_or_default();
    // WebM puts name and settings of a cue before its text, Matroska puts them beside it.
    let is_webm = codec_id.starts_with("D_WEBVTT/");
    let media_type = if is_webm || codec_id == "S_TEXT/WEBVTT" { "application/x-subtitle-vtt" } else { media_type };
    let (kind, codec) = known(media_type);
    let language = track.language.clone().unwrap_or_else(|| "und".to_owned());
    let label = label(track.title.clone(), track.default, false);
    let skip = |why: &str| {
        let (codec, language) = (codec.to_owned(), language.clone());
        Err(Skipped { kind, codec, language, label: label.clone(), why: why.into() })
    };
    let tagged = caps.and_then(|s| s.get::<&str>("format").ok()) != Some("utf8");
    let read: fn(&str) -> String = match media_type {
        "text/x-raw" if tagged => payload::from_tagged,
        "text/x-raw" => payload::from_plain,
        "application/x-subtitle-vtt" => payload::from_tagged,
        "application/x-ssa" | "application/x-ass" => {
            |line| payload::from_ass(line.splitn(9, ',').last().unwrap_or_default())
        }
        name if name.starts_with("subpicture/") => {
            return skip("its subtitles are pictures, and only text can be offered");
        }
        name if name.starts_with("closedcaption/") => return skip("captions inside the pictures cannot be read"),
        _ => return skip("it is neither sound nor pictures nor text that can be read"),
    };
    let has_overrides = media_type != "text/x-raw" || tagged;
    let raw = |w: &Words| {
        let mut words = charset::decode(&w.data);
        let mut settings = if has_overrides { settings::from_overrides(&words) } else { String::new() };
        if is_webm {
            let mut parts = words.splitn(3, '\n').skip(1);
            settings = settings::from_webvtt(parts.next().unwrap_or_default());
            words = parts.next().unwrap_or_default().to_owned().into();
        }
        let end_ns = w.duration.map(|d| w.pts.saturating_add_unsigned(d));
        Raw { start_ns: w.pts, end_ns, text: read(&words), settings }
    };
    let cues = finish(track.words.iter().map(raw).collect(), zero_ns);
    if cues.is_empty() {
        return skip("it has no words");
    }
    Ok(TextTrack { codec: codec.to_owned(), language, label, cues })
}

fn from_sidecar(sidecar: &Sidecar) -> Result<TextTrack, Skipped> {
    let Sidecar { codec, language, label, data } = sidecar.clone();
    let cues = finish(timed::read(&charset::decode(&data)), 0);
    if cues.is_empty() {
        let why = "no line of it tells when words are shown".to_owned();
        return Err(Skipped { kind: TrackKind::Text, codec, language, label, why });
    }
    Ok(TextTrack { codec, language, label, cues })
}

/// Names people know.
fn known(media_type: &str) -> (TrackKind, &str) {
    match media_type {
        "text/x-raw" | UNNAMED_TEXT => (TrackKind::Text, "text"),
        "application/x-subtitle-vtt" => (TrackKind::Text, "WebVTT"),
        "application/x-ssa" => (TrackKind::Text, "SSA"),
        "application/x-ass" => (TrackKind::Text, "ASS"),
        "subpicture/x-pgs" => (TrackKind::Text, "PGS"),
        "subpicture/x-dvd" => (TrackKind::Text, "VobSub"),
        "subpicture/x-dvb" => (TrackKind::Text, "DVB subtitles"),
        "application/x-teletext" => (TrackKind::Text, "Teletext"),
        "closedcaption/x-cea-608" => (TrackKind::Text, "CEA-608"),
        "closedcaption/x-cea-708" => (TrackKind::Text, "CEA-708"),
        "" => (TrackKind::Data, "unknown"),
        other => (TrackKind::Data, other),
    }
}

/// What is not said by flags is said by names.
fn label(title: Option<String>, default: bool, forced: bool) -> Label {
    let title = title.as_deref().and_then(Label::clean);
    let says = |word: &str| {
        let title = title.as_deref().unwrap_or_default();
        title.split(|c: char| !c.is_alphanumeric()).any(|w| w.eq_ignore_ascii_case(word))
    };
    let (forced, hearing_impaired) = (forced || says("forced"), says("SDH") || says("CC"));
    Label { title, default, forced, hearing_impaired }
}

/// Cues in order on the title's timeline, each with an end, none without words.
fn finish(mut raw: Vec<Raw>, zero_ns: i64) -> Vec<Cue> {
    raw.sort_by_key(|r| r.start_ns);
    let starts: Vec<i64> = raw.iter().map(|r| r.start_ns).collect();
    let next = |i: usize| starts[i + 1..].iter().copied().find(|s| *s > starts[i]);
    let mut bytes = 0;
    let mut cues: Vec<Cue> = Vec::new();
    for (i, raw) in raw.into_iter().enumerate() {
        let until = raw.start_ns.saturating_add(UNTOLD_NS);
        let end = raw.end_ns.unwrap_or_else(|| next(i).map_or(until, |n| n.min(until)));
        let ms = |ns: i64| u64::try_from(ns.saturating_sub(zero_ns).saturating_add(MS / 2).div_euclid(MS)).unwrap_or(0);
        let (start_ms, end_ms) = (ms(raw.start_ns), ms(end));
        bytes += raw.text.len() + raw.settings.len();
        if raw.text.is_empty() || end_ms <= start_ms {
            continue;
        }
        if cues.len() >= MOST_CUES || bytes > MOST_TRACK_BYTES {
            break;
        }
        cues.push(Cue { start_ms, end_ms, text: raw.text, settings: raw.settings });
    }
    cues.sort_by_key(|c| (c.start_ms, c.end_ms));
    cues.dedup();
    cues
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raw(start: i64, end: Option<i64>, text: &str) -> Raw {
        Raw { start_ns: start * MS, end_ns: end.map(|e| e * MS), text: text.into(), settings: String::new() }
    }

    #[test]
    fn a_cue_whose_end_is_not_told_stays_until_the_next() {
        let found = finish(vec![raw(9_000, None, "b"), raw(8_000, None, "a"), raw(8_500, Some(8_500), "")], 500 * MS);
        let expected = [(7_500, 8_000, "a"), (8_500, 13_500, "b")];
        let expected = expected.map(|(start_ms, end_ms, text)| Cue {
            start_ms,
            end_ms,
            text: text.into(),
            settings: String::new(),
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn names_tell_what_flags_do_not() {
        let said = label(Some("English [SDH]".into()), false, false);
        assert!(said.hearing_impaired && !said.forced);
        assert!(label(Some("Forced".into()), true, false).forced);
        assert!(!label(Some("Reinforced concrete".into()), true, false).forced);
    }

    proptest! {
        #[test]
        fn hostile_times_never_panic(times in prop::collection::vec((any::<i64>(), any::<Option<i64>>()), 0..20), zero: i64) {
            let raw = times.iter().map(|(start, end)| Raw { start_ns: *start, end_ns: *end, ..raw(0, None, "x") });
            for cue in finish(raw.collect(), zero) {
                prop_assert!(cue.start_ms < cue.end_ms);
            }
        }
    }
}
