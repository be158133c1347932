//! A short-lived encoder: raw buffers in, coded access units out. One for every group of a segment, and for
//! the sound of one, so that its bytes depend on nothing that came before.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use gst::prelude::*;

use super::Error;

/// How long an encoder that is waited for is listened to before it is asked what is wrong.
const DRAIN_POLL: Duration = Duration::from_millis(5);
/// One that says nothing so many times has failed: after twenty seconds, without those for which a signal has stopped the worker.
const DRAIN_POLLS: u32 = 4000;

/// A running encoder pipeline. Dropping it stops it.
pub struct Encoder {
    pipeline: gst::Pipeline,
    src: gst_app::AppSrc,
    sink: gst_app::AppSink,
    output: Receiver<Coded>,
}

/// One coded access unit.
#[derive(Debug)]
pub struct Coded {
    /// Time of the buffer it was made from, as given to [`Encoder::push`].
    pub pts: gst::ClockTime,
    /// Decoding can start here.
    pub key: bool,
    /// The bytes.
    pub data: Vec<u8>,
}

impl Encoder {
    /// Starts a template's pipeline, to be fed with raw buffers of these caps.
    pub fn start(pipeline: gst::Pipeline, caps: &gst::Caps) -> Result<Self, Error> {
        let failed = |what: &str| Error::Failed(format!("encoder: {what}"));
        let src = pipeline.by_name("src").and_downcast::<gst_app::AppSrc>().ok_or_else(|| failed("no appsrc src"))?;
        let sink =
            pipeline.by_name("sink").and_downcast::<gst_app::AppSink>().ok_or_else(|| failed("no appsink sink"))?;
        src.set_caps(Some(caps));
        #[expect(
            clippy::disallowed_methods,
            reason = "holds at most the frames of one segment, which the caller counts"
        )]
        let (sender, output) = channel();
        sink.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    let coded = coded(&sample).ok_or(gst::FlowError::Error)?;
                    // Nobody listens once the encoder is dropped.
                    sender.send(coded).map_err(|_| gst::FlowError::Flushing)?;
                    Ok(gst::FlowSuccess::Ok)
                })
                .build(),
        );
        let encoder = Self { pipeline, src, sink, output };
        encoder.pipeline.set_state(gst::State::Playing).map_err(|_| encoder.reason("does not start"))?;
        Ok(encoder)
    }

    /// Feeds a raw buffer; waits while the encoder is busy.
    pub fn push(&self, buffer: gst::Buffer) -> Result<(), Error> {
        self.src.push_buffer(buffer).map(|_| ()).map_err(|_| self.reason("stopped taking input"))
    }

    /// Changes what the buffers that follow look like.
    pub fn set_caps(&self, caps: &gst::Caps) {
        self.src.set_caps(Some(caps));
    }

    /// No more input.
    pub fn end(&self) -> Result<(), Error> {
        self.src.end_of_stream().map(|_| ()).map_err(|_| self.reason("does not end"))
    }

    /// An access unit, if one is finished.
    pub fn try_take(&self) -> Option<Coded> {
        self.output.try_recv().ok()
    }

    /// True once every access unit can be taken without waiting.
    pub fn is_finished(&self) -> bool {
        self.sink.is_eos()
    }

    /// The next access unit; waits for it. `None` after the last.
    pub fn take(&self) -> Result<Option<Coded>, Error> {
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        for _ in 0..DRAIN_POLLS {
            match self.output.recv_timeout(DRAIN_POLL) {
                Ok(coded) => return Ok(Some(coded)),
                Err(_) if self.sink.is_eos() => return Ok(self.try_take()),
                Err(_) if bus.have_pending() => {
                    if bus
                        .pop_filtered(&[gst::MessageType::Error])
                        .is_some_and(|m| matches!(m.view(), gst::MessageView::Error(_)))
                    {
                        return Err(self.reason("failed"));
                    }
                }
                Err(_) => {}
            }
        }
        Err(self.reason("does not finish"))
    }

    /// The parameter sets in the caps of the output.
    pub fn config(&self) -> Option<Vec<u8>> {
        let caps = self.sink.static_pad("sink")?.current_caps()?;
        let buffer = caps.structure(0)?.get::<gst::Buffer>("codec_data").ok()?;
        let map = buffer.map_readable().ok()?;
        Some(map.as_slice().to_vec())
    }

    fn reason(&self, what: &str) -> Error {
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        let said = bus.pop_filtered(&[gst::MessageType::Error]).and_then(|m| match m.view() {
            gst::MessageView::Error(e) => Some(format!(": {} ({})", e.error(), e.debug().unwrap_or_default())),
            _ => None,
        });
        Error::Failed(format!("the encoder {what}{}", said.unwrap_or_default()))
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn coded(sample: &gst::Sample) -> Option<Coded> {
    let buffer = sample.buffer()?;
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    // x264enc moves all times by a thousand hours to keep decode times positive; its segment moves them back.
    let pts = segment.to_running_time(buffer.pts()?)?;
    let map = buffer.map_readable().ok()?;
    Some(Coded { pts, key: !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT), data: map.as_slice().to_vec() })
}
