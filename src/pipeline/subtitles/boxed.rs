//! Text samples of MP4 files, read where their tables say: `tx3g` (3GPP TS 26.245 §5.17), QuickTime `text`, and `wvtt`
//! (ISO/IEC 14496-30 §7).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{MOST_CUES, Raw, charset, payload, settings};
use crate::media::{Timescale, language};
use crate::pipeline::mp4::{Table, TextEntry};

/// Longest sample that is read, bytes: text and its styles.
const MOST_SAMPLE_BYTES: u32 = 64 << 10;

/// Can its samples be read?
pub fn is_text(table: &Table) -> bool {
    table.text.is_some()
}

/// What people call it.
pub fn codec(table: &Table) -> String {
    match table.text {
        Some(TextEntry::Timed { .. }) => "3GPP timed text",
        Some(TextEntry::QuickTime) => "QuickTime text",
        Some(TextEntry::WebVtt) => "WebVTT",
        None => "data",
    }
    .to_owned()
}

/// Its language; a code that is none is unknown.
pub fn language(table: &Table) -> String {
    let is_code = table.language.len() == 3 && table.language.bytes().all(|b| b.is_ascii_lowercase());
    if is_code { language::tag(&table.language) } else { "und".to_owned() }
}

/// Every sample is to be shown whatever the viewer chose (3GPP TS 26.245 §5.16, as QuickTime uses its display flags).
pub fn is_forced(table: &Table) -> bool {
    matches!(table.text, Some(TextEntry::Timed { all_forced: true }))
}

/// The cues of a track. A sample lasts until the next begins; one that cannot be read is left out.
pub fn read(source: &Path, table: &Table) -> Vec<Raw> {
    let (Ok(file), Some(timescale)) = (File::open(source), Timescale::new(table.timescale)) else { return Vec::new() };
    let ns = |ticks: i64| timescale.convert(ticks, Timescale::NANOSECONDS);
    let mut cues = Vec::new();
    for (i, sample) in table.samples.iter().enumerate().take(MOST_CUES) {
        if sample.size > MOST_SAMPLE_BYTES || !sample.shown {
            continue;
        }
        let mut data = vec![0; sample.size as usize];
        if file.read_exact_at(&mut data, sample.offset).is_err() {
            continue;
        }
        let end = table.samples.get(i + 1).map_or(table.end, |next| next.pts);
        let (start_ns, end_ns) = (ns(sample.pts), Some(ns(end)));
        if matches!(table.text, Some(TextEntry::WebVtt)) {
            cues.extend(cue_boxes(&data).into_iter().map(|(text, settings)| Raw { start_ns, end_ns, text, settings }));
        } else {
            cues.push(Raw { start_ns, end_ns, text: counted(&data), settings: String::new() });
        }
    }
    cues
}

/// A 16-bit length and so many bytes of text; styles may follow.
fn counted(data: &[u8]) -> String {
    let Some((length, rest)) = data.split_first_chunk::<2>() else { return String::new() };
    let text = &rest[..rest.len().min(usize::from(u16::from_be_bytes(*length)))];
    payload::from_plain(&charset::decode(text).replace('\r', "\n"))
}

/// The payloads of a sample's `vttc` boxes with their settings; `vtte` is an empty one.
fn cue_boxes(sample: &[u8]) -> Vec<(String, String)> {
    let words = |cue, of: &[u8; 4]| Boxes(cue).find(|(kind, _)| kind == of).map(|(_, text)| charset::decode(text));
    let cue = |(_, cue)| {
        let settings = settings::from_webvtt(&words(cue, b"sttg").unwrap_or_default());
        Some((payload::from_tagged(&words(cue, b"payl")?), settings))
    };
    Boxes(sample).filter(|(kind, _)| kind == b"vttc").filter_map(cue).collect()
}

/// Boxes one after the other, as far as their sizes make sense.
struct Boxes<'a>(&'a [u8]);

impl<'a> Iterator for Boxes<'a> {
    type Item = ([u8; 4], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (size, rest) = self.0.split_first_chunk::<4>()?;
        let (kind, _) = rest.split_first_chunk::<4>()?;
        let body = self.0.get(8..u32::from_be_bytes(*size) as usize)?;
        self.0 = &self.0[8 + body.len()..];
        Some((*kind, body))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn samples_of_each_kind_are_read() {
        assert_eq!(counted(b"\0\x05a < bstyl"), "a &lt; b");
        assert_eq!(counted(b"\0\x06\xfe\xff\0a\0b"), "ab");
        let said = |text: &str, settings: &str| vec![(text.to_owned(), settings.to_owned())];
        assert_eq!(cue_boxes(b"\0\0\0\x15vttc\0\0\0\x0dpayl<i>a<"), said("<i>a&lt;</i>", ""));
        let placed = b"\0\0\0\x23vttc\0\0\0\x12sttgline:0 x:y\0\0\0\x09payla";
        assert_eq!(cue_boxes(placed), said("a", "line:0"));
        assert_eq!(cue_boxes(b"\0\0\0\x08vtte"), []);
    }

    proptest! {
        #[test]
        fn hostile_samples_never_panic(data: Vec<u8>) {
            counted(&data);
            cue_boxes(&data);
            cue_boxes(&[b"\0\0\0\x30vttc\0\0\0\x20payl", &data[..]].concat());
        }
    }
}
