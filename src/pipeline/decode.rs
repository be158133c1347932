//! Decodes a track from a key frame on: packets in, raw pictures or sound out, each with the index's own time.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use gst::prelude::*;

use super::Error;
use super::packets::{Reader, from_clock};
use super::silence::Silence;
use crate::media::{Timescale, Track};

/// Coded bytes that may wait before the decoder.
const QUEUED_BYTES: u64 = 2 << 20;
/// Raw pictures that may wait behind it: each holds megabytes.
const QUEUED_PICTURES: u32 = 3;
/// How often it is looked whether a decoder that says nothing failed or ended.
const PULL_POLL: gst::ClockTime = gst::ClockTime::from_mseconds(20);
/// A decoder that says nothing for this many looks in a row, four seconds, although it has packets to decode and this process
/// does nothing for it, has lost its way. The watchdog outside is the last resort.
const SILENT_LOOKS: u32 = 200;
/// After so many looks without news it is told that somebody still waits ...
const LOOKS_A_LIFE_SIGN: u32 = 50;
/// ... and no more after so many, which is longer than a demuxer is searched for: the watchdog, which can tell a disk that is
/// slow from a worker that hangs, decides then.
const LOOKS_WITH_LIFE_SIGNS: u32 = 2000;

/// Says that work goes on, and fails once it is not wanted.
pub type Alive<'a> = &'a mut dyn FnMut() -> Result<(), Error>;

/// A running decoder. Dropping it stops it and its feeding thread.
pub struct Decoder {
    pipeline: gst::Pipeline,
    sink: gst_app::AppSink,
    timescale: Timescale,
    /// When pictures are shown, in that order; empty for sound.
    order: Vec<i64>,
    last: Option<i64>,
    feeder: Option<JoinHandle<()>>,
    /// Tells the feeder that nobody waits.
    unwanted: Arc<AtomicBool>,
    feed: Arc<Feed>,
    codec: String,
    ended: bool,
    /// See [`Decoder::is_foreign`].
    is_foreign: Arc<AtomicBool>,
}

/// What the feeder does.
#[derive(Default)]
struct Feed {
    /// It waits for a packet: the decoder is not silent, it has nothing to say. How long a demuxer may say nothing is the
    /// affair of the one who reads it.
    is_reading: AtomicBool,
    /// Why packets ended early.
    failed: OnceLock<Error>,
}

/// A decoded picture or block of sound.
pub struct Raw {
    /// Presentation time, ticks of the track's timescale.
    pub at: i64,
    /// Buffer and caps.
    pub sample: gst::Sample,
}

/// The best decoder for these caps that works on the processor.
pub fn decoder_for(caps: &gst::CapsRef) -> Option<gst::ElementFactory> {
    let decoders = gst::ElementFactory::factories_with_type(gst::ElementFactoryType::DECODER, gst::Rank::MARGINAL);
    let mut fitting: Vec<gst::ElementFactory> = decoders
        .into_iter()
        .filter(|f| f.can_sink_all_caps(caps) && !f.metadata("klass").is_some_and(|k| k.contains("Hardware")))
        .collect();
    fitting.sort_by_key(|f| std::cmp::Reverse(f.rank()));
    fitting.into_iter().next()
}

impl Decoder {
    /// Decodes a range of packets. `chain` is what follows the decoder, in `gst-launch` form. Frames before `wanted`, in
    /// ticks, are decoded only as far as others need them.
    pub fn open(
        source: &Path,
        track: &Arc<Track>,
        packets: std::ops::Range<usize>,
        wanted: i64,
        chain: &str,
    ) -> Result<Self, Error> {
        let failed = |what: &str| Error::Failed(format!("decoder of {}: {what}", track.codec));
        let caps: gst::Caps = track.caps.parse().map_err(|_| failed("unreadable caps"))?;
        let factory = decoder_for(&caps);
        let decoder = match (&factory, caps.structure(0).is_some_and(|s| s.name().ends_with("/x-raw"))) {
            (_, true) => "identity".to_owned(),
            (Some(factory), false) => factory.name().to_string(),
            (None, false) => return Err(failed("no decoder is installed")),
        };
        let launch = format!(
            "appsrc name=src format=time block=true max-bytes={QUEUED_BYTES} max-buffers=0 ! {decoder} name=dec ! {chain} \
             ! appsink name=sink sync=false max-buffers={QUEUED_PICTURES} enable-last-sample=false"
        );
        let pipeline = gst::parse::launch(&launch).map_err(|e| failed(&e.to_string()))?;
        let pipeline = pipeline.downcast::<gst::Pipeline>().map_err(|_| failed("not a pipeline"))?;
        let src = pipeline.by_name("src").and_downcast::<gst_app::AppSrc>().ok_or_else(|| failed("no source"))?;
        let sink = pipeline.by_name("sink").and_downcast::<gst_app::AppSink>().ok_or_else(|| failed("no sink"))?;
        src.set_caps(Some(&caps));
        // FFmpeg's own buffers begin as zeros, GStreamer's as they come: what refers to pictures before such a start shows them.
        let owned =
            pipeline.by_name("dec").filter(|dec| !track.starts_are_exact && dec.has_property("direct-rendering"));
        if let Some(decoder) = owned {
            decoder.set_property("direct-rendering", false);
        }
        let mut reader = Reader::open(source, track, packets.start)?;
        let avc = caps.structure(0).is_some_and(|s| s.get::<&str>("stream-format") == Ok("avc"));
        let (times, unwanted, feed) = (Arc::clone(track), reader.stop(), Arc::new(Feed::default()));
        let fed = Arc::clone(&feed);
        let feeder = std::thread::Builder::new().name("feed".to_owned()).spawn(move || {
            loop {
                fed.is_reading.store(true, Ordering::Relaxed);
                let read = reader.next();
                fed.is_reading.store(false, Ordering::Relaxed);
                match read {
                    Ok(Some((number, buffer))) if number < packets.end => {
                        if avc && times.packets[number].pts < wanted && is_disposable(&buffer) {
                            continue;
                        }
                        if src.push_buffer(buffer).is_err() {
                            return;
                        }
                    }
                    Ok(_) => break,
                    Err(error) => {
                        let _ = fed.failed.set(error);
                        break;
                    }
                }
            }
            let _ = src.end_of_stream();
        });
        let feeder = feeder.map_err(|e| failed(&e.to_string()))?;
        let order = if chain.starts_with("video/") { presentation_order(track) } else { Vec::new() };
        let timescale = track.timescale;
        let is_foreign: Arc<AtomicBool> = Arc::default();
        let told = Arc::clone(&is_foreign);
        pipeline.bus().expect("a pipeline has a bus").set_sync_handler(move |_, message| {
            let error = match message.view() {
                gst::MessageView::Warning(warning) => Some(warning.error()),
                gst::MessageView::Error(error) => Some(error.error()),
                _ => None,
            };
            if error.is_some_and(|error| error.matches(gst::StreamError::NotImplemented)) {
                told.store(true, Ordering::Relaxed);
            }
            gst::BusSyncReply::Pass
        });
        let feeder = Some(feeder);
        let (codec, last, ended) = (track.codec.clone(), None, false);
        let decoder = Self { pipeline, sink, timescale, order, last, feeder, unwanted, feed, codec, ended, is_foreign };
        decoder.pipeline.set_state(gst::State::Playing).map_err(|e| failed(&e.to_string()))?;
        Ok(decoder)
    }

    /// The next picture or block in presentation order; `None` at the end, or if the decoder gave up. `alive` is called from
    /// time to time while it is waited for.
    ///
    /// What cannot be decoded ends here in the same place whenever it is tried, so whoever asks may bridge it. A disk that
    /// gives an error and a decoder that falls silent are another matter: a fresh worker may do better, and what is bridged
    /// for them would be kept for ever. No film is known whose decoder falls silent; demuxers that do are known, and there
    /// the packets end.
    ///
    /// # Errors
    /// [`Error::Failed`] for those two, and what `alive` says.
    pub fn next(&mut self, alive: Alive) -> Result<Option<Raw>, Error> {
        while !self.ended {
            let Some(sample) = self.pull(alive)? else {
                self.ended = true;
                break;
            };
            if let Some(pts) = sample.buffer().and_then(|b| b.pts()) {
                let at = self.placed(from_clock(pts, self.timescale));
                self.last = Some(at);
                return Ok(Some(Raw { at, sample }));
            }
        }
        match self.feed.failed.get() {
            Some(error) => Err(error.again()),
            None => Ok(None),
        }
    }

    /// The decoder has said that it does not know this kind of stream, whole or not.
    pub fn is_foreign(&self) -> bool {
        self.is_foreign.load(Ordering::Relaxed)
    }

    fn pull(&self, alive: Alive) -> Result<Option<gst::Sample>, Error> {
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        let (mut quiet, mut silence) = (Silence::new(()), Silence::new(()));
        let mut failed = false;
        loop {
            let sample = self.sink.try_pull_sample(PULL_POLL);
            // What came before an error is taken first.
            if sample.is_some() || failed || self.sink.is_eos() {
                return Ok(sample);
            }
            failed = bus.pop_filtered(&[gst::MessageType::Error]).is_some();
            let looks = quiet.look((), false);
            if (1..=LOOKS_WITH_LIFE_SIGNS).contains(&looks) && looks.is_multiple_of(LOOKS_A_LIFE_SIGN) {
                alive()?;
            }
            if silence.look((), self.feed.is_reading.load(Ordering::Relaxed)) > SILENT_LOOKS {
                return Err(Error::Failed(format!("decoder of {}: it has fallen silent", self.codec)));
            }
        }
    }

    /// Pictures come out in the order they are shown in. One that the decoder gives the time of the one before, as that of
    /// GIF does, is the next.
    fn placed(&self, at: i64) -> i64 {
        let next = |last| self.order.get(self.order.partition_point(|t| *t <= last + 1)).copied();
        self.last.filter(|last| at <= *last).and_then(next).unwrap_or(at)
    }
}

fn presentation_order(track: &Track) -> Vec<i64> {
    let mut order: Vec<i64> = track.packets.iter().filter(|p| p.size > 0).map(|p| p.pts).collect();
    order.sort_unstable();
    order
}

/// True for an H.264 access unit with 4-byte lengths that no other refers to: the first slice's `nal_ref_idc` is 0
/// (Rec. ITU-T H.264 §7.4.1).
fn is_disposable(unit: &gst::BufferRef) -> bool {
    let Ok(map) = unit.map_readable() else { return false };
    let mut rest = map.as_slice();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let Some(&header) = after.first() else { return false };
        if matches!(header & 31, 1..=5) {
            return header & 0x60 == 0;
        }
        rest = after.get(u32::from_be_bytes(*length) as usize..).unwrap_or_default();
    }
    false
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // Stopping the pipeline makes the feeder's push fail, which ends it; it may also wait for a demuxer.
        self.unwanted.store(true, Ordering::Relaxed);
        let _ = self.pipeline.set_state(gst::State::Null);
        if let Some(feeder) = self.feeder.take() {
            let _ = feeder.join();
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::media::{Access, Packet};

    /// A track of uncompressed pictures of 64x64, a thousandth of a second each, one behind the other.
    pub fn raw_track(pictures: u32) -> Arc<Track> {
        let size = 64 * 64 * 3 / 2;
        let packet = |n: u32| Packet { pts: i64::from(n), shown: true, key: true, offset: u64::from(n * size), size };
        Arc::new(Track {
            stream_id: String::new(),
            caps: "video/x-raw,format=I420,width=64,height=64,framerate=1000/1".into(),
            codec: "raw".into(),
            timescale: Timescale::new(1000).unwrap(),
            starts_are_exact: true,
            access: Access::Direct,
            packets: (0..pictures).map(packet).collect(),
            refreshes: Vec::new(),
            joins: Vec::new(),
            end: i64::from(pictures),
        })
    }

    fn pictures(source: &Path, track: &Arc<Track>) -> Result<usize, Error> {
        gst::init().unwrap();
        let mut decoder = Decoder::open(source, track, 0..track.packets.len(), 0, "video/x-raw").unwrap();
        let mut pictures = 0;
        while decoder.next(&mut || Ok(()))?.is_some() {
            pictures += 1;
        }
        Ok(pictures)
    }

    #[test]
    fn a_file_that_is_too_short_ends_early_and_a_disk_that_fails_is_an_error() {
        let (folder, track) = (tempfile::tempdir().unwrap(), raw_track(4));
        let file = folder.path().join("film");
        let size = track.packets[0].size as usize;
        for (bytes, held) in [(4 * size, 4), (2 * size + 1, 2), (0, 0)] {
            std::fs::write(&file, vec![7; bytes]).unwrap();
            assert_eq!(pictures(&file, &track).ok(), Some(held));
        }
        // Reading a folder fails as a broken disk does.
        assert!(matches!(pictures(folder.path(), &track), Err(Error::Failed(why)) if why.contains("byte 0")));
        let mut reader = Reader::open(&file, &track, 0).unwrap();
        reader.stop().store(true, Ordering::Relaxed);
        assert!(matches!(reader.next(), Ok(None)));
    }
}
