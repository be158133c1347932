//! Everything that touches source bytes, and the only room that says `gst`.
//!
//! It runs inside a worker process, never in the server: `worker/child.rs` alone reaches it. Nothing runs unasked. What
//! things cost: [`warm_up()`] loads plugins (about 100 ms, once per process), [`inspect()`] reads a container's tables or, where
//! there are none, the whole file, [`Session::segment`] decodes from the last key frame before the segment unless it
//! follows the segment made before, and encodes exactly the frames that the grid names.
//!
//! The rule not to break: what a segment holds depends on source, rendition and number alone (promise 2). A decoder may be
//! kept between segments, because decoding is exact; an encoder never is.
//!
//! Reading order: `inspect` (`scan`, `found`, `tracks`, `mp4`, `rate`, `subtitles`), `packets`, `decode`, `template`, `encode`, `groups`, then `video` and `audio`;
//! for posters and thumbnails `picture` (`choose`, `score`, `cover`, `upright`).
//!
//! Arrow: `pipeline` -> `media`.

mod aac;
mod adpcm;
mod audio;
mod blocks;
mod choose;
mod codecs;
mod colour;
mod complaint;
mod convert;
mod cover;
mod cursor;
mod decode;
mod deinterlace;
mod dolby;
mod encode;
mod fields;
mod found;
mod fourcc;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod geometry;
mod groups;
mod holdup;
mod inspect;
mod joins;
mod keys;
mod lineup;
mod matroska;
mod mix;
mod movie;
mod mp4;
mod ogg;
mod order;
mod packets;
mod passable;
mod pcr;
mod picture;
mod poc;
mod programs;
mod quicktime;
mod rate;
mod raw;
mod repeats;
mod restamp;
mod rungs;
mod scan;
mod score;
mod scrambled;
mod silence;
mod splice;
mod subtitles;
mod template;
#[cfg(test)]
mod testing;
mod text;
mod tone;
mod tracks;
mod treatment;
mod trial;
mod units;
mod upright;
mod video;
mod vop;
mod warm_up;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

pub use inspect::inspect;
pub use trial::trial;
pub use warm_up::warm_up;

use crate::media::{
    AudioSource, Index, Picture, Rendition, RenditionKind, Sample, Templates, TextRendition, TextTrack, VideoSource,
};

/// What a running job tells.
#[derive(Debug)]
pub enum Output {
    /// Work goes on; thousandths done, if known, else 0.
    Progress(u16),
    /// The next samples in decode order.
    Samples(Vec<Sample>),
}

/// How a segment ended.
#[derive(Debug)]
pub struct Finished {
    /// Parameter sets the encoder used: an `avcC` record or an `AudioSpecificConfig`.
    pub config: Vec<u8>,
    /// Frames replaced by their neighbour or by silence.
    pub bridged: u32,
}

/// Why a job ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was told to stop.
    #[error("cancelled")]
    Cancelled,
    /// A pipeline failed.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// The same, for another job that it meets as well.
    fn again(&self) -> Self {
        match self {
            Self::Cancelled => Self::Cancelled,
            Self::Failed(why) => Self::Failed(why.clone()),
        }
    }
}

/// One segment to make.
#[derive(Clone, Copy)]
struct Job<'a> {
    rendition: &'a Rendition,
    number: u32,
    cancel: &'a AtomicBool,
}

impl Job<'_> {
    /// [`Error::Cancelled`] once the job is not wanted any more.
    fn check(&self) -> Result<(), Error> {
        if self.cancel.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }
}

/// A source open for encoding.
pub struct Session {
    source: PathBuf,
    video: Option<video::Video>,
    audio: Vec<audio::Audio>,
    text: Vec<TextTrack>,
    video_template: template::Template,
    audio_template: template::Template,
    picture_template: template::Template,
}

/// Name and version of the GStreamer in use. Needs no initialisation and reads nothing.
#[must_use]
pub fn version() -> String {
    gst::version_string().to_string()
}

impl Session {
    /// Prepares the source for encoding with these templates. Nothing is decoded yet.
    ///
    /// # Errors
    /// [`Error::Failed`] if a template does not exist.
    pub fn open(source: &Path, index: &Index, templates: &Templates) -> Result<Self, Error> {
        Ok(Self {
            source: source.to_owned(),
            video: index.video.as_ref().map(|v| video::Video::new(source, v)),
            audio: index.audio.iter().map(|a| audio::Audio::new(source, a)).collect(),
            text: index.text.clone(),
            video_template: template::named(&templates.video)?,
            audio_template: template::named(&templates.audio)?,
            picture_template: template::named(&templates.picture)?,
        })
    }

    /// A rendition's parameter sets: an `avcC` record or an `AudioSpecificConfig`; of text, all of it in one document.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn parameters(&mut self, rendition: &Rendition) -> Result<Vec<u8>, Error> {
        match &rendition.kind {
            RenditionKind::Video(v) => match &v.source {
                VideoSource::Passthrough { avcc, .. } => Ok(avcc.clone()),
                VideoSource::Encode { .. } => {
                    let template = self.video_template.clone();
                    self.video()?.parameters(&template, rendition, v)
                }
            },
            RenditionKind::Audio(a) => match &a.source {
                AudioSource::Passthrough { config, .. } => Ok(config.clone()),
                AudioSource::Encode { bitrate } => {
                    let (template, bandwidth) = (&self.audio_template, rendition.bandwidth);
                    aac::Aac { template, audio: a, bitrate: *bitrate, bandwidth }.config()
                }
            },
            RenditionKind::Text(t) => Ok(self.text(t)?.whole().into_bytes()),
        }
    }

    /// Makes one segment. Continues without a new decoder if it follows the one made last.
    ///
    /// # Errors
    /// [`Error::Cancelled`] soon after `cancel` becomes true.
    pub fn segment(
        &mut self,
        rendition: &Rendition,
        number: u32,
        cancel: &AtomicBool,
        emit: &mut dyn FnMut(Output),
    ) -> Result<Finished, Error> {
        let job = Job { rendition, number, cancel };
        match &rendition.kind {
            RenditionKind::Video(v) => match &v.source {
                VideoSource::Passthrough { avcc, .. } => self.video()?.pass(job, avcc, emit),
                VideoSource::Encode { .. } => {
                    let template = self.video_template.clone();
                    self.video()?.encode(job, &template, emit)
                }
            },
            RenditionKind::Audio(a) => {
                let track = self.audio.get(a.track as usize);
                let track = track.ok_or_else(|| Error::Failed(format!("there is no audio track {}", a.track)))?;
                match &a.source {
                    AudioSource::Passthrough { config, first_packet } => track.pass(job, config, *first_packet, emit),
                    AudioSource::Encode { bitrate } => track.encode(job, &self.audio_template, a, *bitrate, emit),
                }
            }
            RenditionKind::Text(t) => text::segment(job, self.text(t)?, emit),
        }
    }

    /// Makes the same segment of several renditions that are encodes of the pictures, from one decode. Each gets what it would
    /// get alone, in the order they are given.
    pub fn segments(
        &mut self,
        asked: &[(&Rendition, &AtomicBool)],
        number: u32,
        emit: &mut dyn FnMut(usize, Output),
    ) -> Vec<Result<Finished, Error>> {
        let jobs: Vec<Job> = asked.iter().map(|(rendition, cancel)| Job { rendition, number, cancel }).collect();
        let template = self.video_template.clone();
        match self.video() {
            Ok(video) => video.encode_all(&jobs, &template, emit),
            Err(error) => jobs.iter().map(|_| Err(error.again())).collect(),
        }
    }

    fn text(&self, text: &TextRendition) -> Result<&TextTrack, Error> {
        let track = self.text.get(text.track as usize);
        track.ok_or_else(|| Error::Failed(format!("there is no text track {}", text.track)))
    }

    /// Makes a picture as a JPEG file. Empty if the source holds none: an audio file without cover art.
    ///
    /// # Errors
    /// [`Error::Cancelled`] soon after `cancel` becomes true.
    pub fn picture(
        &self,
        picture: &Picture,
        cancel: &AtomicBool,
        emit: &mut dyn FnMut(Output),
    ) -> Result<Vec<u8>, Error> {
        let film = self.video.as_ref().map(video::Video::film);
        picture::make(picture, &self.source, film, &self.picture_template, &mut picture::Asked { cancel, emit })
    }

    fn video(&mut self) -> Result<&mut video::Video, Error> {
        self.video.as_mut().ok_or_else(|| Error::Failed("the source has no video".into()))
    }
}
