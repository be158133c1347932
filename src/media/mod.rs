//! The nouns and their arithmetic: time, the grid of segment boundaries, packets, samples, renditions, titles.
//!
//! Nothing here runs, waits, reads a file or knows GStreamer. Every number is an integer in a stated unit;
//! floating point appears only where a person reads the result.
//!
//! The rule not to break: a duration is computed here, once. Playlist, encoder, packager and verification
//! all read the same [`Grid`].
//!
//! Arrow: `media` -> no other room.

mod crc;
mod grid;
pub mod h264;
mod id;
mod index;
mod ladder;
pub mod language;
mod opening;
mod picture;
mod plan;
mod policy;
mod program;
mod quota;
mod refusal;
mod rendition;
mod sample;
mod scope;
mod template;
mod text;
mod time;

pub use crc::crc;
pub use grid::{Cut, Grid, GridError};
pub use id::{DeliveryId, Digest, Generation, IdError, JobId, KeyId, RenditionName, TitleId, UploadId, WebhookId};
pub use index::{Access, AudioTrack, Crop, Index, Join, Packet, Refresh, Shown, Skipped, Track, TrackKind, VideoTrack};
pub use ladder::{AudioRung, Ladder, LadderError, VideoRung};
pub use opening::{FIRST_SEGMENTS, Opening};
pub use picture::{Picture, Thumbnails, Tile, scale_to_fit};
pub use plan::{AAC_OVERHEAD, PlanError, decimate, plan};
pub use policy::Policy;
pub use program::Program;
pub use quota::{Exceeded, Quota, Usage};
pub use refusal::{MOST_SECONDS, Refusal, RefusalCode};
pub use rendition::{
    AudioRendition, AudioSource, Colour, Listed, Plan, Rendition, RenditionKind, Rotation, VideoRange, VideoRendition,
    VideoSource,
};
pub use sample::Sample;
pub use scope::{Scope, Scopes};
pub use template::{Templates, Trial};
pub use text::{CMAF_MPEGTS_ZERO, Cue, Label, Sidecar, TextRendition, TextTrack};
pub use time::{Rate, Timescale, gcd};
