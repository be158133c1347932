//! The one integration binary: a module for each promise, and the repository's own rules.

mod cli;
mod crash;
mod flights;
mod frames;
mod functions;
mod media;
mod repository;
mod support;
mod worker;
