//! The one integration binary: a module for each promise, and the repository's own rules.

mod access;
mod ahead;
mod cli;
mod colour;
mod corpus;
mod crash;
mod dash;
mod deaths;
mod flights;
mod frames;
mod full;
mod functions;
mod manage;
mod media;
mod memory;
mod mutants;
mod pictures;
mod repository;
mod store;
mod support;
mod tracks;
mod transport;
mod tus;
mod uploads;
mod warm;
mod worker;
