//! Clock references of transport streams (PCR, ISO/IEC 13818-1 §2.4.3.5), changed on the way to GStreamer's demuxer where it
//! would misread them.
//!
//! The demuxer counts time from the first reference. If half a second of sound comes before that, as in a recording that was cut
//! ahead of its first key frame, it gives no times at all, and a time before the first reference is none, or one a day
//! later. And where references are more than half a second apart, instead of the 0.1 s that the standard allows, it leaves out
//! most of what lies between: of a film of one frame per second, for instance. So such a stream is given a first reference
//! in time, in the place of a packet that nobody needs here, and all are given closer together. What pictures and sound
//! say of their times stays as it is, and with it how they lie to each other. Where the clock jumps (`joins.rs`), these are
//! changed, too, and go on as before.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use crate::media::Join;

/// So much of the start of a file says how its references lie.
pub(super) const HEAD_BYTES: usize = 2 << 20;
/// A packet, without what a container may put around it (a time before it on discs, a checksum behind it).
pub(super) const PACKET_BYTES: usize = 188;
/// Distances of packets: plain, with a time, with a checksum.
const STRIDES: [usize; 3] = [188, 192, 204];
/// So many sync bytes in a row are no coincidence.
const SYNCS: usize = 8;
/// Bytes of a packet up to the end of its reference.
const FIELD_BYTES: usize = 12;
/// A second of the clock.
pub(super) const SECOND: u64 = 27_000_000;
/// Ticks of the clock for one of the 90 kHz of a time stamp.
pub(super) const TICKS_A_STAMP: u64 = 300;
/// The clock begins anew after this, 26.5 hours.
pub(super) const WRAP: u64 = (1 << 33) * TICKS_A_STAMP;
/// How much earlier than the first time the first reference is given.
const MARGIN: u64 = SECOND / 5;
/// A time that lies further before the first reference belongs to another clock.
const MOST_EARLY: u64 = 60 * SECOND;
/// From this distance on references are too far apart for the demuxer.
pub(super) const FAR_APART: u64 = SECOND * 4 / 10;
/// How far apart they are given then, so that there is room for larger gaps that come later.
const NEAR: u64 = SECOND / 10;
/// A reference that comes later than this after the one before goes by another clock.
pub(super) const MOST_APART: u64 = 30 * SECOND;

/// Packets of these say nothing of pictures and sound: names and times of a broadcast, and stuffing.
const SPARE_PIDS: [u16; 5] = [0x10, 0x11, 0x12, 0x14, 0x1FFF];

/// How the references of a stream are changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clock {
    stride: usize,
    /// First byte of a packet.
    start: usize,
    /// A packet that is replaced by the first reference.
    planted: Option<Planted>,
    /// The first reference.
    first: u64,
    /// How much earlier all are given.
    earlier: u64,
    /// How much slower the clock runs.
    slower: u64,
    /// Where it jumps; what is said above is of the clock without jumps.
    joins: Vec<Join>,
}

/// A packet with nothing but a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Planted {
    at: u64,
    pid: u16,
    /// Continuity counter, which such a packet does not move on (§2.4.3.3).
    counter: u8,
}

impl Clock {
    /// What is to be changed in this file, if it is a transport stream that needs it.
    pub fn of(file: &File, joins: &[Join]) -> Option<Self> {
        let mut head = vec![0; HEAD_BYTES];
        let filled = fill(file, 0, &mut head);
        head.truncate(filled);
        let (start, stride) = grid(&head)?;
        // How packets lie to each other is asked of the start alone.
        let shifted = joins.iter().map(|join| index(join.at)).find(|at| (at - start) % stride != 0);
        head.truncate(shifted.unwrap_or(head.len()));
        for (n, packet) in head[start..].chunks_mut(stride).enumerate() {
            if let Some(packet) = packet.first_chunk_mut() {
                rejoin(packet, join_of(joins, (start + n * stride) as u64));
            }
        }
        let clock = Self::of_head(&head);
        let plain = || {
            let first =
                head[start..].chunks(stride).filter_map(|chunk| chunk.get(..PACKET_BYTES)).find_map(reference)?;
            Some(Self { stride, start, planted: None, first, earlier: 0, slower: 1, joins: Vec::new() })
        };
        let clock = if joins.is_empty() { clock } else { clock.or_else(plain) };
        clock.map(|clock| Self { joins: joins.to_vec(), ..clock })
    }

    /// The same of the start of a file whose clock does not jump.
    pub fn of_head(head: &[u8]) -> Option<Self> {
        let (start, stride) = grid(head)?;
        let packets = || head[start..].chunks(stride).filter_map(|chunk| chunk.get(..PACKET_BYTES));
        let referring = packets().position(|p| reference(p).is_some())?;
        let mut references: Vec<(u16, u64)> = packets().filter_map(|p| Some((pid(p), reference(p)?))).collect();
        let (of, first) = references[0];
        let early = |stamp: u64| since(stamp, first);
        let earliest = packets().flat_map(stamps).map(early).filter(|ticks| *ticks <= MOST_EARLY).max();
        let lead = earliest.filter(|ticks| *ticks > 0).map_or(0, |ticks| ticks + MARGIN);
        let spare = || packets().take(referring).position(|p| SPARE_PIDS.contains(&pid(p)));
        let planted = (lead > 0).then(spare).flatten().map(|number| Planted {
            at: (start + number * stride) as u64,
            pid: of,
            counter: packets().find(|p| pid(p) == of).map_or(0, |p| p[3].wrapping_sub(1) & 0x0F),
        });
        let earlier = if planted.is_some() { 0 } else { lead };
        let first = (first + WRAP - (lead - earlier)) % WRAP;
        if planted.is_some() {
            references.insert(0, (of, first));
        }
        let steps = || references.windows(2).map(|pair| since(pair[0].1, pair[1].1));
        let is_one_clock = references.iter().all(|(pid, _)| *pid == of) && steps().all(|step| step < MOST_APART);
        let largest = steps().max().filter(|step| is_one_clock && *step > FAR_APART).unwrap_or(NEAR);
        let clock = Self { stride, start, planted, first, earlier, slower: largest.div_ceil(NEAR), joins: Vec::new() };
        (lead > 0 || clock.slower > 1).then_some(clock)
    }

    /// Changes the references in a piece of the file, of which those that the piece cuts are looked up in the file.
    pub fn change(&self, offset: u64, piece: &mut [u8], file: &File) {
        let end = offset + piece.len() as u64;
        let mut at = self.packet_from((offset + 1).saturating_sub(PACKET_BYTES as u64));
        while at < end {
            let next = self.packet_from(at + 1);
            if let Some(planted) = self.planted.filter(|planted| planted.at == at) {
                put(piece, offset, at, &planted.packet(self.changed(self.first)));
            } else {
                let held = at.checked_sub(offset).and_then(|from| piece.get(index(from)..)?.first_chunk().copied());
                let Some(mut packet) = held.or_else(|| read(file, at)) else { return };
                rejoin(&mut packet, join_of(&self.joins, at));
                if let Some(time) = reference(&packet) {
                    set_reference(&mut packet, self.changed(time));
                }
                // A packet may be cut short by the one behind it.
                let own = index(next - at).min(PACKET_BYTES);
                put(piece, offset, at, &packet[..own]);
            }
            at = next;
        }
    }

    /// The first packet that begins at or behind a place.
    fn packet_from(&self, at: u64) -> u64 {
        next_packet(at, (self.start, self.stride), &self.joins, |join| join.at)
    }

    fn changed(&self, time: u64) -> u64 {
        (since(self.first, time) / self.slower + self.first + WRAP - self.earlier) % WRAP
    }

    /// Where the demuxer is to seek, nanoseconds of its time, so that it does not come too late for that time.
    pub fn seek_time(&self, ns: u64) -> u64 {
        // Behind some joins the clock lags.
        let lag = |join: &Join| since(join.clock, join.stamps);
        let begins = |join: &Join| (since(self.first, (join.first + join.stamps) % WRAP) + self.earlier) * 1000 / 27;
        let passed = |join: &&Join| lag(join) < WRAP / 2 && begins(join) <= ns;
        let lag = self.joins.iter().rev().find(passed).map_or(0, lag);
        ns.saturating_sub((self.earlier + lag) * 1000 / 27) / self.slower
    }
}

/// The last join before a packet.
fn join_of(joins: &[Join], at: u64) -> Option<&Join> {
    joins[..joins.partition_point(|join| join.at <= at)].last()
}

/// Lets a packet behind a join go on by the clock before it.
fn rejoin(packet: &mut [u8; PACKET_BYTES], join: Option<&Join>) {
    let Some(join) = join else { return };
    if let Some(time) = reference(packet) {
        set_reference(packet, (time + join.clock) % WRAP);
    }
    for place in stamp_places(packet) {
        if let Some(bytes) = packet.get_mut(place..).and_then(|rest| rest.first_chunk_mut()) {
            set_stamp(bytes, (stamp(bytes) + join.stamps) % WRAP);
        }
    }
}

impl Planted {
    fn packet(self, time: u64) -> [u8; PACKET_BYTES] {
        let [high, low] = self.pid.to_be_bytes();
        let mut field = [0x47, high, low, 0x20 | self.counter, 183, 0x10, 0, 0, 0, 0, 0, 0];
        set_reference(&mut field, time);
        let mut packet = [0xFF; PACKET_BYTES];
        packet[..FIELD_BYTES].copy_from_slice(&field);
        packet
    }
}

/// The first packet that begins at or behind a place: they do so every so many bytes from a start on, and anew from each of
/// the places of `anew`, which are in order.
pub(super) fn next_packet<T>(at: u64, (start, stride): (usize, usize), anew: &[T], place: impl Fn(&T) -> u64) -> u64 {
    let next = anew.partition_point(|one| place(one) <= at);
    let begin = next.checked_sub(1).map_or(start as u64, |before| place(&anew[before]));
    let found = begin + at.saturating_sub(begin).div_ceil(stride as u64) * stride as u64;
    anew.get(next).map_or(found, |one| found.min(place(one)))
}

/// Reads as much as the file has, and says how much.
pub(super) fn fill(file: &File, at: u64, into: &mut [u8]) -> usize {
    let mut filled = 0;
    while let Ok(read @ 1..) = file.read_at(&mut into[filled..], at + filled as u64) {
        filled += read;
    }
    filled
}

pub(super) fn read(file: &File, at: u64) -> Option<[u8; PACKET_BYTES]> {
    let mut packet = [0; PACKET_BYTES];
    file.read_exact_at(&mut packet, at).is_ok().then_some(packet)
}

/// Puts what of the bytes at `at` lies in a piece that begins at `offset` there.
pub(super) fn put(piece: &mut [u8], offset: u64, at: u64, bytes: &[u8]) {
    for (n, byte) in (at..).zip(bytes) {
        if let Some(place) = n.checked_sub(offset).and_then(|n| piece.get_mut(index(n))) {
            *place = *byte;
        }
    }
}

/// Ticks from one time to a later one.
pub(super) fn since(earlier: u64, later: u64) -> u64 {
    (later + WRAP - earlier) % WRAP
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// Where packets begin, and how far apart they are.
pub(super) fn grid(head: &[u8]) -> Option<(usize, usize)> {
    let is_grid = |start: usize, stride: usize| (0..SYNCS).all(|n| head.get(start + n * stride) == Some(&0x47));
    STRIDES.into_iter().find_map(|stride| Some(((0..stride).find(|&start| is_grid(start, stride))?, stride)))
}

pub(super) fn pid(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[1], packet[2]]) & 0x1FFF
}

/// The clock reference of a packet, if it has one: 33 bits of 90 kHz and 9 of 27 MHz (§2.4.3.4).
pub(super) fn reference(packet: &[u8]) -> Option<u64> {
    let has = packet[0] == 0x47 && packet[3] & 0x20 != 0 && packet[4] >= 7 && packet[5] & 0x10 != 0;
    let bits = packet[6..FIELD_BYTES].iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
    has.then_some((bits >> 15) * TICKS_A_STAMP + (bits & 0x1FF)).filter(|time| *time < WRAP)
}

fn set_reference(packet: &mut [u8], time: u64) {
    const RESERVED: u64 = 0x3F << 9;
    let bits = (time / TICKS_A_STAMP) << 15 | RESERVED | (time % TICKS_A_STAMP);
    packet[6..FIELD_BYTES].copy_from_slice(&bits.to_be_bytes()[2..]);
}

/// The times of showing and decoding in a packet that begins pictures or sound, in ticks of the clock.
pub(super) fn stamps(packet: &[u8]) -> impl Iterator<Item = u64> {
    stamp_places(packet).filter_map(|place| packet.get(place..)?.first_chunk().map(stamp))
}

/// Where they stand (§2.4.3.6).
fn stamp_places(packet: &[u8]) -> impl Iterator<Item = usize> + use<> {
    let payload = payload(packet);
    let pes = payload.and_then(|from| packet.get(from..)).unwrap_or_default();
    let is_media = matches!(pes, [0, 0, 1, 0xBD | 0xC0..=0xEF | 0xFD, ..]);
    let said = pes.get(7).filter(|_| is_media).map_or(0, |flags| usize::from(flags >> 6).saturating_sub(1));
    let first = payload.unwrap_or(0) + 9;
    (0..said).map(move |n| first + 5 * n)
}

/// Pictures begin in a packet, as opposed to sound.
pub(super) fn is_picture(packet: &[u8]) -> bool {
    let pes = payload(packet).and_then(|from| packet.get(from..)).unwrap_or_default();
    matches!(pes, [0, 0, 1, 0xE0..=0xEF | 0xFD, ..])
}

/// Bytes of the unit that begins in a packet, as far as that is told: of pictures it need not be (§2.4.3.7).
pub(super) fn unit_bytes(packet: &[u8]) -> i64 {
    let length = payload(packet).and_then(|from| packet.get(from + 4..)?.first_chunk().copied());
    length.map_or(0, |length| i64::from(u16::from_be_bytes(length)))
}

/// Where a unit begins in a packet, if one does.
fn payload(packet: &[u8]) -> Option<usize> {
    let begins = packet[0] == 0x47 && packet[1] & 0x40 != 0 && packet[3] & 0x10 != 0;
    begins.then(|| if packet[3] & 0x20 != 0 { 5 + usize::from(packet[4]) } else { 4 })
}

fn stamp(bytes: &[u8; 5]) -> u64 {
    let [a, b, c, d, e] = bytes.map(u64::from);
    ((a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1) * TICKS_A_STAMP
}

fn set_stamp(bytes: &mut [u8; 5], time: u64) {
    let t = time / TICKS_A_STAMP;
    let bits = [t >> 29 & 0x0E, t >> 22 & 0xFF, t >> 14 & 0xFE, t >> 7 & 0xFF, t << 1 & 0xFE];
    let marks = [0xF1, 0, 1, 0, 1];
    for ((byte, bits), marks) in bytes.iter_mut().zip(bits).zip(marks) {
        *byte = *byte & marks | u8::try_from(bits).unwrap_or(0);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;

    use std::path::Path;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::media::Track;
    use crate::pipeline::inspect;
    use crate::pipeline::packets::Reader;
    use crate::pipeline::testing::run;

    /// A packet with a reference and a time of showing, each if given, in ticks.
    pub fn packet(pid: u16, reference: Option<u64>, stamp: Option<u64>) -> Vec<u8> {
        let mut packet = vec![0xFF; PACKET_BYTES];
        packet[0] = 0x47;
        packet[1..3].copy_from_slice(&(pid | if stamp.is_some() { 0x4000 } else { 0 }).to_be_bytes());
        packet[3..6].copy_from_slice(&[0x30, 7, if reference.is_some() { 0x10 } else { 0 }]);
        let mut field = [0; FIELD_BYTES];
        set_reference(&mut field, reference.unwrap_or(0));
        packet[6..12].copy_from_slice(&field[6..]);
        if let Some(stamp) = stamp {
            let t = stamp / TICKS_A_STAMP;
            let byte = |n: u64| u8::try_from(n & 0xFF).unwrap();
            let time = [byte(t >> 29) & 0x0E | 0x21, byte(t >> 22), byte(t >> 14) | 1, byte(t >> 7), byte(t << 1) | 1];
            packet[12..26].copy_from_slice(&[&[0, 0, 1, 0xE0, 0, 0, 0x80, 0x80, 5][..], &time].concat());
        }
        packet
    }

    fn references(stream: &[u8]) -> Vec<u64> {
        stream.chunks_exact(PACKET_BYTES).filter_map(reference).collect()
    }

    #[test]
    fn what_is_shown_before_the_first_reference_moves_all_of_them() {
        let sound = packet(257, None, Some(WRAP - SECOND));
        let picture = |n: u64| packet(256, Some(SECOND + n * NEAR), Some(2 * SECOND + n * NEAR));
        let stream: Vec<u8> = [sound].into_iter().chain((0..20).map(picture)).flatten().collect();
        let clock = Clock::of_head(&stream).unwrap();
        assert_eq!((clock.earlier, clock.slower), (2 * SECOND + MARGIN, 1));
        assert_eq!(clock.changed(SECOND), WRAP - SECOND - MARGIN);
        assert_eq!(clock.seek_time(5_000_000_000), 2_800_000_000);
        let named: Vec<u8> = [packet(0x11, None, None), stream].concat();
        let clock = Clock::of_head(&named).unwrap();
        let planted = Planted { at: 0, pid: 256, counter: 15 };
        assert_eq!((clock.planted, clock.first), (Some(planted), WRAP - SECOND - MARGIN));
        assert_eq!((clock.earlier, clock.slower), (0, 22));
        let mut changed = named.clone();
        clock.change(0, &mut changed, &tempfile::tempfile().unwrap());
        assert_eq!(pid(&changed), 256);
        assert_eq!(references(&changed)[..2], [clock.first, (clock.first + NEAR) % WRAP]);
        assert_eq!(changed[PACKET_BYTES..2 * PACKET_BYTES], named[PACKET_BYTES..2 * PACKET_BYTES]);
        let fine: Vec<u8> = (0..20).flat_map(picture).collect();
        assert_eq!(Clock::of_head(&fine), None);
    }

    #[test]
    fn references_that_are_far_apart_come_closer_and_those_of_several_clocks_stay() {
        let picture = |pid, n: u64| packet(pid, Some(n * SECOND), Some(n * SECOND + SECOND));
        let stream: Vec<u8> = (0..20).flat_map(|n| picture(256, n)).collect();
        let clock = Clock::of_head(&stream).unwrap();
        assert_eq!((clock.earlier, clock.slower), (0, 10));
        assert_eq!(clock.changed(7 * SECOND), 7 * NEAR);
        let two: Vec<u8> = (0..20).flat_map(|n| picture(256 + n % 2, n.into())).collect();
        assert_eq!(Clock::of_head(&two), None);
        let jumps: Vec<u8> = (0..20).flat_map(|n| picture(256, (n * 100) % 1900)).collect();
        assert_eq!(Clock::of_head(&jumps), None);
    }

    /// Twelve seconds of picture and sound as a transport stream.
    fn film(path: &Path, frames_per_second: u32) {
        gst::init().unwrap();
        let (pictures, group) = (12 * frames_per_second, 2 * frames_per_second);
        let launch = format!(
            "mpegtsmux name=mux pcr-interval=9000 ! filesink location={} \
             videotestsrc num-buffers={pictures} ! video/x-raw,width=64,height=64,framerate={frames_per_second}/1 \
             ! x264enc speed-preset=ultrafast key-int-max={group} ! h264parse ! queue ! mux. \
             audiotestsrc num-buffers=516 samplesperbuffer=1024 ! audio/x-raw,rate=44100,channels=1 ! audioconvert \
             ! avenc_aac ! aacparse ! queue ! mux.",
            path.display()
        );
        run(&launch);
    }

    /// When pictures that are in the file are shown after the first sound, seconds.
    fn times(path: &Path) -> Vec<f64> {
        let index = inspect(path, &[], &mut |_| ()).unwrap();
        let (video, sound) = (index.video.unwrap().track, &index.audio[0].track);
        let begin = sound.timescale.seconds(sound.packets[0].pts);
        let shown = video.shown().into_iter().filter(|s| video.packets[s.packet].size > 0);
        let times = shown.map(|s| video.timescale.seconds(s.at) - begin).collect();
        all_found(path, video);
        times
    }

    /// Whoever begins to read at a key frame gets that one.
    fn all_found(path: &Path, track: Track) {
        let keys: Vec<usize> = (0..track.packets.len()).filter(|n| track.packets[*n].key).collect();
        let track = Arc::new(track);
        for key in keys {
            let read = Reader::open(path, &track, key).unwrap().next().unwrap();
            assert_eq!(read.map(|(number, _)| number), Some(key));
        }
    }

    #[test]
    fn a_recording_that_begins_with_sound_keeps_its_pictures_where_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, cut) = (folder.path().join("whole.ts"), folder.path().join("cut.ts"));
        film(&whole, 25);
        let mut bytes = std::fs::read(&whole).unwrap();
        let first = bytes.chunks_exact(PACKET_BYTES).find_map(reference).unwrap();
        let of = pid(bytes.chunks_exact(PACKET_BYTES).find(|p| reference(p).is_some()).unwrap());
        // All pictures of the first five seconds become stuffing.
        let pictures = bytes.chunks_exact_mut(PACKET_BYTES).filter(|p| pid(p) == of);
        let missing = |p: &&mut [u8]| reference(p).is_none_or(|time| since(first, time) < 5 * SECOND);
        pictures.take_while(missing).for_each(|p| p[1..5].copy_from_slice(&[0x1F, 0xFF, 0x10, 0xFF]));
        std::fs::write(&cut, bytes).unwrap();
        let (whole, cut) = (times(&whole), times(&cut));
        assert!((80..180).contains(&cut.len()), "{}", cut.len());
        let kept = &whole[whole.len() - cut.len()..];
        assert!(kept.iter().zip(&cut).all(|(a, b)| (a - b).abs() < 0.001), "{kept:?} {cut:?}");
    }

    #[test]
    fn a_film_of_one_picture_a_second_takes_as_long_as_it_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slow.ts");
        film(&path, 1);
        let times = times(&path);
        assert_eq!(times.len(), 12);
        assert!(times.windows(2).all(|pair| (pair[1] - pair[0] - 1.0).abs() < 0.001), "{times:?}");
    }

    proptest! {
        #[test]
        fn a_piece_is_changed_as_the_whole_is(cut in 0..4000_usize, len in 0..1000_usize, lead in 0..188_usize) {
            let mut stream = vec![0; lead];
            (0..20).for_each(|n| stream.extend(packet(256, Some(n * SECOND), Some(n * SECOND))));
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&stream).unwrap();
            let clock = Clock::of(&file, &[]).unwrap();
            let mut whole = stream.clone();
            clock.change(0, &mut whole, &file);
            prop_assert_eq!(references(&whole[lead..]).len(), 20);
            prop_assert!(references(&whole[lead..]).windows(2).all(|pair| pair[1] - pair[0] == NEAR));
            let range = cut.min(stream.len())..(cut + len).min(stream.len());
            let mut piece = stream[range.clone()].to_vec();
            clock.change(range.start as u64, &mut piece, &file);
            prop_assert_eq!(&piece[..], &whole[range]);
        }

        #[test]
        fn no_head_is_too_odd(head: Vec<u8>, packets in prop::collection::vec(any::<[u8; 32]>(), 8..40)) {
            let _ = Clock::of_head(&head);
            let mut stream = Vec::new();
            for bytes in packets {
                let mut packet = packet(256, None, None);
                packet[1..33].copy_from_slice(&bytes);
                stream.extend(packet);
            }
            let _ = Clock::of_head(&stream);
        }
    }
}
