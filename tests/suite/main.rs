//! The one integration binary: a module for each promise, and the repository's own rules.

mod repository;
mod worker;
