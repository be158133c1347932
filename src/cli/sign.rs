//! `matinee sign`: a URL by which a signed title plays for a while.

use std::net::IpAddr;

use clap::Args;
use matinee::access::{MAX_PLAYBACK_SECONDS, Playback, Secret};
use matinee::catalog::now_ms;
use matinee::media::TitleId;

use super::{Failure, Place, failed, say, title};

#[derive(Debug, Args)]
pub struct Sign {
    /// The title's id.
    id: TitleId,
    /// How long the URL is valid, seconds.
    #[arg(long, default_value_t = 4 * 3600, value_parser = clap::value_parser!(u64).range(1..=MAX_PLAYBACK_SECONDS))]
    seconds: u64,
    /// Valid for this client address only; default: for everybody who has the URL.
    #[arg(long, value_name = "IP")]
    client: Option<IpAddr>,
    #[command(flatten)]
    place: Place,
}

impl Sign {
    pub fn run(&self) -> Result<(), Failure> {
        let (Self { id, seconds, client, .. }, config) = (self, self.place.load()?);
        title(&config, id)?;
        let playback = Playback::new(&Secret::open(&config.data_dir).map_err(failed)?);
        let expires_s = now_ms().unsigned_abs() / 1000 + seconds;
        say(format_args!("/s/{}/v/{id}/master.m3u8", playback.sign(id, expires_s, *client)));
        Ok(())
    }
}
