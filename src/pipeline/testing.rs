//! What tests of this room share.

use gst::prelude::*;

/// Runs a pipeline to its end.
///
/// # Panics
/// If that is an error, or takes longer than half a minute.
pub fn run(launch: &str) {
    gst::init().unwrap();
    let pipeline = gst::parse::launch(launch).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(30), &ends);
    assert_eq!(end.map(|message| message.type_()), Some(gst::MessageType::Eos), "{launch}");
    pipeline.set_state(gst::State::Null).unwrap();
}
