//! Which streams a transport stream says it has (PMT, ISO/IEC 13818-1 §2.4.4.8), for those that GStreamer's demuxer passes over
//! without a word: of Blu-rays it reads neither DTS nor TrueHD. DTS it knows under another number, which it is given on the
//! way; the rest is listed as tracks that are not offered, and so is what begins where the programme changes midway.

use std::fs::File;

use super::pcr::{HEAD_BYTES, PACKET_BYTES, fill, grid, next_packet, pid, put, read};
use crate::media::{Join, Label, Skipped, TrackKind, crc, language};

/// Most streams that are listed.
const MOST_LISTED: usize = 32;
/// Behind joins, and at the end, so much is searched for another map, in so many places.
const LATER_BYTES: usize = 512 << 10;
const MOST_LATER: usize = 16;
/// The number of the table (§2.4.4.3).
const MAP_TABLE: u8 = 2;
/// Tags of descriptors: of who registered the numbers of a programme (§2.6.8), and of language (§2.6.18).
const REGISTRATION: u8 = 5;
const LANGUAGE: u8 = 10;
/// Numbers of DTS on Blu-rays: plain, of high resolution, and lossless.
const BLU_RAY_DTS: [u8; 3] = [0x82, 0x85, 0x86];
/// What the demuxer knows as DTS.
const DTS: u8 = 0x8A;
/// Where the map begins to speak of the programme in a section, and of streams behind that.
const MAP_HEAD_BYTES: usize = 12;
const CRC_BYTES: usize = 4;

/// A stream of a programme.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stream {
    pid: u16,
    kind: TrackKind,
    codec: &'static str,
    language: String,
}

/// A map of a programme.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Map {
    /// Where it comes.
    pid: u16,
    streams: Vec<Stream>,
}

/// The programmes of a transport stream.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Where its first packet begins, and how far apart packets are.
    grid: (usize, usize),
    maps: Vec<Map>,
    /// Streams of which there are packets near the beginning.
    heard: Vec<u16>,
    /// The map of a Blu-ray that has DTS.
    changed: Option<u16>,
}

impl Programs {
    /// Of a file, if it is a transport stream.
    pub fn of(file: &File) -> Option<Self> {
        let head = piece(file, 0, HEAD_BYTES);
        let grid = grid(&head)?;
        let packets = || packets(&head, grid);
        let listed = packets().filter(|packet| pid(packet) == 0).find_map(section).map(programs)?;
        let sections =
            listed.into_iter().filter_map(|of| Some((of, packets().filter(|p| pid(p) == of).find_map(section)?)));
        let sections: Vec<(u16, &[u8])> = sections.filter(|(_, section)| section[0] == MAP_TABLE).collect();
        let maps: Vec<Map> =
            sections.iter().map(|(pid, section)| Map { pid: *pid, streams: streams(section).collect() }).collect();
        let has_dts =
            |section: &[u8]| is_blu_ray(section) && entries(section).any(|(at, _)| BLU_RAY_DTS.contains(&section[at]));
        let changed = sections.iter().find(|(_, section)| has_dts(section)).map(|(pid, _)| *pid);
        let mut heard: Vec<u16> = packets().map(pid).collect();
        heard.sort_unstable();
        heard.dedup();
        Some(Self { grid, maps, heard, changed })
    }

    /// The streams that nobody found, with why they are not offered. Found are those of these ids.
    pub fn missing<'a>(&self, file: &File, joins: &[Join], found: impl Iterator<Item = &'a str>) -> Vec<Skipped> {
        let found: Vec<u16> = found.filter_map(|id| u16::from_str_radix(id, 16).ok()).collect();
        let skip = |stream: &Stream, why: &str| Skipped {
            kind: stream.kind,
            codec: stream.codec.to_owned(),
            language: stream.language.clone(),
            label: Label::default(),
            why: why.to_owned(),
        };
        let is_heard = |stream: &&Stream| self.heard.contains(&stream.pid) && !found.contains(&stream.pid);
        let missing = self.maps.iter().flat_map(|map| {
            let is_played = map.streams.iter().any(|stream| found.contains(&stream.pid));
            let why =
                if is_played { "it cannot be read from a transport stream" } else { "it belongs to another programme" };
            map.streams.iter().filter(is_heard).map(move |stream| skip(stream, why))
        });
        let begins_with = |pid: u16| self.maps.iter().flat_map(|map| &map.streams).any(|stream| stream.pid == pid);
        let later = self.later(file, joins);
        // What comes under a number of its own may be found.
        let later = later.iter().filter(|stream| !found.contains(&stream.pid) || begins_with(stream.pid));
        let later = later.map(|stream| skip(stream, "it begins midway, where the programme changes"));
        missing.chain(later).take(MOST_LISTED).collect()
    }

    /// Streams of maps further on that the first ones do not have.
    fn later(&self, file: &File, joins: &[Join]) -> Vec<Stream> {
        let length = file.metadata().map_or(0, |file| file.len());
        let end = length.saturating_sub(LATER_BYTES as u64);
        let places = joins.iter().map(|join| join.at).take(MOST_LATER).chain([end]).filter(|at| *at > 0);
        let mut later: Vec<Stream> = Vec::new();
        for place in places {
            let piece = piece(file, place, LATER_BYTES);
            let Some(grid) = grid(&piece) else { continue };
            for map in &self.maps {
                let sections = self::packets(&piece, grid).filter(|p| pid(p) == map.pid).filter_map(section);
                for stream in sections.filter(|section| section[0] == MAP_TABLE).flat_map(streams) {
                    let is_known =
                        |known: &[Stream]| known.iter().any(|k| k.pid == stream.pid && k.codec == stream.codec);
                    if !is_known(&map.streams) && !is_known(&later) {
                        later.push(stream);
                    }
                }
            }
        }
        later
    }

    /// Does the demuxer need another map?
    pub fn is_changed(&self) -> bool {
        self.changed.is_some()
    }

    /// Gives DTS the number that the demuxer knows in the maps of a piece of the file, of which those that the piece cuts are
    /// looked up in the file.
    pub fn change(&self, offset: u64, piece: &mut [u8], file: &File) {
        let Some(map) = self.changed else { return };
        let end = offset + piece.len() as u64;
        let earliest = (offset + 1).saturating_sub(PACKET_BYTES as u64);
        let mut at = next_packet::<u64>(earliest, self.grid, &[], |_| 0);
        while at < end {
            let held = at
                .checked_sub(offset)
                .and_then(|from| piece.get(usize::try_from(from).ok()?..)?.first_chunk().copied());
            let Some(mut packet) = held.or_else(|| read(file, at)) else { return };
            if packet[0] == 0x47 && pid(&packet) == map && renumber(&mut packet) {
                put(piece, offset, at, &packet);
            }
            at += self.grid.1 as u64;
        }
    }
}

fn piece(file: &File, at: u64, length: usize) -> Vec<u8> {
    let mut piece = vec![0; length];
    let filled = fill(file, at, &mut piece);
    piece.truncate(filled);
    piece
}

pub(super) fn packets(piece: &[u8], (start, stride): (usize, usize)) -> impl Iterator<Item = &[u8]> {
    let whole = piece[start..].chunks(stride).filter_map(|chunk| chunk.get(..PACKET_BYTES));
    whole.filter(|packet| packet[0] == 0x47)
}

/// Where a section begins in a packet, and ends, if all of it is in there (§2.4.4.1).
fn place(packet: &[u8]) -> Option<std::ops::Range<usize>> {
    let begins = packet[1] & 0x40 != 0 && packet[3] & 0x10 != 0;
    let payload = if packet[3] & 0x20 != 0 { 5 + usize::from(packet[4]) } else { 4 };
    let start = payload + 1 + usize::from(*packet.get(payload).filter(|_| begins)?);
    let length = packet.get(start + 1..)?.first_chunk().map(|length| length_of(*length))?;
    let end = start + 3 + length;
    (end <= packet.len() && length > MAP_HEAD_BYTES + CRC_BYTES - 8).then_some(start..end)
}

fn section(packet: &[u8]) -> Option<&[u8]> {
    packet.get(place(packet)?)
}

fn length_of(bytes: [u8; 2]) -> usize {
    usize::from(u16::from_be_bytes(bytes) & 0x0FFF)
}

/// Where the maps of a table of programmes come (§2.4.4.3).
fn programs(section: &[u8]) -> Vec<u16> {
    let entries = section[8..section.len() - CRC_BYTES].chunks_exact(4);
    let maps = entries.filter(|entry| entry[..2] != [0, 0]);
    maps.map(|entry| u16::from_be_bytes([entry[2], entry[3]]) & 0x1FFF).take(MOST_LISTED).collect()
}

/// What is said of a programme as a whole.
fn of_all(section: &[u8]) -> &[u8] {
    let length = section.get(10..).and_then(|rest| rest.first_chunk()).map_or(0, |length| length_of(*length));
    section.get(MAP_HEAD_BYTES..MAP_HEAD_BYTES + length).unwrap_or_default()
}

/// Descriptors, each a tag and what it says.
fn descriptors(mut rest: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (&[tag, length], body) = rest.split_first_chunk()?;
        let (body, after) = body.split_at_checked(usize::from(length))?;
        rest = after;
        Some((tag, body))
    })
}

fn is_blu_ray(section: &[u8]) -> bool {
    descriptors(of_all(section)).any(|(tag, body)| tag == REGISTRATION && body.starts_with(b"HDMV"))
}

/// Where each stream's number stands in a map, and its descriptors.
fn entries(section: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let body = section.get(..section.len().saturating_sub(CRC_BYTES)).unwrap_or_default();
    let mut at = MAP_HEAD_BYTES + of_all(section).len();
    std::iter::from_fn(move || {
        let entry = at;
        let length = length_of(*body.get(entry + 3..)?.first_chunk()?);
        at = entry + 5 + length;
        Some((entry, body.get(entry + 5..at)?))
    })
}

fn streams(section: &[u8]) -> impl Iterator<Item = Stream> {
    let is_blu_ray = is_blu_ray(section);
    entries(section).filter_map(move |(at, said)| {
        let (kind, codec) = codec(section[at], is_blu_ray)?;
        let spoken = descriptors(said).find(|(tag, body)| *tag == LANGUAGE && body.len() >= 3);
        let spoken = spoken.and_then(|(_, body)| std::str::from_utf8(&body[..3]).ok()).map(language::tag);
        let pid = u16::from_be_bytes([section[at + 1], section[at + 2]]) & 0x1FFF;
        Some(Stream { pid, kind, codec, language: spoken.unwrap_or_else(|| "und".to_owned()) })
    })
}

/// What the numbers of streams stand for (§2.4.4.9), and what those of Blu-rays and of ATSC do.
fn codec(number: u8, is_blu_ray: bool) -> Option<(TrackKind, &'static str)> {
    use TrackKind::{Audio, Text, Video};
    Some(match number {
        0x01 | 0x02 => (Video, "MPEG-1/2 video"),
        0x03 | 0x04 => (Audio, "MPEG-1 audio"),
        0x0F | 0x11 => (Audio, "AAC"),
        0x10 => (Video, "MPEG-4 Visual"),
        0x1B => (Video, "H.264"),
        0x24 => (Video, "H.265"),
        0x33 => (Video, "H.266 (VVC)"),
        0x81 => (Audio, "AC-3"),
        0x80 if is_blu_ray => (Audio, "PCM"),
        0x82 if is_blu_ray => (Audio, "DTS"),
        0x83 if is_blu_ray => (Audio, "TrueHD"),
        0x84 | 0xA1 if is_blu_ray => (Audio, "E-AC-3"),
        0x85 | 0x86 | 0xA2 if is_blu_ray => (Audio, "DTS-HD"),
        0x90 if is_blu_ray => (Text, "PGS"),
        0x87 => (Audio, "E-AC-3"),
        0xEA => (Video, "VC-1"),
        _ => return None,
    })
}

/// Gives DTS of a Blu-ray its other number in a packet. False if there is nothing to change.
fn renumber(packet: &mut [u8; PACKET_BYTES]) -> bool {
    let Some(place) = place(&packet[..]) else { return false };
    let section = &mut packet[place];
    if section[0] != MAP_TABLE || !is_blu_ray(section) {
        return false;
    }
    let of_dts: Vec<usize> =
        entries(section).map(|(at, _)| at).filter(|at| BLU_RAY_DTS.contains(&section[*at])).collect();
    of_dts.iter().for_each(|at| section[*at] = DTS);
    let (body, check) = section.split_at_mut(section.len() - CRC_BYTES);
    check.copy_from_slice(&crc(body).to_be_bytes());
    !of_dts.is_empty()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    /// A packet with a section, without its checksum.
    fn packet(pid: u16, body: &[u8]) -> Vec<u8> {
        let [high, low] = pid.to_be_bytes();
        let mut packet = [&[0x47, 0x40 | high, low, 0x10, 0][..], body, &crc(body).to_be_bytes()].concat();
        packet.resize(PACKET_BYTES, 0xFF);
        packet
    }

    fn map(blu_ray: bool, streams: &[(u8, u16)]) -> Vec<u8> {
        let said: &[u8] = if blu_ray { b"\x05\x04HDMV" } else { b"" };
        let language = b"\x0A\x04fra\0";
        let entry = |(number, pid): &(u8, u16)| {
            let [high, low] = pid.to_be_bytes();
            [&[*number, 0xE0 | high, low, 0xF0, 6][..], language].concat()
        };
        let streams: Vec<u8> = streams.iter().flat_map(entry).collect();
        let length = |n: usize| u8::try_from(n).unwrap();
        let head = [MAP_TABLE, 0xB0, length(9 + said.len() + streams.len() + 4), 0, 1, 0xC1, 0, 0, 0xF0, 1, 0xF0];
        packet(256, &[&head[..], &[length(said.len())], said, &streams].concat())
    }

    fn stream(maps: &[Vec<u8>], pids: &[u16]) -> Vec<u8> {
        let programmes = packet(0, &[0, 0xB0, 13, 0, 1, 0xC1, 0, 0, 0, 1, 0xE1, 0]);
        let plain = |pid: &u16| crate::pipeline::pcr::tests::packet(*pid, None, None);
        let rest = pids.iter().cycle().take(20).map(plain);
        [programmes].into_iter().chain(maps.iter().cloned()).chain(rest).flatten().collect()
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn listed(programs: &Programs, file: &File, found: &[&str]) -> Vec<(String, String, String)> {
        programs.missing(file, &[], found.iter().copied()).into_iter().map(|s| (s.codec, s.language, s.why)).collect()
    }

    /// A disc's film was silent, and nothing said why.
    #[test]
    fn what_the_demuxer_of_blu_rays_passes_over_is_listed_and_what_holds_no_packet_is_not() {
        let bytes = stream(&[map(true, &[(0x1B, 300), (0x83, 301), (0x81, 302)])], &[300, 301]);
        let file = file(&bytes);
        let programs = Programs::of(&file).unwrap();
        let why = "it cannot be read from a transport stream";
        let said = |codec: &str, why: &str| (codec.to_owned(), "fr".to_owned(), why.to_owned());
        assert_eq!(listed(&programs, &file, &["0000012c"]), [said("TrueHD", why)]);
        let other = "it belongs to another programme";
        assert_eq!(listed(&programs, &file, &[]), [said("H.264", other), said("TrueHD", other)]);
        assert!(!programs.is_changed());
        let other = self::file(&stream(&[map(false, &[(0x82, 301)])], &[301]));
        assert!(Programs::of(&other).unwrap().maps[0].streams.is_empty(), "it is something else there");
    }

    #[test]
    fn what_begins_where_the_programme_changes_is_listed() {
        let first = stream(&[map(false, &[(0x1B, 300), (0x03, 301)])], &[300, 301]);
        let mut bytes = first.clone();
        bytes.extend(crate::pipeline::pcr::tests::packet(0x1FFF, None, None).repeat(4000));
        bytes.extend(stream(&[map(false, &[(0x1B, 300), (0x81, 301), (0x0F, 302)])], &[300, 301, 302]));
        let file = file(&bytes);
        let programs = Programs::of(&file).unwrap();
        let listed = listed(&programs, &file, &["0000012c", "0000012d", "0000012e"]);
        assert_eq!(listed.iter().map(|(codec, ..)| codec).collect::<Vec<_>>(), ["AC-3"]);
    }

    #[test]
    fn dts_of_blu_rays_is_given_the_number_that_the_demuxer_knows_however_the_file_is_read() {
        let bytes = stream(&[map(true, &[(0x1B, 300), (0x86, 301)])], &[300, 301]);
        let file = file(&bytes);
        let programs = Programs::of(&file).unwrap();
        assert!(programs.is_changed());
        let mut whole = bytes.clone();
        programs.change(0, &mut whole, &file);
        assert_eq!(whole[PACKET_BYTES..2 * PACKET_BYTES], map(true, &[(0x1B, 300), (0x8A, 301)]));
        assert_eq!(whole[2 * PACKET_BYTES..], bytes[2 * PACKET_BYTES..]);
        for cut in PACKET_BYTES..2 * PACKET_BYTES {
            let (mut before, mut behind) = (bytes[..cut].to_vec(), bytes[cut..].to_vec());
            programs.change(0, &mut before, &file);
            programs.change(cut as u64, &mut behind, &file);
            assert_eq!([before, behind].concat(), whole, "{cut}");
        }
    }

    proptest! {
        #[test]
        fn no_map_is_too_odd(maps in prop::collection::vec(prop::collection::vec(any::<u8>(), 20..180), 0..4), table: Vec<u8>) {
            let maps: Vec<Vec<u8>> = maps.iter().map(|body| {
                let mut packet = packet(256, &body[..body.len() - 8]);
                packet[5] = MAP_TABLE;
                packet
            }).collect();
            let mut bytes = stream(&maps, &[300]);
            let tail = table.len().min(100);
            bytes[5..5 + tail].copy_from_slice(&table[..tail]);
            let file = file(&bytes);
            if let Some(mut programs) = Programs::of(&file) {
                programs.changed = Some(256);
                programs.missing(&file, &[], ["0000012c"].into_iter());
                programs.change(0, &mut bytes, &file);
            }
        }
    }
}
