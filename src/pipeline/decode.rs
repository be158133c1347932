//! Decodes a track from a key frame on: packets in, raw pictures or sound out, each with the index's own time.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gst::prelude::*;

use super::Error;
use super::packets::{Reader, from_clock};
use crate::media::{Timescale, Track};

/// Coded bytes that may wait before the decoder.
const QUEUED_BYTES: u64 = 2 << 20;
/// Raw pictures that may wait behind it: each holds megabytes.
const QUEUED_PICTURES: u32 = 3;
/// How often it is looked whether a decoder that says nothing failed or ended.
const PULL_POLL: gst::ClockTime = gst::ClockTime::from_mseconds(20);
/// A decoder that says nothing for this long, and for whom this process does nothing, has lost its way. On a busy host one
/// that works may take longer, and giving up on it would make other pictures of the same source; the watchdog outside
/// is the last resort.
const SILENCE: Duration = Duration::from_secs(4);
/// Processor time in that while that is nothing: what looking costs.
pub const IDLE: Duration = Duration::from_millis(40);

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
    ended: bool,
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
        let mut reader = Reader::open(source, track, packets.start)?;
        let avc = caps.structure(0).is_some_and(|s| s.get::<&str>("stream-format") == Ok("avc"));
        let (times, unwanted) = (Arc::clone(track), reader.stop());
        let feeder = std::thread::Builder::new().name("feed".to_owned()).spawn(move || {
            loop {
                match reader.next() {
                    Ok(Some((number, buffer))) if number < packets.end => {
                        if avc && times.packets[number].pts < wanted && is_disposable(&buffer) {
                            continue;
                        }
                        if src.push_buffer(buffer).is_err() {
                            return;
                        }
                    }
                    // A read error ends the stream: what is missing is bridged, and counted, by the one who pulls.
                    Ok(_) | Err(_) => break,
                }
            }
            let _ = src.end_of_stream();
        });
        let feeder = feeder.map_err(|e| failed(&e.to_string()))?;
        let order = if chain.starts_with("video/") { presentation_order(track) } else { Vec::new() };
        let timescale = track.timescale;
        let feeder = Some(feeder);
        let decoder = Self { pipeline, sink, timescale, order, last: None, feeder, unwanted, ended: false };
        decoder.pipeline.set_state(gst::State::Playing).map_err(|e| failed(&e.to_string()))?;
        Ok(decoder)
    }

    /// The next picture or block in presentation order; `None` at the end, or if the decoder gave up.
    pub fn next(&mut self) -> Option<Raw> {
        while !self.ended {
            let Some(sample) = self.pull() else {
                self.ended = true;
                break;
            };
            if let Some(pts) = sample.buffer().and_then(|b| b.pts()) {
                let at = self.placed(from_clock(pts, self.timescale));
                self.last = Some(at);
                return Some(Raw { at, sample });
            }
        }
        None
    }

    fn pull(&self) -> Option<gst::Sample> {
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        let mut worked = (Instant::now(), processor_time());
        let mut failed = false;
        loop {
            let sample = self.sink.try_pull_sample(PULL_POLL);
            // What came before an error is taken first.
            if sample.is_some() || failed || self.sink.is_eos() {
                return sample;
            }
            failed = bus.pop_filtered(&[gst::MessageType::Error]).is_some();
            let busy = processor_time().saturating_sub(worked.1) > IDLE;
            if busy {
                worked = (Instant::now(), processor_time());
            } else if worked.0.elapsed() > SILENCE {
                return None;
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

/// What this process has used of processors so far.
pub fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
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
