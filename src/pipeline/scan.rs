//! Lets GStreamer look at a file: which tracks it has, what their caps are, and, where asked, every packet of them.
//!
//! `filesrc ! parsebin` finds demuxer and parsers by itself. Its pads end in appsinks; nothing is decoded here.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;

use super::Output;
use crate::media::{Refusal, RefusalCode, Rotation};

/// No file needs longer to show its tracks; a demuxer that loops is caught.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);
/// Most tracks of a file that are looked at.
const MOST_TRACKS: usize = 64;
/// Most packets of a file that are indexed: a day at 120 frames per second and its sound.
pub const MOST_PACKETS: usize = 20_000_000;
/// How often progress is told, packets.
const PROGRESS_EVERY: usize = 2_000;

/// A file opened by the demuxer.
pub struct Scan {
    pipeline: gst::Pipeline,
    tracks: Arc<Mutex<Vec<Found>>>,
    /// Media type of the container.
    pub container: String,
}

/// A track the demuxer found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Stream id with the part that differs from run to run taken away.
    pub stream_id: String,
    /// Caps of the parsed stream; `None` until the first packet.
    pub caps: Option<gst::Caps>,
    /// RFC 5646 language.
    pub language: Option<String>,
    /// Turn towards upright.
    pub rotation: Rotation,
    /// Where its packets come out.
    pub sink: gst_app::AppSink,
}

/// A packet as the demuxer gives it.
#[derive(Clone, Copy, Debug)]
pub struct RawPacket {
    /// Presentation time as stream time, nanoseconds.
    pub pts: i64,
    /// Duration, nanoseconds, if known.
    pub duration: Option<u64>,
    /// Bytes.
    pub size: u32,
    /// Decoding can start here.
    pub key: bool,
}

/// The part of a stream id after the hash of the URI, which names the track alone.
pub fn track_part(stream_id: &str) -> String {
    match stream_id.split_once('/') {
        Some((_, rest)) => rest.to_owned(),
        None => String::new(),
    }
}

fn refusal(code: RefusalCode, message: impl Into<String>) -> Refusal {
    Refusal { code, message: message.into() }
}

impl Scan {
    /// Opens the file and waits until every track is known.
    pub fn open(source: &Path) -> Result<Self, Refusal> {
        let failed = |e: gst::glib::BoolError| {
            refusal(RefusalCode::UnsupportedCodec, format!("GStreamer lacks an element: {e}"))
        };
        let pipeline = gst::Pipeline::new();
        let filesrc = gst::ElementFactory::make("filesrc").property("location", source).build().map_err(failed)?;
        let parsebin = gst::ElementFactory::make("parsebin").build().map_err(failed)?;
        pipeline.add_many([&filesrc, &parsebin]).map_err(failed)?;
        filesrc.link(&parsebin).map_err(failed)?;
        let tracks: Arc<Mutex<Vec<Found>>> = Arc::default();
        let (weak, found) = (pipeline.downgrade(), Arc::clone(&tracks));
        parsebin.connect_pad_added(move |_, pad| {
            if let Some(pipeline) = weak.upgrade() {
                add_sink(&pipeline, pad, &found);
            }
        });
        let container: Arc<Mutex<String>> = Arc::default();
        let seen = Arc::clone(&container);
        pipeline.connect_deep_element_added(move |_, _, element| {
            if element.factory().is_some_and(|f| f.name() == "typefind") {
                let seen = Arc::clone(&seen);
                element.connect("have-type", false, move |values| {
                    let caps = values.get(2).and_then(|v| v.get::<gst::Caps>().ok());
                    if let (Some(caps), Ok(mut seen)) = (caps, seen.lock()) {
                        *seen = caps.structure(0).map(|s| s.name().to_string()).unwrap_or_default();
                    }
                    None
                });
            }
        });
        let mut scan = Self { pipeline, tracks, container: String::new() };
        scan.wait_until_known()?;
        scan.container = container.lock().map(|c| c.clone()).unwrap_or_default();
        for track in scan.tracks.lock().expect("no panic while held").iter_mut() {
            let pad = track.sink.static_pad("sink").expect("an appsink has a sink pad");
            track.caps = pad.current_caps();
            read_sticky(&pad, track);
        }
        Ok(scan)
    }

    fn wait_until_known(&self) -> Result<(), Refusal> {
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        let started = self.pipeline.set_state(gst::State::Paused);
        let deadline = Instant::now() + OPEN_TIMEOUT;
        if started.is_ok() {
            while let Some(left) = deadline.checked_duration_since(Instant::now()) {
                let timeout = gst::ClockTime::from_mseconds(u64::try_from(left.as_millis()).unwrap_or(0).max(1));
                let Some(message) = bus.timed_pop_filtered(
                    timeout,
                    &[gst::MessageType::Error, gst::MessageType::AsyncDone, gst::MessageType::Eos],
                ) else {
                    break;
                };
                match message.view() {
                    gst::MessageView::Error(error) => return Err(explain(error)),
                    gst::MessageView::AsyncDone(_) | gst::MessageView::Eos(_) => return Ok(()),
                    _ => {}
                }
            }
        } else if let Some(message) = bus.pop_filtered(&[gst::MessageType::Error])
            && let gst::MessageView::Error(error) = message.view()
        {
            return Err(explain(error));
        }
        Err(refusal(RefusalCode::Damaged, "the file does not show its tracks: its structure is damaged"))
    }

    /// The tracks found.
    pub fn tracks(&self) -> Vec<Found> {
        self.tracks.lock().expect("no panic while held").clone()
    }

    /// Reads the whole file once. Returns the packets of each track, in the order of [`Scan::tracks`].
    pub fn packets(&self, emit: &mut dyn FnMut(Output)) -> Result<Vec<Vec<RawPacket>>, Refusal> {
        let tracks = self.tracks();
        let empty: Vec<Vec<RawPacket>> = tracks.iter().map(|_| Vec::new()).collect();
        let lists = Arc::new(Mutex::new((0, empty)));
        for (n, track) in tracks.iter().enumerate() {
            let lists = Arc::clone(&lists);
            let take = move |sample: gst::Sample| {
                let packet = raw_packet(&sample);
                let mut lists = lists.lock().map_err(|_| gst::FlowError::Error)?;
                lists.0 += 1;
                if lists.0 > MOST_PACKETS {
                    return Err(gst::FlowError::Error);
                }
                lists.1[n].extend(packet);
                Ok(gst::FlowSuccess::Ok)
            };
            let preroll = track.sink.try_pull_sample(gst::ClockTime::ZERO);
            if let Some(sample) = preroll {
                let _ = take(sample);
            }
            track.sink.set_callbacks(
                gst_app::AppSinkCallbacks::builder()
                    .new_sample(move |sink| take(sink.pull_sample().map_err(|_| gst::FlowError::Eos)?))
                    .build(),
            );
        }
        self.pipeline
            .set_state(gst::State::Playing)
            .map_err(|_| refusal(RefusalCode::Damaged, "the file cannot be read to its end"))?;
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        let mut told = 0;
        loop {
            let message = bus.timed_pop_filtered(
                gst::ClockTime::from_mseconds(250),
                &[gst::MessageType::Error, gst::MessageType::Eos],
            );
            let count = lists.lock().map(|l| l.0).unwrap_or(0);
            if count > MOST_PACKETS {
                return Err(refusal(RefusalCode::TooLarge, format!("the file has more than {MOST_PACKETS} packets")));
            }
            if count >= told + PROGRESS_EVERY {
                told = count;
                emit(Output::Progress(0));
            }
            match message.as_ref().map(|m| m.view()) {
                Some(gst::MessageView::Eos(_)) => break,
                // What was read before the damage is a title too.
                Some(gst::MessageView::Error(error)) if count == 0 => return Err(explain(error)),
                Some(gst::MessageView::Error(_)) => break,
                _ => {}
            }
        }
        let mut lists = lists.lock().map_err(|_| refusal(RefusalCode::Damaged, "indexing failed"))?;
        Ok(std::mem::take(&mut lists.1))
    }

    /// Goes to the last key frame at or before a stream time.
    pub fn seek(&self, to: gst::ClockTime) -> Result<(), super::Error> {
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT | gst::SeekFlags::SNAP_BEFORE;
        self.pipeline.seek_simple(flags, to).map_err(|e| super::Error::Failed(format!("seek to {to}: {e}")))
    }

    /// Lets packets flow.
    pub fn play(&self) -> Result<(), super::Error> {
        let playing = self.pipeline.set_state(gst::State::Playing);
        playing.map(|_| ()).map_err(|e| super::Error::Failed(format!("the demuxer does not start: {e}")))
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn add_sink(pipeline: &gst::Pipeline, pad: &gst::Pad, found: &Mutex<Vec<Found>>) {
    let Ok(mut found) = found.lock() else { return };
    if found.len() >= MOST_TRACKS {
        return;
    }
    // Every pad must be linked to something, or the demuxer stops with "not linked" once the linked ones end.
    let sink = gst_app::AppSink::builder().sync(false).max_buffers(1).build();
    sink.set_property("enable-last-sample", false);
    if pipeline.add(&sink).is_err() || sink.sync_state_with_parent().is_err() {
        return;
    }
    let target = sink.static_pad("sink").expect("an appsink has a sink pad");
    if pad.link(&target).is_err() {
        return;
    }
    let stream_id = pad.stream_id().map(|id| track_part(&id)).unwrap_or_default();
    found.push(Found { stream_id, caps: None, language: None, rotation: Rotation::None, sink });
}

/// Language and orientation from the tags that arrived before the first packet.
fn read_sticky(pad: &gst::Pad, track: &mut Found) {
    pad.sticky_events_foreach(|event| {
        if let gst::EventView::Tag(tag) = event.view() {
            let list = tag.tag();
            if let Some(language) = list.get::<gst::tags::LanguageCode>() {
                track.language = Some(language.get().to_owned());
            }
            if let Some(orientation) = list.get::<gst::tags::ImageOrientation>() {
                track.rotation = match orientation.get() {
                    "rotate-90" => Rotation::Clockwise,
                    "rotate-180" => Rotation::Half,
                    "rotate-270" => Rotation::CounterClockwise,
                    _ => Rotation::None,
                };
            }
        }
        std::ops::ControlFlow::Continue(gst::EventForeachAction::Keep)
    });
}

/// A packet's times as stream time, which accounts for edit lists and stays the same after a seek.
pub fn raw_packet(sample: &gst::Sample) -> Option<RawPacket> {
    let buffer = sample.buffer()?;
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let time = buffer.pts().or(buffer.dts())?;
    let pts = match segment.to_stream_time_full(time)? {
        gst::Signed::Positive(t) => t.nseconds().cast_signed(),
        gst::Signed::Negative(t) => -t.nseconds().cast_signed(),
    };
    let header = buffer.flags().contains(gst::BufferFlags::HEADER) && buffer.size() == 0;
    (!header).then(|| RawPacket {
        pts,
        duration: buffer.duration().map(gst::ClockTime::nseconds),
        size: u32::try_from(buffer.size()).unwrap_or(u32::MAX),
        key: !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
    })
}

/// Turns the demuxer's complaint into a reason a user understands.
fn explain(error: &gst::message::Error) -> Refusal {
    let inner = error.error();
    let debug = error.debug().map(|d| d.to_string()).unwrap_or_default();
    if inner.matches(gst::StreamError::TypeNotFound) || inner.matches(gst::StreamError::WrongType) {
        return refusal(RefusalCode::NotMedia, "this is not a media file: no known container begins like this");
    }
    if inner.matches(gst::StreamError::Decrypt) || inner.matches(gst::StreamError::DecryptNokey) {
        return refusal(RefusalCode::Encrypted, "the file is encrypted: upload it without DRM");
    }
    if inner.matches(gst::StreamError::CodecNotFound) || inner.matches(gst::CoreError::MissingPlugin) {
        return refusal(RefusalCode::UnsupportedCodec, format!("no installed GStreamer plugin reads this: {inner}"));
    }
    if debug.contains("ncrypted") {
        return refusal(RefusalCode::Encrypted, "the file is encrypted: upload it without DRM");
    }
    refusal(
        RefusalCode::Damaged,
        format!("the file is damaged or incomplete: {}", inner.message().trim_end_matches('.')),
    )
}
