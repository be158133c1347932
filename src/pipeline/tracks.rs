//! The tracks of a file with all their packets, on the container's own timeline: from the container's tables where it has
//! them, else by reading it through.

use std::borrow::Cow;
use std::cell::LazyCell;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::adpcm::{self, Pace};
use super::blocks::Off;
use super::complaint::encrypted;
use super::found::Found;
use super::geometry::Movie;
use super::keys::{Codec, HEAD_BYTES, Start, decide};
use super::mp4::{self, Table};
use super::order::{Ordered, UNTOLD_NS, ordered, told_by_kind};
use super::raw::{RawPacket, believable};
use super::scan::Scan;
use super::{Output, blocks, codecs, decode, fields, fourcc, matroska, quicktime};
use crate::media::{Join, Packet, Refresh, Refusal, Timescale};

/// A packet that a demuxer says lasts for less than this part of what packets usually last does not say it in earnest.
const SHORTEST_PART: i64 = 2;
/// What GStreamer calls a container of SMPTE ST 377-1.
const MXF: &str = "application/mxf";

/// How long a packet of sound lasts of a stream that says nothing of time, nanoseconds.
const UNTOLD_SOUND_NS: i64 = 20_000_000;

/// After so many reads of the file the watchdog is told that work goes on.
pub const READS_A_LIFE_SIGN: usize = 256;

/// A track with its times still on the container's own timeline.
#[derive(Clone)]
pub struct Timed {
    /// What the demuxer says of it.
    pub found: Found,
    /// Caps a decoder takes, if there is one.
    pub caps: gst::Caps,
    /// Unit of every time below.
    pub timescale: Timescale,
    /// Times and places are the container's own, and packets are read straight from the file.
    pub direct: bool,
    /// See [`crate::media::Track::starts_are_exact`].
    pub starts_are_exact: bool,
    /// Packets in decode order.
    pub packets: Vec<Packet>,
    /// See [`crate::media::Track::refreshes`].
    pub refreshes: Vec<Refresh>,
    /// See [`crate::media::Track::joins`].
    pub joins: Vec<Join>,
    /// End of the last one.
    pub end: i64,
    /// See [`crate::media::Access::Demuxer`].
    pub delay_ns: Option<i64>,
    /// See [`crate::media::Access::Paced`].
    pub pace: Option<Pace>,
    /// How the demuxer's times were off.
    pub off: Off,
    /// `avcC` record, for H.264 from a table.
    pub avcc: Option<Vec<u8>>,
    /// What is played if there are several of its kind.
    pub default: bool,
}

impl Timed {
    /// Media type of the caps.
    pub fn media_type(&self) -> &str {
        media_type(&self.caps)
    }

    /// Moving pictures; a single image is a cover.
    pub fn is_video(&self) -> bool {
        let kind = self.media_type();
        kind.starts_with("video/") || (kind.starts_with("image/") && self.packets.len() > 1)
    }

    /// Sound.
    pub fn is_audio(&self) -> bool {
        self.media_type().starts_with("audio/")
    }

    /// The same at the right time.
    pub(super) fn put_right(mut self, off: Off) -> Self {
        self.packets.iter_mut().for_each(|p| p.pts = p.pts.saturating_sub(off.late_ns));
        self.end = self.end.saturating_sub(off.late_ns);
        Self { off, ..self }
    }

    /// The same, where the picture shown first is of the time at which the one decoded first is found.
    pub(super) fn shown_at_once(mut self) -> Self {
        if let Some(delay) = &mut self.delay_ns {
            let delay = std::mem::take(delay);
            self.packets.iter_mut().for_each(|p| p.pts = p.pts.saturating_sub(delay));
            self.end = self.end.saturating_sub(delay);
        }
        self
    }

    /// When the first presented packet is shown, nanoseconds.
    pub fn start_ns(&self) -> Option<i64> {
        let times = self.packets.iter().filter(|p| p.shown).map(|p| p.pts);
        times.min().map(|at| self.timescale.convert(at.max(i64::MIN / 4), Timescale::NANOSECONDS))
    }
}

/// Name of the first structure.
pub fn media_type(caps: &gst::Caps) -> &str {
    caps.structure(0).map_or("", |s| s.name().as_str())
}

/// What a file holds.
pub struct All {
    /// Every track that has packets.
    pub timed: Vec<Timed>,
    /// What is neither sound nor pictures, as the demuxer shows it.
    pub silent: Vec<Found>,
    /// The container's tables, if nothing was read through.
    pub tables: Vec<Table>,
}

/// Every track.
pub fn all(source: &Path, scan: &Scan, emit: &mut dyn FnMut(Output)) -> Result<All, Refusal> {
    let found = scan.tracks();
    let protected = ["application/x-cenc", "application/x-cbcs", "application/x-webm-enc"];
    let is_protected = |f: &Found| f.caps.as_ref().is_some_and(|c| protected.contains(&media_type(c)));
    if found.iter().any(is_protected) {
        return Err(encrypted());
    }
    let tables = if is_mp4(&scan.container) { mp4::tables(source).unwrap_or_default() } else { Vec::new() };
    let complete = found.iter().filter(|f| f.is_media()).all(|f| table_of(&tables, f).is_some());
    let mut found = if complete { found } else { scan.to_end(emit)? };
    let off = if is_matroska(&scan.container) {
        blocks::correct(source, &mut found)
    } else {
        vec![Off::default(); found.len()]
    };
    let silent = found.iter().filter(|f| !f.is_media()).cloned().collect();
    let movie = LazyCell::new(|| Movie::of(source));
    let mut timed = Vec::new();
    for (mut found, off) in found.into_iter().zip(off) {
        let Some(mut caps) = found.caps.clone() else { continue };
        // What is transparent is in buffers beside the pictures, and goes no further; decoders that expect it would find none.
        if caps.structure(0).is_some_and(|s| s.has_field("codec-alpha")) {
            caps.make_mut().structure_mut(0).into_iter().for_each(|s| s.remove_field("codec-alpha"));
        }
        let caps = fourcc::understood(source, &found.stream_id, caps);
        let track = match table_of(&tables, &found).and_then(|t| from_table(source, t, &found, &caps, emit)) {
            Some(timed) => timed,
            None => {
                let caps = repaired(source, &movie, &found, caps);
                let timed = from_demuxer(&std::mem::take(&mut found.packets), found, caps).put_right(off);
                // The demuxer counts edit units in the order of decoding, and sound in that of showing.
                let timed = if scan.container == MXF { timed.shown_at_once() } else { timed };
                Timed { joins: scan.joins.clone(), ..timed }
            }
        };
        if !track.packets.is_empty() {
            timed.push(track);
        }
    }
    Ok(All { timed, silent, tables: if complete { tables } else { Vec::new() } })
}

fn is_mp4(container: &str) -> bool {
    matches!(container, "video/quicktime" | "audio/x-m4a" | "application/x-3gp" | "video/mj2")
}

fn table_of<'a>(tables: &'a [Table], found: &Found) -> Option<&'a Table> {
    let id: u32 = found.stream_id.parse().ok()?;
    let caps = found.caps.as_ref()?;
    // The length of a NAL unit's length in the file must be what the caps promise the decoder.
    let usable = |t: &Table| usable_table(caps) && (media_type(caps) != "video/x-h264" || t.avcc.is_some());
    tables.iter().find(|t| t.id == id && t.timescale > 0 && !t.samples.is_empty() && usable(t))
}

fn is_matroska(container: &str) -> bool {
    matches!(container, "video/x-matroska" | "audio/x-matroska" | "video/webm" | "audio/webm")
}

/// Raw sound has a table entry for every sample; byte streams would need the demuxer's conversion, and JPEG 2000 that of
/// the parser, which takes the pictures out of their boxes.
fn usable_table(caps: &gst::Caps) -> bool {
    let Some(structure) = caps.structure(0) else { return false };
    let format = structure.get::<String>("stream-format").unwrap_or_default();
    let is_plain = !structure.name().ends_with("/x-raw") && structure.name() != "image/x-jpc";
    is_plain && !matches!(format.as_str(), "byte-stream" | "adts")
}

pub(super) fn from_table(
    source: &Path,
    table: &Table,
    found: &Found,
    caps: &gst::Caps,
    emit: &mut dyn FnMut(Output),
) -> Option<Timed> {
    let timescale = Timescale::new(table.timescale)?;
    let packets =
        table.samples.iter().map(|s| Packet { pts: s.pts, shown: s.shown, key: s.key, offset: s.offset, size: s.size });
    let mut packets: Vec<Packet> = packets.collect();
    let mut starts = starts(source, caps, &packets, emit);
    let starts_are_exact = decide(&mut starts);
    let refreshes = settle(&mut packets, &starts);
    fields::hide_second(source, caps, &mut packets, emit);
    Some(Timed {
        found: Found { packets: Vec::new(), ..found.clone() },
        caps: caps.clone(),
        timescale,
        direct: true,
        starts_are_exact,
        packets,
        refreshes,
        joins: Vec::new(),
        end: table.end,
        delay_ns: None,
        pace: None,
        off: Off::default(),
        avcc: table.avcc.clone(),
        default: table.enabled,
    })
}

pub(super) fn from_demuxer(raw: &[RawPacket], found: Found, caps: gst::Caps) -> Timed {
    let untold = if media_type(&caps).starts_with("audio/") { UNTOLD_SOUND_NS } else { UNTOLD_NS };
    let ordered = ordered(raw);
    let delay_ns = ordered.as_ref().map(|ordered| ordered.delay);
    let (raw, mut times) = match ordered {
        Some(ordered) => {
            let (pictures, times) = in_turn(raw, &ordered);
            (Cow::Owned(pictures), times)
        }
        None => (Cow::Borrowed(raw), times(raw, untold)),
    };
    let pace = adpcm::Blocks::of(&caps).and_then(|blocks| blocks.restamp(raw.iter().map(|p| p.size), &mut times));
    let typical = typical_step(&times);
    let stands = |p: &RawPacket| {
        let said =
            p.duration.and_then(|d| believable(i64::try_from(d).ok()?)).filter(|d| *d >= typical / SHORTEST_PART);
        said.unwrap_or(typical)
    };
    let end = raw.iter().zip(&times).map(|(p, at)| at.saturating_add(stands(p))).max().unwrap_or(0);
    let packets = raw.iter().zip(&times).map(|(p, &pts)| Packet {
        pts,
        shown: !p.is_second_field,
        key: false,
        offset: 0,
        size: p.size,
    });
    let mut packets: Vec<Packet> = packets.collect();
    let mut starts: Vec<Start> = raw.iter().map(|p| p.start).collect();
    let starts_are_exact = decide(&mut starts);
    let refreshes = settle(&mut packets, &starts);
    let default = found.default;
    Timed {
        found,
        caps,
        timescale: Timescale::NANOSECONDS,
        direct: false,
        starts_are_exact,
        packets,
        refreshes,
        joins: Vec::new(),
        end,
        delay_ns,
        pace,
        off: Off::default(),
        avcc: None,
        default,
    }
}

/// The packets that are pictures, with their times.
fn in_turn(raw: &[RawPacket], ordered: &Ordered) -> (Vec<RawPacket>, Vec<i64>) {
    let sized = |(n, packet): (usize, &RawPacket)| {
        // Who gets none of its bytes shows the one before.
        let size = if ordered.repeats[n] { 0 } else { packet.size };
        Some((RawPacket { size, ..*packet }, ordered.times[n]?))
    };
    raw.iter().enumerate().filter_map(sized).unzip()
}

/// What packets that the container's table marks as places to start really are.
fn starts(source: &Path, caps: &gst::Caps, packets: &[Packet], emit: &mut dyn FnMut(Output)) -> Vec<Start> {
    let marked = |p: &Packet| if p.key { Start::Here } else { Start::Nowhere };
    let (Some(codec), Ok(file)) = (Codec::of(caps), File::open(source)) else {
        return packets.iter().map(marked).collect();
    };
    let mut head = [0; HEAD_BYTES];
    let mut look = |p: &Packet| {
        let length = HEAD_BYTES.min(p.size as usize);
        let read = file.read_exact_at(&mut head[..length], p.offset);
        // What cannot be read cannot be decoded either, which is found out elsewhere.
        read.map_or(Start::Here, |()| codec.start(&head[..length]))
    };
    let mut looks = 0_usize;
    let mut start = |p: &Packet| {
        if !p.key {
            return Start::Nowhere;
        }
        // A disk may take a hundredth of a second for each, and where all are marked there are hundreds of thousands.
        if looks.is_multiple_of(READS_A_LIFE_SIGN) {
            emit(Output::Progress(0));
        }
        looks += 1;
        look(p)
    };
    packets.iter().map(&mut start).collect()
}

/// Marks the packets at which decoding can start, and returns those from which on pictures become whole. Where nothing
/// says that it is a start, the first packet is one.
fn settle(packets: &mut [Packet], starts: &[Start]) -> Vec<Refresh> {
    let is_reordered = !packets.is_sorted_by_key(|p| p.pts);
    let last = packets.len();
    let mut refreshes = Vec::new();
    for (number, (packet, start)) in packets.iter_mut().zip(starts).enumerate() {
        packet.key = *start == Start::Here;
        if let Start::After(pictures) = *start {
            // Only pictures that others refer to count; up to three that none refers to may lie between two of them.
            let packets = pictures as usize * if is_reordered { 4 } else { 1 };
            let number_of = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            refreshes.push(Refresh { from: number_of(number), whole: number_of((number + packets + 1).min(last)) });
        }
    }
    if let Some(first) = packets.first_mut().filter(|_| !starts.contains(&Start::Here)) {
        first.key = true;
    }
    refreshes
}

/// A time for every packet. Of one that has only a decode time, it follows from its kind, or is as much later as the one before
/// it was shown after it was decoded; of one that has none, as Matroska's laced ones, the stretch between its neighbours is shared.
fn times(raw: &[RawPacket], untold: i64) -> Vec<i64> {
    let mut known: Vec<Option<i64>> = Vec::with_capacity(raw.len());
    let mut delay = 0;
    for (packet, told) in raw.iter().zip(told_by_kind(raw)) {
        if let (Some(pts), Some(dts)) = (packet.pts, packet.dts) {
            delay = pts.saturating_sub(dts);
        }
        known.push(packet.pts.or(told).or(packet.dts.map(|dts| dts.saturating_add(delay))));
    }
    let usual = packet_step(&known, untold);
    let mut times: Vec<i64> = Vec::with_capacity(known.len());
    for (i, time) in known.iter().enumerate() {
        let before = times.last().copied();
        times.push(match (*time, before) {
            (Some(time), _) => time,
            (None, None) => 0,
            (None, Some(before)) => {
                let next = known[i..].iter().take(MOST_LACED).enumerate().find_map(|(n, t)| Some((*t.as_ref()?, n)));
                // `n` packets without a time, this one included, lie between the one before and the next with one.
                let shared = next.map(|(at, n)| at.saturating_sub(before) / (i64::try_from(n).unwrap_or(0) + 1));
                // Many that have none may lie behind one that is years away.
                believable(before.saturating_add(shared.filter(|step| *step > 0).unwrap_or(usual))).unwrap_or(before)
            }
        });
    }
    times
}

/// Packets of one block of Matroska: the number of laced frames is a byte.
const MOST_LACED: usize = 256;

/// How long a packet lasts where blocks of several have a time: of the first stretch between two known times.
fn packet_step(known: &[Option<i64>], untold: i64) -> i64 {
    let timed: Vec<(usize, i64)> = known.iter().enumerate().filter_map(|(i, t)| Some((i, (*t)?))).take(3).collect();
    let step = |w: &[(usize, i64)]| w[1].1.saturating_sub(w[0].1) / i64::try_from(w[1].0 - w[0].0).unwrap_or(1);
    // The first packets of a stream may be cut short by priming.
    timed.windows(2).last().map_or(untold, step).max(1)
}

fn typical_step(times: &[i64]) -> i64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    let mut steps: Vec<i64> = times.windows(2).map(|w| w[1].saturating_sub(w[0])).filter(|s| *s > 0).collect();
    steps.sort_unstable();
    steps.get(steps.len() / 2).copied().unwrap_or(40_000_000)
}

/// Caps of a codec that the demuxer does not know, by what the container's own header says.
fn repaired(
    source: &Path,
    movie: &LazyCell<Movie, impl FnOnce() -> Movie>,
    found: &Found,
    mut caps: gst::Caps,
) -> gst::Caps {
    if let Some(swapped) = swapped(&caps).filter(|_| quicktime::has_little_endian_floats(movie, &found.stream_id)) {
        caps.make_mut().set("format", swapped);
    }
    if media_type(&caps) != "video/x-unknown" {
        return caps;
    }
    let better = matroska::quicktime_caps(source).filter(|c| decode::decoder_for(c).is_some());
    better.unwrap_or(caps)
}

/// The other byte order of big-endian floating point.
fn swapped(caps: &gst::Caps) -> Option<&'static str> {
    match caps.structure(0)?.get::<&str>("format").ok()? {
        "F32BE" => Some("F32LE"),
        "F64BE" => Some("F64LE"),
        _ => None,
    }
}

/// Names of the codecs, for who is told that none is played.
pub fn names(tracks: &[Timed]) -> String {
    let names: Vec<String> = tracks.iter().map(|t| codecs::name(&t.caps)).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Track;

    #[test]
    fn looking_at_many_marked_packets_gives_signs_of_life() {
        gst::init().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [0x10, 0]).unwrap();
        let packet = |n: usize| Packet { pts: 0, shown: true, key: n.is_multiple_of(2), offset: 0, size: 2 };
        let packets: Vec<Packet> = (0..4 * READS_A_LIFE_SIGN).map(packet).collect();
        let mut signs = 0;
        let caps = gst::Caps::new_empty_simple("video/x-vp8");
        let starts = starts(file.path(), &caps, &packets, &mut |_| signs += 1);
        assert_eq!((signs, starts[0], starts[1]), (2, Start::Here, Start::Nowhere));
    }

    fn raw(pts: Option<i64>, dts: Option<i64>) -> RawPacket {
        RawPacket::for_tests(pts, dts)
    }

    #[test]
    fn pictures_are_whole_some_time_after_a_refresh_begins() {
        let mut packets: Vec<Packet> =
            (0..9).map(|pts| Packet { pts, shown: true, key: true, offset: 0, size: 1 }).collect();
        let mut starts = [Start::Nowhere; 9];
        (starts[2], starts[6]) = (Start::After(3), Start::After(3));
        let refreshes = [Refresh { from: 2, whole: 6 }, Refresh { from: 6, whole: 9 }];
        assert_eq!(settle(&mut packets, &starts), refreshes);
        assert_eq!(
            packets.iter().filter(|p| p.key).map(|p| p.pts).collect::<Vec<_>>(),
            [0],
            "the first, for want of any"
        );
        let track = Track {
            packets,
            refreshes: refreshes.to_vec(),
            ..crate::pipeline::decode::tests::raw_track(0).as_ref().clone()
        };
        let starts: Vec<usize> = track.shown().into_iter().map(|frame| track.start_for(frame)).collect();
        assert_eq!(starts, [0, 0, 0, 0, 0, 0, 2, 2, 2]);
    }

    #[test]
    fn laced_packets_share_the_stretch_between_two_that_have_a_time() {
        let packets = [Some(0), None, None, None, Some(80), None, None, None].map(|t| raw(t, None));
        assert_eq!(times(&packets, 20), [0, 20, 40, 60, 80, 100, 120, 140]);
    }

    #[test]
    fn packets_without_a_time_behind_one_that_is_years_away_do_not_go_on_for_centuries() {
        let mut packets = vec![raw(Some(0), None), raw(Some(1 << 58), None)];
        packets.resize(90, raw(None, None));
        assert_eq!(times(&packets, 20).last(), Some(&(1 << 58)));
    }

    #[test]
    fn a_picture_without_a_presentation_time_keeps_its_place_after_the_one_before() {
        let packets = [(Some(540), 500), (Some(580), 540), (None, 580), (Some(660), 620)];
        assert_eq!(times(&packets.map(|(pts, dts)| raw(pts, Some(dts))), 40), [540, 580, 620, 660]);
    }

    #[test]
    fn a_last_packet_that_says_it_lasts_a_tick_lasts_as_long_as_the_others() {
        gst::init().unwrap();
        let packets: Vec<RawPacket> =
            (0..4).map(|i| RawPacket { duration: Some(1_000_000), ..raw(Some(i * 41_666_666), None) }).collect();
        let caps = gst::Caps::new_empty_simple("video/x-vp8");
        let end = from_demuxer(&packets, Found::for_tests(), caps).end;
        assert_eq!(end, 4 * 41_666_666);
    }
}
