//! `matinee serve`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use matinee::app::Ended;
use matinee::config::Flags;
use matinee::telemetry::logs;
use tokio::runtime::Builder;

use super::{Failure, MAX_BLOCKING_THREADS, failed, load, say};

/// How long threads that block may keep the process once everything else has ended.
const LAST_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub struct Serve {
    /// Configuration file; also MATINEE_CONFIG.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address and port; also MATINEE_LISTEN.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Data folder; also MATINEE_DATA.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Serve {
    pub fn run(&self) -> Result<(), Failure> {
        let Self { config, listen, data } = self;
        let flags = Flags { config: config.clone(), listen: listen.clone(), data: data.clone() };
        let config = load(&flags)?;
        logs::start(&config.log).map_err(failed)?;
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.enable_all().max_blocking_threads(MAX_BLOCKING_THREADS).build().map_err(failed)?;
        let announce = |address| {
            say(format_args!("matinee: serving http://{address}/ (data in {})", super::shown(&config.data_dir)));
        };
        let served = runtime.block_on(matinee::app::serve(&config, announce));
        match served {
            Ok(Ended::AtOnce) => {
                runtime.shutdown_background();
                Err(failed("stopped by a second signal: requests in progress were cut off"))
            }
            ended => {
                runtime.shutdown_timeout(LAST_WAIT);
                ended.map(drop).map_err(|error| match error {
                    // What was set contradicts what is in the data folder.
                    matinee::app::Error::NoKey { .. } | matinee::app::Error::NoKeyBehindProxy => {
                        Failure::Usage(vec![error.to_string()])
                    }
                    other => failed(other),
                })
            }
        }
    }
}
