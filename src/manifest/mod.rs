//! Playlists and manifests: what a player is told of a title. Pure text from a [`crate::media::Plan`].
//!
//! Nothing runs unasked; nothing is cached here. A media playlist costs about 50 bytes and a microsecond a segment, a
//! manifest less, for it writes runs of equal segments once.
//!
//! The rule not to break: no number is computed here that the grid does not hold. A playlist rounds, it never decides.
//! Nothing that came out of a source file is written without its alphabet being checked.
//!
//! Arrow: `manifest` -> `media`.

pub mod dash;
pub mod hls;
pub mod hls_ts;
pub mod iframes;
pub mod names;
pub mod pictures;
mod xml;
