//! Cover art inside a file without video: an image among its tags, or an attached picture that the demuxer shows as a
//! track. It is decoded here, in the worker; what leaves is a picture made anew.

use std::path::Path;

use gst::prelude::*;

use super::decode::decoder_for;
use super::found::Found;
use super::picture::Asked;
use super::scan::Scan;
use super::{Error, codecs};
use crate::media::{Label, Refusal, Skipped, TrackKind};

/// Most pixels of cover art: more is a bomb, or not meant to be looked at on a phone.
const MOST_PIXELS: u64 = 6000 * 6000;
/// Most coded bytes of it.
const MOST_BYTES: usize = 32 << 20;
/// A decoder that says nothing for this long has failed.
const PULL_TIMEOUT: gst::ClockTime = gst::ClockTime::from_seconds(4);

/// The decoded cover art of a file, or `None` if it has none that can be decoded.
pub fn find(source: &Path, asked: &mut Asked) -> Result<Option<gst::Sample>, Error> {
    let failed = |refusal: Refusal| Error::Failed(refusal.message);
    let scan = Scan::open(source, asked.emit).map_err(failed)?;
    let tracks = scan.tracks();
    let tagged: Vec<gst::Sample> = tracks.iter().flat_map(images).collect();
    let attached = tracks.iter().find(|t| is_image(t)).map(|t| t.stream_id.clone());
    drop(scan);
    if let Some(decoded) = tagged.iter().find_map(|image| decode(image).ok()) {
        return Ok(Some(decoded));
    }
    let Some(stream_id) = attached else { return Ok(None) };
    let (_scan, sink) = Scan::open_track(source, &stream_id, &[]).map_err(failed)?;
    let image = sink.try_pull_sample(PULL_TIMEOUT);
    Ok(image.and_then(|image| decode(&image).ok()))
}

/// The image among a file's tags, as a track that is not offered: so that a plan tells whether there is a poster.
pub fn tagged(scan: &Scan) -> Option<Skipped> {
    let image = scan.tracks().iter().flat_map(images).next()?;
    Some(Skipped {
        kind: TrackKind::Video,
        codec: codecs::name(&image.caps()?.to_owned()),
        language: "und".to_owned(),
        label: Label::default(),
        why: "it is cover art: the poster".to_owned(),
    })
}

fn is_image(track: &Found) -> bool {
    let name = track.caps.as_ref().and_then(|c| c.structure(0)).map_or("", |s| s.name().as_str());
    name.starts_with("image/")
}

/// Images among a track's tags, those of the front cover first.
fn images(track: &Found) -> Vec<gst::Sample> {
    let mut images = Vec::new();
    let Some(pad) = track.sink.static_pad("sink") else { return images };
    pad.sticky_events_foreach(|event| {
        if let gst::EventView::Tag(tag) = event.view() {
            images.extend(tag.tag().iter_tag::<gst::tags::Image>().map(|image| image.get()));
            images.extend(tag.tag().iter_tag::<gst::tags::PreviewImage>().map(|image| image.get()));
        }
        std::ops::ControlFlow::Continue(gst::EventForeachAction::Keep)
    });
    let is_front = |image: &gst::Sample| {
        let kind = image.info().and_then(|info| info.value("image-type").ok());
        kind.and_then(|kind| kind.transform::<String>().ok()).and_then(|kind| kind.get::<String>().ok())
            == Some("front-cover".to_owned())
    };
    images.sort_by_key(|image| !is_front(image));
    images
}

/// One image, decoded by the best decoder for its kind.
fn decode(image: &gst::Sample) -> Result<gst::Sample, Error> {
    let failed = |what: &str| Error::Failed(format!("cover art: {what}"));
    let (Some(caps), Some(buffer)) = (image.caps(), image.buffer_owned()) else { return Err(failed("no data")) };
    if buffer.size() > MOST_BYTES {
        return Err(failed("too large"));
    }
    let factory = decoder_for(caps).ok_or_else(|| failed("no decoder is installed"))?;
    let launch = format!(
        "appsrc name=src ! {} ! video/x-raw ! appsink name=sink sync=false max-buffers=1 enable-last-sample=false",
        factory.name()
    );
    let pipeline = gst::parse::launch(&launch).map_err(|e| failed(&e.to_string()))?;
    let pipeline = Stopped(pipeline.downcast::<gst::Pipeline>().map_err(|_| failed("not a pipeline"))?);
    let src = pipeline.0.by_name("src").and_downcast::<gst_app::AppSrc>().ok_or_else(|| failed("no source"))?;
    let sink = pipeline.0.by_name("sink").and_downcast::<gst_app::AppSink>().ok_or_else(|| failed("no sink"))?;
    src.set_caps(Some(&caps.to_owned()));
    pipeline.0.set_state(gst::State::Playing).map_err(|e| failed(&e.to_string()))?;
    src.push_buffer(buffer).map_err(|e| failed(&e.to_string()))?;
    src.end_of_stream().map_err(|e| failed(&e.to_string()))?;
    let decoded = sink.try_pull_sample(PULL_TIMEOUT).ok_or_else(|| failed("it cannot be decoded"))?;
    let (width, height) = super::upright::size_of(&decoded)?;
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(failed("too many pixels"));
    }
    Ok(decoded)
}

/// A pipeline that is stopped when it goes out of scope.
struct Stopped(gst::Pipeline);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.set_state(gst::State::Null);
    }
}
