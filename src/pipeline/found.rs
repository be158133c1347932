//! What a scan has found: tracks, taken down by the streaming threads as they show.

use std::sync::{Arc, Mutex};

use gst::prelude::*;

use super::holdup::Rest;
use super::keys::Told;
use super::raw::{RawPacket, described, raw_packet};
use crate::media::{Refusal, Rotation};

/// Packets that may wait in a sink.
const QUEUED_PACKETS: u32 = 32;
/// Most tracks of a file that are looked at.
const MOST_TRACKS: usize = 64;
/// Most packets of a file that are indexed: a day at 120 frames per second and its sound.
pub const MOST_PACKETS: usize = 20_000_000;
/// Most bytes of text that are kept of a file; what comes after is left out.
const MOST_WORDS_BYTES: usize = 16 << 20;

/// What GStreamer's demuxer of Matroska calls text of a codec that it does not know.
pub const UNNAMED_TEXT: &str = "application/x-subtitle-unknown";

/// What the streaming threads have seen so far.
#[derive(Default)]
pub struct Shared {
    pub tracks: Vec<Found>,
    pub container: String,
    /// The demuxer has made all its pads. `parsebin`, which does not pass this on, shows them all before the first packet.
    pub complete: bool,
    pub packets: usize,
    pub words_bytes: usize,
    /// What was complained of before there was a single packet. Told by the thread that reads, so that it does not depend
    /// on who is quicker.
    pub complaint: Option<Refusal>,
}

/// A track the demuxer found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Stream id with the part that differs from run to run taken away.
    pub stream_id: String,
    /// Caps of the parsed stream.
    pub caps: Option<gst::Caps>,
    /// RFC 5646 language.
    pub language: Option<String>,
    /// The track's own name.
    pub title: Option<String>,
    /// What it says, if it is text.
    pub words: Vec<Words>,
    /// Turn towards upright.
    pub rotation: Rotation,
    /// The container marks it as the one to play.
    pub default: bool,
    /// Packets seen so far.
    pub packets: Vec<RawPacket>,
    /// Knows what their order follows from.
    pub told: Told,
    /// Where its packets come out.
    pub sink: gst_app::AppSink,
}

/// A packet of text.
#[derive(Clone, Debug)]
pub struct Words {
    /// Presentation time as stream time, nanoseconds.
    pub pts: i64,
    /// Duration, nanoseconds, if known.
    pub duration: Option<u64>,
    /// The text, in whatever form.
    pub data: Vec<u8>,
}

/// The part of a stream id after the hash of the URI, which names the track alone.
pub fn track_part(stream_id: &str) -> String {
    match stream_id.split_once('/') {
        Some((_, rest)) => rest.to_owned(),
        None => String::new(),
    }
}

impl Found {
    /// A track that nobody found.
    #[cfg(any(fuzzing, test))]
    pub fn for_tests() -> Self {
        Self::new(String::new(), None, gst_app::AppSink::builder().build())
    }

    /// A track of which nothing has come yet.
    fn new(stream_id: String, caps: Option<gst::Caps>, sink: gst_app::AppSink) -> Self {
        Self {
            stream_id,
            caps,
            language: None,
            title: None,
            words: Vec::new(),
            rotation: Rotation::None,
            default: false,
            packets: Vec::new(),
            told: Told::default(),
            sink,
        }
    }

    /// Moving pictures.
    pub fn is_video(&self) -> bool {
        self.media_type().starts_with("video/")
    }

    /// Sound.
    pub fn is_audio(&self) -> bool {
        self.media_type().starts_with("audio/")
    }

    /// Sound of which GStreamer's demuxer of Matroska takes the delay of decoders off.
    pub fn is_opus(&self) -> bool {
        self.media_type() == "audio/x-opus"
    }

    fn media_type(&self) -> &str {
        self.caps.as_ref().and_then(|c| c.structure(0)).map_or("", |s| s.name().as_str())
    }

    /// Sound or pictures, as opposed to text and data, of which there may be none for long.
    pub fn is_media(&self) -> bool {
        let name = self.media_type();
        name.starts_with("video/") || name.starts_with("audio/") || name.starts_with("image/")
    }

    /// Words, as opposed to pictures of them.
    fn is_text(&self) -> bool {
        matches!(
            self.media_type(),
            "text/x-raw" | "application/x-ssa" | "application/x-ass" | "application/x-subtitle-vtt" | UNNAMED_TEXT
        )
    }
}

/// Gives a track that the demuxer shows a sink, which takes down its packets, or, of the `wanted` one, keeps them.
pub fn add_sink(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    shared: &Arc<Mutex<Shared>>,
    rest: &Arc<Rest>,
    wanted: Option<&str>,
) {
    if shared.lock().map_or(true, |shared| shared.tracks.len() >= MOST_TRACKS) {
        return;
    }
    let stream_id = pad.stream_id().map(|id| track_part(&id)).unwrap_or_default();
    let sink = gst_app::AppSink::builder().sync(false).max_buffers(QUEUED_PACKETS).build();
    sink.set_property("enable-last-sample", false);
    // Without this a sink waits for the others to have data, which a demuxer with one thread cannot give them.
    sink.set_property("async", false);
    // Running before anybody sees it: a sink that is not looks like one whose stream has ended.
    if pipeline.add(&sink).is_err() || sink.sync_state_with_parent().is_err() {
        return;
    }
    let number = {
        let Ok(mut shared) = shared.lock() else { return };
        let mut found = Found::new(stream_id.clone(), pad.current_caps(), sink.clone());
        read_sticky(pad, &mut found);
        shared.tracks.push(found);
        shared.tracks.len() - 1
    };
    if wanted.is_none_or(|w| w != stream_id) {
        let (shared, rest, index) = (Arc::clone(shared), Arc::clone(rest), wanted.is_none());
        sink.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    rest.take();
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    if index { note(&shared, number, sink, &sample) } else { Ok(gst::FlowSuccess::Ok) }
                })
                .build(),
        );
    }
    // Every pad must be linked to something, or the demuxer stops with "not linked" once the linked ones end.
    let _ = pad.link(&sink.static_pad("sink").expect("an appsink has a sink pad"));
}

/// Takes down a packet, and with the first one what the parser has made of the caps by then.
fn note(
    shared: &Mutex<Shared>,
    number: usize,
    sink: &gst_app::AppSink,
    sample: &gst::Sample,
) -> Result<gst::FlowSuccess, gst::FlowError> {
    let mut shared = shared.lock().map_err(|_| gst::FlowError::Error)?;
    shared.packets += 1;
    if shared.packets > MOST_PACKETS {
        return Err(gst::FlowError::Error);
    }
    let words_bytes = shared.words_bytes;
    let track = &mut shared.tracks[number];
    if track.packets.is_empty() {
        track.caps = sample.caps_owned();
        if let Some(pad) = sink.static_pad("sink") {
            read_sticky(&pad, track);
        }
    }
    let packet = raw_packet(sample).map(|packet| described(packet, sample, &mut track.told));
    track.packets.extend(packet);
    if let (Some(RawPacket { pts: Some(pts), duration, .. }), true) =
        (packet, track.is_text() && words_bytes < MOST_WORDS_BYTES)
        && let Some(Ok(map)) = sample.buffer().map(gst::BufferRef::map_readable)
    {
        track.words.push(Words { pts, duration, data: map.as_slice().to_vec() });
        shared.words_bytes += map.size();
    }
    Ok(gst::FlowSuccess::Ok)
}

/// Language, name, orientation and default flag from the events that arrived before the first packet.
fn read_sticky(pad: &gst::Pad, track: &mut Found) {
    pad.sticky_events_foreach(|event| {
        if let gst::EventView::StreamStart(start) = event.view() {
            track.default = start.stream_flags().contains(gst::StreamFlags::SELECT);
        }
        if let gst::EventView::Tag(tag) = event.view() {
            let list = tag.tag();
            if let Some(language) = list.get::<gst::tags::LanguageCode>() {
                track.language = Some(crate::media::language::tag(language.get()));
            }
            if let (Some(title), gst::TagScope::Stream) = (list.get::<gst::tags::Title>(), list.scope()) {
                track.title = Some(title.get().to_owned());
            }
            if let Some(orientation) = list.get::<gst::tags::ImageOrientation>() {
                track.rotation = match orientation.get() {
                    "rotate-90" => Rotation::Clockwise,
                    "rotate-180" => Rotation::Half,
                    "rotate-270" => Rotation::CounterClockwise,
                    "flip-rotate-0" => Rotation::Mirror,
                    "flip-rotate-90" => Rotation::AntiTranspose,
                    "flip-rotate-180" => Rotation::Flip,
                    "flip-rotate-270" => Rotation::Transpose,
                    _ => Rotation::None,
                };
            }
        }
        std::ops::ControlFlow::Continue(gst::EventForeachAction::Keep)
    });
}
