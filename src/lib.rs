//! Matinee, a video-on-demand origin that encodes lazily and behaves like an origin.
//!
//! Rooms in reading order; an arrow may only point to a lower rank:
//!
//! | rank | rooms |
//! | --- | --- |
//! | 1 | [`media`], [`telemetry`] |
//! | 2 | [`manifest`], [`packager`], [`pipeline`], [`library`], [`catalog`], [`outbound`] |
//! | 3 | [`worker`], [`cache`], [`access`] |
//! | 4 | [`encoder`] |
//! | 5 | [`origin`], [`ingest`], [`warmer`], [`hooks`] |
//! | 6 | [`api`] |
//! | 7 | [`config`] |
//! | 8 | [`app`] |

pub mod access;
pub mod api;
pub mod app;
pub mod cache;
pub mod catalog;
pub mod config;
pub mod encoder;
pub mod hooks;
pub mod ingest;
pub mod library;
pub mod manifest;
pub mod media;
pub mod origin;
pub mod outbound;
pub mod packager;
pub mod pipeline;
pub mod telemetry;
pub mod warmer;
pub mod worker;
