//! Players that share no code with us play a title over HLS to its end: every frame, and no complaint.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use gst::prelude::*;

use crate::media::Film;
use crate::support::{Data, PATIENCE, TestServer};

/// A title, and the address of its master playlist.
fn title(data: &Data) -> (TestServer, String) {
    let media = tempfile::tempdir().unwrap();
    let id = data.ingest(&Film::LONG_GOP.make(media.path(), "film.mp4"));
    let server = TestServer::over(data);
    let url = format!("http://{}/v/{id}/master.m3u8", server.address);
    (server, url)
}

#[test]
fn ffmpeg_copies_every_rendition_out_of_the_master_playlist_and_has_nothing_to_say() {
    let data = Data::new();
    let (_server, url) = title(&data);
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "warning", "-xerror", "-i", &url, "-map", "0", "-c", "copy", "-f", "framecrc", "-"])
        .output()
        .expect("ffmpeg is installed by `make test`");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    // A line for each packet, which begins with the number of its stream, and some about each stream.
    let told = String::from_utf8(output.stdout).unwrap();
    let streams =
        |kind: &str| told.lines().filter(|line| line.starts_with("#media_type") && line.ends_with(kind)).count();
    let (pictures, sounds) = (streams(": video"), streams(": audio"));
    assert!(pictures >= 2 && sounds >= 2, "{told}");
    let counts: Vec<usize> = (0..pictures + sounds)
        .map(|stream| told.lines().filter(|line| line.starts_with(&format!("{stream},"))).count())
        .collect();
    let frames = Film::LONG_GOP.frames as usize;
    assert_eq!(counts.iter().filter(|count| **count == frames).count(), pictures, "{counts:?}");
    let sound = counts.iter().find(|count| **count != frames);
    assert_eq!(counts.iter().filter(|count| Some(*count) == sound).count(), sounds, "{counts:?}");
}

#[test]
fn gstreamer_plays_a_title_to_its_end_and_shows_every_frame() {
    gst::init().unwrap();
    let data = Data::new();
    let (_server, url) = title(&data);
    let sink = || {
        let sink = gst::ElementFactory::make("fakesink").build().unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        let count_one = move |_: &gst::Pad, _: &mut gst::PadProbeInfo| {
            counted.fetch_add(1, Relaxed);
            gst::PadProbeReturn::Ok
        };
        sink.static_pad("sink").unwrap().add_probe(gst::PadProbeType::BUFFER, count_one);
        (sink, count)
    };
    let ((pictures, shown), (sound, heard)) = (sink(), sink());
    let player = gst::ElementFactory::make("playbin3")
        .property("uri", &url)
        .property("video-sink", &pictures)
        .property("audio-sink", &sound)
        .build()
        .unwrap();
    player.set_state(gst::State::Playing).unwrap();
    let patience = gst::ClockTime::from_seconds(PATIENCE.as_secs());
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = player.bus().unwrap().timed_pop_filtered(patience, &ends);
    player.set_state(gst::State::Null).unwrap();
    assert_eq!(end.as_ref().map(|message| message.type_()), Some(gst::MessageType::Eos), "{end:?}");
    assert_eq!(shown.load(Relaxed), Film::LONG_GOP.frames as usize);
    assert!(heard.load(Relaxed) > 0);
}
