//! `matinee config`

use std::path::PathBuf;

use clap::Subcommand;

use super::{Failure, Place, say};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List all problems of a configuration at once: of the file, the environment, and both together.
    Check {
        /// Configuration file; default: MATINEE_CONFIG.
        file: Option<PathBuf>,
        /// The same, as other commands take it.
        #[arg(long, value_name = "FILE", conflicts_with = "file")]
        config: Option<PathBuf>,
    },
}

impl Command {
    pub fn run(&self) -> Result<(), Failure> {
        let Self::Check { file, config } = self;
        Place { config: file.clone().or_else(|| config.clone()), data: None }.load()?;
        say("the configuration has no problem");
        Ok(())
    }
}
