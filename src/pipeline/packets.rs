//! Reads a track's packets again, in decode order from any key frame on.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Error;
use super::adpcm::Pace;
use super::raw::raw_packet;
use super::scan::Scan;
use crate::media::{Access, Packet, Timescale, Track};

/// Added to every time given to GStreamer, nanoseconds: frames before the title's zero keep valid times.
pub const EPOCH_NS: i64 = 3_600_000_000_000;
/// How far the demuxer's time of a packet may lie from the index's, nanoseconds: a container's rounding to milliseconds
/// that the index undid, and the demuxer's own.
const MATCH_NS: i64 = 1_500_000;
/// The same for a packet that comes when it is expected and has the size it should have: a time the index made up.
const EXPECTED_NS: i64 = 150_000_000;

/// A demuxer that comes too late for the wanted packet, as those do that seek by bytes, is sent this much earlier, one
/// after the other, nanoseconds; and after that it reads from the start,
const EARLIER_NS: [i64; 3] = [0, 2_000_000_000, 15_000_000_000];
/// if the track has no more bytes than this before the packet: reading on must not look like standing still.
const MOST_REREAD_BYTES: u64 = 128 << 20;

/// The demuxer of FLV ends the process when a seek leads it back to the parameter sets of H.264 at the start of the file
/// (GStreamer 1.22). What lies within the first group of pictures, which hardly lasts longer than this, is read up to.
const FLV_START_NS: i64 = 60_000_000_000;

/// The demuxer of WAV takes the first sample at or after the time it is sent to. This is for the rounding of that time, and less
/// than any sample lasts, nanoseconds: a sample later all packets would begin and end elsewhere.
const WAV_EARLIER_NS: i64 = 2;

/// The decoder of Y4M does not learn of a seek, and gives pieces of several pictures as one (GStreamer 1.22).
const NEVER_SEEKS: &str = "application/x-yuv4mpeg";

/// No more pictures lie between two that are in turn.
const MOST_BETWEEN: usize = 64;

/// How many packets ahead of the expected one a packet is looked for.
const WINDOW: usize = 4096;

/// Reads packets of one track.
pub struct Reader {
    source: PathBuf,
    track: Arc<Track>,
    given: Option<Vec<i64>>,
    /// The packet that is to be read first.
    first: usize,
    /// When it is decoded, nanoseconds from the title's zero, if its neighbours tell.
    first_decoded: Option<i64>,
    /// How often it was looked for.
    tries: usize,
    /// It was found, or cannot be.
    settled: bool,
    next: usize,
    /// The packet read last is known by its time, so one without a time can only be the next.
    certain: bool,
    from: From,
    /// Whoever reads has gone; see [`Reader::stop`].
    unwanted: Arc<AtomicBool>,
}

enum From {
    File(File),
    /// The demuxer, and the sink of the wanted track.
    Demuxer {
        scan: Box<Scan>,
        sink: gst_app::AppSink,
        zero_ns: i64,
    },
}

/// A time of the index as the GStreamer time that stands for it inside decoding pipelines.
pub fn to_clock(ticks: i64, timescale: Timescale) -> gst::ClockTime {
    let ns = timescale.convert(ticks, Timescale::NANOSECONDS) + EPOCH_NS;
    gst::ClockTime::from_nseconds(ns.max(0).cast_unsigned())
}

/// When the demuxer gives each packet, nanoseconds from the title's zero, if that is not when it is shown.
fn given(track: &Track) -> Option<Vec<i64>> {
    let has_bytes = |p: &&Packet| p.size > 0;
    let shown = |p: &Packet| track.timescale.convert(p.pts, Timescale::NANOSECONDS);
    let delay = match track.access {
        Access::Demuxer { delay_ns: Some(delay), .. } => delay,
        Access::Paced { ns, bytes, .. } => {
            let first = track.packets.first().map_or(0, shown);
            let places = track.packets.iter().scan(0, |at, p| Some(std::mem::replace(at, *at + u64::from(p.size))));
            return Some(places.map(|at| first.saturating_add(Pace { ns, bytes }.ns_at(at))).collect());
        }
        Access::Demuxer { delay_ns: None, .. } | Access::Direct => return None,
    };
    let mut decoded: Vec<i64> = track.packets.iter().filter(has_bytes).map(|p| shown(p) - delay).collect();
    decoded.sort_unstable();
    let mut decoded = decoded.into_iter();
    Some(
        track.packets.iter().map(|p| if p.size > 0 { decoded.next().unwrap_or(0) } else { shown(p) - delay }).collect(),
    )
}

fn given_at(track: &Track, given: Option<&[i64]>, number: usize) -> i64 {
    let shown = || track.packets.get(number).map_or(0, |p| track.timescale.convert(p.pts, Timescale::NANOSECONDS));
    given.and_then(|given| given.get(number).copied()).unwrap_or_else(shown)
}

/// When a picture is decoded in whose place none of an earlier one is shown: when the one in turn before it is shown.
/// Nanoseconds from the title's zero.
fn decoded(track: &Track, number: usize) -> Option<i64> {
    let before = &track.packets[number.saturating_sub(MOST_BETWEEN)..number];
    let at = before.iter().filter(|p| p.size > 0).map(|p| p.pts).max()?.min(track.packets.get(number)?.pts);
    Some(track.timescale.convert(at, Timescale::NANOSECONDS))
}

/// The reverse of [`to_clock`].
pub fn from_clock(time: gst::ClockTime, timescale: Timescale) -> i64 {
    Timescale::NANOSECONDS.convert(time.nseconds().cast_signed() - EPOCH_NS, timescale)
}

impl Reader {
    /// Opens the source so that the first packet read is number `first`, which should be a key frame.
    pub fn open(source: &Path, track: &Arc<Track>, first: usize) -> Result<Self, Error> {
        let (unwanted, given) = (Arc::default(), given(track));
        let from = match track.access {
            Access::Direct => {
                From::File(File::open(source).map_err(|e| Error::Failed(format!("cannot open the source: {e}")))?)
            }
            Access::Demuxer { zero_ns, .. } | Access::Paced { zero_ns, .. } => {
                Self::demuxer((source, track, given.as_deref()), &unwanted, first, 0, zero_ns)?
            }
        };
        let bytes = |p: &Packet| p.size > 0;
        let first = (first..track.packets.len()).find(|&i| bytes(&track.packets[i])).unwrap_or(first);
        let settled = first == 0 || track.access == Access::Direct;
        let first_decoded = decoded(track, first);
        let (source, track) = (source.to_owned(), Arc::clone(track));
        let certain = first == 0;
        Ok(Self { source, track, given, first, first_decoded, tries: 0, settled, next: first, certain, from, unwanted })
    }

    /// Ends a read that waits for a demuxer, from another thread, once this is set.
    pub fn stop(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.unwanted)
    }

    fn demuxer(
        (source, track, given): (&Path, &Track, Option<&[i64]>),
        unwanted: &AtomicBool,
        first: usize,
        earlier: i64,
        zero_ns: i64,
    ) -> Result<From, Error> {
        let refused = |r: crate::media::Refusal| Error::Failed(r.message);
        let (scan, sink) = Scan::open_track(source, &track.stream_id, &track.joins).map_err(refused)?;
        let of_title = given_at(track, given, first).saturating_sub(earlier);
        let ns = of_title.saturating_add(zero_ns);
        let container = scan.container();
        let may_seek = container != NEVER_SEEKS && !(container == "video/x-flv" && of_title < FLV_START_NS);
        if first > 0 && may_seek {
            // The demuxer can seek once it has given a packet. One that cannot reads from the start, and what comes before
            // the wanted packet is passed over.
            let _ = scan.pull(&sink, unwanted);
            let ns = if scan.container() == "audio/x-wav" { ns.saturating_sub(WAV_EARLIER_NS) } else { ns };
            let _ = scan.seek(gst::ClockTime::from_nseconds(ns.max(0).cast_unsigned()));
        }
        Ok(From::Demuxer { scan: Box::new(scan), sink, zero_ns })
    }

    /// The next packet with its number; `None` at the end, or if nobody wants it any more.
    pub fn next(&mut self) -> Result<Option<(usize, gst::Buffer)>, Error> {
        loop {
            // What ends for this reason must not look like a demuxer that came too late.
            if self.unwanted.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let read = self.read()?;
            let number = read.as_ref().map_or(usize::MAX, |(number, _)| *number);
            if self.settled || number == self.first {
                self.settled = true;
                if number >= self.first {
                    return Ok(read);
                }
            } else if !self.look_again()? {
                return Ok(read);
            }
        }
    }

    fn of(&self) -> (&Path, &Track, Option<&[i64]>) {
        (&self.source, &self.track, self.given.as_deref())
    }

    /// Begins earlier, because the demuxer came too late for the first packet. False if there is nothing left to try.
    fn look_again(&mut self) -> Result<bool, Error> {
        let From::Demuxer { zero_ns, .. } = self.from else { return Ok(false) };
        self.tries += 1;
        if let Some(&earlier) = EARLIER_NS.get(self.tries) {
            self.from = Self::demuxer(self.of(), &self.unwanted, self.first, earlier, zero_ns)?;
            (self.next, self.certain) = (self.first, false);
            return Ok(true);
        }
        self.settled = true;
        let before: u64 = self.track.packets[..self.first].iter().map(|p| u64::from(p.size)).sum();
        if before > MOST_REREAD_BYTES {
            return Ok(false);
        }
        self.from = Self::demuxer(self.of(), &self.unwanted, 0, 0, zero_ns)?;
        (self.next, self.certain) = (0, true);
        Ok(true)
    }

    fn read(&mut self) -> Result<Option<(usize, gst::Buffer)>, Error> {
        self.skip_repeats();
        let Some(packet) = self.track.packets.get(self.next) else { return Ok(None) };
        let (number, data) = match &self.from {
            From::File(file) => {
                let mut data = vec![0; packet.size as usize];
                match file.read_exact_at(&mut data, packet.offset) {
                    Ok(()) => (self.next, gst::Buffer::from_mut_slice(data)),
                    // The file is shorter than its tables say, and always was.
                    Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(None),
                    Err(e) => {
                        return Err(Error::Failed(format!("cannot read the source at byte {}: {e}", packet.offset)));
                    }
                }
            }
            From::Demuxer { scan, sink, zero_ns } => loop {
                let Some(sample) = scan.pull(sink, &self.unwanted) else { return Ok(None) };
                let (Some(raw), Some(buffer)) = (raw_packet(&sample), sample.buffer_owned()) else { continue };
                if let Some(number) = self.find([raw.pts, raw.dts].map(|ns| ns.map(|ns| ns - zero_ns)), raw.size) {
                    // What is to be clipped off the first packet would be missing there and nowhere else.
                    let mut plain = gst::Buffer::new();
                    buffer
                        .copy_into(plain.make_mut(), gst::BufferCopyFlags::MEMORY, ..)
                        .map_err(|e| Error::Failed(e.to_string()))?;
                    break (number, plain);
                }
            },
        };
        self.next = number + 1;
        self.certain = true;
        let packet = self.track.packets[number];
        let mut buffer = data;
        let writable = buffer.make_mut();
        writable.set_pts(to_clock(packet.pts, self.track.timescale));
        if !packet.key {
            writable.set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        Ok(Some((number, buffer)))
    }

    /// Moves past packets without bytes: they repeat the picture before, and no decoder need see them.
    fn skip_repeats(&mut self) {
        while self.track.packets.get(self.next).is_some_and(|p| p.size == 0) {
            self.next += 1;
        }
    }

    /// Number of the packet of those times, of showing and of decoding, and that size at or after the next expected one, or
    /// `None` for one that comes before.
    fn find(&self, [ns, dts]: [Option<i64>; 2], size: u32) -> Option<usize> {
        let packets = &self.track.packets;
        let off = |i: usize, ns: i64| (given_at(&self.track, self.given.as_deref(), i) - ns).abs();
        let expected = packets[self.next].size == size;
        let Some(ns) = ns else {
            // A demuxer may give the wanted one no time of showing, wherever it begins to read.
            let near = |dts: i64| {
                let in_turn = self.first_decoded.is_some_and(|at| (at - dts).abs() <= MATCH_NS);
                in_turn || off(self.first, dts) <= MATCH_NS
            };
            let is_first = self.next == self.first && dts.is_some_and(near);
            return Some(self.next).filter(|_| expected && (self.certain || is_first));
        };
        let window = self.next..packets.len().min(self.next + WINDOW);
        let found = window.into_iter().find(|&i| packets[i].size == size && off(i, ns) <= MATCH_NS);
        found.or(Some(self.next).filter(|&i| self.certain && expected && off(i, ns) <= EXPECTED_NS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A seek led to the sample behind the wanted one: all packets began and ended elsewhere, and the last was not found.
    #[test]
    fn every_packet_of_sound_is_found_whose_samples_are_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bytes.wav");
        for rate in [8000, 11_025, 44_100, 48_000] {
            let launch = format!(
                "audiotestsrc num-buffers=20 samplesperbuffer=1000 ! audio/x-raw,format=U8,rate={rate},channels=1 ! wavenc \
                 ! filesink location={}",
                path.display()
            );
            crate::pipeline::testing::run(&launch);
            let track = Arc::new(crate::pipeline::inspect(&path, &[], &mut |_| ()).unwrap().audio.remove(0).track);
            assert!(track.packets.len() > 3);
            for number in 0..track.packets.len() {
                let mut reader = Reader::open(&path, &track, number).unwrap();
                assert_eq!(reader.next().unwrap().map(|(read, _)| read), Some(number), "{rate} Hz");
                assert_eq!(reader.tries, 0, "{rate} Hz, packet {number}");
            }
        }
    }
}
