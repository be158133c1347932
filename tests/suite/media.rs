//! Films for the tests, made with GStreamer on the spot.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a film is like.
#[derive(Clone, Copy)]
pub struct Film {
    /// Frame rate.
    pub rate: (u32, u32),
    /// Frames.
    pub frames: u32,
    /// Pixels.
    pub size: (u32, u32),
    /// Longest distance of key frames, frames.
    pub gop: u32,
    /// Kilobits per second.
    pub kilobits: u32,
    /// Sample rate of the sound, if any.
    pub sound: Option<u32>,
}

impl Film {
    /// 12 s of 640x360 at 24000/1001 with one key frame in 10 s, so that nothing can be passed through.
    pub const LONG_GOP: Self =
        Self { rate: (24_000, 1001), frames: 288, size: (640, 360), gop: 240, kilobits: 1500, sound: Some(44_100) };
    /// 10 s of 480x270 at 30 frames per second that players can play as it is.
    pub const PLAYABLE: Self =
        Self { rate: (30, 1), frames: 300, size: (480, 270), gop: 30, kilobits: 900, sound: Some(48_000) };

    /// Makes it. The picture moves, and the sound sweeps, so that a frame out of place is another frame.
    pub fn make(self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        let (num, den) = self.rate;
        let (width, height) = self.size;
        let (gop, kilobits, frames) = (self.gop, self.kilobits, self.frames);
        let mut launch = format!(
            "videotestsrc pattern=zone-plate kx2=8 ky2=8 kt=3 num-buffers={frames} \
             ! video/x-raw,format=I420,width={width},height={height},framerate={num}/{den} \
             ! x264enc speed-preset=ultrafast bframes=2 key-int-max={gop} bitrate={kilobits} option-string=scenecut=0 \
             ! video/x-h264,profile=main ! h264parse ! mp4mux name=mux ! filesink location={}",
            path.display()
        );
        if let Some(rate) = self.sound {
            let seconds = f64::from(frames) * f64::from(den) / f64::from(num);
            let buffers = (seconds * f64::from(rate) / 1024.0).ceil();
            launch += &format!(
                " audiotestsrc wave=pink-noise volume=0.4 num-buffers={buffers} samplesperbuffer=1024 \
                 ! audio/x-raw,rate={rate},channels=2 ! audioconvert ! avenc_aac bitrate=128000 ! aacparse ! mux."
            );
        }
        self::launch(&launch);
        path
    }
}

/// Runs a GStreamer pipeline to its end.
pub fn launch(pipeline: &str) {
    let made =
        Command::new("gst-launch-1.0").arg("-q").args(pipeline.split_whitespace()).stdout(Stdio::null()).status();
    assert!(made.expect("gst-launch-1.0 is installed by `make test`").success(), "gst-launch-1.0 failed: {pipeline}");
}
