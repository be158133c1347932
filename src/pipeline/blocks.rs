//! How a Matroska file begins, read from its blocks. GStreamer 1.22's demuxer calls the first time it sees zero until an
//! earlier one comes, so that the first packets of a track come too early; and it passes over the delay of decoders.

use std::cell::Cell;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::found::Found;
use super::matroska::{
    EBML, MOST_HEAD_BYTES, SEGMENT, TRACK_ENTRY, TRACK_NUMBER, TRACKS, child, children, head, unsigned,
};
use super::raw::{RawPacket, believable};

/// What is looked at: blocks, tracks, and elements of any kind; and how large a description of tracks may be. Fonts that are
/// attached may take megabytes before the first block; of each only the head is read.
const MOST_BLOCKS: usize = 200;
const MOST_TRACKS: usize = 64;
const MOST_ELEMENTS: usize = 20_000;
const MOST_BODY_BYTES: u64 = 2 << 20;
/// The track, time, flags and number of packets of a block.
const BLOCK_HEAD_BYTES: u64 = 12;
/// No decoder adds more in front, nanoseconds.
const MOST_DELAY_NS: i64 = 1_000_000_000;

/// Element ids, RFC 9559 §27.1.
const INFO: u32 = 0x1549_A966;
const TIMESTAMP_SCALE: u32 = 0x2A_D7B1;
const CODEC_DELAY: u32 = 0x56AA;
const CLUSTER: u32 = 0x1F43_B675;
const TIMESTAMP: u32 = 0xE7;
const SIMPLE_BLOCK: u32 = 0xA3;
const BLOCK_GROUP: u32 = 0xA0;
const BLOCK: u32 = 0xA1;

/// Times that lie so close are the same, nanoseconds.
const SAME_NS: i64 = 2_000_000;
/// Fewer packets than this do not tell which are wrong.
const FEWEST: usize = 4;

/// The beginning of a track.
#[derive(Debug, Default, PartialEq, Eq)]
struct Beginning {
    number: u64,
    /// What its decoder adds in front (`CodecDelay`), nanoseconds.
    delay_ns: i64,
    /// Times of its first packets, nanoseconds; of several in one block the first alone has one.
    times: Vec<Option<i64>>,
}

/// How a track of sound is off, nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Off {
    /// It is said to be so much later than it is.
    pub late_ns: i64,
    /// What its decoder adds in front.
    pub priming_ns: i64,
}

/// The bytes of a file.
struct Bytes<'a> {
    /// Reads at a place, and says how much.
    read: &'a dyn Fn(u64, &mut [u8]) -> usize,
    /// Elements that may still be looked at.
    left: Cell<usize>,
}

/// Corrects the times of packets, and says how each track is off.
pub fn correct(source: &Path, tracks: &mut [Found]) -> Vec<Off> {
    let beginnings = File::open(source).ok().and_then(|file| {
        let read = |at: u64, into: &mut [u8]| file.read_at(into, at).unwrap_or(0);
        beginnings(&Bytes { read: &read, left: Cell::new(MOST_ELEMENTS) })
    });
    let beginnings = beginnings.unwrap_or_default();
    let of = |stream_id: &str| {
        let number: u64 = stream_id.split(':').next()?.parse().ok()?;
        beginnings.iter().find(|beginning| beginning.number == number)
    };
    let offset = |track: &mut Found| put_right(&mut track.packets, of(&track.stream_id)?);
    let offsets: Vec<Option<i64>> = tracks.iter_mut().map(offset).collect();
    // All tracks of a file are moved alike; delays are taken from some codecs' times only.
    let of_video = tracks.iter().zip(&offsets).find(|(track, _)| track.is_video()).map(|(_, offset)| *offset);
    let off = |(track, offset): (&Found, &Option<i64>)| {
        let (delay, offset) = (of(&track.stream_id)?.delay_ns, (*offset)?);
        // Without pictures nobody else tells; the demuxer is known to take it from those of Opus.
        let moved = of_video.unwrap_or(Some(if track.is_opus() { offset.saturating_add(delay) } else { offset }))?;
        // Some demuxers take the delay into account for some codecs.
        let late = delay.saturating_add(offset).saturating_sub(moved);
        let late_ns = if late.saturating_sub(delay).saturating_abs() <= SAME_NS { late } else { 0 };
        track.is_audio().then_some(Off { late_ns, priming_ns: delay })
    };
    tracks.iter().zip(&offsets).map(|of| off(of).unwrap_or_default()).collect()
}

/// Takes the times of the file where the demuxer's are further from them than the last ones are, and returns how far those
/// are.
fn put_right(packets: &mut [RawPacket], beginning: &Beginning) -> Option<i64> {
    let both = |packets: &[RawPacket]| -> Vec<(usize, i64, i64)> {
        let known = packets.iter().zip(&beginning.times).enumerate();
        known.filter_map(|(n, (packet, in_file))| Some((n, packet.pts?, (*in_file)?))).collect()
    };
    let told = both(packets);
    let (_, last, in_file) = *told.last()?;
    let offset = last.saturating_sub(in_file);
    let off = |told: i64, file: i64| told.saturating_sub(file).saturating_sub(offset).saturating_abs();
    let odd: Vec<_> = told.iter().filter(|(_, told, file)| off(*told, *file) > SAME_NS).collect();
    if told.len() < FEWEST || odd.len() * 2 > told.len() {
        return None;
    }
    for (number, _, file) in odd {
        packets[*number].pts = Some(file.saturating_add(offset));
    }
    Some(offset)
}

fn beginnings(bytes: &Bytes) -> Option<Vec<Beginning>> {
    let mut top = bytes.children(0..u64::MAX);
    let _ = top.next().filter(|(id, _)| *id == EBML)?;
    let (_, segment) = top.next().filter(|(id, _)| *id == SEGMENT)?;
    let mut scale_ns = 1_000_000;
    let (mut tracks, mut blocks): (Vec<Beginning>, usize) = (Vec::new(), 0);
    for (id, body) in bytes.children(segment) {
        match id {
            INFO => scale_ns = child(&bytes.body(body), TIMESTAMP_SCALE).and_then(signed).unwrap_or(scale_ns),
            TRACKS => {
                let body = bytes.body(body);
                let entries = children(&body).filter(|(id, _)| *id == TRACK_ENTRY);
                let described = entries.filter_map(|(_, entry)| track(entry));
                tracks.extend(described.take(MOST_TRACKS.saturating_sub(tracks.len())));
            }
            CLUSTER => {
                let mut cluster = 0;
                for (id, body) in bytes.children(body) {
                    let block = match id {
                        TIMESTAMP => {
                            cluster = signed(&bytes.body(body)).unwrap_or(0);
                            continue;
                        }
                        SIMPLE_BLOCK => Some(body),
                        BLOCK_GROUP => bytes.children(body).find(|(id, _)| *id == BLOCK).map(|(_, body)| body),
                        _ => None,
                    };
                    let begins = block.map(|body| bytes.body(body.start..body.end.min(body.start + BLOCK_HEAD_BYTES)));
                    let Some((number, at, packets)) = begins.as_deref().and_then(block_head) else { continue };
                    if let Some(track) = tracks.iter_mut().find(|t| t.number == number) {
                        track.times.push(believable(cluster.saturating_add(at).saturating_mul(scale_ns)));
                        track.times.extend((1..packets).map(|_| None));
                    }
                    blocks += 1;
                    if blocks >= MOST_BLOCKS {
                        return Some(tracks);
                    }
                }
            }
            _ => {}
        }
    }
    Some(tracks)
}

impl Bytes<'_> {
    /// The elements in a stretch of the file, as far as there may be any: where their bodies lie.
    fn children(&self, mut stretch: Range<u64>) -> impl Iterator<Item = (u32, Range<u64>)> {
        std::iter::from_fn(move || {
            self.left.set(self.left.get().checked_sub(1)?);
            let end = stretch.end.min(stretch.start.saturating_add(MOST_HEAD_BYTES as u64));
            let head = head(&self.body(stretch.start..end))?;
            let begin = stretch.start + head.length as u64;
            let body = begin..begin.saturating_add(head.body).min(stretch.end);
            stretch.start = body.end;
            Some((head.id, body))
        })
    }

    /// A stretch of the file, cut off where it is too long.
    fn body(&self, stretch: Range<u64>) -> Vec<u8> {
        let length = stretch.end.saturating_sub(stretch.start).min(MOST_BODY_BYTES);
        let mut body = vec![0; usize::try_from(length).unwrap_or(0)];
        let read = (self.read)(stretch.start, &mut body);
        body.truncate(read);
        body
    }
}

fn track(entry: &[u8]) -> Option<Beginning> {
    let number = child(entry, TRACK_NUMBER).and_then(unsigned)?;
    let delay = child(entry, CODEC_DELAY).and_then(signed).filter(|delay| *delay <= MOST_DELAY_NS).unwrap_or(0);
    Some(Beginning { number, delay_ns: delay, ..Beginning::default() })
}

/// Track number, time in the cluster, and how many packets there are (RFC 9559 §10.2 and §10.3).
fn block_head(block: &[u8]) -> Option<(u64, i64, usize)> {
    let length = block.first()?.leading_zeros() as usize + 1;
    let coded = block.get(..length).filter(|_| length <= 8)?;
    let number = coded.iter().fold(0, |n, b| n << 8 | u64::from(*b)) & ((1 << (7 * length)) - 1);
    let (&[high, low, flags], laced) = block.get(length..)?.split_first_chunk()?;
    let packets = if flags & 0b0110 == 0 { 1 } else { usize::from(*laced.first()?) + 1 };
    Some((number, i64::from(i16::from_be_bytes([high, low])), packets))
}

fn signed(bytes: &[u8]) -> Option<i64> {
    unsigned(bytes).and_then(|n| i64::try_from(n).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn el(id: u32, body: &[u8]) -> Vec<u8> {
        let id: Vec<u8> = id.to_be_bytes().into_iter().skip_while(|b| *b == 0).collect();
        [&id[..], &[0x40 | u8::try_from(body.len() >> 8).unwrap(), u8::try_from(body.len() & 255).unwrap()], body]
            .concat()
    }

    /// The same with a size of eight bytes.
    fn long(id: u32, body: &[u8]) -> Vec<u8> {
        [&id.to_be_bytes()[..], &(1_u64 << 56 | body.len() as u64).to_be_bytes(), body].concat()
    }

    fn of(file: &[u8]) -> Option<Vec<Beginning>> {
        let read = |at: u64, into: &mut [u8]| {
            let rest = usize::try_from(at).ok().and_then(|at| file.get(at..)).unwrap_or_default();
            let length = rest.len().min(into.len());
            into[..length].copy_from_slice(&rest[..length]);
            length
        };
        beginnings(&Bytes { read: &read, left: Cell::new(MOST_ELEMENTS) })
    }

    #[test]
    fn delays_and_the_times_of_first_blocks_are_read_of_several_packets_in_one_that_of_the_first() {
        let delay = el(CODEC_DELAY, &23_000_000_u32.to_be_bytes());
        let entry = |number: u8, more: &[u8]| el(TRACK_ENTRY, &[&el(TRACK_NUMBER, &[number])[..], more].concat());
        let block = |track: u8, at: u8, flags: u8| el(SIMPLE_BLOCK, &[0x80 | track, 0, at, flags, 2]);
        let group = el(BLOCK_GROUP, &el(BLOCK, &[0x81, 0xFF, 0xFF, 0, 7]));
        let cluster = [el(TIMESTAMP, &[100]), block(1, 5, 0), block(2, 0, 0), group, block(2, 9, 2), block(2, 20, 0)];
        let tracks = el(TRACKS, &[entry(1, &delay), entry(2, &[])].concat());
        let segment = el(SEGMENT, &[tracks, el(CLUSTER, &cluster.concat())].concat());
        let found = of(&[el(EBML, &[]), segment].concat()).unwrap();
        let ms = |times: &[Option<i64>]| times.iter().map(|t| t.map(|ns| ns / 1_000_000)).collect::<Vec<_>>();
        let all = |b: &Beginning| (b.number, b.delay_ns, ms(&b.times));
        let second = [Some(100), Some(109), None, None, Some(120)].to_vec();
        let first = [Some(105), Some(99)].to_vec();
        assert_eq!(found.iter().map(all).collect::<Vec<_>>(), [(1, 23_000_000, first), (2, 0, second)]);
    }

    #[test]
    fn the_first_packets_are_where_the_file_has_them_and_the_demuxers_zero_is_kept() {
        let in_file = [23, 223, 103, 63, 143, 183].map(|ms| Some(ms * 1_000_000));
        let beginning = Beginning { number: 1, delay_ns: 0, times: in_file.to_vec() };
        let corrected = |told: [i64; 6]| {
            let mut packets = told.map(|ms| RawPacket::for_tests(Some(ms * 1_000_000), None));
            let offset = put_right(&mut packets, &beginning).map(|ns| ns / 1_000_000);
            (packets.map(|p| p.pts.unwrap() / 1_000_000), offset)
        };
        assert_eq!(corrected([0, 200, 103, 63, 143, 183]), ([23, 223, 103, 63, 143, 183], Some(0)));
        let moved = [0, 200, 80, 40, 120, 160];
        assert_eq!(corrected(moved), (moved, Some(-23)), "all are as much earlier");
        assert_eq!(corrected([1, 2, 3, 4, 5, 6]), ([1, 2, 3, 4, 5, 6], None), "these are others");
    }

    #[test]
    fn times_that_lie_centuries_away_are_none() {
        let far = i64::MAX.to_be_bytes();
        let entry = el(TRACK_ENTRY, &[el(TRACK_NUMBER, &[1]), el(CODEC_DELAY, &far)].concat());
        let cluster = el(CLUSTER, &[el(TIMESTAMP, &far), el(SIMPLE_BLOCK, &[0x81, 0x7F, 0xFF, 0, 7])].concat());
        let segment = el(SEGMENT, &[el(TRACKS, &entry), cluster].concat());
        let found = of(&[el(EBML, &[]), segment].concat()).unwrap();
        assert_eq!(found, [Beginning { number: 1, delay_ns: 0, times: vec![None] }]);
    }

    /// Laced blocks of one cluster made gigabytes of times.
    #[test]
    fn no_more_blocks_and_tracks_are_looked_at_than_needed_and_attached_files_are_passed_over() {
        const ATTACHMENTS: u32 = 0x1941_A469;
        let entries =
            (1..=100_u8).map(|number| el(TRACK_ENTRY, &el(TRACK_NUMBER, &[number]))).collect::<Vec<_>>().concat();
        let laced = el(SIMPLE_BLOCK, &[0x81, 0, 0, 2, 255]).repeat(3000);
        let segment = [
            long(ATTACHMENTS, &vec![0; 5 << 20]),
            el(TRACKS, &entries),
            long(CLUSTER, &[&el(TIMESTAMP, &[7])[..], &laced].concat()),
        ];
        let found = of(&[el(EBML, &[]), long(SEGMENT, &segment.concat())].concat()).unwrap();
        assert_eq!((found.len(), found[0].times.len()), (MOST_TRACKS, MOST_BLOCKS * 256));
        assert_eq!(found[0].times[..2], [Some(7_000_000), None]);
    }

    #[test]
    fn a_delay_of_more_than_a_second_is_none() {
        let entry = |ns: u64| [el(TRACK_NUMBER, &[1]), el(CODEC_DELAY, &ns.to_be_bytes())].concat();
        assert_eq!([6_500_000, i64::MAX.unsigned_abs()].map(|ns| track(&entry(ns)).unwrap().delay_ns), [6_500_000, 0]);
    }

    proptest! {
        #[test]
        fn any_bytes_begin_somehow(noise: Vec<u8>, more: Vec<u8>, depth in 0..5_usize, times: Vec<Option<i64>>, told: Vec<Option<i64>>) {
            let file = match depth {
                0 => noise.clone(),
                1 => [el(EBML, &[]), noise.clone()].concat(),
                2 => [el(EBML, &[]), long(SEGMENT, &noise)].concat(),
                3 => [el(EBML, &[]), long(SEGMENT, &[long(TRACKS, &noise), long(CLUSTER, &more)].concat())].concat(),
                _ => {
                    let entry = el(TRACKS, &el(TRACK_ENTRY, &[&el(TRACK_NUMBER, &[1])[..], &noise].concat()));
                    let block = [&el(TIMESTAMP, &[0x7F; 8])[..], &el(SIMPLE_BLOCK, &more), &el(BLOCK_GROUP, &more)].concat();
                    [el(EBML, &[]), long(SEGMENT, &[entry, long(CLUSTER, &block)].concat())].concat()
                }
            };
            let _ = (of(&file), block_head(&noise));
            let mut packets: Vec<RawPacket> = told.into_iter().map(|at| RawPacket::for_tests(at, None)).collect();
            let _ = put_right(&mut packets, &Beginning { number: 1, delay_ns: 0, times });
        }
    }
}
