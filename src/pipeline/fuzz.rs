//! Whatever in this room reads bytes of strangers without a pipeline, behind one door: for the fuzzers (`fuzz/`) and for
//! the test that reads again what they kept. Ordinary builds do not have it.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use super::found::{Found, Words};
use super::keys::{Codec, Place, Start, Told};
use super::raw::{RawPacket, believable};
use super::{blocks, geometry, inspect, joins, matroska, movie, mp4, pcr, quicktime, repeats, subtitles, tracks};
use crate::media::{Colour, Index, Label, Rotation, Sidecar, Timescale, VideoTrack};

/// Bytes that describe a packet to [`packets`].
const PACKET_BYTES: usize = 24;

/// What a demuxer might have found: an element of GStreamer, which takes longer to make than a file to read.
pub struct Stage(Found);

/// Reads a file in every way there is, and takes what it says as far as that goes without a decoder: the indices to which
/// its tables, or packets a demuxer might give of it, lead.
pub fn file(source: &Path, bytes: &[u8], Stage(stage): &Stage) -> Vec<Index> {
    let _ = (mp4::fault(source), matroska::quicktime_caps(source), pcr::Clock::of_head(bytes));
    for number in 1..=2 {
        matroska::codec_id(source, &format!("{number}:rest"));
    }
    changes(source, bytes);
    heads(bytes);
    let tables = mp4::tables(source).unwrap_or_default();
    let mut films: Vec<tracks::Timed> = tables.iter().filter_map(|table| from_table(source, table, stage)).collect();
    let movie = geometry::Movie::of(source);
    for table in &tables {
        let id = table.id.to_string();
        let aperture = geometry::of(source, &id).and_then(|geometry| geometry.aperture);
        let crop = aperture.and_then(|aperture| aperture.crop((1920, 1080)));
        assert!(crop.is_none_or(|c| c.left + c.width <= 1920 && c.top + c.height <= 1080), "{crop:?}");
        quicktime::has_little_endian_floats(&movie, &id);
    }
    let mut found = [1, 2].map(|id| Found {
        stream_id: format!("{id}:rest"),
        caps: Some(caps(if id == 1 { "video/x-vp8" } else { "audio/x-vorbis" })),
        packets: packets(bytes),
        ..stage.clone()
    });
    let off = blocks::correct(source, &mut found);
    let demuxed = found.into_iter().zip(off).map(|(found, off)| {
        let (packets, caps) = (found.packets.clone(), found.caps.clone().expect("as given"));
        tracks::from_demuxer(&packets, found, caps).put_right(off)
    });
    films.extend(demuxed);
    let text = words(source, bytes, &tables, stage);
    films.retain(|film| !film.packets.is_empty());
    films.iter().filter_map(|film| index(film, &text)).collect()
}

/// Prepares for [`file`]; needed once.
#[must_use]
pub fn stage() -> Stage {
    gst::init().expect("GStreamer is installed");
    Stage(Found::for_tests())
}

fn caps(text: &str) -> gst::Caps {
    text.parse().expect("caps as they are written here")
}

/// What is changed on the way to the demuxer: how long a movie says it is, and a transport stream whose clock may jump.
fn changes(source: &Path, bytes: &[u8]) {
    let Ok(file) = File::open(source) else { return };
    if let Some(duration) = movie::Place::of(&file) {
        duration.hide(0, &mut bytes.to_vec());
    }
    let joins = joins::joins(&file, &mut |_| ());
    assert!(joins.is_sorted_by(|one, next| one.at < next.at), "{joins:?}");
    if let Some(clock) = pcr::Clock::of(&file, &joins) {
        clock.change(0, &mut bytes.to_vec(), &file);
        clock.seek_time(1 << 40);
    }
}

/// The first bytes of a packet, for every codec that is asked what it depends on.
fn heads(bytes: &[u8]) {
    // What a container keeps apart from the stream.
    for kind in ["video/x-h264, stream-format=(string)avc", "video/mpeg, mpegversion=(int)4"] {
        let mut caps = caps(kind);
        caps.make_mut().set("codec_data", gst::Buffer::from_slice(bytes.to_vec()));
        Told::default().by(&caps);
    }
    let units = [None, Some(1), Some(2), Some(3), Some(4)];
    let codecs = units.iter().flat_map(|&lengths| [Codec::H264(lengths), Codec::H265(lengths)]);
    for codec in codecs.chain([Codec::Vp8, Codec::Vp9, Codec::Mpeg12, Codec::Mpeg4, Codec::Loas, Codec::TrueHd]) {
        let mut told = Told::default();
        // One packet after the other: what was read of the first is asked of those behind it.
        for packet in bytes.chunks(64).take(64) {
            let _ = (codec.start(packet), codec.is_second_field(packet, &mut told), codec.place(packet, &mut told));
        }
        let _ = (codec.start(bytes), codec.place(bytes, &mut Told::default()));
        codec.is_second_field(bytes, &mut Told::default());
    }
}

fn from_table(source: &Path, table: &mp4::Table, stage: &Found) -> Option<tracks::Timed> {
    for sample in &table.samples {
        assert!(sample.offset.checked_add(sample.size.into()).is_some(), "{sample:?} ends nowhere");
    }
    let caps = caps(if table.avcc.is_some() { "video/x-h264, stream-format=(string)avc" } else { "video/x-vp8" });
    tracks::from_table(source, table, stage, &caps, &mut |_| ())
}

/// Packets as a demuxer might give them, whatever it reads.
fn packets(bytes: &[u8]) -> Vec<RawPacket> {
    let packet = |b: &[u8]| {
        let number = |at: usize| b[at..at + 8].iter().fold(0_i64, |n, byte| n << 8 | i64::from(*byte));
        // Some lie near each other, as in a film, and some anywhere.
        let time = |at: usize| believable(if b[0] & 1 == 0 { number(at) >> 24 } else { number(at) });
        let place = match b[1] % 8 {
            0..=3 => Place::Unknown,
            4 => Place::InTurn,
            5 => Place::Between,
            6 => Place::Nothing,
            _ => Place::Counted { count: number(2) >> 20, is_idr: b[1] & 8 != 0 },
        };
        let start = match b[0] >> 5 {
            0..=2 => Start::Nowhere,
            3 => Start::Perhaps(u32::from(b[2] & 3)),
            4 => Start::After(b[2].into()),
            _ => Start::Here,
        };
        RawPacket {
            pts: (b[0] & 2 == 0).then(|| time(2)).flatten(),
            dts: (b[0] & 4 == 0).then(|| time(10)).flatten(),
            duration: (b[0] & 8 == 0).then(|| number(16).cast_unsigned()),
            size: b[3].into(),
            start,
            place,
            is_second_field: b[1] & 16 != 0,
        }
    };
    bytes.chunks_exact(PACKET_BYTES).map(packet).collect()
}

/// Words in a file, beside it, and as a demuxer gives them.
fn words(source: &Path, bytes: &[u8], tables: &[mp4::Table], stage: &Found) -> Index {
    let kinds = ["text/x-raw, format=(string)utf8", "text/x-raw", "application/x-ass", "application/x-subtitle-vtt"];
    let line = |(n, data): (usize, &[u8])| Words {
        pts: believable(i64::from_be_bytes([0, 0, data[0], data[data.len() - 1], 0, n as u8, 0, 0])).unwrap_or(0),
        duration: (data[0] & 1 == 0).then_some(u64::from(data[0]) << (data[data.len() - 1] & 63)),
        data: data.to_vec(),
    };
    let found = kinds.map(|kind| Found {
        caps: Some(caps(kind)),
        words: bytes.chunks(48).take(64).enumerate().map(line).collect(),
        ..stage.clone()
    });
    let beside = Sidecar {
        codec: "SubRip".into(),
        language: "und".into(),
        label: Label::default(),
        data: bytes::Bytes::copy_from_slice(bytes),
    };
    let subtitles::Outcome { text, skipped } = subtitles::text_tracks(source, &found, tables, 0, &[beside]);
    for cue in text.iter().flat_map(|track| &track.cues) {
        assert!(cue.start_ms < cue.end_ms && !cue.text.is_empty(), "{cue:?}");
        assert!(!cue.text.contains("-->") && !cue.text.contains("\n\n"), "{cue:?} breaks a document");
    }
    Index { container: String::new(), video: None, audio: Vec::new(), text, skipped }
}

/// The index of a film of this one track, as [`inspect()`] puts it on the title's timeline.
fn index(film: &tracks::Timed, text: &Index) -> Option<Index> {
    let zero = film.start_ns()?;
    let begin = Timescale::NANOSECONDS.convert(zero, film.timescale);
    let before: BTreeSet<i64> = film.packets.iter().filter(|p| p.shown).map(|p| p.pts.max(begin)).collect();
    let (track, rate) = inspect::on_timeline(film, zero, !film.direct && film.packets.len().is_multiple_of(2));
    let shown = track.shown();
    // In coarser ticks pictures may fall together.
    let is_exact = film.direct && film.timescale.get() <= VideoTrack::FINEST;
    assert!(!is_exact || shown.len() >= before.len(), "of {} pictures {} are left", before.len(), shown.len());
    let mut video = VideoTrack {
        track,
        width: 1920,
        height: 1080,
        crop: None,
        pixel_aspect: (1, 1),
        rotation: Rotation::None,
        rate,
        colour: Colour { primaries: 1, transfer: 1, matrix: 1, full_range: false },
        peak_nits: None,
        is_8bit_420: true,
        interlaced: false,
        avcc: film.avcc.clone(),
        keys_are_idr: true,
    };
    repeats::hold(&mut video, &[]);
    Some(Index { video: Some(video), ..text.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Ladder, plan};

    #[test]
    fn what_the_fuzzer_of_files_kept_is_read_again() {
        let stage = stage();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpora/index");
        let inputs: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
        assert!(!inputs.is_empty(), "nothing was kept");
        for entry in inputs {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            let indices = file(&path, &bytes, &stage).into_iter().chain(postcard::from_bytes(&bytes));
            indices.for_each(|index| drop(plan(&index, &Ladder::default())));
        }
    }
}
