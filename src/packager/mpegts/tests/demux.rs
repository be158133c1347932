//! Takes a transport stream apart by the letter of ISO/IEC 13818-1, and knows nothing of the writer.

use std::collections::BTreeMap;

use crate::media::crc;

pub const VIDEO: u16 = 0x100;
pub const AUDIO: u16 = 0x101;

/// A PES packet.
#[derive(Debug)]
pub struct Pes {
    pub pts: i64,
    pub dts: i64,
    pub random_access: bool,
    pub data: Vec<u8>,
}

/// What was found, in the order of the packets. Times are not unwrapped.
#[derive(Debug, Default)]
pub struct Stream {
    /// The next counter of each stream; may be carried from segment to segment.
    pub counters: BTreeMap<u16, u8>,
    pub pes: BTreeMap<u16, Vec<Pes>>,
    /// The clock, and the decode time of the next PES packet that begins on its stream.
    pub clocks: Vec<i64>,
    /// Stream types by stream, of the last map.
    pub types: BTreeMap<u16, u8>,
    pub clock_stream: u16,
    /// Streams in the order of the packets.
    pub order: Vec<u16>,
}

fn be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b))
}

fn time(bytes: &[u8], prefix: u64) -> i64 {
    let n = be(&bytes[..5]);
    assert_eq!((n >> 36, n & 0x1_0001_0001), (prefix, 0x1_0001_0001), "prefix and markers");
    (n >> 33 << 30 & 0x1_C000_0000 | (n >> 17 & 0x7FFF) << 15 | n >> 1 & 0x7FFF).cast_signed()
}

impl Stream {
    /// Adds the packets of a segment.
    pub fn take(&mut self, segment: &[u8]) {
        assert_eq!(segment.len() % 188, 0);
        let mut open: BTreeMap<u16, (bool, Vec<u8>)> = BTreeMap::new();
        for packet in segment.chunks(188) {
            assert_eq!(
                (packet[0], packet[1] & 0xA0, packet[3] & 0xC0),
                (0x47, 0, 0),
                "sync, no error, priority, scrambling"
            );
            let pid = be(&packet[1..3]) as u16 & 0x1FFF;
            self.order.push(pid);
            let (has_field, has_payload) = (packet[3] & 0x20 != 0, packet[3] & 0x10 != 0);
            assert!(has_field || has_payload);
            let counter = self.counters.entry(pid).or_insert(packet[3] & 0xF);
            if has_payload {
                assert_eq!(packet[3] & 0xF, *counter, "the counter of {pid:#x} goes on");
                *counter = (*counter + 1) & 0xF;
            } else if self.pes.contains_key(&pid) || open.contains_key(&pid) {
                assert_eq!(packet[3] & 0xF, (*counter + 15) & 0xF, "a packet without payload repeats the counter");
            }
            let field = if has_field { 1 + usize::from(packet[4]) } else { 0 };
            assert!(if has_payload { field < 184 } else { field == 184 });
            let random_access = self.field(&packet[4..4 + field], pid);
            let payload = &packet[4 + field..];
            if packet[1] & 0x40 == 0 {
                if let Some((_, bytes)) = open.get_mut(&pid) {
                    bytes.extend_from_slice(payload);
                }
            } else if pid == 0 || pid == 0x1000 {
                self.table(pid, payload);
            } else if let Some(whole) = open.insert(pid, (random_access, payload.to_vec())) {
                self.pes(pid, whole);
            }
        }
        for (pid, whole) in open {
            self.pes(pid, whole);
        }
    }

    fn field(&mut self, field: &[u8], pid: u16) -> bool {
        let [_, flags, rest @ ..] = field else { return false };
        assert_eq!(flags & !0x50, 0, "only random access and the clock");
        let stuffing = if flags & 0x10 == 0 {
            rest
        } else {
            let n = be(&rest[..6]);
            assert_eq!((n >> 9 & 0x3F, n & 0x1FF), (0x3F, 0), "reserved bits and extension");
            self.clocks.push((n >> 15).cast_signed());
            assert_eq!(pid, self.clock_stream, "the clock's stream is the map's");
            &rest[6..]
        };
        assert!(stuffing.iter().all(|b| *b == 0xFF));
        assert!(
            flags & 0x50 != 0x40 || pid != self.clock_stream,
            "random access on the clock's stream comes with the clock"
        );
        flags & 0x40 != 0
    }

    fn table(&mut self, pid: u16, payload: &[u8]) {
        assert_eq!(payload[0], 0);
        let length = usize::from(payload[3]);
        let section = &payload[1..4 + length];
        assert_eq!(crc(section), 0);
        assert!(payload[4 + length..].iter().all(|b| *b == 0xFF));
        if pid == 0 {
            assert_eq!(section[8..12], [0, 1, 0xF0, 0x00]);
            return;
        }
        self.clock_stream = be(&section[8..10]) as u16 & 0x1FFF;
        self.types = section[12..section.len() - 4].chunks(5).map(|e| (be(&e[1..3]) as u16 & 0x1FFF, e[0])).collect();
        assert!(self.types.contains_key(&self.clock_stream));
    }

    fn pes(&mut self, pid: u16, (random_access, bytes): (bool, Vec<u8>)) {
        assert_eq!((&bytes[..3], bytes[6]), (&[0, 0, 1][..], 0x84));
        assert_eq!(bytes[3], if pid == VIDEO { 0xE0 } else { 0xC0 });
        let length = be(&bytes[4..6]) as usize;
        assert!(length == bytes.len() - 6 || (length == 0 && pid == VIDEO), "{length} of {}", bytes.len());
        let both = bytes[7] == 0xC0;
        assert!(both || bytes[7] == 0x80);
        let pts = time(&bytes[9..], if both { 3 } else { 2 });
        let dts = if both { time(&bytes[14..], 1) } else { pts };
        let data = bytes[9 + usize::from(bytes[8])..].to_vec();
        self.pes.entry(pid).or_default().push(Pes { pts, dts, random_access, data });
    }
}

/// NAL units of an access unit with start codes.
pub fn units(data: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> = (0..data.len().saturating_sub(3)).filter(|&i| data[i..i + 4] == [0, 0, 0, 1]).collect();
    assert_eq!(starts.first(), Some(&0));
    let ends = starts[1..].iter().copied().chain([data.len()]);
    starts.iter().zip(ends).map(|(start, end)| &data[start + 4..end]).collect()
}

/// Profile, frequency index and channels of an ADTS header, and the bytes behind it.
pub type Frame<'a> = ((u8, u8, u8), &'a [u8]);

/// Frames of AAC, by their ADTS headers.
pub fn frames(mut data: &[u8]) -> Vec<Frame<'_>> {
    let mut frames = Vec::new();
    while !data.is_empty() {
        assert_eq!(data[..2], [0xFF, 0xF1]);
        let length = (be(&data[3..6]) >> 5 & 0x1FFF) as usize;
        let kind = (data[2] >> 6, data[2] >> 2 & 0xF, (data[2] & 1) << 2 | data[3] >> 6);
        frames.push((kind, &data[7..length]));
        data = &data[length..];
    }
    frames
}
