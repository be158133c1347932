//! `matinee probe`

use std::path::{Path, PathBuf};

use clap::Args;
use matinee::ingest::{self, Probed};
use matinee::media::{
    AudioSource, AudioTrack, Grid, Label, Rendition, RenditionKind, Skipped, TextTrack, TrackKind, VideoRange,
    VideoSource, VideoTrack,
};
use serde_json::{Value, json};

use super::{Failure, Place, REMOVED, failed, logs_if_wanted, pool, say, shown, until_interrupted};

#[derive(Debug, Args)]
pub struct Probe {
    /// A video or audio file.
    file: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

impl Probe {
    pub fn run(&self) -> Result<(), Failure> {
        let config = self.place.load()?;
        logs_if_wanted(&config)?;
        let probed = until_interrupted(REMOVED, async {
            let pool = pool(&config, 0)?;
            let probed = ingest::probe(&pool, &config.ladder, &self.file, &|_| {}).await;
            pool.close().await;
            probed.map_err(failed)
        })?;
        if self.json {
            say(as_json(&self.file, &probed));
        } else {
            as_text(&self.file, &probed);
        }
        Ok(())
    }
}

fn as_text(file: &Path, probed: &Probed) {
    let Probed { index, plan } = probed;
    say(format_args!("{}: {}, {:.3} s", shown(file), index.container, plan.duration_seconds()));
    if let Some(video) = &index.video {
        let rate = video.rate.map_or_else(|| "variable rate".to_owned(), |rate| format!("{:.3} fps", rate.fps()));
        let shown = seen(video);
        let (keys, frames) = (keys(video), video.track.shown().len());
        let Packed { codec, seconds, .. } = Packed::of(&video.track);
        say(format_args!(
            "  video  {codec} {}x{}{shown}, {rate}, {frames} frames, {keys} key frames, {seconds:.3} s",
            video.width, video.height
        ));
    }
    for audio in &index.audio {
        let Packed { codec, seconds, .. } = Packed::of(&audio.track);
        let AudioTrack { rate, channels, language, label, .. } = audio;
        let label = labelled(label);
        say(format_args!("  audio  {codec} {rate} Hz, {channels} channels, {language}{label}, {seconds:.3} s"));
    }
    for TextTrack { codec, language, label, cues } in &index.text {
        say(format_args!("  text   {codec}, {language}{}, {} cues", labelled(label), cues.len()));
    }
    for Skipped { kind, codec, language, label, why } in &index.skipped {
        let kind = match kind {
            TrackKind::Video => "video",
            TrackKind::Audio => "audio",
            TrackKind::Text => "text",
            TrackKind::Data => "data",
        };
        say(format_args!("  {kind:<5}  {codec}, {language}{}: not offered: {why}", labelled(label)));
    }
    for note in index.notes() {
        say(format_args!("  note   {note}"));
    }
    for rendition in &plan.renditions {
        let (what, how) = described(rendition);
        let line = Timeline::of(&rendition.grid);
        say(format_args!(
            "  {:<12} {what}, {how}, up to {} kb/s, {}: {} segments of {:.3} to {:.3} s",
            rendition.name.as_str(),
            rendition.bandwidth.div_ceil(1000),
            rendition.codecs,
            line.segments,
            line.shortest,
            line.longest
        ));
    }
}

fn as_json(file: &Path, probed: &Probed) -> Value {
    let Probed { index, plan } = probed;
    let video = index.video.iter().map(|v| {
        let Packed { codec, seconds, bytes } = Packed::of(&v.track);
        json!({
            "kind": "video", "codec": codec, "width": v.width, "height": v.height, "duration_s": seconds, "bytes": bytes,
            "pixel_aspect": v.pixel_aspect, "rotation": v.rotation.degrees(), "mirrored": v.rotation.is_mirrored(), "frame_rate": v.rate.map(|r| r.fps()),
            "frames": v.track.shown().len(), "key_frames": keys(v), "interlaced": v.interlaced, "colour": v.colour,
            "video_range": v.colour.range(), "peak_nits": v.peak_nits,
        })
    });
    let audio = index.audio.iter().map(|a| {
        let Packed { codec, seconds, bytes } = Packed::of(&a.track);
        json!({
            "kind": "audio", "codec": codec, "sample_rate": a.rate, "channels": a.channels, "language": a.language,
            "name": a.label.title, "default": a.label.default, "duration_s": seconds, "bytes": bytes,
        })
    });
    let text = index.text.iter().map(|t| {
        json!({
            "kind": "text", "codec": t.codec, "language": t.language, "name": t.label.title, "default": t.label.default,
            "forced": t.label.forced, "hearing_impaired": t.label.hearing_impaired, "cues": t.cues.len(),
        })
    });
    let skipped = index.skipped.iter().map(|s| {
        json!({
            "kind": s.kind, "codec": s.codec, "language": s.language, "name": s.label.title, "offered": false,
            "why_not": s.why,
        })
    });
    let renditions = plan.renditions.iter().map(|r| {
        let (width, height) = match &r.kind {
            RenditionKind::Video(v) => (Some(v.width), Some(v.height)),
            RenditionKind::Audio(_) | RenditionKind::Text(_) => (None, None),
        };
        let Timeline { segments, shortest, longest } = Timeline::of(&r.grid);
        let seconds = |cut: &matinee::media::Cut| r.grid.timescale().seconds(cut.at.cast_signed());
        json!({
            "name": r.name, "codecs": r.codecs, "bandwidth": r.bandwidth, "width": width, "height": height,
            "passthrough": described(r).1 == PASSED, "segments": segments, "timescale": r.grid.timescale(),
            "shortest_s": shortest, "longest_s": longest,
            "boundaries_s": r.grid.cuts().iter().map(seconds).collect::<Vec<_>>(),
        })
    });
    json!({
        "file": file.to_string_lossy(), "container": index.container, "duration_s": plan.duration_seconds(),
        "tracks": video.chain(audio).chain(text).chain(skipped).collect::<Vec<_>>(), "target_duration_s": plan.target_duration_seconds(),
        "renditions": renditions.collect::<Vec<_>>(), "warnings": index.notes(),
    })
}

/// What a viewer chooses a track by, behind its language.
fn labelled(label: &Label) -> String {
    let mut text = label.title.as_ref().map(|title| format!(" \"{title}\"")).unwrap_or_default();
    let flags = [("default", label.default), ("forced", label.forced), ("hearing impaired", label.hearing_impaired)];
    for (word, _) in flags.into_iter().filter(|(_, set)| *set) {
        text += ", ";
        text += word;
    }
    text
}

/// What tracks of both kinds have.
struct Packed<'a> {
    codec: &'a str,
    seconds: f64,
    bytes: u64,
}

impl<'a> Packed<'a> {
    fn of(track: &'a matinee::media::Track) -> Self {
        let ticks = track.end - track.start().unwrap_or(track.end);
        Self { codec: &track.codec, seconds: track.timescale.seconds(ticks), bytes: track.bytes() }
    }
}

/// A grid in a few numbers, seconds.
struct Timeline {
    segments: u32,
    shortest: f64,
    longest: f64,
}

impl Timeline {
    fn of(grid: &Grid) -> Self {
        let shortest = (0..grid.segments()).map(|n| grid.ticks(n)).min().unwrap_or(0);
        let seconds = |ticks: u64| grid.timescale().seconds(ticks.cast_signed());
        Self { segments: grid.segments(), shortest: seconds(shortest), longest: seconds(grid.longest()) }
    }
}

const PASSED: &str = "as it is";

fn described(rendition: &Rendition) -> (String, &'static str) {
    match &rendition.kind {
        RenditionKind::Video(v) => {
            let how = match v.source {
                VideoSource::Passthrough { .. } => PASSED,
                VideoSource::Encode { .. } => "encoded",
            };
            (format!("{}x{} at {:.3} fps", v.width, v.height, v.rate.fps()), how)
        }
        RenditionKind::Audio(a) => {
            let how = match a.source {
                AudioSource::Passthrough { .. } => PASSED,
                AudioSource::Encode { .. } => "encoded",
            };
            (format!("{} Hz, {} channels, {}", a.rate, a.channels, a.language), how)
        }
        RenditionKind::Text(t) => (format!("text, {}", t.language), "as WebVTT"),
    }
}

/// What is done to the pictures before they are encoded.
fn seen(video: &VideoTrack) -> String {
    let turned = video.rotation.degrees();
    let mut words = String::new();
    if video.rotation.is_mirrored() {
        words += ", mirrored";
    }
    if turned != 0 {
        words += &format!(", turned by {turned} degrees");
    }
    if video.interlaced {
        words += ", interlaced";
    }
    if video.colour.range() != VideoRange::Sdr {
        words += &format!(", HDR ({}) shown as SDR", video.colour.range().as_str());
    }
    words
}

fn keys(video: &VideoTrack) -> usize {
    video.track.packets.iter().filter(|p| p.key && p.shown).count()
}
