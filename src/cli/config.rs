//! `matinee config`

use std::path::PathBuf;

use clap::Subcommand;

use super::{Failure, Place, say};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Name every problem of a configuration at once: of the file, the environment, and both together.
    Check {
        /// Configuration file; without one MATINEE_CONFIG.
        file: Option<PathBuf>,
    },
}

impl Command {
    pub fn run(&self) -> Result<(), Failure> {
        let Self::Check { file } = self;
        Place { config: file.clone(), data: None }.load()?;
        say("the configuration has no problem");
        Ok(())
    }
}
